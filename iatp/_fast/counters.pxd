# The numbers of each label stand in iatp/values/layout.py; tests/_fast/test_counters.py
# holds these enums against it.

cimport cython
from libc.stdint cimport int64_t

cdef enum Decision:
    DECISION_ALLOW = 0
    DECISION_WARN = 1
    DECISION_BLOCK = 2
    DECISION_REFUSE = 3
    DECISION_ERROR = 4

cdef enum Policy:
    POLICY_ALLOW = 0
    POLICY_WARN = 1
    POLICY_BLOCK = 2
    POLICY_QUARANTINE = 3
    POLICY_REDACT = 4
    POLICY_OBSERVE = 5

cdef enum Override:
    OVERRIDE_GRANTED = 0
    OVERRIDE_REFUSED = 1
    OVERRIDE_INVALID = 2

cdef enum UpstreamError:
    UPSTREAM_CONNECT = 0
    UPSTREAM_RESET = 1
    UPSTREAM_TIMEOUT = 2
    UPSTREAM_INVALID_ANSWER = 3
    UPSTREAM_BREAKER_OPEN = 4
    UPSTREAM_TRUNCATED = 5

cdef enum ConnectionState:
    CONNECTIONS_ACTIVE = 0
    CONNECTIONS_IDLE = 1
    CONNECTIONS_AGENT_ACTIVE = 2
    CONNECTIONS_AGENT_IDLE = 3


# One worker's block of cells in the shared mapping. Only the thread that owns the block
# (the worker's event loop) may call these: a cell is loaded and stored, not locked. Labels
# out of range are ignored, never written elsewhere. Times are microseconds with fractions;
# below 0 counts as 0.
@cython.final
cdef class Counters:
    cdef unsigned char[::1] _block
    cdef int64_t* _cells

    cdef void request(self, int decision, int status) noexcept nogil
    cdef void observe_request_us(self, double us) noexcept nogil
    cdef void observe_overhead_us(self, double us) noexcept nogil
    cdef void observe_upstream_us(self, double us) noexcept nogil
    cdef void observe_connect_us(self, double us) noexcept nogil
    cdef void observe_loop_lag_us(self, double us) noexcept nogil
    cdef void trust(self, int score) noexcept nogil
    cdef void policy(self, int result) noexcept nogil
    cdef void finding(self, int finding, int64_t n) noexcept nogil
    cdef void answer_finding(self, int finding, int64_t n) noexcept nogil
    cdef void override(self, int result) noexcept nogil
    cdef void quarantined(self) noexcept nogil
    cdef void upstream_error(self, int reason) noexcept nogil
    cdef void records(self, int64_t n) noexcept nogil
    cdef void records_lost(self, int64_t n) noexcept nogil
    # Gauges: what is added must be taken off again.
    cdef void recorder_failing(self, int64_t delta) noexcept nogil
    cdef void inflight(self, int64_t delta) noexcept nogil
    cdef void queued(self, int64_t delta) noexcept nogil
    cdef void connections(self, int state, int64_t delta) noexcept nogil
    cdef void buffered(self, int64_t delta) noexcept nogil
