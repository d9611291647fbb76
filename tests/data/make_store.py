"""Makes the samples store-2 and store-2-crashed, and beside each what is in it (.json), for tests/e2e/format.py.

    /usr/bin/python3 tests/data/make_store.py [DIRECTORY]       # tests/data

Every later version has to open them, so they are made anew for a new format only, under a new name. Each has a segment that was
merged and others as they were sealed, blocks of every codec and both layouts, two checkpoints, deleted entries that still lie in
segments, settings, idempotence IDs, expiry, names that changed, and a log. The first was closed in good order, the second killed.
What beckd was started with is printed.
"""

import json
import os
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from beck import ROOT, Error, Server

FLAGS = ["--wal-file-bytes", "65536", "--checkpoint-bytes", "1048576"]
WORDS = ["red", "green", "blue", "a rather long word that comes again and again"]
BYTES_MAX = 100 << 10


def do(c, *commands):
    """Sends them in one go, so that they are one batch of the log or two."""
    for command in commands:
        c.send(*command)
    for command in commands:
        reply = c.read()
        if isinstance(reply, Error):
            raise SystemExit("%r: %s" % (command, reply))


def first_life(c):
    for codec in ("none", "lz4", "zstd:1"):
        key = "of-" + codec
        do(c, *[("XADD", key, "%d-%d" % (i // 2 + 1, i % 2), "n", i * i, "word", WORDS[i % 4], "path", "/var/log/%d" % i,
                 "day", "2026-%02d-%02d" % (i % 12 + 1, i % 28 + 1), "price", -i) for i in range(1, 60)],
           ("XCFGSET", key, "CODEC", codec))
    do(c, *[("XADD", "by-row", "%d-0" % (3 * i), *["f%d" % (i * 7 + k) for k in range(2 * (i % 5) + 2)]) for i in range(1, 60)],
       ("XCFGSET", "by-row", "CODEC", "lz4"))
    do(c, ("XADD", "binary", "1-0", b"\xff\x00", b"\r\n", "", ""), ("XADD", "old-name", "1-1", "f", "v"),
       ("XADD", "expires", "5-0", "f", "v"), ("PEXPIREAT", "expires", 4102444800000), ("XADD", "gone", "1-0", "f", "v"))
    do(c, ("BECK", "SEAL"))
    do(c, ("XDEL", "of-lz4", "5-0", "6-0"), ("DEL", "gone"), ("RENAME", "old-name", "new-name"),
       *[("XADD", "of-lz4", "%d-0" % i, "n", i) for i in range(100, 130)], ("SELECT", 7), ("XADD", "elsewhere", "1-0", "f", "v"), ("SELECT", 0))
    do(c, ("BECK", "MERGE"))


def second_life(c):
    do(c, ("XDEL", "of-none", "7-0", "7-1", "20-0"), ("XTRIM", "of-zstd:1", "MINID", "10-0"), ("XDEL", "of-lz4", "100-0", "110-0"),
       *[("XADD", "of-none", "%d-0" % i, "n", i, "word", WORDS[i % 4]) for i in range(100, 130)])
    do(c, ("BECK", "SEAL"))
    do(c, ("XADD", "emptied", "9-0", "f", "v"), ("XTRIM", "emptied", "MAXLEN", 0),
       ("XADD", "with-idmp", "IDMP", "shop", "a-1", "*", "n", 1), ("XADD", "with-idmp", "IDMP", "shop", "a-1", "*", "n", 1))
    do(c, ("BECK", "SEAL"))
    do(c, ("XDEL", "of-none", "101-0", "30-0"), *[("XADD", "of-zstd:1", "%d-0" % i, "n", i) for i in range(200, 220)],
       ("XDEL", "of-zstd:1", "205-0", "11-0"), ("RENAME", "binary", "bytes"))


def plain(value):
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"hex": value.hex()}
    return [plain(v) for v in value] if isinstance(value, list) else value


def contents(server):
    """{database: {key: what the server says of it}}, as JSON has it."""
    found = {}
    with server.connect() as c:
        for db in range(16):
            c.call("SELECT", db)
            for key in sorted(c.call("KEYS", "*")):
                info = c.call("XINFO", "STREAM", key)
                info = dict(zip(info[0::2], info[1::2]))
                found.setdefault(str(db), {})[key.decode()] = {
                    "entries": plain(c.call("XRANGE", key, "-", "+")),
                    "expiry": c.call("PEXPIRETIME", key),
                    "last": plain(info[b"last-generated-id"]),
                    "added": info[b"entries-added"],
                    "max-deleted": plain(info[b"max-deleted-entry-id"]),
                }
    return found


def make(to, crashed):
    base = tempfile.mkdtemp(prefix="beck-sample-")
    path = os.path.join(base, "store")
    try:
        with Server(args=FLAGS, path_dir=path) as server:
            with server.connect() as c:
                first_life(c)
            server.restart()
            with server.connect() as c:
                second_life(c)
            says = contents(server)
            if crashed:
                server.kill()
            elif server.stop() != 0:
                raise SystemExit("beckd did not end in good order")
        for name in os.listdir(path):
            if name.endswith((".tmp", "-reserve")):
                os.unlink(os.path.join(path, name))  # holds nothing that counts
        size = sum(os.path.getsize(os.path.join(path, name)) for name in os.listdir(path))
        if size > BYTES_MAX:
            raise SystemExit("%d bytes, which is more than %d: %s" % (size, BYTES_MAX, sorted(os.listdir(path))))
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(path, to)
        with open(to + ".json", "w") as f:
            json.dump(says, f, indent=1, sort_keys=True)
            f.write("\n")
        print("%s: %d bytes; beckd %s" % (to, size, " ".join(FLAGS)))
    finally:
        shutil.rmtree(base, ignore_errors=True)


if __name__ == "__main__":
    directory = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "tests", "data")
    make(os.path.join(directory, "store-2"), crashed=False)
    make(os.path.join(directory, "store-2-crashed"), crashed=True)
