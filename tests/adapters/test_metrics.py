from __future__ import annotations

import os
import random
import re
import sys
import time
from pathlib import Path

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from iatp._fast.counters import Counters
from iatp.adapters.metrics import Metrics, Usage, read_usage
from iatp.adapters.shared_memory import SharedMemory
from iatp.values import layout
from iatp.values.exchange import FINDINGS
from iatp.values.layout import WorkerState
from tests import forks

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")

PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)

NAMES_OF_THE_ISSUE = [
    "iatp_requests_total",
    "iatp_request_duration_seconds",
    "iatp_overhead_seconds",
    "iatp_upstream_duration_seconds",
    "iatp_upstream_connect_seconds",
    "iatp_policy_evaluations_total",
    "iatp_findings_total",
    "iatp_trust_score",
    "iatp_trust_score_distribution",
    "iatp_overrides_total",
    "iatp_quarantined_total",
    "iatp_inflight",
    "iatp_queued",
    "iatp_connections",
    "iatp_buffered_bytes",
    "iatp_upstream_errors_total",
    "iatp_records_written_total",
    "iatp_records_lost_total",
    "iatp_recorder_failing",
    "iatp_event_loop_lag_seconds",
    "iatp_build_info",
]


@pytest.fixture
def memory() -> SharedMemory:
    memory = SharedMemory(2, 10)
    memory.set_worker(0, os.getpid(), WorkerState.READY)
    return memory


@pytest.fixture
def metrics(memory: SharedMemory) -> Metrics:
    return Metrics(memory, version="1.2.3", trust_score=7)


def scrape(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample of a scrape, by name and labels."""
    samples = [
        (sample.name, frozenset(sample.labels.items()), sample.value)
        for family in parse_text(metrics.render()[1].decode())
        for sample in family.samples
    ]
    found = {(name, labels): value for name, labels, value in samples}
    assert len(found) == len(samples), "a series stands twice"
    return found


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return scrape(metrics)[name, frozenset(labels.items())]


def exposed(families: list[Metric]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name as its users write it → type and labels."""
    found = {}
    for family in families:
        name = family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")
        kind = "gauge" if family.type == "info" else family.type
        labels = sorted({label for sample in family.samples for label in sample.labels} - {"le"})
        found[name] = (kind, tuple(labels))
    return found


def documented() -> dict[str, tuple[str, tuple[str, ...]]]:
    rows = re.findall(
        r"^\| `(\w+)` \| (counter|gauge|histogram) \| (.*?)\| \S.* \|$", DOCUMENT.read_text(), re.M
    )
    assert len(rows) == len({name for name, _, _ in rows})
    return {
        name: (kind, tuple(sorted(re.findall(r"`(\w+)`", labels)))) for name, kind, labels in rows
    }


@LINUX
def test_the_document_lists_what_is_exposed(metrics: Metrics) -> None:
    assert documented() == exposed(list(metrics.collect()))


@LINUX
def test_the_document_counts_what_is_exposed() -> None:
    memory = SharedMemory(1, 10)
    memory.set_worker(0, os.getpid(), WorkerState.READY)
    series = scrape(Metrics(memory, version="1.2.3", trust_score=7))
    of_secrets = [labels for _, labels in series if dict(labels).get("kind", "")[:7] == "secret."]
    assert f"{len(of_secrets)} of the {len(series)} of a sidecar" in DOCUMENT.read_text()


def test_every_metric_of_the_issue_is_there(metrics: Metrics) -> None:
    assert set(NAMES_OF_THE_ISSUE) <= set(exposed(list(metrics.collect())))


def test_the_document_lists_the_label_values() -> None:
    text = DOCUMENT.read_text()
    rows = {
        name: set(re.findall(r"`(\w+)`", values))
        for name, values in re.findall(
            r"^\| (`.*) \| (.*`.*) \|$", text.split("## Label values")[1], re.M
        )
    }
    assert rows["`decision`"] == set(layout.DECISIONS)
    assert rows["`kind`"] == {name for name in FINDINGS if "." not in name}
    assert rows["`reason`"] == set(layout.UPSTREAM_ERRORS)
    assert rows["`state`"] == set(layout.CONNECTION_STATES)
    assert rows["`result` of `iatp_overrides_total`"] == set(layout.OVERRIDE_RESULTS)
    assert rows["`result` of `iatp_policy_evaluations_total`"] == set(layout.POLICY_RESULTS)


def test_the_queries_name_metrics_that_exist(metrics: Metrics) -> None:
    known = set(exposed(list(metrics.collect())))
    named = set(re.findall(r"\biatp_\w+", DOCUMENT.read_text()))
    assert {re.sub("_bucket$", "", name) for name in named} <= known


def test_plain_text_is_the_default(metrics: Metrics) -> None:
    content_type, text = metrics.render()
    assert content_type == "text/plain; version=0.0.4; charset=utf-8"
    lines = text.decode().splitlines()
    assert "# TYPE iatp_requests_total counter" in lines
    assert "# TYPE iatp_overhead_seconds histogram" in lines
    assert "# TYPE iatp_inflight gauge" in lines
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert names == [line.split()[2] for line in lines if line.startswith("# HELP")]
    assert all(line.partition(" ")[2].split(" ", 2)[2] for line in lines if line[:6] == "# HELP")


@pytest.mark.parametrize(
    "accept",
    [
        PROMETHEUS_3,
        "application/openmetrics-text",
        "text/plain, Application/OpenMetrics-Text ; Version=1.0.0",
        'application/openmetrics-text;version="1.0.0"',
    ],
)
def test_openmetrics_where_it_is_asked_for(metrics: Metrics, accept: str) -> None:
    content_type, text = metrics.render(accept)
    assert content_type.startswith("application/openmetrics-text; version=1.0.0; charset=utf-8")
    families = list(parse_openmetrics(text.decode()))
    assert set(exposed(families)) == set(exposed(list(metrics.collect())))


@pytest.mark.parametrize(
    "accept",
    [
        "text/plain",
        "*/*",
        ",;=,;;",
        "application/json",
        "application/openmetrics-text;version=0.0.1",
        "application/openmetrics-text;version=9.9.9",
        "application/openmetrics-text;version=x",
        "application/openmetrics-text;version=1.0.0;version=x",
        "application/openmetrics-text;version=" + "1" * 5000,
        "text/plain;version=1.0.0;escaping=evil",
        "text/plain;version=\x00\xff",
    ],
)
def test_plain_text_for_everything_else(metrics: Metrics, accept: str) -> None:
    assert metrics.render(accept)[0] == "text/plain; version=0.0.4; charset=utf-8"


def test_the_default_registry_is_not_exposed(metrics: Metrics) -> None:
    assert not [name for name, _ in scrape(metrics) if name.startswith("python_")]


def test_workers_are_summed(memory: SharedMemory, metrics: Metrics) -> None:
    one, two = (Counters(memory.attach(worker).counters) for worker in range(2))
    one.count_request("allow", 200)
    two.count_request("allow", 200)
    two.count_request("warn", 449)
    one.count_findings("credit_card", 2)
    two.count_upstream_error("reset")
    two.add_connections("idle", 5)
    one.add_connections("idle", -1)
    assert value(metrics, "iatp_requests_total", decision="allow", status="200") == 2
    assert value(metrics, "iatp_requests_total", decision="warn", status="449") == 1
    assert value(metrics, "iatp_findings_total", kind="credit_card") == 2
    assert value(metrics, "iatp_upstream_errors_total", reason="reset") == 1
    assert value(metrics, "iatp_connections", state="idle") == 4


def test_histograms_are_cumulative(memory: SharedMemory, metrics: Metrics) -> None:
    one, two = (Counters(memory.attach(worker).counters) for worker in range(2))
    for us in (25.0, 25.1, 30.0, 10_000_000.0):
        one.time_overhead(us)
    two.time_overhead(1.5)
    name = "iatp_overhead_seconds"
    assert value(metrics, f"{name}_bucket", le="2.5e-05") == 2
    assert value(metrics, f"{name}_bucket", le="5e-05") == 4
    assert value(metrics, f"{name}_bucket", le="1.0") == 4
    assert value(metrics, f"{name}_bucket", le="+Inf") == 5
    assert value(metrics, f"{name}_count") == 5
    assert value(metrics, f"{name}_sum") == pytest.approx(10.0000816, abs=1e-12)


def test_the_distribution_of_trust_scores(memory: SharedMemory, metrics: Metrics) -> None:
    one = Counters(memory.attach(0).counters)
    for score in (0, 7, 7, 10):
        one.count_trust(score)
    name = "iatp_trust_score_distribution"
    counts = [value(metrics, f"{name}_bucket", le=f"{score}.0") for score in range(11)]
    assert counts == [1] * 7 + [3] * 3 + [4]
    assert value(metrics, f"{name}_sum") == 24


def test_what_is_known_at_the_start(metrics: Metrics) -> None:
    assert value(metrics, "iatp_trust_score") == 7
    python = ".".join(map(str, sys.version_info[:3]))
    assert value(metrics, "iatp_build_info", version="1.2.3", python=python) == 1


def test_the_number_of_series_does_not_grow(memory: SharedMemory, metrics: Metrics) -> None:
    before = scrape(metrics).keys()
    one = Counters(memory.attach(1).counters)
    chance = random.Random(1)
    for _ in range(10_000):
        one.count_request(chance.choice(layout.DECISIONS), chance.randrange(-10, 1100))
        one.count_findings(chance.choice(FINDINGS), chance.randrange(5))
        one.time_request(chance.expovariate(1 / 10_000))
    after = scrape(metrics)
    assert after.keys() == before
    requests = sum(n for (name, _), n in after.items() if name == "iatp_requests_total")
    assert requests == 10_000


def test_a_scrape_while_another_process_counts(memory: SharedMemory, metrics: Metrics) -> None:
    """No torn number: what is scraped only rises, and the end is exact."""
    total = 200_000

    def work() -> None:
        one = Counters(memory.attach(1).counters)
        for _ in range(total):
            one.count_records(1 << 33)

    pid = forks.start(work)
    seen = [0.0]
    until = time.monotonic() + 5
    while seen[-1] < total << 33 and time.monotonic() < until:
        records = value(metrics, "iatp_records_written_total")
        assert records >= seen[-1]
        assert records % (1 << 33) == 0
        seen.append(records)
    forks.join(pid)
    assert value(metrics, "iatp_records_written_total") == total << 33


@LINUX
class TestProcesses:
    def test_each_process_of_the_sidecar(self, memory: SharedMemory, metrics: Metrics) -> None:
        with forks.gate() as (wait, open_):
            pid = forks.start(wait)
            memory.set_worker(1, pid, WorkerState.READY)
            memory.set_worker(None, os.getppid(), WorkerState.READY)
            found = scrape(metrics)
            open_()
            forks.join(pid)
        for name in (
            "process_cpu_seconds_total",
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_start_time_seconds",
        ):
            for worker in ("supervisor", "0", "1"):
                assert found[name, frozenset({("worker", worker)})] >= 0

    def test_its_own_numbers(self) -> None:
        usage = read_usage(os.getpid())
        assert usage.cpu_s == pytest.approx(sum(os.times()[:2]), abs=0.1)
        assert usage.open_fds is not None
        extra = [os.open("/dev/null", os.O_RDONLY) for _ in range(5)]
        assert read_usage(os.getpid()).open_fds == usage.open_fds + 5
        for fd in extra:
            os.close(fd)
        assert usage.resident_bytes is not None
        status = Path("/proc/self/status").read_text()
        kib = int(status.partition("VmRSS:")[2].split()[0])
        assert usage.resident_bytes == pytest.approx(kib * 1024, rel=0.05)

    def test_a_start_just_now(self) -> None:
        with forks.gate() as (wait, open_):
            pid = forks.start(wait)
            start_s = read_usage(pid).start_s
            open_()
            forks.join(pid)
        assert start_s == pytest.approx(time.time(), abs=3)

    def test_a_process_that_is_gone_has_no_series(
        self, memory: SharedMemory, metrics: Metrics
    ) -> None:
        pid = forks.start(lambda: None)
        forks.join(pid)
        memory.set_worker(1, pid, WorkerState.READY)
        assert read_usage(pid) == Usage()
        assert ("process_open_fds", frozenset({("worker", "1")})) not in scrape(metrics)

    def test_a_name_with_brackets(self, tmp_path: Path) -> None:
        """proc_pid_stat(5): the name stands in brackets and may hold anything."""
        (tmp_path / "stat").write_text("cpu 1 2\nbtime 1000\nprocesses 5\n")
        (tmp_path / "9").mkdir()
        numbers = ["0"] * 50
        tick = os.sysconf("SC_CLK_TCK")
        numbers[10], numbers[11], numbers[18], numbers[20] = (
            str(n) for n in (3 * tick, 2 * tick, 7 * tick, 11)
        )
        (tmp_path / "9" / "stat").write_text(f"9 (a) b) S {' '.join(numbers)}\n")
        assert read_usage(9, tmp_path) == Usage(
            cpu_s=5.0, resident_bytes=11 * os.sysconf("SC_PAGESIZE"), start_s=1007.0
        )


def test_without_proc_only_its_own(tmp_path: Path) -> None:
    gone = tmp_path / "proc"
    usage = read_usage(os.getpid(), gone)
    assert usage.cpu_s is not None
    assert usage.cpu_s > 0
    assert (usage.open_fds or 0) > 2
    assert usage.resident_bytes is None
    assert read_usage(os.getppid(), gone) == Usage()
