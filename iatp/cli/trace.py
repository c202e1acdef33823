"""Show the flight record of one trace ID, from a log folder or from running sidecars.

With neither --log-dir nor --url, the log folder of the configuration in force is read.
Records of several sidecars are shown in the order of their clocks. Exit status 1 where no
record has this ID, or a sidecar could not be asked.
"""

from __future__ import annotations

import argparse
import json
import re
import urllib.parse
from typing import Any

from iatp.adapters.segments import SegmentError
from iatp.adapters.traces import MAX_LIMIT, read_trace
from iatp.cli.fetch import FetchError, fetch, seconds_argument, url_argument
from iatp.cli.files import read_file
from iatp.cli.folder import Log, open_log
from iatp.cli.records import show_records
from iatp.cli.screen import BOLD, RED, Screen, plain, print_json
from iatp.values.errors import StartError

_TRACE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")
# A page of a sidecar is at most 8 MiB of records, or one record that is longer.
_PAGE_BYTES = 64 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The ID, and where to look for it."""
    parser.add_argument("trace_id", type=trace_id_argument, metavar="ID")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--log-dir", metavar="DIR", help="the flight recorder's folder")
    where.add_argument(
        "--url",
        type=url_argument,
        action="append",
        metavar="URL",
        help="the admin (or data) listener of a running sidecar; may be given several times",
    )
    parser.add_argument(
        "--log-key-file",
        metavar="FILE",
        help="keys of the log, where it is encrypted; default: IATP_LOG_KEY_FILE",
    )
    parser.add_argument(
        "--token-file", metavar="FILE", help="holds the IATP_ADMIN_TOKEN of those sidecars"
    )
    parser.add_argument(
        "--timeout",
        type=seconds_argument,
        default=10.0,
        metavar="SECONDS",
        help="for each call, default 10",
    )


def trace_id_argument(text: str) -> str:
    """A trace ID, for argparse."""
    if not _TRACE_ID.fullmatch(text) or text in (".", ".."):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a trace ID (1 to 128 letters, digits, dots, hyphens, underscores)"
        )
    return text


def run(arguments: argparse.Namespace) -> int:
    """Print the trace."""
    records: list[dict[str, Any]] = []
    errors: list[str] = []
    if arguments.url:
        token = _token(arguments.token_file)
        for url in arguments.url:
            try:
                records += _ask(url, arguments.trace_id, token, arguments.timeout)
            except FetchError as error:
                errors.append(f"{url.geturl()}: {error}")
        # Sidecars on one machine share a clock; on several the wall clock is all there is.
        records.sort(key=lambda record: str(record.get("timestamp", "")))
    else:
        records = _read(open_log(arguments), arguments.trace_id)
    if arguments.json:
        print_json({"trace_id": arguments.trace_id, "logs": records, "errors": errors})
    else:
        _show(arguments.trace_id, records, errors)
    return 0 if records and not errors else 1


def _token(file: str | None) -> str | None:
    if file is None:
        return None
    token = read_file(file, 4096).decode("latin-1").rstrip("\r\n")
    if not token or any(not "!" <= character <= "~" for character in token):
        raise StartError(f"{file} does not hold a token")
    return token


def _read(log: Log, trace_id: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    after = None
    while True:
        try:
            page = read_trace(log.folder, trace_id, log.keys, limit=MAX_LIMIT, after=after)
        except SegmentError as error:
            raise StartError(str(error.strerror)) from None
        except OSError as error:
            raise StartError(
                f"the log folder {log.folder} cannot be read: {error.strerror}"
            ) from None
        records += [json.loads(bytes(line)) for line in page.logs]
        after = page.next
        if after is None:
            return records


def _ask(
    url: urllib.parse.SplitResult, trace_id: str, token: str | None, timeout_s: float
) -> list[dict[str, Any]]:
    """The records that one sidecar has; none where the ID is unknown there."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    records: list[dict[str, Any]] = []
    after = None
    while True:
        query = {"limit": str(MAX_LIMIT)} | ({"after": after} if after else {})
        target = f"{url.path.rstrip('/')}/trace/{trace_id}?{urllib.parse.urlencode(query)}"
        answer = fetch(url, target, timeout_s=timeout_s, headers=headers, limit_bytes=_PAGE_BYTES)
        try:
            body = json.loads(answer.body)
        except (ValueError, RecursionError):
            body = None
        if answer.status == 404 and isinstance(body, dict) and body.get("code") == "unknown_trace":
            return records
        if answer.status != 200:
            said = f": {body['error']}" if isinstance(body, dict) and "error" in body else ""
            raise FetchError(f"status {answer.status}{said}")
        if not isinstance(body, dict) or not _are_records(body.get("logs")):
            raise FetchError("its answer is not a trace")
        records += body["logs"]
        following = body.get("next")
        if following is None or following == after or not isinstance(following, str):
            return records
        after = following


def _are_records(logs: object) -> bool:
    return isinstance(logs, list) and all(isinstance(record, dict) for record in logs)


def _show(trace_id: str, records: list[dict[str, Any]], errors: list[str]) -> None:
    screen = Screen()
    if records:
        screen.line(f"trace {screen.paint(trace_id, BOLD)}, {len(records)} records")
        show_records(screen, records)
    elif not errors:
        screen.line(f"no record has the trace ID {trace_id}")
    for error in errors:
        screen.line(screen.paint(plain(error), RED))
