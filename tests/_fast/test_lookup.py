"""How records are found in a log folder, against the plain twin."""

from __future__ import annotations

import os
import random
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iatp._fast import lookup, record, trail
from iatp.adapters.log_folder import segment_of
from tests._fast.test_trail import KEY, MIDDLE, NO_INDEX, index_of
from tests.adapters.recording import tail
from tests.cli.programs import ROOT
from tests.twins import lookup as twin
from tests.twins import trail as trail_twin


def looked_up(index: bytes, trace_id: str) -> list[int]:
    """The offsets that an index has of an ID."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "i").write_bytes(index)
        found = lookup.look(folder, ["i"], trace_id)
    return [offset for looked in found for offset in looked[4]]


def test_an_id_in_the_payload_is_not_entered() -> None:
    pieces = record.lines([tail("a")[:-1] + b',"x":"\\",\\"trace_id\\":\\"b\\""}'], 0, MIDDLE)
    index = trail.header(KEY) + trail.entries(list(pieces), KEY, 0, 0)
    assert (looked_up(index, "a"), looked_up(index, "b")) == ([0], [])


@given(
    st.lists(st.sampled_from("abcdefgh"), max_size=40),
    st.sampled_from("abcdefghi"),
    st.integers(0, 23),
)
def test_lookup_and_sort_are_the_twins(ids: list[str], wanted: str, torn: int) -> None:
    index = index_of(ids) + b"\xff" * torn
    expected = twin.lookup(index, wanted)
    assert len(expected) == ids.count(wanted)
    assert looked_up(index, wanted) == expected
    made = trail.sort(index)
    assert made == trail_twin.sort(index)
    assert looked_up(made, wanted) == expected
    assert trail.checks_sha256(made) == trail.checks_sha256(index[: len(index) - torn])


def many(path: Path) -> tuple[dict[str, list[int]], list[Path]]:
    """60,000 records: most IDs once, some often; the index unsorted and sorted."""
    chance = random.Random(5)
    ids = [f"id-{n}" for n in range(40_000)] + ["often"] * 10_000
    ids += [f"some-{n % 100}" for n in range(10_000)]
    chance.shuffle(ids)
    places: dict[str, list[int]] = {}
    text = []
    at = 0
    for n, each in enumerate(ids):
        line = b'{"seq":%d%b"type":"x","trace_id":"%b"}\n' % (n, MIDDLE, each.encode())
        places.setdefault(each, []).append(at)
        text.append(line)
        at += len(line)
    index = trail.header(KEY) + trail.entries(list(text), KEY, 0, 0)
    (path / "unsorted").write_bytes(index)
    (path / "sorted").write_bytes(trail.sort(index))
    return places, [path / "unsorted", path / "sorted"]


def test_many_are_found_in_large_files(tmp_path: Path) -> None:
    places, paths = many(tmp_path)
    chance = random.Random(6)
    some = [*chance.sample(sorted(places), 1500), "often", *(f"some-{n}" for n in range(100))]
    for path in paths:
        for wanted in some if path.name == "sorted" else some[-120:]:
            ((_, _, entries, _, offsets),) = lookup.look(tmp_path, [path.name], wanted)
            assert (entries, offsets) == (60_000, places[wanted])
        for n in range(300):
            assert all(not found[4] for found in lookup.look(tmp_path, [path.name], f"none-{n}"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts what is read")
@pytest.mark.parametrize(("often", "windows"), [(0, 3.5), (10_000, 6.0)])
def test_little_of_a_sorted_file_is_read(tmp_path: Path, often: int, windows: float) -> None:
    path = tmp_path / "sorted"
    path.write_bytes(trail.sort(index_of([f"id-{n}" for n in range(50_000)] + ["often"] * often)))

    def read_so_far() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    overhead = -read_so_far() + read_so_far()
    before = read_so_far()
    for n in range(200):
        lookup.look(tmp_path, [path.name], f"id-{n}")
    each = (read_so_far() - before - overhead) / 200
    assert each < windows * 512 * 24


def test_a_sorted_index_of_bad_hashes_is_searched_to_an_end(tmp_path: Path) -> None:
    chance = random.Random(7)
    for size in (1, 511, 512, 513, 2000, 5000):
        for high in (1, 2**20, 2**64 - 1):
            rows = sorted((chance.randint(0, high), n) for n in range(size))
            index = trail.header(KEY)[:8] + b"\1" + trail.header(KEY)[9:]
            for hashed in (rows[0][0], rows[-1][0], rows[size // 2][0], 0, 2**64 - 1):
                # Their own ID's hash is put in for some.
                own = trail_twin.siphash64(KEY, b"mine")
                changed = sorted((own if row[0] == hashed else row[0], row[1]) for row in rows)
                text = b"".join(trail_twin.ENTRY.pack(a, b, b, 0) for a, b in changed)
                expected = [b for a, b in changed if a == own]
                assert looked_up(index + text, "mine") == expected


@pytest.mark.parametrize("index", NO_INDEX)
def test_what_is_no_index(tmp_path: Path, index: bytes) -> None:
    (tmp_path / "i").write_bytes(index)
    assert [found[:2] for found in lookup.look(tmp_path, ["i"], "a")] == [(0, lookup.IS_LOST)]


def test_what_is_said_of_each_kind_of_index(tmp_path: Path) -> None:
    index = index_of(["a", "b", "a"])
    made = trail.sort(index)
    offsets = twin.lookup(index, "a")
    of_before = made[:32] + bytes(8) + made[40:]
    for name, data in {
        "written": index,
        "sorted": made,
        "of before": of_before,
        "cut": made[:-24],
        "empty": index[:64],
    }.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "link").symlink_to("sorted")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    names = ["written", "sorted", "of before", "cut", "empty", "link", "folder", "pipe", "none"]
    lost = [(names.index(name), lookup.IS_LOST) for name in ("link", "folder", "pipe", "none")]
    found = lookup.look(tmp_path, names, "a")
    assert found[:3] == [
        (0, lookup.IS_WRITTEN, 3, offsets[-1], offsets),
        (1, lookup.IS_WHOLE, 3, 0, offsets),
        (2, lookup.IS_SORTED, 3, 0, offsets),
    ]
    assert found[3][:3] == (3, lookup.IS_SORTED, 2)
    assert found[4] == (4, lookup.IS_WRITTEN, 0, 0, [])
    assert [each[:2] for each in found[5:]] == lost
    # Of an ID that is not there a whole index says nothing.
    assert [each[0] for each in lookup.look(tmp_path, names, "c")] == [0, 2, 3, 4, 5, 6, 7, 8]


def test_more_indexes_than_are_open_at_once(tmp_path: Path) -> None:
    names = [f"i{n}" for n in range(200)]
    for n, name in enumerate(names):
        (tmp_path / name).write_bytes(trail.sort(index_of([f"id-{n}", "common"])))
    for n in (0, 63, 64, 128, 199):
        assert [found[0] for found in lookup.look(tmp_path, names, f"id-{n}")] == [n]
    assert [found[0] for found in lookup.look(tmp_path, names, "common")] == [*range(200)]
    assert lookup.look(tmp_path, [], "common") == []
    before = len(list(Path("/dev/fd").iterdir()))
    lookup.look(tmp_path, names, "common")
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        lookup.look(tmp_path / "none", ["i"], "a")
    with pytest.raises(FileNotFoundError):
        lookup.segment_names(tmp_path / "none")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        lookup.segment_names(tmp_path / "file")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing can be dropped")
def test_what_is_not_in_memory_is_waited_for() -> None:
    # On a disk: what a temporary folder holds may always be in memory.
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=build) as made:
        folder = Path(made)
        names = [f"i{n}" for n in range(70)]
        ids = [f"id-{n}" for n in range(5000)]
        index = index_of(ids)
        for n, name in enumerate(names):
            (folder / name).write_bytes(trail.sort(index) if n % 7 else index)
        for round_ in range(3):
            for n, name in enumerate(names):
                with (folder / name).open("rb") as file:
                    os.fsync(file.fileno())
                    if (n + round_) % 3:
                        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            found = lookup.look(folder, names, "id-4321")
            assert [each[0] for each in found] == [*range(70)]
            assert {tuple(each[4]) for each in found} == {tuple(twin.lookup(index, "id-4321"))}


TIME = "20251124T160000.123456Z"
ENDS = [".", ".open", ".jsonl", ".zst", ".enc", ".seal", ".index", ".tmp"]
parts = st.sampled_from(
    [TIME, TIME[:-1], "-w0", "-1a2b", "-", "-000001", "x", "\u0662", "\udcff", "\n", *ENDS]
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.lists(parts, min_size=1, max_size=9).map("".join), max_size=12), st.booleans())
def test_the_names_of_segments_are_the_twins(names: list[str], long_ago: bool) -> None:
    some = [TIME + "-w0-1a2b-000001" + end for end in (".jsonl", ".open.jsonl.enc", ".seal")]
    with tempfile.TemporaryDirectory() as folder:
        for name in {*names, *some} - {".", ".."}:
            Path(folder, name).touch()
        if long_ago:
            # Then it is listed once.
            os.utime(folder, (10**9, 10**9))
        found = lookup.segment_names(folder)
        assert found == twin.segment_names([path.name for path in Path(folder).iterdir()])
        # Each that is one is among them.
        assert {name for name in names if name.isascii() and segment_of(name)} <= {*found}


def test_no_segment_is_missed_while_names_change(tmp_path: Path) -> None:
    stems = [f"{TIME}-w0-1a2b-{number:06d}" for number in range(300)]
    for stem in stems:
        (tmp_path / f"{stem}.jsonl").touch()
    done = threading.Event()

    def rename() -> None:
        while not done.is_set():
            for stem in stems:
                (tmp_path / f"{stem}.jsonl").rename(tmp_path / f"{stem}.jsonl.zst")
            for stem in stems:
                (tmp_path / f"{stem}.jsonl.zst").rename(tmp_path / f"{stem}.jsonl")

    renaming = threading.Thread(target=rename)
    renaming.start()
    try:
        missed = 0
        for _ in range(200):
            found = {name.partition(".jsonl")[0] for name in lookup.segment_names(tmp_path)}
            missed += len(set(stems) - found)
    finally:
        done.set()
        renaming.join()
    # One that is given two other names within two listings can be.
    assert missed <= 2


@given(
    st.lists(st.sampled_from([0, 1, 2, 40, 300, 1 << 30, (1 << 30) + 1]), max_size=8),
    st.integers(-1, 8),
    st.integers(0, 70),
    st.binary(max_size=40),
)
def test_the_blocks_of_an_encrypted_file_are_the_twins(
    lengths: list[int], last: int, at: int, rest: bytes
) -> None:
    data = bytes(at)
    for number, length in enumerate(lengths):
        stored = length | (number == last) << 31
        # Of those that claim much nothing is there.
        data += stored.to_bytes(4, "little") + bytes((length if length < 1000 else 0) + 16)
    data += rest
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        found = lookup.block_lengths(file.fileno(), at, len(data))
    assert found == twin.block_lengths(data, at)


def test_many_blocks_are_walked_through(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes((7).to_bytes(4, "little") + bytes(23))
    one = (tmp_path / "f").read_bytes()
    (tmp_path / "f").write_bytes(one * 5000)
    with (tmp_path / "f").open("rb") as file:
        found = lookup.block_lengths(file.fileno(), 0, 5000 * len(one))
        assert found == (7).to_bytes(4, "little") * 5000
        assert lookup.block_lengths(file.fileno(), 0, 0) == b""
    assert lookup.block_lengths(-1, 0, 100) == b""
