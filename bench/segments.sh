#!/bin/bash
# SPDX-License-Identifier: ISC
# What segments are worth: datagrams echoed for each CPU second of echod, over loopback, in turn, and the medians of the ratios to
# those of plain datagrams. The third echod believes that the kernel has no UDP_GRO: what that costs plain ones.
#
#   bench/segments.sh BUILD [ROUNDS [SIZE]]
set -eu
build=$(cd "$1" && pwd)
rounds=${2-7} size=${3-64}
here=$(cd "$(dirname "$0")" && pwd)
port=$((20000 + $$ % 10000))
work=$(mktemp -d)

pids=()
trap 'kill "${pids[@]}" 2>/dev/null; rm -rf "$work"' EXIT
chmod 755 "$work"
gcc -O2 -D_GNU_SOURCE -o "$work/segments" "$here/segments.c"
gcc -O2 -D_GNU_SOURCE -shared -fPIC -x c -o "$work/no_gro.so" - <<'END'
#include <errno.h>
#include <netinet/udp.h>
#include <sys/syscall.h>
#include <unistd.h>

int setsockopt(int fd, int level, int option, const void *value, unsigned length)
{
    if (level != SOL_UDP || option != UDP_GRO)
        return (int)syscall(SYS_setsockopt, fd, level, option, value, length);
    errno = ENOPROTOOPT;
    return -1;
}
END
echo 'workers = 1' >"$work/conf"

start() { # INDEX PRELOAD
    LD_PRELOAD=$2 "$build/src/echod" -f "$work/conf" -p $((port + $1)) -l error &
    pids+=($!)
    for _ in $(seq 100); do
        ! "$build/src/echo-probe" -q -c 1 -W 1 udp 127.0.0.1 $((port + $1)) >"$work/probe" 2>&1 || return 0
        sleep 0.1
    done
    cat "$work/probe" >&2
    exit 1
}
start 0 ""
start 1 "$work/no_gro.so"

rate() { # INDEX plain|segments
    "$work/segments" "$2" $((port + $1)) "$size" 0.5 "${pids[$1]}"
}

for _ in $(seq "$rounds"); do
    echo "$(rate 0 plain) $(rate 0 segments) $(rate 1 plain) $(rate 1 segments)"
done >"$work/rates"

median() { # FIELD NAME
    awk -v f="$1" '{ printf "%.3f %.0f\n", $f / $1, $f }' "$work/rates" | sort -n |
        sed -n "$(((rounds + 1) / 2))s/\(.*\) \(.*\)/$2: \1 of plain; \2 datagrams a CPU second/p"
}
median 1 "plain datagrams"
median 2 "segments"
median 3 "plain datagrams, without UDP_GRO"
median 4 "segments, without UDP_GRO"
