#!/bin/sh
# Runs test/sdk: an unmodified SDK of trigger.dev against the node in bin/. Needs
# Node.js 20 or later with npm; the packages are fetched once, then kept, and are
# those of the lock file.
set -eu
cd "$(dirname "$0")/../test/sdk"

if ! command -v node >/dev/null 2>&1 || ! command -v npm >/dev/null 2>&1; then
	echo "test-sdk: Node.js 20 or later and npm are needed, and not found" >&2
	exit 1
fi
if ! node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)'; then
	echo "test-sdk: Node.js 20 or later is needed; this is $(node --version)" >&2
	exit 1
fi

# The lock holds every package of the suite to the bytes (its integrity) that it was
# written against, so that a run means the same tomorrow. npm writes the other file
# last: older than the lock, the folder is not what it says.
if [ ! node_modules/.package-lock.json -nt package-lock.json ]; then
	npm ci --no-audit --no-fund --ignore-scripts
fi
exec node run.mjs "$@"
