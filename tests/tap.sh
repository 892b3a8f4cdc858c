# shellcheck shell=bash
# SPDX-License-Identifier: ISC
# TAP for shell tests: source this, say plan or end with done_testing. Everything after a "#" is for people.
#
#   ok NAME COMMAND [ARG...]   one test: passes if the command does; its output is shown where it does not
#   skip NAME REASON           one test that cannot run here
#   skip_all REASON            the whole file cannot run here; ends it
#   bail REASON                nothing that follows, in any file, makes sense; ends the run
#   note TEXT...               a remark
#   done_testing               the plan, if none was printed before; fails if a test did (its status is the script's)
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
