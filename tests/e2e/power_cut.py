"""A power cut at any moment: what beckd had told its clients is in every directory that the disk may hold then.

beckd runs under tests/preload_trace.c with real load: pipelines of XADDs and of MULTI/EXEC pairs from several
clients, in each class of durability; arenas are so small that it is sealed, merged and saved all the time. It is killed in the middle, started again, loaded again and stopped. The
trace has every operation on its files and every byte to its clients in one order. For many moments of it the
directory is rebuilt as a power cut may leave it (the model is that of tests/lib/simio.c), beckd starts there, and
what it has is compared with what the trace had told until that moment:

  - `always`: every acknowledged entry is there
  - `interval` T: of the acknowledged entries that are missing, first and last are at most 2 T apart; without a slow
    fdatasync, none is older than 2 T
  - all classes: each stream is a prefix of what its client sent, in that order; a pair is there as a whole or not
    at all; nothing of the second life is there without all that the second start had found
  - a mere kill at that moment loses nothing that was acknowledged, in any class

Then a sync fails with EIO under load: beckd has to end, and must not have told what it made durable only by that one.

SEED replays the choices of moments and images, not the run; SCALE multiplies the images.
"""

import bisect
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import threading

from beck import ROOT, Checks, Client, Error, Server, Simple, _scan, _Short, encode, scale, seed

T_MS = 40
CLASSES = ["always", "interval", "os"]
N_CLIENTS = 4
LOAD_BYTES = 500_000  # a life, all clients together: several files
IMAGES = scale(40)  # a class
SECTOR = 512
# So that segments, merges, checkpoints and manifests are in the trace too.
SMALL = ["--wal-file-bytes", "64kb", "--arena-bytes", "16kb", "--checkpoint-bytes", "64kb"]

(START, OPEN, CLOSE, WRITE, SYNC_BEGIN, SYNC_END, ALLOCATE, TRUNCATE, RENAME, LINK, UNLINK, MKDIR, ACCEPT,
 SEND, SENT) = range(15)


def preload_path():
    return os.path.join(ROOT, os.environ.get("BUILD") or "build", "tests", "preload_trace.so")


# ---- the load ------------------------------------------------------------------------------------


def pad(life, client, n):
    """The second field of an entry: all of it is checked."""
    size = (life * 31 + client * 7919 + n * 104729) % 211
    return b"%d:%d:%d:" % (life, client, n) + b"x" * (size * 16 if n % 20 == 0 else size)


def stream(life, client):
    return "s:%d:%d" % (life, client)


def pair_stream(life, client):
    return "p:%d:%d" % (life, client)


def is_pair(n):
    return n % 7 == 3


def requests(life, client, n):
    entry = ("*", "n", n, "pad", pad(life, client, n))
    one = encode("XADD", stream(life, client), *entry)
    if not is_pair(n):
        return one, 1
    return encode("MULTI") + one + encode("XADD", pair_stream(life, client), *entry) + encode("EXEC"), 4


def run_client(server, life, client, n_bytes, rng, errors):
    """One connection: its name, then pipelines of entries until it has sent its share."""
    try:
        with Client(server.path) as c:
            c.call("ECHO", "%d:%d" % (life, client))
            n = 0
            while n_bytes > 0:
                out, n_replies = b"", 0
                for _ in range(rng.choice([1, 1, 2, 5, 30])):
                    request, replies = requests(life, client, n)
                    out += request
                    n_replies += replies
                    n += 1
                c.send_bytes(out)
                n_bytes -= len(out)
                for _ in range(n_replies):
                    reply = c.read()
                    if isinstance(reply, Error):
                        raise AssertionError(reply)
    except Exception as e:  # a thread's failure belongs to the test
        errors.append("life %d, client %d: %r" % (life, client, e))


def run_load(server, life, rng, may_end=False):
    errors = []
    threads = [
        threading.Thread(target=run_client, args=(server, life, i, LOAD_BYTES // N_CLIENTS,
                                                  random.Random(rng.random()), errors))
        for i in range(N_CLIENTS)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors and not may_end:
        raise SystemExit("\n".join(errors))


def traced_server(durability, base, env):
    """beckd with the trace in base/trace and its data in base/data, and the paths of both."""
    trace, data = os.path.join(base, "trace"), os.path.join(base, "data")
    env = dict(env, LD_PRELOAD=preload_path(), BECK_TRACE=trace, BECK_TRACE_DIR=data)
    env["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"
    args = ["--stream-durability", durability, "--sync-interval-ms", str(T_MS)] + SMALL
    return Server(args=args, path_dir=data, env=env), trace, data


def record(durability, rng, base):
    """Two lives of beckd, with a kill between; the trace's records."""
    server, trace, data = traced_server(durability, base, {})
    with server:
        run_load(server, 0, rng)
        server.restart(kill=True)
        run_load(server, 1, rng)
        server.stop()
    return read_trace(trace, data)


def record_failure(durability, rng, base):
    """One life of beckd, in which a sync under load fails; the records, its exit status, and its log."""
    server, trace, data = traced_server(durability, base, {"BECK_TRACE_FAIL": str(rng.randrange(8, 20))})
    with server:
        run_load(server, 0, rng, may_end=True)
        try:
            status = server.wait()
        except subprocess.TimeoutExpired:
            status = None
            server.kill()
        return read_trace(trace, data), status, server.log()


def read_trace(path, data):
    """A list of (time_ns, kind, fd, pos, path, bytes), paths relative to the data directory."""
    def relative(p):
        return os.path.relpath(os.fsdecode(p), data) if p else ""

    records = []
    with open(path, "rb") as f:
        raw = f.read()
    at = 0
    while at < len(raw):
        ns, kind, fd, pos, n_path, n_data = struct.unpack_from("<QIiQII", raw, at)
        at += 32
        name, body = raw[at : at + n_path], raw[at + n_path : at + n_path + n_data]
        at += n_path + n_data
        if kind in (RENAME, LINK):
            body = relative(body)
        records.append((ns, kind, fd, pos, relative(name), body))
    return records


# ---- what clients were told ------------------------------------------------------------------------


class Told:
    """The acknowledgements in a trace: for each (life, client) the records at which entry 0, 1, ... were."""

    def __init__(self, records):
        self.at = {}
        self.records = records
        self.streams = {}  # fd -> [bytes not parsed, (life, client) or None, length before the last send]
        for i, (_, kind, fd, pos, _, body) in enumerate(records):
            if kind == START:
                self.streams.clear()
            elif kind == ACCEPT:
                self.streams[fd] = [b"", None, b""]
            elif kind == SEND and fd in self.streams:
                s = self.streams[fd]
                s[2] = (s[0], s[1], i, body)
                self.feed(s, body, i)
            elif kind == SENT and fd in self.streams:
                self.correct(self.streams[fd], pos)

    def feed(self, s, body, i):
        s[0] += body
        while True:
            try:
                value, end = _scan(s[0], 0)
            except _Short:
                return
            s[0] = s[0][end:]
            if s[1] is None:
                s[1] = tuple(int(x) for x in value.split(b":")) if isinstance(value, bytes) else None
                if s[1] is not None:
                    self.at.setdefault(s[1], [])
            elif isinstance(value, Error):
                if "IOERR" not in value:
                    raise SystemExit("an error in the trace: %s" % value)
                s[1] = ("failed",) + s[1]  # the log has failed: nothing more is told to this one
                self.at.setdefault(s[1], [])
            elif not isinstance(value, Simple):
                self.at[s[1]].append(i)
                if s[1][0] == "failed":
                    raise SystemExit("told an entry after an error: %r" % value)

    def correct(self, s, n):
        """Only n bytes of the last send were taken; the rest is sent, and recorded, again."""
        before, who, i, body = s[2]
        if n == len(body):
            return
        if who in self.at:  # what that send told is told again by the next one; the earlier record stays
            while self.at[who] and self.at[who][-1] == i:
                self.at[who].pop()
        s[0], s[1] = before, who
        self.feed(s, body[:n], i)

    def count(self, who, point):
        """How many entries were told before record `point`."""
        return bisect.bisect_left(self.at.get(who, []), point)

    def time_ms(self, who, n):
        return self.records[self.at[who][n]][0] / 1e6


# ---- the disk ---------------------------------------------------------------------------------------


class File:
    def __init__(self):
        self.durable = bytearray()
        self.pending = []  # (seq, pos, bytes), or (seq, size, None)


def apply(content, change):
    _, pos, body = change
    if body is None:
        if pos < len(content):
            del content[pos:]
        content.extend(bytes(pos - len(content)))
        return
    if len(content) < pos + len(body):
        content.extend(bytes(pos + len(body) - len(content)))
    content[pos : pos + len(body)] = body


def size_after(size, change):
    return change[1] if change[2] is None else max(size, change[1] + len(change[2]))


class Disk:
    """Files with their durable bytes and pending changes; names likewise. Fed with the records in order."""

    def __init__(self):
        self.names, self.durable = {}, {}  # path -> File
        self.rebinds = []  # (seq, name that goes or None, name that comes or None, File)
        self.dirs = {"."}
        self.fds, self.syncs = {}, {}
        self.seq = 0

    def feed(self, r):
        _, kind, fd, pos, path, body = r
        self.seq += 1
        if kind == START:
            self.fds.clear()
        elif kind == OPEN:
            self.open(fd, path)
        elif kind == CLOSE:
            self.fds.pop(fd, None)
        elif kind == MKDIR:
            self.dirs.add(path)  # of the tree: kept, since the test's directory itself is not at stake
        elif kind in (RENAME, LINK, UNLINK) and path not in self.names:
            pass  # a kill came between the call that made the file and its record, so no image has it
        elif kind == RENAME:
            self.rebind(path, body, self.names[path])
        elif kind == LINK:
            self.rebind(None, body, self.names[path])
        elif kind == UNLINK:
            self.rebind(path, None, self.names[path])
        elif fd in self.fds:
            self.change(kind, fd, pos, body)

    def open(self, fd, path):
        if path in self.dirs:
            self.fds[fd] = path
            return
        if path not in self.names:
            self.rebind(None, path, File())
        self.fds[fd] = self.names[path]

    def rebind(self, old, new, file):
        self.rebinds.append((self.seq, old, new, file))
        bind(self.names, self.rebinds[-1])

    def change(self, kind, fd, pos, body):
        f = self.fds[fd]
        if isinstance(f, str):
            self.sync_dir(kind, fd, f)
        elif kind == WRITE:
            f.pending.append((self.seq, pos, body))
        elif kind == TRUNCATE:
            f.pending.append((self.seq, pos, None))
        elif kind == ALLOCATE:
            now = len(f.durable)
            for c in f.pending:
                now = size_after(now, c)
            if pos > now:
                f.pending.append((self.seq, pos, None))
        elif kind == SYNC_BEGIN:
            self.syncs[fd] = self.seq
        elif kind == SYNC_END:
            done = [c for c in f.pending if c[0] < self.syncs[fd]]
            f.pending = f.pending[len(done) :]
            for c in done:
                apply(f.durable, c)

    def sync_dir(self, kind, fd, path):
        if kind == SYNC_BEGIN:
            self.syncs[fd] = self.seq
        elif kind == SYNC_END:
            left = []
            for r in self.rebinds:
                inside = all(n is None or (os.path.dirname(n) or ".") == path for n in r[1:3])
                if r[0] < self.syncs[fd] and inside:
                    bind(self.durable, r)
                else:
                    left.append(r)
            self.rebinds = left

    # -- images

    def files(self):
        seen = {id(f): f for f in self.names.values()}
        for r in self.rebinds:
            seen[id(r[3])] = r[3]
        return list(seen.values()) + [f for f in self.durable.values() if id(f) not in seen]

    def image(self, mode, rng):
        """name -> bytes, as a crash in that mode may leave them."""
        seqs = sorted([c[0] for f in self.files() for c in f.pending] + [r[0] for r in self.rebinds])
        end = {"K": self.seq + 1, "0": 0}.get(mode, rng.choice(seqs + [self.seq + 1]))
        keep_all = rng.random() < 0.5
        names = dict(self.durable)
        for r in self.rebinds:
            if mode in "DM":
                keep = rng.random() < 0.5
            else:
                keep = r[0] < end if mode in "K0P" else keep_all
            if keep:
                bind(names, r)
        return {name: self.content(f, mode, end, rng) for name, f in names.items()}

    def content(self, f, mode, end, rng):
        if mode == "M":
            mode, end = rng.choice("PR"), rng.choice([c[0] for c in f.pending] + [self.seq + 1])
        out = bytearray(f.durable)
        if mode == "D":
            end = rng.choice([0, self.seq + 1])
        if mode in "K0PD":
            for c in f.pending:
                if c[0] < end:
                    apply(out, c)
            return bytes(out)
        return self.reordered(f, out, rng)

    def reordered(self, f, out, rng):
        """Each sector as some prefix of the writes to it left it; the size as after some prefix of all."""
        p = rng.choice([0.03, 0.5, 0.97])
        limit, seen = {}, {}
        sizes = [len(out)]
        for c in f.pending:
            sizes.append(size_after(sizes[-1], c))
        size = rng.choice([sizes[0], sizes[-1], rng.choice(sizes)])
        for c in f.pending:
            if c[2] is None:
                if c[1] < len(out):
                    apply(out, c)
                continue
            at = c[1]
            while at < c[1] + len(c[2]):
                sector = at // SECTOR
                stop = min((sector + 1) * SECTOR, c[1] + len(c[2]))
                lost = limit.setdefault(sector, -1 if rng.random() < p else rng.randrange(3))
                seen[sector] = seen.get(sector, 0) + 1
                if lost < 0 or seen[sector] <= lost:
                    apply(out, (0, at, c[2][at - c[1] : stop - c[1]]))
                at = stop
        apply(out, (0, size, None))
        return bytes(out)


def bind(names, r):
    _, old, new, f = r
    if old is not None and names.get(old) is f:
        del names[old]
    if new is not None:
        names[new] = f


def write_image(image, path):
    os.makedirs(path, mode=0o700)
    for name, content in image.items():
        target = os.path.join(path, name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as f:
            f.write(content)


# ---- the comparison -----------------------------------------------------------------------------------


def entries(client, key):
    """The counters of a stream's entries, in order; None if an entry is not what was sent."""
    life, number = (int(x) for x in key.split(":")[1:])
    out = []
    for _, fields in client.call("XRANGE", key, "-", "+"):
        if len(fields) != 4 or fields[3] != pad(life, number, int(fields[1])):
            return None
        out.append(int(fields[1]))
    return out


def look(path, durability):
    """What beckd finds on an image: {(life, client): (entries of the stream, of the pair's)}, or an error."""
    args = ["--stream-durability", durability] + SMALL
    try:
        with Server(args=args, path_dir=path) as server, server.connect() as c:
            who = [(life, i) for life in range(2) for i in range(N_CLIENTS)]
            return {w: (entries(c, stream(*w)), entries(c, pair_stream(*w))) for w in who}, ""
    except SystemExit as e:
        return None, str(e)


def check_found(checks, where, found, told, durability, mode, point, slow, first_life):
    now_ms = told.records[point - 1][0] / 1e6
    for who, (ones, pairs) in found.items():
        n = 0 if ones is None else len(ones)
        place = "%s, client %s" % (where, who)
        checks.ok(place + ": a prefix of what was sent, in order", ones == list(range(n)), repr(ones)[:200])
        checks.ok(place + ": pairs whole or not at all", pairs == [i for i in range(n) if is_pair(i)],
                  "%r, %d entries" % (pairs, n))
        acked = told.count(who, point)
        if durability == "always" or mode == "K":
            checks.ok(place + ": every acknowledged entry", n >= acked, "%d of %d" % (n, acked))
        elif durability == "interval" and n < acked:
            first, last = told.time_ms(who, n), told.time_ms(who, acked - 1)
            checks.ok(place + ": lost ones span at most 2 T", last - first <= 2 * T_MS + slow, "%g ms" % (last - first))
            if slow < T_MS / 2:
                checks.ok(place + ": none older than 2 T", now_ms - first <= 2 * T_MS + slow + 10,
                          "%g ms" % (now_ms - first))
    if any(found[w][0] for w in found if w[0] == 1):
        for who in found:
            if who[0] == 0:
                checks.equal("%s: the second life's entries only with all of the first, client %d" % (where, who[1]),
                             len(found[who][0] or []), first_life[who])


def slowest_sync_ms(records):
    began, worst = {}, 0.0
    for ns, kind, fd, _, _, _ in records:
        if kind == SYNC_BEGIN:
            began[fd] = ns
        elif kind == SYNC_END:
            worst = max(worst, (ns - began[fd]) / 1e6)
    return worst


def moments(records, rng):
    """Records before which the power fails: anywhere, but half of them right behind something sent."""
    sends = [i + 1 for i, r in enumerate(records) if r[1] == SEND]
    points = [rng.choice(sends) if rng.random() < 0.5 else rng.randrange(1, len(records) + 1) for _ in range(IMAGES)]
    return sorted(points + [len(records)])


def run(durability, rng, base, checks):
    records = record(durability, rng, os.path.join(base, durability))
    told = Told(records)
    slow = slowest_sync_ms(records)
    disk, fed, path = Disk(), 0, os.path.join(base, "image")
    wholes, points = None, moments(records, rng)
    n_kinds = [sum(r[1] == k for r in records) for k in range(15)]
    print("%s: %d records, %d writes, %d syncs (slowest %.1f ms), %d renames, %d acknowledgements"
          % (durability, len(records), n_kinds[WRITE], n_kinds[SYNC_END], slow, n_kinds[RENAME],
             sum(map(len, told.at.values()))), flush=True)
    for w in [(life, i) for life in range(2) for i in range(N_CLIENTS)]:
        checks.ok("%s: client %s was told something" % (durability, w), told.count(w, len(records)) > 20)
    second = max(i for i, r in enumerate(records) if r[1] == START)
    for point in sorted(points + [second]):
        while fed < point:
            disk.feed(records[fed])
            fed += 1
        modes = ["K"] if point == second else ["0", rng.choice("PRRDMMK")]
        for mode in modes:
            write_image(disk.image(mode, rng), path)
            found, error = look(path, durability)
            where = "%s, before record %d of %d, mode %s" % (durability, point, len(records), mode)
            if checks.ok(where + ": beckd starts", found is not None, error):
                if point == second:
                    wholes = {w: len(found[w][0] or []) for w in found}
                check_found(checks, where, found, told, durability, mode, point, slow, wholes)
            shutil.rmtree(path)


def fail(durability, rng, base, checks):
    """A failed sync is never believed: beckd ends, and what it had told is there without what it didn't sync."""
    records, status, log = record_failure(durability, rng, base)
    told, disk, path = Told(records), Disk(), os.path.join(base, "image")
    for r in records:
        disk.feed(r)
    where = "%s, a sync fails" % durability
    checks.ok(where + ": beckd ends with an error", status not in (None, 0), "%r\n%s" % (status, log[-500:]))
    checks.ok(where + ": and says why", "Input/output error" in log, log[-500:])
    for mode in "0RMK":
        write_image(disk.image(mode, rng), path)
        found, error = look(path, durability)
        if checks.ok("%s, mode %s: beckd starts" % (where, mode), found is not None, error):
            check_found(checks, where, found, told, durability, mode, len(records), 0, None)
        shutil.rmtree(path)


def main():
    checks = Checks("power_cut")
    if not os.path.exists(preload_path()):
        raise SystemExit("%s is missing: make it first" % preload_path())
    s = seed()
    print("seed %d, %d images a class" % (s, 2 * IMAGES))
    rng = random.Random(s)
    base = tempfile.mkdtemp(prefix="beck-power-")
    try:
        for durability in CLASSES:
            os.makedirs(os.path.join(base, durability))
            run(durability, rng, base, checks)
            for i in range(scale(3)):
                os.makedirs(os.path.join(base, "fail", durability, str(i)))
                fail(durability, rng, os.path.join(base, "fail", durability, str(i)), checks)
    finally:
        shutil.rmtree(base, ignore_errors=True)
    checks.finish()


if __name__ == "__main__":
    sys.exit(main())
