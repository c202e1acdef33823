# How an index lies in its file; see trail.pyx.
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    HEADER = 64
    ENTRY = 24
    KEY_AT = 16
    KEY = 16
    COUNT_AT = 32


cdef inline uint32_t load32(const unsigned char* data) noexcept nogil:
    return data[0] | data[1] << 8 | data[2] << 16 | <uint32_t>data[3] << 24


cdef inline uint64_t load64(const unsigned char* data) noexcept nogil:
    return load32(data) | <uint64_t>load32(data + 4) << 32
