# The only parser of what comes from a socket; see door.pyx.
from iatp._fast.body cimport Body, Budget
from iatp._fast.counters cimport Counters
from iatp._fast.gate cimport Gate
from iatp._fast.heads cimport Heads, RequestHead
from iatp._fast.http cimport Head, Slice
from iatp._fast.ids cimport Ids
from iatp._fast.limits cimport RateLimiter
from iatp._fast.outbox cimport Outbox
from iatp._fast.record cimport Line
from iatp._fast.upstream cimport AgentPool, Exchange, Pool


cdef class Front:
    cdef Outbox outbox
    cdef Counters counters
    cdef Gate gate
    cdef AgentPool agent
    cdef Pool application
    cdef RateLimiter limiter
    cdef object read_buffer
    cdef object head_buffer      # its beginning
    cdef unsigned char[::1] read_view
    cdef object settle_claim     # settle_claim(door, claim): asks the control state
    cdef Ids ids
    cdef Heads heads
    cdef Budget budget
    cdef bytes readable_type     # the last type of a body that the gate can read
    cdef set doors
    cdef public bint draining
    cdef readonly long long last_request_ns
    cdef bint idempotent_agent
    cdef long long max_body
    cdef int max_connections
    cdef dict refused            # peer -> refusals of unauthenticated framing this second
    cdef bytes date
    cdef long long date_s

    cdef bytes date_line(self)
    cdef bint may_record_refusal(self, str peer) except -1


cdef class Door(Exchange):
    cdef Front front
    cdef RequestHead asked       # of the request being read or served
    cdef Body body               # and its body
    cdef readonly str listener   # data, admin or metrics
    cdef bint tls
    cdef int state
    cdef bytearray pending
    cdef Py_ssize_t searched
    cdef Py_ssize_t line_seen
    cdef bint feeding
    cdef bint input_paused
    cdef bint at_eof
    cdef bint gone
    cdef bint counted
    cdef long long linger_end_ns

    # the request being read or served
    cdef object request
    cdef str request_id
    cdef bint governed           # a request to /proxy
    cdef bint keep
    cdef char* read_into         # inside of the body, between get_buffer and what it reads
    cdef long long received_ns   # when its head had come, then its body; 0: no head was read
    cdef long long own_ns        # the sidecar's own share so far
    cdef long long answered_ns
    cdef long long dispatched_ns  # given to a link; it leaves once the disk has its record
    cdef bint head_out           # the head of the answer has been queued
    cdef bint chunked_out
    cdef bint until_close        # only the connection's end says where the answer ends
    cdef bint more               # bytes behind the body in hand that are not in `pending` yet
    cdef bint proved             # has taken bytes after it ended its own side
    cdef bytearray held          # of an answer that is judged before its caller gets it
    cdef bytes held_head         # without its length and its end
    cdef bytes held_back         # an answer's bytes while that is waited for
    cdef bint fresh              # no request has come on this connection yet
    cdef Py_ssize_t turn_bytes   # of the answer's body, queued since bytes last left
    cdef bint partly_out         # some of an answer has left, and not all of it
    cdef bint final              # the answer's last bytes leave with this turn

    cdef char* _place(self, Py_ssize_t* room) noexcept
    cdef int _came(self, Py_ssize_t n) except -1
    cdef int _read(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef bint _ended(self) except -1
    cdef int _expect(self, long long deadline_ns) except -1
    cdef int _pause_input(self) except -1
    cdef int _resume_input(self) except -1
    cdef int _feed(self) except -1
    cdef Py_ssize_t _feed_read(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef int _read_head(self) except -1
    cdef int _take_head(self, const unsigned char* p, Py_ssize_t n, Py_ssize_t* used) except -1
    cdef int _keep_head(self, Head* head) except -1
    cdef int _route(self, Head* head) except -1
    cdef bint _readable(self) except -1
    cdef Py_ssize_t _read_body(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef int _arrived(self) except -1
    cdef int _decide(self, object grant) except -1
    cdef int _govern(self) except -1
    cdef int _ask_application(self) except -1
    cdef object _as_request(self, bytes body)
    cdef int _refuse(self, str code, bint closes, bytes extra) except -1
    cdef int _respond(self, object respond, bytes extra) except -1
    cdef int _end_forward(self, str code) except -1
    cdef int _count(self, int decision, int status) except -1
    cdef int _done(self) except -1
    cdef int _reset_at_close(self) except -1
    cdef int _next(self) except -1
    cdef int _await_head(self) except -1
    cdef int _prove(self) except -1
    cdef int _proved(self) except -1
    cdef int _give_up(self) except -1
    cdef int _linger(self) except -1
    cdef int _caller_gone(self) except -1
    cdef int _settle_end(self, object outcome, long long now) except -1
    cdef int _end_head(self, Line line) except -1
    cdef int _hold(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef int _withhold(self, str why) except -1
    cdef int _release_held(self) except -1
    cdef int _send_held(self, bytes body) except -1
    cdef int _pass(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef int _broken(self) except -1
    cdef int _answered(self) except -1
    cdef int _unanswered(self, str code) except -1
    cdef int _end_unheard(self, str code) except -1
