#!/bin/sh
# Moves a split to another pool step by step, from a pipeline, with weirctl and
# jq; looks at each step and goes back when the new pool fails more often.
#
#   shift.sh SPLIT POOL [PERCENT ...]       steps 5 25 50 100 without
#
# Where weir is and who asks: WEIR_ADMIN, WEIR_TOKEN_FILE, or WEIR_CACERT,
# WEIR_CERT and WEIR_KEY, as weirctl has them (a token or certificate with the
# role operator). How it judges:
#
#   HOLD=60          seconds that a step lasts at least
#   MIN_REQUESTS=100 requests that the new pool must have had in a step
#   TIMEOUT=600      seconds after which a step without them is given up
#   MAX_INCREASE=1   percentage points that its failures may be above the others'
#   RELEASE=         goes into the audit log
#
# Exit code 0: the split is at the last step. 10: it failed and is back where it
# was. 13: too few requests to tell; back, too. 6: somebody else changed the
# weights meanwhile, theirs stay. 130: interrupted, back. Else weirctl's own.
set -eu

weirctl=${WEIRCTL:-weirctl}
hold=${HOLD:-60} least=${MIN_REQUESTS:-100} limit=${TIMEOUT:-600} above=${MAX_INCREASE:-1}
reason="shift.sh${RELEASE:+: $RELEASE}"

[ $# -ge 2 ] || { sed -n '2,25s/^# \{0,1\}//p' "$0" >&2; exit 2; }
split=$1 pool=$2
shift 2
[ $# -gt 0 ] || set -- 5 25 50 100
command -v jq >/dev/null || { echo "shift.sh: jq is needed" >&2; exit 2; }

look() { "$weirctl" weights "$split" -o json; }
field() { printf '%s' "$1" | jq -r --arg pool "$pool" "$2"; }

# set_weights REASON NAME=PERCENT...: only over the version that we know. Who
# interrupts meanwhile waits until we know the new one.
set_weights()
{
	why=$1 late=
	shift
	trap 'late=yes' INT TERM
	state=$("$weirctl" weights "$split" "$@" --if-match "$version" --reason "$why" -o json)
	version=$(field "$state" .version)
	trap interrupted INT TERM
	[ -z "$late" ] || interrupted
}

back()
{
	echo "back to $before: $1" >&2
	# shellcheck disable=SC2086 # a list of words
	"$weirctl" weights "$split" $before --if-match "$version" --reason "$reason: $1" >/dev/null
}

interrupted()
{
	trap '' INT TERM
	back "interrupted"
	exit 130
}

# between NOW OLD: "requests failures others_requests others_failures" between two looks
between()
{
	jq -rn --argjson now "$1" --argjson old "$2" --arg pool "$pool" '
		def of($s; $new): [$s.pools[] | select((.name == $pool) == $new)]
			| [(map(.requests) | add // 0), (map(.failures) | add // 0)];
		[of($now; true), of($now; false)] as [$a, $b] | [of($old; true), of($old; false)] as [$c, $d]
		| "\($a[0] - $c[0]) \($a[1] - $c[1]) \($b[0] - $d[0]) \($b[1] - $d[1])"'
}

state=$(look)
version=$(field "$state" .version)
stable=$(field "$state" .stable)
before=$(field "$state" '.weights | to_entries | map("\(.key)=\(.value)") | join(" ")')
field "$state" '.pools[].name' | grep -qx -- "$pool" || { echo "shift.sh: $split has no pool $pool" >&2; exit 3; }
[ "$pool" != "$stable" ] || { echo "shift.sh: $pool is the stable pool of $split" >&2; exit 2; }
trap interrupted INT TERM

for percent; do
	rest=$(jq -n "100 - $percent")
	set_weights "$reason" "$stable=$rest" "$pool=$percent"
	start=$state waited=0
	echo "$split: $pool at $percent %"
	while :; do
		sleep 1 &
		wait $!
		waited=$((waited + 1))
		now=$(look)
		[ "$(field "$now" .version)" = "$version" ] || { echo "shift.sh: somebody else changed $split" >&2; exit 6; }
		read -r requests failures others their_failures <<-END
			$(between "$now" "$start")
		END
		# Failures in per cent of requests, above those of the others in the same time.
		verdict=$(jq -rn --argjson n "$requests" --argjson f "$failures" --argjson m "$others" --argjson g "$their_failures" \
			--argjson least "$least" --argjson above "$above" '
			if $n < $least then "undecided"
			elif 100 * $f / $n - (if $m > 0 then 100 * $g / $m else 0 end) > $above then "failed"
			else "fine" end')
		case $verdict in
		failed)
			back "$failures of $requests requests to $pool failed"
			exit 10 ;;
		fine) [ "$waited" -lt "$hold" ] || break ;;
		undecided)
			if [ "$waited" -ge "$limit" ]; then
				back "only $requests of $least requests in $waited s"
				exit 13
			fi ;;
		esac
	done
	echo "$split: fine: $failures of $requests requests failed"
done
