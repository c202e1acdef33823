"""The only way out: first a turn's records reach the disk, then its bytes leave.

Rules:
- Nothing else sends. What a turn of the event loop wants to send is collected on its `Peer`;
  `flush` runs once at the end of the turn: behind the batch that a `Watch` has read, or, for
  what transports read, behind the loop's other callbacks. Where only one request is being served
  nothing is worth waiting for, and it runs at the end of the callback that read from a socket.
- All records of a turn are one append. Where it fails, no peer that waits for a record
  (`write_recorded`) sends anything of that turn; its `record_failed` decides what instead.
- One peer that fails does not keep the others from leaving.
- Where `IATP_DURABILITY` is `power` (`DurableOutbox`) a peer that waits for a record leaves only
  once a sync covers it. Syncs run on another thread, one at a time, each for all that wait when
  it begins; the loop goes on meanwhile.
"""

import logging
import os

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.errno cimport EIO, ETIMEDOUT
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, timespec

from iatp._fast.watch cimport Turns, Watch, Watched
from iatp._fast.wheel cimport Wheel

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

# How long an answer is waited for before the event loop sleeps: a core that has gone to sleep in
# between needs longer to wake up than a near agent to answer.
cdef long long LINGER_NS = 50_000
# After so long a wait in vain it is not tried again for this many requests.
cdef int LINGER_PAUSE = 7

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


cdef class Outbox(Turns):
    """Collects a turn's records and bytes and lets them go in that order.

    `recorder` has `append(list[bytes])`, which raises OSError where a record is not whole on
    disk. `on_recorder(failing: bool)` hears when that begins and ends. Where `open_failure`
    (`IATP_RECORD_FAILURE=open`), what the disk refuses leaves without its records. `watch` reads
    what is connected for longer; None: transports read everything.
    """

    def __init__(
        self, loop, recorder, on_recorder, Counters counters not None, *, bint open_failure=False,
        Watch watch=None,
    ):
        self.loop = loop
        self.recorder = recorder
        self.on_recorder = on_recorder
        self.counters = counters
        self.open_failure = open_failure
        self.watch = watch
        if watch is not None:
            watch.turns = self
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
        if not self.scheduled and not self.reading and not self.in_batch:
            self.loop.call_soon(self.flush_handle)
            self.scheduled = True
        return 0

    cdef int begin_read(self) except -1:
        """A callback that reads begins; it calls `end_read` whatever happens."""
        self.reading = True
        self.read_ns = monotonic_ns()
        if self.leaving >= TURN_PEERS:
            self._flush()
        return 0

    cdef long long now_ns(self) noexcept:
        """Monotonic; within a callback that reads when it began, when what it reads had come."""
        return self.read_ns if self.reading else monotonic_ns()

    cdef int end_read(self) except -1:
        """Lets go at once, or has `flush` run behind what else this turn reads."""
        self.reading = False
        if self.in_batch or self.scheduled or (self.last is None and not self.records):
            return 0
        if self.busy > 1:
            return self._schedule()
        return self._flush()

    cdef int begin_batch(self) except -1:
        self.in_batch = True
        self.awaits = False
        return 0

    cdef int end_batch(self) except -1:
        self.in_batch = False
        if self.last is None and not self.records:
            return 0
        self.batched = True
        try:
            return self._flush()
        finally:
            self.batched = self.looked = False

    cdef int await_answer(self) except -1:
        """A request has left, and no other is being served."""
        if self.unlingered > 0:
            self.unlingered -= 1
        else:
            self.awaits = True
            self.awaits_until_ns = monotonic_ns() + LINGER_NS
        return 0

    cdef bint lingers(self) noexcept:
        if not self.awaits:
            return False
        if monotonic_ns() < self.awaits_until_ns:
            return True
        self.awaits = False
        self.unlingered = LINGER_PAUSE
        return False

    def add_record(self, bytes tail not None, done not None):
        """Queues one record for a caller outside the hot path.

        `done(written: bool)` says whether what waits for the record may leave.
        """
        cdef _Waiter waiter = _Waiter()
        waiter.outbox = self
        waiter.done = done
        waiter.recorded = True
        self.record(tail)
        self.touch(waiter)

    cdef str failure(self):
        """Why this turn's records are not on disk, as a code of FAILURES."""
        return "recorder_unavailable" if self.failing else "internal_error"

    def recovered(self):
        """The recorder has been seen to write again."""
        if self.failing:
            self.failing = self.refusing = False
            self.on_recorder(False)

    cdef bint _fails(self, Py_ssize_t count) except -1:
        """The disk has refused so many records: whether what waits for them may leave."""
        self.lost += count
        self.counters.records_lost(count)
        if not self.failing:
            self.failing = True
            self.refusing = not self.open_failure
            self.on_recorder(True)
        return self.open_failure

    @property
    def settled(self):
        """Whether nothing waits to be written or to leave."""
        return not self.records and self.last is None

    def look(self):
        """Looks whether something takes too long; called every 50 ms."""

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
                written = self._fails(len(records))
            except Exception:
                # Not the disk's fault, so nothing to wait for; it holds for this turn alone.
                written = False
                _log.exception("records could not be written")
            else:
                self.counters.records(len(records))
                if self.failing:
                    self.recovered()
        self.flushed_ns = monotonic_ns()
        if self.batched:
            self.looked = self.watch.stir()
        while following is not None:
            peer = following
            following = peer.behind
            peer.behind = None
            _let_go(peer, written)
        return 0


cdef int _let_go(Peer peer, bint written) except -1:
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
        peer.abort_transport()
    return 0


cdef class DurableOutbox(Outbox):
    """What waits for a record leaves once the disk has it for good: `IATP_DURABILITY=power`.

    `recorder` also has `begin_sync()`, which returns what makes all that was appended durable
    (`run()`, for another thread), and `end_sync(error, keep)` for when it has. `submit`
    runs a callable on that thread.

    Records are counted as they come. A peer that waits for some notes how many there were;
    `durable` is how many the disk has. Where a sync fails, whatever waits fails with it, also
    what has come since it began: a request may have been given to another connection.
    """

    def __init__(
        self, loop, recorder, on_recorder, Counters counters not None, *, submit not None,
        bint open_failure=False, Watch watch=None,
    ):
        Outbox.__init__(
            self, loop, recorder, on_recorder, counters, open_failure=open_failure, watch=watch
        )
        self.submit = submit
        self.waiting = []
        self.defers = True

    @property
    def settled(self):
        return (
            not self.records and self.last is None and self.sync is None
            and self.first_waiting is None
        )

    cdef str failure(self):
        return "recorder_unavailable" if self.crowded else Outbox.failure(self)

    def recovered(self):
        """Writing works again; whether syncing does shows with the next one."""
        if self.failing and self.sync is None:
            self._begin_sync()

    def look(self):
        """Looks whether the sync that runs takes too long; called every 50 ms."""
        if self.sync is None or self.stalled:
            return
        if monotonic_ns() - self.began_ns > SYNC_LIMIT_S * <long long>1_000_000_000:
            self.stalled = True
            _log.error("the flight recorder's disk has not answered for %d s", SYNC_LIMIT_S)
            self._gather()
            self._fail()

    cdef int _flush(self) except -1:
        self._gather()
        if self.stalled:
            return self._fail()
        if self.waiting_bytes > MAX_WAITING_BYTES:
            self._shed()
        return self._write()

    cdef int _gather(self) except -1:
        """Takes over what the turn has queued; what waits for no record leaves."""
        cdef Peer peer
        cdef Peer following = self.first
        cdef bytes record
        self.scheduled = False
        self.first = self.last = None
        self.leaving = 0
        for record in self.records:
            self.waiting_bytes += PyBytes_GET_SIZE(record)
            self.waiting.append(record)
            self.taken += 1
        self.records = []
        self.flushed_ns = monotonic_ns()
        while following is not None:
            peer = following
            following = peer.behind
            peer.behind = None
            if peer.recorded and self.taken > self.durable:
                peer.recorded = False
                peer.need = self.taken
                self._wait(peer)
            else:
                _let_go(peer, True)
        return 0

    cdef int _wait(self, Peer peer) except -1:
        """Has `peer` stay queued until the disk has what it needs."""
        if self.last_waiting is None:
            self.first_waiting = peer
        else:
            self.last_waiting.behind = peer
        self.last_waiting = peer
        return 0

    cdef int _write(self) except -1:
        """Writes what waits and begins a sync; where one runs, its end does so."""
        if self.sync is not None or not self.waiting:
            return 0
        try:
            self.recorder.append(self.waiting)
        except OSError:
            return self._fail()
        except Exception:
            # As in a turn of the other outbox: not the disk's fault.
            _log.exception("records could not be written")
            self._drop_waiting()
            return self._release(self.taken, False)
        self.unsynced = len(self.waiting)
        self._drop_waiting()
        return self._begin_sync()

    cdef Py_ssize_t _drop_waiting(self) except -1:
        """How many records waited; none does now."""
        cdef Py_ssize_t count = len(self.waiting)
        self.waiting = []
        self.waiting_bytes = 0
        return count

    cdef int _begin_sync(self) except -1:
        try:
            self.sync = self.recorder.begin_sync()
        except OSError:
            return self._fail()
        self.covers = self.taken
        self.began_ns = monotonic_ns()
        self.submit(self._run, self.sync)
        return 0

    def _run(self, sync):
        # On the other thread.
        error = None
        try:
            sync.run()
        except OSError as failed:
            error = failed
        except Exception as failed:
            _log.exception("a sync failed inside the sidecar")
            error = OSError(EIO, type(failed).__name__)
        self.loop.call_soon_threadsafe(self._synced, error)

    def _synced(self, error):
        """The sync that ran is done."""
        if error is None and self.stalled:
            error = OSError(ETIMEDOUT, os.strerror(ETIMEDOUT))
        self.sync = None
        self.stalled = False
        try:
            self.recorder.end_sync(error, self.open_failure)
        except Exception as failed:
            _log.exception("a sync failed inside the sidecar")
            error = OSError(EIO, type(failed).__name__)
        self._gather()
        if error is not None:
            self._fail()
            return
        self.counters.records(self.unsynced)
        self.unsynced = 0
        Outbox.recovered(self)
        # Where nothing waits, what lies between was refused.
        self._release(self.covers if self.waiting else self.taken, True)
        self._write()

    cdef int _fail(self) except -1:
        """The disk has refused: nothing that waits gets its records."""
        cdef Py_ssize_t count = self._drop_waiting() + self.unsynced
        self.unsynced = 0
        return self._release(self.taken, self._fails(count))

    cdef int _shed(self) except -1:
        """More has come than the disk takes: only what the sync that runs covers goes on."""
        cdef Py_ssize_t count = self._drop_waiting()
        cdef Peer peer
        cdef Peer following = self.first_waiting
        self.lost += count
        self.counters.records_lost(count)
        self.crowded = True
        self.first_waiting = self.last_waiting = None
        while following is not None:
            peer = following
            following = peer.behind
            peer.behind = None
            if peer.need > self.covers or peer.recorded:
                peer.recorded = True
                _let_go(peer, self.open_failure)
            else:
                self._wait(peer)
        self.crowded = False
        return 0

    cdef int _release(self, long long reached, bint written) except -1:
        """Ends the waiting for the first `reached` records, which were `written` or were not."""
        cdef Peer peer
        cdef Peer following = self.first_waiting
        self.durable = reached
        self.flushed_ns = monotonic_ns()
        self.first_waiting = self.last_waiting = None
        while following is not None:
            peer = following
            following = peer.behind
            peer.behind = None
            if peer.recorded:
                # More was queued while it waited.
                peer.need = self.taken
            if peer.need <= reached:
                peer.recorded = True
                _let_go(peer, written)
            else:
                peer.recorded = False
                self._wait(peer)
        return 0


cdef class Peer(Watched):
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
            else:
                self.close_transport()
        elif after == CLOSE:
            self.close_transport()
        elif after == ABORT:
            self.abort_transport()
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


cdef class _Waiter(Peer):
    """Somebody outside the hot path who waits for a record."""

    cdef int leave(self) except -1:
        self.done(True)
        return 0

    cdef int record_failed(self) except -1:
        self.done(False)
        return 0
