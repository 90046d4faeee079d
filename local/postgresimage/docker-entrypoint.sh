#!/usr/bin/env bash
# The entry point of the PostgreSQL image of the local cluster. It keeps the
# contract of the official image's entry point (the variables, folders and
# steps described at https://hub.docker.com/_/postgres), so that what runs here
# runs there unchanged.
#
# It goes beyond that contract in one thing: an initialisation that was
# interrupted is recognised and begun anew. No client can have written anything
# by then, because a server that listens starts only after it.
set -Eeuo pipefail

init_scripts=/docker-entrypoint-initdb.d

fail() {
	printf 'error: %s\n' "$@" >&2
	exit 1
}

note() { printf '%s: %s\n' "$0" "$*"; }

# Takes the value of a variable from the file that NAME_FILE names, so that a
# secret can be mounted instead of being part of the environment.
read_setting() { # NAME [DEFAULT]
	local name=$1 file=$1_FILE
	if [[ -n ${!name:-} && -n ${!file:-} ]]; then
		fail "$name and $file are both set; set one of them"
	fi
	if [[ -n ${!file:-} ]]; then
		[[ -r ${!file} ]] || fail "$file names ${!file}, which cannot be read"
		export "$name=$(<"${!file}")"
	elif [[ -z ${!name:-} ]]; then
		export "$name=${2:-}"
	fi
	unset "$file"
}

read_settings() {
	read_setting POSTGRES_PASSWORD
	read_setting POSTGRES_USER postgres
	read_setting POSTGRES_DB "$POSTGRES_USER"
	read_setting POSTGRES_INITDB_ARGS
	: "${POSTGRES_INITDB_WALDIR:=}" "${POSTGRES_HOST_AUTH_METHOD:=}"
	: "${PGDATA:?}"
	unfinished=$PGDATA/.initializing
}

# The folders that the server writes. Only root can give them away; anybody
# else has to be given fitting ones, so a refusal is left for the server to
# report.
make_directories() {
	local directories=("$PGDATA" /var/run/postgresql)
	if [[ -n $POSTGRES_INITDB_WALDIR ]]; then
		directories+=("$POSTGRES_INITDB_WALDIR")
	fi
	mkdir -p "${directories[@]}"
	chmod 0700 "$PGDATA" 2>/dev/null || :
	chmod 3775 /var/run/postgresql 2>/dev/null || :
	if ((EUID == 0)); then
		find "${directories[@]}" \! -user postgres -exec chown postgres '{}' +
	fi
}

# Says whether there is a database that must not be touched.
initialized() { [[ -s $PGDATA/PG_VERSION && ! -e $unfinished ]]; }

refuse_unsafe_settings() {
	if [[ -z $POSTGRES_PASSWORD && $POSTGRES_HOST_AUTH_METHOD != trust ]]; then
		fail "the database in $PGDATA is not initialized and no superuser password is specified" \
			'set POSTGRES_PASSWORD or POSTGRES_PASSWORD_FILE to a value that is not empty;' \
			'or POSTGRES_HOST_AUTH_METHOD=trust to let everybody in without a password (not recommended)'
	fi
	if [[ $POSTGRES_HOST_AUTH_METHOD == trust ]]; then
		printf '%s\n' 'warning: POSTGRES_HOST_AUTH_METHOD=trust: whoever reaches the port is let in, without a password' >&2
	fi
}

# Makes the server's files. They are made aside and moved in place under a
# mark, so that a kill at any moment leaves either a database or the mark.
make_database() {
	shopt -s dotglob nullglob
	if [[ -e $unfinished ]]; then
		note "removing what an interrupted initialization left in $PGDATA"
		local entry
		for entry in "$PGDATA"/*; do
			[[ $entry == "$unfinished" ]] || rm -rf -- "$entry"
		done
		if [[ -n $POSTGRES_INITDB_WALDIR ]]; then
			rm -rf -- "$POSTGRES_INITDB_WALDIR"/*
		fi
	fi
	local present=("$PGDATA"/*)
	if ((${#present[@]} > 0)) && [[ ${present[*]} != "$unfinished" ]]; then
		fail "$PGDATA holds no database but is not empty (${present[*]##*/}); give it a folder of its own, such as a folder below a mount point"
	fi
	touch "$unfinished"

	# initdb wants a name for the user it runs as.
	local preload=''
	if ! getent passwd "$EUID" >/dev/null; then
		local wrapper
		for wrapper in /usr/lib/*/libnss_wrapper.so; do preload=$wrapper; done
		NSS_WRAPPER_PASSWD=$(mktemp) NSS_WRAPPER_GROUP=$(mktemp)
		export NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP
		printf 'postgres:x:%d:%d:PostgreSQL:%s:/bin/false\n' "$EUID" "$(id -g)" "$PGDATA" >"$NSS_WRAPPER_PASSWD"
		printf 'postgres:x:%d:\n' "$(id -g)" >"$NSS_WRAPPER_GROUP"
	fi
	local wal=()
	if [[ -n $POSTGRES_INITDB_WALDIR ]]; then
		wal=(--waldir "$POSTGRES_INITDB_WALDIR")
	fi
	# POSTGRES_INITDB_ARGS is split as a shell would, quotes included. The
	# password goes through a pipe: arguments are for everybody to see.
	eval 'LD_PRELOAD=$preload initdb --pgdata="$PGDATA/.new" --username="$POSTGRES_USER" \
		--pwfile=<(printf "%s\n" "$POSTGRES_PASSWORD") "${wal[@]}" '"$POSTGRES_INITDB_ARGS"
	if [[ -n $preload ]]; then
		rm -f "$NSS_WRAPPER_PASSWD" "$NSS_WRAPPER_GROUP"
		unset NSS_WRAPPER_PASSWD NSS_WRAPPER_GROUP
	fi
	mv -- "$PGDATA"/.new/* "$PGDATA"
	rmdir "$PGDATA/.new"
	shopt -u dotglob nullglob
}

# Lets clients of the network in.
allow_clients() {
	local method=$POSTGRES_HOST_AUTH_METHOD
	if [[ -z $method ]]; then
		# What the server stores passwords as: the arguments may have changed it.
		method=$(postgres -C password_encryption "$@")
	fi
	{
		printf '\n'
		if [[ $method == trust ]]; then
			printf '# warning: "trust" lets everybody in who reaches the port, without a password\n'
		fi
		printf 'host all all all %s\n' "$method"
	} >>"$PGDATA/pg_hba.conf"
}

# A server that only this container can reach, while the database is prepared.
start_private_server() {
	PGUSER=$POSTGRES_USER pg_ctl -D "$PGDATA" -w start \
		-o "$(printf '%q ' "$@" -c listen_addresses='' -p "${PGPORT:-5432}")"
}

stop_private_server() {
	PGUSER=postgres pg_ctl -D "$PGDATA" -m fast -w stop
}

# Runs psql as the superuser. A script may use it, too: it is sourced.
process_sql() {
	local query=(psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --no-password --no-psqlrc)
	if [[ -n $POSTGRES_DB ]]; then
		query+=(--dbname "$POSTGRES_DB")
	fi
	PGHOST='' PGHOSTADDR='' "${query[@]}" "$@"
}
# The name that scripts written for the official image call it by.
docker_process_sql() { process_sql "$@"; }

make_requested_database() {
	local exists
	exists=$(POSTGRES_DB='' process_sql --dbname postgres --set db="$POSTGRES_DB" --tuples-only \
		<<<"SELECT 1 FROM pg_database WHERE datname = :'db'")
	if [[ -z $exists ]]; then
		POSTGRES_DB='' process_sql --dbname postgres --set db="$POSTGRES_DB" <<<'CREATE DATABASE :"db"'
	fi
}

run_init_scripts() {
	local script
	for script in "$init_scripts"/*; do
		case $script in
		*.sh)
			if [[ -x $script ]]; then
				note "running $script"
				"$script"
			else
				note "sourcing $script"
				# shellcheck source=/dev/null
				. "$script"
			fi
			;;
		*.sql)
			note "running $script"
			process_sql -f "$script"
			;;
		*.sql.gz)
			note "running $script"
			gunzip --stdout "$script" | process_sql
			;;
		"$init_scripts/*") ;; # the folder is empty
		*) note "ignoring $script" ;;
		esac
	done
}

initialize() { # [ARGUMENT OF THE SERVER]...
	refuse_unsafe_settings
	# Before anything is made: scripts that cannot be read must not be left out.
	ls "$init_scripts/" >/dev/null
	make_database
	allow_clients "$@"
	export PGPASSWORD=${PGPASSWORD:-$POSTGRES_PASSWORD}
	start_private_server "$@"
	make_requested_database
	run_init_scripts
	stop_private_server
	unset PGPASSWORD
	rm "$unfinished"
	# Should the mark come back after a crash, it would cost the whole database.
	sync "$PGDATA"
	printf '\n%s\n\n' 'PostgreSQL init process complete; ready for start up.'
}

# Says whether the arguments only ask the server for information.
asks_for_information() {
	local argument
	for argument in "$@"; do
		case $argument in
		-\? | --help | --describe-config | -V | --version) return 0 ;;
		esac
	done
	return 1
}

main() {
	if [[ ${1:-} == -* ]]; then
		set -- postgres "$@"
	fi
	if [[ ${1:-} == postgres ]] && ! asks_for_information "$@"; then
		read_settings
		make_directories
		if ((EUID == 0)); then
			# The settings are exported by now, their files need not be
			# readable for the user postgres.
			HOME=$(getent passwd postgres | cut -d: -f6)
			export HOME
			exec setpriv --reuid=postgres --regid=postgres --init-groups -- "${BASH_SOURCE[0]}" "$@"
		fi
		if initialized; then
			note "$PGDATA appears to contain a database; skipping initialization"
		else
			initialize "${@:2}"
		fi
		# The server has no use for it, and its environment can be read.
		unset POSTGRES_PASSWORD
	fi
	exec "$@"
}

# A script may source this file for its functions.
if [[ ${BASH_SOURCE[0]} == "$0" ]]; then
	main "$@"
fi
