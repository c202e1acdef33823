# Random bytes and request IDs; see ids.pyx.
cimport cython


@cython.final
cdef class Ids:
    cdef bytes _entropy
    cdef Py_ssize_t _at

    cdef const unsigned char* random(self, Py_ssize_t n) except NULL
    cpdef str new(self, long long time_ns)
