"""Consumer groups as a client sees them: every option and every error, in RESP2 and RESP3.

What Debian's redis-server has is compared with it byte for byte; what came later, with what the documentation and the tests of
Redis 8 say; what is Beck's own, with what it promises.
"""

import sys

sys.path.insert(0, __file__.rsplit("/", 2)[0] + "/lib")

from beck import Checks, Error, Pair, Server, Simple  # noqa: E402

checks = Checks("groups")
OK = Simple("OK")
MAX_ID = b"18446744073709551615-18446744073709551615"


def as_dict(reply):
    """A map's pairs, in RESP2 and RESP3, by name; the order is checked elsewhere."""
    flat = list(reply)
    return dict(flat) if flat and isinstance(flat[0], tuple) else dict(zip(flat[::2], flat[1::2]))


def names(reply):
    flat = list(reply)
    return [n for n, _ in flat] if flat and isinstance(flat[0], tuple) else flat[::2]


# ---- beside Redis ----


def xgroup_like_redis(pair):
    pair.all_same("""
        XGROUP
        XGROUP FOO
        XGROUP CREATE
        XGROUP CREATE s g
        XGROUP CREATE s g $
        XGROUP CREATE s g $ FOO
        XGROUP CREATE s g x MKSTREAM
        EXISTS s
        XGROUP CREATE s g $ MKSTREAM ENTRIESREAD
        XGROUP CREATE s g $ MKSTREAM ENTRIESREAD x
        XGROUP CREATE s g $ MKSTREAM ENTRIESREAD -2
        XGROUP CREATE s g $ MKSTREAM ENTRIESREAD 99999999999999999999
        XGROUP CREATE s g $ MKSTREAM
        XGROUP CREATE s g $ MKSTREAM
        XGROUP CREATE s g (1 MKSTREAM
        XINFO GROUPS s
        XLEN s
        XADD s 1-1 f v
        XADD s 2-1 f v
        XADD s 2-2 f v
        XADD s 5-1 f v
        XGROUP CREATE s - -
        XGROUP CREATE s + +
        XGROUP CREATE s 0 0
        XGROUP CREATE s two 2
        XGROUP CREATE s two1 2-1 ENTRIESREAD 2
        XGROUP CREATE s end $ mkstream entriesread 4
        XGROUP CREATE s far 99-1
        XINFO GROUPS s
        XGROUP SETID
        XGROUP SETID s g
        XGROUP SETID s nope 0
        XGROUP SETID nokey g 0
        XGROUP SETID s g 0 MKSTREAM
        XGROUP SETID s g 0 ENTRIESREAD
        XGROUP SETID s g 0 ENTRIESREAD x
        XGROUP SETID s g 0 ENTRIESREAD -2
        XGROUP SETID s g bad
        XGROUP SETID s g -
        XINFO GROUPS s
        XGROUP SETID s g +
        XINFO GROUPS s
        XGROUP SETID s g $ ENTRIESREAD -1
        XGROUP SETID s g 1-1 ENTRIESREAD 1
        XINFO GROUPS s
        XGROUP CREATECONSUMER s g
        XGROUP CREATECONSUMER s g c
        XGROUP CREATECONSUMER s g c
        XGROUP CREATECONSUMER s nope c
        XGROUP CREATECONSUMER nokey g c
        XGROUP DELCONSUMER s g
        XGROUP DELCONSUMER s nope c
        XGROUP DELCONSUMER nokey g c
        XGROUP DELCONSUMER s g nobody
        XINFO GROUPS s
        XGROUP DELCONSUMER s g c
        XINFO CONSUMERS s g
        XINFO CONSUMERS s nope
        XINFO CONSUMERS nokey g
        XINFO GROUPS nokey
        XGROUP DESTROY
        XGROUP DESTROY s nope
        XGROUP DESTROY nokey g
        XGROUP DESTROY s g
        XGROUP DESTROY s g
        XINFO GROUPS s
    """)


def bytes_in_names_like_redis(pair):
    pair.same("XADD", "s", "1-1", "f", "v")
    for name in (b"", b"\x00\xff\r\n", b"x" * 3000):
        pair.same("XGROUP", "CREATE", "s", name, "0")
        pair.same("XGROUP", "CREATECONSUMER", "s", name, name)
        pair.same("XINFO", "GROUPS", "s")
        pair.same("XPENDING", "s", name)
        pair.same("XGROUP", "DESTROY", "s", name)


def xpending_like_redis(pair):
    pair.all_same("""
        XADD s 1-1 f v
        XGROUP CREATE s g 0
        XPENDING
        XPENDING s
        XPENDING nokey g
        XPENDING s nope
        XPENDING s g
        XPENDING s g -
        XPENDING s g - +
        XPENDING s g - + x
        XPENDING s g - + -1
        XPENDING s g - + 10
        XPENDING s g - + 99999999999999999999
        XPENDING s g x + 10
        XPENDING s g - x 10
        XPENDING s g ( + 10
        XPENDING s g (18446744073709551615-18446744073709551615 + 10
        XPENDING s g - (0-0 10
        XPENDING s g (1 (2 10
        XPENDING s g - + 10 c
        XPENDING s g - + 10 c more
        XPENDING s g - + 10 c more still
        XPENDING s g - + 10 c more still more
        XPENDING s g IDLE 5 - +
        XPENDING s g IDLE 5 - + 10
        XPENDING s g IDLE x - + 10
        XPENDING s g IDLE -5 - + 10
        XPENDING s g IDLE 5 - + 10 c
        XPENDING s g IDLE 5 - + 10 c more
        XPENDING nokey g - + x
        XPENDING nokey g - + 10
        XPENDING nokey g IDLE 5 - + 10 c
    """)


def keys_like_redis(pair):
    pair.all_same("""
        XADD s 1-1 f v
        XGROUP CREATE s g 0
        COMMAND GETKEYS XGROUP CREATE s g 0
        COMMAND GETKEYS XGROUP DELCONSUMER s g c
        COMMAND GETKEYS XPENDING s g - + 1
    """)


def transactions_like_redis(pair):
    pair.all_same("""
        MULTI
        XGROUP CREATE t g 0 MKSTREAM
        XADD t 1-1 f v
        XADD t 2-1 f v
        XGROUP SETID t g 1-1 ENTRIESREAD 1
        XINFO GROUPS t
        XGROUP CREATECONSUMER t g c
        XGROUP DELCONSUMER t g c
        XPENDING t g
        XGROUP DESTROY t g
        XGROUP SETID t g 0
        EXEC
        XINFO GROUPS t
        WATCH t
    """)
    # a group is no change of the key that WATCH sees
    for c in (pair.ours, pair.theirs):
        c.call("XGROUP", "CREATE", "t", "g", "0")
    pair.all_same("""
        MULTI
        XLEN t
        EXEC
        WATCH u
    """)
    # a stream that is made for it is one
    for c in (pair.ours, pair.theirs):
        c.call("XGROUP", "CREATE", "u", "g", "0", "MKSTREAM")
    pair.all_same("""
        MULTI
        XLEN u
        EXEC
    """)


def pending_like_redis(pair):
    for i in range(1, 21):
        pair.same("XADD", "s", "%d-1" % i, "n", i)
    pair.all_same("""
        XGROUP CREATE s g 0
        XREADGROUP GROUP g b COUNT 3 STREAMS s >
        XREADGROUP GROUP g a COUNT 5 STREAMS s >
        XREADGROUP GROUP g none COUNT 5 STREAMS s 0
        XPENDING s g
        XINFO GROUPS s
        XREADGROUP GROUP g b COUNT 2 NOACK STREAMS s >
        XINFO GROUPS s
        XPENDING s g
    """)
    for args in ("- + 100", "- + 2", "2 (5 10", "(2-1 + 3 a", "- + 10 b", "- + 10 none", "- + 10 nobody", "IDLE 0 - + 3", "IDLE 100000 - + 10",
                 "+ - 10", "9 + 10"):
        ours, theirs = (c.call("XPENDING", "s", "g", *args.split()) for c in (pair.ours, pair.theirs))
        checks.equal("RESP%d XPENDING s g %s" % (pair.proto, args), *[[[i, who, n] for i, who, _, n in rows] for rows in (ours, theirs)])
        checks.ok("... idle for a moment", all(0 <= idle < 30000 for _, _, idle, _ in ours), str(ours))
    pair.all_same("""
        XDEL s 2-1 20-1
        XGROUP SETID s g 4-1 ENTRIESREAD 4
        XPENDING s g
        XREADGROUP GROUP g c COUNT 3 STREAMS s >
        XPENDING s g
        XGROUP DELCONSUMER s g c
        XPENDING s g
        XGROUP DELCONSUMER s g b
        XGROUP DELCONSUMER s g a
        XPENDING s g
        XREADGROUP GROUP g a STREAMS s >
        XPENDING s g
        XGROUP DESTROY s g
        XPENDING s g
        XGROUP CREATE s g 0
        XPENDING s g
        XINFO CONSUMERS s g
    """)


def claims_like_redis(pair):
    """Acknowledging and claiming; idle times are left out, as the clocks of the two are not one."""
    pair.all_same("""
        XACK nokey g 1-1
        XACK nokey g x
        XCLAIM nokey g c 0 1-1
        XAUTOCLAIM nokey g c 0 0
    """)
    for i in range(1, 13):
        pair.same("XADD", "s", "%d-1" % i, "f", "v%d" % i, "g", "w")
    pair.all_same("""
        XGROUP CREATE s g 0
        XREADGROUP GROUP g c COUNT 10 STREAMS s >
        XACK s nope 1-1
        XACK s nope x
        XACK s g
        XACK s g x
        XACK s g 1-1 x
        XACK s g 1-1 -
        XACK s g 1-1 11-1 99 1-1
        XACK s g 1-1
        XPENDING s g
        XCLAIM s g
        XCLAIM s g d 0
        XCLAIM s nope d x y
        XCLAIM s g d x 2-1
        XCLAIM s g d 0 2-1 x
        XCLAIM s g d 0 2-1 (3
        XCLAIM s g d 0 2-1 IDLE
        XCLAIM s g d 0 2-1 IDLE x
        XCLAIM s g d 0 2-1 TIME x
        XCLAIM s g d 0 2-1 RETRYCOUNT x
        XCLAIM s g d 0 2-1 LASTID
        XCLAIM s g d 0 2-1 LASTID x
        XCLAIM s g d 0 2-1 FORCE JUSTID RETRYCOUNT 3 nonsense
        XCLAIM s g d 0 2-1
        XCLAIM s g d -1 2-1 3-1 JUSTID
        XCLAIM s g d 0 5-1 4-1 77-1 4-1
        XCLAIM s g d 0 4-1 justid idle 5000 retrycount 9
        XCLAIM s g d 99999999 4-1
        XCLAIM s g d 0 12-1
        XCLAIM s g d 0 12-1 FORCE JUSTID
        XCLAIM s g d 0 99-1 FORCE
        XPENDING s g
        XDEL s 5-1 6-1
        XCLAIM s g d 0 5-1 7-1
        XPENDING s g
        XCLAIM s g d 0 7-1 LASTID 11-1
        XREADGROUP GROUP g c STREAMS s >
        XAUTOCLAIM s g e
        XAUTOCLAIM s g e x 0
        XAUTOCLAIM s g e 0 x
        XAUTOCLAIM s g e 0 0 COUNT
        XAUTOCLAIM s g e 0 0 COUNT x
        XAUTOCLAIM s g e 0 0 COUNT 0
        XAUTOCLAIM s g e 0 0 COUNT -1
        XAUTOCLAIM s g e 0 0 FORCE
        XAUTOCLAIM s nope e 0 0
        XAUTOCLAIM s g e 0 - COUNT 2
        XAUTOCLAIM s g e 0 4-1 COUNT 2 JUSTID
        XAUTOCLAIM s g e 0 (8-1 JUSTID COUNT 1
        XAUTOCLAIM s g e 0 + JUSTID
        XAUTOCLAIM s g e 0 0
        XAUTOCLAIM s g e 99999999 0
        XAUTOCLAIM s g e 99999999 0 COUNT 1
        XPENDING s g
        XTRIM s MAXLEN 3
        XAUTOCLAIM s g e 0 0 COUNT 4
        XAUTOCLAIM s g e 0 0 JUSTID
        XPENDING s g
        MULTI
        XACK s g 12-1 10-1
        XCLAIM s g c 0 11-1 JUSTID FORCE
        XAUTOCLAIM s g c 0 0
        EXEC
        XPENDING s g
    """)


def acking_of_redis_8(c):
    for i in range(1, 7):
        c.call("XADD", "s", "%d-1" % i, "f", "v")
    for group in ("g", "h"):
        c.call("XGROUP", "CREATE", "s", group, "0")
        c.call("XREADGROUP", "GROUP", group, "c", "STREAMS", "s", ">")
    no_group = Error("NOGROUP No such key 's' or consumer group 'nope'")
    for args, want in (
        ("XNACK s nope x IDS 1 y", no_group),
        ("XNACK s g FAIL RETRYCOUNT 5", Error("ERR wrong number of arguments for 'xnack' command")),
        ("XNACK s g x IDS 1 1-1", Error("ERR mode must be SILENT, FAIL, or FATAL")),
        ("XNACK s g FAIL IDS 2 1-1", Error("ERR number of IDs doesn't match numids")),
        ("XNACK s g FAIL IDS 0 1-1", Error("ERR numids must be a positive integer")),
        ("XNACK s g FAIL IDS 1 1-1 FORCE 2-0", Error("ERR Unrecognized XNACK option '2-0'")),
        ("XNACK s g FAIL FORCE RETRYCOUNT 42 IDS 1 1-1", 1),
        ("XPENDING s g 1-1 1-1 1", [[b"1-1", b"", -1, 42]]),
        ("XNACK s g FATAL IDS 2 2-1 2-1", 2),
        ("XPENDING s g 2-1 2-1 1", [[b"2-1", b"", -1, 9223372036854775807]]),
        ("XNACK s g SILENT IDS 3 3-1 3-1 9-9", 2),
        ("XPENDING s g 3-1 3-1 1", [[b"3-1", b"", -1, 0]]),
        ("XCLAIM s g c 99999 3-1 JUSTID", [b"3-1"]),
        ("XAUTOCLAIM s g c 99999 0 COUNT 1", [b"2-1", [[b"1-1", [b"f", b"v"]]], []]),
        ("XACKDEL nokey g IDS 2 1-1 x", [-1, -1]),
        ("XACKDEL s nope IDS 1 1-1", [-1]),
        ("XACKDEL s g IDS 1 1-1 2-1", Error("ERR syntax error")),
        ("XACKDEL s g KEEPREF DELREF IDS 1 1-1", Error("ERR syntax error")),
        ("XACKDEL s g KEEPREF ACKED x", Error("ERR syntax error")),
        ("XACKDEL s g IDS 2 1-1", Error("ERR The `numids` parameter must match the number of arguments")),
        ("XACKDEL s g ACKED IDS 2 1-1 9-9", [2, -1]),
        ("XACKDEL s h ACKED IDS 1 1-1", [1]),
        ("XACKDEL s g DELREF IDS 1 2-1", [1]),
        ("XACKDEL s h IDS 1 2-1", [-1]),
        ("XDELEX s ACKED IDS 2 3-1 99-1", [2, 2]),
        ("XDELEX s DELREF IDS 2 3-1 1-1", [1, -1]),
        ("XLEN s", 3),
        ("XACK s g 4-1 5-1", 2),
        ("XACK s h 5-1 6-1", 2),
        ("XTRIM s MAXLEN 0 ACKED", 1),
        ("XRANGE s - + COUNT 1", [[b"4-1", [b"f", b"v"]]]),
        ("XADD s ACKED MAXLEN 1 7-1 f v", b"7-1"),
        ("XLEN s", 3),
        ("XTRIM s MAXLEN 1 DELREF", 2),
        ("XPENDING s g", [0, None, None, None]),
    ):
        checks.equal(args, c.call(*args.split()), want)
    c.call("XCFGSET", "s", "RETENTION-ACKED", "yes", "RETENTION-ACKED-MAX-AGE", "5000")
    told = as_dict(c.call("BECK", "STREAM", "s"))
    checks.equal("BECK STREAM tells of it", [told[b"retention-acked"], told[b"retention-acked-from"], told[b"retention-acked-max-age"]],
                 [b"yes", b"stream", 5000])


# ---- Redis 8 ----


def shapes_of_redis_8(c):
    c.call("XGROUP", "CREATE", "s", "g", "0", "MKSTREAM")
    c.call("XADD", "s", "1-1", "f", "v")
    c.call("XGROUP", "CREATECONSUMER", "s", "g", "c")
    checks.equal("XINFO GROUPS has its fields", names(c.call("XINFO", "GROUPS", "s")[0]),
                 [b"name", b"consumers", b"pending", b"last-delivered-id", b"entries-read", b"lag"])
    consumer = c.call("XINFO", "CONSUMERS", "s", "g")[0]
    checks.equal("XINFO CONSUMERS has its fields", names(consumer), [b"name", b"pending", b"idle", b"inactive"])
    checks.equal("who never got anything is inactive -1", as_dict(consumer)[b"inactive"], -1)
    full = as_dict(c.call("XINFO", "STREAM", "s", "FULL"))
    group = full[b"groups"][0]
    checks.equal("FULL has a group's fields", names(group),
                 [b"name", b"last-delivered-id", b"entries-read", b"lag", b"pel-count", b"nacked-count", b"pending", b"consumers"])
    checks.equal("FULL has a consumer's fields", names(as_dict(group)[b"consumers"][0]),
                 [b"name", b"seen-time", b"active-time", b"pel-count", b"pending"])
    checks.equal("who never got anything has active-time -1", as_dict(as_dict(group)[b"consumers"][0])[b"active-time"], -1)
    checks.equal("XINFO STREAM counts groups", as_dict(c.call("XINFO", "STREAM", "s"))[b"groups"], 1)


def full_of_redis_8(c):
    for i in range(1, 31):
        c.call("XADD", "s", "%d-1" % i, "n", i)
    c.call("XGROUP", "CREATE", "s", "g", "0")
    for i in range(24):
        c.call("XREADGROUP", "GROUP", "g", "c%d" % (i % 2), "COUNT", "1", "STREAMS", "s", ">")

    def group(*args):
        return as_dict(as_dict(c.call("XINFO", "STREAM", "s", "FULL", *args))[b"groups"][0])

    def shown(g):
        return [[row[0] for row in g[b"pending"]]] + [[row[0] for row in as_dict(x)[b"pending"]] for x in g[b"consumers"]]

    def ids(*numbers):
        return [b"%d-1" % i for i in numbers]

    g = group()
    checks.equal("FULL shows 10 of each list", shown(g), [ids(*range(1, 11)), ids(*range(1, 21, 2)), ids(*range(2, 21, 2))])
    checks.equal("... and counts all", [g[b"pel-count"]] + [as_dict(x)[b"pel-count"] for x in g[b"consumers"]], [24, 12, 12])
    checks.equal("COUNT 2 shows two", shown(group("COUNT", 2)), [ids(1, 2), ids(1, 3), ids(2, 4)])
    checks.equal("COUNT 0 shows all", shown(group("COUNT", 0)), [ids(*range(1, 25)), ids(*range(1, 25, 2)), ids(*range(2, 25, 2))])
    checks.equal("a row is ID, owner, time, count", (g[b"pending"][1][1], g[b"pending"][1][3], len(g[b"pending"][1])), (b"c1", 1, 4))
    consumer = as_dict(g[b"consumers"][0])
    checks.equal("of a consumer ID, time, count", (len(consumer[b"pending"][0]), consumer[b"pending"][0][2]), (3, 1))
    checks.equal("it was active when it was seen", consumer[b"active-time"], consumer[b"seen-time"])
    checks.ok("... at the time of its last entry", consumer[b"active-time"] >= consumer[b"pending"][-1][1])
    c.call("XREADGROUP", "GROUP", "g", "late", "STREAMS", "s", "0")
    late = as_dict(c.call("XINFO", "CONSUMERS", "s", "g")[2])
    checks.equal("who read nothing is inactive -1", (late[b"name"], late[b"inactive"]), (b"late", -1))
    checks.ok("... and has been seen", 0 <= late[b"idle"] < 30000)


def lags_of_redis_8(c):
    def lag(name):
        for group in c.call("XINFO", "GROUPS", "x"):
            if as_dict(group)[b"name"] == name:
                return as_dict(group)[b"entries-read"], as_dict(group)[b"lag"]

    def read(*group):
        for name in group:
            c.call("XREADGROUP", "GROUP", name, "c", "COUNT", "1", "STREAMS", "x", ">")
        return lag(group[0].encode())

    for i in range(1, 6):
        c.call("XADD", "x", "%d-0" % i, "f", "v")
    c.call("XDEL", "x", "3-0")
    for name in ("g", "h"):
        c.call("XGROUP", "CREATE", "x", name, "0")
    checks.equal("a deletion ahead: nothing is known", lag(b"g"), (None, None))
    for i in (1, 2, 4):
        checks.equal("... having read %d" % i, read("g"), (None, None))
    checks.equal("... at the end it is", read("g"), (5, 0))
    c.call("XADD", "x", "6-0", "f", "v")
    checks.equal("... and one more", lag(b"g"), (5, 1))
    c.call("XTRIM", "x", "MINID", "=", "3-0")
    checks.equal("a group before all that is left: all of it", lag(b"h"), (None, 3))
    checks.equal("... reading the first of it", read("h"), (4, 2))
    c.call("DEL", "x")
    for i in range(1, 4):
        c.call("XADD", "x", "%d-0" % i, "f", "v")
    c.call("XGROUP", "CREATE", "x", "g", "0")
    checks.equal("the first one is counted", read("g"), (1, 2))
    c.call("XDEL", "x", "2-0")
    checks.equal("a deletion behind it", lag(b"g"), (1, None))
    c.call("XDEL", "x", "1-0")
    checks.equal("... and of itself", lag(b"g"), (1, 1))
    checks.equal("... and the last one", read("g"), (3, 0))
    c.call("DEL", "x")
    c.call("XADD", "x", "1-0", "f", "v")
    c.call("XGROUP", "CREATE", "x", "g", "0")
    c.call("XDEL", "x", "1-0")
    checks.equal("of an emptied stream", lag(b"g"), (None, 0))
    c.call("DEL", "x")
    for i in range(1, 6):
        c.call("XADD", "x", "%d-0" % i, "f", "v")
    c.call("XGROUP", "CREATE", "x", "g", "0")
    checks.equal("a trim leaves no trace", read("g"), (1, 4))
    c.call("XTRIM", "x", "MAXLEN", "=", "1")
    checks.equal("... and the lag", lag(b"g"), (1, 1))
    checks.equal("... to the end", read("g"), (5, 0))
    c.call("DEL", "x")


def lags_where_a_group_is_set(c):
    def lag(name):
        for group in c.call("XINFO", "GROUPS", "x"):
            if as_dict(group)[b"name"] == name:
                return as_dict(group)[b"entries-read"], as_dict(group)[b"lag"]

    for i in range(1, 6):
        c.call("XADD", "x", "%d-0" % i, "f", "v")
    c.call("XGROUP", "CREATE", "x", "g", "0")
    c.call("XDEL", "x", "3-0")
    checks.equal("a deletion ahead makes the lag unknown", lag(b"g"), (None, None))
    c.call("XGROUP", "SETID", "x", "g", "5-0", "ENTRIESREAD", "5")
    checks.equal("at the end it is known", lag(b"g"), (5, 0))
    c.call("XADD", "x", "6-0", "f", "v")
    checks.equal("and counted on", lag(b"g"), (5, 1))
    c.call("XGROUP", "CREATE", "x", "h", "0")
    c.call("XTRIM", "x", "MINID", "=", "4-0")
    checks.equal("a group before all that is left is behind by all of it", lag(b"h"), (None, 3))
    c.call("XGROUP", "CREATE", "x", "i", "$", "ENTRIESREAD", "9999")
    checks.equal("nobody has read more than there was", lag(b"i"), (6, 0))


# ---- Beck ----


def options(c):
    c.call("XADD", "s", "1-1", "f", "v")
    checks.equal("options stand beside the others", c.call(
        "XGROUP", "CREATE", "s", "g", "$", "BACKOFF", "2", "100", "200", "ENTRIESREAD", "0", "DLQ", "dead", "MKSTREAM", "ACKWAIT", "30000",
        "maxdeliver", "5", "MAXPENDING", "1000", "CONSUMERTTL", "60000", "ORDERBY", "customer"), OK)
    want = {b"ackwait": 30000, b"maxdeliver": 5, b"dlq": b"dead", b"backoff": [100, 200], b"maxpending": 1000,
            b"consumerttl": 60000, b"orderby": b"customer"}
    got = as_dict(c.call("BECK", "GROUP", "s", "g"))
    checks.equal("BECK GROUP tells them", {k: got[k] for k in want}, want)
    checks.equal("CFGSET sets what it names", c.call("XGROUP", "CFGSET", "s", "g", "ACKWAIT", "0", "BACKOFF", "0", "DLQ", ""), OK)
    want.update({b"ackwait": 0, b"backoff": [], b"dlq": b""})
    got = as_dict(c.call("BECK", "GROUP", "s", "g"))
    checks.equal("and nothing else", {k: got[k] for k in want}, want)
    for args, text in (
        (["nokey", "g", "ACKWAIT", "1"], "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use "
                                         "the MKSTREAM option to create an empty stream automatically."),
        (["s", "nope", "ACKWAIT", "1"], "NOGROUP No such consumer group 'nope' for key name 's'"),
        (["s", "g"], "ERR At least one option must be specified"),
        (["s", "g", "NOSUCH", "1"], "ERR Unrecognized XGROUP CFGSET option 'NOSUCH', must be ACKWAIT, MAXDELIVER, DLQ, BACKOFF, MAXPENDING, CONSUMERTTL or ORDERBY"),
        (["s", "g", "MKSTREAM"], "ERR Unrecognized XGROUP CFGSET option 'MKSTREAM', must be ACKWAIT, MAXDELIVER, DLQ, BACKOFF, MAXPENDING, CONSUMERTTL or ORDERBY"),
    ):
        checks.equal("XGROUP CFGSET " + " ".join(args), c.call("XGROUP", "CFGSET", *args), Error(text))
    checks.equal("DELCONSUMER takes one word", c.call("XGROUP", "DELCONSUMER", "s", "g", "c", "HANDBACK"), 0)
    checks.equal("... of two", str(c.call("XGROUP", "DELCONSUMER", "s", "g", "c", "KEEP"))[:50],
                 "ERR the last word of XGROUP DELCONSUMER must be HA")
    checks.equal("... and no more", str(c.call("XGROUP", "DELCONSUMER", "s", "g", "c", "DISCARD", "DISCARD"))[:50],
                 "ERR the last word of XGROUP DELCONSUMER must be HA")


FIGURES = [b"name", b"last-delivered-id", b"entries-read", b"lag", b"lag-ms", b"lost", b"pending", b"parked", b"due", b"dead", b"nacked",
           b"consumers", b"oldest-pending-ms", b"redelivered", b"dead-lettered", b"ackwait", b"maxdeliver", b"dlq", b"backoff",
           b"maxpending", b"consumerttl", b"orderby"]


def figures(c):
    for i in range(1, 11):
        c.call("XADD", "s", "%d-1" % i, "f", "v")
    c.call("XGROUP", "CREATE", "s", "a", "4-1")
    c.call("XGROUP", "CREATE", "s", "b", "0")
    c.call("XDEL", "s", "7-1", "2-1")
    got = c.call("BECK", "GROUP", "s")
    checks.equal("BECK GROUP tells of all groups, by name", [as_dict(g)[b"name"] for g in got], [b"a", b"b"])
    checks.equal("its fields", names(got[0]), FIGURES)
    checks.equal("the lag is exact after a deletion", [as_dict(g)[b"lag"] for g in got], [5, 8])
    checks.equal("where XINFO's is unknown", [as_dict(g)[b"lag"] for g in c.call("XINFO", "GROUPS", "s")], [None, None])
    checks.equal("of a key that is not there", c.call("BECK", "GROUP", "nokey"), Error("ERR no such key"))
    checks.equal("of a group that is not there", c.call("BECK", "GROUP", "s", "x"), Error("NOGROUP No such consumer group 'x' for key name 's'"))
    checks.ok("with more arguments", isinstance(c.call("BECK", "GROUP", "s", "a", "b"), Error))
    c.call("XGROUP", "CREATE", "empty", "g", "$", "MKSTREAM")
    c.call("XGROUP", "DESTROY", "empty", "g")
    checks.equal("of a stream without groups", c.call("BECK", "GROUP", "empty"), [])


def groups_survive(beckd):
    with beckd.connect() as c:
        c.call("FLUSHALL")
        for i in range(1, 11):
            c.call("XADD", "s", "%d-1" % i, "f", "v")
        c.call("XGROUP", "CREATE", "s", "a", "4-1", "ENTRIESREAD", "4", "ACKWAIT", "1000")
        c.call("XGROUP", "CREATECONSUMER", "s", "a", "c")
        c.call("XGROUP", "CREATE", "s", "b", "0")
        c.call("XGROUP", "DESTROY", "s", "b")
        before = [c.raw(*q) for q in (("XINFO", "GROUPS", "s"), ("XPENDING", "s", "a"))], c.call("BECK", "DIGEST")[1]
    for how in (beckd.kill, beckd.stop):
        how()
        beckd.start()
        with beckd.connect() as c:
            after = [c.raw(*q) for q in (("XINFO", "GROUPS", "s"), ("XPENDING", "s", "a"))], c.call("BECK", "DIGEST")[1]
            checks.equal("groups are as they were after %s" % how.__name__, after, before)


def main():
    with Server(args=["--stream-durability", "os"]) as beckd, Server(kind="redis") as redis:
        for proto in (2, 3):
            pair = Pair(checks, beckd, redis, proto)
            for part in (xgroup_like_redis, bytes_in_names_like_redis, xpending_like_redis, keys_like_redis,
                         transactions_like_redis, pending_like_redis, claims_like_redis):
                part(pair)
                pair.clear()
            pair.close()
            for part in (shapes_of_redis_8, full_of_redis_8, lags_of_redis_8, lags_where_a_group_is_set, options, figures, acking_of_redis_8):
                with beckd.connect(proto) as c:
                    part(c)
                    c.call("FLUSHALL")
        groups_survive(beckd)
    checks.finish()


main()
