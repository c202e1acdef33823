"""Keys of the log, and files of encrypted blocks: read back whole, or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
from array import array
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from iatp.adapters import encryption
from iatp.adapters.encryption import (
    BLOCK_BYTES,
    HEADER_BYTES,
    EncryptedFile,
    LogKeys,
    PlainFile,
    SegmentError,
)
from iatp.values.errors import StartError

STEM = "20251124T160000.123456Z-w0-1a2b3c4d-0123456789ab-000000"
OTHER = "20251124T160000.123456Z-w0-1a2b3c4d-0123456789ab-000001"
KEY = bytes(range(32))
KEYS = LogKeys([KEY])


def key_file(tmp_path: Path, text: str | bytes, mode: int = 0o600) -> Path:
    path = tmp_path / "log.keys"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    path.chmod(mode)
    return path


def write(path: Path, blocks: list[bytes], *, last: bool = True, keys: LogKeys = KEYS) -> bytes:
    writer = keys.writer(STEM)
    data = writer.header()
    for number, block in enumerate(blocks, 1):
        data += b"".join(writer.block([block], last=last and number == len(blocks)))
        writer.written()
    path.write_bytes(data)
    return data


def opened(path: Path, keys: LogKeys = KEYS, stem: str = STEM) -> EncryptedFile:
    return EncryptedFile(PlainFile(os.open(path, os.O_RDONLY)), keys, stem, path.name)


def read_all(path: Path, keys: LogKeys = KEYS, stem: str = STEM) -> bytes:
    file = PlainFile(os.open(path, os.O_RDONLY))
    try:
        found = EncryptedFile(file, keys, stem, path.name)
        return found.read(0, found.size)
    finally:
        file.close()


# Keys.


def test_keys_of_a_file(tmp_path: Path) -> None:
    first, second = "ab" * 32, "CD" * 32
    path = key_file(tmp_path, f"# since May\n{first}\n\n  {second}  \r\n")
    keys = LogKeys.load(path)
    assert keys.current_id == hashlib.sha256(b"iatp-log-key\n" + b"\xab" * 32).hexdigest()[:16]
    assert set(keys.ids) == {
        keys.current_id,
        hashlib.sha256(b"iatp-log-key\n" + b"\xcd" * 32).hexdigest()[:16],
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no key; add one with: openssl rand -hex 32"),
        ("# nothing\n", "holds no key"),
        ("ab" * 31, "Line 1 of the log's key file"),
        ("ab" * 32 + "\n" + "zz" * 32, "Line 2 of the log's key file"),
        ("ab" * 33, "must be 64 hex digits, and has 66 characters"),
        (b"\xff" * 32, "must be 64 hex digits, and has 32 characters"),
    ],
)
def test_what_is_no_key_is_said_and_not_shown(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(StartError) as caught:
        LogKeys.load(key_file(tmp_path, text))
    assert said in str(caught.value)
    assert "IATP_LOG_KEY_FILE" in str(caught.value)
    assert "zz" not in str(caught.value)
    assert "abab" not in str(caught.value)


def test_a_key_file_must_be_there_and_private(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"does not exist; make one with: \(umask 077; openssl"):
        LogKeys.load(tmp_path / "none")
    path = key_file(tmp_path, "ab" * 32, 0o644)
    with pytest.raises(StartError, match="can be read by others"):
        LogKeys.load(path)
    path.chmod(0o600)
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(StartError, match="symbolic link; set IATP_LOG_KEY_FILE"):
        LogKeys.load(tmp_path / "link")


def test_a_key_has_32_bytes() -> None:
    for wrong in ([], [b"short"], [KEY, b""]):
        with pytest.raises(ValueError, match="32 bytes"):
            LogKeys(wrong)


# The format, from the page alone.


def test_the_file_is_what_the_page_says(tmp_path: Path) -> None:
    data = write(tmp_path / "f", [b"first", b"second"])
    header = data[:64]
    assert header[:8] == b"IATPENC1"
    assert header[8:16] == hashlib.sha256(b"iatp-log-key\n" + KEY).digest()[:8]
    assert header[48:] == bytes(16)
    secret = hmac.digest(header[16:48], KEY, "sha256")
    info = b"iatp-log-1\n" + STEM.encode()
    cipher = AESGCM(hmac.digest(secret, info + b"\x01", "sha256"))
    at = 64
    for number, text, flag in ((0, b"first", 0), (1, b"second", 1 << 31)):
        length = data[at : at + 4]
        assert int.from_bytes(length, "little") == len(text) | flag
        end = at + 4 + len(text) + 16
        nonce = number.to_bytes(12, "little")
        assert cipher.decrypt(nonce, data[at + 4 : end], length + header) == text
        at = end
    assert at == len(data)


def test_no_two_files_share_a_salt() -> None:
    assert KEYS.writer(STEM).header()[16:48] != KEYS.writer(STEM).header()[16:48]


@settings(deadline=None)
@given(
    st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=8),
    st.booleans(),
    st.lists(st.tuples(st.integers(0, 420), st.integers(0, 420)), max_size=5),
)
def test_any_place_reads_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    blocks: list[bytes],
    last: bool,
    places: list[tuple[int, int]],
) -> None:
    path = tmp_path_factory.mktemp("enc") / "f"
    write(path, blocks, last=last)
    whole = b"".join(blocks)
    file = opened(path)
    assert file.size == len(whole)
    assert file.complete is last
    for offset, length in places:
        assert file.read(offset, length) == whole[offset : offset + length]
    file.close()


@pytest.mark.parametrize("length", [1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 700_000])
def test_a_file_of_equal_blocks_is_not_walked_through(tmp_path: Path, length: int) -> None:
    whole = os.urandom(length)
    write(tmp_path / "f", [whole[at : at + BLOCK_BYTES] for at in range(0, length, BLOCK_BYTES)])
    file = opened(tmp_path / "f")
    assert file.complete
    assert len(file._starts) == 0
    assert file.size == length
    assert file.read(0, length) == whole
    for offset in (0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, length - 1):
        assert file.read(offset, 3) == whole[offset : offset + 3]
    file.close()


def test_one_equal_block_and_a_longer_one_is_walked_through(tmp_path: Path) -> None:
    blocks = [bytes(BLOCK_BYTES), b"x" * (BLOCK_BYTES + 7), b"y"]
    write(tmp_path / "f", blocks)
    file = opened(tmp_path / "f")
    assert file.read(0, file.size) == b"".join(blocks)
    file.close()


def test_small_blocks_are_read_and_decrypted_many_at_once(tmp_path: Path) -> None:
    blocks = [b"%d" % number * 100 for number in range(2000)]
    whole = b"".join(blocks)
    write(tmp_path / "f", blocks, last=False)

    class Counted(PlainFile):
        reads = 0

        def read(self, offset: int, length: int) -> bytes:
            Counted.reads += 1
            return super().read(offset, length)

    file = EncryptedFile(Counted(os.open(tmp_path / "f", os.O_RDONLY)), KEYS, STEM, "f")
    Counted.reads = 0
    assert file.read(0, len(whole)) == whole
    assert Counted.reads <= -(-len(whole) // BLOCK_BYTES)
    # Where little is wanted, little is.
    assert file.read(70_000, 10) == whole[70_000:70_010]
    assert len(file._kept[1]) <= len(max(blocks, key=len))
    file.close()


def test_an_open_file_grows(tmp_path: Path) -> None:
    writer = KEYS.writer(STEM)
    path = tmp_path / "f"
    path.write_bytes(writer.header())
    file = opened(path)
    assert file.size == 0
    text = b""
    with path.open("ab", buffering=0) as out:
        for number in range(5):
            text += b"%d," % number
            for piece in writer.block([b"%d" % number, b","]):
                out.write(piece)
            writer.written()
            assert file.read(0, 100) == text
        block = b"".join(writer.block([b"half"]))
        out.write(block[:-1])
        assert file.read(0, 100) == text
        out.write(block[-1:])
        assert file.read(0, 100) == text + b"half"
    file.close()


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From where on a file was walked through."""
    done: list[int] = []
    block_lengths = PlainFile.block_lengths

    def noted(self: PlainFile, at: int) -> array[int]:
        done.append(at)
        return block_lengths(self, at)

    monkeypatch.setattr(PlainFile, "block_lengths", noted)
    return done


@pytest.mark.parametrize("last", [True, False])
def test_what_was_walked_through_is_not_again(tmp_path: Path, walks: list[int], last: bool) -> None:
    blocks = [b"%d" % number * 50 for number in range(30)]
    data = write(tmp_path / "f", blocks, last=last)
    assert read_all(tmp_path / "f") == b"".join(blocks)
    assert walks[0] == HEADER_BYTES
    walks.clear()
    found = opened(tmp_path / "f")
    assert found.complete == last
    assert found.read(0, found.size) == b"".join(blocks)
    # Of a file that is complete the last block is looked at.
    assert set(walks) == {len(data) - (len(blocks[-1]) + 20 if last else 0)}
    found.close()


def test_a_file_that_was_cut_is_walked_through_anew(tmp_path: Path) -> None:
    path = tmp_path / "f"
    data = write(path, [b"one", b"two", b"three"], last=False)
    assert read_all(path) == b"onetwothree"
    for cut in range(1, len(data) - HEADER_BYTES):
        path.write_bytes(data[:-cut])
        assert read_all(path) == b"".join([b"one", b"two", b"three"][: 2 - (cut > 25) - (cut > 48)])
    path.write_bytes(data)
    assert read_all(path) == b"onetwothree"


def test_another_file_of_the_same_name_is_another(tmp_path: Path) -> None:
    for text in (b"a" * 100, b"b", b"c" * 9):
        write(tmp_path / "f", [text] * 3)
        assert read_all(tmp_path / "f") == text * 3


def test_so_many_places_are_kept_and_no_more(
    tmp_path: Path, walks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encryption, "_places", encryption._Places(10))
    for name in ("a", "b", "c"):
        write(tmp_path / name, [name.encode()] * 4, last=False)
        read_all(tmp_path / name)
    write(tmp_path / "many", [b"m"] * 25, last=False)
    for name, begins in (("b", 4), ("c", 4), ("a", 0), ("many", 0), ("many", 10), ("a", 0)):
        walks.clear()
        assert read_all(tmp_path / name) == name[:1].encode() * (25 if name == "many" else 4)
        assert walks[0] == HEADER_BYTES + begins * 21, name


def test_a_tail_of_zeros_holds_nothing(tmp_path: Path) -> None:
    data = write(tmp_path / "f", [b"one", b"two"], last=False)
    (tmp_path / "f").write_bytes(data + bytes(5000))
    assert read_all(tmp_path / "f") == b"onetwo"


def test_no_number_is_used_twice() -> None:
    writer = KEYS.writer(STEM)
    writer.block([b"one"])
    with pytest.raises(OSError, match="ends where a block was not written"):
        writer.block([b"two"])
    writer.written()
    writer.block([b"two"])


def test_the_same_block_may_be_made_again() -> None:
    writer = KEYS.writer(STEM)
    writer.block([b"one"])
    writer.written()
    first = writer.block([b"tw", b"o"])
    assert writer.block([b"two"]) == first
    for pieces, last in (([b"twO"], False), ([b"two", b"x"], False), ([b"two"], True)):
        with pytest.raises(OSError, match="ends where a block was not written"):
            writer.block(pieces, last=last)
    assert writer.block([b"two"]) == first
    writer.written()
    assert writer.block([b"two"]) != first


def test_nothing_stands_behind_the_last_block() -> None:
    for stops in (lambda writer: writer.block([], last=True), lambda writer: writer.end()):
        writer = KEYS.writer(STEM)
        writer.block([b"one"])
        writer.written()
        stops(writer)
        writer.written()
        for pieces in ([], [b"one"]):
            with pytest.raises(OSError, match="ends where a block was not written"):
                writer.block(pieces)


# What was changed is not given out.


@settings(deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 7), st.booleans())
def test_no_flipped_bit_goes_unseen(
    tmp_path_factory: pytest.TempPathFactory, at: int, bit: int, last: bool
) -> None:
    path = tmp_path_factory.mktemp("enc") / "f"
    blocks = [b"first block", b"second", b"third one"]
    data = bytearray(write(path, blocks, last=last))
    at %= len(data)
    data[at] ^= 1 << bit
    path.write_bytes(data)
    with contextlib.suppress(SegmentError):
        # Where it is read, that was a length that reaches beyond the end, as in an open file.
        assert read_all(path) in {b"".join(blocks[:count]) for count in range(3)}
        file = opened(path)
        assert not file.complete
        file.close()


@settings(deadline=None)
@given(st.integers(0, 200))
def test_a_cut_file_is_never_complete(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("enc") / "f"
    blocks = [b"first block", b"second", b"third one"]
    data = write(path, blocks)
    path.write_bytes(data[: min(cut, len(data) - 1)])
    if cut < HEADER_BYTES:
        with pytest.raises(SegmentError, match="was cut off within its first 64 bytes"):
            opened(path)
        return
    file = opened(path)
    assert not file.complete
    assert file.read(0, 100) in {b"".join(blocks[:count]) for count in range(3)}
    file.close()


def test_swapped_blocks(tmp_path: Path) -> None:
    data = write(tmp_path / "f", [b"aaaa", b"bbbb", b"cc"])
    first, second = data[64:88], data[88:112]
    (tmp_path / "f").write_bytes(data[:64] + second + first + data[112:])
    with pytest.raises(SegmentError, match="cannot be decrypted from block 0"):
        read_all(tmp_path / "f")


@pytest.mark.parametrize("changed", [0, 1, 299, 300, 1200, 1999])
def test_one_changed_block_of_many(tmp_path: Path, changed: int) -> None:
    # Of several runs of 256 KiB, which are decrypted at once.
    blocks = [b"%04d" % number * (50 + number % 90) for number in range(2000)]
    data = bytearray(write(tmp_path / "f", blocks, last=False))
    place = HEADER_BYTES + sum(map(len, blocks[:changed])) + changed * 20
    data[place + 9] ^= 1
    (tmp_path / "f").write_bytes(data)
    sound = b"".join(blocks[:changed])
    file = opened(tmp_path / "f")
    assert file.read(0, len(sound)) == sound
    behind = len(sound) + len(blocks[changed])
    assert file.read(behind, 10**9) == b"".join(blocks[changed + 1 :])
    with pytest.raises(SegmentError, match=rf"block {changed} \(byte {place} of the file\)"):
        file.read(0, 10**9)
    assert file.sound_size() == len(sound)
    file.close()


def test_a_block_of_another_file_of_the_same_segment(tmp_path: Path) -> None:
    one = write(tmp_path / "f", [b"aaaa", b"bbbb"])
    two = write(tmp_path / "g", [b"AAAA", b"BBBB"])
    (tmp_path / "f").write_bytes(one[:88] + two[88:])
    with pytest.raises(SegmentError, match=r"block 1 \(byte 88 of the file\)"):
        read_all(tmp_path / "f")


def test_a_file_renamed_to_another_segment(tmp_path: Path) -> None:
    write(tmp_path / "f", [b"aaaa"])
    with pytest.raises(SegmentError, match="belongs to another segment"):
        read_all(tmp_path / "f", stem=OTHER)


def test_another_key(tmp_path: Path) -> None:
    write(tmp_path / "f", [b"aaaa"])
    other = LogKeys([bytes(32)])
    with pytest.raises(SegmentError) as caught:
        read_all(tmp_path / "f", other)
    assert f"is encrypted with the key {KEYS.current_id}, which is not in" in str(caught.value)
    assert read_all(tmp_path / "f", LogKeys([bytes(32), KEY])) == b"aaaa"


def test_after_rotation_new_files_have_the_new_key(tmp_path: Path) -> None:
    rotated = LogKeys([bytes(32), KEY])
    write(tmp_path / "f", [b"new"], keys=rotated)
    assert read_all(tmp_path / "f", LogKeys([bytes(32)])) == b"new"
    with pytest.raises(SegmentError):
        read_all(tmp_path / "f", KEYS)


def test_what_is_no_such_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b'{"seq":0}\n' * 20)
    with pytest.raises(SegmentError, match="does not begin with IATPENC1"):
        read_all(tmp_path / "f")
