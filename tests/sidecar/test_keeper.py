"""The keeper as a process: there while there is work, gone with its worker, back where it died."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from iatp.adapters.configuration import load
from iatp.adapters.keeper import Keeper
from iatp.sidecar import keeper as module
from iatp.sidecar.keeper import KeeperProcess
from tests.adapters.recording import start_python
from tests.logs import Log

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def log(tmp_path: Path) -> Log:
    made = Log(tmp_path / "logs", key=Ed25519PrivateKey.generate())
    add_segment(made)
    return made


def add_segment(log: Log) -> None:
    for _ in range(30):
        log.append(0, payload="x" * 100)
    log.close(0)


@pytest.fixture
def process(log: Log, monkeypatch: pytest.MonkeyPatch) -> Iterator[KeeperProcess]:
    monkeypatch.setattr(module, "IDLE_S", 2.0)
    monkeypatch.setattr(module, "RETRY_S", 0.2)
    made = KeeperProcess(load({"log_dir": str(log.folder), "log_compress_after": "0s"}).settings)
    yield made
    made.close()


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def compressed(log: Log) -> int:
    return len(list(log.folder.glob("*.jsonl.zst")))


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def ended(process: KeeperProcess) -> bool:
    process.look()
    return process.pid == 0


def test_it_is_there_while_there_is_work(log: Log, process: KeeperProcess) -> None:
    process.look()
    pid = process.pid
    assert pid
    until(lambda: compressed(log) == 1)
    add_segment(log)
    until(lambda: compressed(log) == 2)
    assert process.pid == pid
    until(lambda: ended(process))
    for _ in range(3):
        process.look()
        assert process.pid == 0
    add_segment(log)
    process.look()
    assert process.pid not in {0, pid}
    until(lambda: compressed(log) == 3)


def test_without_work_there_is_none(log: Log, process: KeeperProcess) -> None:
    Keeper(log.folder, compress=True, compress_after_s=0, keys=None).work()
    process.look()
    assert process.pid == 0


def test_it_has_the_lowest_priority_and_no_secrets(
    process: KeeperProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IATP_ADMIN_TOKEN", "not-for-the-keeper")
    process.look()
    until(lambda: os.getpriority(os.PRIO_PROCESS, process.pid) == 19)
    assert b"not-for-the-keeper" not in Path(f"/proc/{process.pid}/environ").read_bytes()
    mine = Path(f"/proc/{process.pid}/fd")
    links = []
    for one in mine.iterdir():
        # It opens and closes files meanwhile.
        with contextlib.suppress(FileNotFoundError):
            links.append(str(one.readlink()))
    assert links
    assert not [link for link in links if link.startswith("socket:")]


def test_its_death_is_noticed_and_it_is_started_again(
    log: Log, process: KeeperProcess, caplog: pytest.LogCaptureFixture
) -> None:
    process.look()
    first = process.pid
    os.kill(first, signal.SIGKILL)
    until(lambda: ended(process))
    assert "The keeper of the log was killed by signal 9" in caplog.text
    until(lambda: (process.look(), process.pid)[1] != 0)
    assert process.pid != first
    until(lambda: compressed(log) == 1)


def test_what_it_cannot_do_does_not_keep_it_busy(log: Log, process: KeeperProcess) -> None:
    path = log.path(log.made[0])
    path.write_bytes(path.read_bytes()[:-50])
    process.look()
    assert process.pid
    until(lambda: ended(process))
    process.look()
    assert process.pid == 0
    # What comes after is done all the same.
    add_segment(log)
    process.look()
    assert process.pid
    until(lambda: compressed(log) == 1)


def test_a_key_file_that_is_gone_is_said_and_tried_again(
    log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    process = KeeperProcess(
        load({"log_dir": str(log.folder), "log_key_file": str(tmp_path / "gone")}).settings
    )
    process.look()
    until(lambda: ended(process))
    assert "The keeper of the log failed with status 1" in caplog.text
    assert "gone (IATP_LOG_KEY_FILE) does not exist" in capfd.readouterr().err
    process.look()
    assert process.pid == 0


def test_closing_ends_it(process: KeeperProcess) -> None:
    process.look()
    pid = process.pid
    process.close()
    assert process.pid == 0
    assert not is_alive(pid)


SPAWNING = """
import sys, time
from iatp.adapters.configuration import load
from iatp.sidecar.keeper import KeeperProcess
process = KeeperProcess(load({"log_dir": sys.argv[1], "log_compress_after": "0s"}).settings)
process.look()
print(process.pid, flush=True)
time.sleep(60)
"""


def test_it_ends_with_its_worker_however_that_ends(log: Log) -> None:
    worker = start_python(SPAWNING, log.folder)
    assert worker.stdout is not None
    pid = int(worker.stdout.readline())
    assert is_alive(pid)
    until(lambda: compressed(log) == 1)
    worker.kill()
    worker.communicate()
    until(lambda: not is_alive(pid), 5.0)


def test_there_is_one_in_a_folder(
    log: Log, process: KeeperProcess, caplog: pytest.LogCaptureFixture
) -> None:
    other = Keeper(log.folder, compress=True, compress_after_s=0, keys=None)
    assert other.lock()
    with caplog.at_level(logging.INFO):
        process.look()
        assert process.pid
        until(lambda: ended(process))
    assert caplog.text == ""
    assert compressed(log) == 0


def test_no_interpreter_is_said(
    process: KeeperProcess, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sys, "executable", "")
    process.look()
    assert process.pid == 0
    assert "could not be started (there is no Python interpreter" in caplog.text
