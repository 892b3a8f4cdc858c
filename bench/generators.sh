#!/bin/bash
# SPDX-License-Identifier: ISC
# Compares echo-probe, which verifies every octet, with a loop of bare system calls that verifies nothing. Both load the same echod
# over loopback in turn. Prints their echoes a second, and the median of the ratios.
#
#   bench/generators.sh BUILD [ROUNDS]
set -eu
source=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd)
rounds=${2-5}
port=$((20000 + $$ % 10000))
work=$(mktemp -d)
pid=

trap '[ -z "$pid" ] || kill $pid; rm -rf "$work"' EXIT
"${CC-cc}" -O2 -D_GNU_SOURCE -o "$work/bare" "$source/bare.c"
"$build/src/echod" -p $port -l error &
pid=$!
until "$build/src/echo-probe" -q -c 1 udp 127.0.0.1 $port >/dev/null 2>&1; do sleep 0.1; done

ratios=()
for _ in $(seq "$rounds"); do
    bare=$("$work/bare" $port 64 1)
    ours=$("$build/src/echo-probe" -f -l 64 -s 64 --duration 1 udp 127.0.0.1 $port | sed -n 's|^\([0-9]*\) echoes/s$|\1|p')
    ratios+=("$(awk -v o="$ours" -v b="$bare" 'BEGIN { printf "%.3f", o / b }')")
    echo "echo-probe $ours/s, bare loop $bare/s: ${ratios[-1]}"
done
printf '%s\n' "${ratios[@]}" | sort -n | sed -n "$(((rounds + 1) / 2))s/^/median of $rounds: /p"
