# Everything but the mains is one library, which the daemon, the tests and the fuzzers link.
noinst_LIBRARIES += src/libechod.a
libechod_sources = \
    src/admit.c src/admit.h \
    src/budget.c src/budget.h \
    src/callfilter.h \
    src/conf.c src/conf.h \
    src/conf_text.c src/conf_text.h \
    src/conf_value.c src/conf_value.h \
    src/conn.c src/conn.h \
    src/endpoints.c src/endpoints.h \
    src/guard.c src/guard.h \
    src/log.c src/log.h \
    src/loop.c src/loop.h \
    src/addr.c src/addr.h src/socket.c src/socket.h \
    src/notify.h \
    src/outbox.c src/outbox.h \
    src/policy.c src/policy.h \
    src/prefix.c src/prefix.h \
    src/priv.c src/priv.h \
    src/refusals.c src/refusals.h \
    src/sandbox.c src/sandbox.h \
    src/server.c src/server.h \
    src/service.c src/service.h \
    src/stats.c src/stats.h \
    src/tcp.c src/tcp.h \
    src/tcp_conn.h src/tcp_listen.c src/tcp_victim.c \
    src/udp.c src/udp.h \
    src/udp_reply.c src/udp_reply.h \
    src/usock.c src/usock.h \
    src/worker.c src/worker.h
if SYSTEMD
libechod_sources += src/notify.c
else
libechod_sources += src/notify_stub.c
endif
if SECCOMP
libechod_sources += src/callfilter.c
else
libechod_sources += src/callfilter_stub.c
endif
src_libechod_a_SOURCES = $(libechod_sources)
EXTRA_DIST += src/callfilter.c src/callfilter_stub.c src/notify.c src/notify_stub.c
libechod_libs = $(CONFUSE_LIBS) $(SYSTEMD_LIBS) $(SECCOMP_LIBS)

sbin_PROGRAMS += src/echod
src_echod_SOURCES = src/main.c
src_echod_LDADD   = src/libechod.a $(libechod_libs)

# The client shares addr.c with the daemon, nothing else.
noinst_LIBRARIES += src/libprobe.a
libprobe_sources = \
    src/addr.c src/addr.h \
    src/cli.c src/cli.h \
    src/dgram.c src/dgram.h \
    src/draw.c \
    src/histogram.c src/histogram.h \
    src/ledger.c src/ledger.h \
    src/mtu.c src/mtu.h src/mtu_print.c \
    src/payload.c src/payload.h \
    src/plugin.c src/plugin.h \
    src/probe.c src/probe.h \
    src/probe_connect.c src/probe_link.c src/probe_tcp.c src/probe_udp.c \
    src/report.c src/report.h src/report_text.c \
    src/resolve.c src/resolve.h \
    src/rtt.c src/rtt.h \
    src/stream.h src/stream_run.c src/stream_run.h \
    src/stream_tcp.c src/stream_udp.c \
    src/tcp_stream.c src/tcp_stream.h \
    src/waiter.c src/waiter.h
if JSON
libprobe_sources += src/report_json.c
else
libprobe_sources += src/report_json_stub.c
endif
EXTRA_DIST += src/report_json.c src/report_json_stub.c
if NCURSES
libprobe_sources += src/report_graph.c
else
libprobe_sources += src/report_graph_stub.c
endif
EXTRA_DIST += src/report_graph.c src/report_graph_stub.c
libprobe_libs = $(JANSSON_LIBS) $(NCURSES_LIBS) -lm
src_libprobe_a_SOURCES = $(libprobe_sources)
bin_PROGRAMS += src/echo-probe
src_echo_probe_SOURCES = src/echo-probe.c src/options.c src/options.h
src_echo_probe_LDADD   = src/libprobe.a $(libprobe_libs)
bin_PROGRAMS += src/echoping
src_echoping_SOURCES = src/echoping.c
src_echoping_LDADD   = src/libprobe.a $(libprobe_libs)
plugin_PROGRAMS += src/check_echo
src_check_echo_SOURCES = src/check_echo.c
src_check_echo_LDADD   = src/libprobe.a $(libprobe_libs)
