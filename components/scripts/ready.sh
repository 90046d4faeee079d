#!/bin/sh
# Readiness probe: the server takes connections. It also lets the server read
# its configuration again once the kubelet has exchanged the file, so that a
# parameter that needs no restart causes none.
set -eu
pg_isready --quiet --host=127.0.0.1

current=$(cksum <"$CONFIG_FILE")
if [ "$current" != "$(cat "${TMPDIR:-/tmp}/config.loaded")" ]; then
    psql --no-psqlrc --quiet --no-password --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" \
        --output=/dev/null --command='SELECT pg_reload_conf()'
    echo "$current" >"${TMPDIR:-/tmp}/config.loaded"
fi
