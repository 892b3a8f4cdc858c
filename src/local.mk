# Libraries, so that tests and fuzzers link all but the mains: what all sides use, the daemon, the clients, the exporter.
noinst_LIBRARIES += src/libcommon.a src/libdaemon.a src/libclient.a

libcommon_sources = \
    src/common/addr.c src/common/addr.h \
    src/common/cli.c src/common/cli.h \
    src/common/clock.c src/common/clock.h \
    src/common/conf_parse.c src/common/conf_parse.h \
    src/common/decimal.c src/common/decimal.h \
    src/common/hash.c src/common/hash.h \
    src/common/log.c src/common/log.h \
    src/common/mask.c src/common/mask.h \
    src/common/metrics_text.c src/common/metrics_text.h \
    src/common/prefix.c src/common/prefix.h \
    src/common/reply_ttl.h \
    src/common/unix_dgram.c src/common/unix_dgram.h \
    src/common/util.c src/common/util.h \
    src/net/loop.c src/net/loop.h \
    src/net/signals.c src/net/signals.h \
    src/net/socket.c src/net/socket.h
src_libcommon_a_SOURCES = $(libcommon_sources)

libdaemon_sources = \
    src/daemon/admission/acl.c src/daemon/admission/acl.h \
    src/daemon/endpoints.c src/daemon/endpoints.h \
    src/daemon/server.c src/daemon/server.h \
    src/daemon/service.c src/daemon/service.h \
    src/daemon/worker.c src/daemon/worker.h \
    src/daemon/admission/connlimit.c src/daemon/admission/connlimit.h \
    src/daemon/admission/loopguard.c src/daemon/admission/loopguard.h \
    src/daemon/admission/ratelimit.c src/daemon/admission/ratelimit.h \
    src/daemon/admission/rules.c src/daemon/admission/rules.h \
    src/daemon/admission/verdict.h \
    src/daemon/conf/compare.c src/daemon/conf/compare.h \
    src/daemon/conf/conf.c src/daemon/conf/conf.h \
    src/daemon/os/landlock.c src/daemon/os/landlock.h \
    src/daemon/os/privileges.c src/daemon/os/privileges.h \
    src/daemon/os/sandbox.c src/daemon/os/sandbox.h \
    src/daemon/os/seccomp.h \
    src/daemon/os/service_manager.h \
    src/daemon/os/sigsys.h \
    src/daemon/stats/metrics.c src/daemon/stats/metrics.h \
    src/daemon/stats/refusals.c src/daemon/stats/refusals.h \
    src/daemon/stats/stats.c src/daemon/stats/stats.h \
    src/daemon/tcp/connection.c src/daemon/tcp/connection.h \
    src/daemon/tcp/echo.c src/daemon/tcp/echo.h \
    src/daemon/tcp/evict.c src/daemon/tcp/evict.h \
    src/daemon/tcp/listener.c src/daemon/tcp/listener.h \
    src/daemon/tcp/tcp.c src/daemon/tcp/tcp.h \
    src/daemon/udp/reply.c src/daemon/udp/reply.h \
    src/daemon/udp/sendq.c src/daemon/udp/sendq.h \
    src/daemon/udp/udp.c src/daemon/udp/udp.h
if SYSTEMD
libdaemon_sources += src/daemon/os/service_manager.c
else
libdaemon_sources += src/daemon/os/service_manager_stub.c
endif
if SECCOMP
libdaemon_sources += src/daemon/os/seccomp.c src/daemon/os/sigsys.c
else
libdaemon_sources += src/daemon/os/seccomp_stub.c
endif
src_libdaemon_a_SOURCES = $(libdaemon_sources)
EXTRA_DIST += src/daemon/os/seccomp.c src/daemon/os/seccomp_stub.c src/daemon/os/sigsys.c \
              src/daemon/os/service_manager.c src/daemon/os/service_manager_stub.c
daemon_libs = $(CONFUSE_LIBS) $(SYSTEMD_LIBS) $(SECCOMP_LIBS)

sbin_PROGRAMS += src/echod
src_echod_SOURCES = src/daemon/main.c
src_echod_LDADD   = src/libdaemon.a src/libcommon.a $(daemon_libs)

libclient_sources = \
    src/probe/datagram.c src/probe/datagram.h \
    src/probe/engine.c src/probe/engine.h \
    src/probe/histogram.c src/probe/histogram.h \
    src/probe/inflight.c src/probe/inflight.h \
    src/probe/link_connect.c src/probe/link_connect.h \
    src/probe/link_tcp.c src/probe/link_tcp.h \
    src/probe/link_udp.c src/probe/link_udp.h \
    src/probe/mtu.c src/probe/mtu.h \
    src/probe/payload.c src/probe/payload.h \
    src/probe/resolve.c src/probe/resolve.h \
    src/probe/rtt.c src/probe/rtt.h \
    src/probe/run.c src/probe/run.h \
    src/probe/schedule.c src/probe/schedule.h \
    src/probe/tcp_stream.c src/probe/tcp_stream.h \
    src/report/chart.c src/report/chart.h \
    src/report/formats.c src/report/formats.h \
    src/report/graph.h \
    src/report/icmp_text.c src/report/icmp_text.h \
    src/report/json.h \
    src/report/mtu_text.c src/report/mtu_text.h \
    src/report/report.c src/report/report.h \
    src/report/text.c src/report/text.h \
    src/tools/client.c src/tools/client.h \
    src/tools/thresholds.c src/tools/thresholds.h \
    src/tools/stream/stream_run.c src/tools/stream/stream_run.h \
    src/tools/stream/stream_tcp.c src/tools/stream/stream_tcp.h \
    src/tools/stream/stream_udp.c src/tools/stream/stream_udp.h
if JSON
libclient_sources += src/report/json.c
else
libclient_sources += src/report/json_stub.c
endif
if NCURSES
libclient_sources += src/report/graph.c
else
libclient_sources += src/report/graph_stub.c
endif
src_libclient_a_SOURCES = $(libclient_sources)
EXTRA_DIST += src/report/graph.c src/report/graph_stub.c src/report/json.c src/report/json_stub.c
client_libs  = $(JANSSON_LIBS) $(NCURSES_LIBS) -lm
client_ldadd = src/libclient.a src/libcommon.a $(client_libs)

bin_PROGRAMS += src/echo-probe src/echoping
plugin_PROGRAMS += src/check_echo
src_echo_probe_SOURCES = src/tools/echo-probe.c src/tools/options.c src/tools/options.h
src_echo_probe_LDADD   = $(client_ldadd)
src_echoping_SOURCES   = src/tools/echoping.c
src_echoping_LDADD     = $(client_ldadd)
src_check_echo_SOURCES = src/tools/check_echo.c
src_check_echo_LDADD   = $(client_ldadd)

libexporter_sources = \
    src/exporter/conf.c src/exporter/conf.h \
    src/exporter/http.c src/exporter/http.h \
    src/exporter/page.c src/exporter/page.h \
    src/exporter/snapshot.c src/exporter/snapshot.h \
    src/exporter/textfile.c src/exporter/textfile.h
EXTRA_DIST += $(libexporter_sources) src/exporter/echo-exporter.c
if EXPORTER
noinst_LIBRARIES += src/libexporter.a
src_libexporter_a_SOURCES = $(libexporter_sources)
sbin_PROGRAMS += src/echo-exporter
src_echo_exporter_SOURCES = src/exporter/echo-exporter.c
src_echo_exporter_LDADD   = src/libexporter.a src/libcommon.a $(CONFUSE_LIBS) $(MICROHTTPD_LIBS)
endif
