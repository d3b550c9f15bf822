# The test CA that arc-arex makes for itself while it is installed: the site has its own.
rm -rf /etc/grid-security /etc/arc.conf.d
mkdir -p /etc/grid-security/certificates

# A-REX makes safe-prime parameters of 4096 bits at its first start, which takes a guest minutes; these are enough for a
# site that lives for days.
mkdir -p /var/spool/arc/jobstatus
openssl dhparam -dsaparam -out /var/spool/arc/jobstatus/dhparam.pem 2048
chmod 600 /var/spool/arc/jobstatus/dhparam.pem

# slapd's own service and NFS before version 4 are not used.
systemctl mask --quiet slapd.service rpcbind.service rpcbind.socket rpc-statd.service rpc-statd-notify.service \
    nfs-blkmap.service nfs-idmapd.service nfsdcld.service systemd-binfmt.service \
    run-rpc_pipefs.mount rpc_pipefs.target auth-rpcgss-module.service rpc-gssd.service rpc-svcgssd.service
systemctl enable --quiet arc-arex.service arc-arex-ws.service arc-infosys-ldap.service

# A-REX looks at itself and at the batch system once a minute, and clients see of a job what it saw then: arc.conf has no
# word for it, its service configuration has one (in tenths of a second; DEFAULT_INFOPROVIDER_WAKEUP_PERIOD in arex.cpp).
# The script that writes it is diverted, so that an upgrade brings a newer one and leaves this be.
start=/usr/share/arc/arc-arex-start
dpkg-divert --quiet --local --rename --divert $start.distrib $start
cat >$start <<'EOF'
#!/bin/sh
sed 's#<arex:gmconfig>\$ARC_RUNTIME_CONFIG</arex:gmconfig>#&<arex:InfoproviderWakeupPeriod>40</arex:InfoproviderWakeupPeriod>#' \
    /usr/share/arc/arc-arex-start.distrib >/run/arc-arex-start
exec bash /run/arc-arex-start "$@"
EOF
chmod 755 $start
grep -q '<arex:gmconfig>\$ARC_RUNTIME_CONFIG</arex:gmconfig>' $start.distrib

# The scripts of A-REX ask this parser, a Python program, for some forty values one by one when they start, which takes half
# of the start, and for those of three blocks with every job and every look at the batch system. The questions about the
# configuration are answered by awk instead, from what the parser makes of it once: all of it with its defaults, and that
# as JSON, which CEinfo.pl wants for each look. Both are kept until what they are made from is other than it was.
parser=/usr/lib/arc/arcconfig-parser
dpkg-divert --quiet --local --rename --divert $parser.distrib $parser
mkdir -p /var/cache/arcconfig-parser
chmod 700 /var/cache/arcconfig-parser
cat >$parser <<'EOF'
#!/bin/sh
# arcconfig-parser --config CONF --runconfig FILE --save, or -c CONF --save -r FILE: the configuration with its defaults.
# --config CONF -b BLOCK -o OPTION; --runconfig FILE --load -b BLOCK … [-o OPTION], or --load -r FILE: the option in the
# first of the blocks that has it, or whether a block is there. With --export bash -b BLOCK -f OPTION …, or -b BLOCK …
# -e bash: lines for a shell, of the blocks' options. -e json --load -r FILE: all of it. What is other than that is left to
# the real one, and so is what it has to refuse.
real=/usr/lib/arc/arcconfig-parser.distrib

# whole CONF: sets `kept` to the file that has all of this configuration.
whole() {
    name=$({
        hostname -f
        [ ! -d "$1.d" ] || find -L "$1.d" -name '*.conf' -exec cat {} +
        cat "$1" /usr/share/arc/arc.parser.defaults "$real" /usr/lib/python3/dist-packages/arc/utils/config.py
    } | sha256sum)
    kept=/var/cache/arcconfig-parser/${name%% *}
    [ -s "$kept" ] && return
    (umask 077 && "$real" --config "$1" --runconfig "$kept.$$" --save) && mv "$kept.$$" "$kept"
} 2>/dev/null

file='' skip=3
case "$#:$1:$3:$5" in
    5:--config:--runconfig:--save) whole "$2" && mkdir -p "${4%/*}" && exec cat "$kept" >"$4" ;;
    5:-c:--save:*) [ "$4" = -r ] && whole "$2" && mkdir -p "${5%/*}" && exec cat "$kept" >"$5" ;;
    6:--config:-b:-o) whole "$2" && file=$kept skip=2 ;;
    5:-e:--load:*)
        if [ "$2:$4" = json:-r ] && [ -r "$5" ]; then
            kept=$5.json
            if ! [ "$kept" -nt "$5" ]; then
                (umask 077 && "$real" "$@" >"$kept.$$") && mv "$kept.$$" "$kept" || exit
            fi
            exec cat "$kept"
        fi
        ;;
esac
case "$1:$2:$3" in
    --runconfig:*:--load) file=$2 ;;
    --load:-r:*) file=$3 ;;
esac
[ -r "$file" ] || exec "$real" "$@"
blocks='' option='' filter='' export=''
all="$*"
shift $skip
while [ $# -gt 0 ]; do
    case $1:$2 in
        -b:*) blocks="$blocks$2
" ;;
        -o:*) option=$2 ;;
        -f:*) filter="$filter $2 " ;;
        --export:bash | -e:bash) export=1 ;;
        *) exec "$real" $all ;;
    esac
    shift 2
done
exec awk -v blocks="$blocks" -v option="$option" -v filter="$filter" -v export="$export" '
    BEGIN { count = split(blocks, wanted, "\n") - 1 }
    /^\[.*\]$/ { block = substr($0, 2, length($0) - 2); there[block] = 1; next }
    !(equals = index($0, "=")) { next }
    {
        name = substr($0, 1, equals - 1)
        value = substr($0, equals + 1)
    }
    name == option { if (block in found) found[block] = found[block] "\n" value; else found[block] = value }
    export && (filter == "" || index(filter, " " name " ")) {
        gsub(/"/, "\\\"", value)
        if (!((block, name) in times)) names[block] = names[block] name "\n"
        values[block, name, times[block, name]++] = value
    }
    END {
        for (i = 1; export && i <= count; i++) {
            block = wanted[i]
            all = split(names[block], of, "\n")
            for (j = 1; j < all; j++) {
                name = of[j]
                if (said[name]++) continue
                several = times[block, name] > 1
                print "CONFIG_" name "=\"" (several ? "__array__" : values[block, name, 0]) "\""
                for (k = 0; several && k < times[block, name]; k++) print "CONFIG_" name "_" k "=\"" values[block, name, k] "\""
            }
        }
        if (export) { print ""; exit 0 }
        for (i = 1; i <= count; i++) {
            if (option == "" && wanted[i] in there) exit 0
            if (option != "" && wanted[i] in found) { print found[wanted[i]]; exit 0 }
        }
        exit 1
    }' "$file"
EOF
chmod 755 $parser

# A-REX starts its look for finished jobs anew no sooner than ten seconds after the last look has ended (seen with ARC
# 7.0). So a look does not end: it is repeated when fewer jobs are under way in the batch system than A-REX has there, and
# every ten seconds as long as it has any. It takes an emulated machine a second, and to count a tenth of that.
scan=/usr/share/arc/scan-SLURM-job
dpkg-divert --quiet --local --rename --divert $scan.distrib $scan
cat >$scan <<'EOF'
#!/bin/sh
# scan-SLURM-job --config FILE CONTROLDIR
for control; do :; done
left=10
while :; do
    for job in "$control"/processing/*.status; do :; done
    has=0
    [ ! -e "$job" ] || has=$(grep -lsE 'INLRMS|CANCELING' "$control"/processing/*.status | wc -l)
    if [ "$has" -gt 0 ]; then
        if [ $left -le 0 ] || [ "$(squeue --noheader --format=%i | wc -l)" -lt "$has" ]; then
            "$0.distrib" "$@"
            left=10
        fi
        left=$((left - 1))
    fi
    sleep 1
done
EOF
chmod 755 $scan

# As long as a program runs that has closed its standard error, A-REX does nothing but ask whether something came from it
# (RunPump::Pump in Run_unix.cpp of ARC 7.0 knows no POLLHUP). CEinfo.pl writes to a file instead, so it has its first
# standard error open beside. A look takes an emulated machine two seconds: without a job that is under way, one that has
# just ended, or a service that was just started, it is put off, for twenty seconds at most.
info=/usr/share/arc/CEinfo.pl
dpkg-divert --quiet --local --rename --divert $info.distrib $info
cat >$info <<'EOF'
#!/bin/sh
# CEinfo.pl --splitjobs --config FILE
exec 9>&2
control=/var/spool/arc/jobstatus
looked=/run/arc-looked
reasons() {
    for job in $control/accepting/*.status $control/processing/*.status; do [ ! -e "$job" ] || echo "$job"; done
    find $control/restarting $control/finished -newer $looked
    find /run/arched-arex.cfg /run/arc/infosys/bdii.conf -mmin -2
} 2>/dev/null

left=20
while [ -e $looked ] && [ $left -gt 0 ] && [ -z "$(reasons)" ]; do
    sleep 1
    left=$((left - 1))
done
: >$looked # before, so that what changes meanwhile is looked at again
# apt, jobs and whoever asks go first.
exec nice -n 5 "$0.distrib" "$@"
EOF
chmod 755 $info
