"""Connection and server commands beside Debian's redis-server: the same bytes, in RESP2 and RESP3.

SCRIPTS are sequences of commands, each run on a fresh connection to both servers; every reply must have
the same bytes. What is meant to differ stands in DIFFERENT, with what Beck replies and why; one that no
longer differs fails. What Debian's 7.0 does not have is claimed by hand below, from Redis 8's
documentation.
"""

import os
import re
import subprocess

from beck import ROOT, Checks, Closed, Error, Map, Server, Simple, beckd_path, decode, encode, short, wait_until

checks = Checks("server: connection and server commands")

LONG = "x" * 200
HUGE = "9" * 30

# One script a paragraph, one command a line; words are split at blanks, escapes as in Python.
SCRIPTS = r"""
PING
PING hello
PING a b
ping
PiNg x
ECHO hello
ECHO
ECHO a b
SELECT 0
SELECT 15
SELECT 16
SELECT -1
SELECT abc
SELECT 01
SELECT 1.5
SELECT %(HUGE)s
SELECT
SELECT 2147483648
FOO
FOO a b
foo %(LONG)s b
%(LONG)s a
FOO a\r\nb c
FOO\r\n a
FOO a\x00b c
FOO '' ""
QUIT

HELLO foo
HELLO 1
HELLO 4
HELLO 2 AUTH
HELLO 2 AUTH a
HELLO 2 AUTH a b
HELLO 3 AUTH a b
HELLO 2 SETNAME
HELLO 2 SETNAME a\nb
HELLO 2 SETNAME a\x20b
HELLO 2 FOO
HELLO 2 FOO bar
HELLO 2 AUTH default x FOO
HELLO %(HUGE)s
HELLO 2.0
HELLO 02
AUTH
AUTH a
AUTH default a
AUTH a b
AUTH a b c
AUTH %(LONG)s %(LONG)s
PING

RESET
PING
RESET now
CLIENT SETNAME foo
SELECT 3
MULTI
PING
RESET
CLIENT GETNAME
EXEC
DISCARD
PING

CLIENT
CLIENT FOO
CLIENT %(LONG)s
CLIENT ID x
CLIENT GETNAME
CLIENT SETNAME a\nb
CLIENT SETNAME a\x20b
CLIENT SETNAME a\x7fb
CLIENT SETNAME a\xffb
CLIENT SETNAME foo
CLIENT GETNAME
client getname
CLIENT SETNAME
CLIENT SETNAME bar baz
CLIENT GETNAME
CLIENT GETNAME x
HELLO 2 SETNAME
CLIENT INFO x
CLIENT NO-EVICT foo
CLIENT NO-EVICT
CLIENT NO-EVICT on
CLIENT NO-EVICT OFF

CLIENT KILL
CLIENT KILL ID abc
CLIENT KILL ID 0
CLIENT KILL ID -1
CLIENT KILL ID 1.5
CLIENT KILL ID 999999
CLIENT KILL ID %(HUGE)s
CLIENT KILL TYPE foo
CLIENT KILL TYPE pubsub
CLIENT KILL TYPE master
CLIENT KILL TYPE replica
CLIENT KILL TYPE slave
CLIENT KILL USER foo
CLIENT KILL SKIPME maybe
CLIENT KILL SKIPME yes ID 999999
CLIENT KILL foo
CLIENT KILL foo bar
CLIENT KILL ID
CLIENT KILL ID 999999 TYPE
CLIENT KILL ADDR 1.2.3.4:5
CLIENT KILL LADDR 1.2.3.4:5
CLIENT KILL 1.2.3.4:5
CLIENT KILL ID 999999 ADDR 1.2.3.4:5
CLIENT KILL ID 999999 FOO bar
CLIENT KILL FOO bar ID abc

CLIENT LIST TYPE foo
CLIENT LIST TYPE pubsub
CLIENT LIST TYPE master
CLIENT LIST TYPE replica
CLIENT LIST TYPE
CLIENT LIST TYPE normal ID 1
CLIENT LIST ID a
CLIENT LIST ID 1 a
CLIENT LIST ID 0
CLIENT LIST ID -1
CLIENT LIST ID 999999
CLIENT LIST ID 999999 999998
CLIENT LIST ID
CLIENT LIST FOO
CLIENT LIST FOO bar

CLIENT UNBLOCK
CLIENT UNBLOCK abc
CLIENT UNBLOCK 999999
CLIENT UNBLOCK -1
CLIENT UNBLOCK 999999 FOO
CLIENT UNBLOCK abc FOO
CLIENT UNBLOCK 999999 ERROR
CLIENT UNBLOCK 999999 timeout
CLIENT UNBLOCK 999999 ERROR x
CLIENT REPLY foo
CLIENT REPLY
CLIENT REPLY ON
CLIENT CACHING
CLIENT CACHING foo
CLIENT CACHING yes
CLIENT CACHING no
CLIENT TRACKING
CLIENT TRACKING foo
CLIENT TRACKING off
CLIENT TRACKING OFF BCAST
CLIENT TRACKING off foo
CLIENT TRACKING off PREFIX
CLIENT TRACKING off REDIRECT
CLIENT TRACKING foo NOLOOP
CLIENT TRACKING foo bar
CLIENT TRACKINGINFO
CLIENT TRACKINGINFO x
CLIENT GETREDIR
CLIENT GETREDIR x

COMMAND COUNT foo
COMMAND FOO
COMMAND INFO foo client|id client|foo foo|bar client| |id
COMMAND INFO ''
COMMAND INFO ping echo select
COMMAND INFO GET|foo
COMMAND DOCS foo
COMMAND DOCS client|foo
COMMAND LIST FOO
COMMAND LIST FILTERBY
COMMAND LIST FILTERBY FOO
COMMAND LIST FILTERBY FOO bar
COMMAND LIST FILTERBY PATTERN
COMMAND LIST FILTERBY PATTERN a b
COMMAND LIST FILTERBY PATTERN nosuch*
COMMAND LIST FILTERBY PATTERN PIN?
COMMAND LIST FILTERBY PATTERN xinfo|str*
COMMAND LIST FILTERBY ACLCAT foo
COMMAND LIST FILTERBY MODULE foo
COMMAND GETKEYS
COMMAND GETKEYS ping foo
COMMAND GETKEYS foo bar
COMMAND GETKEYS xadd a
COMMAND GETKEYS xadd a * f v
COMMAND GETKEYS XLEN a
COMMAND GETKEYS DEL a b c
COMMAND GETKEYS rename a b
COMMAND GETKEYS client id
COMMAND GETKEYS client foo
COMMAND GETKEYS xinfo stream a
COMMAND GETKEYS xinfo foo a
COMMAND GETKEYS xread count 1 streams a b 1 2
COMMAND GETKEYS xread block 0 count 1 streams a 1
COMMAND GETKEYS xread count 1 foo bar
COMMAND GETKEYSANDFLAGS
COMMAND GETKEYSANDFLAGS foo bar
COMMAND GETKEYSANDFLAGS xread count 1 streams a b 1 2
COMMAND GETKEYSANDFLAGS rename a b
COMMAND GETKEYSANDFLAGS renamenx a b
COMMAND GETKEYSANDFLAGS xadd a * f v
COMMAND GETKEYSANDFLAGS xlen a
COMMAND GETKEYSANDFLAGS del a b
COMMAND GETKEYSANDFLAGS exists a b
COMMAND GETKEYSANDFLAGS expire a 1
COMMAND GETKEYSANDFLAGS xdel a 1
COMMAND GETKEYSANDFLAGS xrange a - +

CONFIG
CONFIG FOO
CONFIG GET
CONFIG GET nosuch
CONFIG GET save
CONFIG GET SAVE save s[a]ve
CONFIG GET databases
CONFIG GET maxclients MAXCLIENTS maxclient?
CONFIG GET timeout
CONFIG GET maxmemory-policy
CONFIG SET
CONFIG SET timeout
CONFIG SET foo bar
CONFIG SET maxclients abc
CONFIG SET maxclients 0
CONFIG SET maxclients 1.5
CONFIG SET timeout -1
CONFIG SET databases 3
CONFIG SET timeout 7 foo
CONFIG SET timeout 7 timeout 8
CONFIG SET timeout 7 foo bar
CONFIG GET timeout
CONFIG SET timeout 7 databases 3
CONFIG GET timeout
CONFIG SET timeout 7 maxclients abc
CONFIG GET timeout
CONFIG SET timeout 7 maxclients 9999
CONFIG GET timeout
CONFIG GET maxclients
CONFIG SET TIMEOUT 0 MaxClients 10000
CONFIG GET timeout
CONFIG REWRITE
CONFIG REWRITE x
CONFIG RESETSTAT
CONFIG RESETSTAT x

DBSIZE
DBSIZE x
XADD a 1-1 f v
XADD b 1-1 f v
DBSIZE
SELECT 1
DBSIZE
XADD c 1-1 f v
DBSIZE
FLUSHDB
DBSIZE
SELECT 0
DBSIZE
FLUSHALL FOO
FLUSHALL ASYNC SYNC
FLUSHDB FOO
FLUSHDB SYNC
DBSIZE
EXISTS a
XADD a 1-1 f v
SELECT 2
XADD a 1-1 f v
FLUSHALL ASYNC
DBSIZE
SELECT 0
DBSIZE
FLUSHALL
FLUSHALL SYNC
FLUSHDB async

ROLE
ROLE x
WAIT
WAIT 0
WAIT a 0
WAIT 0 a
WAIT 0 -1
WAIT -1 1
WAIT 0 0
TIME x
READONLY
READWRITE
READONLY x
MODULE
MODULE LIST
MODULE LIST x
MODULE FOO
CLUSTER
CLUSTER FOO
CLUSTER HELP
CLUSTER INFO
CLUSTER INFO x
CLUSTER SLOTS
CLUSTER SHARDS
CLUSTER NODES
CLUSTER MYID
CLUSTER KEYSLOT
CLUSTER KEYSLOT a
CLUSTER COUNTKEYSINSLOT 1
CLUSTER GETKEYSINSLOT 1 1
CLUSTER MEET 1 2
CLUSTER RESET
CLUSTER LINKS
SHUTDOWN FOO
SHUTDOWN SAVE NOSAVE
SHUTDOWN ABORT
SHUTDOWN ABORT NOW
SHUTDOWN NOW x
INFO nosuch
INFO nosuch other

MULTI
FOO
EXEC
MULTI
CLIENT
EXEC
MULTI
CLIENT FOO
EXEC
MULTI
SELECT 3
PING
CLIENT GETNAME
EXEC
MULTI
SHUTDOWN
EXEC
MULTI
HELLO 2 FOO
CLIENT REPLY foo
CONFIG SET foo bar
DBSIZE
ROLE
COMMAND GETKEYS xlen a
EXEC
MULTI
FLUSHALL
DBSIZE
EXEC
"""

# What is meant to differ: (command, what Beck's value is in RESP2, why).
DIFFERENT = [
    ("CLIENT PAUSE 1", Error("ERR unknown subcommand 'PAUSE'. Try CLIENT HELP."), "there is no failover to pause for"),
    ("CONFIG GET appendonly", [b"appendonly", b"yes"], "everything is logged"),
    ("CONFIG GET port", None, "each has its own"),
    ("LOLWUT", Error("ERR unknown command 'LOLWUT', with args beginning with: "), "nothing to draw"),
    ("MODULE LOAD x", Error("ERR unknown subcommand 'LOAD'. Try MODULE HELP."), "there are no modules"),
    ("CLIENT NO-TOUCH on", Simple("OK"), "Redis 7.2"),
    ("CLIENT NO-TOUCH foo", Error("ERR syntax error"), "Redis 7.2"),
    ("CLIENT SETINFO LIB-NAME x", Simple("OK"), "Redis 7.2"),
    ("CLIENT SETINFO lib-ver 1.2", Simple("OK"), "Redis 7.2"),
    ("CLIENT SETINFO foo x", Error("ERR Unrecognized option 'foo'"), "Redis 7.2"),
    (
        "CLIENT SETINFO lib-name a\\x20b",
        Error("ERR lib-name cannot contain spaces, newlines or special characters."),
        "Redis 7.2",
    ),
    ("CLIENT SETINFO LIB-NAME", Error("ERR wrong number of arguments for 'client|setinfo' command"), "Redis 7.2"),
    ("CLIENT KILL MAXAGE abc", Error("ERR syntax error"), None),
    ("CLIENT KILL MAXAGE 100000 ID 999999", 0, "Redis 7.4"),
    ("CLUSTER MYSHARDID", Error("ERR This instance has cluster support disabled"), "Redis 7.2"),
    ("COMMAND GETKEYS xadd", Error("ERR Invalid number of arguments specified for command"), "Redis 7.2: arity -3"),
    ("COMMAND GETKEYS ping", Error("ERR The command has no key arguments"), "Redis 7.2: arity -3"),
    ("BECK", Error("ERR wrong number of arguments for 'beck' command"), "Beck's own"),
    ("BECK FOO", Error("ERR unknown subcommand 'FOO'. Try BECK HELP."), "Beck's own"),
    ("BECK LOG x", Error("ERR wrong number of arguments for 'beck|log' command"), "Beck's own"),
    ("BECK DIGEST FOO", Error("ERR syntax error"), "Beck's own"),
    ("BECK DIGEST SYNC x", Error("ERR syntax error"), "Beck's own"),
]
DIFFERENT = [d for d in DIFFERENT if d[2] is not None]

# COMMAND INFO: (command, field) pairs where Beck follows Redis 8 or its own nature, and why.
FIELDS = ("name", "arity", "flags", "first", "last", "step", "categories", "tips", "specs", "subcommands")
INFO_DIFFERENT = {
    ("command|getkeys", "arity"): "-3 since Redis 7.2",
    ("command|getkeysandflags", "arity"): "-3 since Redis 7.2",
    ("cluster|shards", "flags"): "loading since Redis 7.2",
    ("cluster|slots", "flags"): "loading since Redis 7.2",
    ("xgroup|delconsumer", "arity"): "a last word says what becomes of its entries",
}


def words(line):
    out = []
    for word in line.split():
        if word in ("''", '""'):
            word = ""
        out.append(word.encode("latin1").decode("unicode_escape").encode("latin1"))
    return out


def scripts():
    text = SCRIPTS % {"LONG": LONG, "HUGE": HUGE}
    for paragraph in text.strip().split("\n\n"):
        yield [words(line) for line in paragraph.splitlines()]


def unordered(raw):
    """COMMAND LIST and INFO are sets in Redis's words: nothing is said about their order."""
    value = decode(raw)
    return sorted(value, key=repr) if isinstance(value, list) else value


def run_scripts(beck, redis, proto):
    for script in scripts():
        with beck.connect(proto) as b, redis.connect(proto) as r:
            for command in script:
                got, want = b.raw(*command), r.raw(*command)
                claim = "RESP%d: %s" % (proto, short(" ".join(repr(w)[2:-1] for w in command), 100))
                if command[0].upper() == b"COMMAND" and command[1:2] == [b"LIST"]:
                    got, want = unordered(got), unordered(want)
                if [w.upper() for w in command[:2]] == [b"CONFIG", b"GET"]:
                    got, want = unordered(got), unordered(want)
                checks.equal(claim, got, want)


def run_different(beck, redis):
    for line, want, why in DIFFERENT:
        with beck.connect() as b, redis.connect() as r:
            got, other = b.call(*words(line)), r.call(*words(line))
            if want is not None:
                checks.equal("%s (%s)" % (line, why), got, want)
            checks.ok("%s differs as listed (%s)" % (line, why), got != other, short(got))


def hello(beck, redis):
    for proto in (2, 3):
        with beck.connect() as b, redis.connect() as r:
            got, want = b.raw("HELLO", proto), r.raw("HELLO", proto)
            cut = re.compile(rb"(version\r\n)\$\d+\r\n[0-9.]+(.*id\r\n):\d+", re.S)
            checks.equal(
                "HELLO %d has the fields and order of Redis" % proto, cut.sub(rb"\1\2", got), cut.sub(rb"\1\2", want)
            )
            reply = decode(got)
            pairs = dict(reply) if proto == 3 else dict(zip(reply[::2], reply[1::2]))
            checks.equal("HELLO %d says which Redis this is like" % proto, pairs[b"version"], b"8.8.0")
            checks.equal("HELLO's id is CLIENT ID", pairs[b"id"], b.call("CLIENT", "ID"))
            checks.equal("HELLO without arguments keeps the version", b.raw("HELLO")[:1], got[:1])
            b.call("HELLO", "4")
            checks.equal("a refused HELLO keeps the version", b.raw("HELLO")[:1], got[:1])
    with beck.connect() as b:
        checks.ok("HELLO 3 SETNAME replies with a map", isinstance(b.call("HELLO", "3", "SETNAME", "me"), Map))
        checks.equal("... and sets the name", b.call("CLIENT", "GETNAME"), b"me")
        b.call("HELLO", "2", "SETNAME", "you", "FOO")
        checks.equal("a HELLO with a wrong option changes nothing", b.raw("CLIENT", "GETNAME"), b"$2\r\nme\r\n")
        b.call("HELLO", "2", "SETNAME", "")
        checks.equal("an empty name takes the name away", b.raw("CLIENT", "GETNAME"), b"$-1\r\n")


def passwords(redis_args):
    with Server(args=redis_args) as beck, Server("redis", args=redis_args) as redis:
        script = [
            "PING", "FOO", "CLIENT ID", "CLIENT FOO", "XADD a * f", "HELLO 3", "HELLO 2", "HELLO 3 AUTH default wrong",
            "HELLO 3 AUTH default", "HELLO 2 AUTH other secret", "RESET", "AUTH wrong", "AUTH secre",
            "AUTH secretx", "AUTH ''", "AUTH other secret", "AUTH default wrong", "AUTH secret x y",
            "MULTI", "EXEC", "PING",
            "AUTH secret", "PING", "CLIENT GETNAME", "RESET", "PING", "AUTH default secret", "PING", "QUIT",
        ]  # fmt: skip
        with beck.connect() as b, redis.connect() as r:
            for line in script:
                got, want = b.raw(*words(line)), r.raw(*words(line))
                got = got.replace(b"HELLO <proto> AUTH", b"HELLO AUTH")  # so since Redis 7.2
                checks.equal("with a password: " + line, got, want)
        with beck.connect() as b:
            checks.ok("HELLO 3 AUTH lets in", isinstance(b.call("HELLO", "3", "AUTH", "default", "secret"), Map))
            checks.equal("... and PING works", b.call("PING"), Simple("PONG"))
            checks.equal("a new password", b.call("CONFIG", "SET", "requirepass", "other"), Simple("OK"))
            checks.equal("... leaves who is in alone", b.call("PING"), Simple("PONG"))
            with beck.connect() as c:
                checks.ok("... and keeps others out", str(c.call("AUTH", "secret")).startswith("WRONGPASS"))
                checks.equal("... until they know it", c.call("AUTH", "other"), Simple("OK"))
            checks.equal("no password", b.call("CONFIG", "SET", "requirepass", ""), Simple("OK"))
            with beck.connect() as c:
                checks.equal("... lets everyone in", c.call("PING"), Simple("PONG"))
    with Server(args=redis_args) as beck, beck.connect() as b:
        b.call("HELLO", "2", "SETNAME", "x")
        b.call("AUTH", "secret")
        checks.equal("a HELLO that is refused names nobody (Redis 7.2)", b.raw("CLIENT", "GETNAME"), b"$-1\r\n")
        with beck.connect() as c:
            checks.equal("QUIT before AUTH", c.call("QUIT"), Simple("OK"))


def command_table(beck, redis):
    """Arity, flags, keys and categories of every command that both have."""
    with beck.connect() as b, redis.connect() as r:
        ours = [n.decode() for n in b.call("COMMAND", "LIST", "FILTERBY", "PATTERN", "*")]
        checks.equal("COMMAND COUNT counts what COMMAND lists", b.call("COMMAND", "COUNT"), len(b.call("COMMAND")))
        checks.equal("COMMAND INFO alone is COMMAND", len(b.call("COMMAND", "INFO")), b.call("COMMAND", "COUNT"))
        checks.equal("COMMAND LIST lists them", len(b.call("COMMAND", "LIST")), b.call("COMMAND", "COUNT"))
        checks.equal("COMMAND DOCS tells of all", len(b.call("COMMAND", "DOCS")), 2 * b.call("COMMAND", "COUNT"))
        not_there, used = [], set()
        for name in ours:
            mine, theirs = b.call("COMMAND", "INFO", name)[0], r.call("COMMAND", "INFO", name)[0]
            if theirs is None:
                not_there.append(name)
                continue
            for i, field in enumerate(FIELDS[:-1]):
                got, want = normal(field, mine[i]), normal(field, theirs[i])
                if (name, field) in INFO_DIFFERENT:
                    used.add((name, field))
                    checks.ok("COMMAND INFO %s: %s differs as listed" % (name, field), got != want, short(got))
                elif field != "tips":
                    checks.equal("COMMAND INFO %s: %s" % (name, field), got, want)
            docs = dict(pairs(b.call("COMMAND", "DOCS", name)[1]))
            checks.ok("COMMAND DOCS %s is whole" % name, {b"summary", b"since", b"group", b"complexity"} <= set(docs))
        checks.equal("every listed difference of COMMAND INFO is there", used, set(INFO_DIFFERENT))
        late = {"client|no-touch", "client|setinfo", "cluster|myshardid", "xdelex", "xcfgset", "xackdel", "xnack", "xgroup|cfgset", "digest", "delex", "msetex", "increx"}
        late |= {"hexpire", "hpexpire", "hexpireat", "hpexpireat", "httl", "hpttl", "hexpiretime", "hpexpiretime", "hpersist", "hgetex", "hsetex", "hgetdel"}
        for name in not_there:
            checks.ok("%s is later than 7.0, or Beck's" % name, name in late or name.split("|")[0] in ("beck", "xdlq", "getrev", "ifrev", "getlease", "getat", "keyhist"))
        with beck.connect(3) as b3, redis.connect(3) as r3:
            for name in ("rename", "renamenx", "xlen", "del", "exists", "persist", "xrange", "echo", "get", "mget", "mset", "msetnx", "append", "getex", "incr", "setex", "psetex", "setnx", "strlen", "getset", "getdel", "touch", "type", "unlink", "expire", "pexpireat", "scan", "keys"):
                got, want = (shape(dict(c.call("COMMAND", "DOCS", name)[0][1])[b"arguments"]) for c in (b3, r3))
                checks.equal("COMMAND DOCS %s has Redis's arguments" % name, got, want)
            xadd = dict(b3.call("COMMAND", "DOCS", "xadd")[0][1])[b"arguments"]
            checks.equal("COMMAND DOCS xadd: blocks, tokens and choices", shape(xadd), XADD_SHAPE)
            for name in ("ping", "auth", "echo", "select", "hello", "dbsize", "time", "role", "wait", "shutdown"):
                got, want = b3.raw("COMMAND", "INFO", name), r3.raw("COMMAND", "INFO", name)
                checks.equal("RESP3: COMMAND INFO %s has the same bytes" % name, got, want)


XADD_SHAPE = (
    "key:key nomkstream:pure-token?NOMKSTREAM "
    "(oneof? keepref:pure-tokenKEEPREF delref:pure-tokenDELREF acked:pure-tokenACKED) "
    "(oneof? producer:stringIDMPAUTO (block producer:stringIDMP iid:string)) "
    "(block? (oneof maxlen:pure-tokenMAXLEN minid:pure-tokenMINID) (oneof? =:pure-token= ~:pure-token~) "
    "threshold:string count:integer?LIMIT) (oneof *:pure-token* ms-*:string id:string) "
    "(block* field:string value:string)"
)


def shape(args):
    """One line that shows an argument tree."""
    out = []
    for a in args:
        flags = [str(f) for f in a.get("flags", [])]
        mark = ("?" if "optional" in flags else "") + ("*" if "multiple" in flags else "")
        mark += a.get("token", b"").decode()
        inner = a.get("arguments")
        kind = a.get("type").decode()
        out.append(
            "(%s%s %s)" % (kind, mark, shape(inner)) if inner else "%s:%s%s" % (a.get("name").decode(), kind, mark)
        )
    return " ".join(out)


def pairs(flat):
    return flat if isinstance(flat, Map) else list(zip(flat[::2], flat[1::2]))


def normal(field, value):
    if field in ("flags", "categories", "tips"):
        return sorted(str(v) for v in value)
    if field == "specs":
        kept = [[(k, sorted(v, key=repr) if k == b"flags" else v) for k, v in pairs(s) if k != b"notes"] for s in value]
        return [sorted(spec, key=repr) for spec in kept]
    return value


def fields_of(line):
    return dict(field.split("=", 1) for field in line.split(" "))


def client_list(beck):
    with beck.connect() as a, beck.connect(3, tcp=True) as b:
        a.call("CLIENT", "SETNAME", "alice")
        a.call("CLIENT", "SETINFO", "LIB-NAME", "lib")
        a.call("CLIENT", "SETINFO", "LIB-VER", "1.2")
        a.call("SELECT", "3")
        b.call("CLIENT", "NO-EVICT", "on")
        b.call("MULTI")
        b.call("PING")
        lines = a.call("CLIENT", "LIST").decode().splitlines()
        checks.equal(
            "CLIENT LIST has a line for each, the oldest first", [fields_of(x)["name"] for x in lines], ["alice", ""]
        )
        by_name = {fields_of(line)["name"]: fields_of(line) for line in lines}
        alice, other = by_name["alice"], by_name[""]
        checks.equal("its fields are Redis's, in order", list(alice), (
            "id addr laddr fd name age idle flags db sub psub ssub multi watch qbuf qbuf-free argv-mem "
            "multi-mem rbs rbp obl oll omem tot-mem events cmd user redir resp lib-name lib-ver io-thread tot-net-in tot-net-out tot-cmds"
        ).split())  # fmt: skip
        told = {"db": "3", "flags": "U", "resp": "2", "lib-name": "lib", "lib-ver": "1.2", "multi": "-1"}
        told.update({"cmd": "client|list", "user": "default", "laddr": beck.path + ":0"})
        for field, want in told.items():
            checks.equal("alice's " + field, alice[field], want)
        for field, want in (("multi", "1"), ("resp", "3"), ("laddr", "127.0.0.1:%d" % beck.port), ("db", "0")):
            checks.equal("the other's " + field, other[field], want)
        checks.equal("flags tell of MULTI and NO-EVICT", sorted(other["flags"]), ["e", "x"])
        checks.ok("addr is the peer's", other["addr"] == "%s:%d" % b.sock.getsockname(), other["addr"])
        b.call("DISCARD")
        info = b.raw("CLIENT", "INFO")
        checks.ok(
            "CLIENT INFO is one verbatim line in RESP3", info.startswith(b"=") and info.count(b"\n") == 3, short(info)
        )
        ids = [alice["id"], other["id"]]
        listed = a.call("CLIENT", "LIST", "ID", *reversed(ids)).decode().splitlines()
        checks.equal("CLIENT LIST ID keeps the order asked for", [fields_of(x)["id"] for x in listed], ids[::-1])
        listed = a.call("CLIENT", "LIST", "ID", "0", ids[0], "-1", "999999", ids[0], ids[1]).decode().splitlines()
        checks.equal("... once for each time", [fields_of(x)["id"] for x in listed], [ids[0], *ids])
        checks.equal("TYPE normal is everyone", len(a.call("CLIENT", "LIST", "TYPE", "Normal").splitlines()), 2)


def killing(beck):
    def gone(c):
        try:
            c.call("PING")
            return False
        except (Closed, OSError):
            return True

    with beck.connect() as a:
        own = a.call("CLIENT", "ID")
        for how in (
            lambda i, addr: ("ID", i),
            lambda i, addr: ("ADDR", addr),
            lambda i, addr: (addr,),
            lambda i, addr: ("ID", i, "ADDR", addr, "TYPE", "normal", "USER", "default", "SKIPME", "yes"),
        ):
            with beck.connect(tcp=True) as victim:
                addr = "%s:%d" % victim.sock.getsockname()
                args = how(victim.call("CLIENT", "ID"), addr)
                reply = a.call("CLIENT", "KILL", *args)
                checks.equal(
                    "CLIENT KILL %s" % " ".join(map(str, args[:1])), reply, Simple("OK") if len(args) == 1 else 1
                )
                checks.ok("... closes it", gone(victim))
        with beck.connect(tcp=True) as victim, beck.connect() as unix:
            victim.call("PING")
            unix.call("PING")
            checks.equal(
                "LADDR fits the TCP one only", a.call("CLIENT", "KILL", "LADDR", "127.0.0.1:%d" % beck.port), 1
            )
            checks.ok("... and closes it", gone(victim))
            checks.equal("USER default spares oneself", a.call("CLIENT", "KILL", "USER", "default"), 1)
            checks.ok("... and nobody else", gone(unix))
        checks.equal("nobody else is there", a.call("CLIENT", "KILL", "TYPE", "normal"), 0)
        checks.equal("MAXAGE spares the young", a.call("CLIENT", "KILL", "MAXAGE", "1000", "SKIPME", "no"), 0)
        checks.equal("MAXAGE 0", a.call("CLIENT", "KILL", "MAXAGE", "0"), Error("ERR maxage should be greater than 0"))
        checks.equal("whoever kills itself", a.call("CLIENT", "KILL", "ID", own, "SKIPME", "no"), 1)
        checks.equal("... gets the reply first, then the end", a.read_to_end(), b"")
    with beck.connect() as a, beck.connect() as blocked:
        blocked.send("XREAD", "BLOCK", "0", "STREAMS", "nokey", "0")
        wait_until(lambda: a.call("INFO", "clients").count(b"blocked_clients:1"), "a blocked client")
        line = [x for x in a.call("CLIENT", "LIST").decode().splitlines() if fields_of(x)["cmd"] == "xread"][0]
        checks.ok("a blocked client has the flag b", "b" in fields_of(line)["flags"], line)
        checks.equal("a blocked client can be killed", a.call("CLIENT", "KILL", "ID", fields_of(line)["id"]), 1)
        checks.equal("... and gets no reply", blocked.read_to_end(), b"")
        wait_until(lambda: a.call("INFO", "clients").count(b"blocked_clients:0"), "nobody blocked")


def unblocking(beck, redis):
    for proto in (2, 3):
        for how in ((), ("TIMEOUT",), ("ERROR",)):
            replies = []
            for server in (beck, redis):
                with server.connect() as a, server.connect(proto) as blocked:
                    number = blocked.call("CLIENT", "ID")
                    blocked.send("XREAD", "BLOCK", "0", "STREAMS", "nokey", "0")
                    wait_until(lambda: b"blocked_clients:1" in a.call("INFO", "clients"), "a blocked client")
                    first = a.call("CLIENT", "UNBLOCK", number, *how)
                    again = a.call("CLIENT", "UNBLOCK", number, *how)
                    replies.append((first, again, blocked.read_raw(), blocked.raw("PING")))
            checks.equal("RESP%d: CLIENT UNBLOCK %s" % (proto, " ".join(how)), replies[0], replies[1])


def reply_modes(beck, redis):
    scripts_ = (
        ["CLIENT REPLY OFF", "PING", "FOO", "CLIENT REPLY ON", "PING"],
        ["CLIENT REPLY SKIP", "PING", "ECHO a"],
        ["CLIENT REPLY SKIP", "CLIENT REPLY SKIP", "PING", "ECHO a"],
        ["CLIENT REPLY SKIP", "CLIENT REPLY ON", "ECHO a"],
        ["CLIENT REPLY OFF", "CLIENT REPLY SKIP", "PING", "CLIENT REPLY ON", "ECHO a", "ECHO b"],
        ["CLIENT REPLY SKIP", "FOO", "ECHO a"],
        ["CLIENT REPLY SKIP", "CLIENT REPLY foo", "ECHO a"],
        ["MULTI", "CLIENT REPLY SKIP", "PING", "EXEC", "ECHO a"],
        ["CLIENT REPLY SKIP", "MULTI", "PING", "EXEC"],
        ["CLIENT REPLY OFF", "RESET", "ECHO a"],
    )  # fmt: skip
    for script in scripts_:
        got = []
        for server in (beck, redis):
            with server.connect() as c:
                c.send_bytes(b"".join(encode(*words(line)) for line in script) + encode("QUIT"))
                got.append(c.read_to_end())
        checks.equal("; ".join(script), got[0], got[1])
    for script, want in (  # here Redis leaves the connection open, or replies with half an array
        (["CLIENT REPLY SKIP", "QUIT"], b""),
        (["CLIENT REPLY OFF", "QUIT"], b""),
        (
            ["MULTI", "CLIENT REPLY OFF", "PING", "EXEC", "PING", "CLIENT REPLY ON", "QUIT"],
            b"+OK\r\n" + 2 * b"+QUEUED\r\n" + 2 * b"+OK\r\n",
        ),
    ):
        with beck.connect() as c:
            c.send_bytes(b"".join(encode(*words(line)) for line in script))
            checks.equal("; ".join(script), c.read_to_end(), want)


def info(beck):
    def figures(*section):
        return dict(x.split(":", 1) for x in c.call("INFO", *section).decode().split("\r\n") if ":" in x)

    def titles(text):
        return re.findall(r"^# (\w+)\r$", text.decode(), re.M)

    with beck.connect() as c, beck.connect(3) as c3:
        everything = c.call("INFO")
        checks.ok("every line of INFO ends with CR LF", b"\n" not in everything.replace(b"\r\n", b""))
        values = figures()
        for key, want in (("redis_version", "8.8.0"), ("redis_mode", "standalone"), ("loading", "0"), ("role", "master"),
                          ("maxmemory_policy", "noeviction"), ("connected_clients", "2"),
                          ("blocked_clients", "0"), ("cluster_enabled", "0"), ("connected_slaves", "0"),
                          ("process_id", str(beck.pid)), ("tcp_port", str(beck.port))):  # fmt: skip
            checks.equal("INFO " + key, values.get(key), want)
        checks.ok("INFO beck_version", re.fullmatch(r"\d+\.\d+\.\d+", values.get("beck_version", "")) is not None)
        for _ in range(8):
            c.call("XADD", "big", "*", "f", "x" * (1 << 20))
        grown = int(figures("memory")["used_memory"]) - int(values["used_memory"])
        checks.ok("used_memory is a real figure", 6 << 20 < grown < 64 << 20, str(grown))
        c.call("DEL", "big")
        checks.equal("the run has a name of 40 digits", len(values["run_id"]), 40)
        default = [
            "Server",
            "Clients",
            "Memory",
            "Persistence",
            "Stats",
            "Replication",
            "CPU",
            "Modules",
            "Cluster",
            "Keyspace",
            "Log",
        ]
        checks.equal("INFO's sections", titles(everything), default)
        for word in ("all", "everything", "default"):
            checks.equal("INFO %s" % word, titles(c.call("INFO", word))[:3], default[:3])
        checks.equal(
            "INFO of two sections, in any case",
            titles(c.call("INFO", "STATS", "server", "Server")),
            ["Server", "Stats"],
        )
        checks.equal(
            "sections are parted by an empty line",
            c.call("INFO", "cluster", "modules"),
            b"# Modules\r\n\r\n# Cluster\r\ncluster_enabled:0\r\n",
        )
        checks.ok(
            "INFO is verbatim text in RESP3",
            c3.raw("INFO", "cluster") == b"=34\r\ntxt:# Cluster\r\ncluster_enabled:0\r\n\r\n",
            short(c3.raw("INFO", "cluster")),
        )
        c.call("SELECT", "5")
        c.call("XADD", "k", "1-1", "f", "v")
        c.call("XADD", "l", "1-1", "f", "v")
        c.call("PEXPIRE", "k", "100000")
        line = [x for x in c.call("INFO", "keyspace").decode().split("\r\n") if x.startswith("db5:")][0]
        match = re.fullmatch(r"db5:keys=2,expires=1,avg_ttl=(\d+),subexpiry=0", line)
        checks.ok(
            "INFO keyspace tells keys, expires and the mean of TTLs",
            match and 90000 < int(match.group(1)) <= 100000,
            line,
        )
        c.call("FLUSHALL")
        checks.equal("an empty database has no line", c.call("INFO", "keyspace"), b"# Keyspace\r\n")
        before = int(figures("stats")["total_commands_processed"])
        c.call("PING")
        c.call("FOO")
        stats = figures("stats")
        checks.equal("commands are counted, unknown ones not", int(stats["total_commands_processed"]) - before, 2)
        checks.ok("errors are counted", int(stats["total_error_replies"]) >= 1)
        c.call("CONFIG", "RESETSTAT")
        stats = figures("stats")
        checks.equal(
            "CONFIG RESETSTAT starts anew",
            (stats["total_commands_processed"], stats["total_error_replies"]),
            ("1", "0"),
        )


def beck_commands(beck):
    with beck.connect() as c, beck.connect(3) as c3:
        c.call("FLUSHALL")
        empty = c.call("BECK", "DIGEST", "SYNC")
        checks.ok(
            "BECK DIGEST is [LSN, 32 hex digits]",
            isinstance(empty[0], int) and re.fullmatch(rb"[0-9a-f]{32}", empty[1]) is not None,
            short(empty),
        )
        c.call("XADD", "s", "1-1", "f", "v")
        full = c.call("BECK", "DIGEST")
        checks.ok("it changes with the state", full[1] != empty[1] and full[0] > empty[0], short(full))
        checks.equal("in slices it is the same", c.call("BECK", "DIGEST", "SYNC")[1], full[1])
        c.call("DEL", "s")
        checks.equal("what is undone hashes as before", c.call("BECK", "DIGEST")[1], empty[1])
        log = c3.call("BECK", "LOG")
        checks.ok("BECK LOG is a map in RESP3", isinstance(log, Map), short(log))
        log = dict(log)
        checks.ok("... of watermarks", log[b"durable_lsn"] <= log[b"written_lsn"] <= log[b"last_lsn"], short(log))
        checks.ok(
            "... which count records",
            log[b"last_lsn"] >= 1024 and log[b"files"] >= 1 and log[b"failed"] == 0,
            short(log),
        )
        checks.ok("an always-class append was synced", log[b"fsyncs"] + log[b"fsyncs_inline"] > 0, short(log))


def helps(beck):
    with beck.connect() as c:
        for container in ("CLIENT", "CONFIG", "COMMAND", "MODULE", "BECK", "XINFO"):
            lines = c.call(container, "HELP")
            names = c.call("COMMAND", "LIST", "FILTERBY", "PATTERN", container + "|*")
            subs = [n.decode().split("|")[1].upper() for n in names]
            told = [line.split()[0] for line in lines[1:] if not line.startswith(" ")]
            checks.equal("%s HELP tells of each subcommand" % container, sorted(told), sorted(subs))
            checks.ok("%s HELP is simple strings" % container, all(isinstance(x, Simple) for x in lines))


def ends():
    for args, tcp in (
        (("SHUTDOWN",), False), (("SHUTDOWN", "NOSAVE"), True), (("SHUTDOWN", "SAVE", "NOW", "FORCE"), False)
    ):
        with Server() as beck, beck.connect(tcp=tcp) as c:
            c.call("XADD", "s", "1-1", "f", "v")
            c.send(*args)
            checks.equal("%s replies nothing and closes" % " ".join(args), c.read_to_end(), b"")
            checks.equal("... and the server ends with 0", beck.wait(), 0)
            beck.start()
            with beck.connect() as again:
                checks.equal("... with everything kept", again.call("XLEN", "s"), 1)


def documents():
    with open(os.path.join(ROOT, "docs", "protocol.md"), "rb") as f:
        kept = f.read()
    checks.ok(
        "docs/protocol.md is what the table says", subprocess.check_output([beckd_path(), "--print-commands"]) == kept
    )


def main():
    documents()
    with Server() as beck, Server("redis") as redis:
        for proto in (2, 3):
            run_scripts(beck, redis, proto)
        run_different(beck, redis)
        hello(beck, redis)
        command_table(beck, redis)
        reply_modes(beck, redis)
        unblocking(beck, redis)
    with Server() as beck:
        client_list(beck)
    with Server() as beck:
        killing(beck)
        helps(beck)
    with Server() as beck:
        info(beck)
        beck_commands(beck)
    passwords(["--requirepass", "secret"])
    ends()
    checks.finish()


main()
