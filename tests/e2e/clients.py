"""The clients that Debian has, without special settings: redis-cli, redis-benchmark, python3-redis.

npm's clients are in tests/clients, behind `make test-clients`.
"""

import os
import shutil
import subprocess

from beck import Checks, Server, scale

KIND = os.environ.get("CLIENTS_SERVER", "beckd")  # "redis": to see that the test itself is right


def run(*argv, stdin=None):
    done = subprocess.run([str(a) for a in argv], input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode("utf-8", "replace")


def redis_cli(checks, port):
    def cli(*words, stdin=None):
        return run("redis-cli", "-p", port, *words, stdin=stdin)

    checks.equal("redis-cli: PING", cli("ping"), (0, "PONG\n"))
    checks.equal("redis-cli: XADD", cli("xadd", "cli", "1-1", "name", "Ada"), (0, "1-1\n"))
    checks.equal("redis-cli: XRANGE", cli("xrange", "cli", "-", "+"), (0, "1-1\nname\nAda\n"))
    checks.equal("redis-cli -3: XLEN in RESP3", cli("-3", "xlen", "cli"), (0, "1\n"))
    status, text = cli("-3", "--no-raw", "xinfo", "stream", "cli")
    checks.ok("redis-cli -3: XINFO is a map", '# "length" => (integer) 1' in text, text)
    status, text = cli("xadd", "cli", "1-1", "name", "Ada")
    checks.ok("redis-cli: an error is shown", "equal or smaller" in text, text)
    many = "".join("XADD piped * n %d\n" % i for i in range(1000)).encode()
    status, text = cli("--pipe", stdin=many)
    checks.ok("redis-cli --pipe: no errors", status == 0 and "errors: 0, replies: 1000" in text, text)
    checks.equal("redis-cli: all of them are there", cli("xlen", "piped"), (0, "1000\n"))
    status, text = cli(stdin=b"MULTI\nXADD m 1-1 a b\nXLEN m\nEXEC\n")
    checks.equal("redis-cli: a transaction from stdin", text, "OK\nQUEUED\nQUEUED\n1-1\n1\n")
    status, text = cli("--scan", "--pattern", "p*")
    checks.equal("redis-cli --scan", text, "piped\n")
    status, text = cli("info", "server")
    checks.ok("redis-cli: INFO names a version", "redis_version:" in text, text)


def redis_benchmark(checks, port):
    n = scale(20000)
    status, text = run("redis-benchmark", "-p", port, "-t", "ping", "-n", n, "-q")
    checks.ok("redis-benchmark -t ping", status == 0 and text.count("requests per second") == 2, text[-300:])
    status, text = run("redis-benchmark", "-p", port, "-n", n, "-P", 16, "-q", "XADD", "bench", "*", "field", "value")
    checks.ok("redis-benchmark XADD", status == 0 and "requests per second" in text, text[-300:])
    checks.equal("redis-benchmark: every XADD is there", run("redis-cli", "-p", port, "xlen", "bench"), (0, "%d\n" % n))


def python_redis(checks, port):
    import redis

    for decode in (True, False):
        r = redis.Redis(port=port, decode_responses=decode)
        text = (lambda s: s) if decode else (lambda s: s.encode())
        key = "py:%s" % decode
        checks.equal("python3-redis: PING", r.ping(), True)
        first = r.xadd(key, {"name": "Ada", "n": 1})
        second = r.xadd(key, {"name": "Grace", "n": 2})
        entries = [(first, {text("name"): text("Ada"), text("n"): text("1")}),
                   (second, {text("name"): text("Grace"), text("n"): text("2")})]
        checks.equal("python3-redis: XRANGE", r.xrange(key), entries)
        checks.equal("python3-redis: XREVRANGE", r.xrevrange(key, count=1), entries[1:])
        checks.equal("python3-redis: XREAD", r.xread({key: first}), [[text(key), entries[1:]]])
        checks.equal("python3-redis: XLEN", r.xlen(key), 2)
        checks.equal("python3-redis: XINFO STREAM", r.xinfo_stream(key)["length"], 2)
        checks.equal("python3-redis: XDEL", r.xdel(key, first), 1)
        checks.equal("python3-redis: XTRIM", r.xtrim(key, maxlen=0, approximate=False), 1)
        pipe = r.pipeline(transaction=True)
        for i in range(500):
            pipe.xadd(key, {"n": i})
        checks.equal("python3-redis: a transaction of 500", len(set(pipe.execute())), 500)
        checks.equal("python3-redis: SCAN", set(r.scan_iter(match="py:%s" % decode)), {text(key)})
        checks.equal("python3-redis: XREAD BLOCK gives up", r.xread({key: "$"}, block=10), [])
        try:
            r.xadd(key, {"a": "b"}, id="1-1")
            checks.ok("python3-redis: a small ID is refused", False)
        except redis.ResponseError as e:
            checks.ok("python3-redis: a small ID is refused", "equal or smaller" in str(e), str(e))
        r.close()


def main():
    checks = Checks("clients")
    for program in ("redis-cli", "redis-benchmark"):
        if shutil.which(program) is None:
            raise SystemExit("%s is missing: apt-get install redis-tools" % program)
    with Server(KIND, tcp=True) as server:
        for story in (redis_cli, redis_benchmark, python_redis):
            story(checks, server.port)
        checks.equal("the server ends with status 0", server.stop(), 0)
    checks.finish()


main()
