# Undoing what a text is encoded in; see layers.pyx.

from iatp._fast.text cimport Span


# What `look` says of a text.
cdef enum:
    LIKE_JSON = 1    # begins like an array, an object or a string
    ESCAPED = 2      # holds a JSON escape
    CODED = 4        # holds a percent encoding, or what may be an entity
    RUN = 8          # holds a run that may be base64 or hex

# What is undone in one step.
cdef enum:
    UNDO_ESCAPES = 0
    UNDO_PERCENT = 1
    UNDO_FORM = 2
    UNDO_CODES = 3

# What a run is.
cdef enum:
    BASE64 = 0
    HEX = 1

cdef enum:
    SHORTEST_RUN = 15    # a social security number with its separators
    SHORTEST_HEX = 18    # nine digits

cdef struct Run:
    Py_ssize_t start
    Py_ssize_t end
    Py_ssize_t first_end    # of its first line
    Py_ssize_t last_end     # of its last line but one; `end` where it has one line

# A layer of a long text is read only around what changed in it: so far before that, and so far
# behind. What is found nearer than EDGE to where a zone is cut from its text depends on what is
# not in it.
cdef enum:
    ZONED = 4096
    ZONE_BEFORE = 1024
    ZONE_BEHIND = 1536
    EDGE_BEFORE = 512
    EDGE_BEHIND = 384

cdef struct Zone:
    Py_ssize_t start
    Py_ssize_t end

cdef struct Zones:
    Zone* items
    Py_ssize_t count

cdef inline Py_ssize_t most_zones(Py_ssize_t n) noexcept nogil:
    """How many zones a text of `n` bytes has at most."""
    return n // (ZONE_BEFORE + ZONE_BEHIND) + 2

cdef int look(const unsigned char* p, Py_ssize_t n) noexcept nogil
cdef Py_ssize_t undo(
    const unsigned char* p, Py_ssize_t n, int how, unsigned char* out
) noexcept nogil
cdef Py_ssize_t undo_around(
    const unsigned char* p, Py_ssize_t n, int how, unsigned char* out, Zones* zones
) noexcept nogil
cdef void trace(
    const unsigned char* p, Py_ssize_t n, int how, Span* spans, Py_ssize_t count
) noexcept nogil
cdef bint next_run(const unsigned char* p, Py_ssize_t n, Py_ssize_t at, Run* run) noexcept nogil
cdef bint is_hex(const unsigned char* p, Py_ssize_t n) noexcept nogil
cdef bint is_joint(unsigned char c) noexcept nogil
cdef bint next_hex(
    const unsigned char* p, Py_ssize_t n, Py_ssize_t* start, Py_ssize_t* end
) noexcept nogil
cdef Py_ssize_t pack(
    const unsigned char* p, Py_ssize_t n, unsigned char* out
) noexcept nogil
cdef Py_ssize_t decode(
    const unsigned char* p, Py_ssize_t n, int coding, unsigned char* out
) noexcept nogil
cdef bint has_number(const unsigned char* p, Py_ssize_t n, int coding) noexcept nogil
cdef bint is_text(const unsigned char* p, Py_ssize_t n, int coding) noexcept nogil
