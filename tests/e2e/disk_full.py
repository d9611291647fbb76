"""A full disk, as far as an ordinary user can make one: a limit on the size of files, and a tiny tmpfs for root.

The broker either goes on serving reads and refuses appends with -DISKFULL, or ends with a message and a status
that is not 0; in both cases what it acknowledged is there afterwards.
"""

import os
import shutil
import subprocess
import tempfile

from beck import Checks, Closed, Error, Server, wait_until

ARGS = ["--wal-file-bytes", "1mb", "--arena-bytes", "256kb", "--checkpoint-bytes", "1mb"]


def append_until_refused(server, limit):
    """Appends entries, one acknowledged after the other; returns (IDs, the refusal or None if it closed)."""
    ids = []
    with server.connect() as c:
        for _ in range(limit):
            try:
                reply = c.call("XADD", "s", "*", "body", os.urandom(1000))
            except (Closed, ConnectionError):
                return ids, None
            if isinstance(reply, Error):
                return ids, reply
            ids.append(reply)
    return ids, "none"


def all_ids(server):
    with server.connect() as c:
        ids, start = [], "-"
        while True:
            chunk = c.call("XRANGE", "s", start, "+", "COUNT", 1000)
            ids += [entry[0] for entry in chunk]
            if len(chunk) < 1000:
                return ids
            start = "(" + chunk[-1][0].decode()


def judge(checks, server, what, limit):
    """Fills the disk and looks at what the broker does then, and after a restart without the limit."""
    ids, refusal = append_until_refused(server, limit)
    print("%s: %d entries acknowledged, then %s" % (what, len(ids), refusal or "the connection closed"))
    checks.ok("%s: the disk fills at all" % what, refusal != "none")
    if server.proc.poll() is None and refusal is not None:
        checks.ok("%s: appends are refused as DISKFULL" % what, refusal.startswith("DISKFULL"), refusal)
        wait_until(lambda: "disk is full" in server.log(), "the log to tell of the full disk")
        checks.equal("%s: what was acknowledged is served" % what, all_ids(server), ids)
        with server.connect() as c:
            checks.equal("%s: PING is answered" % what, str(c.call("PING")), "PONG")
            checks.equal("%s: what frees space is accepted" % what, c.call("XDEL", "s", ids[0]), 1)
        return ids[1:]
    status = server.wait()
    checks.ok("%s: it ends with a status" % what, status > 0, "status %d" % status)
    checks.ok("%s: and says why" % what, "pace" in server.log() or "large" in server.log(), server.log()[-500:])
    return ids


def is_prefix_of(ids, found):
    """The acknowledged entries, perhaps with one behind them whose acknowledgement was not sent."""
    return found[: len(ids)] == ids and len(found) <= len(ids) + 1


def file_size_limit(checks):
    """RLIMIT_FSIZE: no file may grow beyond 300 KiB, where a file of the log wants 1 MiB."""
    what = "limit of file sizes"
    soft = 300 << 10
    script = "trap '' XFSZ; ulimit -f %d; exec \"$@\"" % (soft // 1024)
    with tempfile.TemporaryDirectory(prefix="beck-full-") as base:
        path_dir = os.path.join(base, "data")
        server = Server(args=ARGS, path_dir=path_dir, start=False, wrap=["bash", "-c", script, "sh"])
        with server:
            try:
                server.start()
            except SystemExit as refused:
                text = str(refused)
                checks.ok("%s: a start that cannot make its file says which and why" % what,
                          path_dir in text and "large" in text, text)
                checks.equal("%s: nothing is left behind that a later start takes for a store" % what,
                             Server(path_dir=path_dir).stop(), 0)
                return
            ids = judge(checks, server, what, 5000)
        with Server(args=ARGS, path_dir=path_dir) as server:
            checks.ok("%s: what was acknowledged is there afterwards" % what, is_prefix_of(ids, all_ids(server)))


def mount_tmpfs(path, size):
    return subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%d" % size, "beck-test", path],
                          stderr=subprocess.DEVNULL).returncode == 0


def small_disk(checks):
    """A file system of 24 MiB, which only root can make. It is made roomy again by removing ballast."""
    what = "small file system"
    base = tempfile.mkdtemp(prefix="beck-full-")
    if os.geteuid() != 0 or not mount_tmpfs(base, 24 << 20):
        print("%s: left out, it takes a mount" % what)
        os.rmdir(base)
        return
    try:
        ballast = os.path.join(base, "ballast")
        with open(ballast, "wb") as f:
            f.write(bytes(4 << 20))
        path_dir = os.path.join(base, "data")
        with Server(args=ARGS, path_dir=path_dir) as server:
            ids = judge(checks, server, what, 40000)
            if server.proc.poll() is None:
                ids = trimmed(checks, what, server)
                ids += append_until_refused(server, 40000)[0]
                os.unlink(ballast)
                checks.ok("%s: service resumes by itself when there is room" % what, resumes(server, ids))
                wait_until(lambda: "has room again" in server.log(), "the log to tell of room")
        if os.path.exists(ballast):
            os.unlink(ballast)
        with Server(args=ARGS, path_dir=path_dir) as server:
            checks.ok("%s: what was acknowledged is there afterwards" % what, is_prefix_of(ids, all_ids(server)))
    finally:
        subprocess.run(["umount", base], check=True)
        shutil.rmtree(base, ignore_errors=True)


def trimmed(checks, what, server):
    """What was deleted gives its space back, on a disk that is full and without anybody's help."""
    ids = []
    with server.connect() as c:
        checks.ok("%s: a trim is accepted" % what, c.call("XTRIM", "s", "MAXLEN", 0) > 0)
        reply = c.call("BECK", "MERGE")
        checks.ok("%s: a merge is possible" % what, not isinstance(reply, Error), repr(reply))
    checks.ok("%s: service resumes by itself when entries were trimmed" % what, resumes(server, ids))
    return ids


def resumes(server, ids):
    """Appends again until one is accepted: the broker looks at the disk on its own time."""
    def accepted():
        with server.connect() as c:
            reply = c.call("XADD", "s", "*", "body", os.urandom(1000))
            if isinstance(reply, Error):
                return False
            ids.append(reply)
            return True

    try:
        wait_until(accepted, "an append after room was made", 60)
    except AssertionError:
        return False
    return True


def main():
    checks = Checks("disk_full")
    file_size_limit(checks)
    small_disk(checks)
    checks.finish()


main()
