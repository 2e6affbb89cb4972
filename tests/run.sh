#!/bin/sh
# Every check there is, from a clean clone on Debian 12: installs what is
# missing, builds, and runs the unit tests, the flow tests, the fuzz corpora
# and the lint, on the release build and on sanitizer builds.
#
#   sh tests/run.sh [--quick] [--filter WORD] [--jobs N]
#
#   --quick        the release build only
#   --filter WORD  only flow tests whose name holds WORD, and nothing else
#   --jobs N       classes of flow tests at a time (3 per CPU without)
#
# One line per suite, what failed in full above it, and at the very end
# the flow tests that failed, a line each, and "N passed, N failed". Exit 1 when
# anything failed.
set -u
python=/usr/bin/python3
umask 022
cd "$(dirname "$0")/.." || exit 1

quick= filter= jobs=$(($(nproc) * 3))
while [ $# -gt 0 ]; do
	case $1 in
	--quick) quick=1 ;;
	--filter) filter=${2:?--filter needs a word}; quick=1; shift ;;
	--jobs) jobs=${2:?--jobs needs a number}; shift ;;
	-h | --help) sed -n '2,15s/^# \{0,1\}//p' "$0"; exit 0 ;;
	*) echo "run.sh: unknown word: $1 (see --help)" >&2; exit 2 ;;
	esac
	shift
done

# ---- what is needed, and the package that brings it ----

as_root()
{
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		sudo -n "$@"
	fi
}

install_missing()
{
	missing=
	for package in gcc libc6-dev meson ninja-build pkg-config libevent-dev libssl-dev libnghttp2-dev libjansson-dev \
	    libhiredis-dev libmaxminddb-dev libyaml-dev libc-ares-dev libcurl4-openssl-dev libcmocka-dev \
	    python3 openssl curl wrk prometheus varnish libmaxmind-db-writer-perl redis-server dnsmasq-base; do
		dpkg-query -W -f='${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing="$missing $package"
	done
	[ -n "$missing" ] || return 0
	install_now $missing
}

updated=
install_now()
{
	echo "installing: $*"
	export DEBIAN_FRONTEND=noninteractive
	[ -n "$updated" ] || as_root apt-get -qq -o DPkg::Lock::Timeout=300 update >/dev/null || return 1
	updated=1
	# RUNLEVEL=1: nothing that is installed for its tools starts as a service.
	as_root env RUNLEVEL=1 apt-get -qq -y -o DPkg::Lock::Timeout=300 --no-install-recommends install "$@" >/dev/null
}

# What is large and only some tests speak with: without it these are skipped, and each suite says so.
install_peers()
{
	# A node from elsewhere brings its own npm, beside which Debian's does not install.
	missing=
	command -v node >/dev/null || missing="$missing nodejs"
	command -v npm >/dev/null || missing="$missing npm"
	if [ -n "$missing" ] && ! install_now $missing; then
		export WEIR_NO_NPM="node and npm could not be installed: neither gRPC nor WebSocket of others was tried, nor a real map of addresses"
		echo "run.sh: $WEIR_NO_NPM" >&2
	fi
	if ! command -v chromium >/dev/null && ! install_now chromium; then
		export WEIR_NO_BROWSER="chromium could not be installed: no browser was tried"
		echo "run.sh: $WEIR_NO_BROWSER" >&2
	fi
}

# ---- suites ----

passed=0 failed=0 nice= builder=
logs=$(mktemp -d)
trap 'rm -rf "$logs"; [ -z "$builder" ] || kill "$builder" 2>/dev/null' EXIT
trap 'exit 130' INT TERM

# Says one line about a suite and adds it up: name, passed, failed, since when.
tell()
{
	passed=$((passed + $2)) failed=$((failed + $3))
	printf '%-28s %5d passed %4d failed %5ds\n' "$1" "$2" "$3" $(($(date +%s) - $4))
}

# configure DIR OPTION...: a build directory, once.
configure()
{
	dir=$1
	shift
	[ -f "$dir/build.ninja" ] || $nice meson setup "$dir" "$@"
}

# built NAME DIR: whether the build that logged to $logs/DIR.build succeeded.
built()
{
	if [ "$(cat "$logs/$2.rc" 2>/dev/null)" = 0 ]; then
		return 0
	fi
	tail -n 60 "$logs/$2.build"
	tell "$1" 0 1 "$began"
	return 1
}

# build DIR OPTION...: configures and compiles; the outcome is left in $logs.
build()
{
	{
		configure "$@" && $nice ninja -C "$1" all proxy/weir
	} >"$logs/$1.build" 2>&1
	echo $? >"$logs/$1.rc"
}

# meson_suite NAME DIR ARGUMENT...: all that meson knows; counts cmocka's tests one by one.
meson_suite()
{
	name=$1 dir=$2 began=$(date +%s)
	shift 2
	meson test -C "$dir" "$@" --no-rebuild --print-errorlogs --timeout-multiplier "${slow:-1}" >"$logs/meson" 2>&1
	rc=$?
	good=$(sed -n 's/^Ok: *\([0-9]*\).*/\1/p' "$logs/meson")
	bad=$(sed -n 's/^\(Fail\|Timeout\|Unexpected Pass\): *\([0-9]*\).*/\2/p' "$logs/meson" | awk '{n += $1} END {print n + 0}')
	# An executable of cmocka holds many tests: count those that passed instead of the one.
	inside=$(awk '/^\[  PASSED  \] [0-9]+ test/ {n += $4 - 1} END {print n + 0}' "$dir/meson-logs/testlog.txt" 2>/dev/null)
	good=$((${good:-0} + ${inside:-0}))
	if [ "$rc" != 0 ]; then
		[ "$bad" != 0 ] || bad=1
		cat "$logs/meson"
	fi
	tell "$name" "$good" "$bad" "$began"
}

# flow_suite NAME DIR SLOW ARGUMENT...
flow_suite()
{
	name=$1 dir=$2 began=$(date +%s)
	slow=$3
	shift 3
	WEIR=$PWD/$dir/proxy/weir WEIR_SLOW=$slow "$python" tests/flow/run.py -j "$jobs" "$@" >"$logs/flow" 2>&1
	rc=$?
	line=$(sed -n 's/^flow: //p' "$logs/flow")
	good=$(echo "$line" | sed -n 's/^\([0-9]*\) passed.*/\1/p')
	bad=$(echo "$line" | sed -n 's/.* \([0-9]*\) failed.*/\1/p')
	if [ "$rc" != 0 ]; then
		[ "${bad:-0}" != 0 ] || bad=1
		cat "$logs/flow"
		grep '^failed: ' "$logs/flow" >>"$logs/failed"
	else
		grep -e '^unsteady: ' -e ' skipped: ' "$logs/flow"
	fi
	tell "$name" "${good:-0}" "${bad:-0}" "$began"
}

began=$(date +%s)
if ! install_missing; then
	echo "run.sh: the packages could not be installed" >&2
	tell "packages" 0 1 "$began"
	echo "$passed passed, $failed failed"
	exit 1
fi
install_peers
# Each client of a test is a descriptor, and so is each of weir's ends.
ulimit -n 8192 2>/dev/null || ulimit -n "$(ulimit -H -n)" 2>/dev/null

build build
if built "build" build; then
	if [ -z "$quick" ]; then
		# The other builds are made while the first is tested, out of its way.
		(
			nice="nice -n 19"
			build build-asan -Db_sanitize=address,undefined -Dbuildtype=debugoptimized -Db_lundef=false -Db_lto=false
			build build-tsan -Db_sanitize=thread -Dbuildtype=debugoptimized -Db_lundef=false -Db_lto=false
		) &
		builder=$!
	fi
	if [ -n "$filter" ]; then
		flow_suite "flow" build 1 -k "$filter"
	else
		meson_suite "unit, lint, fuzz corpora" build
		flow_suite "flow" build 1
	fi
	if [ -z "$quick" ]; then
		wait "$builder"
		builder=
		began=$(date +%s)
		if built "build, address and UB" build-asan; then
			slow=4
			meson_suite "unit, address and UB" build-asan
			flow_suite "flow, address and UB" build-asan 3
		fi
		if built "build, threads" build-tsan; then
			slow=4
			meson_suite "unit, threads" build-tsan --no-suite pure
			flow_suite "flow, threads" build-tsan 4 --short
		fi
	fi
fi

[ ! -s "$logs/failed" ] || cat "$logs/failed"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ] && [ "$passed" != 0 ]
