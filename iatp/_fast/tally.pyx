"""Counts what stands in the fields of many records, for reports over a whole log.

Lines are walked through once, without making anything of them: the wanted fields of an object's
first level are put side by side as they stand and counted as one group; a number is counted in a
histogram. All else, such as a payload, is passed over. What is not an object is counted as lost;
beyond that nothing is validated, which is the work of others.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.dict cimport PyDict_GetItemWithError, PyDict_SetItem
from cpython.ref cimport PyObject
from libc.stdint cimport uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset

cdef extern from *:
    int __builtin_ctz(unsigned int bits) noexcept nogil

cdef enum:
    MOST_FIELDS = 16
    MOST_NAME = 63
    # A longer value is cut there, so that a group is never longer than this times the fields.
    MOST_WIDTH = 256
    # A power of two of buckets for each doubling: a value is off by 1/128 of it at most.
    SUB_BITS = 6
    SUBS = 1 << SUB_BITS
    BUCKETS = (64 - SUB_BITS + 1) << SUB_BITS

SEPARATOR = b"\x1f"
ERROR = 1.0 / (2 * SUBS)
"""By how much of itself a value of the histogram may be off."""

# What a walk over nested values stops at: the quote and the brackets.
cdef unsigned char[256] STOPS
cdef int _byte
memset(STOPS, 0, 256)
for _byte in (34, 91, 93, 123, 125):
    STOPS[_byte] = 1


cdef inline const unsigned char* _string_end(
    const unsigned char* at, const unsigned char* end
) noexcept nogil:
    # Behind the quote that closes the string whose inside begins here; NULL where none does.
    cdef const unsigned char* stop
    cdef const unsigned char* back
    cdef const unsigned char* start = at
    while True:
        stop = <const unsigned char*>memchr(at, 34, end - at)
        if stop == NULL:
            return NULL
        back = stop
        while back > start and (back - 1)[0] == 92:
            back -= 1
        if not (stop - back) & 1:
            return stop + 1
        at = stop + 1


cdef inline const unsigned char* _value_end(
    const unsigned char* at, const unsigned char* end
) noexcept nogil:
    # Behind the value that begins here; NULL where it doesn't end.
    cdef int depth = 0
    if at < end and at[0] == 34:
        return _string_end(at + 1, end)
    if at < end and at[0] != 123 and at[0] != 91:
        while at < end and at[0] != 44 and at[0] != 125:
            at += 1
        return at if at < end else NULL
    while at < end:
        if not STOPS[at[0]]:
            at += 1
            continue
        if at[0] == 34:
            at = _string_end(at + 1, end)
            if at == NULL:
                return NULL
            continue
        if at[0] == 123 or at[0] == 91:
            depth += 1
        else:
            depth -= 1
        at += 1
        if depth == 0:
            return at
    return NULL


cdef inline Py_ssize_t _bucket(uint64_t value) noexcept nogil:
    cdef int shift = 0
    while value >> shift >= 2 * SUBS:
        shift += 1
    if value < 2 * SUBS:
        return <Py_ssize_t>value
    return ((shift + 1) << SUB_BITS) + <Py_ssize_t>((value >> shift) - SUBS)


def bucket_middle(Py_ssize_t bucket):
    """The value that stands for those of a bucket, in thousandths."""
    if bucket < 2 * SUBS:
        return float(bucket)
    cdef int shift = (bucket >> SUB_BITS) - 1
    cdef double low = <double>((bucket & (SUBS - 1)) + SUBS) * (<long long>1 << shift)
    return low + ((<long long>1 << shift) - 1) / 2.0


@cython.final
cdef class Tally:
    """Groups of records and how often each came; and a histogram."""

    cdef dict _groups
    cdef list _names
    cdef int _count
    cdef char* _name[MOST_FIELDS]
    # Of each length of a name, which fields have one so long: a bit for each.
    cdef unsigned int[MOST_NAME + 1] _of_length
    cdef Py_ssize_t[MOST_FIELDS] _width
    cdef int _number
    cdef uint64_t[BUCKETS] _buckets
    cdef readonly uint64_t lost

    def __init__(self, dict fields not None, str number not None):
        """`fields`: name and how many bytes of its value count; `number`: the histogram's field."""
        if not 0 < len(fields) < MOST_FIELDS or number in fields:
            raise ValueError("there may be 1 to 15 fields, and the number is not one of them")
        self._groups = {}
        self._names = [name.encode() for name in [*fields, number]]
        self._count = len(fields)
        self._number = self._count
        memset(self._of_length, 0, sizeof(self._of_length))
        for at, name in enumerate(self._names):
            if len(name) > MOST_NAME:
                raise ValueError("the name of a field has 63 bytes at most")
            self._name[at] = PyBytes_AS_STRING(name)
            self._of_length[PyBytes_GET_SIZE(name)] |= 1u << at
        for at, width in enumerate(fields.values()):
            if not 0 < width <= MOST_WIDTH:
                raise ValueError("a field counts with 1 to 256 bytes")
            self._width[at] = width
        memset(self._buckets, 0, sizeof(self._buckets))

    def __len__(self):
        """How many groups there are."""
        return len(self._groups)

    def feed(self, block not None):
        """Count whole lines of bytes; what stands behind the last line end is not looked at."""
        cdef Py_buffer view
        PyObject_GetBuffer(block, &view, PyBUF_SIMPLE)
        try:
            self._feed(<const unsigned char*>view.buf, view.len)
        finally:
            PyBuffer_Release(&view)

    cdef int _feed(self, const unsigned char* at, Py_ssize_t size) except -1:
        cdef const unsigned char* end = at + size
        cdef const unsigned char* stop
        cdef char[MOST_FIELDS * (MOST_WIDTH + 1)] group
        cdef Py_ssize_t length
        while at < end:
            stop = <const unsigned char*>memchr(at, 10, end - at)
            if stop == NULL:
                break
            length = self._read(at, stop, group)
            if length < 0:
                self.lost += 1
            else:
                self._add(PyBytes_FromStringAndSize(group, length))
            at = stop + 1
        return 0

    def take(self):
        """Return the groups and how often each came, and begin anew with them.

        A group is the raw JSON of its fields, in their order, between separators; a field that is
        absent is empty.
        """
        groups = self._groups
        self._groups = {}
        return groups

    def histogram(self):
        """Return how often a value fell into each bucket; only those where one did."""
        return {at: self._buckets[at] for at in range(BUCKETS) if self._buckets[at]}

    cdef int _add(self, bytes group) except -1:
        cdef PyObject* found = PyDict_GetItemWithError(self._groups, group)
        PyDict_SetItem(self._groups, group, 1 if found == NULL else <object>found + 1)
        return 0

    cdef Py_ssize_t _read(
        self, const unsigned char* at, const unsigned char* end, char* group
    ) noexcept nogil:
        # The length of the group, or -1 where this is no object.
        cdef const unsigned char* value[MOST_FIELDS]
        cdef Py_ssize_t[MOST_FIELDS] width
        cdef const unsigned char* key
        cdef const unsigned char* stop
        cdef Py_ssize_t length, made = 0
        cdef unsigned int alike
        cdef int field
        memset(width, 0, sizeof(width))
        if end - at < 2 or at[0] != 123:
            return -1
        at += 1
        while True:
            if at >= end or at[0] != 34:
                return -1
            key = at + 1
            at = _string_end(key, end)
            if at == NULL or at >= end or at[0] != 58:
                return -1
            length = at - 1 - key
            at += 1
            stop = _value_end(at, end)
            if stop == NULL or stop >= end:
                return -1
            alike = self._of_length[length] if length <= MOST_NAME else 0
            while alike:
                field = __builtin_ctz(alike)
                if memcmp(self._name[field], key, length) == 0:
                    value[field] = at
                    width[field] = stop - at
                    break
                alike &= alike - 1
            at = stop + 1
            if stop[0] == 125:
                break
            if stop[0] != 44:
                return -1
        for field in range(self._count):
            length = min(width[field], self._width[field])
            if length:
                # Empty where the line has none, or one that is cut in the middle of nothing.
                memcpy(group + made, value[field], length)
            group[made + length] = 0x1f
            made += length + 1
        if width[self._number]:
            self._measure(value[self._number], width[self._number])
        return made - 1

    cdef void _measure(self, const unsigned char* at, Py_ssize_t length) noexcept nogil:
        # In thousandths; what is no plain decimal number, or too large, is not counted.
        cdef uint64_t value = 0
        cdef int decimals = -1
        cdef Py_ssize_t place
        if length > 16:
            return
        for place in range(length):
            if at[place] == 46 and decimals < 0:
                decimals = 0
            elif 48 <= at[place] <= 57:
                if decimals == 3:
                    continue
                value = 10 * value + (at[place] - 48)
                if decimals >= 0:
                    decimals += 1
            else:
                return
        while decimals < 3:
            value *= 10
            decimals += 1 if decimals >= 0 else 2
        self._buckets[_bucket(value)] += 1
