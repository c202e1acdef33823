"""The aiohttp application: every endpoint that is not the hot one (protocol section 1).

It is reached over a socket pair and reads only what the door has written: the door has
parsed, limited and timed what came from the network. A request passes `guard`, which says
who asks and turns every failure into the error shape, and one handler. Control endpoints
call `check_control` first. docs/endpoints.md tells users the same.
"""

from __future__ import annotations

import hashlib
import logging
import re
import urllib.parse
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from iatp.adapters.control_state import StateUnavailable
from iatp.server.access import access_tail
from iatp.server.errors import (
    TRACE_ID_HEADER,
    Refused,
    failure_response,
    json_response,
)
from iatp.server.plane import ControlPlane
from iatp.server.rules import Listener, Origin, check_control, check_listener, read_origin

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

TRACE_ID: Final = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9._-]{1,128}", re.ASCII)
"""What can be a trace ID at all (protocol section 2)."""

DEFAULT_PAGE: Final = 100
LARGEST_PAGE: Final = 1000

_PLANE: Final = web.AppKey("plane", ControlPlane)
_ORIGIN: Final = web.RequestKey("origin", Origin)
_METRICS_PATHS: Final = frozenset({"/metrics", "/livez", "/readyz"})
_ENTITY_TAG: Final = re.compile(r'(?:W/)?"([^"]*)"')
# No request here has a body that is read.
_LARGEST_BODY: Final = 1024 * 1024

_log = logging.getLogger("iatp.server")


def build_app(plane: ControlPlane) -> web.Application:
    """Return the application for one worker."""
    app = web.Application(middlewares=[guard], client_max_size=_LARGEST_BODY)
    app[_PLANE] = plane
    app.on_response_prepare.append(_finish_headers)
    manifest = _manifest_handler(plane.manifest_document)
    app.router.add_get("/health", _health)
    app.router.add_get("/livez", _livez)
    app.router.add_get("/readyz", _readyz)
    app.router.add_get("/capabilities", manifest)
    app.router.add_get("/.well-known/agent-manifest", manifest)
    app.router.add_get("/trace/{trace_id}", _trace)
    app.router.add_get("/quarantine/{trace_id}", _quarantine)
    app.router.add_get("/metrics", _metrics)
    return app


@web.middleware
async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Say who asks, keep out what may not come here, and turn every failure into an answer."""
    trace_id = request.headers.get("X-IATP-Trace-ID", "")
    try:
        origin = read_origin(request)
        request[_ORIGIN] = origin
        check_listener(request.app[_PLANE], origin, request)
        if origin.listener is Listener.METRICS and request.path not in _METRICS_PATHS:
            raise Refused("not_found")
        return await handler(request)
    except Refused as refused:
        return failure_response(
            refused.code, trace_id, sentence=refused.sentence, headers=refused.headers
        )
    except web.HTTPMethodNotAllowed as wrong:
        allow = ", ".join(sorted(wrong.allowed_methods))
        return failure_response("method_not_allowed", trace_id, headers={"Allow": allow})
    except web.HTTPNotFound:
        return failure_response("not_found", trace_id)
    except Exception:
        # Refused rather than guessed at; the caller learns nothing of the inside.
        _log.exception("an endpoint failed (request %s)", request.headers.get("X-IATP-Request-ID"))
        return failure_response("internal_error", trace_id)


async def _finish_headers(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.pop("Server", None)
    trace_id = request.headers.get("X-IATP-Trace-ID")
    if trace_id is not None:
        response.headers[TRACE_ID_HEADER] = trace_id


async def _health(request: web.Request) -> web.Response:
    return json_response({"status": "healthy", "agent_id": request.app[_PLANE].agent_id})


async def _livez(_request: web.Request) -> web.Response:
    # A process that can't answer is what makes this fail.
    return json_response({"status": "alive"})


async def _readyz(request: web.Request) -> web.Response:
    reasons = await request.app[_PLANE].readiness()
    if reasons:
        return failure_response("not_ready", request[_ORIGIN].trace_id, more={"reasons": reasons})
    warnings = await request.app[_PLANE].warnings()
    return json_response({"status": "ready"} | ({"warnings": warnings} if warnings else {}))


def _manifest_handler(document: bytes) -> Handler:
    tag = hashlib.sha256(document).hexdigest()[:32]
    headers = {
        "ETag": f'"{tag}"',
        "Cache-Control": "max-age=3600",
        "X-Content-Type-Options": "nosniff",
    }

    async def manifest(request: web.Request) -> web.Response:
        if _has_tag(request, tag):
            return web.Response(status=304, headers=headers)
        return web.Response(body=document, headers=headers | {"Content-Type": "application/json"})

    return manifest


def _has_tag(request: web.Request, tag: str) -> bool:
    """Whether If-None-Match names `tag` (RFC 9110 §13.1.2: weak comparison, lists, `*`)."""
    value = ", ".join(request.headers.getall("If-None-Match", ()))
    return value.strip() == "*" or tag in _ENTITY_TAG.findall(value)


async def _trace(request: web.Request) -> web.Response:
    plane = request.app[_PLANE]
    check_control(plane, request[_ORIGIN], request)
    trace_id = _asked_trace_id(request)
    limit, after = _page(request)
    if trace_id is None:
        return await _recorded(request, _unknown(request, "unknown_trace"))
    try:
        page = await plane.read_trace(trace_id, limit=limit, after=after)
    except ValueError:
        if after is None:
            raise
        raise Refused("bad_query", "`after` is not a cursor of this trace.") from None
    except OSError:
        _log.exception("the flight record could not be read")
        raise Refused("recorder_unavailable", "The flight record cannot be read.") from None
    if not page.logs:
        return await _recorded(request, _unknown(request, "unknown_trace"))
    body: dict[str, object] = {"trace_id": trace_id, "logs": page.logs}
    if page.next is not None:
        body["next"] = page.next
    response = json_response(body)
    if page.next is not None:
        query = urllib.parse.urlencode({"limit": limit, "after": page.next})
        response.headers["Link"] = f'<?{query}>; rel="next"'
    return await _recorded(request, response)


def _page(request: web.Request) -> tuple[int, str | None]:
    """`limit` and the cursor of the query; `next` is taken for `after`, being its source."""
    query = request.query
    limits = query.getall("limit", ())
    cursors = [*query.getall("after", ()), *query.getall("next", ())]
    if len(limits) > 1 or len(cursors) > 1:
        raise Refused("bad_query", "`limit` and `after` may be given once.")
    limit = DEFAULT_PAGE
    if limits:
        text = limits[0]
        if not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= LARGEST_PAGE:
            raise Refused("bad_query", f"`limit` must be a number from 1 to {LARGEST_PAGE}.")
        limit = int(text)
    if not cursors:
        return limit, None
    if not cursors[0]:
        raise Refused("bad_query", "`after` is empty.")
    return limit, cursors[0]


async def _quarantine(request: web.Request) -> web.Response:
    plane = request.app[_PLANE]
    check_control(plane, request[_ORIGIN], request)
    trace_id = _asked_trace_id(request)
    try:
        session = None if trace_id is None else await plane.quarantine(trace_id)
    except StateUnavailable:
        _log.exception("the control state could not be read")
        raise Refused("state_unavailable", "The control state cannot be read.") from None
    if session is None:
        return await _recorded(request, _unknown(request, "unknown_quarantine"))
    return await _recorded(request, json_response(session))


async def _metrics(request: web.Request) -> web.Response:
    plane = request.app[_PLANE]
    check_control(plane, request[_ORIGIN], request)
    accept = ", ".join(request.headers.getall("Accept", ()))
    content_type, text = await plane.metrics(accept)
    return web.Response(
        body=text, headers={"Content-Type": content_type, "Cache-Control": "no-store"}
    )


def _asked_trace_id(request: web.Request) -> str | None:
    given = request.match_info["trace_id"]
    return given if TRACE_ID.fullmatch(given) else None


def _unknown(request: web.Request, code: str) -> web.Response:
    return failure_response(code, request[_ORIGIN].trace_id)


def _scrubbed(plane: ControlPlane, path: str) -> str:
    # What a caller asks for can be a card number.
    raw = path.encode("utf-8", "surrogateescape")
    return plane.scrub_target(raw).decode("utf-8", "backslashreplace")


async def _recorded(request: web.Request, response: web.Response) -> web.Response:
    """`response`, once the access record is written: unrecorded, nothing is shown."""
    plane = request.app[_PLANE]
    tail = access_tail(
        request[_ORIGIN],
        agent_id=plane.agent_id,
        caller="anonymous",
        method=request.method,
        path=_scrubbed(plane, request.rel_url.raw_path),
        status=response.status,
    )
    try:
        await plane.record_access(tail)
    except OSError:
        _log.exception("the access record could not be written")
        raise Refused("recorder_unavailable") from None
    return response
