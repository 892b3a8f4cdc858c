# SPDX-License-Identifier: ISC
"""Every allocation of the daemon fails once, at start, while it serves and in a reload: no crash, no leak, and it serves on.

Which allocation fails is counted from the begin of what is tried: the first, the second, and so on until none is left to fail.
"""

from daemon import PATIENCE, SAME_USER, SANITIZED, check_stream, private_network, quoted_list, stall
from faulting import FaultyEchod
from lib import note, run_all, skip, test, wait_for
from service import UNIT

# Lists and sections, so that there is something to allocate.
RICH = """workers = 2
access { allow = { "127.0.0.0/8", "::1", "192.0.2.0/24", "2001:db8::/32" } deny = { "192.0.2.128/25" } }
limits { exempt = { "127.0.0.1", "::1" } table-size = 1024 }"""

# More than there are.
MANY = 5000

# Of the starts: with systemd each takes many times as long.
STEP = 40 if UNIT else 1

# Statuses that tell of a failed start, echod(8).
START_FAILED = (1, 77, 78)


def each_allocation(echod, attempt):
    """Call attempt() again and again: the first allocation in it fails, then the second, until none fails. Returns their number."""
    for number in range(1, MANY):
        echod.faults.fail_allocation(number)
        attempt()
        echod.faults.disarm()
        echod.check_alive()
        if echod.faults.failed_allocations == 0:
            return number - 1
    raise AssertionError(f"{MANY} allocations, and no end")


def need_own_malloc():
    if SANITIZED:
        skip("the sanitizer has allocations of its own")


@test("an allocation for a connection that fails costs no other client its echo, and leaks nothing")
def _():
    need_own_malloc()
    with FaultyEchod(tcp="max-connections-per-source = 100") as echod, echod.connect() as bystander:
        def visit():
            with echod.connect(source="127.0.0.2") as s:
                try:
                    check_stream(s)
                    stall(s)
                except (AssertionError, ConnectionError) as error:
                    note(f"one was lost: {error}")
            with echod.datagrams() as udp:
                udp.send(b"x")
                assert udp.recv(9) == b"x"
            check_stream(bystander)

        check_stream(bystander)
        visit()
        wait_for(lambda: echod.counters()["open"] == 1, PATIENCE, "the first to be gone")
        live, descriptors = echod.faults.live, echod.descriptors()
        count = each_allocation(echod, visit)
        note(f"{count} allocations")
        assert count > 0
        wait_for(lambda: echod.faults.live == live, PATIENCE, f"{live} allocations to be left")
        wait_for(lambda: echod.descriptors() == descriptors, PATIENCE, f"{descriptors} descriptors to be left")
        echod.check()


for hosts_ in (("127.0.0.1", "::1"), ("127.0.0.1", "::1", "127.0.0.2")):
    @test(f"an allocation that fails in a reload {'that opens sockets ' if len(hosts_) > 2 else ''}changes nothing, or does no harm")
    def _(hosts=hosts_):
        need_own_malloc()
        with FaultyEchod(top=RICH) as echod, echod.connect() as bystander:
            outcomes = {True: 0, False: 0}
            before = echod.hosts

            def reload():
                echod.faults.disarm()
                echod.change(hosts=before)
                echod.hosts = hosts
                echod.configure()
                echod.faults.fail_allocation(reload.number)
                reload.number += 1
                answer = echod.reload()
                echod.faults.disarm()
                failed = "was not reloaded" in answer
                outcomes[failed] += 1
                check_stream(bystander)
                if failed:
                    assert len(answer.splitlines()) > 1, f"no reason is given: {answer}"
                    echod.hosts = before
                echod.check()

            check_stream(bystander)
            for _ in range(3):
                reload.number = MANY
                reload()
            echod.change(hosts=before)
            live, descriptors = echod.faults.live, echod.descriptors()
            reload.number = 1
            count = each_allocation(echod, reload)
            note(f"{count} allocations; {outcomes[True]} reloads failed, {outcomes[False]} did not")
            assert outcomes[True] > 0
            echod.change(hosts=before)
            wait_for(lambda: echod.descriptors() == descriptors, PATIENCE, f"{descriptors} descriptors to be left")
            wait_for(lambda: echod.faults.live == live, PATIENCE, f"{live} allocations to be left, not {echod.faults.live}")


@test("under a limit of memory a reload succeeds, or changes nothing")
def _():
    need_own_malloc()
    with FaultyEchod(top=SAME_USER) as echod:
        used = int(echod.status()["VmSize"][0]) * 1024
        prefixes = [f"10.{i >> 8}.{i & 255}.0/24" for i in range(20000)]
        echod.top += f"\naccess {{ deny = {quoted_list(prefixes)} }}"
        echod.configure()
        failed = 0
        for spare in range(0, 1 << 28, 1 << 18):
            echod.limit("as", used + spare)
            answer = echod.reload()
            if "was not reloaded" not in answer:
                break
            assert "memory" in answer, answer
            failed += 1
            echod.check_alive()
        note(f"{failed} reloads failed with up to {spare >> 10} KiB to spare")
        assert failed > 5
        echod.check()


@test("a daemon whose allocation fails at the start starts all the same, or says why it does not")
def _():
    need_own_malloc()
    started = 0
    for number in range(1, MANY, STEP):
        echod = FaultyEchod(failing_allocation=number, top=RICH, wait=False)
        try:
            if echod.wait_line(r"ready:", or_end=True):
                started += 1
                echod.faults.disarm()
                echod.check()
                assert echod.stop() == 0, echod.log()
            else:
                status = echod.wait()
                assert status in START_FAILED, f"allocation {number}: status {status}: {echod.log()}"
                assert echod.log(), f"allocation {number}: it does not say why it ended"
            if echod.faults.failed_allocations == 0:
                break
        finally:
            echod._end()  # pylint: disable=protected-access
    note(f"{number - 1} allocations; {started} starts were successful none the less")
    assert number < MANY - STEP


if __name__ == "__main__":
    private_network()
    run_all()
