# The built programs over real sockets; each script says by itself what it needs and skips what it cannot have.
functional_tests = \
    tests/functional/activation.py \
    tests/functional/check_echo.py \
    tests/functional/cli.py \
    tests/functional/completion.py \
    tests/functional/echoping.py \
    tests/functional/exact.py \
    tests/functional/fairness.py \
    tests/functional/graph.py \
    tests/functional/guard.py \
    tests/functional/json_output.py \
    tests/functional/manual.py \
    tests/functional/mtu.py \
    tests/functional/overload.py \
    tests/functional/peers.py \
    tests/functional/probe.py \
    tests/functional/probe_options.py \
    tests/functional/rawpackets.py \
    tests/functional/reload.py \
    tests/functional/sandbox.py \
    tests/functional/signals.py \
    tests/functional/smokeping.py \
    tests/functional/stream.py \
    tests/functional/tcp.py \
    tests/functional/tools.py \
    tests/functional/udp.py
dist_check_SCRIPTS += $(functional_tests)
TESTS              += $(functional_tests)
EXTRA_DIST         += tests/functional/daemon.py tests/functional/forge.py tests/functional/lib.py tests/functional/mutating.py tests/functional/probing.py \
    tests/functional/responding.py tests/peers.sh
