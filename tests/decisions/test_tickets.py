from __future__ import annotations

import base64

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iatp.decisions import tickets

KEY = b"k" * 32
NOW_S = 1_732_100_000
BOUND = tickets.Bound(
    caller="alice",
    method="POST",
    target=b"/proxy?x=1",
    content_type=b"application/json",
    content_encoding=b"",
    body=b'{"a":1}',
    policy_version="0123456789abcdef",
    trace_id="trace-1",
)
OTHERS = {
    "caller": "bob",
    "method": "PUT",
    "target": b"/proxy?x=2",
    "content_type": b"application/json;charset=utf-8",
    "content_encoding": b"gzip",
    "body": b'{"a":2}',
    "policy_version": "0123456789abcdee",
    "trace_id": "trace-2",
}


def token() -> bytes:
    return tickets.issue(KEY, BOUND, request_id="r1", now_s=NOW_S).encode()


def test_a_ticket_holds_for_its_request_for_five_minutes() -> None:
    first = tickets.check(KEY, token(), BOUND, now_s=NOW_S)
    assert first is not None
    assert first.expires_s == NOW_S + 300
    assert tickets.check(KEY, token(), BOUND, now_s=NOW_S + 299) == first
    assert tickets.check(KEY, token(), BOUND, now_s=NOW_S + 300) is None
    assert tickets.check(KEY, token(), BOUND, now_s=NOW_S + 10**9) is None


def test_a_clock_set_back_revives_no_ticket() -> None:
    assert tickets.check(KEY, token(), BOUND, now_s=NOW_S - 20) is not None
    assert tickets.check(KEY, token(), BOUND, now_s=NOW_S - 3600) is None


def test_each_warning_has_its_own_ticket() -> None:
    other = tickets.issue(KEY, BOUND, request_id="r2", now_s=NOW_S).encode()
    found = [tickets.check(KEY, each, BOUND, now_s=NOW_S) for each in (token(), other)]
    assert all(found)
    assert len({ticket.ticket_id for ticket in found if ticket}) == 2


@pytest.mark.parametrize("field", tickets.Bound.__struct_fields__)
def test_a_ticket_is_bound_to_every_part(field: str) -> None:
    other = msgspec.structs.replace(BOUND, **{field: OTHERS[field]})
    assert tickets.check(KEY, token(), other, now_s=NOW_S) is None


def test_parts_do_not_run_into_each_other() -> None:
    bound = msgspec.structs.replace(BOUND, target=b"/proxyapp", content_type=b"lication/json")
    moved = msgspec.structs.replace(BOUND, target=b"/proxy", content_type=b"application/json")
    issued = tickets.issue(KEY, bound, request_id="r1", now_s=NOW_S).encode()
    assert tickets.check(KEY, issued, bound, now_s=NOW_S) is not None
    assert tickets.check(KEY, issued, moved, now_s=NOW_S) is None


def test_another_key_makes_no_ticket() -> None:
    assert tickets.check(b"x" * 32, token(), BOUND, now_s=NOW_S) is None


def test_every_changed_bit_voids_it() -> None:
    raw = base64.urlsafe_b64decode(token())
    for at in range(len(raw)):
        for bit in range(8):
            changed = bytearray(raw)
            changed[at] ^= 1 << bit
            forged = base64.urlsafe_b64encode(changed)
            assert tickets.check(KEY, forged, BOUND, now_s=NOW_S) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + b"=",
        lambda text: text + b"AAAA",
        lambda text: text[:-1],
        lambda text: text[:40] + b"\n" + text[40:],
        lambda text: text[:-1] + b"\n",
        lambda text: text[:-1] + b"\xe9",
        lambda text: text[:-4] + b"====",
        lambda text: text.swapcase(),
        lambda text: b" " + text[1:],
        lambda text: b"",
    ],
)
def test_another_spelling_is_no_ticket(change: object) -> None:
    assert tickets.check(KEY, change(token()), BOUND, now_s=NOW_S) is None  # type: ignore[operator]


@given(st.binary(max_size=100) | st.binary(min_size=76, max_size=76))
def test_no_bytes_raise(data: bytes) -> None:
    assert tickets.check(KEY, data, BOUND, now_s=NOW_S) is None


def test_a_token_is_plain_text() -> None:
    assert len(token()) == 76
    assert token().isascii()
    assert not set(token()) - set(
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    )
