"""A disk that refuses, in every way it can: no record, no traffic, and it heals by itself.

`faults.c` makes the calls fail in the sidecar's own process, so nothing depends on rights.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.cli.programs import document, iatp
from tests.e2e.agents import Agent, Seen, agent
from tests.e2e.disks import Disk, check_stopped, small_file_system
from tests.e2e.load import load, together
from tests.e2e.sidecars import (
    TRUSTED,
    Answer,
    Caller,
    Sidecar,
    log_key,
    request,
    sidecar,
    wait_until,
)
from tests.logs import Log

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="faults.c knows Linux's calls")

POWER = TRUSTED | {"IATP_DURABILITY": "power"}
ENCRYPTED = TRUSTED | {"IATP_LOG_KEY_FILE": ""}
"""With a key, which each test makes."""
OPEN = {"IATP_RECORD_FAILURE": "open"}

FULL = ("open ENOSPC", "write ENOSPC", "writev ENOSPC")
READ_ONLY = ("write", "writev", "open", "rename", "unlink", "ftruncate")
WRITES = {
    "full": FULL,
    "quota": ("open EDQUOT", "write EDQUOT", "writev EDQUOT"),
    "EIO": ("open EIO", "write EIO", "writev EIO"),
    "read-only": tuple(f"{call} EROFS" for call in READ_ONLY),
    "short": ("open ENOSPC", "writev short", "write ENOSPC"),
    "short, can't be cut": ("open EIO", "writev short", "write EIO", "ftruncate EIO"),
}
SYNCS = {
    "EIO": ("fdatasync EIO",),
    "full": ("fdatasync ENOSPC",),
    "EIO of everything": ("fdatasync EIO", "fsync EIO", "open EIO", "writev EIO", "ftruncate EIO"),
    "EIO, can't be cut": ("fdatasync EIO", "ftruncate EIO"),
}
CASES = [
    *((name, TRUSTED, rules) for name, rules in WRITES.items()),
    *((f"{name}, power", POWER, rules) for name, rules in WRITES.items()),
    *((f"{name}, encrypted", ENCRYPTED, rules) for name, rules in WRITES.items()),
    *((f"sync: {name}", POWER, rules) for name, rules in SYNCS.items()),
]


def _variables(settings: dict[str, str], disk: Disk, tmp_path: Path) -> dict[str, str]:
    return settings | disk.variables | (log_key(tmp_path) if settings is ENCRYPTED else {})


def _post(running: Sidecar, trace_id: str) -> Answer:
    return running.post("{}", {"X-Agent-Trace-ID": trace_id})


def _check_refused(answer: Answer) -> None:
    assert (answer.status, answer.json()["code"]) == (503, "recorder_unavailable")
    assert answer.header("retry-after")
    assert "logs" not in answer.body.decode()


def _traces(behind: Agent) -> set[str]:
    return {one.header("x-agent-trace-id") or "" for one in behind.seen}


@pytest.mark.parametrize(
    ("settings", "rules"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_no_record_no_traffic_and_it_heals(
    settings: dict[str, str], rules: tuple[str, ...], tmp_path: Path
) -> None:
    disk = Disk(tmp_path)
    variables = _variables(settings, disk, tmp_path)
    with agent() as behind, sidecar(tmp_path, behind.url, variables) as running:
        answered = []
        for turn in range(3):
            for number in range(5):
                answered.append(f"good-{turn}-{number}")
                assert _post(running, answered[-1]).status == 200
            disk.fail(*rules)
            for number in range(5):
                _check_refused(_post(running, f"bad-{turn}-{number}"))
            assert _traces(behind) == set(answered)
            assert running.get("/readyz").status == 503
            assert running.get("/livez").status == 200
            wait_until(lambda: running.metric("iatp_recorder_failing") == 1)
            assert running.metric("iatp_records_lost_total") > 0
            disk.heal()
            wait_until(lambda: running.get("/readyz").status == 200, 5.0)
            wait_until(lambda: running.metric("iatp_recorder_failing") == 0)
        answered.append("last")
        assert _post(running, "last").status == 200
        assert _traces(behind) == set(answered)
        assert running.metric("iatp_inflight") == 0
        assert running.stop() == 0
        assert "Traceback" not in running.log()
        assert "cannot write" in running.log()
    kinds = check_stopped(running)
    for trace_id in answered:
        assert (kinds[trace_id, "request"], kinds[trace_id, "response"]) == (1, 1)
    # What was refused may have left the record of its refusal, once writing worked; no other.
    left = {"error", "request"} if "ftruncate EIO" in rules else {"error"}
    assert {kind for (trace_id, kind) in kinds if trace_id not in answered} <= left
    assert not list(running.logs.glob("*.open.*"))
    assert not list(running.logs.glob("*.probe"))


@pytest.mark.parametrize(
    ("settings", "rules"),
    [
        (TRUSTED, FULL),
        (TRUSTED, WRITES["short"]),
        (ENCRYPTED, WRITES["short"]),
        (POWER, FULL),
        (POWER, SYNCS["EIO"]),
    ],
    ids=["full", "short", "short, encrypted", "full, power", "sync"],
)
def test_under_load_nothing_is_lost_or_doubled(
    settings: dict[str, str], rules: tuple[str, ...], tmp_path: Path
) -> None:
    disk = Disk(tmp_path)
    variables = _variables(settings, disk, tmp_path)
    variables |= {"IATP_LOG_SEGMENT": "64KiB", "IATP_WORKERS": "2"}
    with (
        agent() as behind,
        sidecar(tmp_path, behind.url, variables) as running,
        load(running.port, 8, body=json.dumps({"a": "x" * 500}).encode()) as calls,
    ):
        for turn in range(8):
            before = len(calls.told)
            wait_until(
                lambda before=before: any(  # type: ignore[misc]
                    one.answer.status == 200 for one in calls.told[before + 20 :]
                )
            )
            disk.fail(*rules)
            wait_until(
                lambda before=before: any(  # type: ignore[misc]
                    one.answer.status == 503 for one in calls.told[before:]
                )
            )
            time.sleep(0.02 * (turn % 3))
            disk.heal()
        calls.end()
        told = {one.trace_id: one.answer.status for one in calls.told}
        assert set(told.values()) == {200, 503}
        assert running.stop() == 0
        assert "Traceback" not in running.log()
    kinds = check_stopped(running)
    reached = _traces(behind)
    for trace_id in reached:
        assert kinds[trace_id, "request"] == 1, trace_id
    for trace_id, status in told.items():
        if status == 200:
            assert kinds[trace_id, "response"] == 1, trace_id
        else:
            assert kinds[trace_id, "response"] == 0, trace_id
    # A request that has no answer at the agent has no record that says so.
    assert {trace_id for trace_id, kind in kinds if kind == "request"} == reached


def test_a_turn_waits_for_one_sync_and_the_loop_goes_on(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    with agent() as behind, sidecar(tmp_path, behind.url, POWER | disk.variables) as running:
        assert running.post().status == 200
        before = disk.syncs()
        disk.fail("fdatasync hang")
        written = _written(running)
        with Caller(running.port) as first:
            first.send(request(body="{}"))
            wait_until(lambda: _written(running) > written)
            callers = [Caller(running.port) for _ in range(32)]
            for caller in callers:
                caller.send(request(body="{}"))
            # Nothing has left, and everything else is answered.
            for _ in range(10):
                assert running.get("/livez").status == 200
                assert running.get("/readyz").status == 200
                assert "iatp_recorder_failing 0.0" in running.admin("/metrics").body.decode()
                time.sleep(0.02)
            assert len(behind.seen) == 1
            assert disk.syncs() == before
            disk.fail("fdatasync slow")
            for caller in (first, *callers):
                assert caller.read().status == 200
                caller.socket.close()
        # One for the first's request, one for all others', and as few for the answers.
        assert 2 <= disk.syncs() - before <= 8
        disk.heal()
        assert running.stop() == 0
    check_stopped(running)


def _written(running: Sidecar) -> int:
    """Bytes of records in open segments."""
    return sum(path.stat().st_size for path in running.logs.glob("*.open.jsonl"))


def test_order_on_a_connection_stays(tmp_path: Path) -> None:
    """Answers of the sidecar itself and of the agent, all asked for at once."""
    disk = Disk(tmp_path)
    with agent() as behind, sidecar(tmp_path, behind.url, POWER | disk.variables) as running:
        disk.fail("fdatasync slow")
        sent = b""
        for number in range(4):
            name = {"X-Agent-Trace-ID": f"order-{number}"}
            sent += request(body="{", headers=name) + request("GET", "/livez")
            sent += request(body="{}", headers=name)
        with Caller(running.port) as caller:
            caller.send(sent)
            for number in range(4):
                refused, live, passed = (caller.read(kind) for kind in ("POST", "GET", "POST"))
                assert (refused.status, live.status, passed.status) == (400, 200, 200)
                for answer in (refused, passed):
                    assert answer.header("x-agent-trace-id") == f"order-{number}"
        assert running.stop() == 0
    check_stopped(running)


def test_pieces_of_a_stream_do_not_wait_but_its_end_does(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    go_on = threading.Event()

    def reply(connection: socket.socket, _: Seen) -> bool:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for number in range(3):
            connection.sendall(b"9\r\ndata: %d\n\n\r\n" % number)
            time.sleep(0.05)
        go_on.wait(10)
        connection.sendall(b"0\r\n\r\n")
        return True

    with (
        agent(reply) as behind,
        sidecar(tmp_path, behind.url, POWER | disk.variables) as running,
        Caller(running.port) as caller,
    ):
        caller.send(request(body="{}", headers={"X-Agent-Trace-ID": "stream"}))
        wait_until(lambda: len(behind.seen) == 1)
        disk.fail("fdatasync hang")
        got = b""
        while b"data: 2" not in got:
            got += caller.socket.recv(65536)
        go_on.set()
        caller.socket.settimeout(0.5)
        with pytest.raises(TimeoutError):
            got += caller.socket.recv(65536)
        assert not got.endswith(b"0\r\n\r\n")
        disk.heal()
        caller.socket.settimeout(5)
        while not got.endswith(b"0\r\n\r\n"):
            piece = caller.socket.recv(65536)
            assert piece
            got += piece
        assert running.trace("stream")[-1]["type"] == "response"


def test_a_control_endpoint_waits_for_its_record(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    with agent() as behind, sidecar(tmp_path, behind.url, POWER | disk.variables) as running:
        assert _post(running, "looked-at").status == 200
        disk.fail("fdatasync hang")
        with Caller(running.admin_port) as caller:
            caller.send(request("GET", "/trace/looked-at"))
            caller.socket.settimeout(0.5)
            with pytest.raises(TimeoutError):
                caller.read("GET")
            disk.heal()
            caller.socket.settimeout(5)
            assert caller.read("GET").status == 200
        disk.fail("fdatasync EIO")
        assert running.admin("/trace/looked-at").status == 503


def test_a_drain_waits_for_the_disk(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    with agent() as behind, sidecar(tmp_path, behind.url, POWER | disk.variables) as running:
        callers = [Caller(running.port) for _ in range(8)]
        disk.fail("fdatasync hang")
        for number, caller in enumerate(callers):
            caller.send(request(body="{}" if number % 2 else "{"))
        wait_until(lambda: _written(running) > 0)
        stopped = threading.Timer(1.0, disk.heal)
        stopped.start()
        assert running.stop() == 0
        assert disk.syncs() > 0
        statuses = []
        for caller in callers:
            statuses.append(caller.read().status)
            caller.socket.close()
        assert statuses == [400, 200] * 4
        assert len(behind.seen) == 4
    check_stopped(running)


def test_nobody_waits_for_the_disk_that_closes_a_segment(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    with agent() as behind, sidecar(tmp_path, behind.url, POWER | disk.variables) as running:
        for turn in range(3):
            assert _post(running, f"before-{turn}").status == 200
            disk.fail(f"fsync hang {('.index', '.seal')[turn % 2]}")
            os.kill(running.process.pid, signal.SIGUSR1)
            wait_until(lambda: _open(running) == 2)
            began = time.monotonic()
            for number in range(20):
                assert _post(running, f"{turn}-{number}").status == 200
            assert time.monotonic() - began < 2
            assert _open(running) == 2
            if turn < 2:
                disk.heal()
                wait_until(lambda: _open(running) == 1)
        # The last one is still being closed; its end is waited for.
        healed = threading.Timer(1.0, disk.heal)
        healed.start()
        assert running.stop() == 0
        assert not list(running.logs.glob("*.open.jsonl"))
    kinds = check_stopped(running)
    assert sum(kind == "request" for _, kind in kinds) == 63


def test_traces_are_found_while_the_disk_closes_no_segment(tmp_path: Path) -> None:
    """Whatever waits for it: seals, indexes, the head; more of them than there are readers."""
    disk = Disk(tmp_path)
    with agent() as behind, sidecar(tmp_path, behind.url, POWER | disk.variables) as running:
        assert _post(running, "first").status == 200
        disk.fail("fsync hang .seal", "fsync hang .index", "fsync hang .tmp")
        for turn in range(4):
            assert _post(running, f"turn-{turn}").status == 200
            os.kill(running.process.pid, signal.SIGUSR1)
            wait_until(lambda turn=turn: _open(running) == turn + 2)  # type: ignore[misc]
        began = time.monotonic()
        for trace_id in ("first", *(f"turn-{turn}" for turn in range(4))):
            assert len(running.trace(trace_id)) == 2
        assert running.admin("/trace/nobody").status == 404
        assert time.monotonic() - began < 2
        assert _open(running) == 5
        disk.heal()
        wait_until(lambda: _open(running) == 1)
        assert running.stop() == 0
    check_stopped(running)


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_report_says_what_the_disk_could_not_read(tmp_path: Path, processes: str) -> None:
    disk = Disk(tmp_path)
    log = Log(tmp_path / "logs", key=Ed25519PrivateKey.generate())
    for number in range(30):
        log.append(number % 3, type="request", caller="a", trust_score=9)
    for worker in range(3):
        log.close(worker)
    bad = log.path(log.of(1)[0]).name
    disk.fail(f"readv EIO {bad}")
    done = iatp(
        *("report", "--since", "2025-11-24", "--json", "--processes", processes),
        *("--log-dir", str(log.folder)),
        env=disk.variables,
    )
    assert done.returncode == 1
    assert done.stderr == f"iatp: {bad} cannot be read from byte 0 on: Input/output error\n"
    assert document(done)["records"] == 20


def _open(running: Sidecar) -> int:
    """How many segments are not closed."""
    return len(list(running.logs.glob("*.open.jsonl")))


@pytest.mark.slow
def test_a_disk_that_does_not_answer_is_one_that_fails(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    with agent() as behind, sidecar(tmp_path, behind.url, POWER | disk.variables) as running:
        assert _post(running, "good").status == 200
        disk.fail("fdatasync hang")
        began = time.monotonic()
        _check_refused(_post(running, "first"))
        assert 9 < time.monotonic() - began < 15
        # Now nobody has to wait to hear it.
        began = time.monotonic()
        for number in range(5):
            _check_refused(_post(running, f"later-{number}"))
        assert time.monotonic() - began < 2
        assert running.get("/readyz").status == 503
        assert _traces(behind) == {"good"}
        disk.heal()
        wait_until(lambda: running.get("/readyz").status == 200, 5.0)
        assert _post(running, "healed").status == 200
        assert running.stop() == 0
    kinds = check_stopped(running)
    assert {trace_id for trace_id, kind in kinds if kind == "request"} == {"good", "healed"}


@pytest.mark.parametrize(
    ("settings", "rules"), [(TRUSTED, FULL), (POWER, SYNCS["EIO"])], ids=["process", "power"]
)
def test_open_goes_on_without_records_and_says_so(
    settings: dict[str, str], rules: tuple[str, ...], tmp_path: Path
) -> None:
    disk = Disk(tmp_path)
    variables = settings | OPEN | disk.variables
    with agent() as behind, sidecar(tmp_path, behind.url, variables) as running:
        assert "IATP_RECORD_FAILURE is open" in running.log()
        assert _post(running, "good").status == 200
        assert running.get("/readyz").json() == {"status": "ready"}
        disk.fail(*rules)
        for number in range(30):
            answer = _post(running, f"lost-{number}")
            assert (answer.status, answer.body) == (200, b'{"done":true}')
        assert running.post("{").status == 400
        ready = running.get("/readyz")
        assert (ready.status, ready.json()["status"]) == (200, "ready")
        assert ready.json()["warnings"] == [
            "the flight recorder cannot write; requests are forwarded without a record"
        ]
        assert running.admin("/trace/good").status == 200
        wait_until(lambda: running.metric("iatp_records_lost_total") >= 60)
        wait_until(lambda: running.metric("iatp_recorder_failing") == 1)
        time.sleep(2.5)
        lines = [line for line in running.log().splitlines() if "records were lost" in line]
        assert 1 <= len(lines) <= 4, lines
        disk.heal()
        wait_until(lambda: running.get("/readyz").json() == {"status": "ready"}, 5.0)
        assert _post(running, "healed").status == 200
        assert len(behind.seen) == 32
        assert running.stop() == 0
    kinds = check_stopped(running)
    for trace_id in ("good", "healed"):
        assert (kinds[trace_id, "request"], kinds[trace_id, "response"]) == (1, 1)


@pytest.mark.parametrize("settings", [TRUSTED, POWER], ids=["process", "power"])
def test_a_file_system_that_is_full(settings: dict[str, str], tmp_path: Path) -> None:
    """A real one where mounting is allowed; else the same by the shim."""
    with small_file_system("600k") as mounted, agent() as behind:
        folder = mounted or tmp_path
        disk = Disk(tmp_path)
        variables = settings | {
            "IATP_LOG_DIR": str(folder / "logs"),
            "IATP_LOG_SEGMENT": "64KiB",
        }
        filler = folder / "filler"
        filler.write_bytes(b"x" * 200_000)
        if mounted is None:
            print("mounting is not allowed here: the shim stands in for a full file system")
            variables |= disk.variables
        with sidecar(tmp_path, behind.url, variables) as running:
            running.logs = folder / "logs"
            body = json.dumps({"a": "x" * 6000})
            statuses = []
            for number in range(200):
                if mounted is None and number == 30:
                    disk.fail(*FULL)
                answer = running.post(body, {"X-Agent-Trace-ID": f"full-{number}"})
                statuses.append(answer.status)
                if statuses[-3:] == [503] * 3:
                    break
            good = statuses.count(200)
            assert good >= 10
            assert statuses[good:] == [503] * (len(statuses) - good)
            assert running.get("/readyz").status == 503
            assert len(behind.seen) <= good + 1
            disk.heal()
            filler.unlink()
            wait_until(lambda: running.get("/readyz").status == 200, 5.0)
            assert running.post().status == 200
            assert running.stop() == 0
            assert "Traceback" not in running.log()
            check_stopped(running)


def test_a_folder_that_may_not_be_written_any_more(tmp_path: Path) -> None:
    """For root rights do not count; there the shim refuses what they would."""
    disk = Disk(tmp_path)
    with agent() as behind, sidecar(tmp_path, behind.url, TRUSTED | disk.variables) as running:
        assert running.post().status == 200
        running.logs.chmod(0o500)
        if os.geteuid() == 0:
            disk.fail(*(f"{call} EROFS" for call in READ_ONLY if call != "writev"))
        # The segment at hand is open, and still takes records; a new file is not to be had.
        wait_until(lambda: running.get("/readyz").status == 503, 5.0)
        _check_refused(running.post())
        wait_until(lambda: running.metric("iatp_recorder_failing") == 1)
        running.logs.chmod(0o700)
        disk.heal()
        wait_until(lambda: running.get("/readyz").status == 200, 5.0)
        assert running.post().status == 200
        assert len(behind.seen) == 2
        assert running.stop() == 0
    check_stopped(running)


def test_it_is_seen_without_traffic(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    with agent() as behind, sidecar(tmp_path, behind.url, TRUSTED | disk.variables) as running:
        disk.fail(*FULL)
        wait_until(lambda: running.metric("iatp_recorder_failing") == 1, 10.0)
        disk.heal()
        wait_until(lambda: running.metric("iatp_recorder_failing") == 0, 10.0)


def test_many_callers_through_a_slow_disk(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    with agent() as behind, sidecar(tmp_path, behind.url, POWER | disk.variables) as running:
        disk.fail("fdatasync slow")

        def call(number: int) -> None:
            with Caller(running.port) as caller:
                for count in range(3):
                    name = {"X-Agent-Trace-ID": f"slow-{number}-{count}"}
                    caller.send(request(body="{}", headers=name))
                    answer = caller.read()
                    assert answer.status == 200
                    assert answer.header("x-agent-trace-id") == name["X-Agent-Trace-ID"]

        began = time.monotonic()
        together(40, call)
        # Six syncs of a request's way, one behind the other; alone they would be 240.
        assert time.monotonic() - began < 12
        assert disk.syncs() < 60
        disk.heal()
        assert running.stop() == 0
    assert len(check_stopped(running)) == 240
