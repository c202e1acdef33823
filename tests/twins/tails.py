"""What records say of requests, in plain Python: as values, parsed."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta
from typing import Any

from iatp.decisions.policy import GatePolicy
from iatp.values.exchange import Request
from tests.twins.reading import find, scrub
from tests.twins.scan import TARGET, TEXT


def readable(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def as_string(name: str, text: bytes) -> dict[str, Any]:
    try:
        return {name: text.decode()}
    except UnicodeDecodeError:
        return {name: base64.b64encode(text).decode(), f"{name}_encoding": "base64"}


def parsed(data: bytes) -> Any:
    """Return JSON as a value in which duplicate keys stay visible."""
    return json.loads(data, object_pairs_hook=lambda pairs: ["object", *pairs])


def common(policy: GatePolicy, kind: str, ids: tuple[str, str], ns: int, mono: int) -> Any:
    time = datetime(1970, 1, 1) + timedelta(microseconds=ns // 1000)
    return {
        "type": kind,
        "trace_id": ids[0],
        "request_id": ids[1],
        "timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "agent_id": policy.agent_id,
        "mono_ns": mono,
    }


def about(request: Request) -> dict[str, str]:
    def clean(text: str) -> str:
        data = text.encode("utf-8", "backslashreplace")
        return readable(scrub(data, find(data, TEXT)))

    return {
        "method": clean(request.method),
        "path": readable(scrub(request.target, find(request.target, TARGET))),
        "caller": clean(request.caller),
        "peer": request.peer,
    }
