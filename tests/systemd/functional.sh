# shellcheck shell=bash
# SPDX-License-Identifier: ISC
# The functional tests of the daemon when systemd starts it by a unit: set unit to the unit's name and source this. A test that
# cannot run there is skipped with the reason; the last lines of the log count the reasons.
set -u
. "$SRCDIR/tests/systemd/container.sh"

# The daemon has its own /tmp, so its configuration is in this folder. It may run code from libraries only, so the library that
# tests preload is in that one.
folder=/run/echod-tests
library=/usr/lib/echod-tests

# All scripts that start a daemon. Those that make calls fail take three minutes and run only if UNIT_FAULTS is set.
scripts() {
    (cd "$SRCDIR/tests" && grep -lE '^ *run_all\(\)' functional/*.py | xargs grep -lE 'Echod\(') |
        if [ -n "${UNIT_FAULTS-}" ]; then cat; else grep -vE '/(allocations|faults)\.py$'; fi
}

prepare() {
    install_echod || return
    # The tests need a machine without the default configuration.
    rm "$ROOT$sysconfdir/echod.conf"
    cp -r "$SRCDIR/man" "$SRCDIR/tests/functional" "$SRCDIR/tests/systemd/merge" "$ROOT/test"
    install -D "$BUILDDIR/tests/functional/faulty.so" "$ROOT$library/tests/functional/faulty.so"
}
export library

export BOOT_LIMIT=1100
# shellcheck disable=SC2046,SC2154
in_container env -C /test TMPDIR="$folder" SRCDIR=/test BUILDDIR="$library" ECHOD="$sbindir/echod" ECHO_PROBE="$bindir/echo-probe" \
    CHECK_ECHO="$plugindir/check_echo" ECHOPING="$bindir/echoping" ECHOD_UNIT="$unit" \
    bash -c "mkdir '$folder' && exec python3 -B merge \"\$@\"" merge $(scripts)
