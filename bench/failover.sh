#!/bin/sh
# What clients see of an endpoint that is killed, and how soon it is back.
# See failover.py for the options.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/ready.sh"
case " $* " in *" --help "* | *" -h "*) ;; *) need openssl openssl python3 python3-minimal ;; esac
exec python3 "$here/failover.py" "$@"
