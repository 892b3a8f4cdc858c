# One rule a folder: tests/unit/FOLDER/test_MODULE.c tests src/FOLDER/MODULE through its header. What a test defines as
# __wrap_NAME is wrapped when it is linked, see WRAPS. The tests link copies of the libraries without FORTIFY: with it, recv into a
# buffer of known size becomes __recv_chk, and a linker's --wrap=recv silently misses. And without builtins: gcc 16 turns malloc and an assignment of zeroes
# into calloc.
if TESTS_ENABLED
check_LIBRARIES += tests/unit/libcommon.a tests/unit/libdaemon.a tests/unit/libclient.a
unit_cppflags = -D_GNU_SOURCE $(WIDE_CPPFLAGS) -I$(top_srcdir)/src $(library_cflags) -DSYSCONFDIR='"$(sysconfdir)"' -U_FORTIFY_SOURCE -fno-builtin
tests_unit_libcommon_a_SOURCES  = $(libcommon_sources)
tests_unit_libcommon_a_CPPFLAGS = $(unit_cppflags)
tests_unit_libdaemon_a_SOURCES  = $(libdaemon_sources)
tests_unit_libdaemon_a_CPPFLAGS = $(unit_cppflags)
tests_unit_libclient_a_SOURCES  = $(libclient_sources)
tests_unit_libclient_a_CPPFLAGS = $(unit_cppflags)

if EXPORTER
unit_exporter = tests/unit/libexporter.a
check_LIBRARIES += $(unit_exporter)
tests_unit_libexporter_a_SOURCES  = $(libexporter_sources)
tests_unit_libexporter_a_CPPFLAGS = $(unit_cppflags)
endif

AM_CPPFLAGS += $(UNIT_CPPFLAGS)
UNIT_CPPFLAGS = $(if $(filter tests/unit/%,$@),-I$(top_srcdir)/tests -U_FORTIFY_SOURCE $(CMOCKA_CFLAGS))
AM_LDFLAGS += $(WRAPS)
WRAPS = $(if $(filter tests/unit/%,$@),$(shell $(NM) $@.$(OBJEXT) | $(SED) -n 's/.* T __wrap_/-Wl,--wrap=/p'))
LDADD = $(unit_exporter) tests/unit/libdaemon.a tests/unit/libclient.a tests/unit/libcommon.a $(daemon_libs) $(client_libs) $(CMOCKA_LIBS)

unit_tests = \
    tests/unit/common/test_addr \
    tests/unit/common/test_cli \
    tests/unit/common/test_decimal \
    tests/unit/common/test_hash \
    tests/unit/common/test_log \
    tests/unit/common/test_metrics_text \
    tests/unit/common/test_prefix \
    tests/unit/common/test_unix_dgram \
    tests/unit/common/test_util
unit_tests += \
    tests/unit/net/test_loop \
    tests/unit/net/test_signals \
    tests/unit/net/test_socket
unit_tests += \
    tests/unit/daemon/test_endpoints \
    tests/unit/daemon/test_server \
    tests/unit/daemon/test_worker
unit_tests += \
    tests/unit/daemon/admission/test_acl \
    tests/unit/daemon/admission/test_connlimit \
    tests/unit/daemon/admission/test_loopguard \
    tests/unit/daemon/admission/test_ratelimit \
    tests/unit/daemon/admission/test_rules
unit_tests += \
    tests/unit/daemon/conf/test_compare \
    tests/unit/daemon/conf/test_conf
unit_tests += \
    tests/unit/daemon/os/test_landlock \
    tests/unit/daemon/os/test_privileges \
    tests/unit/daemon/os/test_sandbox \
    tests/unit/daemon/os/test_seccomp \
    tests/unit/daemon/os/test_service_manager
unit_tests += \
    tests/unit/daemon/stats/test_metrics \
    tests/unit/daemon/stats/test_refusals \
    tests/unit/daemon/stats/test_stats
unit_tests += \
    tests/unit/daemon/tcp/test_connection \
    tests/unit/daemon/tcp/test_echo \
    tests/unit/daemon/tcp/test_evict \
    tests/unit/daemon/tcp/test_listener \
    tests/unit/daemon/tcp/test_tcp
unit_tests += \
    tests/unit/daemon/udp/test_reply \
    tests/unit/daemon/udp/test_sendq \
    tests/unit/daemon/udp/test_udp
unit_tests += \
    tests/unit/probe/test_datagram \
    tests/unit/probe/test_engine \
    tests/unit/probe/test_histogram \
    tests/unit/probe/test_inflight \
    tests/unit/probe/test_link_connect \
    tests/unit/probe/test_link_tcp \
    tests/unit/probe/test_link_udp \
    tests/unit/probe/test_mtu \
    tests/unit/probe/test_payload \
    tests/unit/probe/test_run \
    tests/unit/probe/test_resolve \
    tests/unit/probe/test_rtt \
    tests/unit/probe/test_schedule
unit_tests += \
    tests/unit/report/test_chart \
    tests/unit/report/test_formats \
    tests/unit/report/test_text
if JSON
unit_tests += tests/unit/report/test_json
endif
EXTRA_DIST += tests/unit/report/test_json.c
if EXPORTER
unit_tests += \
    tests/unit/exporter/test_snapshot \
    tests/unit/exporter/test_textfile
endif
EXTRA_DIST += tests/unit/exporter/test_snapshot.c tests/unit/exporter/test_textfile.c
unit_tests += \
    tests/unit/tools/test_thresholds
unit_tests += \
    tests/unit/tools/stream/test_stream \
    tests/unit/tools/stream/test_stream_run
check_PROGRAMS += $(unit_tests)
TESTS          += $(unit_tests)
EXTRA_DIST     += tests/unit/clock.h tests/unit/daemon/tcp/fixture.h tests/unit/fake_link.h tests/unit/probe_unit.h tests/unit/tcp_unit.h tests/unit/unit.h tests/unit/wide.h
endif
