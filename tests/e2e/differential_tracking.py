"""CLIENT TRACKING in beckd and in Debian's redis-server: the same commands, the same invalidations to everybody.

First what is said in a certain order: options and what contradicts them, every kind of change of a key, redirection. Then random lives of
clients with all modes in RESP2 and RESP3, who read and write a few keys in several databases.

SEED replays a run, SCALE makes it longer.
"""

import random

from beck import Checks, Server, decode, scale, seed, wait_until
from listeners import Stage

checks = Checks("differential_tracking")

OPTIONS = """
CLIENT TRACKING ON BCAST OPTIN
CLIENT TRACKING ON OPTIN OPTOUT
CLIENT TRACKING ON PREFIX a
CLIENT TRACKING ON REDIRECT x
CLIENT TRACKING ON REDIRECT 999999
CLIENT TRACKING ON REDIRECT
CLIENT TRACKING ON PREFIX
CLIENT TRACKING ON FOO
CLIENT TRACKING MAYBE
CLIENT TRACKING OFF
CLIENT TRACKING ON BCAST PREFIX a PREFIX ab
CLIENT TRACKING ON BCAST PREFIX x PREFIX x
CLIENT TRACKINGINFO
CLIENT CACHING YES
CLIENT GETREDIR
CLIENT TRACKING ON
CLIENT TRACKINGINFO
CLIENT GETREDIR
CLIENT CACHING YES
CLIENT CACHING NO
CLIENT CACHING FOO
CLIENT TRACKING ON BCAST
CLIENT TRACKING ON OPTIN
CLIENT TRACKING ON OPTOUT
CLIENT CACHING NO
CLIENT CACHING YES
CLIENT TRACKINGINFO
CLIENT TRACKINGINFO
XLEN a
CLIENT TRACKINGINFO
CLIENT TRACKING ON NOLOOP
CLIENT TRACKINGINFO
CLIENT TRACKING OFF
CLIENT TRACKING ON OPTOUT
CLIENT CACHING NO
CLIENT TRACKINGINFO
CLIENT TRACKING OFF
CLIENT TRACKINGINFO
CLIENT TRACKING ON BCAST PREFIX b PREFIX a NOLOOP
CLIENT TRACKINGINFO
CLIENT TRACKING ON BCAST PREFIX ab
CLIENT TRACKING ON BCAST PREFIX c
CLIENT TRACKINGINFO
CLIENT TRACKING ON BCAST
CLIENT TRACKINGINFO
CLIENT TRACKING ON
RESET
CLIENT TRACKINGINFO
"""

# One reads the key, another changes it.
CHANGES = """
XADD k 1-1 a b
XADD other 1-1 a b
XDEL k 9-9
XDEL k 1-1
XADD k 2-1 a b
XTRIM k MAXLEN 10
XTRIM k MAXLEN 0
XADD k 3-1 a b
XSETID k 5-5
XGROUP CREATE k g 0
XGROUP CREATECONSUMER k g c
XREADGROUP GROUP g c COUNT 1 STREAMS k >
XACK k g 3-1
XGROUP SETID k g 0
XGROUP DESTROY k g
EXPIRE k 100
PERSIST k
PERSIST k
EXPIRE k 100 XX
TOUCH k
RENAME k k2
RENAME k2 k
DEL k
DEL k
SET k 1
SET k 2
SET k 2 NX
SETEX k 100 v
GETEX k PERSIST
GETEX k
GET k
GETSET k v
APPEND k v
SETRANGE k 2 v
DEL k
INCR k
INCRBYFLOAT k 1.5
DECR other
MSET k 1 other 2
MSETNX k 1
GETDEL k
COPY other k
COPY other k REPLACE
MOVE k 1
DEL k
HSET k f v
HSET k f v
HSETNX k f v
HINCRBY k n 1
HDEL k x
HDEL k f
HGETALL k
DEL k
LPUSH k a b c
LPUSHX k d
LPOP k
LSET k 0 x
LTRIM k 0 -1
LREM k 0 nosuch
LREM k 0 x
LINSERT k BEFORE a b
LMOVE k other2 LEFT LEFT
RPOP k
RPOP k
UNLINK k
SET k v
EXPIRE k 0
SET k v
FLUSHDB
SET k v
FLUSHALL
"""


def options(stage):
    for proto in (2, 3):
        stage.where = "options, RESP%d" % proto
        x = stage.join(proto, "who tracks")
        for line in OPTIONS.strip().split("\n"):
            stage.do(x, *line.split())
        stage.close()


def changes(stage, how):
    stage.where = "changes, %s" % (how,)
    x, y = stage.join(3, "who tracks"), stage.join(2, "who acts")
    stage.do(x, "CLIENT", "TRACKING", "ON", *how)
    stage.do(y, "FLUSHALL")
    for line in CHANGES.strip().split("\n"):
        for words in (("EXISTS", "k"), ("EXISTS", "k2", "other")):
            stage.do(x, *words)
        stage.do(y, *line.split(), compare=lambda frames: sorted(f for f in frames if b"invalidate" in f))
    stage.do(y, "SELECT", "1")
    for words in (("EXISTS", "k"), ("SET", "k", "v"), ("SET", "k", "w")):  # names of all databases are one
        stage.do(x if words[0] == "EXISTS" else y, *words)
    stage.close()


def redirect(stage, x, y, *more):
    """`x` tracks, `y` is told; their numbers differ from server to server."""
    stage.history.append("%s redirects to %s %s" % (x.name, y.name, more))
    numbers = [to.client.call("CLIENT", "ID") for to in (y.ours, y.theirs)]
    for side, number in zip((x.ours, x.theirs), numbers):
        side.client.send("CLIENT", "TRACKING", "ON", "REDIRECT", number, *more)
    stage.listen(first=x)
    return numbers


def leave_for_good(stage, w, y, numbers):
    """Until both servers have noticed."""
    stage.leave(y)
    for side, number in zip((w.ours, w.theirs), numbers):
        wait_until(lambda: not side.client.call("CLIENT", "LIST", "ID", number), "%s to be gone" % y.name)


def redirected(stage):
    stage.where = "redirected"
    w = stage.join(2, "who acts")
    for px in (2, 3):
        for py in (2, 3):
            x, y = stage.join(px, "x"), stage.join(py, "y")
            numbers = redirect(stage, x, y)
            for subscribed in (False, True):
                if subscribed:
                    stage.do(y, "SUBSCRIBE", "anything")
                stage.do(x, "EXISTS", "k", "l")
                stage.do(w, "SET", "k", "v")
                stage.do(w, "SET", "l", "v")
                if px == py:  # 7.0 sends the null of the tracker's protocol, whatever the other speaks
                    stage.do(w, "FLUSHALL")
            stage.do(x, "EXISTS", "k")
            leave_for_good(stage, w, y, numbers)
            stage.do(w, "SET", "k", "v", compare=without_numbers)
            stage.do(x, "CLIENT", "TRACKINGINFO", compare=without_numbers)
            stage.leave(x)
    stage.close()


def without_numbers(frames):
    return [[v for v in decode(f) if not isinstance(v, int)] if b"tracking-redir-broken" in f else f[:60].split(b"redirect")[0] for f in frames]


KEYS = ["a", "ab", "abc", "b", "ba", "c"]
MODES = [(), ("NOLOOP",), ("OPTIN",), ("OPTOUT",), ("BCAST",), ("BCAST", "NOLOOP"), ("BCAST", "PREFIX", "ab", "PREFIX", "b"), ("BCAST", "PREFIX", "a", "NOLOOP")]


def command(r, x):
    kind, key = r.random(), r.choice(KEYS)
    if kind < 0.08:
        return ("CLIENT", "TRACKING", "ON", *r.choice(MODES))
    if kind < 0.1:
        return ("CLIENT", "TRACKING", "OFF")
    if kind < 0.13:
        return ("CLIENT", "CACHING", r.choice(["YES", "NO"]))
    if kind < 0.15:
        return ("CLIENT", "TRACKINGINFO")
    if kind < 0.4:
        return r.choice([("EXISTS", key, r.choice(KEYS)), ("TYPE", key), ("GET", key), ("MGET", key, r.choice(KEYS)), ("TTL", key), ("STRLEN", key)])
    if kind < 0.7:
        return r.choice([("SET", key, "1"), ("INCR", key), ("DEL", key), ("EXPIRE", key, "1000"), ("PERSIST", key), ("APPEND", key, "1"), ("MSET", key, "1", r.choice(KEYS), "2")])
    if kind < 0.74:
        return ("RENAME", key, r.choice(KEYS))
    if kind < 0.76:
        return (r.choice(["FLUSHDB", "FLUSHALL"]),)
    if kind < 0.8:
        return ("SELECT", r.choice("01"))
    if kind < 0.82 and not x.queueing:
        return ("HELLO", r.choice("23"))
    if kind < 0.83:
        return ("RESET",)
    return (r.choice(["MULTI", "EXEC", "EXEC", "DISCARD"]),)


def unordered(frames):
    """A command that changes several keys, or has several clients' prefixes, tells of them in any order."""
    return sorted(frames)


def random_life(stage, r, steps):
    for i in range(4):
        stage.join(3 - (i == 3), "c%d" % i)
    stage.do(stage.listeners[0], "FLUSHALL")
    for i in range(steps):
        x = r.choice(stage.listeners)
        if r.random() < 0.01 and not x.queueing:
            stage.leave(x)
            stage.join(3, "n%d" % i)
            continue
        stage.do(x, *command(r, x), compare=unordered)
        if checks.failed > 5:
            break
    stage.close()


def main():
    number = seed()
    print("differential_tracking: SEED=%d" % number, flush=True)
    r = random.Random(number)
    beckd, redis = Server(args=["--stream-durability", "os"]), Server(kind="redis")
    try:
        stage = Stage(checks, beckd, redis, single=True)
        options(stage)
        for how in ((), ("BCAST",), ("BCAST", "PREFIX", "k", "PREFIX", "other")):
            changes(stage, how)
        redirected(stage)
        for i in range(scale(6)):
            stage.where = "life %d" % i
            random_life(stage, r, 500)
            if checks.failed > 5:
                break
    finally:
        beckd.close()
        redis.close()
        checks.finish()


main()
