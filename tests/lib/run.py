"""Runs the test suites one after the other and adds up what they say: see `make test` in docs/hacking.md.

A suite is a program of build/tests (cmocka) or a script of tests/e2e. It ends with a line `N passed, N
failed`, or with cmocka's own summary; one that ends badly, or without a count, is a failure. Each gets one
line here with its count and its time. What it printed goes to build/log/, and here too if it failed or is the
only one. The sum is the last line.

    T=name        one suite: T=wal is test_wal, T=flights is e2e/flights.py
    JOBS=n        how many run at a time; 1
    --threads [wrapper ...]   only what runs more than one thread, started by `wrapper`
    --crash       only the suites that `make crash` is about
"""

import concurrent.futures
import glob
import os
import re
import signal
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.join(ROOT, os.environ.get("BUILD") or "build")
HANG_S = 3600  # only so that a suite that hangs ends at all

# What runs more than one thread: the log's writer and syncer, alone and in beckd.
THREADED = ["test_writer", "test_keeper", "test_blockcache", "test_pool", "test_broker", "e2e/kill9", "e2e/there_and_back", "e2e/streams", "e2e/disk_full", "e2e/net", "e2e/admin", "e2e/cold", "e2e/groups", "e2e/kill9_cache", "test_anteroom"]
# What has crashes, or random rounds that are worth more of them.
CRASH = ["test_crash*", "test_groups_load", "test_groups_model", "test_grouplog", "test_planted_bugs", "test_host", "test_apply", "test_state", "test_stream", "test_dict", "test_resp"]
CRASH += ["test_segment", "test_reader", "test_merge", "test_blockcache"]
CRASH += ["test_retention", "test_simio", "test_keeper", "test_writer", "test_log", "e2e/kill9", "e2e/power_cut", "e2e/differential", "e2e/differential_groups", "e2e/differential_strings"]
CRASH += ["e2e/kill9_cache", "test_cache", "test_changes", "test_state_values", "test_wheel", "test_liveset", "test_hashes", "test_lists", "e2e/differential_hashes", "e2e/differential_lists"]


def suites():
    """All suites as (name, argv), unit tests first."""
    found = []
    for name in sorted(os.listdir(os.path.join(ROOT, "tests"))):
        if name.startswith("test_") and name.endswith(".c"):
            found.append((name[:-2], [os.path.join(BUILD, "tests", name[:-2])]))
    for folder in sorted(glob.glob(os.path.join(ROOT, "tests", "corpus", "*"))):
        name = "corpus_" + os.path.basename(folder)
        found.append((name, [os.path.join(BUILD, "tests", name)] + sorted(glob.glob(folder + "/*"))))
    e2e = os.path.join(ROOT, "tests", "e2e")
    for name in sorted(os.listdir(e2e) if os.path.isdir(e2e) else []):
        if name.endswith(".py"):
            found.append(("e2e/" + name[:-3], [sys.executable, os.path.join(e2e, name)]))
    return found


def matches(name, patterns):
    return any(name == p or p.endswith("*") and name.startswith(p[:-1]) for p in patterns)


def chosen(args):
    one = os.environ.get("T")
    found = suites()
    if one:
        return [s for s in found if s[0] in (one, "test_" + one, "e2e/" + one)]
    if args[:1] == ["--threads"]:
        return [(name, args[1:] + argv) for name, argv in found if matches(name, THREADED)]
    if args[:1] == ["--crash"]:
        return [s for s in found if matches(s[0], CRASH)]
    return found


def count(output):
    """(passed, failed) of what a suite printed, or None if it gave no count."""
    lines = re.findall(r"^(\d+) passed, (\d+) failed$", output, re.M)
    if lines:
        return int(lines[-1][0]), int(lines[-1][1])
    passed = re.findall(r"^\[  PASSED  \] (\d+) test", output, re.M)
    failed = re.findall(r"^\[  FAILED  \] (\d+) test", output, re.M)
    if not passed:
        return None
    return sum(map(int, passed)), sum(map(int, failed))


def run(name, argv, echo):
    """Runs one suite; returns (name, passed, failed, seconds, output)."""
    began = time.monotonic()
    env = dict(os.environ, PYTHONPATH=os.path.join(ROOT, "tests", "lib"), PYTHONUNBUFFERED="1")
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:allocator_may_return_null=1")
    env.setdefault("TSAN_OPTIONS", "halt_on_error=1:second_deadlock_stack=1")
    proc = subprocess.Popen(
        argv, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    timer = threading.Timer(HANG_S, lambda: os.killpg(proc.pid, signal.SIGKILL))
    timer.start()
    lines = []
    for line in proc.stdout:
        text = line.decode("utf-8", "replace")
        lines.append(text)
        if echo:
            print(text, end="", flush=True)
    status = proc.wait()
    timer.cancel()
    output = "".join(lines)
    counted = count(output)
    passed, failed = counted or (0, 0)
    if (status != 0 and failed == 0) or counted is None:
        output += "%s ended with status %d%s\n" % (name, status, "" if counted else " and without a count")
        failed += 1
    os.makedirs(os.path.join(BUILD, "log"), exist_ok=True)
    with open(os.path.join(BUILD, "log", name.replace("/", "_") + ".log"), "w", encoding="utf-8") as f:
        f.write(output)
    return name, passed, failed, time.monotonic() - began, output


def main():
    todo = chosen(sys.argv[1:])
    if not todo:
        raise SystemExit("no such suite: %s" % (os.environ.get("T") or "none is there"))
    sys.stdout.reconfigure(errors="backslashreplace")
    total_passed = total_failed = 0
    alone = len(todo) == 1
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("JOBS") or "1")) as pool:
        futures = [pool.submit(run, name, argv, alone) for name, argv in todo]
        for future in concurrent.futures.as_completed(futures):
            name, passed, failed, seconds, output = future.result()
            if failed and not alone:
                print("---- %s ----\n%s---- %s ----" % (name, output, name))
            print("%-28s %6d passed %4d failed %8.1f s" % (name, passed, failed, seconds), flush=True)
            total_passed += passed
            total_failed += failed
    print("%d passed, %d failed" % (total_passed, total_failed))
    sys.exit(1 if total_failed else 0)


main()
