"""streams.py and differential.py once more, against a beckd that seals all the time.

Arenas hold 4 KiB, so what is appended soon is in segments; now and then all of it is (SEALS); the block cache is small. The
replies have to be those of redis-server all the same.
"""

import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from beck import ROOT, Checks, scale, seed  # noqa: E402

checks = Checks("sealed")


def run(name, seals, seed_number):
    env = dict(os.environ, BECKD_ARGS="--arena-bytes 4kb --cache-bytes 64kb", SEALS=seals, SEED=str(seed_number),
               PYTHONPATH=os.path.join(ROOT, "tests", "lib"), SCALE=str(0.5 * scale(10) / 10))
    script = os.path.join(ROOT, "tests", "e2e", name + ".py")
    done = subprocess.run([sys.executable, script], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    counts = re.findall(r"^(\d+) passed, (\d+) failed$", done.stdout, re.M)
    if not counts or done.returncode != 0:
        print(done.stdout, flush=True)
    checks.ok("%s ends well" % name, counts and done.returncode == 0)
    checks.passed += int(counts[-1][0]) if counts else 0
    checks.failed += int(counts[-1][1]) if counts else 0


def main():
    number = seed()
    print("sealed: SEED=%d" % number, flush=True)
    run("streams", "0.05", number)
    run("differential", "0.03", number)
    checks.finish()


main()
