#!/bin/sh
# Init container that runs as root, only with the setting fixVolumeOwner: gives
# what is on the volume to the server's user ($1) where it belongs to another one.
set -eu
user=$1
volume=${PGDATA%/*}
lock="$PGDATA.lock"

# entries are what is at the top of the volume, and last the top itself, so that
# one that was interrupted is begun again.
entries() {
    for path in "$volume"/* "$volume"/.[!.]* "$volume"; do
        case $path in
        # What belongs to the file system.
        "$volume/lost+found" | "$volume/.snapshot") ;;
        # A pattern that fits nothing stays as it is.
        *) if [ -e "$path" ]; then echo "$path"; fi ;;
        esac
    done
}

foreign=$(entries | while read -r path; do
    if [ "$(stat -c %u "$path")" != "$user" ]; then
        echo "$path belongs to user $(stat -c %u "$path")"
    fi
done)
if [ -z "$foreign" ]; then
    exit 0
fi

# Nobody may live on it meanwhile: the server has this lock all its life.
exec 9>>"$lock"
if ! flock -n 9; then
    echo "owner: waiting for the volume, on which another pod lives: $(cat "$lock")"
    flock 9
fi
echo "owner: $(echo "$foreign" | head -n 1); the volume is given to user $user"
entries | while read -r path; do
    depth=
    if [ "$path" = "$volume" ]; then depth='-maxdepth 0'; fi
    if ! said=$(find "$path" $depth -depth ! -user "$user" -exec chown -h "$user:$user" {} + 2>&1); then
        echo "owner: $path cannot be given to user $user: $(echo "$said" | tail -n 1)." \
            "An NFS server that takes root's rights away (root_squash) has to do it itself, where the folder is: chown -R $user:$user" >&2
        exit 1
    fi
done
