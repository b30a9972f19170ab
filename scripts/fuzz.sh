#!/bin/sh
# Runs each fuzz target in turn for FUZZTIME (30s). The targets are what `func Fuzz`
# finds in the tests, so that a new one is fuzzed from its first day. ONLY is a pattern
# over "./folder FuzzName".
#
# An input that fails is kept by Go in the package's testdata/fuzz, and is a test from
# then on; the other targets still run. Exits 1 if any failed.
set -u
cd "$(dirname "$0")/.." || exit 1

time=${FUZZTIME:-30s}
targets=$(grep -rn --include='*_test.go' '^func Fuzz' . |
	sed -n 's|^\(.*\)/[^/]*_test\.go:[0-9]*:func \(Fuzz[A-Za-z0-9_]*\)(.*|\1 \2|p' |
	grep -E -- "${ONLY:-.}" | sort)
total=$(printf '%s\n' "$targets" | grep -c .)
if [ "$total" -eq 0 ]; then
	echo "no fuzz target matches ONLY=$ONLY" >&2
	exit 1
fi
echo "$total fuzz targets, $time each"

log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
n=0 failed=
while read -r folder target; do
	n=$((n + 1))
	# Nothing else of the package is run: -run matches no test.
	if "${GO:-go}" test -run '^$' -fuzz "^$target\$" -fuzztime "$time" "$folder" >"$log" 2>&1; then
		echo "[$n/$total] ok    $folder $target $(sed -n 's/.*\(execs: [0-9]*\).*/\1/p' "$log" | tail -1)"
	else
		echo "[$n/$total] FAIL  $folder $target"
		sed 's/^/    /' "$log"
		failed="$failed $target"
	fi
done <<EOF
$targets
EOF
if [ -n "$failed" ]; then
	echo "failed:$failed" >&2
	exit 1
fi
