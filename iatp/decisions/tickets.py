"""Tickets: the `override_token` of a 449, good for one repetition of that one request.

A token is the URL-safe base64 of

    version (1 byte) | expiry, Unix seconds (8) | nonce (16) | HMAC-SHA256 (32)

without padding (57 bytes are 76 characters). The MAC covers all before it and everything
the ticket is bound to, each part behind its length, so that no two requests share an input.
What a ticket cannot say by itself is that it was not used before: its `ticket_id` is for
the control state, which lets each pass once.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

import msgspec

LIFETIME_S = 300
"""Section 6: five minutes."""

CLOCK_SKEW_S = 30
"""How far the clocks of two replicas that share the key may be apart."""

_VERSION = 1
_BODY_BYTES = 1 + 8 + 16
_TOKEN_CHARACTERS = (_BODY_BYTES + 32) // 3 * 4


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """What a ticket is good for: this request, of this caller, under this policy."""

    caller: str
    method: str
    target: bytes
    content_type: bytes
    content_encoding: bytes
    body: bytes
    """As received; only its SHA-256 goes into the MAC."""
    policy_version: str
    trace_id: str


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """A token that holds, for this request and at this time."""

    ticket_id: str
    expires_s: int


def _mac(key: bytes, head: bytes, bound: Bound) -> bytes:
    mac = hmac.new(key, head, hashlib.sha256)
    for part in (
        bound.caller.encode("utf-8", "surrogatepass"),
        bound.method.encode("utf-8", "surrogatepass"),
        bound.target,
        bound.content_type,
        bound.content_encoding,
        hashlib.sha256(bound.body).digest(),
        bound.policy_version.encode(),
        bound.trace_id.encode(),
    ):
        mac.update(len(part).to_bytes(8, "big"))
        mac.update(part)
    return mac.digest()


def issue(key: bytes, bound: Bound, *, request_id: str, now_s: int) -> str:
    """Return the token for `bound`, good until `now_s` + LIFETIME_S.

    The nonce follows from `request_id`, the ID of the warned request, which is unique.
    """
    nonce = hashlib.sha256(b"iatp ticket\0" + request_id.encode()).digest()[:16]
    head = bytes([_VERSION]) + (now_s + LIFETIME_S).to_bytes(8, "big") + nonce
    return base64.urlsafe_b64encode(head + _mac(key, head, bound)).decode()


def check(key: bytes, token: bytes, bound: Bound, *, now_s: int) -> Ticket | None:
    """Return the ticket, or None where the token is not one for `bound` or has expired.

    The MAC is compared in constant time, and before the expiry is looked at.
    """
    if len(token) != _TOKEN_CHARACTERS:
        return None
    try:
        # Strict: b64decode without validate= would skip characters it does not know.
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if base64.urlsafe_b64encode(raw) != token:
        return None
    head, mac = raw[:_BODY_BYTES], raw[_BODY_BYTES:]
    if not hmac.compare_digest(_mac(key, head, bound), mac) or head[0] != _VERSION:
        return None
    expires_s = int.from_bytes(head[1:9], "big")
    # A clock that was set back by more than a lifetime must not keep old tickets alive.
    if not now_s < expires_s <= now_s + LIFETIME_S + CLOCK_SKEW_S:
        return None
    return Ticket(ticket_id=head[9:].hex(), expires_s=expires_s)
