"""Redis's own tools and Debian's Python client against beckd, without special settings."""

import os
import re
import subprocess

from beck import Checks, Server, encode, localhost, short

checks = Checks("clients: redis-cli, redis-benchmark, python3-redis")
PYTHON = os.environ.get("PYTHON", "/usr/bin/python3")


def run(argv, stdin=b"", timeout=60, env=None):
    """(exit status, stdout, stderr) of a program."""
    env = dict(os.environ, **(env or {}))
    done = subprocess.run(argv, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout, env=env)
    return done.returncode, done.stdout, done.stderr


def cli(server, *args, stdin=b"", tcp=True):
    where = ["-p", str(server.port)] if tcp else ["-s", server.path]
    return run(["redis-cli", *where, *args], stdin)


def redis_cli(server):
    for flags in ((), ("-3",)):
        name = "redis-cli %s" % " ".join(flags)
        for tcp in (True, False):
            status, out, err = cli(server, *flags, "PING", tcp=tcp)
            checks.equal(name + ": PING", (status, out, err), (0, b"PONG\n", b""))
        cli(server, "DEL", "cli")
        status, out, _ = cli(server, *flags, "XADD", "cli", "1-1", "from", "HAM", "to", "JFK")
        checks.equal(name + ": XADD", (status, out), (0, b"1-1\n"))
        status, out, _ = cli(server, *flags, "XADD", "cli", "1-1", "a", "b")
        checks.ok(name + ": an error is shown", b"ERR The ID specified in XADD is equal or smaller" in out, short(out))
        status, out, _ = cli(server, *flags, "XRANGE", "cli", "-", "+")
        checks.equal(name + ": XRANGE", out.split(), [b"1-1", b"from", b"HAM", b"to", b"JFK"])
        status, out, _ = cli(server, *flags, "XREAD", "STREAMS", "cli", "0")
        checks.equal(name + ": XREAD", out.split()[:2], [b"cli", b"1-1"])
        status, out, _ = cli(server, *flags, "INFO", "server")
        checks.ok(name + ": INFO", b"redis_version:8.8.0" in out and b"\nbeck_version:" in out, short(out))
        status, out, _ = cli(server, *flags, "--json" if flags else "--csv", "CONFIG", "GET", "save")
        checks.ok(name + ": CONFIG GET", b'"save"' in out, short(out))
        status, out, _ = cli(server, *flags, stdin=b"PING\nSELECT 3\nXLEN cli\nSELECT 0\nXLEN cli\nECHO 'a b'\n")
        checks.equal(name + ": commands of standard input", out, b"PONG\nOK\n0\nOK\n1\na b\n")
        status, out, _ = cli(server, *flags, "-r", "5", "XADD", "cli", "*", "f", "v")
        checks.equal(name + ": -r 5", len(out.split()), 5)
    status, out, _ = cli(server, stdin=b"MULTI\nXADD m 1-1 a b\nXLEN m\nEXEC\n")
    checks.equal("redis-cli: a transaction", out, b"OK\nQUEUED\nQUEUED\n1-1\n1\n")
    status, out, _ = cli(server, "-3", "--no-raw", "XINFO", "STREAM", "m")
    checks.ok("redis-cli -3: XINFO is a map", b'# "length" => (integer) 1' in out, short(out))
    status, out, _ = cli(server, "--no-raw", "XRANGE", "cli", "1-1", "1-1")
    checks.equal("redis-cli for people", out.splitlines()[0], b'1) 1) "1-1"')
    status, out, _ = cli(server, "-n", "2", "XADD", "other", "1-1", "f", "v")
    checks.equal("redis-cli -n selects a database", cli(server, "-n", "2", "DBSIZE")[1], b"1\n")
    checks.equal("... of its own", cli(server, "EXISTS", "other")[1], b"0\n")


def redis_cli_modes(server):
    n = 20000
    requests = b"".join(encode("XADD", "piped", "%d-1" % (i + 1), "n", i) for i in range(n))
    status, out, err = cli(server, "--pipe", stdin=requests)
    checks.ok("redis-cli --pipe: all replies, no errors", b"errors: 0, replies: %d" % n in out, short(out + err))
    checks.equal("... and all is there", cli(server, "XLEN", "piped")[1], b"%d\n" % n)
    with subprocess.Popen(["redis-cli", "-p", str(server.port), "--stat", "-i", "0.1"], stdout=subprocess.PIPE) as stat:
        lines = [stat.stdout.readline() for _ in range(4)]
        stat.terminate()
    figures = lines[2].split()
    checks.ok(
        "redis-cli --stat: keys, memory, clients, requests", figures[0].isdigit() and int(figures[0]) >= 2, short(lines)
    )
    status, out, _ = cli(server, "--scan", "--pattern", "pip*")
    checks.equal("redis-cli --scan", out, b"piped\n")
    status, out, _ = cli(server, "--bigkeys")
    checks.ok(
        "redis-cli --bigkeys finds the longest stream",
        status == 0 and b"piped" in out and b"%d entries" % n in out,
        short(out),
    )
    status, out, _ = run(["redis-cli", "-p", str(server.port), "--latency", "--raw", "-i", "0.1"], timeout=10)
    checks.ok("redis-cli --latency --raw", status == 0 and len(out.split()) == 4, short(out))


def redis_cli_password():
    with Server(args=["--requirepass", "secret"]) as server:
        checks.ok("redis-cli without the password", b"NOAUTH" in cli(server, "PING")[1])
        for flags in ((), ("-3",)):
            got = cli(server, *flags, "-a", "secret", "--no-auth-warning", "PING")
            checks.equal("redis-cli %s -a" % " ".join(flags), got[1], b"PONG\n")
        got = cli(server, "--user", "default", "--pass", "secret", "--no-auth-warning", "PING")
        checks.equal("redis-cli --user --pass", got[1], b"PONG\n")
        got = run(
            ["redis-cli", "-u", "redis://default:secret@127.0.0.1:%d/3" % server.port, "--no-auth-warning", "PING"]
        )
        checks.equal("redis-cli -u", got[1], b"PONG\n")
        checks.ok("redis-cli with a wrong one", b"WRONGPASS" in b"".join(cli(server, "-a", "wrong", "PING")[1:]))


def benchmark(server, *args):
    return run(["redis-benchmark", "-p", str(server.port), *args], timeout=120)


def redis_benchmark(server):
    for flags in ((), ("-3",)):
        name = "redis-benchmark %s" % " ".join(flags)
        status, out, err = benchmark(server, *flags, "-t", "ping", "-n", "5000", "-q")
        rates = re.findall(rb"(PING_\w+): ([\d.]+) requests per second", out)
        checks.ok(
            name + ": -t ping",
            status == 0 and [r[0] for r in rates] == [b"PING_INLINE", b"PING_MBULK"],
            short(out + err),
        )
        for pipeline in ("1", "16", "64"):
            key = "bench%s%s" % (pipeline, "".join(flags))
            status, out, err = benchmark(
                server, *flags, "-n", "6400", "-c", "10", "-P", pipeline, "-q", "XADD", key, "*", "field", "__rand_int__"
            )
            checks.ok(
                name + ": XADD, pipeline %s" % pipeline,
                status == 0 and b"requests per second" in out and b"rror" not in out,
                short(out + err),
            )
            checks.equal("... all of them", cli(server, "XLEN", key)[1], b"6400\n")
    status, out, err = benchmark(server, "-n", "2000", "-c", "50", "-q", "XRANGE", "bench1", "-", "+", "COUNT", "10")
    checks.ok("redis-benchmark: XRANGE", status == 0 and b"requests per second" in out, short(out + err))
    status, out, err = run(["redis-benchmark", "-s", server.path, "-t", "ping", "-n", "2000", "-q"])
    checks.ok("redis-benchmark over the Unix socket", status == 0 and b"PING_MBULK" in out, short(out + err))
    status, out, err = benchmark(server, "-t", "ping", "-n", "2000", "--threads", "2", "-q")
    checks.ok("redis-benchmark --threads", status == 0 and b"PING_MBULK" in out, short(out + err))


# Runs in Debian's Python, with nothing but python3-redis; prints one line a claim.
PYTHON_CLAIMS = r"""
import sys, threading
import redis

port, path, host = int(sys.argv[1]), sys.argv[2], sys.argv[3]

def claim(name, holds):
    print(("ok " if holds else "no ") + name)

for kind, r in (("TCP", redis.Redis(host=host, port=port)), ("Unix", redis.Redis(unix_socket_path=path)),
                ("URL", redis.from_url("redis://127.0.0.1:%d/1" % port, decode_responses=True, client_name="py"))):
    text = kind == "URL"
    w = (lambda s: s) if text else (lambda s: s.encode())
    claim(kind + ": ping", r.ping() is True)
    r.flushdb()
    first = r.xadd("s", {"from": "HAM", "n": 1})
    second = r.xadd("s", {"from": "JFK", "n": 2}, maxlen=100, approximate=False)
    claim(kind + ": xadd gives growing IDs", first < second)
    claim(kind + ": xlen", r.xlen("s") == 2)
    ham, jfk = {w("from"): w("HAM"), w("n"): w("1")}, {w("from"): w("JFK"), w("n"): w("2")}
    claim(kind + ": xrange", r.xrange("s") == [(first, ham), (second, jfk)])
    claim(kind + ": xrevrange", [e[0] for e in r.xrevrange("s", count=1)] == [second])
    claim(kind + ": xread", r.xread({"s": first}) == [[w("s"), [(second, jfk)]]])
    claim(kind + ": xread of nothing", r.xread({"s": second}) == [])
    claim(kind + ": xread that times out", r.xread({"s": "$"}, block=1) == [])
    about = r.xinfo_stream("s")
    claim(kind + ": xinfo_stream", about["length"] == 2 and about["last-generated-id"] == second)
    claim(kind + ": xinfo_stream full", len(r.xinfo_stream("s", full=True)["entries"]) == 2)
    claim(kind + ": xdel", r.xdel("s", first) == 1 and r.xlen("s") == 1)
    claim(kind + ": xtrim", r.xtrim("s", maxlen=0, approximate=False) == 1)
    claim(kind + ": type", r.type("s") == w("stream"))
    claim(kind + ": keys", r.keys("*") == [w("s")] and list(r.scan_iter("s*")) == [w("s")] and r.dbsize() == 1)
    claim(kind + ": expire", r.expire("s", 100) is True and 90 < r.ttl("s") <= 100 and r.persist("s") is True)
    claim(kind + ": rename, exists, delete", r.rename("s", "t") is True and r.exists("t") == 1 and r.delete("t") == 1)
    claim(kind + ": xgroup_create", r.xgroup_create("jobs", "g", "0", mkstream=True) is True)
    claim(kind + ": xgroup_createconsumer", r.xgroup_createconsumer("jobs", "g", "alice") == 1)
    for i in range(1, 5):
        r.xadd("jobs", {"n": i}, id="%d-0" % i)
    job = [(w("%d-0" % i), {w("n"): w(str(i))}) for i in range(5)]
    claim(kind + ": xreadgroup", r.xreadgroup("g", "alice", {"jobs": ">"}, count=3) == [[w("jobs"), job[1:4]]])
    claim(kind + ": xreadgroup, noack, block", r.xreadgroup("g", "bob", {"jobs": ">"}, noack=True, block=1) == [[w("jobs"), job[4:]]])
    claim(kind + ": xreadgroup of history", r.xreadgroup("g", "alice", {"jobs": "2-0"}) == [[w("jobs"), job[3:4]]])
    claim(kind + ": xpending", r.xpending("jobs", "g")["consumers"] == [{"name": w("alice"), "pending": 3}])
    rows = r.xpending_range("jobs", "g", "-", "+", 10, consumername="alice", idle=0)
    claim(kind + ": xpending_range", [(x["message_id"], x["times_delivered"]) for x in rows] == [(job[i][0], 1 + (i == 3)) for i in (1, 2, 3)])
    claim(kind + ": xclaim", r.xclaim("jobs", "g", "bob", 0, ["1-0"]) == job[1:2])
    claim(kind + ": xautoclaim", r.xautoclaim("jobs", "g", "bob", 0, count=1) == [w("2-0"), job[1:2], []])
    claim(kind + ": xack", r.xack("jobs", "g", "1-0", "9-0") == 1)
    claim(kind + ": xinfo_groups", [(x["name"], x["pending"], x["lag"]) for x in r.xinfo_groups("jobs")] == [(w("g"), 2, 0)])
    claim(kind + ": xinfo_consumers", [(x["name"], x["pending"]) for x in r.xinfo_consumers("jobs", "g")] == [(w("alice"), 2), (w("bob"), 0)])
    claim(kind + ": xinfo_stream full has groups", len(r.xinfo_stream("jobs", full=True)["groups"]) == 1)
    claim(kind + ": xgroup_setid", r.xgroup_setid("jobs", "g", "0") is True)
    claim(kind + ": xgroup_delconsumer", r.xgroup_delconsumer("jobs", "g", "alice") == 2)
    claim(kind + ": xgroup_destroy", r.xgroup_destroy("jobs", "g") == 1 and r.delete("jobs") == 1)
    with r.pipeline() as p:
        p.xadd("a", {"x": 1}, id="1-1").xadd("b", {"y": 2}, id="1-1").xlen("a")
        claim(kind + ": a transaction", p.execute() == [w("1-1"), w("1-1"), 1])
    with r.pipeline(transaction=False) as p:
        for i in range(1000):
            p.xadd("a", {"i": i})
        claim(kind + ": a pipeline of 1,000", len(set(p.execute())) == 1000 and r.xlen("a") == 1001)
    def add_twice(p):
        n = p.xlen("a")
        p.multi()
        p.xadd("a", {"n": n})
    claim(kind + ": watch", len(r.transaction(add_twice, "a")) == 1)
    with r.pipeline() as p:
        p.watch("a")
        r.xadd("a", {"x": 1})
        p.multi()
        p.xlen("a")
        try:
            p.execute()
            claim(kind + ": a changed key stops EXEC", False)
        except redis.WatchError:
            claim(kind + ": a changed key stops EXEC", True)
    try:
        r.xadd("a", {"x": 1}, id="1-1")
        claim(kind + ": errors arrive", False)
    except redis.ResponseError as e:
        claim(kind + ": errors arrive", str(e).startswith("The ID specified in XADD is equal or smaller"))
    db = 1 if text else 0
    claim(kind + ": info", r.info()["redis_version"] == "8.8.0" and r.info("keyspace")["db%d" % db]["keys"] == 2)
    claim(kind + ": config_get", r.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"})
    claim(kind + ": client_list", any(c["cmd"] == "client|list" for c in r.client_list()))
    claim(kind + ": client_info", r.client_info()["db"] == db)
    claim(kind + ": client_setname", text and r.client_getname() == "py" or r.client_setname("x") is True)
    claim(kind + ": command", r.command_count() == len(r.command()) and r.command()["xadd"]["arity"] == -5)
    claim(kind + ": command_getkeys", r.command_getkeys("XADD", "k", "*", "f", "v") == ["k"])
    claim(kind + ": time", len(r.time()) == 2)
    claim(kind + ": role", r.role() == [w("master"), 0, []])
    claim(kind + ": wait", r.wait(0, 1) == 0)
    claim(kind + ": echo", r.echo("hello") == w("hello"))
    big = "x" * (1 << 20)
    claim(kind + ": a value of 1 MiB", r.xrange("big", r.xadd("big", {"v": big}))[0][1][w("v")] == w(big))
    got = []
    reader = threading.Thread(target=lambda: got.extend(r.xread({"late": "$"}, block=20000)))
    reader.start()
    while r.info("clients")["blocked_clients"] == 0:
        pass
    sent = r.xadd("late", {"f": "v"})
    reader.join()
    claim(kind + ": a blocked xread gets what comes", got == [[w("late"), [(sent, {w("f"): w("v")})]]])
    r.close()
print("end")
"""


def python_redis(server):
    status, out, err = run([PYTHON, "-c", PYTHON_CLAIMS, str(server.port), server.path, localhost()])
    if b"No module named 'redis'" in err:
        raise SystemExit("python3-redis is missing: apt-get install python3-redis")
    lines = out.decode().splitlines()
    for line in lines[:-1]:
        checks.ok("python3-redis over " + line[3:], line.startswith("ok "))
    checks.ok(
        "python3-redis: the claims are all there",
        status == 0 and lines[-1:] == ["end"],
        short(err.decode()[-600:], 700),
    )
    with Server(args=["--requirepass", "secret"]) as locked:
        code = "import redis, sys; r = redis.Redis(sys.argv[2], int(sys.argv[1]), password='secret'); print(r.ping())"
        checks.equal("python3-redis with a password", run([PYTHON, "-c", code, str(locked.port), localhost()])[1], b"True\n")


def main():
    with Server(args=["--stream-durability", "interval"]) as server:
        redis_cli(server)
        redis_cli_modes(server)
        redis_benchmark(server)
    with Server() as server:
        python_redis(server)
    redis_cli_password()
    checks.finish()


main()
