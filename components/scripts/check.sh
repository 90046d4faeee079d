#!/bin/sh
# Before an update touches a running server: lets the server of the image read
# the parameters ($CONFIG), and says what it refuses in its own words. It has an
# empty database to read them for, because without one it would leave out what
# depends on several of them, and the libraries that they name.
set -eu

folder=${TMPDIR:-/tmp}
data="$folder/data"
printf '%s' "$CONFIG" >"$folder/postgresql.conf"
initdb --pgdata="$data" --auth=trust --no-locale --no-sync --no-instructions --wal-segsize=1 >/dev/null

major=$(sed 's/[^0-9].*//' "$data/PG_VERSION")
# This one the server computes from all the others, from version 15 on.
asked=shared_memory_size
if [ "$major" -lt 15 ]; then
    asked=config_file
fi
# There are no certificates here, and only a server that runs needs them.
if said=$(postgres -D "$data" -c config_file="$folder/postgresql.conf" -c log_line_prefix= -c ssl=off -C "$asked" 2>&1); then
    exit 0
fi

echo "check: PostgreSQL $major refuses the parameters, and the server was left as it is. It says:" >&2
echo "$said" | sed -E \
    -e '/skipping missing configuration file/d' \
    -e '/configuration file ".*" contains errors/d' \
    -e 's/^(LOG|FATAL|postgres): +/  /; s/^(HINT|DETAIL): +/    \1: /' \
    -e 's/ in file ".*" line [0-9]+//' >&2
echo "Correct one with: pulumi config set --path parameters.NAME VALUE, or remove it with: pulumi config rm --path parameters.NAME" >&2
exit 1
