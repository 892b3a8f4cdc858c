#!/bin/bash
# SPDX-License-Identifier: ISC
# How much an attacker who has taken over echod could still do, as systemd-analyze(1) rates it.
set -u
. "$SRCDIR/tests/tap.sh"
. "$BUILDDIR/tests/systemd/paths"

[ -n "$systemdsystemunitdir" ] || skip_all "built without units"
command -v systemd-analyze >/dev/null ||
    skip_all "systemd-analyze is missing (Debian package systemd)"
systemd-analyze security --help | grep -q -e --threshold ||
    skip_all "this systemd-analyze knows no --threshold"

exposure() { # MAXIMUM UNIT
    systemd-analyze security --no-pager --offline=yes --threshold="$1" "$BUILDDIR/systemd/$2"
}

if [ -e "$BUILDDIR/systemd/echo-exporter.service" ]; then plan 3; else plan 2; fi
ok "echod.service is exposed by 1.4 at most" exposure 14 echod.service
ok "echod-activated.service is exposed by 0.2 at most" exposure 2 echod-activated.service
[ ! -e "$BUILDDIR/systemd/echo-exporter.service" ] ||
    ok "echo-exporter.service is exposed by 1.5 at most" exposure 15 echo-exporter.service
done_testing
