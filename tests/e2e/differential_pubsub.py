"""Channels in beckd and in Debian's redis-server: the same commands, the same messages to everybody, in RESP2 and RESP3.

First what is said in a certain order, then random lives of some clients who subscribe, publish, queue, reset and leave. Where
Redis's order is that of a hash table (UNSUBSCRIBE of all, messages of several patterns), what came is compared without it. Then
keyspace events of all commands on streams, and what only beckd can be asked: slow subscribers.

SEED replays a run, SCALE makes it longer.
"""

import random

from beck import Checks, Closed, Server, Simple, decode, scale, seed, wait_until
from listeners import Stage

checks = Checks("differential_pubsub")

SCRIPT = """
2 SUBSCRIBE a a b
2 GET a
2 PING
2 PING x
2 PING x y
2 XINFO STREAM a
2 NOSUCH
2 HELLO 3
2 ECHO
2 MULTI
2 EXEC
3 PUBLISH a m
3 PUBLISH nobody m
2 PSUBSCRIBE a*
3 PUBLISH a m
3 PUBLISH ab m
2 SSUBSCRIBE a
3 SPUBLISH a m
3 SPUBLISH ab m
3 PUBSUB NUMSUB
3 PUBSUB NUMSUB a b c
3 PUBSUB SHARDNUMSUB a b
3 PUBSUB NUMPAT
3 PUBSUB NUMPAT x
3 PUBSUB CHANNELS a*
3 PUBSUB CHANNELS x
3 PUBSUB CHANNELS a b
3 PUBSUB SHARDCHANNELS
3 PUBSUB SHARDCHANNELS b
3 PUBSUB SHARDCHANNELS a b
3 PUBSUB
3 PUBSUB FOO
2 UNSUBSCRIBE b
2 PUNSUBSCRIBE a*
2 SUNSUBSCRIBE a
2 UNSUBSCRIBE nosuch nosuch
2 UNSUBSCRIBE a
2 UNSUBSCRIBE
2 PUNSUBSCRIBE
2 SUNSUBSCRIBE
2 XLEN a
2 MULTI
2 SUBSCRIBE a b
2 XLEN x
2 UNSUBSCRIBE a b
2 EXEC
2 MULTI
2 SUBSCRIBE a
2 EXEC
2 RESET
2 XLEN a
2 SUBSCRIBE
2 PSUBSCRIBE
2 PUBLISH a
2 PUBLISH a b c
2 SSUBSCRIBE
2 SPUBLISH a
3 SUBSCRIBE a
3 PSUBSCRIBE a* a*
3 XLEN a
3 SSUBSCRIBE a
3 PING
3 PING x
3 PUBLISH a m
3 SPUBLISH a m
3 UNSUBSCRIBE nosuch
3 UNSUBSCRIBE
3 UNSUBSCRIBE
3 MULTI
3 SUBSCRIBE a b
3 EXEC
3 HELLO 2
3 XLEN a
3 RESET
3 XLEN a
"""


def scripted(stage):
    stage.where = "in order"
    who = {"2": stage.join(2, "two"), "3": stage.join(3, "three")}
    for line in SCRIPT.strip().split("\n"):
        n, *args = line.split()
        stage.do(who[n], *args)
    stage.close()
    switched_off(stage)


def switched_off(stage):
    """CLIENT REPLY keeps replies back, not messages; there is no echo to wait for while it is off."""
    x, y = stage.join(3, "x"), stage.join(2, "y")
    stage.do(x, "SUBSCRIBE", "a")
    for side in (x.ours, x.theirs):
        for words in (("CLIENT", "REPLY", "OFF"), ("PING", "unheard"), ("SUBSCRIBE", "b"), ("CLIENT", "REPLY", "ON")):
            side.client.send(*words)
    stage.listen()
    for side in (y.ours, y.theirs):
        for words in (("CLIENT", "REPLY", "SKIP"), ("SUBSCRIBE", "c"), ("UNSUBSCRIBE", "c")):
            side.client.send(*words)
    stage.listen()
    for side in (x.ours, x.theirs):
        for words in (("CLIENT", "REPLY", "SKIP"), ("PUBLISH", "a", "to myself")):
            side.client.send(*words)
    stage.listen()
    stage.close()


# ---- random lives ----

NAMES = ["a", "b", "ab", "abc", "with space", "\u00e9"]
PATTERNS = ["a*", "*b", "?", "*", "a[b-c]", "a\\b"]


def unordered(frames):
    """In any order; of what UNSUBSCRIBE ends, which there were and which counts, as the names come in any order too."""
    ends = [decode(f) for f in frames if b"unsubscribe\r" in f[:30]]
    return sorted(f for f in frames if b"unsubscribe\r" not in f[:30]), sorted(str(v[:2]) for v in ends), sorted(v[2] for v in ends)


class Random:
    def __init__(self, r):
        self.r = r

    def names(self, from_, least=0):
        return [self.r.choice(from_) for _ in range(self.r.randint(least, 3))]

    def command(self, x):
        """The words of the next one."""
        r = self.r
        kind = r.random()
        if kind < 0.2:
            return ("SUBSCRIBE", *self.names(NAMES, 1))
        if kind < 0.3:
            return ("PSUBSCRIBE", *self.names(PATTERNS, 1))
        if kind < 0.36:
            return ("SSUBSCRIBE", *self.names(NAMES, 1))
        if kind < 0.5 and not x.queueing:
            names = self.names(NAMES)
            words = r.choice(["UNSUBSCRIBE", "SUNSUBSCRIBE", "PUNSUBSCRIBE"])
            return (words, *(names if words[0] != "P" else self.names(PATTERNS)))
        if kind < 0.8 and not x.queueing:  # 7.0 puts one's own messages into the reply of EXEC
            return (r.choice(["PUBLISH", "PUBLISH", "PUBLISH", "SPUBLISH"]), r.choice(NAMES), "m%d" % r.randint(0, 99))
        if kind < 0.86:
            return r.choice([("PUBSUB", "NUMSUB", *NAMES), ("PUBSUB", "NUMPAT"), ("PUBSUB", "SHARDNUMSUB", *NAMES), ("XLEN", "a")])
        if kind < 0.9 and not x.queueing:
            return ("HELLO", r.choice(["2", "3"]))
        if kind < 0.92:
            return ("RESET",)
        return (r.choice(["MULTI", "EXEC", "EXEC", "DISCARD"]),)


def random_life(stage, r, steps):
    gen = Random(r)
    for i in range(4):
        stage.join(2 + i % 2, "c%d" % i)
    for i in range(steps):
        x = r.choice(stage.listeners)
        if r.random() < 0.01 and not x.queueing:
            stage.leave(x)
            stage.join(r.choice((2, 3)), "n%d" % i)
            continue
        stage.do(x, *gen.command(x), compare=unordered)
        if checks.failed > 5:
            break
    stage.close()


# ---- keyspace events ----

EVENTS = """
XADD k 1-1 a b
XADD k 2-1 a b
XADD k MAXLEN 1 3-1 a b
XADD k MAXLEN = 10 4-1 a b
XADD nomk NOMKSTREAM 1-1 a b
XDEL k 9-9
XDEL k 3-1 4-1
XTRIM k MAXLEN 0
XADD k 10-1 a b
XTRIM k MAXLEN 0
XSETID k 11-1
XADD k 12-1 a b
XGROUP CREATE k g 0
XGROUP CREATE new g 0 MKSTREAM
XGROUP CREATE k g 0
XGROUP CREATECONSUMER k g c
XGROUP CREATECONSUMER k g c
XREADGROUP GROUP g d COUNT 1 STREAMS k >
XCLAIM k g h 0 12-1
XAUTOCLAIM k g j 0 0
XPENDING k g
XACK k g 12-1
XGROUP SETID k g 0
XGROUP DELCONSUMER k g c
XGROUP DELCONSUMER k g c
XGROUP DESTROY k g
XGROUP DESTROY k g
XLEN miss
XRANGE miss - +
EXISTS miss k miss2
TYPE miss
TTL miss
TOUCH miss
XINFO STREAM miss
XTRIM miss MAXLEN 0
XDEL miss 1-1
DEL miss
EXPIRE miss 10
EXPIRE k 100
PERSIST k
PERSIST k
RENAME k k2
XADD k 1-1 a b
RENAME k2 k
RENAMENX k k
DEL k
XADD k 1-1 a b
XADD l 1-1 a b
UNLINK k l
XADD k 1-1 a b
PEXPIRE k -1
XADD k 1-1 a b
EXPIREAT k 1
XADD k 1-1 a b
FLUSHDB
"""


def events(stage, classes, proto):
    stage.where = "events %s, RESP%d" % (classes, proto)
    x = stage.join(2, "who acts")
    stage.do(x, "FLUSHALL")
    stage.do(x, "CONFIG", "SET", "notify-keyspace-events", classes)
    if "n" not in classes:  # 7.0 shows it elsewhere, and forgets it beside A
        stage.do(x, "CONFIG", "GET", "notify-keyspace-events")
    stage.do(stage.join(proto, "who listens"), "PSUBSCRIBE", "__key*__:*")
    for line in EVENTS.strip().split("\n"):
        stage.do(x, *line.split(), compare=lambda frames: [f for f in frames if b"message" in f] or [f[:1] for f in frames])
    stage.do(x, "CONFIG", "SET", "notify-keyspace-events", "")
    stage.do(x, "XADD", "k", "1-1", "a", "b", compare=lambda frames: [f[:1] for f in frames])
    stage.close()


# ---- slow subscribers ----


def closed(c):
    """The connection has been closed, by the server; what was sent before is read."""
    try:
        while True:
            c.read()
    except (Closed, ConnectionError):
        return True


def slow(server):
    """A subscriber that does not read is closed at the hard limit, or some time above the soft one; who reads is not."""
    text = "x" * 50000
    with server.connect() as admin:
        for limit, more in (("pubsub 2mb 0 0", 400), ("pubsub 0 1mb 1", 200)):
            checks.equal("the limit", admin.call("CONFIG", "SET", "client-output-buffer-limit", limit), Simple("OK"))
            with server.connect() as lazy, server.connect(3) as eager:
                lazy.call("SUBSCRIBE", "a")
                eager.call("SUBSCRIBE", "a")
                for _ in range(more):
                    admin.call("PUBLISH", "a", text)
                    checks.ok("a subscriber that reads hears all", eager.read() == [b"message", b"a", text.encode()])
                wait_until(lambda: admin.call("PUBSUB", "NUMSUB", "a")[1] == 1, "the slow subscriber to be closed (%s)" % limit)
                checks.ok("the slow subscriber is closed (%s)" % limit, closed(lazy))
                eager.send("PING")
                checks.equal("... and the other one is not", eager.read(), Simple("PONG"))
        stats = admin.call("INFO", "stats").decode()
        checks.ok("both are counted", "client_output_buffer_limit_disconnections:2\r" in stats, stats)
        checks.ok("it is no normal client", isinstance(admin.call("CLIENT", "LIST", "TYPE", "normal"), bytes))
        with server.connect() as c:
            c.call("SUBSCRIBE", "a")
            line = admin.call("CLIENT", "LIST", "TYPE", "pubsub").decode()
            checks.ok("CLIENT LIST TYPE pubsub", " sub=1 psub=0 ssub=0 " in line and "flags=PU " in line and line.count("\n") == 1, line)
            checks.equal("CLIENT KILL TYPE pubsub", admin.call("CLIENT", "KILL", "TYPE", "pubsub"), 1)
            checks.ok("... closes it", closed(c))


def main():
    number = seed()
    print("differential_pubsub: SEED=%d" % number, flush=True)
    r = random.Random(number)
    beckd, redis = Server(args=["--stream-durability", "os"]), Server(kind="redis")
    try:
        stage = Stage(checks, beckd, redis)
        scripted(stage)
        for classes in ("KEA", "Kg$", "Et", "KEn", "KEmx", "A"):
            events(stage, classes, r.choice((2, 3)))
        for i in range(scale(6)):
            stage.where = "life %d" % i
            random_life(stage, r, 400)
            if checks.failed > 5:
                break
        slow(beckd)
    finally:
        beckd.close()
        redis.close()
        checks.finish()


main()
