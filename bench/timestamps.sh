#!/bin/bash
# SPDX-License-Identifier: ISC
# How much longer round trips seem on a busy machine, with times of the kernel and with times of echo-probe itself. Every core is
# busy. Prints the 99th percentiles over loopback, in turn, and the median of their ratios.
#
#   bench/timestamps.sh BUILD [ROUNDS]      as root: echod gets a higher priority, so that its own waiting is not measured
set -eu
build=$(cd "$1" && pwd)
rounds=${2-5}
port=$((20000 + $$ % 10000))

pids=()
trap 'kill "${pids[@]}" 2>/dev/null' EXIT
chrt --fifo 10 "$build/src/echod" -p $port -l error &
pids+=($!)
for _ in $(seq $((2 * $(nproc)))); do
    (while :; do :; done) &
    pids+=($!)
done
until "$build/src/echo-probe" -q -c 1 udp 127.0.0.1 $port >/dev/null 2>&1; do sleep 0.1; done

p99() { # WHERE: milliseconds
    "$build/src/echo-probe" -q -c 2000 -i 0.001 --timestamps "$1" udp 127.0.0.1 $port |
        sed -n 's|^p50/p90/p99/p99.9 = [^/]*/[^/]*/\([^/]*\)/.*|\1|p'
}

ratios=()
for _ in $(seq "$rounds"); do
    kernel=$(p99 kernel) user=$(p99 user)
    ratios+=("$(awk -v k="$kernel" -v u="$user" 'BEGIN { printf "%.4f", k / u }')")
    echo "p99 by kernel $kernel ms, by user $user ms: ${ratios[-1]}"
done
printf '%s\n' "${ratios[@]}" | sort -n | sed -n "$(((rounds + 1) / 2))s/^/median of $rounds: /p"
