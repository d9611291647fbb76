"""What beckd writes is what docs/format.md says: tests/lib/wal.py, which knows only that page, reads it.

Two stores: one that a beckd writes now, and the sample of format 1 in tests/data, which every later version has to open.
With MAKE_SAMPLE=1 the sample is written anew; that is for a new format only.
"""

import os
import shutil
import tempfile

import beck
from beck import ROOT, Checks, Server
from wal import CLOSE, Damaged, Store

SAMPLE = os.path.join(ROOT, "tests", "data", "store-1")
SAMPLE_TEXT = SAMPLE + ".txt"
FLAGS = ["--segment-bytes", "65536"]

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


def apply(records):
    """What the records leave: {(db, key): [(id, fields)]} and {(db, key): expiry}."""
    names, entries, expiry = {}, {}, {}  # (db, key) -> oid; oid -> list; oid -> ms
    bound = {}  # oid -> LSN of the record that bound it

    def unbind(name):
        oid = names.pop(name, None)
        entries.pop(oid, None)

    last = {}  # oid -> last ID

    def begin_anew(b, lsn):
        """A stream without entries whose last ID goes back is a new one."""
        oid = b["oid"]
        if not entries[oid] and b["last"] < last.get(oid, (0, 0)):
            name = next(n for n, o in names.items() if o == oid)
            names[name], entries[lsn], expiry[lsn], bound[lsn] = lsn, entries.pop(oid), expiry[oid], lsn
            oid = lsn
        last[oid] = b["last"]

    for r in records:
        b = r.body
        if r.name in ("STREAM", "NAME"):
            name = (b["db"], b["key"])
            oid = b.get("oid", r.lsn)
            for old in [n for n, o in names.items() if o == oid]:
                del names[old]
            unbind(name)
            names[name] = oid
            entries.setdefault(oid, [])
            expiry[oid] = b.get("expiry", 0)
            bound[oid] = r.lsn
        elif r.name in ("ENTRY", "ENTRY_IDMP"):
            entries[b["oid"]].append(b["entry"])
            last[b["oid"]] = b["entry"][0]
        elif r.name in ("DELETE", "REMOVE"):
            entries[b["oid"]] = [e for e in entries[b["oid"]] if e[0] not in b["ids"]]
            checks.equal("what %s leaves" % r.name, len(entries[b["oid"]]), b.get("n_left", len(entries[b["oid"]])))
        elif r.name == "TRIM":
            entries[b["oid"]] = [e for e in entries[b["oid"]] if e[0] >= b["first"]]
        elif r.name == "CUT":
            entries[b["oid"]] = [e for e in entries[b["oid"]] if b["n_left"] and e[0] >= b["first"]]
            checks.equal("what CUT leaves", len(entries[b["oid"]]), b["n_left"])
        elif r.name == "SETID":
            begin_anew(b, r.lsn)
        elif r.name == "UNNAME":
            name = (b["db"], b["key"])
            if name in names and bound[names[name]] == b["rev"]:
                unbind(name)
        elif r.name == "FLUSH":
            for name in [n for n in names if b["db"] in (0, n[0] + 1)]:
                unbind(name)
    return {n: entries[o] for n, o in names.items()}, {n: expiry[o] for n, o in names.items()}


def as_reply(entries):
    return [[b"%d-%d" % i, [s for pair in fields for s in pair]] for i, fields in entries]


def compare(what, path, server):
    """The streams that the reader finds in `path` are those that the server shows."""
    store = Store(path)
    streams, expiry = apply(store.records)
    with server.connect() as c:
        for db in range(16):
            c.call("SELECT", db)
            keys = sorted(c.call("KEYS", "*"))
            checks.equal("%s: keys of database %d" % (what, db), keys,
                         sorted(key for d, key in streams if d == db))
            for key in keys:
                checks.equal("%s: entries of %r" % (what, key), c.call("XRANGE", key, "-", "+"),
                             as_reply(streams[db, key]))
                checks.equal("%s: expiry of %r" % (what, key), c.call("PEXPIRETIME", key), expiry[db, key] or -1)
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
        check_sample(base)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    checks.finish()


main()
