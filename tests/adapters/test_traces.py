"""Reading back: the right records, in order, whatever happens to the files meanwhile."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from iatp._fast import lookup
from iatp.adapters import segments, traces
from iatp.adapters.log_folder import names_by_stem
from iatp.adapters.recorder import LogFolder, Recorder
from iatp.adapters.segments import iter_records
from iatp.adapters.traces import TracePage, read_trace
from tests.adapters.recording import tail

MIB = 1 << 20


def records(page: TracePage) -> list[dict[str, Any]]:
    return [json.loads(bytes(log)) for log in page.logs]


def ids(page: TracePage) -> list[str]:
    return [record["request_id"] for record in records(page)]


def all_pages(folder: LogFolder, trace_id: str, limit: int) -> list[str]:
    found: list[str] = []
    after = None
    while True:
        page = read_trace(folder.path, trace_id, limit=limit, after=after)
        assert len(page.logs) <= limit
        found += ids(page)
        if page.next is None:
            return found
        after = page.next


def test_from_all_workers_in_the_order_of_the_clock(folder: LogFolder) -> None:
    workers = [Recorder(folder, n, f"clock-{n}", 600) for n in range(3)]
    for n in range(30):
        workers[n % 3].append([tail("t", n, mono_ns=1000 + n), tail("u", n)])
    page = read_trace(folder.path, "t")
    assert ids(page) == [f"r{n}" for n in range(30)]
    assert page.next is None
    assert {record["worker"] for record in records(page)} == {0, 1, 2}
    for worker in workers:
        worker.close()
    assert ids(read_trace(folder.path, "t")) == [f"r{n}" for n in range(30)]


def test_equal_times_keep_the_order_of_writing(folder: LogFolder) -> None:
    recorder = Recorder(folder, 0, "clock-1", MIB)
    recorder.append([tail("t", n, mono_ns=7) for n in range(20)])
    assert ids(read_trace(folder.path, "t")) == [f"r{n}" for n in range(20)]


def test_after_a_reboot_the_clock_begins_anew(folder: LogFolder) -> None:
    before = Recorder(folder, 0, "first-1", MIB)
    before.append([tail("t", 0, mono_ns=9_000_000)])
    before.close()
    after = Recorder(folder, 0, "second-1", MIB)
    after.append([tail("t", 1, mono_ns=5)])
    after.close()
    assert ids(read_trace(folder.path, "t")) == ["r0", "r1"]


def test_only_the_records_own_trace_id_counts(folder: LogFolder) -> None:
    recorder = Recorder(folder, 0, "clock-1", MIB)
    inside = tail("other", 1).replace(b'"payload":""', b'"payload":{"trace_id":"t"}')
    assert b'"trace_id":"t"' in inside
    first = b'"type":"request","payload":{"trace_id":"t"},"trace_id":"other","request_id":"r2"}'
    recorder.append([inside, first, tail("t", 3), tail("tt", 4), tail("T", 5), tail("t.", 6)])
    assert ids(read_trace(folder.path, "t")) == ["r3"]
    assert ids(read_trace(folder.path, "other")) == ["r2", "r1"]


def test_an_id_inside_payloads_takes_no_place_on_a_page(folder: LogFolder) -> None:
    recorder = Recorder(folder, 0, "clock-1", MIB)
    for n in range(50):
        recorder.append([tail("other", n).replace(b'""', b'{"trace_id":"t"}')])
    recorder.append([tail("t", 100), tail("t", 101)])
    page = read_trace(folder.path, "t", limit=2)
    assert ids(page) == ["r100", "r101"]
    assert page.next is None


@pytest.mark.parametrize(
    "trace_id", ["", "none", 't"', "../t", "t\n", "x" * 129, "é", "*", "t\x00"]
)
def test_unknown_and_impossible_ids_are_empty(folder: LogFolder, trace_id: str) -> None:
    recorder = Recorder(folder, 0, "clock-1", MIB)
    recorder.append([tail("t", 0)])
    assert read_trace(folder.path, trace_id) == TracePage(logs=[])


@pytest.mark.parametrize("limit", [1, 2, 7, 100, 1000])
def test_pages_are_complete_and_disjoint(folder: LogFolder, limit: int) -> None:
    workers = [Recorder(folder, n, f"clock-{n}", 3000) for n in range(2)]
    for n in range(101):
        # Ties in time, so the place on disk decides.
        workers[n % 2].append([tail("t", n, mono_ns=n // 4), tail("u", n)])
    found = all_pages(folder, "t", limit)
    assert sorted(found) == sorted(f"r{n}" for n in range(101))
    assert found == ids(read_trace(folder.path, "t", limit=1000))


def test_ten_thousand_of_one_id_are_paged(folder: LogFolder) -> None:
    recorder = Recorder(folder, 0, "clock-1", MIB)
    for start in range(0, 10_000, 100):
        recorder.append([tail("t", n) for n in range(start, start + 100)])
    assert all_pages(folder, "t", 1000) == [f"r{n}" for n in range(10_000)]


def test_a_page_ends_before_it_is_huge(folder: LogFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "_PAGE_BYTES", 1000)
    recorder = Recorder(folder, 0, "clock-1", MIB)
    recorder.append([tail("t", n, fill=600) for n in range(5)])
    page = read_trace(folder.path, "t")
    assert ids(page) == ["r0", "r1"]
    assert all_pages(folder, "t", 100) == [f"r{n}" for n in range(5)]


def test_a_cursor_outlives_rotation_and_pruning(folder: LogFolder) -> None:
    old = Recorder(folder, 0, "first-1", MIB)
    old.append([tail("t", n) for n in range(5)])
    old.close()
    new = Recorder(folder, 0, "second-1", MIB)
    new.append([tail("t", n, mono_ns=n - 5) for n in range(5, 10)])
    page = read_trace(folder.path, "t", limit=3)
    assert ids(page) == ["r0", "r1", "r2"]
    new.rotate()
    assert ids(read_trace(folder.path, "t", limit=3, after=page.next)) == ["r3", "r4", "r5"]
    # All of the first clock goes, and with it what the cursor points to.
    oldest = folder.segments()[0]
    (folder.path / oldest.name).unlink()
    assert ids(read_trace(folder.path, "t", limit=3, after=page.next)) == ["r5", "r6", "r7"]


@pytest.mark.parametrize(
    "after", ["x", "é", "AAAA", "bnVsbA", "W10", "WzEsMiwzXQ", "=", "[" * 5000]
)
def test_a_made_up_cursor_is_refused(folder: LogFolder, after: str) -> None:
    with pytest.raises(ValueError, match="earlier page"):
        read_trace(folder.path, "t", after=after)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_limit_has_its_range(folder: LogFolder, limit: int) -> None:
    with pytest.raises(ValueError, match="between 1 and 1000"):
        read_trace(folder.path, "t", limit=limit)


def test_a_missing_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_trace(tmp_path / "none", "t")


@pytest.mark.parametrize(
    "end", [b'{"seq":1,"trace_id":"t"', tail("t", 9)[:-1], b"\0" * 5000, b'{"trace_id":"t"}']
)
def test_what_stands_behind_the_last_line_end_is_skipped(folder: LogFolder, end: bytes) -> None:
    recorder = Recorder(folder, 0, "clock-1", MIB)
    recorder.append([tail("t", 0)])
    os.write(recorder._fd, end)
    assert ids(read_trace(folder.path, "t")) == ["r0"]
    assert len(list(iter_records(folder.path))) == 1


@pytest.mark.parametrize("where", [b'"r1"', b"r1", b"payload_of_1", b"_of_1", b'{"seq":1'])
def test_a_damaged_line_does_not_hide_the_others(folder: LogFolder, where: bytes) -> None:
    recorder = Recorder(folder, 0, "clock-1", MIB)
    recorder.append([tail("t", n).replace(b'""', b'{"payload_of_%d":1}' % n) for n in range(3)])
    [path] = folder.path.glob("*.jsonl")
    data = bytearray(path.read_bytes())
    data[data.index(where)] ^= 0x80
    path.write_bytes(data)
    assert ids(read_trace(folder.path, "t")) == ["r0", "r2"]


@pytest.mark.parametrize("fill", [100, 3000, 300_000, 700_000])
def test_lines_longer_than_a_block_and_over_its_edges(folder: LogFolder, fill: int) -> None:
    recorder = Recorder(folder, 0, "clock-1", 64 * MIB)
    for n in range(8):
        recorder.append([tail("t", n, fill=fill), tail("u", n, fill=7)])
    assert ids(read_trace(folder.path, "t")) == [f"r{n}" for n in range(8)]
    assert ids(read_trace(folder.path, "u")) == [f"r{n}" for n in range(8)]
    found = list(iter_records(folder.path))
    assert len(found) == 16
    [path] = folder.path.glob("*.jsonl")
    data = path.read_bytes()
    for record in found:
        assert data[record.offset : record.offset + len(record.line) + 1] == record.line + b"\n"


@pytest.mark.parametrize("block", [64, 200, 1000])
def test_any_block_size_finds_the_same(
    folder: LogFolder, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    recorder = Recorder(folder, 0, "clock-1", MIB)
    recorder.append([tail("t", n, fill=n * 7 % 90) for n in range(200)])
    monkeypatch.setattr(segments, "BLOCK_BYTES", block)
    assert all_pages(folder, "t", 50) == [f"r{n}" for n in range(200)]


def test_links_and_folders_with_a_segments_name_are_not_read(
    folder: LogFolder, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b'{"trace_id":"t"}\n')
    (folder.path / "20251124T000000.000000Z-w0-b-000000.jsonl").symlink_to(outside)
    (folder.path / "20251124T000000.000000Z-w1-b-000000.jsonl").mkdir()
    os.mkfifo(folder.path / "20251124T000000.000000Z-w2-b-000000.jsonl")
    assert read_trace(folder.path, "t").logs == []
    assert list(iter_records(folder.path)) == []


def test_iter_records_goes_segment_by_segment(folder: LogFolder) -> None:
    recorder = Recorder(folder, 0, "clock-1", 500)
    for n in range(10):
        recorder.append([tail("t", n)])
    found = [json.loads(record.line)["request_id"] for record in iter_records(folder.path)]
    assert found == [f"r{n}" for n in range(10)]


def test_reading_while_others_write_and_rotate(folder: LogFolder) -> None:
    """Every answer holds, without gap, all that was accepted before the question."""
    recorder = Recorder(folder, 0, "clock-1", 20_000)
    accepted = 0
    done = threading.Event()
    wrong: list[str] = []

    def write() -> None:
        nonlocal accepted
        for n in range(3000):
            recorder.append([tail("t", n), tail("noise", n, fill=100)])
            accepted = n + 1
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    rounds = 0
    while not done.is_set() or rounds < 3:
        before = accepted
        found = ids(read_trace(folder.path, "t", limit=1000))
        rounds += 1
        expected = [f"r{n}" for n in range(len(found))]
        if found != expected or len(found) < min(before, 1000):
            wrong.append(f"{before} accepted, {len(found)} found")
    writer.join()
    assert not wrong
    assert len(folder.segments()) > 20


def test_a_segment_pruned_between_listing_and_reading_is_gone(
    folder: LogFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(folder, 0, "clock-1", 300)
    for n in range(5):
        recorder.append([tail("t", n)])
    listed = folder.segments()
    names = names_by_stem(folder.path)
    monkeypatch.setattr(traces, "names_by_stem", lambda _: names)
    (folder.path / listed[0].name).unlink()
    recorder.rotate()  # the last one has another name now
    assert ids(read_trace(folder.path, "t")) == ["r1", "r2", "r3", "r4"]


def test_a_segment_that_is_closed_while_its_index_is_read_is_searched(
    folder: LogFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was looked up before the last entries were there is not all, though now they are."""
    recorder = Recorder(folder, 0, "clock-1", 1 << 20)
    for n in range(3):
        recorder.append([tail("t", n)])
    look = lookup.look
    closed = []

    def and_close(*asked: Any) -> Any:
        found = look(*asked)
        if not closed:
            recorder.rotate()
            closed.append(True)
        return found

    monkeypatch.setattr(lookup, "look", and_close)
    assert ids(read_trace(folder.path, "t")) == ["r0", "r1", "r2"]
    assert closed
