#!/bin/sh
# Liveness probe: fails only when a server that was ready does not answer at all.
# One that answers "starting up", "in recovery" or "shutting down" is alive, and
# killing it would make it begin again. Before it was ready, process 1 may wait
# for the volume, initialize it, or replay a long log.
set -eu
. "${0%/*}/server.sh"

alive() {
    if [ ! -e "$run/started" ]; then
        return 0
    fi
    if [ "${HIGH_AVAILABILITY-}" = true ]; then
        # The server may be down for good reasons, which Patroni knows. It is asked
        # without the library for it, which takes python longer than the answer.
        python3 -IS -c 'import socket, sys
with socket.create_connection(("127.0.0.1", 8008), 10) as patroni:
    patroni.sendall(b"GET /liveness HTTP/1.0\r\n\r\n")
    sys.exit(b" 200 " not in patroni.recv(100))' 2>/dev/null || {
            echo "Patroni does not look after the server"
            return 1
        }
        return
    fi
    find_server || :
    code=0
    answers || code=$?
    if [ "$code" -gt 1 ]; then
        why_not
        return 1
    fi
}

guarded alive
