"""Lists: the same commands to beckd and to Debian's redis-server, and the same bytes come back.

Scripts first, then random commands in RESP2 and RESP3 over short lists and long ones, with transactions and WATCH. Between rounds
beckd is stopped or killed and started again, which must not show; then every list is compared as a whole. Then several
clients wait for lists at a time, and others push, move, rename and delete them, alone and inside MULTI: after each command the same
clients have the same replies. Nothing waits for time: who still waits is what the servers say. SEED replays a run, SCALE makes it
longer. What is later than Redis 7.0 is claimed in tests/test_lists.c.
"""

import random

from beck import Checks, scale, seed, wait_until
from differ import World, scan_all

checks = Checks("differential_lists")

SCRIPTS = r"""
LPUSH l; LPUSH l a b c; RPUSH l d e; LRANGE l 0 -1; LPUSHX none a; RPUSHX none a; LPUSHX l z y; RPUSHX l q; LRANGE l 0 -1; LLEN l; LLEN none; LPUSH; RPUSH l; LPUSHX l; LLEN; LLEN l x
LPOP none; RPOP none; LPOP none 0; LPOP none 3; RPUSH l a b c d e f; LPOP l; RPOP l; LPOP l 0; LPOP l 2; RPOP l 1; LPOP l x; LPOP l -1; RPOP l ""; LPOP l 9223372036854775808; LPOP l 1 2; LPOP; RPOP l 99; EXISTS l; RPUSH l a; LPOP l; EXISTS l; TYPE l; LPOP l 0
RPUSH l a b c d; LRANGE l 0 0; LRANGE l -1 -1; LRANGE l -100 100; LRANGE l 2 1; LRANGE l 4 10; LRANGE l x 1; LRANGE l 0 x; LRANGE none 0 -1; LRANGE l 0; LRANGE l -9223372036854775808 9223372036854775807; LRANGE l 1 -2; LRANGE l -3 2; LRANGE l 0 -5
RPUSH l a b c; LINDEX l 0; LINDEX l -1; LINDEX l 3; LINDEX l -4; LINDEX l x; LINDEX none 0; LINDEX none x; LSET l 0 A; LSET l -1 C; LSET l 3 x; LSET l -4 x; LSET l x v; LSET none 0 v; LSET none x v; LRANGE l 0 -1; LSET l 1; LINDEX l; LINDEX l -9223372036854775808; LSET l 9223372036854775807 x; LSET l 1 ""; LRANGE l 0 -1
RPUSH l a b a c a; LREM l 1 a; LRANGE l 0 -1; LREM l -1 a; LRANGE l 0 -1; LREM l 0 a; LRANGE l 0 -1; LREM l 0 x; LREM l x a; LREM none 0 a; LREM none x a; LREM l 0 b; LREM l 0 c; EXISTS l; RPUSH l a a a a; LREM l -9223372036854775807 a; EXISTS l; RPUSH l a b a b a; LREM l 2 b; LRANGE l 0 -1; LREM l -2 a; LRANGE l 0 -1; LREM l
RPUSH l a b c d e f; LTRIM l 1 -2; LRANGE l 0 -1; LTRIM l 0 -1; LTRIM l 0 100; LTRIM l -2 -1; LRANGE l 0 -1; LTRIM l 5 10; EXISTS l; LTRIM none 0 1; RPUSH l a b c; LTRIM l 2 1; EXISTS l; RPUSH l a b c; LTRIM l x 1; LTRIM l 0 x; LTRIM l -100 0; LRANGE l 0 -1; LTRIM l -9223372036854775808 9223372036854775807; LTRIM l 0 -5; EXISTS l; LTRIM l 0
RPUSH l a b c; LINSERT l BEFORE b X; LINSERT l after b Y; LRANGE l 0 -1; LINSERT l before a 0; LINSERT l AFTER c Z; LRANGE l 0 -1; LINSERT l before nope x; LINSERT l FOO a b; LINSERT none before a b; LINSERT none FOO a b; LINSERT l before a; LREM l 1 b; LINSERT l after X B; LRANGE l 0 -1; LINSERT l before X 1; LINSERT l before X 2; LINSERT l after X 3; LINSERT l after X 4; LRANGE l 0 -1; LPUSH l x; LINSERT l after x y; LRANGE l 0 -1
RPUSH l a b c a b c a; LPOS l a; LPOS l a RANK 2; LPOS l a RANK -1; LPOS l a RANK -2; LPOS l a RANK 4; LPOS l a COUNT 0; LPOS l a COUNT 2; LPOS l a COUNT 1; LPOS l x; LPOS l x COUNT 1; LPOS l a COUNT 0 RANK -1; LPOS l a COUNT 2 RANK 2; LPOS l a COUNT 0 MAXLEN 3; LPOS l a MAXLEN 0 COUNT 0; LPOS l c MAXLEN 2; LPOS l a RANK -1 MAXLEN 1; LPOS l b RANK -1 MAXLEN 2
RPUSH l a; LPOS l a RANK 0; LPOS l a RANK x; LPOS l a RANK; LPOS l a FOO 1; LPOS l a COUNT -1; LPOS l a COUNT x; LPOS l a MAXLEN -1; LPOS l a MAXLEN x; LPOS none a; LPOS none a COUNT 0; LPOS none a RANK 0; LPOS l a RANK -9223372036854775807; LPOS l a RANK 9223372036854775807; LPOS l; LPOS l a count 1 Rank 1 maxlen 1; LPOS l a COUNT 1 COUNT 2 FOO; LPOS l a RANK 1 RANK 2
RPUSH l a b c; LMOVE l m LEFT RIGHT; LMOVE l m right left; LRANGE m 0 -1; LMOVE l l LEFT RIGHT; LMOVE m m RIGHT LEFT; LRANGE m 0 -1; LMOVE m m LEFT LEFT; LMOVE m m RIGHT RIGHT; LRANGE m 0 -1; LMOVE l m LEFT FOO; LMOVE l m FOO LEFT; LMOVE none m LEFT LEFT; LMOVE none none LEFT LEFT; LMOVE l m LEFT; RPOPLPUSH l m; EXISTS l; LRANGE m 0 -1; RPOPLPUSH m m; LRANGE m 0 -1; RPOPLPUSH none m; RPOPLPUSH m; EXISTS none
RPUSH l a; RPOPLPUSH l l; LRANGE l 0 -1; XADD s 1-1 f v; RPOPLPUSH l s; LMOVE l s LEFT LEFT; LRANGE l 0 -1; RPOPLPUSH s l; LMOVE none s LEFT LEFT; LMOVE s none LEFT LEFT; XLEN s; LPUSH s a; RPUSH s a; LPUSHX s a; LPOP s; LPOP s 0; LPOP s x; LLEN s; LRANGE s 0 -1; LRANGE s x 1; LREM s 0 a; LREM s x a; LTRIM s 0 1; LINDEX s 0; LINDEX s x; LSET s 0 a; LSET s x a; LINSERT s before a b; LINSERT s FOO a b; LPOS s a; LPOS s a RANK 0; LMPOP 1 s LEFT; BLPOP s 1; BLPOP none s l 1; BLMPOP 1 2 none s LEFT; BLMOVE s l LEFT LEFT 1; BLMOVE l s LEFT LEFT 1; BRPOPLPUSH l s 1
RPUSH l a b c d; RPUSH m x y; LMPOP 1 l LEFT; LMPOP 2 none l RIGHT; LMPOP 2 none m LEFT COUNT 5; LMPOP 2 none m LEFT; LMPOP 0 l LEFT; LMPOP -1 l LEFT; LMPOP x l LEFT; LMPOP 1 l FOO; LMPOP 2 l LEFT; LMPOP 3 l LEFT; LMPOP 1 l LEFT COUNT 0; LMPOP 1 l LEFT COUNT x; LMPOP 1 l LEFT COUNT 1 COUNT 1; LMPOP 1 l LEFT FOO 1; LMPOP 1 l LEFT COUNT; LMPOP 1 l; LMPOP 9223372036854775807 l LEFT; LMPOP 1 l LEFT COUNT 0 x; LMPOP 1 l right count 9223372036854775807; EXISTS l
RPUSH l a b c d e; BLPOP l 0; BRPOP none l 0; BLMOVE l m LEFT LEFT 0; BRPOPLPUSH l m 0; BLMPOP 0 2 none l LEFT COUNT 5; BLPOP m m 0; LRANGE m 0 -1; BLPOP m x; BLPOP m -1; BLPOP m nan; BLPOP m ""; BLPOP m; BLPOP; BLMOVE l m LEFT LEFT x; BLMOVE l m FOO LEFT x; BLMOVE l m LEFT LEFT -1; BRPOPLPUSH l m x; BRPOPLPUSH l m -1; BLMPOP x 1 l LEFT; BLMPOP -1 1 l LEFT; BLMPOP 0 0 l LEFT; BLMPOP 0 x l LEFT; BLMPOP 0 1 l FOO; BLMPOP 0 1 l LEFT COUNT 0; BLMPOP 0 2 l LEFT; BLMPOP x 0 l LEFT; BLMPOP x 1 l LEFT COUNT 0; BLMPOP x 1 l FOO; BLMOVE l m LEFT LEFT; BLPOP m 0x1
BLPOP none 0.001; BRPOP none 0.001; BLMOVE none m LEFT LEFT 0.001; BRPOPLPUSH none m 0.001; BLMPOP 0.001 1 none LEFT; BLPOP none 1e-3; XADD s 1-1 f v; BLMOVE none s LEFT LEFT 0.001
MULTI; BLPOP none 0; BRPOP none 0; BLMOVE none m LEFT LEFT 0; BRPOPLPUSH none m 0; BLMPOP 0 1 none LEFT; RPUSH l a; BLPOP none l 0; LPUSH l b; BRPOPLPUSH l m 0; EXEC; LRANGE m 0 -1; MULTI; BLPOP l x; EXEC
RPUSH l a b; WATCH l; LTRIM l 0 -1; MULTI; PING; EXEC; WATCH l; LPOP l 0; LREM l 0 x; LPUSHX none x; LINSERT l before x y; LRANGE l 0 -1; MULTI; PING; EXEC; WATCH l; LSET l 0 a; MULTI; PING; EXEC; WATCH l; LMOVE l l LEFT LEFT; MULTI; PING; EXEC; WATCH l m; LMOVE l m LEFT LEFT; MULTI; PING; EXEC; WATCH m; LMOVE l m LEFT LEFT; MULTI; PING; EXEC; WATCH l; BLPOP none l 0.001; MULTI; PING; EXEC; WATCH m; BLPOP m 0; MULTI; PING; EXEC
RPUSH l a b c; EXPIRE l 100; LPUSH l x; TTL l; LPOP l; TTL l; RENAME l m; TTL m; LRANGE m 0 -1; COPY m l; LPUSH m 9; LRANGE l 0 -1; PEXPIREAT l 1; LLEN l; RPUSH l z; LRANGE l 0 -1; TTL l; OBJECT ENCODING none; COMMAND GETKEYS LMPOP 2 a b LEFT; COMMAND GETKEYS BLMPOP 0 2 a b LEFT; COMMAND GETKEYS LMPOP 0 a b LEFT; COMMAND GETKEYS LMPOP 9 a b LEFT; COMMAND GETKEYS BLPOP a b 0; COMMAND GETKEYS LMOVE a b LEFT LEFT; COMMAND GETKEYS BLMPOP 0 x a b LEFT; SCAN 0 TYPE list
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
    KEYS = ["a", "b", "c", "long", "", "k\r\n\0\xff"]
    VALUES = ["x", "y", "z", "", "1", "-17", "12345678901234567890", "a b", "\xe9\0", "v" * 70]

    def __init__(self, r):
        self.r = r

    def key(self):
        return self.r.choice(self.KEYS[:4] if self.r.random() < 0.92 else self.KEYS)

    def value(self):
        kind = self.r.random()
        if kind < 0.6:
            return self.r.choice(self.VALUES)
        return self.r.randbytes(self.r.choice([0, 1, 4, 12, 40, 130]) if kind < 0.99 else self.r.choice([4096, 9000, 70000]))

    def values(self):
        n = self.r.choice([1, 1, 2, 3, 5]) if self.r.random() < 0.97 else self.r.choice([50, 600])
        return [self.value() for _ in range(n)]

    def index(self):
        kind = self.r.random()
        if kind < 0.9:
            return str(self.r.randint(-8, 8) if kind < 0.6 else self.r.randint(-300, 300))
        return self.r.choice(["x", "", "1.5", "9223372036854775807", "-9223372036854775808", "99999999999999999999"])

    def side(self):
        return self.r.choice(["LEFT", "RIGHT", "left", "Right"] * 8 + ["FOO"])

    def count(self):
        return self.r.choice(["0", "1", "2", "5", "1000", "-1", "x"])

    def lpos(self):
        out = ["LPOS", self.key(), self.value()]
        for word in ("RANK", "COUNT", "MAXLEN"):
            if self.r.random() < 0.4:
                out += [word, self.r.choice(["0", "1", "2", "-1", "-2", "30", "x"])]
        return out

    def lmpop(self):
        keys = [self.key() for _ in range(self.r.choice([1, 2, 3]))]
        n = str(len(keys)) if self.r.random() < 0.95 else self.count()
        return ["LMPOP", n] + keys + [self.side()] + (["COUNT", self.count()] if self.r.random() < 0.5 else [])

    def blocking(self):
        """Which finds something, or is over at once inside MULTI, or after a millisecond."""
        k, k2 = self.key(), self.key()
        t = self.r.choice(["0.001", "0.001", "1e-3", "-1", "x"])
        return self.r.choice([
            ["BLPOP", k, k2, t], ["BRPOP", k, t], ["BLMOVE", k, k2, self.side(), self.side(), t], ["BRPOPLPUSH", k, k2, t],
            ["BLMPOP", t, "2", k, k2, self.side(), "COUNT", "2"],
        ])

    def generic(self):
        k, k2 = self.key(), self.key()
        return self.r.choice([
            ["DEL", k] if self.r.random() < 0.4 else ["EXISTS", k, k2], ["TYPE", k], ["RENAME", k, k2], ["RENAMENX", k, k2], ["TTL", k], ["PERSIST", k],
            ["EXPIRE", k, "1000"], ["PEXPIREAT", k, self.r.choice(["1", "99999999999999"])], ["DBSIZE"], ["KEYS", "*"], ["COPY", k, k2],
            ["SET", k, "v"] if self.r.random() < 0.1 else ["EXISTS", k], ["HSET", k, "f", "v"] if self.r.random() < 0.1 else ["LLEN", k], ["WATCH", k], ["UNWATCH"],
        ])

    def command(self):
        k, k2 = self.key(), self.key()
        return self.r.choice([
            lambda: ["LPUSH", k] + self.values(), lambda: ["RPUSH", k] + self.values(), lambda: ["LPUSH", k] + self.values(), lambda: ["RPUSH", k] + self.values(),
            lambda: ["LPUSHX", k] + self.values(), lambda: ["RPUSHX", k] + self.values(),
            lambda: [self.r.choice(["LPOP", "RPOP"]), k], lambda: [self.r.choice(["LPOP", "RPOP"]), k, self.count()],
            lambda: ["LLEN", k], lambda: ["LRANGE", k, self.index(), self.index()], lambda: ["LRANGE", k, "0", "-1"], lambda: ["LINDEX", k, self.index()],
            lambda: ["LSET", k, self.index(), self.value()], lambda: ["LREM", k, self.index(), self.value()],
            lambda: ["LTRIM", k, self.index(), self.index()] if self.r.random() < 0.4 else ["LTRIM", k, "1", "-2"],
            lambda: ["LINSERT", k, self.r.choice(["BEFORE", "AFTER", "after", "FOO"]), self.value(), self.value()],
            lambda: ["LINSERT", k, self.r.choice(["BEFORE", "AFTER"]), self.value(), self.value()],
            lambda: ["LMOVE", k, k2, self.side(), self.side()], lambda: ["RPOPLPUSH", k, k2], self.lpos, self.lmpop, self.generic,
        ])()


def burst(world, r, conn, gen):
    if r.random() < 0.5:
        world.do(conn, "WATCH", gen.key(), gen.key())
    world.do(conn, "MULTI")
    for _ in range(r.randint(1, 8)):
        world.do(conn, *(gen.blocking() if r.random() < 0.2 else gen.command()))
    world.do(conn, r.choice(["EXEC", "EXEC", "EXEC", "DISCARD"]))


def random_round(world, r, n, number):
    gen = Random(r)
    conns = [world.connect(proto, "c%d" % i) for i, proto in enumerate((2, 3))]
    world.where = "round %d" % number
    for _ in range(n):
        conn = r.choice(conns)
        if r.random() < 0.03:
            burst(world, r, conn, gen)
        elif not world.do(conn, *(gen.blocking() if r.random() < 0.02 else gen.command())) and checks.failed > 5:
            break
    for conn in conns:
        conn.close()


def compare_everything(world, r):
    conn = world.connect(r.choice((2, 3)), "all")
    world.do(conn, "DBSIZE")
    keys = scan_all(conn.theirs)
    checks.equal("%s: SCAN finds the same keys" % world.where, scan_all(conn.ours), keys)
    for key in sorted(keys):
        world.do(conn, "TYPE", key)
        world.do(conn, "PEXPIRETIME", key)
        if conn.theirs.call("TYPE", key) == "list":
            world.do(conn, "LLEN", key)
            world.do(conn, "LRANGE", key, "0", "-1")
    conn.close()


# ---- several clients that wait ----


class Waiter:
    def __init__(self, world, r, number):
        self.conn = world.connect(r.choice((2, 3)), "w%d" % number)
        self.ids = [c.call("CLIENT", "ID") for c in (self.conn.ours, self.conn.theirs)]
        self.waits = None

    def sides(self):
        return (self.conn.ours, self.conn.theirs)


def n_waiting(admin):
    """How many clients wait, on each server."""
    out = []
    for c in admin:
        lines = c.call("INFO", "clients").split(b"\r\n")
        out.append(int([line for line in lines if line.startswith(b"blocked_clients:")][0].split(b":")[1]))
    return out


def waiting_command(r):
    keys = r.sample(["a", "b", "c"], r.choice([1, 1, 2, 3]))
    side, other = r.choice(["LEFT", "RIGHT"]), r.choice(["LEFT", "RIGHT"])
    return r.choice([
        ["BLPOP"] + keys + ["0"], ["BRPOP"] + keys + ["0"], ["BLMOVE", keys[0], r.choice(["a", "b", "c", "d"]), side, other, "0"],
        ["BRPOPLPUSH", keys[0], r.choice(["a", "b", "d"]), "0"], ["BLMPOP", "0", str(len(keys))] + keys + [side, "COUNT", str(r.randint(1, 3))],
    ])


def filling_command(r):
    k, k2 = r.choice("abcd"), r.choice("abcd")
    return r.choice([
        ["LPUSH", k] + ["v%d" % r.randrange(99) for _ in range(r.randint(1, 4))], ["RPUSH", k] + ["v%d" % r.randrange(99) for _ in range(r.randint(1, 4))],
        ["RPUSH", k, "one"], ["LMOVE", k, k2, "LEFT", "RIGHT"], ["RPOPLPUSH", k, k2], ["RENAME", k, k2], ["COPY", k, k2, "REPLACE"], ["DEL", k], ["LPOP", k],
        ["SET", k, "v"], ["XADD", k, "1-1", "f", "v"], ["HSET", k, "f", "v"], ["EXPIRE", k, "0"], ["LINSERT", k, "BEFORE", "one", "x"], ["LTRIM", k, "1", "0"],
    ])


def settle(world, admin, waiters, args):
    """The replies of who was served; the same ones on both sides."""
    left = n_waiting(admin)
    served = []
    for side in (0, 1):
        before = [w for w in waiters if w.waits]
        wait_until(lambda side=side, before=before: sum(not w.sides()[side].silent() for w in before) >= len(before) - left[side], "the replies of who was served")
        served.append([w for w in before if not w.sides()[side].silent()])
    if served[0] != served[1]:
        world.report(waiters[0].conn, args, repr([w.conn.name for w in served[0]]).encode(), repr([w.conn.name for w in served[1]]).encode(), None)
        return False
    for w in served[0]:
        ours, theirs = w.conn.ours.read_raw(), w.conn.theirs.read_raw()
        if ours != theirs:
            world.report(w.conn, w.waits, ours, theirs, None)
            return False
        w.waits = None
        checks.passed += 1
    return True


def do_and_settle(world, r, admin, writer, waiters):
    if r.random() < 0.25:
        world.do(writer, "MULTI")
        for _ in range(r.randint(1, 5)):
            world.do(writer, *filling_command(r))
        args = ("EXEC",)
    else:
        args = filling_command(r)
    return world.do(writer, *args) and settle(world, admin, waiters, args)


def unblock_all(world, admin, waiters, how):
    for w in waiters:
        for side, c in enumerate(admin):
            if w.waits:
                c.call("CLIENT", "UNBLOCK", w.ids[side], how)
    return settle(world, admin, waiters, ("CLIENT", "UNBLOCK"))


def waiting_round(world, r, n):
    world.where = "waiting"
    writer = world.connect(2, "writer")
    admin = [world.beckd.connect(), world.redis.connect()]
    world.flush(writer)
    waiters = [Waiter(world, r, i) for i in range(6)]
    for _ in range(n):
        idle = [w for w in waiters if not w.waits]
        if idle and r.random() < 0.5:
            w = r.choice(idle)
            w.waits = waiting_command(r)
            before = n_waiting(admin)
            w.conn.send(*w.waits)
            for side, c in enumerate(w.sides()):
                wait_until(lambda side=side, c=c: not c.silent() or n_waiting(admin)[side] > before[side], "a client to wait or to be served")
            going = settle(world, admin, waiters, w.waits)
        else:
            going = do_and_settle(world, r, admin, writer, waiters)
        if not going:
            break
    else:
        unblock_all(world, admin, waiters, r.choice(["TIMEOUT", "ERROR"]))
        compare_everything(world, r)
    for c in admin + [writer] + [w.conn for w in waiters]:
        c.close()


def main():
    number = seed()
    print("differential_lists: SEED=%d" % number, flush=True)
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
            waiting_round(world, r, 150)
            world.flush(world.connect(2, "f"))
    finally:
        world.close()
    checks.finish()


main()
