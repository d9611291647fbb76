"""Connections that are sent what they have not asked for, to beckd and to Debian's redis-server: for differential_pubsub and
differential_tracking.

Nothing waits for a time: after each command every connection says PING with a new word, and what has come before that word's echo
is what the command has sent it.
"""

from beck import Push, decode, short


class Side:
    """One connection to one server."""

    def __init__(self, server, proto):
        self.client = server.connect(proto)
        self.n = 0
        self.early = []  # messages that came before a reply

    def reply(self):
        """The next frame that is no message, as bytes."""
        while True:
            raw, value = self.client.read_both()
            if not (isinstance(value, list) and value and value[0] in (b"message", b"pmessage", b"smessage", b"invalidate")):
                return raw
            self.early.append(raw)

    def await_reply(self):
        raw = self.reply()
        self.early.append(raw)

    def until_echo(self):
        """All frames before the echo, as bytes."""
        self.n += 1
        word = b"echo-%d" % self.n
        self.client.send("PING", word)
        frames, self.early = self.early, []
        while True:
            raw, value = self.client.read_both()
            if value == word or value == [b"pong", word]:
                return frames
            frames.append(raw)


def parts(frames, proto):
    """Replies and pushes, each in their order: Redis 7.0 sends a client's own message before its reply, later versions behind it."""
    if proto == 2:
        return frames, []
    pushes = [f for f in frames if isinstance(decode(f), Push)]
    return [f for f in frames if not isinstance(decode(f), Push)], pushes


class Listener:
    """A connection to each server. `queueing`: between MULTI and EXEC, where PING is no echo."""

    def __init__(self, beckd, redis, proto, name):
        self.name, self.proto, self.queueing = name, proto, False
        self.ours, self.theirs = Side(beckd, proto), Side(redis, proto)

    def send(self, *args):
        for side in (self.ours, self.theirs):
            side.client.send(*args)

    def read_one(self):
        return [side.reply() for side in (self.ours, self.theirs)]

    def heard(self):
        """What both have been sent since the last time: (replies, pushes) of each."""
        return [parts(side.until_echo(), self.proto) for side in (self.ours, self.theirs)]

    def id(self, side):
        return side.client.call("CLIENT", "ID")

    def close(self):
        self.ours.client.close()
        self.theirs.client.close()


class Stage:
    """Several listeners, a history for reports, and comparing. `single`: each command has one reply, which is awaited before the
    echo is asked for, as some things are told when a round ends."""

    def __init__(self, checks, beckd, redis, single=False):
        self.checks, self.beckd, self.redis, self.single = checks, beckd, redis, single
        self.listeners, self.history, self.where = [], [], ""

    def join(self, proto, name):
        self.listeners.append(Listener(self.beckd, self.redis, proto, name))
        return self.listeners[-1]

    def leave(self, x):
        x.close()
        self.listeners.remove(x)

    def close(self):
        for x in list(self.listeners):
            self.leave(x)

    def claim(self, who, ours, theirs):
        detail = "got  %s\n    want %s\n    before it (last ones last):\n      %s" % (
            short(repr(ours), 900), short(repr(theirs), 900), "\n      ".join(self.history[-20:]))
        self.checks.ok("%s: what %s hears" % (self.where, who), ours == theirs, detail)

    def do(self, x, *args, compare=lambda frames: frames):
        """`x` says something; all hear the same from both servers. `compare` makes of frames what has to be equal."""
        self.history.append("%s (RESP%d): %s" % (x.name, x.proto, " ".join(str(a) for a in args)))
        x.send(*args)
        name = args[0].upper()
        if name == "MULTI" and not x.queueing:
            x.queueing = True
            self.claim(x.name, *x.read_one())
            return
        if x.queueing and name not in ("EXEC", "DISCARD", "RESET"):
            self.claim(x.name, *x.read_one())
            return
        x.queueing = False
        if name == "RESET":
            x.proto = 2
        elif name == "HELLO" and len(args) > 1 and args[1] in ("2", "3"):
            self.hello(x, int(args[1]))
            return
        if self.single:
            for side in (x.ours, x.theirs):
                side.await_reply()
        self.listen(compare, x)

    def hello(self, x, proto):
        """Whether it is allowed; its reply has numbers that differ."""
        refused = [raw[:1] == b"-" for raw in x.read_one()]
        self.claim(x.name, *refused)
        if not refused[0]:
            x.proto = proto

    def listen(self, compare=lambda frames: frames, first=None):
        """`first` is who said something: its echo shows that it was done."""
        for x in sorted(self.listeners, key=lambda x: x is not first):
            if not x.queueing:
                ours, theirs = x.heard()
                self.claim(x.name, [compare(part) for part in ours], [compare(part) for part in theirs])
