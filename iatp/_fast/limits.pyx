
"""What all workers keep to together: the agent's concurrency limit and the rate limits.

Both live in the shared mapping and survive the death of any worker at any instruction:
a slot's cell names its holder, and a lock whose holder stands still for LOCK_PATIENCE_NS
is taken over.
"""

cimport cython
from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.string cimport memchr, memcpy

from iatp.values import layout

cdef extern from *:
    """
    #include <stdint.h>
    #include <sched.h>
    #include <time.h>
    #include <sys/types.h>
    #include <sys/socket.h>
    #include <netinet/in.h>
    #include <arpa/inet.h>
    static inline int64_t iatp_load(const int64_t *p) {
        return __atomic_load_n(p, __ATOMIC_SEQ_CST);
    }
    static inline void iatp_store(int64_t *p, int64_t v) {
        __atomic_store_n(p, v, __ATOMIC_SEQ_CST);
    }
    static inline void iatp_add(int64_t *p, int64_t n) {
        __atomic_fetch_add(p, n, __ATOMIC_SEQ_CST);
    }
    static inline int iatp_swap(int64_t *p, int64_t from, int64_t to) {
        return __atomic_compare_exchange_n(
            p, &from, to, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    static inline int iatp_swap_byte(unsigned char *p, unsigned char from, unsigned char to) {
        return __atomic_compare_exchange_n(
            p, &from, to, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    static inline int64_t iatp_now_ns(void) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
    }
    static inline void iatp_pause(void) { sched_yield(); }
    """
    int64_t iatp_load(const int64_t* p) noexcept nogil
    void iatp_store(int64_t* p, int64_t v) noexcept nogil
    void iatp_add(int64_t* p, int64_t n) noexcept nogil
    bint iatp_swap(int64_t* p, int64_t old, int64_t new) noexcept nogil
    bint iatp_swap_byte(unsigned char* p, unsigned char old, unsigned char new) noexcept nogil
    int64_t iatp_now_ns() noexcept nogil
    void iatp_pause() noexcept nogil
    int inet_pton(int family, const char* text, void* address) noexcept nogil
    enum: AF_INET
    enum: AF_INET6

cdef enum:
    WAYS = 15
    SET_WORDS = 16
    BUCKET_WORDS = 64
    ROW_WORDS = 16
    HELD = 3
    WAITING = 4
    # Above this many cells a full table is seen by the workers' own counts, not by a search.
    SEARCHED = 4096

# A critical section takes well below a microsecond; who holds the lock for longer than this
# is dead, or was put aside by the kernel. In the second case two are inside for a moment and
# a request may be counted twice or not at all.
cdef int64_t LOCK_PATIENCE_NS = 5000000

assert layout.RATE_WAYS == WAYS
assert layout.RATE_BUCKET_WORDS == BUCKET_WORDS
assert len(layout.RATE_WINDOWS_NS) == RATE_WINDOWS
assert layout.ROW_BYTES == ROW_WORDS * sizeof(int64_t)
assert (layout.Row.HELD, layout.Row.WAITING) == (HELD, WAITING)


@cython.final
cdef class Slots:
    """The agent's concurrency limit as one worker sees it; the rules stand in limits.pxd."""

    def __cinit__(self, cells, rows, int worker):
        self._cells_view = cells
        self._rows_view = rows
        cdef Py_ssize_t limit = self._cells_view.shape[0]
        cdef Py_ssize_t workers = self._rows_view.shape[0] // (ROW_WORDS * sizeof(int64_t))
        if not 1 <= limit <= layout.MAX_SLOTS:
            raise ValueError(f"between 1 and {layout.MAX_SLOTS} slots")
        if not 1 <= workers <= layout.MAX_WORKERS:
            raise ValueError(f"between 1 and {layout.MAX_WORKERS} workers")
        if not 0 <= worker < workers:
            raise ValueError(f"worker {worker} of {workers}")
        if <uintptr_t>&self._rows_view[0] % sizeof(int64_t):
            raise ValueError("the rows are not aligned to their cells")
        self._cells = &self._cells_view[0]
        self._rows = <int64_t*>&self._rows_view[0]
        self._limit = <int>limit
        self._workers = <int>workers
        self._worker = worker
        # Workers begin their search in different places, so as not to meet on one line.
        self._next = <int>(limit * worker // workers)
        self._remembered = 0

    cdef int64_t* _row_of(self, int worker, int cell) noexcept nogil:
        return &self._rows[worker * ROW_WORDS + cell]

    cdef bint _take(self, int cell) noexcept nogil:
        if not iatp_swap_byte(&self._cells[cell], 0, <unsigned char>(self._worker + 1)):
            return False
        iatp_add(self._row_of(self._worker, HELD), 1)
        return True

    cdef int _search(self, int start, int end) noexcept nogil:
        cdef void* found
        cdef int cell
        while start < end:
            found = memchr(&self._cells[start], 0, end - start)
            if found == NULL:
                return -1
            cell = <int>(<unsigned char*>found - self._cells)
            if self._take(cell):
                return cell
            start = cell + 1
        return -1

    cpdef int try_acquire(self) noexcept nogil:
        cdef int cell, worker
        cdef int64_t held = 0
        while self._remembered:
            self._remembered -= 1
            cell = self._memory[self._remembered]
            if self._take(cell):
                return cell
        if self._limit > SEARCHED:
            for worker in range(self._workers):
                held += iatp_load(self._row_of(worker, HELD))
            if held >= self._limit:
                return -1
        cell = self._search(self._next, self._limit)
        if cell < 0:
            cell = self._search(0, self._next)
        if cell >= 0:
            self._next = cell
        return cell

    cpdef bint is_for_others(self) noexcept nogil:
        cdef int worker
        cdef int active = 1
        cdef bint wanted = False
        cdef int64_t waiting
        for worker in range(self._workers):
            if worker == self._worker:
                continue
            waiting = iatp_load(self._row_of(worker, WAITING))
            if waiting > 0:
                wanted = True
            if waiting > 0 or iatp_load(self._row_of(worker, HELD)) > 0:
                active += 1
        return wanted and iatp_load(self._row_of(self._worker, HELD)) * active > self._limit

    cpdef bint release(self, int cell) noexcept nogil:
        cdef bint for_others
        cdef unsigned char mine = <unsigned char>(self._worker + 1)
        if not 0 <= cell < self._limit:
            return False
        for_others = self.is_for_others()
        # The count goes down first: seen from elsewhere it is never too high, so that a
        # free cell is never overlooked for longer than this takes.
        iatp_add(self._row_of(self._worker, HELD), -1)
        if not iatp_swap_byte(&self._cells[cell], mine, 0):
            iatp_add(self._row_of(self._worker, HELD), 1)
            return False
        if self._remembered < SLOTS_REMEMBERED:
            self._memory[self._remembered] = cell
            self._remembered += 1
        return for_others

    cpdef void waiting(self, int64_t delta) noexcept nogil:
        iatp_add(self._row_of(self._worker, WAITING), delta)

    cpdef bint others_waiting(self) noexcept nogil:
        cdef int worker
        for worker in range(self._workers):
            if worker != self._worker and iatp_load(self._row_of(worker, WAITING)) > 0:
                return True
        return False

    cpdef int64_t held(self) noexcept nogil:
        return iatp_load(self._row_of(self._worker, HELD))

    @property
    def limit(self):
        return self._limit


def reclaim(cells, rows, int worker):
    """How many slots of a dead worker were given back; its row of counts is cleared.

    Only after the worker is certainly gone (waited for), and before its successor starts.
    """
    cdef unsigned char[::1] cell_view = cells
    cdef unsigned char[::1] row_view = rows
    cdef Py_ssize_t workers = row_view.shape[0] // (ROW_WORDS * sizeof(int64_t))
    if not 0 <= worker < workers:
        raise ValueError(f"worker {worker} of {workers}")
    cdef int64_t* row = <int64_t*>&row_view[worker * ROW_WORDS * <Py_ssize_t>sizeof(int64_t)]
    cdef unsigned char owner = <unsigned char>(worker + 1)
    cdef Py_ssize_t start = 0
    cdef Py_ssize_t end = cell_view.shape[0]
    cdef int64_t given = 0
    cdef void* found
    with nogil:
        while start < end:
            found = memchr(&cell_view[start], owner, end - start)
            if found == NULL:
                break
            start = <unsigned char*>found - &cell_view[0]
            given += iatp_swap_byte(&cell_view[start], owner, 0)
            start += 1
        iatp_store(&row[HELD], 0)
        iatp_store(&row[WAITING], 0)
    return given


cdef inline uint64_t rotate(uint64_t x, int bits) noexcept nogil:
    return (x << bits) | (x >> (64 - bits))


cdef inline void sip_round(uint64_t* v) noexcept nogil:
    v[0] += v[1]
    v[2] += v[3]
    v[1] = rotate(v[1], 13) ^ v[0]
    v[3] = rotate(v[3], 16) ^ v[2]
    v[0] = rotate(v[0], 32)
    v[2] += v[1]
    v[0] += v[3]
    v[1] = rotate(v[1], 17) ^ v[2]
    v[3] = rotate(v[3], 21) ^ v[0]
    v[2] = rotate(v[2], 32)


cdef uint64_t siphash(
    uint64_t key0, uint64_t key1, const unsigned char* data, Py_ssize_t length
) noexcept nogil:
    """SipHash-2-4 of data (Aumasson and Bernstein 2012)."""
    cdef uint64_t v[4]
    cdef uint64_t word
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t i
    v[0] = key0 ^ <uint64_t>0x736F6D6570736575
    v[1] = key1 ^ <uint64_t>0x646F72616E646F6D
    v[2] = key0 ^ <uint64_t>0x6C7967656E657261
    v[3] = key1 ^ <uint64_t>0x7465646279746573
    while length - at >= 8:
        word = 0
        for i in range(8):
            word |= <uint64_t>data[at + i] << (8 * i)
        v[3] ^= word
        sip_round(v)
        sip_round(v)
        v[0] ^= word
        at += 8
    word = <uint64_t>length << 56
    for i in range(length - at):
        word |= <uint64_t>data[at + i] << (8 * i)
    v[3] ^= word
    sip_round(v)
    sip_round(v)
    v[0] ^= word
    v[2] ^= 0xFF
    for _ in range(4):
        sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


def siphash_of(const unsigned char[::1] key, const unsigned char[::1] data):
    """SipHash-2-4, for the test vectors of its authors."""
    cdef uint64_t k[2]
    if key.shape[0] != 16:
        raise ValueError("a key has 16 bytes")
    memcpy(k, &key[0], 16)
    return siphash(k[0], k[1], &data[0] if data.shape[0] else NULL, data.shape[0])


@cython.final
cdef class RateLimiter:
    """The rate limits of the manifest, per caller; the rules stand in limits.pxd."""

    def __cinit__(
        self,
        table,
        const unsigned char[::1] key,
        int worker,
        *,
        per_second=None,
        per_minute=None,
        per_hour=None,
        burst=None,
    ):
        self._table_view = table
        cdef Py_ssize_t buckets = self._table_view.shape[0] // (
            BUCKET_WORDS * <Py_ssize_t>sizeof(int64_t)
        )
        if buckets < 1 or buckets & (buckets - 1):
            raise ValueError("the table has a power of two of buckets")
        if <uintptr_t>&self._table_view[0] % sizeof(int64_t):
            raise ValueError("the table is not aligned to its cells")
        if key.shape[0] != 16:
            raise ValueError("a key has 16 bytes")
        if not 0 <= worker < layout.MAX_WORKERS:
            raise ValueError(f"worker {worker} of at most {layout.MAX_WORKERS}")
        if burst is not None and per_second is None and per_minute is None and per_hour is None:
            per_second = burst
        self._table = <int64_t*>&self._table_view[0]
        self._buckets = <uint64_t>buckets
        memcpy(&self._key0, &key[0], 8)
        memcpy(&self._key1, &key[8], 8)
        # Never 0, and no other worker's: the low byte is the worker's.
        self._turn = worker + 1
        self._windows = 0
        for row, (limit, length_ns) in enumerate(
            zip((per_second, per_minute, per_hour), layout.RATE_WINDOWS_NS, strict=True)
        ):
            if limit is None:
                continue
            if limit < 1 or (burst is not None and burst < 1):
                raise ValueError("a rate limit is at least 1")
            interval = max(1, -(-length_ns // limit))
            at_once = burst if burst is not None and self._windows == 0 else limit
            self._row[self._windows] = row
            self._interval_ns[self._windows] = interval
            # More than a day ahead is no limit; it keeps the sums far from 2**63.
            self._tolerance_ns[self._windows] = min(
                interval * (at_once - 1), 86_400 * 1_000_000_000
            )
            self._windows += 1

    cpdef bint is_on(self) noexcept nogil:
        return self._windows > 0

    cdef uint64_t number(self, const unsigned char* key, Py_ssize_t length) noexcept nogil:
        cdef uint64_t number = siphash(self._key0, self._key1, key, length)
        return number if number else 1

    cdef int64_t _lock(self, int64_t* lock) noexcept nogil:
        cdef int64_t seen, other
        cdef int64_t since = 0
        # Each taking has its own value, so a waiter sees whether the holder moves.
        self._turn = (self._turn + 256) & <int64_t>0x7FFFFFFFFFFFFFFF
        if iatp_swap(lock, 0, self._turn):
            return self._turn
        seen = 0
        while True:
            other = iatp_load(lock)
            if other == 0:
                if iatp_swap(lock, 0, self._turn):
                    return self._turn
                continue
            if other != seen:
                seen = other
                since = iatp_now_ns()
            elif iatp_now_ns() - since > LOCK_PATIENCE_NS:
                if iatp_swap(lock, seen, self._turn):
                    return self._turn
            iatp_pause()

    cdef int _entry(self, int64_t* bucket, int64_t number) noexcept nogil:
        # The caller's place in the bucket, 1 to WAYS; made where it has none. Under the lock.
        cdef int way, w
        cdef int place = 0
        cdef int64_t debt, least = 0
        cdef int64_t* times
        for way in range(1, WAYS + 1):
            if bucket[way] == number:
                return way
        for way in range(1, WAYS + 1):
            if bucket[way] == 0:
                place = way
                least = 0
                break
            debt = 0
            for w in range(self._windows):
                debt = max(debt, bucket[SET_WORDS * (1 + self._row[w]) + way])
            if place == 0 or debt < least:
                place = way
                least = debt
        for w in range(self._windows):
            times = &bucket[SET_WORDS * (1 + self._row[w])]
            # times[0] is the floor.
            if bucket[place] != 0:
                times[0] = max(times[0], times[place])
            times[place] = times[0]
        bucket[place] = number
        return place

    cdef int check_number(self, uint64_t number, int64_t now_ns) noexcept nogil:
        cdef int64_t* bucket
        cdef int64_t* time
        cdef int64_t turn, wait
        cdef int64_t longest = 0
        cdef int way, w
        if self._windows == 0:
            return 0
        # The high bits choose the bucket, all of them name the caller.
        bucket = &self._table[(number >> 40 & (self._buckets - 1)) * BUCKET_WORDS]
        turn = self._lock(&bucket[0])
        way = self._entry(bucket, <int64_t>number)
        for w in range(self._windows):
            time = &bucket[SET_WORDS * (1 + self._row[w]) + way]
            wait = max(time[0], now_ns) - now_ns - self._tolerance_ns[w]
            longest = max(longest, wait)
        if longest == 0:
            for w in range(self._windows):
                time = &bucket[SET_WORDS * (1 + self._row[w]) + way]
                time[0] = max(time[0], now_ns) + self._interval_ns[w]
        iatp_swap(&bucket[0], turn, 0)
        if longest == 0:
            return 0
        longest = (longest + 999999999) // 1000000000
        return <int>min(longest, 86400)

    def check(self, const unsigned char[::1] caller_key not None, int64_t now_mono_ns):
        """0 where the request is allowed, which counts it; else seconds to wait, at least 1."""
        return self.check_number(
            self.number(&caller_key[0] if caller_key.shape[0] else NULL, caller_key.shape[0]),
            now_mono_ns,
        )


cpdef bytes caller_key(str caller, str peer):
    """What a rate limit counts by.

    The caller's name where it has authenticated; else its address: IPv4 whole, also where it
    is written as IPv6, and IPv6 by its /64, since one host commonly has all of that.
    """
    cdef unsigned char address[16]
    if caller != "anonymous":
        return b"c" + caller.encode("utf-8", "surrogatepass")
    text = peer.partition("%")[0].encode("utf-8", "surrogatepass")
    if inet_pton(AF_INET, text, address) == 1:
        return b"4" + address[:4]
    if inet_pton(AF_INET6, text, address) == 1:
        if address[:12] == b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xff":
            return b"4" + address[12:16]
        return b"6" + address[:8]
    return b"p" + text
