"""What an idle broker costs: under 10 MiB resident, no CPU; 10,000 idle connections under 100 MiB.

The connections are as many as the limit of open files allows, of which this process needs as many as the
broker; what was reached is printed, and the bound is the same share of 100 MiB.
"""

import glob
import resource
import select
import socket

from beck import Checks, Server

MIB = 1 << 20
CONNECTIONS = 10000
SPARE = 200  # descriptors that both sides need besides


def context_switches(pid):
    """How often the program's threads have been put to sleep or preempted so far."""
    total = 0
    for path in glob.glob("/proc/%d/task/*/status" % pid):
        with open(path, encoding="ascii") as f:
            total += sum(int(line.split()[1]) for line in f if "ctxt_switches" in line)
    return total


def instrumented(server):
    """Whether a checker's runtime is in the program: its memory is not the broker's then."""
    with open("/proc/%d/maps" % server.pid, encoding="utf-8", errors="replace") as f:
        text = f.read()
    return "libasan" in text or "libtsan" in text


def idle_costs(checks, server):
    print("idle: %.1f MiB resident" % (server.rss_bytes() / MIB))
    checks.ok("an idle broker is under 10 MiB", server.rss_bytes() < 10 * MIB, "%d bytes" % server.rss_bytes())


def idle_works(checks, server, what):
    """Looks at the broker twice, two seconds apart: a broker with nothing to do is not woken."""
    cpu, switches = server.cpu_s(), context_switches(server.pid)
    select.select([], [], [], 2.0)
    spent, woken = server.cpu_s() - cpu, context_switches(server.pid) - switches
    print("%s for 2 s: %.0f ms of CPU, %d context switches" % (what, spent * 1000, woken))
    checks.ok("%s takes no CPU" % what, spent <= 0.01, "%.3f s" % spent)
    checks.ok("%s does not wake up all the time" % what, woken <= 20, "%d context switches" % woken)


def many_connections(checks, server):
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    n = CONNECTIONS if limit == resource.RLIM_INFINITY else min(CONNECTIONS, limit - SPARE)
    print("connections: %d (the limit of open files is %d)" % (n, limit))
    conns = []
    answered = 0
    for _ in range(n):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        s.settimeout(30)
        s.connect(server.path)
        s.sendall(b"PING\r\n")
        answered += s.recv(16) == b"+PONG\r\n"
        conns.append(s)
    checks.equal("every connection is served", answered, n)
    used, bound = server.rss_bytes(), 100 * MIB * n // CONNECTIONS
    print("%d idle connections: %.1f MiB resident" % (n, used / MIB))
    if not instrumented(server):
        checks.ok("idle connections stay under 100 MiB for 10,000", used < bound, "%d bytes" % used)
    idle_works(checks, server, "%d idle connections" % n)
    for s in conns:
        s.close()


def main():
    checks = Checks("memory")
    with Server(args=["--maxclients", str(CONNECTIONS + 100)]) as server:
        if instrumented(server):
            print("built with a checker: memory is not judged")
        else:
            idle_costs(checks, server)
        idle_works(checks, server, "an idle broker")
        many_connections(checks, server)
        checks.equal("it ends with status 0", server.stop(), 0)
    checks.finish()


main()
