# Everything but the mains is one library, which the daemon, the tests and the fuzzers link.
noinst_LIBRARIES += src/libechod.a
libechod_sources = \
    src/admit.c src/admit.h \
    src/conf.c src/conf.h \
    src/conf_text.c src/conf_text.h \
    src/conn.c src/conn.h \
    src/endpoints.c src/endpoints.h \
    src/guard.c src/guard.h \
    src/log.c src/log.h \
    src/loop.c src/loop.h \
    src/net.c src/net.h \
    src/notify.h \
    src/priv.c src/priv.h \
    src/server.c src/server.h \
    src/stats.c src/stats.h \
    src/tcp.c src/tcp.h \
    src/udp.c src/udp.h \
    src/worker.c src/worker.h
if SYSTEMD
libechod_sources += src/notify.c
else
libechod_sources += src/notify_stub.c
endif
src_libechod_a_SOURCES = $(libechod_sources)
EXTRA_DIST += src/notify.c src/notify_stub.c
libechod_libs = $(CONFUSE_LIBS) $(SYSTEMD_LIBS)

sbin_PROGRAMS += src/echod
src_echod_SOURCES = src/main.c
src_echod_LDADD   = src/libechod.a $(libechod_libs)

# The client shares net.c with the daemon, nothing else.
noinst_LIBRARIES += src/libprobe.a
libprobe_sources = \
    src/net.c src/net.h \
    src/payload.c src/payload.h \
    src/probe.c src/probe.h \
    src/probe_tcp.c src/probe_udp.c \
    src/report.c src/report.h \
    src/resolve.c src/resolve.h \
    src/rtt.c src/rtt.h
src_libprobe_a_SOURCES = $(libprobe_sources)
bin_PROGRAMS += src/echo-probe
src_echo_probe_SOURCES = src/echo-probe.c
src_echo_probe_LDADD   = src/libprobe.a -lm
