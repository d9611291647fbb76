"""Makes the samples store-4 and store-4-crashed, and beside each what is in it (.json), for tests/e2e/format.py.

    /usr/bin/python3 tests/data/make_store.py [DIRECTORY]       # tests/data

Every later version has to open them, so they are made anew for a new format only, under a new name. Each has a segment that was
merged and others as they were sealed, blocks of every codec and both layouts, two checkpoints, deleted entries that still lie in
segments, settings, idempotence IDs, expiry, names that changed, consumer groups, and a log. Keys have values of every type, in records, segments and checkpoints,
changed and renamed, with a view of their changes. (store-2 was made before there were groups, store-3 before there were values.) The first was closed in good order, the second killed.
What beckd was started with is printed.
"""

import json
import os
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from beck import ROOT, Error, Server

FLAGS = ["--wal-file-bytes", "65536", "--checkpoint-bytes", "1048576"]
WORDS = ["red", "green", "blue", "a rather long word that comes again and again"]
BYTES_MAX = 100 << 10


def do(c, *commands):
    """Sends them in one go, so that they are one batch of the log or two."""
    for command in commands:
        c.send(*command)
    for command in commands:
        reply = c.read()
        if isinstance(reply, Error):
            raise SystemExit("%r: %s" % (command, reply))


def first_life(c):
    for codec in ("none", "lz4", "zstd:1"):
        key = "of-" + codec
        do(c, *[("XADD", key, "%d-%d" % (i // 2 + 1, i % 2), "n", i * i, "word", WORDS[i % 4], "path", "/var/log/%d" % i,
                 "day", "2026-%02d-%02d" % (i % 12 + 1, i % 28 + 1), "price", -i) for i in range(1, 60)],
           ("XCFGSET", key, "CODEC", codec))
    do(c, *[("XADD", "by-row", "%d-0" % (3 * i), *["f%d" % (i * 7 + k) for k in range(2 * (i % 5) + 2)]) for i in range(1, 60)],
       ("XCFGSET", "by-row", "CODEC", "lz4"))
    do(c, ("XADD", "binary", "1-0", b"\xff\x00", b"\r\n", "", ""), ("XADD", "old-name", "1-1", "f", "v"),
       ("XADD", "expires", "5-0", "f", "v"), ("PEXPIREAT", "expires", 4102444800000), ("XADD", "gone", "1-0", "f", "v"))
    first_life_of_groups(c)
    first_life_of_values(c)
    do(c, ("BECK", "SEAL"))
    do(c, ("XDEL", "of-lz4", "5-0", "6-0"), ("DEL", "gone"), ("RENAME", "old-name", "new-name"),
       *[("XADD", "of-lz4", "%d-0" % i, "n", i) for i in range(100, 130)], ("SELECT", 7), ("XADD", "elsewhere", "1-0", "f", "v"), ("SELECT", 0))
    do(c, ("BECK", "MERGE"))


LATER = 1 << 40  # ms: what waits for it does so in every test for 34 years


def first_life_of_groups(c):
    do(c, ("XGROUP", "CREATE", "of-lz4", "plain", "0"), ("XGROUP", "CREATE", "by-row", "gone", "$"),
       ("XGROUP", "CREATE", "of-none", "options", "0", "ACKWAIT", LATER, "MAXDELIVER", 3, "DLQ", "dead", "BACKOFF", 2, 5000, LATER, "CONSUMERTTL", LATER),
       ("XGROUP", "CREATE", "of-zstd:1", "ordered", "0", "ORDERBY", "word", "MAXPENDING", 30), ("XGROUP", "CREATE", "of-none", b"\xff\x00", "3-0"),
       ("XREADGROUP", "GROUP", "plain", "alice", "COUNT", 20, "STREAMS", "of-lz4", ">"),
       ("XREADGROUP", "GROUP", "options", "bob", "COUNT", 20, "STREAMS", "of-none", ">"),
       ("XREADGROUP", "GROUP", "ordered", "carol", "COUNT", 20, "STREAMS", "of-zstd:1", ">"),
       ("XREADGROUP", "GROUP", b"\xff\x00", b"\r\n", "COUNT", 5, "NOACK", "STREAMS", "of-none", ">"),
       ("XACK", "of-lz4", "plain", "1-0", "1-1", "2-0", "3-1"), ("XCLAIM", "of-lz4", "plain", "dave", 0, "4-0", "4-1"),
       ("XNACK", "of-none", "options", "FAIL", "IDS", 2, "2-0", "2-1"), ("XNACK", "of-none", "options", "FATAL", "IDS", 1, "6-0"),
       ("XGROUP", "DESTROY", "by-row", "gone"), ("XGROUP", "CREATECONSUMER", "of-lz4", "plain", "eve"))


def second_life_of_groups(c):
    do(c, ("XGROUP", "DELCONSUMER", "of-none", "options", "bob"), ("XACK", "of-zstd:1", "ordered", "1-1"),
       ("XREADGROUP", "GROUP", "ordered", "frank", "COUNT", 20, "STREAMS", "of-zstd:1", ">"), ("XGROUP", "SETID", "of-none", b"\xff\x00", "9-1"),
       ("XREADGROUP", "GROUP", "plain", "grace", "COUNT", 5, "STREAMS", "of-lz4", ">"), ("XDELEX", "of-lz4", "DELREF", "IDS", 1, "4-1"))


def first_life_of_values(c):
    do(c, *[("SET", "session:%d" % i, "%d %s" % (i, WORDS[i % 4]), "PXAT", 4102444800000 + i) for i in range(40)],
       ("SET", "long", "x" * 2000), ("APPEND", "long", "tail"), ("SET", b"\xff\x00", b"\r\n"), ("HSET", "hash", "a", 1, "b", 2, "c", 3), ("HDEL", "hash", "b"),
       ("HSET", "expiring", "f", 1, "g", 2), ("HPEXPIREAT", "expiring", 4102444800000, "FIELDS", 1, "f"), ("RPUSH", "list", *range(30)),
       ("LPUSH", "list", "first"), ("LREM", "list", 1, 7), ("SET", "to-rename", "v"), ("SET", "gone-value", "v"))
    do(c, *[("DEL", "session:%d" % i) for i in range(0, 40, 4)], ("RENAME", "to-rename", "renamed"))


def second_life_of_values(c):
    do(c, ("DEL", "gone-value"), ("SET", "session:1", "again"), ("HSET", "hash", "d", 4), ("RPUSH", "list", "last"), ("LPOP", "list"), ("SETRANGE", "long", 5, "patched"),
       ("PERSIST", "session:2"), ("COPY", "hash", "copied"), ("SELECT", 7), ("SET", "elsewhere-too", 1), ("SELECT", 0), ("XGROUP", "CREATE", "beck:changes", "of-changes", "0"),
       ("XREADGROUP", "GROUP", "of-changes", "alice", "COUNT", 3, "STREAMS", "beck:changes", ">"))


def second_life(c):
    second_life_of_values(c)
    second_life_of_groups(c)
    do(c, ("XDEL", "of-none", "7-0", "7-1", "20-0"), ("XTRIM", "of-zstd:1", "MINID", "10-0"), ("XDEL", "of-lz4", "100-0", "110-0"),
       *[("XADD", "of-none", "%d-0" % i, "n", i, "word", WORDS[i % 4]) for i in range(100, 130)])
    do(c, ("BECK", "SEAL"))
    do(c, ("XADD", "emptied", "9-0", "f", "v"), ("XTRIM", "emptied", "MAXLEN", 0),
       ("XADD", "with-idmp", "IDMP", "shop", "a-1", "*", "n", 1), ("XADD", "with-idmp", "IDMP", "shop", "a-1", "*", "n", 1))
    do(c, ("BECK", "SEAL"))
    do(c, ("XREADGROUP", "GROUP", "plain", "eve", "COUNT", 3, "STREAMS", "of-lz4", ">"), ("XACK", "of-lz4", "plain", "5-0", "5-1"))
    do(c, ("XDEL", "of-none", "101-0", "30-0"), *[("XADD", "of-zstd:1", "%d-0" % i, "n", i) for i in range(200, 220)],
       ("XDEL", "of-zstd:1", "205-0", "11-0"), ("RENAME", "binary", "bytes"))


def plain(value):
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"hex": value.hex()}
    return [plain(v) for v in value] if isinstance(value, list) else value


def pairs(reply):
    return dict(zip(reply[0::2], reply[1::2]))


def groups(c, key):
    """What does not depend on when it is asked."""
    found = {}
    for shown in map(pairs, pairs(c.call("XINFO", "STREAM", key, "FULL", "COUNT", 0))[b"groups"]):
        told = pairs(c.call("BECK", "GROUP", key, shown[b"name"]))
        consumers = map(pairs, shown[b"consumers"])
        found[json.dumps(plain(shown[b"name"]))] = {
            "last": plain(shown[b"last-delivered-id"]),
            "read": shown[b"entries-read"],
            "pending": plain(shown[b"pending"]),
            "consumers": [plain([x[b"name"], x[b"active-time"], x[b"pel-count"]]) for x in consumers],
            "told": {n: plain(told[n.encode()]) for n in ("lag", "parked", "ackwait", "maxdeliver", "dlq", "backoff", "maxpending", "consumerttl", "orderby")},
        }
    return found


def value(c, key):
    kind = str(c.call("TYPE", key))
    shown = {"string": ["GET", key], "hash": ["HGETALL", key], "list": ["LRANGE", key, 0, -1]}[kind]
    bytes_of = c.call(*shown)
    if kind == "hash":
        bytes_of = [x for pair in sorted(zip(bytes_of[0::2], bytes_of[1::2])) for x in pair]
    return {"type": kind, "value": plain(bytes_of), "expiry": c.call("PEXPIRETIME", key), "revision": c.call("GETREV", key)[1]}


def contents(server):
    """{database: {stream: what the server says of it}}, and the same of values under "values", as JSON has it."""
    found = {}
    with server.connect() as c:
        for db in range(16):
            c.call("SELECT", db)
            for key in sorted(c.call("KEYS", "*")):
                if c.call("TYPE", key) != "stream":
                    found.setdefault("values", {}).setdefault(str(db), {})[json.dumps(plain(key))] = value(c, key)
                    continue
                info = c.call("XINFO", "STREAM", key)
                info = dict(zip(info[0::2], info[1::2]))
                found.setdefault(str(db), {})[key.decode()] = {
                    "entries": plain(c.call("XRANGE", key, "-", "+")),
                    "expiry": c.call("PEXPIRETIME", key),
                    "last": plain(info[b"last-generated-id"]),
                    "added": info[b"entries-added"],
                    "max-deleted": plain(info[b"max-deleted-entry-id"]),
                }
                if info[b"groups"]:
                    found[str(db)][key.decode()]["groups"] = groups(c, key)
    return found


def make(to, crashed):
    base = tempfile.mkdtemp(prefix="beck-sample-")
    path = os.path.join(base, "store")
    try:
        with Server(args=FLAGS, path_dir=path) as server:
            with server.connect() as c:
                first_life(c)
            server.restart()
            with server.connect() as c:
                second_life(c)
            says = contents(server)
            if crashed:
                server.kill()
            elif server.stop() != 0:
                raise SystemExit("beckd did not end in good order")
        for name in os.listdir(path):
            if name.endswith((".tmp", "-reserve")):
                os.unlink(os.path.join(path, name))  # holds nothing that counts
        size = sum(os.path.getsize(os.path.join(path, name)) for name in os.listdir(path))
        if size > BYTES_MAX:
            raise SystemExit("%d bytes, which is more than %d: %s" % (size, BYTES_MAX, sorted(os.listdir(path))))
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(path, to)
        with open(to + ".json", "w") as f:
            json.dump(says, f, indent=1, sort_keys=True)
            f.write("\n")
        print("%s: %d bytes; beckd %s" % (to, size, " ".join(FLAGS)))
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    directory = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "tests", "data")
    make(os.path.join(directory, "store-4"), crashed=False)
    make(os.path.join(directory, "store-4-crashed"), crashed=True)
