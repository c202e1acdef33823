"""What a head says of the body behind it: its type, its charset and its coding.

Which of them can be read, and the body without them: decoded, and as UTF-8. Where readers differ
in what they make of a head, it is not read. RFC 9110 sections 8.3 and 8.4; protocol sections 5
and 6.
"""

cimport cython
from cpython.bytes cimport PyBytes_GET_SIZE

import codecs
import zlib

cdef enum:
    FEED_BYTES = 1 << 16
    # Each costs at most a copy of FEED_BYTES; bgzip makes one per 64 KiB of text.
    GZIP_MEMBERS = 1000

cdef frozenset UTF8_CHARSETS = frozenset((b"utf-8", b"utf8", b"us-ascii", b"ascii"))
cdef frozenset LATIN_CHARSETS = frozenset(
    (b"iso-8859-1", b"iso8859-1", b"latin-1", b"latin1", b"windows-1252", b"cp1252")
)
# Text, though not below text/ (RFC 7303 for XML, 9512 for YAML).
cdef frozenset TEXT_TYPES = frozenset((
    b"application/xml", b"application/yaml", b"application/x-ndjson", b"application/jsonl"
))
# Streams of events that carry JSON: server-sent events, and a JSON text on each line.
cdef frozenset STREAMS = frozenset((
    b"text/event-stream", b"application/x-ndjson", b"application/ndjson", b"application/jsonl",
    b"application/x-jsonlines",
))


class CodingError(Exception):
    """A body cannot be decoded; the text is the code of the refusal."""


@cython.final
cdef class ContentType:
    """How a body of one Content-Type is read."""


cdef dict _content_types = {}
cdef bytes _last_value = None
cdef ContentType _last_type = None


cdef ContentType type_of(bytes value):
    """What this Content-Type says.

    Remembered: there are few in use, and the table is emptied before it grows. The door gives
    one that comes again as the same object.
    """
    global _last_value, _last_type
    cdef ContentType found
    if value is _last_value:
        return _last_type
    found = _content_types.get(value)
    if found is None:
        found = _read_content_type(value)
        if len(value) > 128:
            return found
        if len(_content_types) >= 256:
            _content_types.clear()
        _content_types[value] = found
    _last_value = value
    _last_type = found
    return found


cdef ContentType _read_content_type(bytes value):
    cdef ContentType found = ContentType()
    media = value.split(b";", 1)[0].strip().lower()
    found.json = media in (b"application/json", b"text/json") or (
        media.startswith(b"application/") and media.endswith(b"+json")
    )
    found.form = media == b"application/x-www-form-urlencoded"
    found.text = not media or media.startswith(b"text/") or media in TEXT_TYPES or (
        media.startswith(b"application/") and media.endswith(b"+xml")
    )
    found.events = media in STREAMS
    found.charset = CHARSET_UTF8
    named = set()
    # Every charset that stands anywhere, also inside a quoted parameter: readers differ in
    # which of them they take, so all of them have to mean the same.
    for parameter in value.lower().split(b";")[1:]:
        if b"charset" not in parameter:
            continue
        suffix, _, name = parameter.partition(b"charset")[2].partition(b"=")
        name = name.strip(b" \t\"'")
        if suffix.strip() or not (name in UTF8_CHARSETS or name in LATIN_CHARSETS):
            found.charset = CHARSET_UNREADABLE
        named.add(name in LATIN_CHARSETS)
    if found.charset != CHARSET_UNREADABLE and True in named:
        found.charset = CHARSET_UNREADABLE if found.json or False in named else CHARSET_LATIN
    return found


cdef bytes read_coding(bytes value):
    """What `coding_of` makes of a Content-Encoding that is not empty."""
    cdef bytes name = value.strip().lower()
    if name == b"identity" or not name:
        return b""
    return name if name == b"gzip" or name == b"deflate" else None


cdef object _decompressor(bytes data, bytes coding):
    # "deflate" is zlib (RFC 9110 8.4.1.2); many send it raw, and readers tell them apart by the
    # zlib header as is done here.
    if coding == b"gzip":
        return zlib.decompressobj(31)
    if len(data) >= 2 and data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0:
        return zlib.decompressobj(15)
    return zlib.decompressobj(-15)


@cython.final
cdef class Inflater:
    """Takes a content coding off what comes in pieces; the first has two bytes or is all."""

    def __cinit__(self, bytes coding not None):
        self._coding = coding

    cdef bytes take(self, bytes data, Py_ssize_t most):
        """At most `most` decoded bytes (above 0) of these; `rest` is what is left of them.

        Raises:
            CodingError: it is not what its coding says.
        """
        cdef bytes text
        if self._member is None or self._member.eof:
            # RFC 1952 2.2: a gzip file may have several members. Anything else is garbage.
            self._members += 1
            if self._members > (GZIP_MEMBERS if self._coding == b"gzip" else 1):
                raise CodingError("malformed_coding")
            self._member = _decompressor(data, self._coding)
        try:
            text = self._member.decompress(data, most)
        except zlib.error:
            raise CodingError("malformed_coding") from None
        self.whole = self._member.eof
        self.rest = self._member.unused_data if self.whole else self._member.unconsumed_tail
        return text

    cdef bytes beginning(self, bytes data, Py_ssize_t most):
        """As `take`, through as many members as that needs; for what is short."""
        cdef list pieces = []
        cdef bytes piece
        self.rest = data
        while self.rest and most > 0:
            piece = self.take(self.rest, most)
            most -= PyBytes_GET_SIZE(piece)
            pieces.append(piece)
        return b"".join(pieces)


cdef bytes decode(bytes data, bytes coding, Py_ssize_t limit):
    """The whole decoded body; never decodes more than `limit` + 1 bytes.

    Raises:
        CodingError: it is not what its coding says, or longer than `limit`.
    """
    cdef list pieces = []
    cdef Py_ssize_t length = 0
    cdef Py_ssize_t at = 0
    cdef Inflater inflater = Inflater(coding)
    cdef bytes taken, piece
    while at < PyBytes_GET_SIZE(data):
        # Fed in parts, since `rest` is a copy of what is left of a part.
        taken = data[at:at + FEED_BYTES]
        piece = inflater.take(taken, limit + 1 - length)
        length += PyBytes_GET_SIZE(piece)
        if length > limit:
            raise CodingError("body_too_large")
        pieces.append(piece)
        at += PyBytes_GET_SIZE(taken) - PyBytes_GET_SIZE(inflater.rest)
    if not inflater.whole:
        raise CodingError("malformed_coding")
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


# WHATWG reads ISO-8859-1 as windows-1252, and so do most agents; its five holes are C1.
cdef int _byte
cdef str LATIN = "".join([
    chr(_byte) if _byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else bytes((_byte,)).decode("cp1252")
    for _byte in range(256)
])
cdef object LATIN_BYTES = codecs.charmap_build(LATIN)


cdef bytes from_latin(bytes data):
    """The same text in UTF-8."""
    return data if data.isascii() else codecs.charmap_decode(data, "strict", LATIN)[0].encode()


cdef bytes to_latin(bytes text):
    """What `from_latin` made this text of."""
    if text.isascii():
        return text
    return codecs.charmap_encode(text.decode(), "strict", LATIN_BYTES)[0]
