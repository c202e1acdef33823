# What is found in a body, a target or a text; see scan.pyx.

cimport cython


cdef struct Span:
    Py_ssize_t start
    Py_ssize_t end
    unsigned char kind      # index in KINDS
    unsigned char quoted    # 1: a JSON number, its replacement gets quotes


@cython.final
cdef class Spans:
    cdef Span* items
    cdef Py_ssize_t count
    cdef Py_ssize_t _room
    cdef readonly object error           # why the body is not valid JSON, or None
    cdef readonly Py_ssize_t error_at    # at which byte; 0 where there is no error

    cdef int add(self, Py_ssize_t start, Py_ssize_t end, int kind, int quoted) except -1


cpdef Spans scan(bytes data, int form)
cpdef bytes redact(bytes data, Spans spans)
cpdef int vectors(int level)
cpdef tuple counts(Spans spans)
