# Heads of requests, kept and written anew; see heads.pyx.
cimport cython
from iatp._fast.http cimport Field, Head, Slice
from iatp._fast.ids cimport Ids
from iatp._fast.record cimport Line

cdef enum:
    # A body up to this length is sent in one piece with its head; a longer one is not copied.
    TOGETHER = 4096


@cython.final
cdef class Heads:
    cdef Line line               # heads are put together here
    cdef Ids ids
    cdef bytes via
    # The last one seen of each: mostly the next is the same.
    cdef bytes content_type
    cdef bytes _target
    cdef bytes _host
    cdef bytes _to_agent         # behind the target: version and Host
    cdef bytes _post_line        # how a request for `POST /proxy` itself begins
    cdef bytes _via_line
    cdef bytes _agent_base
    cdef bytes _agent_target

    cdef bytes same(self, bytes last, Slice s)


@cython.final
cdef class RequestHead:
    # None: not known, or not needed any more.
    cdef Heads heads
    cdef str method
    cdef bint post               # the method is POST
    cdef bytes target
    cdef bytes passed            # header lines for the upstream
    cdef bytes content_type
    cdef bytes content_encoding
    cdef bytes trace_id
    cdef bytes override
    cdef bytes host
    cdef bytes old_via
    cdef bytes traceparent
    cdef bytes tracestate
    cdef int minor
    cdef bint has_length         # a body may follow
    cdef bint has_key
    cdef bint forwarded          # came with Forwarded, X-Forwarded-*, X-Real-IP or Via

    cdef int keep(self, Head* head) except -1
    cdef int keep_line(self, Head* head) except -1
    cdef int forget(self) except -1
    cdef bytes for_agent(self, bytes body, str trace_id, str peer, bint tls)
    cdef bytes for_application(
        self, bytes body, str listener, str peer, str trace_id, str request_id
    )
    cdef int _add_trace_lines(self, Line line) except -1


cdef bytes copied(Slice s)
cdef bytes of_another_body(bytes fields)


cdef inline int add_field(Line line, Field* field) except -1:
    # Name and value are copied as they came; they were checked when the head was read. Behind
    # the value stands at least the CRLF of its line, so what is looked at here is of the head.
    cdef const unsigned char* name = field.name.p
    cdef const unsigned char* end = field.value.p + field.value.n
    if (
        field.value.p == name + field.name.n + 2 and name[field.name.n + 1] == c' '
        and end[0] == c'\r'
    ):
        # The whole line is written as it would be here.
        return line._raw(<const char*>name, end + 2 - name)
    line._raw(<const char*>field.name.p, field.name.n)
    line._raw(b": ", 2)
    line._raw(<const char*>field.value.p, field.value.n)
    return line._raw(b"\r\n", 2)
