"""Strings and keys of all types: the same commands to beckd and to Debian's redis-server, and the same bytes come back.

Scripts first, then random commands in RESP2 and RESP3, over several databases, with transactions and WATCH, expiries far away
and expiries that are waited for. Between rounds beckd is stopped or killed and started again, which must not show. SEED replays
a run, SCALE makes it longer. What is later than Redis 7.0 is claimed in tests/test_strings.c.
"""

import random

from beck import Checks, scale, seed, wait_until
from differ import World, scan_all

checks = Checks("differential_strings")
BIG = "1mb"  # the longest string there, on both sides: limits are then soon reached
MAX = 1 << 20

SCRIPTS = r"""
SET a 1; GET a; SET a 2 NX; GET a; SET b 2 NX; SET c 3 XX; SET a 3 XX; GET a; SET a 4 GET; SET none 4 GET; SET none2 4 XX GET; GET none2; SET none2 5 NX GET; SET none2 6 NX GET
SET a v EX 0; SET a v EX x; SET a v EX -1; SET a v PX 9223372036854775807; SET a v EX 9223372036854775807; SET a v EXAT 0; SET a v PXAT -1; GET a
SET a v EX; SET a v PX; SET a v NX XX; SET a v KEEPTTL EX 1; SET a v EX 1 PX 1; SET a v EX 1 KEEPTTL; SET a v FOO; SET a v GET GET NX NX; SET a; SET a v EX 100 EX 200; TTL a
SET a v EX 100; SET a w KEEPTTL; TTL a; SET a x; TTL a; SET a y PXAT 99999999999999; PEXPIRETIME a; SET a z EXAT 99999999999; EXPIRETIME a; SET b w KEEPTTL; TTL b
SET a v ex 100 nx get; SET a v Ex 100 xX gEt; TTL a; SET a v EXAT 1; GET a; EXISTS a; SET b v; SET b w PXAT 1; GET b; TTL b; SET b v NX; GET b
XADD s 1-1 f v; GET s; SET s v GET; SET s v NX; SET s v NX GET; SET s v XX GET; GETSET s v; GETDEL s; GETEX s; STRLEN s; APPEND s x; GETRANGE s 0 1; SETRANGE s 0 x; SETRANGE s 0 ""; INCR s; INCRBYFLOAT s 1; MGET s a; SETNX s v; TYPE s; SET s v; TYPE s; GET s
SETNX a 1; SETNX a 2; GET a; SETEX a 100 v; TTL a; SETEX a 0 v; SETEX a x v; PSETEX a -1 v; PSETEX a 9223372036854775807 v; PSETEX a 100000 w; GET a; TTL a; GETSET a x; TTL a; GETSET b x; GET b
GETDEL a; SET a v; GETDEL a; EXISTS a; GETDEL a b; GETEX none; SET a v; GETEX a; GETEX a EX 100; TTL a; GETEX a PERSIST; TTL a; GETEX a PERSIST; GETEX a PX 100000; GETEX a EXAT 99999999999; PEXPIRETIME a; GETEX a PXAT 1; EXISTS a
SET a v; GETEX a EX 0; GETEX a EX x; GETEX a EX; GETEX a FOO; GETEX a PERSIST EX 1; GETEX a EX 1 PX 1; GETEX none EX 0; GETEX none FOO; GETEX a PX -1; GETEX a EX 9223372036854775807; TTL a
MSET a 1 b 2 a 3; MGET a b c; MSET a; MSET a 1 b; MSET; MSETNX a 1 c 2; MSETNX d 1 e 2 d 3; MGET c d e; MSETNX d 1 f; MGET
APPEND a x; APPEND a y; GET a; APPEND a ""; STRLEN a; STRLEN none; APPEND none ""; EXISTS none; GET none; SET n 10; APPEND n 5; INCR n
SET a "Hello\x20World"; GETRANGE a 0 3; GETRANGE a 0 -1; GETRANGE a -4 -1; GETRANGE a 5 3; GETRANGE a 5 5000; GETRANGE a -5000 10000; GETRANGE a 0 -100; GETRANGE a 1 -100; GETRANGE a -100 -99; GETRANGE a -100 -101; GETRANGE a x 1; GETRANGE a 1 x; SUBSTR a 0 2; GETRANGE none 0 -1; GETRANGE a 0 4294967297; GETRANGE a -9223372036854775808 9223372036854775807
SETRANGE a 0 foo; SETRANGE a 1 b; SETRANGE a 6 bar; GET a; SETRANGE b 3 x; GET b; SETRANGE c 5 ""; EXISTS c; SETRANGE a -1 x; SETRANGE a x x; SETRANGE a 1048575 x; SETRANGE a 1048576 x; SETRANGE a 9223372036854775807 x; SETRANGE c 1048577 ""; STRLEN a; APPEND a y; GETRANGE a 1048570 -1
INCR a; INCR a; DECR a; DECR b; INCRBY a 10; DECRBY a 5; GET a; INCRBY a x; DECRBY a x; INCRBY a 1.5; INCRBY a " 1"; DECRBY a -9223372036854775808; SET a 9223372036854775807; INCR a; INCRBY a -1; SET a -9223372036854775808; DECR a; DECRBY a 1; SET a x; INCR a; SET a 01; INCR a; SET a ""; INCR a; SET a "+1"; INCR a; SET a 9223372036854775808; INCR a
SET a 1 EX 100; INCR a; TTL a; INCRBYFLOAT a 1.5; TTL a; APPEND a 0; TTL a; SETRANGE a 0 9; TTL a; GET a
INCRBYFLOAT a 1.1; INCRBYFLOAT a -1.1; INCRBYFLOAT b 0.1; INCRBYFLOAT b 0.2; INCRBYFLOAT c 5.0e3; INCRBYFLOAT c x; INCRBYFLOAT c inf; INCRBYFLOAT c -inf; INCRBYFLOAT c nan; INCRBYFLOAT c ""; INCRBYFLOAT c "1 "; INCRBYFLOAT c " 1"; INCRBYFLOAT c 0x10; INCRBYFLOAT c 1e4931; INCRBYFLOAT c 1e4932; INCRBYFLOAT c 1e5000; INCRBYFLOAT c 1e-5000; GET a; GET b
SET a 3.0e3; INCRBYFLOAT a 0; SET a -0.5; INCRBYFLOAT a 0.5; SET a abc; INCRBYFLOAT a 1; SET a inf; INCRBYFLOAT a 1; SET a 1e17; INCRBYFLOAT a 1; SET a 0.00000000000000001; INCRBYFLOAT a 1; SET a 3; INCRBYFLOAT a 1.000000000000000005; SET a 9007199254740993; INCRBYFLOAT a 1
SET a v; WATCH a; SET a v; MULTI; PING; EXEC; WATCH a; GET a; MULTI; PING; EXEC; WATCH a; APPEND a x; MULTI; PING; EXEC; WATCH a; SETRANGE a 0 ""; MULTI; PING; EXEC; WATCH none; SETRANGE none 0 ""; MULTI; PING; EXEC
WATCH a; SETNX a 1; MULTI; PING; EXEC; WATCH a; SETNX a 1; MULTI; PING; EXEC; WATCH a; GETEX a; MULTI; PING; EXEC; WATCH a; GETEX a EX 100; MULTI; PING; EXEC; WATCH a; GETDEL a; MULTI; PING; EXEC; WATCH a; SET a v PXAT 1; MULTI; PING; EXEC; WATCH a; APPEND a ""; MULTI; PING; EXEC; WATCH a; APPEND a ""; MULTI; PING; EXEC
MULTI; SET a 1; INCR a; INCRBY a x; LPUSH; GET a; EXEC; MULTI; SET a 5; INCR a; GETSET a x; INCR a; GET a; EXEC; GET a
SET a v; TYPE a; TYPE none; OBJECT ENCODING a; OBJECT ENCODING none; OBJECT REFCOUNT none; OBJECT FREQ a; OBJECT FREQ none; OBJECT IDLETIME none; OBJECT IDLETIME a; OBJECT FOO a; OBJECT; OBJECT ENCODING; OBJECT ENCODING a b; SET a 12; OBJECT ENCODING a; SET a 12345678901234567890; OBJECT ENCODING a; SET a 01; OBJECT ENCODING a
SET a 12345678901234567890123456789012345678901234; OBJECT ENCODING a; SET a 123456789012345678901234567890123456789012345; OBJECT ENCODING a; OBJECT REFCOUNT a; MEMORY USAGE none; MEMORY USAGE a; MEMORY USAGE a SAMPLES x; MEMORY USAGE a SAMPLES -1; MEMORY USAGE a SAMPLES; MEMORY USAGE a FOO; MEMORY; MEMORY FOO; MEMORY USAGE a SAMPLES 0 SAMPLES 5
SET a 1 EX 1000; COPY a a; COPY a b; COPY a b; SET b 9; COPY a b REPLACE; GET b; TTL b; COPY a c DB 1; COPY a c DB 99; COPY a c DB x; COPY a c FOO; COPY none c; COPY a a DB 1; COPY a a DB 0; COPY a c DB 2 DB 1; COPY a x DB; COPY a; COPY none none; SELECT 1; GET a; GET c; TTL c
SET a 1; MOVE a 0; MOVE a 1; EXISTS a; MOVE a 1; SET a 2; MOVE a 1; MOVE a x; MOVE a 99; MOVE a -1; MOVE none 1; MOVE none 0; SELECT 1; GET a; SELECT 0; SET b v EX 1000; MOVE b 1; SELECT 1; TTL b; RENAME b c; TTL c; GET c
SET a 1; SELECT 1; SET b 2; SELECT 0; SWAPDB 0 0; SWAPDB x 1; SWAPDB 1 x; SWAPDB 0 99; SWAPDB -1 0; SWAPDB 0 1; GET a; GET b; DBSIZE; SELECT 1; GET a; DBSIZE; SWAPDB 1 0; GET b; SWAPDB 0 9223372036854775807; SWAPDB
SET a 1; WATCH a; SWAPDB 0 1; MULTI; PING; EXEC; WATCH a; SWAPDB 0 1; MULTI; PING; EXEC; WATCH a; MOVE a 1; MULTI; PING; EXEC; WATCH c; SWAPDB 0 1; MULTI; PING; EXEC; WATCH a; COPY a b; MULTI; PING; EXEC; WATCH b; COPY a b REPLACE; MULTI; PING; EXEC
SET a 1; XADD s 1-1 f v; RENAME a s; TYPE s; GET s; XADD b 2-1 f v; SET c v; RENAME b c; XLEN c; RENAMENX c s; RENAMENX c d; XLEN d; RENAME none x; RENAME s s; RENAMENX s s; DEL s d none; DBSIZE
SET a 1 EX 1000; RENAME a b; TTL b; SET c 1; RENAME c b; TTL b; SET a 1; EXPIRE a 100; EXPIRE a 0; EXISTS a; SET a 1; EXPIREAT a 1; EXISTS a; SET a 1; PEXPIREAT a 0; EXISTS a; SET a 1; PEXPIREAT a -5; EXISTS a; SET a 1; EXPIRE a -9223372036854775807; EXPIRE a 9223372036854775; PERSIST a; PERSIST a; SET b 1; EXPIRE b 100 NX; EXPIRE b 50 GT; EXPIRE b 200 GT; EXPIRE b 300 LT; EXPIRE b 100 XX; PERSIST none; PEXPIRE b 100 NX XX
MSET a 1 b 2 c 3; DEL a b a; EXISTS a b c c; TOUCH a c; UNLINK c c; DBSIZE; RANDOMKEY; KEYS *; SET abc 1; SET abd 2; KEYS ab?; SCAN 0 TYPE string; SCAN 0 TYPE stream; SCAN 0 TYPE foo; SCAN 0 MATCH ab* COUNT 100
SETEX a 100; GET; GET a b; STRLEN; INCR; INCR a b; MGET; GETRANGE a 0; SETRANGE a 0; DECRBY a; INCRBYFLOAT a; PSETEX a 1; GETSET a; GETDEL; GETEX; SETNX a; MOVE a; SWAPDB 0; TYPE
"""


def words(command):
    """Of a script: "..." is one word with escapes."""
    out, rest = [], command.strip()
    while rest:
        if rest.startswith('"'):
            text, _, rest = rest[1:].partition('"')
            out.append(text.encode().decode("unicode_escape"))
        else:
            text, _, rest = rest.partition(" ")
            out.append(text)
        rest = rest.lstrip()
    return out


def begin(world):
    conn = world.connect(2, "begin")
    conn.run("CONFIG", "SET", "proto-max-bulk-len", BIG)
    return conn


def run_scripts(world):
    for proto in (2, 3):
        for i, script in enumerate(SCRIPTS.strip().splitlines()):
            world.where = "script %d" % (i + 1)
            conn = world.connect(proto, "s")
            world.flush(conn)
            for command in script.split(";"):
                world.do(conn, *words(command))
            conn.close()


# ---- keyspace events ----


def events_of(client):
    """What has been published since, up to the end that was published last."""
    out = []
    while True:
        raw = client.read_raw()
        if raw.endswith(b"$3\r\nend\r\n$1\r\nx\r\n"):
            return out
        out.append(raw)


def run_events(world):
    """The scripts once more: the same events in the same order."""
    for i, script in enumerate(SCRIPTS.strip().splitlines()):
        world.where = "events of script %d" % (i + 1)
        listener, conn = world.connect(2, "e"), world.connect(2, "s")
        world.flush(conn)
        conn.both("CONFIG", "SET", "notify-keyspace-events", "KEA")
        listener.both("PSUBSCRIBE", "__key*", "end")
        listener.ours.read_raw(), listener.theirs.read_raw()
        for command in script.split(";"):
            world.do(conn, *words(command))
        conn.both("PUBLISH", "end", "x")
        checks.equal("%s: events" % world.where, events_of(listener.ours), events_of(listener.theirs))
        listener.close()
        conn.close()
    end = begin(world)
    end.both("CONFIG", "SET", "notify-keyspace-events", "")
    end.close()


# ---- random commands ----

FLOATS = ["0.1", "-0.25", "1e3", "3.0e-2", "100", "-7", "0", "1e17", "0x1p3", "12345678.9", "1e308", "5e-20", "x", "", "inf", "nan", " 1"]
LENGTHS = [0, 1, 2, 5, 11, 20, 21, 44, 45, 100, 447, 448, 449, 1023, 1024, 1025, 4095, 4096, 4097, 20000]


class Random:
    KEYS = ["a", "b", "c", "n", "m", "{t}d", "", "g\r\n\0\xff", "k" * 300]

    def __init__(self, r):
        self.r = r

    def key(self):
        return self.r.choice(self.KEYS[:5] if self.r.random() < 0.8 else self.KEYS)

    def case(self, word):
        return self.r.choice((word, word, word, word.lower(), word.capitalize()))

    def number(self, low=-3, high=12):
        return self.r.choice([str(self.r.randint(low, high))] * 12 + ["", "x", "1.5", "+1", " 1", "01", "-0", str(2**63 - 1), str(-(2**63)), str(2**63)])

    def value(self):
        kind = self.r.random()
        if kind < 0.35:
            return str(self.r.randint(-20, 20)) if kind < 0.25 else str(self.r.choice([2**63 - 1, -(2**63), 2**63 - 10, 10**18]))
        if kind < 0.5:
            return self.r.choice(FLOATS)
        return self.r.randbytes(self.r.choice(LENGTHS))

    def ttl(self):
        """Options of SET: mostly far away, and rarely nonsense."""
        kind = self.r.random()
        if kind < 0.35:
            return [self.case(self.r.choice(["EX", "PX"])), str(self.r.randint(100, 10**6) * 1000)]
        if kind < 0.6:
            return self.r.choice([["EXAT", "99999999999"], ["PXAT", "99999999999999"], ["pxat", "88888888888888"]])
        if kind < 0.7:
            return self.r.choice([["EXAT", "1"], ["PXAT", "1"]])
        if kind < 0.85:
            return [self.r.choice(["EX", "PX", "EXAT", "PXAT"]), self.number(-2, 0)]
        return [self.r.choice(["EX", "PX", "FOO"])]

    def set(self):
        out = [self.case("SET"), self.key(), self.value()]
        for word, p in ((["NX"], 0.12), (["XX"], 0.12), (["GET"], 0.2), (["KEEPTTL"], 0.1), (["FOO"], 0.01)):
            if self.r.random() < p:
                out.append(self.case(word[0]))
        return out + (self.ttl() if self.r.random() < 0.3 else [])

    def older(self):
        k, v = self.key(), self.value()
        return self.r.choice([
            ["SETNX", k, v], ["SETEX", k, self.r.choice(["1000", self.number(-1, 0)]), v], ["GETSET", k, v],
            ["PSETEX", k, self.r.choice(["1000000", self.number(-1, 0)]), v], ["GETDEL", k], ["APPEND", k, v], ["STRLEN", k],
            ["GETEX", k] + self.r.choice([[], ["PERSIST"], self.ttl(), ["PERSIST"] + self.ttl()]),
        ])

    def many(self):
        pairs = [x for _ in range(self.r.choice([1, 2, 3, 8])) for x in (self.key(), self.value())]
        pairs = pairs[:-1] if self.r.random() < 0.03 else pairs
        return self.r.choice([["MSET"] + pairs, ["MSETNX"] + pairs, ["MGET"] + pairs[::2], ["MGET"] + pairs[::2]])

    def numbers(self):
        k = self.r.choice(["n", "n", "m", self.key()])
        return self.r.choice([
            ["INCR", k], ["DECR", k], [self.case("INCRBY"), k, self.number()], ["DECRBY", k, self.number()],
            ["INCRBYFLOAT", k, self.r.choice(FLOATS)],
        ])

    def range(self):
        k, i = self.key(), self.r.choice([0, 1, 5, 44, 1020, 1024, 4096, 5000, MAX - 1, MAX])
        bound = lambda: self.r.choice([str(self.r.randint(-30, 30)), str(self.r.randint(-5000, 5000)), self.number()])
        if self.r.random() < 0.4:
            offset = str(i) if self.r.random() < 0.1 else str(self.r.randint(0, 60)) if self.r.random() < 0.9 else self.number()
            return ["SETRANGE", k, offset, self.r.choice([self.value(), ""])]
        return [self.r.choice(["GETRANGE", "GETRANGE", "SUBSTR"]), k, bound(), bound()]

    def expire(self):
        word, flag = self.r.choice(["EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"]), self.r.random()
        if word.endswith("AT"):
            value = self.r.choice(["1", "0", "-5", "99999999999" if word == "EXPIREAT" else "99999999999999", self.number(-3, 0)])
        else:
            value = self.r.choice([str(1000 * self.r.randint(100, 10**6))] * 3 + ["0", "-1", self.number(-3, 0)])
        return [word, self.key(), value] + ([self.r.choice(["NX", "XX", "GT", "LT", "nx", "FOO"])] if flag < 0.4 else [])

    def generic(self):
        k, k2, db = self.key(), self.key(), self.number(0, 3)
        return self.r.choice([
            ["DEL", k], ["DEL", k, k2, k], ["UNLINK", k], ["EXISTS", k, k2, k], ["TYPE", k], ["TOUCH", k, k2], ["RENAME", k, k2],
            ["RENAMENX", k, k2], ["TTL", k], ["PTTL", k], ["EXPIRETIME", k], ["PEXPIRETIME", k], ["PERSIST", k],
            ["KEYS", self.r.choice(["*", "a*", "?", "[ab]", "[^a]"])], ["RANDOMKEY"], ["MOVE", k, db],
            ["COPY", k, k2] + self.r.choice([[], ["REPLACE"], ["DB", db], ["DB", db, "REPLACE"], ["FOO"]]),
            ["SWAPDB", self.number(0, 2), self.number(0, 2)] if self.r.random() < 0.3 else ["PING"], ["MEMORY", "USAGE", k],
            ["OBJECT", self.r.choice(["IDLETIME", "FREQ"]), k], ["FLUSHDB"] if self.r.random() < 0.2 else ["PING"],
            ["SELECT", self.r.choice(["0", "0", "1", "2", "x"])],
        ])

    def control(self):
        return self.r.choice([["MULTI"], ["EXEC"], ["EXEC"], ["DISCARD"], ["WATCH", self.key()], ["WATCH", self.key()], ["UNWATCH"]])

    def stream(self):
        return self.r.choice([["XADD", self.key(), "99999999999999-*", "f", "v"], ["XLEN", self.key()]])

    def command(self):
        makers = [self.set] * 6 + [self.older] * 5 + [self.many] * 3 + [self.numbers] * 4 + [self.range] * 4 + [self.expire] * 2
        makers += [self.generic] * 6 + [self.stream] + [self.control] + [lambda: [self.case("GET"), self.key()]] * 6
        return self.r.choice(makers)()


def random_round(world, r, n, number):
    gen = Random(r)
    world.where = "round %d" % number
    conns = [world.connect(proto, "c%d" % i) for i, proto in enumerate((2, 3, r.choice((2, 3))))]
    for _ in range(n):
        conn = r.choice(conns)
        world.do(conn, *gen.command())
    for conn in conns:
        if conn.queued is not None:
            world.do(conn, "EXEC")
        conn.close()


def compare_values(world, proto):
    """All that both hold. DBSIZE is no part of it: it counts what has expired and has not been removed yet."""
    conn = world.connect(proto, "all")
    for db in range(16):
        world.do(conn, "SELECT", str(db))
        ours, theirs = scan_all(conn.ours), scan_all(conn.theirs)
        checks.equal("%s: SCAN finds the same keys" % world.where, ours, theirs)
        for key in sorted(theirs):
            for command in ("TYPE", "GET", "STRLEN", "PEXPIRETIME", "XLEN"):
                world.do(conn, command, key)
    conn.close()


def random_rounds(world, r):
    conn = begin(world)
    world.flush(conn)
    conn.close()
    for number in range(1, scale(6) + 1):
        random_round(world, r, 1500, number)
        world.restart(kill=number % 2 == 0, durability=r.choice(("os", "interval")))
        begin(world).close()
        compare_values(world, r.choice((2, 3)))


# ---- time that passes ----

EXPIRING = [
    ("SET", "k", "v", "PX", "40"), ("PSETEX", "k", "40", "v"), ("MSET", "k", "v"), ("SETRANGE", "k", "5", "v"), ("APPEND", "k", "v"), ("INCR", "k"),
]  # fmt: skip
AFTER = [
    ("GET", "k"), ("EXISTS", "k"), ("TTL", "k"), ("TYPE", "k"), ("STRLEN", "k"), ("INCR", "k"), ("APPEND", "k", "x"), ("SETNX", "k", "y"),
    ("SET", "k", "y", "XX"), ("SET", "k", "y", "NX"), ("SET", "k", "y", "GET"), ("SET", "k", "y", "KEEPTTL"), ("GETDEL", "k"), ("GETEX", "k"),
    ("RENAME", "k", "l"), ("COPY", "k", "l"), ("MOVE", "k", "1"), ("PERSIST", "k"), ("EXPIRE", "k", "100"), ("DEL", "k"), ("TOUCH", "k"),
    ("OBJECT", "ENCODING", "k"), ("MEMORY", "USAGE", "k"), ("SETRANGE", "k", "1", "z"), ("GETRANGE", "k", "0", "-1"), ("MGET", "k"),
    ("MSETNX", "k", "z"), ("KEYS", "*"), ("RANDOMKEY",),
]  # fmt: skip


def gone(conn, key):
    return all(c.call("EXISTS", key) == 0 for c in (conn.ours, conn.theirs))


def expiries(world, proto):
    """What is there with an expiry is gone when its time has come, for every command."""
    conn = world.connect(proto, "t")
    for first in EXPIRING:
        for then in AFTER:
            world.where = "expiry, %s" % " ".join(first)
            world.flush(conn)
            conn.run(*first)
            conn.send("PEXPIRE", "k", "20")
            conn.ours.read_raw(), conn.theirs.read_raw()
            wait_until(lambda: gone(conn, "k"), "the key to expire")
            for command in (then, ("TTL", "k"), ("GET", "k"), ("GET", "l")):
                world.do(conn, *command)
        first_only = world.connect(proto, "w")
        world.flush(first_only)
        first_only.run(*first)
        first_only.run("WATCH", "k")
        first_only.both("PEXPIRE", "k", "20")
        wait_until(lambda: gone(first_only, "k"), "the key to expire")
        for command in (["MULTI"], ["PING"], ["EXEC"]):
            world.do(first_only, *command)
        first_only.close()
    conn.close()


def main():
    number = seed()
    print("differential_strings: SEED=%d" % number, flush=True)
    r = random.Random(number)
    world = World(checks)
    try:
        begin(world).close()
        run_scripts(world)
        run_events(world)
        for proto in (2, 3):
            expiries(world, proto)
        random_rounds(world, r)
    finally:
        world.close()
    checks.finish()


main()
