cimport cython
from libc.stdint cimport uint32_t


@cython.final
cdef class Mac:
    cdef bytes _key
    cdef uint32_t[260] _pad

    cpdef str of(self, bytes payload)
