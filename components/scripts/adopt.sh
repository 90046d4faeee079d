# A part of start.sh. Other set-ups have their database at the root of the
# volume. It becomes the one in $PGDATA by renames alone: nothing is copied, and
# every file is in exactly one of two places at any moment, so that the next
# start goes on where this one was interrupted.

adopting="$PGDATA.adopting"

# adopt does nothing when there is no database at the root of the volume.
adopt() { # [ARGUMENT OF THE SERVER]...
    if [ -s "$volume/PG_VERSION" ]; then
        may_be_moved
        mkdir -p "$adopting"
        # The first of all: from now on nobody takes the rest for a database.
        move PG_VERSION
    elif [ ! -s "$adopting/PG_VERSION" ]; then
        return 0
    fi
    for path in "$volume"/* "$volume"/.[!.]* "$volume"/..?*; do
        entry=${path##*/}
        case $entry in
        # What belongs to the file system, and what is not the database's.
        lost+found | .snapshot | "${PGDATA##*/}"*) ;;
        # A pattern that fits nothing stays as it is.
        *) if [ -e "$path" ] || [ -L "$path" ]; then move "$entry"; fi ;;
        esac
    done
    sync
    chmod g-s,u=rwx,go= "$adopting"
    check_version "$adopting"
    check_names "$@"
    sync
    mv -T "$adopting" "$PGDATA"
    sync
    echo "start: the database at the root of the volume is now in $PGDATA"
}

refuse() {
    echo "start: the volume holds a database at its root, and it was left as it is: $*" >&2
    exit 1
}

# may_be_moved refuses a database that the server could not use afterwards, or
# that another one may be using.
may_be_moved() {
    owner=$(stat -c %u "$volume/PG_VERSION")
    if [ "$owner" != "$(id -u)" ]; then
        refuse "it belongs to user $owner, and this server runs as $(id -u)." \
            "Give it away first, in a pod that runs as root: chown -R $(id -u):$(id -g)"
    fi
    check_version "$volume"
    for link in pg_wal pg_xlog; do
        if [ -L "$volume/$link" ]; then
            refuse "its write-ahead log is elsewhere, at $(readlink "$volume/$link")"
        fi
    done
    if [ -n "$(ls -A "$volume/pg_tblspc")" ]; then
        refuse "it has tablespaces. Move their tables into pg_default and drop them, where it ran before"
    fi
    state=$(LC_ALL=C pg_controldata "$volume" | sed -n 's/^Database cluster state: *//p')
    if [ -e "$volume/postmaster.pid" ] || [ "$state" != "shut down" ]; then
        refuse "it was not shut down cleanly (${state:-no state}$([ ! -e "$volume/postmaster.pid" ] || echo ", postmaster.pid is there"))." \
            "Start it once more where it ran before, and stop it without clients"
    fi
}

move() {
    if [ -e "$adopting/$1" ] || [ -L "$adopting/$1" ]; then
        echo "start: $volume and $adopting both hold $1; nothing more was moved. Remove the one that is not the database's" >&2
        exit 1
    fi
    mv -T "$volume/$1" "$adopting/$1"
}

# check_names looks for the role and the database of the settings while they can
# still be corrected without a server that lets nobody in. A server for one user
# needs no port, no role and no password.
check_names() { # [ARGUMENT OF THE SERVER]...
    found=$(echo "SELECT 'found ' || 'role' FROM pg_roles WHERE rolsuper AND rolname = '$POSTGRES_USER'" \
        "UNION ALL SELECT 'found ' || 'database' FROM pg_database WHERE datallowconn AND datname = '$POSTGRES_DB'" |
        with_user_name postgres --single -D "$adopting" "$@" -c log_min_messages=fatal template1 2>&1) || {
        echo "start: the database that was at the root of the volume does not open in this image: $found" >&2
        exit 1
    }
    case $found in
    *'"found role"'*) ;;
    *)
        echo "start: the volume's database has no superuser $POSTGRES_USER; $SET_USER" >&2
        exit 1
        ;;
    esac
    case $found in
    *'"found database"'*) ;;
    *)
        echo "start: the volume's database server has no database $POSTGRES_DB; $SET_DATABASE" >&2
        exit 1
        ;;
    esac
}
