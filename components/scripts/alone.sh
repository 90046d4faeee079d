# A part of start.sh, without highAvailability: the server of this volume is the
# only one.

# require_own_database ends the start on a database that was one of several, and
# may not have every acknowledged write.
require_own_database() {
    if [ -e "$PGDATA.copying" ] || [ -e "$PGDATA/standby.signal" ]; then
        fail "the volume holds a copy of another server's database, which may lack writes. Nothing was changed." \
            "$MEMBERS_ON, and then off again when postgres-0 takes the writes (go run ./verify says who does)"
    fi
}

# become_only_server becomes the server. From now on this volume alone has the
# rows, whatever other servers had.
become_only_server() { # [ARGUMENT OF THE SERVER]...
    if [ -e "$PGDATA.member" ]; then
        # Slots of the servers that followed keep the log for them, for ever.
        rm -rf "$PGDATA/pg_replslot/${POD_NAME%-*}_"[0-9]*
    fi
    rm -f "$PGDATA.member"
    # Patroni would take it for its configuration.
    rm -f "$PGDATA/patroni.dynamic.json"
    exec postgres "$@"
}
