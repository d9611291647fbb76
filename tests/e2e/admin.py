"""What an operator asks of a running broker: settings of streams, retention, BECK SEAL, MERGE, CHECK, BACKUP, LOG, STREAM.

Parts of the arena are small here, so that a few thousand entries make many segments. What the server does by itself is waited
for, never for a time.
"""

import os
import shutil
import sys
import tempfile

sys.path.insert(0, __file__.rsplit("/", 2)[0] + "/lib")

from beck import Checks, Closed, Error, Map, Server, Simple, wait_until  # noqa: E402

checks = Checks("admin")
SMALL = ["--arena-bytes", "16kb", "--wal-file-bytes", "64kb", "--stream-durability", "os"]
OK = Simple("OK")


def flat(reply):
    """A flat array of names and values, as RESP2 has it, or a map of RESP3, as a dict."""
    pairs = reply if isinstance(reply, Map) else zip(reply[::2], reply[1::2])
    return {k.decode(): v for k, v in pairs}


def log(c):
    return flat(c.call("BECK", "LOG"))


def stream(c, key):
    return flat(c.call("BECK", "STREAM", key))


def digest(c):
    return c.call("BECK", "DIGEST")[1]


def fill(c, key, n, value="v" * 50):
    replies = c.pipeline([("XADD", key, "*", "n", i, "value", value) for i in range(n)])
    checks.ok("%d entries are taken" % n, not any(isinstance(r, Error) for r in replies))
    return replies


def settings_survive(server):
    with server.connect() as c:
        fill(c, "orders", 3)
        want = ("RETENTION-AGE", "86400000", "RETENTION-LEN", "1000", "CODEC", "zstd:5", "DURABILITY", "interval")
        checks.equal("XCFGSET takes them together", c.call("XCFGSET", "orders", *want), OK)
        checks.equal("and one alone", c.call("XCFGSET", "orders", "RETENTION-BYTES", "1mb"), OK)
        before = stream(c, "orders")
        for name, value in (
            ("retention-age", 86400000),
            ("retention-len", 1000),
            ("retention-bytes", 1 << 20),
            ("codec", b"zstd:5"),
            ("durability", b"interval"),
        ):
            checks.equal("BECK STREAM tells " + name, before.get(name), value)
            checks.equal("and that it is its own", before.get(name + "-from"), b"stream")
        c.call("XCFGSET", "orders", "CODEC", "DEFAULT", "RETENTION-LEN", "0")
        mixed = stream(c, "orders")
        checks.equal("DEFAULT is the configuration's", (mixed["codec"], mixed["codec-from"]), (b"auto", b"default"))
        checks.equal("0 is the stream's own", (mixed["retention-len"], mixed["retention-len-from"]), (0, b"stream"))
        info = c.call("XINFO", "STREAM", "orders")
        checks.ok("XINFO tells nothing of it", b"retention-age" not in info and b"codec" not in info)
        hashed = digest(c)
    for kill in (False, True):
        server.restart(kill=kill)
        with server.connect() as c:
            after = stream(c, "orders")
            checks.equal("settings are there after a %s" % ("kill" if kill else "stop"), settings_of(after), settings_of(mixed))
            checks.equal("and the digest is the same", digest(c), hashed)


def settings_of(s):
    return {k: v for k, v in s.items() if k.startswith(("retention", "codec", "durability", "idmp"))}


def settings_by_pattern():
    args = SMALL + ["--stream-settings", "audit:* CODEC zstd:9", "--stream-settings", "log:* RETENTION-LEN 5 DURABILITY os"]
    with Server(args=args) as server, server.connect() as c, server.connect(3) as c3:
        for key in ("audit:1", "log:1", "other"):
            fill(c, key, 20)
        s = stream(c, "audit:1")
        checks.equal("a pattern's codec", (s["codec"], s["codec-from"], s["pattern"]), (b"zstd:9", b"pattern", b"audit:*"))
        wait_until(lambda: c.call("XLEN", "log:1") == 5, "a pattern's limit to be kept")
        checks.equal("others keep theirs", c.call("XLEN", "other"), 20)
        checks.equal("no pattern is null", stream(c3, "other")["pattern"], None)
        flags = "audit:* CODEC zstd:9 log:* RETENTION-LEN 5 DURABILITY os"
        checks.equal("CONFIG GET has them as one", c.call("CONFIG", "GET", "stream-settings")[1], flags.encode())
        checks.equal("CONFIG SET replaces them", c.call("CONFIG", "SET", "stream-settings", "other RETENTION-LEN 2"), OK)
        wait_until(lambda: c.call("XLEN", "other") == 2, "streams that are there to be looked at again")
        bad = c.call("CONFIG", "SET", "stream-settings", "other RETENTION-LEN many")
        checks.ok("a bad one says what would be right", "RETENTION-LEN must be a number of entries" in bad, str(bad))
        checks.equal("and changes nothing", c.call("CONFIG", "GET", "stream-settings")[1], b"other RETENTION-LEN 2")


def retention_by_age(server):
    with server.connect() as c:
        fill(c, "aged", 2000)
        c.call("BECK", "SEAL")
        fill(c, "aged", 100)
        checks.equal("a short age is taken", c.call("XCFGSET", "aged", "RETENTION-AGE", "300"), OK)
        wait_until(lambda: c.call("XLEN", "aged") == 0, "entries to leave by age")
        checks.equal("the stream stays", c.call("EXISTS", "aged"), 1)
        checks.equal("as XRANGE says", c.call("XRANGE", "aged", "-", "+"), [])
        s = stream(c, "aged")
        checks.equal("nothing is left of it", (s["length"], s["bytes"], s["first-id"]), (0, 0, b"0-0"))
        fill(c, "long", 3000)
        c.call("XCFGSET", "long", "RETENTION-LEN", "100")
        wait_until(lambda: c.call("XLEN", "long") <= 101, "a stream to be cut")
        left = c.call("XRANGE", "long", "-", "+")
        checks.equal("the newest stay", left[-1][1][1], b"2999")


def sealing(server):
    with server.connect() as c, server.connect() as other:
        fill(c, "s1", 1000)
        fill(c, "s2", 1000)
        c.call("XDEL", "s1", c.call("XRANGE", "s1", "-", "+", "COUNT", "1")[0][0])
        before, entries = digest(c), c.call("XRANGE", "s1", "-", "+")
        c.send("BECK", "SEAL")
        checks.equal("others go on meanwhile", other.call("PING"), Simple("PONG"))
        sealed = flat(c.read())
        figures = log(c)
        checks.ok("SEAL says up to where", sealed["lsn"] <= figures["sealed_lsn"] <= figures["last_lsn"], str(sealed))
        checks.ok("there are segments", figures["segments"] > 0 and figures["seals"] > 0)
        checks.equal("the digest is the same when sealed", digest(c), before)
        checks.equal("and so are the entries", c.call("XRANGE", "s1", "-", "+"), entries)
        s = stream(c, "s1")
        checks.equal("all of a stream is sealed", (s["length"], s["length-sealed"], s["length-unsealed"]), (999, 999, 0))
        checks.ok("in segments, on the disk", s["segments"] > 0 and 0 < s["disk-bytes"] < s["segment-raw-bytes"], str(s))
        checks.equal("its first ID", s["first-id"], entries[0][0])
        checks.equal("its last ID", s["last-id"], entries[-1][0])
        merged = flat(c.call("BECK", "MERGE"))
        checks.ok("MERGE replies what it did", set(merged) == {"lsn", "files", "bytes"}, str(merged))
        checks.ok("few segments are left", log(c)["segments"] <= 2, str(log(c)["segments"]))
        checks.equal("the digest is the same when merged", digest(c), before)
        checks.equal("and so are the entries", c.call("XRANGE", "s1", "-", "+"), entries)
        checks.equal("CHECK finds nothing", c.call("BECK", "CHECK"), [])
    server.restart(kill=True)
    with server.connect() as c:
        checks.equal("the digest is the same after a kill", digest(c), before)


def waiting(server):
    """Clients that wait may go away, and what cannot wait in a transaction is refused."""
    with server.connect() as c:
        fill(c, "w", 2000)
        for words in (("SEAL",), ("MERGE",), ("CHECK",), ("BACKUP", os.path.join(server.base, "gone"))):
            with server.connect() as gone:
                gone.send("BECK", *words)
            c.call("MULTI")
            reply = c.call("BECK", *words)
            checks.equal("%s in MULTI" % words[0], reply, Error("ERR Command not allowed inside a transaction"))
            c.call("DISCARD")
        wait_until(lambda: flat(c.call("BECK", "SEAL")), "the log to be through with it")
        with server.connect() as a, server.connect() as b:
            a.send("BECK", "MERGE")
            b.send("BECK", "MERGE")
            checks.ok("two that wait are both answered", all(set(flat(x.read())) == {"lsn", "files", "bytes"} for x in (a, b)))
        checks.equal("and the server goes on", c.call("PING"), Simple("PONG"))
    with server.connect() as c:
        c.send("BECK", "MERGE")
        checks.equal("it stops while somebody waits", server.stop(), 0)
        try:
            c.read()
        except (Closed, ConnectionResetError):
            pass
    os.unlink(server.path) if os.path.exists(server.path) else None
    server.start()


def both_protocols(server):
    with server.connect() as c2, server.connect(3) as c3:
        fill(c2, "both", 10)
        for words in (("LOG",), ("STREAM", "both"), ("SEAL",)):
            two, three = c2.call("BECK", *words), c3.call("BECK", *words)
            checks.ok("BECK %s is a flat array in RESP2" % words[0], type(two) is list, repr(two))
            checks.ok("and a map in RESP3", type(three) is Map, repr(three))
            checks.equal("of the same names", list(flat(two)), list(flat(three)))
        checks.equal("BECK STREAM of no stream", c2.call("BECK", "STREAM", "none"), Error("ERR no such key"))
        figures, info = log(c2), c2.call("INFO", "log").decode()
        checks.ok("INFO has all of BECK LOG", all("\nlog_%s:" % name in info for name in figures))
        checks.ok("amplification is told", float(figures["write_amplification"]) > 0 and figures["received_bytes"] > 0)


def backup(server):
    target = tempfile.mkdtemp(prefix="beck-backup-")
    try:
        with server.connect() as c:
            fill(c, "b", 500)
            c.call("BECK", "SEAL")
            fill(c, "b", 50)
            want = c.call("BECK", "DIGEST", "SYNC")
            there = os.path.join(target, "copy")
            reply = flat(c.call("BECK", "BACKUP", there))
            checks.ok("BACKUP tells the LSN and the bytes", reply["lsn"] >= want[0] and reply["bytes"] > 0, str(reply))
            again = c.call("BECK", "BACKUP", there)
            checks.ok("a directory that holds something is refused", isinstance(again, Error), str(again))
            for bad in ("relative", "", "/a/../b", os.path.join(server.dir, "inside"), server.dir):
                refused = c.call("BECK", "BACKUP", bad)
                checks.ok("BACKUP to %r is refused" % bad, isinstance(refused, Error), str(refused))
            fill(c, "b", 50)  # not in the copy
            with Server(args=SMALL, path_dir=there) as second, second.connect() as d:
                checks.equal("the copy opens with the same digest", d.call("BECK", "DIGEST", "SYNC")[1], want[1])
                checks.equal("and takes appends", d.call("XADD", "b", "9999999999999-1", "f", "v"), b"9999999999999-1")
                checks.equal("it is whole", d.call("BECK", "CHECK"), [])
            checks.equal("the original is untouched", c.call("XLEN", "b"), 600)
            checks.equal("and whole", c.call("BECK", "CHECK"), [])
    finally:
        shutil.rmtree(target, ignore_errors=True)


def damage():
    with Server(args=SMALL) as server:
        with server.connect() as c:
            fill(c, "hurt", 2000, "x" * 300)
            c.call("BECK", "MERGE")
        server.stop()
        segments = sorted(n for n in os.listdir(server.dir) if n.endswith(".seg"))
        path = os.path.join(server.dir, segments[-1])
        with open(path, "r+b") as f:
            f.seek(4096 + 100)
            byte = f.read(1)
            f.seek(4096 + 100)
            f.write(bytes([byte[0] ^ 1]))
        os.unlink(server.path) if os.path.exists(server.path) else None
        server.start()
        with server.connect() as c:
            found = c.call("BECK", "CHECK")
            checks.ok("CHECK lists one place", len(found) >= 1, repr(found))
            place = flat(found[0])
            checks.ok("by file", segments[-1] in place["file"].decode(), repr(place))
            checks.ok("and offset", 4096 <= place["offset"] <= 4096 + 100, repr(place))
            bad = c.call("XRANGE", "hurt", "-", "+", "COUNT", "1")
            checks.ok("what needs the block fails, with the file's name", isinstance(bad, Error) and segments[-1] in bad, repr(bad))
            told = c.call("BECK", "STREAM", "hurt")  # its first ID is in that block
            checks.ok("BECK STREAM fails in the same way", isinstance(told, Error) and segments[-1] in told, repr(told))
            last = c.call("XREVRANGE", "hurt", "+", "-", "COUNT", "1")
            checks.equal("everything else works", last[0][1][1], b"1999")
            wait_until(lambda: "damage in sealed entries" in server.log(), "the operator to be told")
            checks.ok("BECK LOG counts it", log(c)["bad_segments"] >= 1)


def foreign_files():
    with Server(args=SMALL) as server:
        with server.connect() as c:
            fill(c, "f", 300)
            c.call("BECK", "SEAL")
        server.stop()
        stranger = "st-00000000000000099999.seg"
        with open(os.path.join(server.dir, stranger), "wb") as f:
            f.write(b"what is this?")
        os.unlink(server.path) if os.path.exists(server.path) else None
        server.start()
        checks.ok("a foreign file is told of", "quarantine" in server.log() and stranger in server.log(), server.log()[-600:])
        quarantine = os.path.join(server.dir, "quarantine")
        kept = os.listdir(quarantine) if os.path.isdir(quarantine) else []
        checks.ok("and kept", any(stranger in name for name in kept), repr(kept))
        with server.connect() as c:
            checks.equal("nothing else is missing", c.call("XLEN", "f"), 300)
            checks.equal("it is counted", log(c)["files_set_aside"], 1)


def main():
    with Server(args=SMALL) as server:
        settings_survive(server)
        retention_by_age(server)
        sealing(server)
        waiting(server)
        both_protocols(server)
        backup(server)
    settings_by_pattern()
    damage()
    foreign_files()
    checks.finish()


main()
