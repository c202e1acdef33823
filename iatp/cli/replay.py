"""Send a recorded request again and show both answers side by side.

The request goes to the agent of the configuration in force, or to --to, which may be another
agent or a sidecar's /proxy. It has a new trace ID and the header X-IATP-Replay with the ID of the
request that was recorded. What a record does not hold in full is never sent: where values were
replaced in it, the payload was cut or omitted, or the agent never had the request, the command says
so and ends. What it would send is shown first; a method that is not idempotent (RFC 9110, 9.2.2) is
asked about, unless --yes. Headers are not on record, so none of the caller's are sent.

Exit status 0 where status and body are the same as then, 1 where they are not or nothing was sent.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import difflib
import json
import re
import sys
import time
import uuid
from typing import Any, NamedTuple

import msgspec

from iatp._fast.scan import JSON, TEXT, redact, scan
from iatp.adapters.configuration import load
from iatp.adapters.traces import MAX_LIMIT, read_trace
from iatp.cli.fetch import FetchError, fetch, seconds_argument, url_argument
from iatp.cli.folder import Log, add_folder_arguments, open_log
from iatp.cli.screen import BOLD, CYAN, DIM, GREEN, RED, Screen, plain, print_json
from iatp.cli.trace import trace_id_argument
from iatp.values.errors import StartError

IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
_MARK = re.compile(r"\[[A-Z_]+_REDACTED\]")
_LIMIT_BYTES = 64 << 20
_SHOWN_CHARACTERS = 2000
_MOST_DIFF_LINES = 200


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What of a record a replay looks at."""

    type: str
    request_id: str = ""
    method: str = ""
    path: str = ""
    findings: dict[str, int] = msgspec.field(default_factory=dict)
    payload: msgspec.Raw = msgspec.Raw(b"null")
    payload_bytes: int = 0
    payload_mac: str = ""
    payload_encoding: str = ""
    redacted: bool = False
    status_code: int = 0
    latency_ms: float | None = None
    response: msgspec.Raw = msgspec.Raw(b"null")
    response_bytes: int = 0
    response_encoding: str = ""
    response_omitted: str = ""
    truncated: bool = False
    error: str = ""


class Message(NamedTuple):
    """What is to be sent."""

    method: str
    target: str
    body: bytes
    content_type: str
    note: str
    """In what it may differ from what was sent then."""


class Answer(NamedTuple):
    """One of the two answers."""

    status: int
    latency_ms: float | None
    body: str
    """As a record has it: scrubbed; JSON with its keys in order, a line for each."""
    length: int
    is_whole: bool


_stored = msgspec.json.Decoder(Stored)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The trace, and where it goes."""
    parser.add_argument("trace_id", type=trace_id_argument, metavar="TRACE_ID")
    add_folder_arguments(parser)
    parser.add_argument(
        "--request",
        type=int,
        metavar="N",
        help="which request of the trace, from 1; needed where there are several",
    )
    parser.add_argument(
        "--to",
        type=url_argument,
        metavar="URL",
        help="where it goes instead of the agent; the path behind /proxy is put behind it",
    )
    parser.add_argument("--yes", action="store_true", help="send without asking")
    parser.add_argument(
        "--timeout", type=seconds_argument, default=60.0, metavar="SECONDS", help="default 60"
    )
    parser.add_argument(
        "--ca", metavar="FILE", help="PEM certificates to trust instead of the system's"
    )


def run(arguments: argparse.Namespace) -> int:
    """Send it, and compare."""
    log = open_log(arguments)
    request, then = _of_trace(log, arguments)
    message = message_of(request)
    url = arguments.to or url_argument(load().settings.agent_url.url)
    # As the sidecar does it: /proxy is the agent's URL itself, /proxy/x what is behind it.
    base = url.path.rstrip("/") if message.target.startswith("/") else url.path or "/"
    target = base + message.target
    screen = Screen(sys.stderr if arguments.json else None)
    _show_message(screen, message, url.geturl(), target)
    if message.method not in IDEMPOTENT and not arguments.yes and not _is_confirmed(message.method):
        screen.line("nothing was sent")
        return 1
    trace_id = f"replay-{uuid.uuid4()}"
    headers = {"X-Agent-Trace-ID": trace_id, "X-IATP-Replay": request.request_id, "Accept": "*/*"}
    if message.body:
        headers["Content-Type"] = message.content_type
    began = time.monotonic()
    try:
        fetched = fetch(
            url,
            target,
            timeout_s=arguments.timeout,
            headers=headers,
            limit_bytes=_LIMIT_BYTES,
            ca_file=arguments.ca,
            method=message.method,
            body=message.body or None,
        )
    except FetchError as error:
        raise StartError(f"{url.geturl()}: {error}") from None
    latency_ms = 1000 * (time.monotonic() - began)
    now = Answer(
        fetched.status, latency_ms, _scrubbed(fetched.body), len(fetched.body), is_whole=True
    )
    found = _compared(_answer_of(then), now) | {
        "trace_id": arguments.trace_id,
        "request_id": request.request_id,
        "replay_trace_id": trace_id,
        "sent": {"method": message.method, "url": url.geturl(), "target": target},
    }
    if arguments.json:
        print_json(found)
    else:
        _show(screen, found, then)
    return 0 if found["same_status"] and found["same_body"] else 1


def _of_trace(log: Log, arguments: argparse.Namespace) -> tuple[Stored, Stored | None]:
    """The request that was meant, and the record that ended it."""
    records: list[Stored] = []
    after = None
    try:
        while True:
            page = read_trace(
                log.folder, arguments.trace_id, log.keys, limit=MAX_LIMIT, after=after
            )
            records += [_stored.decode(line) for line in page.logs]
            after = page.next
            if after is None:
                break
    except OSError as error:
        raise StartError(f"the log folder {log.folder} cannot be read: {error.strerror}") from None
    if not records:
        raise StartError(f"no record has the trace ID {arguments.trace_id}")
    requests = [record for record in records if record.type == "request"]
    if not requests:
        types = ", ".join(sorted({record.type for record in records}))
        raise StartError(f"the agent never had a request of this trace; on record is: {types}")
    number = arguments.request
    if number is None and len(requests) > 1:
        raise StartError(f"the trace has {len(requests)} requests; say which with --request")
    if number is not None and not 1 <= number <= len(requests):
        raise StartError(f"the trace has {len(requests)} requests, and no number {number}")
    request = requests[(number or 1) - 1]
    ends = [
        record
        for record in records
        if record.request_id == request.request_id and record.type in ("response", "error")
    ]
    return request, ends[-1] if ends else None


def message_of(request: Stored) -> Message:
    """The message that a record holds.

    Raises:
        StartError: the record does not hold all of it; the sentence says what is missing.
    """
    found = ", ".join(f"{count} {kind}" for kind, count in request.findings.items() if count)
    if found or request.redacted:
        raise StartError(
            f"it cannot be sent again: values in it ({found}) were replaced in the record"
        )
    if _MARK.search(request.path):
        raise StartError("it cannot be sent again: its path was scrubbed in the record")
    if request.payload_mac:
        raise StartError(
            "it cannot be sent again: its payload was longer than IATP_RECORD_BODY and is cut in "
            "the record"
        )
    body, content_type, note = _body_of(request)
    target = request.path.removeprefix("/proxy")
    if not target.isascii() or any(not "!" <= character <= "~" for character in target):
        raise StartError("it cannot be sent again: its path is not on record as it was")
    if target and target[0] not in "/?":
        raise StartError("it cannot be sent again: its path does not begin with /proxy")
    return Message(request.method, target, body, content_type, note)


def _body_of(request: Stored) -> tuple[bytes, str, str]:
    raw, length = bytes(request.payload), request.payload_bytes
    if not length:
        return b"", "", ""
    value = msgspec.json.decode(raw) if raw[:1] == b'"' else None
    if request.payload_encoding:
        if value is not None:
            try:
                body = base64.b64decode(value, validate=True)
            except binascii.Error:
                body = b""
            if len(body) == length:
                return body, "application/octet-stream", ""
        raise StartError("it cannot be sent again: its base64 is not all on record")
    if len(raw) == length:
        return raw, "application/json", ""
    if value is not None:
        body = value.encode()
        if len(body) == length:
            return body, "text/plain; charset=utf-8", ""
        raise StartError("it cannot be sent again: its text is not on record as it was")
    if raw == b"null":
        raise StartError("it cannot be sent again: its payload is not on record")
    return raw, "application/json", "the same JSON; spaces between its values may differ"


def _show_message(screen: Screen, message: Message, url: str, target: str) -> None:
    screen.line(
        f"{screen.paint(plain(message.method), BOLD)} {plain(target)}  to {plain(url)}, "
        f"{len(message.body):,} bytes" + (f" of {message.content_type}" if message.body else "")
    )
    if message.note:
        screen.line(screen.paint(f"  {message.note}", DIM))
    if message.body:
        text = message.body.decode("utf-8", "backslashreplace")
        shown = text[:_SHOWN_CHARACTERS] + (" …" if len(text) > _SHOWN_CHARACTERS else "")
        screen.line(f"  {plain(shown)}")


def _is_confirmed(method: str) -> bool:
    if not sys.stdin.isatty():
        print(f"iatp: {method} may change something; --yes sends it", file=sys.stderr)
        return False
    print(f"{method} may change something. Send it? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _scrubbed(body: bytes) -> str:
    """An answer as a record would have it: this is a screen, and no place for what was found."""
    try:
        msgspec.json.decode(body)
        form = JSON
    except (msgspec.DecodeError, UnicodeDecodeError):
        form = TEXT
    return _pretty(redact(body, scan(body, form)).decode("utf-8", "backslashreplace"))


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text


def _answer_of(then: Stored | None) -> Answer | None:
    if then is None or then.type != "response":
        return None
    raw = bytes(then.response)
    text = raw.decode("utf-8", "replace")
    if raw[:1] == b'"' and len(raw) != then.response_bytes:
        text = msgspec.json.decode(raw)
    whole = not (then.truncated or then.response_omitted or then.response_encoding)
    return Answer(then.status_code, then.latency_ms, _pretty(text), then.response_bytes, whole)


def _compared(then: Answer | None, now: Answer) -> dict[str, Any]:
    diff: list[str] = []
    same = False
    if then is not None:
        same = then.body == now.body
        lines = difflib.unified_diff(
            then.body.splitlines(), now.body.splitlines(), "then", "now", lineterm=""
        )
        diff = [line for line, _ in zip(lines, range(_MOST_DIFF_LINES), strict=False)]
    return {
        "then": None if then is None else _as_json(then),
        "now": _as_json(now),
        "same_status": then is not None and then.status == now.status,
        "same_body": same,
        "diff": diff,
    }


def _as_json(answer: Answer) -> dict[str, Any]:
    return {
        "status": answer.status,
        "latency_ms": None if answer.latency_ms is None else round(answer.latency_ms, 3),
        "bytes": answer.length,
        "whole": answer.is_whole,
    }


def _show(screen: Screen, found: dict[str, Any], then: Stored | None) -> None:
    rows = [["", "then", "now"]]
    for name, label in (("status", "status"), ("latency_ms", "ms"), ("bytes", "bytes")):
        before = found["then"]
        rows.append([label, _cell(before[name]) if before else "–", _cell(found["now"][name])])
    screen.line()
    screen.table(rows)
    if found["then"] is None:
        said = then.error if then is not None else "it was in the agent's hands when it ended"
        screen.line(f"  there was no answer then: {plain(said)}")
        return
    if not found["then"]["whole"]:
        screen.line("  the answer of then is not all on record")
    if found["same_body"]:
        screen.line(screen.paint("  the bodies are the same", GREEN))
        return
    for line in found["diff"]:
        style = {"+": GREEN, "-": RED, "@": CYAN}.get(line[:1], "")
        screen.line("  " + (screen.paint(plain(line), style) if style else plain(line)))


def _cell(value: float | None) -> str:
    return "–" if value is None else f"{value:,}"
