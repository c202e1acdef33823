"""The log is verified and exported while it is rotated each second and mostly deleted."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tests.cli.programs import ROOT, iatp
from tests.e2e.agents import agent
from tests.e2e.load import load
from tests.e2e.sidecars import TRUSTED, log_key, sidecar

OFTEN = """
import os
if "IATP_LOG_MAX_SIZE" in os.environ:
    from iatp.sidecar import worker
    worker.PRUNE_S = 0.2
"""
"""What the sidecar does each minute it does five times a second."""
STORED = {
    "plain": {"IATP_LOG_COMPRESS": "off"},
    "compressed and encrypted": {"IATP_LOG_COMPRESS_AFTER": "0s", "IATP_LOG_KEY_FILE": ""},
}


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.timeout(180)
def test_no_false_alarm_and_what_is_exported_verifies(tmp_path: Path, stored: str) -> None:
    (tmp_path / "sitecustomize.py").write_text(OFTEN)
    more = dict(STORED[stored])
    if "IATP_LOG_KEY_FILE" in more:
        more |= log_key(tmp_path)
    settings = {
        **TRUSTED,
        **more,
        "IATP_WORKERS": "2",
        "IATP_LOG_SEGMENT_AGE": "1s",
        "IATP_LOG_MAX_SIZE": "4MiB",
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
    }
    given = ["--log-key-file", more["IATP_LOG_KEY_FILE"]] if "IATP_LOG_KEY_FILE" in more else []
    exported = 0
    with agent() as behind, sidecar(tmp_path, behind.url, settings) as running:
        log = ["--log-dir", str(running.logs), *given]
        with load(running.port, 8, body=json.dumps({"text": "x" * 500})) as asking:
            ended = time.monotonic() + 15
            while time.monotonic() < ended:
                verified = iatp("log", "verify", *log, "--json", timeout=60)
                assert verified.returncode == 0, verified.stdout
                archive, restored = tmp_path / f"{exported}.tar", tmp_path / f"again-{exported}"
                made = iatp("log", "export", str(archive), *log, timeout=60)
                assert made.returncode == 0, made.stderr
                again = ["--log-dir", str(restored), *given]
                # Verifies what it has made.
                done = iatp("log", "import", str(archive), *again, "--json", timeout=60)
                assert done.returncode == 0, done.stdout + done.stderr
                # Within the first second nothing is sealed yet.
                assert json.loads(done.stdout)["verdict"]["records"] > 0 or not exported
                exported += 1
        assert not asking.lost
        assert running.stop() == 0
        said = running.log()
    assert exported > 1
    assert said.count("and are deleted.") > 1
    assert "could not be kept in order" not in said
    verified = iatp("log", "verify", *log)
    assert verified.returncode == 0, verified.stdout
