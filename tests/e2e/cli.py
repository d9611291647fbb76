"""The command line: every command, its exit codes, help and JSON, against a real server.

Runs against beckd; with CLI_SERVER=redis against Debian's redis-server, which knows all commands that
beck sends. BECK names the program (build/beck). The random part prints its seed and takes SEED and SCALE.
"""

import base64
import json
import os
import pty
import random
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from beck import ROOT, TIMEOUT_S, Server, free_port, localhost, scale, seed, wait_until
from tool import BECK, Run, ToolChecks, environment, spawn

KIND = os.environ.get("CLI_SERVER", "beckd")

checks = ToolChecks("cli")
has, status = checks.has, checks.status


# ---- Usage, help, settings: no server ----


def all_commands():
    return list(Run("help", "--json").json())


def test_help():
    overview = Run("help")
    status("help ends well", overview, 0)
    checks.equal("help writes nothing to stderr", overview.err, "")
    for name in all_commands():
        has("help lists every command", overview.text, "  " + name)
        words = name.split()
        by_option = Run(*words, "--help")
        status("%s --help ends well" % name, by_option, 0)
        checks.equal("%s --help is help %s" % (name, name), by_option.out, Run("help", *words).out)
        has("%s --help begins with its usage" % name, by_option.text, "Usage: beck " + name)
        for line in by_option.text.splitlines():
            checks.ok("help of %s fits 80 columns" % name, len(line) <= 80, line)
    checks.equal("--help alone is help", Run("--help").out, overview.out)
    checks.ok("--version names the version", re.fullmatch(r"beck \d+\.\d+\.\d+\n", Run("--version").text))
    checks.equal("--version behind a command too", Run("ping", "--version").out, Run("--version").out)


def test_man_page():
    with open(os.path.join(ROOT, "docs", "man", "beck.1"), "rb") as f:
        checks.ok(
            "docs/man/beck.1 is what `beck help --man` prints", f.read() == Run("help", "--man").out, "make it anew"
        )
    page = Run("help", "--man").text.replace("\\-", "-")
    for name in all_commands():
        has("the man page has every command", page, ".SS beck " + name)
        for option in re.findall(r"--[a-z-]+", Run("help", *name.split()).text):
            if option not in ("--help",):
                has("the man page has %s of %s" % (option, name), page, option)


def test_library_man_page():
    with open(os.path.join(ROOT, "client", "beck.h"), encoding="utf-8") as f:
        functions = set(re.findall(r"BECK_API [a-z_0-9 *]*?(beck_[a-z_]+)\(", f.read()))
    with open(os.path.join(ROOT, "docs", "man", "libbeck.3"), encoding="utf-8") as f:
        page = f.read()
    checks.ok("beck.h has functions", len(functions) > 20, str(functions))
    for name in functions:
        has("libbeck.3 has every function", page, name + "(")


def test_usage_errors():
    cases = [
        ([], "which command?"),
        (["consum", "s"], "did you mean: beck consume?"),
        (["pign"], "did you mean: beck ping?"),
        (["xyzzy"], 'there is no command "xyzzy"'),
        (["stream"], "stream ls, stream info, stream rm"),
        (["stream", "lss"], "did you mean: beck stream ls?"),
        (["stream", "--json"], "stream ls"),
        (["consume"], "something is missing"),
        (["consume", "a", "b"], '"b" is too much'),
        (["consume", "s", "--cuont", "3"], "did you mean --count?"),
        (["consume", "s", "--count"], "--count wants a value"),
        (["consume", "s", "--count", "x"], '"x" is not a number'),
        (["consume", "s", "--count", "-1"], "is not a number"),
        (["consume", "s", "--count", "99999999999999999999"], "is not a number"),
        (["consume", "s", "--follow=yes"], "takes no value"),
        (["consume", "s", "--from", "yesterday"], "neither start, end, an ID"),
        (["consume", "s", "--from", "2026-02-30"], "neither start"),
        (["consume", "s", "--from", "2026-01-31T25:00:00Z"], "neither start"),
        (["consume", "s", "--from", "2 fortnights ago"], "neither start"),
        (["consume", "s", "-z"], "unknown option -z"),
        (["-z", "ping"], "unknown option -z"),
        (["--prot", "3", "ping"], "did you mean --port?"),
        (["ping", "--timeout", "-1"], "number of seconds"),
        (["ping", "--timeout", "1.2345"], "number of seconds"),
        (["ping", "-p", "0"], "port:"),
        (["ping", "-p", "65536"], "port:"),
        (["ping", "-n", "x"], "db:"),
        (["ping", "--url", "http://h"], "--url: the URL does not begin"),
        (["ping", "--url", "beck://u:hidden@h:x"], "port:"),
        (["ping", "-h", "h", "-s", "/s"], "exclude each other"),
        (["ping", "--password-file", "/nonexistent"], "cannot read the password file"),
        (["call"], "something is missing"),
        (["help", "nothing"], "no command"),
        (["produce", "s", "/nonexistent/file"], "cannot read /nonexistent/file"),
    ]
    for args, want in cases:
        run = Run(*args)
        status("beck %s is a usage error" % " ".join(args), run, 2)
        has("beck %s tells why" % " ".join(args), run.err, want)
        checks.equal("a usage error leaves stdout empty", run.out, b"")
        if "/nonexistent/file" not in args:
            has("a usage error says what to try (%s)" % " ".join(args), run.err, "Try: beck help")
        checks.ok("no password in messages", "hidden" not in run.err)
    run = Run("ping", env=environment(BECK_URL="nonsense"))
    status("a bad BECK_URL is a usage error", run, 2)
    has("and is named", run.err, "BECK_URL")


def test_no_server():
    port = free_port()
    for args in (["-p", str(port)], ["-s", "/nonexistent/sock"], ["-h", "::1", "-p", str(port)]):
        run = Run(*args, "ping")
        status("no server is status 3", run, 3)
        has("no server says where and what to try", run.err, args[-1], "beckd", "--url")
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        run = Run("-p", str(silent.getsockname()[1]), "--connect-timeout", "0.05", "ping")
        status("a server that says nothing at the login is status 3", run, 3)
        has("and is told", run.err, "in time")
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen(1)

        def http():
            c = other.accept()[0]
            c.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            c.close()

        thread = threading.Thread(target=http)
        thread.start()
        run = Run("-p", str(other.getsockname()[1]), "ping")
        thread.join()
        status("something else than a server is status 3", run, 3)
        has("and is told", run.err, "really a Beck or Redis server")


# ---- Commands ----


def test_ping_info_call(server):
    run = Run("ping", server=server)
    status("ping ends well", run, 0)
    checks.ok("ping prints the answer", run.text.startswith("PONG from unix:"), run.text)
    checks.equal("ping --json", Run("ping", "--json", server=server).json()["reply"], "PONG")
    checks.equal("--json before the command too", Run("--json", "ping", server=server).json()["reply"], "PONG")
    run = Run("info", "server", server=server)
    has("info prints INFO", run.text, "redis_version:")
    info = Run("info", "--json", server=server).json()
    checks.equal("info --json has sections and numbers", type(info["Server"]["tcp_port"]), int)
    checks.equal("call prints a status", Run("call", "PING", server=server).text, "PONG\n")
    checks.equal("call prints a string as it is", Run("call", "ECHO", "a b\nc", server=server).text, "a b\nc\n")
    checks.equal("call prints nil", Run("call", "XRANGE", "none", "-", "+", server=server).text, "(empty)\n")
    checks.equal("call takes options of the command's", Run("call", "XLEN", "-n", server=server).text, "(integer) 0\n")
    run = Run("call", "XADD", "c", "1-1", "f", "-1", "g", "x\ty", server=server)
    checks.equal("call XADD", run.text, "1-1\n")
    run = Run("call", "XRANGE", "c", "-", "+", server=server)
    checks.equal(
        "call numbers and indents what is nested",
        run.text,
        '1) 1) "1-1"\n   2) 1) "f"\n      2) "-1"\n      3) "g"\n      4) "x\\ty"\n',
    )
    Run("call", "XADD", "esc", "*", "f", "\x1b[31m\x9b\u0085", server=server)
    for args in (["call", "XRANGE", "esc", "-", "+"], ["consume", "esc"], ["stream", "info", "esc"]):
        run = Run(*args, server=server)
        checks.ok("%s prints nothing that steers a terminal" % args[0], not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", run.text), run.text)
    checks.equal(
        "call --json prints the reply as JSON",
        Run("call", "--json", "XRANGE", "c", "-", "+", server=server).json(),
        [["1-1", ["f", "-1", "g", "x\ty"]]],
    )
    checks.equal("call prints maps", Run("call", "--json", "XINFO", "STREAM", "c", server=server).json()["length"], 1)
    run = Run("call", "XADD", "c", "1-1", "f", "v", server=server)
    status("an error reply is status 1", run, 1)
    has("an error reply goes to stderr", run.err, "equal or smaller than the target stream top item")
    checks.equal("and not to stdout", run.out, b"")
    run = Run("call", "--json", "NOSUCH", server=server)
    status("an error reply with --json is status 1", run, 1)
    has("and is JSON", run.json()["error"], "ERR unknown command")
    run = Run("--timeout", "0.05", "call", "XREAD", "BLOCK", "0", "STREAMS", "c", "$", server=server)
    status("no answer in time is status 4", run, 4)
    has("and says what to try", run.err, "--timeout")


def test_databases_and_urls(server):
    url = "unix://%s?db=3" % server.path
    run = Run("--url", url, "produce", "d", stdin=b'{"a":1}\n')
    status("a database in the URL", run, 0)
    checks.equal("-n chooses the database", Run("-n", "3", "call", "XLEN", "d", server=server).text, "(integer) 1\n")
    checks.equal("the others do not have it", Run("call", "XLEN", "d", server=server).text, "(integer) 0\n")
    env = environment(BECK_URL=url)
    checks.equal("BECK_URL names the server", Run("call", "XLEN", "d", env=env).text, "(integer) 1\n")
    checks.equal("-n is over BECK_URL", Run("-n", "0", "call", "XLEN", "d", env=env).text, "(integer) 0\n")
    run = Run("-n", "99999", "ping", server=server)
    status("a database that is not there is status 1", run, 1)
    has("and is told", run.err, "DB index is out of range")
    if server.port:
        for where in (["-h", "127.0.0.1"], ["-h", localhost()], [], ["--url", "redis://127.0.0.1"]):
            run = Run(*where, "-p", str(server.port), "ping")
            status("TCP with %s" % where, run, 0)
        checks.ok("-p alone is over a Unix socket in BECK_URL", Run("-p", str(server.port), "ping", env=env).text.startswith("PONG from 127.0.0.1:"))


def test_streams(server):
    for name, n in (("ls-a", 3), ("ls-b", 1), ("other", 2)):
        Run("produce", name, stdin=b'{"f":1}\n' * n, server=server)
    rows = {r["stream"]: r for r in Run("stream", "ls", "--json", server=server).json_lines()}
    checks.equal("stream ls --json tells lengths", [rows[n]["entries"] for n in ("ls-a", "ls-b", "other")], [3, 1, 2])
    checks.equal("stream ls PATTERN chooses", sorted(r["stream"] for r in Run("stream", "ls", "ls-*", "--json", server=server).json_lines()), ["ls-a", "ls-b"])
    has("stream ls is a table", Run("stream", "ls", server=server).text, "ENTRIES", "ls-a")
    run = Run("stream", "ls", "nothing*", server=server)
    status("no streams is no error", run, 0)
    has("but is told", run.err, "no such streams")
    info = Run("stream", "info", "ls-a", "--json", server=server).json()
    checks.equal("stream info --json", [info["stream"], info["length"], info["first-entry"]["f"]], ["ls-a", 3, 1])
    has("stream info", Run("stream", "info", "ls-a", server=server).text, "length: 3\n", "last-generated-id: ")
    run = Run("stream", "info", "none", server=server)
    status("info of no stream is status 1", run, 1)
    has("and says what to try", run.err, 'there is no stream "none"', "beck stream ls")
    run = Run("stream", "rm", "ls-a", "none", "ls-b", "--json", server=server)
    status("rm of some is status 5", run, 5)
    checks.equal("rm --json tells what it removed", run.json_lines(), [{"removed": "ls-a"}, {"removed": "ls-b"}])
    status("rm of none is status 1", Run("stream", "rm", "none", server=server), 1)
    status("rm", Run("stream", "rm", "other", server=server), 0)
    checks.equal("what was removed is gone", Run("call", "EXISTS", "other", "ls-a", "ls-b", server=server).text, "(integer) 0\n")


def test_other_types(server):
    if KIND != "redis":
        return  # a server without other types than streams
    Run("call", "SET", "string", "x", server=server)
    run = Run("stream", "rm", "string", server=server)
    status("rm keeps what is no stream", run, 1)
    has("and tells", run.err, "no stream but a string")
    run = Run("consume", "string", server=server)
    status("consume of another type is status 1", run, 1)
    has("with the server's words", run.err, "WRONGTYPE")
    run = Run("produce", "string", stdin=b'{"a":1}\n' * 3, server=server)
    status("produce into another type is status 1", run, 1)
    has("names the line and the server's words", run.err, "line 1: WRONGTYPE", "0 of 3 events sent are stored")


def test_produce(server):
    run = Run("produce", "p", stdin=b'{"a":"x","b":1}\n{"a":"y"}', server=server)
    status("produce ends well, also without a last line end", run, 0)
    checks.equal("produce leaves stdout empty", run.out, b"")
    checks.ok("produce tells events, rate and bytes", re.search(r"^2 events in .* s: \d+ events/s, \d+ B", run.err), run.err)
    entries = Run("call", "--json", "XRANGE", "p", "-", "+", server=server).json()
    checks.equal("fields are plain for other clients", [e[1] for e in entries], [["a", "x", "b", "1"], ["a", "y"]])
    run = Run("produce", "-v", "p", stdin=b'{"a":1}\n', server=server)
    checks.equal("-v prints IDs", run.text.strip(), Run("call", "--json", "XREVRANGE", "p", "+", "-", "COUNT", "1", server=server).json()[0][0])
    run = Run("produce", "-v", "--json", "p", stdin=b'{"a":1}\n{"a":2}\n', server=server)
    checks.equal("-v --json prints IDs as JSON", [list(r) for r in run.json_lines()], [["_id"], ["_id"]])
    run = Run("produce", "--json", "p", stdin=b'{"a":1}\n' * 5, server=server)
    checks.equal("produce --json tells what it did", [run.json()["events"], run.json()["refused"]], [5, 0])
    run = Run("produce", "p", stdin=b"", server=server)
    status("nothing to produce is no error", run, 0)
    with tempfile.NamedTemporaryFile() as f:
        f.write(b'{"from":"file"}\n')
        f.flush()
        status("produce reads a file", Run("produce", "pf", f.name, server=server), 0)
    checks.equal("what it said", Run("consume", "pf", "--json", server=server).text, '{"from":"file"}\n')


def test_bad_lines(server):
    bad = [b"7", b"", b"{}", b"[1]", b"{\"a\":1", b'{"a":1,"a":2}', b'{"a":"\xff"}', b"{a:1}", b'{"a":01}']
    for line in bad:
        name = "bad-%d" % bad.index(line)
        run = Run("produce", name, stdin=b'{"n":1}\n{"n":2}\n' + line + b'\n{"n":3}\n', server=server)
        status("%r ends with status 5" % line, run, 5)
        has("%r is refused with its line number" % line, run.err, "line 3: ", "--skip-bad", "2 events in ")
        stored = Run("consume", name, "--json", server=server).text
        checks.equal("what stood before %r is stored, nothing behind it" % line, stored, '{"n":1}\n{"n":2}\n')
        run = Run("produce", "--skip-bad", name, stdin=line + b'\n{"n":3}\n' + line + b"\n", server=server)
        status("--skip-bad ends with status 5", run, 5)
        has("--skip-bad names each line", run.err, "line 1: ", "line 3: ")
        checks.equal("--skip-bad stores the rest", Run("consume", name, "--json", server=server).text, stored + '{"n":3}\n')
    run = Run("produce", "bad-many", "--skip-bad", stdin=b"x\n" * 50, server=server)
    checks.equal("not more than ten are shown", run.err.count("line "), 10)
    has("but all are counted", run.err, "50 lines were refused")


def test_lines(server):
    data = b"first\n\n  blanks \n7\n\xff\x00\xfe\n{\"a\":1}\nlast without end"
    run = Run("produce", "--lines", "lines", stdin=data, server=server)
    status("--lines takes any bytes", run, 0)
    run = Run("consume", "lines", "--field", "line", server=server)
    checks.equal("consume --field gives the lines again", run.out, data + b"\n")
    rows = Run("consume", "lines", "--json", server=server).json_lines()
    checks.equal("a line that is not UTF-8 is base64 in JSON", rows[4], {"line": {"base64": base64.b64encode(b"\xff\x00\xfe").decode()}})
    checks.equal("a line that is a number is one in JSON", rows[3], {"line": 7})
    Run("produce", "--lines", "--field", "text", "lines2", stdin=b"x\n", server=server)
    checks.equal("--field names the field", Run("consume", "lines2", "--json", server=server).json(), {"text": "x"})
    big = b"x" * 1000000 + b"\n"
    status("a line of a megabyte", Run("produce", "--lines", "big", stdin=big * 3, server=server), 0)
    checks.ok("comes back", Run("consume", "big", "--field", "line", server=server).out == big * 3)


def test_consume(server):
    ids = []
    for i in range(1, 6):
        ids.append(Run("call", "XADD", "s", "%d-%d" % (i * 1000, i), "n", str(i), "t", "a b", server=server).text.strip())

    def consumed(*args):
        return [r["n"] for r in Run("consume", "s", "--json", *args, server=server).json_lines()]

    checks.equal("from the start", consumed(), [1, 2, 3, 4, 5])
    checks.equal("--from start", consumed("--from", "start"), [1, 2, 3, 4, 5])
    checks.equal("--from an ID", consumed("--from", ids[2]), [3, 4, 5])
    checks.equal("--from behind an ID", consumed("--from", "(" + ids[2]), [4, 5])
    checks.equal("--from milliseconds", consumed("--from", "2001"), [3, 4, 5])
    checks.equal("--from a time", consumed("--from", "1970-01-01T00:00:04Z"), [4, 5])
    checks.equal("--from a time with fraction", consumed("--from", "1970-01-01T00:00:04.001"), [5])
    checks.equal("--from a time in a zone", consumed("--from", "1970-01-01T02:00:03+02:00"), [3, 4, 5])
    checks.equal("--from a date", consumed("--from", "1970-01-01"), [1, 2, 3, 4, 5])
    checks.equal("--from a date behind all", consumed("--from", "2038-01-01"), [])
    checks.equal("--from end", consumed("--from", "end"), [])
    checks.equal("--from some time ago", consumed("--from", "2h ago"), [])
    checks.equal("--count", consumed("--count", "2"), [1, 2])
    checks.equal("--count beyond the end", consumed("-c", "20"), [1, 2, 3, 4, 5])
    run = Run("consume", "s", "--json", "--with-id", "-c", "1", server=server)
    checks.equal("--with-id puts _id first", run.text, '{"_id":"1000-1","n":1,"t":"a b"}\n')
    run = Run("consume", "s", "-c", "1", server=server)
    checks.equal("without --json a line is readable", run.text, '1000-1 n=1 t="a b"\n')
    checks.equal("--field", Run("consume", "s", "--field", "t", "-c", "2", server=server).text, "a b\na b\n")
    run = Run("consume", "none", server=server)
    status("no stream is status 1", run, 1)
    has("and says what to try", run.err, 'there is no stream "none"', "--follow", "beck stream ls")
    status("no stream with --exit-empty is status 4", Run("consume", "none", "--exit-empty", server=server), 4)
    status("nothing to read is no error", Run("consume", "s", "--from", "end", server=server), 0)
    status("nothing with --exit-empty is status 4", Run("consume", "s", "--from", "end", "--exit-empty", server=server), 4)
    status("something with --exit-empty is status 0", Run("consume", "s", "--exit-empty", server=server), 0)


def test_pages(server):
    for n in (999, 1000, 1001, 2000, 2500):
        name = "pages-%d" % n
        data = b"".join(b'{"n":%d}\n' % i for i in range(n))
        Run("produce", name, stdin=data, server=server)
        checks.ok("%d entries come back" % n, Run("consume", name, "--json", server=server).out == data)
        for count in (1, 999, 1000, 1001, 2000):
            got = Run("consume", name, "--json", "--count", str(count), server=server).out
            checks.equal("--count %d of %d" % (count, n), got.count(b"\n"), min(count, n))


def test_page_sizes(server):
    """Pages follow the entries' size, so that neither memory nor a reply's limit is exceeded."""
    small = b'{"n":"small"}\n'
    large = b'{"n":"%s"}\n' % (b"x" * 300000)
    data = large * 120 + small * 3000 + large * 3 + small * 50
    status("entries of very different sizes", Run("produce", "sizes", stdin=data, server=server), 0)
    checks.ok("come back", Run("consume", "sizes", "--json", server=server).out == data)
    with spawn(server, "consume", "sizes", "--json", "--from", "1", "--follow", "--count", "3173") as p:
        checks.ok("by --follow too", p.stdout.read() == data)


def test_follow(server):
    with spawn(server, "consume", "live", "--follow", "--json", "--count", "3") as p:
        for i in range(3):
            Run("produce", "live", stdin=b'{"n":%d}\n' % i, server=server)
            checks.equal("--follow prints entry %d as it comes" % i, p.stdout.readline(), b'{"n":%d}\n' % i)
        checks.equal("--follow ends after --count", p.wait(TIMEOUT_S), 0)
    with server.connect() as c, spawn(server, "consume", "live", "--from", "end", "--follow", "--json") as p:
        wait_until(lambda: c.call("CLIENT", "LIST").count(b"cmd=xread") == 1, "the follower")
        Run("produce", "live", stdin=b'{"n":"new"}\n', server=server)
        checks.equal("--from end --follow prints only what is new", p.stdout.readline(), b'{"n":"new"}\n')
        p.send_signal(signal.SIGINT)
        checks.equal("SIGINT ends it with 130", p.wait(TIMEOUT_S), 130)
        checks.equal("without a word", p.stderr.read(), b"")
    for where in ("0", "1-0", "1970-01-02", "(5-5"):
        with spawn(server, "consume", "later", "--from", where, "--follow", "--json", "--count", "1") as p:
            Run("produce", "later", stdin=b'{"n":1}\n', server=server)
            checks.equal("--from %s --follow waits for a stream" % where, p.stdout.readline(), b'{"n":1}\n')
            p.wait(TIMEOUT_S)
        Run("stream", "rm", "later", server=server)
    Run("call", "XADD", "before", "999-5", "n", "old", server=server)
    with server.connect() as c, spawn(server, "consume", "before", "--from", "1000", "--follow", "--json", "--count", "1") as p:
        wait_until(lambda: c.call("CLIENT", "LIST").count(b"cmd=xread") == 1, "the follower")
        c.call("XADD", "before", "1000-0", "n", "new")
        checks.equal("--from between entries follows only what is behind it", p.stdout.readline(), b'{"n":"new"}\n')
        p.wait(TIMEOUT_S)
    with server.connect() as c, spawn(server, "consume", "live", "--from", "end", "--follow") as p:
        wait_until(lambda: c.call("CLIENT", "LIST").count(b"cmd=xread") == 1, "the follower")
        p.send_signal(signal.SIGTERM)
        checks.equal("SIGTERM ends it with 143", p.wait(TIMEOUT_S), 143)


def test_signals(server):
    with spawn(server, "produce", "sig", "-v", stdin=subprocess.PIPE) as p:
        p.stdin.write(b'{"n":1}\n{"n":2}\n{"n":')
        p.stdin.flush()
        p.stdout.readline(), p.stdout.readline()
        checks.ok("produce confirms while its input waits", p.poll() is None)
        p.send_signal(signal.SIGINT)
        checks.equal("SIGINT ends produce with 130", p.wait(TIMEOUT_S), 130)
        has("after it told what is stored", p.stderr.read().decode(), "2 events in ")
    checks.equal("half a line was not sent", Run("call", "XLEN", "sig", server=server).text, "(integer) 2\n")
    big = b"x" * 100000 + b"\n"
    Run("produce", "--lines", "bigs", stdin=big * 20, server=server)
    with spawn(server, "consume", "bigs", "--json") as p:
        p.stdout.read(10)
        p.stdout.close()
        checks.equal("a reader that leaves ends consume by SIGPIPE", p.wait(TIMEOUT_S), -signal.SIGPIPE)
        checks.equal("without a word", p.stderr.read(), b"")
    with open("/dev/full", "wb") as full:
        done = subprocess.run([BECK, "-s", server.path, "consume", "bigs"], stdout=full, stderr=subprocess.PIPE, env=environment(), timeout=TIMEOUT_S)
    checks.equal("an output that takes nothing is status 1", done.returncode, 1)
    has("and is told", done.stderr.decode(), "cannot write to stdout: No space left on device")
    with spawn(server, "consume", "bigs", "--json") as p:
        p.stdout.read(10)
        p.send_signal(signal.SIGINT)
        checks.equal("SIGINT ends consume though nobody reads", p.wait(TIMEOUT_S), 130)


def with_fake_server(script, *args, stdin=b""):
    """Runs beck against a server that, for each (word, times, answer) of `script`, reads until `word` was sent
    `times` times, answers, and at the end is gone."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen(1)

        def serve():
            c = s.accept()[0]
            data = b""
            for word, times, answer in script:
                while data.count(word) < times:
                    data += c.recv(1 << 16)
                c.sendall(answer)
            c.close()

        thread = threading.Thread(target=serve)
        thread.start()
        run = Run("-p", str(s.getsockname()[1]), *args, stdin=stdin)
        thread.join()
        return run


HELLO = (b"HELLO", 1, b"%1\r\n+server\r\n+redis\r\n")


def test_lost_connection():
    script = [HELLO, (b"XADD", 5, b"$3\r\n1-1\r\n$3\r\n1-2\r\n$3\r\n1-3\r\n$3")]
    run = with_fake_server(script, "produce", "x", stdin=b'{"a":1}\n' * 5)
    status("a lost connection is status 1", run, 1)
    has("and tells what is confirmed", run.err, "3 events are confirmed, the last one from line 3", "2 more were sent", "tail -n +4")
    script[1] = (b"XADD", 5, b"$3\r\n1-1\r\n-ERR max number of things reached\r\n")
    run = with_fake_server(script, "produce", "x", stdin=b'{"a":1}\n' * 5)
    has("an error before the end is told", run.err, "line 2: ERR max number of things", "1 events are confirmed")
    page = b"*100\r\n" + b"".join(b"*2\r\n$%d\r\n%d-0\r\n*2\r\n$1\r\nn\r\n$1\r\n1\r\n" % (len(str(i)) + 2, i) for i in range(1, 101))
    run = with_fake_server([HELLO, (b"XRANGE", 1, page), (b"XRANGE", 2, b"*100\r\n")], "consume", "x", "--json")
    status("a connection lost while reading is status 1", run, 1)
    checks.equal("what had come is printed", run.out, b'{"n":1}\n' * 100)
    has("and told where to go on", run.err, "Entries up to 100-0 are printed", "--from '(100-0'")
    run = with_fake_server([HELLO, (b"XRANGE", 1, b"*1\r\n:1\r\n")], "consume", "x")
    status("what is no entry is status 1", run, 1)
    has("and told", run.err, "no entry of a stream")


def test_terminal(server):
    def on_terminal(args, stdin, env):
        """Runs beck with stderr on a terminal; what it wrote there."""
        master, slave = pty.openpty()
        p = subprocess.Popen([BECK, "-s", server.path] + args, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=slave, env=env)
        os.close(slave)
        p.stdin.write(stdin)
        p.stdin.close()
        text = b""
        while select.select([master], [], [], TIMEOUT_S)[0]:
            try:
                data = os.read(master, 1 << 16)
            except OSError:
                break
            text += data
            if not data:
                break
        os.close(master)
        p.wait(TIMEOUT_S)
        return text.decode()

    def progress():
        """What produce shows on a terminal while lines keep coming."""
        master, slave = pty.openpty()
        p = subprocess.Popen([BECK, "-s", server.path, "produce", "shown"], stdin=subprocess.PIPE, stderr=slave, env=environment())
        os.close(slave)
        text = b""
        while b" events, " not in text and p.poll() is None:
            p.stdin.write(b'{"a":1}\n')
            p.stdin.flush()
            if select.select([master], [], [], 0.01)[0]:
                text += os.read(master, 1 << 16)
        p.stdin.close()
        p.wait(TIMEOUT_S)
        os.close(master)
        return text.decode()

    checks.ok("progress on a terminal", re.search(r"\r\x1b\[K\d+ events, \d+/s", progress()))
    has("colour on a terminal", on_terminal(["stream", "info", "none"], b"", environment()), "\033[1;31mbeck stream info:")
    for env in (environment(NO_COLOR="1"), environment(TERM="dumb")):
        checks.ok("no colour if it is not wanted", "\033" not in on_terminal(["stream", "info", "none"], b"", env))
    checks.ok("no colour in a pipe", "\033" not in Run("stream", "info", "none", server=server).err)


def has_terminals():
    """Whether the system has pseudo-terminals at all; a bare chroot has none."""
    try:
        for fd in pty.openpty():
            os.close(fd)
    except OSError as e:
        print("terminals are left out: %s" % e)
        return False
    return True


def test_passwords():
    with Server(KIND, args=["--requirepass", "se cret"]) as server:
        run = Run("ping", server=server)
        status("no password is status 3", run, 3)
        has("and says what to try", run.err, "NOAUTH", "--password-file")
        run = Run("-a", "wrong", "ping", server=server)
        status("a wrong password is status 3", run, 3)
        has("and is told", run.err, "WRONGPASS")
        status("-a", Run("-a", "se cret", "ping", server=server), 0)
        status("--user", Run("--user", "default", "-a", "se cret", "ping", server=server), 0)
        env = environment(BECK_PASSWORD="se cret")
        status("BECK_PASSWORD", Run("ping", server=server, env=env), 0)
        status("-a is over BECK_PASSWORD", Run("-a", "wrong", "ping", server=server, env=env), 3)
        with tempfile.NamedTemporaryFile() as f:
            f.write(b"se cret\nrest\n")
            f.flush()
            status("--password-file", Run("--password-file", f.name, "ping", server=server), 0)
        with tempfile.NamedTemporaryFile() as f:
            status("an empty password file is status 2", Run("--password-file", f.name, "ping", server=server), 2)
        if server.port:
            status("in a URL", Run("--url", "beck://:se%%20cret@127.0.0.1:%d" % server.port, "ping"), 0)
        with spawn(server, "--url", "beck://:secret@h", "-a", "se cret", "produce", "argv", "-v", stdin=subprocess.PIPE) as p:
            p.stdin.write(b'{"a":1}\n')
            p.stdin.flush()
            p.stdout.readline()
            with open("/proc/%d/cmdline" % p.pid, "rb") as f:
                checks.ok("passwords are not seen by ps", b"cret" not in f.read())
            p.stdin.close()
            p.wait(TIMEOUT_S)


# ---- JSON through a server ----


def random_text(rng):
    pieces = ["a", "7", "true", "null", "[1]", '"x"', "\\", "/", "\n", "\t", "\0", "\x1f", "\x7f", "é", "€", "😀", " ", "{}", "1e3", "-", ""]
    return "".join(rng.choice(pieces) for _ in range(rng.randrange(4)))


def random_json(rng, depth=0):
    """A value's text, in the one spelling that is printed."""
    kind = rng.randrange(12 if depth < 4 else 9)
    if kind < 4:
        return rng.choice(["0", "-0", "1.0", "1e3", "1E+2", "18446744073709551616", "-12.50", "9007199254740993", "true", "false", "null", "1e999"])
    if kind < 9:
        return json_string(random_text(rng))
    n = rng.randrange(4)
    if kind == 9:
        return "{" + ",".join(json_string(random_text(rng)) + ":" + random_json(rng, depth + 1) for _ in range(n)) + "}"
    if kind == 10:
        return "[" + ",".join(random_json(rng, depth + 1) for _ in range(n)) + "]"
    return '{"base64":"%s"}' % base64.b64encode(b"\xff" + rng.randbytes(rng.randrange(6))).decode()


def json_string(text):
    return json.dumps(text, ensure_ascii=False)


def test_json_round_trip(server):
    start = seed()
    print("SEED=%d" % start)
    rng = random.Random(start)
    lines = []
    for _ in range(scale(20000)):
        names = {random_text(rng) for _ in range(rng.randrange(1, 6))}
        lines.append("{" + ",".join(json_string(n) + ":" + random_json(rng) for n in sorted(names)) + "}\n")
    data = "".join(lines).encode()
    status("random objects are taken", Run("produce", "json", stdin=data, server=server), 0)
    run = Run("consume", "json", "--json", server=server)
    if not checks.ok("what was read is what is printed", run.out == data):
        got = run.text.split("\n")
        first = next(i for i, line in enumerate(lines) if i >= len(got) or got[i] + "\n" != line)
        print("    line %d: want %r, got %r" % (first + 1, lines[first], got[first : first + 1]))
    for line, got in zip(lines, run.out.splitlines()):
        if not checks.ok("every line is JSON", json.loads(line) == json.loads(got), line):
            break


def test_json_of_other_clients(server):
    """Entries as another client stores them: each prints as JSON with the same value."""
    values = [b"plain", b"7", b" 7 ", b"7x", b'"quoted"', b"true", b"[1, 2]", b"\xff\xfe", b"", b"a\nb", b'{"a": 1.0}', b"nul\0"]
    with server.connect() as c:
        for v in values:
            c.call("XADD", "foreign", "*", "v", v, b"\xffname", "x")
    want = ["plain", 7, 7, "7x", "quoted", True, [1, 2], {"base64": "//4="}, "", "a\nb", {"a": 1.0}, "nul\0"]
    rows = Run("consume", "foreign", "--json", server=server).json_lines()
    checks.equal("values of other clients as JSON", [r["v"] for r in rows], want)
    checks.equal("a name that is not UTF-8", set(list(r)[1] for r in rows), {"base64:/25hbWU="})
    out = Run("consume", "foreign", "--json", server=server).out
    Run("produce", "foreign2", stdin=out, server=server)
    checks.equal("and read back", Run("consume", "foreign2", "--json", server=server).out, out)
    with server.connect() as c:
        names = {entry[1][2] for entry in c.call("XRANGE", "foreign2", "-", "+")}
        checks.equal("the name has its bytes again", names, {b"\xffname"})


def main():
    test_help()
    test_man_page()
    test_library_man_page()
    test_usage_errors()
    test_no_server()
    test_lost_connection()
    with Server(KIND, tcp=True) as server:
        test_ping_info_call(server)
        test_databases_and_urls(server)
        test_streams(server)
        test_other_types(server)
        test_produce(server)
        test_bad_lines(server)
        test_lines(server)
        test_consume(server)
        test_pages(server)
        test_page_sizes(server)
        test_follow(server)
        test_signals(server)
        if has_terminals():
            test_terminal(server)
        test_json_round_trip(server)
        test_json_of_other_clients(server)
    test_passwords()
    checks.finish()


main()
