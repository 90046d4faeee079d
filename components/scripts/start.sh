#!/bin/sh
# Process 1 of the container: prepares the volume, then becomes the image's own
# entrypoint, which becomes the server.
set -eu

interrupted="$PGDATA.initializing"

# The mark is made before the first start writes anything, and taken away when
# the server answers. Where it still is, a first start was cut off halfway, and
# what it left lacks roles or databases, although it looks like a data
# directory. Nobody was ever let in; it is put aside all the same, not deleted.
if [ -e "$interrupted" ] && [ -e "$PGDATA" ]; then
    aside="$PGDATA.interrupted-$(date +%s)"
    echo "start: the first start did not finish; starting afresh, what it left is in $aside"
    mv "$PGDATA" "$aside"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    : >"$interrupted"
    sync
fi

exec docker-entrypoint.sh postgres
