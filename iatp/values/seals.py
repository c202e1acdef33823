"""Seals and heads: the digests of the log and who vouches for them (docs/log-format.md).

A signature is made over bytes as they stand in the file, so what is signed is kept raw.
"""

from __future__ import annotations

import msgspec

SEAL_FORMAT = "iatp-seal-1"
HEAD_FORMAT = "iatp-head-1"
DIGEST_PREFIX = b"iatp-log-1\n"
NO_DIGEST = "0" * 64
"""In place of the previous digest where there is no previous segment."""


class Previous(msgspec.Struct, frozen=True, kw_only=True):
    """The segment before, in the same worker slot."""

    segment: str | None
    sha256: str


class SealHeader(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a seal."""

    format: str
    segment: str
    previous: Previous


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """The digest of a segment after its first `records` records, which are `bytes` long."""

    records: int
    bytes: int
    sha256: str
    timestamp: str


class Final(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a closed segment holds."""

    segment: str
    records: int
    bytes: int
    sha256: str
    checks: str
    """SHA-256 over the CRC-32C of each record, four bytes each, little endian."""
    timestamp: str
    key: str
    recovered: bool = False
    """Closed by a later process than the one that wrote it."""
    torn_bytes: int = 0


class SignedFinal(msgspec.Struct, frozen=True, kw_only=True):
    """The last line of a seal."""

    final: msgspec.Raw
    signature: str


class Chain(msgspec.Struct, frozen=True, kw_only=True):
    """How far one worker slot's chain goes."""

    worker: int
    segment: str
    records: int
    bytes: int
    sha256: str


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """How far everything is sealed."""

    format: str
    timestamp: str
    agent_id: str
    key: str
    public_key: str
    chains: list[Chain]


class SignedHead(msgspec.Struct, frozen=True, kw_only=True):
    """`head.json`, and what is kept elsewhere."""

    head: msgspec.Raw
    signature: str
