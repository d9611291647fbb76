"""More than maxmemory: what beckd refuses then is what Debian's redis-server refuses, in the same words, in and out of transactions.

Both have keys, then a limit below what these take, and nothing that may leave. Which keys leave by which policy is claimed in
tests/test_evict.c.
"""

from beck import Checks
from differ import World

checks = Checks("differential_memory")

COMMANDS = r"""
SET a 1; SETEX a 10 v; MSET a 1 b 2; MSETNX x 1; APPEND k1 x; INCR n; INCRBYFLOAT n 1; SETRANGE k1 0 x; GETSET k1 x; SETNX x 1
GET k1; STRLEN k1; MGET k1 k2; EXISTS k1; TTL k1; TYPE k1; GETRANGE k1 0 3; KEYS none; PING; ECHO x; SELECT 0; TIME; DBSIZE; GETDEL k9; GETEX k1; DEL k8; UNLINK k7
EXPIRE k1 1000; PERSIST k1; RENAME k1 k0; COPY k0 k1; MOVE k0 1; SELECT 1; DEL k0; SELECT 0
HSET h f v; HSETNX h g v; HINCRBY h n 1; HINCRBYFLOAT h n 1; HMSET h f v; HGET h f; HGETALL h; HDEL h f; HLEN h
RPUSH l x; LPUSH l x; RPUSHX l x; LINSERT l BEFORE a x; LSET l 0 x; LMOVE l m LEFT LEFT; RPOPLPUSH l m; LRANGE l 0 -1; LPOP l; RPOP l; LLEN l; LREM l 0 x; LTRIM l 0 1
XADD s 1-1 f v; XLEN s; XTRIM s MAXLEN 1; XDEL s 1-1; XRANGE s - +; XGROUP CREATE s g 0; XACK s g 1-1
MULTI; SET a 1; EXEC; MULTI; GET k2; EXEC; MULTI; DISCARD; MULTI; PING; DISCARD; MULTI; EXEC; WATCH k2; UNWATCH
SUBSCRIBE; PUBLISH c m; CONFIG GET maxmemory-policy; OBJECT ENCODING k2; FLUSHDB x
"""


def run(world, conn, text):
    for command in text.replace("\n", ";").split(";"):
        if command.split():
            world.do(conn, *command.split())


def limit(conn, value):
    for c in (conn.ours, conn.theirs):
        c.call("CONFIG", "SET", "maxmemory", value)


def full(world, proto):
    conn = world.connect(proto, "m")
    world.where = "full, RESP%d" % proto
    world.flush(conn)
    limit(conn, "0")
    for i in range(50):
        conn.both("SET", "k%d" % i, "some value")
    conn.both("RPUSH", "l", "a", "b", "c")
    conn.both("HSET", "h", "f", "v")
    conn.both("XADD", "s", "1-0", "f", "v")
    limit(conn, "1")
    run(world, conn, COMMANDS)
    limit(conn, "0")
    run(world, conn, "MULTI; SET a 1; GET k2")
    other = world.connect(2, "n")
    limit(other, "1")
    other.close()
    run(world, conn, "EXEC; GET a; PING")
    limit(conn, "0")
    run(world, conn, "SET a 1; GET a; MULTI; SET a 2; EXEC; GET a")
    conn.close()


def settings(world):
    conn = world.connect(2, "s")
    world.where = "settings"
    run(world, conn, "CONFIG SET maxmemory -1; CONFIG SET maxmemory x; CONFIG SET maxmemory-policy lru; CONFIG SET maxmemory 100mb; CONFIG GET maxmemory")
    for policy in ("allkeys-lru", "ALLKEYS-LFU", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl", "noeviction"):
        run(world, conn, "CONFIG SET maxmemory-policy %s; CONFIG GET maxmemory-policy" % policy)
    run(world, conn, "CONFIG SET maxmemory-samples 0; CONFIG SET maxmemory-samples 10; CONFIG GET maxmemory-samples; CONFIG GET lfu-log-factor; CONFIG GET lfu-decay-time")
    run(world, conn, "SET k v; OBJECT FREQ k; CONFIG SET maxmemory-policy allkeys-lfu; SET k2 v; OBJECT FREQ k2; OBJECT FREQ none; OBJECT IDLETIME k2; CONFIG SET maxmemory-policy noeviction; OBJECT FREQ k2")
    conn.close()


def main():
    world = World(checks)
    try:
        settings(world)
        for proto in (2, 3):
            full(world, proto)
    finally:
        world.close()
    checks.finish()


main()
