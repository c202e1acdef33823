# Which secret the words before a place say; see said.pyx.
from libc.stdint cimport uint32_t

from iatp._fast.secrets cimport Window

cdef enum:
    SAYS_NOTHING = 0
    SAYS_PASSWORD = 1
    SAYS_SECRET = 2
    SAYS_SCHEME = 3
    SAYS_SHORT = 4     # a word that means other things too
    SAYS_LITTLE = 5    # such a word in capitals, or behind another

cdef int said_at(Window* w, int i, Py_ssize_t* end) noexcept nogil
cdef int value_of(Window* w, int says, Py_ssize_t* end) noexcept nogil
cdef bint is_gap(uint32_t c) noexcept nogil
cdef int word_before(const uint32_t* cp, int end) noexcept nogil
cdef bint ends_with_label(const uint32_t* cp, int end) noexcept nogil
cdef bint ends_with_content(const uint32_t* cp, int end) noexcept nogil
