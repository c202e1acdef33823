"""A segment's digest and index: what is made of each record (docs/log-format.md).

How a record is found is in lookup.pyx.

A record's trace ID is taken from its front, which is written here and so always looks alike:
`{"seq":N,"worker":N,"boot_id":"…","type":"…","trace_id":"…"`. A line of any other kind is entered
with the hash of no bytes, so that its checksum is kept all the same.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, qsort, realloc
from libc.string cimport memchr, memcmp, memcpy, memset

import hashlib

cdef extern from "siphash.h" nogil:
    # `key` has 16 bytes.
    uint64_t siphash64(
        const unsigned char* key, const unsigned char* data, Py_ssize_t length
    )

cdef extern from "trail.h" nogil:
    void crc_init()
    void crc_wide_init()
    bint crc_has_wide()
    # Both take the sum inverted and leave it so.
    uint32_t crc_plain(uint32_t crc, const unsigned char* data, Py_ssize_t length)
    uint32_t crc_wide(uint32_t crc, const unsigned char* data, Py_ssize_t length)

cdef enum:
    # The front of a record up to its trace ID is shorter: 32 bytes of names, two numbers, a
    # boot_id of at most 64 and the longest type; then the ID, of at most 128.
    FRONT = 512
    # Room for so many entries to begin with, and, once it was more, to go on with: 393 KB, a
    # second of 16,000 records.
    FIRST_ENTRIES = 64
    KEPT_ENTRIES = 1 << 14
    # So many sums go to the digest of them at once: a call for each turn's would cost more.
    SUMS = 1 << 10
    # Entries are put in order by at most so many bits of their hash at first.
    MOST_BITS = 16

HEADER_BYTES = HEADER
ENTRY_BYTES = ENTRY
MAGIC = b"IATPIDX1"

crc_init()
crc_wide_init()
cdef bint _wide = crc_has_wide()


cdef inline void _store(unsigned char* out, uint64_t value, int width) noexcept nogil:
    # Of 4 or 8 bytes; written out, since the compiler makes one store of it then.
    out[0] = <unsigned char>value
    out[1] = <unsigned char>(value >> 8)
    out[2] = <unsigned char>(value >> 16)
    out[3] = <unsigned char>(value >> 24)
    if width == 8:
        out[4] = <unsigned char>(value >> 32)
        out[5] = <unsigned char>(value >> 40)
        out[6] = <unsigned char>(value >> 48)
        out[7] = <unsigned char>(value >> 56)


cdef inline uint32_t _crc(
    uint32_t crc, const unsigned char* data, Py_ssize_t length, bint wide
) noexcept nogil:
    return crc_wide(crc, data, length) if wide else crc_plain(crc, data, length)


def crc32c(bytes data not None, *, bint plain=False):
    """CRC-32C of `data`; `plain`: from tables, whatever the machine has."""
    return ~_crc(
        ~<uint32_t>0, <const unsigned char*>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data),
        _wide and not plain,
    )


def header(bytes key not None):
    """Return the header of an index whose entries are in order of seq, for a key of 16 bytes."""
    if len(key) != KEY:
        raise ValueError("the key of an index has 16 bytes")
    return MAGIC + bytes(8) + key + bytes(HEADER - KEY_AT - KEY)


cdef const unsigned char* _after(
    const unsigned char* at, const unsigned char* end, const char* text, Py_ssize_t length
) noexcept nogil:
    # What stands behind `text`, if that stands here.
    if at == NULL or end - at < length or memcmp(at, text, length) != 0:
        return NULL
    return at + length


cdef const unsigned char* _after_digits(
    const unsigned char* at, const unsigned char* end
) noexcept nogil:
    while at != NULL and at < end and 48 <= at[0] <= 57:
        at += 1
    return at


cdef const unsigned char* _quote(
    const unsigned char* at, const unsigned char* end
) noexcept nogil:
    # The next quote; none of these strings has an escape.
    if at == NULL or at >= end:
        return NULL
    return <const unsigned char*>memchr(at, 34, end - at)


cdef uint64_t _hash(
    const unsigned char* key, const unsigned char* front, Py_ssize_t length
) noexcept nogil:
    cdef const unsigned char* end = front + length
    cdef const unsigned char* at
    cdef const unsigned char* stop
    at = _after_digits(_after(front, end, b'{"seq":', 7), end)
    at = _after_digits(_after(at, end, b',"worker":', 10), end)
    at = _quote(_after(at, end, b',"boot_id":"', 12), end)
    at = _quote(_after(at, end, b'","type":"', 10), end)
    at = _after(at, end, b'","trace_id":"', 14)
    stop = _quote(at, end)
    if stop == NULL:
        return siphash64(key, front, 0)
    return siphash64(key, at, stop - at)


cdef struct Writer:
    # Entries as they are made, and the front of the line that the last piece did not end.
    unsigned char[KEY] key
    unsigned char* out
    Py_ssize_t length
    Py_ssize_t capacity
    uint64_t start
    uint64_t at
    uint32_t seq
    uint32_t crc
    Py_ssize_t filled
    unsigned char[FRONT] front


cdef int _begin(Writer* writer, bytes key) except -1:
    if PyBytes_GET_SIZE(key) != KEY:
        raise ValueError("the key of an index has 16 bytes")
    memset(writer, 0, sizeof(Writer))
    memcpy(writer.key, PyBytes_AS_STRING(key), KEY)
    writer.crc = ~<uint32_t>0
    return 0


cdef int _grow(Writer* writer) noexcept nogil:
    cdef Py_ssize_t capacity = max(2 * writer.capacity, FIRST_ENTRIES * ENTRY)
    cdef unsigned char* more = <unsigned char*>realloc(writer.out, capacity)
    if more == NULL:
        return -1
    writer.out = more
    writer.capacity = capacity
    return 0


cdef int _enter(Writer* writer, const unsigned char* data, Py_ssize_t length) noexcept nogil:
    # Enters the lines that end in this piece; -1 where there is no memory.
    cdef const unsigned char* end = data + length
    cdef const unsigned char* stop
    cdef const unsigned char* front
    cdef unsigned char* entry
    cdef Py_ssize_t width, kept
    while data < end:
        stop = <const unsigned char*>memchr(data, 10, end - data)
        width = (stop + 1 if stop != NULL else end) - data
        front = data
        kept = min(width, FRONT)
        if stop == NULL or writer.filled:
            kept = min(width, FRONT - writer.filled)
            memcpy(writer.front + writer.filled, data, kept)
            writer.filled += kept
            front = writer.front
            kept = writer.filled
        writer.crc = _crc(writer.crc, data, width, _wide)
        writer.at += width
        data += width
        if stop == NULL:
            break
        if writer.length + ENTRY > writer.capacity and _grow(writer) < 0:
            return -1
        entry = writer.out + writer.length
        _store(entry, _hash(writer.key, front, kept), 8)
        _store(entry + 8, writer.start, 8)
        _store(entry + 16, writer.seq, 4)
        _store(entry + 20, ~writer.crc, 4)
        writer.length += ENTRY
        writer.start = writer.at
        writer.seq += 1
        writer.crc = ~<uint32_t>0
        writer.filled = 0
    return 0


def entries(list pieces not None, bytes key not None, uint64_t offset, uint32_t seq):
    """Return the entries of whole lines, which stand in as many pieces as they like.

    `offset` is where they begin in the segment, `seq` the number of the first. A piece is
    anything that shows its bytes.

    Raises:
        ValueError: they do not end with a line end, or the key has not 16 bytes.
    """
    cdef Writer writer
    cdef Py_buffer view
    cdef int done
    _begin(&writer, key)
    writer.start = writer.at = offset
    writer.seq = seq
    try:
        for piece in pieces:
            PyObject_GetBuffer(piece, &view, PyBUF_SIMPLE)
            done = _enter(&writer, <const unsigned char*>view.buf, view.len)
            PyBuffer_Release(&view)
            if done < 0:
                raise MemoryError
        if writer.start != writer.at:
            raise ValueError("the last line has no end")
        return PyBytes_FromStringAndSize(<char*>writer.out, writer.length)
    finally:
        free(writer.out)


@cython.final
cdef class Trail:
    """What is made of a segment's records while it grows: its digest, its checks, its entries."""

    cdef Writer _writer
    cdef object _digest
    cdef object _update
    cdef object _checks
    cdef unsigned char[4 * SUMS] _sums
    cdef Py_ssize_t _summed

    def __cinit__(self, digest not None, bytes key not None):
        """Take the digest of no records (SHA-256 of hashlib), and the key of the index.

        Raises:
            ValueError: the key has not 16 bytes.
        """
        _begin(&self._writer, key)
        self._digest = digest
        self._update = digest.update
        self._checks = hashlib.sha256()

    def __dealloc__(self):
        free(self._writer.out)

    @property
    def records(self):
        """How many records there are."""
        return self._writer.seq

    @property
    def size(self):
        """How many bytes they are."""
        return self._writer.at

    def add(self, list pieces not None):
        """Take in whole lines, in as many pieces as they like.

        Raises:
            ValueError: they do not end with a line end. Nothing can be added then.
        """
        cdef bytes piece
        cdef Py_ssize_t before = self._writer.length
        for piece in pieces:
            # A piece is looked at twice while it is in the processor's nearest cache.
            self._update(piece)
            if _enter(
                &self._writer, <const unsigned char*>PyBytes_AS_STRING(piece),
                PyBytes_GET_SIZE(piece),
            ) < 0:
                raise MemoryError
        if self._writer.start != self._writer.at:
            raise ValueError("the last line has no end")
        while before < self._writer.length:
            memcpy(self._sums + 4 * self._summed, self._writer.out + before + 20, 4)
            before += ENTRY
            self._summed += 1
            if self._summed == SUMS:
                self._add_sums()

    def digest(self):
        """Return the digest of all records, 64 hex digits."""
        return self._digest.hexdigest()

    def checks(self):
        """Return the digest of their checks, 64 hex digits."""
        self._add_sums()
        return self._checks.hexdigest()

    def take(self):
        """Return the entries that were made since they were taken the last time."""
        cdef bytes taken = PyBytes_FromStringAndSize(
            <char*>self._writer.out, self._writer.length
        )
        self._writer.length = 0
        if self._writer.capacity > KEPT_ENTRIES * ENTRY:
            free(self._writer.out)
            self._writer.out = NULL
            self._writer.capacity = 0
        return taken

    cdef int _add_sums(self) except -1:
        cdef bytes sums = PyBytes_FromStringAndSize(<char*>self._sums, 4 * self._summed)
        # Before the call, which can let go of the interpreter's lock.
        self._summed = 0
        self._checks.update(sums)
        return 0


def checks(bytes entries not None):
    """Return the CRC-32C of each record, 4 bytes each, in order of seq.

    Raises:
        ValueError: there is not exactly one entry for each seq from 0 up.
    """
    cdef Py_ssize_t count = PyBytes_GET_SIZE(entries) // ENTRY
    cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(entries)
    cdef bytes made = PyBytes_FromStringAndSize(NULL, 4 * count)
    cdef bytearray seen = bytearray(count)
    cdef unsigned char* marks = seen
    cdef char* out = PyBytes_AS_STRING(made)
    cdef Py_ssize_t at, place
    if PyBytes_GET_SIZE(entries) != count * ENTRY:
        raise ValueError("the last entry is cut")
    for at in range(count):
        place = load32(data + at * ENTRY + 16)
        if place >= count or marks[place]:
            raise ValueError("the entries do not number the records")
        marks[place] = 1
        memcpy(out + 4 * place, data + at * ENTRY + 20, 4)
    return made


def checks_sha256(bytes index not None):
    """Return the digest that a seal's `checks` is, of a whole index, sorted or not.

    Raises:
        ValueError: it is no index, or has not exactly one entry for each record.
    """
    _check_header(index)
    return hashlib.sha256(checks(index[HEADER:])).hexdigest()


cdef int _compare(const void* a, const void* b) noexcept nogil:
    cdef const unsigned char* left = <const unsigned char*>a
    cdef const unsigned char* right = <const unsigned char*>b
    cdef uint64_t left_value = load64(left)
    cdef uint64_t right_value = load64(right)
    if left_value == right_value:
        left_value = load32(left + 16)
        right_value = load32(right + 16)
    return (left_value > right_value) - (left_value < right_value)


cdef int _sort(const unsigned char* entries, Py_ssize_t count, unsigned char* out) noexcept nogil:
    # Hashes are even all over: by their first bits, as many as tell about one entry from the
    # next, each comes close to its place. -1 where there is no memory.
    cdef int bits = 1
    cdef Py_ssize_t at, first, past, bucket
    cdef Py_ssize_t* ends
    while bits < MOST_BITS and (<Py_ssize_t>1 << bits) < count:
        bits += 1
    ends = <Py_ssize_t*>calloc((<Py_ssize_t>1 << bits) + 1, sizeof(Py_ssize_t))
    if ends == NULL:
        return -1
    for at in range(count):
        ends[(load64(entries + at * ENTRY) >> (64 - bits)) + 1] += 1
    for bucket in range(<Py_ssize_t>1 << bits):
        ends[bucket + 1] += ends[bucket]
    # Each end is where its bucket begins, until all that is in it has been put there.
    for at in range(count):
        bucket = <Py_ssize_t>(load64(entries + at * ENTRY) >> (64 - bits))
        memcpy(out + ends[bucket] * ENTRY, entries + at * ENTRY, ENTRY)
        ends[bucket] += 1
    first = 0
    for bucket in range(<Py_ssize_t>1 << bits):
        past = ends[bucket]
        if past - first > 1:
            qsort(out + first * ENTRY, past - first, ENTRY, _compare)
        first = past
    free(ends)
    return 0


def sort(bytes index not None):
    """Return the index with its entries sorted by (hash, seq), and their number in its header.

    A torn entry at the end is left out.

    Raises:
        ValueError: it is no index.
    """
    cdef Py_ssize_t count = (PyBytes_GET_SIZE(index) - HEADER) // ENTRY
    cdef bytes made
    cdef const unsigned char* data
    cdef unsigned char* out
    cdef int done
    _check_header(index)
    made = PyBytes_FromStringAndSize(NULL, HEADER + count * ENTRY)
    data = <const unsigned char*>PyBytes_AS_STRING(index)
    out = <unsigned char*>PyBytes_AS_STRING(made)
    memcpy(out, data, HEADER)
    _store(out + 8, 1, 4)
    _store(out + COUNT_AT, count, 8)
    with nogil:
        done = _sort(data + HEADER, count, out + HEADER)
    if done < 0:
        raise MemoryError
    return made


cdef int _check_header(bytes index) except -1:
    cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(index)
    if (
        PyBytes_GET_SIZE(index) < HEADER or not index.startswith(MAGIC)
        or load32(data + 8) > 1 or load32(data + 12) != 0
    ):
        raise ValueError("this is no index")
    return 0
