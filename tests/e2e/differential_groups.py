"""Consumer groups in beckd and in Debian's redis-server: the same commands, the same bytes.

Random sequences of all group commands that Redis 7.0 has, from several consumers over RESP2 and RESP3, with deletes, trims,
transactions, blocked readers, and restarts of both servers in between; after each round everything that both hold is compared.
Times are compared to within 20 seconds, counts and owners exactly. Rounds without deletes compare lag and entries-read too, whose rules
Redis has changed since 7.0 for streams with deleted entries. What newer versions have is in tests/e2e/groups.py.

SEED replays a run, SCALE makes it longer.
"""

import random
import time

import differ
from beck import Checks, Error, decode, scale, seed
from differ import World

checks = Checks("differential_groups")
TOLERANCE_MS = 20000


class Near:
    """A time or an age: equal to those that are not far from it."""

    def __init__(self, v):
        self.v = v

    def __eq__(self, other):
        return self.v == other.v or (
            isinstance(self.v, int) and isinstance(other.v, int) and abs(self.v - other.v) < TOLERANCE_MS)

    def __repr__(self):
        return "~%r" % (self.v,)


# ---- replies, less what may differ ----

LAGS = True  # whether lag and entries-read are compared
# Whether consumers without pending entries are: a reader that blocks makes its own again when it is looked at, in 7.0 when it is served.
IDLE_CONSUMERS = True


def pairs(reply):
    return list(reply) if hasattr(reply, "get") else list(zip(reply[::2], reply[1::2]))


def fields(reply, drop=(), near=(), change=()):
    """A map's pairs, in order."""
    out = []
    for name, value in pairs(reply):
        if name.decode() in drop or (not LAGS and name in (b"lag", b"entries-read")):
            continue
        if not IDLE_CONSUMERS and name == b"consumers" and isinstance(value, int):
            continue
        if name.decode() in near:
            value = Near(value)
        elif name.decode() in dict(change):
            value = dict(change)[name.decode()](value)
        out.append((name, value))
    return out


def rows_with_time(at):
    def change(rows):
        return [[Near(v) if i == at else v for i, v in enumerate(row)] for row in rows or []]
    return change


def those(consumers):
    """The consumers that are compared."""
    counts = (b"pending", b"pel-count")
    return [c for c in consumers if IDLE_CONSUMERS or any(n in counts and v for n, v in pairs(c))]


def consumer_full(reply):
    return fields(reply, drop=["active-time"], near=["seen-time"], change=[("pending", rows_with_time(1))])


def group_full(reply):
    return fields(reply, drop=["nacked-count"],
                  change=[("pending", rows_with_time(2)), ("consumers", lambda x: [consumer_full(c) for c in those(x)])])


def stream_full(reply):
    own = [n.decode() for n, _ in pairs(reply) if n.decode().split("-")[0] in ("radix", "idmp", "iids", "pids")]
    groups = (lambda x: [group_full(g) for g in x]) if any(n == b"entries" for n, _ in pairs(reply)) else (lambda x: x)
    return fields(reply, drop=own, change=[("groups", groups)])


SHAPES = {
    "XPENDING": lambda x: rows_with_time(2)(x) if isinstance(x, list) and x and isinstance(x[0], list) else x,
    "XINFO CONSUMERS": lambda x: [fields(c, drop=["inactive"], near=["idle"]) for c in those(x)],
    "XINFO GROUPS": lambda x: [fields(g) for g in x],
    "XINFO STREAM": stream_full,
}


def alike(shape):
    def how(ours, theirs):
        a, b = decode(ours), decode(theirs)
        if ours == theirs:
            return True
        if isinstance(a, Error) or isinstance(b, Error) or a is None or b is None:
            return False
        return shape(a) == shape(b)
    return how


def made(ours, theirs):
    return ours[:1] == theirs[:1] == b":" and not IDLE_CONSUMERS


differ.HOW.update({name: alike(shape) for name, shape in SHAPES.items()})
differ.HOW["XGROUP CREATECONSUMER"] = made


# ---- random commands ----


class Random:
    KEYS = ["a", "b", "{t}c"]
    GROUPS = ["g1", "g2", "g\r\n3"]
    CONSUMERS = ["alice", "bob", "carol", "", "d\xe9"]

    def __init__(self, r, deletes):
        self.r = r
        self.deletes = deletes
        self.last = 0
        self.queue = []

    def key(self):
        return self.r.choice(self.KEYS) if self.r.random() < 0.97 else "nokey"

    def group(self):
        return self.r.choice(self.GROUPS) if self.r.random() < 0.97 else "nogroup"

    def consumer(self):
        return self.r.choice(self.CONSUMERS)

    def id(self):
        if self.r.random() < 0.04:
            return self.r.choice(["0", "x", "", "1-", "-1", "18446744073709551615", "5-x", "$"])
        return "%d-%d" % (self.r.randint(max(0, self.last - 30), self.last + 1), self.r.randint(0, 2))

    def ids(self):
        return [self.id() for _ in range(self.r.choice([1, 1, 2, 3, 8]))]

    def number(self, low=0, high=10):
        return self.r.choice([str(self.r.randint(low, high))] * 14 + ["x", "", "-1", "9" * 25])

    def idle(self):
        return self.r.choice(["0", "0", "0", "0", "100000000", "-5", "x"] if self.r.random() < 0.2 else ["0", "0", "100000000"])

    def xadd(self):
        self.last += self.r.choice([0, 1, 1, 2])
        return ["XADD", self.key(), "%d-%s" % (self.last, self.r.choice(["*", "*", "1"])), "f", str(self.r.randint(0, 99))]

    def xreadgroup(self, n=None, block=()):
        out = ["XREADGROUP", "GROUP", self.group(), self.consumer()]
        if self.r.random() < 0.7:
            out += ["COUNT", self.number(0, 5)]
        out += list(block)
        if self.r.random() < 0.1:
            out.append("NOACK")
        n = n or self.r.choice([1, 1, 1, 2])
        ids = [">" if self.r.random() < 0.8 else self.r.choice(["0", self.id()]) for _ in range(n)]
        if self.r.random() < 0.02:
            out += self.r.choice([["FOO"], ["COUNT"], ["BLOCK", "x"]])
        return out + ["STREAMS"] + self.r.sample(self.KEYS, n) + (ids[:-1] if self.r.random() < 0.01 else ids)

    def xclaim(self):
        out = ["XCLAIM", self.key(), self.group(), self.consumer(), self.idle()] + self.ids()
        more = [["IDLE", self.r.choice(["0", "200000000", "x", "-3"])], ["TIME", str(int(time.time() * 1000) - 10**7)],
                ["RETRYCOUNT", self.number(0, 9)], ["FORCE"], ["JUSTID"], ["LASTID", self.id()], ["FOO"]]
        for option in self.r.sample(more[:-1] if self.r.random() < 0.97 else more, self.r.choice([0, 0, 1, 1, 2, 3])):
            if not self.deletes and option[0] in ("LASTID", "FORCE"):
                continue  # they make entries-read wrong, each version in its way
            out += option
        return out

    def xautoclaim(self):
        start = self.r.choice(["0", "-", self.id(), "(" + self.id()])
        out = ["XAUTOCLAIM", self.key(), self.group(), self.consumer(), self.idle(), start]
        if self.r.random() < 0.6:
            out += ["COUNT", self.number(1, 6)]
        if self.r.random() < 0.3:
            out += self.r.choice([["JUSTID"], ["JUSTID"], ["FOO"]])
        return out

    def xpending(self):
        out = ["XPENDING", self.key(), self.group()]
        kind = self.r.random()
        if kind < 0.4:
            return out
        if self.r.random() < 0.3:
            out += ["IDLE", self.r.choice(["0", "100000000", "x"])]
        out += [self.r.choice(["-", self.id(), "(" + self.id()]), self.r.choice(["+", self.id()]), self.number(0, 12)]
        return out + ([self.consumer()] if self.r.random() < 0.5 else []) + (["x", "y"] if self.r.random() < 0.02 else [])

    def xgroup(self):
        key, group = self.key(), self.group()
        at = self.r.choice(["0", "$", "$", self.id()])
        kind = self.r.random()
        if kind < 0.45:
            out = ["XGROUP", "CREATE", key, group, at if self.deletes else self.r.choice(["0", "$"])]
            out += ["MKSTREAM"] if self.r.random() < 0.7 else []
            return out + (["ENTRIESREAD", self.r.choice(["0", "-1", "-2", "x"])] if self.r.random() < 0.1 and self.deletes else [])
        if kind < 0.55:
            return ["XGROUP", "SETID", key, group, at if self.deletes else "0"]
        if kind < 0.65:
            return ["XGROUP", "DESTROY", key, group]
        if kind < 0.8:
            return ["XGROUP", "CREATECONSUMER", key, group, self.consumer()]
        if kind < 0.97:
            return ["XGROUP", "DELCONSUMER", key, group, self.consumer()]
        return self.r.choice([["XGROUP", "FOO", key], ["XGROUP", "CREATE", key, group], ["XGROUP", "SETID", key], ["XGROUP", "DESTROY", key]])

    def xinfo(self):
        return self.r.choice([["XINFO", "GROUPS", self.key()], ["XINFO", "CONSUMERS", self.key(), self.group()],
                              ["XINFO", "STREAM", self.key(), "FULL", "COUNT", self.number(0, 8)]])

    def delete(self):
        if not self.deletes:
            return ["XLEN", self.key()]
        key = self.key()
        return self.r.choice([["XDEL", key] + self.ids(), ["XDEL", key] + self.ids(), ["XTRIM", key, "MAXLEN", self.number(0, 20)],
                              ["XTRIM", key, "MINID", self.id()]])

    def generic(self):
        k = self.key()
        return self.r.choice([["DEL", k] if self.r.random() < 0.2 else ["XLEN", k], ["XLEN", k], ["TYPE", k], ["WATCH", k], ["UNWATCH"],
                              ["RENAME", k, self.key()] if self.r.random() < 0.2 and self.deletes else ["EXISTS", k]])

    def command(self):
        """Redis 7.0 makes a consumer only if it gets something, later ones always: here it is there already."""
        if not self.queue:
            self.queue.append(self.any_command())
            args = self.queue[0]
            if args[0] in ("XCLAIM", "XAUTOCLAIM"):
                self.queue.insert(0, ["XGROUP", "CREATECONSUMER"] + args[1:4])
            elif args[0] == "XREADGROUP" and "STREAMS" in args:
                keys = [k for k in args[args.index("STREAMS") + 1:] if k in self.KEYS]
                self.queue[:0] = [["XGROUP", "CREATECONSUMER", k] + args[2:4] for k in keys]
        return self.queue.pop(0)

    def any_command(self):
        makers = [self.xadd] * 8 + [self.xreadgroup] * 10 + [self.xclaim] * 4 + [self.xautoclaim] * 3 + [self.xpending] * 4
        makers += [self.xgroup] * 5 + [self.xinfo] * 3 + [self.delete] * 2 + [self.generic]
        makers += [lambda: ["XACK", self.key(), self.group()] + self.ids()] * 5
        return self.r.choice(makers)()


def burst(world, r, conn, gen):
    if r.random() < 0.5:
        world.do(conn, "WATCH", gen.key())
        for _ in range(r.randint(0, 2)):
            world.do(conn, *gen.command())
    world.do(conn, "MULTI")
    for _ in range(r.randint(1, 5)):
        world.do(conn, *gen.command())
    world.do(conn, r.choice(["EXEC", "EXEC", "EXEC", "DISCARD"]))
    gen.queue.clear()  # a consumer that it would have made may not be there


def compare_groups(world, proto):
    """All groups of all streams."""
    conn = world.connect(proto, "all")
    for key in Random.KEYS:
        world.do(conn, "XINFO", "STREAM", key, "FULL", "COUNT", "0")
        world.do(conn, "XINFO", "GROUPS", key)
        for group in Random.GROUPS:
            world.do(conn, "XPENDING", key, group)
            world.do(conn, "XPENDING", key, group, "-", "+", "10000")
            world.do(conn, "XINFO", "CONSUMERS", key, group)
    conn.close()


def random_round(world, r, gen, n):
    conns = [world.connect(proto, "c%d" % i) for i, proto in enumerate((2, 3, r.choice((2, 3))))]
    for _ in range(n):
        conn = r.choice(conns)
        if r.random() < 0.03:
            burst(world, r, conn, gen)
        elif not world.do(conn, *gen.command()) and checks.failed > 5:
            break
    for conn in conns:
        conn.close()


# ---- blocked readers ----

# What 7.0 tells a reader whose key or group is gone; later versions run the command again, which finds no group.
GONE = (b"-UNBLOCKED the stream key no longer exists\r\n", b"-NOGROUP the consumer group this client was blocked on no longer exists\r\n")


def served(conn):
    conn.sock.settimeout(3)
    try:
        return conn.read_raw()
    except TimeoutError:
        return b"-nothing came\r\n"


def blocked_round(world, r, n):
    """A reader of a group waits, a writer writes."""
    gen = Random(r, True)
    world.where = "blocked"
    writer, reader = world.connect(2, "w"), world.connect(r.choice((2, 3)), "r")
    ids = [c.call("CLIENT", "ID") for c in (reader.ours, reader.theirs)]
    admin = [world.beckd.connect(), world.redis.connect()]
    for _ in range(n):
        key, group = r.choice(Random.KEYS), r.choice(Random.GROUPS)
        world.do(writer, "XGROUP", "CREATE", key, group, "$", "MKSTREAM")
        world.do(writer, "XGROUP", "SETID", key, group, "$")
        consumer = gen.consumer()
        world.do(writer, "XGROUP", "CREATECONSUMER", key, group, consumer)
        args = ["XREADGROUP", "GROUP", group, consumer, "COUNT", "2", "BLOCK", "0", "STREAMS", key, ">"]
        reader.block(admin, *args)
        for _ in range(20):
            if not reader.ours.silent() or not reader.theirs.silent():
                break
            command = gen.command()
            if command[:2] != ["XGROUP", "SETID"]:
                world.do(writer, *command)
        else:
            how = r.choice([[], ["TIMEOUT"], ["ERROR"]])
            for a, number in zip(admin, ids):
                a.call("CLIENT", "UNBLOCK", number, *how)
        ours, theirs = served(reader.ours), served(reader.theirs)
        if theirs in GONE:
            theirs = b"-NOGROUP No such key '%s' or consumer group '%s' in XREADGROUP with GROUP option\r\n" % (
                key.encode(), group.replace("\r\n", "  ").encode())
        if ours != theirs:
            world.report(reader, args, ours, theirs, None)
            break
        checks.passed += 1
    for c in admin + [writer, reader]:
        c.close()


# ---- restarts ----


def restart(world, r):
    """Both; Redis saves its data beforehand, beckd may be killed."""
    with world.redis.connect() as c:
        c.call("SAVE")
    world.redis.restart()
    kill = r.random() < 0.6
    world.history.append("both are started again, beckd %s" % ("killed" if kill else "stopped"))
    world.restart(kill, r.choice(["os", "interval", "always"]))


def main():
    global LAGS, IDLE_CONSUMERS
    number = seed()
    print("differential_groups: SEED=%d" % number, flush=True)
    r = random.Random(number)
    world = World(checks)
    try:
        for i in range(scale(10)):
            LAGS = i % 2 == 0
            world.flush(world.connect(2, "f"))
            gen = Random(r, deletes=not LAGS)
            for part in range(3):
                world.where = "round %d.%d, %s deletes" % (i, part, "without" if LAGS else "with")
                random_round(world, r, gen, 700)
                compare_groups(world, r.choice((2, 3)))
                restart(world, r)
                compare_groups(world, r.choice((2, 3)))
                if checks.failed > 5:
                    return
            LAGS, IDLE_CONSUMERS = False, False
            blocked_round(world, r, 20)
            IDLE_CONSUMERS = True
    finally:
        world.close()
        checks.finish()


main()
