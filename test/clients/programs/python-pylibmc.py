"""The Python package pylibmc: libmemcached, written in C, behind it."""

import pylibmc

from failover import address, failover, prefix, raises, until_gone

client = pylibmc.Client(
    [address],
    binary=False,
    behaviors={
        "cas": True,
        "tcp_nodelay": True,
        # A server that was down is asked again after a second, as often as it takes.
        "retry_timeout": 1,
        "remove_failed": 0,
        "connect_timeout": 10_000,
        "send_timeout": 10_000_000,
        "receive_timeout": 10_000_000,
    },
)


def key(name):
    return prefix + name


values = {
    "string": "a value with \r\n in it",
    "unicode": "Grüße, 世界 🌍",
    "int": 42,
    "bool": True,
    "pickled": {"nested": [1, ("two", None)], 3.5: b"bytes"},
    "binary": bytes(range(256)),
    "empty": "",
    "large": bytes(at * 7 % 256 ^ at >> 8 & 255 for at in range(900_000)),
}
for name, value in values.items():
    assert client.set(key(name), value) is True
    assert client.get(key(name)) == value, name
assert client.set(key("compressed"), "x" * 2_000_000, min_compress_len=1000) is True
assert client.get(key("compressed")) == "x" * 2_000_000
assert client.get(key("missing")) is None
assert client.get_multi([key("string"), key("missing"), key("int")]) == {
    key("string"): values["string"],
    key("int"): 42,
}
assert client.set_multi({key("m1"): "1", key("m2"): "2"}) == []
assert client.delete_multi([key("m1"), key("m2")]) is True
assert client.get_multi([key("m1"), key("m2")]) == {}

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
raises(pylibmc.NotFound, client.cas, key("missing"), "x", cas)
assert client.get(key("a")) == "swapped"

client.set(key("count"), 10)
assert client.incr(key("count"), 5) == 15
assert client.decr(key("count"), 20) == 0
raises(pylibmc.NotFound, client.incr, key("missing"), 1)
raises(pylibmc.Error, client.incr, key("a"), 1)

assert client.delete(key("a")) is True
assert client.delete(key("a")) is False

client.set(key("short"), "x", time=1)
client.set(key("touched"), "x")
assert client.touch(key("touched"), 1) is True
assert client.touch(key("missing"), 1) is False
until_gone(lambda: client.get(key("short")))
until_gone(lambda: client.get(key("touched")))

raises(pylibmc.TooBig, client.set, key("huge"), values["large"] + bytes(200_000))
assert client.get(key("string")) == values["string"]
raises(ValueError, client.get, key("k" * 251))

[(_, stats)] = client.get_stats()
assert int(stats["curr_items"]) > 0 and stats["version"].count(b".") == 2

client.behaviors["_noreply"] = True
client.set(key("quiet"), 10)
client.incr(key("quiet"))
client.behaviors["_noreply"] = False
assert client.get(key("quiet")) == 11

failover(
    client.set,
    lambda name: client.incr(name) > 0,
    client.get_multi,
    (pylibmc.Error,),
)

assert client.flush_all() is True
assert client.get(key("string")) is None
client.set(key("string"), "again")
assert client.get(key("string")) == "again"
client.disconnect_all()
print("done")
