#!/bin/bash
# Installs what is missing of what Beck needs, from Debian or Ubuntu: `deps.sh [test-|bench-|demo-|...]`.
#
# It looks for the commands and headers themselves, so a compiler or library that came another way counts
# too. Nothing is asked; without root it uses sudo. No service is started by what gets installed.
set -u

have_command() { command -v "$1" >/dev/null; }

have_header()
{
    if have_command cc; then
        echo "#include <$1>" | cc -E -x c - >/dev/null 2>&1
    else
        compgen -G "/usr/include/$1" >/dev/null || compgen -G "/usr/include/*/$1" >/dev/null
    fi
}

have_module() { [ -x /usr/bin/python3 ] && /usr/bin/python3 -c "import $1" 2>/dev/null; }

packages=() missing=()

need() # need command|header|module NAME PACKAGE
{
    "have_$1" "$2" && return
    missing+=("$2")
    packages+=("$3")
}

need_build()
{
    need command cc gcc
    need command ar binutils
    need header stdlib.h libc6-dev
    need header event2/event.h libevent-dev
    need header xxhash.h libxxhash-dev
    need header zstd.h libzstd-dev
    need header lz4.h liblz4-dev
}

need_redis() { need command redis-check-rdb redis-tools; }

case ${1-} in
'') need_build ;;
demo-) need command zstd zstd ;;
test-)
    need header cmocka.h libcmocka-dev
    need header jansson.h libjansson-dev
    need command zstd zstd
    need command /usr/bin/python3 python3
    need module redis python3-redis
    need_redis
    ;;
bench-)
    need header jansson.h libjansson-dev
    need command zstd zstd
    need command /usr/bin/python3 python3
    need command memcached memcached
    need_redis
    ;;
npm-) need command npm npm ;;
fuzz-) need command clang clang ;;
lint-)
    need_build
    need header cmocka.h libcmocka-dev
    need header jansson.h libjansson-dev
    need command /usr/bin/python3 python3
    need command clang clang
    need command clang-format clang-format
    need command clang-tidy clang-tidy
    need command cppcheck cppcheck
    need command man man-db
    need command groff groff
    ;;
*) echo "deps.sh: unknown set '$1'" >&2; exit 2 ;;
esac

apt_install()
{
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -y -q "$@"
}

install_packages()
{
    if [ ! -x /usr/bin/apt-get ] || ! grep -Eqi '^ID(_LIKE)?=.*(debian|ubuntu)' /etc/os-release; then
        echo "This is neither Debian nor Ubuntu: please install what these packages hold there." >&2
        return 1
    fi
    as_root=()
    if [ "$(id -u)" != 0 ]; then
        if ! have_command sudo; then
            echo "Not root, and no sudo: as root, run  apt-get install -y ${packages[*]}" >&2
            return 1
        fi
        as_root=(sudo)
    fi
    # A service that comes along is not started: invoke-rc.d asks this file.
    local policy=/usr/sbin/policy-rc.d made=
    if [ ! -e $policy ]; then
        made=1
        printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee $policy >/dev/null
        "${as_root[@]}" chmod 755 $policy
    fi
    apt_install install --no-install-recommends "${packages[@]}" ||
        { apt_install update && apt_install install --no-install-recommends "${packages[@]}"; }
    local status=$?
    [ -z "$made" ] || "${as_root[@]}" rm -f $policy
    return $status
}

if [ ${#packages[@]} -gt 0 ]; then
    echo "missing: ${missing[*]}"
    echo "installing: ${packages[*]}"
    log=$(mktemp)
    if ! install_packages >"$log" 2>&1; then
        cat "$log" >&2
        rm -f "$log"
        echo "cannot go on without: ${packages[*]}" >&2
        exit 1
    fi
    rm -f "$log"
fi

# Debian's Redis server is the program redis-check-rdb, called by another name.
case ${1-} in
test- | bench-)
    need header jansson.h libjansson-dev
    mkdir -p build
    ln -sf "$(command -v redis-check-rdb)" build/redis-server
    ;;
esac
