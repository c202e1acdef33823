# Everything that leaves the process leaves through here; see outbox.pyx.
from iatp._fast.counters cimport Counters
from iatp._fast.wheel cimport Timed, Wheel

cdef enum:  # what happens to a connection once its bytes have left
    STAY = 0
    END      # half-close: the other side may still send, and is read to its end
    CLOSE
    ABORT

cdef enum:
    # Where so many connections wait to send, they go before the turn's next input is read: what
    # a turn holds stays bounded.
    TURN_PEERS = 64

cdef long long monotonic_ns() noexcept nogil
cdef long long wall_ns() noexcept nogil


cdef class Outbox:
    cdef object loop
    cdef object recorder
    cdef object on_recorder
    cdef object flush_handle
    cdef Counters counters
    cdef Wheel wheel             # of all that leaves through here
    cdef list records
    cdef Peer first              # who leaves next; each knows who is behind it
    cdef Peer last
    cdef int leaving             # how many these are
    cdef int busy                # requests that are being served
    cdef bint scheduled
    cdef bint reading            # within a callback that ends with `end_read`
    cdef long long read_ns       # when that one began
    cdef readonly bint failing
    cdef readonly long long flushed_ns

    cdef int record(self, bytes tail) except -1
    cdef int touch(self, Peer peer) except -1
    cdef int _schedule(self) except -1
    cdef long long now_ns(self) noexcept
    cdef int begin_read(self) except -1
    cdef int end_read(self) except -1
    cdef int _flush(self) except -1
    cdef str failure(self)


cdef class Peer(Timed):
    cdef Outbox outbox
    cdef object transport
    cdef Peer behind             # who leaves after it
    cdef bytes out               # what leaves at the end of the turn
    cdef list pieces             # the same, where it is more than one piece
    cdef int fd                  # what bytes are sent to; -1: the transport sends them (TLS)
    cdef bint clogged            # the transport may hold bytes that the socket did not take
    cdef bint queued
    cdef bint recorded
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
