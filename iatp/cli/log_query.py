"""Print the records that fit, in the order of the wall clock, from all workers.

A filter that is given several times takes any of its values; different filters must all fit.
--json prints the records one a line as they are stored, --csv a table with a row for each; nothing
printed holds a control character. With -f what comes from now on is printed as it comes (with
--since also what was before), until Ctrl-C or --limit. Exit status 1 where a part of the log could
not be read.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from iatp.adapters.selection import Filter, Follower, Found, Losses, select, stamp
from iatp.cli.folder import Log, add_folder_arguments, open_log
from iatp.cli.moments import add_span_arguments
from iatp.cli.records import show_records
from iatp.cli.screen import Screen, plain
from iatp.values.errors import StartError, UsageError
from iatp.values.exchange import FINDINGS, KINDS, OWN_NAME
from iatp.values.texts import nearest

JSON_HELP = "print the records as JSON, one a line"

LOOK_S = 0.2
"""How often a follower looks for more."""

COLUMNS = (
    "timestamp",
    "type",
    "trace_id",
    "request_id",
    "agent_id",
    "caller",
    "peer",
    "method",
    "path",
    "decision",
    "rule",
    "code",
    "status_code",
    "latency_ms",
    "trust_score",
    "findings",
    "quarantined",
    "said",
)
"""Of --csv; `said` is the error, the reason or the warning."""

# C0 and C1 controls, DEL, and what reorders or breaks a line, in UTF-8.
_UNSAFE = re.compile(
    rb"[\x00-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]"
)
# What a spreadsheet takes for a formula (OWASP, "CSV Injection").
_FORMULA = ("=", "+", "-", "@")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder, the filters, and how it is printed."""
    add_folder_arguments(parser)
    add_span_arguments(parser)
    for flag, metavar, meaning in (
        (
            "--type",
            "TYPE",
            "request, response, blocked, warning, user_override, error, access, retention",
        ),
        ("--decision", "NAME", "allow, warn, block, refuse or error"),
        ("--caller", "NAME", "who asked"),
        ("--agent", "ID", "the agent_id"),
        ("--code", "CODE", "of an error, a block or a warning"),
        ("--trace", "ID", "the trace"),
    ):
        parser.add_argument(flag, action="append", default=[], metavar=metavar, help=meaning)
    parser.add_argument(
        "--finding",
        action="append",
        default=[],
        type=_finding,
        metavar="NAME",
        help="what was found: credit_card, secret.jwt, or secret for any of them",
    )
    parser.add_argument(
        "--status",
        action="append",
        default=[],
        type=_status,
        metavar="CODE",
        help="the status of a response or an error: 403, or 5xx",
    )
    parser.add_argument("--csv", action="store_true", help="print a table, comma-separated")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what comes")
    parser.add_argument("--limit", type=_limit, metavar="N", help="stop after so many")


def _finding(text: str) -> str:
    if text not in KINDS and text not in FINDINGS and not re.fullmatch(OWN_NAME, text):
        meant = nearest(text.lower(), [*KINDS, *FINDINGS])
        raise argparse.ArgumentTypeError(
            f"{text!r} is no finding; meant: {meant}"
            if meant
            else f"{text!r} is no finding; known are {', '.join(KINDS)}, the names of "
            "docs/secrets.md, and custom. with the name of a pattern"
        )
    return text


def _status(text: str) -> str:
    if not re.fullmatch(r"[1-9](\d\d|xx)", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a status such as 403 or 4xx")
    return text


def _limit(text: str) -> int:
    if not re.fullmatch(r"[1-9]\d{0,11}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Print what fits."""
    if arguments.csv and arguments.json:
        raise UsageError("--csv and --json do not go together")
    log = open_log(arguments)
    losses = Losses()
    show = _printer(arguments)
    found = _found(log, arguments, losses)
    try:
        for each in itertools.islice(found, arguments.limit):
            show(each.line)
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise StartError(f"the log {log.folder} cannot be read: {error.strerror}") from None
    finally:
        for sentence in losses.segments:
            print(f"iatp: {plain(sentence)}", file=sys.stderr)
        if losses.lines:
            print(f"iatp: {losses.lines} lines are no records", file=sys.stderr)
    return 1 if losses.segments or losses.lines else 0


def _found(log: Log, arguments: argparse.Namespace, losses: Losses) -> Iterator[Found]:
    wanted = Filter(
        since=stamp(arguments.since) if arguments.since else "",
        until=stamp(arguments.until) if arguments.until else "",
        types=frozenset(arguments.type),
        traces=frozenset(arguments.trace),
        agents=frozenset(arguments.agent),
        callers=frozenset(arguments.caller),
        decisions=frozenset(arguments.decision),
        codes=frozenset(arguments.code),
        findings=frozenset(arguments.finding),
        statuses=frozenset(arguments.status),
    )
    if not arguments.follow:
        yield from select(log.folder, wanted, losses, log.keys)
        return
    follower = Follower(log.folder, losses, log.keys)
    try:
        if not arguments.since:
            follower.skip_present()
        while True:
            yield from follower.look(wanted)
            time.sleep(LOOK_S)
    finally:
        follower.close()


def _printer(arguments: argparse.Namespace) -> Callable[[bytes], None]:
    if arguments.json:
        return _print_line if not arguments.follow else _print_line_now
    if arguments.csv:
        row = csv.writer(sys.stdout, lineterminator="\n")
        row.writerow(COLUMNS)
        return lambda line: _print_row(row, line, flush=arguments.follow)
    screen = Screen()
    return lambda line: show_records(screen, [json.loads(line)], indent=0, with_trace=True)


def _print_line(line: bytes) -> None:
    if _UNSAFE.search(line):
        # A record of this sidecar has none: escaped, it says the same.
        line = json.dumps(json.loads(line), separators=(",", ":"), ensure_ascii=True).encode()
    sys.stdout.buffer.write(line + b"\n")


def _print_line_now(line: bytes) -> None:
    _print_line(line)
    sys.stdout.buffer.flush()


def _print_row(row: Any, line: bytes, *, flush: bool) -> None:
    record = json.loads(line)
    said = next((record[name] for name in ("error", "reason", "warning") if name in record), "")
    found = record.get("findings")
    kinds = " ".join(f"{kind}={n}" for kind, n in found.items()) if isinstance(found, dict) else ""
    record |= {"said": said, "findings": kinds}
    row.writerow(_cell(record.get(name, "")) for name in COLUMNS)
    if flush:
        sys.stdout.flush()


def _cell(value: Any) -> str:
    text = plain(value if isinstance(value, str) else json.dumps(value, ensure_ascii=True))
    return f"'{text}" if text.startswith(_FORMULA) else text
