# The road to the agent and to the aiohttp application; see upstream.pyx.
from iatp._fast.counters cimport Counters
from iatp._fast.gate cimport Forward
from iatp._fast.http cimport Chunks, Head, Slice
from iatp._fast.limits cimport Slots
from iatp._fast.outbox cimport Outbox, Peer


cdef class Exchange(Peer):
    # One request on its way upstream; the door is one.
    cdef readonly str peer       # who asks, as records name it
    cdef bytes message           # the request as the upstream gets it, head and body
    cdef bytes message_body      # or the body, where it is not worth a copy
    cdef Forward forward         # None on the way to the application
    cdef Link link               # the connection that serves it
    cdef bint repeatable         # may be sent a second time where no answer began
    cdef bint head_request       # HEAD: the answer has no body
    cdef bint sent               # bytes have left for the upstream
    cdef bint waits              # is in the agent's queue
    cdef bint abandoned          # its caller went away while it waited
    cdef bint reading_paused     # the caller does not take what it is sent
    cdef int tries
    cdef int cell                # slot of the agent's concurrency limit, or -1
    cdef long long queued_ns
    cdef long long sent_ns

    cdef int dispatched(self) except -1
    cdef int answer_head(self, Link link, Head* head, Slice begun) except -1
    cdef int answer_piece(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef int answer_end(self) except -1
    cdef int answer_failed(self, str code) except -1


cdef class Link(Peer):
    cdef Pool pool
    cdef Exchange exchange
    cdef Link under              # the idle ones below and above it on the stack
    cdef Link over
    cdef int state
    cdef bint used               # has carried an exchange before this one
    cdef bint answered           # a byte of the answer has come
    cdef bint reusable
    cdef bint paused
    cdef bint held               # reading waits for the end of the turn
    cdef bint at_eof
    cdef int interim             # 1xx answers so far
    cdef Py_ssize_t behind       # bytes that came together with an answer's end, behind it
    cdef bytearray partial       # an incomplete head
    cdef Py_ssize_t searched
    cdef Chunks chunks
    cdef long long left_bytes
    cdef long long total_ns      # of the whole answer; 0: none

    cdef int _came(self, Py_ssize_t n) except -1
    cdef int begin(self, Exchange exchange) except -1
    cdef int _wait(self, long long ns) except -1
    cdef int pause(self) except -1
    cdef int resume(self) except -1
    cdef int hold(self) except -1
    cdef int release(self) except -1
    cdef int detach(self) except -1
    cdef bint _quiet(self) except -1
    cdef int _take(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef Py_ssize_t _take_head(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef Py_ssize_t _take_body(self, const unsigned char* p, Py_ssize_t n) except -1
    cdef Py_ssize_t _begin_body(self, Head* head, const unsigned char* p, Py_ssize_t n) except -1
    cdef int _part(self) except -1
    cdef int _rest(self) except -1
    cdef int _leave_stack(self) except -1
    cdef int _drop(self) except -1
    cdef int _complete(self) except -1
    cdef int _fail(self, str code) except -1


cdef class Pool:
    cdef Outbox outbox
    cdef Counters counters
    cdef object connect          # connect(pool, exchange): opens a link off the hot path
    cdef object read_buffer
    cdef unsigned char[::1] read_view
    cdef bint governed
    cdef Link idle               # the top of the stack
    cdef set links
    cdef readonly int opening
    cdef readonly bint closing
    cdef long long head_timeout_ns
    cdef long long idle_timeout_ns
    cdef long long total_timeout_ns

    cdef int submit(self, Exchange exchange) except -1
    cdef int dispatch(self, Exchange exchange) except -1
    cdef int released(self, Exchange exchange) except -1
    cdef int failed(self, Exchange exchange, str code) except -1
    cdef int cancel(self, Exchange exchange) except -1


cdef class AgentPool(Pool):
    cdef Slots slots
    cdef object waiting
    cdef readonly int queued
    cdef int queue_limit
    cdef long long queue_timeout_ns
    cdef int failures            # connects and resets failed in a row
    cdef str culprit             # whose request failed last
    cdef long long probe_ns      # the breaker lets one of its requests through after this
    cdef long long others_ns     # and one of somebody else's after this
    cdef object poll_handle
    cdef bint polling

    cdef bint has_room(self) noexcept
    cdef bint failing_fast(self, Exchange exchange) except -1
    cdef int answered(self) except -1
    cdef int _start(self, Exchange exchange) except -1
    cdef int _queue_grew(self, Exchange exchange) except -1
    cdef int _queue_shrank(self, Exchange exchange) except -1
    cdef int _fill(self) except -1
    cdef int next_waiting(self, int cell) except -1
