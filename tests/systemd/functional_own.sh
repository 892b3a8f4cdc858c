#!/bin/bash
# SPDX-License-Identifier: ISC
unit=echod.service
. "$SRCDIR/tests/systemd/functional.sh"
