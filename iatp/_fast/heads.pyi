from typing import final

from iatp._fast.ids import Ids

@final
class Heads:
    """What the heads of all requests of a worker share."""

    def __new__(
        cls,
        ids: Ids,
        *,
        agent_host: bytes,
        agent_base: bytes,
        agent_target: bytes,
        via: bytes,
    ) -> Heads: ...

@final
class RequestHead:
    """What is kept of the head of one connection's request."""

    def __new__(cls, heads: Heads) -> RequestHead: ...

__pyx_capi__: dict[str, object]
