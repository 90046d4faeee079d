#!/bin/sh
# Runs after the essential packages are installed and before the server's are;
# $1 is the root file system.
set -eu

# The user of the official image, before a package makes one with another uid.
printf 'postgres:x:999:\n' >>"$1/etc/group"
printf 'postgres:!::\n' >>"$1/etc/gshadow"
printf 'postgres:x:999:999:PostgreSQL administrator:/var/lib/postgresql:/bin/bash\n' >>"$1/etc/passwd"
printf 'postgres:!:::::::\n' >>"$1/etc/shadow"

# No database while the image is made: a container makes its own.
mkdir -p "$1/etc/postgresql-common/createcluster.d"
printf 'create_main_cluster = false\n' >"$1/etc/postgresql-common/createcluster.d/image.conf"
