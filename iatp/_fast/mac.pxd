cimport cython
from libc.stdint cimport uint32_t


@cython.final
cdef class Mac:
    cdef unsigned char[16] _key          # of SipHash
    cdef bint _wide
    cdef uint32_t[260] _pad

    cpdef str of(self, bytes payload)
