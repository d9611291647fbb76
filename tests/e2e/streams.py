"""The stream commands: every option and every error, beside Debian's redis-server where it has them.

Redis 7.0.15 knows neither `+` in XREAD nor idempotence nor XDELEX nor MAXCOUNT; those are checked against what
the documentation of Redis 8 says. Everything else has to be the same byte for byte, in RESP2 and in RESP3.
"""

import sys

sys.path.insert(0, __file__.rsplit("/", 2)[0] + "/lib")

from beck import Checks, Error, Pair, Server, Simple, wait_until  # noqa: E402

checks = Checks("streams")
INVALID_ID = Error("ERR Invalid stream ID specified as stream command argument")
NOT_INTEGER = Error("ERR value is not an integer or out of range")
SYNTAX = Error("ERR syntax error")
MAX = 2**64 - 1


def fill(pair, key, n, step=10):
    for i in range(1, n + 1):
        pair.same("XADD", key, "%d-1" % (i * step), "n", i, "text", "x" * (i % 20))


def xadd_like_redis(pair):
    pair.all_same("""
        XADD
        XADD s
        XADD s *
        XADD s * f
        XADD s * f v g
        XADD s 0-0 f v
        XADD s 0 f v
        XADD s 1-1 f v
        XADD s 1-1 f v
        XADD s 1-0 f v
        XADD s 1 f v
        XADD s 1-* f v
        XADD s 1-* f v
        XADD s 0-* f v
        XADD s 2-* f v g w
        XADD s x f v
        XADD s 1-x f v
        XADD s 1- f v
        XADD s -1 f v
        XADD s - f v
        XADD s + f v
        XADD s ** f v
        XADD s *-1 f v
        XADD s 3-** f v
        XADD s 1-2-3 f v
        XADD s 18446744073709551616 f v
        XADD s 5-18446744073709551616 f v
        XADD s (5 f v
        XADD s $ f v
        XADD s NOMKSTREAM 4-1 f v
        XADD s nomkstream NOMKSTREAM 4-2 f v
        XADD none NOMKSTREAM * f v
        XADD none NOMKSTREAM 0-0 f v
        XADD none NOMKSTREAM x f v
        EXISTS none
        XADD s MAXLEN f v 5-1
        XADD s MAXLEN -1 6-1 f v
        XADD s MAXLEN x 6-1 f v
        XADD s MAXLEN = x 6-1 f v
        XADD s MAXLEN ~ -5 6-1 f v
        XADD s MAXLEN 1 MINID 2 6-1 f v
        XADD s MAXLEN 1 MAXLEN 2 6-1 f v
        XADD s MINID x 6-1 f v
        XADD s MINID = 1-x 6-1 f v
        XADD s LIMIT 5 6-1 f v
        XADD s LIMIT -5 6-1 f v
        XADD s LIMIT x 6-1 f v
        XADD s MAXLEN 5 LIMIT 5 6-1 f v
        XADD s MAXLEN = 5 LIMIT 5 6-1 f v
        XADD s MINID = 5 LIMIT 5 6-1 f v
        XADD s MAXLEN ~ 5 LIMIT -1 6-1 f v
        XADD s MAXLEN 007 6-1 f v
        XADD s MAXLEN ~ 6-1 f v
        XADD s MAXLEN = 2 6-1 f v
        XRANGE s - +
        XADD s MAXLEN 1 7-1 f v
        XADD s MINID 7 7-2 f v
        XADD s MINID 7-2 7-3 f v
        XADD s MINID = 8 7-4 f v
        XADD s MAXLEN 0 8-1 f v
        XLEN s
        XADD s LIMIT 0 MAXLEN ~ 0 9-1 f v
        XADD e 18446744073709551615-18446744073709551615 f v
        XADD e * f v
        XADD e 5-5 f v
        XADD e 18446744073709551615-* f v
        XADD m 5-18446744073709551615 f v
        XADD m 6-* f v
    """)
    pair.same("XADD", "s", "10-1", "", "", "a b", "\r\n\0\xff")
    pair.same("XADD", "", "10-1", "empty", "key")
    pair.same("XRANGE", "", "-", "+")
    pair.same("XRANGE", "s", "-", "+")


def entries_of_any_size(pair):
    for n in (0, 1, 3, 4, 7, 8, 9, 16, 17, 99, 100, 447, 448, 449, 999, 1000, 16383, 16384, 70000):
        pair.same("XADD", "big", "*1-1"[1:] if n == 0 else "%d-1" % (n + 1), "f" * n, "v" * n, "g", n)
    for fields in (4, 5, 49, 50, 499, 500, 501, 3000):
        pair.same("XADD", "many", "%d-0" % fields, *["x%d" % (i % 7) for i in range(2 * fields)])
    pair.same("XADD", "mixed", "1-1", "a", "b" * 500, "c", "d", "e" * 20000, "f")
    for ms, seq in ((0, 1), (1, 0), (10, 10), (99999999, 100000000), (10**16, 12345678), (MAX, MAX)):
        pair.same("XADD", "ids", "%d-%d" % (ms, seq), "f", "v")
    for key in ("big", "many", "mixed", "ids"):
        pair.same("XRANGE", key, "-", "+")
        pair.same("XREVRANGE", key, "+", "-")
        pair.same("XREAD", "STREAMS", key, "0")


def ranges_like_redis(pair):
    fill(pair, "r", 250)
    pair.all_same("""
        XRANGE r - + COUNT 3
        XRANGE r - + COUNT 0
        XRANGE r - + COUNT -1
        XRANGE r - + COUNT x
        XRANGE r - + COUNT
        XRANGE r - + LIMIT 3
        XRANGE r - + COUNT 3 COUNT 2
        XRANGE r 100 200
        XRANGE r 100-1 200-1
        XRANGE r (100-1 (200-1
        XRANGE r (100 (200
        XRANGE r 100 100
        XRANGE r (100 100
        XRANGE r 100 (100
        XRANGE r (- +
        XRANGE r - (+
        XRANGE r ( +
        XRANGE r + -
        XRANGE r 200 100
        XRANGE r x +
        XRANGE r - x
        XRANGE r $ +
        XRANGE r (18446744073709551615-18446744073709551615 +
        XRANGE r - (0-0
        XRANGE r - (0
        XRANGE r 18446744073709551615-18446744073709551615 +
        XRANGE r 2500 +
        XRANGE r 2501 +
        XRANGE r 0 9
        XRANGE none - +
        XRANGE none - + COUNT 0
        XRANGE none x +
        XRANGE r -
        XREVRANGE r + - COUNT 4
        XREVRANGE r + - COUNT 0
        XREVRANGE r 200 100
        XREVRANGE r (200-1 (100-1
        XREVRANGE r (200 (100
        XREVRANGE r - +
        XREVRANGE r 100 200
        XREVRANGE r x -
        XREVRANGE r + x
        XREVRANGE r + (18446744073709551615-18446744073709551615
        XREVRANGE r (0-0 -
        XREVRANGE none + -
        XREVRANGE r 9 0
        XREVRANGE r 99999 2490
        XLEN r
        XLEN none
        XLEN
        XLEN r r
    """)


def reads_like_redis(pair):
    fill(pair, "a", 5)
    fill(pair, "b", 3)
    pair.all_same("""
        XREAD STREAMS a 0
        XREAD STREAMS a 0-0
        XREAD COUNT 2 STREAMS a b 0 0
        XREAD COUNT 0 STREAMS a 30
        XREAD COUNT -3 STREAMS a 30
        XREAD COUNT x STREAMS a 30
        XREAD COUNT 1 COUNT 2 STREAMS a 0
        XREAD STREAMS a b none 20 30 0
        XREAD STREAMS a 50-1
        XREAD STREAMS a 50-0
        XREAD STREAMS a $
        XREAD STREAMS none $
        XREAD STREAMS none 0
        XREAD STREAMS a >
        XREAD STREAMS a -
        XREAD STREAMS a x
        XREAD STREAMS a 1-*
        XREAD STREAMS a
        XREAD STREAMS
        XREAD COUNT 2
        XREAD COUNT 2 a 0
        XREAD FOO 2 STREAMS a 0
        XREAD BLOCK -1 STREAMS a $
        XREAD BLOCK x STREAMS a $
        XREAD BLOCK 99999999999999999999 STREAMS a $
        XREAD BLOCK 1 STREAMS a $
        XREAD BLOCK 1 STREAMS none none2 0 0
        XREAD BLOCK 1 COUNT 1 STREAMS a b $ 0
        XREAD GROUP g c STREAMS a >
        XREAD NOACK STREAMS a 0
        XREAD STREAMS a a 0 30
        XREAD streams a 18446744073709551615-18446744073709551615
    """)
    pair.same("MULTI")
    pair.same("XREAD", "BLOCK", "0", "STREAMS", "a", "$")
    pair.same("XREAD", "BLOCK", "0", "STREAMS", "a", "40")
    pair.same("EXEC")


def changes_like_redis(pair):
    fill(pair, "d", 30)
    pair.all_same("""
        XDEL d 10-1
        XDEL d 10-1
        XDEL d 20-1 20-1 30-1 999
        XDEL d 40-1 x
        XDEL d x
        XDEL d -
        XDEL d
        XDEL none 1-1
        XDEL none x
        XLEN d
        XINFO GROUPS d
        XTRIM d
        XTRIM d MAXLEN
        XTRIM d MAXLEN x
        XTRIM d MAXLEN -1
        XTRIM d FOO 3
        XTRIM d LIMIT 3 LIMIT 4
        XTRIM d LIMIT 3 FOO
        XTRIM d MAXLEN 100
        XTRIM d MAXLEN = 20
        XTRIM d MAXLEN 20 LIMIT 5
        XTRIM d MAXLEN = 20 LIMIT 5
        XTRIM d MAXLEN ~ 20
        XTRIM d MAXLEN ~
        XTRIM d MAXLEN ~ 10 LIMIT x
        XTRIM d MINID 150-1
        XTRIM d MINID = 150-2
        XTRIM d MINID 0
        XTRIM d MINID x
        XTRIM d MINID -
        XTRIM d MAXLEN 3 MINID 5
        XTRIM d MAXLEN 3 nomkstream
        XTRIM none MAXLEN 3
        XTRIM none MAXLEN x
        XRANGE d - +
        XTRIM d MINID +
        XLEN d
        XADD d 10-1 f v
        XADD d 1000-1 f v
        XTRIM d MAXLEN 0
        XADD d 1000-1 f v
        XSETID d 1000-5
        XADD d 1000-5 f v
        XADD d 1000-6 f v
        XSETID d 1000-5
        XSETID d x
        XSETID d 2000 ENTRIESADDED
        XSETID d 2000 FOO 1
        XSETID d 2000 ENTRIESADDED x
        XSETID d 2000 ENTRIESADDED -1
        XSETID d 2000 ENTRIESADDED 0
        XSETID d 2000 ENTRIESADDED 7
        XSETID d 2000 MAXDELETEDID 3000
        XSETID d 2000 MAXDELETEDID x
        XSETID d 2000 ENTRIESADDED 9 MAXDELETEDID 1500-3
        XSETID d 3000 MAXDELETEDID 0-0
        XSETID none 5
        XSETID none x
        XSETID d -
        XSETID
        XSETID d
    """)
    ours = pair.ours.call("XINFO", "STREAM", "d", "FULL")
    info = dict(ours if pair.proto == 3 else zip(ours[::2], ours[1::2]))
    checks.equal("XSETID's counters stay", info[b"entries-added"], 9)
    checks.equal("XSETID's tombstone stays", info[b"max-deleted-entry-id"], b"1500-3")


def common_info(c, key, *more):
    """XINFO STREAM as a dict of the fields that Redis 7.0 has too; radix-tree fields only while there's one node."""
    reply = c.call("XINFO", "STREAM", key, *more)
    if isinstance(reply, Error):
        return reply
    pairs = reply if hasattr(reply, "get") else list(zip(reply[::2], reply[1::2]))
    return [(k, v) for k, v in pairs if not k.startswith((b"idmp-", b"pids-", b"iids-"))]


def info_like_redis(pair):
    def same(claim, *args):
        checks.equal("RESP%d XINFO STREAM %s" % (pair.proto, claim), common_info(pair.ours, *args), common_info(pair.theirs, *args))

    fill(pair, "i", 12)
    for more in ((), ("FULL",), ("FULL", "COUNT", "3"), ("FULL", "COUNT", "0"), ("FULL", "COUNT", "-1"), ("full", "count", "99")):
        same("of a stream", "i", *more)
    for more in (("x",), ("FULL", "COUNT"), ("FULL", "COUNT", "x"), ("FULL", "x", "1"), ("COUNT", "3")):
        same("with wrong options", "i", *more)
        same("with wrong options of no stream", "none", *more)
    same("of no stream", "none")
    pair.same("XDEL", "i", "10-1")
    same("after XDEL of the first", "i")
    pair.same("XDEL", "i", "120-1", "60-1")
    same("after XDEL of the last", "i")
    pair.same("XTRIM", "i", "MAXLEN", "4")
    same("after XTRIM", "i")
    pair.same("XTRIM", "i", "MAXLEN", "0")
    same("of an empty stream", "i", "FULL")
    same("of an empty stream", "i")
    pair.same("XADD", "i", "MAXLEN", "0", "500", "f", "v")
    same("after XADD MAXLEN 0", "i")
    pair.all_same("""
        XINFO
        XINFO STREAM
        XINFO GROUPS i
        XINFO GROUPS none
        XINFO GROUPS i x
        XINFO CONSUMERS i g
        XINFO CONSUMERS none g
        XINFO CONSUMERS i
        XINFO FOO i
        XINFO HELP x
    """)


def approximate_like_redis(pair):
    """~ trims nodes of 100 entries: the counts are Redis's while entries are small and leave at the front."""
    pair.clear()
    for i in range(1, 1051):
        pair.same("XADD", "t", i, "f", i)
    pair.all_same("""
        XTRIM t MAXLEN ~ 1049
        XTRIM t MAXLEN ~ 951
        XTRIM t MAXLEN ~ 950
        XTRIM t MAXLEN ~ 600 LIMIT 99
        XTRIM t MAXLEN ~ 600 LIMIT 100
        XTRIM t MAXLEN ~ 600 LIMIT 250
        XTRIM t MAXLEN = 590
        XTRIM t MAXLEN ~ 500
        XTRIM t MAXLEN ~ 491
        XTRIM t MAXLEN ~ 490
        XTRIM t MINID ~ 700
        XTRIM t MINID ~ 701
        XTRIM t MINID ~ 1000 LIMIT 150
        XTRIM t MINID ~ 1049
        XLEN t
        XADD t MAXLEN ~ 10 1051 f v
        XLEN t
        XTRIM t MAXLEN ~ 0 LIMIT 0
        XLEN t
        XADD t MAXLEN ~ 0 1052 f v
        XADD t MINID ~ 2000 1053 f v
        XLEN t
    """)
    for c in (pair.ours, pair.theirs):
        for first in range(2000, 14000, 1000):
            c.pipeline([("XADD", "u", i, "f", "v") for i in range(first, first + 1000)])
    pair.same("XTRIM", "u", "MAXLEN", "~", "10")  # 100 nodes without LIMIT
    pair.same("XLEN", "u")


def ids_of_redis_8(c):
    c.call("XADD", "m", "5-%d" % MAX, "f", "v")
    smaller = Error("ERR The ID specified in XADD is equal or smaller than the target stream top item")
    checks.equal("ms-* behind the largest seq", c.call("XADD", "m", "5-*", "f", "v"), smaller)
    checks.equal("* behind a time to come", c.call("XADD", "m", "99999999999999-%d" % MAX, "f", "v"), b"99999999999999-%d" % MAX)
    checks.equal("is one more", c.call("XADD", "m", "*", "f", "v"), b"100000000000000-0")


def info_of_redis_8(c):
    fields = "length radix-tree-keys radix-tree-nodes last-generated-id max-deleted-entry-id entries-added " \
        "recorded-first-entry-id idmp-duration idmp-maxsize pids-tracked iids-tracked iids-added iids-duplicates"
    c.call("XADD", "info8", "1-1", "f", "v")
    short, full = c.call("XINFO", "STREAM", "info8"), c.call("XINFO", "STREAM", "info8", "FULL")
    names = [k.decode() for k in short[::2]]
    checks.equal("XINFO STREAM has Redis 8.6's fields in its order", names, fields.split() + ["groups", "first-entry", "last-entry"])
    names = [k.decode() for k in full[::2]]
    checks.equal("XINFO STREAM FULL has them too", names, fields.split() + ["entries", "groups"])


def tombstones_of_redis_8(c):
    smaller = Error("ERR The ID specified in XSETID is smaller than current max_deleted_entry_id")
    for i in (1, 2, 3):
        c.call("XADD", "tomb", "1-%d" % i, "f", "v")
    c.call("XDEL", "tomb", "1-2", "1-3")
    checks.equal("XSETID below a deleted entry", c.call("XSETID", "tomb", "1-2"), smaller)
    checks.equal("XSETID at it", c.call("XSETID", "tomb", "1-3"), Simple("OK"))


def idmp_info(c, key):
    reply = c.call("XINFO", "STREAM", key)
    info = dict(zip(reply[::2], reply[1::2]))
    return [info[n] for n in (b"pids-tracked", b"iids-tracked", b"iids-added", b"iids-duplicates")]


def idempotence(c):
    not_auto = Error("ERR IDMP/IDMPAUTO can be used only with auto-generated IDs")
    twice = Error("ERR IDMP/IDMPAUTO specified multiple times")
    for args, want in (
        ("IDMP p1 * f v", INVALID_ID),
        ("IDMP p1 iid1 1-1 f v", not_auto),
        ("IDMP p1 iid1 1-* f v", not_auto),
        ("IDMPAUTO p1 1-1 f v", not_auto),
        ("IDMP p1 iid1 IDMP p2 iid2 * f v", twice),
        ("IDMPAUTO p1 IDMP p2 iid2 * f v", twice),
        ("IDMPAUTO p1 IDMPAUTO p2 * f v", twice),
        ("IDMP _ iid1 * f v", Error("ERR IDMP requires a non-empty producer ID")),
        ("IDMP p1 _ * f v", Error("ERR IDMP requires a non-empty idempotent ID")),
        ("IDMPAUTO _ * f v", Error("ERR IDMPAUTO requires a non-empty producer ID")),
        ("NOMKSTREAM IDMP p1 i * f v", None),
    ):
        args = ["" if a == "_" else a for a in args.split()]
        checks.equal("XADD %s" % args, c.call("XADD", "idmp", *args), want)
    checks.equal("nothing was created", c.call("EXISTS", "idmp"), 0)

    first = c.call("XADD", "idmp", "IDMP", "p1", "i", "*", "f", "v")
    checks.equal("a duplicate gets the first ID", c.call("XADD", "idmp", "idmp", "p1", "i", "*", "g", "w"), first)
    checks.ok("another producer is another namespace", c.call("XADD", "idmp", "IDMP", "p2", "i", "*", "f", "v") != first)
    checks.ok("another iid is another entry", c.call("XADD", "idmp", "IDMP", "p1", "j", "*", "f", "v") != first)
    checks.equal("counts", idmp_info(c, "idmp"), [2, 3, 3, 1])
    for args in ("MAXLEN ~ 100 IDMP p1 i", "IDMP p1 i MAXLEN ~ 100", "KEEPREF IDMP p1 i", "IDMP p1 i ACKED",
                 "NOMKSTREAM IDMP p1 i MAXLEN = 5 DELREF", "IDMP p1 i MAXLEN ~ 1000 LIMIT 10 KEEPREF"):
        checks.equal("any order: " + args, c.call("XADD", "idmp", *args.split(), "*", "f", "v"), first)
    checks.equal("a duplicate trims nothing", c.call("XADD", "idmp", "MAXLEN", "1", "IDMP", "p1", "i", "*", "f", "v"), first)
    checks.equal("and adds nothing", c.call("XLEN", "idmp"), 3)
    for iid in ("*", "-", "+", "IDMP", "1-1", "\0\r\n\xff", "x" * 65536):
        one = c.call("XADD", "idmp", "IDMP", "q", iid, "*", "f", "v")
        checks.equal("an iid may be any bytes", c.call("XADD", "idmp", "IDMP", "q", iid, "*", "f", "v"), one)

    auto = c.call("XADD", "auto", "IDMPAUTO", "p", "*", "a", "1", "b", "2")
    checks.equal("IDMPAUTO doesn't look at the order", c.call("XADD", "auto", "IDMPAUTO", "p", "*", "b", "2", "a", "1"), auto)
    checks.ok("but at the pairs", c.call("XADD", "auto", "IDMPAUTO", "p", "*", "a", "2", "b", "1") != auto)
    checks.ok("and at the producer", c.call("XADD", "auto", "IDMPAUTO", "q", "*", "a", "1", "b", "2") != auto)
    c.call("MULTI")
    c.call("XADD", "txn", "IDMP", "p", "i", "*", "f", "v")
    c.call("XADD", "txn", "IDMP", "p", "i", "*", "f", "v")
    ids = c.call("EXEC")
    checks.equal("duplicates inside a transaction", ids[0], ids[1])
    return first


def nodes_begin_anew_in_an_empty_stream(pair):
    for how in (["XTRIM", "e", "MAXLEN", "0"], ["XTRIM", "e", "MINID", "~", "9999"], ["XDEL", "e", *range(1, 151)]):
        pair.clear()
        for i in range(1, 151):
            pair.same("XADD", "e", i, "f", i)
        pair.same(*how)
        for i in range(200, 330):
            pair.same("XADD", "e", i, "f", i)
        for maxlen in (100, 70, 40, 30, 0):
            pair.same("XTRIM", "e", "MAXLEN", "~", maxlen)
    pair.same("XSETID", "e", 400, "ENTRIESADDED", 1234)
    for i in range(500, 630):
        pair.same("XADD", "e", i, "f", i)
    pair.same("XSETID", "e", 700, "ENTRIESADDED", 777)
    for maxlen in (70, 30, 0):
        pair.same("XTRIM", "e", "MAXLEN", "~", maxlen)


def trims_of_the_largest_id(pair):
    """No ID lies behind it, so this trim is made of other records: nothing of that may show."""
    top = "%d-%d" % (MAX, MAX)
    for i, trim in enumerate((["XTRIM", "MAXLEN", "0"], ["XTRIM", "MINID", "+"], ["XTRIM", "MAXLEN", "~", "0"], None)):
        key = "top%d" % i
        for id in ("1-1", "2-2"):
            pair.same("XADD", key, id, "f", "v")
        pair.same("XDEL", key, "1-1")
        pair.same("XADD", key, *([] if trim else ["MAXLEN", "0"]), top, "f", "v")
        if trim:
            pair.same(trim[0], key, *trim[1:])
        checks.equal("XINFO STREAM " + key, common_info(pair.ours, key), common_info(pair.theirs, key))
        pair.same("XADD", key, "*", "f", "v")


def idempotence_settings(c):
    c.call("XADD", "cfg", "*", "f", "v")
    for args, want in (
        ("", Error("ERR At least one parameter must be specified")),
        ("IDMP-DURATION", SYNTAX),
        ("IDMP-MAXSIZE", SYNTAX),
        ("FOO", SYNTAX),
        ("FOO 1", SYNTAX),
        ("IDMP-DURATION x", NOT_INTEGER),
        ("IDMP-DURATION 000000000", NOT_INTEGER),
        ("IDMP-DURATION x IDMP-MAXSIZE", NOT_INTEGER),
        ("IDMP-DURATION 5 IDMP-MAXSIZE", SYNTAX),
        ("IDMP-DURATION 0", Error("ERR IDMP-DURATION must be between 1 and 86400 seconds")),
        ("IDMP-DURATION 86401", Error("ERR IDMP-DURATION must be between 1 and 86400 seconds")),
        ("IDMP-DURATION -100", Error("ERR IDMP-DURATION must be between 1 and 86400 seconds")),
        ("IDMP-MAXSIZE 0", Error("ERR IDMP-MAXSIZE must be between 1 and 10000 entries")),
        ("IDMP-MAXSIZE 10001", Error("ERR IDMP-MAXSIZE must be between 1 and 10000 entries")),
        ("IDMP-DURATION 86400 IDMP-MAXSIZE 10000", Simple("OK")),
        ("idmp-maxsize 1", Simple("OK")),
    ):
        checks.equal("XCFGSET cfg " + args, c.call("XCFGSET", "cfg", *args.split()), want)
    checks.equal("XCFGSET of no stream", c.call("XCFGSET", "none", "IDMP-DURATION", "5"), Error("ERR no such key"))

    first = c.call("XADD", "set", "IDMP", "p", "a", "*", "f", "v")
    c.call("XCFGSET", "set", "IDMP-DURATION", "100", "IDMP-MAXSIZE", "100")
    checks.equal("settings that stay the same forget nothing", c.call("XADD", "set", "IDMP", "p", "a", "*", "f", "v"), first)
    c.call("XCFGSET", "set", "IDMP-MAXSIZE", "3")
    checks.equal("others forget all but the lifetime counts", idmp_info(c, "set"), [0, 0, 1, 1])
    ids = {i: c.call("XADD", "set", "IDMP", "p", i, "*", "f", "v") for i in "abcd"}
    checks.ok("the oldest above maxsize is forgotten", c.call("XADD", "set", "IDMP", "p", "a", "*", "f", "v") != ids["a"])
    checks.equal("the newest are not", c.call("XADD", "set", "IDMP", "p", "d", "*", "f", "v"), ids["d"])
    checks.equal("tracked", idmp_info(c, "set")[:2], [1, 3])

    c.call("XCFGSET", "set", "IDMP-DURATION", "1")
    one = c.call("XADD", "set", "IDMP", "p", "short", "*", "f", "v")
    wait_until(lambda: c.call("XADD", "set", "IDMP", "p", "short", "*", "f", "v") != one, "an iid to be forgotten after its second")
    checks.ok("an iid is forgotten after its duration", True)


def xdelex(c):
    for i in range(1, 7):
        c.call("XADD", "x", "%d-0" % i, "f", "v")
    positive = Error("ERR Number of IDs must be a positive integer")
    match = Error("ERR The `numids` parameter must match the number of arguments")
    for args, want in (
        ("DELREF", Error("ERR wrong number of arguments for 'xdelex' command")),
        ("IDS abc 1-1", positive),
        ("IDS 0 1-1", positive),
        ("IDS -5 1-1", positive),
        ("IDS 3 1-1 2-2", match),
        ("IDS 99999999999999999999 1-1", positive),
        ("IDS 9223372036854775807 1-1", match),
        ("IDS 1 1-1 2-2", SYNTAX),
        ("KEEPREF DELREF IDS 1 1-1", SYNTAX),
        ("ACKED DELREF IDS 1 1-1", SYNTAX),
        ("KEEPREF 1 1-1", SYNTAX),
        ("IDS 2 1-0 x", INVALID_ID),
        ("IDS 2 9-9 1-0", [-1, 1]),
        ("KEEPREF IDS 3 2-0 2-0 1-0", [1, -1, -1]),
        ("IDS 1 3-0 DELREF", [1]),
        ("acked ids 1 4-0", [1]),
    ):
        checks.equal("XDELEX x " + args, c.call("XDELEX", "x", *args.split()), want)
    checks.equal("XDELEX of no stream", c.call("XDELEX", "none", "IDS", "2", "1-1", "2-2"), [-1, -1])
    checks.equal("what is left", c.call("XLEN", "x"), 2)
    checks.equal("XADD with two of KEEPREF, DELREF, ACKED", c.call("XADD", "x", "KEEPREF", "DELREF", "*", "f", "v"), SYNTAX)
    checks.equal("XTRIM with one", c.call("XTRIM", "x", "DELREF", "MAXLEN", "1"), 1)
    checks.equal("XTRIM with one behind", c.call("XTRIM", "x", "MAXLEN", "~", "0", "LIMIT", "0", "ACKED"), 1)


def reads_of_redis_8(c):
    for i in range(1, 5):
        c.call("XADD", "p1", "%d-0" % i, "f", "v%d" % i)
        c.call("XADD", "p2", "%d-0" % i, "f", "w%d" % i)

    def sizes(*args):
        reply = c.call("XREAD", *args)
        return reply if isinstance(reply, Error) or reply is None else [(k.decode(), len(v)) for k, v in reply]

    last = [[b"p1", [[b"4-0", [b"f", b"v4"]]]]]
    checks.equal("+ is the last entry", c.call("XREAD", "STREAMS", "p1", "+"), last)
    checks.equal("+ whatever COUNT says", c.call("XREAD", "COUNT", "3", "BLOCK", "100000", "STREAMS", "p1", "+"), last)
    c.call("XDEL", "p1", "4-0")
    checks.equal("+ after the last was deleted", c.call("XREAD", "STREAMS", "p1", "none", "+", "+"), [[b"p1", [[b"3-0", [b"f", b"v3"]]]]])
    c.call("XADD", "p1", "5-0", "f", "v5")
    c.call("XADD", "gone", "1-0", "f", "v")
    c.call("XDEL", "gone", "1-0")
    checks.equal("+ of an empty stream", c.call("XREAD", "STREAMS", "gone", "+"), None)
    checks.equal("MAXCOUNT over streams", sizes("MAXCOUNT", "6", "STREAMS", "p1", "p2", "0", "0"), [("p1", 4), ("p2", 2)])
    checks.equal("MAXCOUNT skips the rest", sizes("MAXCOUNT", "4", "STREAMS", "p1", "p2", "0", "0"), [("p1", 4)])
    checks.equal("COUNT and MAXCOUNT", sizes("COUNT", "2", "MAXCOUNT", "3", "STREAMS", "p1", "p2", "0", "0"), [("p1", 2), ("p2", 1)])
    checks.equal("MAXSIZE lets one entry through", sizes("MAXSIZE", "1", "STREAMS", "p1", "p2", "0", "0"), [("p1", 1)])
    checks.equal("MAXSIZE that is large", sizes("MAXSIZE", "100000", "STREAMS", "p1", "p2", "0", "0"), [("p1", 4), ("p2", 4)])
    for limit in range(60, 600, 30):
        raw = c.raw("XREAD", "MAXSIZE", limit, "STREAMS", "p1", "p2", "0", "0")
        checks.ok("MAXSIZE %d holds" % limit, len(raw) <= max(limit, 75), len(raw))
    checks.equal("MAXCOUNT below COUNT", type(sizes("COUNT", "5", "MAXCOUNT", "3", "STREAMS", "p1", "0")), Error)
    for word in ("MAXCOUNT", "MAXSIZE"):
        checks.equal(word + " 0", type(sizes(word, "0", "STREAMS", "p1", "0")), Error)
        checks.equal(word + " x", sizes(word, "x", "STREAMS", "p1", "0"), NOT_INTEGER)
    checks.equal("BLOCK beyond all time", c.call("XREAD", "BLOCK", 2**63 - 1, "STREAMS", "p1", "$"), Error("ERR timeout is out of range"))
    checks.equal("an unbalanced list", c.call("XREAD", "STREAMS", "a", "b", "0"), Error(
        "ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be specified."))


def blocked(server, c, n):
    wait_until(lambda: b"blocked_clients:%d\r" % n in c.call("INFO", "clients"), "%d blocked clients" % n)


def blocking(server, proto):
    key = "blk%d" % proto
    with server.connect() as c, server.connect(proto) as r, server.connect(proto) as q:
        def got(reader=None):
            value = (reader or r).read()
            return value if value is None or isinstance(value, Error) else [(k.decode(), [e[0].decode() for e in v]) for k, v in value]

        r.send("XREAD", "BLOCK", "0", "STREAMS", key, "$")
        blocked(server, c, 1)
        c.call("XADD", key, "1-1", "f", "v")
        checks.equal("a blocked reader gets the new entry", got(), [(key, ["1-1"])])

        r.send("XREAD", "BLOCK", "0", "STREAMS", key, key + "b", "5", "0")
        blocked(server, c, 1)
        c.call("XADD", key, "4-1", "f", "v")
        c.call("DEL", key)
        c.call("XADD", key, "3-1", "f", "v")
        checks.ok("entries that it doesn't want leave it waiting", r.silent())
        c.call("MULTI")
        c.call("XADD", key, "6-1", "f", "v")
        c.call("XADD", key, "6-2", "f", "v")
        c.call("XADD", key + "b", "1-1", "f", "v")
        c.call("EXEC")
        checks.equal("after EXEC it gets all of all its streams", got(), [(key, ["6-1", "6-2"]), (key + "b", ["1-1"])])

        r.send("XREAD", "BLOCK", "0", "COUNT", "1", "STREAMS", key, "$")
        q.send("XREAD", "BLOCK", "0", "STREAMS", key, "$")
        blocked(server, c, 2)
        c.call("MULTI")
        c.call("XADD", key, "7-1", "f", "v")
        c.call("DEL", key)
        c.call("EXEC")
        checks.ok("what is deleted in the same EXEC wakes nobody", r.silent() and q.silent())
        c.call("XADD", key, "7-1", "f", "v")
        c.call("XADD", key, "8-1", "f", "v")
        checks.equal("both get what comes then", (got(r), got(q)), ([(key, ["7-1"])], [(key, ["7-1"])]))

        r.send("XREAD", "BLOCK", "0", "STREAMS", key, key, key, "$", "$", "$")
        blocked(server, c, 1)
        c.call("XADD", key, "9-1", "f", "v")
        value = r.read()
        checks.equal("a key named three times is told three times", len(value), 3)

        r.send("XREAD", "BLOCK", "0", "STREAMS", key + "new", "$")
        blocked(server, c, 1)
        c.call("XADD", key + "tmp", "5-5", "f", "v")
        c.call("RENAME", key + "tmp", key + "new")
        checks.equal("a stream that gets the name by RENAME counts", got(), [(key + "new", ["5-5"])])

        r.send("XREAD", "BLOCK", "0", "STREAMS", key + "plus", "+")
        blocked(server, c, 1)
        c.call("XADD", key + "plus", "1-1", "f", "v")
        checks.equal("+ of no stream waits for its first entry", got(), [(key + "plus", ["1-1"])])

        r.send("XREAD", "BLOCK", "30", "STREAMS", key, "$")
        for i in range(200):  # wakes it all the time with entries below its ID
            c.call("XADD", key + "w", i + 1, "f", "v")
            if not r.silent():
                break
        checks.equal("a time-out is null", got(), None)
        r.send("XREAD", "BLOCK", "300", "STREAMS", key + "never", "99")
        blocked(server, c, 1)
        n = 0
        while r.silent(0.005):
            n += 1
            c.call("XADD", key + "never", n, "f", "v")
            c.call("DEL", key + "never")
        checks.equal("false wake-ups don't put a time-out off", got(), None)

        for how, want in (("TIMEOUT", None), ("ERROR", Error("UNBLOCKED client unblocked via CLIENT UNBLOCK")), (None, None)):
            number = r.call("CLIENT", "ID")
            r.send("XREAD", "BLOCK", "0", "STREAMS", key, "$")
            blocked(server, c, 1)
            checks.equal("CLIENT UNBLOCK %s" % how, c.call("CLIENT", "UNBLOCK", number, *([how] if how else [])), 1)
            checks.equal("CLIENT UNBLOCK %s ends the wait" % how, got(), want)
            checks.equal("and no second one", c.call("CLIENT", "UNBLOCK", number), 0)

        r.send("XREAD", "BLOCK", "0", "STREAMS", key, "$")
        r.send("PING")
        blocked(server, c, 1)
        c.call("XADD", key, "20-1", "f", "v")
        checks.equal("what was sent behind a blocked command", (got(), r.read()), ([(key, ["20-1"])], Simple("PONG")))

    with server.connect() as c:
        r = server.connect()
        r.send("XREAD", "BLOCK", "0", "STREAMS", "left", "$")
        blocked(server, c, 1)
        r.close()
        blocked(server, c, 0)
        checks.ok("who goes away waits no longer", True)
        c.call("FLUSHALL")


def survives_a_restart(server):
    with server.connect() as c:
        first = c.call("XADD", "keep", "IDMP", "p", "i", "*", "f", "v")
        c.call("XCFGSET", "keep", "IDMP-DURATION", "500", "IDMP-MAXSIZE", "50")
        first = c.call("XADD", "keep", "IDMP", "p", "i", "*", "f", "v")
        auto = c.call("XADD", "keep", "IDMPAUTO", "q", "*", "a", "b")
        c.call("XDEL", "keep", c.call("XADD", "keep", "*", "f", "v"))
        for i in range(1, 500):
            c.call("XADD", "trimmed", "MAXLEN", "~", "100", "%d-0" % i, "f", "v" * (i % 300))
        c.call("XDEL", "trimmed", "450-0", "499-0")
        c.call("XSETID", "trimmed", "600-0", "ENTRIESADDED", "1234", "MAXDELETEDID", "550-1")
        c.call("XADD", "full", "%d-%d" % (MAX, MAX), "f", "v")
        c.call("XTRIM", "full", "MAXLEN", "0")
        questions = [("XRANGE", k, "-", "+") for k in ("keep", "trimmed", "full")] + [("XINFO", "STREAM", k) for k in ("trimmed", "full")]
        before = [c.raw(*q) for q in questions]
        tracked = idmp_info(c, "keep")[:3]
    for kill in (False, True):
        server.restart(kill=kill)
        with server.connect() as c:
            how = "kill -9" if kill else "a clean stop"
            for q, want in zip(questions, before):
                checks.equal("%s after %s" % (" ".join(q), how), c.raw(*q), want)
            checks.equal("what is tracked after " + how, idmp_info(c, "keep")[:3], tracked)
            checks.equal("IDMP after " + how, c.call("XADD", "keep", "IDMP", "p", "i", "*", "f", "v"), first)
            checks.equal("IDMPAUTO after " + how, c.call("XADD", "keep", "IDMPAUTO", "q", "*", "a", "b"), auto)
            checks.ok("IDs go on after " + how, c.call("XADD", "keep", "*", "f", "v") > auto)
            c.call("XDEL", "keep", c.call("XREVRANGE", "keep", "+", "-", "COUNT", "1")[0][0])
            before[0] = c.raw(*questions[0])


def main():
    with Server(args=["--stream-durability", "os"]) as beckd, Server(kind="redis") as redis:
        for proto in (2, 3):
            pair = Pair(checks, beckd, redis, proto)
            for part in (xadd_like_redis, entries_of_any_size, ranges_like_redis, reads_like_redis, changes_like_redis,
                         info_like_redis, approximate_like_redis,
                         nodes_begin_anew_in_an_empty_stream, trims_of_the_largest_id):
                part(pair)
                pair.clear()
            pair.close()
            blocking(beckd, proto)
        with beckd.connect() as c:
            for part in (ids_of_redis_8, tombstones_of_redis_8, info_of_redis_8, idempotence, idempotence_settings, xdelex, reads_of_redis_8):
                part(c)
            c.call("FLUSHALL")
        survives_a_restart(beckd)
    checks.finish()


main()
