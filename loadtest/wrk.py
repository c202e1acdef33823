"""The twin in C: what locust cannot reach, because it is itself the slowest part.

wrk sends clean requests alone and says how many were answered and how soon. The agent behind
the sidecar is the quick one of tests/e2e/crowd.py.
"""

from __future__ import annotations

import dataclasses
import re
import subprocess
import tempfile
from pathlib import Path

from loadtest.scenarios import KEEPS, ROOM
from tests.e2e.crowd import BODY, crowd_agent
from tests.e2e.load import peak_kib
from tests.e2e.sidecars import sidecar

_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [==[{body}]==]
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Twin:
    """One run of wrk, and what must hold beside: no failed request."""

    name: str
    connections: int
    seconds: int
    agent_delay_s: float = 0.0
    """How long the agent takes for each request."""
    resident_mb: float
    """The most that the sidecar's process may ever hold."""


_PEAK = Twin(name="peak (wrk)", connections=64, seconds=5, resident_mb=64.0)
SHORT = (_PEAK,)
FULL = (
    _PEAK,
    Twin(
        name="9,000 in flight (wrk)",
        connections=9_000,
        seconds=20,
        agent_delay_s=1.0,
        resident_mb=110.0,
    ),
)


def run(twin: Twin) -> list[str]:
    """What was wrong."""
    print(f"\n{twin.name}: {twin.connections} connections, {twin.seconds} s", flush=True)
    with tempfile.TemporaryDirectory(prefix="iatp-") as made, crowd_agent() as agent:
        folder = Path(made)
        agent.release(twin.agent_delay_s)
        script = folder / "post.lua"
        script.write_text(_SCRIPT.format(body=BODY.decode()))
        target = "/proxy" if twin.agent_delay_s else "/proxy/quick"
        with sidecar(folder / "sidecar", agent.url, KEEPS | ROOM) as running:
            command = ["wrk", "-t1", f"-c{twin.connections}", f"-d{twin.seconds}s", "--latency"]
            command += ["--timeout", "30s", "-s", str(script)]
            command += [f"http://127.0.0.1:{running.port}{target}"]
            said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
            peak = peak_kib(running.process.pid) * 1024 / 1e6
    print("\n".join(line for line in said.splitlines()[2:] if line.strip()))
    print(f"most memory of the sidecar: {peak:.1f} MB")
    wrong = [
        line.strip() for line in said.splitlines() if "Non-2xx" in line or "Socket errors" in line
    ]
    if not re.search(r"[1-9]\d* requests in", said):
        wrong.append("nothing was answered")
    if peak > twin.resident_mb:
        wrong.append(f"more than {twin.resident_mb:g} MB")
    return wrong
