#!/bin/sh
# How long a change made at one of several instances takes to hold on the
# others. See fleet.py for the options (--changes, --instances).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/ready.sh"
case " $* " in *" --help "* | *" -h "*) ;; *) need redis-server redis-server python3 python3-minimal ;; esac
exec python3 "$here/fleet.py" "$@"
