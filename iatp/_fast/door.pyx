"""The door: the only parser of what comes from a socket, and the life of one connection.

A request is read (`_read_head`, `_read_body`), decided (`_decide`: the gate), sent on
(`_govern`, `_ask_application`) and answered (`answer_head`, `answer_piece`, `answer_end`,
or `_respond` where the sidecar answers itself). Rules:
- One request at a time on a connection; what is pipelined behind it waits unread.
- `/proxy` is served here and nowhere else; every other path goes to the application, with a
  head written anew.
- Whatever ends a request to `/proxy` leaves exactly one ending record, and it leaves for
  the disk in the same turn as, and before, the last byte of the answer.
- What can't be understood is answered once, and the connection closes behind the answer.
"""

import logging

from cpython.bytearray cimport PyByteArray_AS_STRING
from cpython.buffer cimport PyBUF_WRITE
from cpython.bytes cimport PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.string cimport memchr, memcmp

from iatp._fast.body cimport Body, Budget
from iatp._fast.counters cimport (
    CONNECTIONS_ACTIVE, Counters, DECISION_ALLOW, DECISION_BLOCK, DECISION_ERROR,
    DECISION_REFUSE, DECISION_WARN, OVERRIDE_GRANTED, OVERRIDE_INVALID, OVERRIDE_REFUSED,
    POLICY_ALLOW, POLICY_BLOCK, POLICY_OBSERVE, POLICY_QUARANTINE, POLICY_REDACT, POLICY_WARN,
    UPSTREAM_TRUNCATED,
)
from iatp._fast.forward cimport Forward
from iatp._fast.gate cimport Gate
from iatp._fast.heads cimport TOGETHER, Heads, RequestHead, add_field, copied, of_another_body
from iatp._fast.http cimport (
    BAD_EXPECTATION, BAD_VERSION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
    HEAD_TOO_LARGE, HOP, NOT_IMPLEMENTED, OURS, TRACE_ID, TRANSFER_ENCODING, URI_TOO_LONG, Field,
    Head, Slice, check_partial, find_head_end, path_trouble, read_request_head,
)
from iatp._fast.ids cimport Ids
from iatp._fast.limits cimport RateLimiter, caller_key
from iatp._fast.record cimport Line
from iatp._fast.outbox cimport ABORT, CLOSE, END, Outbox, monotonic_ns, wall_ns
from iatp._fast.upstream cimport AgentPool, Exchange, Link, Pool
from iatp._fast.wheel cimport arm, disarm

from http import HTTPStatus
from time import gmtime, strftime

from iatp.values import errors
from iatp.values.exchange import Claim, Outcome, Request, Respond

cdef extern from "<sys/socket.h>" nogil:
    int SOL_SOCKET, SO_ERROR, SO_LINGER
    struct linger:
        int l_onoff
        int l_linger
    int getsockopt(int fd, int level, int option, void* value, unsigned int* length)
    int setsockopt(int fd, int level, int option, const void* value, unsigned int length)

_log = logging.getLogger("iatp")

cdef enum:  # what a door is doing
    READ_HEAD = 0
    READ_BODY
    CLAIMING
    WAITING      # for the agent or the application
    ANSWERING
    PROVING      # the answer is whole; whether its caller is still there shows now
    LEAVING      # the answer waits for the disk; what is pipelined waits for it
    LINGERING
    CLOSED

cdef enum:  # what came of looking for a head
    TAKEN = 1
    ROUTED = 2

cdef long long HEAD_NS = 10_000_000_000
cdef long long BODY_NS = 30_000_000_000
cdef long long IDLE_NS = 75_000_000_000
cdef long long STALL_NS = 60_000_000_000
# A caller that closed answers the first bytes with a reset, within a round trip.
cdef long long PROOF_NS = 100_000_000
# A lingering close, so that the answer is not lost in a reset: for as long as the caller still
# sends, but not for ever (as nginx, which has 5 s and 30 s). Our own end is closed at once.
cdef long long LINGER_NS = 5_000_000_000
cdef long long LINGER_TOTAL_NS = 15_000_000_000
# Bytes of further requests that wait while one is served; then reading pauses.
cdef Py_ssize_t PIPELINED = 65536
# Bytes of an answer that wait for the end of a turn; the event loop would read on to 4 MiB.
cdef Py_ssize_t TURN_BYTES = 262144
# So much is read where a head is to come: with it a short body, of a long one not much that
# would have to be copied.
cdef enum:
    HEAD_READ = 1 << 14
# So often one connection is read before others have their turn.
cdef enum:
    READS = 4
# The largest body for an endpoint that is not /proxy.
cdef long long MAX_CONTROL_BODY = 1 << 20
# Protocol section 7: refusals before authentication that are recorded one by one.
cdef int REFUSALS_A_SECOND = 10

cdef Head _head

cdef dict FAILURES = errors.FAILURES
cdef object ANSWERED = Outcome.ANSWERED
cdef object TRUNCATED = Outcome.TRUNCATED

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
_REASONS[449] = b"Retry With"
_REASONS[499] = b"Client Closed Request"

_DECISIONS = {
    "allow": DECISION_ALLOW, "warn": DECISION_WARN, "block": DECISION_BLOCK,
    "refuse": DECISION_REFUSE, "error": DECISION_ERROR,
}
# RFC 9110 section 9.2.2.
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PROPFIND", "SEARCH", "REPORT"})

cdef dict _TROUBLES = {
    HEAD_TOO_LARGE: "headers_too_large", URI_TOO_LONG: "uri_too_long",
    NOT_IMPLEMENTED: "not_implemented", BAD_VERSION: "version_not_supported",
    BAD_EXPECTATION: "expectation_failed",
}


cdef inline bytes _or_empty(bytes text):
    return b"" if text is None else text


cdef class Front:
    """What all doors of a worker share: where requests go, and the limits they keep."""

    def __init__(
        self, Outbox outbox not None, *, Counters counters not None, Gate gate not None,
        AgentPool agent not None, Pool application not None, RateLimiter limiter, read_buffer,
        settle_claim, bytes agent_host not None, bytes agent_base not None,
        bytes agent_target not None, bytes via not None, bint idempotent_agent,
        long long max_body, long long max_buffered, int max_connections,
    ):
        self.outbox = outbox
        self.counters = counters
        self.gate = gate
        self.agent = agent
        self.application = application
        self.limiter = limiter
        self.read_buffer = memoryview(read_buffer)
        self.read_view = read_buffer
        self.head_buffer = self.read_buffer[:HEAD_READ]
        self.settle_claim = settle_claim
        self.ids = Ids()
        self.heads = Heads(
            self.ids, agent_host=agent_host, agent_base=agent_base, agent_target=agent_target,
            via=via,
        )
        self.budget = Budget(counters, max_buffered)
        self.idempotent_agent = idempotent_agent
        self.max_body = max_body
        self.max_connections = max_connections
        self.doors = set()
        self.refused = {}

    def door(self, str listener):
        """Return a protocol for one accepted connection of this listener."""
        return Door(self, listener)

    @property
    def connections(self):
        """How many callers are connected."""
        return len(self.doors)

    @property
    def inflight(self):
        """How many requests have arrived and are not answered."""
        return self.outbox.busy

    def tick(self, long long now_ns):
        """Looks for what is late; called every 50 ms."""
        self.outbox.wheel.tick(now_ns)
        self.agent.tick(now_ns)

    def flush_refusals(self):
        """Sums up what was refused beyond ten a second of one address; called each second."""
        cdef dict refused = self.refused
        if not refused:
            return
        self.refused = {}
        now = wall_ns()
        for peer, count in refused.items():
            if count > REFUSALS_A_SECOND:
                request = Request(
                    request_id=self.ids.new(now), method="", target=b"", peer=peer, time_ns=now,
                    mono_ns=monotonic_ns(),
                )
                respond = self.gate.refuse(
                    request, "malformed_request", "further refusals of one second",
                    count - REFUSALS_A_SECOND,
                )
                for tail in respond.records:
                    self.outbox.record(tail)

    @property
    def expecting(self):
        """Whether a caller is connected that has not sent its first request yet."""
        cdef Door door
        for door in self.doors:
            if door.fresh and door.state == READ_HEAD and door.listener == "data":
                return True
        return False

    def close_used(self):
        """Ends the connections that wait for a further request."""
        cdef Door door
        for door in tuple(self.doors):
            if door.state == READ_HEAD and door.pending is None and not door.fresh:
                door.finish(CLOSE)

    def close_idle(self):
        """Ends the connections that wait for a request."""
        cdef Door door
        for door in tuple(self.doors):
            if door.state == READ_HEAD and door.pending is None:
                door.finish(CLOSE)

    def cut(self):
        """Answers what is still in flight with 503, or cuts it; records either."""
        cdef Door door
        self.agent.expel()
        for door in tuple(self.doors):
            door.cut()
        # What is left works for callers that went away.
        self.agent.recall()

    def abort(self):
        """Drops every connection."""
        cdef Door door
        for door in tuple(self.doors):
            door.abort_transport()

    cdef bytes date_line(self):
        cdef long long now_s = wall_ns() // 1000000000
        if now_s != self.date_s:
            self.date_s = now_s
            self.date = strftime("Date: %a, %d %b %Y %H:%M:%S GMT\r\n", gmtime(now_s)).encode()
        return self.date

    cdef bint may_record_refusal(self, str peer) except -1:
        """Whether a refusal before authentication gets a record of its own."""
        count = self.refused.get(peer, 0) + 1
        if count == 1 and len(self.refused) >= 10000:
            # An outsider with many addresses may not fill this table either.
            peer = ""
            count = self.refused.get(peer, 0) + 1
        self.refused[peer] = count
        return count <= REFUSALS_A_SECOND


cdef class Door(Exchange):
    """One connection of a caller: a buffered protocol of the event loop."""

    def __init__(self, Front front not None, str listener not None):
        self.front = front
        self.asked = RequestHead(front.heads)
        self.body = Body(front.budget)
        self.outbox = front.outbox
        self.wheel = front.outbox.wheel
        self.listener = listener
        self.cell = -1

    # The event loop's side.

    def connection_made(self, transport):
        self.transport = transport
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if isinstance(peer, tuple) else "unix"
        self.tls = transport.get_extra_info("sslcontext") is not None
        self.fd = -1 if self.tls else transport.get_extra_info("socket").fileno()
        if self.peer.startswith("::ffff:") and "." in self.peer:
            # What a socket for both families calls an IPv4 caller.
            self.peer = self.peer[7:]
        self.front.doors.add(self)
        self.front.counters.connections(CONNECTIONS_ACTIVE, 1)
        self.fresh = True
        arm(self, monotonic_ns() + HEAD_NS)
        # Callers may not keep operators and probes out.
        if self.listener == "data" and len(self.front.doors) > self.front.max_connections:
            self._refuse("too_many_connections", True, b"")

    def get_buffer(self, sizehint):
        cdef Py_ssize_t room
        self.read_into = self._place(&room)
        if self.read_into != NULL:
            # What reads into it asks again each time.
            return PyMemoryView_FromMemory(self.read_into, room, PyBUF_WRITE)
        return self.front.head_buffer if self.state == READ_HEAD else self.front.read_buffer

    def buffer_updated(self, Py_ssize_t n):
        self._came(n)

    cdef char* _place(self, Py_ssize_t* room) noexcept:
        """Where a long body is received, since it stays there; else NULL."""
        if self.state == READ_BODY and self.pending is None:
            return self.body.place(room)
        return NULL

    cdef int readable(self) except -1:
        cdef Py_ssize_t room
        cdef Py_ssize_t n
        cdef int _again
        for _again in range(READS):
            self.read_into = self._place(&room)
            if self.read_into == NULL:
                room = HEAD_READ if self.state == READ_HEAD else len(self.front.read_view)
            n = self.receive(
                self.read_into if self.read_into != NULL else &self.front.read_view[0], room
            )
            if n == 0:
                return 0
            self._came(n)
            # What may come behind a whole request is read once that is answered.
            if n < room or not self.listened or self.state > READ_BODY:
                return 0
        return 0

    cdef int _came(self, Py_ssize_t n) except -1:
        cdef const unsigned char* p = &self.front.read_view[0]
        if self.read_into != NULL:
            p = <const unsigned char*>self.read_into
            self.read_into = NULL
        self.outbox.begin_read()
        try:
            try:
                self._read(p, n)
            except Exception:
                self._broken()
        finally:
            self.outbox.end_read()
        return 0

    cdef int _read(self, const unsigned char* p, Py_ssize_t n) except -1:
        cdef Py_ssize_t used
        if self.state == LINGERING or self.state == CLOSED:
            if self.state == LINGERING:
                self._expect(min(monotonic_ns() + LINGER_NS, self.linger_end_ns))
            return 0
        if self.pending is None and not self.feeding:
            used = self._feed_read(p, n)
            p += used
            n -= used
        if n > 0 and self.state < LINGERING:
            if self.pending is None:
                self.pending = bytearray()
                if self.state == READ_HEAD and not self.feeding:
                    self._expect(monotonic_ns() + HEAD_NS)
            self.pending += p[:n]
            if self.state > READ_BODY and len(self.pending) > PIPELINED:
                self._pause_input()
        return self._feed()

    def eof_received(self):
        # TLS has no half that stays open: its caller is gone, whatever this says.
        return self._ended() and not self.tls

    cdef bint _ended(self) except -1:
        """Whether the connection still has an answer to take to a caller that ended its side."""
        self.at_eof = True
        try:
            if self.state == READ_BODY:
                self._caller_gone()
                self.state = CLOSED
            if self.state == READ_HEAD or self.state >= LINGERING:
                if not self.queued:
                    return False
                # An answer leaves at the end of this turn: the event loop may not close before.
                self.finish(CLOSE)
                return True
            if self.waits:
                # It waits for a slot: a caller that closed is taken out. One that only ended
                # its own side gets an answer all the same.
                self.keep = False
                self.front.agent.cancel(self)
                self._end_forward("caller_gone")
                return True
        except Exception:
            self._broken()
            return False
        return True

    def connection_lost(self, exc):
        self.lost()
        self.front.doors.discard(self)
        self.front.counters.connections(CONNECTIONS_ACTIVE, -1)
        if self.state != CLOSED:
            try:
                self._caller_gone()
            except Exception:
                _log.exception("a caller that went away could not be recorded")
        self.state = CLOSED
        self.pending = None

    def pause_writing(self):
        self.reading_paused = True
        arm(self, monotonic_ns() + STALL_NS)
        if self.link is not None:
            self.link.pause()
        self._pause_input()

    def resume_writing(self):
        cdef long long now = monotonic_ns()
        self.reading_paused = False
        # What it has to come by begins anew: nothing was read from it meanwhile.
        if self.state == READ_HEAD:
            arm(self, now + (IDLE_NS if self.pending is None else HEAD_NS))
        elif self.state == READ_BODY:
            arm(self, now + BODY_NS)
        elif self.state == PROVING:
            arm(self, now + PROOF_NS)
        elif self.state == LINGERING:
            self.linger_end_ns = now + LINGER_TOTAL_NS
            arm(self, now + LINGER_NS)
        else:
            disarm(self)
        if self.link is not None:
            self.link.resume()
        self._resume_input()

    cdef int _expect(self, long long deadline_ns) except -1:
        """Sets when something has to come; while the caller takes nothing, that has its own."""
        if not self.reading_paused:
            arm(self, deadline_ns)
        return 0

    cdef int _pause_input(self) except -1:
        if not self.input_paused and self.transport is not None and not self.at_eof:
            self.input_paused = True
            self.pause_reading()
        return 0

    cdef int _resume_input(self) except -1:
        if self.input_paused and self.transport is not None and not self.at_eof:
            self.input_paused = False
            self.resume_reading()
        return 0

    cdef int late(self, long long now_ns) except -1:
        """What is late: a head, a body, an idle connection, a caller that takes nothing."""
        try:
            if self.reading_paused:
                self.finish(ABORT)
            elif self.state == PROVING:
                self._proved()
            elif self.state == LINGERING:
                # TLS is closed since `_linger`, and waits for the caller to say the same.
                self.finish(ABORT if self.tls else CLOSE)
            elif self.state == READ_HEAD:
                if self.pending is None:
                    self.finish(CLOSE)
                else:
                    self._refuse("request_timeout", True, b"")
            elif self.state == READ_BODY:
                self._refuse("request_timeout", True, b"")
        except Exception:
            self._broken()
        return 0

    def cut(self):
        """The drain is over: what is not answered gets 503, what streams ends early."""
        cdef Link link = self.link
        try:
            self.keep = False
            if self.state == WAITING:
                if link is not None:
                    link.detach()
                else:
                    self._give_up()
                self.answer_failed("draining")
            elif self.state == ANSWERING:
                if link is not None:
                    link.detach()
                self.answer_failed("draining")
            elif self.state == PROVING:
                self._proved()
            elif self.state == CLAIMING or (
                self.governed and self.state == READ_BODY
            ):
                self._refuse("draining", True, b"")
            elif self.state != CLOSED:
                self.finish(CLOSE)
        except Exception:
            self._broken()

    cdef int _give_up(self) except -1:
        """Leaves the agent's queue, or the connection that is being opened for it."""
        if self.waits:
            return self.front.agent.cancel(self)
        self.abandoned = True
        return self.front.agent.released(self)

    cdef int _broken(self) except -1:
        """What is not understood is refused: an unknown failure never forwards."""
        _log.exception("a request failed inside the sidecar")
        self.keep = False
        try:
            if self.link is not None:
                self.link.detach()
            elif self.governed and self.state == WAITING:
                self._give_up()
            if self.head_out or self.state >= LINGERING:
                self._end_unheard("internal_error")
                self.state = CLOSED
                self.finish(ABORT)
            elif self.forward is not None and not self.forward.ended:
                self._end_forward("internal_error")
            else:
                self._refuse("internal_error", True, b"")
        except Exception:
            _log.exception("the connection is dropped")
            self.abort_transport()
        return 0

    # Reading.

    cdef int _feed(self) except -1:
        """Takes as many whole requests from what is pending as may be served now."""
        cdef Py_ssize_t used
        cdef bytes rest
        cdef const unsigned char* p
        if self.feeding:
            return 0
        self.feeding = True
        self.more = False
        try:
            while self.pending is not None and self.state <= READ_BODY:
                if self.state == READ_HEAD:
                    if not self._read_head():
                        break
                    continue
                rest = bytes(self.pending)
                self.pending = None
                p = rest
                used = 0
                self.more = False
                while used < len(rest) and self.state == READ_BODY:
                    used += self._read_body(p + used, len(rest) - used)
                if used < len(rest) and self.state < LINGERING:
                    self.pending = bytearray(rest[used:])
                self.more = False
            # Read on where a request is incomplete, or nothing waits behind the one being served.
            if (self.pending is None or self.state <= READ_BODY) and not self.reading_paused:
                self._resume_input()
        finally:
            self.feeding = False
        if self.at_eof and self.state <= READ_BODY:
            # The caller has ended its side, and what is left is not a whole request.
            self._caller_gone()
            self.state = CLOSED
            return self.finish(CLOSE)
        return 0

    cdef Py_ssize_t _feed_read(self, const unsigned char* p, Py_ssize_t n) except -1:
        """Serves what has just been read, where nothing waits before it: bytes that were used."""
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t used
        cdef int found
        self.feeding = True
        try:
            while at < n and self.state <= READ_BODY:
                if self.state == READ_HEAD:
                    found = self._take_head(p + at, n - at, &used)
                    if not found:
                        break
                    at += used
                    if found == ROUTED:
                        self.more = at < n
                        self._route(&_head)
                else:
                    at += self._read_body(p + at, n - at)
        finally:
            self.feeding = False
            self.more = False
        return at

    cdef int _read_head(self) except -1:
        """1 where a head was taken off `pending`, 0 where it is not complete."""
        cdef bytearray pending = self.pending
        cdef Py_ssize_t used
        cdef int found = self._take_head(
            <const unsigned char*>PyByteArray_AS_STRING(pending), len(pending), &used
        )
        if not found:
            return 0
        if self.pending is None:
            return 1
        if len(pending) == used:
            self.pending = None
        else:
            del pending[:used]
        if found == ROUTED:
            self._route(&_head)
        return 1

    cdef int _take_head(self, const unsigned char* p, Py_ssize_t n, Py_ssize_t* used) except -1:
        """ROUTED with a head that is kept and to be routed next; TAKEN where that is not so."""
        cdef Py_ssize_t length
        cdef int trouble
        # RFC 9112 section 2.2: one empty line before a request line is passed over.
        if self.searched == 0 and p[0] == c'\r':
            if n == 1:
                return 0
            if p[1] == c'\n':
                self.searched = -1
                used[0] = 2
                return TAKEN
        used[0] = n
        length = find_head_end(p, n, self.searched)
        if length < 0:
            trouble = check_partial(p, n, &self.line_seen)
            self.searched = n
            if trouble:
                self._refuse(_TROUBLES.get(trouble, "malformed_request"), True, b"")
                return TAKEN
            return 0
        used[0] = length
        self.received_ns = self.outbox.now_ns()
        trouble = read_request_head(p, length, &_head)
        self.searched = 0
        self.line_seen = 0
        if trouble:
            self.asked.keep_line(&_head)
            self._refuse(_TROUBLES.get(trouble, "malformed_request"), True, b"")
            return TAKEN
        self._keep_head(&_head)
        return ROUTED

    cdef int _keep_head(self, Head* head) except -1:
        """Keeps what outlives the head."""
        cdef RequestHead asked = self.asked
        asked.keep(head)
        self.fresh = False
        self.head_request = not asked.post and asked.method == "HEAD"
        self.keep = not head.close and (head.minor == 1 or head.keep_alive)
        self.chunked_out = self.final = False
        self.own_ns = 0
        return 0

    cdef int _route(self, Head* head) except -1:
        """Where this request goes, and what can be said before its body is read."""
        cdef RequestHead asked = self.asked
        cdef bytes target = asked.target
        cdef const unsigned char* p = target
        cdef const void* query = memchr(p, c'?', PyBytes_GET_SIZE(target))
        cdef Py_ssize_t path = PyBytes_GET_SIZE(target)
        cdef int retry_after = 0
        if query != NULL:
            path = <const unsigned char*>query - p
        self.governed = (
            self.listener == "data" and path >= 6 and memcmp(p, b"/proxy", 6) == 0
            and (path == 6 or p[6] == c'/')
        )
        if self.governed:
            self.outbox.busy += 1
            self.front.last_request_ns = self.received_ns
            self.counted = True
            if not asked.post and (asked.method == "CONNECT" or asked.method == "TRACE"):
                return self._refuse("not_implemented", True, b"")
            if path == 6 and not asked.post:
                return self._refuse("method_not_allowed", asked.has_length, b"Allow: POST\r\n")
            if path > 6 and path_trouble(p + 6, path - 6):
                return self._refuse("bad_path", asked.has_length, b"")
            if path > 6 and self.front.gate.limits_paths:
                closed = self.front.gate.closed(asked.method, target)
                if closed is not None:
                    return self._refuse(
                        closed[0], asked.has_length,
                        b"Allow: %b\r\n" % closed[1].encode() if closed[1] else b"",
                    )
            if asked.old_via and self.front.heads.via in asked.old_via:
                return self._refuse("loop_detected", asked.has_length, b"")
            if self.front.limiter is not None and self.front.limiter.is_on():
                key = caller_key("anonymous", self.peer)
                retry_after = self.front.limiter.check(key, self.received_ns)
            if (
                retry_after or head.content_length > self.front.max_body or asked.content_encoding
                or not self._readable()
            ) and (retry_after or (asked.has_length and head.content_length)):
                respond = self.front.gate.admit_head(
                    self._as_request(b""),
                    head.content_length if head.content_length >= 0 else None, retry_after,
                )
                self.request = None
                if respond is not None:
                    if asked.has_length:
                        self.keep = False
                    return self._respond(respond, b"")
            if self.outbox.refusing:
                return self._refuse("recorder_unavailable", asked.has_length, b"")
            if not self.front.agent.has_room():
                return self._refuse("queue_full", asked.has_length, b"")
        elif head.content_length > MAX_CONTROL_BODY:
            return self._refuse("body_too_large", True, b"")
        if not head.chunked and head.content_length <= 0:
            return self._arrived()
        self.body.begin(head.content_length)
        self.state = READ_BODY
        self._expect(self.received_ns + BODY_NS)
        if head.expect_continue and self.pending is None:
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return 0

    cdef bint _readable(self) except -1:
        """Whether the gate can read a body of this type."""
        cdef Front front = self.front
        cdef bytes content_type = self.asked.content_type
        if content_type is not front.readable_type:
            if PyBytes_GET_SIZE(content_type) and not front.gate.reads(content_type):
                return False
            front.readable_type = content_type
        return True

    cdef Py_ssize_t _read_body(self, const unsigned char* p, Py_ssize_t n) except -1:
        """Bytes of the body that were used, at least 1."""
        cdef Body body = self.body
        cdef Py_ssize_t used = body.read(
            p, n, self.front.max_body if self.governed else MAX_CONTROL_BODY
        )
        if body.trouble is not None:
            self._refuse(body.trouble, True, b"")
        elif body.complete:
            self.received_ns = self.outbox.now_ns()
            self.more = used < n
            self._arrived()
        return used

    cdef int _arrived(self) except -1:
        """The request is complete."""
        if not self.reading_paused:
            disarm(self)
        self.state = WAITING
        if self.governed:
            return self._decide(None)
        return self._ask_application()

    # Deciding.

    cdef object _as_request(self, bytes body):
        cdef RequestHead asked = self.asked
        cdef long long now = wall_ns()
        if self.request_id is None:
            self.request_id = self.front.ids.new(now)
        # Where no head could be read, some of these are None.
        self.request = Request(
            request_id=self.request_id, method="" if asked.method is None else asked.method,
            target=_or_empty(asked.target), content_type=_or_empty(asked.content_type),
            content_encoding=_or_empty(asked.content_encoding), body=body,
            trace_id=_or_empty(asked.trace_id), override=_or_empty(asked.override),
            peer=self.peer, time_ns=now, mono_ns=self.outbox.now_ns(),
        )
        return self.request

    cdef int _decide(self, object grant) except -1:
        """Asks the gate; a Claim comes back here with its grant."""
        if grant is None:
            self._as_request(self.body.take())
        verdict = self.front.gate.admit(self.request, grant)
        if isinstance(verdict, Forward):
            self.forward = verdict
            return self._govern()
        if isinstance(verdict, Claim):
            self.state = CLAIMING
            self.front.settle_claim(self, verdict)
            return 0
        if verdict.decision == "warn":
            self.front.counters.policy(POLICY_WARN)
            if self.request.override:
                self.front.counters.override(OVERRIDE_INVALID)
        elif verdict.decision == "block":
            self.front.counters.policy(POLICY_BLOCK)
            if self.request.override:
                self.front.counters.override(OVERRIDE_REFUSED)
        return self._respond(verdict, b"")

    def claimed(self, grant):
        """The control state has answered a Claim; None where it could not."""
        if self.state != CLAIMING:
            return
        try:
            if grant is None:
                self._refuse("state_unavailable", False, b"")
            else:
                self.state = WAITING
                self._decide(grant)
            self._feed()
        except Exception:
            self._broken()

    cdef int _govern(self) except -1:
        """Sends what the gate let pass to the agent."""
        cdef Forward forward = self.forward
        cdef RequestHead asked = self.asked
        cdef bytes body
        cdef int finding
        cdef long long count
        self.front.counters.trust(forward.trust_score)
        if forward.quarantined:
            self.front.counters.policy(POLICY_QUARANTINE)
            self.front.counters.override(OVERRIDE_GRANTED)
            self.front.counters.quarantined()
        elif forward.body is not None:
            self.front.counters.policy(POLICY_REDACT)
        elif forward.spared:
            self.front.counters.policy(POLICY_OBSERVE)
        else:
            self.front.counters.policy(POLICY_ALLOW)
        for finding, count in forward.findings:
            self.front.counters.finding(finding, count)
        body = self.request.body
        if forward.body is not None:
            body = forward.body
            forward.body = None
            asked.passed = of_another_body(asked.passed)
            # Decoded, or with longer text in place of short values, it may need more room.
            if self.body.resize(PyBytes_GET_SIZE(body)):
                return self._end_forward("buffers_full")
        # What is sent is kept for a second try; the forward knows all else that is still asked.
        self.request = None
        self.message = asked.for_agent(body, forward.trace_id, self.peer, self.tls)
        if PyBytes_GET_SIZE(body) > TOGETHER:
            self.message_body = body
        self.repeatable = (not asked.post and asked.method in _REPEATABLE) or (
            self.front.idempotent_agent and asked.has_key
        )
        asked.forget()
        self.own_ns = monotonic_ns() - self.received_ns
        return self.front.agent.submit(self)

    cdef int _ask_application(self) except -1:
        cdef bytes body = self.body.take()
        self._as_request(b"")
        self.message = self.asked.for_application(
            body, self.listener, self.peer, self.front.gate.trace_id(self.request),
            self.request_id,
        )
        self.repeatable = False
        return self.front.application.submit(self)

    # Answering for the sidecar itself.

    cdef int _refuse(self, str code, bint closes, bytes extra) except -1:
        """Ends the request with a failure of FAILURES."""
        cdef bint framing
        if self.request is None:
            self._as_request(b"")
        failure = FAILURES[code]
        if closes or failure.closes:
            self.keep = False
        framing = failure.closes and self.state <= READ_BODY
        respond = self.front.gate.refuse(self.request, code)
        if framing and not self.front.may_record_refusal(self.peer):
            respond = _without_records(respond)
        elif not self.governed and not framing:
            respond = _without_records(respond)
        return self._respond(respond, extra)

    cdef int _respond(self, object respond, bytes extra) except -1:
        """Sends an answer of the sidecar's own, its records before it."""
        cdef Line line = self.front.heads.line
        cdef int finding
        cdef long long count
        if respond.closes:
            self.keep = False
        for record in respond.records:
            self.outbox.record(record)
        for finding, count in <tuple>respond.findings:
            self.front.counters.finding(finding, count)
        if self.governed or respond.closes:
            self._count(_DECISIONS[respond.decision], respond.status)
        self.head_out = True
        line.clear()
        line.raw(
            b"HTTP/1.1 %d %b\r\n%bContent-Type: application/json\r\nContent-Length: %d\r\n"
            b"X-Agent-Trace-ID: %b\r\nX-Agent-Trust-Score: %d\r\nX-IATP-Decision: %b\r\n" % (
                respond.status, _REASONS.get(respond.status, b""), self.front.date_line(),
                len(respond.body), respond.trace_id.encode(), respond.trust_score,
                respond.decision.encode(),
            )
        )
        if respond.retry_after_s:
            line.raw(b"Retry-After: %d\r\n" % respond.retry_after_s)
        line.raw(extra)
        self._end_head(line)
        if not self.head_request:
            line.raw(respond.body)
        if self.transport is not None:
            if respond.records and respond.code != "recorder_unavailable":
                self.write_recorded(line.done())
            else:
                self.write(line.done())
        if not self.keep:
            return self._linger()
        return self._next()

    cdef int _count(self, int decision, int status) except -1:
        """The one place that counts an ended request."""
        cdef long long now = self.outbox.now_ns()
        self.front.counters.request(decision, status)
        if self.received_ns:
            self.front.counters.observe_request_us((now - self.received_ns) / 1000.0)
        return 0

    cdef int _linger(self) except -1:
        """Closes behind the answer, reading on for a moment so that it is not lost."""
        self._done()
        self.state = LINGERING
        self.pending = None
        self.linger_end_ns = monotonic_ns() + LINGER_TOTAL_NS
        # Over TLS what the caller still sends is thrown away unseen.
        self._expect(self.linger_end_ns - (0 if self.tls else LINGER_TOTAL_NS - LINGER_NS))
        if self.transport is None:
            return 0
        if self.at_eof:
            return self.finish(CLOSE)
        self._resume_input()
        return self.finish(END)

    cdef int _done(self) except -1:
        if self.counted:
            self.counted = False
            self.outbox.busy -= 1
        self.body.release()
        self._release_held()
        self.request = None
        self.message = self.message_body = None
        self.request_id = None
        if self.asked.method is not None:
            self.asked.forget()
        return 0

    cdef int _next(self) except -1:
        """Ready for the next request of this connection."""
        self._done()
        self.forward = None
        self.governed = self.head_request = self.head_out = False
        # What is refused before its head is read has come at no time.
        self.received_ns = 0
        if self.outbox.defers and self.recorded:
            self.state = LEAVING
            return 0 if self.queued else self.outbox.touch(self)
        return self._await_head()

    cdef int _await_head(self) except -1:
        self.state = READ_HEAD
        self.searched = 0
        self.line_seen = 0
        self._expect(self.outbox.now_ns() + (IDLE_NS if self.pending is None else HEAD_NS))
        if self.watch is None and self.pending is None and not self.input_paused:
            self.adopt(self.outbox.watch)
        return self._feed()

    # The upstream's side.

    cdef int dispatched(self) except -1:
        """What reaches the agent has its records on disk before."""
        cdef bytes record
        if self.outbox.defers:
            self.dispatched_ns = monotonic_ns()
        if self.governed and self.tries == 1:
            for record in self.forward.records:
                self.outbox.record(record)
            self.forward.records = ()
        return 0

    cdef int answer_head(self, Link link, Head* head, Slice begun) except -1:
        cdef Heads heads = self.front.heads
        cdef Line line = heads.line
        cdef Field* field
        cdef long long now = self.outbox.now_ns()
        cdef bytes content_type = b""
        cdef bytes content_encoding = b""
        cdef bint has_body
        cdef int i
        self.answered_ns = now
        if self.outbox.defers:
            self.own_ns += self.sent_ns - self.dispatched_ns
        self.state = ANSWERING
        line.clear()
        line._raw(b"HTTP/1.1 ", 9)
        line.integer(head.status)
        line._raw(b" ", 1)
        line._raw(<const char*>head.reason.p, head.reason.n)
        line._raw(b"\r\n", 2)
        for i in range(head.count):
            field = &head.fields[i]
            if field.known == CONTENT_TYPE:
                content_type = heads.same(heads.content_type, field.value)
            elif field.known == CONTENT_ENCODING:
                content_encoding = copied(field.value)
            if (
                field.dropped or field.known == HOP or field.known == CONNECTION
                or field.known == TRANSFER_ENCODING or field.known == CONTENT_LENGTH
                or field.known == TRACE_ID
            ):
                continue
            if field.known == OURS and self.governed:
                continue
            add_field(line, field)
        if self.governed:
            self.front.agent.answered()
            self.forward.settle_head(head.status, content_type, content_encoding)
            line._raw(b"X-Agent-Trace-ID: ", 18)
            line.ascii(self.forward.trace_id)
            line._raw(b"\r\nX-Agent-Trust-Score: ", 23)
            line.integer(self.forward.trust_score)
            line._raw(b"\r\nX-Agent-Latency-Ms: ", 22)
            line.hundredths((now - self.received_ns) // 10000)
            line._raw(b"\r\nX-IATP-Decision: allow\r\n", 26)
            if self.forward.quarantined:
                line._raw(b"X-Agent-Quarantined: true\r\n", 27)
        else:
            line._raw(b"X-Agent-Trace-ID: ", 18)
            line.ascii(self.front.gate.trace_id(self.request))
            line._raw(b"\r\n", 2)
        has_body = not (self.head_request or head.status == 204 or head.status == 304)
        if (
            self.governed and self.front.gate.judges_answers and has_body
            and head.content_length != 0
            and self.front.gate.holds(content_type, head.content_length >= 0)
        ):
            self.held = bytearray()
            self.held_head = line.done()
            if head.content_length > self.front.max_body:
                return self._withhold("it is longer than IATP_MAX_BODY")
            return self._hold(begun.p, begun.n) if begun.n else 0
        if head.content_length >= 0:
            if head.status != 204:
                line._raw(b"Content-Length: ", 16)
                line.integer(head.content_length)
                line._raw(b"\r\n", 2)
        elif has_body:
            if self.asked.minor == 1:
                self.chunked_out = True
                line._raw(b"Transfer-Encoding: chunked\r\n", 28)
            else:
                self.until_close = True
                self.keep = False
        self._end_head(line)
        if 0 < begun.n <= TOGETHER:
            # There is a length, so it is not chunked.
            if self._pass(begun.p, begun.n):
                line._raw(<const char*>begun.p, begun.n)
            begun.n = 0
        self.head_out = True
        if self.transport is not None:
            self.write(line.done())
        if begun.n:
            return self.answer_piece(begun.p, begun.n)
        return 0

    cdef int _end_head(self, Line line) except -1:
        """Says in the head of the answer whether the connection stays, and ends it."""
        if self.front.draining or (self.at_eof and self.pending is None and not self.more):
            self.keep = False
        if not self.keep:
            line._raw(b"Connection: close\r\n", 19)
        elif self.asked.minor == 0:
            line._raw(b"Connection: keep-alive\r\n", 24)
        return line._raw(b"\r\n", 2)

    cdef int _hold(self, const unsigned char* p, Py_ssize_t n) except -1:
        """Keeps a piece of an answer that the caller gets once all of it has been judged."""
        cdef bint crowded
        self.forward.settle_bytes(p, n)
        if self.transport is None or self.gone:
            return 0
        self.held += p[:n]
        crowded = self.front.budget.take(n)
        if len(self.held) > self.front.max_body:
            return self._withhold("it is longer than IATP_MAX_BODY")
        if crowded:
            self.link.detach()
            return self.answer_failed("buffers_full")
        return 0

    cdef int _withhold(self, str why) except -1:
        """The caller does not get this answer, and is told so; `why` is for the record."""
        if self.link is not None:
            self.link.detach()
        return self._respond(
            self.front.gate.fail(
                self.forward, "answer_withheld", wall_ns(), monotonic_ns(), why
            ), b"",
        )

    cdef int _release_held(self) except -1:
        if self.held is not None:
            self.front.budget.take(-len(self.held))
            self.held = None
            self.held_head = None
        return 0

    cdef int _send_held(self, bytes body) except -1:
        """Lets an answer go that has been judged."""
        cdef Line line = self.front.heads.line
        cdef bytes head = self.held_head
        if self.forward.answer_redacted:
            head = of_another_body(head)
        self._release_held()
        line.clear()
        line.raw(head)
        line._raw(b"Content-Length: ", 16)
        line.integer(len(body))
        line._raw(b"\r\n", 2)
        self._end_head(line)
        self.head_out = True
        if self.transport is not None:
            self.write(line.done())
            self.write(body)
        return 0

    cdef int _pass(self, const unsigned char* p, Py_ssize_t n) except -1:
        """Tells the gate of a piece of the answer: 1 where the caller gets it, 0 if it is gone."""
        if self.governed:
            self.forward.settle_bytes(p, n)
        if self.transport is None or self.gone:
            return 0
        self.turn_bytes += n
        if self.turn_bytes >= TURN_BYTES and self.link is not None:
            self.link.hold()
        return 1

    cdef int answer_piece(self, const unsigned char* p, Py_ssize_t n) except -1:
        if self.held is not None:
            return self._hold(p, n)
        if not self._pass(p, n):
            return 0
        if self.chunked_out:
            return self.write(b"%x\r\n%b\r\n" % (n, p[:n]))
        return self.write(p[:n])

    cdef int answer_end(self) except -1:
        # The link is free by now, and would not tell anybody of a failure.
        try:
            return self._answered()
        except Exception:
            return self._broken()

    cdef int answer_failed(self, str code) except -1:
        try:
            return self._unanswered(code)
        except Exception:
            return self._broken()

    cdef int _answered(self) except -1:
        """The answer has come whole."""
        cdef long long now = self.outbox.now_ns()
        cdef bytes body = None
        if self.governed:
            if self.gone:
                self._end_unheard("caller_gone")
                return 0
            if self.held is not None:
                body = self.front.gate.judge(self.forward, bytes(self.held))
                if body is None:
                    return self._withhold(self.forward.withheld)
                self._send_held(body)
            if self.at_eof and not self.proved:
                return self._prove()
            self._settle_end(ANSWERED, now)
            # Whatever of the answer has not left waits for that record, if only its end.
            self.recorded = True
            self._count(DECISION_ALLOW, self.forward.agent_status)
            self.final = True
            self.answered_ns = now
        elif self.gone:
            self._done()
            return 0
        if self.chunked_out:
            self.write(b"0\r\n\r\n")
        if not self.keep:
            return self._linger()
        return self._next()

    cdef int _settle_end(self, object outcome, long long now) except -1:
        """Records the answer, and counts what was found in it."""
        cdef Forward forward = self.forward
        cdef int finding
        cdef long long count
        self.outbox.record(self.front.gate.settle_end(
            forward, outcome, (now - self.received_ns) // 1000, wall_ns(), now
        ))
        for finding, count in forward.answer_findings:
            self.front.counters.answer_finding(finding, count)
        return 0

    cdef int _prove(self) except -1:
        """Holds the end of an answer back until its caller has had time to reset.

        A caller that has closed and one that has only ended its own side look alike until
        they are sent something; the record must be right before the last byte leaves.
        """
        cdef bytes held
        if self.out is not None:
            held = self.out if self.pieces is None else b"".join(self.pieces)
            self.forget()
            self.out = held[:8]
            self.held_back = held[8:]
        self.state = PROVING
        self._expect(monotonic_ns() + PROOF_NS)
        return 0

    cdef int _proved(self) except -1:
        """Lets the end of the answer go, if its caller is still there."""
        cdef bytes held = self.held_back
        cdef int error = 0
        cdef unsigned int length = sizeof(error)
        # The event loop reads no more after a FIN, and so does not see a reset either.
        getsockopt(
            self.transport.get_extra_info("socket").fileno(), SOL_SOCKET, SO_ERROR,
            &error, &length,
        )
        if error:
            self.abort_transport()
            return 0
        self.held_back = None
        self.proved = True
        self.state = ANSWERING
        if held:
            self.write(held)
        return self.answer_end()

    cdef int left(self) except -1:
        self.partly_out = self.state == ANSWERING or self.state == PROVING
        self.turn_bytes = 0
        if self.link is not None:
            self.link.release()
        # The sidecar's own share: deciding, and from the answer's end to its leaving.
        if self.final:
            self.final = False
            self.own_ns += self.outbox.flushed_ns - self.answered_ns
            self.front.counters.observe_overhead_us(self.own_ns / 1000.0)
        if self.state == LEAVING:
            return self._await_head()
        return 0

    cdef int _unanswered(self, str code) except -1:
        """No (whole) answer comes."""
        cdef long long now
        if self.gone:
            self._end_unheard("caller_gone")
            return 0
        if not self.governed:
            if self.head_out:
                self.state = CLOSED
                self._done()
                return self.finish(ABORT)
            return self._refuse("internal_error" if code != "draining" else code, True, b"")
        if self.head_out:
            # Part of the answer has left: the caller must see that it is not whole.
            now = monotonic_ns()
            self.front.counters.upstream_error(UPSTREAM_TRUNCATED)
            self._settle_end(TRUNCATED, now)
            self._count(DECISION_ERROR, self.forward.agent_status)
            self._done()
            self.state = CLOSED
            if not self.until_close:
                return self.finish(CLOSE)
            # A plain end would look like the end of the answer: the caller gets a reset.
            self._reset_at_close()
            return self.finish(ABORT)
        return self._end_forward(code)

    cdef int _reset_at_close(self) except -1:
        """Has the connection end with a reset once it is dropped."""
        cdef linger now
        if self.transport is not None:
            now.l_onoff = 1
            now.l_linger = 0
            setsockopt(
                self.transport.get_extra_info("socket").fileno(), SOL_SOCKET, SO_LINGER,
                &now, sizeof(now),
            )
        return 0

    cdef int record_failed(self) except -1:
        """The records of this turn are not on disk: the answer may not leave."""
        self.forget()
        self.after = 0
        if self.transport is None:
            return 0
        if not self.partly_out and (
            self.state == LINGERING or self.state == READ_HEAD or self.state == WAITING
            or self.state == LEAVING
        ):
            if self.state == WAITING and self.link is not None:
                self.link.detach()
            elif self.state == WAITING:
                self._give_up()
            self.keep = False
            self.state = WAITING
            self.governed = False
            return self._refuse(self.outbox.failure(), True, b"")
        self.abort_transport()
        return 0

    cdef int _end_forward(self, str code) except -1:
        """The one ending record of a request that was forwarded but not answered."""
        respond = self.front.gate.fail(self.forward, code, wall_ns(), monotonic_ns())
        return self._respond(respond, b"")

    cdef int _end_unheard(self, str code) except -1:
        """Ends a request whose caller hears nothing more of it; its record says why."""
        cdef Forward forward = self.forward
        if forward is not None and not forward.ended:
            respond = self.front.gate.fail(forward, code, wall_ns(), monotonic_ns())
            for record in respond.records:
                self.outbox.record(record)
            self._count(_DECISIONS[respond.decision], respond.status)
        return self._done()

    cdef int _caller_gone(self) except -1:
        """The connection is lost; what waits is taken out, what works is finished."""
        cdef Link link = self.link
        if self.gone:
            return 0
        self.gone = True
        if not self.governed:
            if link is not None:
                link.detach()
            self._done()
            return 0
        if self.state == READ_BODY or self.state == CLAIMING:
            if self.request is None:
                self._as_request(b"")
            for record in self.front.gate.refuse(self.request, "caller_gone").records:
                self.outbox.record(record)
            self._count(DECISION_REFUSE, 499)
            self._done()
            self.state = CLOSED
        elif self.state == WAITING or self.state == ANSWERING or self.state == PROVING:
            self.held_back = None
            if link is None:
                if self.waits:
                    self.front.agent.cancel(self)
                self.abandoned = True
                self._end_unheard("caller_gone")
            elif self.repeatable:
                link.detach()
                self._end_unheard("caller_gone")
            else:
                # Not idempotent: the agent's side is finished, and read as fast as it comes.
                link.resume()
        return 0


def _without_records(respond):
    return Respond(
        status=respond.status, decision=respond.decision, code=respond.code, body=respond.body,
        trace_id=respond.trace_id, trust_score=respond.trust_score, records=(),
        retry_after_s=respond.retry_after_s, closes=respond.closes,
    )
