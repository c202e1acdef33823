cimport cython

from iatp._fast.content cimport Inflater
from iatp._fast.patterns cimport Patterns
from iatp._fast.text cimport MOST_FINDINGS


@cython.final
cdef class Flow:
    cdef long[MOST_FINDINGS] counts      # by their numbers in FINDINGS
    cdef int _form
    cdef bint _bordered
    cdef unsigned char* _text
    cdef unsigned char* _borders         # 1 where a piece begins
    cdef Py_ssize_t _length
    cdef Py_ssize_t _room
    cdef Py_ssize_t _first               # what begins before has been counted

    cdef int add(self, const unsigned char* data, Py_ssize_t length) except -1
    cdef int end(self) except -1
    cdef int _widen(self, Py_ssize_t room) except -1
    cdef int _look(self, bint last) except -1


@cython.final
cdef class Answer:
    cdef Flow _flow
    cdef object _patterns                # the PatternFlow of the same text, or None
    cdef object _deltas
    cdef Inflater _inflater              # None where it is not compressed
    cdef long long _left

    cdef int add(self, const unsigned char* data, Py_ssize_t length) except -1
    cdef tuple end(self)
    cdef int _take(self, const unsigned char* data, Py_ssize_t length) except -1
    cdef int _inflate(self, bytes data) except -1


cdef Py_ssize_t settled(bytes text)
cpdef bytes scrub_deltas(bytes text, bint whole, list found, Patterns patterns=*)
