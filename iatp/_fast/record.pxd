cimport cython
from cpython.object cimport PyObject
from libc.string cimport memcpy, strlen


@cython.final
cdef class Line:
    # One record tail under construction; grows as needed. `_text` is inside of `_made`, the
    # bytes that `done` may hand over.
    cdef PyObject* _made
    cdef char* _text
    cdef Py_ssize_t _length
    cdef Py_ssize_t _capacity

    cdef int _grow(self, Py_ssize_t more) except -1
    cdef void _forget(self) noexcept

    cdef inline int _reserve(self, Py_ssize_t more) except -1:
        if self._capacity - self._length < more:
            return self._grow(more)
        return 0

    cdef inline int _raw(self, const char* text, Py_ssize_t length) except -1:
        self._reserve(length)
        memcpy(self._text + self._length, text, length)
        self._length += length
        return 0

    cdef inline int literal(self, const char* text) except -1:
        # Text of this project; the compiler counts a literal, and copies it without a call.
        return self._raw(text, strlen(text))

    cdef int _escape(self, const unsigned char* text, Py_ssize_t length) except -1
    cdef int _embed(self, const unsigned char* text, Py_ssize_t length) except -1
    cpdef int raw(self, bytes text) except -1
    cpdef int string(self, bytes text) except -1
    cdef int text(self, str value) except -1
    cdef int utf8(self, const unsigned char* text, Py_ssize_t length) except -1
    cpdef int json(self, bytes value) except -1
    cpdef int integer(self, long long value) except -1
    cpdef int milliseconds(self, long long microseconds) except -1
    cpdef int timestamp(self, long long time_ns) except -1
    cdef int ascii(self, str text) except -1
    cdef int hex(self, const unsigned char* data, Py_ssize_t length) except -1
    cdef int hundredths(self, long long value) except -1
    cdef void clear(self) noexcept
    cpdef bytes done(self)


cpdef list lines(list tails, long long first, bytes middle)
cdef bint is_utf8(bytes text) except -1
cpdef bytes json_string(bytes text)
cpdef Py_ssize_t cut_at(bytes text, Py_ssize_t limit)
