# Unit tests link copies of the libraries without FORTIFY: with it, recv into a buffer of known size becomes __recv_chk and a
# linker --wrap=recv silently misses.
if TESTS_ENABLED
check_LIBRARIES += tests/unit/libechod.a tests/unit/libprobe.a
tests_unit_libechod_a_SOURCES  = $(libechod_sources)
tests_unit_libechod_a_CPPFLAGS = -D_GNU_SOURCE -I$(top_srcdir)/src $(CONFUSE_CFLAGS) $(SYSTEMD_CFLAGS) $(NCURSES_CFLAGS) $(JANSSON_CFLAGS) $(SECCOMP_CFLAGS) -DSYSCONFDIR='"$(sysconfdir)"' -U_FORTIFY_SOURCE
tests_unit_libprobe_a_SOURCES  = $(libprobe_sources)
tests_unit_libprobe_a_CPPFLAGS = $(tests_unit_libechod_a_CPPFLAGS)

unit_cppflags = $(tests_unit_libechod_a_CPPFLAGS) $(CMOCKA_CFLAGS)
unit_ldadd    = tests/unit/libechod.a $(libechod_libs) $(CMOCKA_LIBS)

check_PROGRAMS += tests/unit/test_conf
TESTS          += tests/unit/test_conf
tests_unit_test_conf_SOURCES  = tests/unit/test_conf.c tests/unit/unit.h
tests_unit_test_conf_CPPFLAGS = $(unit_cppflags)
tests_unit_test_conf_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=calloc -Wl,--wrap=malloc -Wl,--wrap=realloc -Wl,--wrap=reallocarray \
    -Wl,--wrap=strdup \
    -Wl,--wrap=fstatat -Wl,--wrap=read -Wl,--wrap=fclose -Wl,--wrap=open_memstream -Wl,--wrap=cfg_init -Wl,--wrap=cfg_parse_buf \
    -Wl,--wrap=cfg_getnstr
tests_unit_test_conf_LDADD    = $(unit_ldadd)

probe_ldadd     = tests/unit/libprobe.a $(libprobe_libs) $(CMOCKA_LIBS)
probe_tests     = tests/unit/test_cli tests/unit/test_draw tests/unit/test_histogram tests/unit/test_ledger tests/unit/test_payload \
    tests/unit/test_plugin tests/unit/test_probe tests/unit/test_probe_connect tests/unit/test_probe_link tests/unit/test_probe_tcp \
    tests/unit/test_probe_udp tests/unit/test_report tests/unit/test_resolve tests/unit/test_rtt tests/unit/test_schedule
check_PROGRAMS += $(probe_tests)
TESTS          += $(probe_tests)
tests_unit_test_cli_SOURCES  = tests/unit/test_cli.c tests/unit/unit.h
tests_unit_test_cli_CPPFLAGS = $(unit_cppflags)
tests_unit_test_cli_LDADD    = $(probe_ldadd)
tests_unit_test_cli_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=exit
tests_unit_test_histogram_SOURCES  = tests/unit/test_histogram.c tests/unit/unit.h
tests_unit_test_histogram_CPPFLAGS = $(unit_cppflags)
tests_unit_test_histogram_LDADD    = $(probe_ldadd)
tests_unit_test_draw_SOURCES  = tests/unit/test_draw.c tests/unit/unit.h
tests_unit_test_draw_CPPFLAGS = $(unit_cppflags)
tests_unit_test_draw_LDADD    = $(probe_ldadd)
tests_unit_test_rtt_SOURCES  = tests/unit/test_rtt.c tests/unit/unit.h
tests_unit_test_rtt_CPPFLAGS = $(unit_cppflags)
tests_unit_test_rtt_LDADD    = $(probe_ldadd)
tests_unit_test_rtt_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=calloc
tests_unit_test_plugin_SOURCES  = tests/unit/test_plugin.c tests/unit/unit.h
tests_unit_test_plugin_CPPFLAGS = $(unit_cppflags)
tests_unit_test_plugin_LDADD    = $(probe_ldadd)
tests_unit_test_payload_SOURCES  = tests/unit/test_payload.c tests/unit/unit.h
tests_unit_test_payload_CPPFLAGS = $(unit_cppflags)
tests_unit_test_payload_LDADD    = $(probe_ldadd)
tests_unit_test_report_SOURCES  = tests/unit/test_report.c tests/unit/unit.h
tests_unit_test_report_CPPFLAGS = $(unit_cppflags)
tests_unit_test_report_LDADD    = $(probe_ldadd)
if JSON
check_PROGRAMS += tests/unit/test_report_json
TESTS          += tests/unit/test_report_json
endif
tests_unit_test_report_json_SOURCES  = tests/unit/test_report_json.c tests/unit/unit.h
tests_unit_test_report_json_CPPFLAGS = $(unit_cppflags)
tests_unit_test_report_json_LDADD    = $(probe_ldadd)
tests_unit_test_probe_SOURCES  = tests/unit/test_probe.c tests/unit/unit.h tests/unit/fake_link.h
tests_unit_test_probe_CPPFLAGS = $(unit_cppflags)
tests_unit_test_probe_LDADD    = $(probe_ldadd)
tests_unit_test_probe_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=signalfd,--wrap=getrandom,--wrap=calloc,--wrap=clock_gettime \
    -Wl,--wrap=epoll_create1,--wrap=epoll_ctl,--wrap=epoll_wait,--wrap=epoll_pwait2
tests_unit_test_ledger_SOURCES  = tests/unit/test_ledger.c tests/unit/unit.h tests/unit/fake_link.h
tests_unit_test_ledger_CPPFLAGS = $(unit_cppflags)
tests_unit_test_ledger_LDADD    = $(probe_ldadd)
tests_unit_test_ledger_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=clock_gettime
tests_unit_test_schedule_SOURCES  = tests/unit/test_schedule.c tests/unit/unit.h tests/unit/fake_link.h
tests_unit_test_schedule_CPPFLAGS = $(unit_cppflags)
tests_unit_test_schedule_LDADD    = $(probe_ldadd)
tests_unit_test_schedule_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=clock_gettime
tests_unit_test_probe_connect_SOURCES  = tests/unit/test_probe_connect.c tests/unit/unit.h tests/unit/probe_unit.h tests/unit/tcp_unit.h
tests_unit_test_probe_connect_CPPFLAGS = $(unit_cppflags)
tests_unit_test_probe_connect_LDADD    = $(probe_ldadd)
tests_unit_test_probe_connect_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=calloc,--wrap=malloc,--wrap=connect
tests_unit_test_probe_link_SOURCES  = tests/unit/test_probe_link.c tests/unit/unit.h tests/unit/probe_unit.h
tests_unit_test_probe_link_CPPFLAGS = $(unit_cppflags)
tests_unit_test_probe_link_LDADD    = $(probe_ldadd)
tests_unit_test_probe_link_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=socket,--wrap=setsockopt,--wrap=bind
tests_unit_test_probe_udp_SOURCES  = tests/unit/test_probe_udp.c tests/unit/unit.h tests/unit/probe_unit.h
tests_unit_test_probe_udp_CPPFLAGS = $(unit_cppflags)
tests_unit_test_probe_udp_LDADD    = $(probe_ldadd)
tests_unit_test_probe_udp_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=socket,--wrap=connect,--wrap=setsockopt,--wrap=calloc,--wrap=epoll_ctl \
    -Wl,--wrap=sendmmsg,--wrap=recvmmsg,--wrap=recvmsg
tests_unit_test_probe_tcp_SOURCES  = tests/unit/test_probe_tcp.c tests/unit/unit.h tests/unit/probe_unit.h tests/unit/tcp_unit.h
tests_unit_test_probe_tcp_CPPFLAGS = $(unit_cppflags)
tests_unit_test_probe_tcp_LDADD    = $(probe_ldadd)
tests_unit_test_probe_tcp_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=socket,--wrap=setsockopt,--wrap=getsockopt,--wrap=getpeername \
    -Wl,--wrap=connect,--wrap=calloc,--wrap=malloc,--wrap=epoll_ctl,--wrap=send,--wrap=recv
tests_unit_test_resolve_SOURCES  = tests/unit/test_resolve.c tests/unit/unit.h
tests_unit_test_resolve_CPPFLAGS = $(unit_cppflags)
tests_unit_test_resolve_LDADD    = $(probe_ldadd)
tests_unit_test_resolve_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=getaddrinfo -Wl,--wrap=freeaddrinfo -Wl,--wrap=getnameinfo

stream_tests    = tests/unit/test_dgram tests/unit/test_mtu tests/unit/test_stream tests/unit/test_stream_run tests/unit/test_waiter
check_PROGRAMS += $(stream_tests)
TESTS          += $(stream_tests)
tests_unit_test_dgram_SOURCES  = tests/unit/test_dgram.c tests/unit/unit.h
tests_unit_test_dgram_CPPFLAGS = $(unit_cppflags)
tests_unit_test_dgram_LDADD    = $(probe_ldadd)
tests_unit_test_dgram_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=setsockopt,--wrap=socket,--wrap=getpeername
tests_unit_test_waiter_SOURCES  = tests/unit/test_waiter.c tests/unit/unit.h
tests_unit_test_waiter_CPPFLAGS = $(unit_cppflags)
tests_unit_test_waiter_LDADD    = $(probe_ldadd)
tests_unit_test_waiter_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=signalfd,--wrap=ppoll
tests_unit_test_stream_run_SOURCES  = tests/unit/test_stream_run.c tests/unit/unit.h
tests_unit_test_stream_run_CPPFLAGS = $(unit_cppflags)
tests_unit_test_stream_run_LDADD    = $(probe_ldadd)
tests_unit_test_stream_SOURCES  = tests/unit/test_stream.c tests/unit/unit.h
tests_unit_test_stream_CPPFLAGS = $(unit_cppflags)
tests_unit_test_stream_LDADD    = $(probe_ldadd)
tests_unit_test_stream_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=send,--wrap=recv,--wrap=read,--wrap=write,--wrap=sendto,--wrap=recvmsg \
    -Wl,--wrap=setsockopt,--wrap=signalfd,--wrap=ppoll,--wrap=calloc
tests_unit_test_mtu_SOURCES  = tests/unit/test_mtu.c tests/unit/unit.h
tests_unit_test_mtu_CPPFLAGS = $(unit_cppflags)
tests_unit_test_mtu_LDADD    = $(probe_ldadd)
tests_unit_test_mtu_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=sendto,--wrap=recvmsg,--wrap=setsockopt,--wrap=signalfd,--wrap=ppoll,--wrap=calloc \
    -Wl,--wrap=getrandom,--wrap=socket,--wrap=connect

LDADD           = $(unit_ldadd)
module_tests    = tests/unit/test_admit tests/unit/test_budget tests/unit/test_conn tests/unit/test_endpoints tests/unit/test_guard \
    tests/unit/test_log tests/unit/test_loop tests/unit/test_socket tests/unit/test_addr tests/unit/test_notify tests/unit/test_outbox tests/unit/test_policy tests/unit/test_prefix \
    tests/unit/test_priv tests/unit/test_refusals tests/unit/test_sandbox tests/unit/test_server tests/unit/test_stats \
    tests/unit/test_tcp tests/unit/test_udp tests/unit/test_udp_reply tests/unit/test_usock tests/unit/test_worker
check_PROGRAMS += $(module_tests)
TESTS          += $(module_tests)
EXTRA_DIST     += tests/unit/clock.h
tests_unit_test_admit_CPPFLAGS = $(unit_cppflags)
tests_unit_test_admit_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=calloc,--wrap=getrandom,--wrap=malloc,--wrap=realloc
tests_unit_test_budget_CPPFLAGS = $(unit_cppflags)
tests_unit_test_budget_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=calloc,--wrap=mmap
tests_unit_test_conn_CPPFLAGS = $(unit_cppflags)
tests_unit_test_conn_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=malloc,--wrap=recv,--wrap=send
tests_unit_test_endpoints_CPPFLAGS = $(unit_cppflags)
tests_unit_test_endpoints_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=bind,--wrap=calloc,--wrap=fchown,--wrap=listen,--wrap=realloc \
    -Wl,--wrap=socket
tests_unit_test_guard_CPPFLAGS = $(unit_cppflags)
tests_unit_test_log_CPPFLAGS = $(unit_cppflags)
tests_unit_test_log_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=connect,--wrap=write
tests_unit_test_loop_CPPFLAGS = $(unit_cppflags)
tests_unit_test_loop_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=clock_gettime,--wrap=epoll_create1,--wrap=epoll_ctl \
    -Wl,--wrap=epoll_wait,--wrap=poll,--wrap=timerfd_create,--wrap=timerfd_settime
tests_unit_test_socket_CPPFLAGS = $(unit_cppflags)
tests_unit_test_socket_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=bind,--wrap=fchown,--wrap=fcntl,--wrap=getsockopt,--wrap=listen \
    -Wl,--wrap=setsockopt,--wrap=socket
tests_unit_test_addr_CPPFLAGS = $(unit_cppflags)
tests_unit_test_notify_CPPFLAGS = $(unit_cppflags)
tests_unit_test_outbox_CPPFLAGS = $(unit_cppflags)
tests_unit_test_outbox_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=sendmmsg
tests_unit_test_policy_CPPFLAGS = $(unit_cppflags)
tests_unit_test_policy_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=calloc,--wrap=getrandom,--wrap=mmap,--wrap=reallocarray
tests_unit_test_prefix_CPPFLAGS = $(unit_cppflags)
tests_unit_test_prefix_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=calloc,--wrap=reallocarray
tests_unit_test_priv_CPPFLAGS = $(unit_cppflags)
tests_unit_test_priv_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=capget,--wrap=capset,--wrap=getgrnam,--wrap=getpwnam,--wrap=prctl,--wrap=setgid,--wrap=setgroups \
    -Wl,--wrap=setresgid,--wrap=setresuid,--wrap=setuid
tests_unit_test_refusals_CPPFLAGS = $(unit_cppflags)
tests_unit_test_sandbox_CPPFLAGS = $(unit_cppflags)
tests_unit_test_sandbox_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=seccomp_load,--wrap=sigaction,--wrap=syscall
tests_unit_test_server_CPPFLAGS = $(unit_cppflags)
tests_unit_test_server_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=access,--wrap=admit_new,--wrap=bind,--wrap=endpoints_own \
    -Wl,--wrap=getrlimit,--wrap=priv_drop,--wrap=sandbox_restrict_access,--wrap=sandbox_restrict_calls,--wrap=sched_getaffinity,--wrap=signalfd,--wrap=worker_add_socket,--wrap=worker_new \
    -Wl,--wrap=worker_start
tests_unit_test_stats_CPPFLAGS = $(unit_cppflags)
tests_unit_test_tcp_CPPFLAGS = $(unit_cppflags)
tests_unit_test_tcp_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=accept4,--wrap=clock_gettime,--wrap=ioctl,--wrap=loop_add \
    -Wl,--wrap=malloc,--wrap=socket_set_accepted_options,--wrap=send
tests_unit_test_udp_CPPFLAGS = $(unit_cppflags)
tests_unit_test_udp_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=calloc,--wrap=clock_gettime,--wrap=loop_add,--wrap=loop_set,--wrap=mmap \
    -Wl,--wrap=recvmmsg,--wrap=sendmmsg
tests_unit_test_udp_reply_CPPFLAGS = $(unit_cppflags)
tests_unit_test_usock_CPPFLAGS = $(unit_cppflags)
tests_unit_test_worker_CPPFLAGS = $(unit_cppflags)
tests_unit_test_worker_LDFLAGS  = $(AM_LDFLAGS) -Wl,--wrap=aligned_alloc,--wrap=epoll_create1,--wrap=eventfd,--wrap=loop_add \
    -Wl,--wrap=malloc,--wrap=pthread_create
endif
