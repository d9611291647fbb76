"""beck log verify, dump, repair, salvage, stat: what they say about a store that is sound, damaged, incomplete or in use.

A store with segments, two checkpoints and a log is made by beckd. Then bytes are flipped at random places of every file, files are
removed and added: verify has to name each, repair and salvage to bring back what can be, and nothing may be deleted that is
not kept in quarantine/. The random part prints its seed and takes SEED and SCALE. BECK names the program (build/beck).
"""

import base64
import hashlib
import json
import os
import random
import shutil
import struct
import subprocess
import tempfile

import beck
import wal
from beck import ROOT, TIMEOUT_S, Checks, Server, scale, seed

BECK = os.path.abspath(os.environ.get("BECK", os.path.join(ROOT, "build", "beck")))
FLAGS = ["--wal-file-bytes", "65536", "--checkpoint-bytes", "1048576"]

checks = Checks("beck log")


class Run:
    def __init__(self, *args):
        done = subprocess.run([BECK, "log", *args], capture_output=True, timeout=TIMEOUT_S)
        self.status, self.out, self.err = done.returncode, done.stdout.decode(), done.stderr.decode()

    def lines(self):
        return [json.loads(line) for line in self.out.splitlines()]


def tree(path):
    """{name: hash} of all files, those in quarantine/ too."""
    found = {}
    for base, _, names in os.walk(path):
        for name in names:
            with open(os.path.join(base, name), "rb") as f:
                found[os.path.relpath(os.path.join(base, name), path)] = hashlib.sha256(f.read()).hexdigest()
    return found


def flip(path, at, with_=0x5A):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ with_]))


class Stage:
    """A store in a directory of its own, copied from another, for one case."""

    def __init__(self, base, source):
        self.base = tempfile.mkdtemp(dir=base)
        self.dir = os.path.join(self.base, "store")
        shutil.copytree(source, self.dir)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.base)

    def path(self, name):
        return os.path.join(self.dir, name)

    def names(self, start):
        return sorted(n for n in os.listdir(self.dir) if n.startswith(start))

    def is_kept(self, digest):
        return digest in tree(self.dir).values()


def make_store(path):
    """Three segments side by side, two checkpoints, a log with several files, closed in good order."""
    rng = random.Random(1)
    with Server(args=FLAGS, path_dir=path) as server, server.connect() as c:
        for part in range(3):
            for i in range(part * 100, part * 100 + 100):
                for key in ("alpha", "beta", "gamma"):
                    c.call("XADD", key, "%d-0" % (i + 1), "n", i, "noise", "%0300x" % rng.getrandbits(1200))
            c.call("XDEL", "alpha", "%d-0" % (part * 100 + 5))
            checks.ok("it seals", not isinstance(c.call("BECK", "SEAL"), beck.Error))
        c.call("RENAME", "beta", "delta")
        for i in range(300, 400):
            c.call("XADD", "alpha", "%d-0" % (i + 1), "n", i, "raw", b"\xff\x00")
        c.call("XADD", "gamma", "IDMP", "shop", "a-1", "*", "n", 1)
        c.call("XCFGSET", "gamma", "CODEC", "lz4")
        checks.equal("beckd ends in good order", server.stop(), 0)


def contents(path):
    """{key: [(id, fields)]}, as a server shows the store."""
    with Server(args=FLAGS, path_dir=path) as server, server.connect() as c:
        return {key: [(i, tuple(fields)) for i, fields in c.call("XRANGE", key, "-", "+")] for key in sorted(c.call("KEYS", "*"))}


# ---- what is sound, and what is no store ----


def check_refusals(base, source):
    empty = os.path.join(base, "empty")
    os.mkdir(empty)
    for command in ("verify", "dump", "repair", "salvage", "stat"):
        run = Run(command, empty)
        checks.ok("%s refuses an empty directory" % command, run.status == 2 and "there is no store" in run.err, run.err)
        checks.equal("%s leaves it empty" % command, os.listdir(empty), [])
        run = Run(command, os.path.join(base, "nowhere"))
        checks.ok("%s refuses what is not there" % command, run.status == 2 and "there is no store" in run.err, run.err)
        checks.ok("%s does not make it" % command, not os.path.exists(os.path.join(base, "nowhere")))
        checks.equal("%s wants a directory" % command, Run(command).status, 2)
        checks.equal("%s wants one" % command, Run(command, source, source).status, 2)
    checks.equal("an option that is none", Run("dump", "--from", "x", source).status, 2)
    checks.equal("a range that is none", Run("dump", "--from", "7", "--to", "6", source).status, 2)
    with Stage(base, source) as s, Server(args=FLAGS, path_dir=s.dir):
        for command in ("verify", "dump", "repair", "salvage", "stat"):
            run = Run(command, s.dir)
            checks.ok("%s refuses a store in use" % command, run.status == 2 and "BECK CHECK" in run.err, run.err)


def check_newer(base, source):
    """A version of STORE or MANIFEST that this program does not know is not called damage."""
    for name, at in (("STORE", 8), ("MANIFEST", 8)):
        with Stage(base, source) as s:
            with open(s.path(name), "r+b") as f:
                data = bytearray(f.read())
                struct.pack_into("<I", data, at, 2)
                struct.pack_into("<I", data, len(data) - 4, wal.crc32c(data[:-4]))
                f.seek(0)
                f.write(data)
            before = tree(s.dir)
            for command in ("verify", "repair", "salvage", "stat", "dump"):
                run = Run(command, s.dir)
                checks.ok("%s: a newer %s" % (command, name), run.status == 1 and "of format 2" in run.err, run.err)
            checks.equal("nothing is changed in a newer store", tree(s.dir), before)


def check_sound(source, crashed):
    for what, path in (("closed", source), ("killed", crashed)):
        before = tree(path)
        run = Run("verify", path, "--json")
        checks.equal("a store that was %s is sound" % what, (run.status, run.lines()[-1]["sound"]), (0, True))
        checks.equal("and whether it was closed is told", run.lines()[-1]["closed"], what == "closed")
        for command in ("stat", "dump", "verify", "repair", "salvage"):
            checks.equal("%s of a sound store" % command, Run(command, path).status, 0)
        checks.equal("nothing has changed in it", tree(path), before)


def check_stat(base, source):
    store = wal.Store(source)
    with Stage(base, source) as s:
        shutil.copy(s.path(s.names("st-")[0]), s.path("st-%020d.seg" % 99))
        os.mkdir(s.path("quarantine"))
        for name in ("notes.txt", "quarantine/old"):
            with open(s.path(name), "w"):
                pass
        run = Run("stat", s.dir, "--json")
        told = json.loads(run.out)
        text = Run("stat", s.dir).out
    m = store.manifest
    checks.equal("stat: the manifest", {k: told["manifest"][k] for k in ("generation", "sealed-lsn", "wal-first")},
                 {"generation": m.generation, "sealed-lsn": m.sealed_lsn, "wal-first": m.wal_first})
    checks.equal("stat: segments", [(x["ordinal"], x["lsn-first"], x["lsn-last"], x["entries"], x["bytes"]) for x in told["segments"]],
                 [(x["ordinal"], x["lsn_first"], x["lsn_last"], x["n_entries"], x["bytes"]) for x in m.segments])
    checks.equal("stat: checkpoints", [(x["start-lsn"], x["end-lsn"]) for x in told["checkpoints"]],
                 [(x["start_lsn"], x["end_lsn"]) for x in m.checkpoints])
    checks.equal("stat: the log goes on with", told["wal"][-1]["lsn-next"], store.lsn)
    checks.equal("stat: what nothing names", told["unnamed"], ["st-%020d.seg" % 99])
    checks.equal("stat: what is foreign", told["foreign"], ["notes.txt"])
    checks.equal("stat: what is in quarantine", told["quarantine"], ["old"])
    checks.ok("stat: for people", all(w in text for w in ("STORE", "MANIFEST", "SEGMENT", "CHECKPOINT", "notes.txt", "old")), text)


# ---- dump ----


def plain(value):
    """Bytes as `beck` prints them in JSON."""
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def text_id(i):
    return "%d-%d" % i


NAMES = {"n_left": "entries-left", "bytes_left": "bytes-left", "last": "last-id", "entries_added": "entries-added",
         "max_deleted": "max-deleted-id", "duration_s": "duration-s", "expiry": "expiry-ms", "next": "next-lsn"}


def as_dumped(r):
    line = {"lsn": r.lsn, "ms": r.clock >> 16, "counter": r.clock & 0xFFFF, "type": r.name}
    for name, value in r.body.items():
        if name == "entry":
            line.update(id=text_id(value[0]), fields=plain(value[1]))
        elif name == "ids":
            line["ids"] = [text_id(i) for i in value]
        elif name == "db" and r.name == "FLUSH":
            line["db-plus-1"] = value
        else:
            line[NAMES.get(name, name)] = text_id(value) if isinstance(value, tuple) else plain(value)
    return line


def check_dump(source, sample):
    for path in (source, sample):
        store = wal.Store(path)
        kept = Run("dump", path).lines()
        records = [as_dumped(r) for r in store.records]
        checks.equal("dump: all records from where a start reads", [r for r in kept if r["lsn"] >= records[0]["lsn"]], records)
    store = wal.Store(source)
    middle = store.records[len(store.records) // 2].lsn
    run = Run("dump", source, "--from", str(middle), "--to", str(middle + 3))
    checks.equal("dump: a range", run.lines(), [as_dumped(r) for r in store.records if middle <= r.lsn <= middle + 3])
    state = store.state()
    oid = state[0, b"delta"].oid
    want = [as_dumped(r) for r in store.records if r.body.get("oid") == oid or r.lsn == oid]
    got = [r for r in Run("dump", source, "--oid", str(oid)).lines() if r["lsn"] >= store.records[0].lsn]
    checks.ok("dump: one object", got == want and len(want) > 0, str(got[:3]))
    rows = [{"segment": s.ordinal, "oid": o, "id": text_id(i), "fields": plain(f)} for s in store.segments for o, i, f in s.rows]
    checks.equal("dump: segments", Run("dump", "--segments", source).lines(), rows)
    checks.equal("dump: of one stream in segments", Run("dump", "--segments", source, "--oid", str(oid)).lines(),
                 [r for r in rows if r["oid"] == oid])
    store = wal.Store(source)  # one to which no record was applied
    objects = {o["oid"]: o for o in Run("dump", "--checkpoint", source).lines() if "oid" in o}
    checks.equal("dump: objects of the checkpoint", sorted(objects), sorted(store.checkpoint.objects))
    for oid, s in store.checkpoint.objects.items():
        o = objects[oid]
        checks.equal("dump: object %d" % oid, [o["as-of"], o["rev"], o["db"], o["key"], o["last-id"], o["entries"], o["bytes"]],
                     [s.as_of, s.rev, s.name[0], plain(s.name[1]), text_id(s.last), s.n, s.bytes])
        checks.equal("dump: what is deleted of %d" % oid, o.get("deleted", []), [text_id(i) for i in sorted(s.deleted)])


# ---- verify ----


def end_of_batches(path):
    """Where the markers at the end of a file of the log begin: without them it is no less whole."""
    f = wal.File(path)
    end = pos = wal.HEADER
    crc = f.prev_crc
    while (frame := f.next_frame(pos, crc)) is not None:
        pos, crc = frame["end"], frame["header_crc"]
        end = end if frame["flags"] & (wal.SEAL | wal.SYNC | wal.CLOSE) else pos
    return end


def places(store_dir):
    """Where each file of the store has bytes that count: [(name, end)]."""
    told = json.loads(Run("stat", store_dir, "--json").out)
    ends = {f["file"]: f["used"] for f in told["wal"]}
    ends[told["wal"][-1]["file"]] = end_of_batches(os.path.join(store_dir, told["wal"][-1]["file"]))
    for name in os.listdir(store_dir):
        if not name.startswith("wal-"):
            ends[name] = os.path.getsize(os.path.join(store_dir, name))
    return sorted(ends.items())


def check_flips(base, source, rng):
    """Any byte that counts, changed: verify names the file, and nothing else."""
    with Stage(base, source) as s:
        for name, end in places(s.dir):
            n = scale(12)
            for at in [0, 8, end - 1] + [rng.randrange(end) for _ in range(n)]:
                flip(s.path(name), at, 1 << rng.randrange(8))
                before = tree(s.dir)
                run = Run("verify", s.dir, "--json")
                what = "verify: %s, byte %d" % (name, at)
                checks.equal(what, run.status, 1)
                if name == "STORE":
                    checks.ok(what + " is named", s.path(name) in run.err, run.err)
                else:
                    lines = run.lines()
                    checks.ok(what + " is named", any(p.get("file") == s.path(name) for p in lines), run.out + run.err)
                    checks.ok(what + " is all", {p["file"] for p in lines if "file" in p} == {s.path(name)}, run.out)
                checks.equal(what + " changes nothing", tree(s.dir), before)
                for f in os.listdir(source):
                    shutil.copy(os.path.join(source, f), s.path(f))


def check_two_places(base, source):
    """Damage in one file does not hide that in another."""
    with Stage(base, source) as s:
        logs, segments = s.names("wal-"), s.names("st-")
        hit = [logs[0], logs[1], segments[0], segments[2], s.names("ckpt-")[0]]
        for name in hit:
            flip(s.path(name), 4500 if not name.startswith("ckpt") else 70)
        files = {os.path.basename(p["file"]) for p in Run("verify", s.dir, "--json").lines() if "file" in p}
        checks.equal("verify: all damaged files", sorted(files), sorted(hit))


def check_missing(base, source):
    for name, _ in places(source):
        if name == "STORE":
            continue
        with Stage(base, source) as s:
            os.unlink(s.path(name))
            run = Run("verify", s.dir)
            if name == max(os.listdir(source)):  # the newest file of the log: nobody else tells of it
                checks.ok("verify: %s is missing" % name, "not closed" in run.out, run.out)
                continue
            before = max(n for n in [""] + s.names("wal-") if n < name)  # that ends where no next one goes on
            checks.ok("verify: %s is missing" % name, run.status == 1 and (name in run.out or before and before in run.out), run.out + run.err)


# ---- repair ----


def check_repair(base, source, want):
    with Stage(base, source) as s:
        os.unlink(s.path("MANIFEST"))
        run = Run("repair", s.dir)
        checks.equal("repair: MANIFEST is lost: %s" % run.out, run.status, 0)
        checks.equal("repair: then it is sound", Run("verify", s.dir).status, 0)
        checks.equal("repair: and has everything", contents(s.dir), want)
    with Stage(base, source) as s:
        flip(s.path("MANIFEST"), 50)
        digest = tree(s.dir)["MANIFEST"]
        checks.equal("repair: MANIFEST is damaged", Run("repair", s.dir).status, 0)
        checks.ok("repair: the old one is kept", s.is_kept(digest))
        checks.equal("repair: everything is there", contents(s.dir), want)


def check_repair_in_doubt(base, source):
    with Stage(base, source) as s:
        os.unlink(s.path("MANIFEST"))
        os.unlink(s.path(s.names("st-")[1]))
        before = tree(s.dir)
        run = Run("repair", s.dir, "--json")
        checks.equal("repair: with a segment missing", run.status, 1)
        checks.ok("repair: it says which records", any("no segment stands for records" in line.get("doubt", "") for line in run.lines()), run.out)
        checks.equal("repair: nothing is changed", tree(s.dir), before)
        checks.equal("repair: with --force", Run("repair", s.dir, "--force").status, 0)
        checks.equal("repair: sound, as far as there is something", Run("verify", s.dir).status, 0)
    with Stage(base, source) as s:
        os.unlink(s.path("MANIFEST"))
        for name in s.names("ckpt-"):
            flip(s.path(name), 70)
        before = tree(s.dir)
        run = Run("repair", s.dir, "--force")
        checks.ok("repair: without checkpoints nothing helps", run.status == 1 and "restore a backup" in run.out, run.out)
        checks.equal("repair: and nothing is changed", tree(s.dir), before)


def check_repair_after_merge(base, source, want):
    """What was merged is set aside, the merged segment counts."""
    with Stage(base, source) as s:
        inputs = {name: open(s.path(name), "rb").read() for name in s.names("st-")}
        with Server(args=FLAGS, path_dir=s.dir) as server, server.connect() as c:
            c.call("BECK", "MERGE")
            server.stop()
        merged = [name for name in s.names("st-") if name not in inputs]
        for name, data in inputs.items():
            with open(s.path(name), "wb") as f:
                f.write(data)
        os.unlink(s.path("MANIFEST"))
        run = Run("repair", s.dir)
        checks.equal("repair: inputs of a merge are there: %s" % run.out, run.status, 0)
        checks.equal("repair: only the merged one counts", s.names("st-"), merged[-1:])
        for data in inputs.values():
            checks.ok("repair: its inputs are kept", s.is_kept(hashlib.sha256(data).hexdigest()))
        checks.equal("repair: everything is there", contents(s.dir), want)


# ---- salvage ----


def lost_ranges(lines):
    """[((oid, id), (oid, id))] of what salvage calls lost."""
    def key(lost, end):
        return (lost["oid-" + end], tuple(map(int, lost["id-" + end].split("-"))))

    return [(key(line["lost"], "from"), key(line["lost"], "to")) for line in lines if "lost" in line]


def keys(contents, state):
    """All (oid, id) of what a server shows."""
    return {(state[0, key].oid, tuple(map(int, i.split(b"-")))) for key in contents for i, _ in contents[key]}


def check_salvaged_segment(base, source, want, what, damage):
    """A segment is damaged by `damage(path)`: all is there but what is called lost."""
    with Stage(base, source) as s:
        name = s.names("st-")[1]
        damage(s.path(name))
        digest = tree(s.dir)[name]
        run = Run("salvage", s.dir, "--json")
        found = lost_ranges(run.lines())
        checks.equal("salvage: %s" % what, run.status, 5)
        checks.ok("salvage: %s: the damaged one is kept" % what, s.is_kept(digest))
        checks.equal("salvage: %s: then it is sound" % what, Run("verify", s.dir).status, 0)
        checks.equal("salvage: %s: a second time there is nothing to do" % what, Run("salvage", s.dir).status, 0)
        got = contents(s.dir)
        checks.ok("salvage: %s: nothing is made up" % what, all(e in want[key] for key in got for e in got[key]))
        store = wal.Store(source)
        state, inside = store.state(), {row[:2] for row in store.segments[1].rows}
        gone = keys(want, state) - keys(got, state)
        checks.ok("salvage: %s: what is gone was in the segment" % what, gone <= inside)
        checks.ok("salvage: %s: and is called lost" % what, all(any(a <= key <= b for a, b in found) for key in gone), run.out)
        if all(line["lost"]["entries"] for line in run.lines() if "lost" in line):
            exact = sum(line["lost"]["entries"] for line in run.lines() if "lost" in line)
            dead = len([k for k in inside - keys(want, state) if any(a <= k <= b for a, b in found)])
            checks.equal("salvage: %s: as many as it says" % what, len(gone), exact - dead)
        checks.ok("salvage: %s: something is left of the segment" % what, len(gone) < len(inside) or what == "salt")
        return len(found)


def check_salvage_segments(base, source, want, rng):
    store = wal.Store(source)
    segment = store.segments[1]
    index, tail = segment.index_pos, len(segment.data) - 128
    second = 4096 + 32 + wal.u32(segment.data, 4100)
    cases = [
        ("its first block", 4096 + 40), ("its second block", second + 50), ("the header of its second block", second + 5),
        ("its index", index + 40), ("its list of streams", segment.streams_pos + 40), ("its filter", segment.filter_pos),
        ("its keys", segment.keys_pos + 3), ("its trailer", tail + 30), ("its header", 2000), ("salt", 66),
    ] + [("byte %d" % at, at) for at in (rng.randrange(4096, index) for _ in range(scale(4)))]
    for what, at in cases:
        n = check_salvaged_segment(base, source, want, what, lambda path, at=at: flip(path, at))
        if what in ("its index", "its list of streams", "its filter", "its keys", "its trailer", "its header"):
            checks.equal("salvage: %s: nothing is lost" % what, n, 0)
    check_salvaged_segment(base, source, want, "half of it", lambda path: os.truncate(path, (4096 + index) // 2))
    check_salvaged_segment(base, source, want, "index and block", lambda path: (flip(path, index + 40), flip(path, second + 5)))


def check_salvage_rest(base, source, want):
    with Stage(base, source) as s:
        os.unlink(s.path(s.names("st-")[1]))
        checks.equal("salvage: a segment is missing", Run("salvage", s.dir).status, 5)
        checks.equal("salvage: it is left out", Run("verify", s.dir).status, 0)
        got = contents(s.dir)
        checks.ok("salvage: the other two are there", {k: len(v) for k, v in got.items()}
                  == {k: len(v) - (99 if k == b"alpha" else 100) for k, v in want.items()}, str({k: len(v) for k, v in got.items()}))
    with Stage(base, source) as s:
        name = s.names("ckpt-")[-1]
        flip(s.path(name), 70)
        digest = tree(s.dir)[name]
        checks.equal("salvage: the newest checkpoint", Run("salvage", s.dir).status, 5)
        checks.ok("salvage: it is kept", s.is_kept(digest))
        checks.equal("salvage: the older one will do", contents(s.dir), want)
    with Stage(base, source) as s:
        for name in s.names("ckpt-"):
            flip(s.path(name), 70)
        before = tree(s.dir)
        run = Run("salvage", s.dir)
        checks.ok("salvage: without checkpoints only a backup helps", run.status == 1 and "backup" in run.err, run.err)
        checks.equal("salvage: and nothing is changed", tree(s.dir), before)
    with Stage(base, source) as s:
        os.unlink(s.path("MANIFEST"))
        run = Run("salvage", s.dir)
        checks.ok("salvage: without MANIFEST it names repair", run.status == 1 and "beck log repair" in run.err, run.err)


def check_salvage_log(base, source, want):
    with Stage(base, source) as s:
        name = s.names("wal-")[-2]
        flip(s.path(name), 4096 + 70)
        digests = [tree(s.dir)[n] for n in s.names("wal-")[-2:]]
        checks.equal("salvage: the log", Run("salvage", s.dir).status, 5)
        checks.ok("salvage: its files are kept", all(s.is_kept(d) for d in digests))
        checks.equal("salvage: it goes on", Run("verify", s.dir).status, 0)
        got = contents(s.dir)
        for key in got:
            all_of = want[b"delta" if key == b"beta" else key]  # the rename may be lost
            checks.ok("salvage: the log's beginning of %s is there" % key, got[key] == all_of[:len(got[key])] and len(got[key]) > 290)


def main():
    number = seed()
    rng = random.Random(number)
    print("SEED=%d" % number)
    base = tempfile.mkdtemp(prefix="beck-logtool-")
    try:
        source, crashed = os.path.join(base, "source"), os.path.join(base, "crashed")
        make_store(source)
        shutil.copytree(source, crashed)
        with Server(args=FLAGS, path_dir=crashed) as server:
            server.kill()
        with Stage(base, source) as s:
            want = contents(s.dir)
        check_refusals(base, source)
        check_newer(base, source)
        check_sound(source, crashed)
        check_stat(base, source)
        check_dump(source, os.path.join(ROOT, "tests", "data", "store-1"))
        check_flips(base, source, rng)
        check_two_places(base, source)
        check_missing(base, source)
        check_repair(base, source, want)
        check_repair_in_doubt(base, source)
        check_repair_after_merge(base, source, want)
        check_salvage_segments(base, source, want, rng)
        check_salvage_rest(base, source, want)
        check_salvage_log(base, source, want)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    checks.finish()


main()
