#!/bin/bash
# SPDX-License-Identifier: ISC
# usage: cmocka-tap.sh COMMAND...: runs a test of cmocka's, which (1.1.5) calls a skipped test "not ok N # SKIP",
# a failure to everybody else.
set -o pipefail
"$@" | sed -u 's/^not ok \([0-9]* # SKIP\)/ok \1/'
