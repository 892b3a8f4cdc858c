#!/bin/bash
# SPDX-License-Identifier: ISC
# Who may include whom: data flows one way, and every module can be tested without those above it.
. "${SRCDIR:-.}/tests/tap.sh"
cd "${SRCDIR:-.}/src" || bail "no source in ${SRCDIR:-.}/src"

# Module: what its .c and .h may include of ours, besides its own header. A file in no row fails.
modules='
main         server
server       admit conf endpoints log loop notify priv refusals sandbox service stats worker
service      admit conf endpoints log loop policy stats worker
endpoints    conf log addr socket
worker       admit log loop addr socket stats tcp udp
tcp          admit guard log loop addr socket stats tcp_conn
tcp_conn     conn tcp
tcp_listen   log addr socket tcp_conn
tcp_victim   tcp_conn
udp          budget log loop addr socket outbox stats udp_reply
outbox       stats udp_reply
udp_reply    budget guard addr socket
conf         conf_text conf_value log addr socket prefix
conf_text
conf_value   conf log addr socket prefix
policy       budget conf guard prefix
refusals     log stats
admit        log addr socket prefix
guard        log addr socket prefix
budget       addr socket prefix
conn         log
loop         log
addr
socket       addr
notify       usock
notify_stub  notify
prefix       addr socket
priv         log
sandbox      callfilter log
callfilter   log
callfilter_stub callfilter
stats        log
log          usock
usock
echo-probe   mtu addr socket options report resolve stream
options      cli addr socket probe report
check_echo   cli plugin probe report resolve
echoping     cli probe report resolve
cli          addr socket probe
plugin       cli
report       addr socket probe rtt
report_text  addr socket probe report rtt
draw         probe report rtt histogram
probe        ledger addr socket payload rtt
probe_link   addr socket probe
probe_tcp    addr socket probe tcp_stream
probe_connect addr socket probe tcp_stream
probe_udp    dgram addr socket probe
tcp_stream   addr socket probe
ledger       addr socket probe rtt
rtt          histogram
histogram
resolve      addr socket
payload
report_json  addr socket probe report rtt histogram
report_json_stub report
report_graph addr socket probe report rtt
report_graph_stub report
dgram        addr socket
mtu          dgram addr socket payload waiter
mtu_print    mtu addr socket
stream       addr socket
stream_run   stream waiter
stream_tcp   addr socket stream stream_run waiter
stream_udp   dgram addr socket stream stream_run waiter
waiter
'

# What only some may use: an extended regular expression, and the files that may.
reserved='
<(poll|sys/epoll|sys/select)\.h>                    loop.h log.c probe.c tcp_stream.c probe_udp.c waiter.h
\<(p?poll|p?select|epoll_[a-z0-9]+)\(               loop.c log.c probe.c waiter.c
<confuse\.h>                                        conf.c
<systemd/                                           notify.c
<seccomp\.h>                                        callfilter.c
<jansson\.h>                                        report_json.c
<(n?curses|term)\.h>                                report_graph.c
\<(_?exit|_Exit|quick_exit|abort|errx?|verrx?)\(    main.c cli.c check_echo.c echo-probe.c echoping.c
'

allowed_of() { # MODULE: its row; fails if there is none
    awk -v module="$1" '$1 == module { $1 = ""; print; found = 1 } END { exit !found }' <<<"$modules"
}

check_includes() { # FILE
    local module=${1%.[ch]} allowed header bad=0
    allowed=$(allowed_of "$module") || { echo "module $module is in no row of this test's table"; return 1; }
    while read -r header; do
        case " config $module $allowed " in
        *" ${header%.h} "*) ;;
        *) echo "includes $header, may include:${allowed:- nothing}"; bad=1 ;;
        esac
    done < <(sed -n 's/^[ \t]*#[ \t]*include[ \t]*"\(.*\)".*/\1/p' "$1")
    return $bad
}

check_reserved() { # REGEX FILE...
    local regex=$1 file bad=0
    shift
    for file in *.[ch]; do
        case " $* " in *" $file "*) continue ;; esac
        # The compiler strips comments, where a manual page may be named.
        "${CC:-cc}" -fpreprocessed -E -P -x c "$file" | grep -E -e "$regex" | sed "s/^/$file: /" | grep . && bad=1
    done
    return $bad
}

for file in *.[ch]; do
    ok "$file keeps to the include rules" check_includes "$file"
done
while read -r regex files; do
    [ -n "$regex" ] || continue
    # shellcheck disable=SC2086
    ok "only $files: $regex" check_reserved "$regex" $files
done <<<"$reserved"
done_testing
