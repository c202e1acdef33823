"""A bank's agent: transfers that can be undone, and a live feed of them.

    python examples/bank_agent.py --port 8000

POST /transfer               {"from": "alice", "to": "bob", "amount_cents": 1250}
POST /compensate             {"transaction_id": "…"} or {"trace_id": "…"}: undoes it
GET  /accounts/{name}        the balance
GET  /events                 every transfer and undoing as it happens (server-sent events)
POST /                       {"task": "transfer" | "compensate" | "balance", …}: the same

Its promises stand in bank_manifest.json. It keeps them: a transfer can be undone within the
hour, a repeated X-Idempotency-Key pays once, and nothing is written to disk.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

UNDO_WINDOW_S = 3600.0
IDEMPOTENCY_S = 24 * 3600.0
REMEMBERED = 100_000
HEARTBEAT_S = 15.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Rejected(Exception):  # noqa: N818
    """The request cannot be done; the status and the sentence go to the caller."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence


@dataclass
class Transaction:
    """One transfer."""

    transaction_id: str
    trace_id: str
    source: str
    target: str
    amount_cents: int
    made_at: float
    """Monotonic clock."""
    key: str
    """The X-Idempotency-Key it came with."""
    undone: bool = False

    def shown(self) -> dict[str, Any]:
        """Return what callers see."""
        return {
            "transaction_id": self.transaction_id,
            "from": self.source,
            "to": self.target,
            "amount_cents": self.amount_cents,
            "status": "undone" if self.undone else "completed",
        }


@dataclass
class Bank:
    """Accounts in cents, and what was done with them. One event loop, so no locks."""

    accounts: dict[str, int] = field(
        default_factory=lambda: {"alice": 100_000, "bob": 50_000, "carol": 0}
    )
    transactions: OrderedDict[str, Transaction] = field(default_factory=OrderedDict)
    paid_keys: dict[str, tuple[float, dict[str, Any], str]] = field(default_factory=dict)
    """When, for which order, and which transaction came of it."""
    listeners: set[asyncio.Queue[dict[str, Any] | None]] = field(default_factory=set)

    def balance(self, name: object) -> int:
        """Return an account's balance in cents."""
        if not isinstance(name, str) or name not in self.accounts:
            raise Rejected(404, "There is no such account.")
        return self.accounts[name]

    def transfer(self, order: dict[str, Any], trace_id: str, key: str) -> dict[str, Any]:
        """Move money; with a key seen before, return what came of it the first time."""
        now = time.monotonic()
        if key:
            earlier = self.paid_keys.get(key)
            if earlier is not None and now - earlier[0] < IDEMPOTENCY_S:
                if earlier[1] != order:
                    raise Rejected(422, "This X-Idempotency-Key belongs to another transfer.")
                return self.transactions[earlier[2]].shown()
        source, target, amount = order.get("from"), order.get("to"), order.get("amount_cents")
        # bool is an int in Python; a transfer of `true` is nonsense all the same.
        if not isinstance(amount, int) or isinstance(amount, bool) or amount <= 0:
            raise Rejected(422, "amount_cents must be a whole number above 0.")
        if source == target:
            raise Rejected(422, "from and to are the same account.")
        self.balance(target)
        if self.balance(source) < amount:
            raise Rejected(409, "The account does not hold that much.")
        made = Transaction(
            transaction_id=f"tx-{uuid.uuid4()}",
            trace_id=trace_id,
            source=str(source),
            target=str(target),
            amount_cents=amount,
            made_at=now,
            key=key,
        )
        self.accounts[made.source] -= amount
        self.accounts[made.target] += amount
        self.transactions[made.transaction_id] = made
        if key:
            self.paid_keys[key] = (now, order, made.transaction_id)
        self._forget()
        self._tell("transfer", made)
        return made.shown()

    def compensate(self, order: dict[str, Any]) -> dict[str, Any]:
        """Undo a transaction, or all those of a trace, newest first: all of them or none."""
        asked = [
            made
            for made in reversed(self.transactions.values())
            if made.transaction_id == order.get("transaction_id")
            or (made.trace_id and made.trace_id == order.get("trace_id"))
        ]
        if not asked:
            raise Rejected(404, "There is no such transaction.")
        open_ones = [made for made in asked if not made.undone]
        now = time.monotonic()
        if any(now - made.made_at > UNDO_WINDOW_S for made in open_ones):
            raise Rejected(410, "The undo window of one hour has passed.")
        after = dict(self.accounts)
        for made in open_ones:
            after[made.target] -= made.amount_cents
            after[made.source] += made.amount_cents
        if any(after[made.target] < 0 for made in open_ones):
            raise Rejected(409, "The money has left the account it was sent to.")
        self.accounts = after
        for made in open_ones:
            made.undone = True
            self._tell("compensation", made)
        # Undoing twice is the same as undoing once, so it can safely be asked again.
        return {"compensated": [made.shown() for made in asked]}

    def _forget(self) -> None:
        while len(self.transactions) > REMEMBERED:
            _, gone = self.transactions.popitem(last=False)
            paid = self.paid_keys.get(gone.key)
            if paid is not None and paid[2] == gone.transaction_id:
                del self.paid_keys[gone.key]

    def _tell(self, what: str, made: Transaction) -> None:
        for queue in self.listeners:
            queue.put_nowait({"event": what, "data": made.shown()})


BANK = web.AppKey("bank", Bank)


async def read_order(request: web.Request) -> dict[str, Any]:
    """Return the JSON object in the body."""
    try:
        order = json.loads(await request.read())
    except ValueError:
        raise Rejected(400, "The body is not JSON.") from None
    if not isinstance(order, dict):
        raise Rejected(400, "The body is not a JSON object.")
    return order


async def transfer(request: web.Request) -> web.Response:
    """POST /transfer."""
    return _transfer(request, await read_order(request))


def _transfer(request: web.Request, order: dict[str, Any]) -> web.Response:
    trace_id = request.headers.get("X-Agent-Trace-ID", "")
    key = request.headers.get("X-Idempotency-Key", "")
    return web.json_response(request.app[BANK].transfer(order, trace_id, key))


async def compensate(request: web.Request) -> web.Response:
    """POST /compensate."""
    return web.json_response(request.app[BANK].compensate(await read_order(request)))


def _balance(request: web.Request, name: object) -> web.Response:
    balance_cents = request.app[BANK].balance(name)
    return web.json_response({"account": name, "balance_cents": balance_cents})


async def account(request: web.Request) -> web.Response:
    """GET /accounts/{name}."""
    return _balance(request, request.match_info["name"])


async def task(request: web.Request) -> web.Response:
    """POST /: the task says what the body is for."""
    order = await read_order(request)
    match order.pop("task", None):
        case "transfer":
            return _transfer(request, order)
        case "compensate":
            return web.json_response(request.app[BANK].compensate(order))
        case "balance":
            return _balance(request, order.get("account"))
        case _:
            raise Rejected(422, "task must be transfer, compensate or balance.")


async def events(request: web.Request) -> web.StreamResponse:
    """GET /events."""
    bank = request.app[BANK]
    response = web.StreamResponse(
        headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
    )
    queue: asyncio.Queue[dict[str, Any] | None] = asyncio.Queue()
    bank.listeners.add(queue)
    try:
        await response.prepare(request)
        await response.write(b": open\n\n")
        while True:
            try:
                event = await asyncio.wait_for(queue.get(), HEARTBEAT_S)
            except TimeoutError:
                await response.write(b": still here\n\n")
                continue
            if event is None:
                break
            data = json.dumps(event["data"])
            await response.write(f"event: {event['event']}\ndata: {data}\n\n".encode())
    finally:
        bank.listeners.discard(queue)
    return response


async def health(_request: web.Request) -> web.Response:
    """GET /health."""
    return web.json_response({"status": "healthy"})


@web.middleware
async def answer_rejections(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn a Rejected into its answer."""
    try:
        return await handler(request)
    except Rejected as rejected:
        return web.json_response({"error": rejected.sentence}, status=rejected.status)


async def end_streams(app: web.Application) -> None:
    """End the feeds at shutdown, else they would hold it up."""
    for queue in app[BANK].listeners:
        queue.put_nowait(None)


def build_app() -> web.Application:
    """Return the agent."""
    app = web.Application(middlewares=[answer_rejections], client_max_size=64 * 1024)
    app[BANK] = Bank()
    app.on_shutdown.append(end_streams)
    app.router.add_post("/", task)
    app.router.add_post("/transfer", transfer)
    app.router.add_post("/compensate", compensate)
    app.router.add_get("/accounts/{name}", account)
    app.router.add_get("/events", events)
    app.router.add_get("/health", health)
    return app


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="A bank's agent.")
    parser.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1")
    parser.add_argument("--port", type=int, default=8000, help="default 8000")
    arguments = parser.parse_args()
    web.run_app(build_app(), host=arguments.host, port=arguments.port, access_log=None)


if __name__ == "__main__":
    main()
