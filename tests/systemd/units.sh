#!/bin/bash
# SPDX-License-Identifier: ISC
# The units as they are installed, under a real systemd: inside says what.
set -u
. "$SRCDIR/tests/systemd/container.sh"

prepare() {
    install_echod || return
    # So that the first start has to do without the account.
    ln -s /dev/null "$ROOT/etc/systemd/system/systemd-sysusers.service"
    # Reloads must do without it.
    rm -f "$ROOT"/{usr/,}bin/kill
    cp "$SRCDIR/tests/systemd/crash" "$SRCDIR/tests/systemd/inside" "$SRCDIR/man/echod.8" \
        "$BUILDDIR/tests/systemd/escapes" "$ROOT/test"
}

in_container bash /test/inside
