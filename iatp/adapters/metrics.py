"""Prometheus families from the cells that the workers count in, made at a scrape.

Nothing here runs per request. Any worker answers for all: it sums their blocks, so that
counters hold over the death of a worker and a scrape may reach any of them. Label values
come from the layout's closed sets; nothing that a caller sends becomes one.

Importing this costs 1.5 MB for prometheus_client: import it with the first scrape.
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from iatp.adapters.shared_memory import SharedMemory
from iatp.values.layout import FAMILIES, Family, Sort

PROC = Path("/proc")

OPENMETRICS = "application/openmetrics-text"


class Metrics(Collector):
    """All metrics of one sidecar, over all its workers."""

    def __init__(
        self, memory: SharedMemory, *, version: str, trust_score: int, own: Sequence[str] = ()
    ) -> None:
        """Take as `own` what findings of the policy's own patterns are called, in its order."""
        self._memory = memory
        self._own = own
        self._version = version
        self._trust_score = trust_score
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def render(self, accept: str = "") -> tuple[str, bytes]:
        """Return the content type and the text that a scraper with this Accept gets.

        OpenMetrics 1.0.0 where it is asked for by that version or none, else Prometheus text
        0.0.4. Weights are not read, as in prometheus_client itself.
        """
        wanted = f"{OPENMETRICS}; version=1.0.0" if _takes_openmetrics(accept) else ""
        encoder, content_type = choose_encoder(wanted)
        return content_type, encoder(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield every family, once a scrape."""
        cells = self._memory.sums()
        for family in FAMILIES.values():
            if family.own:
                series = (*family.series, *((name,) for name in self._own))
                family = msgspec.structs.replace(family, series=series, own=0)  # noqa: PLW2901
            yield _FROM_CELLS[family.sort](family, cells[family.at : family.at + family.cells])
        yield GaugeMetricFamily(
            "iatp_trust_score",
            "The agent's trust score, 0 to 10, as its manifest gives it.",
            value=self._trust_score,
        )
        yield InfoMetricFamily(
            "iatp_build",
            "What is running, as labels; always 1.",
            value={
                "version": self._version,
                "python": ".".join(str(part) for part in sys.version_info[:3]),
            },
        )
        yield from self._collect_processes()

    def _collect_processes(self) -> Iterator[Metric]:
        cpu = CounterMetricFamily(
            "process_cpu_seconds_total", "CPU time, user and system.", labels=("worker",)
        )
        resident = GaugeMetricFamily(
            "process_resident_memory_bytes", "Resident memory.", labels=("worker",)
        )
        fds = GaugeMetricFamily("process_open_fds", "Open file descriptors.", labels=("worker",))
        start = GaugeMetricFamily(
            "process_start_time_seconds", "Start, in seconds since 1970.", labels=("worker",)
        )
        for row in self._memory.processes():
            usage = read_usage(row.pid)
            for family, value in (
                (cpu, usage.cpu_s),
                (resident, usage.resident_bytes),
                (fds, usage.open_fds),
                (start, usage.start_s),
            ):
                if value is not None:
                    family.add_metric((row.name,), value)
        yield from (cpu, resident, fds, start)


def _takes_openmetrics(accept: str) -> bool:
    for part in accept.split(","):
        kind, *parameters = (text.strip().lower() for text in part.split(";"))
        if kind == OPENMETRICS:
            versions = [text for text in parameters if text.startswith("version=")]
            if versions in ([], ["version=1.0.0"], ['version="1.0.0"']):
                return True
    return False


def _counter(family: Family, cells: list[int]) -> Metric:
    metric = CounterMetricFamily(family.name, family.meaning, labels=family.labels)
    for labels, value in zip(family.series, cells, strict=True):
        metric.add_metric(labels, value)
    return metric


def _gauge(family: Family, cells: list[int]) -> Metric:
    metric = GaugeMetricFamily(family.name, family.meaning, labels=family.labels)
    for labels, value in zip(family.series, cells, strict=True):
        metric.add_metric(labels, value)
    return metric


def _histogram(family: Family, cells: list[int]) -> Metric:
    *counts, total = cells
    bounds = [str(bound / family.units) for bound in family.bounds]
    return HistogramMetricFamily(
        family.name,
        family.meaning,
        buckets=list(zip((*bounds, "+Inf"), itertools.accumulate(counts), strict=True)),
        sum_value=total / family.units,
    )


_FROM_CELLS = {Sort.COUNTER: _counter, Sort.GAUGE: _gauge, Sort.HISTOGRAM: _histogram}


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What a process uses; None where this system does not say."""

    cpu_s: float | None = None
    resident_bytes: int | None = None
    open_fds: int | None = None
    start_s: float | None = None


def read_usage(pid: int, proc: Path = PROC) -> Usage:
    """Return what the process uses; all None where there is no such process.

    Without /proc (macOS), only CPU time and descriptors of the calling process are known.
    """
    try:
        stat = (proc / str(pid) / "stat").read_bytes()
        boot = (proc / "stat").read_bytes()
    except OSError:
        return _own_usage() if pid == os.getpid() and not proc.exists() else Usage()
    # Behind the name, which may hold spaces and brackets: proc_pid_stat(5), field 3 on.
    fields = stat.rpartition(b")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    boot_s = int(boot.partition(b"\nbtime ")[2].split(maxsplit=1)[0])
    try:
        open_fds = len(os.listdir(proc / str(pid) / "fd"))  # noqa: PTH208 (no Path for each)
    except OSError:
        open_fds = None
    return Usage(
        cpu_s=(int(fields[11]) + int(fields[12])) / ticks,
        resident_bytes=int(fields[21]) * os.sysconf("SC_PAGESIZE"),
        open_fds=open_fds,
        start_s=boot_s + int(fields[19]) / ticks,
    )


def _own_usage() -> Usage:
    times = os.times()
    try:
        open_fds = len(os.listdir("/dev/fd"))  # noqa: PTH208 (no Path for each)
    except OSError:
        open_fds = None
    return Usage(cpu_s=times.user + times.system, open_fds=open_fds)
