#!/bin/bash
# SPDX-License-Identifier: ISC
# What scrapes of the metrics cost echod. Loads one echod over loopback, in turn with 100 snapshots a second and without, and prints
# the median ratio of its CPU time for an echo; then the CPU time of one snapshot, and what share of a CPU 100 a second come to.
# Run it on one core (taskset -c 0): waking another core takes many times what is measured.
#
#   bench/metrics.sh BUILD [ROUNDS]
set -eu
build=$(cd "$1" && pwd)
rounds=${2-7}
port=$((20000 + $$ % 10000))
work=$(mktemp -d)

pids=()
trap 'kill "${pids[@]}" 2>/dev/null; rm -rf "$work"' EXIT
chmod 755 "$work"

printf '%s\n' "workers = 1" "limits { udp-rate = 0 }" "metrics { listen = \"$work/metrics\" }" >"$work/conf"
"$build/src/echod" -f "$work/conf" -p "$port" -l error &
daemon=$!
pids+=("$daemon")
until "$build/src/echo-probe" -q -c 1 udp 127.0.0.1 "$port" >/dev/null 2>&1; do sleep 0.1; done

# COUNT snapshots, RATE a second, or as fast as they come with RATE 0.
scrape() {
    python3 - "$work/metrics" "$1" "$2" <<'END'
import socket, sys, time
path, count, rate = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
begin = time.monotonic()
for i in range(count):
    if rate:
        time.sleep(max(0, begin + i / rate - time.monotonic()))
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        while s.recv(65536):
            pass
END
}

cost() { # PROTOCOL WINDOW: microseconds of an echo
    "$build/src/echo-probe" -f -l "$2" -s 64 --duration 2 --pid "$daemon" "$1" 127.0.0.1 "$port" |
        sed -n 's|^\([0-9.]*\) us of CPU time an echo.*|\1|p'
}

scraped_cost() {
    scrape 220 100 &
    pids+=($!)
    cost "$@"
    wait "${pids[-1]}"
    unset 'pids[-1]'
}

for mode in "udp 64" "tcp 1"; do
    ratios=()
    for _ in $(seq "$rounds"); do
        # shellcheck disable=SC2086
        with=$(scraped_cost $mode) without=$(cost $mode)
        ratios+=("$(awk -v a="$with" -v b="$without" 'BEGIN { printf "%.3f", a / b }')")
    done
    printf '%s\n' "${ratios[@]}" | sort -n |
        sed -n "$(((rounds + 1) / 2))s/^/$mode in flight: with 100 snapshots a second, median of $rounds: /p"
done

ticks() { awk '{ sub(/.*\) /, ""); print $12 + $13 }' "/proc/$daemon/stat"; }
before=$(ticks)
scrape 20000 0
awk -v t="$(($(ticks) - before))" -v hz="$(getconf CLK_TCK)" 'BEGIN {
    us = t / hz / 20000 * 1e6
    printf "a snapshot takes %.1f us of CPU time: 100 a second are %.2f %% of a CPU\n", us, us * 100 / 1e4 }'
