#!/bin/bash
# `make lint`: what can be checked without running the programs. One line for each check, the sum at the end.
set -u
cd "$(dirname "$0")/../.."
jobs=$(nproc)
passed=0 failed=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT

folders() { ls -d broker log groups client cli "$@" 2>/dev/null; } # groups/ may have no code yet
mapfile -t sources < <(find $(folders tests) -name '*.c' | sort)
mapfile -t headers < <(find $(folders tests) -name '*.h' | sort)
# Our own code; tests/ is compiled and formatted, but not put through the analysers.
mapfile -t product < <(find $(folders) -name '*.c' | sort)
flags=(-std=gnu11 -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror
       -I. -D_GNU_SOURCE -pthread)

check() # check WHAT COMMAND...: passes if the command succeeds
{
    local what=$1 began=$SECONDS
    shift
    if "$@" >"$out" 2>&1; then
        passed=$((passed + 1))
        echo "ok      $what ($((SECONDS - began)) s)"
    else
        failed=$((failed + 1))
        echo "FAILED  $what"
        head -n 60 "$out"
    fi
}

run_each() # run_each N "command words" FILE...
{
    local n=$1 words
    read -ra words <<<"$2"
    shift 2
    printf '%s\0' "$@" | xargs -0 -r -P "$jobs" -n "$n" "${words[@]}"
}

headers_alone()
{
    local h status=0
    for h in "${headers[@]}"; do
        echo "#include \"$h\"" | cc "${flags[@]}" -fsyntax-only -x c - || { echo "$h does not stand alone"; status=1; }
    done
    return $status
}

none() # none MESSAGE GREP-PATTERN FILE...: no line may match
{
    local message=$1 pattern=$2
    shift 2
    [ $# = 0 ] || ! grep -nP -- "$pattern" "$@" || { echo "$message"; return 1; }
}

banned()
{
    local status=0
    none 'instead of strcpy, strncpy, stpcpy: memcpy of a known length, or snprintf' '\b(strn?|stp)cpy\s*\(' "$@" || status=1
    none 'instead of sprintf: snprintf, with its result looked at' '\bv?sprintf\s*\(' "$@" || status=1
    none 'instead of atoi, atol: id_parse_u64, or strtoull with its end looked at' '\bato(i|l|ll)\s*\(' "$@" || status=1
    none 'instead of strtok: a cursor over a struct slice' '\bstrtok(_r)?\s*\(' "$@" || status=1
    none 'instead of rand: io->random, or a generator whose seed is printed' '\bs?rand(_r)?\s*\(' "$@" || status=1
    none 'instead of gets: getline' '\bgets\s*\(' "$@" || status=1
    none 'instead of alloca: a buffer of a stated maximum' '\balloca\s*\(' "$@" || status=1
    none 'instead of strcat, atof: snprintf, strtod with its end looked at' '\b(strn?cat|atof)\s*\(' "$@" || status=1
    return $status
}

includes() # broker -> groups -> log, and cli -> client; the `beck log` commands -> log: nothing looks the other way
{
    local status=0
    none 'log/ includes nothing of the others' '#include "(?!log/)' log/*.[ch] || status=1
    none 'groups/ includes log/ only' '#include "(?!(log|groups)/)' $(ls groups/*.[ch] 2>/dev/null) || status=1
    none 'broker/ does not include client/, cli/ or tests/' '#include "(client|cli|tests)/' $(find broker -name '*.[ch]') || status=1
    none 'client/ includes nothing of the others' '#include "(?!client/)' client/*.[ch] || status=1
    none 'cli/ includes client/beck.h and itself only; `beck log` also log/' '#include "(?!(cli/|client/beck\.h))' \
        $(ls cli/*.[ch] | grep -vE '^cli/(offline|log_[a-z]+)\.') || status=1
    none 'cli/ never includes broker/ or groups/' '#include "(?!(cli/|client/beck\.h|log/))' cli/*.[ch] || status=1
    return $status
}

own_header_first() # segment.c includes segment.h first, so that a header which leans on another is caught
{
    local c h first status=0
    for c in "${product[@]}"; do
        h=${c%.c}.h
        first=$(grep -m 1 '^#include' "$c")
        [ ! -e "$h" ] || [ "$first" = "#include \"$h\"" ] || { echo "$c includes $h not first"; status=1; }
    done
    return $status
}

man_pages()
{
    local page status=0
    for page in docs/man/*.[1-9]; do
        if command -v mandoc >/dev/null; then
            mandoc -Tlint -Wwarning "$page" || status=1
        elif [ -n "$(LC_ALL=C.UTF-8 MANROFFSEQ='' man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null | tee /dev/stderr)" ]; then
            echo "$page has warnings"
            status=1
        fi
    done
    return $status
}

man_options() # every setting of `beckd --help` is in beck.conf(5)
{
    local option status=0
    for option in $("$BECKD" --help | grep -oP '^\s+--\K[a-z-]+'); do
        grep -qF -- "${option//-/\\-}" docs/man/beck.conf.5 docs/man/beckd.1 || { echo "--$option is in no man page"; status=1; }
    done
    return $status
}

scripts()
{
    local f status=0
    for f in .ci/run $(find tests -name '*.sh' -not -path '*/node_modules/*'); do
        bash -n "$f" || status=1
    done
    for f in $(find tests -name '*.py' -not -path '*/node_modules/*'); do
        /usr/bin/python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$f" || status=1
    done
    return $status
}

tracked() { find . -type f -not -path './.git/*' -not -path './build/*' -not -path '*/node_modules/*' -not -name '*.zst' -not -name LICENSE "$@"; }

whitespace() { ! tracked -not -path './tests/corpus/*' -not -path './tests/data/*' -print0 | xargs -0 grep -nIP '[ \t]+$'; }

protocol_is_current() { "$BECKD" --print-commands | diff -u docs/protocol.md - ; }

check 'layout by clang-format (make fmt)' run_each 20 'clang-format --dry-run --Werror' "${sources[@]}" "${headers[@]}"
check 'gcc without warnings' run_each 1 "gcc -O2 ${flags[*]} -c -o /dev/null" "${sources[@]}"
check 'clang without warnings' run_each 8 "clang -fsyntax-only ${flags[*]}" "${sources[@]}"
check 'headers compile alone' headers_alone
check 'each source includes its header first' own_header_first
check 'clang-tidy' run_each 4 'tests/lib/tidy.sh' "${product[@]}"
# uninitvar does not understand results that are written only on success; both compilers check for it too.
check 'cppcheck' cppcheck -q -j "$jobs" --std=c11 --enable=warning,performance,portability --inline-suppr \
    "-DTAILQ_FOREACH(v,h,f)=for(v=(h)->tqh_first;v;v=v->f.tqe_next)" \
    --suppress=missingInclude --suppress=uninitvar --error-exitcode=1 -I. -D_GNU_SOURCE "${product[@]}"
check 'no banned calls' banned "${sources[@]}" "${headers[@]}"
check 'includes point one way' includes
check 'man pages without warnings' man_pages
check 'man pages name every option' man_options
check 'docs/protocol.md is what the command table says' protocol_is_current
check 'scripts parse' scripts
check 'no blanks at line ends' whitespace

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
