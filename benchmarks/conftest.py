"""The option --renew, and what is printed at the end."""

from __future__ import annotations

import pytest

from benchmarks.baseline import PATH, Baseline

_baseline = pytest.StashKey[Baseline]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--renew", action="store_true", help="write benchmarks/baseline.json from this run"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_baseline] = Baseline.read(PATH, renews=config.getoption("--renew"))


@pytest.fixture(scope="session")
def baseline(pytestconfig: pytest.Config) -> Baseline:
    return pytestconfig.stash[_baseline]


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    baseline = session.config.stash[_baseline]
    if baseline.renews and exitstatus == 0:
        baseline.write(PATH)
        baseline.lines.append(f"benchmarks/{PATH.name} is written anew")


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    terminalreporter.section("beside the baseline")
    for line in config.stash[_baseline].lines:
        terminalreporter.write_line(line)
