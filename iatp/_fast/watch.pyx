"""Reads plain sockets without the event loop's streams (Linux).

A stream of the loop asks its protocol for a buffer, takes the interpreter's lock twice and calls
two methods for each piece that it reads. So a connection that is used again is read by a `Watch`:
an epoll of its own, of which the loop knows one descriptor. Its transport stays for all else: it
made the connection, closes it, and sends what the socket does not take at once.

Rules:
- What closes a connection does so by `close_transport` or `abort_transport`: from then on
  nothing is read, as with a stream.
- The loop closes a descriptor only after `connection_lost`, and that calls `lost`: within a
  batch no descriptor comes to mean another connection.
- What is found at once is one batch; its `Turns` hears of its begin and its end.
"""

import logging
import os

from libc.errno cimport EAGAIN, EINTR, errno

from iatp._fast.wheel cimport Timed

cdef extern from "watch.h" nogil:
    bint WATCH_EXISTS
    int WATCH_ADD
    int WATCH_DEL
    int watch_open()
    int watch_change(int epoll, int what, int fd)
    int watch_look(int epoll, int* fds, int count)

cdef extern from "<sys/socket.h>" nogil:
    ssize_t recv(int fd, void* buffer, size_t length, int flags)
    int MSG_DONTWAIT

_log = logging.getLogger("iatp")

EXISTS = bool(WATCH_EXISTS)


cdef class Turns:
    """Hears when a batch of connections is read, and says whether more is worth waiting for."""

    cdef int begin_batch(self) except -1:
        """Connections are read now, one after another."""
        self.in_batch = True
        return 0

    cdef int end_batch(self) except -1:
        """They have been read."""
        self.in_batch = False
        return 0

    cdef bint lingers(self) noexcept:
        """Whether something may come so soon that the loop should not sleep yet."""
        return False


cdef class Watch:
    """Reads whom it has adopted, as often as the loop finds that there is something to read."""

    def __init__(self, loop):
        self.epoll = watch_open()
        if self.epoll < 0:
            raise OSError(errno, os.strerror(errno))
        self.watched = []
        self.turns = Turns()
        self.loop = loop
        loop.add_reader(self.epoll, self._look)

    def close(self):
        """Reads nothing more."""
        if self.epoll >= 0:
            self.loop.remove_reader(self.epoll)
            os.close(self.epoll)
            self.epoll = -1

    def _look(self):
        cdef int[WATCH_BATCH] fds
        cdef int count = watch_look(self.epoll, fds, WATCH_BATCH)
        if count <= 0:
            return
        self._read(fds, count)
        # Once: the loop's other work has its turn.
        while self.turns.lingers() and self.epoll >= 0:
            count = watch_look(self.epoll, fds, WATCH_BATCH)
            if count > 0:
                self._read(fds, count)
                return

    cdef int _read(self, const int* fds, int count) except -1:
        cdef int at
        cdef Watched one
        self.turns.begin_batch()
        try:
            for at in range(count):
                one = self.watched[fds[at]]
                if one is None or not one.listened:
                    continue
                try:
                    one.readable()
                except Exception:
                    _log.exception("a connection failed while it was read; it is dropped")
                    one.abort_transport()
        finally:
            self.turns.end_batch()
        return 0

    cdef bint stir(self) except -1:
        """Marks as `stirred` by this look whoever has something to read; it is read later.

        False where there may be more of them.
        """
        cdef int[WATCH_BATCH] fds
        cdef int count = watch_look(self.epoll, fds, WATCH_BATCH)
        cdef int at
        cdef Watched one
        self.looks += 1
        for at in range(count):
            one = self.watched[fds[at]]
            if one is not None:
                one.stirred = self.looks
        return 0 <= count < WATCH_BATCH

    cdef int add(self, Watched one) except -1:
        cdef Py_ssize_t missing = one.fd + 1 - len(self.watched)
        if missing > 0:
            self.watched += [None] * missing
        self.watched[one.fd] = one
        return 0

    cdef int remove(self, Watched one) except -1:
        self.watched[one.fd] = None
        return 0


cdef class Watched(Timed):
    """A connection, read by its transport or by a `Watch`."""

    cdef int adopt(self, Watch watch) except -1:
        """Has `watch` read it from now on; its transport must be reading."""
        if watch is None or self.fd < 0 or self.watch is not None or self.transport is None:
            return 0
        if watch.epoll < 0 or watch_change(watch.epoll, WATCH_ADD, self.fd) < 0:
            # The kernel's limit of watches: it stays with its transport.
            return 0
        self.transport.pause_reading()
        watch.add(self)
        self.watch = watch
        self.listened = True
        return 0

    cdef int readable(self) except -1:
        """There is something to read, or an end."""
        return 0

    cdef Py_ssize_t receive(self, void* into, Py_ssize_t room) except -1:
        """Bytes that were read; 0 where there were none, or the connection has ended.

        An end is told to `eof_received`, as a transport does.
        """
        cdef ssize_t n = recv(self.fd, into, room, MSG_DONTWAIT)
        if n > 0:
            return n
        if n < 0 and (errno == EAGAIN or errno == EINTR):
            return 0
        if n < 0:
            self.abort_transport()
            return 0
        self.pause_reading()
        if not self.eof_received():
            self.close_transport()
        return 0

    cdef int pause_reading(self) except -1:
        if self.watch is None:
            self.transport.pause_reading()
        elif self.listened:
            self.listened = False
            watch_change(self.watch.epoll, WATCH_DEL, self.fd)
        return 0

    cdef int resume_reading(self) except -1:
        if self.watch is None:
            self.transport.resume_reading()
        elif not self.listened and not self.transport.is_closing():
            self.listened = watch_change(self.watch.epoll, WATCH_ADD, self.fd) == 0
            if not self.listened:
                self.abort_transport()
        return 0

    cdef int close_transport(self) except -1:
        """Closes once everything has been sent."""
        if self.transport is None:
            return 0
        if self.watch is not None:
            self.pause_reading()
        self.transport.close()
        return 0

    cdef int abort_transport(self) except -1:
        """Closes at once."""
        if self.transport is None:
            return 0
        if self.watch is not None:
            self.pause_reading()
        self.transport.abort()
        return 0

    cdef int lost(self) except -1:
        """The connection is no more; the descriptor is closed soon."""
        if self.watch is not None:
            self.pause_reading()
            self.watch.remove(self)
            self.watch = None
        self.transport = None
        self.fd = -1
        return 0
