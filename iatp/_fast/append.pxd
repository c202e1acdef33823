from libc.stdint cimport uint64_t


cdef class BlockWriter:
    cdef bytes _header
    cdef object _encrypt
    # The number of the next block, and what is in the one that may not stand in the file.
    cdef uint64_t _number
    cdef bytes _unwritten
    cdef bint _ended

    cdef list _block(self, list pieces, bint last)
    cpdef written(self)


cdef class Appender:
    # The open segment: its descriptor, the next `seq`, how long its records are, and the file.
    cdef public int _fd
    cdef public long long _seq
    cdef public Py_ssize_t _size
    cdef public Py_ssize_t _file_size
    # Encrypts it, or None.
    cdef public BlockWriter _blocks
    # Each turn is synced (`power`), or there is no segment.
    cdef public bint _synced
    # Bytes of an append that failed may stand behind `_size`; the file may be no good any more.
    cdef public bint _uncut
    cdef public bint _suspect
    cdef public bint failing
    # When to look at the file, by the monotonic clock in seconds.
    cdef public double _check_due
    # So long is a segment at most; from here on what is old leaves the page cache; and from this
    # `seq` on the index is written.
    cdef public Py_ssize_t _rotate_at
    cdef public Py_ssize_t _drop_at
    cdef public long long _index_at
    cdef public long long written
    cdef public object _join
    cdef public bytes _middle
    # Takes in what stands in the file.
    cdef public object _take_in

    cdef bint _is_common(self) noexcept
    cdef Py_ssize_t _write_whole(self, list pieces) except -1
