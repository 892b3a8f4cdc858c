#!/bin/bash
# SPDX-License-Identifier: ISC
# The Debian packages: built from the release tarball, twice and bit-identical, clean by lintian and blhc; installed, upgraded under
# load, removed and purged under a systemd of its own, and in an empty Debian.
. "${SRCDIR:-.}/tests/tap.sh"
build=$(cd "${BUILDDIR:-.}" && pwd) || bail "no build in ${BUILDDIR:-.}"
SRCDIR=$(cd "${SRCDIR:-.}" && pwd)
for tool in dpkg-buildpackage dh lintian blhc; do
    command -v $tool >/dev/null || skip_all "$tool is missing (apt-get install debhelper dpkg-dev lintian blhc)"
done
work=$(mktemp -d /var/tmp/echod-packages.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT

# The same source in another folder, time zone, language, time and umask must come to the same octets.
build_in() { # FOLDER ENVIRONMENT...
    local folder=$work/$1
    shift
    mkdir -p "$folder" && mkdir "$folder/source" && tar -xf "$work"/echod-*.tar.xz -C "$folder/source" --strip-components=1 &&
        (cd "$folder/source" && env -u MAKEFLAGS -u MAKELEVEL "$@" dpkg-buildpackage -b -us -uc -j"$(nproc)") >"$folder/log" 2>&1 ||
        { tail -n 20 "$folder/log"; return 1; }
}

build_both() {
    flock "$build/config.status" make -s -C "$build" dist >/dev/null 2>&1 && cp "$build"/echod-*.tar.xz "$work" || return
    build_in first TZ=UTC LC_ALL=C.UTF-8 && (umask 027 && build_in second/elsewhere TZ=Pacific/Auckland LC_ALL=C)
}

identical() {
    local package bad=0
    for package in "$work"/first/*.deb; do
        cmp "$package" "$work/second/elsewhere/${package##*/}" || bad=1
    done
    return $bad
}

lintian_is_silent() { lintian --allow-root --pedantic --fail-on error,warning,info,pedantic "$work"/first/*.changes; }

# An empty Debian with what the packages depend on, and nothing left of them in the end but the account.
in_a_clean_root() {
    command -v mmdebstrap >/dev/null || { echo "mmdebstrap is missing"; return 1; }
    # shellcheck disable=SC2016
    mmdebstrap --quiet --variant=apt --include=systemd bookworm "$work/root" \
        --customize-hook='mkdir "$1/packages"' \
        --customize-hook="cp $work/first/*_*_*.deb \"\$1/packages\"" \
        --customize-hook='chroot "$1" sh -euc "
            find /etc /usr /lib /var/lib -xdev | grep -vE \"^/var/lib/(apt|dpkg)\" | sort >/before
            apt-get -q install -y --no-install-recommends /packages/echod_*.deb /packages/echo-probe_*.deb /packages/monitoring-plugins-echo_*.deb /packages/echo-exporter_*.deb
            echod -t
            echo-probe --version
            echo-exporter -t
            getent passwd echod
            apt-get -q purge -y echod echo-probe monitoring-plugins-echo echo-exporter
            apt-get -q autoremove -y --purge
            find /etc /usr /lib /var/lib -xdev | grep -vE \"^/var/lib/(apt|dpkg)\" | sort >/after
            comm -13 /before /after >/left
            ! grep -i echo /left"' >"$work/clean.log" 2>&1 || { tail -n 30 "$work/clean.log"; return 1; }
}

under_systemd() {
    # A package of a higher version that is otherwise the same.
    mkdir "$work/next" && dpkg-deb -R "$work"/first/echod_*.deb "$work/next/root" &&
        sed -i 's/^Version: .*/&+next/' "$work/next/root/DEBIAN/control" &&
        printf '# A comment of the next version.\n' >>"$work/next/root/etc/echod.conf" &&
        (cd "$work/next/root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | xargs -0 md5sum >DEBIAN/md5sums) &&
        dpkg-deb --root-owner-group -b "$work/next/root" "$work/next/echod_next.deb" >/dev/null || return
    export packages=$work SRCDIR
    export -f prepare
    "$SRCDIR/tests/systemd/boot" prepare bash /packages/inside
}

prepare() {
    mkdir "$ROOT/packages"
    cp "$packages"/first/*_*_*.deb "$packages/next/echod_next.deb" "$SRCDIR/tests/packages/inside" "$ROOT/packages"
    rm -f "$ROOT/usr/sbin/policy-rc.d" # some machines start no service at an installation
    rm -rf "$ROOT"/{etc,usr/lib,usr/local/lib}/systemd/system/echod* "$ROOT"/etc/echod.conf
}

ok "the packages build from the release tarball, in two places" build_both
ok "both builds are the same octets" identical
ok "lintian finds nothing" lintian_is_silent
ok "blhc finds nothing" blhc "$work/first/log"
ok "an empty Debian takes them, and a purge leaves nothing" in_a_clean_root
ok "under systemd they install, serve, upgrade and go" under_systemd
done_testing
