"""Keys and transactions beside Debian's redis-server: random commands from three connections, the same bytes.

Each round flushes both servers, picks RESP2 or RESP3 for each connection, and runs random commands, the same
ones in the same order on both. Times that are left are compared within two seconds; lists of names as sets. A full
SCAN must show exactly what KEYS shows, whatever COUNT is. At the end Beck is killed and started again, and must
say the same about every key.
"""

import random

from beck import Checks, Server, scale, seed, short

checks = Checks("keys: keys, expiry and transactions beside redis-server")

KEYS = ["a", "b", "c", "d", "{tag}x", "", "with space", "\r\n\x00"]
BAD = ["abc", "1.5", "", "9" * 30, " 1", "+1", "01", "-0"]
TIMED = {"TTL": 2, "PTTL": 2000, "EXPIRETIME": 2, "PEXPIRETIME": 2000}


def key(r):
    return r.choice(KEYS)


def keys(r, most=3):
    return [key(r) for _ in range(r.randint(1, most))]


def when(r, name):
    """An argument of the EXPIRE family: far enough apart that milliseconds do not matter."""
    if r.random() < 0.1:
        return r.choice(BAD + ["9223372036854775807", "-9223372036854775808", "9223372036854775", "-1", "0"])
    seconds = r.randint(1000, 1000000) + (4102444800 if name.endswith("AT") else 0)
    return seconds * 1000 if name.startswith("P") else seconds


def expire(r):
    name = r.choice(["EXPIRE", "PEXPIRE", "EXPIREAT", "PEXPIREAT"])
    options = r.choices(["NX", "XX", "GT", "LT", "nx", "gT", "FOO"], [5, 5, 5, 5, 1, 1, 1], k=r.choice([0, 0, 1, 1, 2]))
    return [name, key(r), when(r, name)] + options


def scan(r):
    args = ["SCAN", r.choice(["0", "0", "0", "", "abc", "-", "1x", "9" * 25])]
    if args[1] in ("0", ""):
        args += ["COUNT", "1000"]
    for option in r.choices([["MATCH", "*"], ["MATCH", "[ab]"], ["TYPE", "stream"], ["TYPE", "hash"], ["COUNT", "0"],
                             ["COUNT", "x"], ["MATCH"], ["FOO", "1"]], k=r.choice([0, 0, 1, 2])):
        args += option
    return args


def command(r, number):
    """A random command; `number` makes IDs grow."""
    return r.choice([
        lambda: ["XADD", key(r), "%d-%d" % (number, r.randint(0, 2)), "f", "v"],
        lambda: ["XADD", key(r), "%d-%d" % (number, r.randint(0, 2)), "f", "v"],
        lambda: ["XADD", key(r), "%d-1" % r.randint(0, number), "f", "v"],
        lambda: ["XLEN", key(r)],
        lambda: ["XTRIM", key(r), "MAXLEN", r.randint(0, 2)],
        lambda: ["XDEL", key(r), "%d-1" % r.randint(1, number)],
        lambda: [r.choice(["DEL", "UNLINK"])] + keys(r),
        lambda: [r.choice(["EXISTS", "TOUCH"])] + keys(r),
        lambda: ["TYPE", key(r)],
        lambda: ["RENAME", key(r), key(r)],
        lambda: ["RENAMENX", key(r), key(r)],
        lambda: expire(r),
        lambda: expire(r),
        lambda: [r.choice(list(TIMED)), key(r)],
        lambda: [r.choice(list(TIMED)), key(r)],
        lambda: ["PERSIST", key(r)],
        lambda: ["KEYS", r.choice(["*", "?", "[a-c]", "{*", "\\a", "[^a]", ""])],
        lambda: scan(r),
        lambda: ["DBSIZE"],
        lambda: ["SELECT", r.randint(0, 2)],
        lambda: ["MULTI"],
        lambda: ["EXEC"],
        lambda: ["EXEC"],
        lambda: ["DISCARD"] if r.random() < 0.3 else ["EXEC"],
        lambda: ["WATCH"] + keys(r),
        lambda: ["UNWATCH"],
        lambda: ["FLUSHDB"] if r.random() < 0.2 else ["PING"],
        lambda: ["FLUSHALL"] if r.random() < 0.1 else ["PING"],
        lambda: [r.choice(["RENAME", "TTL", "DEL", "EXPIRE", "WATCH", "MULTI", "EXEC", "PERSIST", "SCAN", "NOSUCH"])]
        + [key(r)] * r.choice([0, 3, 4]),
    ])()


def alike(name, ours, theirs):
    """Whether two replies, as values, are as equal as they can be."""
    if isinstance(ours, list) and isinstance(theirs, list) and name == "EXEC":
        return len(ours) == len(theirs) and all(alike(None, a, b) for a, b in zip(ours, theirs))
    if name in TIMED or name is None:
        if type(ours) is int and type(theirs) is int and ours > 500 and theirs > 500:
            return abs(ours - theirs) <= (2000 if ours > 3600000 else TIMED.get(name, 2000))
    if isinstance(ours, list) and isinstance(theirs, list) and name in ("KEYS", "SCAN", None):
        return len(ours) == len(theirs) and sorted(map(repr, flat(ours))) == sorted(map(repr, flat(theirs)))
    return ours == theirs


def flat(value):
    return [x for v in value for x in flat(v)] if isinstance(value, list) else [value]


def full_scan(c, count):
    seen, cursor = [], b"0"
    while True:
        cursor, names = c.call("SCAN", cursor, "COUNT", count)
        seen += names
        if cursor == b"0":
            return seen


def one_round(r, beck, redis, n):
    """Runs n commands; the first difference, or None."""
    protos = [r.choice([2, 3]) for _ in range(3)]
    ours, theirs = [beck.connect(p) for p in protos], [redis.connect(p) for p in protos]
    ours[0].call("FLUSHALL"), theirs[0].call("FLUSHALL")
    done = []
    try:
        for number in range(1, n + 1):
            who, args = r.randrange(3), command(r, number)
            done.append((who, args))
            ours[who].send(*args)
            raw, a = ours[who].read_both()
            theirs[who].send(*args)
            want, b = theirs[who].read_both()
            name = args[0].upper()
            exact = name not in TIMED and name not in ("KEYS", "SCAN", "EXEC")
            if raw != want if exact else not alike(name, a, b):
                return "%s after %s: %s, redis says %s" % (args, done[-12:], short(raw), short(want))
        return compare_all(r, ours, theirs)
    finally:
        for c in ours + theirs:
            c.close()


def compare_all(r, ours, theirs):
    """Every database: names, by KEYS and by SCAN, and what each key holds."""
    for c in (ours[0], theirs[0]):
        c.call("DISCARD")
    for db in range(3):
        ours[0].call("SELECT", db), theirs[0].call("SELECT", db)
        names = sorted(theirs[0].call("KEYS", "*"))
        if sorted(ours[0].call("KEYS", "*")) != names:
            return "KEYS * differs in database %d" % db
        if sorted(set(full_scan(ours[0], r.randint(1, 5)))) != names:
            return "SCAN does not show what KEYS shows in database %d" % db
        for name in names:
            for args in (["XRANGE", name, "-", "+"], ["TTL", name]):
                if not alike(args[0], ours[0].call(*args), theirs[0].call(*args)):
                    return "%s differs in database %d" % (args, db)
    return None


def everything(c):
    """What one server says about all keys."""
    out = []
    for db in range(3):
        c.call("SELECT", db)
        for name in sorted(c.call("KEYS", "*")):
            out.append((db, name, c.call("XRANGE", name, "-", "+"), c.call("PEXPIRETIME", name)))
    return out


def main():
    number = seed()
    r = random.Random(number)
    print("SEED=%d" % number)
    with Server() as beck, Server("redis") as redis:
        for i in range(scale(40)):
            checks.equal("round %d" % i, one_round(r, beck, redis, 300), None)
        with beck.connect() as c:
            before, digest = everything(c), c.call("BECK", "DIGEST")[1]
        beck.restart(kill=True)
        with beck.connect() as c:
            checks.equal("everything is the same after a kill", everything(c), before)
            checks.equal("and so is the digest", c.call("BECK", "DIGEST")[1], digest)
    checks.finish()


main()
