"""The one place that turns a failure into an answer of the application (section 8)."""

from __future__ import annotations

import msgspec
from aiohttp import web

from iatp.values.errors import FAILURES

TRACE_ID_HEADER = "X-Agent-Trace-ID"


class Refused(Exception):  # noqa: N818
    """Ends a handler with a failure of the table; `sentence` where one can say more."""

    def __init__(
        self, code: str, sentence: str = "", *, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(code)
        self.code = code
        self.sentence = sentence
        self.headers = headers or {}


def failure_response(
    code: str,
    trace_id: str,
    *,
    sentence: str = "",
    headers: dict[str, str] | None = None,
    more: dict[str, object] | None = None,
) -> web.Response:
    """Return the answer for a code of FAILURES.

    `sentence` replaces the table's; it is written here in the server, never taken from an
    exception or from the request.
    """
    failure = FAILURES[code]
    body: dict[str, object] = {
        "error": sentence or failure.sentence,
        "code": code,
        "trace_id": trace_id,
    }
    response = json_response(body | (more or {}), status=failure.status)
    response.headers["X-IATP-Decision"] = failure.decision
    response.headers[TRACE_ID_HEADER] = trace_id
    if failure.retry_after_s:
        response.headers["Retry-After"] = str(failure.retry_after_s)
    response.headers.update(headers or {})
    return response


def json_response(value: object, *, status: int = 200) -> web.Response:
    """Return `value` as JSON; not to be stored by caches, not to be sniffed by browsers."""
    return web.Response(
        status=status,
        body=msgspec.json.encode(value),
        headers={
            "Content-Type": "application/json",
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        },
    )
