"""What beckd writes is what docs/format.md says: tests/lib/wal.py, which knows only that page, reads it.

Stores that a beckd writes now, one with a log alone and one with segments and checkpoints in every state; and the samples in tests/data,
which every later version has to open: store-1 is the log alone, store-2 and store-2-crashed have all but consumer groups, store-3 and
store-3-crashed these too, store-4 and store-4-crashed values (made by tests/data/make_store.py). With MAKE_SAMPLE=1 store-1 is written anew; that is for a new format only.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

import beck
from beck import ROOT, Checks, Server
from wal import CLOSE, Damaged, Store
import walvalues

sys.path.insert(0, os.path.join(ROOT, "tests", "data"))
import make_store

BECK = os.path.abspath(os.environ.get("BECK", os.path.join(ROOT, "build", "beck")))
SAMPLE = os.path.join(ROOT, "tests", "data", "store-1")
SAMPLE_TEXT = SAMPLE + ".txt"
FLAGS = ["--wal-file-bytes", "65536"]

checks = Checks("format: a reader that knows only docs/format.md")

FIRST_LIFE = [
    ("XADD", "orders", "1-1", "item", "pen", "n", "3"),
    ("XADD", "orders", "2-0", "item", "", "", "x"),
    ("XADD", "orders", "2-1", "binary", b"\x00\xff\r\n"),
    ("XDEL", "orders", "2-0"),
    ("XCFGSET", "orders", "IDMP-DURATION", "300", "IDMP-MAXSIZE", "50"),
    ("XADD", "orders", "IDMP", "shop-1", "a17", "*", "item", "ink"),
    ("XADD", "orders", "IDMP", "shop-1", "a17", "*", "item", "ink"),
    ("SELECT", "3"),
    ("MULTI",),
    ("XADD", "prices", "7-7", "eur", "1.50"),
    ("XADD", "prices", "8-0", "eur", "1.55"),
    ("XADD", "gone", "1-0", "f", "v"),
    ("EXEC",),
    ("DEL", "gone"),
    ("RENAME", "prices", "tariffs"),
    ("PEXPIREAT", "tariffs", "4102444800000"),
    ("XADD", "empty", "5-5", "f", "v"),
    ("XTRIM", "empty", "MAXLEN", "0"),
    ("XSETID", "empty", "9-9", "ENTRIESADDED", "20", "MAXDELETEDID", "6-0"),
    ("SELECT", "4"),
    ("XADD", "flushed", "1-0", "f", "v"),
    ("FLUSHDB",),
    ("SELECT", "0"),
] + [("XADD", "big", "%d-0" % i, "text", "%04d " % i * 400) for i in range(1, 41)]

SECOND_LIFE = [("XADD", "orders", "99999999999999-0", "item", "chair"), ("XTRIM", "big", "MINID", "30-0")]


def write(server):
    with server.connect() as c:
        for command in FIRST_LIFE:
            reply = c.call(*command)
            checks.ok("%s is done" % command[0], not isinstance(reply, beck.Error), str(reply))
    server.restart(kill=True)
    with server.connect() as c:
        for command in SECOND_LIFE:
            c.call(*command)
    checks.equal("beckd ends in good order", server.stop(), 0)


def as_reply(entries):
    return [[b"%d-%d" % i, [s for pair in fields for s in pair]] for i, fields in entries]


def pairs(reply):
    return dict(zip(reply[0::2], reply[1::2]))


def as_shown(g):
    """A group of the reader as XINFO STREAM FULL shows it."""
    pending = [(b"%d-%d" % i, b"" if x.nacked else g.consumers[x.slot][0], 0 if x.nacked else x.time, x.count) for i, x in g.pending()]
    consumers = [(name, active or -1, sum(row[1] == name for row in pending)) for name, active in g.consumers.values()]
    return [b"%d-%d" % g.last, None if g.read < 0 else g.read, pending, sorted(consumers)]


def as_xinfo(shown):
    consumers = [pairs(c) for c in shown[b"consumers"]]
    return [shown[b"last-delivered-id"], shown[b"entries-read"], [tuple(row) for row in shown[b"pending"]],
            sorted((c[b"name"], c[b"active-time"], c[b"pel-count"]) for c in consumers)]


def as_settings(g):
    options = {name: g.options.get(name, 0) for name in ("ackwait", "maxdeliver", "maxpending", "consumerttl")}
    return dict(options, dlq=g.options.get("dlq", b""), backoff=g.options.get("backoff", []), orderby=g.options.get("orderby", (b"", 0))[0])


def compare_groups(what, c, key, stream):
    """Its groups are those that the server shows."""
    shown = {g[b"name"]: g for g in map(pairs, pairs(c.call("XINFO", "STREAM", key, "FULL", "COUNT", "0"))[b"groups"])}
    checks.equal("%s: groups of %r" % (what, key), sorted(shown), sorted(g.name for g in stream.groups.values()))
    for g in stream.groups.values():
        checks.equal("%s: group %r of %r" % (what, g.name, key), as_xinfo(shown[g.name]), as_shown(g))
        told = pairs(c.call("BECK", "GROUP", key, g.name))
        checks.equal("%s: lag and parked entries of %r of %r" % (what, g.name, key), [told[b"lag"], told[b"parked"]],
                     [len(stream.live()) - g.n_behind + g.n_parked(), g.n_parked()])
        checks.equal("%s: settings of %r of %r" % (what, g.name, key), {n: told[n.encode()] for n in as_settings(g)}, as_settings(g))


def compare_value(what, c, key, v):
    if v.kind == walvalues.STRING:
        got, want = c.call("GET", key), v.bytes
    elif v.kind == walvalues.HASH:
        got, want = pairs(c.call("HGETALL", key)), {field: value for field, (value, _) in v.bytes.items()}
        times = c.call("HPEXPIRETIME", key, "FIELDS", len(want), *want)
        checks.equal("%s: expiry of fields of %r" % (what, key), times, [expiry or -1 for _, expiry in v.bytes.values()])
    else:
        got, want = c.call("LRANGE", key, 0, -1), [element for _, element in sorted(v.bytes.items())]
    checks.equal("%s: value of %r" % (what, key), got, want)
    checks.equal("%s: revision of %r" % (what, key), c.call("GETREV", key)[1], v.rev)


def compare(what, path, server):
    """The streams and values that the reader finds in `path` are those that the server shows."""
    store = Store(path)
    state = store.state()
    store.values = {key: v for key, v in store.values.items() if v.expiry == 0 or v.expiry > time.time() * 1000}
    with server.connect() as c:
        for db in range(16):
            c.call("SELECT", db)
            keys = sorted(c.call("KEYS", "*"))
            checks.equal("%s: keys of database %d" % (what, db), keys,
                         sorted(key for d, key in [*state, *store.values] if d == db))
            for key in keys:
                if (db, key) in store.values:
                    v = store.values[db, key]
                    compare_value(what, c, key, v)
                    checks.equal("%s: expiry of %r" % (what, key), c.call("PEXPIRETIME", key), v.expiry or -1)
                    continue
                checks.equal("%s: entries of %r" % (what, key), c.call("XRANGE", key, "-", "+"),
                             as_reply(state[db, key].live()))
                checks.equal("%s: expiry of %r" % (what, key), c.call("PEXPIRETIME", key), state[db, key].expiry or -1)
                compare_groups(what, c, key, state[db, key])
    return store


def check_new_store(path):
    with Server(args=FLAGS, path_dir=path) as server:
        write(server)
        closed = path + ".closed"
        shutil.copytree(path, closed)
        server.start()
        store = compare("a new store", closed, server)
    kinds = {r.name for r in store.records}
    checks.equal("every kind of record is in it", sorted(kinds), sorted(
        "SKIP STREAM ENTRY ENTRY_IDMP REMOVE CUT SETID NAME UNNAME CHANGE IDMP_CONFIG".split()))
    checks.ok("it has several files", len(store.files) > 1)
    checks.equal("the last frame is a CLOSE", store.markers[-1], CLOSE)
    check_damage(closed, store)


SEALING = ["--wal-file-bytes", "65536", "--arena-bytes", "65536", "--checkpoint-bytes", "1048576"]


def wait_for(c, *command):
    reply = c.call(*command)
    checks.ok(" ".join(map(str, command)) + " is done", not isinstance(reply, beck.Error), str(reply))


def write_sealed(server):
    """Lives with everything in them: sealed, merged, deleted from, renamed, begun anew, cut, and on top of it a tail."""
    words = ["red", "green", "blue", "a rather long word that comes again and again"]
    with server.connect() as c:
        for codec in ("none", "lz4", "zstd:1", "auto"):
            key = "of-" + codec
            for i in range(1, 120):
                c.call("XADD", key, "%d-%d" % (i // 2 + 1, i % 2), "n", i * i, "word", words[i % 4], "path", "/var/log/%s/%d" % (key, i),
                       "day", "2026-%02d-%02d" % (i % 12 + 1, i % 28 + 1), "price", -i)
            wait_for(c, "XCFGSET", key, "CODEC", codec)
        for i in range(1, 90):  # no two alike: by row
            c.call("XADD", "mixed", "%d-0" % (3 * i), *["f%d" % (i * 7 + k) for k in range(2 * (i % 5) + 2)])
        for i in range(70):  # more streams than the filter lists
            c.call("XADD", "small:%d" % i, "%d-7" % (i + 1), "field", "value %d" % i)
        for command in FIRST_LIFE:
            c.call(*command)
        wait_for(c, "BECK", "SEAL")
        for key in ("of-none", "of-lz4", "mixed"):
            c.call("XDEL", key, "5-0", "6-0", "9-0", "10-1", "30-0")
        c.call("XTRIM", "of-zstd:1", "MINID", "20-0")
        c.call("DEL", "small:7")
        c.call("RENAME", "small:8", "small:9")
        wait_for(c, "BECK", "SEAL")
    server.restart(kill=True)
    with server.connect() as c:
        for i in range(200, 300):
            c.call("XADD", "of-auto", "%d-0" % i, "n", i, "word", words[i % 4])
        c.call("XTRIM", "small:10", "MAXLEN", 0)
        c.call("XSETID", "small:10", "1-0")
        c.call("XADD", "small:10", "2-0", "begun", "anew")
        wait_for(c, "BECK", "MERGE")
        c.call("XDEL", "of-auto", "201-0", "3-0", "250-0")
        for i in range(300, 320):
            c.call("XADD", "of-auto", "%d-0" % i, "n", i)
        c.call("XDEL", "of-auto", "310-0")


def ids_of(reply):
    return [i for i, _ in reply[0][1]] if reply else []


def read(c, group, consumer, count, *words, key="jobs"):
    return ids_of(c.call("XREADGROUP", "GROUP", group, consumer, "COUNT", count, *words, "STREAMS", key, ">"))


def write_groups(c):
    """Groups of every kind, with entries in every state; everything that a record can say is said."""
    for i in range(1, 200):
        wait_for(c, "XADD", "jobs", "%d-%d" % (i // 3 + i // 30, i % 3), "hex", i % 40, "n", i)
    for command in (("plain", "0"), ("options", "0", "ACKWAIT", 3600000, "MAXDELIVER", 5, "BACKOFF", 3, 10, 200, 3000, "DLQ", "dead"),
                    ("ordered", "0", "ORDERBY", "hex", "MAXPENDING", 100), ("gone", "$"), ("set", "5-0", "ENTRIESREAD", 5)):
        wait_for(c, "XGROUP", "CREATE", "jobs", *command)
    for group in ("plain", "options", "ordered"):
        for consumer in ("alice", "bob", "carol", b"\xff\x00"):
            ids = read(c, group, consumer, 20)
            wait_for(c, "XACK", "jobs", group, *ids[::2])
            wait_for(c, "XCLAIM", "jobs", group, "dave", 0, *ids[1:8:2])
        wait_for(c, "XNACK", "jobs", group, "FATAL" if group == "ordered" else "FAIL", "IDS", 2, *ids[1:4:2])
        wait_for(c, "XREADGROUP", "GROUP", group, "eve", "COUNT", 5, "CLAIM", 0, "STREAMS", "jobs", ">")
        wait_for(c, "XGROUP", "DELCONSUMER", "jobs", group, "bob")
        wait_for(c, "XGROUP", "DELCONSUMER", "jobs", group, "carol", "HANDBACK")
    wait_for(c, "XGROUP", "DESTROY", "jobs", "gone")
    wait_for(c, "XGROUP", "SETID", "jobs", "set", "20-0")
    wait_for(c, "XREADGROUP", "GROUP", "set", "frank", "COUNT", 9, "NOACK", "STREAMS", "jobs", ">")
    wait_for(c, "XGROUP", "CFGSET", "jobs", "options", "ACKWAIT", 0, "CONSUMERTTL", 3600000)
    wait_for(c, "XADD", "jobs", "5000-0", "hex", 3)
    wait_for(c, "XDEL", "jobs", *ids[2:12:3], "9-1", "30-0")
    wait_for(c, "XDELEX", "jobs", "DELREF", "IDS", 1, ids[5])
    wait_for(c, "XTRIM", "jobs", "MINID", "8-0")
    wait_for(c, "XTRIM", "jobs", "MINID", "12-0", "DELREF")
    wait_for(c, "XTRIM", "jobs", "MINID", "30-0", "ACKED")


def more_of_groups(c):
    """What comes after a checkpoint."""
    for group in ("plain", "options", "ordered"):
        wait_for(c, "XACK", "jobs", group, *read(c, group, "alice", 10)[::3])
    wait_for(c, "XADD", "jobs", "6000-0", "hex", 1)


GROUP_RECORDS = {"GROUP", "GROUP_DROP", "GROUP_POSITION", "GROUP_OPTIONS", "CONSUMER", "CONSUMER_DROP", "DELIVER", "PENDING", "ACK", "UNREF", "SIFT"}


def dump(path, *words):
    run = subprocess.run([BECK, "log", "dump", *words, path], capture_output=True)
    checks.equal("beck log dump %s can read it" % " ".join(words), [run.returncode, run.stderr], [0, b""])
    return [json.loads(line) for line in run.stdout.splitlines()]


def check_dump_of_groups(path, store):
    """`beck log dump` tells of groups what the reader reads."""
    def text(ids):
        return ["%d-%d" % i for i in ids]

    lines = {line["lsn"]: line for line in dump(path)}
    checks.equal("nothing is malformed", [line for line in lines.values() if "malformed" in line], [])
    for r in store.records:
        line = lines[r.lsn]
        if r.name == "DELIVER":
            d = r.body["delivery"]
            checks.equal("delivery %d" % r.lsn, [line["delivery"].get("ids", []), line["delivery"].get("parked", []), line["slot"]],
                         [text(d["ids"]), text(d["parked"]), d["slot"]])
        elif r.name == "PENDING":
            x = r.body["change"]
            pending = line["pending"]
            checks.equal("change %d" % r.lsn, [pending["ids"], pending.get("counts", [pending.get("count")] * len(x["ids"]))],
                         [text(x["ids"]), x["counts"]])
        elif r.name == "ACK":
            checks.equal("acknowledgement %d" % r.lsn, line["ids"], text(r.body["ids"]))
        elif r.name in ("GROUP", "GROUP_OPTIONS"):
            options = {n: v for n, v in line["options"].items() if n != "seed"}
            checks.equal("options %d" % r.lsn, sorted(options), sorted(r.body["options"]))


def check_dump_of_checkpoint(path):
    found = {}
    for item in dump(path, "--checkpoint"):
        if item["kind"] == "group":
            found[item["gid"]] = [item["group"], len(item["consumers"]), []]
        elif item["kind"] == "pending":
            found[item["gid"]][2] += list(zip(item["pending"]["ids"], [x["state"] for x in item["pending"]["entries"]]))
    checks.equal("beck log dump --checkpoint has the groups", found,
                 {g.gid: [g.name.decode(), len(g.consumers), [("%d-%d" % i, x.state()) for i, x in sorted(g.entries.items())]]
                  for s in Store(path).checkpoint.objects.values() for g in s.groups.values()})


def check_groups(base):
    path = os.path.join(base, "groups")
    with Server(args=SEALING, path_dir=path) as server:
        with server.connect() as c:
            write_groups(c)
        store = compare("groups in records", copy_of(server, path + ".records"), server)
        checks.equal("every kind of record of groups is in it", {r.name for r in store.records} & GROUP_RECORDS, GROUP_RECORDS)
        entries = [x for s in store.state().values() for g in s.groups.values() for x in g.entries.values()]
        for state in ("held", "nacked", "parked", "gone"):
            checks.ok("some entries are " + state, any(x.gone if state == "gone" else x.state() == state for x in entries))
        check_dump_of_groups(path + ".records", store)
        with server.connect() as c:
            wait_for(c, "BECK", "SEAL")
            more_of_groups(c)
        store = compare("groups in a checkpoint and records", copy_of(server, path + ".sealed"), server)
        checks.ok("a checkpoint has groups", any(s.groups for s in store.checkpoint.objects.values()))
        check_dump_of_checkpoint(path + ".sealed")


def write_values(c, life):
    """Values of every kind, and every kind of change."""
    for i in range(150):
        wait_for(c, "SET", "key:%d" % i, "value %d of life %d " % (i, life) * 3)
    for i in range(0, 150, 7):
        wait_for(c, "SET", "key:%d" % i, "x" * (i * 9), "PXAT", 4102444800000 + i)
    wait_for(c, "APPEND", "key:3", " and more")
    wait_for(c, "SETRANGE", "large", 3000 * life, b"\x00\xff" * 900)
    wait_for(c, "HSET", "hash", *[x for i in range(60) for x in ("field %d" % i, i * life)])
    wait_for(c, "HDEL", "hash", "field 3", "field 4")
    wait_for(c, "HPEXPIREAT", "hash", 4102444800123, "FIELDS", 2, "field 5", "field 6")
    wait_for(c, "RPUSH", "list", *range(40))
    wait_for(c, "LPUSH", "list", *["left %d" % i for i in range(20)])
    wait_for(c, "LPOP", "list", 7)
    wait_for(c, "LTRIM", "list", 0, -3)
    wait_for(c, "LREM", "list", 1, "20")
    wait_for(c, "DEL", "key:100", "key:101")
    wait_for(c, "RENAME", "key:102", "renamed")
    wait_for(c, "MOVE", "key:103", 5)
    wait_for(c, "COPY", "list", "a copy", "REPLACE")
    wait_for(c, "PEXPIREAT", "key:8", 4102444800001)
    wait_for(c, "PERSIST", "key:7")
    wait_for(c, "SET", "brief", "v", "PX", 1)


def check_values(base):
    path = os.path.join(base, "values")
    args = SEALING + ["--cache-history-bytes", "1048576", "--cache-history-age", "1000"]
    with Server(args=args, path_dir=path) as server:
        with server.connect() as c:
            write_values(c, 1)
        store = compare("values in records", copy_of(server, path + ".records"), server)
        lines = dump(path + ".records")
        checks.equal("no record of a change is malformed", [line for line in lines if "malformed" in line], [])
        checks.equal("changes are told", {line["lsn"]: line["change"]["op"] for line in lines if line["type"] == "CHANGE"},
                     {r.lsn: walvalues.OPS[r.body["entry"][1][0][0][0]] for r in store.records if r.name == "CHANGE"})
        with server.connect() as c:
            wait_for(c, "BECK", "SEAL")
            write_values(c, 2)
            wait_for(c, "BECK", "SEAL")
            wait_for(c, "SWAPDB", 5, 6)
            wait_for(c, "HSET", "hash", "field 1", "once more")
        store = compare("values in segments", copy_of(server, path + ".sealed"), server)
        checks.ok("a checkpoint has values", store.checkpoint.values.values != {})
        checks.ok("segments have changes", any(1 in s.streams for s in store.segments))
        for words in (["--checkpoint"], ["--segments"]):
            checks.equal("nothing is malformed", [line for line in dump(path + ".sealed", *words) if "malformed" in line], [])
        with server.connect() as c:
            write_values(c, 3)
            wait_for(c, "BECK", "MERGE")
            wait_for(c, "SELECT", 6)
            wait_for(c, "FLUSHDB")
        compare("values in merged segments", copy_of(server, path + ".merged"), server)


def copy_of(server, to):
    """The store as a kill leaves it; the server goes on."""
    server.kill()
    shutil.copytree(server.dir, to)
    server.restart()
    return to


def check_sealed_store(base):
    path = os.path.join(base, "sealed")
    with Server(args=SEALING, path_dir=path) as server:
        write_sealed(server)
        before = copy_of(server, path + ".before")
        store = compare("a sealed store", before, server)
        with server.connect() as c:
            wait_for(c, "BECK", "SEAL")
        again = copy_of(server, path + ".again")
        compare("a store sealed again", again, server)
        with Server(args=SEALING, path_dir=before) as other:
            compare("a sealed store that was killed", again, other)
    blocks = [b for s in store.segments for b in s.blocks] + [b for s in Store(again).segments for b in s.blocks]
    checks.ok("segments have blocks by row and by column", {b.layout for b in blocks} == {0, 1})
    checks.ok("of all codecs", {b.codec for b in blocks} == {0, 1, 2}, str({b.codec for b in blocks}))
    checks.equal("with every kind of column", set().union(*(b.kinds for b in blocks)), {0, 1, 2, 3, 4})
    checks.ok("a segment has more streams than a list of them", any(len(s.streams) > 64 for s in store.segments))
    checks.ok("what was deleted is still in a segment", any(s.deleted & set(s.entries) for s in store.state().values()))
    checks.equal("there are two checkpoints", len(store.manifest.checkpoints), 2)


def check_damage(path, store):
    """The reader and the server agree that a durable record is missing."""
    with open(store.files[0].path, "r+b") as f:
        f.seek(4096 + 70)
        f.write(b"\xee\xee")
    try:
        Store(path)
        checks.ok("the reader sees damage", False)
    except Damaged:
        checks.ok("the reader sees damage", True)
    server = Server(args=FLAGS, path_dir=path, start=False)
    try:
        server.start()
        checks.ok("the server refuses damage", False)
    except SystemExit as e:
        checks.ok("the server refuses damage", "wal-00000000000000001024.log" in str(e), str(e))
    finally:
        server.close()


def check_sample(base):
    """The sample of format 1 still reads as it did, here and in the server."""
    path = os.path.join(base, "sample")
    shutil.copytree(SAMPLE, path)
    with open(SAMPLE_TEXT) as f:
        want = f.read().splitlines()
    checks.equal("the sample of format 1", [str(r) for r in Store(SAMPLE).records], want)
    with Server(args=FLAGS, path_dir=path) as server:
        compare("the sample", SAMPLE, server)


def as_told(server):
    """What make_store.py keeps beside a sample."""
    return json.loads(json.dumps(make_store.contents(server)))


def check_made_samples(base):
    """Those of make_store.py: what is in them, here, in the server, and for `beck log`."""
    for name in ("store-2", "store-2-crashed", "store-3", "store-3-crashed", "store-4", "store-4-crashed"):
        sample = os.path.join(ROOT, "tests", "data", name)
        with open(sample + ".json") as f:
            want = json.load(f)
        found, values = {}, {}
        store = Store(sample)
        store.state()
        for (db, key), v in store.values.items():
            held = v.bytes
            if v.kind == walvalues.HASH:
                held = [x for field in sorted(held) for x in (field, held[field][0])]
            elif v.kind == walvalues.LIST:
                held = [held[place] for place in sorted(held)]
            values.setdefault(str(db), {})[json.dumps(make_store.plain(key))] = {
                "type": {walvalues.STRING: "string", walvalues.HASH: "hash", walvalues.LIST: "list"}[v.kind],
                "value": make_store.plain(held), "expiry": v.expiry or -1, "revision": v.rev}
        as_was = dict(want)
        checks.equal(name + ": its values", values, want.pop("values", {}))
        for (db, key), s in sorted(store.state().items()):
            found.setdefault(str(db), {})[key.decode()] = s
        checks.equal(name + ": its keys", {db: sorted(keys) for db, keys in found.items()}, {db: sorted(keys) for db, keys in want.items()})
        for db, keys in want.items():
            for key, says in keys.items():
                s = found[db][key]
                checks.equal("%s: %s" % (name, key), [make_store.plain(as_reply(s.live())), s.expiry or -1, "%d-%d" % s.last],
                             [says["entries"], says["expiry"], says["last"]])
                checks.equal("%s: groups of %s" % (name, key), {json.dumps(make_store.plain(g.name)): g.n_parked() for g in s.groups.values()},
                             {group: told["told"]["parked"] for group, told in says.get("groups", {}).items()})
        checks.equal(name + ": how it ended", store.markers[-1] == CLOSE, not name.endswith("-crashed"))
        checks.equal(name + ": segments and checkpoints", [[s.level for s in store.segments], len(store.manifest.checkpoints)], [[1, 0, 0], 2])
        blocks = [b for s in store.segments for b in s.blocks]
        checks.equal(name + ": blocks of all kinds", [{b.layout for b in blocks}, {b.codec for b in blocks}], [{0, 1}, {0, 1, 2}])
        run = subprocess.run([BECK, "log", "verify", sample], capture_output=True)
        checks.equal(name + ": is sound", run.returncode, 0)
        path = os.path.join(base, name)
        shutil.copytree(sample, path)
        with Server(args=FLAGS, path_dir=path) as server:
            checks.equal(name + ": in the server", as_told(server), as_was)
            with server.connect() as c:
                wait_for(c, "BECK", "MERGE")
            checks.equal(name + ": in the server, merged", as_told(server), as_was)
            server.restart()
            checks.equal(name + ": in the server, started again", as_told(server), as_was)


def make_sample():
    shutil.rmtree(SAMPLE, ignore_errors=True)
    with Server(args=FLAGS, path_dir=SAMPLE) as server:
        write(server)
    with open(SAMPLE_TEXT, "w") as f:
        f.writelines("%s\n" % r for r in Store(SAMPLE).records)


def main():
    if os.environ.get("MAKE_SAMPLE"):
        make_sample()
    base = tempfile.mkdtemp(prefix="beck-format-")
    try:
        check_new_store(os.path.join(base, "new"))
        check_sealed_store(base)
        check_groups(base)
        check_values(base)
        check_sample(base)
        check_made_samples(base)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    checks.finish()


main()
