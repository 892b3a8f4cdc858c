#!/bin/bash
# SPDX-License-Identifier: ISC
# The RPM packages: rpmbuild makes them from the release tarball, and rpmlint finds no error. They are not installed, as rpm's
# database is not this machine's.
. "${SRCDIR:-.}/tests/tap.sh"
build=$(cd "${BUILDDIR:-.}" && pwd) || bail "no build in ${BUILDDIR:-.}"
SRCDIR=$(cd "${SRCDIR:-.}" && pwd)
for tool in rpmbuild rpmlint; do
    command -v $tool >/dev/null || skip_all "$tool is missing (apt-get install rpm rpmlint)"
done
work=$(mktemp -d /var/tmp/echod-rpm.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT

# What Fedora's macro packages define and Debian's rpm does not. --nodeps: the build's needs are no RPM packages here.
options=(--nodeps --define "_topdir $work" --define '_unitdir /usr/lib/systemd/system' --define '_sysusersdir /usr/lib/sysusers.d'
         --define 'sysusers_requires_compat %{nil}' --define 'sysusers_create_compat() %{nil}' --define 'systemd_post() %{nil}'
         --define 'systemd_preun() %{nil}' --define 'systemd_postun_with_restart() %{nil}')

builds() {
    mkdir -p "$work/SOURCES"
    flock "$build/config.status" make -s -C "$build" dist >/dev/null 2>&1 && cp "$build"/echod-*.tar.xz "$work/SOURCES" &&
        env -u MAKEFLAGS -u MAKELEVEL rpmbuild "${options[@]}" -ba "$SRCDIR/packaging/echod.spec" >"$work/log" 2>&1 ||
        { tail -n 20 "$work/log"; return 1; }
}

holds_all() {
    local file
    for file in /etc/echod.conf /usr/sbin/echod /usr/bin/echo-probe /usr/bin/echoping /usr/lib/systemd/system/echod.socket; do
        rpm -qlp "$work"/RPMS/*/*.rpm 2>/dev/null | grep -qx "$file" || { echo "no package has $file"; return 1; }
    done
}

# Signature, packager and group are for who publishes packages; a manual's name may have a dot.
rpmlint_finds_no_error() {
    rpmlint "$SRCDIR/packaging/echod.spec" "$work"/RPMS/*/*.rpm | grep -E ': E: ' |
        grep -vE ': E: (no-signature|no-packager-tag|no-group-tag|bad-manual-page-folder .*/echod\.conf\.5)' | grep . && return 1
    return 0
}

ok "rpmbuild makes the packages from the release tarball" builds
ok "they hold the programs, units and configuration" holds_all
ok "rpmlint finds no error" rpmlint_finds_no_error
done_testing
