"""`make load`: a sidecar and its agent under a load of mixed requests, on 127.0.0.1 alone.

Exit status 1 where an answer had not the status it should have, where the records or the
agent say something else than the callers saw, or where the sidecar logged an error.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

from iatp.adapters.traces import iter_records
from iatp.cli.rig import Rig, start_rig
from iatp.values.records import ENDING_TYPES, validate

_AGENT = {
    "IATP_TRUST_LEVEL": "trusted",
    "IATP_REVERSIBILITY": "full",
    "IATP_RETENTION": "permanent",
}
_RECORDED_AS = {200: "response", 403: "blocked", 400: "error"}
"""The record that ends a request, by the status that its caller saw."""


def main() -> int:
    """Run the load, then compare what callers, records and agent say."""
    parser = argparse.ArgumentParser(prog="python -m loadtest", description=__doc__)
    parser.add_argument("--full", action="store_true", help="200 users for 5 minutes, 2 workers")
    parser.add_argument("--users", type=int, default=None)
    parser.add_argument("--seconds", type=int, default=None)
    parser.add_argument("--workers", type=int, default=None)
    arguments = parser.parse_args()
    users, seconds, workers = (200, 300, 2) if arguments.full else (50, 45, 1)
    users, seconds = arguments.users or users, arguments.seconds or seconds
    workers = arguments.workers or workers
    with start_rig({"load": _AGENT | {"IATP_WORKERS": str(workers)}}) as rig:
        print(f"{users} users for {seconds} s, {workers} workers", flush=True)
        wrong = _run_locust(rig, users, seconds)
    for reason in wrong:
        print(f"load: {reason}")
    print("load: failed" if wrong else "load: passed")
    return 1 if wrong else 0


def _run_locust(rig: Rig, users: int, seconds: int) -> list[str]:
    """What was wrong."""
    sidecar = rig.sidecars["load"]
    answers = rig.folder / "answers.json"
    command = [sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("locustfile.py"))]
    command += ["--headless", "--only-summary", "--users", str(users), "--spawn-rate", str(users)]
    command += ["--run-time", f"{seconds}s", "--stop-timeout", "10"]
    command += ["--host", f"http://127.0.0.1:{sidecar.port}"]
    environment = os.environ | {"LOADTEST_ANSWERS": str(answers)}
    status = subprocess.run(command, check=False, cwd=rig.folder, env=environment).returncode
    wrong = [] if status == 0 else [f"locust ended with status {status}"]
    if not answers.exists():
        return [*wrong, "nothing was sent"]
    seen = Counter({int(code): count for code, count in json.loads(answers.read_text()).items()})
    wrong += _compare(rig, seen)
    if sidecar.process.poll() is not None:
        wrong.append("the sidecar ended by itself")
    wrong += [
        f"the sidecar said: {line}"
        for line in sidecar.log.read_text(errors="replace").splitlines()
        if " error " in line or "Traceback" in line
    ]
    return wrong


def _compare(rig: Rig, seen: Counter[int]) -> list[str]:
    """Every answered request has exactly one ending record, of the type that its status says."""
    endings: Counter[str] = Counter()
    recorded: Counter[str] = Counter()
    for stored in iter_records(rig.folder / "load" / "logs"):
        record = validate(stored.line)
        kind = record.__struct_config__.tag
        if kind in ENDING_TYPES:
            endings[record.request_id] += 1
            recorded[str(kind)] += 1
    expected = Counter({_RECORDED_AS.get(code, "?"): count for code, count in seen.items()})
    received = rig.received()
    print(
        f"{seen.total()} answers, {len(endings)} requests with an ending record, "
        f"{received} of them sent to the agent"
    )
    wrong = []
    if not seen.total():
        wrong.append("nothing was answered")
    if recorded != expected:
        wrong.append(f"records {dict(recorded)}, answers {dict(expected)}")
    if twice := sum(count > 1 for count in endings.values()):
        wrong.append(f"{twice} requests have more than one ending record")
    if received != seen[200]:
        wrong.append(f"{received} requests came to the agent, {seen[200]} were answered by it")
    return wrong


if __name__ == "__main__":
    sys.exit(main())
