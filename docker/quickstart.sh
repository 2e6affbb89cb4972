#!/bin/sh
# Builds weir on Debian 12 and runs `weir demo` with the arguments given here:
#
#     sh docker/quickstart.sh            look around; Ctrl-C ends it
#     sh docker/quickstart.sh --once     the same as a story that checks itself
#
# Installs the packages that are missing (as root, else with sudo) and writes
# nothing but .build-quickstart/, which git ignores. The second run is quick.
set -eu

cd "$(dirname "$0")/.."
build=.build-quickstart
packages="gcc libc6-dev meson ninja-build pkg-config python3
    libevent-dev libssl-dev libnghttp2-dev libjansson-dev libhiredis-dev
    libmaxminddb-dev libyaml-dev libc-ares-dev libcurl4-openssl-dev
    libcmocka-dev"

fail() {
    echo "quickstart: $*" >&2
    exit 1
}

# Says what is done; shows the command's output only when it fails.
step() {
    what=$1
    shift
    echo "quickstart: $what" >&2
    if ! "$@" >"$log" 2>&1; then
        cat "$log" >&2
        fail "$what: failed"
    fi
}

log=$(mktemp)
trap 'rm -f "$log"' EXIT

missing=
command -v dpkg-query >/dev/null ||
    fail "this script knows Debian only; install what meson.build names, then: meson setup build && ninja -C build"
for package in $packages; do
    case $(dpkg-query -W -f='${Status}' "$package" 2>/dev/null || true) in
    *" ok installed") ;;
    *) missing="$missing $package" ;;
    esac
done
if [ -n "$missing" ]; then
    as_root="env"
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "please install as root:$missing"
        as_root="sudo env"
    fi
    # shellcheck disable=SC2086 # a list of words
    step "reading the package lists" $as_root apt-get update
    # shellcheck disable=SC2086 # a list of words
    step "installing$missing" $as_root DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends $missing
fi

if [ ! -f "$build/build.ninja" ]; then
    step "configuring" meson setup "$build" --buildtype=release
fi
step "building" ninja -C "$build" proxy/weir proxy/weirctl
rm -f "$log"
trap - EXIT
exec "$build/proxy/weir" demo "$@"
