cimport cython
from libc.stdint cimport uint32_t, uint64_t


@cython.final
cdef class Mac:
    cdef unsigned char[16] _key          # of SipHash
    cdef bint _wide
    cdef uint32_t[260] _pad

    cdef void hash(self, const unsigned char* data, Py_ssize_t n, uint64_t* out) noexcept
    cpdef str of(self, bytes payload)
