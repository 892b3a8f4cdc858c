#!/bin/bash
# SPDX-License-Identifier: ISC
# The container image: packaging/oci makes it; crun runs it as nobody, without capabilities, on a read-only root, in a network
# namespace of its own; it echoes, check_echo in it says so, and SIGTERM ends it with 0.
. "${SRCDIR:-.}/tests/tap.sh"
SRCDIR=$(cd "${SRCDIR:-.}" && pwd)
[ "$(id -u)" = 0 ] || skip_all "not root"
for tool in umoci crun unshare ip python3; do
    command -v $tool >/dev/null || skip_all "$tool is missing (apt-get install umoci crun util-linux iproute2 python3)"
done
# Mounts and a network of its own: crun wants a cgroup2 at /sys/fs/cgroup, and nothing of the host is changed.
if [ "${1-}" != inside ]; then
    exec unshare --mount --net --pid --fork --kill-child -- "$BASH" "$0" inside
fi
mount -t proc proc /proc && mount -t sysfs sysfs /sys 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup || skip_all "no cgroup2"
mount -t tmpfs tmpfs /run && ip link set lo up || skip_all "no namespaces"
work=$(mktemp -d /var/tmp/echod-oci.XXXXXX)
trap 'rm -rf --one-file-system "$work"' EXIT
container=echod-test

makes_image() { "$SRCDIR/packaging/oci" "$work/image" >"$work/log" 2>&1 || { tail -n 20 "$work/log"; return 1; }; }

is_small() { [ "$(du -sk "$work/image" | cut -f 1)" -le 10240 ] || { du -sk "$work/image"; return 1; }; }

# As a container engine would: the image's own user and command, less capabilities and any way to write.
configure() {
    umoci unpack --image "$work/image:echod" "$work/bundle" >/dev/null 2>&1 || return
    python3 - "$work/bundle/config.json" <<'END'
import json, sys
with open(sys.argv[1]) as file:
    config = json.load(file)
assert config["process"]["user"]["uid"] == 65534, config["process"]["user"]
config["root"]["readonly"] = True
config["process"].update(terminal=False, noNewPrivileges=True, capabilities={})
config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"] if n["type"] not in ("network", "cgroup")]
config["linux"].pop("resources", None)
config["mounts"] = [m for m in config["mounts"] if m.get("type") not in ("cgroup", "bind")]
with open(sys.argv[1], "w") as file:
    json.dump(config, file)
END
}

in_container() { crun --cgroup-manager=disabled exec $container "$@"; }

starts() {
    crun --cgroup-manager=disabled run -b "$work/bundle" $container >"$work/out" 2>&1 &
    pid=$!
    for _ in {1..100}; do
        grep -q ' ready: ' "$work/out" && return
        kill -0 $pid 2>/dev/null || break
        sleep 0.1
    done
    cat "$work/out"
    return 1
}

echoes() {
    local protocol
    for protocol in tcp udp; do
        in_container /usr/bin/echo-probe -c 3 -i 0.1 $protocol localhost 7007 &&
            in_container /usr/bin/check_echo -H 127.0.0.1 -p 7007 --$protocol || return
    done
}

# What echod's own sandbox is under the engine's.
has_its_sandbox() { grep -E 'sandbox: seccomp \([0-9]+ calls.*\), Landlock' "$work/out"; }

stops() {
    crun --cgroup-manager=disabled kill $container TERM || return
    wait $pid || { echo "status $?"; cat "$work/out"; return 1; }
}

ok "packaging/oci makes an image" makes_image
ok "the image is at most 10 MB" is_small
ok "the image runs as nobody" configure
# Not in the subshell of ok: the container is our child.
starts >"$work/starts" 2>&1
ok "the container becomes ready" grep -q ' ready: ' "$work/out"
ok "the container echoes over both protocols" echoes
ok "echod has its sandbox in the container" has_its_sandbox
stops >"$work/stops" 2>&1
status=$?
ok "SIGTERM ends the container with status 0" test $status -eq 0
done_testing
