"""Flights through `beck produce` and back through `beck consume --json`: the same bytes.

FLIGHTS=file.jsonl[.zst] sends that file; without it FLIGHTS_N (100,000 x SCALE) flights are made from tests/data. With
FLIGHTS and no FLIGHTS_N all of the file is sent.
"""

import filecmp
import os
import subprocess
import sys
import tempfile
import time

from beck import ROOT, Checks, Server, scale
from flights import flights, source_lines

BECK = os.path.abspath(os.environ.get("BECK") or os.path.join(ROOT, "build", "beck"))


def write_flights(path):
    """Writes what is to be sent; returns how many lines."""
    number = os.environ.get("FLIGHTS_N")
    whole = os.environ.get("FLIGHTS") and not number
    n = 0
    with open(path, "wb") as f:
        for line in source_lines() if whole else flights(int(number or scale(100000))):
            f.write(line)
            n += 1
    if whole:
        print("flights: all %d of %s" % (n, os.environ["FLIGHTS"]), file=sys.stderr)
    return n


def timed(argv, **files):
    began = time.monotonic()
    status = subprocess.run(argv, **files).returncode
    return status, time.monotonic() - began


def tell(what, n, n_bytes, seconds):
    print("%-12s %d events, %.1f MB in %.2f s: %.0f events/s, %.1f MB/s"
          % (what, n, n_bytes / 1e6, seconds, n / seconds, n_bytes / 1e6 / seconds), flush=True)


def there_and_back(checks, server, sent, back, n):
    n_bytes = os.path.getsize(sent)
    beck = [BECK, "-s", server.path]
    with open(sent, "rb") as f:
        status, seconds = timed(beck + ["produce", "flights"], stdin=f)
    checks.equal("produce ends with status 0", status, 0)
    tell("produced:", n, n_bytes, seconds)
    with open(back, "wb") as f:
        status, seconds = timed(beck + ["consume", "flights", "--json"], stdout=f)
    checks.equal("consume ends with status 0", status, 0)
    tell("consumed:", n, n_bytes, seconds)
    checks.ok("what came back is identical", filecmp.cmp(sent, back, shallow=False))
    with server.connect() as c:
        checks.equal("XLEN counts all", c.call("XLEN", "flights"), n)


def main():
    checks = Checks("there_and_back")
    with tempfile.TemporaryDirectory(prefix="beck-flights-") as base:
        sent, back = os.path.join(base, "sent"), os.path.join(base, "back")
        n = write_flights(sent)
        with Server() as server:
            there_and_back(checks, server, sent, back, n)
            server.restart(kill=True)
            with open(back, "wb") as f:
                timed([BECK, "-s", server.path, "consume", "flights", "--json"], stdout=f)
            checks.ok("and after kill -9 and a restart too", filecmp.cmp(sent, back, shallow=False))
            checks.equal("the server ends with status 0", server.stop(), 0)
    checks.finish()


main()
