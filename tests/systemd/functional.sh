# shellcheck shell=bash
# SPDX-License-Identifier: ISC
# The functional tests of the daemon, where systemd starts it under a unit: set unit to its name, and source this. Each test that
# cannot be there is skipped, and says why; the last lines of the log count them.
set -u
. "$SRCDIR/tests/systemd/container.sh"

# Where a daemon with a /tmp of its own finds its configuration, and one that may run no other code, what is preloaded.
folder=/run/echod-tests
library=/usr/lib/echod-tests

# All that start a daemon; those that make calls fail only if UNIT_FAULTS is set, as they take three minutes.
scripts() {
    (cd "$SRCDIR/tests" && grep -lE '^ *run_all\(\)' functional/*.py | xargs grep -lE 'Echod\(') |
        if [ -n "${UNIT_FAULTS-}" ]; then cat; else grep -vE '/(allocations|faults)\.py$'; fi
}

prepare() {
    install_echod || return
    # That there is none is among the tests.
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
