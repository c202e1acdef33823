"""The only way out: first a turn's records reach the disk, then its bytes leave.

Rules:
- Nothing else sends. What a turn of the event loop wants to send is collected on its `Peer`;
  `flush` runs once at the end of the turn. Where only one request is being served nothing is
  worth waiting for, and it runs at the end of the callback that read from a socket.
- All records of a turn are one append. Where it fails, no peer that waits for a record
  (`write_recorded`) sends anything of that turn; its `record_failed` decides what instead.
- One peer that fails does not keep the others from leaving.
"""

import logging

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec

from iatp._fast.wheel cimport Timed, Wheel

cdef extern from "<sys/socket.h>" nogil:
    """
    /* macOS has none; Python ignores SIGPIPE everywhere. */
    #ifndef MSG_NOSIGNAL
    #define MSG_NOSIGNAL 0
    #endif
    """
    struct iovec:
        void* iov_base
        size_t iov_len
    struct msghdr:
        iovec* msg_iov
        int msg_iovlen
    ssize_t send(int fd, const void* buffer, size_t length, int flags)
    ssize_t sendmsg(int fd, const msghdr* message, int flags)
    int MSG_DONTWAIT
    int MSG_NOSIGNAL

_log = logging.getLogger("iatp")

# From this length on a piece is not worth copying to be sent together with others.
cdef enum:
    SCATTER = 4096
    # So many pieces are sent by one call; more are for the transport.
    MAX_PIECES = 8


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
        self.flush_handle = self.flush
        self.wheel = Wheel(monotonic_ns())

    cdef int record(self, bytes tail) except -1:
        """Queues one record; it is on disk before anything of this turn leaves."""
        self.records.append(tail)
        return self._schedule()

    cdef int touch(self, Peer peer) except -1:
        """Has `peer` leave at the end of this turn."""
        peer.queued = True
        if self.last is None:
            self.first = peer
        else:
            self.last.behind = peer
        self.last = peer
        self.leaving += 1
        return self._schedule()

    cdef int _schedule(self) except -1:
        if not self.scheduled and not self.reading:
            self.loop.call_soon(self.flush_handle)
            self.scheduled = True
        return 0

    cdef int begin_read(self) except -1:
        """A callback that reads begins; it calls `end_read` whatever happens."""
        if self.leaving >= TURN_PEERS:
            self._flush()
        self.reading = True
        self.read_ns = monotonic_ns()
        return 0

    cdef long long now_ns(self) noexcept:
        """Monotonic; within a callback that reads when it began, when what it reads had come."""
        return self.read_ns if self.reading else monotonic_ns()

    cdef int end_read(self) except -1:
        """Lets go at once, or has `flush` run behind what else this turn reads."""
        self.reading = False
        if self.scheduled or (self.last is None and not self.records):
            return 0
        if self.busy > 1:
            return self._schedule()
        return self._flush()

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
        self._flush()

    cdef int _flush(self) except -1:
        cdef Peer peer
        cdef Peer following = self.first
        cdef list records = self.records
        cdef bint written = True
        self.scheduled = False
        self.first = self.last = None
        self.leaving = 0
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
        while following is not None:
            peer = following
            following = peer.behind
            peer.behind = None
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
        return 0


cdef class Peer(Timed):
    """One connection that sends: its bytes of this turn, and what happens after them."""

    cdef int write(self, bytes data) except -1:
        """Queues bytes that do not depend on a record."""
        if self.out is None:
            self.out = data
        elif self.pieces is None:
            self.pieces = [self.out, data]
        else:
            self.pieces.append(data)
        if not self.queued:
            self.outbox.touch(self)
        return 0

    cdef int write_recorded(self, bytes data) except -1:
        """Queues bytes that may leave only if this turn's records are on disk."""
        self.recorded = True
        return self.write(data)

    cdef int forget(self) except -1:
        """Sends none of the bytes queued so far."""
        self.out = None
        self.pieces = None
        return 0

    cdef int finish(self, int after) except -1:
        """What follows the bytes queued so far; a harsher end stands."""
        if after > self.after:
            self.after = after
        if not self.queued:
            self.outbox.touch(self)
        return 0

    cdef int leave(self) except -1:
        """Sends what is queued."""
        cdef bytes out = self.out
        cdef list pieces = self.pieces
        cdef int after = self.after
        self.forget()
        self.after = STAY
        if self.transport is None:
            return 0
        if out is not None and after != ABORT:
            if pieces is None:
                self._send(out)
            elif PyBytes_GET_SIZE(<bytes>pieces[len(pieces) - 1]) > SCATTER:
                self._send_pieces(pieces)
            else:
                self._send(b"".join(pieces))
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

    cdef int _send(self, bytes data) except -1:
        """Sends what the socket takes now; the transport keeps the rest, and has the errors.

        The transport's own way to the same call is ten times as long.
        """
        cdef ssize_t sent = 0
        if self.fd >= 0 and (not self.clogged or self.transport.get_write_buffer_size() == 0):
            # Python ignores SIGPIPE.
            sent = send(self.fd, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), MSG_DONTWAIT)
            self.clogged = sent != PyBytes_GET_SIZE(data)
            if not self.clogged:
                return 0
        self.transport.write(data[sent:] if sent > 0 else data)
        return 0

    cdef int _send_pieces(self, list pieces) except -1:
        """The same for pieces that are too long to be joined."""
        cdef iovec[MAX_PIECES] parts
        cdef msghdr message
        cdef list rest = pieces
        cdef bytes piece
        cdef Py_ssize_t length
        cdef Py_ssize_t total = 0
        cdef ssize_t sent = 0
        cdef int count = <int>len(pieces)
        cdef int at
        if (
            count <= MAX_PIECES and self.fd >= 0
            and (not self.clogged or self.transport.get_write_buffer_size() == 0)
        ):
            for at in range(count):
                piece = pieces[at]
                parts[at].iov_base = PyBytes_AS_STRING(piece)
                parts[at].iov_len = PyBytes_GET_SIZE(piece)
                total += PyBytes_GET_SIZE(piece)
            memset(&message, 0, sizeof(message))
            message.msg_iov = parts
            message.msg_iovlen = count
            sent = sendmsg(self.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
            if sent == total:
                self.clogged = False
                return 0
            if sent > 0:
                rest = []
                for piece in pieces:
                    length = PyBytes_GET_SIZE(piece)
                    if sent < length:
                        rest.append(memoryview(piece)[sent:] if sent else piece)
                    sent = sent - length if sent > length else 0
        self.clogged = True
        self.transport.writelines(rest)
        return 0

    cdef int left(self) except -1:
        """Called once the turn's bytes have left."""
        return 0

    cdef int record_failed(self) except -1:
        """Called instead of sending where the turn's records could not be written."""
        return self.forget()
