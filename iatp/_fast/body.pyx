"""Collects a request's body as it arrives, and counts what is buffered in all.

A declared length alone takes no memory: what counts is what has come.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcpy

from iatp._fast.counters cimport Counters
from iatp._fast.http cimport (
    BROKEN, DONE, TRAILER_TOO_LARGE, Slice, chunks_begin, chunks_read,
)

cdef enum:
    # A body up to this length gets its memory at once; what is not received of it is not
    # touched. A larger one grows as it comes.
    WHOLE = 1 << 18
    # Of a body that has its memory and lacks so much, what comes is read into it.
    DIRECT = 1 << 12


@cython.final
cdef class Budget:
    """What is buffered in all: bodies of requests, and answers that are held."""

    def __cinit__(self, Counters counters not None, long long limit):
        self.counters = counters
        self._limit = limit

    cdef bint take(self, long long n) noexcept:
        """Counts `n` bytes more, or fewer; whether that is more than there may be."""
        self._taken += n
        self.counters.buffered(n)
        return self._taken > self._limit


@cython.final
cdef class Body:
    """The body of the request that a connection reads or serves."""

    def __cinit__(self, Budget budget not None):
        self.budget = budget

    cdef int begin(self, long long length) except -1:
        """A body of this length comes; -1: in chunks."""
        self.complete = False
        self.trouble = None
        self._chunked = length < 0
        self._left = length
        if self._chunked:
            chunks_begin(&self._chunks)
        if 0 <= length <= WHOLE:
            self._whole = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>length)
        else:
            self._parts = bytearray()
        return 0

    cdef char* place(self, Py_ssize_t* room) noexcept:
        """Where what comes next may be received, and how much of it; NULL: not here."""
        if self._whole is None or self._left < DIRECT:
            return NULL
        room[0] = <Py_ssize_t>self._left
        return PyBytes_AS_STRING(self._whole) + self.size

    cdef Py_ssize_t read(self, const unsigned char* p, Py_ssize_t n, long long limit) except -1:
        """Bytes that were used, at least 1; sets `complete` or `trouble`.

        They may lie at `place` already.
        """
        cdef Py_ssize_t used
        cdef Slice data
        cdef char* place
        if self._chunked:
            used = chunks_read(&self._chunks, p, n, &data)
            if self._chunks.state == BROKEN:
                self.trouble = "malformed_request"
                return n
            if self._chunks.state == TRAILER_TOO_LARGE:
                self.trouble = "headers_too_large"
                return n
            self.complete = self._chunks.state == DONE
        else:
            used = n if n < self._left else <Py_ssize_t>self._left
            data.p = p
            data.n = used
            self._left -= used
            self.complete = self._left == 0
        if data.n:
            place = PyBytes_AS_STRING(self._whole) + self.size if self._whole is not None else NULL
            self.size += data.n
            if self.budget.take(data.n):
                self.trouble = "buffers_full"
            if self.size > limit:
                self.trouble = "body_too_large"
            if self.trouble is not None:
                return n
            if place == NULL:
                self._parts += data.p[:data.n]
            elif place != <char*>data.p:
                memcpy(place, data.p, data.n)
        return used

    cdef bytes take(self):
        """The complete body; it still counts."""
        cdef bytes body = self._whole
        if body is None:
            body = b"" if self._parts is None else bytes(self._parts)
        self._whole = None
        self._parts = None
        return body

    cdef bint resize(self, Py_ssize_t size) noexcept:
        """What was taken has another size now; whether that is more than there may be."""
        cdef Py_ssize_t more = size - self.size
        self.size = size
        return self.budget.take(more)

    cdef int release(self) except -1:
        """It is no longer held."""
        self._whole = None
        self._parts = None
        if self.size:
            self.budget.take(-self.size)
            self.size = 0
        return 0
