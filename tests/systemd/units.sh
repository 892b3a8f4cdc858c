#!/bin/bash
# SPDX-License-Identifier: ISC
# The installed units under a real systemd. The steps are in the script inside.
set -u
. "$SRCDIR/tests/systemd/container.sh"

prepare() {
    install_echod || return
    # The first start must work without the account.
    ln -s /dev/null "$ROOT/etc/systemd/system/systemd-sysusers.service"
    # A reload must work without kill(1).
    rm -f "$ROOT"/{usr/,}bin/kill
    cp "$SRCDIR/tests/systemd/crash" "$SRCDIR/tests/systemd/inside" "$SRCDIR/tests/systemd/restart" "$SRCDIR/man/echod.8" \
        "$BUILDDIR/tests/systemd/escapes" "$ROOT/test"
}

in_container bash /test/inside
