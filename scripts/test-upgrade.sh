#!/bin/sh
# Upgrades nodes of another commit to bin/node under traffic, rolls them back, and
# upgrades them again: bin/chaos -base. Needs the history of git, and nothing else
# from outside but the modules that the other commit is built from.
#
# BASE is the commit; by default the latest tag, or without tags the parent of the last
# commit that touched what is stored: the schema, a script of Redis, a snapshot, a patch.
# FLAGS are more flags of bin/chaos.
set -eu
cd "$(dirname "$0")/.."

if ! git rev-parse --verify --quiet HEAD >/dev/null; then
	echo "test-upgrade: the other version is built from git's history, and there is none here" >&2
	exit 1
fi
base=${BASE:-$(git describe --tags --abbrev=0 HEAD~ 2>/dev/null || true)}
if [ -z "$base" ]; then
	base=$(git rev-list -1 HEAD -- runstore/schema/migrations '*.lua' run/snapshot.go run/patch.go)^
fi
if ! commit=$(git rev-parse --verify --quiet "$base^{commit}"); then
	echo "test-upgrade: BASE=$base names no commit here" >&2
	exit 1
fi

tree=$(mktemp -d "${TMPDIR:-/tmp}/mollifier-base-XXXXXX")
trap 'git worktree remove --force "$tree" >/dev/null 2>&1 || rm -rf "$tree"; git worktree prune' EXIT
trap 'exit 130' INT TERM
git worktree add --quiet --detach "$tree" "$commit"
(cd "$tree" && ${GO:-go} build -buildvcs=false -o "$OLDPWD/bin/node-base" ./cmd/node)
git worktree remove --force "$tree"

echo "from $(git log -1 --format='%h %s' "$commit")"
# shellcheck disable=SC2086
bin/chaos -base bin/node-base -node bin/node -harm 2s -runs 2 ${FLAGS:-}
