"""The head: what it says of each slot, and that it takes the place of the one before whole."""

from __future__ import annotations

import base64
import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from iatp.adapters.heads import write_head
from iatp.adapters.log_folder import LogFolder
from iatp.adapters.seals import HEAD_PREFIX, read_head
from iatp.adapters.signing import SigningKey, verify

KEY = SigningKey(bytes(range(32)))


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[LogFolder]:
    made = LogFolder(tmp_path / "logs")
    yield made
    made.close()


def stem(worker: int, number: int) -> str:
    return f"20251124T0011{number:02d}.000001Z-w{worker}-ab-{number:06d}"


def segment(folder: LogFolder, name: str, marks: list[int], *, closed: bool) -> None:
    """A segment whose seal has these marks, the last as its final where it is closed."""
    lines: list[object] = [
        {
            "format": "iatp-seal-1",
            "segment": name,
            "previous": {"segment": None, "sha256": "0" * 64},
        }
    ]
    for count in marks:
        said = {"records": count, "bytes": count * 10, "sha256": f"{count:064x}"}
        lines.append(said | {"timestamp": "2025-11-24T00:11:22.000000Z"})
    if closed:
        final = lines.pop() | {"segment": name, "checks": "0" * 64, "key": KEY.key_id}  # type: ignore[operator]
        lines.append({"final": final, "signature": "x"})
    text = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    (folder.path / f"{name}.seal").write_bytes(text)
    (folder.path / f"{name}{'' if closed else '.open'}.jsonl").write_bytes(b"x")


def chains(folder: LogFolder) -> list[tuple[int, str, int, int, str]]:
    write_head(folder, KEY, agent_id="a")
    found = read_head(folder.path)
    assert found is not None
    return [(c.worker, c.segment, c.records, c.bytes, c.sha256) for c in found.head.chains]


def test_each_slot_with_the_last_that_is_sealed(folder: LogFolder) -> None:
    segment(folder, stem(0, 1), [3], closed=True)
    segment(folder, stem(0, 2), [4, 9], closed=False)
    segment(folder, stem(1, 3), [7], closed=True)
    assert chains(folder) == [
        (0, stem(0, 2), 9, 90, f"{9:064x}"),
        (1, stem(1, 3), 7, 70, f"{7:064x}"),
    ]


def test_what_is_not_sealed_yet_is_not_in_it(folder: LogFolder) -> None:
    segment(folder, stem(0, 1), [3], closed=True)
    segment(folder, stem(0, 2), [], closed=False)
    segment(folder, stem(1, 3), [], closed=False)
    (folder.path / f"{stem(2, 4)}.jsonl").write_bytes(b"of an older version")
    assert chains(folder) == [(0, stem(0, 1), 3, 30, f"{3:064x}")]


def test_signed_as_the_format_says(folder: LogFolder) -> None:
    segment(folder, stem(0, 1), [3], closed=True)
    write_head(folder, KEY, agent_id="a")
    found = read_head(folder.path)
    assert found is not None
    assert verify(KEY.public_key, HEAD_PREFIX, found.raw, found.signature)
    assert base64.b64decode(found.head.public_key) == KEY.public_key
    assert (found.head.key, found.head.agent_id) == (KEY.key_id, "a")
    assert stat.S_IMODE((folder.path / "head.json").stat().st_mode) == 0o600


def test_one_that_cannot_be_written_leaves_the_old_one(folder: LogFolder) -> None:
    write_head(folder, KEY, agent_id="a")
    old = (folder.path / "head.json").read_bytes()
    (folder.path / "head.json").unlink()
    (folder.path / "head.json").mkdir()
    (folder.path / "head.json" / "in the way").touch()
    with pytest.raises(OSError, match="directory"):
        write_head(folder, KEY, agent_id="b")
    assert not list(folder.path.glob("*.tmp"))
    (folder.path / "head.json" / "in the way").unlink()
    (folder.path / "head.json").rmdir()
    (folder.path / "head.json").write_bytes(old)
    assert read_head(folder.path) is not None
