"""The overview, exit statuses, and what every command has in common."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from iatp.cli.main import COMMANDS
from iatp.values.version import VERSION
from tests.cli.programs import ROOT, document, environment, iatp


def test_no_command_shows_the_overview_and_is_wrong_usage() -> None:
    done = iatp()
    assert done.returncode == 2
    assert done.stdout == ""
    for name in COMMANDS:
        assert f"\n  {name} " in done.stderr


def test_help() -> None:
    done = iatp("--help")
    assert done.returncode == 0
    for name, meaning in COMMANDS.items():
        assert name in done.stdout
        assert meaning in done.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_and_json(name: str) -> None:
    done = iatp(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"usage: iatp {name} ")
    assert "--json" in done.stdout


def test_json_of_a_server_is_its_log() -> None:
    said = " ".join(iatp("run", "--help").stdout.split())
    assert "--json write the sidecar's own log as JSON" in said


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_unknown_option_is_wrong_usage(name: str) -> None:
    done = iatp(name, "--no-such-option")
    assert done.returncode == 2
    assert done.stdout == ""


def test_unknown_command() -> None:
    done = iatp("srve")
    assert done.returncode == 2
    assert "there is no command 'srve'" in done.stderr


@pytest.mark.parametrize("arguments", [("version",), ("--version",), ("-V",)])
def test_version(arguments: tuple[str, ...]) -> None:
    done = iatp(*arguments)
    assert done.returncode == 0
    assert done.stdout.startswith(f"iatp-sidecar {VERSION} (IATP 1.0, ")


def test_version_as_json() -> None:
    facts = document(iatp("version", "--json"))
    assert facts["version"] == VERSION
    assert facts["protocol"] == "1.0"
    assert facts["python"].split(".")[:2] == [str(part) for part in sys.version_info[:2]]


def test_the_version_loads_nothing_of_the_server() -> None:
    script = (
        "import sys; from iatp.cli.main import main; main(['version']); "
        "print(sorted({'aiohttp', 'uvloop', 'asyncio', 'msgspec'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, check=True
    )
    assert done.stdout.decode().splitlines()[-1] == "[]"


def test_the_version_is_quick() -> None:
    times = []
    for _ in range(5):
        began = time.monotonic()
        assert iatp("version").returncode == 0
        times.append(time.monotonic() - began)
    assert min(times) < 0.5


def test_a_reader_that_has_seen_enough_is_no_failure() -> None:
    """`iatp … | head -1` ends without a traceback."""
    process = subprocess.Popen(
        [sys.executable, "-m", "iatp", "run", "--help"],
        env=environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    errors = process.stderr.read()
    process.stderr.close()
    assert process.wait(30) in (0, 141)
    assert errors == b""
