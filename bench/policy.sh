#!/bin/sh
# What limits, lists and places cost: a request that is refused against one
# that is proxied, everything switched on against nothing, one question to each
# table. See policy.py for the method and the options (--part, --rounds,
# --seconds, --geo, --json).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/ready.sh"
case " $* " in *" --help "* | *" -h "*) ;; *)
    need wrk wrk openssl openssl python3 python3-minimal valgrind valgrind
    ;;
esac
exec python3 "$here/policy.py" "$@"
