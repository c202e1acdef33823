"""The key file: made once, read by its owner alone."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from iatp.adapters.keys import derive, installation_key
from iatp.values.errors import StartError
from tests.adapters.recording import start_python


def private(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def test_made_once_and_then_read(tmp_path: Path) -> None:
    path = tmp_path / "logs.key"
    key = installation_key(path)
    assert len(key) == 32
    assert installation_key(path) == key
    assert path.read_text() == key.hex() + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_nlink == 1
    assert list(tmp_path.iterdir()) == [path]
    assert installation_key(tmp_path / "other.key") != key


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_hex_as_people_make_it(tmp_path: Path, end: bytes) -> None:
    assert installation_key(private(tmp_path / "k", b"0aF1" * 16 + end)) == b"\x0a\xf1" * 16


def test_raw_bytes(tmp_path: Path) -> None:
    raw = bytes(range(200, 232))
    assert installation_key(private(tmp_path / "k", raw)) == raw


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"x" * 31, b"x" * 33, b"0" * 63, b"0" * 66, b"g" * 64, b"0" * 5000]
)
def test_what_is_no_key_is_refused(tmp_path: Path, data: bytes) -> None:
    path = private(tmp_path / "k", data)
    with pytest.raises(StartError, match="holds no key"):
        installation_key(path)
    assert path.read_bytes() == data


def test_the_refusal_does_not_show_the_content(tmp_path: Path) -> None:
    with pytest.raises(StartError) as refused:
        installation_key(private(tmp_path / "k", b"nearly-a-secret"))
    assert "nearly" not in str(refused.value)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o644, 0o610])
def test_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = private(tmp_path / "k", b"0" * 64)
    path.chmod(mode)
    with pytest.raises(StartError, match=rf"mode {mode:04o}\); run: chmod 600 "):
        installation_key(path)


def test_links_folders_and_fifos_are_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(private(tmp_path / "real", b"0" * 64))
    with pytest.raises(StartError, match="symbolic link"):
        installation_key(tmp_path / "link")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    with pytest.raises(StartError, match="symbolic link"):
        installation_key(tmp_path / "dangling")
    assert not (tmp_path / "nothing").exists()
    with pytest.raises(StartError, match="not a file"):
        installation_key(tmp_path)
    os.mkfifo(tmp_path / "fifo", 0o600)
    with pytest.raises(StartError, match="not a file"):
        installation_key(tmp_path / "fifo")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"cannot be made \(No such file.*set IATP_KEY_FILE"):
        installation_key(tmp_path / "none" / "k")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_of_another_user_is_refused(tmp_path: Path) -> None:
    path = private(tmp_path / "k", b"0" * 64)
    os.chown(path, 65534, 65534)
    with pytest.raises(StartError, match="another user"):
        installation_key(path)


def test_threads_that_start_at_once_get_one_key(tmp_path: Path) -> None:
    keys = []
    together = threading.Barrier(8)

    def start() -> None:
        together.wait()
        keys.append(installation_key(tmp_path / "k"))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 8
    assert len(set(keys)) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["k"]


def test_a_starter_that_was_overtaken_takes_the_others_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "k"
    sync = os.fsync

    def overtaken(fd: int) -> None:
        if not path.exists():
            private(path, b"ab" * 32)
        sync(fd)

    monkeypatch.setattr(os, "fsync", overtaken)
    assert installation_key(path) == b"\xab" * 32
    assert list(tmp_path.iterdir()) == [path]


STARTER = """
import sys
from iatp.adapters.keys import installation_key
print("ready", flush=True)
sys.stdin.readline()
print(installation_key(sys.argv[1]).hex())
"""


def test_processes_that_start_at_once_get_one_key(tmp_path: Path) -> None:
    starters = [start_python(STARTER, tmp_path / "k") for _ in range(4)]
    keys = {answer_of(starter) for starter in ready(starters)}
    assert keys == {installation_key(tmp_path / "k").hex()}


def ready(starters: list[subprocess.Popen[str]]) -> list[subprocess.Popen[str]]:
    for starter in starters:
        assert starter.stdout
        assert starter.stdout.readline() == "ready\n"
    for starter in starters:
        assert starter.stdin
        starter.stdin.write("\n")
        starter.stdin.flush()
    return starters


def answer_of(starter: subprocess.Popen[str]) -> str:
    return starter.communicate(timeout=20)[0].strip()


def test_derived_keys_differ_by_purpose_and_key() -> None:
    made = {derive(key, purpose) for key in (b"a" * 32, b"b" * 32) for purpose in ("mac", "ticket")}
    assert len(made) == 4
    assert all(len(key) == 32 for key in made)
    # Pinned: a change would void every ticket and MAC in use.
    assert derive(b"a" * 32, "mac").hex() == PINNED


PINNED = "5e39bf0d22fb148e538f00aefa3b14be1c2b1937e86b606119b770de557d0197"
