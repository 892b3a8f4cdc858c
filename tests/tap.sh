# shellcheck shell=bash
# SPDX-License-Identifier: ISC
# TAP for shell tests: source this, call plan at the beginning or done_testing at the end. Lines that begin with "#" are for people.
#
#   ok NAME COMMAND [ARG...]   one test: passes if the command succeeds; otherwise its output is shown
#   skip NAME REASON           one test that cannot run here
#   skip_all REASON            the whole file cannot run here; ends the script
#   bail REASON                no further test of any file can run; ends the script
#   note TEXT...               a comment
#   done_testing               prints the plan if plan was not called; its status is 1 if a test failed
tap_count=0 tap_failed=0 tap_planned=

plan() { tap_planned=1; printf '1..%d\n' "$1"; }
note() { printf '%s\n' "$*" | sed 's/^/# /'; }
bail() { printf 'Bail out! %s\n' "$*"; exit 1; }
skip_all() { printf '1..0 # SKIP %s\n' "$*"; exit 0; }
skip() { printf 'ok %d - %s # SKIP %s\n' $((++tap_count)) "$1" "$2"; }

ok() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        printf 'ok %d - %s\n' $((++tap_count)) "$name"
    else
        printf 'not ok %d - %s\n' $((++tap_count)) "$name"
        note "$* failed:${output:+ $output}"
        tap_failed=$((tap_failed + 1))
    fi
}

done_testing() {
    [ -n "$tap_planned" ] || plan "$tap_count"
    [ "$tap_failed" -eq 0 ]
}
