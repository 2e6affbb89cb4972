#!/bin/sh
# What a quiet client notices of one that abuses HTTP/2. See abuse.py.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/ready.sh"
case " $* " in *" --help "* | *" -h "*) ;; *) need openssl openssl python3 python3-minimal ;; esac
exec python3 "$here/abuse.py" "$@"
