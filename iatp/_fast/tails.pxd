# The fields of records about requests and answers; see tails.pyx.
cimport cython
from iatp._fast.mac cimport Mac
from iatp._fast.reading cimport Reading, Scanner
from iatp._fast.record cimport Line
from iatp._fast.text cimport Spans


@cython.final
cdef class Tails:
    cdef Line line                       # every record and answer of a gate is written here
    cdef Scanner scanner
    cdef Mac mac
    cdef bytes agent                     # agent_id as JSON, and the keys around it
    cdef bytes score
    cdef tuple keys                      # names of findings, as keys of JSON
    cdef Py_ssize_t keep                 # bytes of a payload, at most
    cdef Py_ssize_t window               # of an answer, to find where it may be cut

    cdef Line begin(
        self, const char* start, str trace_id, str request_id, long long time_ns,
        long long mono_ns
    )
    cdef int about(self, str method, bytes path, str caller, str peer) except -1
    cdef int describe(
        self, Reading reading, const char* decision, const char* rule, bint quarantined
    ) except -1
    cdef int findings(self, tuple findings) except -1
    cdef int failure(
        self, object failure, str sentence, str detail, int agent_status
    ) except -1
    cdef int json(self, bytes value, Spans spans) except -1
    cdef int text(self, const char* key, bytes text, bint utf8) except -1


cdef bytes utf8(str text)
