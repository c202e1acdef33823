
"""Counts what a worker does, in its block of the shared mapping.

The layout is data (iatp/values/layout.py), read once at import into C tables. A cell has
one writer, so it is loaded and stored and never locked; other processes that sum the cells
at a scrape read each of them whole, since they are aligned 64-bit words.
"""

cimport cython
from libc.stdint cimport int64_t, uintptr_t

from iatp.values import layout
from iatp.values.exchange import FINDINGS as _FINDINGS

cdef extern from *:
    """
    #include <stdint.h>
    static inline void iatp_cell_add(int64_t *cell, int64_t n) {
        int64_t old = __atomic_load_n(cell, __ATOMIC_RELAXED);
        __atomic_store_n(cell, (int64_t)((uint64_t)old + (uint64_t)n), __ATOMIC_RELAXED);
    }
    """
    void iatp_cell_add(int64_t* cell, int64_t n) noexcept nogil

cdef enum:
    STATUSES = 600
    BOUNDS = 32

# Longer than this was not measured but a clock gone wrong: 2**53 ns, 104 days.
cdef double LONGEST_NS = 9007199254740992.0

cdef struct Series:
    int at
    int count

cdef struct Histogram:
    int at
    int count
    int64_t bounds[BOUNDS]

cdef int request_at[5][STATUSES]
cdef int request_other[5]
cdef Series policy_s, finding_s, answer_finding_s, override_s, upstream_error_s, connections_s
cdef Series quarantined_s, records_s, records_lost_s, recorder_failing_s, inflight_s, queued_s
cdef Series buffered_s
cdef Histogram request_h, overhead_h, upstream_h, connect_h, lag_h, trust_h
cdef int CELLS = layout.CELLS

cdef Series series(str name) except *:
    family = layout.FAMILIES[name]
    cdef Series s
    s.at = family.at
    s.count = family.cells
    return s


cdef Histogram histogram(str name) except *:
    family = layout.FAMILIES[name]
    cdef Histogram h
    cdef Py_ssize_t i
    if len(family.bounds) > BOUNDS:
        raise ImportError(f"{name} has more than {BOUNDS} bounds")
    h.at = family.at
    h.count = len(family.bounds)
    for i in range(BOUNDS):
        h.bounds[i] = family.bounds[i] if i < h.count else 0
    return h


cdef int read_layout() except -1:
    global policy_s, finding_s, answer_finding_s, override_s, upstream_error_s, connections_s
    global quarantined_s, records_s, records_lost_s, recorder_failing_s, inflight_s, queued_s
    global buffered_s
    global request_h, overhead_h, upstream_h, connect_h, lag_h, trust_h
    cdef Py_ssize_t decision, status
    family = layout.FAMILIES["iatp_requests_total"]
    cells = {labels: family.at + i for i, labels in enumerate(family.series)}
    for decision in range(5):
        name = layout.DECISIONS[decision]
        request_other[decision] = cells[name, "other"]
        for status in range(STATUSES):
            request_at[decision][status] = cells.get(
                (name, str(status)),
                cells.get((name, f"{status // 100}xx"), request_other[decision]),
            )
    policy_s = series("iatp_policy_evaluations_total")
    finding_s = series("iatp_findings_total")
    answer_finding_s = series("iatp_answer_findings_total")
    override_s = series("iatp_overrides_total")
    upstream_error_s = series("iatp_upstream_errors_total")
    connections_s = series("iatp_connections")
    quarantined_s = series("iatp_quarantined_total")
    records_s = series("iatp_records_written_total")
    records_lost_s = series("iatp_records_lost_total")
    recorder_failing_s = series("iatp_recorder_failing")
    inflight_s = series("iatp_inflight")
    queued_s = series("iatp_queued")
    buffered_s = series("iatp_buffered_bytes")
    request_h = histogram("iatp_request_duration_seconds")
    overhead_h = histogram("iatp_overhead_seconds")
    upstream_h = histogram("iatp_upstream_duration_seconds")
    connect_h = histogram("iatp_upstream_connect_seconds")
    lag_h = histogram("iatp_event_loop_lag_seconds")
    trust_h = histogram("iatp_trust_score_distribution")
    return 0


read_layout()


cdef inline void observe(int64_t* cells, const Histogram* h, int64_t value) noexcept nogil:
    # Every bound is compared: no branch to mispredict, and the compiler does several at once.
    cdef int i
    cdef int bucket = 0
    for i in range(h.count):
        bucket += value > h.bounds[i]
    iatp_cell_add(&cells[h.at + bucket], 1)
    iatp_cell_add(&cells[h.at + h.count + 1], value)


cdef inline int64_t ns_of(double us) noexcept nogil:
    cdef double ns = us * 1000.0 + 0.5
    if not ns > 0.0:
        return 0
    return <int64_t>(ns if ns < LONGEST_NS else LONGEST_NS)


cdef inline void add(int64_t* cells, Series s, int label, int64_t n) noexcept nogil:
    if 0 <= label < s.count:
        iatp_cell_add(&cells[s.at + label], n)


@cython.final
cdef class Counters:
    """One worker's counters, over its block of `layout.CELLS` cells."""

    def __cinit__(self, block):
        self._block = block
        if self._block.shape[0] < CELLS * <Py_ssize_t>sizeof(int64_t):
            raise ValueError(f"a block has {CELLS} cells of {sizeof(int64_t)} bytes")
        if <uintptr_t>&self._block[0] % sizeof(int64_t):
            raise ValueError("the block is not aligned to its cells")
        self._cells = <int64_t*>&self._block[0]

    cdef void request(self, int decision, int status) noexcept nogil:
        if 0 <= decision < 5:
            iatp_cell_add(
                &self._cells[
                    request_at[decision][status]
                    if 0 <= status < STATUSES
                    else request_other[decision]
                ],
                1,
            )

    cdef void observe_request_us(self, double us) noexcept nogil:
        observe(self._cells, &request_h, ns_of(us))

    cdef void observe_overhead_us(self, double us) noexcept nogil:
        observe(self._cells, &overhead_h, ns_of(us))

    cdef void observe_upstream_us(self, double us) noexcept nogil:
        observe(self._cells, &upstream_h, ns_of(us))

    cdef void observe_connect_us(self, double us) noexcept nogil:
        observe(self._cells, &connect_h, ns_of(us))

    cdef void observe_loop_lag_us(self, double us) noexcept nogil:
        observe(self._cells, &lag_h, ns_of(us))

    cdef void trust(self, int score) noexcept nogil:
        observe(self._cells, &trust_h, min(max(score, 0), 10))

    cdef void policy(self, int result) noexcept nogil:
        add(self._cells, policy_s, result, 1)

    cdef void finding(self, int finding, int64_t n) noexcept nogil:
        add(self._cells, finding_s, finding, n)

    cdef void answer_finding(self, int finding, int64_t n) noexcept nogil:
        add(self._cells, answer_finding_s, finding, n)

    cdef void override(self, int result) noexcept nogil:
        add(self._cells, override_s, result, 1)

    cdef void quarantined(self) noexcept nogil:
        add(self._cells, quarantined_s, 0, 1)

    cdef void upstream_error(self, int reason) noexcept nogil:
        add(self._cells, upstream_error_s, reason, 1)

    cdef void records(self, int64_t n) noexcept nogil:
        add(self._cells, records_s, 0, n)

    cdef void records_lost(self, int64_t n) noexcept nogil:
        add(self._cells, records_lost_s, 0, n)

    cdef void recorder_failing(self, int64_t delta) noexcept nogil:
        add(self._cells, recorder_failing_s, 0, delta)

    cdef void inflight(self, int64_t delta) noexcept nogil:
        add(self._cells, inflight_s, 0, delta)

    cdef void queued(self, int64_t delta) noexcept nogil:
        add(self._cells, queued_s, 0, delta)

    cdef void connections(self, int state, int64_t delta) noexcept nogil:
        add(self._cells, connections_s, state, delta)

    cdef void buffered(self, int64_t delta) noexcept nogil:
        add(self._cells, buffered_s, 0, delta)

    def count_request(self, str decision, int status):
        self.request(layout.DECISIONS.index(decision), status)

    def count_policy(self, str result):
        self.policy(layout.POLICY_RESULTS.index(result))

    def count_findings(self, str name, int64_t n=1):
        self.finding(_FINDINGS.index(name), n)

    def count_answer_findings(self, str name, int64_t n=1):
        self.answer_finding(_FINDINGS.index(name), n)

    def count_override(self, str result):
        self.override(layout.OVERRIDE_RESULTS.index(result))

    def count_quarantined(self):
        self.quarantined()

    def count_upstream_error(self, str reason):
        self.upstream_error(layout.UPSTREAM_ERRORS.index(reason))

    def count_records(self, int64_t n=1):
        self.records(n)

    def count_records_lost(self, int64_t n=1):
        self.records_lost(n)

    def add_recorder_failing(self, int64_t delta):
        self.recorder_failing(delta)

    def count_trust(self, int score):
        self.trust(score)

    def time_request(self, double us):
        self.observe_request_us(us)

    def time_overhead(self, double us):
        self.observe_overhead_us(us)

    def time_upstream(self, double us):
        self.observe_upstream_us(us)

    def time_connect(self, double us):
        self.observe_connect_us(us)

    def time_loop_lag(self, double us):
        self.observe_loop_lag_us(us)

    def add_inflight(self, int64_t delta):
        self.inflight(delta)

    def add_queued(self, int64_t delta):
        self.queued(delta)

    def add_connections(self, str state, int64_t delta):
        self.connections(layout.CONNECTION_STATES.index(state), delta)

    def add_buffered(self, int64_t delta):
        self.buffered(delta)


def labels():
    """The labels as this module was compiled with them, in their order, by C name."""
    return {
        "Decision": (
            ("ALLOW", DECISION_ALLOW),
            ("WARN", DECISION_WARN),
            ("BLOCK", DECISION_BLOCK),
            ("REFUSE", DECISION_REFUSE),
            ("ERROR", DECISION_ERROR),
        ),
        "Policy": (
            ("ALLOW", POLICY_ALLOW),
            ("WARN", POLICY_WARN),
            ("BLOCK", POLICY_BLOCK),
            ("QUARANTINE", POLICY_QUARANTINE),
            ("REDACT", POLICY_REDACT),
            ("OBSERVE", POLICY_OBSERVE),
        ),
        "Override": (
            ("GRANTED", OVERRIDE_GRANTED),
            ("REFUSED", OVERRIDE_REFUSED),
            ("INVALID", OVERRIDE_INVALID),
        ),
        "UpstreamError": (
            ("CONNECT", UPSTREAM_CONNECT),
            ("RESET", UPSTREAM_RESET),
            ("TIMEOUT", UPSTREAM_TIMEOUT),
            ("INVALID_ANSWER", UPSTREAM_INVALID_ANSWER),
            ("BREAKER_OPEN", UPSTREAM_BREAKER_OPEN),
            ("TRUNCATED", UPSTREAM_TRUNCATED),
        ),
        "ConnectionState": (
            ("ACTIVE", CONNECTIONS_ACTIVE),
            ("IDLE", CONNECTIONS_IDLE),
            ("AGENT_ACTIVE", CONNECTIONS_AGENT_ACTIVE),
            ("AGENT_IDLE", CONNECTIONS_AGENT_IDLE),
        ),
    }
