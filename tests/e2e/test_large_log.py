"""A log of ten gigabytes: any trace at once while it is written, and a report as fast as the disk.

`make proof` makes one through the recorder and prints the figures; a small one is asked the same
questions in every run.
"""

from __future__ import annotations

import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from iatp._fast import record
from iatp.adapters.keeper import Keeper
from iatp.adapters.recorder import LogFolder, Recorder
from iatp.adapters.segments import LogKeys
from tests.cli.programs import document, environment
from tests.e2e.crowd import CROWD_NICE, QUICK, crowd, crowd_agent
from tests.e2e.load import resident_kib
from tests.e2e.sidecars import KEEPS, Sidecar, sidecar

MIB = 1 << 20
WORKERS = 2
EVERY_S = 0.05
"""How often each of ten callers asks while traces are looked up."""
KEY = bytes(range(32))
LARGE = {"IATP_LOG_COMPRESS": "off", "IATP_LOG_MAX_SIZE": "100GiB"}
WORDS = (
    b"the account of customer please transfer report summary agent tool call result weather "
    b"invoice order status list open close next previous amount total value date time page"
).split()

REQUEST = (
    b'"type":"request","trace_id":"%b","request_id":"%b","timestamp":"2025-11-24T00:%02d:%02d.%06dZ",'
    b'"agent_id":"bank","mono_ns":%d,"method":"POST","path":"/proxy","caller":"caller-%d",'
    b'"peer":"10.0.0.1","decision":"allow","rule":"default","findings":{},"trust_score":10,'
    b'"payload":{"model":"m","messages":[{"role":"user","content":"%b"}]},"payload_bytes":400,'
    b'"quarantined":false}'
)
RESPONSE = (
    b'"type":"response","trace_id":"%b","request_id":"%b","timestamp":"2025-11-24T00:%02d:%02d.%06dZ",'
    b'"agent_id":"bank","mono_ns":%d,"status_code":200,"latency_ms":%d.250,"response":{"choices":'
    b'[{"index":0,"message":{"role":"assistant","content":"%b"},"finish_reason":"stop"}]},'
    b'"response_bytes":400,"truncated":false}'
)


def make_log(folder: Path, size: int, segment: int, *, every: int) -> list[str]:
    """Write a closed log as two workers do, each request with two records; give some IDs."""
    chance = random.Random(11)
    texts = [b" ".join(chance.choices(WORDS, k=chance.randrange(20, 150))) for _ in range(997)]
    log = LogFolder(folder)
    recorders = [
        Recorder(log, worker, f"1a2b3c4d-{worker}", segment, join=record.lines)
        for worker in range(WORKERS)
    ]
    ids: list[str] = []
    written = number = 0
    while written < size:
        tails = []
        for _ in range(16):
            number += 1
            mono_ns = 250_000 * number
            seconds, us = divmod(mono_ns // 1000, 1_000_000)
            moment = (seconds // 60 % 60, seconds % 60, us)
            trace_id = b"%016x-%016x" % (number, chance.getrandbits(64))
            request_id = b"%032x" % chance.getrandbits(128)
            common = (trace_id, request_id, *moment, mono_ns)
            tails.append(REQUEST % (*common, number % 400, texts[number % 997]))
            tails.append(RESPONSE % (*common, number % 900, texts[number % 991]))
            if number % every == 0:
                ids.append(trace_id.decode())
        recorders[number // 16 % WORKERS].append(tails)
        written += sum(map(len, tails))
    for recorder in recorders:
        recorder.close()
    log.close()
    # As the sidecar's own keeper does in its first seconds.
    Keeper(folder, compress=False, compress_after_s=0, keys=None).work()
    return ids


def forget(folder: Path) -> None:
    """Have the system forget what it has of these files in memory."""
    os.sync()
    for path in folder.iterdir():
        fd = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(fd)


def look_up(running: Sidecar, trace_id: str, records: int) -> float:
    """Ask for a trace; give the milliseconds."""
    began = time.perf_counter()
    answer = running.admin(f"/trace/{trace_id}")
    took_ms = (time.perf_counter() - began) * 1e3
    assert answer.status == (200 if records else 404)
    assert len(answer.json().get("logs", ())) == records
    return took_ms


def said(name: str, times: list[float]) -> None:
    ordered = sorted(times)
    print(
        f"{name}: {len(ordered)} times, median {statistics.median(ordered):.1f} ms, 99 % "
        f"{ordered[int(0.99 * len(ordered))]:.1f} ms, worst {ordered[-1]:.1f} ms"
    )


def look_up_all(folder: Path, ids: list[str], *, count: int, seconds: float) -> float:
    """Look traces up in a sidecar that writes; give the milliseconds of the worst, best of three.

    Best of three, since the machine has others to serve, and shows in the first time: that is
    asserted by its median.
    """
    chance = random.Random(5)
    with (
        crowd_agent() as agent,
        sidecar(folder, agent.url, KEEPS | {"IATP_WORKERS": str(WORKERS)} | LARGE) as running,
        crowd(running.port, CROWD_NICE) as callers,
    ):
        callers.open(10)
        callers.begin(10, messages=(QUICK,), seconds=seconds, every_s=EVERY_S, spread_s=EVERY_S)
        look_up(running, ids[0], 2)
        # What a worker needs for its first question stays.
        for number in range(8):
            look_up(running, f"nobody-{number}", 0)
        workers = running.workers()
        before_kib = sum(map(resident_kib, workers))
        cold, first, unknown, best = [], [], [], []
        for trace_id in chance.sample(ids, max(count // 20, 3)):
            forget(running.logs)
            cold.append(look_up(running, trace_id, 2))
        for trace_id in chance.sample(ids, count):
            times = [look_up(running, trace_id, 2) for _ in range(3)]
            first.append(times[0])
            best.append(min(times))
        for number in range(count):
            times = [look_up(running, f"unknown-{number}", 0) for _ in range(3)]
            unknown.append(times[0])
            best.append(min(times))
        grown_kib = sum(map(resident_kib, workers)) - before_kib
        callers.told(within_s=seconds + 60)
        print()
        said("nothing of it in memory", cold)
        said("the first time", first)
        said("an ID that is not there, the first time", unknown)
        said("best of three", best)
        print(f"resident memory of {WORKERS} workers grew by {grown_kib / 1024:.1f} MiB")
    assert statistics.median(cold) <= 50
    assert statistics.median(first + unknown) <= 50
    assert grown_kib < 8 << 10
    return max(best)


def report(logs: Path, *arguments: str) -> tuple[float, float, int]:
    """MB/s of a report that begins with nothing in memory; MB per second of processor; records."""
    forget(logs)
    began, used = time.perf_counter(), os.times()
    command = [sys.executable, "-m", "iatp", "report", "--json", "--since", "520w"]
    done = subprocess.run(
        [*command, "--log-dir", str(logs), *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    took_s, now = time.perf_counter() - began, os.times()
    worked_s = sum(now[2:4]) - sum(used[2:4])
    found = document(done)
    return found["bytes"] / took_s / 1e6, found["bytes"] / worked_s / 1e6, found["records"]


def disk_rate(logs: Path) -> float:
    """MB/s at which the files are read one after the other, by nobody else."""
    forget(logs)
    total, buffer = 0, bytearray(MIB)
    began = time.perf_counter()
    for path in sorted(logs.glob("*.jsonl")):
        with path.open("rb", buffering=0) as file:
            while length := file.readinto(buffer):
                total += length
    return total / (time.perf_counter() - began) / 1e6


@pytest.mark.skipif(sys.platform != "linux", reason="needs posix_fadvise")
@pytest.mark.timeout(120)
def test_any_trace_is_found_at_once_and_a_report_reads_all(tmp_path: Path) -> None:
    # A sample of the proof below.
    ids = make_log(tmp_path / "logs", 8 * MIB, MIB, every=101)
    rate, _, records = report(tmp_path / "logs")
    assert rate > 0
    assert records == sum(
        path.read_bytes().count(b"\n") for path in (tmp_path / "logs").glob("*.jsonl")
    )
    assert look_up_all(tmp_path, ids, count=5, seconds=3) <= 50


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_ten_gigabytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = tmp_path / "logs"
    with capsys.disabled():
        ids = make_log(logs, 10 * 10**9, 64 * MIB, every=2003)
        size = sum(path.stat().st_size for path in logs.glob("*.jsonl"))
        print(f"\n{len(list(logs.glob('*.jsonl')))} segments, {size / 1e9:.1f} GB")
        worst = look_up_all(tmp_path, ids, count=200, seconds=60)
        disk = disk_rate(logs)
        plain = max(report(logs) for _ in range(2))
        print(f"the disk {disk:.0f} MB/s")
        print(f"report {plain[0]:.0f} MB/s, {plain[1]:.0f} MB a second of processor")
        stored = part(logs, tmp_path / "stored", 16)
        (tmp_path / "keys").write_text(KEY.hex() + "\n")
        (tmp_path / "keys").chmod(0o600)
        for name, encrypts in (("compressed", False), ("compressed and encrypted", True)):
            keys = LogKeys([KEY]) if encrypts else None
            Keeper(stored, compress=True, compress_after_s=0, keys=keys).work()
            found = report(stored, "--log-key-file", str(tmp_path / "keys"))
            print(f"report, {name}: {found[0]:.0f} MB/s, {found[1]:.0f} MB a second of processor")
    assert worst <= 50
    # No faster than the disk, where that is slower.
    assert plain[0] >= min(300, 0.8 * disk)


def part(logs: Path, target: Path, segments: int) -> Path:
    """The oldest segments of a log as one of its own."""
    target.mkdir(mode=0o700)
    for path in sorted(logs.glob("*.jsonl"))[:segments]:
        for one in logs.glob(f"{path.stem}.*"):
            shutil.copy2(one, target)
    return target
