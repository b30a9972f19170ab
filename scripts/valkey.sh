#!/bin/sh
# Puts a Valkey server into a folder of its own and prints where its programs are. On
# Debian 12, where the distribution has none, it is taken from bookworm-backports as a
# package that is unpacked and not installed, so that nothing else on the machine changes.
#
#	scripts/valkey.sh FOLDER
set -u
folder=${1:?usage: scripts/valkey.sh FOLDER}
if command -v valkey-server >/dev/null 2>&1; then
	dirname "$(command -v valkey-server)"
	exit 0
fi
if [ ! -x "$folder/usr/bin/valkey-server" ]; then
	command -v apt-get >/dev/null 2>&1 || { echo "valkey: no valkey-server here, and no apt-get to get one" >&2; exit 1; }
	mkdir -p "$folder/lists/partial" "$folder/cache/archives/partial" "$folder/packages" || exit 1
	folder=$(cd "$folder" && pwd)
	suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
	# From where this machine has its distribution.
	from=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' 'Created-By: Packages' | sed -n "s/^$suite //p" | head -n 1)
	[ -n "$from" ] || { echo "valkey: apt-get has no packages of $suite" >&2; exit 1; }
	echo "deb $from $suite-backports main" >"$folder/sources.list"
	apt="-qq -o Dir::Etc::sourcelist=$folder/sources.list -o Dir::Etc::sourceparts=- -o Dir::State::lists=$folder/lists -o Dir::Cache=$folder/cache"
	# shellcheck disable=SC2086 # several words
	{
		apt-get $apt update && cd "$folder/packages" && apt-get $apt download valkey-server valkey-tools &&
			for package in *.deb; do dpkg -x "$package" "$folder" || exit 1; done
	} >&2 || { echo "valkey: $suite-backports has no Valkey, or can not be reached" >&2; exit 1; }
fi
echo "$(cd "$folder" && pwd)/usr/bin"
