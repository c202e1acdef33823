"""What the sidecars say of themselves, and what the kernel says of their memory."""

from __future__ import annotations

import math
import re
import threading
import time
from pathlib import Path
from types import TracebackType
from urllib.parse import urlsplit

from iatp.cli.fetch import fetch
from iatp.cli.rig import Sidecar

Buckets = dict[float, float]
"""Upper bound in seconds to how many were at most so."""


def overhead(sidecar: Sidecar) -> Buckets:
    """What iatp_overhead_seconds counts now."""
    url = urlsplit(f"http://127.0.0.1:{sidecar.admin_port}")
    text = fetch(url, "/metrics", timeout_s=10.0).body.decode()
    found = re.findall(r'^iatp_overhead_seconds_bucket\{le="([^"]+)"\} (\S+)$', text, re.MULTILINE)
    return {float(bound.replace("+Inf", "inf")): float(count) for bound, count in found}


def between(before: list[Buckets], after: list[Buckets]) -> Buckets:
    """What was counted in between, over all sidecars."""
    return {
        bound: sum(now[bound] - then[bound] for then, now in zip(before, after, strict=True))
        for bound in after[0]
    }


def quantile(counts: Buckets, share: float) -> float:
    """The upper bound of the bucket that this quantile falls into; NaN where all are empty."""
    total = counts[math.inf]
    if not total:
        return math.nan
    return min(bound for bound, count in counts.items() if count >= share * total)


class Memory:
    """Looks at the memory of some sidecars every half second, from entry to exit."""

    def __init__(self, sidecars: list[Sidecar]) -> None:
        self._sidecars = sidecars
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.seen: list[tuple[float, list[float]]] = []
        """Seconds since the entry, and the MB of each sidecar then."""

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def peak_mb(self) -> float:
        """The most that one sidecar held."""
        return max(max(each) for _, each in self.seen)

    def growth(self, settles_s: float, ends_s: float) -> float:
        """By which share of it the memory of all grew between the two; medians of ten looks."""
        settled = [sum(each) for at, each in self.seen if at >= settles_s][:10]
        ended = [sum(each) for at, each in self.seen if at <= ends_s][-10:]
        return _median(ended) / _median(settled) - 1

    def _look(self) -> None:
        began = time.monotonic()
        while not self._ended.wait(0.5):
            at = time.monotonic() - began
            self.seen.append((at, [_resident_mb(each.process.pid) for each in self._sidecars]))


def _resident_mb(pid: int) -> float:
    """What a process and its children would hold if no other process ran.

    Of pages that were written each has its share, and they share with one another only; files
    are mapped alike in all and count once, in full. Their share (PSS of the whole) would not do:
    it grows by megabytes when a process that runs the same interpreter ends elsewhere.
    """
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        parts = [_written_and_mapped_kib(each) for each in (str(pid), *children)]
    except (FileNotFoundError, ProcessLookupError):
        # It has ended, which is found elsewhere.
        return 0.0
    return (sum(own for own, _ in parts) + max(mapped for _, mapped in parts)) * 1024 / 1e6


def _written_and_mapped_kib(pid: str) -> tuple[int, int]:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    kib = {name: int(size) for name, size in re.findall(r"^(\w+): +(\d+) kB", text, re.MULTILINE)}
    # Empty where it has ended and was not waited for.
    if not kib:
        return 0, 0
    return kib["Pss_Anon"], kib["Rss"] - kib["Anonymous"]


def _median(looks: list[float]) -> float:
    return sorted(looks)[len(looks) // 2]
