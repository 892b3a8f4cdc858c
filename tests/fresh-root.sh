#!/bin/bash
# SPDX-License-Identifier: ISC
# Repeats the first steps of a new user: in a minimal Debian with git, a fresh clone of the commits here must pass ./quickstart run
# and ./quickstart check, and leave nothing behind. It downloads a few hundred megabytes, so it is not part of `make check`. Run it
# by hand, as root.
#
#   tests/fresh-root.sh [SUITE [MIRROR]]     bookworm by default, from the mirror that apt uses on this machine
#
# FRESH_ROOT_TARBALL names a file to keep debootstrap's downloads in; by default nothing is kept.
set -euo pipefail
tree=$(cd "$(dirname "$0")/.." && pwd)
suite=${1-bookworm}
# shellcheck disable=SC2016
mirror=${2-$(apt-get indextargets --format '$(REPO_URI)' 'Identifier: Packages' "Codename: $suite" | head -n 1)}

for tool in debootstrap git unshare pivot_root; do
    command -v $tool >/dev/null || { echo "$0: $tool is missing (apt-get install debootstrap git util-linux)"; exit 77; }
done
[ "$(id -u)" = 0 ] || { echo "$0: needs root"; exit 77; }

work=$(mktemp -d /var/tmp/echod-fresh-root.XXXXXX)
root=$work/root
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

say() { printf '\n==== %s (%d s)\n' "$*" $SECONDS; }
fail() { printf '\n%s: %s\n' "$0" "$*"; exit 1; }

# Runs a command in the new root, with new mount and pid namespaces that end with it. It uses pivot_root(2), because in a chroot no
# further namespaces can be made. The network is that of this machine, for apt.
inside() { # COMMAND...
    # shellcheck disable=SC2016
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb ${http_proxy+"http_proxy=$http_proxy"} \
        unshare --mount --pid --fork --kill-child --propagation private -- sh -euc '
            mount --bind "$1" "$1"
            cd "$1"
            shift
            mount -t proc proc proc
            mount --rbind /sys sys
            mount --rbind /dev dev
            mount -t tmpfs -o mode=755 run run
            pivot_root . mnt
            cd /
            umount -l mnt
            exec "$@"' sh "$root" "$@"
}

say "debootstrap --variant=minbase $suite"
if [ -n "${FRESH_ROOT_TARBALL-}" ] && [ ! -e "$FRESH_ROOT_TARBALL" ]; then
    debootstrap --variant=minbase --make-tarball="$FRESH_ROOT_TARBALL" "$suite" "$work/download" ${mirror:+"$mirror"}
fi >"$work/log" || { tail "$work/log"; fail "debootstrap failed"; }
debootstrap --variant=minbase ${FRESH_ROOT_TARBALL+--unpack-tarball="$FRESH_ROOT_TARBALL"} "$suite" "$root" ${mirror:+"$mirror"} \
    >"$work/log" || { tail "$work/log"; fail "debootstrap failed"; }
# Proxies and checks of this machine's apt.
apt-config dump | grep -E '^Acquire::(Check-|[a-z]+::Proxy)' >"$root/etc/apt/apt.conf.d/00fresh-root"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"

say "apt-get install git"
inside sh -c 'apt-get -q update && apt-get -q install -y --no-install-recommends git' >"$work/log" 2>&1 ||
    { tail "$work/log"; fail "no git"; }
inside sh -c 'rm -rf /var/lib/apt/lists/*'

say "git clone"
git clone -q --bare "$tree" "$root/srv/echod.git"
inside git clone -q /srv/echod.git /root/echod

for command in run check run; do
    say "./quickstart $command"
    # shellcheck disable=SC2016
    inside sh -euc '
        cd /root/echod
        ./quickstart "$0"
        left="$(ls -A /tmp)$(git status --porcelain)"
        for process in /proc/[0-9]*; do
            [ "$process" = /proc/1 ] || ! program=$(readlink "$process/exe") || left="$left $program"
        done
        [ -z "$left" ] || { echo "left behind: $left"; exit 1; }' $command ||
        fail "./quickstart $command failed, or left something behind"
done
say "a fresh $suite passes"
