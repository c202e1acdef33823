"""Each kind of record decodes to its struct, and what differs from section 7 is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from iatp.values import exchange
from iatp.values.records import (
    ENDING_TYPES,
    AccessRecord,
    BlockedRecord,
    ErrorRecord,
    OverrideRecord,
    Record,
    RequestRecord,
    ResponseRecord,
    WarningRecord,
    Would,
    envelope,
    validate,
)

COMMON = {
    "seq": 0,
    "worker": 1,
    "boot_id": "1a2b3c4d-0123456789ab",
    "trace_id": "0193a1b2-c3d4-7000-8000-000000000001",
    "request_id": "0193a1b2-c3d4-7000-8000-000000000001",
    "timestamp": "2025-11-24T16:00:00.123456Z",
    "agent_id": "bank",
    "mono_ns": 123,
}
ABOUT = {"method": "POST", "path": "/proxy", "caller": "anonymous", "peer": "127.0.0.1"}
REQUEST = {
    **ABOUT,
    "decision": "allow",
    "rule": "trust_score",
    "findings": {"email": 1},
    "trust_score": 7,
    "payload": {"to": "[EMAIL_REDACTED]"},
    "payload_bytes": 20,
    "quarantined": False,
}
KINDS: dict[str, tuple[type, dict[str, Any]]] = {
    "request": (RequestRecord, REQUEST),
    "blocked": (BlockedRecord, {**REQUEST, "reason": "…", "code": "ssn_retention"}),
    "warning": (WarningRecord, {**REQUEST, "warning": "⚠️ …", "code": "low_trust"}),
    "user_override": (OverrideRecord, {"warning": "⚠️", "trust_score": 2, "session_id": "s"}),
    "response": (
        ResponseRecord,
        {
            "status_code": 200,
            "latency_ms": 1.25,
            "response": [1],
            "response_bytes": 3,
            "truncated": False,
        },
    ),
    "error": (
        ErrorRecord,
        {
            **ABOUT,
            "decision": "refuse",
            "error": "The body is not valid JSON.",
            "code": "invalid_json",
            "status_code": 400,
        },
    ),
    "access": (AccessRecord, {**ABOUT, "status_code": 200}),
}


def line(kind: str, **changed: Any) -> bytes:
    record = {"type": kind, **COMMON, **KINDS[kind][1], **changed}
    return json.dumps({key: value for key, value in record.items() if value is not ...}).encode()


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_its_struct(kind: str) -> None:
    record = validate(line(kind))
    assert type(record) is KINDS[kind][0]
    assert record.trace_id == COMMON["trace_id"]
    again = json.loads(msgspec.json.encode(record))
    assert {**json.loads(line(kind)), **again} == again


def test_what_a_policy_adds_to_a_request() -> None:
    would = {"decision": "block", "rule": "ssn_retention"}
    record = validate(line("request", redacted=True, would=would))
    assert isinstance(record, RequestRecord)
    assert record.redacted is True
    assert record.would == Would(decision="block", rule="ssn_retention")
    for kind in ("blocked", "warning"):
        with pytest.raises(msgspec.ValidationError, match="redacted"):
            validate(line(kind, redacted=True))
    with pytest.raises(msgspec.ValidationError, match="more"):
        validate(line("request", would={**would, "more": 1}))


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_the_table_is_required(kind: str) -> None:
    optional = {"payload", "response", "quarantined"}
    for field in {*COMMON, *KINDS[kind][1]} - optional:
        with pytest.raises(msgspec.ValidationError, match=field):
            validate(line(kind, **{field: ...}))


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_field_is_refused(kind: str) -> None:
    with pytest.raises(msgspec.ValidationError, match="surprise"):
        validate(line(kind, surprise=1))


@pytest.mark.parametrize(
    "changed",
    [
        {"trace_id": ""},
        {"trace_id": "a b"},
        {"trace_id": "x" * 129},
        {"timestamp": "2025-11-24T16:00:00Z"},
        {"timestamp": "2025-11-24T16:00:00.123456+00:00"},
        {"seq": -1},
        {"seq": 1.5},
        {"worker": "1"},
        {"mono_ns": None},
        {"trust_score": 11},
        {"findings": {"card": 1}},
        {"findings": {"secret.no_such": 1}},
        {"findings": {"xsecret.jwt": 1}},
        {"findings": {"secret.jwt\n": 1}},
        {"findings": {"ssn": -1}},
        {"payload_mac": "123"},
        {"payload_encoding": "hex"},
        {"type": "unheard_of"},
    ],
)
def test_values_out_of_range_are_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError):
        validate(line("request", **changed))


def test_a_payload_keeps_its_text() -> None:
    record = validate(line("request").replace(b'{"to": ', b'{"n":1.10,  "to": '))
    assert isinstance(record, RequestRecord)
    assert bytes(record.payload) == b'{"n":1.10,  "to": "[EMAIL_REDACTED]"}'
    assert record.findings == {"email": 1}


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff", b'{"type":"request"'])
def test_what_is_no_record(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        validate(text)
    assert envelope(text) is None


def test_an_envelope_opens_any_record() -> None:
    found = envelope(line("access", surprise=[1], type="of_a_later_version"))
    assert found is not None
    assert (found.type, found.trace_id) == ("of_a_later_version", COMMON["trace_id"])
    assert envelope(b'{"type":"request"}') is None
    assert envelope(b'{"trace_id":1}') is None


def test_endings() -> None:
    assert set(KINDS) > ENDING_TYPES


def test_findings_have_their_own_names_and_those_of_earlier_versions() -> None:
    for name in {*exchange.FINDINGS, *exchange.KINDS}:
        record = validate(line("request", findings={name: 2}))
        assert isinstance(record, RequestRecord)
        assert record.findings == {name: 2}


def test_every_field_stands_in_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "records.md").read_text(encoding="utf-8")
    fields = {
        field.encode_name for struct in get_args(Record) for field in msgspec.structs.fields(struct)
    }
    assert {name for name in fields if f"`{name}`" not in page} == set()
