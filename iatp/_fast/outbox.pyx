"""The only way out: first a turn's records reach the disk, then its bytes leave.

Rules:
- Nothing else calls `transport.write`. What a turn of the event loop wants to send is
  collected on its `Peer`; `flush` runs once at the end of the turn.
- All records of a turn are one append. Where it fails, no peer that waits for a record
  (`write_recorded`) sends anything of that turn; its `record_failed` decides what instead.
- One peer that fails does not keep the others from leaving.
"""

import logging

from cpython.bytes cimport PyBytes_GET_SIZE
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec

from iatp._fast.wheel cimport Timed, Wheel

_log = logging.getLogger("iatp")

# From this length on a piece is not worth copying to be sent together with others.
cdef enum:
    SCATTER = 4096


cdef long long monotonic_ns() noexcept nogil:
    """Nanoseconds of the monotonic clock."""
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <long long>now.tv_sec * 1000000000 + now.tv_nsec


cdef long long wall_ns() noexcept nogil:
    """Nanoseconds since 1970."""
    cdef timespec now
    clock_gettime(CLOCK_REALTIME, &now)
    return <long long>now.tv_sec * 1000000000 + now.tv_nsec


cdef class Outbox:
    """Collects a turn's records and bytes and lets them go in that order.

    `recorder` has `append(list[bytes])`, which raises OSError where a record is not whole on
    disk. `on_recorder(failing: bool)` hears when that begins and ends.
    """

    def __init__(self, loop, recorder, on_recorder, Counters counters not None):
        self.loop = loop
        self.recorder = recorder
        self.on_recorder = on_recorder
        self.counters = counters
        self.records = []
        self.peers = []
        self.flush_handle = self.flush
        self.wheel = Wheel(monotonic_ns())

    cdef int record(self, bytes tail) except -1:
        """Queues one record; it is on disk before anything of this turn leaves."""
        self.records.append(tail)
        if not self.scheduled:
            self.scheduled = True
            self.loop.call_soon(self.flush_handle)
        return 0

    cdef int touch(self, Peer peer) except -1:
        """Has `peer` leave at the end of this turn."""
        peer.queued = True
        self.peers.append(peer)
        if not self.scheduled:
            self.scheduled = True
            self.loop.call_soon(self.flush_handle)
        return 0

    def add_record(self, bytes tail not None):
        """Queues one record for a caller outside the hot path."""
        self.record(tail)

    cdef str failure(self):
        """Why this turn's records are not on disk, as a code of FAILURES."""
        return "recorder_unavailable" if self.failing else "internal_error"

    def recovered(self):
        """The recorder has been seen to write again."""
        if self.failing:
            self.failing = False
            self.on_recorder(False)

    def flush(self):
        """Writes the turn's records, then lets its bytes leave."""
        cdef list peers = self.peers
        cdef list records = self.records
        cdef Peer peer
        cdef bint written = True
        self.scheduled = False
        self.peers = []
        if records:
            self.records = []
            try:
                self.recorder.append(records)
            except OSError:
                written = False
                if not self.failing:
                    self.failing = True
                    self.on_recorder(True)
            except Exception:
                # Not the disk's fault, so nothing to wait for; it holds for this turn alone.
                written = False
                _log.exception("records could not be written")
            else:
                self.counters.records(len(records))
                if self.failing:
                    self.recovered()
        self.flushed_ns = monotonic_ns()
        for peer in peers:
            peer.queued = False
            try:
                if peer.recorded and not written:
                    peer.recorded = False
                    peer.record_failed()
                else:
                    peer.recorded = False
                    peer.leave()
            except Exception:
                _log.exception("a connection failed while sending; it is dropped")
                if peer.transport is not None:
                    peer.transport.abort()


cdef class Peer(Timed):
    """One connection that sends: its bytes of this turn, and what happens after them."""

    cdef int write(self, bytes data) except -1:
        """Queues bytes that do not depend on a record."""
        if self.out is None:
            self.out = [data]
        else:
            self.out.append(data)
        if not self.queued:
            self.outbox.touch(self)
        return 0

    cdef int write_recorded(self, bytes data) except -1:
        """Queues bytes that may leave only if this turn's records are on disk."""
        self.recorded = True
        return self.write(data)

    cdef int finish(self, int after) except -1:
        """What follows the bytes queued so far; a harsher end stands."""
        if after > self.after:
            self.after = after
        if not self.queued:
            self.outbox.touch(self)
        return 0

    cdef int leave(self) except -1:
        """Sends what is queued."""
        cdef list out = self.out
        cdef int after = self.after
        self.out = None
        self.after = STAY
        if self.transport is None:
            return 0
        if out is not None and after != ABORT:
            if len(out) == 1:
                self.transport.write(out[0])
            elif PyBytes_GET_SIZE(<bytes>out[len(out) - 1]) > SCATTER:
                self.transport.writelines(out)
            else:
                self.transport.write(b"".join(out))
        self.left()
        if after == END:
            if self.transport is not None and self.transport.can_write_eof():
                self.transport.write_eof()
            elif self.transport is not None:
                self.transport.close()
        elif after == CLOSE:
            if self.transport is not None:
                self.transport.close()
        elif after == ABORT:
            if self.transport is not None:
                self.transport.abort()
        return 0

    cdef int left(self) except -1:
        """Called once the turn's bytes have left."""
        return 0

    cdef int record_failed(self) except -1:
        """Called instead of sending where the turn's records could not be written."""
        self.out = None
        return 0
