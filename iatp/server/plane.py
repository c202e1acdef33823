"""What the endpoints need from the rest of the sidecar, as one value.

The sidecar builds it once a worker; the application reads nothing else: no environment,
no files, no global state. Everything that may wait is awaited, so the one who builds it
decides what runs in a thread.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import msgspec


class TracePage(Protocol):
    """Some records of one trace, in order."""

    @property
    def logs(self) -> Sequence[msgspec.Raw]:
        """The records' JSON as it stands on disk."""

    @property
    def next(self) -> str | None:
        """Cursor of the page behind this one; None at the end."""


class ReadTrace(Protocol):
    """Reader of the flight record."""

    def __call__(self, trace_id: str, *, limit: int, after: str | None) -> Awaitable[TracePage]:
        """Return a page; its logs are empty where no record has this trace ID.

        Raises:
            ValueError: `after` is not a cursor that this reader gave.
            OSError: the record can't be read.

        """


class ControlPlane(msgspec.Struct, frozen=True, kw_only=True):
    """Settings and actions behind the endpoints."""

    agent_id: str
    manifest_document: bytes
    """The manifest as it is served (protocol section 3)."""
    data_host: str
    """IATP_HOST: a Host that names it is not a rebound name."""
    admin_host: str
    """IATP_ADMIN_HOST; where it is not loopback, `admin_token` is set."""
    admin_token: str | None
    """IATP_ADMIN_TOKEN. Where set, control endpoints ask for it, on loopback too."""
    control_on_data: bool
    """IATP_CONTROL_ON_DATA is `loopback` and no caller authentication is configured."""
    readiness: Callable[[], Awaitable[list[str]]]
    """Why the sidecar is not ready, a short phrase each, without paths; empty: ready."""
    warnings: Callable[[], Awaitable[list[str]]]
    """What is wrong though the sidecar is ready, in the same form."""
    metrics: Callable[[str], Awaitable[tuple[str, bytes]]]
    """Takes the scraper's Accept; gives content type and text."""
    read_trace: ReadTrace
    quarantine: Callable[[str], Awaitable[dict[str, Any] | None]]
    """The session of an overridden request, in the shape of section 1. May raise
    StateUnavailable."""
    scrub_target: Callable[[bytes], bytes]
    """Gives a request target as a record may have it."""
    record_access: Callable[[bytes], Awaitable[None]]
    """Writes an `access` record, given its tail. Raises OSError where it can't."""
