#!/bin/sh
# Before the stop: writes out most of what is dirty while clients still work, so
# that the shutdown has little left to write. $1 is the time it has, in seconds.
# A server that does not answer has nothing to write; the stop goes on.
set -eu
. "${0%/*}/server.sh"

checkpoint() { # SECONDS
    find_server || :
    sql "$1" --command='CHECKPOINT' || echo "checkpoint: not finished, the shutdown does the rest"
    if [ "${HIGH_AVAILABILITY-}" = true ]; then
        python3 "${0%/*}/members.py" leave "$1"
    fi
}

guarded checkpoint "$1"
