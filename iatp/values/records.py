"""The flight record as values: one struct for each `type` of protocol section 7.

Readers and tests decode stored lines with these. Writing goes another way: the gate builds
the text of a record itself, because that runs for every request. `validate` is strict (an
unknown field, a missing one or a value out of range raises); `Envelope` takes any record,
also one of an older or newer version.
"""

from __future__ import annotations

import contextlib
import re
from typing import Annotated

import msgspec
from msgspec import UNSET, UnsetType

from iatp.values.exchange import FINDINGS, KINDS, OWN_NAME

TraceId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,128}$")]
Timestamp = Annotated[
    str, msgspec.Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$", max_length=27)
]
Count = Annotated[int, msgspec.Meta(ge=0)]
Score = Annotated[int, msgspec.Meta(ge=0, le=10)]
Status = Annotated[int, msgspec.Meta(ge=100, le=999)]
Mac = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}$")]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
Base64Only = Annotated[str, msgspec.Meta(pattern=r"^base64$")]


class Envelope(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a reader needs of any record; all else is skipped over."""

    trace_id: str
    type: str = ""
    request_id: str = ""
    timestamp: str = ""
    agent_id: str = ""
    worker: int = 0
    boot_id: str = ""
    mono_ns: int = 0
    seq: int = 0


# Records of earlier versions have `secret`, for all secrets together.
_FINDING = "|".join((*(re.escape(name) for name in dict.fromkeys((*KINDS, *FINDINGS))), OWN_NAME))

Findings = dict[Annotated[str, msgspec.Meta(pattern=rf"^(?:{_FINDING})\Z")], Count]
"""How many of each finding there are; what was not found is absent."""


class _Recorded(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True
):
    """The fields of every record."""

    trace_id: TraceId
    request_id: str
    timestamp: Timestamp
    agent_id: str
    mono_ns: Count
    """Monotonic clock, ns; comparable between records whose `boot_id` begins alike."""
    boot_id: str
    """`<clock>-<process>`: which run of the machine's monotonic clock, which process."""
    worker: Count
    seq: Count
    """Position within the segment, from 0, without gaps."""


class _Described(_Recorded, frozen=True, kw_only=True):
    """What a request has, and a block and a warning as well."""

    method: str
    path: str
    caller: str
    peer: str
    decision: str
    rule: str
    findings: Findings
    trust_score: Score
    payload: msgspec.Raw = msgspec.Raw(b"null")
    """Scrubbed: a JSON value; a string where it was cut or was not JSON."""
    payload_bytes: Count
    payload_mac: Mac | UnsetType = UNSET
    """Keyed MAC of the whole payload, where it was cut."""
    payload_encoding: Base64Only | UnsetType = UNSET
    quarantined: bool = False


class Would(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a policy that only observes would have done."""

    decision: str
    rule: str
    redacted: bool | UnsetType = UNSET


class RequestRecord(_Described, frozen=True, kw_only=True, tag="request"):
    """A request that is about to be sent to the agent."""

    redacted: bool | UnsetType = UNSET
    """True: the agent gets the body with values replaced, as the rule says; else absent."""
    would: Would | UnsetType = UNSET
    """Present where the policy only observes."""


class BlockedRecord(_Described, frozen=True, kw_only=True, tag="blocked"):
    """Ends a request: nobody may override this."""

    reason: str
    code: str


class WarningRecord(_Described, frozen=True, kw_only=True, tag="warning"):
    """Ends a request: the caller was asked to confirm."""

    warning: str
    code: str


class OverrideRecord(_Recorded, frozen=True, kw_only=True, tag="user_override"):
    """The caller's user saw the warning and confirmed."""

    warning: str
    trust_score: Score
    session_id: str


class ResponseRecord(_Recorded, frozen=True, kw_only=True, tag="response"):
    """Ends a request: the agent's answer, whole or truncated."""

    status_code: Status
    latency_ms: Annotated[float, msgspec.Meta(ge=0)]
    """To the end of the answer."""
    response: msgspec.Raw = msgspec.Raw(b"null")
    response_bytes: Count
    response_encoding: Base64Only | UnsetType = UNSET
    response_omitted: str | UnsetType = UNSET
    """Why `response` is null although there was one: it could not be read, so not scrubbed."""
    findings: Findings | UnsetType = UNSET
    """Of the whole answer, also behind what is kept of it; absent where nothing was found."""
    redacted: bool | UnsetType = UNSET
    """True where the caller got the answer with values replaced."""
    truncated: bool


class ErrorRecord(_Recorded, frozen=True, kw_only=True, tag="error"):
    """Ends a request that was refused, broke, or whose caller went away."""

    method: str
    """Empty, as is the path, where the request line could not be read."""
    path: str
    caller: str
    peer: str
    decision: str
    error: str
    code: str
    status_code: Status
    detail: str | UnsetType = UNSET
    """For operators; the caller was not told."""
    agent_status: Status | UnsetType = UNSET
    """What the agent had answered before it broke."""
    count: Annotated[int, msgspec.Meta(ge=2)] | UnsetType = UNSET
    """How many refusals this record sums up."""
    quarantined: bool | UnsetType = UNSET
    """Present where the request was let through, also where the agent then never had it."""


class AccessRecord(_Recorded, frozen=True, kw_only=True, tag="access"):
    """Who read or changed what on a control endpoint."""

    caller: str
    peer: str
    method: str
    path: str
    status_code: Status


class DeletedSegment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole segment that retention is about to delete."""

    segment: str
    records: Count | None
    """As its seal has them, and so the next two; None where there was none: an older version's."""
    bytes: Count | None
    sha256: Digest | None


class OldestSegment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a worker slot's chain begins from now on."""

    worker: Count
    segment: str
    """The oldest that stays."""
    previous: Digest | None
    """The digest of the one before it, as its own seal has it; None where it has none."""


class RetentionRecord(_Recorded, frozen=True, kw_only=True, tag="retention"):
    """Whole segments that are deleted once this is on disk."""

    reason: Annotated[str, msgspec.Meta(pattern=r"^(age|size)$")]
    segments: list[DeletedSegment]
    chains: list[OldestSegment]


Record = (
    RequestRecord
    | BlockedRecord
    | WarningRecord
    | OverrideRecord
    | ResponseRecord
    | ErrorRecord
    | AccessRecord
    | RetentionRecord
)

ENDING_TYPES = frozenset({"response", "blocked", "warning", "error"})
"""A request to `/proxy` has exactly one record of these types."""

_records: msgspec.json.Decoder[Record] = msgspec.json.Decoder(Record)
_RETENTION = b'"type":"retention"'
_retentions = msgspec.json.Decoder(RetentionRecord)
_envelopes = msgspec.json.Decoder(Envelope)


def validate(line: bytes) -> Record:
    """Return the record that a stored line holds, every field checked.

    Raises:
        msgspec.DecodeError: not JSON, or not what section 7 says (msgspec.ValidationError).
    """
    return _records.decode(line)


def envelope(line: bytes | bytearray | memoryview) -> Envelope | None:
    """Return the common fields of a record, or None where the line is not one."""
    try:
        return _envelopes.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def retentions(lines: bytes) -> list[RetentionRecord]:
    """Return those among whole lines that say what retention removes."""
    found = []
    at = lines.find(_RETENTION)
    while at >= 0:
        stop = lines.index(b"\n", at)
        line = lines[lines.rfind(b"\n", 0, at) + 1 : stop]
        common = envelope(line)
        # It may stand in a payload, too.
        if common is not None and common.type == "retention":
            with contextlib.suppress(msgspec.DecodeError, UnicodeDecodeError):
                found.append(_retentions.decode(line))
        at = lines.find(_RETENTION, stop)
    return found
