"""The part of a program in which leaders die, for Python: failover.mjs says what it promises."""

import select
import sys
import time

RECOVERED = 20
RECOVERY_S = 30
PAUSE_S = 0.01
KEYS_A_READ = 50

address, prefix = sys.argv[1:]


def heard(line):
    got = sys.stdin.readline().strip()
    assert got == line, got


def raises(kind, call, *args):
    try:
        call(*args)
    except kind:
        return
    raise AssertionError(f"no {kind}")


def until_gone(read):
    for _ in range(300):
        if read() is None:
            return
        time.sleep(0.05)
    raise AssertionError("an item with an expiry of a second is still there")


def failover(set_value, increment, read, errors):
    """`errors` are the library's kinds of error; whatever else is thrown ends the program."""

    def attempt(write, *args):
        try:
            return bool(write(*args))
        except errors:
            return False

    counter = prefix + "counter"
    assert attempt(set_value, counter, 0)
    stored, failed_sets, increments, failed_increments, in_a_row = [], 0, 0, 0, 0
    settled_at = None
    n = 0
    while settled_at is None or in_a_row < RECOVERED:
        is_set = attempt(set_value, f"{prefix}n{n}", f"value {n}")
        if is_set:
            stored.append(n)
        else:
            failed_sets += 1
        is_incremented = attempt(increment, counter)
        if is_incremented:
            increments += 1
        else:
            failed_increments += 1
        in_a_row = in_a_row + 1 if is_set and is_incremented else 0
        if n == RECOVERED:
            print("writing", flush=True)
        n += 1
        if settled_at is None:
            if select.select([sys.stdin], [], [], PAUSE_S)[0]:
                heard("settled")
                settled_at = time.monotonic()
                in_a_row = 0
        else:
            assert time.monotonic() - settled_at < RECOVERY_S, "the library did not recover"
            time.sleep(PAUSE_S)

    for at in range(0, len(stored), KEYS_A_READ):
        expected = {f"{prefix}n{k}": f"value {k}" for k in stored[at : at + KEYS_A_READ]}
        assert read(list(expected)) == expected
    count = int(read([counter])[counter])
    assert increments <= count <= increments + failed_increments, count
    print(f"kept {len(stored) + increments}, {failed_sets + failed_increments} failed", flush=True)
    heard("flush")
