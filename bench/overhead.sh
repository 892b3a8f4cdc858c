#!/bin/bash
# SPDX-License-Identifier: ISC
# What admission (access list, rate limits, loop detection) and the sandbox cost. Loads in turn, over loopback, an echod with both
# and an echod without them, and prints the median ratio of their CPU time for an echo. Run it on one core (taskset -c 0): waking
# another core takes many times what is measured.
#
#   bench/overhead.sh BUILD [ROUNDS]
set -eu
build=$(cd "$1" && pwd)
rounds=${2-7}
port=$((20000 + $$ % 10000))
work=$(mktemp -d)

pids=()
trap 'kill "${pids[@]}" 2>/dev/null; rm -rf "$work"' EXIT
chmod 755 "$work"

start() { # PORT NAME CONFIGURATION
    printf '%s\n' "workers = 1" "$3" >"$work/$2.conf"
    "$build/src/echod" -f "$work/$2.conf" -p "$1" -l error &
    pids+=($!)
    until "$build/src/echo-probe" -q -c 1 udp 127.0.0.1 "$1" >/dev/null 2>&1; do sleep 0.1; done
}

# Every datagram is looked up in the access list and counted for its source, and none is refused.
start $port with 'access { deny = { "192.0.2.0/24", "2001:db8::/32" } }
limits { udp-rate = 1000000 udp-burst = 1000000 exempt = {} }'
start $((port + 1)) without 'sandbox = false
limits { udp-rate = 0 }'

cost() { # INDEX PROTOCOL WINDOW: microseconds
    "$build/src/echo-probe" -f -l "$3" -s 64 --duration 1 --pid "${pids[$1]}" "$2" 127.0.0.1 $((port + $1)) |
        sed -n 's|^\([0-9.]*\) us of CPU time an echo.*|\1|p'
}

for mode in "udp 1" "udp 64" "tcp 1"; do
    ratios=()
    for _ in $(seq "$rounds"); do
        # shellcheck disable=SC2086
        with=$(cost 0 $mode) without=$(cost 1 $mode)
        ratios+=("$(awk -v a="$with" -v b="$without" 'BEGIN { printf "%.3f", a / b }')")
    done
    printf '%s\n' "${ratios[@]}" | sort -n |
        sed -n "$(((rounds + 1) / 2))s/^/$mode in flight: with admission and sandbox, median of $rounds: /p"
done
