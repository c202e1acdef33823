"""The road out: pooled connections to the agent, and to the aiohttp application.

Rules:
- A `Link` serves one exchange at a time and reads its answer as strictly as the door reads
  requests: one length or chunked, nothing behind the end. What is odd is an
  `agent_invalid_answer`, and the connection is dropped.
- Only an exchange that holds the gate's `Forward` goes to the agent.
- An exchange is sent twice only where no byte of an answer came and either nothing had been
  sent or it is repeatable (protocol section 6).
- Idle links are a stack: the most recently used first.
"""

import logging
from collections import deque

from libc.errno cimport EAGAIN, errno

from iatp._fast.counters cimport (
    CONNECTIONS_AGENT_ACTIVE, CONNECTIONS_AGENT_IDLE, Counters, UPSTREAM_BREAKER_OPEN,
    UPSTREAM_CONNECT, UPSTREAM_INVALID_ANSWER, UPSTREAM_RESET, UPSTREAM_TIMEOUT,
)
from iatp._fast.gate cimport Forward
from iatp._fast.http cimport (
    BROKEN, DONE, MAX_HEAD, TRAILER_TOO_LARGE, Head, Slice, check_partial_answer, chunks_begin,
    chunks_read, find_head_end, read_answer_head,
)
from iatp._fast.limits cimport Slots
from iatp._fast.outbox cimport Outbox, Peer, monotonic_ns
from iatp._fast.wheel cimport arm, disarm

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void* buffer, size_t length, int flags)
    int MSG_PEEK
    int MSG_DONTWAIT

_log = logging.getLogger("iatp")

cdef enum:  # what a link is doing
    IDLE = 0
    WAIT_HEAD
    READ_LENGTH
    READ_CHUNKS
    READ_TO_END
    DEAD

# Common agents close an idle connection after 5 s; a request must not meet that.
cdef long long IDLE_LINK_NS = 4_000_000_000
# RFC 9110 allows any number of interim answers; more than these are an attack or a bug.
cdef int MAX_INTERIM = 16
# Protocol section 6: five failures in a row, then one probe every half second.
cdef int BREAKER_FAILURES = 5
cdef long long BREAKER_PROBE_NS = 500_000_000
# So often one connection is read before others have their turn.
cdef enum:
    READS = 4
# How soon a worker looks for a slot that another worker gave back.
cdef double POLL_S = 0.005

# Answers are read and used within one callback, so all links share one head.
cdef Head _head


cdef class Exchange(Peer):
    """What wants an answer from an upstream; the door implements the callbacks."""

    cdef int dispatched(self) except -1:
        """The request is about to leave on `link`: its records go before it."""
        return 0

    cdef int answer_head(self, Link link, Head* head, Slice begun) except -1:
        """The head of the answer; `begun` is what of its body came with it, or empty."""
        return 0

    cdef int answer_piece(self, const unsigned char* p, Py_ssize_t n) except -1:
        return 0

    cdef int answer_end(self) except -1:
        return 0

    cdef int answer_failed(self, str code) except -1:
        """No (whole) answer comes; `code` stands in FAILURES."""
        return 0


cdef class Link(Peer):
    """One connection to an upstream: a buffered protocol of the event loop."""

    def __init__(self, Pool pool not None):
        self.pool = pool
        self.outbox = pool.outbox
        self.wheel = pool.outbox.wheel
        self.partial = None

    # The event loop's side.

    def connection_made(self, transport):
        self.transport = transport
        self.fd = transport.get_extra_info("socket").fileno()
        # It is idle until `connected` is told of it, a turn later: not for ever.
        self._wait(IDLE_LINK_NS)
        self.pool.links.add(self)

    def get_buffer(self, sizehint):
        return self.pool.read_buffer

    def buffer_updated(self, Py_ssize_t n):
        self._came(n)

    cdef int readable(self) except -1:
        cdef Py_ssize_t room = len(self.pool.read_view)
        cdef Py_ssize_t n
        cdef int _again
        for _again in range(READS):
            n = self.receive(&self.pool.read_view[0], room)
            if n == 0:
                return 0
            self._came(n)
            if n < room or not self.listened:
                return 0
        return 0

    cdef int _came(self, Py_ssize_t n) except -1:
        self.outbox.begin_read()
        try:
            try:
                self._take(&self.pool.read_view[0], n)
            except Exception:
                _log.exception("an answer could not be handled")
                self._fail("internal_error")
        finally:
            self.outbox.end_read()
        return 0

    def eof_received(self):
        self.at_eof = True
        if self.state == READ_TO_END:
            self.reusable = False
            self._complete()
        elif self.state != IDLE and self.state != DEAD:
            self._fail("agent_reset")
        return False

    def connection_lost(self, exc):
        self.lost()
        self.pool.links.discard(self)
        if self.state == IDLE:
            self._leave_stack()
        elif self.state != DEAD:
            self._fail("agent_reset")
        self.state = DEAD

    def pause_writing(self):
        pass

    def resume_writing(self):
        pass

    # The pool's side.

    cdef int begin(self, Exchange exchange) except -1:
        """Sends this exchange's request; its records leave for the disk before it."""
        self.exchange = exchange
        self.state = WAIT_HEAD
        self.answered = False
        self.reusable = True
        self.interim = 0
        self.behind = 0
        self.at_eof = False
        exchange.link = self
        exchange.sent = False
        exchange.tries += 1
        self.total_ns = 0
        self._wait(self.pool.head_timeout_ns)
        if self.pool.governed:
            self.pool.counters.connections(CONNECTIONS_AGENT_ACTIVE, 1)
        exchange.dispatched()
        # What goes to the application has no record yet.
        self.recorded = self.pool.governed
        self.write(exchange.message)
        if exchange.message_body is not None:
            self.write(exchange.message_body)
        return 0

    cdef int left(self) except -1:
        if self.exchange is not None and not self.exchange.sent:
            self.exchange.sent = True
            self.exchange.sent_ns = self.outbox.flushed_ns
            # The agent's time begins when it has the request, not when the scan of it began.
            arm(self, self.outbox.flushed_ns + self.pool.head_timeout_ns)
            if not self.exchange.repeatable:
                self.exchange.message = self.exchange.message_body = None
        return 0

    cdef int leave(self) except -1:
        # The agent may have closed, or sent what nobody asked for, since the last turn.
        if self.exchange is not None and not self.exchange.sent:
            if self.transport is None or not self._quiet():
                self.forget()
                self._fail("agent_reset")
                return 0
            Peer.leave(self)
            # Where the disk is waited for, a moment more or less is nothing.
            if (
                self.listened and self.outbox.batched and self.outbox.busy == 1
                and self.pool.governed and not self.outbox.defers
            ):
                self.outbox.await_answer()
            return 0
        return Peer.leave(self)

    cdef bint _quiet(self) except -1:
        """Whether nothing waits to be read, not even the end. A new connection is not asked."""
        cdef char byte
        if not self.used:
            return not self.transport.is_closing()
        if self.outbox.looked and self.listened:
            # The watch has just looked for all who leave.
            return self.stirred != self.watch.looks
        # One that the event loop is closing has ended or failed, and so is not open here either.
        return recv(self.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 and errno == EAGAIN

    cdef int record_failed(self) except -1:
        """No record, no traffic: nothing was sent, so the link is as good as before."""
        cdef Exchange exchange = self.exchange
        self.forget()
        if exchange is None:
            return 0
        self._part()
        self._rest()
        self.pool.released(exchange)
        return exchange.answer_failed(self.outbox.failure())

    cdef int pause(self) except -1:
        """The caller does not take more: stop reading, and stop the clock."""
        if not self.paused and self.transport is not None:
            self.paused = True
            if self.total_ns:
                arm(self, self.total_ns)
            else:
                disarm(self)
            self.pause_reading()
        return 0

    cdef int resume(self) except -1:
        if self.paused and self.transport is not None:
            self.paused = False
            self._wait(self.pool.idle_timeout_ns)
            self.held = True
        return self.release()

    cdef int hold(self) except -1:
        """Enough for this turn: what was read leaves before more is read."""
        if not self.held and self.transport is not None:
            self.held = True
            self.pause_reading()
        return 0

    cdef int release(self) except -1:
        """Reads on after `hold`, unless the caller is too slow."""
        if self.held and not self.paused and self.transport is not None:
            self.held = False
            self.resume_reading()
        return 0

    cdef int detach(self) except -1:
        """Gives the exchange up: the connection cannot be used again."""
        cdef Exchange exchange = self.exchange
        if exchange is None:
            return 0
        self._part()
        self._drop()
        return self.pool.released(exchange)

    cdef int _wait(self, long long ns) except -1:
        """Has to hear within this time, and be done within the whole answer's."""
        cdef long long deadline = self.outbox.now_ns() + ns
        if self.total_ns and self.total_ns < deadline:
            deadline = self.total_ns
        return arm(self, deadline)

    cdef int late(self, long long now_ns) except -1:
        """What is late: no head, a pause that is too long, or too long in all."""
        try:
            if self.state == IDLE:
                self._leave_stack()
                self._drop()
            elif self.exchange is not None and not self.exchange.sent and self.queued:
                # It waits for the disk; the agent's time begins when that is done.
                self._wait(self.pool.head_timeout_ns)
            elif self.state != DEAD:
                self._fail("agent_timeout")
        except Exception:
            _log.exception("a late answer could not be handled")
            self._drop()
        return 0

    def close(self):
        """Drops an idle connection at the end of the drain."""
        if self.state == IDLE:
            self._drop()

    # Reading.

    cdef int _take(self, const unsigned char* p, Py_ssize_t n) except -1:
        cdef Py_ssize_t used
        cdef bytes joined
        if self.state == IDLE or self.state == DEAD:
            # Nobody asked: bytes behind an answer, or an answer before its request.
            self._leave_stack()
            return self._drop()
        if not self.exchange.sent:
            # The same, and a request is about to leave here: it takes another connection.
            return self._fail("agent_reset")
        self.answered = True
        if self.partial is not None:
            self.partial += p[:n]
            joined = bytes(self.partial)
            self.partial = None
            p = joined
            n = len(joined)
        while n > 0 and self.state != IDLE and self.state != DEAD:
            if self.state == WAIT_HEAD:
                used = self._take_head(p, n)
                if used == 0:
                    return 0
            else:
                used = self._take_body(p, n)
            p += used
            n -= used
        return 0

    cdef Py_ssize_t _take_head(self, const unsigned char* p, Py_ssize_t n) except -1:
        """Bytes of the head that were used; 0 where it is not complete."""
        cdef Py_ssize_t length = find_head_end(p, n, self.searched)
        if length < 0:
            if n > MAX_HEAD or check_partial_answer(p, n, self.searched):
                self._fail("agent_invalid_answer")
                return 0
            self.partial = bytearray(p[:n])
            self.searched = n
            return 0
        self.searched = 0
        if read_answer_head(p, length, &_head):
            self._fail("agent_invalid_answer")
            return 0
        if _head.status < 200:
            self.interim += 1
            if _head.status == 101 or self.interim > MAX_INTERIM:
                self._fail("agent_invalid_answer")
                return 0
            return length
        self.behind = n - length
        return length + self._begin_body(&_head, p + length, n - length)

    cdef Py_ssize_t _begin_body(self, Head* head, const unsigned char* p, Py_ssize_t n) except -1:
        """Bytes of the body that were used: those that came with the head, if there is a length."""
        cdef Exchange exchange = self.exchange
        cdef long long now = self.outbox.now_ns()
        cdef Slice begun
        begun.p = p
        begun.n = 0
        self.reusable = not head.close and (head.minor == 1 or head.keep_alive)
        self.total_ns = now + self.pool.total_timeout_ns if self.pool.total_timeout_ns else 0
        self._wait(self.pool.idle_timeout_ns)
        if exchange.head_request or head.status == 204 or head.status == 304:
            self.left_bytes = 0
            self.state = READ_LENGTH
        elif head.chunked:
            chunks_begin(&self.chunks)
            self.state = READ_CHUNKS
        elif head.content_length >= 0:
            begun.n = n if n < head.content_length else <Py_ssize_t>head.content_length
            self.left_bytes = head.content_length - begun.n
            self.behind = n - begun.n
            self.state = READ_LENGTH
        else:
            self.reusable = False
            self.state = READ_TO_END
        exchange.answer_head(self, head, begun)
        if exchange.reading_paused:
            # It has not taken its last answer yet.
            self.pause()
        if self.state == READ_LENGTH and self.left_bytes == 0:
            self._complete()
        return begun.n

    cdef Py_ssize_t _take_body(self, const unsigned char* p, Py_ssize_t n) except -1:
        """Bytes of the body that were used, at least 1."""
        cdef Py_ssize_t used
        cdef Slice data
        if not self.paused:
            self._wait(self.pool.idle_timeout_ns)
        if self.state == READ_LENGTH:
            used = n if n < self.left_bytes else <Py_ssize_t>self.left_bytes
            self.left_bytes -= used
            self.behind = n - used
            self.exchange.answer_piece(p, used)
            if self.left_bytes == 0 and self.state == READ_LENGTH:
                self._complete()
            return used
        if self.state == READ_TO_END:
            self.exchange.answer_piece(p, n)
            return n
        used = chunks_read(&self.chunks, p, n, &data)
        self.behind = n - used
        if data.n:
            self.exchange.answer_piece(data.p, data.n)
        if self.state != READ_CHUNKS:
            return used
        if self.chunks.state == DONE:
            self._complete()
        elif self.chunks.state == BROKEN or self.chunks.state == TRAILER_TOO_LARGE:
            self._fail("agent_invalid_answer")
        return used

    # Ends.

    cdef int _part(self) except -1:
        """Separates link and exchange."""
        if self.exchange is None:
            return 0
        self.exchange.link = None
        self.exchange = None
        disarm(self)
        self.total_ns = 0
        if self.pool.governed:
            self.pool.counters.connections(CONNECTIONS_AGENT_ACTIVE, -1)
        return 0

    cdef int _rest(self) except -1:
        """Back onto the stack, or closed where it can't be used again."""
        # One that is closing all the same is found when it is to send.
        if not self.reusable or self.at_eof or self.pool.closing or self.transport is None:
            return self._drop()
        if self.paused or self.held:
            self.paused = self.held = False
            self.resume_reading()
        if self.watch is None:
            self.adopt(self.outbox.watch)
        self.state = IDLE
        self.used = True
        self._wait(IDLE_LINK_NS)
        self.under = self.pool.idle
        if self.under is not None:
            self.under.over = self
        self.pool.idle = self
        if self.pool.governed:
            self.pool.counters.connections(CONNECTIONS_AGENT_IDLE, 1)
        return 0

    cdef int _leave_stack(self) except -1:
        if self.over is not None:
            self.over.under = self.under
        elif self.pool.idle is self:
            self.pool.idle = self.under
        else:
            return 0
        if self.under is not None:
            self.under.over = self.over
        self.over = self.under = None
        if self.pool.governed:
            self.pool.counters.connections(CONNECTIONS_AGENT_IDLE, -1)
        return 0

    cdef int _drop(self) except -1:
        self.state = DEAD
        self.forget()
        return self.abort_transport()

    cdef int _complete(self) except -1:
        """The answer is whole."""
        cdef Exchange exchange = self.exchange
        if self.pool.governed:
            self.pool.counters.observe_upstream_us(
                (self.outbox.now_ns() - exchange.sent_ns) / 1000.0
            )
        if self.behind:
            # What follows an answer belongs to nobody, least of all to the next request.
            self.reusable = False
        self._part()
        self._rest()
        self.pool.released(exchange)
        return exchange.answer_end()

    cdef int _fail(self, str code) except -1:
        """No whole answer comes over this connection."""
        cdef Exchange exchange = self.exchange
        cdef bint again
        if exchange is None:
            return self._drop()
        again = (
            code == "agent_reset" and not self.answered and not exchange.abandoned
            # Each pooled connection that had died costs one try, and there are only so many.
            and (exchange.tries < 2 if exchange.sent else self.used or exchange.tries < 3)
            and (not exchange.sent or exchange.repeatable)
        )
        self._part()
        self._drop()
        if again:
            return self.pool.dispatch(exchange)
        self.pool.released(exchange)
        return self.pool.failed(exchange, code)


cdef class Pool:
    """Connections to one upstream; as it is, the way to the aiohttp application.

    `connect(pool, exchange)` opens a connection in the background and then calls
    `connected` or `connect_failed`. Times are nanoseconds; `read_buffer` is shared by all
    connections of the loop, since what it holds is used up within one callback.
    """

    def __init__(
        self, Outbox outbox not None, Counters counters not None, connect, read_buffer, *,
        long long head_timeout_ns, long long idle_timeout_ns, long long total_timeout_ns,
    ):
        self.outbox = outbox
        self.counters = counters
        self.connect = connect
        self.read_buffer = memoryview(read_buffer)
        self.read_view = read_buffer
        self.links = set()
        self.head_timeout_ns = head_timeout_ns
        self.idle_timeout_ns = idle_timeout_ns
        self.total_timeout_ns = total_timeout_ns

    def link(self):
        """Return a new protocol for a connection to this upstream."""
        return Link(self)

    cdef int submit(self, Exchange exchange) except -1:
        """Sends the exchange, now or as soon as a connection is open."""
        exchange.cell = -1
        exchange.tries = 0
        return self.dispatch(exchange)

    cdef int dispatch(self, Exchange exchange) except -1:
        cdef Link link
        while self.idle is not None:
            link = self.idle
            link._leave_stack()
            # One that is closing is found when it is to send.
            if link.transport is not None:
                return link.begin(exchange)
        self.connect(self, exchange)
        self.opening += 1
        return 0

    def connected(self, Link link not None, Exchange exchange not None, double seconds):
        """A connection that was opened for `exchange` is ready, after `seconds`."""
        self.opening -= 1
        if self.governed:
            self.counters.observe_connect_us(seconds * 1e6)
        if exchange.abandoned:
            link.reusable = True
            link._rest()
            self.released(exchange)
            return
        link.begin(exchange)

    def connect_failed(self, Exchange exchange not None):
        """No connection could be opened for `exchange`."""
        self.opening -= 1
        self.released(exchange)
        if not exchange.abandoned:
            self.failed(exchange, "agent_unreachable")

    cdef int released(self, Exchange exchange) except -1:
        """The exchange needs its place no more."""
        return 0

    cdef int failed(self, Exchange exchange, str code) except -1:
        return exchange.answer_failed(code)

    cdef int cancel(self, Exchange exchange) except -1:
        """The caller went away before anything was sent."""
        exchange.abandoned = True
        return 0

    def close(self):
        """Ends idle connections and keeps none from now on."""
        cdef Link link = self.idle
        cdef Link under
        self.closing = True
        while link is not None:
            under = link.under
            link.close()
            link = under

    def abort(self):
        """Ends every connection."""
        cdef Link link
        for link in tuple(self.links):
            link._drop()


cdef class AgentPool(Pool):
    """The way to the agent: its concurrency limit, a bounded queue and a breaker."""

    def __init__(
        self, Outbox outbox not None, Counters counters not None, connect, read_buffer, *,
        Slots slots not None, int queue_limit, long long queue_timeout_ns,
        long long head_timeout_ns, long long idle_timeout_ns, long long total_timeout_ns,
    ):
        Pool.__init__(
            self, outbox, counters, connect, read_buffer, head_timeout_ns=head_timeout_ns,
            idle_timeout_ns=idle_timeout_ns, total_timeout_ns=total_timeout_ns,
        )
        self.governed = True
        self.slots = slots
        self.waiting = deque()
        self.queue_limit = queue_limit
        self.queue_timeout_ns = queue_timeout_ns
        self.poll_handle = self.poll

    cdef bint has_room(self) noexcept:
        """Whether one more request may come; `submit` says it for certain, behind its body."""
        return self.queued == 0 or self.queued < self.queue_limit

    cdef bint failing_fast(self, Exchange exchange) except -1:
        """Whether the breaker turns this request away; else it may go, perhaps as a probe.

        Who makes the agent fail must not take every probe: others have theirs.
        """
        cdef long long now
        if self.failures < BREAKER_FAILURES:
            return False
        now = monotonic_ns()
        if exchange.peer == self.culprit:
            if now < self.probe_ns:
                return True
            self.probe_ns = now + BREAKER_PROBE_NS
        else:
            if now < self.others_ns:
                return True
            self.others_ns = now + BREAKER_PROBE_NS
        return False

    cdef int submit(self, Exchange exchange) except -1:
        cdef Forward forward = exchange.forward
        if forward is None or forward.ended:
            raise RuntimeError("only what the gate lets pass may go to the agent")
        exchange.tries = 0
        exchange.cell = -1
        exchange.abandoned = False
        if self.failing_fast(exchange):
            self.counters.upstream_error(UPSTREAM_BREAKER_OPEN)
            return exchange.answer_failed("agent_failing")
        if self.queued == 0:
            exchange.cell = self.slots.try_acquire()
        if exchange.cell < 0 and self.queued >= self.queue_limit:
            return exchange.answer_failed("queue_full")
        if exchange.cell < 0:
            exchange.queued_ns = monotonic_ns()
            self.waiting.append(exchange)
            self._queue_grew(exchange)
            exchange.cell = self.slots.try_acquire() if self.queued == 1 else -1
            if exchange.cell < 0:
                return 0
            self.waiting.pop()
            self._queue_shrank(exchange)
        return self._start(exchange)

    cdef int _start(self, Exchange exchange) except -1:
        self.counters.inflight(1)
        return self.dispatch(exchange)

    cdef int _queue_grew(self, Exchange exchange) except -1:
        exchange.waits = True
        self.queued += 1
        self.counters.queued(1)
        self.slots.waiting(1)
        if not self.polling:
            self.polling = True
            self.outbox.loop.call_later(POLL_S, self.poll_handle)
        return 0

    cdef int _queue_shrank(self, Exchange exchange) except -1:
        exchange.waits = False
        self.queued -= 1
        self.counters.queued(-1)
        self.slots.waiting(-1)
        return 0

    def poll(self):
        """Looks for slots that other workers gave back, while somebody waits here."""
        self.polling = False
        self._fill()
        if self.queued:
            self.polling = True
            self.outbox.loop.call_later(POLL_S, self.poll_handle)

    cdef int _fill(self) except -1:
        cdef int cell
        while self.queued:
            cell = self.slots.try_acquire()
            if cell < 0:
                return 0
            self.next_waiting(cell)
        return 0

    cdef int next_waiting(self, int cell) except -1:
        """Gives the slot to whoever waits longest, or back."""
        cdef Exchange exchange
        while self.waiting:
            exchange = self.waiting.popleft()
            if not exchange.waits:
                continue
            self._queue_shrank(exchange)
            exchange.cell = cell
            return self._start(exchange)
        self.slots.release(cell)
        return 0

    cdef int released(self, Exchange exchange) except -1:
        cdef int cell = exchange.cell
        if cell < 0:
            return 0
        exchange.cell = -1
        self.counters.inflight(-1)
        if not self.slots.release(cell):
            self._fill()
        return 0

    cdef int failed(self, Exchange exchange, str code) except -1:
        if code == "agent_reset" or code == "agent_unreachable":
            self.failures += 1
            if exchange.peer != self.culprit:
                self.culprit = exchange.peer
                self.others_ns = self.probe_ns
            if self.failures == BREAKER_FAILURES:
                self.others_ns = 0
            if self.failures >= BREAKER_FAILURES:
                self.probe_ns = monotonic_ns() + BREAKER_PROBE_NS
            self.counters.upstream_error(
                UPSTREAM_RESET if code == "agent_reset" else UPSTREAM_CONNECT
            )
        elif code == "agent_timeout":
            self.counters.upstream_error(UPSTREAM_TIMEOUT)
        else:
            self.counters.upstream_error(UPSTREAM_INVALID_ANSWER)
        return exchange.answer_failed(code)

    cdef int answered(self) except -1:
        """An answer's head came: the agent is well."""
        self.failures = 0
        return 0

    cdef int cancel(self, Exchange exchange) except -1:
        """Takes it out of the queue; where a connection is being opened, that is kept."""
        if exchange.waits:
            self._queue_shrank(exchange)
        exchange.abandoned = True
        return 0

    def tick(self, long long now_ns):
        """Looks for who has waited too long; called every 50 ms."""
        cdef Exchange exchange
        while self.waiting:
            exchange = self.waiting[0]
            if exchange.waits:
                if now_ns - exchange.queued_ns < self.queue_timeout_ns:
                    break
                self._queue_shrank(exchange)
                self.waiting.popleft()
                exchange.answer_failed("queue_timeout")
            else:
                self.waiting.popleft()

    def expel(self):
        """Ends everything that waits, at the end of the drain."""
        cdef Exchange exchange
        while self.waiting:
            exchange = self.waiting.popleft()
            if exchange.waits:
                self._queue_shrank(exchange)
                exchange.answer_failed("draining")

    def recall(self):
        """Ends everything that the agent still works on."""
        cdef Link link
        cdef Exchange exchange
        for link in tuple(self.links):
            exchange = link.exchange
            if exchange is not None:
                link.detach()
                exchange.answer_failed("draining")
