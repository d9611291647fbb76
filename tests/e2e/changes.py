"""beck:changes over a real broker: a copy of all keys that is made from nothing but the changes is what the server has, whatever
was killed, sealed and merged meanwhile; and redis-cli reads it like any stream.
"""

import random
import subprocess
import sys
import threading

sys.path.insert(0, __file__.rsplit("/", 2)[0] + "/lib")

from beck import Checks, Closed, Error, Server, scale, seed  # noqa: E402

checks = Checks("changes")
ARGS = ["--changes-view", "copy \"\" VALUES yes", "--arena-bytes", "256kb", "--wal-file-bytes", "256kb", "--checkpoint-bytes", "512kb",
        "--cache-bytes", "128kb", "--cache-durability", "always"]
KEYS = 40


def fields(entry):
    return list(zip(entry[1][::2], entry[1][1::2]))


class Copy:
    """The keys as a reader of the view with values has them."""

    def __init__(self):
        self.keys, self.last, self.n = {}, b"0", 0

    def take(self, entry):
        self.last = entry[0]
        self.n += 1
        pairs = fields(entry)
        first = dict(pairs[:4])
        key, rest = first[b"key"], pairs[4:]
        op = first[b"op"]
        if op == b"flush":
            self.keys.clear()
        elif op == b"rename":
            self.keys[rest[0][1]] = self.keys.pop(key)
        elif op in (b"del", b"expire", b"evict"):
            self.keys.pop(key)
        elif first[b"type"] == b"string":
            self.take_string(key, rest)
        elif first[b"type"] == b"hash":
            self.take_hash(key, rest)

    def take_string(self, key, rest):
        rest = dict(rest)
        if b"offset" in rest:
            at, old = int(rest[b"offset"]), self.keys.get(key, b"")
            old = old.ljust(at, b"\0")
            self.keys[key] = old[:at] + rest[b"value"] + old[at + len(rest[b"value"]) :]
        elif b"value" in rest:
            self.keys[key] = rest[b"value"]

    def take_hash(self, key, rest):
        if rest and rest[0] == (b"whole", b"yes"):
            self.keys[key] = {}
        field = None
        for name, value in rest:
            if name == b"field":
                field = value
            elif name == b"value":
                self.keys.setdefault(key, {})[field] = value
            elif name == b"removed":
                del self.keys[key][value]


def random_command(r):
    key = "k%d" % r.randrange(KEYS)
    kind = r.randrange(100)
    if kind < 40:
        return ("SET", "s" + key, "v" * r.randrange(2000))
    if kind < 55:
        return ("HSET", "h" + key, "f%d" % r.randrange(5), r.randrange(10**6))
    if kind < 65:
        return ("HDEL", "h" + key, "f%d" % r.randrange(5))
    if kind < 75:
        return ("APPEND", "s" + key, "a" * r.randrange(900))
    if kind < 85:
        return ("DEL", r.choice("sh") + key)
    if kind < 90:
        return ("PEXPIRE", r.choice("sh") + key, r.randrange(1, 50))
    if kind < 98:
        prefix = r.choice("sh")
        return ("RENAME", prefix + key, prefix + "k%d" % r.randrange(KEYS))
    return ("FLUSHDB",) if r.randrange(20) == 0 else ("PERSIST", "s" + key)


def write_some(server, r, n):
    with server.connect() as c:
        for _ in range(n):
            if r.randrange(8) == 0:
                c.pipeline([("MULTI",)] + [random_command(r) for _ in range(r.randrange(1, 5))] + [("EXEC",)])
            else:
                c.call(*random_command(r))


def follow(server, copy, stop):
    """Reads until `stop` is set and nothing comes any more, or the server is gone."""
    try:
        with server.connect() as c:
            while True:
                done = stop.is_set()
                got = c.call("XREAD", "COUNT", 100, "BLOCK", 20, "STREAMS", "beck:changes:copy", copy.last)
                if isinstance(got, Error):
                    checks.ok("reading goes on", False, got)
                    return
                for entry in got[0][1] if got else []:
                    copy.take(entry)
                if done and not got:
                    return
    except (Closed, OSError):
        pass


def keys_of(server):
    keys = {}
    with server.connect() as c:
        for key in c.call("KEYS", "*"):
            if key[:1] == b"s":
                keys[key] = c.call("GET", key)
            else:
                flat = c.call("HGETALL", key)
                keys[key] = dict(zip(flat[::2], flat[1::2]))
    return keys


def no_expiries(server):
    """From now on nothing happens by itself. What has expired leaves by a change."""
    with server.connect() as c:
        for i in range(KEYS):
            c.call("PERSIST", "hk%d" % i)
            c.call("PERSIST", "sk%d" % i)


def read_model(r):
    copy = Copy()
    with Server(args=ARGS) as server:
        for turn in range(scale(6)):
            stop = threading.Event()
            reader = threading.Thread(target=follow, args=(server, copy, stop))
            reader.start()
            write_some(server, r, 400)
            if turn % 3 == 1:
                with server.connect() as c:
                    c.call("BECK", r.choice(["SEAL", "MERGE"]))
            if turn % 3 != 2:
                no_expiries(server)
                stop.set()
                reader.join()
                checks.equal("the copy is what the server has, turn %d" % turn, copy.keys, keys_of(server))
            server.restart(kill=turn % 2 == 0)
            stop.set()
            reader.join()
        stop = threading.Event()
        stop.set()
        no_expiries(server)
        follow(server, copy, stop)
        checks.equal("the copy is what the server has at the end", copy.keys, keys_of(server))
        with server.connect() as c:
            checks.equal("as many were read as there are", copy.n, c.call("XLEN", "beck:changes:copy"))
            again, last = 0, "-"
            while got := c.call("XRANGE", "beck:changes:copy", last, "+", "COUNT", 1000):
                again += len(got)
                last = b"(" + got[-1][0]
            checks.equal("reading all of it again gives as many", again, copy.n)


def redis_cli():
    with Server() as server:
        def cli(*args):
            return subprocess.run(["redis-cli", "-s", server.path, *args], capture_output=True, check=True).stdout

        cli("SET", "k", "v")
        cli("HSET", "h", "f", "v")
        checks.equal("redis-cli: XLEN", cli("XLEN", "beck:changes"), b"2\n")
        text = cli("XRANGE", "beck:changes", "-", "+")
        checks.ok("redis-cli: XRANGE", b"op\nset\nkey\nk\ntype\nstring\nrev\n" in text, text)
        cli("XGROUP", "CREATE", "beck:changes", "g", "0")
        text = cli("XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "STREAMS", "beck:changes", ">")
        checks.ok("redis-cli: XREADGROUP", b"key\nk\n" in text and b"key\nh\n" not in text, text)
        checks.ok("redis-cli: it cannot be written", b"can only be read" in cli("XADD", "beck:changes", "*", "a", "b"))
        checks.equal("redis-cli: it is no key", cli("KEYS", "beck*"), b"\n")
        text = cli("KEYHIST", "k")
        checks.ok("redis-cli: KEYHIST", b"set\nv\n" in text, text)


def main():
    number = seed()
    print("changes: SEED=%d" % number, flush=True)
    redis_cli()
    read_model(random.Random(number))
    checks.finish()


main()
