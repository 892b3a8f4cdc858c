# SPDX-License-Identifier: ISC
"""What echo-probe says to programs: JSON, by its schema."""

import copy
import json
import os
import pathlib
import signal

import lib
from lib import run_all, skip
from probing import PATIENCE, PATIENT, Running, Tcp, Udp, closed_port, reset_at_close, run

SCHEMA = json.loads((pathlib.Path(os.environ["SRCDIR"]) / "doc" / "echo-probe.schema.json").read_text())

try:
    import jsonschema
    MISSING = None
except ImportError:
    MISSING = "needs the Debian package python3-jsonschema"
if "built without jansson" in run("--json", "--version").err:
    MISSING = "built without jansson"


def test(description):
    """As lib.test, for what needs JSON and its schema."""

    def register(function):
        @lib.test(description)
        def _():
            if MISSING:
                skip(MISSING)
            function()

    return register


def validator(definition=None):
    """The validator of the schema, or of one of its definitions."""
    schema = SCHEMA
    if definition:
        schema = {"$schema": SCHEMA["$schema"], "$defs": SCHEMA["$defs"], "$ref": f"#/$defs/{definition}"}
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def refuse_constant(constant):
    raise AssertionError(f"JSON has no {constant}")


def valid(text, definition=None):
    """The JSON value in the text, after a check by the schema."""
    value = json.loads(text, parse_constant=refuse_constant)
    validator(definition).validate(value)
    return value


def document_of(done):
    return valid(done.out)


def lines_of(done):
    """The events and the summary."""
    *events, last = [valid(line, "line") for line in done.out.splitlines()]
    assert last["event"] == "summary" and "summary" not in [event["event"] for event in events], done
    return events, last


def document(*arguments, status=0, err=r"\A\Z"):
    return document_of(run("--json", *arguments).expect(status, err=err))


def lines(*arguments, status=0, err=r"\A\Z"):
    return lines_of(run("--json-lines", *arguments).expect(status, err=err))


def check_document(kind, protocol, *arguments):
    with kind() as server:
        found = document("-c", 5, "-i", "0.01", *PATIENT, *arguments, protocol, "127.0.0.1", server.port)
    assert found["counters"]["sent"] == found["counters"]["received"] == 5, found["counters"]
    assert found["counters"]["lost"] == found["loss_percent"] == 0, found
    assert found["configuration"]["protocol"] == protocol and found["configuration"]["port"] == server.port, found["configuration"]
    assert sum(count for _, _, count in found["histogram"]["buckets"]) == 5, found["histogram"]
    times = found["rtt_ns"]
    assert 0 < times["min"] <= times["p50"] <= times["p99_9"] <= times["max"], times
    return found


@test("a JSON document of a run over UDP follows the schema")
def _():
    assert check_document(Udp, "udp")["connect_ns"] is None, "UDP does not connect"


@test("a JSON document of TCP tells how long connecting took")
def _():
    assert check_document(Tcp, "tcp")["connect_ns"]["min"] > 0, "it took no time"


@test("a JSON document of --connect tells how long connecting took")
def _():
    found = check_document(Tcp, "tcp", "--connect")
    assert found["configuration"]["connect"] and found["connect_ns"]["max"] > 0, found


@test("a JSON document of --sources has the figures of each source port")
def _():
    found = check_document(Udp, "udp", "--sources", 3)
    assert [source["sent"] for source in found["sources"]] == [2, 2, 1], found["sources"]
    assert len({source["port"] for source in found["sources"]} - {0}) == 3, found["sources"]
    # Of each alone nothing is successive.
    assert found["rtt_ns"]["ipdv"] is not None and {source["rtt_ns"]["ipdv"] for source in found["sources"]} == {None}, found


@test("a JSON document tells of a refusal, of a name that is not found, and of a connection that is reset")
def _():
    found = document("-c", 1, "tcp", "127.0.0.1", closed_port(), status=1, err="Connection refused")
    assert found["troubles"][0]["errno"] == "ECONNREFUSED", found["troubles"]
    found = document("-c", 1, "udp", "host.invalid", status=2, err="host.invalid")
    assert "host.invalid" in found["troubles"][0]["message"], found["troubles"]

    def hang_up(server, connection):
        server.take(connection, 56)
        reset_at_close(connection)

    with Tcp(hang_up) as server:
        found = document("-c", 2, *PATIENT, "tcp", "127.0.0.1", server.port, status=1, err="reset the connection")
    assert found["troubles"][0]["event"] == "closed", found["troubles"]


@test("a run that fails says so as a document and as lines, also with -q")
def _():
    refused = ("-q", "-c", 1, "tcp", "127.0.0.1", closed_port())
    unknown = ("-q", "-c", 1, "udp", "host.invalid")
    for arguments, status, err in (refused, 1, "Connection refused"), (unknown, 2, "host.invalid"):
        whole = document(*arguments, status=status, err=err)
        events, last = lines(*arguments, status=status, err=err)
        assert not events, events
        assert whole["troubles"] == last["troubles"] and len(last["troubles"]) == 1, (whole, last)


@test("a line of JSON tells a connection that ends from one that is reset")
def _():
    def end(server, connection):
        server.take(connection, 56)

    with Tcp(end) as server:
        events, last = lines("-c", 2, *PATIENT, "tcp", "127.0.0.1", server.port, status=1, err="end of file")
    assert [event["event"] for event in events] == ["connected", "closed"], events
    assert "errno" not in events[1] and last["troubles"] == events[1:], (events, last)


@test("a host name that is not UTF-8 leaves the document whole")
def _():
    # On standard error the octet is masked.
    done = run("--json", "udp", os.fsdecode(b"a\xff.invalid"), errors="surrogateescape")
    found = document_of(done.expect(2, err=r"a\\xff\.invalid"))
    assert found["configuration"]["host"] == "a\ufffd.invalid", found["configuration"]
    assert "a\ufffd.invalid" in found["troubles"][0]["message"], found["troubles"]


@test("an interrupted run ends with a whole document, or with the summary")
def _():
    for form, read in ("--json", document_of), ("--json-lines", lambda done: lines_of(done)[1]):
        for number in signal.SIGINT, signal.SIGTERM:
            with Udp() as server, Running(form, "-i", "0.01", "udp", "127.0.0.1", server.port) as running:
                assert server.seen.wait(PATIENCE), "nothing was sent"
                found = read(running.end(number))
            assert found["counters"]["sent"] > 0, found


@test("--json-lines prints an object for each reply, and the summary as the last")
def _():
    with Udp(lambda n, data: [data[:20]] if n == 2 else [data]) as server:
        events, last = lines("-c", 3, "-i", "0.01", *PATIENT, "udp", "127.0.0.1", server.port)
    assert [event["event"] for event in events] == ["reply", "truncated", "reply"], events
    assert [event["seq"] for event in events] == [1, 2, 3], events
    assert last["counters"]["truncated"] == 1, last


@test("--json-lines prints a line as soon as the reply is there")
def _():
    with Udp() as server, Running("--json-lines", "-i", "1000", "udp", "127.0.0.1", server.port) as running:
        line = running.read_until(".")
        running.end(signal.SIGINT)
    assert valid(line, "line")["event"] == "reply", line


@test("the octets of a message are printed in hexadecimal")
def _():
    with Udp(lambda n, data: [b"\xff\x00\x1b[31m"]) as server:
        events, _ = lines("-c", 1, *PATIENT, "-m", "hello!!", "udp", "127.0.0.1", server.port, status=1)
    assert events[0]["event"] == "corrupt" and events[0]["octets"] == "ff001b5b33316d", events


def misbehave(number, data):
    """Twice, cut, garbled: each a different number of times in 20."""
    if number in (2, 3, 4):
        return [data, data]
    if number in (6, 7):
        return [data[:30]]
    if number == 9:
        return [data[:40] + bytes([data[40] ^ 1]) + data[41:]]
    return [data]


@test("the counters of document, lines and text are the same")
def _():
    arguments = ("-c", 20, "-i", "0.002", *PATIENT, "udp", "127.0.0.1")
    with Udp(misbehave) as server:
        text = run(*arguments, server.port).expect(0, "^20 packets transmitted, 17 received")
    with Udp(misbehave) as server:
        whole = document(*arguments, server.port)["counters"]
    with Udp(misbehave) as server:
        events, last = lines(*arguments, server.port)
    assert (whole["sent"], whole["received"], whole["lost"]) == (20, 17, 3), whole
    names = {"duplicate": "duplicates", "truncated": "truncated", "corrupt": "corrupt", "late": "late", "foreign": "foreign",
             "wrong_source": "from a wrong source", "refused": "refused", "errors": "errors", "out_of_order": "out of order",
             "not_sent": "not sent"}
    for key, name in names.items():
        assert whole[key] == last["counters"][key] == text.counter(name), (key, whole, last["counters"], text)
    kinds = [event["event"] for event in events]
    assert kinds.count("reply") == 17, kinds
    for key in "duplicate", "truncated", "corrupt":
        assert kinds.count(key) == whole[key] > 0, (key, kinds, whole)


@test("probes that were not sent because the server hung up are counted")
def _():
    def two(server, connection):
        for _ in range(2):
            connection.sendall(server.take(connection, 56))

    with Tcp(two) as server:
        arguments = ("-c", 5, "-i", "0.2", *PATIENT, "tcp", "127.0.0.1", server.port)
        counters = document(*arguments, status=1, err="(closed|reset) the connection")["counters"]
    assert counters["not_sent"] == 5 - counters["sent"] > 0, counters


@test("the schema refuses documents that lack a member or have a wrong one")
def _():
    with Udp() as server:
        arguments = ("-c", 2, "-i", "0.01", *PATIENT, "udp", "127.0.0.1", server.port)
        good = document(*arguments)
        events, last = lines(*arguments)

    def refused(value, definition, path, key, wrong):
        value = copy.deepcopy(value)
        place = value
        for step in path:
            place = place[step]
        if wrong is None:
            del place[key]
        else:
            place[key] = wrong
        assert not validator(definition).is_valid(value), f"{definition or 'document'}: {path} {key} may be {wrong}"

    for value, definition in (good, None), (last, "line"):
        for key in sorted(set(value) - {"event"}):
            refused(value, definition, [], key, None)
        for part in "configuration", "counters", "rtt_ns":
            refused(value, definition, [part], "other", 1)
            for key in sorted(set(value[part]) - {"address", "port"}):
                refused(value, definition, [part], key, None)
        refused(value, definition, ["counters"], "sent", -1)
        refused(value, definition, ["rtt_ns"], "min", 0.5)
        refused(value, definition, ["histogram", "buckets"], 0, [1, 2])
        refused(value, definition, [], "started", "today")
    for key in "event", "seq", "time_ns", "size", "from", "port":
        refused(events[0], "line", [], key, None)
    refused(events[0], "line", [], "event", "reqly")
    refused(events[0], "line", [], "other", 1)
    refused(events[0], "line", [], "time_ns", 1.5)


run_all()
