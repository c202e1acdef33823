"""Counts the instructions of each case under valgrind's callgrind.

The counts are the same to a few in a thousand whatever else the machine does, so they show
a regression that no clock would. What runs under valgrind is benchmarks/counted.py.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.counted import RUNS

ROOT = Path(__file__).parent.parent
WITHIN_S = 240


class UnavailableError(Exception):
    """Instructions cannot be counted here; the text says why."""


def machine() -> dict[str, str]:
    """What the counts of one machine must share with those of another to be comparable."""
    compiler = (sysconfig.get_config_var("CC") or "cc").split()[0]
    version = subprocess.run(
        [os.environ.get("CC", compiler), "-dumpversion"], capture_output=True, text=True, check=True
    ).stdout
    return {
        "arch": platform.machine(),
        "python": platform.python_version().rpartition(".")[0],
        "compiler": f"{compiler} {version.split('.')[0].strip()}",
        "libc": "-".join(platform.libc_ver()),
    }


def count(
    program: Sequence[str] = ("benchmarks.counted",), variables: Mapping[str, str] | None = None
) -> dict[str, int]:
    """Instructions of one call of each case; under "calibration" those of Python itself.

    `program` is a module with its arguments that runs its cases as benchmarks/counted.py does.

    Raises:
        UnavailableError: there is no valgrind, or it cannot run this Python.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise UnavailableError("valgrind is not installed (Debian: apt install valgrind)")
    with tempfile.TemporaryDirectory(prefix="iatp-callgrind-") as folder:
        done = subprocess.run(
            [
                valgrind,
                "--tool=callgrind",
                f"--callgrind-out-file={folder}/out",
                "--dump-before=getppid",
                sys.executable,
                "-m",
                *program,
            ],
            cwd=ROOT,
            env=os.environ
            | {"PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
            | dict(variables or {}),
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
        if done.returncode != 0:
            raise UnavailableError(f"valgrind failed: {done.stderr.strip()[-500:]}")
        names = done.stdout.splitlines()
        # Two dumps a case: what came before it, and the case.
        counted = [_total(Path(f"{folder}/out.{2 * at + 2}")) for at in range(len(names))]
    nothing, *rest = counted
    return {name: (total - nothing) // RUNS for name, total in zip(names[1:], rest, strict=True)}


def _total(dump: Path) -> int:
    found = re.search(r"^(?:totals|summary): (\d+)$", dump.read_text(), re.MULTILINE)
    if found is None:
        raise UnavailableError(f"valgrind wrote no total into {dump.name}")
    return int(found.group(1))
