# Runs in a guest. Prints the names of those among NAME=ADDRESS:PORT, its arguments, that take a TCP connection; a refused
# one and one without an answer in the first argument's seconds are both none. All are tried at once by this one process:
# a process for each takes an emulated machine so long that good ones seem silent. perl-base is on every Debian machine.
use strict;
use IO::Select;
use IO::Socket::INET;

my $until = time + shift;
my $open = IO::Select->new;
my %name;
for (@ARGV) {
    my ($name, $at) = split /=/, $_, 2;
    my $socket = IO::Socket::INET->new(PeerAddr => $at, Proto => 'tcp', Blocking => 0) or next;
    $name{$socket} = $name;
    $open->add($socket);
}
while ($open->count and (my $left = $until - time) > 0) {
    for my $socket ($open->can_write($left)) {
        print "$name{$socket}\n" if $socket->connected;
        $open->remove($socket);
    }
}
