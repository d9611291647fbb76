"""beckd beside Debian's redis-server: the same commands to both, and whether the same bytes come back.

For the differential tests. What has to differ (times, random choices, the order of sets) is compared for what can be compared: see
HOW. What differs on purpose stands in files of exceptions.
"""

import os
import re

from beck import ROOT, Error, Sealer, Server, _scan, decode, short, wait_until

# ---- what is meant to differ ----


class Rule:
    """A line of tests/differential-exceptions."""

    def __init__(self, number, line):
        parts = [p.strip() for p in line.split(" | ")]
        if len(parts) != 5:
            raise SystemExit("tests/differential-exceptions:%d: %d parts instead of 5" % (number, len(parts)))
        command, self.ours, theirs, self.example, self.source = parts
        self.number = number
        self.command = re.compile(command, re.S)
        self.theirs = re.compile(theirs.encode(), re.S)

    def covers(self, command, ours, theirs):
        if not self.command.fullmatch(command):
            return False
        if self.ours.startswith("drop "):
            return without(decode(ours), self.ours.split()[1:]) == without(decode(theirs), self.ours.split()[1:])
        return bool(re.fullmatch(self.ours.encode(), ours, re.S) and self.theirs.fullmatch(theirs))


def without(reply, patterns):
    """A map's reply, of either protocol, less the fields that match; anything else as it is."""
    if isinstance(reply, Error) or not isinstance(reply, list):
        return reply
    pairs = reply if hasattr(reply, "get") else list(zip(reply[::2], reply[1::2]))
    drop = re.compile("|".join(p.replace("*", ".*") for p in patterns).encode())
    return [(k, v) for k, v in pairs if not drop.fullmatch(k)]


def read_rules():
    with open(os.path.join(ROOT, "tests", "differential-exceptions"), encoding="utf-8") as f:
        return [Rule(i, line) for i, line in enumerate(f, 1) if line.strip() and not line.startswith("#")]


RULES = read_rules()


def near(ours, theirs):
    """Times that were set relative to each server's clock."""
    a, b = decode(ours), decode(theirs)
    return ours == theirs or (isinstance(a, int) and isinstance(b, int) and a > 0 and b > 0 and abs(a - b) < 20000)


def unordered(ours, theirs):
    a, b = decode(ours), decode(theirs)
    return ours == theirs or (isinstance(a, list) and isinstance(b, list) and sorted(a) == sorted(b))


def pairs_of(reply):
    """Fields and values of a reply of either protocol, in order of the fields; None if it has none."""
    if isinstance(reply, Error) or not isinstance(reply, list):
        return None
    return sorted(reply if hasattr(reply, "get") else zip(reply[::2], reply[1::2]))


def unordered_pairs(ours, theirs):
    """HGETALL: the fields come in an order of each server's own."""
    return ours == theirs or (ours[:1] == theirs[:1] and pairs_of(decode(ours)) is not None and pairs_of(decode(ours)) == pairs_of(decode(theirs)))


def same_page(ours, theirs):
    """HSCAN: cursors and their pages are each server's own; a hash that comes as a whole is the same."""
    a, b = decode(ours), decode(theirs)
    if isinstance(a, Error) or isinstance(b, Error):
        return ours == theirs
    return a[0] != b"0" or b[0] != b"0" or pairs_of(a[1]) == pairs_of(b[1])


def same_number(ours, theirs):
    """HRANDFIELD: as many fields; which, is chance."""
    a, b = decode(ours), decode(theirs)
    return ours[:1] == theirs[:1] and (isinstance(a, bytes) or (isinstance(a, list) and len(a) == len(b)))


def same_kind(ours, theirs):
    return ours[:1] == theirs[:1] and (decode(ours) is None) == (decode(theirs) is None)


def same_keys_of_map(ours, theirs):
    """HELLO: the fields and their order, but for what names the server and the connection."""
    a, b = without(decode(ours), ["version", "id"]), without(decode(theirs), ["version", "id"])
    return a == b


def memory_usage(ours, theirs):
    """Whatever it comes to. Redis 7.0 tells it of keys that have expired too."""
    return same_kind(ours, theirs) or (decode(ours) is None and theirs[:1] == b":")


HOW = {
    "HGETALL": unordered_pairs, "HKEYS": unordered, "HVALS": unordered, "HSCAN": same_page, "HRANDFIELD": same_number,
    "TTL": near, "PTTL": near, "EXPIRETIME": near, "PEXPIRETIME": near,
    "KEYS": unordered, "RANDOMKEY": same_kind, "TIME": same_kind, "INFO": same_kind, "HELLO": same_keys_of_map,
    "CLIENT ID": same_kind, "CLIENT LIST": same_kind, "CLIENT INFO": same_kind, "SCAN": same_kind, "DBSIZE": None,
    "MEMORY USAGE": memory_usage, "OBJECT IDLETIME": same_kind,
}


def how_to_compare(args):
    name = args[0].upper()
    sub = "%s %s" % (name, args[1].upper()) if len(args) > 1 and isinstance(args[1], str) else name
    return HOW.get(sub) or HOW.get(name)


def split_array(raw):
    """The elements' bytes of an array's bytes, or None if it is none."""
    if raw[:1] != b"*" or raw.startswith(b"*-1"):
        return None
    pos, out = raw.index(b"\r\n") + 2, []
    while pos < len(raw):
        end = _scan(raw, pos)[1]
        out.append(raw[pos:end])
        pos = end
    return out


# ---- both servers ----


class Conn:
    """A connection to each server, with what it has queued since MULTI."""

    def __init__(self, world, proto, name):
        self.world, self.proto, self.name = world, proto, name
        self.ours, self.theirs = world.beckd.connect(proto), world.redis.connect(proto)
        self.queued = None
        self.broken = False

    def close(self):
        self.ours.close()
        self.theirs.close()

    def send(self, *args):
        self.world.history.append("%s: %s" % (self.name, shown(args)))
        self.ours.send(*args)
        self.theirs.send(*args)

    def both(self, *args):
        self.send(*args)
        return self.ours.read_raw(), self.theirs.read_raw()

    def block(self, admin, *args):
        """Sends what may wait, until both wait or have replied. `admin` is another connection to each."""
        self.send(*args)
        for c, a in zip((self.ours, self.theirs), admin):
            wait_until(lambda c=c, a=a: not c.silent() or b"blocked_clients:1\r" in a.call("INFO", "clients"), "the reader to block")

    def run(self, *args):
        """Sends a command to both and compares; True if the replies are as they should be."""
        ours, theirs = self.both(*args)
        queued = self.queued
        ok = self.compare(args, ours, theirs)
        if not ok:
            self.world.report(self, args, ours, theirs, queued)
        self.follow(args[0].upper(), theirs)
        return ok

    def compare(self, args, ours, theirs):
        if ours == theirs:
            return True
        if args[0].upper() == "EXEC" and self.queued:
            return self.compare_exec(split_array(ours), split_array(theirs))
        if self.queued is not None and args[0].upper() not in ("EXEC", "DISCARD", "MULTI", "WATCH", "RESET"):
            return False  # both say QUEUED or the same error
        return self.compare_one(args, ours, theirs)

    def compare_exec(self, ours, theirs):
        """Element by element, up to one that is meant to leave different data behind."""
        if ours is None or theirs is None or len(ours) != len(self.queued) or len(theirs) != len(self.queued):
            return False
        for each in zip(self.queued, ours, theirs):
            if not self.compare_one(*each):
                return False
            if self.world.diverged:
                break
        return True

    def compare_one(self, args, ours, theirs):
        if ours == theirs:
            return True
        how = how_to_compare(args)
        if how is not None and how(ours, theirs):
            return True
        command = " ".join(a if isinstance(a, str) else repr(a) for a in args).upper()
        if not any(rule.covers(command, ours, theirs) for rule in RULES):
            return False
        if (ours[:1] == b"-") != (theirs[:1] == b"-") and not command.startswith("XREAD"):
            self.world.diverged = True  # one has changed something that the other has not
        return True

    def follow(self, name, reply):
        """Keeps `queued` up to date."""
        if name == "MULTI" and reply == b"+OK\r\n":
            self.queued = []
        elif name in ("EXEC", "DISCARD", "RESET") and self.queued is not None:
            self.queued = None
        elif reply == b"+QUEUED\r\n":
            self.queued.append(self.world.last_args)


def shown(args):
    return " ".join(a if isinstance(a, str) and a.isprintable() and a and " " not in a else repr(a) for a in args)[:400]


class World:
    def __init__(self, checks):
        self.checks = checks
        self.beckd = Server(args=["--stream-durability", "os"])
        self.redis = Server(kind="redis")
        self.sealer = Sealer(self.beckd)
        self.history = []
        self.last_args = None
        self.where = ""
        self.n = 0
        self.diverged = False

    def close(self):
        self.beckd.close()
        self.redis.close()

    def connect(self, proto, name):
        return Conn(self, proto, name)

    def restart(self, kill, durability):
        """Stops or kills beckd; it starts again with the same data and maybe another durability."""
        before = self.digest()
        self.beckd.args = ["--stream-durability", durability]
        self.beckd.restart(kill=kill)
        self.checks.equal("%s: the digest after a restart" % self.where, self.digest(), before)

    def digest(self):
        with self.beckd.connect() as c:
            return c.call("BECK", "DIGEST", "SYNC")[1]

    def report(self, conn, args, ours, theirs, queued):
        if queued and split_array(ours) and split_array(theirs):
            for i, (a, b) in enumerate(zip(split_array(ours), split_array(theirs))):
                if not conn.compare_one(queued[i], a, b):
                    args, ours, theirs = list(args) + ["element %d: %s" % (i, shown(queued[i]))], a, b
                    break
        detail = "got  %s\n    want %s\n    queued %s\n    before it (last ones last):\n      %s" % (
            short(ours, 700), short(theirs, 700), queued and [shown(q) for q in queued], "\n      ".join(self.history[-25:]))
        self.checks.ok("%s, RESP%d: %s" % (self.where, conn.proto, shown(args)), False, detail)

    def do(self, conn, *args):
        self.n += 1
        self.last_args = args
        self.sealer.maybe()
        ok = conn.run(*args)
        self.checks.passed += ok
        if self.diverged:
            self.diverged = False
            self.history.append("FLUSHALL, since a difference that is meant to be has left different data")
            self.flush(conn)
        return ok

    def flush(self, conn):
        for c in (conn.ours, conn.theirs):
            c.call("FLUSHALL")

    def compare_everything(self, proto):
        """All that both hold, database by database."""
        conn = self.connect(proto, "all")
        for db in range(16):
            self.do(conn, "SELECT", str(db))
            self.do(conn, "DBSIZE")
            self.do(conn, "KEYS", "*")
            ours, theirs = scan_all(conn.ours), scan_all(conn.theirs)
            self.checks.equal("%s: SCAN finds the same keys" % self.where, ours, theirs)
            for key in sorted(theirs):
                for command in ("TYPE", "PEXPIRETIME", "XLEN"):
                    self.do(conn, command, key)
                self.do(conn, "XRANGE", key, "-", "+")
                self.do(conn, "XINFO", "STREAM", key, "FULL", "COUNT", "3")
        conn.close()


def scan_all(c, *more):
    found, cursor = set(), b"0"
    while True:
        cursor, keys = c.call("SCAN", cursor, *more)
        found.update(keys)
        if cursor == b"0":
            return found


def run_examples(world):
    """Each exception's example, whose last command must differ, as the exception says."""
    for rule in RULES:
        conn = world.connect(2, "x")
        world.flush(conn)
        commands = [c.split() for c in rule.example.split(" ; ")]
        for args in commands[:-1]:
            conn.both(*args)
        ours, theirs = conn.both(*commands[-1])
        name = "tests/differential-exceptions:%d" % rule.number
        world.checks.ok(name + " is still needed", ours != theirs, short(ours))
        world.checks.ok(name + " covers its example", rule.covers(" ".join(commands[-1]).upper(), ours, theirs),
                  "%s\n    %s" % (short(ours), short(theirs)))
        conn.close()
