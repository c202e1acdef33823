"""A segment's digest and index: what is made of each record, and how one is found
(docs/log-format.md).

A record's trace ID is taken from its front, which is written here and so always looks alike:
`{"seq":N,"worker":N,"boot_id":"…","type":"…","trace_id":"…"`. A line of any other kind is entered
with the hash of no bytes, so that its checksum is kept all the same.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8, PyUnicode_FromString
from libc.errno cimport EINTR, errno
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free, qsort, realloc
from libc.string cimport memchr, memcmp, memcpy, memset, strcmp, strlen, strncmp

import hashlib
import os

cdef extern from "<unistd.h>" nogil:
    ssize_t pread(int fd, void* buffer, size_t length, long long offset)
    int close(int fd)

cdef extern from "<sys/stat.h>" nogil:
    ctypedef struct stat_t "struct stat":
        long long st_size
    int fstat(int fd, stat_t* status)

cdef extern from "<fcntl.h>" nogil:
    const int O_RDONLY
    const int O_NOFOLLOW
    const int O_CLOEXEC
    const int O_NONBLOCK
    int openat(int directory, const char* name, int flags)

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

cdef extern from "ahead.h" nogil:
    # Has the disk begin to read, and waits for nothing.
    void will_read(int fd, long long at, long long length)
    ssize_t read_cached(int fd, void* buffer, size_t length, long long at)

cdef extern from "<dirent.h>" nogil:
    ctypedef struct DIR
    DIR* fdopendir(int fd)
    int closedir(DIR* folder)
    void rewinddir(DIR* folder)

cdef extern from "names.h" nogil:
    struct timespec:
        pass
    const char* next_name(DIR* folder, int* error)
    timespec changed_at(DIR* folder)
    bint is_unchanged(DIR* folder, timespec since)

cdef enum:
    HEADER = 64
    ENTRY = 24
    KEY_AT = 16
    KEY = 16
    COUNT_AT = 32
    # The front of a record up to its trace ID is shorter: 32 bytes of names, two numbers, a
    # boot_id of at most 64 and the longest type; then the ID, of at most 128.
    FRONT = 512
    # So many entries are read at a time, 1.5 KB. Where the hash of an ID leads in a segment of
    # 100,000 records is off by some hundred; from there the place is known to within ten.
    PROBE = 64
    # The disk is told of so many, 12 KB: that place is off by less than half of it, nearly always.
    WINDOW = 512
    SCANNED = 2720
    # Files that are open at once.
    AT_ONCE = 64
    # Where the fraction of a second begins in the time that a name begins with, and its end.
    POINT_AT = 15
    TIME = 23
    # Of a block of an encrypted file: what stands around it, and how long it may be.
    BLOCK_OVERHEAD = 20
    BLOCK_MOST = 1 << 30
    # So much is copied as fast as a block's length is asked for; and so much is read at once.
    SMALL_BLOCK = 1 << 12
    BLOCKS_READ = 1 << 16
    # Room for so many entries to begin with, and, once it was more, to go on with: 393 KB, a
    # second of 16,000 records.
    FIRST_ENTRIES = 64
    KEPT_ENTRIES = 1 << 14
    # So many sums go to the digest of them at once: a call for each turn's would cost more.
    SUMS = 1 << 10
    # Entries are put in order by at most so many bits of their hash at first.
    MOST_BITS = 16

cdef enum State:
    # It can't be read, or is no index.
    LOST
    # Its entries are in the order of writing; records may stand behind the last of them.
    WRITTEN
    # They are sorted. How many there must be, an earlier version did not write down.
    SORTED
    # They are sorted, and as many as there must be.
    WHOLE

IS_LOST = LOST
IS_WRITTEN = WRITTEN
IS_SORTED = SORTED
IS_WHOLE = WHOLE
HEADER_BYTES = HEADER
ENTRY_BYTES = ENTRY
cdef const char* _magic = b"IATPIDX1"
MAGIC = _magic

crc_init()
crc_wide_init()
cdef bint _wide = crc_has_wide()


cdef struct Found:
    # Offsets that a search found.
    uint64_t* offsets
    Py_ssize_t count
    Py_ssize_t capacity


cdef inline uint32_t _load32(const unsigned char* data) noexcept nogil:
    return data[0] | data[1] << 8 | data[2] << 16 | <uint32_t>data[3] << 24


cdef inline uint64_t _load64(const unsigned char* data) noexcept nogil:
    return _load32(data) | <uint64_t>_load32(data + 4) << 32


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
        place = _load32(data + at * ENTRY + 16)
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
    cdef uint64_t left_value = _load64(left)
    cdef uint64_t right_value = _load64(right)
    if left_value == right_value:
        left_value = _load32(left + 16)
        right_value = _load32(right + 16)
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
        ends[(_load64(entries + at * ENTRY) >> (64 - bits)) + 1] += 1
    for bucket in range(<Py_ssize_t>1 << bits):
        ends[bucket + 1] += ends[bucket]
    # Each end is where its bucket begins, until all that is in it has been put there.
    for at in range(count):
        bucket = <Py_ssize_t>(_load64(entries + at * ENTRY) >> (64 - bits))
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
        or _load32(data + 8) > 1 or _load32(data + 12) != 0
    ):
        raise ValueError("this is no index")
    return 0


cdef struct Look:
    # One index that is looked at.
    const char* name
    int fd
    State state
    # Whether its header was read; whether what is not in memory is waited for.
    bint known
    bint waits
    uint64_t wanted
    # How many entries it has; what the header says, 0 where it says nothing.
    Py_ssize_t entries
    uint64_t said
    # The offset in its last entry.
    uint64_t last
    # Which of the offsets that were found are its own.
    Py_ssize_t first_found
    Py_ssize_t past_found


cdef enum Outcome:
    DONE = 0
    # It can't be read, or the file is shorter now.
    UNREADABLE = -1
    NO_MEMORY = -2
    # It would have to be waited for.
    NOT_CACHED = -3


cdef Outcome _read(
    Look* look, Py_ssize_t first, Py_ssize_t count, unsigned char* out
) noexcept nogil:
    # Reads entries.
    return _read_at(look, HEADER + first * ENTRY, count * ENTRY, out)


cdef Outcome _read_at(
    Look* look, Py_ssize_t at, Py_ssize_t length, unsigned char* out
) noexcept nogil:
    if look.waits:
        return DONE if _read_bytes(look.fd, at, length, out) == 0 else UNREADABLE
    return DONE if read_cached(look.fd, out, length, at) == length else NOT_CACHED


cdef int _read_bytes(int fd, Py_ssize_t at, Py_ssize_t length, unsigned char* out) noexcept nogil:
    cdef Py_ssize_t done = 0
    cdef ssize_t more
    while done < length:
        more = pread(fd, out + done, length - done, at + done)
        if more > 0:
            done += more
        elif more == 0 or errno != EINTR:
            return -1
    return 0


cdef Outcome _keep(Found* found, const unsigned char* entry) noexcept nogil:
    cdef uint64_t* more
    if found.count == found.capacity:
        more = <uint64_t*>realloc(found.offsets, (2 * found.capacity + 16) * sizeof(uint64_t))
        if more == NULL:
            return NO_MEMORY
        found.offsets = more
        found.capacity = 2 * found.capacity + 16
    found.offsets[found.count] = _load64(entry + 8)
    found.count += 1
    return DONE


cdef Outcome _scan(Look* look, Found* found) noexcept nogil:
    cdef unsigned char[SCANNED * ENTRY] block
    cdef Py_ssize_t first = 0
    cdef Py_ssize_t count, at
    cdef Outcome done
    while first < look.entries:
        count = min(SCANNED, look.entries - first)
        done = _read(look, first, count, block)
        if done != DONE:
            return done
        for at in range(count):
            if _load64(block + at * ENTRY) == look.wanted:
                if _keep(found, block + at * ENTRY) != DONE:
                    return NO_MEMORY
        first += count
        look.last = _load64(block + (count - 1) * ENTRY + 8)
    return DONE


cdef inline Py_ssize_t _around(
    Py_ssize_t place, Py_ssize_t count, Py_ssize_t low, Py_ssize_t high
) noexcept nogil:
    # Where so many entries begin that have this one in their middle.
    return max(low, min(place - count // 2, high - count))


cdef inline Py_ssize_t _place(
    uint64_t wanted, Py_ssize_t low, Py_ssize_t high, uint64_t low_hash, uint64_t high_hash
) noexcept nogil:
    # Where, of these entries, the hash should be: they are evenly spread.
    return low + <Py_ssize_t>(
        <double>(wanted - low_hash) / <double>(high_hash - low_hash) * (high - low)
    )


cdef Outcome _search(Look* look, Found* found) noexcept nogil:
    # The first entry that is not smaller is at `low` to `high`. Hashes are evenly spread, but for
    # an ID that occurs often: from the third step on, every other one halves what is left.
    cdef unsigned char[PROBE * ENTRY] block
    cdef Py_ssize_t low = 0
    cdef Py_ssize_t high = look.entries
    cdef Py_ssize_t first, count, at
    cdef uint64_t wanted = look.wanted
    cdef uint64_t low_hash = 0
    cdef uint64_t high_hash = <uint64_t>-1
    cdef int step = 0
    cdef Outcome done
    while low < high:
        if (step >= 2 and not step & 1) or high_hash <= low_hash:
            at = low + (high - low) // 2
        else:
            at = _place(wanted, low, high, low_hash, high_hash)
        step += 1
        first = _around(at, PROBE, low, high)
        count = min(PROBE, high - first)
        done = _read(look, first, count, block)
        if done != DONE:
            return done
        if _load64(block) >= wanted:
            high = first
            # One that is equal has others like it before; where none is, this is the place.
            high_hash = _load64(block)
            if first == low:
                break
        elif _load64(block + (count - 1) * ENTRY) < wanted:
            low = first + count
            low_hash = _load64(block + (count - 1) * ENTRY)
        else:
            at = 1
            while _load64(block + at * ENTRY) < wanted:
                at += 1
            # Mostly all that are equal stand here too.
            while at < count and _load64(block + at * ENTRY) == wanted:
                if _keep(found, block + at * ENTRY) != DONE:
                    return NO_MEMORY
                at += 1
            if at < count:
                return DONE
            low = high = first + count
    return _run(look, found, low)


cdef Outcome _run(Look* look, Found* found, Py_ssize_t first) noexcept nogil:
    # Keeps those that are equal, from there on.
    cdef unsigned char[WINDOW * ENTRY] block
    cdef Py_ssize_t wide = PROBE
    cdef Py_ssize_t count, at
    cdef Outcome done
    while first < look.entries:
        count = min(wide, look.entries - first)
        done = _read(look, first, count, block)
        if done != DONE:
            return done
        for at in range(count):
            if _load64(block + at * ENTRY) != look.wanted:
                return DONE
            if _keep(found, block + at * ENTRY) != DONE:
                return NO_MEMORY
        first += count
        wide = WINDOW
    return DONE


cdef void _close(Look* look) noexcept nogil:
    close(look.fd)
    look.fd = -1


cdef void _open_index(int directory, Look* look) noexcept nogil:
    cdef stat_t status
    look.state = LOST
    look.fd = openat(directory, look.name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)
    if look.fd < 0:
        return
    # Before anything is read: its writer may add entries meanwhile.
    if fstat(look.fd, &status) < 0 or status.st_size < HEADER:
        _close(look)
        return
    look.entries = (status.st_size - HEADER) // ENTRY


cdef void _know(Look* look, const unsigned char* trace_id, Py_ssize_t length) noexcept nogil:
    # Reads the header. Closes what is no index.
    cdef unsigned char[HEADER] header
    cdef Outcome done = _read_at(look, 0, HEADER, header)
    if done == NOT_CACHED:
        will_read(look.fd, 0, HEADER)
        return
    if (
        done != DONE or memcmp(header, _magic, 8) != 0
        or _load32(header + 8) > 1 or _load32(header + 12) != 0
    ):
        _close(look)
        return
    look.known = True
    look.state = SORTED if _load32(header + 8) == 1 else WRITTEN
    look.said = _load64(header + COUNT_AT)
    look.wanted = siphash64(header + KEY_AT, trace_id, length)


cdef void _will_find(Look* look) noexcept nogil:
    cdef Py_ssize_t first
    if look.state == SORTED:
        first = _place(look.wanted, 0, look.entries, 0, <uint64_t>-1)
        first = _around(first, WINDOW, 0, look.entries)
        will_read(look.fd, HEADER + first * ENTRY, min(WINDOW, look.entries) * ENTRY)


cdef bint _find(Look* look, Found* found) noexcept nogil:
    # Closes it, unless it would have to be waited for; False where there is no memory.
    cdef Outcome done
    look.first_found = look.past_found = found.count
    done = _search(look, found) if look.state == SORTED else _scan(look, found)
    if done != DONE:
        found.count = look.first_found
    if done == NOT_CACHED:
        return True
    look.past_found = found.count
    if done == UNREADABLE:
        look.state = LOST
    elif look.state == SORTED and look.said == <uint64_t>look.entries:
        look.state = WHOLE
    _close(look)
    return done != NO_MEMORY


cdef bint _look(
    int directory, Look* looks, Py_ssize_t count, const unsigned char* trace_id,
    Py_ssize_t length, Found* found,
) noexcept nogil:
    # What is in memory first; the disk is told what is wanted of all others before one of them is
    # waited for. False where there is no memory.
    cdef Look* look
    cdef Py_ssize_t at
    cdef bint done = True
    for at in range(count):
        look = &looks[at]
        _open_index(directory, look)
        if look.fd >= 0:
            _know(look, trace_id, length)
        if look.fd >= 0 and look.known:
            done = done and _find(look, found)
    for at in range(count):
        look = &looks[at]
        look.waits = True
        if look.fd >= 0 and not look.known:
            _know(look, trace_id, length)
        if look.fd >= 0:
            _will_find(look)
    for at in range(count):
        look = &looks[at]
        if look.fd >= 0:
            done = done and _find(look, found)
            # Where there was no memory for another.
            if look.fd >= 0:
                _close(look)
    return done


def look(folder, list names not None, str trace_id not None):
    """Return what these indexes of a folder know of a trace: a tuple for each that says something.

    `(number, state, entries, last, offsets)`: which of the names; one of the states; how many
    entries it has; of one that is WRITTEN, the offset in the last of them; the offsets, in order,
    of the records that may be of this trace, for others can have the same hash. There is none for
    an index that has all records of its segment and none of this trace.

    Of a sorted index a header and 3 KB or little more is read, however long it is; of another one
    all. The interpreter's lock is let go once, for all of them.

    Raises:
        OSError: the folder can't be opened.
    """
    cdef bytes wanted = trace_id.encode()
    cdef const unsigned char* id_bytes = <const unsigned char*>PyBytes_AS_STRING(wanted)
    cdef Py_ssize_t length = PyBytes_GET_SIZE(wanted)
    # While the lock is let go the caller's list may change.
    cdef list kept = [*names]
    cdef Py_ssize_t count = len(kept)
    cdef Py_ssize_t at, place
    cdef int directory
    cdef bint done = True
    cdef Found found
    cdef Look* looks = <Look*>calloc(max(count, 1), sizeof(Look))
    if looks == NULL:
        raise MemoryError
    found.offsets = NULL
    found.count = found.capacity = 0
    try:
        for at in range(count):
            looks[at].name = PyUnicode_AsUTF8(kept[at])
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with nogil:
                at = 0
                while at < count and done:
                    done = _look(
                        directory, looks + at, min(AT_ONCE, count - at), id_bytes, length, &found
                    )
                    at += AT_ONCE
        finally:
            os.close(directory)
        if not done:
            raise MemoryError
        said = []
        for at in range(count):
            if looks[at].state != WHOLE or looks[at].first_found < looks[at].past_found:
                offsets = [
                    found.offsets[place]
                    for place in range(looks[at].first_found, looks[at].past_found)
                ]
                said.append((
                    at, <int>looks[at].state, looks[at].entries, looks[at].last, offsets
                ))
        return said
    finally:
        free(found.offsets)
        free(looks)


cdef struct Names:
    # Names, each with the byte that ends it, and where each begins.
    char* text
    Py_ssize_t size
    Py_ssize_t capacity
    Py_ssize_t count


cdef bint _is_segments(const char* name, Py_ssize_t length) noexcept nogil:
    # Whether it begins with a time, and behind the point that ends its stem is named like records.
    cdef Py_ssize_t at
    for at in range(length):
        if not 0 < name[at] < 127:
            return False
    if length <= TIME or name[POINT_AT] != 46:
        return False
    at = TIME
    while at < length and name[at] != 46:
        at += 1
    return strncmp(name + at, b".jsonl", 6) == 0 or strncmp(name + at, b".open.jsonl", 11) == 0


cdef int _add_name(Names* names, const char* name, Py_ssize_t length) noexcept nogil:
    cdef char* more
    while names.size + length + 1 > names.capacity:
        more = <char*>realloc(names.text, 2 * names.capacity + 4096)
        if more == NULL:
            return -1
        names.text = more
        names.capacity = 2 * names.capacity + 4096
    memcpy(names.text + names.size, name, length + 1)
    names.size += length + 1
    names.count += 1
    return 0


cdef int _list(DIR* folder, Names* names) noexcept nogil:
    # Adds the names; an error of the system, or -1 where there is no memory.
    cdef int error = 0
    cdef Py_ssize_t length
    cdef const char* name = next_name(folder, &error)
    while name != NULL:
        length = strlen(name)
        if _is_segments(name, length) and _add_name(names, name, length) < 0:
            return -1
        name = next_name(folder, &error)
    return error


cdef int _compare_names(const void* a, const void* b) noexcept nogil:
    return strcmp((<const char* const*>a)[0], (<const char* const*>b)[0])


def segment_names(folder):
    """Return the names of a folder's files that hold records, sorted; those of one stem together.

    Others may be among them that look alike. Where the folder was changed lately it is listed
    twice, since a listing can miss a file that is renamed while it runs. The interpreter's lock is
    let go once.

    Raises:
        OSError: the folder can't be read.
    """
    cdef Names names
    cdef Py_ssize_t at
    cdef DIR* opened
    cdef timespec since
    cdef char* name
    cdef const char** sorted_names = NULL
    cdef int error
    cdef int fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    memset(&names, 0, sizeof(names))
    try:
        with nogil:
            opened = fdopendir(fd)
            if opened == NULL:
                error = errno
                close(fd)
            else:
                since = changed_at(opened)
                error = _list(opened, &names)
                if error == 0 and not is_unchanged(opened, since):
                    rewinddir(opened)
                    error = _list(opened, &names)
                closedir(opened)
            if error == 0:
                sorted_names = <const char**>calloc(names.count + 1, sizeof(char*))
                if sorted_names == NULL:
                    error = -1
            if error == 0:
                name = names.text
                for at in range(names.count):
                    sorted_names[at] = name
                    name += strlen(name) + 1
                qsort(sorted_names, names.count, sizeof(char*), _compare_names)
        if error == -1:
            raise MemoryError
        if error:
            raise OSError(error, os.strerror(error), os.fspath(folder))
        return [
            PyUnicode_FromString(sorted_names[at])
            for at in range(names.count)
            if at == 0 or strcmp(sorted_names[at - 1], sorted_names[at]) != 0
        ]
    finally:
        free(sorted_names)
        free(names.text)


cdef struct Blocks:
    # An encrypted file whose blocks are walked through, and what was read of it at once.
    int fd
    long long end
    long long first
    long long past
    unsigned char[BLOCKS_READ] data


cdef int _length_at(
    Blocks* blocks, long long at, long long before, unsigned char* out
) noexcept nogil:
    # Reads the four bytes there; -1 where it can't. Behind a small block (`before` is its length)
    # what follows is read too: a call for each would cost more than its bytes.
    cdef ssize_t more
    if before >= SMALL_BLOCK:
        return _read_bytes(blocks.fd, at, 4, out)
    if at < blocks.first or at + 4 > blocks.past:
        more = -1
        while more < 0:
            more = pread(blocks.fd, blocks.data, min(<long long>BLOCKS_READ, blocks.end - at), at)
            if more < 0 and errno != EINTR:
                return -1
        if more < 4:
            return -1
        blocks.first = at
        blocks.past = at + more
    memcpy(out, blocks.data + (at - blocks.first), 4)
    return 0


def block_lengths(int fd, long long at, long long end):
    """Return the lengths of the blocks of an encrypted file from there to its end, 4 bytes each.

    As they stand in the file: the highest bit is set in the last block of one that is complete,
    behind which nothing is read. A block that is not all there, that claims more than 1 GiB or,
    not being the last, nothing, ends them. The interpreter's lock is let go once.
    """
    cdef Blocks blocks
    cdef unsigned char[4] length
    cdef unsigned char* made = NULL
    cdef unsigned char* more
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t capacity = 0
    cdef long long whole = 0
    cdef int done = 0
    blocks.fd = fd
    blocks.end = end
    blocks.first = blocks.past = 0
    try:
        with nogil:
            while at + BLOCK_OVERHEAD <= end and _length_at(&blocks, at, whole, length) == 0:
                whole = _load32(length) & 0x7fffffff
                if whole > BLOCK_MOST or at + whole + BLOCK_OVERHEAD > end:
                    break
                if whole == 0 and not length[3] & 0x80:
                    break
                if count == capacity:
                    capacity = 2 * capacity + 1024
                    more = <unsigned char*>realloc(made, 4 * capacity)
                    if more == NULL:
                        done = -2
                        break
                    made = more
                memcpy(made + 4 * count, length, 4)
                count += 1
                at += whole + BLOCK_OVERHEAD
                if length[3] & 0x80:
                    break
        if done < 0:
            raise MemoryError
        return PyBytes_FromStringAndSize(<char*>made, 4 * count)
    finally:
        free(made)
