"""Hashes: the same commands to beckd and to Debian's redis-server, and the same bytes come back.

Scripts first, then random commands in RESP2 and RESP3 over small hashes and large ones, with transactions and WATCH, keys that
expire and keys of other types. Between rounds beckd is stopped or killed and started again, which must not show; then every
hash is compared, by HGETALL, by each command that reads and by complete scans. SEED replays a run, SCALE makes it longer. What
is later than Redis 7.0 is claimed in tests/test_hashes.c.
"""

import random

from beck import Checks, scale, seed
from differ import World, scan_all

checks = Checks("differential_hashes")

SCRIPTS = r"""
HSET h a; HSET h a 1 b; HSET h a 1 a 2 b 3; HGET h a; HLEN h; HSET h a 9 c 1; HMSET h; HMSET h a; HMSET h a 1 b; HMSET h a 1 d 2; HGETALL h; HSET; HSET h
HGET h; HGET h a b; HGET none a; HMGET none a b; HMGET h; HSET h a ""; HGET h a; HSTRLEN h a; HSET h "" v; HGET h ""; HMGET h "" a x; HEXISTS h ""; HEXISTS h x; HEXISTS none x; HDEL h ""; HGETALL h
HGETALL none; HKEYS none; HVALS none; HLEN none; HSTRLEN none a; HEXISTS none a; HDEL none a; HSCAN none 0; HGETALL; HKEYS a b; HLEN; HSTRLEN h; HEXISTS h; HDEL h
HSET h a 1 b 2 c 3; HDEL h a a b x; HGETALL h; HDEL h c; EXISTS h; TYPE h; HSET h z 1; TYPE h; HDEL h z z; EXISTS h; HSETNX h a 1; HSETNX h a 2; HGET h a; HSETNX h; HSETNX h b; HSETNX h b 1 c
HINCRBY h a 5; HINCRBY h a -10; HINCRBY h a x; HINCRBY h a 1.5; HINCRBY h a ""; HSET h s str e ""; HINCRBY h s 1; HINCRBY h e 1; HINCRBY h a 9223372036854775807; HINCRBY h b 9223372036854775807; HINCRBY h b 1; HSET h m -9223372036854775808; HINCRBY h m -1; HINCRBY h m 1; HINCRBY h b 9223372036854775808; HINCRBY h; HINCRBY h a; HSET h p +5 z 007; HINCRBY h p 1; HINCRBY h z 1; HGETALL h
HINCRBYFLOAT h a 10.5; HINCRBYFLOAT h a 0.1; HINCRBYFLOAT h a -10.6; HINCRBYFLOAT h a 5.0e3; HINCRBYFLOAT h a x; HINCRBYFLOAT h a ""; HINCRBYFLOAT h a inf; HINCRBYFLOAT h a -inf; HINCRBYFLOAT h a nan; HINCRBYFLOAT h a 1e5000; HINCRBYFLOAT h a 0x10; HSET h s str e "" i inf n nan; HINCRBYFLOAT h s 1; HINCRBYFLOAT h e 1; HINCRBYFLOAT h i 1; HINCRBYFLOAT h n 1; HINCRBYFLOAT h t 1e-20; HINCRBYFLOAT h b 1.1e4932; HINCRBYFLOAT h b 1.1e4932; HINCRBYFLOAT h b -1.1e4932; HINCRBYFLOAT h c 3.14; HINCRBYFLOAT h c 2.71828; HGETALL h
HSET h c 1.0; HINCRBYFLOAT h c 1; HSET h c 1.000000000000000001; HINCRBYFLOAT h c 0; HSET h c -0.5; HINCRBYFLOAT h c 0.5; HINCRBY h c 1; HINCRBYFLOAT h c 1e17; HINCRBYFLOAT h c 0.5; HINCRBY h c 1
HSET h a 1 b 2; HSCAN h 0; HSCAN h x; HSCAN h; HSCAN h 0 COUNT 0; HSCAN h 0 COUNT -1; HSCAN h 0 COUNT x; HSCAN h 0 MATCH; HSCAN h 0 COUNT; HSCAN h 0 FOO 1; HSCAN none x; HSCAN none 0 COUNT 0; HSCAN none 0 FOO; HSCAN h 0 MATCH a*; HSCAN h 0 MATCH [b-z] COUNT 5; HSCAN h 0 count 1 match *; HSCAN h -1; HSCAN h ""; HSCAN h 0 COUNT 1 COUNT 2; HSCAN h 99999999999999999999
HSET h a 1; HRANDFIELD h; HRANDFIELD h 1; HRANDFIELD h 0; HRANDFIELD h -1; HRANDFIELD h -3; HRANDFIELD h 3; HRANDFIELD h 5 WITHVALUES; HRANDFIELD h -2 WITHVALUES; HRANDFIELD h 2 FOO; HRANDFIELD h 2 WITHVALUES x; HRANDFIELD h x; HRANDFIELD h 1 2 3; HRANDFIELD none; HRANDFIELD none 1; HRANDFIELD none -1 WITHVALUES; HRANDFIELD none x; HRANDFIELD; HRANDFIELD h -9223372036854775808; HRANDFIELD h 9223372036854775807; HRANDFIELD h 9223372036854775807 WITHVALUES; HRANDFIELD h -4611686018427387904 WITHVALUES; HRANDFIELD h 9223372036854775808
XADD s 1-1 f v; HGET s a; HMGET s a; HGETALL s; HKEYS s; HVALS s; HLEN s; HSET s a 1; HMSET s a 1; HSETNX s a 1; HDEL s a; HEXISTS s a; HSTRLEN s a; HINCRBY s a 1; HINCRBY s a x; HINCRBYFLOAT s a 1; HINCRBYFLOAT s a x; HSCAN s 0; HSCAN s x; HSCAN s 0 FOO; HRANDFIELD s; HRANDFIELD s 1; HRANDFIELD s x; HRANDFIELD s 1 FOO; XLEN s
RPUSH l a; HGET l a; HSET l a 1; SET k v; HGETALL k; HSET k a 1; HSET h a 1; LPUSH h a; GET h; APPEND h x; XADD h * f v; XLEN h; SET h v; GET h; HGET h a; DEL h; HSET h a 1
HSET h a 1; EXPIRE h 100; HSET h b 2; TTL h; HINCRBY h a 1; TTL h; HDEL h a; TTL h; PERSIST h; HDEL h b; TTL h; HSET h a 1; TTL h; PEXPIREAT h 1; HGETALL h; EXISTS h; HSET h b 2; HGETALL h
HSET h a 1; RENAME h g; HGETALL g; HGETALL h; COPY g h; HSET g a 2; HGET h a; RENAMENX g h; DEL h; RENAMENX g h; HGETALL h; MOVE h 1; HLEN h; SELECT 1; HGETALL h; SWAPDB 0 1; SELECT 0; HGETALL h; UNLINK h; HGETALL h
HSET h a 1; WATCH h; HSET h a 1; MULTI; PING; EXEC; WATCH h; HGET h a; HDEL h x; HSETNX h a 2; MULTI; PING; EXEC; WATCH h; HINCRBY h n 0; MULTI; PING; EXEC; WATCH h; HDEL h a n; MULTI; PING; EXEC; WATCH h; HSET h x y; MULTI; PING; EXEC; WATCH h; HINCRBY h x 1; MULTI; PING; EXEC; WATCH h; HINCRBYFLOAT h q 1; MULTI; PING; EXEC
MULTI; HSET h a 1 b 2; HINCRBY h a 5; HINCRBY h b x; HGETALL h; HDEL h a b; HGETALL h; EXISTS h; HSET h c 3; HSET h d; EXEC; HGETALL h; MULTI; HSET h a 1; LPUSH h x; HGET h a; EXEC; MULTI; DEL h; HSET h z 1; EXEC; HGETALL h
COMMAND GETKEYS HSET h a 1; COMMAND GETKEYS HGETALL h; OBJECT ENCODING h; HSET h a 1; OBJECT ENCODING h; TOUCH h none; DBSIZE; KEYS *; SCAN 0 TYPE hash; SCAN 0 TYPE list
"""


def words(command):
    return ["" if w == '""' else w for w in command.split()]


def run_scripts(world):
    for proto in (2, 3):
        for i, script in enumerate(SCRIPTS.strip().splitlines()):
            world.where = "script %d" % (i + 1)
            conn = world.connect(proto, "s")
            world.flush(conn)
            for command in script.split(";"):
                world.do(conn, *words(command))
            conn.close()


# ---- random commands ----


class Random:
    KEYS = ["a", "b", "c", "big", "", "k\r\n\0\xff"]
    FIELDS = ["f%d" % i for i in range(12)] + ["", "x" * 70, "\xe9\0", "a b"]

    def __init__(self, r):
        self.r = r

    def key(self):
        return self.r.choice(self.KEYS[:4] if self.r.random() < 0.9 else self.KEYS)

    def field(self):
        kind = self.r.random()
        return self.r.choice(self.FIELDS) if kind < 0.7 else "n%d" % self.r.randrange(300)

    def value(self):
        kind = self.r.random()
        if kind < 0.3:
            return str(self.r.randint(-20, 20))
        if kind < 0.4:
            return self.r.choice(["1.5", "-2.25", "0.1", "1e3", "", "x", "9223372036854775807", "-9223372036854775808", " 1", "01"])
        return self.r.randbytes(self.r.choice([0, 1, 5, 11, 20, 63, 64, 65, 200]) if kind < 0.99 else self.r.choice([5000, 70000]))

    def number(self):
        return self.r.choice(["1", "-1", "7", "100", "0", "x", "", "1.5", "9223372036854775807", "-9223372036854775808", "99999999999999999999"])

    def pairs(self):
        n = self.r.choice([1, 1, 1, 2, 3, 5, 20]) if self.r.random() < 0.98 else 150
        out = []
        for _ in range(n):
            out += [self.field(), self.value()]
        return out[:-1] if self.r.random() < 0.01 else out

    def fields(self):
        return [self.field() for _ in range(self.r.choice([1, 1, 2, 3, 8]))]

    def hscan(self):
        out = ["HSCAN", self.key(), self.r.choice(["0", "0", "0", "x"])]
        if self.r.random() < 0.5:
            out += ["COUNT", self.r.choice(["1", "10", "1000", "0", "x"])]
        if self.r.random() < 0.5:
            out += ["MATCH", self.r.choice(["f*", "*", "n1?", "[fx]*", ""])]
        return out

    def hrandfield(self):
        out = ["HRANDFIELD", self.key()]
        if self.r.random() < 0.8:
            out.append(self.r.choice(["0", "1", "3", "-1", "-5", "20", "1000", "x"]))
            if self.r.random() < 0.5:
                out.append(self.r.choice(["WITHVALUES", "withvalues", "FOO"]))
        return out

    def generic(self):
        k, k2 = self.key(), self.key()
        return self.r.choice([
            ["DEL", k] if self.r.random() < 0.5 else ["EXISTS", k, k2], ["TYPE", k], ["RENAME", k, k2], ["RENAMENX", k, k2], ["TTL", k], ["PERSIST", k],
            ["EXPIRE", k, "1000"], ["PEXPIREAT", k, self.r.choice(["1", "99999999999999"])], ["DBSIZE"], ["KEYS", "*"], ["COPY", k, k2],
            ["SET", k, "v"] if self.r.random() < 0.1 else ["EXISTS", k], ["RPUSH", k, "x"], ["WATCH", k], ["UNWATCH"], ["XADD", k, "*"],
        ])

    def command(self):
        k = self.key()
        return self.r.choice([
            lambda: ["HSET", k] + self.pairs(), lambda: ["HSET", k] + self.pairs(), lambda: ["HSET", k] + self.pairs(), lambda: ["HMSET", k] + self.pairs(),
            lambda: ["HSETNX", k, self.field(), self.value()], lambda: ["HGET", k, self.field()], lambda: ["HMGET", k] + self.fields(),
            lambda: ["HGETALL", k], lambda: ["HKEYS", k], lambda: ["HVALS", k], lambda: ["HLEN", k], lambda: ["HSTRLEN", k, self.field()],
            lambda: ["HEXISTS", k, self.field()], lambda: ["HDEL", k] + self.fields(), lambda: ["HDEL", k] + self.fields(),
            lambda: ["HINCRBY", k, self.field(), self.number()], lambda: ["HINCRBYFLOAT", k, self.field(), self.number()],
            self.hscan, self.hrandfield, self.generic,
        ])()


def burst(world, r, conn, gen):
    if r.random() < 0.5:
        world.do(conn, "WATCH", gen.key(), gen.key())
    world.do(conn, "MULTI")
    for _ in range(r.randint(1, 8)):
        world.do(conn, *gen.command())
    world.do(conn, r.choice(["EXEC", "EXEC", "EXEC", "DISCARD"]))


def random_round(world, r, n, number):
    gen = Random(r)
    conns = [world.connect(proto, "c%d" % i) for i, proto in enumerate((2, 3))]
    world.where = "round %d" % number
    for _ in range(n):
        conn = r.choice(conns)
        if r.random() < 0.03:
            burst(world, r, conn, gen)
        elif not world.do(conn, *gen.command()) and checks.failed > 5:
            break
    for conn in conns:
        conn.close()


def scan_pairs(c, key, count):
    found, cursor = {}, b"0"
    while True:
        cursor, page = c.call("HSCAN", key, cursor, "COUNT", str(count))
        found.update(zip(page[::2], page[1::2]))
        if cursor == b"0":
            return found


def compare_everything(world, r):
    conn = world.connect(r.choice((2, 3)), "all")
    world.do(conn, "DBSIZE")
    keys = scan_all(conn.theirs)
    checks.equal("%s: SCAN finds the same keys" % world.where, scan_all(conn.ours), keys)
    for key in sorted(keys):
        world.do(conn, "TYPE", key)
        world.do(conn, "PEXPIRETIME", key)
        if conn.theirs.call("TYPE", key) != "hash":
            continue
        for command in ("HGETALL", "HKEYS", "HVALS", "HLEN"):
            world.do(conn, command, key)
        whole = scan_pairs(conn.theirs, key, 1000)
        checks.equal("%s: HSCAN finds the same fields" % world.where, scan_pairs(conn.ours, key, r.choice((1, 7, 100))), whole)
        check_random(world, conn.ours, key, whole)
    conn.close()


def check_random(world, c, key, whole):
    """HRANDFIELD: fields that are there, different ones for a positive count."""
    for n in (1, 2, len(whole) // 2, len(whole) + 5):
        some = c.call("HRANDFIELD", key, str(n))
        checks.ok("%s: HRANDFIELD %d" % (world.where, n), len(set(some)) == len(some) == min(n, len(whole)) and set(some) <= set(whole), repr(some)[:300])
    many = c.call("HRANDFIELD", key, "-40", "WITHVALUES")
    pairs = many if many and isinstance(many[0], list) else list(zip(many[::2], many[1::2]))
    checks.ok("%s: HRANDFIELD -40" % world.where, len(pairs) == 40 and all(whole.get(f) == v for f, v in pairs), repr(pairs)[:300])


def main():
    number = seed()
    print("differential_hashes: SEED=%d" % number, flush=True)
    r = random.Random(number)
    world = World(checks)
    try:
        run_scripts(world)
        world.flush(world.connect(2, "f"))
        for i in range(scale(8)):
            random_round(world, r, 1500, i)
            if checks.failed > 5:
                break
            compare_everything(world, r)
            kill = r.random() < 0.5
            world.history.append("beckd is %s and started again" % ("killed" if kill else "stopped"))
            world.restart(kill, r.choice(["os", "interval", "always"]))
            world.where = "after restart %d" % i
            compare_everything(world, r)
            if r.random() < 0.3:
                world.flush(world.connect(2, "f"))
    finally:
        world.close()
    checks.finish()


main()
