from typing import final

@final
class Forward:
    """Permission to send one request to the agent, and what settles it afterwards."""

    trace_id: str
    request_id: str
    trust_score: int
    quarantined: bool
    records: tuple[bytes, ...]
    findings: tuple[tuple[int, int], ...]
    body: bytes | None
    spared: bool
    ended: bool
    agent_status: int
    answer_bytes: int
    answer_findings: tuple[tuple[int, int], ...]
    answer_redacted: bool
    withheld: str | None

    def settle_head(self, status: int, content_type: bytes, content_encoding: bytes) -> None: ...
    def settle_piece(self, piece: bytes) -> None: ...

__pyx_capi__: dict[str, object]
