# A part of start.sh and of the readiness probe: who lives on the volume. Whatever
# starts a server on a volume calls take_volume before it reads anything of it.

volume=${PGDATA%/*}
# The file lies beside the data directory, and nobody ever removes or exchanges
# it: the lock is on the file itself, not on its name.
lock="$PGDATA.lock"

# take_volume waits until nobody else lives on the volume. The lock belongs to an
# open file, which the server and all its processes inherit. So it is held until
# the last of them is gone, however they end, and nobody has to give it back.
# PostgreSQL's own postmaster.pid cannot do that: process 1 of another pod looks
# like process 1 of this one.
#
# Patroni hands down no open file to the server that it starts. The programs that
# it starts share a lock on a second file, and whoever takes the volume waits for
# that one, too.
take_volume() {
    if ! command -v flock >/dev/null; then
        fail "the image has no program flock (of util-linux or busybox)," \
            "and without it nothing keeps a second server away from the volume. Set an image that has it"
    fi
    if ! refused=$( (: >>"$lock") 2>&1); then
        advice="Make room on the volume"
        if [ ! -w "$volume" ] || [ -e "$lock" ] && [ ! -w "$lock" ]; then
            advice=$(give_away)
        fi
        fail "this server runs as user and group $(id -u):$(id -g) and cannot write to the volume:" \
            "$(whose "$volume" "$lock")${refused##*:}. $advice"
    fi
    # Opened for writing, because NFS locks no other file. They are not emptied: the
    # first says who holds the lock.
    exec 9>>"$lock" 8>>"$lock.members"
    for file in 9 8; do
        if refused=$(flock -n "$file" 2>&1); then
            continue
        fi
        if [ -n "$refused" ]; then
            fail "the volume's file system refuses locks ($refused), and without them nothing keeps a second server away from it." \
                "Mount it with locks, or use another storage class"
        fi
        echo waiting >"$doing"
        echo "start: $(who_holds)"
        # In the background, because a signal interrupts nothing but a wait.
        flock "$file" &
        waiting=$!
        trap 'kill "$waiting"; exit 143' INT TERM
        wait "$waiting"
        trap 'exit 143' INT TERM
        echo "start: the volume is free now"
    done
    # On a full volume it stays unsaid.
    echo "pod ${POD_NAME:-unknown} (uid ${POD_UID:-unknown}) on node ${NODE_NAME:-unknown} since $(date -u +%Y-%m-%dT%H:%M:%SZ)" \
        2>/dev/null >"$lock" || :
    # PostgreSQL takes no database of another user, whatever its mode.
    if [ -d "$PGDATA" ] && [ ! -O "$PGDATA" ]; then
        fail "this server runs as user and group $(id -u):$(id -g) and cannot use the database of another user:" \
            "$(whose "$PGDATA") and PostgreSQL wants its own. $(give_away)"
    fi
}

# who_holds says for whom this pod waits.
who_holds() {
    holder=$(cat "$lock")
    echo "waiting for the volume: ${holder:-another pod} still lives on it. This pod starts as soon as that one is gone"
}

# whose says who owns files, of those that there are, in one line.
whose() { # FILE...
    echo $(stat -c '%n belongs to %u:%g (mode %a),' "$@" 2>/dev/null)
}

give_away() {
    echo "$FIX_OWNER, or give the volume away in a pod that runs as root: chown -R $(id -u):$(id -g)"
}
