"""Running `beck`, and what is claimed about a run. BECK names the program (build/beck)."""

import json
import os
import subprocess

from beck import ROOT, TIMEOUT_S, Checks

BECK = os.path.abspath(os.environ.get("BECK", os.path.join(ROOT, "build", "beck")))


def environment(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("BECK") and k != "NO_COLOR"}
    env["TERM"] = "xterm"
    env.update(more)
    return env


class Run:
    """One run of beck: its status, stdout (bytes, or as text) and stderr (str)."""

    def __init__(self, *args, stdin=b"", env=None, server=None, pass_fds=()):
        argv = [BECK] + list(args)
        if server is not None:
            argv[1:1] = ["-s", server.path]
        done = subprocess.run(
            argv, input=stdin, capture_output=True, timeout=TIMEOUT_S, env=env or environment(), pass_fds=pass_fds
        )
        self.status = done.returncode
        self.out = done.stdout
        self.err = done.stderr.decode()

    @property
    def text(self):
        return self.out.decode()

    def json(self):
        return json.loads(self.out)

    def json_lines(self):
        return [json.loads(line) for line in self.out.splitlines()]


def spawn(server, *args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE):
    """A run that goes on."""
    argv = [BECK, "-s", server.path] + list(args)
    return subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, env=environment())


class ToolChecks(Checks):
    def has(self, claim, text, *parts):
        for part in parts:
            self.ok(claim, part in text, "no %r in %r" % (part, text))

    def status(self, claim, run, want):
        return self.ok(claim, run.status == want, "status %d, not %d: %s" % (run.status, want, run.err))
