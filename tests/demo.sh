#!/bin/bash
# `make demo`: starts a broker of its own, appends 20,000 flights, reads them back, compares, shuts down.
set -eu
cd "$(dirname "$0")/.."
dir=$(mktemp -d "${TMPDIR:-/tmp}/beck-demo-XXXXXX")
broker=
# Whatever happens, nothing is left behind.
trap '[ -z "$broker" ] || kill "$broker" 2>/dev/null || true; rm -rf "$dir"' EXIT

now() { date +%s%N; }

rate() # rate EVENTS BYTES NANOSECONDS
{
    awk -v n="$1" -v b="$2" -v ns="$3" \
        'BEGIN { s = ns / 1e9; printf "%d events, %.1f MB in %.2f s: %d events/s, %.1f MB/s\n", n, b / 1e6, s, n / s, b / 1e6 / s }'
}

zstd -dcq tests/data/flights-20k.jsonl.zst >"$dir/flights.jsonl"
events=$(wc -l <"$dir/flights.jsonl")
bytes=$(wc -c <"$dir/flights.jsonl")

mkfifo "$dir/ready"
build/beckd --port 0 --dir "$dir/data" >"$dir/ready" 2>"$dir/log" &
broker=$!
read -r ready <"$dir/ready" || { cat "$dir/log" >&2; exit 1; }
port=${ready#*port=} && port=${port%% *}
echo "beckd serves:    $ready"
echo "the first event: $(head -n 1 "$dir/flights.jsonl")"

began=$(now)
build/beck -p "$port" produce flights <"$dir/flights.jsonl"
echo "appended:        $(rate "$events" "$bytes" $(($(now) - began))), each one on disk before it was acknowledged"

began=$(now)
build/beck -p "$port" consume flights --json >"$dir/back.jsonl"
echo "read back:       $(rate "$(wc -l <"$dir/back.jsonl")" "$(wc -c <"$dir/back.jsonl")" $(($(now) - began)))"

cmp "$dir/flights.jsonl" "$dir/back.jsonl"
echo "compared:        what came back is identical to what went in, byte for byte"
echo "on disk:         $(du -sb "$dir/data" | cut -f1) bytes in $(find "$dir/data" -type f | wc -l) files, preallocated space included"

kill -TERM "$broker"
wait "$broker"
broker=
echo "shut down:       cleanly; nothing is left of the demonstration"
