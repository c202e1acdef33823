"""The results as Markdown: the same lines whatever was measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.detection import ids, score, speed
from benchmarks.detection.results import DETECT_SECRETS, OURS, PRESIDIO, Results, goals
from benchmarks.detection.score import Tally
from benchmarks.detection.spellings import SPELLINGS
from iatp.values.exchange import SCANNED

NONE = "–"
HARD = "hard case"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---", *("--:" for _ in head[1:])], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _share(value: float | None) -> str:
    """Cut, not rounded: 0.99996 is no 1.0000."""
    return NONE if value is None else f"{int(value * 10_000) / 10_000:.4f}"


def markdown(results: Results) -> str:
    """Everything that was measured."""
    return "\n".join(
        [
            _circumstances(results),
            _kinds(results),
            "Found of what is planted, by how it is spelled:\n",
            _spellings(results),
            "Numbers that are no card:\n",
            _ids(results),
            "Megabytes a second:\n",
            _speeds(results),
            "What must hold:\n",
            _goals(results),
        ]
    )


def _circumstances(results: Results) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    return (
        f"{results.date}, {results.machine}, load average {results.load_average:.1f} before. "
        f"{versions or 'Without peers'}. {results.bodies:,} "
        f"bodies of {results.megabytes:.1f} MB, {results.empty / results.bodies:.0%} without a "
        f"planted value; {results.lookalikes:,} look-alikes; digest `{results.digest}`. "
        f"python-stdnum agrees on {results.second_opinion:,} numbers.\n"
    )


def _kinds(results: Results) -> str:
    head = [
        *("Kind", "planted", "found", "recall", "false positives", "of them by chance"),
        *("precision", "chance apart", "Presidio: recall", "precision"),
        *("detect-secrets: recall", "precision"),
    ]
    rows = []
    for kind in SCANNED:
        tally = results.systems[OURS][kind]
        row = [
            f"`{kind}`",
            f"{tally.found + tally.missed:,}",
            f"{tally.found:,}",
            _share(tally.recall),
            f"{tally.wrong:,}",
            f"{tally.chance:,}",
            _share(tally.precision),
            _share(tally.precision_but_chance),
        ]
        for peer in (PRESIDIO, DETECT_SECRETS):
            theirs = results.systems.get(peer, {}).get(kind)
            row += (
                [NONE, NONE]
                if theirs is None
                else [_share(theirs.recall), _share(theirs.precision)]
            )
        rows.append(row)
    return _table(head, rows)


def _spellings(results: Results) -> str:
    rows = []
    for kind in SCANNED:
        for spelling in (*SPELLINGS[kind], HARD):
            row = [f"`{kind}`, {spelling}"]
            for system in (OURS, PRESIDIO, DETECT_SECRETS):
                tally = results.systems.get(system, {}).get(kind)
                found, planted = (tally or Tally()).by_spelling.get(spelling, (0, 0))
                row.append(f"{found:,} of {planted:,}" if planted else NONE)
            rows.append(row)
    return _table(["Spelling", OURS, PRESIDIO, DETECT_SECRETS], rows)


def _ids(results: Results) -> str:
    counts = {each.sort: each for each in results.ids}
    rows = []
    for sort in ids.SORTS:
        each = counts.get(sort.name)
        rows.append(
            [
                sort.name,
                f"{each.how_many:,}" if each else NONE,
                f"{each.megabytes:,.1f}" if each else NONE,
                f"{each.cards:,}" if each else NONE,
                "none" if sort.must_be_none else "some",
            ]
        )
    return _table(["Sort", "how many", "MB", "taken for a card", "expected"], rows)


def _speeds(results: Results) -> str:
    found = {each.body: each.megabytes_per_s for each in results.speeds}
    rows = []
    for body in speed.BODIES:
        rates = found.get(body, {})
        rows.append(
            [body, *(f"{rates[name]:,.0f}" if name in rates else NONE for name in speed.SYSTEMS)]
        )
    kinds = ", ".join(f"`{kind}`" for kind in results.speed_kinds) or "no kind"
    said = f"\nPatterns of `re` and hyperscan: {kinds}, which are those that the scan finds.\n"
    return _table(["Body", *speed.SYSTEMS], rows) + said


def _goals(results: Results) -> str:
    rows = [
        [goal.says, _signed(goal.found), _signed(goal.bound), "yes" if goal.holds else "**no**"]
        for goal in goals(results)
    ]
    return _table(["Goal", "found", "bound", "holds"], rows)


def _signed(value: float | None) -> str:
    return str(value) if isinstance(value, int) else _share(value)


def shown(results: Results, kind: str) -> str:
    """The ten worst causes of misses and false positives of a kind, for each system."""
    found = []
    for system, tallies in results.systems.items():
        tally = tallies.get(kind, Tally())
        for what, causes in (("missed", tally.misses), ("wrong", tally.wrongs)):
            found += [
                f"{system}: {what} {cause.count}: {name}\n    {cause.example}"
                for name, cause in score.worst(causes)
            ]
    return "\n".join(found)
