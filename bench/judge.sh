#!/bin/sh
# The judge's figures, simulated with the code that decides in production.
#   judge.sh [--short] [--markdown] [--runs N]
# Exit 1 when one misses its limit. The short form is for every commit (under
# a minute on one core), the full one, with 10000 healthy rollouts, takes about
# a quarter of an hour.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
judge=${JUDGE:-$root/build/bench/judge}
if [ ! -x "$judge" ]; then
    echo "judge: no program at $judge; ninja -C build bench/judge (JUDGE=PATH names it)" >&2
    exit 2
fi
exec "$judge" "$@"
