from typing import Any, final

from iatp._fast.forward import Forward
from iatp.decisions.policy import GatePolicy
from iatp.values.exchange import Claim, Grant, Request, Respond

@final
class Gate:
    """Decides on requests and records what came of them; no I/O and no clock.

    What it keeps only saves work; no decision depends on it. For one thread.
    """

    policy: GatePolicy
    trust_score: int
    names: tuple[str, ...]
    judges_answers: bool
    limits_paths: bool

    def __init__(self, policy: GatePolicy) -> None: ...
    def trace_id(self, request: Request) -> str: ...
    def scrub_target(self, target: bytes) -> bytes: ...
    def closed(self, method: str, target: bytes) -> tuple[str, str] | None: ...
    def admit_head(
        self,
        request: Request,
        declared_length: int | None = None,
        rate_retry_after_s: int = 0,
    ) -> Respond | None: ...
    def admit(self, request: Request, grant: Grant | None = None) -> Forward | Respond | Claim: ...
    def refuse(
        self,
        request: Request,
        code: str,
        detail: str = "",
        count: int = 1,
        agent_status: int = 0,
    ) -> Respond: ...
    def fail(
        self, forward: Forward, code: str, time_ns: int, mono_ns: int, detail: str = ""
    ) -> Respond: ...
    def holds(self, content_type: bytes, has_length: bool) -> bool: ...
    def judge(self, forward: Forward, body: bytes) -> bytes | None: ...
    def settle_end(
        self, forward: Forward, outcome: str, latency_us: int, time_ns: int, mono_ns: int
    ) -> bytes: ...
    def explain(self, request: Request) -> dict[str, Any]: ...
