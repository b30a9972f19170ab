#!/bin/sh
# Asks govulncheck, which go.mod pins, whether code that is called has a known
# vulnerability. Exits 3 if it has, as govulncheck does, and 2 if the answer is not known
# because the database (GOVULNDB, else that of the Go project) can not be read: that is
# never the same as having none.
set -u
cd "$(dirname "$0")/.." || exit 1

log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
"${GO:-go}" tool govulncheck ${GOVULNDB:+-db "$GOVULNDB"} ./... >"$log" 2>&1
code=$?
if [ $code -ne 0 ] && [ $code -ne 3 ] && grep -qE 'vulnerability data|fetching vulnerabilities' "$log"; then
	echo "NOT CHECKED: the vulnerability database can not be reached, so nothing is known about" >&2
	echo "vulnerabilities. Give GOVULNDB=URL of a mirror (https:// or file://), or run it where" >&2
	echo "the network lets it." >&2
	exit 2
fi
cat "$log"
exit $code
