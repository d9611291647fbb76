"""Hostile requests to the cache: every command of keys and their values, with arguments that no client would send.

One half sends a request at a time between two BECK DIGEST SYNC: what is refused, and what only reads, has changed nothing. The
other half is a storm over several connections, inside and outside of MULTI, with times so short and memory so small that
everything moves at once: keys expire, leave, are spilled and sealed. In both a broker replies exactly once to each request, its
errors are one line of printable text, and afterwards it is alive and, started again, the same. SEED replays a run, SCALE
lengthens it.
"""

import random
import re
import sys

sys.path.insert(0, __file__.rsplit("/", 2)[0] + "/lib")

from beck import Checks, Closed, Error, Push, Server, Simple, encode, scale, seed, short  # noqa: E402

checks = Checks("cache_garbage")
SEED = seed()
MAX = (1 << 63) - 1
CHANGES = ["beck:changes", "beck:changes:v", "beck:changes:none"]
STRINGS, HASHES, LISTS, STREAMS = ["s", "t", "n", "f"], ["h", "i"], ["l", "m"], ["x"]
ODD_KEYS = ["", "absent", "\x00\xff\r\n", "a b", "*", "k" * 70000]
READS_ONLY = set("GET MGET STRLEN GETRANGE SUBSTR DIGEST GETREV HGET HMGET HGETALL HLEN HKEYS HVALS HSTRLEN HEXISTS HTTL HPTTL".split())
READS_ONLY |= set("HEXPIRETIME HPEXPIRETIME HSCAN HRANDFIELD LLEN LINDEX LRANGE LPOS TTL PTTL EXPIRETIME PEXPIRETIME TYPE".split())
READS_ONLY |= set("EXISTS TOUCH SCAN KEYS OBJECT MEMORY KEYHIST GETAT XRANGE XREVRANGE XREAD XLEN XINFO BECK IFREV".split())
PUSHES = set("SUBSCRIBE UNSUBSCRIBE PSUBSCRIBE PUNSUBSCRIBE SSUBSCRIBE SUNSUBSCRIBE".split())
TWO_KEYS = ["RENAME", "RENAMENX", "COPY", "LMOVE", "RPOPLPUSH", "BLMOVE", "BRPOPLPUSH"]


class Garbage:
    """Requests at random. `hours`: times are long, so that nothing happens by itself while a request is judged."""

    def __init__(self, r, hours):
        self.r, self.hours = r, hours

    def one(self, *choices):
        return self.r.choice(choices)

    def some(self, share):
        return self.r.random() < share

    def many(self, make, *counts):
        return [make() for _ in range(self.one(*(counts or (1, 1, 1, 2, 3, 20))))]

    def number(self):
        if self.some(0.6):
            return self.one(0, 1, 2, 3, 5, 10, -1, -2)
        odd = ["", "1.5", "0x10", "+1", " 1", "01", "1e3", "ten", "nan", "inf", "-inf", "-0", "1e400", "1e-400", "\x001", "9" * 400]
        return self.one(MAX, MAX - 1, MAX + 1, -MAX - 1, -MAX - 2, -MAX, 1 << 64, 1 << 32, (1 << 31) - 1, 1 << 29, 10**30, *odd)

    def float(self):
        return self.one("0.1", "1.5", "-2.25e2", "1e308", "1.7e308", "-1e308", "1e4000", "0.1" + "0" * 300, "3.0", self.number())

    def time(self, unit):
        """A TTL in seconds (1000) or milliseconds (1)."""
        if self.some(0.3):
            return self.one(0, -1, "", "soon", MAX, MAX // 1000, MAX // 1000 + 1, -MAX - 1, 1 << 70, 1 << 48, 1 << 47, "1.5")
        return 10**9 // unit if self.hours else self.one(1, 2, 5, 20, 10**7)

    def at(self, unit):
        return self.one(self.time(unit), 4 * 10**12 // unit, 1, 10**15)

    def key(self, kind=None):
        if self.some(0.6):
            return self.one(*(kind or STRINGS))
        if self.some(0.3):
            return self.one(*CHANGES)
        return self.one(*STRINGS, *HASHES, *LISTS, *STREAMS) if self.some(0.8) else self.one(*ODD_KEYS)

    def field(self):
        return self.one("a", "b", "c", "ttl", "", "\x00\xff", "12", str(self.r.randint(0, 40))) if self.some(0.99) else "f" * 70000

    def value(self):
        if self.some(0.02):
            return self.one("v" * 5000, "w" * 70000, "\n" * 300000)
        return self.one("", "v", "12", "-7", "1.5", "\x00\r\n\xff", str(MAX), str(-MAX - 1), "e" * 45, self.number())

    def expiry(self, *more):
        return self.one(
            [],
            ["EX", self.time(1000)],
            ["PX", self.time(1)],
            ["EXAT", self.at(1000)],
            ["PXAT", self.at(1)],
            [self.one("KEEPTTL", "PERSIST", "EX", "PX", "ENX", *more)],
        )

    def condition(self):
        digest = self.one("0" * 16, "z" * 16, "ff", "")
        return self.one(["NX"], ["XX"], ["IFEQ", self.value()], ["IFNE", self.value()], ["IFDEQ", digest], ["IFDNE", digest], ["IFREV", self.number()], ["IFREV"])

    def soup(self, *makers):
        """Some options, in any order, some twice."""
        words = [make() for make in makers if self.some(0.4)]
        if words and self.some(0.1):
            words.append(self.one(*words))
        self.r.shuffle(words)
        return sum(words, [])

    def set(self):
        stale, lease = (lambda: ["STALE", self.time(1000)]), (lambda: ["LEASE", self.number()])
        return ["SET", self.key(), self.value(), *self.soup(self.condition, self.expiry, lambda: ["GET"], stale, lease)]

    def set_others(self):
        return self.one(
            ["SETEX", self.key(), self.time(1000), self.value()],
            ["PSETEX", self.key(), self.time(1), self.value()],
            ["SETNX", self.key(), self.value()],
            ["GETSET", self.key(), self.value()],
            ["GETDEL", self.key()],
            ["GETEX", self.key(), *self.expiry()],
            ["APPEND", self.key(), self.value()],
            ["SETRANGE", self.key(), self.one(self.number(), 100, 1 << 26, (1 << 29) - 1), self.value()],
            ["DELEX", self.key(), *self.soup(self.condition)],
            ["GETLEASE", self.key(), self.one(1, 10, self.number()), *self.one([], ["WAIT", self.number()], ["WAIT"])],
        )

    def counters(self):
        bounds = self.soup(lambda: ["LBOUND", self.float()], lambda: ["UBOUND", self.float()], lambda: ["SATURATE"], self.expiry, lambda: ["ENX"])
        return self.one(
            [self.one("INCR", "DECR"), self.key(["n", "s"])],
            [self.one("INCRBY", "DECRBY"), self.key(["n", "s"]), self.number()],
            ["INCRBYFLOAT", self.key(["f", "n"]), self.float()],
            ["INCREX", self.key(["f", "n"]), *self.one([], ["BYINT", self.number()], ["BYFLOAT", self.float()]), *bounds],
        )

    def many_strings(self):
        pairs = [w for _ in range(self.one(1, 1, 2, 5)) for w in (self.key(), self.value())]
        n = len(pairs) // 2 if self.some(0.8) else self.number()
        return self.one(
            [self.one("MSET", "MSETNX"), *pairs],
            ["MSETEX", n, *pairs, *self.soup(lambda: [self.one("NX", "XX")], self.expiry)],
            ["MGET", *self.many(self.key)],
        )

    def read_strings(self):
        name = self.one("GET", "STRLEN", "DIGEST", "GETREV", "GETRANGE", "SUBSTR")
        return [name, self.key(), *([self.number(), self.number()] if name in ("GETRANGE", "SUBSTR") else [])]

    def fields(self, make):
        words = self.many(make, 0, 1, 1, 2, 3)
        return ["FIELDS", len(words) if self.some(0.8) else self.number(), *sum(words, [])]

    def names(self):
        return self.fields(lambda: [self.field()])

    def hash_expire(self):
        unit = self.one("", "P")
        ms = 1 if unit else 1000
        key, only = self.key(HASHES), self.one([], [self.one("NX", "XX", "GT", "LT", "FOO")])
        return self.one(
            ["H%sEXPIRE" % unit, key, self.time(ms), *only, *self.names()],
            ["H%sEXPIREAT" % unit, key, self.at(ms), *only, *self.names()],
            [self.one("HTTL", "HPTTL", "HEXPIRETIME", "HPEXPIRETIME", "HPERSIST", "HGETDEL"), key, *self.names()],
            ["HGETEX", key, *self.expiry(), *self.names()],
            ["HSETEX", key, *self.soup(lambda: [self.one("FNX", "FXX")], self.expiry), *self.fields(lambda: [self.field(), self.value()])],
        )

    def hash(self):
        key = self.key(HASHES)
        return self.one(
            [self.one("HSET", "HMSET"), key, *sum(self.many(lambda: [self.field(), self.value()]), [])],
            ["HSETNX", key, self.field(), self.value()],
            [self.one("HDEL", "HMGET"), key, *self.many(self.field)],
            [self.one("HGET", "HEXISTS", "HSTRLEN"), key, self.field()],
            [self.one("HGETALL", "HLEN", "HKEYS", "HVALS"), key],
            ["HINCRBY", key, self.field(), self.number()],
            ["HINCRBYFLOAT", key, self.field(), self.float()],
            ["HRANDFIELD", key, *self.one([], [self.one(-5, 5, -MAX - 1, MAX, "x")], [self.one(-3, 3, -MAX - 1), "WITHVALUES"])],
            ["HSCAN", key, self.number(), *self.soup(lambda: ["MATCH", self.pattern()], lambda: ["COUNT", self.number()], lambda: ["NOVALUES"])],
        )

    def list(self):
        key, side = self.key(LISTS), lambda: self.one("LEFT", "RIGHT", "UP")
        return self.one(
            [self.one("LPUSH", "RPUSH", "LPUSHX", "RPUSHX"), key, *self.many(self.value)],
            [self.one("LPUSH", "RPUSH"), key, *self.many(self.value)],
            [self.one("LPOP", "RPOP"), key, *self.one([], [self.number()])],
            [self.one("LLEN"), key],
            ["LINDEX", key, self.number()],
            ["LSET", key, self.number(), self.value()],
            ["LINSERT", key, self.one("BEFORE", "AFTER", "IN"), self.value(), self.value()],
            [self.one("LRANGE", "LTRIM"), key, self.number(), self.number()],
            ["LREM", key, self.number(), self.value()],
            ["LPOS", key, self.value(), *self.soup(lambda: ["RANK", self.number()], lambda: ["COUNT", self.number()], lambda: ["MAXLEN", self.number()])],
            ["LMOVE", key, self.key(LISTS), side(), side()],
            ["RPOPLPUSH", key, self.key(LISTS)],
            ["BLMOVE", key, self.key(LISTS), side(), side(), self.timeout()],
            ["BRPOPLPUSH", key, self.key(LISTS), self.timeout()],
            [self.one("BLPOP", "BRPOP"), *self.many(lambda: self.key(LISTS)), self.timeout()],
            ["LMPOP", *self.mpop(side)],
            ["BLMPOP", self.timeout(), *self.mpop(side)],
        )

    def timeout(self):
        return self.one("0.001", "0.002", self.number(), "1e-9", "1e30")

    def mpop(self, side):
        keys = self.many(lambda: self.key(LISTS), 0, 1, 1, 2)
        return [len(keys) if self.some(0.8) else self.number(), *keys, side(), *self.one([], ["COUNT", self.number()], ["COUNT"])]

    def keys(self):
        unit = self.one("", "P")
        ms = 1 if unit else 1000
        return self.one(
            [self.one("DEL", "UNLINK", "EXISTS", "TOUCH"), *self.many(self.key)],
            ["%sEXPIRE" % unit, self.key(), self.time(ms), *self.soup(lambda: [self.one("NX", "XX", "GT", "LT", "FOO")])],
            ["%sEXPIREAT" % unit, self.key(), self.at(ms), *self.soup(lambda: [self.one("NX", "XX", "GT", "LT", "FOO")])],
            [self.one("TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME", "TYPE", "PERSIST"), self.key()],
            [self.one("RENAME", "RENAMENX"), self.key(), self.key()],
            ["COPY", self.key(), self.key(), *self.soup(lambda: ["DB", self.one(0, 1, 15, 16, -1, "x", MAX)], lambda: ["REPLACE"])],
            ["MOVE", self.key(), self.one(1, 1, 0, 15, 16, -1, "", MAX)],
            ["SWAPDB", self.one(0, 1, 16, -1, ""), self.one(0, 1, 16, MAX)],
            ["OBJECT", self.one("ENCODING", "REFCOUNT", "IDLETIME", "FREQ", "HELP", "FOO"), self.key()],
            ["MEMORY", "USAGE", self.key(), *self.one([], ["SAMPLES", self.number()])],
            ["SCAN", self.number(), *self.soup(lambda: ["MATCH", self.pattern()], lambda: ["COUNT", self.number()], lambda: ["TYPE", self.one("list", "set", "", "x")])],
            ["KEYS", self.pattern()],
        )

    def pattern(self):
        return self.one("*", "", "[", "[^", "\\", "[a-", "?" * 40, "*a" * 30, "h*", "\x00*", "[\xff-\x00]", "p" * 1100)

    def revisions(self):
        count = self.one([], [], ["COUNT", self.number()], ["COUNT"])
        return self.one(
            ["IFREV", *sum(self.many(lambda: [self.key(), self.number()]), [])],
            ["KEYHIST", self.key(), *count],
            ["GETAT", self.key(), self.one("REV", "TIME", "FOO"), self.one(self.number(), self.at(1))],
        )

    def changes(self):
        """Commands of streams, on streams that cannot be written."""
        key, id = self.one(*CHANGES, self.key()), self.one("0", "-", "+", "$", "1-1", "(5-5", "x", "99999999999999-99", "")
        group = self.one("g", "h", "")
        return self.one(
            ["XADD", key, self.one("*", id), "a", "b"],
            ["XDEL", key, id],
            ["XTRIM", key, self.one("MAXLEN", "MINID"), self.number()],
            ["XSETID", key, id],
            ["XCFGSET", key, "RETENTION-LEN", self.number()],
            ["XREAD", "COUNT", self.number(), *self.one([], ["BLOCK", self.number()]), "STREAMS", key, id],
            [self.one("XRANGE", "XREVRANGE"), key, id, self.one("+", "-", id), "COUNT", self.one(0, 1, 3, "x")],
            ["XLEN", key],
            ["XINFO", self.one("STREAM", "GROUPS"), key],
            ["XGROUP", self.one("CREATE", "SETID", "DESTROY", "CREATECONSUMER"), key, group, id],
            ["XREADGROUP", "GROUP", group, "alice", "COUNT", self.one(1, 2, self.number()), "STREAMS", key, self.one(">", id)],
            [self.one("XACK", "XPENDING"), key, group, *self.one([], [id])],
            ["XCLAIM", key, group, "bob", 0, id],
            ["BECK", self.one("STREAM", "GROUP"), key],
        )

    def any_to_changes(self):
        """Whatever it is, to what cannot be written."""
        words = self.one(self.set, self.set_others, self.counters, self.hash, self.hash_expire, self.list, self.keys)()
        for i in range(1, min(len(words), 4)):
            if words[i] in STRINGS + HASHES + LISTS + STREAMS:
                words[i] = self.one(*CHANGES)
                break
        return words

    def config(self):
        bad = self.one("", "-1", "many", "1e9", "12xb", str(1 << 64), "9" * 30)
        view = self.one("v s", "", "v", "w h VALUES yes", "w h VALUES maybe", "v s VALUES", "\xff x", "v \"", "a b c d", "v s v s", "n" * 3000 + " x")
        words = {
            "maxmemory": bad if self.hours else self.one(bad, "0", "1", "4kb", "20kb", "100kb", "1gb", "50%"),
            "maxmemory-policy": self.one("noeviction", "allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-ttl", "volatile-random", "volatile-lfu", bad),
            "maxmemory-spill": self.one("yes", "no", "maybe", ""),
            "maxmemory-samples": self.one("1", "64", "100000", bad),
            "changes-view": view,
            "changes-key": self.one("beck:changes", "", "s", "\x00", bad) if not self.hours else "",
            "cache-history-age": bad if self.hours else self.one(bad, "1s", "1h", "100000d", "0"),
            "cache-history-bytes": bad if self.hours else self.one(bad, "1mb", "256mb", "1"),
            "cache-durability": self.one("os", "interval", "always", bad),
            "notify-keyspace-events": self.one("KEA", "", "K$lsh", "Q", "\xff", "gxe"),
            "tracking-table-max-keys": self.one("0", "1", "10", bad),
        }
        some = self.r.sample(sorted(words), self.one(1, 1, 1, 2, 3))
        return ["CONFIG", "SET", *[w for name in some for w in (name, words[name])]]

    def pubsub(self):
        name = lambda: self.one("c", "", "\x00\xff", "__keyspace@0__:s", self.pattern(), "c" * 33000)  # noqa: E731
        return self.one(
            [self.one("SUBSCRIBE", "SSUBSCRIBE", "PSUBSCRIBE", "PSUBSCRIBE"), *self.many(name)],
            [self.one("UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"), *self.many(name, 0, 1, 3)],
            [self.one("PUBLISH", "SPUBLISH"), name(), self.value()],
            ["PUBSUB", self.one("CHANNELS", "NUMSUB", "NUMPAT", "SHARDCHANNELS", "FOO"), *self.many(name, 0, 1, 2)],
            self.tracking(),
        )

    def tracking(self):
        prefix = lambda: ["PREFIX", self.one("s", "st", "", "h", "\x00", "p" * 1100)]  # noqa: E731
        redirect = lambda: ["REDIRECT", self.one(0, 1, 2, self.number())]  # noqa: E731
        words = self.soup(redirect, prefix, prefix, lambda: ["BCAST"], lambda: ["BCAST"], lambda: ["OPTIN"], lambda: ["OPTOUT"], lambda: ["NOLOOP"])
        return self.one(["CLIENT", "TRACKING", self.one("ON", "ON", "OFF", "MAYBE"), *words], ["CLIENT", "CACHING", self.one("YES", "NO", "")], ["CLIENT", "TRACKINGINFO"])

    def nested(self):
        return self.one(["MULTI"], ["WATCH", *self.many(self.key)], ["UNWATCH"], ["SELECT", self.one(0, 1, 16, 100, -1, MAX, "x")], ["FLUSHDB", "FOO"])

    def mangle(self, words):
        """A request that lost, doubled or exchanged a word."""
        i, how = self.r.randrange(1, len(words) + 1), self.one("cut", "drop", "twice", "other", "more")
        if how == "cut":
            return words[:i]
        if how == "drop":
            return words[: i - 1] + words[i:] if i > 1 else words
        if how == "twice":
            return words[:i] + words[i - 1 :]
        if how == "other":
            return words[:i] + [self.one(self.number(), "EX", "COUNT", "FIELDS", "LEFT", "IFREV", b"\xff\x00")] + words[i + 1 :]
        return words + [self.one(self.number(), "COUNT", "", "NX")] * self.one(1, 2, 40)

    def request(self, pushes=True):
        kinds = [self.set, self.set, self.set_others, self.counters, self.many_strings, self.read_strings, self.hash, self.hash, self.hash_expire]
        kinds += [self.hash_expire, self.list, self.list, self.keys, self.keys, self.revisions, self.changes, self.any_to_changes, self.config]
        kinds += [self.pubsub] if pushes else []
        words = self.one(*kinds)()
        if self.some(0.2):
            words = self.mangle(words)
        return never_for_long([w if isinstance(w, bytes) else str(w).encode("latin1") for w in words])


def waits_long(word):
    try:
        return not 0 < float(word) <= 0.01
    except ValueError:
        return word.lower().startswith(b"0x")  # which is a number for a broker


def never_for_long(words):
    """A reader must not wait for what never comes: a time that is accepted becomes a moment."""
    name = words[0]
    for i in range(1, len(words)):
        if words[i - 1].upper() in (b"BLOCK", b"WAIT") and re.fullmatch(rb"\+?\d+", words[i]) and int(words[i]) <= MAX:
            words[i] = b"2"
    at = {b"BLPOP": -1, b"BRPOP": -1, b"BLMOVE": -1, b"BRPOPLPUSH": -1, b"BLMPOP": 1}.get(name)
    if at is not None and len(words) > 1 and waits_long(words[at]):
        words[at] = b"0.002"
    return words


def shown(words):
    return " ".join(short(repr(w)[2:-1], 60) for w in words[:40])


def well_said(text):
    """An error: a word in capitals, then a sentence, all printable and of a length that people read."""
    return re.fullmatch(r"[A-Z]+ [ -~\x80-\xff]+", text) is not None and len(text) <= 1100


def check_errors(words, reply):
    if isinstance(reply, Error):
        checks.ok("an error says what was wrong: " + shown(words), well_said(reply), short(reply))
    elif isinstance(reply, list) and words[0] == b"EXEC":
        for part in reply:
            check_errors(words[:1], part)


def fill(c):
    c.pipeline([("SET", "s", "text"), ("SET", "t", "T" * 5000, "EX", 10**6), ("SET", "n", 7), ("SET", "f", "1.5")])
    c.pipeline([("RPUSH", key, *range(30), "v", "", "12") for key in LISTS])
    c.pipeline([("HSET", "h", *[w for i in range(40) for w in (i, i)]), ("HSET", "i", "a", "1", "b", "text", "ttl", "x")])
    c.pipeline([("HEXPIRE", "i", 10**6, "FIELDS", 1, "ttl"), ("XADD", "x", "1-1", "a", "b")])


def replies_until(c, end):
    """What was replied, without messages, until the echo of `end`."""
    replies = []
    while True:
        reply = c.read()
        if isinstance(reply, Push):
            continue
        if reply == end:
            return replies
        replies.append(reply)


def refusals(server, r):
    """Between two digests: what is refused or only reads changes nothing."""
    garbage = Garbage(r, hours=True)
    errors = 0
    with server.connect() as c, server.connect(3) as c3:
        for i in range(scale(4000)):
            if i % 250 == 0:
                c.call("FLUSHALL")
                fill(c)
            to = c3 if r.random() < 0.3 else c
            words, end = garbage.request(pushes=to is c3), b"end %d" % i
            to.sock.sendall(encode("BECK", "DIGEST", "SYNC") + encode(*words) + encode("BECK", "DIGEST", "SYNC") + encode("ECHO", end))
            replies = replies_until(to, end)
            name = words[0].decode().upper()
            pushed = name in PUSHES and len(replies) == 2
            checks.ok("one reply to " + shown(words), len(replies) == 3 or pushed, short(replies))
            if len(replies) != 3:
                continue
            before, reply, after = replies
            check_errors(words, reply)
            errors += isinstance(reply, Error)
            if isinstance(reply, Error) or name in READS_ONLY:
                checks.equal("%s changes nothing: %s" % ("an error" if isinstance(reply, Error) else "reading", shown(words)), after, before)
    print("%d of %d requests were refused" % (errors, scale(4000)))


def too_much(server):
    """One request that asks for a reply without end: the client is closed, and others are served."""
    with server.connect() as c, server.connect() as greedy:
        c.call("FLUSHALL")
        c.call("HSET", "h", "a", "1")
        greedy.send("HRANDFIELD", "h", -MAX)
        greedy.read_to_end()
        checks.equal("the broker goes on", c.call("PING"), Simple("PONG"))


def hidden_names(server):
    """A key that hides a stream of changes, removed by a command that names it again: the stream stays out of reach."""
    cases = [(("DEL", "s", "t", "s"), 2), (("UNLINK", "s", "s"), 1), (("MSETEX", 2, "s", 1, "s", 2, "PXAT", 1), 1)]
    with server.connect() as c:
        for words, want in cases:
            c.call("CONFIG", "SET", "changes-key", "beck:changes")
            c.call("MSET", "s", 1, "t", 1)
            c.call("CONFIG", "SET", "changes-key", "s")
            checks.equal("the key goes once: " + " ".join(map(str, words)), c.call(*words), want)
            checks.equal("and then the stream is seen", c.call("TYPE", "s"), Simple("stream"))
        c.call("CONFIG", "SET", "changes-key", "beck:changes")


def batch(garbage, r):
    """Some requests to be sent at once."""
    requests = [garbage.request(pushes=False) for _ in range(r.randint(1, 12))]
    if r.random() < 0.1:
        requests.insert(r.randrange(len(requests)), [str(w).encode("latin1") for w in garbage.nested()])
    if r.random() < 0.4:
        requests = [[b"MULTI"], *requests, [b"EXEC" if r.random() < 0.9 else b"DISCARD"]]
    return requests + [[b"DISCARD"], [b"SELECT", b"0"]]


def check_transaction(requests, replies):
    requests, replies = requests[:-2], replies[:-2]
    if requests[0] != [b"MULTI"] or requests[-1] != [b"EXEC"]:
        return
    queued = sum(isinstance(x, Simple) and x == "QUEUED" for x in replies[1:-1])
    ran = replies[-1]
    if queued == len(requests) - 2:
        checks.ok("EXEC replies once for each of %d, or not at all" % queued, ran is None or isinstance(ran, Error) or len(ran) == queued, short(ran))
    elif not any(isinstance(x, Error) and "MULTI" in x for x in replies[1:-1]):  # nested, and a WATCH inside, leave it as it was
        checks.ok("EXEC after a bad request is refused", isinstance(ran, Error) and ran.startswith("EXECABORT"), short(ran))


def storm(server, r):
    """Several connections at once, requests in batches."""
    garbage = Garbage(r, hours=False)
    clients = [server.connect(2 + i % 2) for i in range(6)]
    for i in range(scale(200)):
        if i % 50 == 0:
            clients[0].call("CONFIG", "SET", "maxmemory", "1gb")
            clients[0].call("FLUSHALL")
            fill(clients[0])
        if i % 20 == 19:
            clients[0].call("BECK", r.choice(("SEAL", "MERGE")))
        batches, end = [batch(garbage, r) for _ in clients], b"end %d" % i
        for c, requests in zip(clients, batches):
            c.sock.sendall(b"".join(encode(*w) for w in requests) + encode("ECHO", end))
        for c, requests in zip(clients, batches):
            replies = replies_until(c, end)
            checks.equal("one reply each", len(replies), len(requests))
            check_transaction(requests, replies)
            for words, reply in zip(requests, replies):
                check_errors(words, reply)
        if r.random() < 0.05:  # one that leaves in the middle
            clients[0].sock.sendall(encode("BLPOP", "absent", 0))
            clients[0].close()
            clients[0] = server.connect()
    for c in clients:
        c.close()


def hold_still(c):
    """Nothing moves by itself any more: no memory is short, no time runs out."""
    settings = ("maxmemory", "0", "changes-view", "", "changes-key", "beck:changes", "cache-history-age", "1h", "cache-history-bytes", "256mb")
    checks.equal("settings are as they were", c.call("CONFIG", "SET", *settings), Simple("OK"))
    for db in (0, 1):
        c.call("SELECT", db)
        for key in c.call("KEYS", "*"):
            c.call("PERSIST", key)
            if c.call("TYPE", key) == "hash":
                fields = c.call("HKEYS", key)
                c.call("HPERSIST", key, "FIELDS", len(fields), *fields)


def starts_again(server, kill):
    """What is there after all that is there after a restart, too."""
    with server.connect() as c:
        hold_still(c)
        before = c.call("BECK", "DIGEST")
    server.restart(kill=kill)
    with server.connect() as c:
        checks.equal("after a %s it is the same" % ("kill" if kill else "stop"), c.call("BECK", "DIGEST")[1], before[1])


def main():
    print("seed %d" % SEED)
    r = random.Random(SEED)
    with Server(args=["--stream-durability", "os", "--arena-bytes", "256kb", "--wal-file-bytes", "1mb"]) as server:
        try:
            refusals(server, r)
            too_much(server)
            hidden_names(server)
            starts_again(server, kill=True)
            storm(server, r)
            starts_again(server, kill=True)
            starts_again(server, kill=False)
        except (Closed, ConnectionError, OSError, SystemExit) as e:
            print(server.log()[-6000:])
            checks.ok("the broker lives", False, short(repr(e)))
        if server.proc.poll() is None and not checks.failed:
            checks.equal("and ends as it should", server.stop(), 0)
        checks.ok("nothing is wrong in its log", not re.search(r"Sanitizer|runtime error|assert", server.log()), server.log()[-3000:])
    checks.finish()


main()
