#!/bin/sh
# Counts, not times: instructions (callgrind) and system calls (strace) of one
# request of HTTP/1.1 and of HTTP/2, as the slope between two numbers of
# requests. Exits 1 when weir is above the gate. See ir.py for the options
# (--peers, --kind, --strace, --callgrind, --repeat, --gate).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/ready.sh"
case " $* " in
*" --help "* | *" -h "*) ;;
*" --peers "*) need valgrind valgrind strace strace openssl openssl nginx nginx-light haproxy haproxy \
    h2load nghttp2-client nghttpx nghttp2-proxy h2o h2o ;;
*) need valgrind valgrind strace strace openssl openssl h2load nghttp2-client ;;
esac
exec python3 "$here/ir.py" "$@"
