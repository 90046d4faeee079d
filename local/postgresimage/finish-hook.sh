#!/bin/sh
# Runs when all packages are installed; $1 is the root file system. It makes of
# it what the official image is, and takes out what only installing needed.
# PG_MAJOR is the server's major version, ENTRYPOINT the file of the entry
# point, VERSION_FILE the file that gets the version of the server's package.
set -eu
root=$1

chroot "$root" dpkg-query --show --showformat='${Version}' "postgresql-$PG_MAJOR" >"$VERSION_FILE"

# The official image sorts by this locale unless told otherwise.
chroot "$root" localedef -i en_US -f UTF-8 en_US.UTF-8

sed -i -E "s/^#?listen_addresses = .*/listen_addresses = '*'/" "$root/usr/share/postgresql/$PG_MAJOR/postgresql.conf.sample"
grep -q "^listen_addresses = '\*'" "$root/usr/share/postgresql/$PG_MAJOR/postgresql.conf.sample"

install -m 0755 "$ENTRYPOINT" "$root/usr/local/bin/docker-entrypoint.sh"
install -d -m 0755 "$root/docker-entrypoint-initdb.d"
install -d -m 1777 -o 999 -g 999 "$root/var/lib/postgresql/data"
chown 999:999 "$root/var/lib/postgresql"

# Debian's management of several clusters, and the Perl that it is written in.
# With them goes the private key that ssl-cert made.
chroot "$root" sh -c 'dpkg --purge --force-depends \
	postgresql-common postgresql-client-common ssl-cert libjson-perl \
	$(dpkg-query --show --showformat="\${Package}\n" perl "perl-modules-*" "libperl5*")'
rm -rf "$root/etc/ssl/private" "$root"/etc/ssl/certs/*snakeoil* "$root/etc/postgresql-common"
find "$root/etc/ssl" -xtype l -delete

# What belongs to the machine that made the image, to apt, or to a reader.
# mmdebstrap removes the last of apt's settings itself.
find "$root/etc/apt" -type f ! -name 00mmdebstrap -delete
rm -rf "$root/var/lib/apt" "$root"/var/cache/* "$root"/var/log/* \
	"$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/* "$root"/usr/share/i18n \
	"$root"/etc/*- "$root/var/lib/dpkg/status-old"
for file in hostname resolv.conf hosts; do : >"$root/etc/$file"; done

# Where the server's socket is. Writable for all, as in the official image: a
# container may run as any user.
rm -rf "$root"/run/*
install -d -m 3777 -o 999 -g 999 "$root/run/postgresql"
