"""Records to write in tests, and how to read back what stands in a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from iatp.adapters.recorder import Recorder
from iatp.adapters.signing import default_signing_key_path, signing_key
from iatp.adapters.verification import Verdict, verify

REPOSITORY = Path(__file__).parents[2]


def tail(trace_id: str, number: int = 0, *, mono_ns: int | None = None, fill: int = 0) -> bytes:
    """The tail of a `request` record as the gate makes it."""
    return json.dumps(
        {
            "type": "request",
            "trace_id": trace_id,
            "request_id": f"r{number}",
            "timestamp": "2025-11-24T00:00:00.000000Z",
            "agent_id": "bank",
            "mono_ns": number if mono_ns is None else mono_ns,
            "payload": "x" * fill,
        },
        separators=(",", ":"),
    ).encode()[1:]


def stored(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """All records by segment file; fails on a line that is not one."""
    return {
        path.name: [json.loads(line) for line in path.read_bytes().splitlines()]
        for path in sorted(folder.glob("*.jsonl"))
    }


def request_ids(folder: Path) -> list[str]:
    return [record["request_id"] for records in stored(folder).values() for record in records]


def check_numbering(folder: Path) -> None:
    for name, records in stored(folder).items():
        assert [record["seq"] for record in records] == list(range(len(records))), name


def overdue(recorder: Recorder) -> None:
    """Let the look at the file that comes once a second be due now."""
    recorder._check_due = 0.0


def run_python(script: str, *args: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own, for what would harm this one."""
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        **options,
    )


def start_python(script: str, *args: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, args)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


def verdict(folder: Path, *heads: bytes) -> Verdict:
    """What verification says of a log whose key lies beside it."""
    key = signing_key(default_signing_key_path(folder))
    return verify(
        str(folder),
        public_keys=[key.public_key],
        heads=heads,
        patience_s=0,
    )


def check_sound(folder: Path, *heads: bytes) -> Verdict:
    said = verdict(folder, *heads)
    assert said.sound, said.problems
    return said
