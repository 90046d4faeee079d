#!/bin/sh
# Before an update touches a running server: starts a server of the image with
# all that the next one will have but the data, logs in once as a client would,
# and stops it. What it refuses reaches no server, and is said in its own words.
# The arguments are the server's; $CONFIG and $ACCESS are its files.
set -eu

tmp=${TMPDIR:-/tmp}
log="$tmp/server.log"
left="and the server was left as it is"
major=$(postgres --version | sed -E 's/^postgres \(PostgreSQL\) ([0-9]+).*/\1/')

refuse() { # WHAT IS WRONG, [WHAT TO DO]
    echo "check: $1" >&2
    if [ -n "${2-}" ]; then echo "$2" >&2; fi
    exit 1
}

# What a program said, without what only a log needs. It is cut: no more than
# 2 kB of all that is written here reach whoever reads the outcome.
words() { # FILE
    sed -E -e '/skipping missing configuration file/d' \
        -e '/configuration file ".*" contains errors/d' \
        -e '/(starting PostgreSQL|listening on|redirecting log|Future log output|database system (is|was) (shut down|ready))/d' \
        -e 's/^(LOG|FATAL|PANIC|postgres|psql): +/  /; s/^(HINT|DETAIL): +/    \1: /' \
        -e '/auto\.conf/!s/ in file ".*" line [0-9]+//' "$1" | tail -n 12 | cut -c -300
}

for program in docker-entrypoint.sh initdb psql pg_isready flock; do
    if ! command -v "$program" >/dev/null; then
        refuse "the image has no program $program, $left." "Set an image that honours the contract of the official postgres image."
    fi
done

if [ -n "${MIN_PATRONI-}" ]; then
    for program in patroni python3 pg_rewind pg_basebackup pg_controldata; do
        if ! command -v "$program" >/dev/null; then
            refuse "the image has no program $program, which highAvailability needs, $left." \
                "Set an image that has Patroni $MIN_PATRONI or newer; README.md shows how to make one."
        fi
    done
    # patroni 4.0.7
    patroni=$(patroni --version) && patroni=${patroni##* }
    if [ "$(printf '%s\n' "$MIN_PATRONI" "$patroni" | sort -V | head -n 1)" != "$MIN_PATRONI" ]; then
        refuse "the image has Patroni $patroni, and before $MIN_PATRONI it could lose acknowledged writes, $left." \
            "Set an image that has Patroni $MIN_PATRONI or newer; README.md shows how to make one."
    fi
fi

# The server that runs, if one does, knows what its data demands. Of one that
# does not answer nothing is known.
running() { # STATEMENT
    PGPASSWORD=$(cat "$POSTGRES_PASSWORD_FILE") PGHOST=$RUNNING_SERVER PGUSER=$POSTGRES_USER PGDATABASE=$POSTGRES_DB \
        PGCONNECT_TIMEOUT=5 PGOPTIONS='-c statement_timeout=10s' \
        psql --no-psqlrc --quiet --tuples-only --no-align --field-separator=' ' --command="$1"
}
locales="SELECT DISTINCT format('CREATE DATABASE tried TEMPLATE template0 ENCODING %L LC_COLLATE %L LC_CTYPE %L',
    pg_encoding_to_char(encoding), datcollate, datctype) FROM pg_database"
segment='' prepared=0 slots=0 logical=0 needed=''
if [ -s "$POSTGRES_PASSWORD_FILE" ]; then
    if running "SELECT current_setting('server_version_num')::int / 10000,
            pg_size_bytes(current_setting('wal_segment_size')) / 1024 / 1024, (SELECT count(*) FROM pg_prepared_xacts),
            count(*), count(*) FILTER (WHERE slot_type = 'logical') FROM pg_replication_slots" >"$tmp/facts" 2>"$log" &&
        running "$locales" >"$tmp/needed" 2>"$log" &&
        running "SELECT pg_read_file('postgresql.conf')" >"$tmp/postgresql.conf" 2>"$log" &&
        running "SELECT pg_read_file('postgresql.auto.conf')" >"$tmp/postgresql.auto.conf" 2>"$log"; then
        read -r version segment prepared slots logical <"$tmp/facts"
        needed=$(cat "$tmp/needed")
        if [ "$version" != "$major" ]; then
            refuse "the running server is PostgreSQL $version, and the image is PostgreSQL $major, which cannot read its data. Nothing was touched." \
                "Set an image of PostgreSQL $version, or move the rows with pg_dump into a stack with the other one."
        fi
    else
        echo "check: no running server could be asked: $(cat "$log")"
    fi
fi

# An empty database in place of the data. Its log segments have the same size: a
# server refuses parameters that do not go with it.
export POSTGRES_INITDB_ARGS="$POSTGRES_INITDB_ARGS --no-sync${segment:+ --wal-segsize=$segment}"
password=$(cat /proc/sys/kernel/random/uuid)
echo "$password" >"$tmp/password"
initialize() {
    if id -un >/dev/null 2>&1; then
        # The arguments are words.
        initdb --username="$POSTGRES_USER" --pwfile="$tmp/password" $POSTGRES_INITDB_ARGS
    else
        # The image may know how to do it for a user that has no name.
        mkdir "$tmp/init"
        printf '%s' "$INIT_SERVER" >"$tmp/init/postgres"
        chmod +x "$tmp/init/postgres"
        PATH="$tmp/init:$PATH" POSTGRES_PASSWORD_FILE="$tmp/password" docker-entrypoint.sh postgres
    fi
}
if ! initialize >"$log" 2>&1; then
    user=$(id -u) own=$(id -u postgres 2>/dev/null) || own=$user
    if [ "$own" != "$user" ]; then
        refuse "the image cannot initialize a database as user $user, $left. It says:
$(words "$log")" "Its own user postgres has the number $own. $RUN_AS_IT $own"
    fi
    refuse "the image cannot initialize a database, $left. It says:
$(words "$log")"
fi
if [ -n "$segment" ]; then
    cp "$tmp/postgresql.conf" "$tmp/postgresql.auto.conf" "$PGDATA"
fi
printf '%s' "$CONFIG" >"$CONFIG_FOLDER/postgresql.conf"
printf '%s' "$ACCESS" >"$CONFIG_FOLDER/pg_hba.conf"

# Nothing is changed of what the server will have but the form of its messages,
# and that first: it may refuse the next argument.
start() { # [ARGUMENT]...
    postgres -c log_line_prefix= "$@" >"$log" 2>&1 &
    server=$!
    deadline=$(($(date +%s) + 120))
    # A user without a name has to say one, or nothing is asked at all.
    while ! pg_isready --quiet --host=127.0.0.1 --username="$POSTGRES_USER"; do
        if ! kill -0 "$server" 2>/dev/null; then
            return 1
        elif [ "$(date +%s)" -ge "$deadline" ]; then
            refuse "PostgreSQL $major was not ready after two minutes, $left. It says:
$(tail -n 5 "$log" | cut -c -300)" "$CORRECT"
        fi
        sleep 0.2
    done
}
if ! start "$@"; then
    if [ -z "$(words "$log")" ] && start "$@" -c log_min_messages=warning -c log_destination=stderr -c logging_collector=off; then
        echo "nothing, and without the parameters of its log it starts" >"$log"
    fi
    refuse "PostgreSQL $major does not start with these settings, $left. It says:
$(words "$log")" "$CORRECT"
fi

# Timeouts are a matter of the client's and are not judged, nor whether its
# transactions write unless they say so. One that writes has to come to an end.
export PGHOST=127.0.0.1 PGUSER="$POSTGRES_USER" PGPASSWORD="$password" PGDATABASE=postgres PGSSLMODE="$CLIENT_SSLMODE"
export PGOPTIONS='-c statement_timeout=0 -c lock_timeout=0'
client() { # STATEMENT
    psql --no-psqlrc --quiet --tuples-only --no-align --field-separator=' ' --command="$1"
}
status=0
timeout 20 psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 \
    --command='BEGIN READ WRITE' --command='CREATE TEMPORARY TABLE written ()' --command=COMMIT >"$tmp/client.log" 2>&1 || status=$?
case $status in
0) ;;
# Of a `timeout` of busybox the second.
124 | 143)
    refuse "with these settings a client's COMMIT does not come to an end, $left. It waits for: $(client "SELECT
        coalesce(string_agg(CASE wait_event WHEN 'SyncRep' THEN 'a standby that synchronous_standby_names means, and there is none' ELSE wait_event END, ', '), 'the disk')
        FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")" "$CORRECT"
    ;;
*)
    refuse "PostgreSQL $major starts with these settings, but no client can work with it, $left. It says:
$(words "$tmp/client.log")" "$CORRECT"
    ;;
esac

# The kernel hands memory out before there is any, and kills who uses it.
client "SELECT shared, pg_size_pretty(shared), pg_size_pretty($MEMORY::bigint), current_setting('huge_pages') FROM (SELECT
    coalesce(pg_size_bytes(current_setting('shared_memory_size', true)), pg_size_bytes(current_setting('shared_buffers'))) AS shared) AS s" >"$tmp/memory"
read -r shared size unit may may_unit huge <"$tmp/memory"
if [ "$shared" -gt "$HUGE_PAGES" ]; then
    if [ "$huge" = on ] && [ "$HUGE_PAGES" -gt 0 ]; then
        refuse "the server's shared memory takes $size $unit, which is more than the limit of huge pages, $left." "$CORRECT"
    elif [ "$shared" -ge "$MEMORY" ]; then
        refuse "the server's shared memory takes $size $unit, and the server may use $may $may_unit of memory (resources.limits.memory, or what the node has), $left." "$CORRECT"
    fi
fi

# With less than what is in use, a server does not start.
client "SELECT current_setting('max_prepared_transactions'), current_setting('max_replication_slots'), current_setting('wal_level')" >"$tmp/limits"
read -r max_prepared max_slots wal_level <"$tmp/limits"
if [ "$prepared" -gt "$max_prepared" ]; then
    refuse "the running server has $prepared prepared transactions, and with max_prepared_transactions $max_prepared the next one would not start, $left." \
        "End them (COMMIT PREPARED or ROLLBACK PREPARED, pg_prepared_xacts lists them), or raise it. $CORRECT"
elif [ "$slots" -gt "$max_slots" ]; then
    refuse "the running server has $slots replication slots, and with max_replication_slots $max_slots the next one would not start, $left." \
        "Drop slots (pg_replication_slots lists them), or raise it. $CORRECT"
elif [ "$logical" -gt 0 ] && [ "$wal_level" != logical ] || [ "$slots" -gt 0 ] && [ "$wal_level" = minimal ]; then
    refuse "the running server has replication slots ($logical of $slots are logical), and with wal_level $wal_level the next one would not start, $left." \
        "Drop slots (pg_replication_slots lists them), or raise it. $CORRECT"
fi
own=$(client "$locales")
echo "$needed" | while read -r statement; do
    case $own in *"$statement"*) continue ;; esac
    if ! { client "$statement" && client 'DROP DATABASE tried'; } >"$log" 2>&1; then
        refuse "the image lacks what databases of the running server need, $left. It says:
$(words "$log")" "Set an image that has it."
    fi
done

kill -INT "$server"
wait "$server" || refuse "PostgreSQL $major does not stop cleanly, $left. It says:
$(words "$log")" "$CORRECT"
