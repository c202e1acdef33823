# Strict reading of HTTP/1.1 heads and chunked bodies; see http.pyx.

cdef enum:
    MAX_FIELDS = 100
    MAX_LINE = 8192
    MAX_HEAD = 61440
    MAX_METHOD = 32

cdef enum:  # Trouble
    OK = 0
    MALFORMED
    URI_TOO_LONG
    HEAD_TOO_LARGE
    NOT_IMPLEMENTED
    BAD_VERSION
    BAD_EXPECTATION

cdef enum:  # Known
    OTHER = 0
    HOST
    CONTENT_LENGTH
    TRANSFER_ENCODING
    CONNECTION
    HOP            # hop-by-hop, never passed on
    EXPECT
    CONTENT_TYPE
    CONTENT_ENCODING
    AUTHORIZATION
    TRACE_ID
    OVERRIDE
    IDEMPOTENCY_KEY
    TRACEPARENT
    TRACESTATE
    VIA
    FORWARDED      # Forwarded, X-Forwarded-*, X-Real-IP
    OURS           # X-Agent-*, X-IATP-*
    ACCEPT_ENCODING
    SERVER
    DATE
    KNOWN_COUNT

cdef struct Slice:
    const unsigned char* p
    Py_ssize_t n

cdef struct Field:
    Slice name
    Slice value
    int known
    bint dropped   # named by Connection

cdef struct Head:
    Slice method           # request only
    Slice target           # request only
    int status             # answer only
    Slice reason           # answer only
    int minor              # HTTP/1.minor
    int count
    Field fields[MAX_FIELDS]
    int first[KNOWN_COUNT]  # index of the first field of a kind, or -1
    long long content_length  # -1: none
    bint chunked
    bint close             # Connection: close
    bint keep_alive        # Connection: keep-alive
    bint expect_continue

cdef enum:  # ChunkState
    SIZE_FIRST = 0
    SIZE_MORE
    EXT_NAME_FIRST
    EXT_NAME
    EXT_VALUE_FIRST
    EXT_VALUE
    SIZE_LF
    DATA
    DATA_CR
    DATA_LF
    TRAILER_START
    TRAILER_NAME
    TRAILER_VALUE
    TRAILER_LF
    END_LF
    DONE
    BROKEN
    TRAILER_TOO_LARGE

cdef struct Chunks:
    int state
    int digits
    unsigned long long left
    Py_ssize_t overhead    # extension and trailer bytes so far
    int trailers
    int name_bytes         # of a trailer's name, while it may be one that frames a message
    bint name_framing
    bint name_coding       # that one would be Transfer-Encoding

cdef Py_ssize_t find_head_end(const unsigned char* p, Py_ssize_t n, Py_ssize_t start) noexcept nogil
cdef int check_partial(const unsigned char* p, Py_ssize_t n, Py_ssize_t* seen) noexcept nogil
cdef int check_partial_answer(
    const unsigned char* p, Py_ssize_t n, Py_ssize_t start
) noexcept nogil
cdef int read_request_head(const unsigned char* p, Py_ssize_t n, Head* head) noexcept nogil
cdef int read_answer_head(const unsigned char* p, Py_ssize_t n, Head* head) noexcept nogil
cdef void chunks_begin(Chunks* c) noexcept nogil
cdef Py_ssize_t chunks_read(
    Chunks* c, const unsigned char* p, Py_ssize_t n, Slice* data
) noexcept nogil
cdef int path_trouble(const unsigned char* p, Py_ssize_t n) noexcept nogil
cdef bint same_text(Slice s, const char* lower, Py_ssize_t n) noexcept nogil
