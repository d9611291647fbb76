"""Hostile requests to consumer groups: every command of groups, with arguments that no client would send.

One half sends a request at a time between two BECK DIGEST: what is refused, and what only reads, has changed nothing. The
other half is a storm over several connections, inside and outside of MULTI, with times so short that everything moves at once.
In both a broker replies exactly once to each request, its errors are whole sentences of printable text, and afterwards it is
alive and, started again, the same. SEED replays a run, SCALE lengthens it.
"""

import os
import random
import re
import sys

sys.path.insert(0, __file__.rsplit("/", 2)[0] + "/lib")

from beck import Checks, Client, Closed, Error, Server, Simple, encode, scale, seed, short  # noqa: E402

checks = Checks("groups_garbage")
SEED = seed()
MAX = (1 << 63) - 1
KEYS = ["a", "b", "c", "dead", "absent", ""]
GROUPS = ["g", "h", "none", ""]
CONSUMERS = ["alice", "bob", "\x00\xff", ""]
READS_ONLY = {"XPENDING", "XINFO", "BECK"}
HUGE = ["x" * (1 << 20), "\n" * 70000]


class Garbage:
    """Requests at random. `hours`: times are long, so that nothing happens by itself while a request is judged."""

    def __init__(self, r, hours):
        self.r, self.hours = r, hours

    def one(self, *choices):
        return self.r.choice(choices)

    def some(self, share):
        return self.r.random() < share

    def number(self):
        if self.some(0.75):
            return self.one(0, 1, 2, 3, 5, 10, 100)
        return self.one(-1, -2, MAX, MAX + 1, -MAX - 1, 1 << 64, 1 << 32, 10**30, "", "1.5", "0x10", "+1", " 1", "01", "1e3", "ten")

    def ms(self):
        if self.some(0.2):
            return self.number() if not self.hours else self.one(-1, "", "soon", MAX, 1 << 70, 0)
        return self.one(3600000, 7200000, 10**12) if self.hours else self.one(0, 1, 2, 5, 50)

    def id(self):
        if self.some(0.8):
            return "%d-%d" % (self.r.randint(1, 60), self.r.randint(0, 1))
        return self.one("0", "0-0", "7", "$", ">", "-", "+", "(", "(3-1", "*", "5-*", "1-", "-1", "x", "", "18446744073709551615-18446744073709551615", "18446744073709551616-0", "1-2-3")

    def key(self):
        return self.one("a", "a", "a", "b", "c", self.one(*KEYS)) if not self.some(0.005) else self.one(*HUGE)

    def group(self):
        return self.one("g", "g", "h", self.one(*GROUPS)) if not self.some(0.005) else self.one(*HUGE)

    def consumer(self):
        return self.one(*CONSUMERS) if not self.some(0.005) else self.one(*HUGE)

    def ids(self):
        return [self.id() for _ in range(self.one(0, 1, 1, 2, 3, 20))]

    def block(self):
        ids = self.ids()
        return ["IDS", len(ids) if self.some(0.85) else self.number(), *ids]

    def references(self):
        return [self.one("KEEPREF", "DELREF", "ACKED")] if self.some(0.6) else []

    def option(self):
        n = self.one(0, 1, 3, 32, 33)
        return self.one(
            ["ACKWAIT", self.ms()],
            ["MAXDELIVER", self.number()],
            ["DLQ", self.one("dead", "dead", "", self.key())],
            ["BACKOFF", n if self.some(0.8) else self.number(), *[self.ms() for _ in range(n)]],
            ["MAXPENDING", self.number()],
            ["CONSUMERTTL", self.ms()],
            ["ORDERBY", self.one("k", "k", "", "other", "f" * 300)],
            ["MKSTREAM"],
            ["ENTRIESREAD", self.number()],
            [self.one("NONSENSE", "ACKWAIT", "DLQ", "", "HANDBACK")],
        )

    def options(self):
        return [word for _ in range(self.one(0, 1, 1, 2, 4)) for word in self.option()]

    def xgroup(self):
        sub = self.one("CREATE", "CREATE", "CFGSET", "CFGSET", "SETID", "DESTROY", "CREATECONSUMER", "DELCONSUMER", "HELP", "FOO")
        last = {
            "CREATE": [self.id(), *self.options()],
            "CFGSET": self.options(),
            "SETID": [self.id(), *self.options()],
            "CREATECONSUMER": [self.consumer()],
            "DELCONSUMER": [self.consumer(), *self.one([], ["HANDBACK"], ["DISCARD"], ["FOO"])],
        }
        return ["XGROUP", sub, self.key(), self.group(), *last.get(sub, [])]

    def xreadgroup(self):
        n = self.one(1, 1, 1, 2, 3)
        words = self.one([], ["COUNT", self.number()], ["BLOCK", self.number()], ["NOACK"], ["CLAIM", self.number()], ["MAXCOUNT", self.number()], ["MAXSIZE", self.number()])
        where = [self.key() for _ in range(n)] + [self.one(">", ">", ">", self.id()) for _ in range(n)]
        return ["XREADGROUP", "GROUP", self.group(), self.consumer(), *words, "STREAMS", *where]

    def xack(self):
        return ["XACK", self.key(), self.group(), *self.ids()]

    def xackdel(self):
        return ["XACKDEL", self.key(), self.group(), *self.references(), *self.block()]

    def xdelex(self):
        return ["XDELEX", self.key(), *self.references(), *self.block()]

    def xnack(self):
        words = [self.block(), self.one([], ["RETRYCOUNT", self.number()]), self.one([], ["DELAY", self.ms()]), self.one([], ["FORCE"])]
        return ["XNACK", self.key(), self.group(), self.one("FAIL", "SILENT", "FATAL", "FATAL", "FOO"), *sum(words, [])]

    def xclaim(self):
        kinds = [["RETRYCOUNT", self.number()], ["FORCE"], ["JUSTID"], ["LASTID", self.id()]]
        if not self.hours:  # else it would have failed long ago
            kinds += [["IDLE", self.ms()], ["TIME", self.number()]]
        words = [word for _ in range(self.one(0, 1, 2)) for word in self.one(*kinds)]
        return ["XCLAIM", self.key(), self.group(), self.consumer(), self.number(), *self.ids(), *words]

    def xautoclaim(self):
        return ["XAUTOCLAIM", self.key(), self.group(), self.consumer(), self.number(), self.id(), *self.one([], ["COUNT", self.number()], ["JUSTID"])]

    def xpending(self):
        words = self.one([], [self.id(), self.id(), self.number()], ["-", "+", self.number(), self.consumer()], ["IDLE", self.ms(), "-", "+", self.number()])
        return ["XPENDING", self.key(), self.group(), *words]

    def xtrim(self):
        limit = self.one([], ["LIMIT", self.number()])
        return ["XTRIM", self.key(), self.one("MAXLEN", "MINID", "MAX"), *self.one([], ["~"], ["="]), self.one(self.number(), self.id(), 40), *limit, *self.references()]

    def xadd(self):
        words = self.references() + self.one([], [], ["NOMKSTREAM"], ["MAXLEN", self.one(30, self.number())], ["MINID", "~", self.id()])
        fields = ["k", self.one("x", "y", "z")] if self.some(0.8) else [self.one("k", "", *HUGE)] * self.one(1, 2, 3)
        return ["XADD", self.key(), *words, self.one("*", "*", self.id()), *fields]

    def xinfo(self):
        sub = self.one("GROUPS", "CONSUMERS", "STREAM", "FOO")
        return ["XINFO", sub, self.key(), *self.one([self.group()], [], ["FULL"], ["FULL", "COUNT", self.number()])]

    def beck(self):
        return ["BECK", "GROUP", self.key(), *self.one([self.group()], [], [self.group(), self.number()])]

    def xdlq(self):
        redrive = [self.key(), self.group(), *self.one([], ["COUNT", self.number()], ["ALLGROUPS"], ["COUNT"], ["FOO"])]
        return ["XDLQ", *self.one(["INFO", self.one("dead", self.key())], ["REDRIVE", self.one("dead", self.key()), *redrive], ["FOO"])]

    def xcfgset(self):
        yes = "maybe" if self.hours else "yes"  # which trims when it sees fit
        return ["XCFGSET", self.key(), "RETENTION-ACKED", self.one(yes, "no", "maybe"), *self.one([], ["RETENTION-ACKED-MAX-AGE", self.ms()])]

    def others(self):
        if self.hours:
            return ["XDEL", self.key(), *self.ids()]
        return self.one(["DEL", self.key()], ["RENAME", self.key(), self.key()], ["EXPIRE", self.key(), 1], ["MOVE", self.key(), 1], ["BECK", "SEAL"], ["SWAPDB", 0, 1])

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
            return words[:i] + [self.one(self.number(), self.id(), "FORCE", "COUNT", "IDS", "STREAMS", "GROUP", b"\xff\x00")] + words[i + 1 :]
        return words + [self.one(self.number(), "COUNT", "", "DLQ")] * self.one(1, 2, 40)

    def request(self):
        kinds = [self.xgroup, self.xreadgroup, self.xack, self.xackdel, self.xdelex, self.xnack, self.xclaim, self.xautoclaim]
        kinds += [self.xpending, self.xtrim, self.xadd, self.xinfo, self.beck, self.xdlq, self.xcfgset, self.others]
        kinds += [self.xreadgroup, self.xadd, self.xadd, self.xnack]
        words = self.one(*kinds)()
        if self.some(0.2):
            words = self.mangle(words)
        return never_for_long([w if isinstance(w, bytes) else str(w).encode("latin1") for w in words])


def never_for_long(words):
    """A reader must not wait for what never comes: what BLOCK accepts becomes a moment."""
    for i in range(1, len(words)):
        if words[i - 1].upper() == b"BLOCK" and re.fullmatch(rb"\d+", words[i]) and int(words[i]) <= MAX:
            words[i] = b"2"
    return words


def shown(words):
    return " ".join(short(w.decode("latin1"), 60) for w in words[:40])


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
    for key in "abc":
        c.pipeline([("XADD", key, "%d-1" % i, "k", "xyz"[i % 3], "n", i) for i in range(1, 61)])
        c.call("XGROUP", "CREATE", key, "g", "0")
        c.call("XREADGROUP", "GROUP", "g", "alice", "COUNT", 30, "STREAMS", key, ">")
    c.call("XGROUP", "CFGSET", "a", "g", "MAXDELIVER", 3, "DLQ", "dead", "BACKOFF", 1, 3600000)
    c.call("XGROUP", "CREATE", "b", "h", "0", "ORDERBY", "k", "MAXPENDING", 50)


def refusals(server, r):
    """Between two digests: what is refused or only reads changes nothing."""
    garbage = Garbage(r, hours=True)
    errors = 0
    with server.connect() as c, server.connect(3) as c3:
        for i in range(scale(3500)):
            if i % 500 == 0:
                c.call("FLUSHALL")
                fill(c)
            words, to = garbage.request(), c3 if r.random() < 0.3 else c
            to.sock.sendall(encode("BECK", "DIGEST") + encode(*words) + encode("BECK", "DIGEST") + encode("ECHO", "end %d" % i))
            before, reply, after, end = to.read(), to.read(), to.read(), to.read()
            checks.equal("one reply to " + shown(words), end, b"end %d" % i)
            check_errors(words, reply)
            errors += isinstance(reply, Error)
            if isinstance(reply, Error) or words[0] in READS_ONLY:
                checks.equal("%s changes nothing: %s" % ("an error" if isinstance(reply, Error) else "reading", shown(words)), after, before)
    print("%d of %d requests were refused" % (errors, scale(3500)))


def batch(garbage, r):
    """Some requests to be sent at once, and what their replies are to look like."""
    requests = [garbage.request() for _ in range(r.randint(1, 12))]
    if r.random() < 0.4:
        requests = [[b"MULTI"], *requests, [b"EXEC" if r.random() < 0.9 else b"DISCARD"]]
    return requests


def check_transaction(requests, replies):
    if requests[0] != [b"MULTI"] or requests[-1] != [b"EXEC"]:
        return
    queued = sum(isinstance(x, Simple) and x == "QUEUED" for x in replies[1:-1])
    ran = replies[-1]
    if queued == len(requests) - 2:
        checks.ok("EXEC replies once for each of %d" % queued, isinstance(ran, Error) or len(ran) == queued, short(ran))
    else:
        checks.ok("EXEC after a bad request is refused", isinstance(ran, Error) and ran.startswith("EXECABORT"), short(ran))


def storm(server, r):
    """Several connections at once, requests in batches."""
    garbage = Garbage(r, hours=False)
    clients = [server.connect(r.choice((2, 3))) for _ in range(6)]
    fill(clients[0])
    for i in range(scale(250)):
        batches = [batch(garbage, r) for _ in clients]
        for c, requests in zip(clients, batches):
            c.sock.sendall(b"".join(encode(*w) for w in requests) + encode("ECHO", "end %d" % i))
        for c, requests in zip(clients, batches):
            replies = [c.read() for _ in requests]
            checks.equal("one reply each", c.read(), b"end %d" % i)
            check_transaction(requests, replies)
            for words, reply in zip(requests, replies):
                check_errors(words, reply)
        if i % 60 == 59:
            clients[0].call("FLUSHALL")
            fill(clients[0])
        if r.random() < 0.05:  # one that leaves in the middle
            clients[0].sock.sendall(encode("XREADGROUP", "GROUP", "g", "gone", "BLOCK", 0, "STREAMS", "a", ">"))
            clients[0].close()
            clients[0] = server.connect()
    for c in clients:
        c.close()


def hold_still(c):
    """Nothing moves by itself any more: no time runs out, no dead entry waits for its stream."""
    for db in (0, 1):
        c.call("SELECT", db)
        for key in c.call("KEYS", "*"):
            c.call("PERSIST", key)
            if c.call("TYPE", key) != "stream":
                continue
            c.call("XCFGSET", key, "RETENTION-ACKED", "no", "RETENTION-ACKED-MAX-AGE", 0)
            for group in c.call("XINFO", "GROUPS", key):
                name = dict(zip(group[::2], group[1::2]))[b"name"]
                words = "ACKWAIT 0 BACKOFF 0 MAXDELIVER 0 CONSUMERTTL 0".split()
                checks.equal("options go away", c.call("XGROUP", "CFGSET", key, name, *words, "DLQ", ""), Simple("OK"))


def starts_again(server):
    """What is there after all that is there after a kill, too."""
    with server.connect() as c:
        hold_still(c)
        before = c.call("BECK", "DIGEST")
    server.restart(kill=True)
    with server.connect() as c:
        checks.equal("after a kill it is the same", c.call("BECK", "DIGEST")[1], before[1])


def main():
    print("seed %d" % SEED)
    r = random.Random(SEED)
    with Server(args=["--stream-durability", "os"]) as server:
        try:
            refusals(server, r)
            storm(server, r)
            starts_again(server)
        except (Closed, ConnectionError, OSError, SystemExit) as e:
            print(server.log()[-6000:])
            checks.ok("the broker lives", False, short(repr(e)))
        checks.equal("and ends as it should", server.stop(), 0)
        checks.ok("nothing is wrong in its log", not re.search(r"Sanitizer|runtime error|assert", server.log()), server.log()[-3000:])
    checks.finish()


main()
