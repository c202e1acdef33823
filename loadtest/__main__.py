"""`make load`: a sidecar and its agent under a load of mixed requests, on 127.0.0.1 alone.

Exit status 1 where an answer had not the status it should have, or a request that was
answered has not exactly one ending record.
"""

from __future__ import annotations

import argparse
import csv
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


def main() -> int:
    """Run the load and check the records."""
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
        failed = _run_locust(rig, users, seconds)
    return 1 if failed else 0


def _run_locust(rig: Rig, users: int, seconds: int) -> bool:
    sidecar = rig.sidecars["load"]
    results = rig.folder / "locust"
    command = [sys.executable, "-m", "locust", "-f", str(Path(__file__).with_name("locustfile.py"))]
    command += ["--headless", "--only-summary", "--users", str(users), "--spawn-rate", str(users)]
    command += ["--run-time", f"{seconds}s", "--stop-timeout", "10", "--csv", str(results)]
    command += ["--host", f"http://127.0.0.1:{sidecar.port}"]
    status = subprocess.run(command, check=False, cwd=rig.folder).returncode
    with Path(f"{results}_stats.csv").open(newline="") as file:
        answered = next(
            int(row["Request Count"]) for row in csv.DictReader(file) if row["Name"] == "Aggregated"
        )
    return not _records_agree(rig, answered) or status != 0


def _records_agree(rig: Rig, answered: int) -> bool:
    """Whether every answered request has exactly one ending record."""
    endings: Counter[str] = Counter()
    for stored in iter_records(rig.folder / "load" / "logs"):
        record = validate(stored.line)
        if record.__struct_config__.tag in ENDING_TYPES:
            endings[record.request_id] += 1
    twice = sum(count > 1 for count in endings.values())
    print(f"{answered} answers, {len(endings)} requests with an ending record, {twice} with two")
    return len(endings) >= answered > 0 and not twice


if __name__ == "__main__":
    sys.exit(main())
