# Deadlines of thousands of connections, looked at in one place; see wheel.pyx.

cdef enum:
    TICK_MS = 50
    SLOTS = 2048       # 102.4 s ahead; a power of two, and more than the 75 s of an idle caller

cdef struct Knot:      # what ties a node into its slot; both NULL outside of any
    Knot* before
    Knot* after
    void* owner        # the Timed that it is part of; it unties itself before it is gone

cdef class Timed:
    cdef Wheel wheel
    cdef readonly long long deadline_ns  # monotonic; 0: none
    cdef long long filed                 # the tick at which the wheel looks at it; 0: never
    cdef Knot knot

    cdef int late(self, long long now_ns) except -1


cdef class Wheel:
    cdef Knot[SLOTS] slots
    cdef Knot due                        # what the tick at hand has not looked at yet
    cdef long long ticked                # the last tick that was looked at

    cdef int file(self, Timed timed) noexcept
    cdef int _empty(self, long long now_ns) except -1


cdef inline long long tick_of(long long deadline_ns) noexcept nogil:
    # The first tick at which the deadline has passed.
    return (deadline_ns + TICK_MS * 1000000 - 1) // (TICK_MS * 1000000)


cdef inline int arm(Timed timed, long long deadline_ns) noexcept:
    # Where the wheel looks no later than that anyway, this is all that a request pays.
    timed.deadline_ns = deadline_ns
    if timed.filed == 0 or tick_of(deadline_ns) < timed.filed:
        timed.wheel.file(timed)
    return 0


cdef inline void disarm(Timed timed) noexcept:
    timed.deadline_ns = 0
