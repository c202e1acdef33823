cimport cython
from iatp._fast.forward cimport Forward
from iatp._fast.reading cimport Scanner
from iatp._fast.tails cimport Tails


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
    cpdef bint holds(self, bytes content_type, bint has_length) except -1
    cpdef bytes judge(self, Forward forward, bytes body)
    cpdef bytes settle_end(
        self, Forward forward, object outcome, long long latency_us, long long time_ns,
        long long mono_ns
    )
