# Runs in a guest, as root. $1: "again" if units that have failed or were stopped are to be started once more. $2: units
# that must be active, one a word. Then, in pairs: what a check says, and the check.
# Prints a line for each thing that it begins to wait for, an empty one whenever it looks again, so that it ends when
# nobody listens any more, and "ready" at the end; "failed UNIT", the unit's last words and status 1 as soon as a unit
# has failed: there is nothing to wait for then.
again=$1
units=$2
shift 2

failed() {
    echo "failed $1"
    systemctl status --no-pager --full --lines=25 "$1" 2>&1
    exit 1
}

shown=
say() {
    [ "$shown" = "$1" ] || echo "$1"
    shown=$1
}

# pause LEAST COMMAND...: runs the command with how many seconds it has: as many as what came since the last time took,
# twice as many if that was less than a second, and LEAST hundredths at least. Where processors are emulated, asking takes
# long, and would leave none to what is asked.
clock() {
    read -r up _ </proc/uptime
    up=${up%.*}${up#*.} # hundredths of a second
}
clock
since=$up
pause() {
    clock
    spent=$((up - since))
    [ "$spent" -ge 100 ] || spent=$((spent * 2))
    [ "$spent" -ge "$1" ] || spent=$1
    shift
    "$@" "$((spent / 100)).$((spent / 10 % 10))"
    echo
    clock
    since=$up
}

# Who waits for the end of the boot is told of it; every 0.3 s the question took processors from six guests that boot.
booting=yes
boot_ends() {
    status=0
    timeout "$1" systemctl is-system-running --wait >/dev/null || status=$?
    [ "$status" = 124 ] || booting=
}

started=
if [ "$again" ]; then
    for unit in $units; do
        case $(systemctl is-active "$unit") in
            failed) systemctl reset-failed "$unit" ;;
            inactive) ;;
            *) continue ;;
        esac
        systemctl start --no-block "$unit"
        started="$started $unit"
    done
fi

await() {
    left=$1
    while [ "$left" ]; do
        states=$(systemctl is-active $left) || :
        set -f
        waiting=
        for unit in $left; do
            state=${states%%
*}
            states=${states#*
}
            case $state in
                active) ;;
                failed) failed "$unit" ;;
                *) waiting="$waiting $unit" ;;
            esac
        done
        [ "$waiting" ] || break
        say "waiting for$waiting"
        left=${waiting# }
        if [ "$booting" ]; then pause 500 boot_ends; else pause 30 sleep; fi
    done
}

await "$units"
if [ "$started" ]; then
    sleep 1 # a simple service is active at once, and what it failed of before it meets only now
    await "$started"
fi

while [ $# -ge 2 ]; do
    tries=0
    until why=$(timeout 20 /bin/sh -c "$2" 2>&1); do
        say "waiting: $1"
        tries=$((tries + 1))
        # A service may die while we ask it; asked now and then, since systemctl costs more than most checks.
        if [ $((tries % 10)) = 0 ]; then
            for unit in $(systemctl list-units --state=failed --plain --no-legend | cut -d' ' -f1); do
                failed "$unit"
            done
        fi
        pause 30 sleep
    done
    shift 2
done
echo ready
