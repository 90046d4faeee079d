# A part of the probes and of checkpoint.sh: how they find the server and talk
# to it, and how a change of its files reaches it.

run="${TMPDIR:-/tmp}"
export PGUSER="$POSTGRES_USER" PGDATABASE="$POSTGRES_DB" PGCONNECT_TIMEOUT=3 PGAPPNAME=stateful-postgres

# guarded runs a function as a whole script. The kubelet kills the first process
# of a probe that takes too long, and what that one had started becomes a child
# of the server. The server takes a child that ends with anything but 0 or 1, as
# pg_isready and psql do, for one of its own that crashed, and throws all clients
# out. So the first process has one child, which ends with 0 or 1.
guarded() { # FUNCTION [ARGUMENT]...
    # In the background, because set -e does not hold on the left of ||.
    (
        "$@" &
        wait "$!" || exit 1
    ) &
    wait "$!" || exit 1
}

# find_server reads what the server says about itself: the number of its first
# process, and whether it is starting, ready or stopping. From then on, the
# clients of this script go to it. It fails when there is none.
find_server() {
    server='' status=''
    PGHOST='' PGPORT=5432
    if [ -e "$PGDATA/postmaster.pid" ]; then
        # The last line has no end.
        {
            read -r server && read -r _ && read -r _ && read -r PGPORT && read -r PGHOST && read -r _ && read -r _ && read -r status
        } <"$PGDATA/postmaster.pid" || :
    fi
    export PGHOST PGPORT
    [ -n "$status" ]
}

# answers says whether the server takes connections. Over TCP, as clients come.
answers() {
    pg_isready --quiet --host=127.0.0.1
}

# sql is a session that nothing of the server's, the database's or the role's
# settings can make fail or wait, and that leaves no password in the log.
sql() { # SECONDS [ARGUMENT OF PSQL]...
    limit=$1
    shift
    options='-c session_preload_libraries= -c local_preload_libraries= -c default_transaction_read_only=off'
    options="$options -c synchronous_commit=local -c statement_timeout=0 -c lock_timeout=3s"
    options="$options -c password_encryption=scram-sha-256"
    options="$options -c log_statement=none -c log_min_duration_statement=-1 -c log_min_error_statement=panic"
    version=0
    if [ -e "$PGDATA/PG_VERSION" ]; then
        read -r version <"$PGDATA/PG_VERSION"
    fi
    if [ "$version" -ge 17 ]; then
        # Also a trigger that lets nobody log in.
        options="$options -c event_triggers=off -c transaction_timeout=0"
    fi
    PGOPTIONS="$options" timeout "$limit" psql --no-psqlrc --quiet --no-password "$@"
}

# why_not says in the server's own words why it does not take connections.
why_not() {
    if [ "${HIGH_AVAILABILITY-}" = true ] && [ ! -e "$PGDATA/PG_VERSION" ] && [ -n "$(ls -A "$PGDATA" 2>/dev/null)" ]; then
        # Patroni tries to start it for ever.
        echo "the server's files are gone from its volume; delete the pod, and it copies the primary's"
        return
    fi
    said=$(sql 5 --host=127.0.0.1 --command='' 2>&1) || :
    said=$(echo "${said:-no answer within 5 seconds}" | sed -e 's/^psql: error: //' -e q)
    echo "the server does not take connections: $said"
}

# reload lets the server read its configuration again once the kubelet has
# exchanged a file of it, so that a change that needs no restart causes none. It
# takes no connection, which a bad setting or busy clients could refuse.
reload() {
    # Without it the server is not there yet, and will read what is there then.
    { read -r loaded <"$run/config.loaded"; } 2>/dev/null || return 0
    current=$(cat $RELOADED_FILES | cksum)
    if [ "$current" != "$loaded" ] && find_server; then
        kill -HUP "$server"
        echo "$current" >"$run/config.loaded"
    fi
}
