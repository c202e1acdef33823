# What is found in a body, a target or a text; see scan.pyx.

from iatp._fast.text cimport Span, Spans


cpdef Spans scan(bytes data, int form)
cpdef bytes redact(bytes data, Spans spans)
cdef bytes mark(const Span* span)
cpdef int vectors(int level)
cpdef tuple counts(Spans spans)
cdef bint is_too_much(Spans spans) noexcept
