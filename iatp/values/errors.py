"""Every way a request can fail, as values: code, status, whose fault, and whether to retry.

One table. The door, the gate, the upstream and the aiohttp application all take their
errors from here, so a code never means two things (protocol section 8). The sentence is
what a client reads: it holds no path, no payload and no text of an exception.
"""

from __future__ import annotations

import enum

import msgspec


class Fault(enum.StrEnum):
    """Whose fault a failure is."""

    CALLER = "caller"
    AGENT = "agent"
    SIDECAR = "sidecar"
    POLICY = "policy"


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table of errors."""

    code: str
    status: int
    sentence: str
    fault: Fault
    retry_after_s: int = 0
    """Sent as Retry-After where above 0: the same request may succeed later."""
    closes: bool = False
    """Whether the connection ends with this answer, since its framing can't be trusted."""
    decision: str = "refuse"
    """X-IATP-Decision: `refuse` for what the sidecar turns away, `error` for what broke, `block`
    for what the policy keeps back."""


def _caller(code: str, status: int, sentence: str, *, closes: bool = False) -> Failure:
    return Failure(code=code, status=status, sentence=sentence, fault=Fault.CALLER, closes=closes)


def _agent(code: str, status: int, sentence: str, *, retry_after_s: int = 0) -> Failure:
    return Failure(
        code=code,
        status=status,
        sentence=sentence,
        fault=Fault.AGENT,
        retry_after_s=retry_after_s,
        decision="error",
    )


def _sidecar(code: str, status: int, sentence: str, *, retry_after_s: int = 0) -> Failure:
    return Failure(
        code=code,
        status=status,
        sentence=sentence,
        fault=Fault.SIDECAR,
        retry_after_s=retry_after_s,
        decision="refuse" if status == 503 else "error",
    )


_ALL = (
    # Framing and headers (section 6, first row): the connection closes.
    _caller("malformed_request", 400, "The request is not valid HTTP/1.1.", closes=True),
    _caller("request_timeout", 408, "The request did not arrive completely in time.", closes=True),
    _caller("uri_too_long", 414, "The request line is longer than 8 KiB.", closes=True),
    _caller("expectation_failed", 417, "Only 'Expect: 100-continue' is understood.", closes=True),
    _caller("headers_too_large", 431, "The headers exceed 60 KiB or 100 fields.", closes=True),
    _caller("not_implemented", 501, "This method or transfer coding is not served.", closes=True),
    _caller(
        "version_not_supported", 505, "Only HTTP/1.1 and HTTP/1.0 are spoken here.", closes=True
    ),
    # Routing.
    _caller("bad_path", 400, "The path would leave the agent's URL once decoded."),
    _caller("not_found", 404, "There is nothing at this path."),
    _caller("method_not_allowed", 405, "This path does not take this method; see Allow."),
    _caller("unknown_trace", 404, "No record has this trace ID."),
    _caller("unknown_quarantine", 404, "No overridden request has this trace ID."),
    Failure(
        code="loop_detected",
        status=508,
        sentence="This request has passed through this sidecar already.",
        fault=Fault.CALLER,
    ),
    # Who may.
    _caller("unauthenticated", 401, "Authentication is required."),
    _caller("control_forbidden", 403, "This endpoint is closed to this caller."),
    _caller("bad_host", 403, "The Host header is not one that this listener serves."),
    _caller("cross_site", 403, "Requests from web pages are not served here."),
    Failure(
        code="path_not_open",
        status=403,
        sentence="The policy does not open this path to callers.",
        fault=Fault.POLICY,
    ),
    Failure(
        code="answer_withheld",
        status=403,
        sentence="The agent has answered, and the policy does not let the answer pass.",
        fault=Fault.POLICY,
        decision="block",
    ),
    Failure(
        code="rate_limited",
        status=429,
        sentence="Too many requests; wait as Retry-After says.",
        fault=Fault.CALLER,
        retry_after_s=1,
    ),
    # What was sent.
    _caller(
        "body_too_large",
        413,
        "The body is larger than IATP_MAX_BODY allows, or too much is encoded in it to be read.",
    ),
    _caller("unsupported_coding", 415, "Only gzip, deflate and identity bodies can be read."),
    _caller("unsupported_charset", 415, "Only UTF-8, US-ASCII and ISO-8859-1 can be read."),
    _caller("malformed_coding", 400, "The body is not what its Content-Encoding says."),
    _caller("invalid_json", 400, "The body is not valid JSON."),
    _caller("bad_query", 422, "A query parameter has a value that is not allowed."),
    # No room.
    _sidecar("buffers_full", 503, "Too many bytes are waiting here.", retry_after_s=1),
    _sidecar("queue_full", 503, "Too many requests are waiting for the agent.", retry_after_s=1),
    _sidecar("queue_timeout", 503, "The agent was busy for too long.", retry_after_s=1),
    _sidecar("recorder_unavailable", 503, "The flight recorder cannot write.", retry_after_s=5),
    _sidecar("state_unavailable", 503, "The control state cannot be written.", retry_after_s=5),
    _sidecar("too_many_connections", 503, "Too many connections are open.", retry_after_s=1),
    _sidecar("draining", 503, "This sidecar is shutting down.", retry_after_s=1),
    _sidecar("not_ready", 503, "This sidecar is not ready; see reasons.", retry_after_s=1),
    # The agent.
    _agent("agent_unreachable", 502, "The agent cannot be reached."),
    _agent("agent_reset", 502, "The agent closed the connection before it answered."),
    _agent("agent_invalid_answer", 502, "The agent's answer is not valid HTTP."),
    _agent("agent_timeout", 504, "The agent did not answer in time."),
    _agent("agent_failing", 503, "The agent failed repeatedly; it is probed.", retry_after_s=1),
    # Not sent to anybody: recorded only (nginx's 499).
    _caller("caller_gone", 499, "The caller went away."),
    _sidecar("internal_error", 500, "Something failed inside the sidecar."),
)

FAILURES: dict[str, Failure] = {failure.code: failure for failure in _ALL}
"""All failures by code. Blocks and warnings are verdicts of the gate and not failures."""


class ConfigurationError(Exception):
    """What is set cannot be used; exit status 78. `problems` holds one sentence each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class StartError(Exception):
    """The sidecar cannot start for a reason outside its settings; exit status 1.

    The message is one sentence that says what to do.
    """


class UsageError(Exception):
    """A command was given what does not go together; exit status 2."""
