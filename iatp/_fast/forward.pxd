# Permission to send one request to the agent; see forward.pyx.
cimport cython
from iatp._fast.answer cimport Answer
from iatp._fast.tails cimport Tails


@cython.final
cdef class Forward:
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

    cdef Tails _tails
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

    cpdef object settle_head(self, int status, bytes content_type, bytes content_encoding)
    cdef int settle_bytes(self, const unsigned char* data, Py_ssize_t length) except -1
    cdef int tell_answer(self, bint whole) except -1
    cdef int _begin(self, const unsigned char* data, Py_ssize_t length) except -1
    cdef bytes _so_far(self)


cdef Forward make_forward(Tails tails)
