"""What a connection may do and what it may not: pipelines, broken requests, limits, timeouts, sockets, ends.

Texts and behaviour of protocol errors are compared with the real redis-server, byte by byte.
"""

import os
import random
import resource
import select
import signal
import socket
import stat
import subprocess
import tempfile
import threading

from beck import Checks, Client, Closed, Server, beckd_path, encode, scale, seed, wait_until

MIB = 1 << 20
with open(beckd_path(), "rb") as program:  # what a checker holds in memory says nothing about the server
    image = program.read()
    CHECKED = any(word in image for word in (b"__asan_init", b"__tsan_init"))
END = b"$3\r\nend\r\n"  # the reply to ECHO end, which closes every case that leaves the connection open


def exchange(server, data, first=()):
    """Sends `data` and ECHO end; everything that comes back, until that reply or the connection's end."""
    with server.connect() as c:
        for command in first:
            c.call(*command)
        try:
            c.send_bytes(data + b"ECHO end\r\n")
        except OSError:
            pass
        out = b""
        while not out.endswith(END):
            try:
                got = c.sock.recv(1 << 16)
            except ConnectionResetError:
                got = b""
            if not got:
                return out + b"<closed>"
            out += got
        return out


BROKEN = [
    b"*x\r\n", b"*\r\n", b"*01\r\n", b"*00\r\n", b"*-0\r\n", b"*+1\r\n", b"* 1\r\n", b"*1 \r\n",
    b"*1\n$4\r\nPING\r\n", b"*2147483648\r\n", b"*9999999999999\r\n", b"*99999999999999999999999\r\n",
    b"*1\r\nx4\r\n", b"*1\r\n\r\n", b"*1\r\n$x\r\n", b"*1\r\n$\r\n", b"*1\r\n$-1\r\n", b"*1\r\n$04\r\n",
    b"*1\r\n$+4\r\n", b"*1\r\n$536870913\r\n", b"*1\r\n$99999999999999999999\r\n", b"*2\r\n$4\r\nPING\r\n:3\r\n",
    b"*1\r\n\x01\r\n", b"*1\r\n\xff\r\n", b"PING\r\nfoo\r\n*x\r\nPING\r\n", b"*" + b"1" * 70000,
    b"*1\r\n$" + b"1" * 70000, b"PING \"\r\n", b"PING \"a\"b\r\n", b"PING 'a'b\r\n", b"PING \"a\r\n b\"\r\n",
    b"PING a\"b c\"d\r\n", b"PING 'a\\'\r\n", b"\"\r\n", b"POST / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", b"post\r\n", b"host: x\r\n", b"PING\r\nPOST x\r\nPING\r\n",
]

ODD = [
    b"*-1\r\n", b"*-10\r\n", b"*0\r\n", b"*1\r\n$4\r\nPINGxx", b"*1\rx$4\r\nPING\r\n", b"\r\n\r\nPING\r\n",
    b"PING\n", b"   PING   a   \r\n", b"$4\r\nPING\r\n", b"PING \t\x0b\x0c a\r\n", b"*1\r\n$0\r\n\r\n",
    b"\"\"\r\n", b"PING \"\"\r\n", b"\"PING\"\r\n", b"PING \"\\q\\x4\\xzz\\x41\"\r\n", b"PING 'a\\'b'\r\n",
    b"PING \"a\\x00b\\r\\n\\t\\b\\a\\\\\"\r\n", b"PING a\"b\"\r\n", b"ECHO 'a b'\t\"c\"\r\n",
    b"PING " + b"a" * 65000 + b"\r\n", b"*2\r\n$4\r\nPING\r\n$20000\r\n" + b"x" * 20000 + b"\r\n",
    b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n*1\r\n$4\r\nPING\r\n", b"quit\r\nPING\r\n", b"QUIT now\r\n",
]


def broken_requests(checks):
    with Server() as beckd, Server("redis") as redis:
        for server in (beckd, redis):
            with server.connect() as c:
                c.call("CONFIG", "SET", "proto-max-bulk-len", "536870912")
        for data in BROKEN + ODD:
            want = exchange(redis, data)
            checks.equal("%r is answered as Redis does" % data[:50], exchange(beckd, data), want)
        with Server(args=["--requirepass", "secret"]) as locked, redis.connect() as c:
            c.call("CONFIG", "SET", "requirepass", "secret")
            for data in [b"PING\r\n", b"*11\r\n", b"*1\r\n$16385\r\n", b"AUTH wrong\r\n", b"a" * 70000 + b"\r\n",
                         b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n*11\r\n" + b"$4\r\nPING\r\n" * 11]:
                want = exchange(redis, data + b"AUTH secret\r\n")
                got = exchange(locked, data + b"AUTH secret\r\n")
                checks.equal("before AUTH %r is answered as Redis does" % data[:50], got, want)


def pipelines(checks):
    """A pipeline's replies do not depend on how its bytes arrive."""
    number = seed()
    print("pipelines: SEED=%d" % number)
    rng = random.Random(number)
    with Server(args=["--stream-durability", "interval"]) as server, server.connect() as c:
        commands, want = [], []
        for i in range(scale(3000)):
            size = rng.choice([0, 1, 9, 10, 99, 100, 999, 1000, 5000, 70000 if i % 50 == 0 else 12])
            word = bytes(rng.randrange(256) for _ in range(min(size, 50))) * (size // 50 + 1)
            kind = rng.randrange(4)
            if kind == 0:
                commands.append(b"PING\r\n")
                want.append(b"+PONG\r\n")
                continue
            word = word[:size]
            commands.append(encode("ECHO", word) if kind < 3 else encode("XADD", "s", "0-%d" % (i + 1), "f", word))
            if kind < 3:
                want.append(b"$%d\r\n%s\r\n" % (len(word), word))
            else:
                text = b"0-%d" % (i + 1)
                want.append(b"$%d\r\n%s\r\n" % (len(text), text))
        data, want = b"".join(commands), b"".join(want)

        def send():
            at = 0
            while at < len(data):
                n = rng.choice([1, 2, 3, 100, 1000, 16384, 200000])
                c.send_bytes(data[at : at + n])
                at += n

        sender = threading.Thread(target=send)
        sender.start()
        got = bytearray()
        while len(got) < len(want):
            piece = c.sock.recv(1 << 18)
            if not piece:
                break
            got += piece
        sender.join()
        checks.equal("replies to %d bytes in pieces" % len(data), bytes(got), want)


def many_at_once(checks):
    """One request in hundreds of thousands of arguments, and one pipeline of as many requests."""
    n = scale(200000)
    with Server(args=["--stream-durability", "os"]) as server, server.connect() as c:
        c.send("DEL", *["k%d" % i for i in range(n)])
        checks.equal("a request of %d arguments" % n, c.read(), 0)
        thread = threading.Thread(target=c.send_bytes, args=(b"*1\r\n$4\r\nPING\r\n" * n,))
        thread.start()
        want, got = 7 * n, 0
        while got < want:
            got += len(c.sock.recv(1 << 18))
        thread.join()
        checks.equal("a pipeline of %d requests" % n, got, want)


def half_closed(checks):
    with Server() as server:
        with server.connect() as c:
            c.send_bytes(b"".join(encode("XADD", "s", "*", "f", str(i)) for i in range(500)) + b"PING\r\nPI")
            c.sock.shutdown(socket.SHUT_WR)
            out = c.read_to_end()
            checks.equal("a client that has said its last word gets all replies", out.count(b"$"), 500)
            checks.ok("the last of them, too", out.endswith(b"+PONG\r\n"))
        with server.connect() as c, server.connect() as other:
            me = c.call("CLIENT", "ID")
            c.send("XREAD", "BLOCK", "0", "STREAMS", "none", "$")
            listed = lambda: b"id=%d " % me in other.call("CLIENT", "LIST")
            wait_until(lambda: b"cmd=xread" in other.call("CLIENT", "LIST"), "the client to block")
            c.close()
            wait_until(lambda: not listed(), "a blocked client that left to be forgotten")
            checks.ok("a blocked client that leaves is forgotten", True)
        with server.connect() as c, server.connect() as other:
            me = c.call("CLIENT", "ID")
            c.send("XREAD", "BLOCK", "0", "STREAMS", "none", "$")
            listed = lambda: b"id=%d " % me in other.call("CLIENT", "LIST")
            wait_until(lambda: b"cmd=xread" in other.call("CLIENT", "LIST"), "the client to block")
            c.send_bytes(b"PING\r\n" * 100000)
            c.close()
            wait_until(lambda: not listed(), "a blocked client that left behind a long pipeline to be forgotten")
            checks.ok("one that leaves behind a long pipeline, too", True)


def blocked_pipelines(checks):
    with Server(args=["--stream-durability", "os"]) as server, server.connect() as c, server.connect() as other:
        c.send_bytes(encode("XREAD", "BLOCK", "0", "STREAMS", "s", "$") + b"PING\r\n" + encode("ECHO", "x" * 50000))
        wait_until(lambda: b"cmd=xread" in other.call("CLIENT", "LIST"), "the client to block")
        checks.ok("what is pipelined behind a blocking command waits", c.silent(0.05))
        other.call("XADD", "s", "1-1", "f", "v")
        checks.equal("the blocking command", c.read(), [[b"s", [[b"1-1", [b"f", b"v"]]]]])
        checks.equal("the next", c.read(), c_simple("PONG"))
        checks.equal("and the one after it", c.read(), b"x" * 50000)
        c.send_bytes(encode("XREAD", "BLOCK", "0", "STREAMS", "s", "$"))
        wait_until(lambda: b"cmd=xread" in other.call("CLIENT", "LIST"), "the client to block")
        data = b"*1\r\n$4\r\nPING\r\n" * 100000
        thread = threading.Thread(target=c.send_bytes, args=(data,))
        thread.start()
        other.call("XADD", "s", "1-2", "f", "v")
        c.read()
        checks.equal("a long pipeline behind it", receive(c, 700000), b"+PONG\r\n" * 100000)
        thread.join()


def c_simple(text):
    from beck import Simple

    return Simple(text)


def slow_readers(checks):
    n = max(80, scale(200))
    with Server(args=["--stream-durability", "os"]) as server, server.connect() as c, server.connect() as other:
        request = encode("ECHO", b"x" * MIB)
        thread = threading.Thread(target=lambda: [c.send_bytes(request) for _ in range(n)])
        before = server.rss_bytes()
        thread.start()
        wait_until(lambda: server.rss_bytes() - before > 60 * MIB, "output to pile up")
        for _ in range(200):
            other.call("PING")
        grown = server.rss_bytes() - before
        checks.ok("a client that does not read gets at most 64 MiB ahead", CHECKED or grown < 75 * MIB,
                  "%d bytes" % grown)
        want, got = n * (MIB + len(b"$1048576\r\n\r\n")), 0
        while got < want:
            got += len(c.sock.recv(1 << 20))
        thread.join()
        checks.equal("and all of it once it reads", got, want)
        wait_until(lambda: CHECKED or server.rss_bytes() - before < 20 * MIB, "the memory to be given back")
        checks.ok("then the memory is given back", True)


def output_limits(checks):
    for limit, why in [("normal 1mb 0 0", "hard"), ("normal 0 1mb 1", "soft")]:
        with Server(args=["--client-output-buffer-limit", limit]) as server, server.connect() as c:
            request = encode("ECHO", b"x" * 500000)
            try:
                for _ in range(40):
                    c.send_bytes(request)
            except OSError:
                pass
            with server.connect() as other:
                wait_until(lambda: (other.call("PING"), "client-output-buffer-limit" in server.log())[1],
                           "a client above the %s limit to be closed" % why)
                left = other.call("CLIENT", "LIST").count(b"\n")
            checks.equal("a client above its %s limit is closed, with a line in the log" % why, left, 1)


def input_limits(checks):
    with Server(args=["--client-query-buffer-limit", "1mb"]) as server:
        for what, data in [
            ("a big argument", b"*2\r\n$4\r\nECHO\r\n$3000000\r\n" + b"x" * 2500000),
            ("many arguments", b"*100000000\r\n" + b"$1\r\nx\r\n" * 200000),
            ("a transaction", b"MULTI\r\n" + encode("ECHO", b"x" * 900000) * 3),
        ]:
            with server.connect() as c:
                try:
                    c.send_bytes(data)
                except OSError:
                    pass
                out = c.read_to_end()
                checks.ok("%s above client-query-buffer-limit ends the connection" % what, b"$" not in out, repr(out))
        checks.ok("the log says why", "client-query-buffer-limit" in server.log())
    with Server() as server, server.connect() as other:
        other.call("PING")
        before = server.rss_bytes()
        clients = [server.connect() for _ in range(50)]
        for c in clients:
            c.send_bytes(b"*1000000000\r\n$67108864\r\n" + b"x" * 100)
        other.call("PING")
        grown = server.rss_bytes() - before
        checks.ok("nothing is allocated for what is only announced", CHECKED or grown < 10 * MIB, "%d bytes" % grown)
        for c in clients:
            c.close()


def refused_clients(checks):
    with Server(args=["--maxclients", "3"]) as server:
        clients = [server.connect() for _ in range(3)]
        for c in clients:
            c.call("PING")
        with server.connect() as c:
            checks.equal("one client too many", c.read_to_end(), b"-ERR max number of clients reached\r\n")
        clients[0].call("CONFIG", "SET", "maxclients", "4")
        with server.connect() as c:
            checks.equal("CONFIG SET maxclients counts at once", c.call("PING"), c_simple("PONG"))
        clients.pop().close()

    with Server() as server:
        with server.connect() as c:
            c.call("PING")
            # what the log opens in the background is open by then, and takes none of the two
            wait_until(lambda: {"wal-next.tmp", "wal-reserve", "work-reserve"} <= set(os.listdir(server.dir)), "spare files")
            fds = len(os.listdir("/proc/%d/fd" % server.pid))
            _, hard = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (fds + 2, hard))
            more = [server.connect() for _ in range(5)]
            answers = [try_ping(m) for m in more]
            checks.ok("without descriptors clients are refused, not left waiting", answers[-1] == "refused",
                      repr(answers))
            checks.equal("others are served meanwhile", c.call("PING"), c_simple("PONG"))
            for m in more:
                m.close()
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (hard, hard))
            with server.connect() as again:
                checks.equal("and new ones when there are descriptors again", again.call("PING"), c_simple("PONG"))


def try_ping(c):
    try:
        return c.call("PING")
    except TimeoutError:
        return "left waiting"
    except (Closed, OSError):
        return "refused"


def idle_clients(checks):
    with Server(args=["--timeout", "1", "--loglevel", "verbose"]) as server:
        with server.connect() as idle, server.connect() as blocked:
            blocked.send("XREAD", "BLOCK", "0", "STREAMS", "s", "$")
            checks.equal("an idle client is closed", idle.read_to_end(), b"")
            with server.connect() as other:
                other.call("XADD", "s", "1-1", "f", "v")
            checks.equal("one that waits in a command is not", blocked.read(), [[b"s", [[b"1-1", [b"f", b"v"]]]]])
        checks.ok("the log says so", "has been idle for 1 s" in server.log())
        with server.connect() as c:
            c.call("CONFIG", "SET", "timeout", "0")
            checks.ok("with timeout 0 nobody is closed", c.silent(1.2))
            before = switches(server)
            c.silent(1.2)
            woken = 0 if CHECKED else switches(server) - before  # the thread checker has a thread of its own
            checks.equal("and an idle server does not even wake up", woken, 0)


def switches(server):
    """Times that the server's threads have gone to sleep."""
    total = 0
    for task in os.listdir("/proc/%d/task" % server.pid):
        with open("/proc/%d/task/%s/status" % (server.pid, task), encoding="ascii") as f:
            total += sum(int(line.split()[1]) for line in f if line.startswith("voluntary"))
    return total


def idle_memory(checks):
    n = scale(10000)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    n = min(n, hard - 200)
    with Server(args=["--maxclients", "20000"]) as server:
        with server.connect() as c:
            c.call("PING")
            before = server.rss_bytes()
            checks.ok("at rest the server takes less than 10 MiB", CHECKED or before < 10 * MIB, "%d" % before)
            clients = []
            for i in range(n):
                clients.append(server.connect())
                clients[-1].call("ECHO", "x" * (i % 50 * 100))
            grown = server.rss_bytes() - before
            checks.ok("%d idle clients take less than 3 KiB each" % n, CHECKED or grown < 3072 * n + MIB,
                      "%d bytes each" % (grown // n))
            print("idle: %.1f MiB, and %d bytes for each of %d clients" % (before / MIB, grown // n, n))
            for client in clients:
                client.close()
            wait_until(lambda: c.call("CLIENT", "LIST").count(b"\n") == 1, "the clients to be gone")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def big_arguments(checks):
    size = 512 * MIB if scale(10) >= 10 else 48 * MIB
    args = ["--proto-max-bulk-len", str(max(size, MIB)), "--max-batch-bytes", str(size + 64 * MIB),
            "--stream-durability", "os"]
    with Server(args=args) as server, server.connect(timeout=120) as c:
        before = server.rss_bytes()
        piece = bytes(range(256)) * 4096
        c.send_bytes(b"*5\r\n$4\r\nXADD\r\n$1\r\ns\r\n$3\r\n1-1\r\n$1\r\nf\r\n$%d\r\n" % size)
        for _ in range(size // len(piece)):
            c.send_bytes(piece)
        c.send_bytes(b"\r\n")
        checks.equal("an argument of %d MiB" % (size // MIB), c.read(), b"1-1")
        peak = peak_bytes(server) - before
        checks.ok("is held twice at most while it arrives, and once in the log", CHECKED or peak < 2.2 * size + 64 * MIB,
                  "peak %d MiB" % (peak // MIB))
        c.send("XRANGE", "s", "-", "+")
        head = b"*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$1\r\nf\r\n$%d\r\n" % size
        checks.equal("and comes back", receive(c, len(head)), head)
        same = all([receive(c, len(piece)) == piece for _ in range(size // len(piece))])
        checks.ok("as it was", same and receive(c, 2) == b"\r\n")
        with server.connect() as other:
            other.send_bytes(b"*2\r\n$4\r\nECHO\r\n$%d\r\n" % (size + 1))
            checks.equal("one byte more is refused", other.read_to_end(),
                         b"-ERR Protocol error: invalid bulk length\r\n")


def receive(c, n):
    """The next n bytes."""
    while len(c.buf) < n:
        c.buf += c.sock.recv(1 << 20)
    out = bytes(c.buf[:n])
    del c.buf[:n]
    return out


def peak_bytes(server):
    with open("/proc/%d/status" % server.pid, encoding="ascii") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM:"))


def killed_and_quit(checks):
    with Server() as server, server.connect() as c, server.connect() as victim:
        me = victim.call("CLIENT", "ID")
        checks.equal("CLIENT KILL", c.call("CLIENT", "KILL", "ID", me), 1)
        checks.equal("closes the other connection", victim.read_to_end(), b"")
        with server.connect() as blocked:
            me = blocked.call("CLIENT", "ID")
            blocked.send("XREAD", "BLOCK", "0", "STREAMS", "s", "$")
            wait_until(lambda: b"cmd=xread" in c.call("CLIENT", "LIST"), "the client to block")
            checks.equal("CLIENT KILL of a blocked one", c.call("CLIENT", "KILL", "ID", me), 1)
            checks.equal("closes it, too", blocked.read_to_end(), b"")
        with server.connect() as q:
            q.send_bytes(b"PING\r\nQUIT\r\nXADD s * f v\r\n")
            checks.equal("QUIT is the last command", q.read_to_end(), b"+PONG\r\n+OK\r\n")
        checks.equal("of a pipeline", c.call("XLEN", "s"), 0)


def stops(checks):
    with Server() as server:
        c = server.connect()
        data = b"".join(encode("XADD", "s", "*", "f", "v" * 100) for _ in range(20000))
        thread = threading.Thread(target=ignore_errors(c.send_bytes), args=(data,))
        thread.start()
        first = c.read_raw()
        with server.connect() as blocked, server.connect() as lazy:
            blocked.send("XREAD", "BLOCK", "0", "STREAMS", "none", "$")
            lazy.call("PING")
            server.signal(signal.SIGTERM)
            replies = first + c.read_to_end()
            thread.join()
            checks.equal("SIGTERM closes a blocked client", blocked.read_to_end(), b"")
            checks.equal("and an idle one", lazy.read_to_end(), b"")
        checks.equal("SIGTERM ends with status 0", server.wait(), 0)
        checks.ok("the socket's file is gone", not os.path.exists(server.path))
        server.start()
        with server.connect() as again:
            checks.equal("what was executed was answered, nothing else", again.call("XLEN", "s"),
                         replies.count(b"$"))
            again.send("SHUTDOWN")
            checks.equal("SHUTDOWN answers by closing", again.read_to_end(), b"")
        checks.equal("and ends with status 0", server.wait(), 0)
        server.start()
        with server.connect() as stubborn:
            stubborn.send_bytes(encode("ECHO", b"x" * MIB) * 30)
            with server.connect() as other:
                wait_until(lambda: (other.call("PING"), b"omem=0 tot" not in other.call("CLIENT", "LIST"))[1] or True,
                           "the server to have read it")
            server.signal(signal.SIGINT)
            checks.equal("a client that does not read cannot prevent the end", server.wait(), 0)


def ignore_errors(function):
    def call(*args):
        try:
            function(*args)
        except OSError:
            pass

    return call


def failed_log(checks):
    """Writes beyond a file size limit fail, as those to a broken disk."""
    for durability in ("always", "interval", "os"):
        with Server(args=["--stream-durability", durability]) as server, server.connect() as c:
            c.call("XADD", "s", "1-1", "f", "v")
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (4096, 4096))
            out = ignore_closed(lambda: c.raw("XADD", "s", "1-2", "f", "v"))
            checks.ok("%s: who waits for a log that fails is told" % durability, out.startswith(b"-IOERR "), repr(out))
            checks.equal("%s: the server ends with status 1" % durability, server.wait(), 1)
            lines = [l for l in server.log().splitlines() if "the log has failed" in l]
            checks.equal("%s: with one line in its log" % durability, len(lines), 1)
            server.start()
            with server.connect() as again:
                checks.equal("%s: what was acknowledged is there" % durability, again.call("XLEN", "s"), 1)


def ignore_closed(function):
    try:
        return function()
    except (Closed, OSError) as e:
        return repr(e).encode()


def unix_sockets(checks):
    with Server() as server:
        mode = os.stat(server.path).st_mode
        checks.ok("a Unix socket is for its owner", stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o700, oct(mode))
        with server.connect() as c:
            line = c.call("CLIENT", "INFO").decode()
            checks.ok("its clients have its path for an address", "addr=%s" % server.path[:40] in line, line)
        out = run(["--port", "0", "--unixsocket", server.path, "--dir", server.dir + "2"])
        checks.ok("a socket in use is not taken away", out[0] == 2 and server.path in out[1], repr(out))
        with server.connect() as c:
            checks.equal("and goes on working", c.call("PING"), c_simple("PONG"))
        server.kill()
        checks.ok("after a kill its file is left", os.path.exists(server.path))
        server.start()
        with server.connect() as c:
            checks.equal("and replaced", c.call("PING"), c_simple("PONG"))
        path = os.path.join(server.base, "file")
        with open(path, "w", encoding="ascii") as f:
            f.write("precious")
        out = run(["--port", "0", "--unixsocket", path, "--dir", server.dir + "2"])
        checks.ok("a file that is no socket is left alone", out[0] == 2 and os.path.getsize(path) == 8, repr(out))
        out = run(["--port", "0", "--unixsocket", "/tmp/" + "x" * 200, "--dir", server.dir + "2"])
        checks.ok("a path too long for a socket is refused", out[0] == 2 and "longer than" in out[1], repr(out))


def tcp(checks):
    with Server() as server, Server() as second, server.connect(tcp=True) as c:
        checks.ok("two servers with --port 0 have different ports", server.port != second.port)
        checks.ok("the ready line says what was taken",
                  server.ready.split()[1:] == ["port=%d" % server.port, "dir=" + server.dir, "pid=%d" % server.pid],
                  server.ready)
        line = c.call("CLIENT", "INFO").decode()
        checks.ok("addresses are shown", "laddr=127.0.0.1:%d" % server.port in line, line)
        out = run(["--port", str(server.port), "--dir", second.dir + "2"])
        checks.ok("a port in use is refused in one line", out[0] == 2 and str(server.port) in out[1]
                  and out[1].count("\n") == 1, repr(out))
        if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6"):
            with Client(host="::1", port=server.port) as six:
                checks.equal("::1 has the same port", six.call("PING"), c_simple("PONG"))


def run(args, env=None):
    """Runs beckd, which must end by itself; (status, stderr without lines of the log, stdout)."""
    done = subprocess.run([beckd_path()] + args, capture_output=True, timeout=30, env=env, check=False)
    lines = done.stderr.decode().splitlines(keepends=True)
    return done.returncode, "".join(l for l in lines if l.startswith("beckd: ")), done.stdout.decode()


def refusals(checks):
    base = tempfile.mkdtemp(prefix="beck-e2e-")
    sub = os.path.join(base, "new")
    quiet = ["--port", "0"]
    for claim, args, words in [
        ("a public address without a password", ["--bind", "0.0.0.0", "--dir", sub], ["0.0.0.0", "requirepass"]),
        ("an unknown flag", ["--prot", "1"], ["prot", "did you mean 'port'"]),
        ("a bad value", ["--port", "x"], ["--port", "integer"]),
        ("a missing file of settings", ["--config", base + "/none"], [base + "/none", "No such file"]),
        ("an address that is none", ["--bind", "nowhere.invalid", "--protected-mode", "no", "--dir", sub],
         ["nowhere.invalid"]),
        ("nothing to listen on", ["--bind", "", "--dir", sub], ["nothing to listen on"]),
    ]:
        status, err, out = run(quiet + args)
        checks.ok("%s: status 2, one line that says what" % claim,
                  status == 2 and err.count("\n") == 1 and all(w in err for w in words) and out == "",
                  repr((status, err, out)))
    checks.ok("--check-config is content", run(["--check-config"])[0] == 0)
    checks.ok("--check-config is not", run(["--check-config", "--port", "x"])[0] == 2)
    checks.ok("--version", run(["--version"])[2].startswith("beckd 0."))
    status, _, text = run(["--help"])
    checks.ok("--help names every setting", status == 0 and all(
        "--" + k in text for k in ["port", "bind", "unixsocket", "dir", "config", "stream-durability",
                                   "cache-durability", "wal-file-bytes", "maxclients", "timeout", "loglevel",
                                   "requirepass", "protected-mode", "salvage"]))
    with open(os.path.join(base, "conf"), "w", encoding="ascii") as f:
        f.write("# settings\ntimeout 7\nloglevel verbose\nbind 0.0.0.0\nprotected-mode no\n")
    with Server(args=["--config", os.path.join(base, "conf"), "--timeout", "8"]) as server, server.connect() as c:
        checks.equal("a flag overrides the file", c.call("CONFIG", "GET", "timeout"), [b"timeout", b"8"])
        checks.equal("which holds otherwise", c.call("CONFIG", "GET", "loglevel"), [b"loglevel", b"verbose"])
        with Client(host="127.0.0.1", port=server.port) as any_address:
            checks.equal("protected-mode no listens everywhere", any_address.call("PING"), c_simple("PONG"))
    stores(checks, base)
    subprocess.run(["rm", "-rf", base], check=True)


def stores(checks, base):
    """Directories that cannot be served: refused with status 2 and one line, and nothing changed."""
    with Server() as server:
        with server.connect() as c:
            c.call("XADD", "s", "*", "f", "v")
        status, err, out = run(["--port", "0", "--dir", server.dir])
        checks.ok("a second process on the same store is locked out",
                  status == 2 and server.dir in err and err.count("\n") == 1 and out == "", repr((status, err)))
        with server.connect() as c:
            checks.equal("and does no harm", c.call("XLEN", "s"), 1)
    foreign = os.path.join(base, "foreign")
    os.mkdir(foreign)
    with open(os.path.join(foreign, "thesis.txt"), "w", encoding="ascii") as f:
        f.write("words")
    a_file = os.path.join(base, "file")
    with open(a_file, "w", encoding="ascii") as f:
        f.write("words")
    for claim, path in [("a directory of something else", foreign), ("a file", a_file),
                        ("a directory in a file", a_file + "/x"), ("a parent that is missing", base + "/no/such")]:
        status, err, out = run(["--port", "0", "--dir", path])
        checks.ok("%s is refused in one line" % claim, status == 2 and err.count("\n") == 1 and path in err
                  and out == "", repr((status, err)))
    checks.equal("nothing was added", sorted(os.listdir(foreign)), ["thesis.txt"])


def main():
    checks = Checks("net")
    for part in [broken_requests, pipelines, many_at_once, half_closed, blocked_pipelines, slow_readers,
                 output_limits, input_limits, refused_clients, idle_clients, idle_memory, big_arguments,
                 killed_and_quit, stops, failed_log, unix_sockets, tcp, refusals]:
        if os.environ.get("PART") in (None, part.__name__):
            print(part.__name__, flush=True)
            part(checks)
    checks.finish()


main()
