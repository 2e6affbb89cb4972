#!/bin/sh
# Counts, not times: instructions (callgrind) and system calls (strace) of one
# keep-alive request, as the slope between two numbers of requests. Exits 1
# when weir is above the gate. See ir.py for the options (--peers, --strace,
# --callgrind, --repeat, --gate).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/ready.sh"
case " $* " in
*" --help "* | *" -h "*) ;;
*" --peers "*) need valgrind valgrind strace strace openssl openssl nginx nginx-light haproxy haproxy ;;
*) need valgrind valgrind strace strace openssl openssl ;;
esac
exec python3 "$here/ir.py" "$@"
