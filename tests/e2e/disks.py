"""Disks that fail on command, for sidecars that write to them (faults.c)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.cli.programs import iatp
from tests.e2e.sidecars import Sidecar

SOURCE = Path(__file__).parent / "faults.c"


class Disk:
    """The disk below the log folder of the sidecar that lives in `folder`.

    Linux with glibc, as the shim's calls are named there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        library = folder / "faults.so"
        compiler = os.environ.get("CC") or (sysconfig.get_config_var("CC") or "cc").split()[0]
        subprocess.run(
            [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", library, SOURCE, "-ldl"],
            check=True,
        )
        self._rules = folder / "faults"
        self._rules.write_text("")
        self.variables = {
            "LD_PRELOAD": str(library),
            "IATP_TEST_FAULTS": str(self._rules),
            "IATP_TEST_FOLDER": str(folder / "logs"),
        }

    def fail(self, *rules: str) -> None:
        """From now on these rules hold, and no others."""
        made = self._rules.with_suffix(".new")
        made.write_text("".join(f"{rule}\n" for rule in rules))
        made.rename(self._rules)

    def heal(self) -> None:
        """Everything works."""
        self.fail()

    def syncs(self) -> int:
        """How many syncs of log files have succeeded."""
        said = self._rules.with_suffix(".syncs")
        return said.stat().st_size if said.exists() else 0


@contextlib.contextmanager
def small_file_system(size: str) -> Iterator[Path | None]:
    """A file system of its own of this size; None where mounting is not allowed."""
    with tempfile.TemporaryDirectory(prefix="iatp-small-") as folder:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", folder],
            capture_output=True,
            check=False,
        )
        if mounted.returncode != 0:
            yield None
            return
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "-l", folder], check=True)


def check_log(running: Sidecar) -> Counter[tuple[str, str]]:
    """How often each (trace ID, type) stands in the log, which must be in order.

    Each line is a record, `seq` has no gaps, no record stands there twice, no request ends twice.
    """
    kinds: Counter[tuple[str, str]] = Counter()
    once: Counter[tuple[str, str]] = Counter()
    for record in running.records():
        kinds[record["trace_id"], record["type"]] += 1
        ends = record["type"] not in ("request", "user_override", "access")
        once[record["request_id"], "end" if ends else record["type"]] += 1
    assert {key: count for key, count in once.items() if count > 1} == {}
    for path in running.logs.glob("*.jsonl"):
        numbers = [int(line.split(b",", 1)[0][7:]) for line in path.read_bytes().splitlines()]
        assert numbers == list(range(len(numbers))), path.name
    return kinds


def check_stopped(running: Sidecar) -> Counter[tuple[str, str]]:
    """The same of a sidecar that has ended; `iatp log verify` must find the log sound too."""
    settings = {"IATP_LOG_KEY_FILE": running.log_key_file}
    done = iatp("log", "verify", "--log-dir", str(running.logs), env=settings)
    assert done.returncode == 0, done.stdout + done.stderr
    return check_log(running)
