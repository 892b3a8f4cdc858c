# The built programs over real sockets; each script says by itself what it needs and skips what it cannot have.
functional_tests = \
    tests/functional/activation.py \
    tests/functional/check_echo.py \
    tests/functional/cli.py \
    tests/functional/clients.py \
    tests/functional/options.py \
    tests/functional/echoping.py \
    tests/functional/exporter.py \
    tests/functional/foreign.py \
    tests/functional/graph.py \
    tests/functional/guard.py \
    tests/functional/json_output.py \
    tests/functional/manual.py \
    tests/functional/masking.py \
    tests/functional/metrics.py \
    tests/functional/mtu.py \
    tests/functional/overload.py \
    tests/functional/probe.py \
    tests/functional/probe_options.py \
    tests/functional/rawpackets.py \
    tests/functional/reload.py \
    tests/functional/sandbox.py \
    tests/functional/signals.py \
    tests/functional/stream.py \
    tests/functional/tcp.py \
    tests/functional/tools.py \
    tests/functional/udp.py
TESTS += $(functional_tests)
# These measure times, need other programs, or take long.
slow_tests = \
    tests/functional/allocations.py \
    tests/functional/exact.py \
    tests/functional/fairness.py \
    tests/functional/faults.py \
    tests/functional/peers.py \
    tests/functional/prometheus.py \
    tests/functional/smokeping.py
more_tests += $(slow_tests)
dist_check_SCRIPTS += $(functional_tests) $(slow_tests)
EXTRA_DIST         += tests/functional/daemon.py tests/functional/exporting.py tests/prometheus/echod.test.yml tests/functional/faulting.py tests/functional/forge.py tests/functional/lib.py \
    tests/functional/load.py tests/functional/probing.py \
    tests/functional/service.py tests/mutate tests/peers.sh tests/soak

# A library that some of them preload into the daemon. It replaces functions, so it cannot have the macros for them.
check_PROGRAMS += tests/functional/faulty.so
tests_functional_faulty_so_SOURCES  = tests/functional/faulty.c
tests_functional_faulty_so_CPPFLAGS = -D_GNU_SOURCE $(WIDE_CPPFLAGS) -U_FORTIFY_SOURCE $(CONFUSE_CFLAGS)
tests_functional_faulty_so_CFLAGS   = $(STD_CFLAGS) $(WARN_CFLAGS) $(MAP_CFLAGS) -fPIC
tests_functional_faulty_so_LDFLAGS  = -shared
tests_functional_faulty_so_LDADD    = -ldl

# Likewise, for foreign.py.
check_PROGRAMS += tests/functional/foreign_libc.so
tests_functional_foreign_libc_so_SOURCES  = tests/functional/foreign_libc.c
tests_functional_foreign_libc_so_CPPFLAGS = -D_GNU_SOURCE -U_FORTIFY_SOURCE
tests_functional_foreign_libc_so_CFLAGS   = $(STD_CFLAGS) $(WARN_CFLAGS) $(MAP_CFLAGS) -fPIC
tests_functional_foreign_libc_so_LDFLAGS  = -shared
tests_functional_foreign_libc_so_LDADD    =
