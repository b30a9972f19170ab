#!/bin/sh
# Makes sure that what the project needs is here: Go, a Redis (or Valkey) server
# and the Postgres server programs. Nothing of it has to be running.
#
# Missing servers are installed by apt where that is ours to do: as root, on
# Debian and Ubuntu. Everywhere else it ends with the command to type; it never
# calls sudo itself.
#
# MOLLIFIER_DEPS_ROOT (for tests) is put before the absolute paths it looks at.
set -u

min_redis=7
min_postgres=14
root=${MOLLIFIER_DEPS_ROOT:-}
here=$(cd "$(dirname "$0")/.." && pwd) || exit 1

say() { printf '%s\n' "deps: $*"; }
complain() { printf '%s\n' "deps: $*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

# The major number of a server program: "postgres (PostgreSQL) 15.13 (...)",
# "Redis server v=7.0.15 ...", "Valkey server v=8.0.1 ...". Empty if unreadable.
major() {
	version=$("$1" --version 2>/dev/null) || return 0
	case $version in
	*v=*) version=${version#*v=} ;;
	*"(PostgreSQL) "*) version=${version#*"(PostgreSQL) "} ;;
	*) return 0 ;;
	esac
	version=${version%%[!0-9]*}
	printf '%s' "$version"
}

# new_enough PROGRAM MINIMUM; what is too old is remembered for the complaint.
too_old=
new_enough() {
	found=$(major "$1")
	[ -n "$found" ] || return 1
	[ "$found" -ge "$2" ] && return 0
	too_old="$too_old $1 (version $found)"
	return 1
}

path_folders() {
	old_ifs=$IFS
	IFS=:
	for folder in $PATH; do printf '%s\n' "$folder"; done
	IFS=$old_ifs
}

# The same places in which the node looks.
have_redis() {
	for folder in $(path_folders) \
		"$root"/usr/bin "$root"/usr/sbin "$root"/usr/local/bin \
		"$root"/opt/homebrew/bin "$root"/opt/homebrew/opt/redis/bin "$root"/opt/homebrew/opt/valkey/bin \
		"$root"/usr/local/opt/redis/bin "$root"/usr/local/opt/valkey/bin; do
		for name in redis-server valkey-server; do
			[ -x "$folder/$name" ] && new_enough "$folder/$name" $min_redis && return 0
		done
	done
	return 1
}

have_postgres() {
	for folder in $(path_folders) \
		"$root"/usr/lib/postgresql/*/bin "$root"/usr/pgsql-*/bin "$root"/usr/libexec/postgresql* \
		"$root"/usr/local/pgsql/bin "$root"/opt/homebrew/opt/postgresql@*/bin \
		"$root"/usr/local/opt/postgresql@*/bin "$root"/Applications/Postgres.app/Contents/Versions/*/bin; do
		[ -x "$folder/initdb" ] && [ -x "$folder/postgres" ] &&
			new_enough "$folder/postgres" $min_postgres && return 0
	done
	return 1
}

# Go is checked inside the module, where a Go that fetches newer ones by itself
# reports the one it would use.
check_go() {
	want=$(sed -n 's/^go \([0-9]*\.[0-9]*\).*/\1/p' "$here/go.mod")
	where="install it from https://go.dev/dl/"
	has brew && where="install it with: brew install go"
	if ! has go; then
		if [ -x "$root/usr/local/go/bin/go" ]; then
			where="it is in /usr/local/go/bin: type  export PATH=\$PATH:/usr/local/go/bin"
		fi
		complain "Go $want or newer is needed and not in PATH; $where"
		return 1
	fi
	if ! version=$(cd "$here" && go version 2>&1); then
		complain "Go $want or newer is needed, and this one does not run: $version; $where"
		return 1
	fi
	version=${version#*go version go}
	version=${version%% *}
	go_major=${version%%.*}
	go_minor=${version#*.}
	go_minor=${go_minor%%[!0-9]*}
	case $go_major$go_minor in
	'' | *[!0-9]*) return 0 ;; # a development version: the compiler will tell
	esac
	if [ "$go_major" -lt "${want%.*}" ] || { [ "$go_major" -eq "${want%.*}" ] && [ "${go_minor:-0}" -lt "${want#*.}" ]; }; then
		complain "Go $want or newer is needed, and this is Go $version; $where"
		return 1
	fi
}

# os_release NAME: a value of /etc/os-release.
os_release() {
	[ -r "$root/etc/os-release" ] || return 0
	sed -n "s/^$1=//p" "$root/etc/os-release" | sed 's/^"\(.*\)"$/\1/'
}

# install_command: what a person types here to get what is missing.
install_command() {
	sudo='sudo '
	[ "$(id -u)" -eq 0 ] && sudo=
	if has apt-get; then
		printf '%s' "${sudo}apt-get update && ${sudo}apt-get install -y$(packages redis-server postgresql)"
	elif has dnf; then
		# Enterprise Linux 9 has what is new enough in modules only; since then
		# Valkey has taken the place of Redis.
		case $(os_release ID)-$(os_release VERSION_ID) in
		rhel-9* | centos-9* | rocky-9* | almalinux-9* | ol-9*)
			printf '%s' "${sudo}dnf install -y$(packages @redis:7 @postgresql:16)"
			;;
		*) printf '%s' "${sudo}dnf install -y$(packages valkey postgresql-server)" ;;
		esac
	elif has apk; then
		printf '%s' "${sudo}apk add$(packages redis postgresql)"
	elif has brew; then
		printf '%s' "brew install$(packages redis postgresql@17)"
	fi
}

# packages REDIS POSTGRES: those of the two that are missing.
packages() {
	[ -n "$no_redis" ] && printf ' %s' "$1"
	[ -n "$no_postgres" ] && printf ' %s' "$2"
}

look() {
	too_old= no_redis= no_postgres=
	have_redis || no_redis=1
	have_postgres || no_postgres=1
	[ -z "$no_redis$no_postgres" ]
}

missing() {
	[ -n "$no_redis" ] && printf ' %s' "Redis $min_redis or newer (or Valkey);"
	[ -n "$no_postgres" ] && printf ' %s' "Postgres $min_postgres or newer (server);"
}

may_install() {
	[ "$(id -u)" -eq 0 ] && has apt-get || return 1
	case " $(os_release ID) $(os_release ID_LIKE) " in
	*" debian "* | *" ubuntu "*) return 0 ;;
	esac
	return 1
}

apt() {
	DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=120 "$@" </dev/null >>"$log" 2>&1
}

# Installs without starting the services that come with the packages: the node
# and the tests run servers of their own. Package scripts ask this file whether
# they may start something; one that is there already is left alone.
install_by_apt() {
	wanted=$(packages redis-server postgresql)
	say "installing$wanted with apt (as root; no service is started)"
	log=$(mktemp) || exit 1
	policy=$root/usr/sbin/policy-rc.d
	ours=
	if [ ! -e "$policy" ] && printf '#!/bin/sh\nexit 101\n' >"$policy" 2>/dev/null; then
		ours=1
		trap 'rm -f "$policy"' EXIT
		trap 'exit 130' INT TERM HUP
		chmod 755 "$policy"
	fi
	# The package lists are fetched only if there are none, or they are stale.
	done_by=
	for lists in "$root"/var/lib/apt/lists/*_Packages*; do
		# shellcheck disable=SC2086
		[ -e "$lists" ] && apt install --no-install-recommends $wanted && done_by=1
		break
	done
	if [ -z "$done_by" ]; then
		say "fetching the package lists first"
		# shellcheck disable=SC2086
		if ! apt update || ! apt install --no-install-recommends $wanted; then
			cat "$log" >&2
			rm -f "$log"
			complain "apt could not install$wanted"
			return 1
		fi
	fi
	rm -f "$log"
	[ -z "$ours" ] || rm -f "$policy"
}

check_go || exit 1
look && exit 0

if may_install; then
	install_by_apt || exit 1
	look && exit 0
	complain "installed, but still missing:$(missing) found only:${too_old:- nothing}"
	complain "this system's packages are too old: see https://redis.io/docs/latest/operate/oss_and_stack/install/ and https://www.postgresql.org/download/"
	exit 1
fi

complain "missing:$(missing)${too_old:+ found, but too old:$too_old}"
command=$(install_command)
if [ -n "$command" ]; then
	complain "install with: $command"
else
	complain "install your system's packages of the Redis (or Valkey) server and the PostgreSQL server"
fi
exit 1
