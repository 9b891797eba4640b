"""The Python package pymemcache, written in Python."""

from pymemcache import MemcacheError
from pymemcache.client.base import Client
from pymemcache.exceptions import (
    MemcacheClientError,
    MemcacheIllegalInputError,
    MemcacheServerError,
)
from pymemcache.serde import pickle_serde

from failover import address, failover, prefix, raises, until_gone

client = Client(
    address,
    serde=pickle_serde,
    allow_unicode_keys=True,
    default_noreply=False,
    connect_timeout=10,
    timeout=10,
)


def key(name):
    return prefix + name


values = {
    "string": "a value with \r\n in it",
    "unicode": "Grüße, 世界 🌍",
    "Schlüssel-世界": "a unicode key",
    "int": 42,
    "pickled": {"nested": [1, ("two", None)], 3.5: b"bytes"},
    "binary": bytes(range(256)),
    "empty": "",
    "large": bytes(at * 7 % 256 ^ at >> 8 & 255 for at in range(900_000)),
}
for name, value in values.items():
    assert client.set(key(name), value) is True
    assert client.get(key(name)) == value, name
assert client.get(key("missing")) is None
assert client.get(key("missing"), "default") == "default"
assert client.get_many([key("string"), key("missing"), key("int")]) == {
    key("string"): values["string"],
    key("int"): 42,
}
assert client.set_many({key("m1"): "1", key("m2"): "2"}) == []
assert client.delete_many([key("m1"), key("m2")]) is True
assert client.get_many([key("m1"), key("m2")]) == {}

assert client.add(key("a"), "middle") is True
assert client.add(key("a"), "x") is False
assert client.replace(key("a"), "MIDDLE") is True
assert client.replace(key("missing"), "x") is False
assert client.append(key("a"), " end") is True
assert client.prepend(key("a"), "begin ") is True
assert client.append(key("missing"), "x") is False
assert client.get(key("a")) == "begin MIDDLE end"

value, cas = client.gets(key("a"))
assert value == "begin MIDDLE end"
assert client.cas(key("a"), "swapped", cas) is True
assert client.cas(key("a"), "too late", cas) is False
assert client.cas(key("missing"), "x", cas) is None
assert list(client.gets_many([key("a"), key("missing")])) == [key("a")]
assert client.get(key("a")) == "swapped"

client.set(key("count"), 10)
assert client.incr(key("count"), 5) == 15
assert client.decr(key("count"), 20) == 0
assert client.incr(key("missing"), 1) is None
raises(MemcacheClientError, client.incr, key("a"), 1)

assert client.set(key("quiet"), 10, noreply=True) is True
assert client.incr(key("quiet"), 1, noreply=True) is None
assert client.touch(key("quiet"), 0, noreply=True) is True
assert client.get(key("quiet")) == 11
assert client.delete(key("quiet"), noreply=True) is True
assert client.get(key("quiet")) is None

assert client.delete(key("a")) is True
assert client.delete(key("a")) is False

client.set(key("short"), "x", expire=1)
client.set(key("touched"), "x")
assert client.touch(key("touched"), 1) is True
assert client.touch(key("missing"), 1) is False
until_gone(lambda: client.get(key("short")))
until_gone(lambda: client.get(key("touched")))

raises(MemcacheServerError, client.set, key("huge"), values["large"] + bytes(200_000))
assert client.get(key("string")) == values["string"]
raises(MemcacheIllegalInputError, client.get, key("with space"))
raises(MemcacheIllegalInputError, client.get, key("k" * 251))
raises(MemcacheClientError, client.touch, key("string"), "soon")

version = client.version()
stats = client.stats()
assert stats[b"version"] == version
assert stats[b"curr_items"] > 0 and isinstance(stats[b"rusage_user"], float)
assert b"evictions" in client.stats("settings")

failover(
    client.set,
    lambda name: client.incr(name, 1) is not None,
    client.get_many,
    (MemcacheError, OSError),
)

assert client.flush_all() is True
assert client.get(key("string")) is None
client.set(key("string"), "again")
assert client.get(key("string")) == "again"
client.quit()
print("done")
