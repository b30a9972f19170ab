#!/bin/sh
# run.sh: check the model in every configuration, and write what came out into
# README.md. With "full", also those that take long. Exit 1 if one came out
# otherwise than it should.
set -u
here=$(cd "$(dirname "$0")" && pwd)
full=${1:-}

for tool in spin gcc; do
	command -v "$tool" >/dev/null && continue
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		apt-get install -y -q "$tool" >/dev/null || exit 1
	else
		echo "the model needs $tool: install Debian's packages spin and gcc" >&2
		exit 1
	fi
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0

# check WANT TABLE FLAGS...: WANT is "holds" or "dies".
check() {
	want=$1 table=$2
	shift 2
	(cd "$work" && rm -f pan* && spin -a "$@" "$here/key.pml" >spin.out 2>&1 &&
		gcc -O2 -DSAFETY -DCOLLAPSE -w -o pan pan.c &&
		nice ./pan -m200000 -n >pan.out 2>&1)
	errors=$(sed -n 's/.*errors: *\([0-9]*\).*/\1/p' "$work/pan.out" 2>/dev/null)
	states=$(sed -n 's/ *\([0-9]*\) states, stored.*/\1/p' "$work/pan.out" 2>/dev/null)
	result=holds
	[ "${errors:-x}" = 0 ] || result=dies
	grep -q 'depth too small\|out of memory' "$work/pan.out" && result='not completed'
	[ -n "${errors:-}" ] || result='did not run'
	mark=
	[ "$result" = "$want" ] || { mark=' (**not as it should be**)' bad=1; }
	line="| \`$(echo "$@" | sed 's/-D//g')\` | ${states:-} | $result$mark |"
	echo "$line"
	echo "$line" >>"$work/$table"
}

check holds plain -DE5
check holds plain -DE5 -DFAST
check holds plain -DE5 -DRESET
check holds plain -DTEXP=1
check holds plain -DTEXP=1 -DFAST
check holds plain -DLOSS=1
check holds plain -DLOSS=1 -DFAST
check holds plain -DLOSS=2
check holds plain -DDIVERT -DBLIND
if [ "$full" = full ]; then
	check holds long -DE5 -DRESET -DFAST
	check holds long -DRESET -DDIVERT
	check holds long -DTEXP=1 -DDIVERT -DBLIND -DFAILOPEN
	check holds long -DTEXP=1 -DRESET
	check holds long -DRESET -DLOSS=1
	check holds long -DRESET -DFAILOPEN -DBLIND
fi
check dies mutants -DM_RAISE -DE5 -DRESET
check dies mutants -DM_NOALIAS -DLOSS=1
check dies mutants -DM_NOTOMB -DRESET
check dies mutants -DM_NOCUT -DRESET -DLOSS=1
check dies mutants -DM_NOGRACE -DE5 -DFAST

for table in plain long mutants; do
	[ -f "$work/$table" ] || continue
	awk -v from="<!-- $table -->" -v rows="$work/$table" '
		$0 == from { print; skip = 1; print ""; print "| flags | states | result |"; print "| --- | --- | --- |"
			while ((getline row < rows) > 0) print row; print ""; next }
		$0 == "<!-- end -->" { skip = 0 }
		!skip { print }' "$here/README.md" >"$work/README.md" && cp "$work/README.md" "$here/README.md"
done
exit $bad
