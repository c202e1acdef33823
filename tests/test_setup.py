"""tools/setup.sh on machines that lack something: all of it is named before anything is made.

The machines are made of a PATH with few programs on it. That a whole machine works is shown
by .ci/run, which starts with the same script.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
TOOLS = ("dirname", "mktemp", "rm", "cat", "cksum", "tail", "grep", "tr", "sort", "id", "printf")


class Machine:
    """A folder with the project's setup in it, and a PATH."""

    def __init__(self, folder: Path) -> None:
        self.project = folder / "project"
        (self.project / "tools").mkdir(parents=True)
        (self.project / "iatp" / "_fast").mkdir(parents=True)
        for name in ("tools/setup.sh", "requirements.lock", "requirements-dev.lock"):
            shutil.copy(ROOT / name, self.project / name)
        self.programs = folder / "bin"
        self.programs.mkdir()
        for name in TOOLS:
            found = shutil.which(name)
            if found:
                (self.programs / name).symlink_to(found)
        self.program("uname", "echo Linux")

    def program(self, name: str, script: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def python(self, name: str = "python3", *, lacks: tuple[str, ...] = ()) -> None:
        """This Python, but for programs that mention one of these words, which fail."""
        patterns = "|".join(f"*{word}*" for word in lacks) or "nothing-at-all"
        self.program(name, f'case "$*" in {patterns}) exit 1 ;; esac\nexec {sys.executable} "$@"')

    def compiler(self) -> None:
        self.program("cc", ": nothing")

    def setup(self, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "tools/setup.sh", "run"],
            cwd=self.project,
            env={"PATH": str(self.programs), "HOME": str(self.project), **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def sudo() -> str:
    return "" if os.getuid() == 0 else "sudo "


def test_no_python(machine: Machine) -> None:
    machine.program("apt-get", ":")
    machine.program("apt-cache", '[ "$2" = python3.12 ] || [ "$2" = python3.11 ]')
    done = machine.setup()
    assert done.returncode == 1
    assert "no Python 3.11 or newer was found" in done.stderr
    packages = "python3.12 python3.12-dev python3.12-venv build-essential"
    assert f"    {sudo()}apt install {packages}\n" in done.stderr


def test_a_python_that_is_too_old_or_only_a_shim_is_passed_over(machine: Machine) -> None:
    machine.program("python3", "exit 1")
    machine.python("python3.12", lacks=("Python.h",))
    machine.compiler()
    done = machine.setup()
    assert f"the headers of Python {VERSION} (Python.h) are missing" in done.stderr


def test_everything_missing_is_named_at_once(machine: Machine) -> None:
    machine.python(lacks=("Python.h", "ensurepip", "virtualenv"))
    machine.program("apt-get", ":")
    done = machine.setup()
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        f"setup: the headers of Python {VERSION} (Python.h) are missing",
        "setup: no working C compiler was found",
        f"setup: Python {VERSION} comes without venv and ensurepip, "
        "and neither virtualenv nor uv is here",
        "setup: install what is missing and run this again:",
        f"    {sudo()}apt install python{VERSION}-dev build-essential python{VERSION}-venv",
    ]
    assert not (machine.project / ".venv").exists()


def test_a_compiler_that_cannot_compile_is_missing(machine: Machine) -> None:
    """On macOS `cc` is there before the command line tools are."""
    machine.python()
    machine.program("uname", "echo Darwin")
    machine.program("cc", "exit 1")
    done = machine.setup(CC="cc")
    assert done.returncode == 1
    assert "no working C compiler was found" in done.stderr
    assert done.stderr.endswith("    xcode-select --install\n")


def test_macos_without_headers(machine: Machine) -> None:
    machine.python(lacks=("Python.h",))
    machine.compiler()
    machine.program("uname", "echo Darwin")
    done = machine.setup()
    assert done.stderr.endswith(f"    brew install python@{VERSION}\n")


@pytest.mark.parametrize(
    ("manager", "line"),
    [
        ("dnf", "dnf install python{version}-devel gcc"),
        ("apk", "apk add python3-dev gcc musl-dev linux-headers"),
    ],
)
def test_other_distributions(machine: Machine, manager: str, line: str) -> None:
    machine.python(lacks=("Python.h",))
    machine.program(manager, ":")
    done = machine.setup()
    assert done.stderr.endswith(f"    {sudo()}{line.format(version=VERSION)}\n")


@pytest.mark.parametrize("maker", ["virtualenv", "uv"])
def test_without_ensurepip_another_maker_is_used(machine: Machine, maker: str) -> None:
    machine.python(lacks=("ensurepip", "virtualenv"))
    machine.compiler()
    machine.program(maker, 'echo "$0 $*" >called; exit 1')
    done = machine.setup()
    assert done.returncode == 1
    assert f"failed: {maker}" in done.stderr
    assert ".venv" in (machine.project / "called").read_text()


def test_named_python_must_fit(machine: Machine) -> None:
    machine.python()
    machine.program("python2", "exit 1")
    done = machine.setup(PYTHON="python2")
    assert done.returncode == 1
    assert done.stderr == "setup: PYTHON=python2 is not CPython 3.11 or newer\n"


def test_unknown_group(machine: Machine) -> None:
    done = subprocess.run(
        ["/bin/sh", "tools/setup.sh", "everything"],
        cwd=machine.project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (2, "usage: tools/setup.sh run|dev\n")
