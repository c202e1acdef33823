cimport cython
from libc.stdint cimport int64_t, uint64_t

cdef enum:
    SLOTS_REMEMBERED = 256
    RATE_WINDOWS = 3


# The agent's concurrency limit, shared by all workers: one byte a cell, 0 or the number of
# the worker that holds it, plus 1. Lock-free; a worker that dies leaves its number behind,
# and the supervisor gives those cells back with `reclaim`.
#
# Waiting: first come first served within a worker. Between workers: a worker that finds no
# cell calls `waiting(1)`, tries once more (a cell may have come free before the others could
# see that it waits), then tries again on each tick and on each of its own releases. It calls
# `waiting(-1)` when the request leaves the queue for whatever reason.
#
# Fairness: `release` says whether the cell is for the others (1: some other worker waits,
# and this one held more than limit / active workers, active being those that hold or wait).
# At 1 the worker leaves the cell in the free pool, though its own queue waits; at 0 it may
# `try_acquire` for its own queue at once. So a worker below its share always finds another
# above it that gives, and none starves, at a limit of 1 either.
@cython.final
cdef class Slots:
    cdef unsigned char[::1] _cells_view
    cdef unsigned char[::1] _rows_view
    cdef unsigned char* _cells
    cdef int64_t* _rows
    cdef int _limit
    cdef int _workers
    cdef int _worker
    cdef int _next
    cdef int _remembered
    cdef int _memory[SLOTS_REMEMBERED]

    # A cell's index, or -1 where the limit is reached.
    cpdef int try_acquire(self) noexcept nogil
    # 1 where the cell is for the other workers (above), else 0. A cell that this worker does
    # not hold is left alone.
    cpdef bint release(self, int cell) noexcept nogil
    # What `release` would say, without releasing: to hand a cell on within the worker.
    cpdef bint is_for_others(self) noexcept nogil
    cpdef void waiting(self, int64_t delta) noexcept nogil
    cpdef bint others_waiting(self) noexcept nogil
    cpdef int64_t held(self) noexcept nogil
    cdef int64_t* _row_of(self, int worker, int cell) noexcept nogil
    cdef bint _take(self, int cell) noexcept nogil
    cdef int _search(self, int start, int end) noexcept nogil


# Requests per caller and second, minute and hour, one table for all workers. Each window is
# a GCRA (a leaky bucket counted in times): N at once, then one each window / N; so within any
# one window less than 2 N. `burst_limit` replaces N as what may come at once in the shortest
# window that is set; alone it is N per second. A request counts only where every window
# allows it.
#
# A caller is found by a 64-bit SipHash under a key of this start, in a bucket of RATE_WAYS
# callers. Where a bucket is full, the caller with the smallest debt makes room, and its debt
# becomes the bucket's floor, with which every newcomer to this bucket starts. So nobody gets
# a request more by being forgotten: addresses without end do not free a limited caller. The
# price has a bound: debts that are paid by then cost a newcomer nothing, and it is refused for
# the sake of others only while each of the RATE_WAYS callers in its bucket is at its own limit
# (with several windows set: or for as long as a shorter window takes). Which callers share a
# bucket cannot be chosen without the key; to fill all takes at least 122,880 addresses that
# each use up their limit.
#
# Times are those of the monotonic clock, read for this request: an old time is refused early.
@cython.final
cdef class RateLimiter:
    cdef unsigned char[::1] _table_view
    cdef int64_t* _table
    cdef uint64_t _key0
    cdef uint64_t _key1
    cdef uint64_t _buckets
    cdef int64_t _turn
    cdef int _windows
    cdef int _row[RATE_WINDOWS]
    cdef int64_t _interval_ns[RATE_WINDOWS]
    cdef int64_t _tolerance_ns[RATE_WINDOWS]

    # Whether any limit is set; where not, `check` always allows.
    cpdef bint is_on(self) noexcept nogil
    # The caller's number in the table; a connection may keep it.
    cdef uint64_t number(self, const unsigned char* key, Py_ssize_t length) noexcept nogil
    # 0 where the request is allowed (and counted), else the seconds for Retry-After, >= 1.
    cdef int check_number(self, uint64_t number, int64_t now_ns) noexcept nogil
    cdef int64_t _lock(self, int64_t* lock) noexcept nogil
    cdef int _entry(self, int64_t* bucket, int64_t number) noexcept nogil


# What a rate limit counts by: the authenticated caller, else the address (IPv6 by its /64).
cpdef bytes caller_key(str caller, str peer)
