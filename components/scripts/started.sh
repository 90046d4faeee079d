#!/bin/sh
# Startup probe: succeeds once the server answers and its role has the password
# of the Secret. Until then the pod is not ready, and no Service leads to it.
set -eu

# Over TCP: during the very first start the image runs a temporary server, on
# the socket alone.
pg_isready --quiet --host=127.0.0.1

# The server's role follows the Secret at every start. \password hashes on this
# side, so that the password itself is in no statement, no log and no process
# list; it asks twice.
password=$(cat "$POSTGRES_PASSWORD_FILE")
printf '%s\n%s\n' "$password" "$password" |
    PGOPTIONS='-c log_statement=none -c log_min_duration_statement=-1 -c log_min_error_statement=panic' \
        psql --no-psqlrc --quiet --no-password --username="$POSTGRES_USER" --dbname="$POSTGRES_DB" \
        --command='\password'
