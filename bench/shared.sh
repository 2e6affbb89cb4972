#!/bin/sh
# Limits that instances share: what requests feel of a Redis that is stopped,
# slow or restarted. (How exact three instances are together is a flow test,
# test_redis.) See shared.py for the options (--rounds, --seconds, --rate).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/ready.sh"
case " $* " in *" --help "* | *" -h "*) ;; *)
    need redis-server redis-server openssl openssl python3 python3-minimal
    ;;
esac
exec python3 "$here/shared.py" "$@"
