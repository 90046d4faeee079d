#!/bin/sh
# Before the stop: writes out most of what is dirty while clients still work, so
# that the shutdown has little left to write. $1 is the time it has, in seconds.
# A server that does not answer has nothing to write; the stop goes on.
timeout "$1" psql --no-psqlrc --quiet --no-password --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" \
    --command='CHECKPOINT' || echo "checkpoint: not finished, the shutdown does the rest"
