"""Who may call what: the rules for control endpoints and for the admin listener.

The door says in headers that no caller can set on which listener a request came, from
which address, and whether it had passed a proxy. What is missing or doubled there is a
fault of ours and refused. The rules are protocol section 1; the checks of Host, Origin and
Sec-Fetch-Site keep web pages out, also those whose name was rebound to this machine.
"""

from __future__ import annotations

import enum
import hmac
import ipaddress

import msgspec
from aiohttp import web
from multidict import CIMultiDictProxy

from iatp.server.errors import Refused
from iatp.server.plane import ControlPlane


class Listener(enum.StrEnum):
    """Where a request came in."""

    DATA = "data"
    ADMIN = "admin"
    METRICS = "metrics"


class Origin(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What the door says about a request."""

    listener: Listener
    peer: str
    """Address of the other end of the caller's socket; `unix` of a Unix socket."""
    forwarded: bool
    """It carried Forwarded, X-Forwarded-*, X-Real-IP or Via."""
    trace_id: str
    request_id: str


UNIX_PEER = "unix"
"""What the door calls the other end of a Unix socket."""
_LOCAL_NAMES = frozenset({"localhost", "localhost.", "ip6-localhost", "ip6-loopback"})


def read_origin(request: web.BaseRequest) -> Origin:
    """Return the door's words about this request.

    Raises:
        ValueError: a header of the door's is missing, doubled or not what the door writes.

    """
    return Origin(
        listener=Listener(_only(request, "X-IATP-Listener")),
        peer=_only(request, "X-IATP-Peer"),
        forwarded={"0": False, "1": True}.get(_only(request, "X-IATP-Forwarded"), True),
        trace_id=_only(request, "X-IATP-Trace-ID"),
        request_id=_only(request, "X-IATP-Request-ID"),
    )


def check_listener(plane: ControlPlane, origin: Origin, request: web.BaseRequest) -> None:
    """Keep web pages off the whole admin listener.

    Raises:
        Refused: cross_site or bad_host.

    """
    if origin.listener is Listener.ADMIN:
        refuse_cross_site(request.headers)
        _check_admin_host(plane, request.headers)


def check_control(plane: ControlPlane, origin: Origin, request: web.BaseRequest) -> None:
    """Let a caller through to a control endpoint, or raise.

    Raises:
        Refused: unauthenticated, control_forbidden, cross_site or bad_host.

    """
    if origin.listener is Listener.ADMIN:
        _check_token(plane, request.headers)
    elif origin.listener is Listener.DATA:
        _check_data(plane, origin, request.headers)
    # On the metrics listener the only control endpoint is /metrics, opened by its setting.


def is_loopback(address: str) -> bool:
    """Whether this is an IP address of the machine's own loopback, or its usual name."""
    if address.lower() in _LOCAL_NAMES:
        return True
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    # Python before 3.13 does not look into ::ffff:127.0.0.1, which a dual-stack socket gives.
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def host_name(host: str) -> str | None:
    """Return the name or address in a Host header, lower case, without port and brackets.

    None where it is not one. `[::1]:9901` gives `::1`.
    """
    host = host.strip().lower()
    if host.startswith("["):
        name, bracket, port = host[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return None
        try:
            ipaddress.IPv6Address(name)
        except ValueError:
            return None
        port = port[1:]
    else:
        name, _, port = host.partition(":")
    if port and not (port.isascii() and port.isdigit()):
        return None
    return name or None


def refuse_cross_site(headers: CIMultiDictProxy[str]) -> None:
    """Raise for whatever a browser marks as sent by a page.

    No page of ours exists, so any Origin is foreign, also `null` and our own address.

    Raises:
        Refused: cross_site.

    """
    sites = {value.strip().lower() for value in headers.getall("Sec-Fetch-Site", ())}
    if "Origin" in headers or sites - {"none", "same-origin"}:
        raise Refused("cross_site")


def _only(request: web.BaseRequest, name: str) -> str:
    values = request.headers.getall(name, ())
    if len(values) != 1:
        message = f"{name} came {len(values)} times"
        raise ValueError(message)
    return values[0]


def _check_admin_host(plane: ControlPlane, headers: CIMultiDictProxy[str]) -> None:
    name = _single_host(headers)
    if name is not None:
        if is_loopback(name) or name == plane.admin_host.lower():
            return
        # Bound wider than loopback, scrapers and probes use its address or a service name.
        # An address can't be rebound; with any name the token proves that this is no page.
        if not is_loopback(plane.admin_host) and (
            _is_address(name) or _token_matches(plane.admin_token, headers)
        ):
            return
    raise Refused(
        "bad_host",
        "The admin listener answers to localhost and to IATP_ADMIN_HOST, not to this Host.",
    )


def _check_data(plane: ControlPlane, origin: Origin, headers: CIMultiDictProxy[str]) -> None:
    if not plane.control_on_data:
        raise Refused(
            "control_forbidden",
            "Control endpoints are closed on this port; use the admin listener "
            "(IATP_ADMIN_PORT), or open them with IATP_CONTROL_ON_DATA.",
        )
    if origin.peer == UNIX_PEER:
        # Who listens behind a Unix socket is often a proxy, and its callers may be anywhere.
        raise Refused(
            "control_forbidden",
            "Control endpoints are not served on a Unix socket; use the admin listener "
            "(IATP_ADMIN_HOST, IATP_ADMIN_PORT), or IATP_METRICS_PORT for metrics.",
        )
    if origin.forwarded:
        raise Refused(
            "control_forbidden",
            "Control endpoints are not served through a proxy on this port; use the admin "
            "listener (IATP_ADMIN_HOST, IATP_ADMIN_TOKEN).",
        )
    if not is_loopback(origin.peer):
        raise Refused(
            "control_forbidden",
            "On this port control endpoints answer to the machine itself alone; from "
            "elsewhere use the admin listener (IATP_ADMIN_HOST, IATP_ADMIN_TOKEN), or "
            "IATP_METRICS_PORT for metrics.",
        )
    refuse_cross_site(headers)
    name = _single_host(headers)
    if name is None or not (is_loopback(name) or name == plane.data_host.lower()):
        raise Refused(
            "bad_host",
            "On this port control endpoints answer to localhost and to IATP_HOST, not to "
            "this Host; for other names use the admin listener (IATP_ADMIN_HOST).",
        )


def _check_token(plane: ControlPlane, headers: CIMultiDictProxy[str]) -> None:
    if not plane.admin_token:
        return
    if _token_matches(plane.admin_token, headers):
        return
    challenge = 'Bearer realm="iatp-admin"'
    if "Authorization" in headers:
        challenge += ', error="invalid_token"'
    raise Refused(
        "unauthenticated",
        "This endpoint needs the value of IATP_ADMIN_TOKEN as 'Authorization: Bearer'.",
        headers={"WWW-Authenticate": challenge},
    )


def _token_matches(token: str | None, headers: CIMultiDictProxy[str]) -> bool:
    values = headers.getall("Authorization", ())
    if not token or len(values) != 1:
        return False
    scheme, _, given = values[0].partition(" ")
    if scheme.lower() != "bearer":
        return False
    # Bytes, since compare_digest raises for text beyond ASCII; the header was read with
    # surrogates for bytes that are not UTF-8.
    return hmac.compare_digest(
        given.strip(" ").encode("utf-8", "surrogateescape"), token.encode("utf-8")
    )


def _single_host(headers: CIMultiDictProxy[str]) -> str | None:
    hosts = headers.getall("Host", ())
    return host_name(hosts[0]) if len(hosts) == 1 else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
