"""The command line's consumer groups: a group's life, and every way that an entry's command can end.

Runs against beckd, and what an older server has against Debian's redis-server too; CLI_SERVER=redis runs
only the latter. BECK names the program (build/beck).
"""

import json
import os
import random
import re
import select
import signal
import socket
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from beck import TIMEOUT_S, Server, scale, seed, wait_until
from tool import Run, ToolChecks, environment, spawn


checks = ToolChecks("cli_groups")
has, status = checks.has, checks.status


def fill(server, stream, n, first=1):
    """n entries 1-1, 2-1, ... with a field n."""
    with server.connect() as c:
        for i in range(first, first + n):
            c.call("XADD", stream, "%d-1" % i, "n", i)


def pending(server, stream, group):
    """{id: (consumer, deliveries)} of what is pending."""
    with server.connect() as c:
        return {row[0].decode(): (row[1].decode(), row[3]) for row in c.call("XPENDING", stream, group, "-", "+", 100000)}


def consumers(server, stream, group, proto=2):
    with server.connect(proto) as c:
        return [row[1].decode() for row in c.call("XINFO", "CONSUMERS", stream, group)]


def is_waiting(server):
    with server.connect() as c:
        return b"cmd=xreadgroup" in c.call("CLIENT", "LIST")


# ---- Usage: no server ----


def test_usage():
    cases = [
        (["consume", "s", "--consumer", "c"], "want --group"),
        (["consume", "s", "--exec", "true"], "want --group"),
        (["consume", "s", "--ack", "manual"], "want --group"),
        (["consume", "s", "-g", "g", "--ack", "perhaps"], "neither auto, manual nor none"),
        (["consume", "s", "-g", "g", "--exec", "true", "--ack", "none"], "excludes --ack none"),
        (["consume", "s", "-g", "g", "--exec", "true", "--field", "n"], "exclude each other"),
        (["consume", "s", "-g", "g", "--ack", "none", "--claim-idle", "5s"], "exclude each other"),
        (["consume", "s", "-g", "g", "--from", "yesterday"], "--from: "),
        (["consume", "s", "-g", "g", "--batch", "1000000"], "--batch is at most"),
        (["consume", "s", "-g", "g", "--claim-idle", "5x"], "--claim-idle: \"5x\" is not a duration"),
        (["consume", "s", "--gruop", "g"], "did you mean --group?"),
        (["group"], "group ls, group info, group create, group set, group rm, group reset"),
        (["group", "resett"], "did you mean: beck group reset?"),
        (["dlq", "purg"], "did you mean: beck dlq purge?"),
        (["group", "create", "s", "g", "--ackwait", "30"], "not a duration such as 500ms, 30s"),
        (["group", "create", "s", "g", "--backoff", "1s,,5s"], "no list of durations"),
        (["group", "create", "s", "g", "--backoff", "1s,"], "no list of durations"),
        (["group", "create", "s", "g", "--from", "tomorrow"], "--from: "),
        (["group", "create", "s"], "something is missing"),
        (["group", "set", "s", "g"], "which setting?"),
        (["group", "set", "s", "g", "--from", "start"], "unknown option --from"),
        (["group", "reset", "s", "g"], "--to is missing"),
        (["group", "reset", "s", "g", "--to", "x"], "--to: "),
        (["dlq", "purge", "d", "--before", "x"], "--before: "),
        (["dlq", "redrive", "d", "s"], "something is missing"),
    ]
    for args, want in cases:
        run = Run(*args)
        status("beck %s is a usage error" % " ".join(args), run, 2)
        has("beck %s tells why" % " ".join(args), run.err, want, "Try: beck help")
        checks.equal("a usage error leaves stdout empty", run.text, "")


# ---- consume --group ----


def test_printing(server):
    fill(server, "p", 5)
    run = Run("consume", "p", "-g", "g", "--exit-empty", server=server)
    status("a group that is not there is status 1", run, 1)
    has("and it is told how to make it", run.err, 'no group "g"', "beck group create")
    run = Run("consume", "p", "-g", "g", "--from", "start", "--json", "--count", "2", server=server)
    status("--from makes the group", run, 0)
    has("and says so", run.err, 'made the group "g"')
    checks.equal("--count entries are printed", run.json_lines(), [{"n": 1}, {"n": 2}])
    checks.equal("and acknowledged", pending(server, "p", "g"), {})
    checks.equal("a consumer without a name of its own leaves no trace", consumers(server, "p", "g"), [])
    run = Run("consume", "p", "-g", "g", "--from", "start", "--exit-empty", "--field", "n", server=server)
    status("--exit-empty ends at the end", run, 0)
    checks.equal("a group goes on where it was", run.text, "3\n4\n5\n")
    checks.equal("--from says nothing when the group is there", run.err, "")
    run = Run("consume", "p", "-g", "g", "--exit-empty", server=server)
    status("--exit-empty without any entry is status 4", run, 4)
    run = Run("consume", "p", "-g", "g", "--block", "1", server=server)
    status("--block ends after its time", run, 0)
    for where, want in (("end", []), ("4-1", [4, 5]), ("(4-1", [5]), ("1970-01-01T00:00:00.003", [3, 4, 5]), ("1h ago", [])):
        run = Run("consume", "p", "-g", "from " + where, "--from", where, "--exit-empty", "--json", server=server)
        checks.equal("--from %s" % where, [r["n"] for r in run.json_lines()], want)
    run = Run("consume", "nothing", "-g", "g", "--from", "start", "--exit-empty", server=server)
    status("--from makes the stream too", run, 4)


def test_acks(server):
    fill(server, "a", 3)
    run = Run("consume", "a", "-g", "m", "--from", "start", "--ack", "manual", "--consumer", "c", "--exit-empty", server=server)
    checks.equal("--ack manual prints", run.text, "1-1 n=1\n2-1 n=2\n3-1 n=3\n")
    checks.equal("and leaves pending", sorted(pending(server, "a", "m")), ["1-1", "2-1", "3-1"])
    with server.connect() as c:
        c.call("XACK", "a", "m", "2-1")
        c.call("XDEL", "a", "1-1")
    run = Run("consume", "a", "-g", "m", "--ack", "manual", "--consumer", "c", "--exit-empty", server=server)
    checks.equal("a named consumer begins with what is pending", run.text, "3-1 n=3\n")
    run = Run("consume", "a", "-g", "m", "--consumer", "c", "--exit-empty", server=server)
    checks.equal("and acknowledges it without --ack manual", run.text, "3-1 n=3\n")
    checks.equal("what is gone from the stream too", pending(server, "a", "m"), {})
    checks.equal("a named consumer stays", consumers(server, "a", "m"), ["c"])
    run = Run("consume", "a", "-g", "n", "--from", "start", "--ack", "none", "--consumer", "c", "--exit-empty", server=server)
    checks.equal("--ack none prints", run.text, "2-1 n=2\n3-1 n=3\n")
    checks.equal("and nothing becomes pending", pending(server, "a", "n"), {})


def test_claim_idle(server):
    fill(server, "ci", 3)
    Run("consume", "ci", "-g", "g", "--from", "start", "--ack", "manual", "--consumer", "dead", "--exit-empty", server=server)
    run = Run("consume", "ci", "-g", "g", "--claim-idle", "1h", "--exit-empty", server=server)
    status("--claim-idle leaves what is not idle for long enough", run, 4)
    run = Run("consume", "ci", "-g", "g", "--claim-idle", "0", "--exit-empty", "--json", server=server)
    checks.equal("--claim-idle takes over what is idle", sorted(r["n"] for r in run.json_lines()), [1, 2, 3])
    checks.equal("and has it acknowledged", pending(server, "ci", "g"), {})


def test_follow(server):
    fill(server, "f", 1)
    with spawn(server, "consume", "f", "-g", "g", "--from", "start", "--json", "--consumer", "c") as p:
        checks.equal("a consumer prints what is there", p.stdout.readline(), b'{"n":1}\n')
        for i in (2, 3):
            fill(server, "f", 1, i)
            checks.equal("and entry %d as it comes" % i, p.stdout.readline(), b'{"n":%d}\n' % i)
        wait_until(lambda: is_waiting(server), "the consumer")
        p.send_signal(signal.SIGINT)
        checks.equal("SIGINT ends it with 130", p.wait(TIMEOUT_S), 130)
        has("with no other word than the group's", p.stderr.read().decode(), "made the group")
    checks.equal("and all is acknowledged", pending(server, "f", "g"), {})
    with spawn(server, "consume", "f", "-g", "g") as p:
        wait_until(lambda: is_waiting(server), "the consumer")
        p.send_signal(signal.SIGTERM)
        checks.equal("SIGTERM ends it with 143", p.wait(TIMEOUT_S), 143)
        checks.equal("without a word", p.stderr.read(), b"")
    if server.kind == "redis":
        stats = Run("call", "INFO", "commandstats", server=server).text
        has("a signal ends the wait", stats, "cmdstat_client|unblock:calls=2,")
    checks.equal("its name is gone", consumers(server, "f", "g"), ["c"])


def test_stdout(server, nacks):
    with server.connect() as c:
        for i in range(1, 41):
            c.call("XADD", "big", "%d-1" % i, "line", "x" * 100000)
    with spawn(server, "consume", "big", "-g", "closed", "--from", "start", "--json") as p:
        p.stdout.read(10)
        p.stdout.close()
        checks.equal("a reader that leaves ends it as SIGPIPE does", p.wait(TIMEOUT_S), -signal.SIGPIPE)
    left = pending(server, "big", "closed")
    checks.ok("what was not printed is not acknowledged", "40-1" in left, str(left))
    if nacks:
        checks.equal("but given back", {row[0] for row in left.values()}, {""})
    with spawn(server, "consume", "big", "-g", "stuck", "--from", "start", "--json") as p:
        p.stdout.read(10)
        p.send_signal(signal.SIGINT)
        checks.equal("SIGINT ends it though nobody reads", p.wait(TIMEOUT_S), 130)
    with open("/dev/full", "wb") as full, spawn(server, "consume", "big", "-g", "full", "--from", "start", stdout=full) as p:
        checks.equal("an output that takes nothing is status 1", p.wait(TIMEOUT_S), 1)
        has("and is told", p.stderr.read().decode(), "cannot write to stdout")
    checks.equal("nothing is acknowledged then", len(pending(server, "big", "full")), 40)


# ---- consume --exec ----


def test_exec(server, nacks):
    fill(server, "e", 3)
    with tempfile.TemporaryDirectory() as d:
        script = 'cat >>"$OUT"; echo "$BECK_STREAM $BECK_GROUP $BECK_CONSUMER $BECK_ID" >>"$OUT"; echo said'
        env = environment(OUT=os.path.join(d, "out"), BECK_ID="inherited")
        run = Run("consume", "e", "-g", "g g", "--from", "start", "--consumer", "me", "--exec", script, "--exit-empty", server=server, env=env)
        status("commands that end with 0", run, 0)
        checks.equal("their output is ours", run.text, "said\n" * 3)
        with open(env["OUT"], encoding="utf-8") as f:
            want = "".join('{"n":%d}\ne g g me %d-1\n' % (i, i) for i in (1, 2, 3))
            checks.equal("they get the entry and its place", f.read(), want)
    checks.equal("and acknowledge", pending(server, "e", "g g"), {})

    ways = [("exit 75", "75", 0), ("exit 1", "fail", 1), ("exit 127", "fail", 1), ("kill -9 $$", "signal", 1), ("kill -PIPE $$", "signal", 1)]
    for script, name, count in ways:
        group = "g-" + script
        run = Run("consume", "e", "-g", group, "--from", "start", "--exec", script, "--count", "1", server=server)
        status("%s is status 5" % script, run, 5)
        if name == "75":
            checks.ok("%s is not told" % script, "1-1" not in run.err, run.err)
        else:
            has("%s is told" % script, run.err, "1-1: the command ", "ended by signal" if name == "signal" else "ended with status")
        left = pending(server, "e", group)
        if nacks:
            checks.equal("%s gives the entry back" % script, left, {"1-1": ("", count)})
            checks.equal("%s leaves no consumer" % script, consumers(server, "e", group), [])
        else:
            checks.equal("%s leaves the entry pending" % script, list(left), ["1-1"])
            has("and says so once", run.err, "has no XNACK")
            checks.equal("once", run.err.count("has no XNACK"), 1)

    with server.connect() as c:
        c.call("XADD", "large", "1-1", "line", "x" * 3000000)
    run = Run("consume", "large", "-g", "g", "--from", "start", "--exec", "true", "--exit-empty", server=server)
    status("a command that does not read its stdin", run, 0)
    run = Run("consume", "large", "-g", "h", "--from", "start", "--exec", "wc -c", "--exit-empty", server=server)
    checks.equal("a large entry comes whole", run.text.strip(), str(3000000 + len('{"line":""}\n')))
    run = Run("consume", "e", "-g", "pending", "--from", "start", "--ack", "manual", "--consumer", "c", "--count", "2", server=server)
    run = Run("consume", "e", "-g", "pending", "--consumer", "c", "--exec", 'echo "$BECK_ID"', "--exit-empty", server=server)
    checks.equal("a command begins with what is pending", run.text, "1-1\n2-1\n3-1\n")
    checks.equal("which is done then", pending(server, "e", "pending"), {})
    run = Run("consume", "e", "-g", "mixed", "--from", "start", "--exec", 'test "$BECK_ID" != 2-1', "--exit-empty", server=server)
    status("one of three fails", run, 5)
    checks.equal("the others are acknowledged", list(pending(server, "e", "mixed")), ["2-1"])
    run = Run("consume", "e", "-g", "mask", "--from", "start", "--exec", "grep -E '^Sig(Blk|Ign)' /proc/self/status", "--count", "1", server=server)
    masks = [int(bits, 16) for bits in re.findall(r"^Sig\w+:\s+(\w+)", run.text, re.M)]
    ours = sum(1 << (n - 1) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE))
    checks.equal("a command has the signals as they are by default", [m & ours for m in masks], [0, 0])


def test_exec_signals(server, nacks):
    """The command says that it has begun, and waits on a FIFO until it may end."""
    for second in (False, True):
        stream = "es-%s" % second
        fill(server, stream, 5)
        with tempfile.TemporaryDirectory() as d:
            fifo = os.path.join(d, "fifo")
            os.mkfifo(fifo)
            script = "echo begun; read x <%s; exit 0" % fifo
            with spawn(server, "consume", stream, "-g", "g", "--from", "start", "--batch", "4", "--exec", script) as p:
                checks.equal("a command runs", p.stdout.readline(), b"begun\n")
                checks.equal("with a batch in hand", len(pending(server, stream, "g")), 4)
                p.send_signal(signal.SIGINT)
                if second:
                    wait_until(lambda: not signal_is_pending(p.pid), "the first signal to be taken")
                    p.send_signal(signal.SIGTERM)
                else:
                    with open(fifo, "w", encoding="ascii") as f:
                        f.write("go\n")
                checks.equal("the last signal tells the status", p.wait(TIMEOUT_S), 143 if second else 130)
                checks.equal("no other command has begun", p.stdout.read(), b"")
                if second:
                    has("a command that was killed is told", p.stderr.read().decode(), "1-1: the command was ended by signal 9")
        left = pending(server, stream, "g")
        checks.equal("the entry in work is %s" % ("failed" if second else "done"), "1-1" in left, second)
        if nacks:
            want = {"%d-1" % i: ("", 0) for i in (2, 3, 4)}
            if second:
                want["1-1"] = ("", 1)
            checks.equal("the others are given back as if never delivered", left, want)


def signal_is_pending(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as f:
        return any(int(bits, 16) for bits in re.findall(r"^(?:Sig|Shd)Pnd:\s+(\w+)", f.read(), re.M))


# ---- Lost connections ----


def test_reconnect(server):
    fill(server, "r", 1)
    with spawn(server, "consume", "r", "-g", "g", "--from", "start", "--json") as p:
        checks.equal("before", p.stdout.readline(), b'{"n":1}\n')
        for i in range(2, 5):
            wait_until(lambda: is_waiting(server), "the consumer")
            with server.connect() as c:
                c.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            fill(server, "r", 1, i)
            checks.equal("after lost connection %d" % (i - 1), p.stdout.readline(), b'{"n":%d}\n' % i)
        wait_until(lambda: is_waiting(server), "the consumer")
        p.send_signal(signal.SIGINT)
        checks.equal("it ends as ever", p.wait(TIMEOUT_S), 130)
        has("each loss is told", p.stderr.read().decode(), "trying again")
    checks.equal("nothing is left", pending(server, "r", "g"), {})


class Proxy:
    """Passes bytes between beck and a server, and once cuts the connection: when `word` comes from beck, before
    (`lose`) or after the server has got it; or when the server's answer has `word` (`answer`)."""

    def __init__(self, server, word, when):
        self.server, self.word, self.when = server, word, when
        self.has_cut = False
        self.path = os.path.join(server.base, "proxy")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(8)
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()
        os.unlink(self.path)

    def _serve(self):
        pairs = {}
        while True:
            for sock in select.select([self.listener] + list(pairs), [], [])[0]:
                if sock is self.listener:
                    try:
                        one = self.listener.accept()[0]
                    except OSError:
                        return [s.close() for s in pairs]
                    other = self.server.connect().sock
                    pairs.update({one: (other, True), other: (one, False)})
                elif sock in pairs and not self._pass(sock, *pairs[sock]):
                    for s in (sock, pairs[sock][0]):
                        del pairs[s]
                        s.close()

    def _pass(self, sock, to, from_beck):
        """Passes what has come on; False to end the connection."""
        data = sock.recv(1 << 20)
        cut = not self.has_cut and self.word in data and from_beck == (self.when != "answer")
        self.has_cut = self.has_cut or cut
        if data and not (cut and self.when != "after"):
            to.sendall(data)
        if cut and self.when == "after":
            to.recv(1)  # so that the server has got all of it
        return bool(data) and not cut


def test_lost_answers(server, nacks):
    cases = [
        ("a batch that was lost on its way", b"3-1", "answer"),
        ("a read that was lost", b"XREADGROUP", "lose"),
        ("an acknowledgement that was lost", b"XACK", "lose"),
        ("an acknowledgement whose answer was lost", b"XACK", "after"),
    ]
    for what, word, when in cases:
        for way in ("--json", "--exec"):
            stream = "lost %s%s" % (what, way)
            fill(server, stream, 7)
            with Proxy(server, word, when) as proxy:
                args = ["--json"] if way == "--json" else ["--exec", "cat"]
                run = Run("consume", stream, "-g", "g", "--from", "start", "--batch", "3", "--exit-empty", *args, server=proxy)
                checks.ok("%s, %s: the connection was cut" % (what, way), proxy.has_cut)
            status("%s, %s" % (what, way), run, 0)
            checks.equal("%s, %s: each entry comes once" % (what, way), sorted(r["n"] for r in run.json_lines()), list(range(1, 8)))
            checks.equal("%s, %s: all are acknowledged" % (what, way), pending(server, stream, "g"), {})
    if not nacks:
        return
    for when in ("lose", "after"):
        stream = "lost-nack-" + when
        fill(server, stream, 1)
        for _ in range(3):
            Run("consume", stream, "-g", "g", "--from", "start", "--ack", "manual", "--consumer", "c", "--exit-empty", server=server)
        count = pending(server, stream, "g")["1-1"][1]
        with Proxy(server, b"XNACK", when) as proxy:
            run = Run("consume", stream, "-g", "g", "--consumer", "c", "--exec", "exit 75", "--count", "1", server=proxy)
        status("an XNACK over a lost connection", run, 5)
        checks.equal("counts once (%s)" % when, pending(server, stream, "g"), {"1-1": ("", count)})


def test_server_restart(server):
    fill(server, "rs", 2)
    with tempfile.TemporaryDirectory() as d:
        fifo = os.path.join(d, "fifo")
        os.mkfifo(fifo)
        script = 'echo "$BECK_ID"; read x <%s' % fifo
        with spawn(server, "consume", "rs", "-g", "g", "--from", "start", "--exec", script, "--exit-empty") as p:
            checks.equal("a command runs", p.stdout.readline(), b"1-1\n")
            server.restart()
            for want in (b"2-1\n", b""):
                with open(fifo, "w", encoding="ascii") as f:
                    f.write("go\n")
                checks.equal("the next one begins once the first is acknowledged", p.stdout.readline(), want)
            checks.equal("all are done", p.wait(TIMEOUT_S), 0)
    checks.equal("each once", pending(server, "rs", "g"), {})
    with spawn(server, "consume", "rs", "-g", "g") as p:
        wait_until(lambda: is_waiting(server), "the consumer")
        server.stop()
        checks.ok("without a server it tries again", b"trying again" in p.stderr.readline())
        p.send_signal(signal.SIGTERM)
        checks.equal("and ends by a signal all the same", p.wait(TIMEOUT_S), 143)
    server.start()


def test_random_ends(server):
    """Workers that signals and lost connections end at any moment: each entry is printed once, or given back."""
    start = seed()
    print("SEED=%d" % start)
    rng = random.Random(start)
    n = scale(2000)
    with server.connect() as c:
        c.pipeline([("XADD", "random", "%d-1" % i, "n", i) for i in range(1, n + 1)])
        c.call("XGROUP", "CREATE", "random", "g", "0")
    running, outs = [], []

    def begin():
        args = ["--batch", str(rng.choice([1, 7, 50])), "--json"] + rng.choice([[], [], ["--exec", "cat"], ["--count", "20"]])
        outs.append(tempfile.TemporaryFile())
        running.append(spawn(server, "consume", "random", "-g", "g", *args, stdout=outs[-1]))

    def end(p):
        running.remove(p)
        # a signal may come before beck has taken it over, a lost connection before it has begun
        ends = (0, 130, 143, -signal.SIGINT, -signal.SIGTERM, 3)
        checks.ok("a worker ends by its signal or --count", p.wait(TIMEOUT_S) in ends, p.stderr.read().decode())
        p.stderr.close()

    def last_delivered():
        with server.connect() as c:
            return int(c.call("XINFO", "GROUPS", "random")[0][7].split(b"-")[0])

    while last_delivered() < n:
        while len(running) < 3:
            begin()
        before = last_delivered()
        wait_until(lambda: last_delivered() != before or before == n or any(p.poll() is not None for p in running), "progress")
        for p in [p for p in running if p.poll() is not None]:
            end(p)
        if running and rng.random() < 0.3:
            p = rng.choice(running)
            p.send_signal(rng.choice([signal.SIGINT, signal.SIGTERM]))
            end(p)
        elif rng.random() < 0.3:
            with server.connect() as c:
                c.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    for p in list(running):
        p.send_signal(signal.SIGTERM)
        end(p)
    checks.equal("no consumer stays behind", consumers(server, "random", "g"), [])
    left = pending(server, "random", "g")
    checks.equal("what is pending belongs to nobody", {row[0] for row in left.values()} - {""}, set())
    seen = []
    for f in outs:
        f.seek(0)
        seen += [json.loads(line)["n"] for line in f]
        f.close()
    checks.equal("each entry is printed once, or given back", sorted(seen + [int(i.split("-")[0]) for i in left]), list(range(1, n + 1)))


# ---- group ----


def one(run):
    return run.json_lines()[0]


def test_group(server):
    """A group's life, as far as an older server knows it too."""
    run = Run("group", "create", "gs", "g", server=server)
    status("no group without a stream", run, 1)
    has("and it is told what to do", run.err, 'no stream "gs"', "--mkstream")
    run = Run("group", "create", "gs", "g", "--mkstream", "--json", server=server)
    status("unless --mkstream makes it", run, 0)
    checks.equal("create --json", run.json(), {"created": "g", "stream": "gs"})
    run = Run("group", "create", "gs", "g", server=server)
    status("a group is made once", run, 1)
    has("and it is told how to change it", run.err, "BUSYGROUP", "beck group set", "beck group reset")
    fill(server, "gs", 10)
    Run("consume", "gs", "-g", "g", "--ack", "manual", "--consumer", "c c", "--count", "4", server=server)
    for where, want in (("end", 0), ("(9-1", 1), ("9-1", 2), ("start", 10)):
        Run("group", "create", "gs", "from " + where, "--from", where, server=server)
        run = Run("consume", "gs", "-g", "from " + where, "--exit-empty", server=server)
        checks.equal("create --from %s" % where, len(run.text.splitlines()), want)
        status("rm", Run("group", "rm", "gs", "from " + where, server=server), 0)

    rows = Run("group", "ls", "gs", "--json", server=server).json_lines()
    checks.equal("ls --json has a line for each group", [(r["stream"], r["group"]) for r in rows], [("gs", "g")])
    checks.equal("with figures", [rows[0][k] for k in ("consumers", "pending", "lag", "last-delivered-id")], [1, 4, 6, "4-1"])
    names = [(r["stream"], r["group"]) for r in Run("group", "ls", "--json", server=server).json_lines()]
    checks.ok("ls of all streams has them too", ("gs", "g") in names and len(names) > 5, str(names))
    table = Run("group", "ls", "gs", server=server).text.splitlines()
    has("ls is a table", table[0], "CONSUMERS", "PENDING", "LAG", "LAG TIME", "DUE", "DEAD", "STREAM GROUP")
    checks.equal("of figures and names", [table[1].split()[i] for i in (0, 1, 2, 6, 7)], ["1", "4", "6", "gs", "g"])
    run = Run("group", "ls", "none", server=server)
    status("ls of no stream is status 1", run, 1)
    has("and told", run.err, 'no stream "none"')
    status("ls of some is status 5", Run("group", "ls", "gs", "none", server=server), 5)
    info = Run("group", "info", "gs", "g", "--json", server=server).json()
    checks.equal("info --json", [info["stream"], info["group"], info["pending"]], ["gs", "g", 4])
    checks.equal("has the consumers", [(c["name"], c["pending"]) for c in info["consumer-list"]], [("c c", 4)])
    has("info", Run("group", "info", "gs", "g", server=server).text, "stream: gs\n", "group: g\n", "lag: 6\n", '"c c"')
    for args in (["group", "info"], ["group", "rm"], ["group", "reset", "--to", "end"]):
        run = Run(*args, "gs", "none", server=server)
        status("%s of no group is status 1" % args[1], run, 1)
        has("and says what to try", run.err, 'no group "none"', "beck group ls", "beck group create")

    def lag():
        return one(Run("group", "ls", "gs", "--json", server=server))["lag"]

    places = [("start", "0-0", -4, 10), ("2-1", "2-0", -3, 9), ("(4-1", "4-1", 0, 6), ("end", "10-1", 6, 0), ("1970-01-01T00:00:00.009", "8-", 4, 2)]
    for to, place, moved, after in places:
        run = Run("group", "reset", "gs", "g", "--to", to, "--dry-run", "--json", server=server)
        status("reset --to %s --dry-run" % to, run, 0)
        told = run.json()
        checks.equal("tells from where", [told["would-reset"], told["stream"], told["from"]], ["g", "gs", "4-1"])
        checks.ok("to where", told["to"].startswith(place), told["to"])
        checks.equal("over how many entries (%s)" % to, told["entries"], abs(moved))
        checks.equal("and does nothing", lag(), 6)
        run = Run("group", "reset", "gs", "g", "--to", to, server=server)
        status("reset --to %s" % to, run, 0)
        has("says so", run.text, "g goes from 4-1 to " + place, "4 stay pending")
        if to in ("start", "end"):
            checks.equal("and does it (%s)" % to, lag(), after)
        run = Run("group", "reset", "gs", "g", "--to", "(4-1", server=server)
        with server.connect() as c:
            c.call("XGROUP", "SETID", "gs", "g", "4-1", "ENTRIESREAD", 4)
    out = Run("group", "reset", "gs", "g", "--to", "2-1", "--dry-run", server=server).text
    has("a dry run in words", out, "g would go from 4-1 to 2-0", "back by 3 entries, which would be delivered again")
    out = Run("group", "reset", "gs", "g", "--to", "end", "--dry-run", server=server).text
    has("forward too", out, "over 6 entries, which would not be delivered")

    run = Run("group", "rm", "gs", "g", server=server)
    status("rm leaves a group with pending entries", run, 1)
    has("and says what to try", run.err, "4 pending entries", "--force")
    run = Run("group", "rm", "gs", "g", "--force", "--json", server=server)
    status("rm --force", run, 0)
    checks.equal("rm --json", run.json(), {"removed": "g", "stream": "gs"})
    run = Run("group", "ls", "gs", server=server)
    status("no groups is no error", run, 0)
    has("but told", run.err, "There are no groups")


def test_settings(server):
    """What only Beck has: settings, redelivery, the dead-letter stream and back."""
    fill(server, "set", 3)
    settings = ["--ackwait", "30s", "--maxdeliver", "2", "--dlq", "set-dead", "--backoff", "1ms,2ms", "--max-pending", "100", "--consumer-ttl", "1h"]
    status("create with settings", Run("group", "create", "set", "g", *settings, server=server), 0)
    info = Run("group", "info", "set", "g", server=server).text
    has("info tells them", info, "ackwait: 30s\n", "maxdeliver: 2\n", "dlq: set-dead\n", "backoff: 1ms,2ms\n", "maxpending: 100\n", "consumerttl: 1h\n")
    checks.ok("and none that is not set", "orderby" not in info, info)
    run = Run("group", "set", "set", "g", "--consumer-ttl", "0", "--backoff", "0", "--order-by", "n", "--json", server=server)
    status("set", run, 0)
    checks.equal("set --json", run.json(), {"changed": "g", "stream": "set"})
    info = Run("group", "info", "set", "g", "--json", server=server).json()
    checks.equal("set changes what it names", [info[k] for k in ("ackwait", "consumerttl", "backoff", "orderby", "dlq")], [30000, 0, [], "n", "set-dead"])
    run = Run("group", "set", "set", "g", "--order-by", "", "--max-pending", "0", server=server)
    status("an empty text removes", run, 0)
    run = Run("group", "set", "set", "g", "--dlq", "set", server=server)
    status("what the server refuses is status 1", run, 1)
    has("with its words", run.err, "DLQ")
    run = Run("group", "set", "set", "none", "--ackwait", "1s", server=server)
    status("set of no group is status 1", run, 1)
    has("and told", run.err, 'no group "none"')

    run = Run("consume", "set", "-g", "g", "--exec", 'test "$BECK_ID" = 2-1', "--exit-empty", server=server)
    status("a command that fails", run, 5)
    checks.equal("gets an entry as often as --maxdeliver says", run.err.count("1-1: the command ended with status 1"), 2)
    checks.equal("and then no more", pending(server, "set", "g"), {})
    rows = Run("dlq", "ls", "--json", server=server).json_lines()
    checks.equal("dlq ls --json", rows, [{"dlq": "set-dead", "entries": 2, "groups": [{"stream": "set", "group": "g"}]}])
    has("dlq ls", Run("dlq", "ls", server=server).text, "2  set-dead  set g\n")
    rows = Run("dlq", "show", "set-dead", "--json", server=server).json_lines()
    checks.equal("dlq show tells where from", [(r["stream"], r["id"], r["group"], r["deliveries"], r["reason"], r["fields"]) for r in rows],
                 [("set", "1-1", "g", 2, "nack", {"n": 1}), ("set", "3-1", "g", 2, "nack", {"n": 3})])
    run = Run("dlq", "redrive", "set-dead", "set", "g", "--count", "1", server=server)
    status("redrive", run, 0)
    checks.equal("tells what it did", run.text, "1 redriven, 0 appended, 0 left\n")
    run = Run("consume", "set", "-g", "g", "--exit-empty", server=server)
    checks.equal("it is delivered again", run.text, "1-1 n=1\n")
    with server.connect() as c:
        c.call("XDEL", "set", "3-1")
    run = Run("dlq", "redrive", "set-dead", "set", "g", "--json", server=server)
    status("what is gone from the stream is left", run, 5)
    checks.equal("and counted", run.json(), {"redriven": 0, "appended": 0, "left": 1})
    has("and it is told what to do", run.err, "--all-groups")
    run = Run("dlq", "redrive", "set-dead", "set", "g", "--all-groups", "--json", server=server)
    checks.equal("--all-groups appends it", run.json(), {"redriven": 0, "appended": 1, "left": 0})
    status("redrive to no group is status 1", Run("dlq", "redrive", "set-dead", "set", "none", server=server), 1)


# ---- dlq ----


def letter(c, dlq, id, n, reason="nack"):
    """A dead letter as the server writes it."""
    fields = [] if reason == "gone" else ["n", n, "t", "a b"]
    c.call("XADD", dlq, id, *fields, "beck-origin-stream", "o", "beck-origin-id", "%d-1" % n, "beck-origin-group", "g g",
           "beck-consumer", "w", "beck-deliveries", 5, "beck-reason", reason)


def test_dlq(server):
    with server.connect() as c:
        letter(c, "dead", "1000-0", 1)
        letter(c, "dead", "2000-0", 2, "gone")
        c.call("XADD", "dead", "3000-0", "beck-reason", "mine")
        for i in range(4, 301):
            letter(c, "dead", "%d-0" % (i * 1000), i)
    out = Run("dlq", "show", "dead", "--count", "3", server=server).text
    want = '1000-0: o 1-1, group "g g": nack at delivery 5 to w\n    n=1 t="a b"\n'
    want += '2000-0: o 2-1, group "g g": gone at delivery 5 to w\n3000-0 beck-reason=mine\n'
    checks.equal("show is readable", out, want)
    rows = Run("dlq", "show", "dead", "--json", server=server).json_lines()
    checks.equal("show prints all", len(rows), 300)
    first = {"_id": "1000-0", "stream": "o", "id": "1-1", "group": "g g", "consumer": "w", "deliveries": 5, "reason": "nack", "fields": {"n": 1, "t": "a b"}}
    checks.equal("show --json", rows[0], first)
    checks.equal("what is gone has no fields", rows[1]["fields"], {})
    checks.equal("what is no dead letter is itself", rows[2], {"_id": "3000-0", "beck-reason": "mine"})
    run = Run("dlq", "purge", "dead", server=server)
    status("purge without --yes", run, 0)
    checks.equal("counts", run.text, "300 dead letters would be removed\n")
    has("and says what to try", run.err, "--yes")
    run = Run("dlq", "purge", "dead", "--before", "1970-01-01T00:04:10Z", "--json", server=server)
    checks.equal("--before a time", run.json(), {"would-remove": 249})
    run = Run("dlq", "purge", "dead", "--before", "2000", "--yes", "--json", server=server)
    checks.equal("--before an ID, --yes", run.json(), {"removed": 1})
    checks.equal("removes them", len(Run("dlq", "show", "dead", server=server).text.splitlines()) > 400, True)
    run = Run("dlq", "purge", "dead", "--yes", server=server)
    checks.equal("all", run.text, "299 dead letters removed\n")
    fill(server, "ordinary", 2)
    for yes in ([], ["--yes"]):
        run = Run("dlq", "purge", "ordinary", *yes, server=server)
        status("purge leaves an ordinary stream", run, 1)
        has("and tells", run.err, "does not begin with a dead letter", "beck stream rm")
    run = Run("dlq", "show", "ordinary", server=server)
    checks.equal("show of an ordinary stream", run.text, "1-1 n=1\n2-1 n=2\n")
    checks.equal("show of nothing", Run("dlq", "show", "none", server=server).text, "")


def test_older_server(server):
    run = Run("group", "set", "e", "mixed", "--ackwait", "1s", server=server)
    status("settings on a server without them", run, 1)
    checks.ok("are refused in its words", "CFGSET" in run.err.upper() or "syntax" in run.err, run.err)
    run = Run("dlq", "redrive", "a", "b", "c", server=server)
    status("redrive on a server without it", run, 1)
    has("is told", run.err, "unknown command")
    run = Run("dlq", "ls", server=server)
    status("dlq ls finds none there", run, 0)
    has("and says so", run.err, "No group has a dead-letter stream")


def test_consumers(server, nacks):
    test_printing(server)
    test_acks(server)
    test_claim_idle(server)
    test_follow(server)
    test_stdout(server, nacks)
    test_exec(server, nacks)
    test_exec_signals(server, nacks)
    test_reconnect(server)
    test_lost_answers(server, nacks)
    test_group(server)
    test_dlq(server)


def main():
    test_usage()
    if os.environ.get("CLI_SERVER") != "redis":
        with Server() as server:
            test_consumers(server, True)
            test_random_ends(server)
            test_settings(server)
            test_server_restart(server)
    with Server("redis") as server:
        test_consumers(server, False)
        test_older_server(server)
    checks.finish()


main()
