"""The common case of `Recorder.append`, which runs for every turn: records go behind others into a
plain segment that is where it should be, and its seal takes them in.

Whatever else there is to do, and whatever goes wrong, is for the Recorder, which is a subclass
(iatp/adapters/recorder.py): it cuts back what a write has left behind, and writes that turn anew.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

cdef extern from "<sys/uio.h>" nogil:
    struct iovec:
        void* iov_base
        size_t iov_len
    ssize_t writev(int fd, const iovec* pieces, int count)

cdef enum:
    # A turn of more pieces is not common.
    MOST_PIECES = 64


cdef class Appender:
    """What of a Recorder changes with every turn."""

    def append(self, list tails not None):
        """Write the records whose tails these are, in order: all of them, or none.

        A tail is the text of a record from `"type":` to the closing brace, in one line.

        Raises:
            OSError: nothing was recorded, so nothing of this turn may be sent.
            ValueError: a tail holds a line end; nothing was recorded.
        """
        cdef list pieces
        cdef Py_ssize_t length
        if not tails:
            return
        if not self._is_common():
            self._append(tails)
            return
        pieces = self._join(tails, self._seq, self._middle)
        length = self._write_whole(pieces)
        if length == 0:
            self._append(tails)
            return
        self._size += length
        self._file_size += length
        self._uncut = False
        self._seq += len(tails)
        self.written += len(tails)
        self._take_in(pieces)
        if self._seq >= self._index_at:
            self._enter()
        if self._size >= self._drop_at:
            self._drop()

    cdef bint _is_common(self) noexcept:
        cdef timespec now
        if not self._plain or self._uncut or self._suspect or self.failing:
            return False
        clock_gettime(CLOCK_MONOTONIC, &now)
        return now.tv_sec + now.tv_nsec / 1e9 < self._check_due

    cdef Py_ssize_t _write_whole(self, list pieces) except -1:
        """Their length, or 0: they are too many or too long, or the disk has not taken them all."""
        cdef iovec[MOST_PIECES] parts
        cdef Py_ssize_t length = 0
        cdef ssize_t written
        cdef int count = <int>len(pieces)
        cdef int at
        cdef bytes piece
        if count > MOST_PIECES:
            return 0
        for at in range(count):
            piece = pieces[at]
            parts[at].iov_base = PyBytes_AS_STRING(piece)
            parts[at].iov_len = PyBytes_GET_SIZE(piece)
            length += PyBytes_GET_SIZE(piece)
        if self._size + length > self._rotate_at:
            return 0
        self._uncut = True
        with nogil:
            written = writev(self._fd, parts, count)
        return length if written == length else 0
