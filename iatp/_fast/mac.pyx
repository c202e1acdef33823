"""The MAC of a payload that is too long to be kept whole: fast, so that its length costs little.

Hash-then-PRF: NH, the hash of UMAC (Black, Halevi, Krawczyk, Krovetz, Rogaway, "UMAC: Fast and
Secure Message Authentication", 1999; RFC 4418), under a secret pad shortens each 1024 bytes to
16, and SipHash-2-4 with 128 bits takes what is left with the length. Two different payloads get
the same MAC with a probability of 2**-64; without the key neither can be guessed or checked. NH
has a form with vector instructions (nh.h), chosen when the module is loaded. SipHash and not
keyed BLAKE2b, whose call from here takes as long as NH for 20 KB.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

import hashlib

cdef extern from "nh.h" nogil:
    bint iatp_has_avx2()
    # `length` is a multiple of 8, at most BLOCK.
    void nh(
        bint wide, const unsigned char* data, Py_ssize_t length, const uint32_t* pad,
        uint64_t* sums
    )

cdef extern from "siphash.h" nogil:
    # `key` and `out` have 16 bytes.
    void siphash128(
        const unsigned char* key, const unsigned char* data, Py_ssize_t length, unsigned char* out
    )

cdef enum:
    BLOCK = 1024
    SHORT = 256    # a text that is hashed without NH
    # Words of 32 bits: the 256 of a block, and four more for the second sum, which is shifted.
    PAD_WORDS = 260

cdef const char* HEX = "0123456789abcdef"


@cython.final
cdef class Mac:
    """Makes the MACs of one key of 16 to 64 bytes; `plain`: without vector instructions."""

    def __init__(self, bytes key not None, *, bint plain=False):
        cdef bytes pad, short
        if not 16 <= len(key) <= 64:
            raise ValueError("a MAC key has 16 to 64 bytes")
        self._wide = not plain and iatp_has_avx2()
        short = hashlib.blake2b(
            key=key, digest_size=16, person=b"iatp-mac-sip"
        ).digest()
        memcpy(self._key, PyBytes_AS_STRING(short), 16)
        pad = b"".join([
            hashlib.blake2b(b"%d" % part, key=key, person=b"iatp-mac-pad").digest()
            for part in range((PAD_WORDS * 4 + 63) // 64)
        ])
        memcpy(self._pad, PyBytes_AS_STRING(pad), PAD_WORDS * 4)

    cdef void hash(self, const unsigned char* data, Py_ssize_t n, uint64_t* out) noexcept:
        """Two words of which none can tell, without the key, for which data they are the same."""
        cdef unsigned char[BLOCK] last
        cdef uint64_t[5] chain
        cdef Py_ssize_t rest
        if n <= SHORT:
            siphash128(self._key, data, n, <unsigned char*>out)
            return
        chain[0] = chain[1] = 0
        chain[2] = n
        while n > 0:
            rest = min(n, BLOCK)
            if rest < BLOCK:
                memcpy(last, data, rest)
                memset(last + rest, 0, (-rest) & 7)
                data = last
            nh(self._wide, data, (rest + 7) // 8 * 8, self._pad, chain + 3)
            siphash128(
                self._key, <unsigned char*>chain, sizeof(chain), <unsigned char*>out
            )
            chain[0] = out[0]
            chain[1] = out[1]
            data += rest
            n -= rest

    cpdef str of(self, bytes payload):
        """Return the MAC of `payload`, 32 hex digits."""
        cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(payload)
        cdef Py_ssize_t length = PyBytes_GET_SIZE(payload)
        cdef Py_ssize_t blocks = (length + BLOCK - 1) // BLOCK
        cdef bytes short = PyBytes_FromStringAndSize(NULL, 8 + 16 * blocks)
        cdef char* out = PyBytes_AS_STRING(short)
        cdef unsigned char[BLOCK + 8] last
        cdef unsigned char[16] made
        cdef char[32] digits
        cdef uint64_t[2] sums
        cdef uint64_t total = length
        cdef Py_ssize_t block
        cdef Py_ssize_t rest
        memcpy(out, &total, 8)
        for block in range(blocks):
            rest = length - block * BLOCK
            if rest >= BLOCK:
                nh(self._wide, data + block * BLOCK, BLOCK, self._pad, sums)
            else:
                memcpy(last, data + block * BLOCK, rest)
                memset(last + rest, 0, 8)
                nh(self._wide, last, (rest + 7) // 8 * 8, self._pad, sums)
            memcpy(out + 8 + 16 * block, sums, 16)
        siphash128(self._key, <const unsigned char*>out, 8 + 16 * blocks, made)
        for rest in range(16):
            digits[2 * rest] = HEX[made[rest] >> 4]
            digits[2 * rest + 1] = HEX[made[rest] & 15]
        return PyUnicode_DecodeASCII(digits, 32, NULL)


def siphash(bytes key not None, bytes data not None):
    """SipHash-2-4 with 128 bits of `data` under a key of 16 bytes; for the tests."""
    cdef unsigned char[16] made
    if len(key) != 16:
        raise ValueError("a SipHash key has 16 bytes")
    siphash128(
        <const unsigned char*>PyBytes_AS_STRING(key),
        <const unsigned char*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data), made
    )
    return made[:16]
