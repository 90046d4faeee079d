#!/bin/sh
# Process 1 of the container: initializes an empty volume, or takes over the
# database that another set-up left on it, then becomes the server with the given
# arguments. It does not go through the image's own entrypoint for that, which
# would put the password into the server's environment.
set -eu
. "${0%/*}/adopt.sh"

# The server would refuse as well, but not say what to do.
check_version() { # DIRECTORY
    volume_version=$(cat "$1/PG_VERSION")
    image_version=$(postgres --version | sed -E 's/^postgres \(PostgreSQL\) ([0-9]+).*/\1/')
    if [ "$volume_version" != "$image_version" ]; then
        echo "start: the volume holds data of PostgreSQL $volume_version, and the image is PostgreSQL $image_version." \
            "Nothing was touched. Set an image of PostgreSQL $volume_version, or move the rows with pg_dump into a stack with the other one" >&2
        exit 1
    fi
}

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    if [ -d "$PGDATA" ] && [ -n "$(ls -A "$PGDATA")" ]; then
        echo "start: $PGDATA holds something that is not a PostgreSQL data directory; nothing was changed" >&2
        exit 1
    fi
    adopt "$@"
fi

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    if [ -e "$DATA_EXPECTED/README" ] && [ "${INITIALIZE_EMPTY_VOLUME-}" != true ]; then
        echo "start: this server had data, and its volume is empty: it was deleted or exchanged." \
            "Nothing was initialized. Restore the volume, or begin again without the old rows:" \
            "pulumi config set initializeEmptyVolume true" >&2
        exit 1
    fi

    # The entrypoint initializes a directory of its own, which becomes the data
    # directory only when it is complete. What an interrupted one left was never
    # anybody's data.
    staging="$PGDATA.initializing"
    rm -rf "$staging"

    # As process 1 a shell ignores what it does not trap.
    trap 'exit 143' INT TERM
    # In place of the server, the entrypoint finds a `postgres` that does nothing.
    PATH="${0%/*}/init:$PATH" PGDATA="$staging" docker-entrypoint.sh postgres &
    wait $!
    trap - INT TERM

    sync
    mv -T "$staging" "$PGDATA"
    sync
fi

check_version "$PGDATA"

# A volume that was not made here gets the pod's group, and with it modes that
# the server refuses for its data directory.
case $(stat -c %a "$PGDATA") in
*700 | *750) ;;
*) chmod g-s,u=rwx,go= "$PGDATA" ;;
esac

# What the readiness probe compares with. A list of files, as words.
cat $RELOADED_FILES | cksum >"${TMPDIR:-/tmp}/config.loaded"
exec postgres "$@"
