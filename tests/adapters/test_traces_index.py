"""Traces through the index: the same records as a search finds, at the cost of a few reads."""

from __future__ import annotations

import json
import os
import random
import resource
import statistics
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iatp._fast import trail
from iatp.adapters import traces
from iatp.adapters.keeper import Keeper
from iatp.adapters.recorder import LogFolder, Recorder
from iatp.adapters.seals import final_line, first_digest, header_line, index_name, seal_name
from iatp.adapters.segments import LogKeys, SegmentError, SegmentText
from iatp.adapters.signing import signing_key
from iatp.adapters.traces import read_trace
from iatp.values.seals import Final, Previous
from tests.adapters.recording import tail
from tests.logs import Log

KEYS = LogKeys([bytes(range(32))])
MIB = 1 << 20


def new_log(folder: Path) -> Log:
    return Log(folder, key=Ed25519PrivateKey.generate())


@pytest.fixture
def log(tmp_path: Path) -> Log:
    made = new_log(tmp_path / "logs")
    for _ in range(3):
        for number in range(50):
            made.append(0, trace_id=f"t-{number % 5}", payload="x" * 50)
        made.close(0)
    return made


def store(log: Log, *, compress: bool = True, keys: LogKeys | None = None) -> None:
    keeper = Keeper(log.folder, compress=compress, compress_after_s=0, keys=keys)
    keeper.work()
    assert keeper.failed == set()


def found(log: Log, trace_id: str, keys: LogKeys | None = None, limit: int = 1000) -> list[bytes]:
    lines: list[bytes] = []
    after = None
    while True:
        page = read_trace(log.folder, trace_id, keys, limit=limit, after=after)
        lines += [bytes(line) for line in page.logs]
        after = page.next
        if after is None:
            return lines


def expected(log: Log, trace_id: str) -> list[bytes]:
    lines = [line[:-1] for made in log.made for line in made.lines]
    of_it = [line for line in lines if json.loads(line)["trace_id"] == trace_id]
    return sorted(of_it, key=lambda line: json.loads(line)["mono_ns"])


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """What was searched, and from where on."""
    done: list[tuple[str, int]] = []
    blocks = SegmentText.blocks

    def noted(self: SegmentText, start: int = 0, block_bytes: int | None = None) -> Any:
        done.append((self.segment.stem, start))
        return blocks(self, start, block_bytes)

    monkeypatch.setattr(SegmentText, "blocks", noted)
    return done


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("keys", [None, KEYS])
def test_closed_segments_are_not_searched(
    log: Log, searches: list[tuple[str, int]], compress: bool, keys: LogKeys | None
) -> None:
    store(log, compress=compress, keys=keys)
    assert found(log, "t-3", keys) == expected(log, "t-3")
    assert found(log, "nobody", keys) == []
    assert searches == []


def test_where_nothing_is_no_segment_is_opened(log: Log) -> None:
    store(log, keys=KEYS)
    # Without the key: it is not needed to know that there is nothing.
    assert found(log, "nobody") == []
    with pytest.raises(SegmentError, match="set IATP_LOG_KEY_FILE"):
        found(log, "t-3")


def test_an_open_segment_is_searched_behind_its_index(
    log: Log, searches: list[tuple[str, int]]
) -> None:
    store(log)
    for number in range(20):
        log.append(1, trace_id=f"t-{number % 5}")
    log.mark(1)
    for number in range(20):
        log.append(1, trace_id=f"t-{number % 5}")
    assert found(log, "t-3") == expected(log, "t-3")
    made = log.open[1]
    assert searches == [(made.stem, sum(map(len, made.lines[:19])))]


def test_an_index_that_an_earlier_version_sorted_is_held_against_the_seal(
    log: Log, searches: list[tuple[str, int]]
) -> None:
    store(log, compress=False)
    for made in log.made:
        log.sort_index(made, of_before=True)
    assert found(log, "t-3") == expected(log, "t-3")
    assert found(log, "nobody") == []
    assert searches == []


def test_entries_of_an_open_segment_do_not_wait_for_the_mark(
    tmp_path: Path, searches: list[tuple[str, int]]
) -> None:
    folder = LogFolder(tmp_path / "logs")
    recorder = Recorder(folder, 0, "clock-1", 64 * MIB)
    recorder.append([tail("before", 0)])
    recorder.tick()
    for start in range(0, 5_000, 10):
        recorder.append([tail(f"t-{n}", n, fill=300) for n in range(start, start + 10)])
    assert len(read_trace(folder.path, "t-1").logs) == 1
    ((_, start),) = searches
    size = sum(path.stat().st_size for path in folder.path.glob("*.open.jsonl"))
    # The newest thousand, and not the 2.5 MB since the mark.
    assert size - start < 1100 * 500
    recorder.close()
    folder.close()


def test_a_segment_without_an_entry_yet_is_searched(log: Log) -> None:
    log.append(1, trace_id="t-3")
    assert found(log, "t-3") == expected(log, "t-3")


@pytest.mark.parametrize("kind", ["sorted", "sorted before", "as written"])
@pytest.mark.parametrize(
    "damage",
    ["lost", "empty", "no index", "a link", "cut", "of another", "other offsets", "beyond the end"],
)
def test_a_lost_or_damaged_index_hides_nothing(log: Log, kind: str, damage: str) -> None:
    if kind != "as written":
        store(log)
    if kind == "sorted before":
        for each in log.made:
            log.sort_index(each, of_before=True)
    made, other = log.made[1], log.made[2]
    path = log.path(made, ".index")
    data = path.read_bytes()
    path.unlink()
    entries = [data[at : at + 24] for at in range(64, len(data), 24)]
    if damage == "a link":
        path.symlink_to(log.path(other, ".index"))
    elif damage != "lost":
        path.write_bytes(
            {
                "empty": b"",
                "no index": b"x" * len(data),
                "cut": data[: 64 + 24 * 20 + 7],
                "of another": log.path(other, ".index").read_bytes(),
                "other offsets": data[:64]
                + b"".join(entry[:8] + bytes(8) + entry[16:] for entry in entries),
                "beyond the end": data[:64]
                + b"".join(entry[:8] + b"\xff" * 8 + entry[16:] for entry in entries),
            }[damage]
        )
    if damage == "of another" and kind != "as written":
        # It has as many entries; what it says of this ID leads elsewhere, or nowhere.
        made.index_key = log.made[2].index_key
    assert found(log, "t-3") == expected(log, "t-3")


def test_an_index_that_became_shorter_is_noticed(log: Log) -> None:
    store(log)
    assert found(log, "t-3") == expected(log, "t-3")
    path = log.path(log.made[0], ".index")
    path.write_bytes(path.read_bytes()[:200])
    assert found(log, "t-3") == expected(log, "t-3")


def test_older_segments_without_seal_and_index(log: Log) -> None:
    for made in log.made:
        log.path(made, ".index").unlink()
        log.path(made, ".seal").unlink()
    assert found(log, "t-3") == expected(log, "t-3")


def test_an_id_inside_a_payload_is_not_found(log: Log, searches: list[tuple[str, int]]) -> None:
    log.append(0, trace_id="real", payload={"trace_id": "inside"})
    log.close(0)
    log.append(0, trace_id="real", payload={"trace_id": "inside"})
    store(log)
    assert found(log, "inside") == []
    assert len(found(log, "real")) == 2


def test_damage_elsewhere_does_not_matter(log: Log) -> None:
    for _ in range(8):
        log.append(0, trace_id="big", payload=os.urandom(100_000).hex())
    log.append(0, trace_id="small", payload="x")
    log.close(0)
    store(log, keys=KEYS)
    path = log.path(log.made[-1], ".jsonl.zst.enc")
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    assert found(log, "small", KEYS) == expected(log, "small")
    with pytest.raises(SegmentError, match="cannot be decrypted from block 0"):
        found(log, "big", KEYS)


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_any_log_in_any_forms_gives_what_a_search_gives(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, data: st.DataObject
) -> None:
    monkeypatch.setattr(traces, "_LINE_BYTES", 256)
    log = new_log(tmp_path_factory.mktemp("any") / "logs")
    ids = ["a", "b", "a.b", "x" * 128]
    for _ in range(data.draw(st.integers(1, 4))):
        worker = data.draw(st.integers(0, 1))
        for _ in range(data.draw(st.integers(1, 12))):
            step = data.draw(st.integers(0, 9))
            if step == 0 and worker in log.open:
                log.mark(worker)
            log.append(
                worker,
                trace_id=data.draw(st.sampled_from(ids)),
                payload="p" * data.draw(st.sampled_from([0, 10, 90, 400])),
            )
        if data.draw(st.booleans()):
            log.close(worker)
        how = data.draw(st.sampled_from(["", "store", "encrypt"]))
        if how:
            store(log, compress=how == "store", keys=None if how == "store" else KEYS)
    limit = data.draw(st.integers(1, 7))
    for trace_id in ids:
        assert found(log, trace_id, KEYS, limit) == expected(log, trace_id)


def test_ten_thousand_of_one_id_are_paged(log: Log) -> None:
    recorder_folder = LogFolder(log.folder.parent / "many")
    recorder = Recorder(recorder_folder, 0, "clock-1", MIB)
    for start in range(0, 10_000, 100):
        recorder.append([tail("t", n, fill=300) for n in range(start, start + 100)])
        recorder.append([tail("u", n) for n in range(10)])
    recorder.close()
    Keeper(recorder_folder.path, compress=True, compress_after_s=0, keys=KEYS).work()
    after = None
    seen: list[str] = []
    while True:
        page = read_trace(recorder_folder.path, "t", KEYS, limit=1000, after=after)
        seen += [json.loads(bytes(line))["request_id"] for line in page.logs]
        after = page.next
        if after is None:
            break
    assert seen == [f"r{n}" for n in range(10_000)]
    recorder_folder.close()


def big_segment(
    folder: Path, number: int, size: int, previous: Previous, rng: random.Random
) -> tuple[Previous, list[str]]:
    """Write a closed and sealed segment as the recorder would, fast; give some of its IDs."""
    created = f"20251124T{number // 60:02d}{number % 60:02d}00.000000Z"
    stem = f"{created}-w0-1a2b3c4d-000000000000-{number:06d}"
    key = signing_key(folder.parent / "signing.key")
    index_key = rng.randbytes(16)
    made = trail.Trail(first_digest(previous, stem), index_key)
    seq = 0
    ids: list[str] = []
    filler = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz    ", k=1 << 16))
    with (folder / f"{stem}.jsonl").open("wb") as file:
        while made.size < size:
            lines = []
            for _ in range(64):
                trace_id = f"{rng.getrandbits(64):016x}"
                at = rng.randrange(1 << 15)
                record = tail(trace_id, seq, mono_ns=number << 40 | seq)
                record = record.replace(
                    b'"payload":""', b'"payload":"%b"' % filler[at : at + 6000].encode()
                )
                lines.append(
                    b'{"seq":%d,"worker":0,"boot_id":"1a2b3c4d-000000000000",%b\n' % (seq, record)
                )
                seq += 1
            ids.append(trace_id)
            made.add(lines)
            file.writelines(lines)
    final = Final(
        segment=stem,
        records=made.records,
        bytes=made.size,
        sha256=made.digest(),
        checks=made.checks(),
        timestamp="2025-11-24T00:00:00.000000Z",
        key=key.key_id,
    )
    (folder / seal_name(stem)).write_bytes(header_line(stem, previous) + final_line(final, key))
    (folder / index_name(stem)).write_bytes(trail.header(index_key) + made.take())
    return Previous(segment=stem, sha256=final.sha256), ids


def find_in_a_large_log(
    tmp_path: Path, *, segments: int, size: int, plain: int
) -> tuple[list[float], list[float], int]:
    """Look IDs up while writing goes on; give milliseconds, and how memory grew.

    Milliseconds are those of the first time, and the best of three for each ID: the machine is
    shared with the writer and with others.
    """
    folder = tmp_path / "logs"
    folder.mkdir(mode=0o700)
    rng = random.Random(7)
    previous = Previous(segment=None, sha256="0" * 64)
    keeper = Keeper(folder, compress=True, compress_after_s=0, keys=KEYS)
    ids: list[str] = []
    for number in range(segments):
        previous, some = big_segment(folder, number, size, previous, rng)
        ids += rng.sample(some, 2)
        if number < segments - plain:
            assert keeper.work() == 1
    Keeper(folder, compress=False, compress_after_s=0, keys=None).work()
    log_folder = LogFolder(folder)
    recorder = Recorder(log_folder, 1, "1a2b3c4d-1", size)
    done = threading.Event()
    written: list[int] = [0]

    def write() -> None:
        while not done.is_set():
            recorder.append([tail(f"live-{written[0]}", written[0], fill=6000)])
            written[0] += 1
            if written[0] % 100 == 0:
                recorder.tick()
            time.sleep(0.001)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for trace_id in ids[:3]:
            read_trace(folder, trace_id, KEYS)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        first, best = [], []
        for trace_id in [*rng.sample(ids, min(200, len(ids))), *["nobody"] * 10, "live"]:
            times = []
            for _ in range(3):
                wanted = trace_id if trace_id != "live" else f"live-{written[0] - 1}"
                began = time.perf_counter()
                page = read_trace(folder, wanted, KEYS)
                times.append((time.perf_counter() - began) * 1e3)
                assert len(page.logs) == (trace_id != "nobody")
            first.append(times[0])
            best.append(min(times))
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    finally:
        done.set()
        writer.join()
    recorder.close()
    log_folder.close()
    return sorted(first), sorted(best), grown * 1024


def test_any_id_of_a_log_is_found_at_once(tmp_path: Path) -> None:
    # A sample of the proof below.
    _, best, _ = find_in_a_large_log(tmp_path, segments=6, size=MIB, plain=3)
    assert best[-1] < 50


@pytest.mark.proof
@pytest.mark.timeout(1800)
def test_any_id_of_ten_gigabytes_is_found_within_50_ms(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, best, grown = find_in_a_large_log(tmp_path, segments=160, size=64 * MIB, plain=40)
    with capsys.disabled():
        print(
            f"\n160 segments of 64 MiB, 40 of them plain: {len(first)} IDs, the first time median "
            f"{statistics.median(first):.1f} ms, worst {first[-1]:.1f} ms; best of three median "
            f"{statistics.median(best):.1f} ms, worst {best[-1]:.1f} ms; memory grew by "
            f"{grown / 1e6:.1f} MB"
        )
    assert statistics.median(first) <= 50
    assert best[-1] <= 50
    assert grown < 32 * MIB
