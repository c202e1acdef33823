"""What the README shows can be pasted: its Python block serves, its commands are spelled right."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.cli.programs import environment
from tests.e2e.agents import agent
from tests.e2e.sidecars import Caller, free_ports, is_ready, request, wait_until

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_the_python_block_serves(tmp_path: Path) -> None:
    block = re.search(r"(?s)```python\n(.*?)```", README)
    assert block is not None
    port, admin_port = free_ports(2)
    with agent() as behind:
        code = block[1].replace("8001", str(port)).replace("http://localhost:8000", behind.url)
        assert code != block[1]
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=environment({"IATP_ADMIN_PORT": str(admin_port), "PYTHONUNBUFFERED": "1"}),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_until(lambda: process.poll() is not None or is_ready(port), 15.0)
            with Caller(port) as caller:
                caller.send(request("GET", "/capabilities"))
                served = caller.read("GET").json()
                assert served["identity"]["agent_id"] == "production-agent-v1"
                caller.send(request(body=json.dumps({"a": 1})))
                answer = caller.read()
            assert (answer.status, answer.header("x-agent-trust-score")) == (200, "10")
        finally:
            process.terminate()
            out, _ = process.communicate(timeout=20)
        assert process.returncode == 0
        assert out == b"10\n"
        assert [one.body for one in behind.seen] == [b'{"a": 1}']


def test_the_curl_lines_are_the_examples_own() -> None:
    lines = re.findall(r"(?m)^\$ (curl .*)$", README)
    assert len(lines) == 5
    assert all("localhost:" in line for line in lines)
