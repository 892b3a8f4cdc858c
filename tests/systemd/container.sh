# shellcheck shell=bash
# SPDX-License-Identifier: ISC
# For tests of the installed programs under a systemd in a container: source this, define a function "prepare", which calls
# install_echod and adds the files that the test needs to $ROOT, and call
#
#   in_container COMMAND [ARG...]   see boot; ends the script, and skips it if this machine cannot boot a container
. "$SRCDIR/tests/tap.sh"
. "$BUILDDIR/tests/systemd/paths"

[ -n "$systemdsystemunitdir" ] || skip_all "built without units"
case $sbindir in
/home/* | /root/* | /run/* | /tmp/* | /var/tmp/*)
    skip_all "the units hide $sbindir from the daemon"
    ;;
esac

# Remove an echod that is installed on this machine, which the container would see.
remove_hosts_own() {
    rm -rf "$ROOT"/{etc,usr/lib,usr/local/lib}/systemd/system/echod* "$ROOT"/{etc,usr/lib,usr/local/lib}/systemd/system/echo-exporter*
    rm -f "$ROOT"/{etc,usr/lib}/sysusers.d/echod.conf "$ROOT$sysconfdir/echod.conf"
    sed -i '/^echod:/d' "$ROOT"/etc/{passwd,group,shadow,gshadow}
}

install_echod() {
    remove_hosts_own
    make -C "$BUILDDIR" install DESTDIR="$ROOT" || return
    case $systemdsystemunitdir in
    /lib/systemd/system | /usr/lib/systemd/system | /usr/local/lib/systemd/system) ;; # systemd looks there
    *) ln -s "$systemdsystemunitdir"/echo{d.service,d-activated.service,d.socket,-exporter.service,-exporter.socket} "$ROOT/etc/systemd/system/" ;;
    esac
    # AddressSanitizer finds leaks with ptrace(2), which the units forbid.
    mkdir -p "$ROOT/etc/systemd/system.conf.d"
    printf '[Manager]\nDefaultEnvironment=ASAN_OPTIONS=detect_leaks=0\n' \
        >"$ROOT/etc/systemd/system.conf.d/test.conf"
    mkdir "$ROOT/test"
    cp "$SRCDIR/tests/tap.sh" "$BUILDDIR/tests/systemd/paths" "$ROOT/test"
} >&2

in_container() {
    local errors status
    export -f prepare install_echod remove_hosts_own
    export sbindir sysconfdir systemdsystemunitdir
    # With exec, boot is a direct child of this script and gets a signal when the script is killed.
    { errors=$(exec env -u MAKEFLAGS -u MAKELEVEL "$SRCDIR/tests/systemd/boot" prepare "$@" 2>&1 >&3); } 3>&1
    status=$?
    [ $status -ne 77 ] || skip_all "$errors"
    [ $status -eq 0 ] || note "$errors"
    exit $status
}
