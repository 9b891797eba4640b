# The Perl modules Cache::Memcached and, compatible with it and written in C,
# Cache::Memcached::Fast, which knows some commands more: perl-memcached.pl ADDRESS PREFIX MODULE.
# Neither throws anything: what is not done is false. What failover promises, failover.mjs says.
use strict;
use warnings;
use IO::Select;
use Time::HiRes qw(sleep time);

use constant { RECOVERED => 20, RECOVERY_S => 30, PAUSE_S => 0.01, KEYS_A_READ => 50 };

my ($address, $prefix, $module) = @ARGV;
my $fast = $module eq 'Cache::Memcached::Fast';
eval "require $module" or die $@;
$| = 1;

my $client = $module->new({
    servers            => [$fast ? { address => $address, noreply => 1 } : $address],
    namespace          => $prefix,
    compress_threshold => 10_000,
    connect_timeout    => 10,
    select_timeout     => 10,
});

sub ok { my ($true, $what) = @_; die "not ok: $what, line " . (caller)[2] . "\n" unless $true }
sub is { my ($got, $want) = @_; ok(defined $got && $got eq $want, "$want, got " . ($got // 'undef') . ', line ' . (caller)[2]) }

sub heard { my ($line) = @_; chomp(my $got = <STDIN> // ''); is($got, $line) }

sub until_gone {
    my ($name) = @_;
    for (1 .. 300) { return unless defined $client->get($name); sleep 0.05 }
    die "an item with an expiry of a second is still there\n";
}

srand 1;
my %values = (
    string     => "a value with \r\n in it",
    unicode    => 'Grüße, 世界 🌍',
    number     => 42.5,
    binary     => join('', map { chr } 0 .. 255),
    empty      => '',
    large      => join('', map { chr int rand 256 } 1 .. 900_000),
    compressed => 'x' x 2_000_000,
);
for my $name (sort keys %values) {
    ok($client->set($name, $values{$name}), $name);
    ok($client->get($name) eq $values{$name}, $name);
}
ok($client->set('stored', { nested => [1, 'two', undef] }), 'a structure');
is($client->get('stored')->{nested}[1], 'two');
ok($client->set('Schlüssel-世界', 'a unicode key'), 'a unicode key');
is($client->get('Schlüssel-世界'), 'a unicode key');
ok(!defined $client->get('missing'), 'a miss');
is(join(' ', sort keys %{ $client->get_multi('string', 'missing', 'number') }), 'number string');

ok($client->add('a', 'middle'), 'add');
ok(!$client->add('a', 'x'), 'add of what is there');
ok($client->replace('a', 'MIDDLE'), 'replace');
ok(!$client->replace('missing', 'x'), 'replace of what is missing');
ok($client->append('a', ' end'), 'append');
ok($client->prepend('a', 'begin '), 'prepend');
ok(!$client->append('missing', 'x'), 'append to what is missing');
is($client->get('a'), 'begin MIDDLE end');

$client->set('count', 10);
is($client->incr('count', 5), 15);
ok($client->decr('count', 20) == 0, 'decr stops at 0');
ok(!$client->incr('missing', 1), 'incr of what is missing');
ok(!defined $client->incr('a', 1), 'incr of what is no number');

if ($fast) {
    my ($cas, $value) = @{ $client->gets('a') };
    is($value, 'begin MIDDLE end');
    ok($client->cas('a', $cas, 'swapped'), 'cas');
    is($client->cas('a', $cas, 'too late') // 'an error', '');
    is($client->get('a'), 'swapped');
    # In a void context the server is asked not to reply.
    $client->set('quiet', 10);
    $client->incr('quiet');
    is($client->get('quiet'), 11);
    $client->set('touched', 'x');
    ok($client->touch('touched', 100), 'touch');
    is($client->touch('missing', 1), '');
    is($client->gat(1, 'touched'), 'x');
    until_gone('touched');
}

ok($client->delete('a'), 'delete');
ok(!$client->delete('a'), 'delete of what is gone');

ok($client->set('short', 'x', 1), 'set with an expiry');
until_gone('short');

ok(!$client->set('huge', $values{large} . $values{large}), 'a value that is too large');
is($client->get('string'), $values{string});
ok(!defined $client->incr('k' x 251), 'a key that is too long');
is($client->get('string'), $values{string});

if ($fast) {
    my ($version) = values %{ $client->server_versions };
    ok($version =~ /^\d+\.\d+\.\d+$/, "version $version");
}
else {
    my $stats = $client->stats->{hosts}{$address}{misc};
    ok($stats->{curr_items} > 0 && $stats->{version} =~ /^\d+\.\d+\.\d+$/, 'stats');
}

failover();

ok($client->flush_all, 'flush_all');
ok(!defined $client->get('string'), 'flushed');
ok($client->set('string', 'again'), 'set');
is($client->get('string'), 'again');
print "done\n";

sub failover {
    my $input = IO::Select->new(\*STDIN);
    my ($failed_sets, $increments, $failed_increments, $in_a_row, $settled_at) = (0) x 4;
    my @stored;
    ok($client->set('counter', 0), 'counter');
    for (my $n = 0; !$settled_at || $in_a_row < RECOVERED; $n++) {
        my $is_set = $client->set("n$n", "value $n");
        if ($is_set) { push @stored, $n } else { $failed_sets++ }
        my $is_incremented = $client->incr('counter');
        if ($is_incremented) { $increments++ } else { $failed_increments++ }
        $in_a_row = $is_set && $is_incremented ? $in_a_row + 1 : 0;
        # Otherwise it takes a server that refused a connection for dead for half a minute.
        $client->forget_dead_hosts if !$fast && !$in_a_row;
        print "writing\n" if $n == RECOVERED;
        if (!$settled_at) {
            if ($input->can_read(PAUSE_S)) { heard('settled'); $settled_at = time; $in_a_row = 0 }
        }
        else {
            ok(time - $settled_at < RECOVERY_S, 'the library did not recover');
            sleep PAUSE_S;
        }
    }
    my $acknowledged = @stored + $increments;
    while (my @part = splice @stored, 0, KEYS_A_READ) {
        my $found = $client->get_multi(map { "n$_" } @part);
        is($found->{"n$_"}, "value $_") for @part;
    }
    my $count = $client->get('counter');
    ok($increments <= $count && $count <= $increments + $failed_increments, "counter $count");
    print "kept $acknowledged, ", $failed_sets + $failed_increments, " failed\n";
    heard('flush');
}
