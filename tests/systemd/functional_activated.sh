#!/bin/bash
# SPDX-License-Identifier: ISC
unit=echod-activated.service
. "$SRCDIR/tests/systemd/functional.sh"
