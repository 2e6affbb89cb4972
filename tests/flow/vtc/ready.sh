#!/bin/sh
# ready.sh PID LOG: waits until the weir of that pid has written to LOG that it
# is ready. Fails, and shows the log, when it ends before or takes 20 s (times WEIR_SLOW).
tries=$((400 * ${WEIR_SLOW:-1}))
while ! grep -q '"message":"ready"\| ready$' "$2" 2>/dev/null; do
	tries=$((tries - 1))
	if [ $tries -le 0 ] || ! kill -0 "$1" 2>/dev/null; then
		echo "weir is not ready"
		cat "$2"
		exit 1
	fi
	sleep 0.05
done
