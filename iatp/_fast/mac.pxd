cimport cython
from libc.stdint cimport uint32_t


@cython.final
cdef class Mac:
    cdef object _keyed                   # BLAKE2b under the key, copied for each payload
    cdef bint _wide
    cdef uint32_t[260] _pad

    cpdef str of(self, bytes payload)
