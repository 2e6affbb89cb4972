#!/bin/sh
# The stripped binary, with everything embedded, is at most 3 MB.
#   size.sh [BINARY [LIMIT]]     default ${WEIR:-build/proxy/weir} 3000000
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
weir=${1:-${WEIR:-$root/build/proxy/weir}}
limit=${2:-3000000}
if [ ! -f "$weir" ]; then
    echo "size: no binary at $weir (WEIR=PATH names it)" >&2
    exit 2
fi
stripped=$(mktemp)
trap 'rm -f "$stripped"' EXIT
strip -o "$stripped" "$weir"
size=$(wc -c <"$stripped")
if [ "$size" -gt "$limit" ]; then
    echo "size: $size bytes stripped, $((size - limit)) above $limit: TOO BIG"
    exit 1
fi
echo "size: $size bytes stripped (at most $limit: ok)"
