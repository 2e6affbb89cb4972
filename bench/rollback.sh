#!/bin/sh
# What happens to the traffic of a candidate that breaks, and what watching it
# costs. See rollback.py for the parts and the options (--part, --rounds, ...).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/ready.sh"
case " $* " in *" --help "* | *" -h "*) ;; *) need wrk wrk openssl openssl python3 python3-minimal ;; esac
exec python3 "$here/rollback.py" "$@"
