"""Unix sockets on both sides: callers reach the sidecar through one, and it the agent."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.programs import document, iatp
from tests.e2e.agents import Seen, agent, says
from tests.e2e.load import kill, lives, together
from tests.e2e.sidecars import (
    STRANGER,
    TRUSTED,
    Caller,
    Sidecar,
    request,
    sidecar,
    wait_until,
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for any socket's."""
    with tempfile.TemporaryDirectory(prefix="iatp-") as made:
        yield Path(made)


def on(path: Path, **more: str) -> dict[str, str]:
    return TRUSTED | {"IATP_HOST": f"unix:{path}"} | more


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# The data listener.


def test_a_request_through_it(tmp_path: Path, folder: Path) -> None:
    with (
        agent() as behind,
        sidecar(tmp_path, behind.url, on(folder / "s")) as running,
        Caller(running.path) as caller,
    ):
        for _ in range(2):
            caller.send(request(body='{"a":1}', headers={"X-Agent-Trace-ID": "u"}))
            assert caller.read().status == 200
        caller.send(request("GET", "/capabilities"))
        assert caller.read("GET").status == 200
        # An address that is none is not passed on as one; nor is what the caller claims.
        caller.send(request(body="{}", headers={"X-Forwarded-For": "10.0.0.1"}))
        assert caller.read().status == 200
        for seen in behind.seen:
            assert seen.header("x-forwarded-for") is None
            assert seen.header("x-forwarded-proto") == "http"
            assert seen.header("x-forwarded-host") == "localhost"
        records = running.trace("u")
        assert [record["type"] for record in records] == ["request", "response"] * 2
        assert records[0]["peer"] == "unix"
        assert f"data listener on unix:{folder / 's'}" in running.log()
        assert running.stop() == 0
    assert list(folder.iterdir()) == []


def test_a_large_body_and_a_dropped_caller(tmp_path: Path, folder: Path) -> None:
    body = b'{"a":"%b"}' % (b"x" * 3_000_000)
    with (
        agent(says(body)) as behind,
        sidecar(tmp_path, behind.url, on(folder / "s")) as running,
    ):
        assert running.post(body).body == body
        with Caller(running.path) as caller:
            caller.send(request(body=body)[:-10])
            caller.socket.close()
        wait_until(lambda: running.endings()[-1].get("code") == "caller_gone")
        # One that has ended its sending side gets its answer.
        with Caller(running.path) as caller:
            caller.send(request(body="{}"))
            caller.socket.shutdown(socket.SHUT_WR)
            assert caller.read().body == body


def test_all_its_callers_share_one_rate(tmp_path: Path, folder: Path) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_text(
        '{"identity":{"agent_id":"the-agent"},"trust_level":"verified_partner",'
        '"rate_limiting":{"requests_per_hour":2,"burst_limit":2}}'
    )
    settings = on(folder / "s", IATP_MANIFEST=str(manifest))
    with agent() as behind, sidecar(tmp_path, behind.url, settings) as running:
        # Each on a connection of its own.
        assert sorted(running.post().status for _ in range(4)) == [200, 200, 429, 429]
        assert len(behind.seen) == 2


def test_its_callers_are_not_the_machine_itself(tmp_path: Path, folder: Path) -> None:
    with agent() as behind, sidecar(tmp_path, behind.url, on(folder / "s")) as running:
        running.post(headers={"X-Agent-Trace-ID": "t"})
        for path in ("/trace/t", "/metrics", "/quarantine/t"):
            answer = running.get(path)
            assert (answer.status, answer.json()["code"]) == (403, "control_forbidden")
            assert "IATP_ADMIN_PORT" in answer.json()["error"]
            assert running.admin(path).status == (404 if "quarantine" in path else 200)
        assert running.get("/readyz").status == 200


def test_metrics_are_on_loopback_beside_it(tmp_path: Path, folder: Path) -> None:
    settings = on(folder / "s", IATP_METRICS_PORT="0")
    with agent() as behind, sidecar(tmp_path, behind.url, settings) as running:
        said = running.log().partition("metrics listener on 127.0.0.1 port ")[2]
        port = int("".join(one for one in said[:6] if one.isdigit()))
        assert running.ask("GET", "/metrics", port=port).status == 200


def test_who_may_connect_is_said_by_the_folder(tmp_path: Path, folder: Path) -> None:
    old = os.umask(0)
    try:
        with agent() as behind:
            with sidecar(tmp_path, behind.url, on(folder / "s")):
                assert mode_of(folder / "s") == 0o600
            os.umask(0o777)
            folder.chmod(0o2750)
            with sidecar(tmp_path, behind.url, on(folder / "t"), ready=False) as running:
                wait_until(lambda: (folder / "t").exists() and mode_of(folder / "t") == 0o660)
                assert (folder / "t").lstat().st_gid == folder.stat().st_gid
                assert running.process.poll() is None
    finally:
        os.umask(old)


def starts_not(tmp_path: Path, settings: dict[str, str], sentence: str) -> None:
    with sidecar(tmp_path, "http://127.0.0.1:9", settings, ready=False) as running:
        assert running.process.wait(15) not in (0, None)
        assert sentence in running.log()
        assert "Traceback" not in running.log()


def test_what_is_there_already(tmp_path: Path, folder: Path) -> None:
    path = folder / "s"
    # Used: it is left alone, also where its queue is full.
    with socket.socket(socket.AF_UNIX) as live, contextlib.ExitStack() as waiting:
        live.bind(str(path))
        live.listen(0)
        before = path.lstat().st_ino
        starts_not(tmp_path / "a", on(path), f"unix:{path} is in use")
        with contextlib.suppress(BlockingIOError):
            for _ in range(10):
                one = waiting.enter_context(socket.socket(socket.AF_UNIX))
                one.setblocking(False)
                one.connect(str(path))
        starts_not(tmp_path / "b", on(path), f"unix:{path} is in use")
        assert path.lstat().st_ino == before
    # Stale: it is replaced.
    with agent() as behind, sidecar(tmp_path / "c", behind.url, on(path)) as running:
        assert running.post().status == 200
        # A second sidecar does not take it, nor take it away.
        starts_not(tmp_path / "d", on(path), "is in use")
        assert running.post().status == 200
        # Nor does one take away what it has not made.
        path.unlink()
        path.write_text("another's")
        assert running.stop() == 0
    assert path.read_text() == "another's"
    # No socket: it is left alone.
    starts_not(tmp_path / "e", on(path), "is not a socket; set IATP_HOST to another path")
    assert path.read_text() == "another's"
    starts_not(tmp_path / "f", on(folder / "no" / "s"), "No such file or directory")


def test_no_file_is_left_where_it_does_not_start(tmp_path: Path, folder: Path) -> None:
    with agent() as behind, sidecar(tmp_path, behind.url, TRUSTED):
        # The log folder is another sidecar's.
        with sidecar(tmp_path, behind.url, on(folder / "s"), ready=False) as second:
            assert second.process.wait(15) not in (0, None)
        assert list(folder.iterdir()) == []


def test_a_second_signal_takes_the_file_away_too(tmp_path: Path, folder: Path) -> None:
    held = threading.Event()

    def reply(_: socket.socket, seen: Seen) -> bool:
        held.set()
        time.sleep(5)
        return False

    with (
        agent(reply) as behind,
        sidecar(tmp_path, behind.url, on(folder / "s")) as running,
        Caller(running.path) as caller,
    ):
        caller.send(request(body="{}"))
        assert held.wait(10)
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "draining" in running.log())
        assert running.stop() == 0
        assert list(folder.iterdir()) == []


def connects(path: str) -> bool:
    try:
        Caller(path, 1.0).socket.close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_drains(tmp_path: Path, folder: Path, workers: str) -> None:
    go_on = threading.Event()

    def reply(connection: socket.socket, seen: Seen) -> bool | None:
        go_on.wait(10)
        return says()(connection, seen)

    settings = on(folder / "s", IATP_WORKERS=workers)
    with (
        agent(reply) as behind,
        sidecar(tmp_path, behind.url, settings) as running,
        contextlib.ExitStack() as stack,
    ):
        callers = [stack.enter_context(Caller(running.path)) for _ in range(8)]
        for caller in callers:
            caller.send(request(body="{}"))
        wait_until(lambda: len(behind.seen) == 8)
        running.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not (folder / "s").exists(), 5.0)
        assert not connects(running.path)
        go_on.set()
        answers = [caller.read() for caller in callers]
        assert [answer.status for answer in answers] == [200] * 8
        assert {answer.header("connection") for answer in answers} == {"close"}
        assert running.process.wait(10) == 0


def test_no_connection_is_lost_while_it_drains(tmp_path: Path, folder: Path) -> None:
    """Whoever has connected gets an answer; whoever comes too late is refused at once."""
    with (
        agent() as behind,
        sidecar(tmp_path, behind.url, on(folder / "s", IATP_WORKERS="2")) as running,
    ):
        answered: list[int] = []

        def ask(_: int) -> None:
            with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                while True:
                    caller = Caller(running.path)
                    with caller:
                        caller.send(request(body="{}", headers={"Connection": "close"}))
                        answered.append(caller.read().status)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(answered) > 50)
        running.process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join(20)
        assert running.process.wait(10) == 0
        assert set(answered) == {200}
        assert len(running.endings()) == len(answered)


def both_serve(running: Sidecar) -> None:
    """Enough at once that each worker accepts some."""

    def ask(_: int) -> None:
        for _ in range(20):
            assert running.post().status == 200

    for _ in range(10):
        together(8, ask)
        if {record["worker"] for record in running.endings()} == {0, 1}:
            return
    raise AssertionError("one worker got nothing")


def test_two_workers_accept_from_one_socket(tmp_path: Path, folder: Path) -> None:
    settings = on(folder / "s", IATP_WORKERS="2")
    with agent() as behind, sidecar(tmp_path, behind.url, settings) as running:
        both_serve(running)
        for pid in running.workers():
            kill(pid)
            wait_until(
                lambda dead=pid: dead not in running.workers() and len(running.workers()) == 2
            )
            assert running.post().status == 200
        assert running.stop() == 0
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_after_the_death_of_every_process_it_starts_again(
    tmp_path: Path, folder: Path, workers: str
) -> None:
    settings = on(folder / "s", IATP_WORKERS=workers)
    with agent() as behind:
        with sidecar(tmp_path, behind.url, settings) as running:
            assert running.post().status == 200
            # At once: a worker that sees its supervisor gone would drain and tidy up. It first
            # goes on where it was stopped: the kernel wakes what a dying parent leaves stopped.
            pids = [*running.workers(), running.process.pid]
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            for pid in pids:
                kill(pid)
            running.process.wait(10)
            wait_until(lambda: not any(map(lives, pids)))
            assert (folder / "s").exists()
            assert not connects(running.path)
        with sidecar(tmp_path, behind.url, settings) as running:
            assert running.post().status == 200
            assert running.stop() == 0
    assert list(folder.iterdir()) == []


def test_workers_without_supervisor_take_the_file_away(tmp_path: Path, folder: Path) -> None:
    settings = on(folder / "s", IATP_WORKERS="2")
    with agent() as behind, sidecar(tmp_path, behind.url, settings) as running:
        workers = running.workers()
        kill(running.process.pid)
        running.process.wait(10)
        wait_until(lambda: not any(map(lives, workers)))
        assert list(folder.iterdir()) == []


def test_a_warning_and_a_ticket_through_it(tmp_path: Path, folder: Path) -> None:
    settings = STRANGER | {"IATP_HOST": f"unix:{folder / 's'}", "IATP_OVERRIDE": "ticket"}
    with agent() as behind, sidecar(tmp_path, behind.url, settings) as running:
        warned = running.post()
        assert warned.status == 449
        answer = running.post(
            headers={
                "X-User-Override": warned.json()["override_token"],
                "X-Agent-Trace-ID": warned.json()["trace_id"],
            }
        )
        assert answer.status == 200
        assert answer.header("x-agent-quarantined") == "true"


# The agent.


def test_an_agent_on_a_unix_socket(tmp_path: Path, folder: Path) -> None:
    settings = TRUSTED | {"IATP_READY_CHECK_AGENT": "true"}
    with (
        agent(path=str(folder / "a")) as behind,
        sidecar(tmp_path, behind.url, settings) as running,
    ):
        assert running.post('{"a":1}').status == 200
        assert running.ask("GET", "/proxy/x/y?z=1").status == 200
        assert [seen.target for seen in behind.seen] == ["/", "/x/y?z=1"]
        assert {seen.header("host") for seen in behind.seen} == {"localhost"}
        assert {seen.header("x-forwarded-for") for seen in behind.seen} == {"127.0.0.1"}
        # readyz has asked for it as well; requests share one connection.
        assert len([raw for raw in behind.raw if raw]) == 1


def test_its_url_may_have_a_path(tmp_path: Path, folder: Path) -> None:
    with (
        agent(path=str(folder / "a")) as behind,
        sidecar(tmp_path, f"{behind.url}:/base/", TRUSTED) as running,
    ):
        assert running.post().status == 200
        assert running.ask(target="/proxy/x", body="{}").status == 200
        assert [seen.target for seen in behind.seen] == ["/base/", "/base/x"]


def test_both_on_unix_sockets_with_two_workers(tmp_path: Path, folder: Path) -> None:
    settings = on(folder / "s", IATP_WORKERS="2")
    with (
        agent(path=str(folder / "a")) as behind,
        sidecar(tmp_path, behind.url, settings) as running,
    ):
        both_serve(running)


def test_an_agent_that_is_not_there(tmp_path: Path, folder: Path) -> None:
    path = folder / "a"
    settings = TRUSTED | {"IATP_READY_CHECK_AGENT": "true"}
    with sidecar(tmp_path, f"unix:{path}", settings, ready=False) as running:
        wait_until(lambda: answers(running, "/livez"))
        assert running.get("/readyz").status == 503
        answer = running.post()
        assert (answer.status, answer.json()["code"]) == (502, "agent_unreachable")
        assert str(path) not in answer.body.decode()
        assert f"the agent at unix:{path} cannot be reached" in running.log()
        with agent(path=str(path)):
            wait_until(lambda: running.get("/readyz").status == 200)
            wait_until(lambda: running.post().status == 200)
        # Its file is still there, and nobody listens.
        assert running.get("/readyz").status == 503
        path.unlink()


def answers(running: Sidecar, path: str) -> bool:
    with contextlib.suppress(OSError):
        return running.get(path).status == 200
    return False


def test_an_agent_whose_queue_is_full_is_waited_for(tmp_path: Path, folder: Path) -> None:
    path = str(folder / "a")
    with socket.socket(socket.AF_UNIX) as slow, contextlib.ExitStack() as stack:
        slow.bind(path)
        slow.listen(0)
        filler = stack.enter_context(socket.socket(socket.AF_UNIX))
        filler.connect(path)
        with sidecar(tmp_path, f"unix:{path}", TRUSTED) as running, Caller(running.port) as caller:
            caller.send(request(body="{}"))
            time.sleep(0.3)
            assert running.get("/health").status == 200
            first, _ = slow.accept()
            first.close()
            second, _ = slow.accept()
            with second:
                second.settimeout(5)
                assert second.recv(65536).startswith(b"POST / HTTP/1.1\r\n")
                second.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                assert caller.read().body == b"ok"


# The commands.


def test_the_commands_know_it(tmp_path: Path, folder: Path) -> None:
    path = folder / "s"
    done = iatp("check", env={"IATP_HOST": f"unix:{path}", "IATP_AGENT_URL": "unix:/run/a:/b"})
    assert done.returncode == 0
    assert f"unix:{path}" in done.stdout
    assert "unix:/run/a:/b" in done.stdout
    done = iatp("check", env={"IATP_HOST": f"unix:{path}", "IATP_AGENT_URL": f"unix:{path}"})
    assert done.returncode == 78
    assert "which is the sidecar itself" in done.stderr
    done = iatp("run", env={"IATP_HOST": f"unix:{path}", "IATP_PORT": "8001"})
    assert done.returncode == 78
    assert "which has no port" in done.stderr
    assert list(folder.iterdir()) == []
    with agent() as behind, sidecar(tmp_path, behind.url, on(path)):
        found = document(iatp("scan", f"unix:{path}", "--json"))
        assert (found["url"], found["verdict"]) == (f"unix:{path}", "pass")
        assert found["agent_id"] == "the-agent"
        done = iatp("scan", f"unix:{path}:/capabilities")
        assert done.returncode == 0
        assert f"unix:{path}:/capabilities is the-agent" in done.stdout
    done = iatp("scan", f"unix:{folder / 'nobody'}")
    assert done.returncode == 1
    assert iatp("scan", "unix:relative").returncode == 2
