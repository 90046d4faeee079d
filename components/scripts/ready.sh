#!/bin/sh
# Readiness probe: the server takes connections, and since its start its role has
# the password of the Secret. Until then no Service leads to the pod.
#
# There is no startup probe: from its success to the first look of the readiness
# probe the kubelet takes up to a second. alive.sh waits for the first success of
# this one instead.
#
# The kubelet looks every second, so that it sees soon that the container runs. A
# run takes some seconds, and the next one follows at once: it waits for a server
# that does not answer yet, and lets one alone that did.
set -eu
. "${0%/*}/server.sh"
. "${0%/*}/volume.sh"

ready() {
    # Also for a server that does not start before this is corrected.
    reload
    if [ -e "$run/ready" ]; then
        # Patroni takes a member that fails out of its Service, too.
        if [ "${HIGH_AVAILABILITY-}" = true ]; then sleep 8; else sleep 4; fi
        rm -f "$run/ready"
        require_answer
    else
        wait_for_server
        if [ -e "$run/started" ]; then
            require_answer
        elif [ "${HIGH_AVAILABILITY-}" = true ]; then
            require_following
        fi
    fi
    if [ "${HIGH_AVAILABILITY-}" = true ] || [ ! -e "$run/started" ]; then
        settle
        : >"$run/started"
        rm -f "$run/attempt"
    fi
    if [ "${HIGH_AVAILABILITY-}" = true ]; then
        reload_members
        follow_parameters
        catch_up
    fi
    : >"$run/ready"
}

# settle does what only the server that takes the writes can do: the others get it
# from there. A standby may be that one later. It is done once, and again for each
# timeline, and when the kubelet has exchanged the Secret's files.
settle() {
    if [ -e "$PGDATA/standby.signal" ]; then
        rm -f "$run/settled"
        return 0
    fi
    files=$(readlink "${POSTGRES_PASSWORD_FILE%/*}/..data") || files=
    if [ "${HIGH_AVAILABILITY-}" = true ]; then
        files="$files $(readlink "$MEMBERS_SECRET/..data")" || :
        # The newest timeline: one begins with every start, also where no probe has seen
        # the standby that a server is for a moment.
        for history in "$PGDATA"/pg_wal/*.history; do :; done
        files="$files $history"
    fi
    if [ -e "$run/settled" ] && [ "$(cat "$run/settled")" = "$files" ]; then
        return 0
    fi
    follow_secret
    if [ "${HIGH_AVAILABILITY-}" = true ]; then
        let_members_follow
        leave_segment
        python3 "${0%/*}/members.py" password || return 0
    fi
    echo "$files" >"$run/settled"
}

# require_following lets a standby become ready when it follows the primary, so
# that a rolling update takes the next server only then. It waits for a minute: the
# primary may be away, or be one that becomes ready after this one.
require_following() {
    if [ ! -e "$run/answered" ]; then
        date +%s >"$run/answered"
    fi
    tries=10
    while [ -e "$PGDATA/standby.signal" ]; do
        if streams || [ $(($(date +%s) - $(cat "$run/answered"))) -ge 60 ]; then
            break
        fi
        tries=$((tries - 1))
        if [ "$tries" -eq 0 ]; then
            python3 "${0%/*}/members.py" missing 2>/dev/null || :
            echo "the server does not follow the primary yet"
            return 1
        fi
        sleep 0.3 || sleep 1
    done
}

# streams says whether a standby receives the primary's log.
streams() {
    receiver=$(sql 5 --tuples-only --no-align --command='SELECT status FROM pg_stat_wal_receiver') || receiver=
    [ "$receiver" = streaming ]
}

# catch_up helps a standby that does not follow. It keeps nobody from being ready.
catch_up() {
    if [ -e "$PGDATA/standby.signal" ] && ! streams; then
        python3 "${0%/*}/members.py" catch_up || :
    else
        rm -f "$run/waits"
    fi
}

# reload_members lets Patroni know the passwords of its Secret, once the kubelet has
# exchanged them. It keeps nobody from being ready.
reload_members() {
    current=$(cat "$MEMBERS_SECRET"/* | cksum)
    if [ "$(cat "$run/members.loaded")" != "$current" ] && python3 "${0%/*}/members.py" reload; then
        echo "$current" >"$run/members.loaded"
    fi
}

# follow_parameters restarts the server where all members have to have a parameter
# alike, each at its turn. It keeps nobody from being ready.
follow_parameters() {
    agreed=$(cat "$PGDATA/patroni.dynamic.json" "$PGDATA/postmaster.opts" 2>/dev/null | cksum)
    if [ -e "$run/agreed" ] && [ "$(cat "$run/agreed")" = "$agreed" ]; then
        return 0
    fi
    if python3 "${0%/*}/members.py" parameters; then
        echo "$agreed" >"$run/agreed"
    fi
}

# leave_segment begins another segment of the log when earlier timelines have the
# current one, too. Each server that takes the writes begins a timeline with a copy
# of it, and PostgreSQL removes segments by their number: while little is written,
# every failover would leave 16 MB on each volume until it is full. On a volume that
# is nearly full nothing is begun: a server that finds no room for its log ends.
leave_segment() {
    free=$(df -Pk "$PGDATA" | {
        read -r _
        read -r _ _ _ free _
        echo "$free"
    }) || return 0
    PGDATABASE=postgres sql 10 --output=/dev/null --command="
        SELECT pg_switch_wal() FROM pg_ls_waldir()
        WHERE substr(name, 9) = substr(pg_walfile_name(pg_current_wal_lsn()), 9)
        HAVING count(*) > 1 AND $free * 1024::bigint > 4 * pg_size_bytes(current_setting('wal_segment_size'))" || :
}

# let_members_follow makes the role with which the others copy and follow this
# server, with the password of their Secret, unless it is there. What it may
# read besides is what pg_rewind needs (its page in PostgreSQL's documentation).
let_members_follow() {
    password=$(cat "$MEMBERS_SECRET/REPLICATION_PASSWORD")
    # No superuser, who alone may set what sql sets.
    if PGPASSWORD="$password" timeout 5 psql --no-psqlrc --quiet --no-password --host=127.0.0.1 --username="$REPLICATION_USER" \
        --dbname=postgres --command="SELECT pg_ls_dir('.', true, false) LIMIT 0" >/dev/null 2>&1; then
        return 0
    fi
    {
        echo "SELECT 'CREATE ROLE $REPLICATION_USER' WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '$REPLICATION_USER') \gexec"
        echo "ALTER ROLE $REPLICATION_USER LOGIN REPLICATION;"
        echo "\\password $REPLICATION_USER"
        printf '%s\n%s\n' "$password" "$password"
        for function in 'pg_ls_dir(text, boolean, boolean)' 'pg_stat_file(text, boolean)' \
            'pg_read_binary_file(text)' 'pg_read_binary_file(text, bigint, bigint, boolean)'; do
            echo "GRANT EXECUTE ON FUNCTION pg_catalog.$function TO $REPLICATION_USER;"
        done
    } | PGDATABASE=postgres sql 10 --set=ON_ERROR_STOP=1 || {
        echo "role $REPLICATION_USER, with which the other servers follow this one, could not be made"
        return 1
    }
}

require_answer() {
    find_server || :
    answers || {
        why_not
        return 1
    }
}

# wait_for_server returns as soon as the server says of itself that it takes
# connections. It is not asked by connections: it would log every one.
wait_for_server() {
    # A member has a server to follow first; nobody waits for it by the moment.
    tries=100 pause=0.05
    if [ "${HIGH_AVAILABILITY-}" = true ]; then
        tries=20 pause=0.25
    fi
    # A standby takes connections, too.
    until find_server && { [ "$status" = ready ] || [ "$status" = standby ]; }; do
        tries=$((tries - 1))
        if [ "$tries" -eq 0 ]; then
            why_waiting
            return 1
        fi
        sleep "$pause" || sleep 1
    done
}

# why_waiting says what process 1 does instead of answering.
why_waiting() {
    step=
    read -r step 2>/dev/null <"$run/start.doing" || :
    case $step in
    waiting) who_holds ;;
    serving | '')
        if [ "${HIGH_AVAILABILITY-}" = true ]; then
            python3 "${0%/*}/members.py" missing 2>/dev/null || :
        fi
        why_not
        ;;
    *) echo "$step" ;;
    esac
}

# follow_secret gives the server's role the password of the Secret, unless it has
# it: a login as a client is the proof.
follow_secret() {
    password=$(cat "$POSTGRES_PASSWORD_FILE")
    if (export PGPASSWORD="$password" && sql 5 --host=127.0.0.1 --command='' 2>/dev/null); then
        return 0
    fi
    # \password hashes on this side, so that the password itself is in no
    # statement, no log and no process list; it asks twice.
    printf '%s\n%s\n' "$password" "$password" | sql 10 --command='\password' || {
        echo "role $POSTGRES_USER does not have the password of the Secret, and could not be given it"
        return 1
    }
}

guarded ready
