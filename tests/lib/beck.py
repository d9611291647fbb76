"""Servers and raw clients for the end-to-end tests.

A test starts a Server (beckd, or Debian's redis-server to compare with) in a directory of its own, talks
to it through a Client that keeps every reply's exact bytes, and counts its claims with Checks:

    from beck import Checks, Server

    with Server() as server, server.connect() as c:
        checks = Checks("orders")
        checks.equal("an entry is counted", c.call("XLEN", "s"), 0)
    checks.finish()

Nothing here waits by sleeping for a fixed time: a server is ready when it says so, a reply is there when
its last byte is. Timeouts exist only so that a broken server fails a test instead of hanging it.

Environment: BECKD names the broker's binary (build/beckd), REDIS_SERVER the peer's (build/redis-server, a
link to redis-check-rdb that is made if it is missing).
"""

import os
import random
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TIMEOUT_S = 30.0


def beckd_path():
    return os.path.abspath(os.environ.get("BECKD", os.path.join(ROOT, "build", "beckd")))


def redis_path():
    """Debian's redis-server: redis-check-rdb of redis-tools is the server when called by that name."""
    given = os.environ.get("REDIS_SERVER")
    if given:
        return given
    link = os.path.join(ROOT, "build", "redis-server")
    if not os.path.exists(link):
        program = shutil.which("redis-check-rdb")
        if program is None:
            raise SystemExit("redis-check-rdb is missing: apt-get install redis-tools")
        os.makedirs(os.path.dirname(link), exist_ok=True)
        try:
            os.symlink(program, link)
        except FileExistsError:
            pass
    return link


def scale(rounds):
    """`rounds` of a random test, multiplied by SCALE; never less than one."""
    return max(1, int(rounds * float(os.environ.get("SCALE", "1"))))


def seed():
    """The seed of a random test: SEED, or a new one. Print it, so that a failure can be replayed."""
    given = os.environ.get("SEED")
    return int(given) if given else int.from_bytes(os.urandom(4), "little")


class Error(str):
    """An error reply's text, without the leading minus."""


class Simple(str):
    """A simple string's text, to tell +OK from $2 OK."""


class Push(list):
    """A RESP3 push frame."""


class Map(list):
    """A RESP3 map as a list of pairs, since order is part of what is compared."""

    def get(self, key, default=None):
        if isinstance(key, str):
            key = key.encode()
        for k, v in self:
            if k == key:
                return v
        return default


class Closed(Exception):
    """The server closed the connection before a whole reply had come."""


def encode(*args):
    """A request: an array of bulk strings. str is sent as UTF-8, numbers as their decimal text."""
    out = [b"*%d\r\n" % len(args)]
    for arg in args:
        if not isinstance(arg, (bytes, bytearray)):
            arg = str(arg).encode()
        out.append(b"$%d\r\n" % len(arg))
        out.append(bytes(arg))
        out.append(b"\r\n")
    return b"".join(out)


class _Short(Exception):
    """More bytes are needed before the reply is complete."""


def _scan(buf, pos):
    """One reply of buf from pos on: (value, position behind it). Raises _Short if it isn't all there."""
    end = buf.find(b"\r\n", pos)
    if end < 0:
        raise _Short
    kind, line, pos = buf[pos : pos + 1], bytes(buf[pos + 1 : end]), end + 2
    if kind == b"+":
        return Simple(line.decode("latin1")), pos
    if kind == b"-":
        return Error(line.decode("latin1")), pos
    if kind == b":":
        return int(line), pos
    if kind in b"$!=":
        n = int(line)
        if n < 0:
            return None, pos
        if len(buf) < pos + n + 2:
            raise _Short
        body = bytes(buf[pos : pos + n])
        if buf[pos + n : pos + n + 2] != b"\r\n":
            raise ValueError("bulk string without its end: %r" % body[-20:])
        if kind == b"!":
            return Error(body.decode("latin1")), pos + n + 2
        return body[4:] if kind == b"=" else body, pos + n + 2
    if kind == b"_":
        return None, pos
    if kind == b"#":
        return line == b"t", pos
    if kind == b",":
        return float(line), pos
    if kind == b"(":
        return int(line), pos
    if kind in b"*~>":
        n = int(line)
        if n < 0:
            return None, pos
        items = Push() if kind == b">" else []
        for _ in range(n):
            item, pos = _scan(buf, pos)
            items.append(item)
        return items, pos
    if kind in b"%|":
        pairs = Map()
        for _ in range(int(line)):
            key, pos = _scan(buf, pos)
            value, pos = _scan(buf, pos)
            pairs.append((key, value))
        if kind == b"|":  # an attribute belongs to the reply that follows
            return _scan(buf, pos)
        return pairs, pos
    raise ValueError("not the start of a reply: %r" % bytes(buf[max(0, pos - 40) : pos + 40]))


def decode(raw):
    """The value of one whole reply's bytes."""
    return _scan(raw, 0)[0]


class Client:
    """One connection. `call` gives values; `raw` gives the reply's exact bytes."""

    def __init__(self, path=None, host="127.0.0.1", port=None, timeout=TIMEOUT_S):
        if path is not None:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(timeout)
            self.sock.connect(path)
        else:
            self.sock = socket.create_connection((host, port), timeout=timeout)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send_bytes(self, data):
        self.sock.sendall(data)

    def send(self, *args):
        self.sock.sendall(encode(*args))

    def read_both(self):
        """The next reply as (bytes, value). Raises Closed at the connection's end."""
        while True:
            try:
                value, end = _scan(self.buf, 0)
            except _Short:
                data = self.sock.recv(1 << 16)
                if not data:
                    raise Closed(bytes(self.buf)) from None
                self.buf += data
                continue
            raw = bytes(self.buf[:end])
            del self.buf[:end]
            return raw, value

    def read_raw(self):
        return self.read_both()[0]

    def read(self):
        return self.read_both()[1]

    def raw(self, *args):
        self.send(*args)
        return self.read_raw()

    def call(self, *args):
        self.send(*args)
        return self.read()

    def pipeline(self, commands):
        """Sends all `commands` (tuples of arguments) at once; returns their values."""
        self.sock.sendall(b"".join(encode(*c) for c in commands))
        return [self.read() for _ in commands]

    def read_to_end(self):
        """Everything until the server closes, which it must do within the timeout."""
        out = bytes(self.buf)
        self.buf.clear()
        while True:
            try:
                data = self.sock.recv(1 << 16)
            except ConnectionResetError:
                return out
            if not data:
                return out
            out += data

    def silent(self, seconds=0.0):
        """Whether nothing is to be read (and the connection open) for `seconds`."""
        return not self.buf and not select.select([self.sock], [], [], seconds)[0]


def localhost():
    """The name localhost, or 127.0.0.1 on a system so bare that it does not know the name."""
    try:
        socket.getaddrinfo("localhost", None)
        return "localhost"
    except OSError:
        return "127.0.0.1"


def free_port():
    """A port that was free a moment ago: only for servers that cannot choose one themselves."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """beckd, or redis-server with kind="redis", in a directory of its own.

    args      further flags, e.g. ["--stream-durability", "os"]
    path_dir  the data directory to serve; without it a temporary one that `close` removes
    tcp       for redis, whether it listens on a TCP port too (beckd always does)
    """

    def __init__(self, kind="beckd", args=(), path_dir=None, start=True, tcp=False, env=None, wrap=()):
        self.kind = kind
        self.args = list(args)
        self.base = tempfile.mkdtemp(prefix="beck-e2e-")
        self.dir = path_dir or os.path.join(self.base, "data")
        self.path = os.path.join(self.base, "sock")
        self.log_path = os.path.join(self.base, "log")
        self.tcp = tcp
        self.env = env
        self.wrap = list(wrap)
        self.port = None
        self.proc = None
        if start:
            try:
                self.start()
            except BaseException:
                self.close()
                raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def pid(self):
        return self.proc.pid

    def start(self, timeout=TIMEOUT_S):
        """Starts the program and returns when it serves. SystemExit with its log if it doesn't."""
        os.makedirs(self.dir, exist_ok=True)
        if self.kind == "redis":
            self._start_redis(timeout)
        else:
            self._start_beckd(timeout)
        return self

    def _spawn(self, argv, stdout):
        env = dict(os.environ, **self.env) if self.env else None
        with open(self.log_path, "ab") as log:
            self.proc = subprocess.Popen(
                self.wrap + argv, stdin=subprocess.DEVNULL, stdout=stdout or log, stderr=log, env=env
            )

    def _start_beckd(self, timeout):
        argv = [beckd_path(), "--port", "0", "--unixsocket", self.path, "--dir", self.dir]
        argv += os.environ.get("BECKD_ARGS", "").split()
        self._spawn(argv + self.args, subprocess.PIPE)
        line = b""
        end = time.monotonic() + timeout
        while not line.endswith(b"\n"):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.proc.stdout], [], [], left)[0]:
                self._give_up("did not become ready in %g s" % timeout)
            data = os.read(self.proc.stdout.fileno(), 4096)
            if not data:
                self._give_up("ended with status %d" % self.proc.wait())
            line += data
        words = dict(w.split("=", 1) for w in line.decode().split()[1:] if "=" in w)
        if not line.startswith(b"ready ") or "port" not in words:
            self._give_up("said %r instead of its ready line" % line)
        self.ready = line.decode().rstrip("\n")
        self.port = int(words["port"])

    def _start_redis(self, timeout):
        self.port = free_port() if self.tcp else 0
        argv = [redis_path(), "--port", str(self.port), "--unixsocket", self.path, "--dir", self.dir]
        argv += ["--save", "", "--daemonize", "no", "--loglevel", "warning"]
        self._spawn(argv + self.args, None)
        end = time.monotonic() + timeout
        while True:
            if self.proc.poll() is not None:
                self._give_up("ended with status %d" % self.proc.returncode)
            try:
                with Client(self.path) as c:
                    if not str(c.call("PING")).startswith("LOADING"):
                        return
            except OSError:
                pass
            if time.monotonic() > end:
                self._give_up("did not become ready in %g s" % timeout)
            select.select([], [], [], 0.01)

    def _give_up(self, why):
        log = self.log()
        self.kill()
        raise SystemExit("%s %s; its log:\n%s" % (self.kind, why, log[-4000:]))

    def log(self):
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def connect(self, proto=2, tcp=False, timeout=TIMEOUT_S):
        """A new connection, over the Unix socket unless `tcp`; with proto=3 after HELLO 3."""
        c = Client(port=self.port, timeout=timeout) if tcp else Client(self.path, timeout=timeout)
        if proto == 3:
            c.call("HELLO", "3")
        return c

    def signal(self, number):
        self.proc.send_signal(number)

    def wait(self, timeout=TIMEOUT_S):
        """The exit status once the program has ended (minus the signal's number, if one ended it)."""
        status = self.proc.wait(timeout)
        if self.proc.stdout:
            self.proc.stdout.close()
        return status

    def stop(self, timeout=TIMEOUT_S):
        """SIGTERM, then the exit status."""
        if self.proc.poll() is None:
            self.signal(signal.SIGTERM)
        return self.wait(timeout)

    def kill(self):
        """SIGKILL, as a crash of the process."""
        if self.proc is not None:
            if self.proc.poll() is None:
                self.proc.kill()
            self.wait()

    def restart(self, kill=False):
        """Stops (or kills) the server and starts it again on the same directory."""
        if kill:
            self.kill()
        else:
            self.stop()
        if os.path.exists(self.path):
            os.unlink(self.path)
        return self.start()

    def close(self):
        """Kills the server if it still runs and removes its temporary directory."""
        self.kill()
        shutil.rmtree(self.base, ignore_errors=True)

    def rss_bytes(self):
        with open("/proc/%d/status" % self.pid, encoding="ascii") as f:
            for line in f:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1]) * 1024
        return 0

    def cpu_s(self):
        """User and system time of all the program's threads so far."""
        with open("/proc/%d/stat" % self.pid, encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until(condition, what, timeout=TIMEOUT_S):
    """Polls `condition` until it is true: for what only shows from outside, such as a blocked client."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited %g s in vain for %s" % (timeout, what))
        select.select([], [], [], 0.002)


def short(value, limit=300):
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= limit else text[: limit - 20] + "... (%d)" % len(text)


class Sealer:
    """Seals everything that beckd has now and then: after the share of calls that SEALS gives (0: never)."""

    def __init__(self, server):
        self.server = server
        self.share = float(os.environ.get("SEALS") or 0)
        self.r = random.Random(seed() if self.share else 0)

    def maybe(self):
        if self.share and self.r.random() < self.share:
            with self.server.connect() as c:
                if isinstance(c.call("BECK", "SEAL"), Error):
                    raise SystemExit("BECK SEAL failed")


class Checks:
    """Counts claims. Failures are printed when they happen; `finish` prints the sum and exits."""

    def __init__(self, title, show=20):
        self.title = title
        self.passed = 0
        self.failed = 0
        self.show = show
        self.began = time.monotonic()

    def ok(self, claim, holds, detail=""):
        if holds:
            self.passed += 1
            return True
        self.failed += 1
        if self.failed <= self.show:
            print("FAILED: %s%s" % (claim, "\n    " + detail if detail else ""), flush=True)
        return False

    def equal(self, claim, got, want):
        detail = "got  %s\n    want %s" % (short(got), short(want))
        return self.ok(claim, got == want and type(got) is type(want), detail)

    def finish(self):
        spent = time.monotonic() - self.began
        if self.failed > self.show:
            print("(%d more failures not shown)" % (self.failed - self.show))
        print("%s: %.1f s" % (self.title, spent))
        print("%d passed, %d failed" % (self.passed, self.failed), flush=True)
        sys.exit(1 if self.failed else 0)


class Pair:
    """A connection to beckd and one to redis-server, sent the same requests."""

    def __init__(self, checks, beckd, redis, proto):
        self.checks = checks
        self.ours, self.theirs, self.proto = beckd.connect(proto), redis.connect(proto), proto
        self.sealer = Sealer(beckd)

    def same(self, *args):
        self.sealer.maybe()
        ours, theirs = self.ours.raw(*args), self.theirs.raw(*args)
        self.checks.equal("RESP%d %s" % (self.proto, " ".join(str(a)[:60] for a in args)), ours, theirs)
        return ours

    def all_same(self, text):
        for line in text.strip().splitlines():
            self.same(*line.split())

    def clear(self):
        for c in (self.ours, self.theirs):
            c.call("FLUSHALL")

    def close(self):
        self.ours.close()
        self.theirs.close()
