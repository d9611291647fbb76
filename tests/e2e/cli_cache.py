"""The command line's cache: beck get, set, del, ttl, keys, watch and hist against a running beckd."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from beck import Server
from tool import Run, ToolChecks, spawn

checks = ToolChecks("cli_cache")
has, status = checks.has, checks.status

ANY = bytes(range(256))


def test_usage():
    for args, why in [
        (["set", "k", "v", "--ttl", "0"], "would not be there"),
        (["set", "k", "v", "--ttl", "soon"], "soon"),
        (["set", "k", "v", "--if-rev", "1", "--nx"], "--if-rev excludes"),
        (["get", "k", "--at", "yesterday"], "is no time"),
        (["get", "k", "--at", "1h ago", "--rev", "7"], "exclude each other"),
        (["ttl", "k", "x"], "nor never"),
        (["keys", "--prefix", "a", "b*"], "exclude each other"),
        (["watch", "--from", "x"], "--from"),
        (["get"], "something is missing"),
    ]:
        run = Run(*args)
        status("%s is wrong usage" % args, run, 2)
        has("%s: what is wrong is named" % args, run.err, why)


def test_strings(server):
    status("a value is set", Run("set", "a", "hello", server=server), 0)
    run = Run("get", "a", server=server)
    checks.equal("its bytes are printed, and no others", run.out, b"hello")
    checks.equal("--json is a JSON value", Run("get", "a", "--json", server=server).json(), "hello")
    status("what stdin has is set", Run("set", "bytes", stdin=ANY, server=server), 0)
    checks.equal("any bytes come back", Run("get", "bytes", server=server).out, ANY)
    status("an empty value is one", Run("set", "empty", "", server=server), 0)
    checks.equal("and is printed as nothing", Run("get", "empty", server=server).out, b"")
    run = Run("get", "none", server=server)
    status("a key that is not there ends with 4", run, 4)
    has("and is named", run.err, "no key \"none\"")
    checks.equal("stdout is empty then", run.out, b"")


def test_conditions(server):
    status("--nx sets a new key", Run("set", "n", "1", "--nx", server=server), 0)
    status("--nx leaves an old one", Run("set", "n", "2", "--nx", server=server), 4)
    status("--xx wants one", Run("set", "m", "2", "--xx", server=server), 4)
    first = Run("set", "r", "1", "--if-rev", "0", server=server)
    status("--if-rev 0 makes a key", first, 0)
    again = Run("set", "r", "2", "--if-rev", first.text.strip(), server=server)
    status("its revision is printed and can be used", again, 0)
    status("an old revision is refused", Run("set", "r", "3", "--if-rev", first.text.strip(), server=server), 4)
    checks.equal("and nothing has changed", Run("get", "r", server=server).out, b"2")
    checks.equal("an old revision's value is still told",
                 Run("get", "r", "--rev", first.text.strip(), server=server).out, b"1")


def test_ttl(server):
    Run("set", "t", "1", "--ttl", "2d", server=server)
    left = int(Run("ttl", "t", "--json", server=server).text)
    checks.ok("the time to live is told", 172700000 < left <= 172800000, left)
    checks.equal("a key without says never", Run("ttl", "a", server=server).text, "never\n")
    checks.equal("null as JSON", Run("ttl", "a", "--json", server=server).text, "null\n")
    status("a time is set", Run("ttl", "a", "5m", server=server), 0)
    checks.ok("and is told", 0 < int(Run("ttl", "a", "--json", server=server).text) <= 300000)
    status("and taken away", Run("ttl", "a", "never", server=server), 0)
    status("twice", Run("ttl", "a", "never", server=server), 0)
    checks.equal("never again", Run("ttl", "a", server=server).text, "never\n")
    for args in (["ttl", "none"], ["ttl", "none", "5m"], ["ttl", "none", "never"]):
        status("%s: there is no such key" % args, Run(*args, server=server), 4)


def test_types(server):
    with server.connect() as c:
        c.call("HSET", "h", "name", "Ada", "n", "7", "blank s", "x")
        c.call("RPUSH", "l", "one", "two words", "3")
        c.call("XADD", "s", "*", "f", "v")
    checks.equal("a hash is printed by field", Run("get", "h", server=server).text, 'name Ada\nn 7\n"blank s" x\n')
    checks.equal("as JSON an object", Run("get", "h", "--json", server=server).json(), {"name": "Ada", "n": 7, "blank s": "x"})
    has("a list is printed by element", Run("get", "l", server=server).text, "one", "two words", "3")
    checks.equal("as JSON an array", Run("get", "l", "--json", server=server).json(), ["one", "two words", "3"])
    run = Run("get", "s", server=server)
    status("a stream is refused", run, 1)
    has("and what to do is told", run.err, "beck consume s")


def test_keys(server):
    with server.connect() as c:
        for i in range(2500):
            c.call("SET", "session:%d" % i, "x" * 50, "EX", 1000)
        for i in range(30):
            c.call("SET", "page*:%d" % i, "y" * 100)
    names = Run("keys", "--prefix", "session:", server=server).text.split()
    checks.equal("all keys of a prefix", sorted(names), sorted("session:%d" % i for i in range(2500)))
    names = Run("keys", "--prefix", "page*:", server=server).text.split()
    checks.equal("a star in the prefix is a star", len(names), 30)
    checks.equal("a pattern is one", len(Run("keys", "session:1??", server=server).text.split()), 100)
    stats = {row["prefix"]: row for row in Run("keys", "--stats", "--json", server=server).json_lines()}
    checks.equal("sums tell how many", (stats["session:"]["keys"], stats["page*:"]["keys"]), (2500, 30))
    checks.equal("and how many expire", (stats["session:"]["expiring"], stats["page*:"]["expiring"]), (2500, 0))
    checks.ok("and how large they are", stats["page*:"]["bytes"] >= 30 * 100 and stats["page*:"]["largest"] >= 100)
    has("for people a table", Run("keys", "--stats", server=server).text, "PREFIX", "session:")
    row = Run("keys", "h", "--details", "--json", server=server).json()
    checks.equal("details of one", (row["key"], row["type"], "ttl_ms" in row), ("h", "hash", False))
    checks.equal("keys of a type", Run("keys", "--type", "list", server=server).text, "l\n")
    run = Run("keys", "nothing*", server=server)
    status("no keys are no error", run, 0)
    has("but are told", run.err, "no such keys")


def test_del(server):
    status("keys are removed", Run("del", "h", "l", server=server), 0)
    status("some were not there", Run("del", "h", "empty", server=server), 5)
    status("none was", Run("del", "h", "l", server=server), 4)


def test_watch_and_hist(server):
    watch = spawn(server, "watch", "w:", "--json", "--from", "start", "--count", "4")
    with server.connect() as c:
        c.call("SET", "w:1", "a")
        c.call("SET", "other", "b")
        c.call("HSET", "w:2", "f", "v")
        c.call("RENAME", "w:1", "w:3")
        c.call("DEL", "w:2")
    out, err = watch.communicate(timeout=30)
    checks.equal("watch ends after its count", watch.returncode, 0)
    import json
    rows = [json.loads(line) for line in out.splitlines()]
    checks.equal("changes of the prefix come in order", [(r["op"], r["key"]) for r in rows],
                 [("set", "w:1"), ("set", "w:2"), ("rename", "w:1"), ("del", "w:2")])
    checks.equal("a new name is told", rows[2].get("to"), "w:3")
    with server.connect() as c:
        c.call("SET", "hist", "1")
        c.call("SET", "hist", "2")
        c.call("DEL", "hist")
    rows = Run("hist", "hist", "--json", server=server).json_lines()
    checks.equal("what happened to a key, the newest first", [r["op"] for r in rows], ["del", "set", "set"])
    checks.ok("revisions go down", rows[0]["rev"] > rows[1]["rev"] > rows[2]["rev"])
    checks.equal("and what was set", [r.get("values") for r in rows[1:]], [[2], [1]])
    checks.equal("at most so many", len(Run("hist", "hist", "-c", "1", "--json", server=server).json_lines()), 1)
    status("nothing is known of a strange key", Run("hist", "strange", server=server), 4)
    run = Run("get", "hist", "--at", "1h ago", server=server)
    checks.ok("an hour ago is not kept, or there was nothing", run.status in (1, 4), run.status)


def main():
    test_usage()
    with Server("beckd") as server:
        for test in (test_strings, test_conditions, test_ttl, test_types, test_keys, test_del, test_watch_and_hist):
            test(server)
    checks.finish()


main()
