#!/bin/sh
# Installs the clients that package-lock.json names, if they are not there yet, and runs them.
set -eu
cd "$(dirname "$0")"
if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
    npm ci --loglevel=error
    touch node_modules/.package-lock.json
fi
exec node run.js "$@"
