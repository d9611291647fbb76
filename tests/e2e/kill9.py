"""kill -9 at random moments under load: nothing acknowledged is missing, nothing is there that was not sent.

Several clients append pipelines of single XADDs, of MULTI/EXEC pairs that write to two streams, and of XDELs of
their own entries, and note every acknowledgement. After a random number of them, and a random while later, the
server is killed; what it had sent is still read. Then it starts again on the same directory and everything
that it has is compared with what was sent and what was acknowledged:

  - what was acknowledged is there, under the ID that the reply told; what was sent and not acknowledged may be;
  - of each client it is a prefix of what it sent, in the order in which it sent it;
  - IDs of a stream grow, and no entry is there twice or was never sent;
  - a MULTI/EXEC is there as a whole or not at all;
  - an acknowledged XDEL stays, an entry that nobody deleted does too.

Arenas and files are so small that segments, merges and checkpoints are under way at every kill; a client asks for
BECK MERGE, BECK SEAL or BECK CHECK besides, and does not wait for it.

The ways to die: kill -9 under load; kill -9 right after SIGTERM, while the server shuts down; SIGSTOP, and
kill -9 of the stopped process. Every class of durability gets KILL9_ROUNDS rounds (5) on one directory, so that what was
recovered is recovered again. It proves nothing about power loss: that is test_crash's.

SEED replays the choices, not the kernel's timing.
"""

import os
import random
import select
import signal
import time

from beck import Checks, Closed, Error, Server, encode, seed

ROUNDS = int(os.environ.get("KILL9_ROUNDS") or 5)
KIND = os.environ.get("KILL9_SERVER", "beckd")  # "redis": to see that the test itself is right
CLASSES = ["always", "interval", "os"]
N_CLIENTS = 6
STREAMS = ["even", "odd"]
# The entries of a few hundred requests are a segment, and a checkpoint comes with each few of them.
SMALL = ["--wal-file-bytes", "64kb", "--arena-bytes", "16kb", "--checkpoint-bytes", "64kb"]


def text(client, n):
    """What client's n-th entry holds: its size varies from nothing to 3 KiB, and all of it is checked."""
    size = (client * 7919 + n * 104729) % 97
    size = size * 32 if n % 50 == 0 else size
    return b"%d:%d:" % (client, n) + b"x" * size


class Writer:
    """One client over all rounds: what it sent, what was acknowledged."""

    def __init__(self, number):
        self.number = number
        self.sent = []  # n -> (stream, n of the pair's other half or None)
        self.acked = {}  # n -> ID
        self.deleted = {}  # n -> whether the XDEL was acknowledged
        self.settled = 0  # entries below it were under way in no crash that is still unexamined
        self.lost = set()  # sent, not acknowledged, and not there after the crash
        self.client = None
        self.out = bytearray()
        self.waiting = []  # what each reply still to come is about

    def connect(self, server):
        self.client = server.connect()
        self.client.sock.setblocking(False)
        self.out = bytearray()
        self.waiting = []

    def add(self, stream, other=None):
        n = len(self.sent)
        self.sent.append((stream, other))
        return n, encode("XADD", STREAMS[stream], "*", "from", text(self.number, n))

    def one(self):
        n, request = self.add(self.number % 2)
        self.waiting.append(("add", n))
        self.out += request

    def pair(self):
        n = len(self.sent)
        _, first = self.add(0, n + 1)
        _, second = self.add(1, n)
        self.waiting += [("ok", n), ("queued", n), ("queued", n), ("exec", n)]
        self.out += encode("MULTI") + first + second + encode("EXEC")

    def delete(self, rng):
        choice = [n for n in range(max(0, len(self.sent) - 200), len(self.sent)) if n in self.acked]
        choice = [n for n in choice if n not in self.deleted and self.sent[n][1] is None]
        if not choice:
            return self.one()
        n = rng.choice(choice)
        self.deleted[n] = False
        self.waiting.append(("del", n))
        self.out += encode("XDEL", STREAMS[self.sent[n][0]], self.acked[n])

    def pipeline(self, rng):
        """Sends the next requests once all the former ones are answered."""
        for _ in range(rng.choice([1, 1, 4, 16, 64])):
            kind = rng.random()
            if kind < 0.08:
                self.pair()
            elif kind < 0.16:
                self.delete(rng)
            else:
                self.one()

    def take(self, reply, checks):
        """Notes what a reply acknowledges; returns how many things that are."""
        what, n = self.waiting.pop(0)
        if isinstance(reply, Error):
            checks.ok("no request is refused", False, "%s %d: %s" % (what, n, reply))
            return 0
        if what == "add":
            self.acked[n] = reply
        elif what == "exec":
            self.acked[n], self.acked[n + 1] = reply
        elif what == "del":
            checks.equal("an entry that is there can be deleted", reply, 1)
            self.deleted[n] = True
        return what in ("add", "exec", "del")

    def flush(self):
        try:
            n = self.client.sock.send(self.out)
            del self.out[:n]
        except BlockingIOError:
            pass

    def receive(self, checks):
        """Takes all replies that are there; returns how many acknowledge something. Raises Closed at the end."""
        n = 0
        while self.waiting:
            try:
                n += self.take(self.client.read(), checks)
            except BlockingIOError:
                break
        return n


def run_load(writers, rng, checks, until):
    """Keeps all writers busy until `until` acknowledgements have come (or the server has gone)."""
    done = 0
    while done < until:
        for w in writers:
            if not w.waiting:
                w.pipeline(rng)
            if w.out:
                w.flush()
        ready, _, _ = select.select([w.client.sock for w in writers], [], [], 30)
        if not ready:
            raise SystemExit("the server answers nothing for 30 s")
        for w in writers:
            if w.client.sock in ready:
                done += w.receive(checks)


def drain(writers, checks):
    """Reads what the server had sent before it died."""
    for w in writers:
        w.client.sock.setblocking(True)
        try:
            w.receive(checks)
        except (Closed, ConnectionError):
            pass
        w.client.close()


def die(server, how, writers, rng, checks):
    """Ends the server in one of the ways, with requests of all clients under way."""
    for w in writers:
        if not w.waiting:
            w.pipeline(rng)
        w.flush()
    if how == "stop":
        server.signal(signal.SIGSTOP)
        for w in writers:
            w.pipeline(rng)
            w.flush()
    elif how == "shutdown":
        server.signal(signal.SIGTERM)
    end = time.monotonic() + rng.random() * 0.003
    while time.monotonic() < end:
        pass
    try:
        server.kill()
    finally:
        drain(writers, checks)


def read_all(c, stream):
    """All entries of a stream as (ID, body), in order."""
    entries, start = [], "-"
    while True:
        chunk = c.call("XRANGE", stream, start, "+", "COUNT", 1000)
        if isinstance(chunk, Error):
            raise SystemExit("XRANGE after the restart: %s" % chunk)
        entries += [(e[0], e[1][1]) for e in chunk]
        if len(chunk) < 1000:
            return entries
        start = "(" + chunk[-1][0].decode()


def parse(body):
    """(client, n) of an entry's text; (-1, -1) if it is none of ours."""
    parts = body.split(b":", 2)
    return (int(parts[0]), int(parts[1])) if len(parts) == 3 and parts[0].isdigit() and parts[1].isdigit() else (-1, -1)


def id_key(entry_id):
    ms, seq = entry_id.split(b"-")
    return int(ms), int(seq)


def verify(server, writers, checks, where):
    """Compares everything that is there with what was sent and acknowledged."""
    there = {}  # (client, n) -> ID
    with server.connect() as c:
        for i, stream in enumerate(STREAMS):
            entries = read_all(c, stream)
            ids = [id_key(e) for e, _ in entries]
            checks.ok("%s: IDs grow" % where, all(a < b for a, b in zip(ids, ids[1:])))
            order = {}
            strangers = disordered = 0
            for entry_id, body in entries:
                client, n = parse(body)
                known = 0 <= client < len(writers) and n < len(writers[client].sent)
                if not known or writers[client].sent[n][0] != i or body != text(client, n) or (client, n) in there:
                    strangers += 1
                    continue
                disordered += n < order.get(client, -1)
                order[client] = n
                there[client, n] = entry_id
            checks.equal("%s: nothing is there that was not sent" % where, strangers, 0)
            checks.equal("%s: the order of each client is kept" % where, disordered, 0)
    for w in writers:
        verify_writer(w, there, checks, where)


def verify_writer(w, there, checks, where):
    present = [(w.number, n) in there for n in range(len(w.sent))]
    missing = [n for n in w.acked if not present[n] and n not in w.deleted]
    checks.equal("%s: nothing acknowledged is missing" % where, missing[:5], [])
    moved = [n for n, entry_id in w.acked.items() if present[n] and there[w.number, n] != entry_id]
    checks.equal("%s: entries have the IDs that were told" % where, moved[:5], [])
    back = [n for n, acked in w.deleted.items() if acked and present[n]]
    checks.equal("%s: what was deleted stays deleted" % where, back[:5], [])
    torn = [n for n, (_, other) in enumerate(w.sent) if other is not None and present[n] != present[other]]
    checks.equal("%s: a transaction is there as a whole or not at all" % where, torn[:5], [])
    settle(w, there, checks, where)


def settle(w, there, checks, where):
    """What was under way at the kill is known now: of it, too, only a prefix may be there."""
    tail = [n for n in range(w.settled, len(w.sent)) if n not in w.deleted]
    present = {n for n in range(len(w.sent)) if (w.number, n) in there}
    gap = [b for a, b in zip(tail, tail[1:]) if b in present and a not in present]
    checks.equal("%s: what is there is a prefix of what was sent" % where, gap[:5], [])
    checks.equal("%s: what was lost does not come back" % where, sorted(w.lost & present)[:5], [])
    for n in tail:
        if n in present:
            w.acked[n] = there[w.number, n]
        else:
            w.lost.add(n)
    for n in [n for n, acked in w.deleted.items() if not acked]:
        if n in present:
            del w.deleted[n]
        else:
            w.deleted[n] = True
    w.settled = len(w.sent)


def ask(server, what):
    """A connection that waits for what takes long; closed without an answer by the kill."""
    c = server.connect()
    if KIND == "beckd":
        c.send_bytes(encode("BECK", what))
    return c


def server_args(name):
    if KIND == "redis":
        return ["--appendonly", "yes", "--appendfsync", {"interval": "everysec", "os": "no"}.get(name, name)]
    return ["--stream-durability", name] + SMALL


def run_class(name, rng, checks):
    writers = [Writer(i) for i in range(N_CLIENTS)]
    ways = ["load", "load", "stop", "shutdown", "load"]
    with Server(KIND, server_args(name)) as server:
        for i in range(ROUNDS):
            for w in writers:
                w.connect(server)
            clerk = ask(server, ["MERGE", "SEAL", "CHECK"][i % 3])
            run_load(writers, rng, checks, rng.randrange(1, 3000))
            if i % 3 == 2:  # a pause of the process is not a crash
                server.signal(signal.SIGSTOP)
                server.signal(signal.SIGCONT)
                run_load(writers, rng, checks, rng.randrange(1, 300))
            way = ways[i % len(ways)]
            die(server, way, writers, rng, checks)
            clerk.close()
            server.restart(kill=True)
            verify(server, writers, checks, "%s, round %d, killed in %s" % (name, i + 1, way))
        n_sent = sum(len(w.sent) for w in writers)
        n_acked = sum(len(w.acked) for w in writers)
        print("%-9s %d rounds, %d entries sent, %d kept" % (name, ROUNDS, n_sent, n_acked), flush=True)
        checks.equal("%s: SIGTERM ends it with status 0" % name, server.stop(), 0)


def main():
    number = seed()
    print("seed %d, %d rounds in each class" % (number, ROUNDS), flush=True)
    checks = Checks("kill9")
    for name in CLASSES:
        run_class(name, random.Random("%d %s" % (number, name)), checks)
    checks.finish()


main()
