"""Flights for tests and benchmarks, as JSON Lines: `flights.py N [file]` writes N of them to stdout.

The source is FLIGHTS=file.jsonl[.zst], or the 20,000 of tests/data. Where N asks for more than the source
has, it is repeated with later departures: each round is later by as many days as the source spans, so the
departures never go back. What was used is printed to stderr.

    from flights import flights
    for line in flights(50000): ...      # bytes, with the newline
"""

import datetime
import itertools
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FIELD = b'"departure":"'
DAY = datetime.timedelta(days=1)


def source():
    return os.environ.get("FLIGHTS") or os.path.join(ROOT, "tests", "data", "flights-20k.jsonl.zst")


def source_lines():
    """The source's lines, decompressed if its name ends in .zst."""
    path = source()
    if not path.endswith(".zst"):
        with open(path, "rb") as f:
            yield from f
        return
    with subprocess.Popen(["zstd", "-dcq", path], stdout=subprocess.PIPE) as proc:
        whole = False
        try:
            yield from proc.stdout
            whole = True
        finally:
            proc.stdout.close()
            if proc.wait() != 0 and whole:
                raise SystemExit("%s cannot be decompressed" % path)


def day_of(line):
    """(position, text) of the departure's date in a line."""
    at = line.find(FIELD)
    if at < 0:
        raise SystemExit("a line of %s has no departure: %r" % (source(), line[:100]))
    at += len(FIELD)
    return at, line[at : at + 10]


def flights(n):
    """n flights. A source that is too short is read again, with later dates, as often as needed."""
    first = last = None
    done = rounds = 0
    while done < n:
        in_round = 0
        later = {}  # date of the source -> date of this round
        shift = DAY * (0 if rounds == 0 else rounds * ((last - first).days + 1))
        for line in itertools.islice(source_lines(), n - done):
            at, day = day_of(line)
            if day not in later:
                date = datetime.date.fromisoformat(day.decode("ascii"))
                first, last = first or date, max(last or date, date) if rounds == 0 else last
                later[day] = (date + shift).isoformat().encode("ascii")
            yield line if rounds == 0 else line[:at] + later[day] + line[at + 10 :]
            in_round += 1
        if in_round == 0:
            raise SystemExit("%s has no flights" % source())
        done += in_round
        rounds += 1
    name = os.path.relpath(source(), ROOT) if source().startswith(ROOT) else source()
    repeated = ", repeated %d times with later departures" % rounds if rounds > 1 else ""
    print("flights: %d of %s%s" % (n, name, repeated), file=sys.stderr, flush=True)


def main():
    if len(sys.argv) not in (2, 3):
        raise SystemExit("usage: flights.py N [file]")
    out = open(sys.argv[2], "wb") if len(sys.argv) == 3 else sys.stdout.buffer
    batch = []
    for line in flights(int(sys.argv[1])):
        batch.append(line)
        if len(batch) == 10000:
            out.write(b"".join(batch))
            batch.clear()
    out.write(b"".join(batch))
    out.flush()


if __name__ == "__main__":
    main()
