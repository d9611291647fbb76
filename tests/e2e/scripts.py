"""Scripts that are known run as in Debian's redis-server, error texts included; Lock of python3-redis works; others are refused.

The texts of scripts are taken from python3-redis as it is installed; those of npm's packages are run by tests/clients.
"""

import hashlib
import re

import redis
import redis.lock
from beck import Checks, Error, Server, short

checks = Checks("scripts")

LOCK = redis.lock.Lock
TEXTS = {"REL": LOCK.LUA_RELEASE_SCRIPT, "EXT": LOCK.LUA_EXTEND_SCRIPT, "REA": LOCK.LUA_REACQUIRE_SCRIPT}

SCRIPT = """
SET l tok PX 100000
REL 1 l other
REL 1 nokey tok
EXT 1 l tok 1000 0
PTTL l
EXT 1 l tok 5000 1
PTTL l
EXT 1 l tok abc 0
EXT 1 l tok abc 1
EXT 1 l tok
EXT 1 l tok 1000
EXT 1 l
EXT 0
EXT 1 l tok 1.5 0
EXT 1 l tok 1e3 0
EXT 1 l tok 99999999999999999999 0
EXT 1 l tok -99999999 0
EXISTS l
SET l tok
EXT 1 l tok 1000 0
REA 1 l tok 5000
PTTL l
REA 1 l tok x
REA 1 l tok
REA 1 l nope 5
REL 1 l tok
EXISTS l
REL 0
REL 2 a
REL -1
REL x
REL 1 a
REL 2 a b c d e
LPUSH list a
REL 1 list a
EXT 1 list a 1 0
REA 1 list a 1
HSET hash f v
REL 1 hash v
SET l tok
MULTI
REL 1 a b
REL 1 l tok
REL 1 l tok
INCR n
EXEC
EXISTS l
SCRIPT KILL
SCRIPT FLUSH
SCRIPT FLUSH SYNC
SCRIPT FLUSH ASYNC
SCRIPT FLUSH x
SCRIPT FLUSH SYNC x
SCRIPT FOO
SCRIPT
SCRIPT EXISTS
SCRIPT LOAD
EVAL
EVAL x
EVALSHA abc 0
EVALSHA abc 5
EVALSHA aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 0
EVALSHA aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa x
EVALSHA aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 1
EVALSHA_RO aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 0
"""


def rounded(raw):
    """Times to live are near each other: all of them stand for one."""
    return re.sub(rb":\d\d\d\d+\r", b":time\r", raw)


def sha1(text):
    return hashlib.sha1(text.encode()).hexdigest()


def beside_redis(beckd, peer):
    for proto in (2, 3):
        ours, theirs = beckd.connect(proto), peer.connect(proto)
        for c in (ours, theirs):
            c.call("FLUSHALL")
        for line in SCRIPT.strip().split("\n"):
            words = line.split()
            if words[0] in TEXTS:
                words = ["EVAL", TEXTS[words[0]]] + words[1:]
            checks.equal("RESP%d: %s" % (proto, line), rounded(ours.raw(*words)), rounded(theirs.raw(*words)))
        for name, text in TEXTS.items():
            for words in (("SCRIPT", "LOAD", text), ("SCRIPT", "EXISTS", sha1(text), "a" * 40), ("EVALSHA", sha1(text).upper(), 1, "none", "t", "1", "1")):
                checks.equal("RESP%d: %s %s" % (proto, name, words[0]), ours.raw(*words), theirs.raw(*words))
            for c in (ours, theirs):
                c.call("SET", "ro", "t", "PX", "100000")
            for words in (("EVAL_RO", text, 1, "ro", "t", "1", "1"), ("EVALSHA_RO", sha1(text), 1, "ro", "other")):
                checks.equal("RESP%d: %s %s" % (proto, name, words[0]), ours.raw(*words), theirs.raw(*words))


def unknown(beckd):
    text = "return 'some script\r\n of my own'"
    with beckd.connect() as c:
        for words in (("EVAL", text, 0), ("EVAL_RO", text, 0), ("SCRIPT", "LOAD", text)):
            got = c.call(*words)
            checks.ok("%s of an unknown script names it" % words[0], isinstance(got, Error) and got.startswith("ERR unknown script " + sha1(text)), short(got))
        checks.equal("it is not known then", c.call("SCRIPT", "EXISTS", sha1(text)), [0])
        checks.equal("all words are looked at first", c.call("EVAL", text, "x"), Error("ERR value is not an integer or out of range"))


def python_lock(server, name):
    """Everything that Lock does, with one that is held and one that is not."""
    client = redis.Redis(unix_socket_path=server.path)
    lock, other = client.lock("lock", timeout=100), client.lock("lock", timeout=100, blocking=False)
    checks.ok(name + ": acquired", lock.acquire())
    checks.ok(name + ": ... by one", not other.acquire() and lock.locked() and lock.owned() and not other.owned())
    checks.ok(name + ": extended", lock.extend(100) and 190000 < client.pttl("lock") <= 200000)
    checks.ok(name + ": ... to a time", lock.extend(50, replace_ttl=True) and 40000 < client.pttl("lock") <= 50000)
    checks.ok(name + ": reacquired", lock.reacquire() and 90000 < client.pttl("lock") <= 100000)
    lock.release()
    checks.ok(name + ": released", client.exists("lock") == 0 and other.acquire())
    for what in ("extend", "reacquire", "release"):
        client.delete("lock")
        other.local.token = b"mine"
        try:
            getattr(other, what)(*([1] if what == "extend" else []))
            checks.ok("%s: %s what is not held" % (name, what), False)
        except redis.exceptions.LockNotOwnedError:
            checks.ok("%s: %s what is not held" % (name, what), True)
    with client.lock("lock", timeout=100):
        checks.equal(name + ": held inside", client.exists("lock"), 1)
    checks.equal(name + ": ... and not outside", client.exists("lock"), 0)
    client.close()


def all_or_nothing():
    """What a script has done is there after a kill, under the class that holds."""
    with Server(args=["--cache-durability", "always"]) as server:
        with server.connect() as c:
            c.call("SET", "l", "tok", "PX", "100000")
            checks.equal("a lock is extended", c.call("EVAL", TEXTS["EXT"], 1, "l", "tok", "900000", "0"), 1)
            c.call("SET", "gone", "tok")
            checks.equal("... another released", c.call("EVAL", TEXTS["REL"], 1, "gone", "tok"), 1)
        server.restart(kill=True)
        with server.connect() as c:
            checks.ok("both are so after a kill", c.call("PTTL", "l") > 800000 and c.call("EXISTS", "gone") == 0)


def main():
    with Server() as beckd, Server(kind="redis") as peer:
        beside_redis(beckd, peer)
        unknown(beckd)
        python_lock(peer, "redis")
        python_lock(beckd, "beckd")
    all_or_nothing()
    checks.finish()


main()
