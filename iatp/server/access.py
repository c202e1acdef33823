"""The `access` record: who read what on a control endpoint (protocol section 7)."""

from __future__ import annotations

import datetime
import json
import time

from iatp.server.rules import Origin


def access_tail(
    origin: Origin, *, agent_id: str, caller: str, method: str, path: str, status: int
) -> bytes:
    """Return the record's tail. `path` is scrubbed."""
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    now = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    record = {
        "type": "access",
        "trace_id": origin.trace_id,
        "request_id": origin.request_id,
        "timestamp": f"{now:%Y-%m-%dT%H:%M:%S}.{nanoseconds // 1000:06d}Z",
        "agent_id": agent_id,
        "mono_ns": time.monotonic_ns(),
        "caller": caller,
        "peer": origin.peer,
        "method": method,
        "path": path,
        "status_code": status,
    }
    # The standard encoder escapes all that is not printable ASCII, line separators included.
    return json.dumps(record, separators=(",", ":")).encode("ascii")[1:]
