"""The same commands to beckd and to Debian's redis-server: the same bytes come back.

Scripts first, then random commands: several connections, in RESP2 and RESP3, in several databases, with and without
transactions, WATCH and blocked readers, over all commands of both that this release has. Between rounds beckd is stopped or
killed and started again, which must not show; then everything that both servers hold is compared.

What has to differ (times, random choices, the order of sets) is compared for what can be compared: see HOW. What differs on
purpose stands in tests/differential-exceptions. SEED replays a run, SCALE makes it longer.
"""

import random

from beck import Checks, scale, seed
from differ import World, run_examples

checks = Checks("differential")
FUTURE = "99999999999999"  # milliseconds, beyond any clock: the ID that follows does not depend on it


# ---- scripts ----

SCRIPTS = """
XADD s 1-1 f v; WATCH s; XADD s 1-2 f v; MULTI; XLEN s; EXEC; XLEN s
MULTI; XADD s 1-1 f v; XADD s 1-1 f v; XRANGE s - +; EXEC
MULTI; XADD s; XLEN s; EXEC; XLEN s; EXEC; DISCARD
MULTI; NOSUCH x; EXEC
MULTI; MULTI; WATCH s; XLEN s; EXEC
MULTI; DISCARD; DISCARD; EXEC
MULTI; SELECT 3; XADD s 1-1 f v; EXEC; XLEN s; SELECT 0; XLEN s
MULTI; KEYS *; DBSIZE; TYPE s; PING; ECHO x; EXEC
MULTI; FLUSHALL; XADD s 5-5 f v; DBSIZE; EXEC; XRANGE s - +
XADD a 1-1 f v; RENAME a b; EXISTS a; XLEN b; RENAME a b; RENAME b b; RENAMENX b b; RENAMENX b c; XADD d 1 f v; RENAMENX c d
XADD a 5-1 f v; XADD b 9-9 g w; RENAME a b; XRANGE b - +; XADD b 5-1 x y; XADD b 5-2 x y; DEL b; XADD b 1-1 x y; XRANGE b - +
XADD a 5-1 f v; DEL a; XADD a 4-1 f v; XRANGE a - +
XADD a 5-1 f v; EXPIREAT a 1; EXISTS a; XADD a 4-1 f v; TTL a; XRANGE a - +
XADD a 5-1 f v; EXPIRE a 0; EXISTS a; XADD a 1-1 f v; EXPIRE a -1; EXISTS a
XADD a 5-1 f v; EXPIREAT a 99999999999; EXPIRETIME a; PEXPIRETIME a; RENAME a b; EXPIRETIME b; EXPIRETIME a; PERSIST b; PERSIST b; EXPIRETIME b
XADD a 1 f v; EXPIRE a 100 NX; EXPIRE a 200 NX; EXPIRE a 50 GT; EXPIRE a 300 GT; EXPIRE a 400 LT; EXPIRE a 100 LT; EXPIRE a 100 XX; EXPIRE b 1 XX
XADD a 1 f v; EXPIRE a 100 GT; EXPIRE a 100 LT; TTL a; EXPIRE a 100 NX XX; EXPIRE a 1 GT LT; EXPIRE a 1 FOO; EXPIRE a x; EXPIRE a 99999999999999999999
XADD a 1 f v; EXPIRE a 9223372036854775807; PEXPIRE a 9223372036854775807; EXPIREAT a 9223372036854775807; PEXPIREAT a 9223372036854775807; EXPIRE a -9223372036854775808
SELECT 1; XADD a 1 f v; SELECT 2; XADD a 2 f v; FLUSHDB; DBSIZE; SELECT 1; DBSIZE; FLUSHALL SYNC; DBSIZE; FLUSHALL x; FLUSHDB ASYNC
XADD a 1 f v; XADD b 1 f v; DEL a b c a; UNLINK a b; XADD b 1 f v; UNLINK b b; TOUCH a b; EXISTS a a b; TYPE a; TYPE b
XADD abc 1 f v; XADD abd 1 f v; XADD xyz 1 f v; KEYS ab?; KEYS [a-b]*; KEYS [^a]*; KEYS a*c; KEYS; KEYS a b; KEYS a\\\\bc; KEYS **; KEYS abc
SCAN 0 COUNT 0; SCAN x; SCAN 0 MATCH; SCAN 0 COUNT x; SCAN 0 FOO 1; SCAN 0 TYPE string; SCAN -1
XADD {t}a 1 f v; RANDOMKEY; COMMAND GETKEYS XADD s 1 f v; COMMAND GETKEYS XREAD STREAMS a b 0 0; COMMAND GETKEYS XINFO STREAM a
WATCH a; XADD a 1 f v; UNWATCH; MULTI; XLEN a; EXEC; WATCH; UNWATCH x; MULTI x; EXEC x; DISCARD x
WATCH a; MULTI; XADD a 1 f v; EXEC; WATCH a; SELECT 1; XADD a 1 f v; SELECT 0; MULTI; XLEN a; EXEC
WATCH a; DEL a; MULTI; PING; EXEC; XADD a 1 f v; WATCH a; DEL a; MULTI; PING; EXEC
XADD a 1 f v; WATCH a; EXPIRE a 100; MULTI; PING; EXEC; WATCH a; RENAME a b; MULTI; PING; EXEC; WATCH nokey; FLUSHALL; MULTI; PING; EXEC
XADD a 1 f v; WATCH a; XTRIM a MAXLEN 5; MULTI; PING; EXEC; WATCH a; XDEL a 9; MULTI; PING; EXEC; WATCH a; XSETID a 7; MULTI; PING; EXEC
XADD a 1 f v; WATCH a; XTRIM a MAXLEN 0; MULTI; PING; EXEC; WATCH a; FLUSHDB; MULTI; PING; EXEC
PING; PING x; ECHO; ECHO x; SELECT x; SELECT 16; CLIENT GETNAME; CLIENT SETNAME me; CLIENT GETNAME; RESET; CLIENT GETNAME; WAIT 0 0; ROLE
CLIENT REPLY SKIP x; CLIENT FOO; CLIENT KILL; HELLO 9; HELLO 2; HELLO 3; XADD s 1 f v; XREAD STREAMS s 0; HELLO 2; XREAD STREAMS s 0; TIME x; DBSIZE x
READONLY; READWRITE; CLUSTER INFO; AUTH x; AUTH default x; COMMAND COUNT x; CONFIG GET databases; CONFIG GET save; CONFIG SET foo bar; CONFIG FOO; SHUTDOWN x y z
"""


def run_scripts(world):
    for proto in (2, 3):
        for i, script in enumerate(SCRIPTS.strip().splitlines()):
            world.where = "script %d" % (i + 1)
            conn = world.connect(proto, "s")
            world.flush(conn)
            for command in script.split(";"):
                words = command.split()
                world.do(conn, *words)
            conn.close()


# ---- random commands ----


class Random:
    """Random commands. Streams named ~ get additions in order and approximate trims only: there the nodes that Redis trims
    hold 100 entries each. Streams named + have IDs beyond the clock, so `*` is the same on both sides."""

    KEYS = ["a", "b", "c", "{t}d", "e f", "", "g\r\n\0\xff"]
    NAMES = ["f", "field", "", "x" * 40, "a b", "\xe9\0"]

    def __init__(self, r):
        self.r = r
        self.clock = {}

    def key(self):
        return self.r.choice(self.KEYS[:4] if self.r.random() < 0.8 else self.KEYS)

    def case(self, word):
        kind = self.r.random()
        return word if kind < 0.7 else word.lower() if kind < 0.9 else "".join(self.r.choice((c.lower(), c)) for c in word)

    def number(self, low=-2, high=12):
        return self.r.choice([str(self.r.randint(low, high))] * 12 + ["", "x", "1.5", "+1", " 1", "01", "9" * 25, str(2**63 - 1), str(-(2**63))])

    def ms(self):
        return self.r.randint(0, 30)

    def id(self):
        kind = self.r.random()
        if kind < 0.45:
            return "%d-%d" % (self.ms(), self.r.randint(0, 3))
        if kind < 0.8:
            return str(self.ms())
        if kind < 0.95:
            return "%d-*" % self.ms()
        return self.r.choice(["0-0", "0", "x", "", "-", "+", "1-", "-1", "1-1-1", "1-x", "18446744073709551615", "18446744073709551616-0",
                              "5-18446744073709551615", "18446744073709551615-18446744073709551615"])

    def bound(self):
        kind = self.r.random()
        if kind < 0.2:
            return self.r.choice("-+")
        text = "%d-%d" % (self.ms(), self.r.randint(0, 3)) if kind < 0.6 else str(self.ms()) if kind < 0.9 else self.id()
        return "(" + text if self.r.random() < 0.2 else text

    def value(self):
        n = self.r.choice([0, 1, 3, 5, 8, 12, 16, 17, 40, 130]) if self.r.random() < 0.97 else self.r.choice([448, 449, 5000, 70000])
        return self.r.randbytes(n)

    def fields(self):
        out = []
        for _ in range(self.r.choice([1, 1, 1, 2, 3, 5, 12])):
            out += [self.r.choice(self.NAMES), self.value()]
        return out[:-1] if self.r.random() < 0.02 else out

    def trim(self):
        """Exact trimming, or options that don't go together."""
        kind = self.r.random()
        word = self.r.choice(["MAXLEN", "MAXLEN", "MINID"])
        limit = self.number(0, 20) if word == "MAXLEN" else self.id().replace("*", "1")
        out = [self.case(word)] + self.r.choice([[], [], ["="]]) + [limit]
        if kind < 0.04:
            out += ["LIMIT", self.number()]
        elif kind < 0.06:
            out += ["MINID", "5"]
        elif kind < 0.08:
            out = out[:1]
        return out

    def xadd_plain(self):
        return [self.case("XADD"), self.key(), self.id()] + self.fields()

    def xadd(self):
        out = [self.key()]
        if self.r.random() < 0.06:
            out.append(self.case("NOMKSTREAM"))
        if self.r.random() < 0.12:
            out += self.trim()
        return [self.case("XADD")] + out + [self.id()] + self.fields()

    def xadd_future(self):
        if self.r.random() < 0.5:
            return ["XADD", "+", FUTURE + "-*"] + self.fields()
        return ["XADD", "+" if self.clock.get("+") else "none", "*"] + self.fields() if self.clock.get("+") else ["XLEN", "+"]

    def xadd_nodes(self):
        self.clock["~"] = self.clock.get("~", 0) + 1
        out = ["XADD", "~"]
        if self.r.random() < 0.05:
            out += [self.r.choice(["MAXLEN", "MINID"]), "~", str(self.r.randint(0, 400))]
            if self.r.random() < 0.5:
                out += ["LIMIT", str(self.r.choice([0, 50, 100, 150, 1000]))]
        return out + ["%d-1" % self.clock["~"], "f", str(self.r.randint(0, 99))]

    def xtrim_nodes(self):
        low = max(0, self.clock.get("~", 0) - 300)
        word = self.r.choice(["MAXLEN", "MINID"])
        out = ["XTRIM", "~", word, "~", str(self.r.randint(0, 400) if word == "MAXLEN" else self.r.randint(low, low + 320))]
        return out + (["LIMIT", str(self.r.choice([0, 99, 100, 250]))] if self.r.random() < 0.5 else [])

    def xread(self):
        out = [self.case("XREAD")]
        if self.r.random() < 0.4:
            out += [self.case("COUNT"), self.number(0, 5)]
        if self.r.random() < 0.05:
            out += [self.case("BLOCK"), self.r.choice(["1", "1", "1", "-1", "x"])]
        if self.r.random() < 0.02:
            out += self.r.choice([["FOO"], ["NOACK"], ["GROUP", "g", "c"], ["COUNT"]])
        n = self.r.choice([1, 1, 2, 3])
        ids = [self.r.choice(["$", "0", "0-0", self.id(), "%d-%d" % (self.ms(), 1)]) for _ in range(n)]
        return out + [self.case("STREAMS")] + [self.key() for _ in range(n)] + (ids[:-1] if self.r.random() < 0.02 else ids)

    def xrange(self):
        word = self.r.choice(["XRANGE", "XREVRANGE"])
        bounds = [self.bound(), self.bound()] if self.r.random() < 0.7 else ["-", "+"] if word == "XRANGE" else ["+", "-"]
        more = [self.case("COUNT"), self.number(-1, 10)] if self.r.random() < 0.4 else []
        return [self.case(word), self.r.choice([self.key(), self.key(), "~", "+"])] + bounds + more

    def xsetid(self):
        out = ["XSETID", self.key(), self.id().replace("*", "2")]
        if self.r.random() < 0.5:
            out += ["ENTRIESADDED", self.number(0, 40)]
        if self.r.random() < 0.4:
            out += ["MAXDELETEDID", self.id().replace("*", "2")]
        return out

    def xinfo(self):
        more = self.r.choice([[], [], ["FULL"], ["FULL", "COUNT", self.number()], ["x"]])
        return self.r.choice([["XINFO", "STREAM", self.key()] + more, ["XINFO", "STREAM", self.key()], ["XINFO", "GROUPS", self.key()]])

    def expire(self):
        word, flag = self.r.choice(["EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"]), self.r.random()
        if word.endswith("AT"):
            value = self.r.choice(["1", "0", "-5", "99999999999", "99999999999999", self.number()])
        else:
            value = self.r.choice([str(1000 * self.r.randint(100, 10**6))] * 3 + ["0", "-1", self.number(-3, 0)])
        return [word, self.key(), value] + ([self.r.choice(["NX", "XX", "GT", "LT", "nx", "FOO"])] if flag < 0.4 else [])

    def generic(self):
        k, k2 = self.key(), self.key()
        return self.r.choice([
            ["DEL", k], ["DEL", k, k2, k], ["UNLINK", k], ["EXISTS", k, k2, k], ["TYPE", k], ["TOUCH", k, k2], ["RENAME", k, k2],
            ["RENAMENX", k, k2], ["TTL", k], ["PTTL", k], ["EXPIRETIME", k], ["PEXPIRETIME", k], ["PERSIST", k], ["DBSIZE"],
            ["KEYS", self.r.choice(["*", "a*", "?", "[ab]", "[^a]", "{*", "x"])], ["RANDOMKEY"], ["XLEN", k], ["XLEN", "~"], ["XLEN", "+"],
        ])

    def server(self):
        return self.r.choice([
            ["PING"], ["PING", "x"], ["ECHO", self.value()], ["SELECT", self.number(0, 3)], ["TIME"], ["CLIENT", "GETNAME"],
            ["CLIENT", "SETNAME", self.r.choice(["me", "a b", ""])], ["WAIT", "0", "0"], ["NOSUCH", "x"], ["XADD"], ["CLIENT", "ID"], ["ROLE"],
            ["FLUSHDB"] if self.r.random() < 0.1 else ["PING"], ["FLUSHALL"] if self.r.random() < 0.02 else ["PING"], ["HELLO"],
            ["COMMAND", "GETKEYS", "XADD", "k", "1", "f", "v"], ["WATCH", self.key()], ["UNWATCH"], ["DISCARD"], ["EXEC"], ["MULTI"],
            ["CONFIG", "GET", "databases"], ["SELECT", "0"], ["RESET"] if self.r.random() < 0.1 else ["PING"], ["INFO", "server"],
        ])

    def command(self):
        makers = [self.xadd] * 14 + [self.xadd_nodes] * 6 + [self.xtrim_nodes, self.xadd_future, self.xread, self.xread, self.xread]
        makers += [self.xrange] * 4 + [self.xsetid, self.xinfo, self.expire, self.generic, self.generic, self.generic, self.server]
        makers += [lambda: ["XDEL", self.key()] + [self.id().replace("*", "1") for _ in range(self.r.choice([1, 1, 2, 5]))],
                   lambda: [self.case("XTRIM"), self.key()] + self.trim()]
        return self.r.choice(makers)()


def random_round(world, r, n, number):
    """n commands on three connections; transactions and watches come by themselves and in bursts."""
    gen = Random(r)
    conns = [world.connect(proto, "c%d" % i) for i, proto in enumerate((2, 3, r.choice((2, 3))))]
    names = {"~": "nodes%d" % number, "+": "future%d" % number}
    world.where = "round %d" % number
    for _ in range(n):
        conn = r.choice(conns)
        if r.random() < 0.03:
            burst(world, r, conn, gen, names)
            continue
        if not world.do(conn, *named(gen.command(), names)) and checks.failed > 5:
            break
        gen.clock["+"] = gen.clock.get("+") or False
    for conn in conns:
        conn.close()


def named(args, names):
    return [names.get(a, a) if i == 1 and isinstance(a, str) else a for i, a in enumerate(args)]


def burst(world, r, conn, gen, names, maker=None):
    """WATCH, MULTI, some commands, EXEC."""
    if r.random() < 0.5:
        world.do(conn, "WATCH", gen.key(), gen.key())
    world.do(conn, "MULTI")
    for _ in range(r.randint(1, 6)):
        world.do(conn, *named((maker or gen.command)(), names))
    world.do(conn, r.choice(["EXEC", "EXEC", "EXEC", "DISCARD"]))


NOTHING = b"-nothing came\r\n"


def read_soon(c):
    """The reply that must be on its way, or why there is none."""
    c.sock.settimeout(3)
    try:
        return c.read_raw()
    except TimeoutError:
        return NOTHING


def blocked_round(world, r, n):
    """A reader waits, a writer writes: what wakes the reader and with what has to be the same. Redis 7.0 replies with
    an empty list when XADD trims its own entry away or an empty stream gets the name, and with one of several streams after EXEC; neither happens here."""
    gen = Random(r)

    def write():
        return r.choice([gen.xadd_plain, gen.xadd_plain, gen.generic, gen.expire])()

    writer, reader = world.connect(2, "w"), world.connect(r.choice((2, 3)), "r")
    world.where = "blocked"
    ids = [c.call("CLIENT", "ID") for c in (reader.ours, reader.theirs)]
    admin = [world.beckd.connect(), world.redis.connect()]
    for _ in range(n):
        keys = r.sample(Random.KEYS[:4], r.choice([1, 1, 2]))
        args = ["XREAD"] + r.choice([[], ["COUNT", "1"]]) + ["BLOCK", "0", "STREAMS"] + keys
        args += [r.choice(["$", "%d-1" % r.randint(25, 32)]) for _ in keys]
        reader.block(admin, *args)
        for _ in range(30):
            if not reader.ours.silent() or not reader.theirs.silent():
                break
            if len(keys) == 1 and r.random() < 0.1:
                burst(world, r, writer, gen, {}, write)
            else:
                world.do(writer, *write())
        else:
            how = r.choice([[], ["TIMEOUT"], ["ERROR"]])
            for a, number in zip(admin, ids):
                a.call("CLIENT", "UNBLOCK", number, *how)
        ours, theirs = read_soon(reader.ours), read_soon(reader.theirs)
        if theirs.endswith(b"\r\n*0\r\n") and (ours == NOTHING or ours[:1] in b"-_" or ours == b"*-1\r\n"):
            world.history.append("an empty list has come from redis-server; beckd's reader waits on, as in Redis 7.2")
            if ours == NOTHING:
                admin[0].call("CLIENT", "UNBLOCK", ids[0])
                ours = reader.ours.read_raw()
            theirs = ours
        if ours != theirs:
            world.report(reader, args, ours, theirs, None)
            break
        checks.passed += 1
    for c in admin + [writer, reader]:
        c.close()


def main():
    number = seed()
    print("differential: SEED=%d" % number, flush=True)
    r = random.Random(number)
    world = World(checks)
    try:
        run_examples(world)
        run_scripts(world)
        world.flush(world.connect(2, "f"))
        for i in range(scale(10)):
            random_round(world, r, 1500, i)
            blocked_round(world, r, 25)
            if checks.failed > 5:
                break
            world.compare_everything(r.choice((2, 3)))
            kill = r.random() < 0.5
            world.history.append("beckd is %s and started again" % ("killed" if kill else "stopped"))
            world.restart(kill, r.choice(["os", "os", "interval", "always"]))
            world.where = "after restart %d" % i
            world.compare_everything(r.choice((2, 3)))
            if r.random() < 0.3:
                world.flush(world.connect(2, "f"))
    finally:
        world.close()
    checks.finish()


main()
