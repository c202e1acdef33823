"""What the gate is asked and what it answers, as values.

The door fills a `Request` once the whole request has arrived; `Gate.admit` turns it into
`Forward` (compiled, in iatp/_fast/forward), `Respond` or `Claim`. Records travel as *tails*:
the JSON text of a record from its `"type"` on, without the leading brace, one line
without its line end; the recorder puts `seq`, `worker` and `boot_id` in front.
"""

from __future__ import annotations

import enum

import msgspec

from iatp.values import secrets


class Request(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One complete request to `/proxy`, as it came from the wire."""

    request_id: str
    """UUIDv7, made by the door; also the trace ID where the caller brought none."""
    method: str
    target: bytes
    """Origin-form request target with its query, such as b"/proxy/tasks?x=1"."""
    content_type: bytes = b""
    content_encoding: bytes = b""
    body: bytes = b""
    trace_id: bytes = b""
    """The caller's X-Agent-Trace-ID; empty where there was none."""
    override: bytes = b""
    """The caller's X-User-Override; empty where there was none."""
    caller: str = "anonymous"
    peer: str = ""
    """Address of the other end of the socket, without the port."""
    time_ns: int = 0
    """Wall clock, ns since 1970."""
    mono_ns: int = 0
    """Monotonic clock, ns."""


class Respond(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The sidecar answers itself: a block, a warning, a refusal or an error."""

    status: int
    decision: str
    code: str
    body: bytes
    """JSON."""
    trace_id: str
    trust_score: int
    records: tuple[bytes, ...]
    """Tails of the records to write before anything is sent."""
    findings: tuple[tuple[int, int], ...] = ()
    """What was found: pairs of a number in the gate's `names` and how many, in that order. Empty
    for a request that had been admitted: its Forward has them."""
    retry_after_s: int = 0
    closes: bool = False


class Grant(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What came of a Claim."""

    granted: bool
    """False: the ticket was used before."""
    session_id: str


class Claim(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An override that must be stored (and a ticket used up) before the gate can decide.

    The door hands it to the control state off the event loop and calls `admit` again with
    the `Grant` that comes back.
    """

    trace_id: str
    ticket_id: str
    """Empty where the override is not a ticket; else it may be used once."""
    expires_s: int
    """Unix time after which the ticket is worthless anyway and may be forgotten."""
    session_id: str
    warning: str
    trust_score: int
    time_ns: int


class Outcome(enum.StrEnum):
    """How a forwarded request ended."""

    ANSWERED = "answered"
    TRUNCATED = "truncated"


SCANNED = ("credit_card", "ssn", "email", "secret", "iban")
"""Kinds of findings of protocol section 5."""

KINDS = (*SCANNED, "custom")
"""All kinds: those, and what a policy's own patterns find. Their index is the number used in
compiled code."""

FINDINGS = (*(kind for kind in SCANNED if kind != "secret"), *secrets.NAMES)
"""What findings are called in records and metrics, where each secret has a name of its own. The
names of a policy's own patterns follow, in its order."""

OWN_NAME = r"custom\.[a-z0-9_]{1,64}"
"""What findings of a policy's own patterns are called, as a regular expression."""


def kind_of(finding: str) -> str:
    """Return the kind that a finding is of: `secret` for `secret.jwt`, or itself."""
    return finding.partition(".")[0]


REDACTED = tuple(f"[{kind.upper()}_REDACTED]" for kind in KINDS)
"""What a found value is replaced by (protocol section 7)."""
