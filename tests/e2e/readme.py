"""README's commands, run as they are printed, in a copy of nothing but the programs.

The block behind "Build, start, append, read" is run line by line in one shell. Only where port 7878 is taken
already is the broker given another one, and the command line told of it: that is said then.
"""

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile

from beck import ROOT, Checks, beckd_path, free_port

BECK = os.path.abspath(os.environ.get("BECK") or os.path.join(ROOT, "build", "beck"))
WAIT = "for i in {1..5000}; do build/beck ping >/dev/null 2>&1 && break; done"


def port_is_free(port):
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def commands():
    """The lines of README's shell block, comments left out."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
        block = re.search(r"## Build, start, append, read\n\n```sh\n(.*?)```", f.read(), re.S).group(1)
    return [line for line in block.splitlines() if line.strip() and not line.startswith("#")]


def shell_script(lines):
    """Each line announced and followed by its status; a broker in the background is waited for."""
    out = ["set -m"]
    for i, line in enumerate(lines):
        out.append("echo '@@ %d'" % i)
        if line.startswith("make "):
            out.append("echo '@@ left out: the programs are there'; status=0")
        else:
            out += [line, "status=$?"]
        if line.endswith("&"):
            out.append(WAIT)
        if line.startswith("kill -9"):  # a person types the next line after the process has gone
            out.append("wait %1 2>/dev/null")
        out.append("echo \"@@ status $status\"")
    out.append("wait")
    return "\n".join(out)


def run(base, lines, env):
    """(status, output) of each line."""
    script = shell_script(lines)
    done = subprocess.run(["bash", "-c", script], cwd=base, env=env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
    parts = re.split(r"^@@ (?=\d+$)", done.stdout.decode("utf-8", "replace"), flags=re.M)[1:]
    return [(re.search(r"^@@ status (\d+)$", p, re.M), p) for p in parts]


def kill_left(base):
    """Kills what a line that failed has left running in `base`."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink("/proc/%s/cwd" % pid) == base:
                os.kill(int(pid), signal.SIGKILL)
        except OSError:
            pass  # it has ended, or is somebody else's


def main():
    checks = Checks("readme")
    lines = commands()
    env = dict(os.environ)
    env.pop("BECK_URL", None)
    as_printed = list(lines)
    if not port_is_free(7878):
        port = free_port()
        print("port 7878 is taken: the broker gets %d instead" % port)
        env["BECK_URL"] = "redis://127.0.0.1:%d" % port
        lines = [line.replace("build/beckd ", "build/beckd --port %d " % port) for line in lines]
    base = tempfile.mkdtemp(prefix="beck-readme-")
    try:
        os.mkdir(os.path.join(base, "build"))
        os.symlink(beckd_path(), os.path.join(base, "build", "beckd"))
        os.symlink(BECK, os.path.join(base, "build", "beck"))
        results = run(base, lines, env)
        checks.equal("every line was run", len(results), len(lines))
        for line, (status, text) in zip(as_printed, results):
            checks.ok("works: " + line, status is not None and status.group(1) == "0", text)
        whole = "".join(text for _, text in results)
        events = ['{"order":1,"customer":"Ada","total":19.90}', '{"order":2,"customer":"Grace","total":5.00}',
                  '{"order":3,"customer":"Edsger","total":7.25}']
        for event, times in zip(events, (2, 2, 1)):
            checks.equal("comes back: " + event, whole.count(event), times)
    finally:
        kill_left(base)
        shutil.rmtree(base, ignore_errors=True)
    for name in ("docs/architecture.md", "docs/protocol.md", "docs/format.md", "docs/hacking.md", "docs/changes.md"):
        checks.ok("README's link leads somewhere: " + name, os.path.exists(os.path.join(ROOT, name)))
    checks.finish()


main()
