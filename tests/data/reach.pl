# Tries to reach something from inside of a run, and says REACHED, or why not. perl-base has all that it needs.
use strict;
use warnings;
use Socket;

$| = 1;
$SIG{ALRM} = sub { print "no: silence\n"; exit };
$SIG{PIPE} = 'IGNORE';
my ($kind, $host, $port) = @ARGV;
alarm($kind eq "udp" ? 3 : 10);

sub failed { print "no: $_[0]\n"; exit }

sub tcp {
    my ($to, $at) = @_;
    socket(my $s, PF_INET, SOCK_STREAM, 0) or failed($!);
    connect($s, sockaddr_in($at, inet_aton($to))) or failed($!);
    my $old = select($s); $| = 1; select($old);
    return $s;
}

sub unix {
    socket(my $s, PF_UNIX, SOCK_STREAM, 0) or failed($!);
    connect($s, pack_sockaddr_un($_[0])) or failed($!);
    return $s;
}

sub answer {
    my $line = readline($_[0]) // failed("closed: $!");
    print $line =~ m{^HTTP/1\.1 200 } ? "REACHED\n" : "no: $line";
}

if ($kind eq 'tcp') {
    tcp($host, $port);
    print "REACHED\n";
} elsif ($kind eq 'abstract') {
    unix("\0$host");
    print "REACHED\n";
} elsif ($kind eq 'udp') {
    socket(my $s, PF_INET, SOCK_DGRAM, 0) or failed($!);
    send($s, 'ping', 0, sockaddr_in($port, inet_aton($host))) or failed($!);
    recv($s, my $said, 99, 0) // failed($!);
    print "REACHED\n";
} elsif ($kind eq 'connect') {
    my $s = tcp('127.0.0.1', 3128);
    print $s "CONNECT $host:$port HTTP/1.1\r\nHost: $host\r\n\r\n";
    answer($s);
} elsif ($kind eq 'long') {
    my $s = tcp('127.0.0.1', 3128);
    print $s 'CONNECT localhost:80 HTTP/1.1', "\r\nX: ";
    print $s 'x' x 1024 for 1 .. 1024;
    print $s "\r\n\r\n";
    answer($s);
} elsif ($kind eq 'idle') {
    # As many as there can be, for as long as the run lets them.
    my @all = map { $host eq 'unix' ? unix('/run/ccgw/out') : tcp('127.0.0.1', 3128) } 1 .. $port;
    print "HOLDS\n";
    close STDOUT;
    alarm 0;
    sleep 600;
}
