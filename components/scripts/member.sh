# A part of start.sh, with highAvailability: how the server of this volume becomes
# a member of several, which Patroni runs.
#
# Who may take the writes is in a ConfigMap, the sync key: the members that have
# every acknowledged one. A database that has been a member is nothing without it.
# The mark beside the data directory says so; start.sh removes it when the server
# runs alone again, because from then on this volume alone has the rows.

member="$PGDATA.member"
# The primary's files, until all are there: what did not come to its end is nobody's
# database.
copying="$PGDATA.copying"

members() {
    python3 "${0%/*}/members.py" "$@" || fail "$(cat "$run/members.error" 2>/dev/null || echo "members.py $1 failed")"
}

# follows says whether an empty volume waits for a copy of the primary's files
# instead of a new database. The ConfigMap decides, not this volume, which may be
# another one than before: where it names a server there are acknowledged writes.
follows() {
    [ "${HIGH_AVAILABILITY-}" = true ] || return 1
    rm -rf "$copying"
    if [ -s "$PGDATA/PG_VERSION" ]; then
        return 1
    fi
    # Nothing ends the script by itself where its caller asks for an answer.
    trusted=$(members trusted) || exit 1
    if [ -z "$trusted" ]; then
        [ "$POD_NAME" != "$STATEFUL_SET-0" ] || [ -e "$member" ]
        return
    fi
    others=
    for name in $trusted; do
        if [ "$name" != "$POD_NAME" ]; then
            others="$others $name"
        fi
    done
    if [ -z "$others" ]; then
        fail "only this server had every acknowledged write (ConfigMap $MEMBERS-sync), and its volume is empty:" \
            "it was deleted or exchanged. Nothing was initialized. Restore the volume, or $BEGIN_AGAIN"
    fi
}

# clear_leftovers takes away what Patroni writes where the server's files are gone
# while it runs. It copies nothing into a folder that holds something.
clear_leftovers() {
    foreign=$(ls -A "$PGDATA" 2>/dev/null | grep -vxE '(standby|recovery)\.signal|patroni\.dynamic\.json.*') || :
    refuse_foreign_files "$foreign" "Empty it, and the server copies the primary's files"
    rm -rf "$PGDATA"
}

# become_member hands the volume over to Patroni, which starts the server with
# these arguments after its own.
become_member() { # [ARGUMENT OF THE SERVER]...
    leader=$(members leader)
    if [ ! -s "$PGDATA/PG_VERSION" ]; then
        clear_leftovers
        echo "start: the volume is empty; the server copies the primary's files (ConfigMap $MEMBERS-sync:${others:- nobody yet})"
    elif [ -e "$member" ]; then
        if [ -z "$leader" ]; then
            fail "ConfigMap $MEMBERS-sync does not say who has every acknowledged write. This server is at $(position)." \
                "Compare all servers, the greater timeline first, and name the one that is furthest:" \
                "kubectl -n $NAMESPACE annotate --overwrite configmap $MEMBERS-sync leader=$STATEFUL_SET-N"
        fi
    else
        primary=$(members primary)
        # Its own name is of a moment ago.
        if [ "$primary" = "$POD_NAME" ]; then
            primary=
        fi
        if [ "$POD_NAME" != "$STATEFUL_SET-0" ] || [ -n "$primary" ]; then
            fail "the volume holds a database that was no member${primary:+, and $primary takes the writes}. Nothing was changed." \
                "Take it away, and the server copies the primary's files"
        fi
        # So far this server was the only one. It has everything.
        members seed
    fi
    : >"$member"
    sync
    wrap_programs "$@"
    # First what the readiness probe compares with: a later change is seen then.
    cat "$MEMBERS_SECRET"/* | cksum >"$run/members.loaded"
    patroni=$(members config)
    # The server's own processes hold the second lock, see wrap_programs.
    exec 8>&-
    exec patroni "$patroni"
}

# position says how far the volume's database has come.
position() {
    LC_ALL=C pg_controldata "$PGDATA" |
        sed -n -E "s/^Latest checkpoint's TimeLineID: +/timeline /p; s/^Latest checkpoint location: +/checkpoint /p" | sort -r | paste -sd , - | sed 's/,/, /'
}

# wrap_programs makes the programs that Patroni starts. What works on the files
# holds a lock on the volume as long as it lives, shared with its like: Patroni
# hands down no open file of its own. And what must not be undone with ALTER SYSTEM
# stands last on the server's command line.
wrap_programs() { # [ARGUMENT OF THE SERVER]...
    arguments=
    for argument in "$@"; do
        arguments="$arguments '$(printf '%s' "$argument" | sed "s/'/'\\\\''/g")'"
    done
    bin="$run/bin"
    mkdir -p "$bin"
    for program in postgres pg_rewind pg_basebackup; do
        real=$(command -v "$program")
        {
            echo '#!/bin/sh'
            echo "exec 8>>'$PGDATA.lock.members'"
            echo 'flock -s 8'
            case $program in
            postgres)
                # One for a single user wants its own options first, and the name of a
                # database last.
                echo "if [ \"\$1\" = --single ]; then shift; exec '$real' --single$arguments \"\$@\"; fi"
                echo "exec '$real' \"\$@\"$arguments"
                ;;
            pg_basebackup)
                # Where somebody empties the volume of a server that runs, Patroni copies
                # without another start, and the mark is gone.
                cat <<END
rm -rf '$copying'
for argument in "\$@"; do
    shift
    case \$argument in --pgdata=*) argument='--pgdata=$copying' ;; esac
    set -- "\$@" "\$argument"
done
'$real' "\$@" || exit
: >'$member'
sync
mv -T '$copying' '$PGDATA'
sync
END
                ;;
            *) echo "exec '$real' \"\$@\"" ;;
            esac
        } >"$bin/$program"
        chmod 0755 "$bin/$program"
    done
}
