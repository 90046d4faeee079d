#!/bin/sh
# Readiness probe: the server takes connections. It also lets the server read
# its configuration again once the kubelet has exchanged a file of it, so that a
# change that needs no restart causes none.
set -eu
pg_isready --quiet --host=127.0.0.1

current=$(cat $RELOADED_FILES | cksum)
if [ "$current" != "$(cat "${TMPDIR:-/tmp}/config.loaded")" ]; then
    psql --no-psqlrc --quiet --no-password --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" \
        --output=/dev/null --command='SELECT pg_reload_conf()'
    echo "$current" >"${TMPDIR:-/tmp}/config.loaded"
fi
