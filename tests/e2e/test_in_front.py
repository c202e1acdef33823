"""What stands in front: nginx, a web page, and what strace sees leave."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.agents import Agent, Seen, agent
from tests.e2e.sidecars import (
    TRUSTED,
    Caller,
    Sidecar,
    free_ports,
    is_ready,
    request,
    sidecar,
    stopped,
    wait_until,
)

PROGRAMS = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"

NGINX = """
daemon off; master_process off; worker_processes 1;
error_log {folder}/error.log; pid {folder}/nginx.pid;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2;
    fastcgi_temp_path {folder}/t3; uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://127.0.0.1:{behind};
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            {header}
        }}
    }}
}}
"""


@contextlib.contextmanager
def nginx(folder: Path, behind: int, header: str) -> Iterator[int]:
    """A plain nginx before this port; gives its own."""
    program = shutil.which("nginx", path=PROGRAMS)
    assert program, "these tests need nginx"
    folder.mkdir()
    (port,) = free_ports(1)
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.format(folder=folder, port=port, behind=behind, header=header))
    process = subprocess.Popen([program, "-p", folder, "-c", configuration])
    try:
        wait_until(lambda: is_ready(port))
        yield port
    finally:
        process.terminate()
        process.wait(10)


@pytest.mark.servers
@pytest.mark.parametrize(
    "header",
    [
        "proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;",
        "proxy_set_header X-Real-IP $remote_addr;",
        'proxy_set_header Forwarded "for=$remote_addr";',
        'proxy_set_header Via "1.1 nginx";',
    ],
)
def test_callers_from_outside_reach_no_control_endpoint(tmp_path: Path, header: str) -> None:
    with (
        agent() as behind,
        sidecar(tmp_path / "sidecar", behind.url, TRUSTED) as running,
        nginx(tmp_path / "nginx", running.port, header) as port,
    ):
        outside = {
            "X-Forwarded-For": "6.6.6.6",
            "X-Forwarded-Host": "evil",
            "X-Forwarded-Proto": "x",
        }
        answer = running.ask(body='{"a":1}', headers=outside, port=port)
        assert answer.status == 200
        trace_id = answer.header("x-agent-trace-id")
        for target in (f"/trace/{trace_id}", "/metrics", f"/quarantine/{trace_id}"):
            refused = running.ask("GET", target, port=port)
            assert (refused.status, refused.json()["code"]) == (403, "control_forbidden")
        for target in ("/health", "/livez", "/readyz", "/capabilities"):
            assert running.ask("GET", target, port=port).status == 200
        # The same from the machine itself, without a proxy, is allowed.
        assert running.get(f"/trace/{trace_id}").status == 200
        assert running.get("/metrics").status == 200
        (seen,) = behind.seen
        assert seen.header("x-forwarded-for") == "127.0.0.1"
        assert seen.header("x-forwarded-proto") == "http"
        assert seen.header("x-real-ip") is None
        assert seen.header("forwarded") is None
        assert "6.6.6.6" not in str(seen.headers)
        assert "evil" not in str(seen.headers)
        assert running.records()[0]["peer"] == "127.0.0.1"


FROM_A_PAGE: tuple[dict[str, str], ...] = (
    {"Host": "evil.example"},
    {"Host": "evil.example:9901"},
    {"Host": "127.0.0.1.evil.example"},
    {"Origin": "http://evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
)


def test_a_web_page_does_not_reach_the_admin_port(tmp_path: Path) -> None:
    with agent() as behind, sidecar(tmp_path, behind.url, TRUSTED) as running:
        running.post(headers={"X-Agent-Trace-ID": "secret"})
        own = {"Host": f"127.0.0.1:{running.admin_port}"}
        for target in ("/trace/secret", "/metrics"):
            for headers in FROM_A_PAGE:
                refused = running.admin(target, headers)
                assert refused.status == 403, headers
                assert b"secret" not in refused.body
            assert running.admin(target).status == 200
            assert running.admin(target, own).status == 200


_CALL = re.compile(r"\b(?:write|writev|sendto|sendmsg|pwrite64)\(\d+<(.*?)>, (.*)")

_SYNCED = re.compile(r"\bfdatasync(?:\(\d+<[^>]*\.open\.jsonl>| resumed>)\) += 0")


@contextlib.contextmanager
def strace(
    running: Sidecar,
    output: Path,
    calls: str = "write,writev,sendto,sendmsg,pwrite64",
    *options: str,
) -> Iterator[None]:
    """What a sidecar asks of the kernel, with the file or connection: what it writes."""
    program = shutil.which("strace", path=PROGRAMS)
    assert program, "these tests need strace"
    process = subprocess.Popen(
        [
            program,
            "-f",
            "-yy",
            "-s",
            "8000",
            "-e",
            f"trace={calls}",
            *options,
            "-o",
            output,
            "-p",
            str(running.process.pid),
        ],
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    assert b"attached" in process.stderr.readline()
    try:
        yield
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=10)


def _steps(output: Path, running: Sidecar, behind: Agent) -> list[str]:
    """What strace saw: types of records written, syncs done, what went where."""
    steps = []
    for line in output.read_text().splitlines():
        if re.search(
            r"\bfdatasync\(\d+<[^>]*\.open\.jsonl>\) += 0|fdatasync resumed>\) += 0", line
        ):
            steps.append("sync")
        found = _CALL.search(line)
        if not found:
            continue
        target, data = found.groups()
        if ".open.jsonl" in target:
            steps += re.findall(r'\\"type\\":\\"(\w+)\\"', data)
        elif f":{behind.port}" in target and "POST / HTTP/1.1" in data:
            steps.append("to the agent")
        elif f":{running.port}" in target and data.startswith(END_OF_STREAM):
            steps.append("end of it")
        elif f":{running.port}" in target and "HTTP/1.1" in data:
            steps.append("to the caller")
    return steps


END_OF_STREAM = r'"0\r\n\r\n"'
"""As strace writes it: the last bytes of a chunked answer."""


@pytest.mark.servers
@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_record_is_on_disk_before_what_it_records_leaves(durability: str, tmp_path: Path) -> None:
    settings = TRUSTED | {"IATP_DURABILITY": durability}
    calls = "write,writev,sendto,sendmsg,pwrite64,fdatasync"
    sync = ["sync"] if durability == "power" else []
    with agent() as behind, sidecar(tmp_path, behind.url, settings) as running:
        with strace(running, tmp_path / "strace", calls):
            for number in range(5):
                assert running.post(b'{"n":%d}' % number).status == 200
            assert running.post("{").status == 400
        served = ["request", *sync, "to the agent", "response", *sync, "to the caller"]
        assert _steps(tmp_path / "strace", running, behind) == [
            *(served * 5),
            *("error", *sync, "to the caller"),
        ]


@pytest.mark.servers
def test_what_has_come_together_is_recorded_by_one_write(tmp_path: Path) -> None:
    together = 12
    settings = TRUSTED | {"IATP_CONCURRENCY_LIMIT": "64"}
    with (
        agent() as behind,
        sidecar(tmp_path, behind.url, settings) as running,
        contextlib.ExitStack() as stack,
    ):
        callers = [stack.enter_context(Caller(running.port)) for _ in range(together)]

        def ask_at_once() -> None:
            with stopped(running.process.pid):
                for caller in callers:
                    caller.send(request(body="{}"))
            assert {caller.read().status for caller in callers} == {200}

        # Connections on both sides are used by then.
        ask_at_once()
        ask_at_once()
        with strace(running, tmp_path / "strace", "write,writev"):
            ask_at_once()
        written = [
            line.count(r"\"type\":\"request\"")
            for line in (tmp_path / "strace").read_text().splitlines()
            if ".open.jsonl" in line
        ]
    assert together in written, written
    assert sum(written) == together


@pytest.mark.servers
def test_a_connection_that_the_agent_closes_while_the_record_is_written_is_replaced(
    tmp_path: Path,
) -> None:
    with (
        agent() as behind,
        sidecar(tmp_path, behind.url, TRUSTED) as running,
        Caller(running.port) as caller,
    ):

        def ask(number: int) -> int:
            caller.send(request(body=f'{{"n":{number}}}'))
            return caller.read().status

        # Connections on both sides are used by then.
        assert ask(1) == ask(2) == 200
        assert behind.connections == 1
        slowly = ["-e", "inject=writev:delay_enter=400000:when=1"]
        with strace(running, tmp_path / "strace", "writev", *slowly):
            caller.send(request(body='{"n":3}'))
            time.sleep(0.2)
            behind.hang_up()
            assert caller.read().status == 200
        # A POST: it has been sent once, over another connection.
        assert [seen.body for seen in behind.seen] == [b'{"n":1}', b'{"n":2}', b'{"n":3}']
        assert behind.connections == 2


@pytest.mark.servers
@pytest.mark.parametrize("durability", ["process", "power"])
def test_the_end_of_a_stream_leaves_behind_its_record(durability: str, tmp_path: Path) -> None:
    settings = TRUSTED | {"IATP_DURABILITY": durability}
    calls = "write,writev,sendto,sendmsg,pwrite64,fdatasync"
    sync = ["sync"] if durability == "power" else []

    def reply(connection: socket.socket, _: Seen) -> bool:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n"
        )
        time.sleep(0.1)
        connection.sendall(b"9\r\ndata: 2\n\n\r\n")
        time.sleep(0.1)
        connection.sendall(b"0\r\n\r\n")
        return True

    with agent(reply) as behind, sidecar(tmp_path, behind.url, settings) as running:
        with strace(running, tmp_path / "strace", calls):
            for _ in range(3):
                assert running.post().body == b"data: 1\n\ndata: 2\n\n"
        served = ["request", *sync, "to the agent", "to the caller"]
        served += ["response", *sync, "end of it"]
        assert _steps(tmp_path / "strace", running, behind) == served * 3
