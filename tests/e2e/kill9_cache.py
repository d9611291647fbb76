"""kill -9 under load, with transactions over streams, groups and keys: all of each is there afterwards, or nothing.

Each worker does what a service with an outbox does. Its n-th step is one MULTI/EXEC that appends an event, updates a string, a
hash and a list, moves a key's expiry, removes what an earlier step made, and acknowledges the entry of a group that was its input.
So everything that a worker has is a function of the number of its last step, which any of its keys tells: after the kill
all of them have to tell the same one, no smaller than the last that was acknowledged and no larger than the last that was sent.

Between the transactions come single commands: a counter, keys that live for a millisecond, values that are renamed and
overwritten. What was deleted, overwritten or expired does not come back, whatever was sealed, merged or saved meanwhile.

Arenas and files are small, and every other class of durability runs with so little `maxmemory` that values are out of memory most
of the time. KILL9_ROUNDS rounds in each (5). SEED replays the choices, not the kernel's timing.
"""

import os
import random
import select
import signal
import time

from beck import Checks, Closed, Error, Server, encode, seed

ROUNDS = int(os.environ.get("KILL9_ROUNDS") or 5)
KIND = os.environ.get("KILL9_SERVER", "beckd")  # "redis": to see that the test itself is right
N_WORKERS = 4
FIELDS, QUEUE, KEPT, BIG = 40, 30, 10, 700
SMALL = ["--wal-file-bytes", "64kb", "--arena-bytes", "16kb", "--checkpoint-bytes", "64kb"]
RUNS = [("always", []), ("interval", ["--maxmemory", "200kb"]), ("os", [])]


def value(worker, n):
    return b"%d:%d:" % (worker, n) + b"v" * ((worker * 31 + n * 17) % BIG)


class Worker:
    """One client over all rounds."""

    def __init__(self, number):
        self.number = number
        self.step = 0  # the last one sent
        self.acked = 0  # the last one acknowledged
        self.counted = self.counted_acked = 0  # the counter
        self.client = None
        self.waiting = []
        self.out = bytearray()

    def key(self, name):
        return "%s:%d" % (name, self.number)

    def connect(self, server):
        self.client = server.connect()
        if self.step == 0 and not self.waiting:
            self.client.call("XGROUP", "CREATE", self.key("in"), "g", "0", "MKSTREAM")
        self.client.sock.setblocking(False)
        self.waiting, self.out = [], bytearray()

    def say(self, what, *args):
        self.out += encode(*args)
        self.waiting.append((what, self.step))

    def transaction(self):
        self.step += 1
        n = self.step
        self.say(None, "XADD", self.key("in"), "%d-1" % n, "n", n)
        self.say(None, "XREADGROUP", "GROUP", "g", "c", "COUNT", 1, "STREAMS", self.key("in"), ">")
        commands = [
            ("XADD", self.key("out"), "%d-1" % n, "n", n),
            ("SET", self.key("last"), value(self.number, n), "EX", 86400),
            ("HSET", self.key("model"), "f%d" % (n % FIELDS), value(self.number, n)),
            ("RPUSH", self.key("queue"), value(self.number, n)),
            ("LTRIM", self.key("queue"), -QUEUE, -1),
            ("SET", self.key("kept:%d" % n), n),
            ("EXPIREAT", self.key("kept:%d" % n), 4000000000 + n),
            ("DEL", self.key("kept:%d" % (n - KEPT))),
            ("XACK", self.key("in"), "g", "%d-1" % n),
        ]
        self.say(None, "MULTI")
        for command in commands:
            self.say(None, *command)
        self.say("exec", "EXEC")

    def single(self, rng):
        choice = rng.randrange(4)
        if choice == 0:
            self.counted += 1
            self.out += encode("INCR", self.key("counter"))
            self.waiting.append(("incr", self.counted))
        elif choice == 1:
            self.say(None, "SET", self.key("short:%d" % rng.randrange(50)), "x", "PX", 1)
        elif choice == 2:
            self.say(None, "SET", self.key("before"), value(self.number, self.step))
            self.say(None, "RENAME", self.key("before"), self.key("after"))
        else:
            self.say(None, "GET", self.key("last"))

    def pipeline(self, rng):
        for _ in range(rng.choice([1, 1, 2, 8, 24])):
            if rng.random() < 0.6:
                self.transaction()
            else:
                self.single(rng)

    def take(self, reply, checks):
        what, n = self.waiting.pop(0)
        if isinstance(reply, Error):
            checks.ok("no request is refused", False, "step %d: %s" % (n, reply))
            return 0
        if what == "exec":
            errors = [r for r in reply or [Error("nil")] if isinstance(r, Error)]
            if errors:
                checks.ok("no command of a transaction fails", False, "step %d: %s" % (n, errors[0]))
            self.acked = n
        elif what == "incr":
            checks.equal("the counter counts", reply, n)
            self.counted_acked = n
        return what is not None

    def flush(self):
        try:
            n = self.client.sock.send(self.out)
            del self.out[:n]
        except BlockingIOError:
            pass

    def receive(self, checks):
        n = 0
        while self.waiting:
            try:
                n += self.take(self.client.read(), checks)
            except BlockingIOError:
                break
        return n


def run_load(workers, rng, checks, until):
    done = 0
    while done < until:
        for w in workers:
            if not w.waiting:
                w.pipeline(rng)
            if w.out:
                w.flush()
        ready, _, _ = select.select([w.client.sock for w in workers], [], [], 30)
        if not ready:
            raise SystemExit("the server answers nothing for 30 s")
        for w in workers:
            if w.client.sock in ready:
                done += w.receive(checks)


def die(server, way, workers, rng, checks):
    for w in workers:
        if not w.waiting:
            w.pipeline(rng)
        w.flush()
    if way == "shutdown":
        server.signal(signal.SIGTERM)
    end = time.monotonic() + rng.random() * 0.003
    while time.monotonic() < end:
        pass
    try:
        server.kill()
    finally:
        for w in workers:
            w.client.sock.setblocking(True)
            try:
                w.receive(checks)
            except (Closed, ConnectionError):
                pass
            w.client.close()


def steps_told(c, w):
    """The last step by each of the worker's keys."""
    told = {}
    last = c.call("GET", w.key("last"))
    told["string"] = int(last.split(b":")[1]) if last else 0
    out = c.call("XREVRANGE", w.key("out"), "+", "-", "COUNT", 1)
    told["stream"] = int(out[0][1][1]) if out else 0
    told["length"] = c.call("XLEN", w.key("out"))
    queue = c.call("LINDEX", w.key("queue"), -1)
    told["list"] = int(queue.split(b":")[1]) if queue else 0
    model = c.call("HVALS", w.key("model"))
    told["hash"] = max([int(v.split(b":")[1]) for v in model], default=0)
    pending = c.call("XPENDING", w.key("in"), "g", "-", "+", 100000)
    told["group"] = int(pending[0][0].split(b"-")[0]) - 1 if pending else None
    return told


def verify_group(c, w, n, checks, where):
    """Inputs up to the last step are acknowledged, no others are."""
    pending = {int(p[0].split(b"-")[0]) for p in c.call("XPENDING", w.key("in"), "g", "-", "+", 100000)}
    there = {int(e[0].split(b"-")[0]) for e in c.call("XRANGE", w.key("in"), "-", "+")}
    checks.equal("%s: what a step acknowledged is not pending" % where, sorted(p for p in pending if p <= n), [])
    checks.ok("%s: the inputs are there" % where, there >= set(range(1, n + 1)))
    return there


def verify(server, workers, checks, where):
    with server.connect() as c:
        for w in workers:
            told = steps_told(c, w)
            n = told["string"]
            group = told.pop("group")
            checks.equal("%s: all keys tell of the same step" % where, set(told.values()), {n})
            checks.ok("%s: also the group" % where, group is None or group >= n, "%s, %s" % (group, n))
            checks.ok("%s: nothing acknowledged is missing" % where, w.acked <= n <= w.step,
                      "%d acknowledged, %d there, %d sent" % (w.acked, n, w.step))
            there = verify_group(c, w, n, checks, where)
            verify_values(c, w, n, checks, where)
            # What follows begins behind it; inputs that were under way are used again.
            extra = [i for i in there if i > n]
            if extra:
                c.call("XACK", w.key("in"), "g", *["%d-1" % i for i in extra])
            w.step = w.acked = max([n] + extra)
            if extra:
                catch_up(c, w, n)
            count = int(c.call("GET", w.key("counter")) or 0)
            checks.ok("%s: the counter is between what was told and sent" % where,
                      w.counted_acked <= count <= w.counted, "%d, %d, %d" % (w.counted_acked, count, w.counted))
            w.counted = w.counted_acked = count


def catch_up(c, w, n):
    """Steps whose input came and whose transaction did not are done over, without their input."""
    for i in range(n + 1, w.step + 1):
        c.call("XADD", w.key("out"), "%d-1" % i, "n", i)
        c.call("SET", w.key("last"), value(w.number, i), "EX", 86400)
        c.call("HSET", w.key("model"), "f%d" % (i % FIELDS), value(w.number, i))
        c.call("RPUSH", w.key("queue"), value(w.number, i))
        c.call("LTRIM", w.key("queue"), -QUEUE, -1)
        c.call("SET", w.key("kept:%d" % i), i)
        c.call("EXPIREAT", w.key("kept:%d" % i), 4000000000 + i)
        c.call("DEL", w.key("kept:%d" % (i - KEPT)))


def verify_values(c, w, n, checks, where):
    """Every byte is a function of the last step."""
    number = w.number
    want = {}
    for i in range(max(1, n - FIELDS + 1), n + 1):
        want[b"f%d" % (i % FIELDS)] = value(number, i)
    flat = c.call("HGETALL", w.key("model"))
    checks.equal("%s: the hash" % where, dict(zip(flat[::2], flat[1::2])), want)
    checks.equal("%s: the list" % where, c.call("LRANGE", w.key("queue"), 0, -1),
                 [value(number, i) for i in range(max(1, n - QUEUE + 1), n + 1)])
    checks.equal("%s: the string" % where, c.call("GET", w.key("last")), value(number, n) if n else None)
    kept = set(range(max(1, n - KEPT + 1), n + 1))
    found = {int(k.split(b":")[1]) for k in c.call("KEYS", "kept:*:%d" % number)}
    checks.equal("%s: what was deleted stays deleted" % where, found, kept)
    for i in kept & found:
        checks.equal("%s: expiry is absolute" % where, c.call("EXPIRETIME", w.key("kept:%d" % i)), 4000000000 + i)
    checks.equal("%s: what has expired stays away" % where, c.call("EXISTS", *[w.key("short:%d" % i) for i in range(50)]), 0)


def args(name, more):
    if KIND == "redis":
        return ["--appendonly", "yes", "--appendfsync", {"interval": "everysec", "os": "no"}.get(name, name)]
    return ["--stream-durability", name, "--cache-durability", name] + SMALL + more


def run_class(name, more, rng, checks):
    workers = [Worker(i) for i in range(N_WORKERS)]
    with Server(KIND, args(name, more)) as server:
        for i in range(ROUNDS):
            for w in workers:
                w.connect(server)
            clerk = server.connect()
            if KIND == "beckd":
                clerk.send_bytes(encode("BECK", ["MERGE", "SEAL", "CHECK"][i % 3]))
            run_load(workers, rng, checks, rng.randrange(1, 600))
            way = ["load", "load", "shutdown"][i % 3]
            die(server, way, workers, rng, checks)
            clerk.close()
            server.restart(kill=True)
            verify(server, workers, checks, "%s, round %d, killed in %s" % (name, i + 1, way))
        print("%-9s %d rounds, %d steps" % (name, ROUNDS, sum(w.step for w in workers)), flush=True)
        checks.equal("%s: SIGTERM ends it with status 0" % name, server.stop(), 0)


def main():
    number = seed()
    print("seed %d, %d rounds in each class" % (number, ROUNDS), flush=True)
    checks = Checks("kill9_cache")
    for name, more in RUNS:
        run_class(name, more, random.Random("%d %s" % (number, name)), checks)
    checks.finish()


main()
