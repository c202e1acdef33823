# What is found in a payload; see reading.pyx.
cimport cython
from libc.stdint cimport uint64_t
from iatp._fast.content cimport ContentType
from iatp._fast.patterns cimport Patterns
from iatp._fast.text cimport MOST_FINDINGS, Spans

cdef enum:
    FINDING_WORDS = MOST_FINDINGS >> 6


@cython.final
cdef class Tally:
    # How many there are of each finding, and which there are: a bit for each, 64 to a word.
    cdef unsigned int[MOST_FINDINGS] counts
    cdef uint64_t[FINDING_WORDS] words

    cdef void add(self, int finding) noexcept
    cdef object found(self)
    cdef tuple pairs(self)
    cdef int leave_out(self, object findings) except -1


@cython.final
cdef class Reading:
    # One payload as it was read: `spans` lie in `text`, which is what may be recorded.
    cdef bytes text
    cdef Spans spans
    cdef bint json
    cdef Tally tally                     # None where nothing was found
    cdef object found                    # the set of it, once all is read; else None
    cdef object target_found             # what of it is in the target; or None
    cdef str code                        # why it is refused, or None
    cdef str detail
    cdef bytes decoded
    # Filled for requests.
    cdef str method
    cdef str caller
    cdef str peer
    cdef bytes path
    cdef tuple findings
    cdef bytes sent                      # what the agent gets instead of the body
    # What explain looks at again where the body was not strictly JSON.
    cdef bytes source
    cdef int form

    cdef int add(self, int finding) except -1
    cdef int count(self, Spans spans) except -1


@cython.final
cdef class Scanner:
    cdef Patterns patterns               # the policy's own, or None
    cdef object off                      # the set of findings that are not judged
    cdef Py_ssize_t max_body
    cdef bytes clean_target              # the last target in which nothing was found

    cdef Spans look(self, bytes data, int form)
    cdef Reading read(self, object request)
    cdef int read_any(
        self, Reading reading, bytes text, ContentType content_type, bint json
    ) except -1
    cdef int leave_out_off(self, Reading reading) except -1
    cdef bytes without(self, ContentType content_type, Reading reading, object findings)
    cdef bytes scrubbed(self, bytes text, int form)
    cdef bytes cut(self, bytes text, Spans spans, Py_ssize_t limit)
    cdef int _read_json(self, Reading reading, bytes body) except -1
    cdef int _read_loose(self, Reading reading, bytes text, int form) except -1


cdef bint is_unjudged(Spans spans) noexcept
cdef bint is_strict(str method, bytes target)
cdef bint may_hold_json(bytes text)
cdef bytes replaced(bytes text, Spans spans, object findings, bint form)
