from __future__ import annotations

from pathlib import Path

from tests.e2e.agents import agent
from tests.e2e.sidecars import KEEPS, sidecar


def test_allowed_blocked_refused(tmp_path: Path) -> None:
    with agent() as behind, sidecar(tmp_path, behind.url, KEEPS) as running:
        assert running.post('{"a":1}').status == 200
        assert running.post('{"a":"4111111111111111"}').status == 403
        assert running.post("{").status == 400
        assert [record["type"] for record in running.endings()] == ["response", "blocked", "error"]
        assert running.stop() == 0
    assert [one.body for one in behind.seen] == [b'{"a":1}']
