# Freezes all that is written to a disk here, until stdin ends or $1 seconds have passed. $2: whose disk this is, which is
# noted on it: the file is in no image and in no identity, so that another machine's disk is known by it.
# Nothing but what is in memory already may be needed in between: reading is allowed, writing waits.
set +e -u # also when one cannot be thawed, the others are
frozen=''
thaw() {
    for one in $frozen; do fsfreeze --unfreeze "$one" 2>/dev/null; done
    frozen=''
}
trap thaw EXIT
trap 'exit 1' HUP INT TERM PIPE

note=/var/lib/gridvisor/disk-of
if [ "$(cat $note 2>/dev/null)" != "$2" ]; then
    # A disk that is full can be kept as well.
    mkdir -p ${note%/*} && echo "$2" >$note.new && mv $note.new $note || rm -f $note.new
fi 2>/dev/null

# Data before what lies above it: / comes last. What is mounted at several places is frozen once, or it is refused.
seen=''
folders=$(while read -r device folder type options _; do
    case "$type:,$options," in ext4:*,rw,*) ;; *) continue ;; esac
    case " $seen " in *" $device "*) continue ;; esac
    seen="$seen $device"
    echo "$folder"
done </proc/mounts | sort -r)
for folder in $folders; do
    sync --file-system "$folder"
done
for folder in $folders; do
    frozen="$folder $frozen" # before it is: a signal in between would leave it so
    fsfreeze --freeze "$folder" 2>&1 || exit 1
done
echo frozen
timeout "$1" cat >/dev/null
late=$?
thaw
if [ "$late" = 0 ]; then echo 'in time'; else echo "too late, after $1 s"; fi
