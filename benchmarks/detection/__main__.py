"""Measures what the scan finds on the labelled corpus, beside Presidio and detect-secrets, and
how fast; prints the tables and keeps them in docs/detection-quality.md. About ten minutes.

Faker, python-stdnum, hyperscan and the peers are installed below build/detection. Nothing is
sent anywhere after that.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from benchmarks.detection import corpus, ids, peers, report, speed
from benchmarks.detection.marks import Body
from benchmarks.detection.prose import FakerProse, PlainProse, Prose
from benchmarks.detection.results import DETECT_SECRETS, OURS, PRESIDIO, Results, goals
from benchmarks.detection.score import Score, Tally, ours
from benchmarks.detection.second_opinion import SecondOpinion
from iatp.values.exchange import SCANNED

PAGE = peers.ROOT / "docs" / "detection-quality.md"
BEGIN, END = "<!-- written by make detection -->\n", "<!-- end -->"


def main() -> int:
    """Exit status 1 where --check finds that something does not hold, 2 where it cannot run."""
    arguments = _arguments()
    try:
        if arguments.read:
            results = msgspec.json.decode(arguments.read.read_bytes(), type=Results)
        else:
            results = _measure(arguments)
    except peers.MissingError as error:
        print(f"detection: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_bytes(msgspec.json.format(msgspec.json.encode(results)) + b"\n")
    said = report.markdown(results)
    print(said)
    for kind in arguments.show:
        print(report.shown(results, kind))
    if arguments.write:
        write(said)
    if not arguments.check:
        return 0
    wrong = [goal for goal in goals(results) if not goal.holds]
    for goal in wrong:
        print(f"detection: {goal.says}: {goal.found}, must be {goal.bound}", file=sys.stderr)
    return 1 if wrong else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__)
    parser.add_argument("--bodies", type=int, default=corpus.WHOLE, help=f"({corpus.WHOLE:,})")
    parser.add_argument(
        "--alone",
        action="store_true",
        help="install nothing: no peers, and the plain words of the tests instead of Faker's",
    )
    parser.add_argument("--no-speed", action="store_true")
    parser.add_argument(
        "--no-ids", action="store_true", help="leave out the numbers by the million"
    )
    parser.add_argument(
        "--show",
        action="append",
        default=[],
        choices=SCANNED,
        help="the ten worst causes of misses and false positives of a kind",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the results there")
    parser.add_argument("--read", type=Path, metavar="FILE", help="measure nothing, take that file")
    parser.add_argument("--write", action="store_true", help=f"into docs/{PAGE.name}")
    parser.add_argument("--check", action="store_true", help="fail where something does not hold")
    return parser.parse_args()


def _measure(arguments: argparse.Namespace) -> Results:
    if not arguments.alone:
        peers.install()
    results = scored(arguments.bodies, with_peers=not arguments.alone)
    results.machine = (
        f"{platform.machine()}, {platform.system()}, Python {platform.python_version()}"
    )
    if not arguments.no_ids:
        for sort in ids.SORTS:
            _progress(f"{sort.whole:,} of {sort.name}")
            results.ids.append(ids.count(sort))
    if not arguments.no_speed:
        _progress("speed")
        kinds = [kind for kind, tally in results.systems[OURS].items() if tally.found]
        results.speed_kinds, results.speeds = kinds, speed.measure(kinds)
    return results


def scored(count: int, *, with_peers: bool) -> Results:
    """The corpus of that many bodies, judged. Raises: ImportError where peers are missing."""
    load_average = os.getloadavg()[0]
    prose: Prose = FakerProse() if with_peers else PlainProse()
    own = Score()
    systems: dict[str, Callable[[], dict[str, Tally]]] = {OURS: lambda: own.tallies}
    judges: list[Callable[[Body], None]] = [lambda body: own.add(body, body.sent, ours(body))]
    opinion = None
    if with_peers:
        presidio, by_threshold = (
            peers.Presidio(),
            {each: Score(covers=False) for each in peers.THRESHOLDS},
        )
        secrets, theirs = peers.DetectSecrets(), Score(covers=False)
        opinion = SecondOpinion()

        def ask_presidio(body: Body) -> None:
            found = list(presidio.findings(body))
            for threshold, score in by_threshold.items():
                score.add(body, body.read, [each for sure, each in found if sure >= threshold])

        judges += [
            ask_presidio,
            lambda body: theirs.add(body, body.read, secrets.findings(body)),
            opinion.ask,
        ]
        systems[PRESIDIO] = lambda: {
            kind: max((each.tallies[kind] for each in by_threshold.values()), key=lambda it: it.f1)
            for kind in presidio.recognizers
        }
        systems[DETECT_SECRETS] = lambda: {"secret": theirs.tallies["secret"]}
    digest, size, empty, lookalikes = corpus.Digest(), 0, 0, 0
    for body in corpus.corpus(count, prose):
        if with_peers and body.number % 1000 == 0:
            _progress(f"body {body.number:,} of {count:,}")
        for judge in judges:
            judge(body)
        digest.add(body)
        size += len(body.sent.data)
        planted = sum(label.value.kind is not None for label in body.sent.labels)
        empty += not planted
        lookalikes += len(body.sent.labels) - planted
    if opinion and opinion.differs:
        raise AssertionError(f"python-stdnum differs: {opinion.differs[:10]}")
    return Results(
        date=datetime.now(UTC).strftime("%d %B %Y").lstrip("0"),
        machine="",
        load_average=load_average,
        versions=peers.versions() if with_peers else {},
        bodies=count,
        megabytes=size / 1e6,
        empty=empty,
        lookalikes=lookalikes,
        digest=digest.text(),
        systems={name: tallies() for name, tallies in systems.items()},
        second_opinion=opinion.asked.total() if opinion else 0,
    )


def _progress(said: str) -> None:
    print(f"detection: {said}", file=sys.stderr)


def write(said: str) -> None:
    """Between the page's two lines."""
    page = PAGE.read_text()
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"detection: {PAGE.name} has no lines {BEGIN.strip()} … {END}")
    PAGE.write_text(f"{before}{begin}\n{said}\n{end}{after}")
    print(f"detection: docs/{PAGE.name} is written", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
