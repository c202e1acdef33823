"""What is sent: JSON of four sizes, the large ones both as one string and as tool calls.

None holds what would be blocked, so every request is forwarded, and recorded twice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from benchmarks.cases import CHAT, TOOL_CALL

_WORDS = "and some more words for the length of it all "
_ONE_PIECE = 16_000
"""A body up to here comes to the agent in one read, together with its head."""


@dataclass(frozen=True)
class Body:
    """One kind of request."""

    name: str
    data: bytes

    @property
    def path(self) -> str:
        """Where the agent waits for the whole of it."""
        return "/" if len(self.data) < _ONE_PIECE else "/large"


def _padded(document: dict[str, object], size: int) -> bytes:
    room = size - len(json.dumps(document | {"note": ""}))
    note = (_WORDS * (room // len(_WORDS) + 1))[:room]
    data = json.dumps(document | {"note": note}).encode()
    assert len(data) == size
    return data


def _tool_calls(size: int) -> bytes:
    calls: list[object] = []
    taken = 100
    while True:
        arguments = {
            "account": ["savings", "current", "shared"][len(calls) % 3],
            "since": "2025-01-31",
            "limit": 25 + len(calls) % 50,
            "least": 12.5,
            "closed": False,
            "tags": ["rent", "food", None],
        }
        call = {"id": f"call-{len(calls)}", "name": "get_balance", "arguments": arguments}
        taken += len(json.dumps(call)) + 2
        if taken > size:
            return _padded({"jsonrpc": "2.0", "method": "tools/batch", "calls": calls}, size)
        calls.append(call)


BODIES = [
    Body("200 B", TOOL_CALL),
    Body("600 B", CHAT),
    Body("10 KB, one string", _padded({}, 10_000)),
    Body("10 KB, tool calls", _tool_calls(10_000)),
    Body("100 KB, one string", _padded({}, 100_000)),
    Body("100 KB, tool calls", _tool_calls(100_000)),
]
BY_NAME = {body.name: body for body in BODIES}
