# Runs in a guest, as root, in the folder of a release: gives this machine packages as an administrator would, by apt,
# from this folder alone. $1: seconds that it may take; then, words for apt-get install.
# What apt does is done by a unit of its own: it goes on to its end when we are lost, and can be ended whole.
# The last line is the status; before it, what apt has said.
set +e -u
seconds=$1
shift
here=$PWD
unit=gridvisor-upgrade

# An earlier one that was lost is waited for.
while systemctl is-active --quiet $unit; do sleep 0.5; done
systemctl reset-failed $unit 2>/dev/null || :
rm -f status log
mkdir -p lists/partial archives/partial none
echo "deb [trusted=yes] file:$here ./" >sources.list
cat >apt.conf <<EOF
Dir::Etc::sourcelist "$here/sources.list";
Dir::Etc::sourceparts "$here/none";
Dir::Etc::preferencesparts "$here/none";
Dir::State::lists "$here/lists";
Dir::Cache "$here";
APT::Sandbox::User "";
APT::Install-Recommends "0";
Acquire::Languages "none";
Dpkg::Options { "--force-confold"; "--force-confdef"; "--force-unsafe-io"; };
Dpkg::Use-Pty "0";
EOF
cat >run <<'EOF'
cd "$1" && shift || exit
export APT_CONFIG=$PWD/apt.conf DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
{ dpkg --configure -a; apt-get -qq update && apt-get -qq --yes --allow-downgrades --allow-change-held-packages "$@"; } >log 2>&1
echo $? >status.new
mv status.new status
EOF
systemd-run --quiet --no-block --unit=$unit --property=KillMode=control-group sh "$here/run" "$here" "$@" || exit 3
read -r up _ </proc/uptime
end=$((${up%.*} + seconds))
rounds=0
gone=0
until [ -e status ]; do
    # Asked for seldom: it takes an emulated machine's processor from apt. It may be that a new systemd is taking over and
    # says nothing for a while.
    if [ $((rounds % 5)) -eq 0 ]; then
        case $(systemctl is-active $unit 2>/dev/null) in
            inactive | failed) gone=$((gone + 1)) ;;
            *) gone=0 ;;
        esac
        [ $gone -lt 3 ] || { echo lost >status; break; }
    fi
    read -r up _ </proc/uptime
    if [ "${up%.*}" -ge "$end" ]; then
        # What hangs is the youngest of the tree.
        systemctl status --no-pager --full --lines=0 $unit | sed -n '/CGroup/,$p' >>log
        systemctl kill --signal=KILL $unit 2>/dev/null
        echo hung >status
        break
    fi
    rounds=$((rounds + 1))
    sleep 1
done
cat log
cat status
