"""What beckd writes is what docs/format.md says: tests/lib/wal.py, which knows only that page, reads it.

Stores that a beckd writes now, one with a log alone and one with segments and checkpoints in every state; and the samples in tests/data,
which every later version has to open: store-1 is the log alone, store-2 and store-2-crashed have the rest (made by
tests/data/make_store.py). With MAKE_SAMPLE=1 store-1 is written anew; that is for a new format only.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile

import beck
from beck import ROOT, Checks, Server
from wal import CLOSE, Damaged, Store

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


def compare(what, path, server):
    """The streams that the reader finds in `path` are those that the server shows."""
    store = Store(path)
    state = store.state()
    with server.connect() as c:
        for db in range(16):
            c.call("SELECT", db)
            keys = sorted(c.call("KEYS", "*"))
            checks.equal("%s: keys of database %d" % (what, db), keys,
                         sorted(key for d, key in state if d == db))
            for key in keys:
                checks.equal("%s: entries of %r" % (what, key), c.call("XRANGE", key, "-", "+"),
                             as_reply(state[db, key].live()))
                checks.equal("%s: expiry of %r" % (what, key), c.call("PEXPIRETIME", key), state[db, key].expiry or -1)
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
        "SKIP STREAM ENTRY ENTRY_IDMP REMOVE CUT SETID NAME UNNAME FLUSH IDMP_CONFIG".split()))
    checks.ok("it has several files", len(store.files) > 1)
    checks.equal("the last frame is a CLOSE", store.markers[-1], CLOSE)
    check_damage(closed, store)


SEALING = ["--wal-file-bytes", "65536", "--arena-bytes", "65536", "--checkpoint-bytes", "1048576"]


def wait_for(c, *command):
    reply = c.call(*command)
    checks.ok(" ".join(command) + " is done", not isinstance(reply, beck.Error), str(reply))


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


def check_samples_2(base):
    """Those of make_store.py: what is in them, here, in the server, and for `beck log`."""
    for name in ("store-2", "store-2-crashed"):
        sample = os.path.join(ROOT, "tests", "data", name)
        with open(sample + ".json") as f:
            want = json.load(f)
        found = {}
        store = Store(sample)
        for (db, key), s in sorted(store.state().items()):
            found.setdefault(str(db), {})[key.decode()] = s
        checks.equal(name + ": its keys", {db: sorted(keys) for db, keys in found.items()}, {db: sorted(keys) for db, keys in want.items()})
        for db, keys in want.items():
            for key, says in keys.items():
                s = found[db][key]
                checks.equal("%s: %s" % (name, key), [make_store.plain(as_reply(s.live())), s.expiry or -1, "%d-%d" % s.last],
                             [says["entries"], says["expiry"], says["last"]])
        checks.equal(name + ": how it ended", store.markers[-1] == CLOSE, name == "store-2")
        checks.equal(name + ": segments and checkpoints", [[s.level for s in store.segments], len(store.manifest.checkpoints)], [[1, 0, 0], 2])
        blocks = [b for s in store.segments for b in s.blocks]
        checks.equal(name + ": blocks of all kinds", [{b.layout for b in blocks}, {b.codec for b in blocks}], [{0, 1}, {0, 1, 2}])
        run = subprocess.run([BECK, "log", "verify", sample], capture_output=True)
        checks.equal(name + ": is sound", run.returncode, 0)
        path = os.path.join(base, name)
        shutil.copytree(sample, path)
        with Server(args=FLAGS, path_dir=path) as server:
            checks.equal(name + ": in the server", as_told(server), want)
            with server.connect() as c:
                wait_for(c, "BECK", "MERGE")
            checks.equal(name + ": in the server, merged", as_told(server), want)
            server.restart()
            checks.equal(name + ": in the server, started again", as_told(server), want)


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
        check_sample(base)
        check_samples_2(base)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    checks.finish()


main()
