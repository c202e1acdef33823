"""Deadlines of thousands of connections: a timing wheel that is ticked every 50 ms.

Rules:
- `late` is called once for each deadline: never before it, at most a tick behind it.
- Arming and disarming store a number. A node stays filed where it is; when the wheel comes
  to it, one whose deadline has moved on is filed anew, and one without a deadline is let go.
  Only a deadline earlier than where its node is filed moves the node, in constant time.
- A tick costs what is filed under it, whatever else is in the wheel.
- The wheel does not keep its nodes alive: a node that goes away unties itself.
"""

import logging

_log = logging.getLogger("iatp")

cdef long long TICK_NS = TICK_MS * 1000000


cdef inline void _tie(Knot* knot, Knot* head) noexcept nogil:
    knot.before = head.before
    knot.after = head
    head.before.after = knot
    head.before = knot


cdef inline void _untie(Knot* knot) noexcept nogil:
    knot.before.after = knot.after
    knot.after.before = knot.before
    knot.before = knot.after = NULL


cdef class Timed:
    """What has a deadline: the base of every connection."""

    def __cinit__(self):
        self.knot.owner = <void*>self

    def __dealloc__(self):
        # The attributes may be gone by now; the ring of its slot is all that is needed.
        if self.knot.before != NULL:
            _untie(&self.knot)

    cdef int late(self, long long now_ns) except -1:
        """Called when the deadline has passed; it is no longer armed then."""
        return 0


cdef class Wheel:
    """Files nodes under the tick at which it has to look at them; `now_ns` is monotonic."""

    def __cinit__(self, long long now_ns):
        cdef int i
        for i in range(SLOTS):
            self.slots[i].before = self.slots[i].after = &self.slots[i]
        self.due.before = self.due.after = &self.due
        self.ticked = now_ns // TICK_NS

    def __dealloc__(self):
        cdef int i
        while self.due.after != &self.due:
            _untie(self.due.after)
        for i in range(SLOTS):
            while self.slots[i].after != &self.slots[i]:
                _untie(self.slots[i].after)

    cdef int file(self, Timed timed) noexcept:
        """Files a node under its deadline, or as far ahead as the wheel goes."""
        cdef long long tick = tick_of(timed.deadline_ns)
        if tick <= self.ticked:
            tick = self.ticked + 1
        elif tick >= self.ticked + SLOTS:
            tick = self.ticked + SLOTS - 1
        if timed.knot.before != NULL:
            _untie(&timed.knot)
        timed.filed = tick
        _tie(&timed.knot, &self.slots[tick & (SLOTS - 1)])
        return 0

    def tick(self, long long now_ns):
        """Calls what is late by now; called every 50 ms, or as soon as the loop comes to it."""
        cdef long long until = now_ns // TICK_NS
        cdef Knot* head
        if until - self.ticked > SLOTS:
            # It slept for longer than once around: each slot is looked at once.
            self.ticked = until - SLOTS
        while self.ticked < until:
            self.ticked += 1
            head = &self.slots[self.ticked & (SLOTS - 1)]
            if head.after != head:
                # Taken out as a whole: what is filed meanwhile belongs to a later tick.
                head.before.after = &self.due
                head.after.before = self.due.before
                self.due.before.after = head.after
                self.due.before = head.before
                head.before = head.after = head
            self._empty(now_ns)

    cdef int _empty(self, long long now_ns) except -1:
        """Calls, files anew or lets go of everything that is due."""
        cdef Timed timed
        while self.due.after != &self.due:
            timed = <Timed>self.due.after.owner
            _untie(&timed.knot)
            timed.filed = 0
            if timed.deadline_ns == 0:
                continue
            if timed.deadline_ns > now_ns:
                self.file(timed)
                continue
            timed.deadline_ns = 0
            try:
                timed.late(now_ns)
            except Exception:
                # One that fails may not keep the deadlines of all others from being seen.
                _log.exception("what was late could not be handled")
        return 0


cdef class Alarm(Timed):
    """A deadline of what is written in Python: calls `late(now_ns)`."""

    cdef object called

    def __init__(self, Wheel wheel not None, late):
        self.wheel = wheel
        self.called = late

    def arm(self, long long deadline_ns):
        """Set the deadline, in place of any other."""
        if deadline_ns <= 0:
            raise ValueError("a deadline is a time of the monotonic clock")
        arm(self, deadline_ns)

    def disarm(self):
        """Have no deadline."""
        disarm(self)

    @property
    def filed(self):
        """Whether the wheel will look at it."""
        return self.knot.before != NULL

    cdef int late(self, long long now_ns) except -1:
        self.called(now_ns)
        return 0
