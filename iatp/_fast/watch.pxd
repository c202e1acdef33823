# Who is read without the event loop's streams; see watch.pyx.
from iatp._fast.wheel cimport Timed

cdef enum:
    # So many connections are read before the loop's other work has its turn.
    WATCH_BATCH = 64


cdef class Turns:
    cdef bint in_batch           # connections are being read, one after another

    cdef int begin_batch(self) except -1
    cdef int end_batch(self) except -1
    cdef bint lingers(self) noexcept


cdef class Watch:
    cdef object loop
    cdef Turns turns             # hears of what is read
    cdef int epoll
    cdef list watched            # by descriptor; None: nobody's
    cdef long long looks         # of `stir`, so far

    cdef int _read(self, const int* fds, int count) except -1
    cdef bint stir(self) except -1
    cdef int add(self, Watched one) except -1
    cdef int remove(self, Watched one) except -1


cdef class Watched(Timed):
    cdef object transport
    cdef int fd                  # what is read and sent to; -1: the transport does both (TLS)
    cdef Watch watch             # what reads it; None: its transport
    cdef bint listened           # the watch looks at it, for the moment
    cdef long long stirred       # the last look of `stir` that found something to read in it

    cdef int adopt(self, Watch watch) except -1
    cdef int readable(self) except -1
    cdef Py_ssize_t receive(self, void* into, Py_ssize_t room) except -1
    cdef int pause_reading(self) except -1
    cdef int resume_reading(self) except -1
    cdef int close_transport(self) except -1
    cdef int abort_transport(self) except -1
    cdef int lost(self) except -1
