# Runs in a guest, as root: what the machine is like, in sections. Digests only, never what is in a file.
export LC_ALL=C.UTF-8
echo '== package'
dpkg-query --show --showformat '${db:Status-Abbrev} ${Package} ${Version}\n' | sed -n 's/^ii  *//p'
echo '== mode'
find /etc -xdev \( -type f -o -type l \) -printf '%m %u:%g %p\n'
echo '== folder'
find /etc -xdev -type d -printf '%m %u:%g %p\n'
echo '== digest'
find /etc -xdev -type f -print0 | xargs -0 sha256sum
echo '== unit'
# As `systemctl list-unit-files` tells, which takes a guest seconds: of a unit's lines the last counts.
units='-name *.service -o -name *.socket -o -name *.timer'
set -f
find /usr/lib/systemd/system /etc/systemd/system -maxdepth 1 \( $units \) -printf '%f there\n'
find /etc/systemd/system -mindepth 2 -type l \( $units \) -printf '%f enabled\n'
find /etc/systemd/system -maxdepth 1 -lname /dev/null \( $units \) -printf '%f masked\n'
set +f
echo '== failed'
systemctl list-units --state=failed --plain --no-legend | while read -r unit _; do echo "$unit failed"; done
echo '== port'
ss --no-header --listening --tcp --udp --numeric --processes
echo '== user'
cut -d: -f1,3 --output-delimiter=' ' /etc/passwd
