# Freezes all that is written to a disk here, until stdin ends or $1 seconds have passed.
# Nothing but what is in memory already may be needed in between: reading is allowed, writing waits.
set -u
frozen=''
thaw() {
    for one in $frozen; do fsfreeze --unfreeze "$one"; done
    frozen=''
}
trap thaw EXIT
trap 'exit 1' HUP INT TERM PIPE

# Data before what lies above it: / comes last.
folders=$(while read -r _ folder type options _; do
    case "$type:,$options," in ext4:*,rw,*) echo "$folder" ;; esac
done </proc/mounts | sort -r)
for folder in $folders; do
    sync --file-system "$folder"
done
for folder in $folders; do
    fsfreeze --freeze "$folder" 2>&1 || exit 1
    frozen="$folder $frozen"
done
echo frozen
timeout "$1" cat >/dev/null
late=$?
thaw
if [ "$late" = 0 ]; then echo 'in time'; else echo "too late, after $1 s"; fi
