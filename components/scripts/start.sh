#!/bin/sh
# Process 1 of the container: initializes an empty volume, or takes over the
# database that another set-up left on it, then becomes the server with the given
# arguments. It does not go through the image's own entrypoint for that, which
# would put the password into the server's environment.
set -eu

# As process 1 a shell ignores what it does not trap, and the pod would be killed
# at the end of its grace period. Whatever it becomes decides for itself.
trap 'exit 143' INT TERM

# What the probes know of this start: whether the server was ready once and is
# now, with which files it began, and what is done before it is there. An earlier
# container of the same pod left its own.
run="${TMPDIR:-/tmp}"
rm -f "$run/started" "$run/settled" "$run/ready" "$run/answered" "$run/agreed" "$run/config.loaded" "$run/start.doing"
doing="$run/start.doing"

fail() {
    echo "start: nothing was started: $*" >&2
    exit 1
}

# refuse_foreign_files ends the start where the server's folder holds files, but no
# database.
refuse_foreign_files() { # FILES REMEDY
    if [ -n "$1" ]; then
        fail "$PGDATA holds something that is not a PostgreSQL data directory:" \
            "$(echo "$1" | head -n 5 | paste -sd ' ' -). Nothing was changed. $2"
    fi
}

. "${0%/*}/volume.sh"
. "${0%/*}/adopt.sh"
. "${0%/*}/alone.sh"
if [ "${HIGH_AVAILABILITY-}" = true ]; then
    . "${0%/*}/member.sh"
fi

# The server would refuse as well, but not say what to do.
check_version() { # DIRECTORY
    read -r volume_version <"$1/PG_VERSION"
    # postgres (PostgreSQL) 15.4 (Debian 15.4-1)
    image_version=$(postgres --version)
    image_version=${image_version#*) }
    image_version=${image_version%%[!0-9]*}
    if [ "$volume_version" != "$image_version" ]; then
        echo "start: the volume holds data of PostgreSQL $volume_version, and the image is PostgreSQL $image_version." \
            "Nothing was touched. Set an image of PostgreSQL $volume_version, or move the rows with pg_dump into a stack with the other one" >&2
        exit 1
    fi
}

# tell_altered names what ALTER SYSTEM has set, after a start that failed: it
# may be the reason, and without a server ALTER SYSTEM cannot take it back. Only
# the names, because a value may be a password.
tell_altered() {
    altered=$(sed -n -E "s/^ *([A-Za-z_][A-Za-z0-9_.]*) *=.*/\1/p" "$PGDATA/postgresql.auto.conf" 2>/dev/null) || :
    if [ -n "$altered" ]; then
        echo "start: this server did not become ready at its last start. These parameters were set with ALTER SYSTEM," \
            "on the volume, and count more than a file:" $altered \
            "- if one of them keeps it from starting, set that one among the stack's parameters, whose value then counts"
    fi
}

# initialize lets the image's entrypoint initialize a directory of its own, which
# becomes the data directory only when it is complete. What an interrupted one
# left was never anybody's data.
initialize() {
    # The entrypoint knows the library, too.
    require_user_name
    staging="$PGDATA.initializing"
    rm -rf "$staging" "$run/initialized" "$run/code"
    echo "initializing the volume" >"$doing"
    (
        code=0
        # In place of the server, the entrypoint finds a `postgres` that leaves a mark.
        PATH="${0%/*}/init:$PATH" PGDATA="$staging" INITIALIZED="$run/initialized" \
            docker-entrypoint.sh postgres || code=$?
        echo "$code" >"$run/code"
        echo "$end_of_output"
    ) 2>&1 | show_progress &
    wait "$!"
    read -r code <"$run/code"
    # The entrypoint sources scripts, and one that exits ends it with any code.
    if [ "$code" -ne 0 ] || [ ! -e "$run/initialized" ]; then
        read -r step <"$doing"
        echo "start: nothing was started: $step ended with exit code $code before the initialization was complete." \
            "Nothing of it is kept; the next start begins anew. A script must not exit: those after it would not run" >&2
        if [ "$code" -eq 0 ]; then
            exit 1
        fi
        exit "$code"
    fi
    sync
    mv -T "$staging" "$PGDATA"
    sync
}

end_of_output="end of the output of the entrypoint of process $$"

# show_progress prints what the entrypoint does, and keeps for the probes which
# script is run. It ends with the entrypoint, also when a script has left a
# process behind that holds the output open.
show_progress() {
    exec 3<&0
    while IFS= read -r line; do
        case $line in
        "$end_of_output")
            cat <&3 &
            return 0
            ;;
        *': running /'* | *': sourcing /'*) echo "initializing the volume: ${line##*: }" >"$doing" ;;
        esac
        printf '%s\n' "$line"
    done
}

# with_user_name runs a program that wants a name for the user it runs as. An
# image need not have one; then a library invents it.
with_user_name() { # PROGRAM [ARGUMENT]...
    if id -un >/dev/null 2>&1; then
        "$@"
        return
    fi
    require_user_name
    echo "postgres:x:$(id -u):$(id -g)::$PGDATA:/bin/false" >"$run/passwd"
    echo "postgres:x:$(id -g):" >"$run/group"
    LD_PRELOAD="$wrapper" NSS_WRAPPER_PASSWD="$run/passwd" NSS_WRAPPER_GROUP="$run/group" "$@"
}

# require_user_name ends the start in an image in which that is impossible.
require_user_name() {
    if id -un >/dev/null 2>&1; then
        return 0
    fi
    for wrapper in /usr/lib/libnss_wrapper.so /usr/lib/*/libnss_wrapper.so /lib/libnss_wrapper.so /lib/*/libnss_wrapper.so; do
        if [ -s "$wrapper" ]; then
            return 0
        fi
    done
    fail "the image has no user $(id -u) and no libnss_wrapper.so, and without one of them no database can be made or taken over." \
        "Set an image that has one, such as the official one"
}

take_volume

waits=
if [ "${HIGH_AVAILABILITY-}" = true ]; then
    if follows; then
        waits=yes
    fi
else
    require_own_database
fi

if [ -z "$waits" ]; then
    if [ ! -s "$PGDATA/PG_VERSION" ]; then
        refuse_foreign_files "$(ls -A "$PGDATA" 2>/dev/null)" "Restore the database's files, or move these away"
        adopt "$@"
    fi

    if [ ! -s "$PGDATA/PG_VERSION" ]; then
        if [ -e "$DATA_EXPECTED/README" ] && [ "${INITIALIZE_EMPTY_VOLUME-}" != true ]; then
            echo "start: this server had data, and its volume is empty: it was deleted or exchanged." \
                "Nothing was initialized. Restore the volume, or $BEGIN_AGAIN" >&2
            exit 1
        fi

        initialize
    fi

    check_version "$PGDATA"

    # A volume that was not made here gets the pod's group, and with it modes that
    # the server refuses for its data directory.
    case $(stat -c %a "$PGDATA") in
    *700 | *750) ;;
    *) chmod g-s,u=rwx,go= "$PGDATA" ;;
    esac
fi

# Removed when the server is ready.
if [ -e "$run/attempt" ]; then
    tell_altered
fi
: >"$run/attempt"

# What the readiness probe compares with. A list of files, as words.
cat $RELOADED_FILES | cksum >"$run/config.loaded"
echo serving >"$doing"
if [ "${HIGH_AVAILABILITY-}" = true ]; then
    become_member "$@"
fi
become_only_server "$@"
