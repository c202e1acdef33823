cimport cython
from libc.stdint cimport int64_t

from iatp._fast.text cimport Spans


cdef enum:
    # Texts that are looked at together.
    MOST_PIECES = 1024

cdef struct Piece:
    # A text among those that are looked at together.
    Py_ssize_t start         # there
    Py_ssize_t end
    int layer                # of whose bytes it was made, and
    Py_ssize_t source        # of which
    Py_ssize_t source_end
    int how                  # UNDO_…, AS_IT_IS or AS_ONE
    int quoted               # a number of JSON


@cython.final
cdef class Patterns:
    cdef object _together
    cdef object _which
    cdef tuple _each
    # One call's own.
    cdef list _layers
    cdef Py_ssize_t _left                # bytes that may yet be undone
    cdef Py_ssize_t _hits
    cdef int64_t _most_ns                # of this thread's time
    cdef int64_t _since_ns               # when it began to be measured; 0: not yet
    cdef int64_t _used_ns                # what the thread had used by then
    cdef unsigned char* _joined
    cdef Py_ssize_t _room
    cdef Py_ssize_t _length
    cdef Piece[MOST_PIECES] _pieces
    cdef int _count

    cdef str add(self, bytes data, int form, Spans spans)
    cdef list in_text(self, bytes data, int how, Py_ssize_t first)
    cdef int _begin(self, bytes data) except -1
    cdef int _end(self) except -1
    cdef int _read(self, bytes data, int form, bint valid) except -1
    cdef int _json(self, int layer, int json, int coded) except -1
    cdef int _texts(self, Py_ssize_t start, Py_ssize_t end, int how) except -1
    cdef Py_ssize_t _add(
        self, int layer, Py_ssize_t start, Py_ssize_t end, int how, int quoted
    ) except -1
    cdef int _reserve(self, Py_ssize_t n) except -1
    cdef int _text(
        self, int layer, Py_ssize_t start, Py_ssize_t end, int how, int json, int coded
    ) except -1
    cdef int _layer_of_last(self) except -1
    cdef int _inside(self, int layer, int flags, bint alone, int json, int coded) except -1
    cdef int _runs(self, int layer, int json, int coded) except -1
    cdef bint _run(
        self, int layer, const unsigned char* run, Py_ssize_t n, int coding, Py_ssize_t start,
        Py_ssize_t end, int json, int coded
    ) except -1
    cdef int _take(self, Py_ssize_t n) except -1
    cdef int _flush(self, Py_ssize_t first=*) except -1
    cdef int _search(self, object view, Py_ssize_t first, list found) except -1
    cdef int _collect(
        self, object view, Py_ssize_t first, Py_ssize_t end, Py_ssize_t limit, bint quick,
        list after, list found
    ) except -1
    cdef int _in_time(self) except -1
    cdef int _place(self, list found) except -1
    cdef int _give(self, int i, list within) except -1
    cdef int _settle(self, int layer) except -1


@cython.final
cdef class PatternFlow:
    cdef Patterns _patterns
    cdef int _how
    cdef bytearray _text
    cdef bytearray _borders              # 1 where a piece begins; or None
    cdef Py_ssize_t _first               # what begins before has been counted
    cdef bint _gave_up
    cdef dict counts                     # by their numbers among the gate's names

    cdef int add(self, const unsigned char* data, Py_ssize_t length) except -1
    cdef int end(self) except -1
    cdef int _look(self, bint last) except -1


cdef int join_deltas(Patterns patterns, bytes joined, Spans spans) except -1
