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
# configuration that A-REX has itself written out are answered by awk instead; the whole of it as JSON, which CEinfo.pl
# wants for each look, is kept until it is written anew.
parser=/usr/lib/arc/arcconfig-parser
dpkg-divert --quiet --local --rename --divert $parser.distrib $parser
cat >$parser <<'EOF'
#!/bin/sh
# arcconfig-parser --runconfig FILE --load -b BLOCK … [-o OPTION], or --load -r FILE: the option in the first of the blocks
# that has it, or whether a block is there. With --export bash -b BLOCK -f OPTION …: lines for a shell, of a block's options.
# -e json --load -r FILE: all of it. Everything else is left to the real one.
if [ "$#:$1:$2:$3:$4" = 5:-e:json:--load:-r ] && [ -r "$5" ]; then
    kept=$5.json
    if ! [ "$kept" -nt "$5" ]; then
        umask 077
        /usr/lib/arc/arcconfig-parser.distrib "$@" >"$kept.$$" && mv "$kept.$$" "$kept" || exit
    fi
    exec cat "$kept"
fi
case "$1:$2:$3" in
    --runconfig:*:--load) file=$2 ;;
    --load:-r:*) file=$3 ;;
    *) file='' ;;
esac
[ -r "$file" ] || exec /usr/lib/arc/arcconfig-parser.distrib "$@"
blocks='' option='' filter=''
all="$*"
shift 3
while [ $# -gt 0 ]; do
    case $1:$blocks:$2 in
        -b:*) blocks="$blocks$2
" ;;
        -o:*) option=$2 ;;
        -f:*) filter="$filter $2 " ;;
        --export::bash) ;;
        *) exec /usr/lib/arc/arcconfig-parser.distrib $all ;;
    esac
    shift 2
done
exec awk -v blocks="$blocks" -v option="$option" -v filter="$filter" '
    BEGIN { count = split(blocks, wanted, "\n") - 1 }
    /^\[.*\]$/ { block = substr($0, 2, length($0) - 2); there[block] = 1; next }
    option != "" && index($0, option "=") == 1 {
        value = substr($0, length(option) + 2)
        if (block in found) found[block] = found[block] "\n" value; else found[block] = value
    }
    filter != "" && block == wanted[1] && (equals = index($0, "=")) {
        name = substr($0, 1, equals - 1)
        value = substr($0, equals + 1)
        gsub(/"/, "\\\"", value)
        if (index(filter, " " name " ")) values[name, times[name]++] = value
        if (times[name] == 1) names[++all] = name
    }
    END {
        for (i = 1; i <= all; i++) {
            name = names[i]
            several = times[name] > 1
            print "CONFIG_" name "=\"" (several ? "__array__" : values[name, 0]) "\""
            for (j = 0; several && j < times[name]; j++) print "CONFIG_" name "_" j "=\"" values[name, j] "\""
        }
        if (filter != "") { print ""; exit 0 }
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
