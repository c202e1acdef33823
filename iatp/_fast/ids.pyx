"""Random bytes of the system, taken many at a time, and the IDs that are made of them.

None is used twice; a worker makes its `Ids` once it is a process of its own.
"""

import os

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING
from cpython.unicode cimport PyUnicode_1BYTE_DATA, PyUnicode_New
from libc.string cimport memcpy

cdef enum:
    AT_ONCE = 4096

cdef const char* HEX = "0123456789abcdef"


@cython.final
cdef class Ids:
    """Random bytes, and IDs made of them."""

    cdef const unsigned char* random(self, Py_ssize_t n) except NULL:
        """`n` random bytes, at most AT_ONCE; good until the next call."""
        if self._entropy is None or self._at + n > AT_ONCE:
            self._entropy = os.urandom(AT_ONCE)
            self._at = 0
        self._at += n
        return <const unsigned char*>PyBytes_AS_STRING(self._entropy) + self._at - n

    cpdef str new(self, long long time_ns):
        """Return a UUIDv7 (RFC 9562) of this wall clock time."""
        cdef unsigned char[16] id
        cdef str made = PyUnicode_New(36, 127)
        cdef unsigned char* text = <unsigned char*>PyUnicode_1BYTE_DATA(made)
        cdef long long ms = time_ns // 1000000
        cdef int i, at = 0
        memcpy(&id[6], self.random(10), 10)
        for i in range(6):
            id[i] = <unsigned char>(ms >> (40 - 8 * i))
        id[6] = 0x70 | (id[6] & 0x0f)
        id[8] = 0x80 | (id[8] & 0x3f)
        for i in range(16):
            if i == 4 or i == 6 or i == 8 or i == 10:
                text[at] = c'-'
                at += 1
            text[at] = HEX[id[i] >> 4]
            text[at + 1] = HEX[id[i] & 15]
            at += 2
        return made
