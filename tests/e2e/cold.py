"""A stream many times larger than the block cache: read whole, backwards, in pieces, by slow and by dying clients, from damaged
files, inside EXEC. What comes must be what was appended, and the server's memory must not grow with it."""

import glob
import os
import random
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from beck import Checks, Error, Server, encode, scale, seed, wait_until  # noqa: E402

checks = Checks("cold")
N = 60000 * scale(10) // 10  # entries of the long stream, about 12 MB of replies each 60,000
SLOW = 6  # clients that do not read
ARGS = ["--arena-bytes", "256kb", "--cache-bytes", "256kb", "--stream-durability", "os"]


def body(i):
    return [b"n", b"%d" % i, b"text", (b"%08x" % (i * 2654435761 % 2**32)) * (5 + i % 30)]


def ident(i):
    return b"%d-%d" % (1000 + i // 3, i % 3)


def entry(i):
    return [ident(i), body(i)]


def resp(value):
    if isinstance(value, list):
        return b"*%d\r\n" % len(value) + b"".join(map(resp, value))
    return b"$%d\r\n%s\r\n" % (len(value), value)


ENTRIES = [resp(entry(i)) for i in range(N)]


def these(numbers):
    """The reply that has those entries, as bytes: taking long ones apart takes long."""
    return b"*%d\r\n" % len(numbers) + b"".join(ENTRIES[i] for i in numbers)


EVERYTHING = these(range(N))
BACKWARDS = these(range(N - 1, -1, -1))


def has(claim, c, want):
    """Whether exactly those bytes come next."""
    got = bytearray()
    while len(got) < len(want):
        data = c.sock.recv(min(1 << 18, len(want) - len(got)))
        if not data:
            break
        got += data
    if got == want:
        checks.ok(claim, True)
        return
    at = next((i for i in range(0, len(want), 1 << 12) if got[i:i + (1 << 12)] != want[i:i + (1 << 12)]), 0)
    checks.ok(claim, False, "%d bytes of %d; near %d: %r, want %r" % (
        len(got), len(want), at, bytes(got[at:at + 200]), want[at:at + 200]))


def asks(claim, c, want, *args):
    c.send(*args)
    has(claim, c, want)


def fill(server, key, n, proto=2):
    with server.connect(proto) as c:
        for first in range(0, n, 500):
            for i in range(first, min(first + 500, n)):
                c.send("XADD", key, ident(i), *body(i))
            for _ in range(first, min(first + 500, n)):
                c.read()


def log_figures(server):
    with server.connect() as c:
        reply = c.call("BECK", "LOG")
    return dict(zip(reply[::2], reply[1::2]))


def seal(server):
    with server.connect() as c:
        checks.ok("BECK SEAL", not isinstance(c.call("BECK", "SEAL"), Error))


def whole(server):
    with server.connect() as c:
        c.send("XRANGE", "s", "-", "+")
        has("a whole replay has every entry, in order", c, EVERYTHING)
        c.send("XREVRANGE", "s", "+", "-")
        has("and backwards", c, BACKWARDS)
        c.send("XREAD", "STREAMS", "none", "s", "0", "0")
        has("and by XREAD", c, b"*1\r\n*2\r\n$1\r\ns\r\n" + EVERYTHING)
    with server.connect(3) as c:
        c.send("XREAD", "STREAMS", "s", "none", "0", "0")
        has("and by XREAD in RESP3", c, b"%1\r\n$1\r\ns\r\n" + EVERYTHING)


def pieces(server, r):
    with server.connect() as c:
        for _ in range(scale(150)):
            a, b = sorted(r.sample(range(N), 2))
            b = min(b, a + r.choice((0, 1, 10, 300, 3000)))
            count = r.choice((1, 7, 100, 2000))
            asks("XRANGE", c, these(range(a, b + 1)), "XRANGE", "s", ident(a), ident(b))
            asks("XRANGE COUNT", c, these(range(a, min(N, a + count))), "XRANGE", "s", ident(a), "+", "COUNT", count)
            back = these(range(b, max(a - 1, b - count), -1))
            asks("XREVRANGE COUNT", c, back, "XREVRANGE", "s", ident(b), ident(a), "COUNT", count)
            more = range(a + 1, min(N, a + 1 + count))
            want = b"*1\r\n*2\r\n$1\r\ns\r\n" + these(more) if more else b"*-1\r\n"
            asks("XREAD COUNT", c, want, "XREAD", "COUNT", count, "STREAMS", "s", ident(a))
        for first in range(0, N, 997):
            want = b"*1\r\n*2\r\n$1\r\ns\r\n" + these(range(first, min(N, first + 997)))
            after = ident(first - 1) if first > 0 else b"0"
            asks("the next entries", c, want, "XREAD", "COUNT", "997", "STREAMS", "s", after)
        asks("nothing is behind the last", c, b"*-1\r\n", "XREAD", "STREAMS", "s", ident(N - 1))


def resident_kb(server, what):
    with open("/proc/%d/status" % server.pid, encoding="ascii") as f:
        return int([line for line in f if line.startswith(what)][0].split()[1])


def slow_reader(server):
    """Some ask for everything and read nothing; then everything."""
    with server.connect() as fast:
        fast.call("XLEN", "s")
        before = resident_kb(server, "VmRSS")
        slow = [server.connect() for _ in range(SLOW)]
        for c in slow:
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 10)
            c.send("XRANGE", "s", "-", "+")
        checks.equal("others go on", fast.call("XRANGE", "s", ident(5), ident(5)), [entry(5)])
        wait_until(lambda: b" omem=0 " not in b"".join(
            line for line in fast.call("CLIENT", "LIST").splitlines() if b"cmd=xrange" in line and b"qbuf=0" in line),
            "the slow ones' output to fill")
        grown = resident_kb(server, "VmRSS") - before
        checks.ok("memory does not grow with what is not read: %d KiB for %d readers" % (grown, SLOW), grown < SLOW * 2500)
        for c in slow:
            has("a slow reader gets all of it", c, EVERYTHING)
            c.close()


def dying_reader(server):
    for _ in range(20):
        c = server.connect()
        c.send("XRANGE", "s", "-", "+")
        c.sock.recv(1 << 16)
        c.close()
    for how in ("CLIENT KILL", "a pipeline behind it"):
        with server.connect() as c, server.connect() as admin:
            number = c.call("CLIENT", "ID")
            c.send("XREVRANGE", "s", "+", "-")
            if how == "CLIENT KILL":
                admin.call("CLIENT", "KILL", "ID", number)
                wait_until(lambda: b"id=%d " % number not in admin.call("CLIENT", "LIST"), "it to be closed")
                checks.ok("a client killed in the middle of a reply is closed", True)
            else:
                c.send_bytes(encode("PING") + encode("XLEN", "s") + encode("XRANGE", "s", ident(3), ident(3)))
                has("the long reply", c, BACKWARDS)
                checks.equal("then the next", str(c.read()), "PONG")
                checks.equal("and the next", c.read(), N)
                checks.equal("and a cold one", c.read(), [entry(3)])
    wait_until(lambda: log_figures(server)[b"parts_pinned"] == 0, "pins to be given back")
    checks.ok("who goes away in the middle of a reply leaves nothing", True)


def transactions(server):
    with server.connect() as c:
        c.call("MULTI")
        c.call("XRANGE", "s", ident(100), ident(110))
        c.call("XDEL", "s", ident(105))
        c.call("XRANGE", "s", ident(104), ident(106))
        c.call("XREVRANGE", "s", "+", "-", "COUNT", "2")
        c.call("XADD", "s", "*", "last", "one")
        reply = c.call("EXEC")
        checks.equal("EXEC: a cold range", reply[0], [entry(i) for i in range(100, 111)])
        checks.equal("EXEC: a cold delete", reply[1], 1)
        checks.equal("EXEC: and what is left", reply[2], [entry(104), entry(106)])
        checks.equal("EXEC: from the end", reply[3], [entry(N - 1), entry(N - 2)])
        c.call("XDEL", "s", reply[4])
        c.call("MULTI")
        c.call("XADD", "t", "*", "a", "b")
        c.call("XRANGE", "s", "-", "+")
        reply = c.call("EXEC")
        if N > 50000:
            checks.ok("EXEC over too much is refused", isinstance(reply, Error) and "EXECABORT" in reply and "MiB" in reply, str(reply)[:200])
            checks.equal("as a whole", c.call("EXISTS", "t"), 0)


def trims(server):
    with server.connect() as c:
        checks.equal("XTRIM MAXLEN of what is cold", c.call("XTRIM", "s", "MAXLEN", N // 2), N - 1 - N // 2)
        first = N - N // 2
        checks.equal("the first that is left", c.call("XRANGE", "s", "-", "+", "COUNT", "1"), [entry(first)])
        checks.equal("XTRIM MINID", c.call("XTRIM", "s", "MINID", ident(first + 30)), 30)
        checks.equal("XLEN", c.call("XLEN", "s"), N // 2 - 30)
        c.send("XRANGE", "s", "-", "+")
        has("the rest", c, these(range(first + 30, N)))


def restarts(server):
    for kill in (False, True):
        server.restart(kill=kill)
        with server.connect() as c:
            checks.equal("the last after a restart", c.call("XREVRANGE", "s", "+", "-", "COUNT", "1"), [entry(N - 1)])
            checks.equal("XLEN after a restart", c.call("XLEN", "s"), N // 2 - 30)


def damage(r):
    """A bit in every segment's middle flips: what needs the block fails with file and offset, all else works."""
    with Server(args=ARGS) as server:
        fill(server, "s", 20000)
        fill(server, "t", 300)
        with server.connect() as c:
            checks.ok("BECK MERGE", not isinstance(c.call("BECK", "MERGE"), Error))
        server.stop()
        path = max(glob.glob(os.path.join(server.dir, "st-*.seg")), key=os.path.getsize)
        pos = 4096 + (os.path.getsize(path) - 4096) // 2
        with open(path, "r+b") as f:
            f.seek(pos)
            byte = f.read(1)[0]
            f.seek(pos)
            f.write(bytes([byte ^ 1 << r.randrange(8)]))
        server.start()
        with server.connect() as c:
            n_failed = 0
            for first in range(0, 20000, 100):
                reply = c.call("XRANGE", "s", ident(first), ident(first + 99))
                if isinstance(reply, Error):
                    n_failed += 1
                    told = reply.startswith("IOERR") and os.path.basename(path) in reply and "byte" in reply
                    checks.ok("the error names file and offset", told, str(reply))
                else:
                    checks.ok("what is sound is right", reply == [entry(i) for i in range(first, first + 100)])
            checks.ok("some ranges fail, few", 0 < n_failed < 20, "%d of 200" % n_failed)
            checks.equal("other streams work", c.call("XRANGE", "t", "-", "+"), [entry(i) for i in range(300)])
            checks.equal("appending works", c.call("XADD", "s", "9999999-0", "a", "b"), b"9999999-0")
            checks.ok("so does XINFO", not isinstance(c.call("XINFO", "STREAM", "s"), Error))
            c.send("XRANGE", "s", "-", "+")
            got = bytearray()
            while data := c.sock.recv(1 << 18):
                got += data
            want = resp([entry(i) for i in range(20000)] + [[b"9999999-0", [b"a", b"b"]]])
            checks.ok("a reply that cannot be gone on with is cut, and right up to there", 0 < len(got) < len(want) and want.startswith(got),
                      "%d of %d bytes" % (len(got), len(want)))
        with open(server.log_path, encoding="utf-8") as f:
            text = f.read()
        checks.ok("the broker's log says why", os.path.basename(path) in text and "in the middle of a reply" in text, text[-500:])


def main():
    number = seed()
    print("cold: SEED=%d" % number, flush=True)
    r = random.Random(number)
    with Server(args=ARGS) as server:
        fill(server, "s", N)
        seal(server)
        for part in (whole, slow_reader, dying_reader):
            part(server)
        pieces(server, r)
        transactions(server)
        trims(server)
        checks.equal("nothing was read on the spot", log_figures(server)[b"sync_reads"], 0)
        restarts(server)
    damage(r)
    checks.finish()


main()
