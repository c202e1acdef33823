# A request's body as it arrives; see body.pyx.
cimport cython
from iatp._fast.counters cimport Counters
from iatp._fast.http cimport Chunks


@cython.final
cdef class Budget:
    cdef Counters counters
    cdef long long _limit
    cdef long long _taken

    cdef bint take(self, long long n) noexcept


@cython.final
cdef class Body:
    cdef Budget budget
    cdef readonly Py_ssize_t size        # bytes that are held
    cdef bint complete
    cdef str trouble                     # why it is refused, or None
    cdef bytes _whole
    cdef bytearray _parts                # or this, where it is long or its length is not known
    cdef bint _chunked
    cdef long long _left
    cdef Chunks _chunks

    cdef int begin(self, long long length) except -1
    cdef char* place(self, Py_ssize_t* room) noexcept
    cdef Py_ssize_t read(self, const unsigned char* p, Py_ssize_t n, long long limit) except -1
    cdef bytes take(self)
    cdef bint resize(self, Py_ssize_t size) noexcept
    cdef int release(self) except -1
