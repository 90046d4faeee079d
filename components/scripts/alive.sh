#!/bin/sh
# Liveness probe: fails only when nothing answers at all. A server that answers
# "starting up", "in recovery" or "shutting down" is alive, and killing it would
# make it begin again.
status=0
pg_isready --quiet --host=127.0.0.1 || status=$?
[ "$status" -le 1 ]
