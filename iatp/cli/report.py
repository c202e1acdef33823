"""Sum up the flight record: what a weekly review looks at.

Requests and what became of them, trust scores, blocks and warnings with their reasons, sensitive
data by kind and day, how often warnings were confirmed, latencies, errors, the callers that asked
most. Reads the log once, in as many processes as there are cores, with little memory whatever its
size. Latencies are counted in buckets: a percentile is right within 0.8 %. Exit status 1 where a
part of the log could not be read.
"""

from __future__ import annotations

import argparse
import collections
import os
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from iatp._fast.tally import ERROR, Tally, bucket_middle
from iatp.adapters.encryption import LogKeys
from iatp.adapters.log_folder import Segment
from iatp.adapters.processes import cores, each
from iatp.adapters.segments import SegmentError, open_segment
from iatp.adapters.selection import Filter, Losses, is_within, matching, segments_within, stamp
from iatp.cli.folder import Log, add_folder_arguments, open_log
from iatp.cli.moments import add_span_arguments
from iatp.cli.progress import ByteProgress, in_units
from iatp.cli.screen import BOLD, CYAN, DIM, GREEN, RED, YELLOW, Screen, plain, print_json
from iatp.decisions.review import FIELDS, PERCENTILES, Review, percentile
from iatp.values.errors import StartError
from iatp.values.exchange import kind_of

_MOST_GROUPS = 20_000
"""Above so many in memory they are summed up."""
_BLOCK_BYTES = 1 << 20
"""Read at once: in pieces of a sixteenth a cold file costs the system three times as much."""
_TOP = 10
_BAR = 32
_REASON_CHARACTERS = 40


class Read(NamedTuple):
    """What one segment gave."""

    review: Review
    bytes: int
    complaint: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder, and from when on."""
    add_folder_arguments(parser)
    add_span_arguments(parser, since="7d")
    parser.add_argument(
        "--processes",
        type=_processes,
        metavar="N",
        help="how many read at once, 1 to 64; default: one for each core",
    )


def _processes(text: str) -> int:
    if not re.fullmatch(r"[1-9]|[1-5]\d|6[0-4]", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 64")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Read, and print it."""
    log = open_log(arguments)
    # Without an end, what is being written needs no look at its times.
    span = (stamp(arguments.since), stamp(arguments.until) if arguments.until else "")
    review = Review()
    read_bytes = 0
    complaints = []
    for found in _read_all(log, *span, processes=arguments.processes or cores()):
        review.merge(found.review)
        read_bytes += found.bytes
        if found.complaint:
            complaints.append(found.complaint)
    for complaint in complaints:
        print(f"iatp: {plain(complaint)}", file=sys.stderr)
    document = summary(review) | {
        "since": span[0],
        "until": span[1] or stamp(datetime.now(UTC)),
        "bytes": read_bytes,
        "unreadable": complaints,
    }
    if arguments.json:
        print_json(document)
    else:
        _Page(Screen()).show(document)
    return 1 if complaints or review.lost else 0


def _read_all(log: Log, since: str, until: str, *, processes: int) -> Iterable[Read]:
    progress = ByteProgress()
    try:
        segments = segments_within(log.folder, since, until)
        sizes = [_size(log.folder, segment) for segment in segments]
        done = 0
        tasks = [(str(log.folder), segment, log.keys, since, until) for segment in segments]
        names = [segment.name for segment in segments]
        results = each(_read, tasks, names=names, processes=processes)
        for size, found in zip(sizes, results, strict=True):
            yield found
            done += size
            progress.show(done, sum(sizes))
    except OSError as error:
        raise StartError(f"the log {log.folder} cannot be read: {error.strerror}") from None
    finally:
        progress.end()


def _size(folder: Path, segment: Segment) -> int:
    try:
        return os.stat(folder / segment.name).st_size  # noqa: PTH116 - not following is no matter
    except OSError:
        return 0


def _read(folder: str, segment: Segment, keys: LogKeys | None, since: str, until: str) -> Read:
    """Sum up one segment."""
    review, tally = Review(), Tally(FIELDS, "latency_ms")
    losses = Losses()
    read_bytes = 0
    complaint = ""
    # One that holds the edge of the time is looked at line by line.
    edge = None if is_within(folder, segment, since, until) else Filter(since=since, until=until)
    try:
        text = open_segment(folder, segment, keys, once=True)
        if text is None:
            return Read(review, 0, "")
        with text:
            for block in text.views(bytearray(_BLOCK_BYTES)):
                read_bytes += len(block)
                if edge is None:
                    tally.feed(block)
                else:
                    lines = [found.line for found in matching(bytes(block), edge, losses)]
                    tally.feed(b"\n".join([*lines, b""]))
                if len(tally) > _MOST_GROUPS:
                    review.add(tally.take())
    except SegmentError as error:
        complaint = error.strerror or str(error)
    except OSError as error:
        complaint = f"{segment.name} cannot be read from byte {read_bytes} on: {error.strerror}"
    review.add(tally.take())
    review.latencies.update(tally.histogram())
    review.lost += tally.lost + losses.lines
    return Read(review, read_bytes, complaint)


def summary(review: Review) -> dict[str, Any]:
    """The report, as JSON has it."""
    requests = review.requests()
    answers = sum(review.statuses.values())
    errors = sum(review.errors.values())
    agent_errors = sum(count for status, count in review.statuses.items() if status >= 500)
    warned, confirmed = review.types["warning"], review.types["user_override"]
    callers = sorted(review.callers.items(), key=lambda item: (-item[1]["requests"], item[0]))
    return {
        "records": review.records,
        "lines_lost": review.lost,
        "requests": {
            "all": requests,
            "forwarded": review.types["request"],
            "answered": answers,
            "blocked": review.types["blocked"],
            "warned": warned,
            "refused": errors - review.failed,
            "failed": review.failed,
        },
        "trust_scores": {str(score): review.scores[score] for score in sorted(review.scores)},
        "blocked": _reasons(review.blocked),
        "warned": _reasons(review.warned),
        "findings": _by_kind(review.findings),
        "answer_findings": _by_kind(review.answer_findings),
        "overrides": {"warned": warned, "confirmed": confirmed, "rate": _rate(confirmed, warned)},
        "latency_ms": _latencies(review),
        "errors": {
            "count": errors,
            "rate": _rate(errors, requests),
            "by_code": [
                {"code": code, "status": status, "count": count}
                for (code, status), count in review.errors.most_common()
            ],
            "agent_5xx": agent_errors,
            "agent_5xx_rate": _rate(agent_errors, answers),
            "agent_statuses": {str(status): n for status, n in sorted(review.statuses.items())},
        },
        "callers": [
            {
                "caller": caller,
                **{name: counts[name] for name in ("requests", "blocked", "warned", "errors")},
            }
            for caller, counts in callers[:_TOP]
        ],
        "callers_approximate": review.callers_dropped,
    }


def _reasons(counts: Any) -> list[dict[str, Any]]:
    return [
        {"rule": rule, "code": code, "reason": reason, "count": count}
        for (rule, code, reason), count in counts.most_common()
    ]


def _by_kind(counts: Any) -> dict[str, dict[str, int]]:
    kinds: dict[str, dict[str, int]] = {}
    for (kind, day), count in sorted(counts.items()):
        kinds.setdefault(kind, {})[day] = count
    return kinds


def _rate(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None


def _latencies(review: Review) -> dict[str, Any]:
    buckets = review.latencies
    said: dict[str, Any] = {"count": sum(buckets.values()), "error": ERROR}
    for share in PERCENTILES:
        bucket = percentile(buckets, share)
        said[f"p{share:g}"] = None if bucket is None else bucket_middle(bucket) / 1000
    said["max"] = bucket_middle(max(buckets)) / 1000 if buckets else None
    return said


class _Page:
    """The report for people."""

    def __init__(self, screen: Screen) -> None:
        self.screen = screen
        encoding = (getattr(screen.stream, "encoding", None) or "").lower()
        self.block = "█" if encoding.startswith("utf") else "#"

    def show(self, report: dict[str, Any]) -> None:
        """Print all of it."""
        requests = report["requests"]
        self.screen.line(
            f"{report['since'][:16].replace('T', ' ')} to "
            f"{report['until'][:16].replace('T', ' ')} UTC: {report['records']:,} records, "
            f"{in_units(report['bytes'])}"
        )
        self._part(f"{requests['all']:,} requests")
        self._bars([(name, requests[name], style) for name, style in _OUTCOMES], requests["all"])
        self._part("trust scores")
        scores = report["trust_scores"]
        self._bars(
            [(f"{score:>2}/10", count, CYAN) for score, count in scores.items()],
            sum(scores.values()),
        )
        for name, style in (("blocked", RED), ("warned", YELLOW)):
            self._part(name)
            rows = report[name][:_TOP]
            labels = [(_because(row), row["count"], style) for row in rows]
            self._bars(labels, requests[name])
        self._findings("sensitive data in requests", report["findings"])
        self._findings("sensitive data in answers", report["answer_findings"])
        self._part("how it went")
        self._numbers(report)
        self._callers(report)

    def _part(self, title: str) -> None:
        self.screen.line()
        self.screen.line(self.screen.paint(title, BOLD))

    def _bars(self, rows: list[tuple[str, int, str]], whole: int) -> None:
        if not any(count for _, count, _ in rows):
            self.screen.line(self.screen.paint("  none", DIM))
            return
        most = max(count for _, count, _ in rows)
        self.screen.table(
            [
                plain(label),
                f"{count:>12,}",
                _percent(count, whole),
                self.screen.paint(self.block * max(round(_BAR * count / most), count > 0), style),
            ]
            for label, count, style in rows
        )

    def _findings(self, title: str, kinds: dict[str, dict[str, int]]) -> None:
        self._part(title)
        if not kinds:
            self.screen.line(self.screen.paint("  none", DIM))
            return
        # A column for each kind; what its findings are called stands below.
        columns: dict[str, collections.Counter[str]] = {}
        for name, counts in kinds.items():
            columns.setdefault(kind_of(name), collections.Counter()).update(counts)
        days = sorted({day for counts in columns.values() for day in counts})
        head = ["", *(kind.rjust(12) for kind in columns)]
        rows = [
            [plain(day), *(f"{counts[day]:>12,}" for counts in columns.values())] for day in days
        ]
        total = ["all", *(f"{counts.total():>12,}" for counts in columns.values())]
        self.screen.table([head, *rows, total])
        named = {name: sum(counts.values()) for name, counts in kinds.items() if "." in name}
        self.screen.table(
            [plain(name), f"{count:>12,}"]
            for name, count in sorted(named.items(), key=lambda row: (-row[1], row[0]))[:_TOP]
        )

    def _numbers(self, report: dict[str, Any]) -> None:
        overrides, errors, latency = report["overrides"], report["errors"], report["latency_ms"]
        rows = [
            ["warnings confirmed", f"{overrides['confirmed']:,} of {overrides['warned']:,}"],
            [
                "errors",
                f"{errors['count']:,} ({_percent(errors['count'], report['requests']['all'])})",
            ],
        ]
        rows += [
            [f"  {plain(row['code'])}", f"{row['count']:,} (status {row['status']})"]
            for row in errors["by_code"][:_TOP]
        ]
        rows.append(
            ["agent's 5xx", f"{errors['agent_5xx']:,} of {report['requests']['answered']:,}"]
        )
        if latency["count"]:
            shown = (*(f"p{share:g}" for share in PERCENTILES), "max")
            rows.append(["latency, ms", ", ".join(f"{name} {latency[name]:.3g}" for name in shown)])
        self.screen.table(rows)

    def _callers(self, report: dict[str, Any]) -> None:
        self._part("callers that asked most" + (", roughly" * report["callers_approximate"]))
        rows = [
            [
                plain(row["caller"]),
                f"{row['requests']:>12,}",
                f"{row['blocked']:>10,}",
                f"{row['warned']:>10,}",
                f"{row['errors']:>10,}",
            ]
            for row in report["callers"]
        ]
        head = ["", "requests".rjust(12), *(n.rjust(10) for n in ("blocked", "warned", "errors"))]
        self.screen.table([head, *rows])


_OUTCOMES = (
    ("answered", GREEN),
    ("blocked", RED),
    ("warned", YELLOW),
    ("refused", RED),
    ("failed", RED),
)


def _because(row: dict[str, Any]) -> str:
    why = row["reason"] or row["code"]
    shown = why if len(why) <= _REASON_CHARACTERS else why[: _REASON_CHARACTERS - 1] + "…"
    return ": ".join(text for text in dict.fromkeys((row["rule"], shown)) if text)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:5.1f} %" if whole else "    – %"
