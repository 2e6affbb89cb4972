#!/bin/sh
# Compares weir with Debian's nginx and HAProxy, over HTTP/2 with nghttpx and
# h2o too: the same job, one worker thread on one CPU, in turn, several times. See compare.py for the method and
# the options (--short, --scenario, --rounds, --seconds, --json, --gate).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/ready.sh"
case " $* " in *" --help "* | *" -h "*) ;; *)
    need nginx nginx-light haproxy haproxy wrk wrk openssl openssl python3 python3-minimal \
        nghttpx nghttp2-proxy h2o h2o h2load nghttp2-client
    ;;
esac
exec python3 "$here/compare.py" "$@"
