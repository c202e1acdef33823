# Everything that leaves the process leaves through here; see outbox.pyx.
from iatp._fast.counters cimport Counters
from iatp._fast.watch cimport Turns, Watch, Watched
from iatp._fast.wheel cimport Wheel

cdef enum:  # what happens to a connection once its bytes have left
    STAY = 0
    END      # half-close: the other side may still send, and is read to its end
    CLOSE
    ABORT

cdef enum:
    # Where so many connections wait to send, they go before the turn's next input is read: what
    # a turn holds stays bounded.
    TURN_PEERS = 64
    # A sync that runs for longer counts as failed: what waits is answered, and no more taken.
    SYNC_LIMIT_S = 10
    # So many bytes of records may wait for a sync; what comes beyond is refused.
    MAX_WAITING_BYTES = 1 << 24

cdef long long monotonic_ns() noexcept nogil
cdef long long wall_ns() noexcept nogil


cdef class Outbox(Turns):
    cdef object loop
    cdef object recorder
    cdef object on_recorder
    cdef object flush_handle
    cdef Counters counters
    cdef Wheel wheel             # of all that leaves through here
    cdef Watch watch             # what reads connections that are used again; or None
    cdef list records
    cdef Peer first              # who leaves next; each knows who is behind it
    cdef Peer last
    cdef int leaving             # how many these are
    cdef int busy                # requests that are being served
    cdef bint scheduled
    cdef bint reading            # within a callback that ends with `end_read`
    cdef bint batched            # what leaves has been read by the watch, and is let go with it
    cdef bint looked             # whoever has something to read is marked as stirred
    cdef bint awaits             # an answer may come at once
    cdef long long awaits_until_ns
    cdef int unlingered          # for how many requests nobody waits like that
    cdef long long read_ns       # when that one began
    cdef readonly bint failing   # the disk refuses records
    cdef bint refusing           # and so requests are refused
    cdef bint open_failure       # or they are not: IATP_RECORD_FAILURE=open
    cdef bint defers             # who waits for a record may do so for more than a turn
    cdef readonly long long lost  # records that the disk refused
    cdef readonly long long flushed_ns

    cdef int record(self, bytes tail) except -1
    cdef int touch(self, Peer peer) except -1
    cdef int _schedule(self) except -1
    cdef long long now_ns(self) noexcept
    cdef int begin_read(self) except -1
    cdef int end_read(self) except -1
    cdef int await_answer(self) except -1
    cdef int _flush(self) except -1
    cdef bint _fails(self, Py_ssize_t count) except -1
    cdef str failure(self)


cdef class DurableOutbox(Outbox):
    cdef object submit
    cdef list waiting            # records that are not written, since a sync runs
    cdef Py_ssize_t waiting_bytes
    cdef Py_ssize_t unsynced     # how many were written and are not synced
    cdef long long taken         # how many records have come, all in all
    cdef long long durable       # how many of these need not be waited for
    cdef long long covers        # how many the sync that runs covers
    cdef object sync             # the one that runs
    cdef long long began_ns
    cdef bint stalled            # it has taken too long
    cdef bint crowded
    cdef Peer first_waiting      # who waits for a sync; each knows who is behind it
    cdef Peer last_waiting

    cdef int _gather(self) except -1
    cdef int _wait(self, Peer peer) except -1
    cdef int _write(self) except -1
    cdef Py_ssize_t _drop_waiting(self) except -1
    cdef int _begin_sync(self) except -1
    cdef int _fail(self) except -1
    cdef int _shed(self) except -1
    cdef int _release(self, long long reached, bint written) except -1


cdef class Peer(Watched):
    cdef Outbox outbox
    cdef Peer behind             # who leaves after it
    cdef bytes out               # what leaves at the end of the turn
    cdef list pieces             # the same, where it is more than one piece
    cdef bint clogged            # the transport may hold bytes that the socket did not take
    cdef bint queued
    cdef bint recorded           # some of it may leave only with this turn's records on disk
    cdef long long need          # how many records it waits for, where it waits for a sync
    cdef int after

    cdef int write(self, bytes data) except -1
    cdef int write_recorded(self, bytes data) except -1
    cdef int forget(self) except -1
    cdef int finish(self, int after) except -1
    cdef int leave(self) except -1
    cdef int _send(self, bytes data) except -1
    cdef int _send_pieces(self, list pieces) except -1
    cdef int left(self) except -1
    cdef int record_failed(self) except -1


cdef class _Waiter(Peer):
    cdef object done
