<?php
// The PHP extension memcached: libmemcached behind it. What failover promises, failover.mjs says.
declare(strict_types=1);

const RECOVERED = 20;
const RECOVERY_S = 30;
const PAUSE_US = 10_000;
const KEYS_A_READ = 50;

[, $address, $prefix] = $argv;
[$host, $port] = explode(':', $address);

$client = new Memcached();
$client->setOptions([
    Memcached::OPT_BINARY_PROTOCOL => false,
    Memcached::OPT_PREFIX_KEY => $prefix,
    Memcached::OPT_TCP_NODELAY => true,
    Memcached::OPT_CONNECT_TIMEOUT => 10_000,
    Memcached::OPT_POLL_TIMEOUT => 10_000,
    // A server that was down is asked again after a second, as often as it takes.
    Memcached::OPT_RETRY_TIMEOUT => 1,
    Memcached::OPT_SERVER_FAILURE_LIMIT => 1_000_000,
    Memcached::OPT_REMOVE_FAILED_SERVERS => false,
]);
$client->addServer($host, (int) $port);

function is(mixed $got, mixed $want): void
{
    if ($got !== $want) {
        $line = debug_backtrace()[0]['line'];
        $shown = substr(var_export($got, true), 0, 200);
        fail("line $line: $shown instead of " . substr(var_export($want, true), 0, 200));
    }
}

/** What was asked was not done, for this reason. */
function refused(mixed $got, int $code): void
{
    global $client;
    if ($got !== false || $client->getResultCode() !== $code) {
        $line = debug_backtrace()[0]['line'];
        fail("line $line: {$client->getResultCode()} {$client->getResultMessage()}, not $code");
    }
}

function fail(string $what): never
{
    fwrite(STDERR, "$what\n");
    exit(1);
}

function heard(string $line): void
{
    is(trim((string) fgets(STDIN)), $line);
}

function until_gone(string $name): void
{
    global $client;
    for ($tries = 0; $client->get($name) !== false; $tries++) {
        if ($tries === 300) fail('an item with an expiry of a second is still there');
        usleep(50_000);
    }
    is($client->getResultCode(), Memcached::RES_NOTFOUND);
}

mt_srand(1);
$large = '';
for ($at = 0; $at < 900_000; $at += 4) $large .= pack('N', mt_rand());
$values = [
    'string' => "a value with \r\n in it",
    'unicode' => 'Grüße, 世界 🌍',
    'int' => 42,
    'float' => 42.5,
    'bool' => true,
    'serialized' => ['nested' => [1, 'two', null]],
    'binary' => implode(array_map('chr', range(0, 255))),
    'empty' => '',
    'large' => $large,
    'compressed' => str_repeat('x', 2_000_000),
];
foreach ($values as $name => $value) {
    is($client->set($name, $value), true);
    is($client->get($name), $value);
}
refused($client->get('missing'), Memcached::RES_NOTFOUND);
$found = $client->getMulti(['string', 'missing', 'int']);
is($found, ['string' => $values['string'], 'int' => 42]);
is($client->setMulti(['m1' => 1, 'm2' => 2]), true);
is($client->deleteMulti(['m1', 'm2']), ['m1' => true, 'm2' => true]);

is($client->add('a', 'middle'), true);
refused($client->add('a', 'x'), Memcached::RES_NOTSTORED);
is($client->replace('a', 'MIDDLE'), true);
refused($client->replace('missing', 'x'), Memcached::RES_NOTSTORED);
$client->setOption(Memcached::OPT_COMPRESSION, false);
is($client->append('a', ' end'), true);
is($client->prepend('a', 'begin '), true);
refused($client->append('missing', 'x'), Memcached::RES_NOTSTORED);
is($client->get('a'), 'begin MIDDLE end');

['value' => $value, 'cas' => $cas] = $client->get('a', null, Memcached::GET_EXTENDED);
is($value, 'begin MIDDLE end');
is($client->cas($cas, 'a', 'swapped'), true);
refused($client->cas($cas, 'a', 'too late'), Memcached::RES_DATA_EXISTS);
refused($client->cas($cas, 'missing', 'x'), Memcached::RES_NOTFOUND);
is($client->get('a'), 'swapped');

$client->set('count', 10);
is($client->increment('count', 5), 15);
is($client->decrement('count', 20), 0);
refused($client->increment('missing'), Memcached::RES_NOTFOUND);
refused($client->increment('a'), Memcached::RES_CLIENT_ERROR);

is($client->delete('a'), true);
refused($client->delete('a'), Memcached::RES_NOTFOUND);

is($client->set('short', 'x', 1), true);
is($client->set('touched', 'x'), true);
is($client->touch('touched', 1), true);
refused($client->touch('missing', 1), Memcached::RES_NOTFOUND);
until_gone('short');
until_gone('touched');

refused($client->set('huge', $large . $large), Memcached::RES_E2BIG);
is($client->get('string'), $values['string']);
refused($client->get('with space'), Memcached::RES_BAD_KEY_PROVIDED);
refused($client->set(str_repeat('k', 251), 'x'), Memcached::RES_BAD_KEY_PROVIDED);

$client->setOption(Memcached::OPT_NOREPLY, true);
$client->set('quiet', 10);
$client->setOption(Memcached::OPT_NOREPLY, false);
is($client->get('quiet'), 10);

$version = $client->getVersion()[$address];
is(preg_match('/^\d+\.\d+\.\d+$/', $version), 1);
is($client->getStats()[$address]['version'], $version);

failover();

is($client->flush(), true);
refused($client->get('string'), Memcached::RES_NOTFOUND);
is($client->set('string', 'again'), true);
is($client->get('string'), 'again');
$client->quit();
echo "done\n";

function failover(): void
{
    global $client;
    $stored = [];
    $failedSets = $increments = $failedIncrements = $inARow = 0;
    $settledAt = null;
    is($client->set('counter', 0), true);
    for ($n = 0; $settledAt === null || $inARow < RECOVERED; $n++) {
        $isSet = $client->set("n$n", "value $n");
        $isSet ? $stored["n$n"] = "value $n" : $failedSets++;
        $isIncremented = $client->increment('counter') !== false;
        $isIncremented ? $increments++ : $failedIncrements++;
        $inARow = $isSet && $isIncremented ? $inARow + 1 : 0;
        if ($n === RECOVERED) echo "writing\n";
        usleep(PAUSE_US);
        $input = [STDIN];
        $none = null;
        if ($settledAt !== null) {
            if (microtime(true) - $settledAt > RECOVERY_S) fail('the library did not recover');
        } elseif (stream_select($input, $none, $none, 0) > 0) {
            heard('settled');
            $settledAt = microtime(true);
            $inARow = 0;
        }
    }
    foreach (array_chunk($stored, KEYS_A_READ, true) as $part) {
        is($client->getMulti(array_keys($part), Memcached::GET_PRESERVE_ORDER), $part);
    }
    $count = $client->get('counter');
    if ($count < $increments || $count > $increments + $failedIncrements) fail("counter $count");
    $acknowledged = count($stored) + $increments;
    echo "kept $acknowledged, ", $failedSets + $failedIncrements, " failed\n";
    heard('flush');
}
