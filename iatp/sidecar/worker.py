"""One worker: assembles the parts on one event loop, serves, and drains."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import ctypes
import functools
import gc
import hashlib
import logging
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import uvloop

from iatp._fast import record, watch
from iatp._fast.counters import Counters
from iatp._fast.door import Front
from iatp._fast.gate import Gate
from iatp._fast.limits import RateLimiter, Slots
from iatp._fast.outbox import DurableOutbox, Outbox
from iatp._fast.upstream import AgentPool, Pool
from iatp._fast.watch import Watch
from iatp.adapters.control_state import ControlState, StateUnavailable
from iatp.adapters.keys import derive
from iatp.adapters.recorder import LogFolder, Recorder, new_boot_id
from iatp.adapters.remains import Remains
from iatp.adapters.shared_memory import SharedMemory
from iatp.adapters.traces import read_trace
from iatp.decisions.policy import GatePolicy, OverrideMode
from iatp.server.app import build_app
from iatp.server.plane import ControlPlane
from iatp.server.protocol import make_protocol_factory
from iatp.sidecar.connector import AgentConnector, ApplicationConnector
from iatp.sidecar.keeper import LOOK_S, KeeperProcess
from iatp.sidecar.listeners import BACKLOG, Listener
from iatp.values.config import ControlOnData, Durability, Loaded, RecordFailure
from iatp.values.exchange import Claim
from iatp.values.layout import WorkerState
from iatp.values.manifest import served_document
from iatp.values.version import VERSION

if TYPE_CHECKING:
    from iatp.adapters.metrics import Metrics

_log = logging.getLogger("iatp")

TICK_S = 0.05
READ_BUFFER_BYTES = 128 * 1024
"""One for all connections of the loop: what is read is used up within one callback."""
LAME_DUCK_S = 5.0
"""How long a draining worker still takes new connections, at most: balancers need a moment."""
QUIET_S = 0.3
"""A draining worker without a request for this long stops taking connections."""
BACKLOG_S = 0.2
"""From turning new connections away to closing: those that were begun get in."""
SILENT_S = 1.0
"""How long a draining worker waits for the first request of an accepted connection."""
PRUNE_S = 60.0
PROBE_S = 5.0
"""How often the disk is looked at: without traffic nothing else would find out."""
MAPPED_BYTES = 1 << 20
"""Smaller blocks of memory come from the heap, so that their pages are used again."""
SPARE_BYTES = 4 << 20
"""Free memory at the heap's end beyond this goes back to the system."""


class Worker:
    """Serves one share of the listeners until it is told to stop."""

    def __init__(
        self,
        loaded: Loaded,
        *,
        number: int,
        memory: SharedMemory,
        folder: LogFolder,
        listeners: list[Listener],
        key: bytes,
        prunes: bool,
        lifeline: int | None = None,
    ) -> None:
        """Take `lifeline`, the end of a pipe that closes when the supervisor is gone."""
        self._loaded = loaded
        self._settings = loaded.settings
        self._number = number
        self._memory = memory
        self._folder = folder
        self._listeners = listeners
        self._key = key
        self._prunes = prunes
        self._lifeline = lifeline
        self._orphaned = False
        self._document = served_document(loaded.manifest)
        self._remains = Remains(folder)
        self._state = ControlState(folder.control_state_path)
        self._thread = concurrent.futures.ThreadPoolExecutor(1, "iatp-state")
        # Nothing that writes: who asks for a trace waits for no disk that takes nothing more.
        self._readers = concurrent.futures.ThreadPoolExecutor(2, "iatp-reader")
        self._keeping = concurrent.futures.ThreadPoolExecutor(1, "iatp-log")
        self._syncs = concurrent.futures.ThreadPoolExecutor(1, "iatp-sync")
        self._open_failure = self._settings.record_failure == RecordFailure.OPEN
        self._said_failing = False
        self._said_lost = 0
        self._stop = asyncio.Event()
        self._signals = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._metrics: Metrics | None = None
        self._keeper = KeeperProcess(loaded.settings) if prunes else None

    def run(self) -> int:
        """Serve; return the exit status once drained."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(self._serve())

    async def _serve(self) -> int:
        loop = asyncio.get_running_loop()
        settings = self._settings
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        # Not the loop's handler: taking that away would let a late signal end the process.
        signal.signal(signal.SIGUSR1, lambda *_: loop.call_soon_threadsafe(self._rotate))
        if self._lifeline is not None:
            loop.add_reader(self._lifeline, self._on_orphaned)
        views = self._memory.attach(self._number)
        self._counters = Counters(views.counters)
        self._recorder = Recorder(
            self._folder,
            self._number,
            new_boot_id(),
            settings.log_segment_bytes,
            segment_age_s=settings.log_segment_age_s,
            join=record.lines,
            power=settings.durability == Durability.POWER,
            executor=self._keeping,
        )
        for leftover in self._recorder.leftovers:
            _log.warning("%s", leftover)
        self._watch = Watch(loop) if watch.EXISTS else None
        outbox = self._make_outbox(loop)
        self._outbox = outbox
        manifest = self._loaded.manifest
        self._gate = Gate(self._policy())
        read_buffer = bytearray(READ_BUFFER_BYTES)
        self._connector = AgentConnector(settings.agent_url)
        self._agent = AgentPool(
            outbox,
            self._counters,
            self._connector,
            read_buffer,
            slots=Slots(views.slots, views.rows, self._number),
            queue_limit=settings.queue_limit,
            queue_timeout_ns=int(settings.queue_timeout_s * 1e9),
            head_timeout_ns=int(settings.agent_timeout_s * 1e9),
            idle_timeout_ns=int(settings.stream_idle_timeout_s * 1e9),
            total_timeout_ns=int(settings.stream_timeout_s * 1e9),
        )
        endpoints = await make_protocol_factory(build_app(self._plane()))
        application = Pool(
            outbox,
            self._counters,
            ApplicationConnector(endpoints),
            read_buffer,
            head_timeout_ns=30_000_000_000,
            idle_timeout_ns=60_000_000_000,
            total_timeout_ns=0,
        )
        rates = manifest.rate_limiting
        limiter = None
        if rates is not None:
            limiter = RateLimiter(
                views.rates,
                views.rate_key,
                self._number,
                per_second=rates.requests_per_second,
                per_minute=rates.requests_per_minute,
                per_hour=rates.requests_per_hour,
                burst=rates.burst_limit,
            )
        front = Front(
            outbox=outbox,
            counters=self._counters,
            gate=self._gate,
            agent=self._agent,
            application=application,
            limiter=limiter,
            read_buffer=read_buffer,
            settle_claim=self._settle_claim,
            agent_host=settings.agent_url.authority.encode(),
            agent_base=settings.agent_url.base.encode(),
            agent_target=settings.agent_url.target.encode(),
            via=self._via(),
            idempotent_agent=manifest.capabilities.idempotency,
            max_body=settings.max_body_bytes,
            # A worker's share, but never less than one body, unless the whole is.
            max_buffered=min(
                settings.max_buffered_bytes,
                max(settings.max_buffered_bytes // settings.workers, settings.max_body_bytes),
            ),
            max_connections=settings.max_connections,
        )
        self._front = front
        self._servers = {
            listener.name: await self._listen(loop, listener) for listener in self._listeners
        }
        gc.collect()
        gc.freeze()
        _reuse_memory()
        self._background(self._tick())
        self._background(self._housekeep())
        if self._prunes:
            self._background(self._keep_log())
        if self._keeper is not None:
            self._background(self._look_for_keeping(self._keeper))
        if self._number == 0 and settings.ready_check_agent:
            self._background(self._look_for_agent())
        await self._stop.wait()
        return await self._drain()

    async def _listen(
        self, loop: asyncio.AbstractEventLoop, listener: Listener
    ) -> asyncio.AbstractServer:
        door = functools.partial(self._front.door, listener.name)
        sock = listener.sockets[self._number].dup()
        # It listens anew, and would do so with room for a hundred.
        named: dict[str, Any] = {"sock": sock, "backlog": BACKLOG}
        if listener.path:
            # Its file is `Listener.remove`'s: other workers may listen on it still.
            named["cleanup_socket"] = False
            return await loop.create_unix_server(door, **named)
        return await loop.create_server(door, **named)

    def _make_outbox(self, loop: asyncio.AbstractEventLoop) -> Outbox:
        if self._settings.durability == Durability.POWER:
            return DurableOutbox(
                loop,
                self._recorder,
                self._on_recorder,
                self._counters,
                submit=self._syncs.submit,
                open_failure=self._open_failure,
                watch=self._watch,
            )
        return Outbox(
            loop,
            self._recorder,
            self._on_recorder,
            self._counters,
            open_failure=self._open_failure,
            watch=self._watch,
        )

    # What the parts ask of the worker.

    def _policy(self) -> GatePolicy:
        settings = self._settings
        manifest = self._loaded.manifest
        return GatePolicy(
            agent_id=manifest.agent_id,
            trust_level=manifest.trust_level,
            reversibility=manifest.capabilities.reversibility,
            retention=manifest.privacy_contract.retention,
            human_in_loop=manifest.privacy_contract.human_in_loop,
            training_consent=manifest.privacy_contract.training_consent,
            override=OverrideMode(settings.override.value),
            override_token=settings.override_token or "",
            ticket_key=derive(self._key, "ticket"),
            mac_key=derive(self._key, "payload-mac"),
            record_body_bytes=settings.record_body_bytes,
            max_body_bytes=settings.max_body_bytes,
            table=self._loaded.policy,
        )

    def _via(self) -> bytes:
        """A pseudonym: the same for all workers of this sidecar, another for every other one."""
        settings = self._settings
        data = self._listeners[0]
        place = data.path or data.port
        own = f"{settings.agent_id}|{settings.agent_url}|{self._folder.path}|{place}"
        name = hashlib.blake2b(own.encode(), key=derive(self._key, "via"), digest_size=8)
        return b"iatp-" + name.hexdigest().encode()

    def _plane(self) -> ControlPlane:
        settings = self._settings
        return ControlPlane(
            agent_id=self._loaded.manifest.agent_id,
            manifest_document=self._document,
            data_host=settings.host,
            admin_host=settings.admin_host,
            admin_token=settings.admin_token or None,
            control_on_data=settings.control_on_data == ControlOnData.LOOPBACK,
            readiness=self._readiness,
            warnings=self._warnings,
            metrics=self._render_metrics,
            read_trace=self._read_trace,
            quarantine=self._quarantine,
            scrub_target=self._gate.scrub_target,
            record_access=self._record_access,
        )

    async def _readiness(self) -> list[str]:
        reasons = []
        if self._front.draining:
            reasons.append("draining")
        # Looks at the disk, at most once a second.
        if not self._writes() and not self._open_failure:
            reasons.append("the flight recorder cannot write")
        if self._settings.ready_check_agent and not await self._connector.answers():
            reasons.append("the agent's port does not answer")
        return reasons

    async def _warnings(self) -> list[str]:
        if self._open_failure and not self._writes():
            return ["the flight recorder cannot write; requests are forwarded without a record"]
        return []

    def _writes(self) -> bool:
        return self._recorder.probe() and not self._outbox.failing

    async def _render_metrics(self, accept: str) -> tuple[str, bytes]:
        if self._metrics is None:
            from iatp.adapters.metrics import Metrics  # noqa: PLC0415  (1.5 MB, for scrapes)

            self._metrics = Metrics(
                self._memory,
                version=VERSION,
                trust_score=self._gate.trust_score,
                own=[pattern.finding for pattern in self._loaded.policy.patterns],
            )
        return self._metrics.render(accept)

    async def _read_trace(self, trace_id: str, *, limit: int, after: str | None) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(
            self._readers,
            lambda: read_trace(
                self._folder.path, trace_id, self._folder.keys, limit=limit, after=after
            ),
        )

    async def _quarantine(self, trace_id: str) -> dict[str, Any] | None:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, self._state.quarantine, trace_id)

    async def _record_access(self, tail: bytes) -> None:
        # The answer leaves later than this record, or, where this fails, not at all.
        written: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._outbox.add_record(
            tail, lambda done: None if written.cancelled() else written.set_result(done)
        )
        if not await written:
            raise OSError

    def _settle_claim(self, door: Any, claim: Claim) -> None:
        self._background(self._claim(door, claim))

    async def _claim(self, door: Any, claim: Claim) -> None:
        loop = asyncio.get_running_loop()
        try:
            grant = await loop.run_in_executor(
                self._thread, self._state.claim, claim, self._document
            )
        except StateUnavailable as error:
            _log.error("%s Overrides get 503.", error)
            grant = None
        except Exception:
            _log.exception("an override could not be settled")
            grant = None
        door.claimed(grant)

    def _on_recorder(self, failing: bool) -> None:  # noqa: FBT001  (the outbox calls it)
        if not failing:
            _log.warning("the flight recorder writes again")
        elif self._open_failure:
            _log.error("the flight recorder cannot write; requests go UNRECORDED until it can")
        else:
            _log.error("the flight recorder cannot write; requests get 503 until it can")

    # Time.

    def _background(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tick(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(TICK_S)
            now = time.monotonic()
            self._counters.time_loop_lag((now - before - TICK_S) * 1e6)
            try:
                self._front.tick(time.monotonic_ns())
                self._outbox.look()
                if self._outbox.failing and self._recorder.probe():
                    self._outbox.recovered()
                self._gauge_recorder()
            except Exception:
                # Without this task no deadline would be kept any more.
                _log.exception("a tick failed")

    def _gauge_recorder(self) -> None:
        failing = self._recorder.failing or self._outbox.failing
        if failing != self._said_failing:
            self._said_failing = failing
            self._counters.add_recorder_failing(1 if failing else -1)

    def _say_lost(self) -> None:
        """Say each second how many records were lost, where requests go on without them."""
        lost = self._outbox.lost
        if self._open_failure and lost != self._said_lost:
            _log.error(
                "%d records were lost in the last second or so, %d since the start; requests "
                "pass without them (IATP_RECORD_FAILURE=open)",
                lost - self._said_lost,
                lost,
            )
        self._said_lost = lost

    async def _look_for_agent(self) -> None:
        if not await self._connector.answers():
            _log.warning(
                "the agent at %s does not answer; requests get 502 until it does. Where it "
                "listens is set by IATP_AGENT_URL.",
                self._settings.agent_url,
            )

    async def _housekeep(self) -> None:
        last_probe = float("-inf")
        while True:
            try:
                self._front.flush_refusals()
                self._recorder.tick()
                self._say_lost()
                if time.monotonic() - last_probe >= PROBE_S:
                    last_probe = time.monotonic()
                    self._recorder.probe()
            except Exception:
                _log.exception("the housekeeping failed")
            await asyncio.sleep(1.0)

    async def _look_for_keeping(self, keeper: KeeperProcess) -> None:
        """Have closed segments compressed and encrypted, by a process of its own."""
        loop = asyncio.get_running_loop()
        while True:
            await loop.run_in_executor(self._keeping, keeper.look)
            await asyncio.sleep(LOOK_S)

    async def _keep_log(self) -> None:
        """Each minute: write the head, delete what retention says, and what the state forgets.

        And what an earlier process has not got round to deleting.
        """
        loop = asyncio.get_running_loop()
        agent_id = self._settings.agent_id
        while True:
            for work in (
                lambda: loop.run_in_executor(self._keeping, self._folder.write_head, agent_id),
                self._retain,
                lambda: loop.run_in_executor(self._keeping, self._remains.delete),
                lambda: loop.run_in_executor(self._keeping, self._prune_state),
            ):
                try:
                    await work()
                except (OSError, StateUnavailable) as error:
                    _log.warning("the log could not be kept in order (%s)", error)
                except Exception:
                    _log.exception("the housekeeping failed")
            await asyncio.sleep(PRUNE_S)

    async def _retain(self) -> None:
        """Delete what is too old or too much, each time after a record says so."""
        loop = asyncio.get_running_loop()
        settings = self._settings
        folder = self._folder
        while True:
            outdated = await loop.run_in_executor(
                self._keeping, folder.outdated, settings.log_max_size_bytes, settings.log_max_age_s
            )
            if outdated is None:
                return
            try:
                await self._record_access(outdated.tail(settings.agent_id))
                if self._outbox.failing:
                    raise OSError("the record of it is not written")
            except OSError:
                # A full disk would stay full.
                await loop.run_in_executor(self._keeping, folder.make_room, outdated)
                raise
            # An export takes the log up to its last mark, so that must not be older.
            self._recorder.tick()
            _log.info("%s", outdated)
            await loop.run_in_executor(self._keeping, folder.delete, outdated)

    def _prune_state(self) -> None:
        if self._folder.control_state_path.exists():
            self._state.prune()

    def _rotate(self) -> None:
        """Close the segment, if it holds anything, and begin another: SIGUSR1."""
        try:
            self._recorder.rotate()
        except OSError as error:
            _log.error("the log could not be rotated (%s)", error.strerror)

    # The end.

    def _works(self) -> bool:
        """Whether a request is not answered, or its answer waits for the disk."""
        return self._front.inflight > 0 or not self._outbox.settled

    def _on_signal(self) -> None:
        self._signals += 1
        if self._signals > 1 and self._lifeline is None:
            self._listeners[0].remove()
            os._exit(0)
        self._stop.set()

    def _on_orphaned(self) -> None:
        assert self._lifeline is not None  # noqa: S101 - for the type checker
        asyncio.get_running_loop().remove_reader(self._lifeline)
        _log.error("the supervisor is gone; worker %d drains and ends", self._number)
        self._orphaned = True
        self._stop.set()

    async def _close_data(self) -> None:
        """Stop listening to callers; what the kernel has taken for us is accepted before."""
        (data,) = (each for each in self._listeners if each.name == "data")
        data.turn_away(self._number)
        self._memory.set_worker(self._number, os.getpid(), WorkerState.DRAINING)
        others = (row.state for row in self._memory.processes() if row.name != "supervisor")
        if all(state == WorkerState.DRAINING for state in others):
            data.remove()
        if not self._orphaned:
            await asyncio.sleep(min(BACKLOG_S, self._settings.drain_s / 10))
        self._servers["data"].close()
        data.sockets[self._number].close()
        self._front.close_used()

    async def _drain(self) -> int:
        """Answer what was accepted, then end; see docs/architecture.md."""
        front = self._front
        front.draining = True
        _log.info("draining: new requests are answered, then the process ends")
        began = time.monotonic()
        deadline = began + self._settings.drain_s - min(1.0, self._settings.drain_s / 5)
        lame_duck = began + min(LAME_DUCK_S, self._settings.drain_s / 5)
        while time.monotonic() < lame_duck and not self._orphaned:
            await asyncio.sleep(TICK_S)
            quiet = time.monotonic() - max(began, front.last_request_ns / 1e9)
            if not self._works() and quiet >= QUIET_S:
                break
        await self._close_data()
        silent = time.monotonic() + min(SILENT_S, self._settings.drain_s / 5)
        while self._works() or (front.expecting and time.monotonic() < silent):
            if time.monotonic() >= deadline:
                break
            await asyncio.sleep(TICK_S)
        if front.inflight:
            _log.warning("%d requests were not answered within the drain", front.inflight)
            front.cut()
        self._agent.close()
        front.close_idle()
        left = time.monotonic() + 0.5
        while (front.connections or not self._outbox.settled) and time.monotonic() < left:
            front.close_idle()
            await asyncio.sleep(TICK_S)
        for server in self._servers.values():
            server.close()
        front.abort()
        self._agent.abort()
        await asyncio.sleep(0)
        await self._end()
        return 0

    async def _end(self) -> None:
        """Close what is not a connection."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # What ends with the connections leaves records too.
        left = time.monotonic() + 0.5
        while not self._outbox.settled and time.monotonic() < left:
            await asyncio.sleep(TICK_S / 10)
        self._recorder.close()
        if self._watch is not None:
            self._watch.close()
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        self._syncs.shutdown(wait=False)
        if self._keeper is not None:
            self._keeper.close()
        self._state.close()
        self._thread.shutdown(wait=False)
        self._keeping.shutdown(wait=False)
        self._readers.shutdown(wait=False)


def _reuse_memory() -> None:
    """Keep what one body needed for the next.

    The GNU C library would give the 100 KB of a body back, and the next would fault them in
    again page by page: 25 faults a request, measured, and none with these bounds.
    """
    m_trim_threshold, m_mmap_threshold = -1, -3
    with contextlib.suppress(OSError, AttributeError):
        library = ctypes.CDLL(None)
        # What the start needed and nothing will again.
        library.malloc_trim(0)
        library.mallopt(m_mmap_threshold, MAPPED_BYTES)
        library.mallopt(m_trim_threshold, SPARE_BYTES)
