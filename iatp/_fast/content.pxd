# What a head says of the body behind it; see content.pyx.
cimport cython

cdef enum:
    CHARSET_UTF8 = 0
    CHARSET_LATIN = 1
    CHARSET_UNREADABLE = 2


@cython.final
cdef class ContentType:
    # What a Content-Type says about how a body is read.
    cdef bint json
    cdef bint events
    cdef bint form
    cdef bint text                       # characters and nothing else, or not said
    cdef int charset


@cython.final
cdef class Inflater:
    cdef bytes rest                      # of what was given, what is not decoded yet
    cdef bint whole                      # what has been decoded is not cut off
    cdef bytes _coding
    cdef object _member
    cdef int _members

    cdef bytes take(self, bytes data, Py_ssize_t most)
    cdef bytes beginning(self, bytes data, Py_ssize_t most)


cdef ContentType type_of(bytes value)
cdef bytes read_coding(bytes value)
cdef bytes decode(bytes data, bytes coding, Py_ssize_t limit)
cdef bytes from_latin(bytes data)
cdef bytes to_latin(bytes text)


cdef inline bytes coding_of(bytes value):
    """The normalized content coding; b"" for none, and None where it can't be read here."""
    return read_coding(value) if value else b""


cdef inline str unreadable(bytes coding, ContentType content_type, bint strict):
    """The code of the 415 that follows from the head alone, or None.

    `strict`: the body is JSON whatever its content type says.
    """
    if coding is None:
        return "unsupported_coding"
    if content_type.charset == CHARSET_UNREADABLE or (
        strict and content_type.charset != CHARSET_UTF8
    ):
        return "unsupported_charset"
    return None
