#!/bin/bash
# SPDX-License-Identifier: ISC
# The units as they are installed, under a real systemd: boot says how, inside says what.
set -u
. "$SRCDIR/tests/tap.sh"
. "$BUILDDIR/tests/systemd/paths"

[ -n "$systemdsystemunitdir" ] || skip_all "built without units"
case $sbindir in
/home/* | /root/* | /run/* | /tmp/* | /var/tmp/*)
    skip_all "the units hide $sbindir from the daemon"
    ;;
esac

# An echod that this machine itself has, and the kill(1) that reloads must do without.
remove_hosts_own() {
    rm -rf "$ROOT"/{etc,usr/lib,usr/local/lib}/systemd/system/echod*
    rm -f "$ROOT"/{etc,usr/lib}/sysusers.d/echod.conf "$ROOT$sysconfdir/echod.conf"
    rm -f "$ROOT"/{usr/,}bin/kill
    sed -i '/^echod:/d' "$ROOT"/etc/{passwd,group,shadow,gshadow}
}

prepare() {
    remove_hosts_own
    make -C "$BUILDDIR" install DESTDIR="$ROOT" || return
    # So that the first start has to do without the account.
    ln -s /dev/null "$ROOT/etc/systemd/system/systemd-sysusers.service"
    # Where systemd does not look by itself.
    for unit in echod.service echod-activated.service echod.socket; do
        [ -e "$ROOT/usr/lib/systemd/system/$unit" ] ||
            ln -s "$systemdsystemunitdir/$unit" "$ROOT/etc/systemd/system/"
    done
    # AddressSanitizer looks for leaks with ptrace(2), which the units forbid.
    mkdir -p "$ROOT/etc/systemd/system.conf.d"
    printf '[Manager]\nDefaultEnvironment=ASAN_OPTIONS=detect_leaks=0\n' \
        >"$ROOT/etc/systemd/system.conf.d/test.conf"
    mkdir "$ROOT/test"
    cp "$SRCDIR/tests/tap.sh" "$SRCDIR/tests/systemd/crash" "$SRCDIR/tests/systemd/inside" \
        "$SRCDIR/man/echod.8" "$ROOT/test"
    cp "$BUILDDIR/tests/systemd/paths" "$BUILDDIR/tests/systemd/escapes" "$ROOT/test"
} >&2
export -f prepare remove_hosts_own
export sbindir sysconfdir systemdsystemunitdir

exec 3>&1
# exec: boot must be a child of ours, to be told when we are killed.
errors=$(exec env -u MAKEFLAGS -u MAKELEVEL \
    "$SRCDIR/tests/systemd/boot" prepare bash /test/inside 2>&1 >&3)
status=$?
[ $status -ne 77 ] || skip_all "$errors"
[ $status -eq 0 ] || note "$errors"
exit $status
