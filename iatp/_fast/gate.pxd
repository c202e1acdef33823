cimport cython
from iatp._fast.answer cimport Answer
from iatp._fast.reading cimport Scanner
from iatp._fast.tails cimport Tails


@cython.final
cdef class Forward:
    # Only Gate makes one; only a Forward may be sent to the agent.
    cdef readonly str trace_id
    cdef readonly str request_id
    cdef readonly int trust_score
    cdef readonly bint quarantined
    cdef readonly tuple records
    cdef readonly tuple findings
    cdef readonly bytes body             # to send in place of what was received, or None
    cdef readonly bint spared            # it only passes because the policy observes
    cdef readonly bint ended
    cdef readonly int agent_status       # 0 until settle_head
    cdef readonly long long answer_bytes
    cdef readonly bint answer_redacted   # the caller got it with values replaced
    cdef readonly str withheld           # why the caller did not get the answer
    cdef readonly tuple answer_findings  # as `findings`; known once the answer is settled

    cdef Gate _gate
    # What `fail` has to know of the request; its body is not held.
    cdef str _method
    cdef bytes _path
    cdef str _caller
    cdef str _peer
    cdef bytes _content_type
    cdef bytes _content_encoding
    cdef bytes _first
    cdef bytearray _kept
    cdef Answer _answer                  # counts what passes, where it is not all kept


@cython.final
cdef class Gate:
    cdef readonly object policy
    cdef readonly int trust_score

    cdef readonly tuple names            # of what can be found, by their numbers
    cdef readonly bint judges_answers    # some are not passed on as they are
    cdef readonly bint limits_paths      # not every path below /proxy is open

    cdef Scanner _scanner
    cdef Tails _tails
    cdef object _clear                   # the _Row where nothing is found
    cdef dict _rows                      # those of sets of findings that were met
    cdef bint _observes
    # Sets of findings, as reading.pyx has them.
    cdef object _answer_redacts
    cdef object _answer_blocks
    cdef object _mode
    cdef bytes _secret
    cdef str _policy_version
    cdef Py_ssize_t _window              # how much of an answer is kept for its record

    cpdef str trace_id(self, object request)
    cpdef tuple closed(self, str method, bytes target)
    cdef bint reads(self, bytes content_type) except -1
    cpdef object admit_head(
        self, object request, object declared_length=*, int rate_retry_after_s=*
    )
    cpdef object admit(self, object request, object grant=*)
    cpdef object refuse(
        self, object request, str code, str detail=*, int count=*, int agent_status=*
    )
    cpdef object fail(
        self, Forward forward, str code, long long time_ns, long long mono_ns, str detail=*
    )
    cpdef object settle_head(
        self, Forward forward, int status, bytes content_type, bytes content_encoding
    )
    # A piece of the agent's answer, content-encoded as it came; copied as far as it is kept.
    cdef int settle_bytes(
        self, Forward forward, const unsigned char* data, Py_ssize_t length
    ) except -1
    cpdef bint holds(self, bytes content_type, bint has_length) except -1
    cpdef bytes judge(self, Forward forward, bytes body)
    cpdef bytes settle_end(
        self, Forward forward, object outcome, long long latency_us, long long time_ns,
        long long mono_ns
    )
