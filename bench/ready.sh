# Sourced by the scripts of this folder: makes sure of the programs that they
# call. Installing a server must not start it, so while apt-get runs, a
# policy-rc.d says no (unless the machine has one of its own).

# need PROGRAM PACKAGE ...: installs the packages whose program is missing
need() {
    missing=
    while [ $# -gt 1 ]; do
        command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing="$missing $2"
        shift 2
    done
    [ -z "$missing" ] && return 0
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "$0: needs$missing: apt-get install$missing (as root)" >&2
        return 1
    fi
    echo "$0: installing$missing" >&2
    policy=/usr/sbin/policy-rc.d
    if [ -e "$policy" ]; then policy=; else
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
    fi
    code=0
    { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 \
        install --no-install-recommends $missing; } >&2 || code=1
    [ -z "$policy" ] || rm -f "$policy"
    return $code
}
