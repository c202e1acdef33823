# cython: autotestdict=False
"""Finds a policy's own patterns in what the agent will read.

- A text is a string or a number of JSON, a path, a query, a form, or a body; and each of them with
  what is encoded in it undone, as the scan undoes it. It is looked at as if a line end stood
  before and behind it.
- All texts of a body are put behind each other, with a byte between them that no character has,
  and RE2 looks for any of the patterns in all of that at once. Only where it finds one, each
  pattern is looked for by itself.
- What overlaps, of these and of what the scan found, has one range, so that no replacement leaves
  a part of the other.
RE2 takes the same steps for each byte, but up to as many as the patterns have instructions. So
the time is bounded as well, and a text that needs more is not judged.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from cpython.buffer cimport PyBUF_READ
from libc.stdint cimport int64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcpy
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from iatp.values import patterns as values

from iatp._fast.layers cimport (
    BASE64, CODED, ESCAPED, HEX, LIKE_JSON, RUN, SHORTEST_RUN, UNDO_CODES, UNDO_ESCAPES,
    UNDO_FORM, UNDO_PERCENT, Run, decode, is_hex, is_joint, is_text, look, next_hex, next_run,
    pack, trace, undo,
)
from iatp._fast.scan cimport (
    CODED_LEVELS, EXPANSION, JSON_LEVELS, SHORT_EXPANSION, begins_like_json, ends_like_json,
    is_json, scan, text_end,
)
from iatp._fast.text cimport AS_FORM, AS_JSON, AS_TARGET, SECRET_NAMES, Span, Spans

from iatp.values import exchange

cdef extern from "<time.h>":
    int CLOCK_THREAD_CPUTIME_ID

cdef extern from "utf8.h" nogil:
    int utf8_length(const unsigned char* p, Py_ssize_t n)

cdef enum:
    CUSTOM = 5
    SHORTEST_TEXT = 6
    PREFIX = 64
    JOINTS = 8

cdef enum:
    # What a piece is, beside what is undone in it: the bytes themselves; what cannot be cut.
    AS_IT_IS = -1
    AS_ONE = -2

cdef enum:
    # Texts are looked at once they are so many bytes together.
    FULL = 1 << 16
    # One call of RE2 looks at so many, and the next begins so much before its end.
    WINDOW = 4096
    # Layers of a text that are kept until what is found in them is put back into it.
    MOST_LAYERS = 1024
    OVERLAP = 1024 + 16
    BETWEEN = 3
    # Each costs about a microsecond.
    MOST_HITS = 1 << 16
    # Of this thread's time, and so much more for each byte.
    TIME_NS = 100000000
    TIME_OF_BYTE_NS = 50
    # RE2 that took longer for a window than this has left what it had prepared.
    SLOW_NS = 1000000

cdef enum:
    # Of a text that comes in pieces so much is kept as a match may take with every byte escaped,
    # and so much of what stands before.
    LONGEST_ESCAPED = OVERLAP * 6
    FLOW_FULL = 1 << 14
    BEFORE = 64
    LONGEST_ESCAPE = 12

cdef int FIRST = len(exchange.FINDINGS)
cdef int FIRST_NAME = FIRST - SECRET_NAMES
cdef str TOO_MUCH = "too much is encoded in it"
cdef str TOO_LONG = "the policy's patterns take too long in it"
assert exchange.KINDS[CUSTOM] == "custom" and values.LONGEST_MATCH + 16 == OVERLAP


class _Unjudged(Exception):
    """More would have to be undone, or looked at, than the bounds allow."""


cdef int64_t _now_ns(int clock) noexcept nogil:
    cdef timespec now
    clock_gettime(clock, &now)
    return <int64_t>now.tv_sec * 1000000000 + now.tv_nsec


@cython.final
@cython.no_gc
@cython.freelist(8)
cdef class _Layer:
    # Bytes in which something is undone, and of what they were made.
    cdef bytes data
    cdef int parent
    cdef Py_ssize_t source
    cdef Py_ssize_t source_end
    cdef int how
    cdef list found                      # (start, end, quoted, patterns as bits); or None


cdef _Layer _layer(
    bytes data, int parent, Py_ssize_t source, Py_ssize_t source_end, int how
):
    cdef _Layer layer = _Layer.__new__(_Layer)
    layer.data = data
    layer.parent = parent
    layer.source = source
    layer.source_end = source_end
    layer.how = how
    return layer


@cython.final
cdef class Patterns:
    """The patterns of one policy. For one thread."""

    def __cinit__(self, regexes):
        """`regexes` have been checked.

        Raises:
            NotInstalledError, PatternError: of iatp.values.patterns.
        """
        compiled = values.compile_patterns(regexes)
        self._together = compiled.together
        self._which = compiled.which
        self._each = compiled.each

    def __dealloc__(self):
        free(self._joined)

    cdef str add(self, bytes data, int form, Spans spans):
        """Adds what is found to what the scan found; or why it cannot be judged, else None."""
        cdef str why = None
        self._begin(data)
        try:
            self._read(data, form, spans.error is None)
            self._settle(0)
            if (<_Layer>self._layers[0]).found is not None:
                _join(spans, _clustered((<_Layer>self._layers[0]).found))
        except _Unjudged as unjudged:
            why = unjudged.args[0]
        finally:
            self._end()
        return why

    cdef list in_text(self, bytes data, int how, Py_ssize_t first):
        """(start, end, quoted, patterns as bits) in one text, from `first` on; None: not judged.

        What may be encoded in it is not looked for.
        """
        cdef Py_ssize_t n = PyBytes_GET_SIZE(data)
        cdef bytes kept
        if n == 0:
            return []
        self._begin(data)
        try:
            if how >= 0 and first:
                kept = PyBytes_FromStringAndSize(NULL, first)
                first = undo(
                    <const unsigned char*>PyBytes_AS_STRING(data), first, how,
                    <unsigned char*>PyBytes_AS_STRING(kept),
                )
            self._add(0, 0, n, how, 0)
            self._flush(first)
            if (<_Layer>self._layers[0]).found is None:
                return []
            return _clustered((<_Layer>self._layers[0]).found)
        except _Unjudged:
            return None
        finally:
            self._end()

    cdef int _begin(self, bytes data) except -1:
        cdef Py_ssize_t n = PyBytes_GET_SIZE(data)
        self._layers = [_layer(data, -1, 0, n, AS_IT_IS)]
        self._left = max(n * EXPANSION, SHORT_EXPANSION)
        self._hits = 0
        self._most_ns = TIME_NS + n * TIME_OF_BYTE_NS
        self._since_ns = 0
        return 0

    cdef int _end(self) except -1:
        self._layers = None
        self._length = 0
        self._count = 0
        if self._room > 2 * FULL:
            free(self._joined)
            self._joined = NULL
            self._room = 0
        return 0

    # What is read.

    cdef int _read(self, bytes data, int form, bint valid) except -1:
        cdef Py_ssize_t n = PyBytes_GET_SIZE(data)
        cdef Py_ssize_t query
        if form == AS_JSON:
            if valid:
                return self._json(0, JSON_LEVELS, CODED_LEVELS)
            return self._texts(0, n, UNDO_ESCAPES)
        if form == AS_TARGET:
            query = data.find(b"?") + 1
            if query == 0:
                query = n
            self._texts(0, query, UNDO_PERCENT)
            return self._texts(query, n, UNDO_FORM)
        return self._texts(0, n, UNDO_FORM if form == AS_FORM else AS_IT_IS)

    cdef int _json(self, int layer, int json, int coded) except -1:
        # The strings and numbers of a valid text of JSON.
        cdef Py_ssize_t n, start
        cdef const unsigned char* p = _bytes_of(self._layers[layer], &n)
        cdef Py_ssize_t at = 0
        while at < n:
            if p[at] == c'"':
                start = at + 1
                at = _string_end(p, start, n)
                self._text(layer, start, at, UNDO_ESCAPES, json, coded)
                at += 1
                if len(self._layers) - layer > MOST_LAYERS:
                    self._settle(layer)
            elif p[at] == c'-' or c'0' <= p[at] <= c'9':
                start = at
                while at < n and (c'0' <= p[at] <= c'9' or p[at] in b"+-.eE"):
                    at += 1
                self._add(layer, start, at, AS_ONE, 1)
            else:
                at += 1
        return 0

    cdef int _texts(self, Py_ssize_t start, Py_ssize_t end, int how) except -1:
        # A body that may be of any bytes: what is encoded is looked for in its texts alone.
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t to, n
        cdef int layer, flags
        cdef const unsigned char* p
        if start == end:
            return 0
        self._add(0, start, end, how, 0)
        layer = 0 if how == AS_IT_IS else self._layer_of_last()
        p = _bytes_of(self._layers[layer], &n)
        while at < n:
            to = text_end(p, at, n)
            flags = look(p + at, to - at) if to - at >= SHORTEST_TEXT else 0
            if flags:
                self._layers.append(
                    _layer(
                        PyBytes_FromStringAndSize(<const char*>p + at, to - at), layer, at, to,
                        AS_IT_IS,
                    )
                )
                self._inside(layer + 1, flags, False, JSON_LEVELS, CODED_LEVELS)
                self._settle(layer)
            at = to + 1
        return self._settle(0)

    cdef int _text(
        self, int layer, Py_ssize_t start, Py_ssize_t end, int how, int json, int coded
    ) except -1:
        # A text, and what is encoded in it.
        cdef Py_ssize_t at
        cdef int flags
        if start == end:
            return 0
        at = self._add(layer, start, end, how, 0)
        if json == 0 and coded == 0:
            return 0
        flags = look(self._joined + at, self._pieces[self._count - 1].end - at)
        if flags == 0:
            return 0
        return self._inside(self._layer_of_last(), flags, True, json, coded)

    cdef int _layer_of_last(self) except -1:
        # A layer of the piece that was added last.
        cdef Piece* piece = &self._pieces[self._count - 1]
        self._layers.append(
            _layer(
                PyBytes_FromStringAndSize(
                    <const char*>self._joined + piece.start, piece.end - piece.start
                ),
                piece.layer, piece.source, piece.source_end, piece.how,
            )
        )
        return <int>len(self._layers) - 1

    cdef int _inside(self, int layer, int flags, bint alone, int json, int coded) except -1:
        # What is encoded in a text, which is all of its layer. `alone`: where it is an object or
        # an array it is read as that and not as a text, which is the piece that was added last.
        cdef Py_ssize_t n
        cdef const unsigned char* p = _bytes_of(self._layers[layer], &n)
        if flags & LIKE_JSON and json and ends_like_json(p, n):
            if is_json(p, n):
                self._take(n)
                if alone and begins_like_json(p, n):
                    self._count -= 1
                    self._length = self._pieces[self._count].start - 1
                return self._json(layer, json - 1, coded)
        if flags & ESCAPED and json:
            self._take(n)
            self._text(layer, 0, n, UNDO_ESCAPES, json - 1, coded)
        if coded and flags & CODED:
            self._take(n)
            self._text(layer, 0, n, UNDO_CODES, json, coded - 1)
        if coded and flags & RUN:
            self._runs(layer, json, coded - 1)
        return 0

    cdef int _runs(self, int layer, int json, int coded) except -1:
        # Runs of base64 and hex that are texts, as `_read_runs` of scan.pyx finds them.
        cdef Py_ssize_t n, start, end, length
        cdef const unsigned char* p = _bytes_of(self._layers[layer], &n)
        cdef Py_ssize_t at = 0
        cdef Run run
        cdef int i, joints
        cdef bint text
        cdef bytes kept
        cdef unsigned char* packed
        while next_run(p, n, at, &run):
            kept = PyBytes_FromStringAndSize(NULL, run.end - run.start)
            packed = <unsigned char*>PyBytes_AS_STRING(kept)
            length = pack(p + run.start, run.end - run.start, packed)
            at = run.end
            text = False
            if not is_hex(packed, length):
                joints = 0
                for i in range(min(PREFIX, length - SHORTEST_RUN + 1)):
                    if i > 0:
                        if not is_joint(packed[i - 1]):
                            continue
                        joints += 1
                        if joints > JOINTS:
                            break
                    text = self._run(
                        layer, packed + i, length - i, BASE64, run.start, at, json, coded
                    )
                    if text:
                        break
                for end in (run.last_end, run.first_end):
                    if not text and end < run.end:
                        length = pack(p + run.start, end - run.start, packed)
                        text = self._run(
                            layer, packed, length, BASE64, run.start, end, json, coded
                        )
                        if text:
                            at = end
            start = run.start
            while next_hex(p, at, &start, &end):
                for i in range(2):
                    if self._run(
                        layer, p + start + i, end - start - i, HEX, start, end, json, coded
                    ):
                        break
                start = end
        return 0

    cdef bint _run(
        self, int layer, const unsigned char* run, Py_ssize_t n, int coding, Py_ssize_t start,
        Py_ssize_t end, int json, int coded
    ) except -1:
        cdef bytes kept
        cdef Py_ssize_t length
        if not is_text(run, n, coding):
            return False
        self._take(n)
        kept = PyBytes_FromStringAndSize(NULL, n)
        length = decode(run, n, coding, <unsigned char*>PyBytes_AS_STRING(kept))
        self._layers.append(_layer(kept[:length], layer, start, end, AS_ONE))
        self._text(<int>len(self._layers) - 1, 0, length, AS_IT_IS, json, coded)
        return True

    cdef int _take(self, Py_ssize_t n) except -1:
        self._left -= n
        if self._left < 0:
            raise _Unjudged(TOO_MUCH)
        return 0

    cdef Py_ssize_t _add(
        self, int layer, Py_ssize_t start, Py_ssize_t end, int how, int quoted
    ) except -1:
        # Where the text of these bytes stands among those that are looked at together.
        cdef Py_ssize_t n
        cdef const unsigned char* p = _bytes_of(self._layers[layer], &n) + start
        cdef Piece* piece
        cdef Py_ssize_t at
        if self._count == MOST_PIECES or self._length >= FULL:
            self._flush()
        self._reserve(end - start)
        self._joined[self._length] = c'\n'
        at = self._length + 1
        piece = &self._pieces[self._count]
        piece.start = at
        piece.layer = layer
        piece.source = start
        piece.source_end = end
        piece.how = how
        piece.quoted = quoted
        if how >= 0:
            at += undo(p, end - start, how, self._joined + at)
        else:
            memcpy(self._joined + at, p, end - start)
            at += end - start
        piece.end = at
        self._joined[at] = c'\n'
        self._joined[at + 1] = 0xff
        self._length = at + 2
        self._count += 1
        return piece.start

    cdef int _reserve(self, Py_ssize_t n) except -1:
        cdef unsigned char* grown
        if self._room - self._length < n + BETWEEN:
            self._room = max(2 * FULL, self._length + n + BETWEEN)
            grown = <unsigned char*>realloc(self._joined, self._room)
            if grown == NULL:
                raise MemoryError
            self._joined = grown
        return 0

    # What is looked for.

    cdef int _flush(self, Py_ssize_t first=0) except -1:
        # Looks for the patterns in the texts so far; in the first of them from `first` on.
        cdef list found = []
        if self._count:
            self._search(
                PyMemoryView_FromMemory(<char*>self._joined, self._length, PyBUF_READ), first,
                found,
            )
            if found:
                self._place(found)
            self._count = 0
            self._length = 0
        return 0

    cdef int _search(self, object view, Py_ssize_t first, list found) except -1:
        # Adds (start, end, pattern) of each match that begins and ends within a window.
        cdef Py_ssize_t n = self._length
        cdef Py_ssize_t at = 0
        cdef Py_ssize_t end, limit
        cdef int64_t began
        cdef list after = None
        while True:
            end = min(at + WINDOW, n)
            # What begins behind it may end behind the window.
            limit = n + 1 if end == n else end - OVERLAP
            began = _now_ns(CLOCK_MONOTONIC)
            match = self._together.search(view, at, end)
            if match is not None:
                if after is None:
                    # Before the text stands a line end.
                    after = [first + 1 if first else 0] * len(self._each)
                self._collect(
                    view, match.start(), end, limit, _now_ns(CLOCK_MONOTONIC) - began < SLOW_NS,
                    after, found,
                )
            if end == n:
                return 0
            at = end - OVERLAP
            self._in_time()

    cdef int _collect(
        self, object view, Py_ssize_t first, Py_ssize_t end, Py_ssize_t limit, bint quick,
        list after, list found
    ) except -1:
        # `first` is where the first match of any pattern begins, `after` where the last one of
        # each that was added ends.
        cdef Py_ssize_t at, start, stop
        cdef object named = None
        if quick and len(self._each) > 1:
            # With what stands beside the texts, which decides whether a word ends there. It says
            # nothing where it ran out of memory.
            named = self._which.Match(view[max(first - 4, 0):end + 4])
        for i in range(len(self._each)) if named is None else sorted(named):
            at = max(first, <Py_ssize_t>after[i])
            while at < limit:
                match = self._each[i].search(view, at, end)
                if match is None:
                    break
                start, stop = match.span()
                if start >= limit:
                    break
                after[i] = stop
                at = max(stop, start + 1)
                found.append((start, stop, i))
                self._hits += 1
                if self._hits > MOST_HITS:
                    raise _Unjudged(TOO_LONG)
            if not quick:
                self._in_time()
        return 0

    cdef int _in_time(self) except -1:
        # What counts is this thread's time; that on the wall is never less, and cheaper to ask for.
        cdef int64_t now = _now_ns(CLOCK_MONOTONIC)
        if self._since_ns == 0:
            self._since_ns = now
            self._used_ns = _now_ns(CLOCK_THREAD_CPUTIME_ID)
        elif now - self._since_ns > self._most_ns:
            if _now_ns(CLOCK_THREAD_CPUTIME_ID) - self._used_ns > self._most_ns:
                raise _Unjudged(TOO_LONG)
        return 0

    # Where it is found.

    cdef int _place(self, list found) except -1:
        # Gives each layer what was found in its texts.
        cdef int i = 0
        cdef Piece* piece
        cdef Py_ssize_t start, end
        cdef list within = []
        found.sort()
        for start, end, pattern in found:
            while i + 1 < self._count and self._pieces[i + 1].start - 1 <= start:
                if within:
                    self._give(i, within)
                    within = []
                i += 1
            piece = &self._pieces[i]
            start = max(start, piece.start)
            end = min(end, piece.end)
            if start < end:
                within.append((start - piece.start, end - piece.start, 0, 1 << <object>pattern))
        if within:
            self._give(i, within)
        return 0

    cdef int _give(self, int i, list within) except -1:
        cdef Piece* piece = &self._pieces[i]
        _put_back(
            self._layers[piece.layer], piece.source, piece.source_end, piece.how, piece.quoted,
            _clustered(within),
        )
        return 0

    cdef int _settle(self, int layer) except -1:
        # Puts back into a layer what was found in all that was made of it, and forgets that.
        cdef int i
        cdef _Layer made
        self._flush()
        for i in range(<int>len(self._layers) - 1, layer, -1):
            made = self._layers[i]
            if made.found is not None:
                _put_back(
                    self._layers[made.parent], made.source, made.source_end, made.how, 0,
                    _clustered(made.found),
                )
        del self._layers[layer + 1:]
        return 0


cdef int _put_back(
    _Layer layer, Py_ssize_t start, Py_ssize_t end, int how, int quoted, list clusters
) except -1:
    # Adds to a layer what was found in a text that was made of its bytes from `start` to `end`.
    cdef Py_ssize_t n, i, low, high
    cdef Py_ssize_t count = len(clusters)
    cdef const unsigned char* p
    cdef Span* spans
    cdef int level
    if layer.found is None:
        layer.found = []
    if how == AS_ONE:
        for cluster in clusters:
            layer.found.append((start, end, quoted, cluster[3]))
        return 0
    if how == AS_IT_IS:
        for low, high, level, which in clusters:
            layer.found.append((start + low, start + high, level, which))
        return 0
    p = _bytes_of(layer, &n)
    spans = <Span*>malloc(count * sizeof(Span))
    if spans == NULL:
        raise MemoryError
    try:
        for i in range(count):
            spans[i].start, spans[i].end = clusters[i][:2]
        trace(p + start, end - start, how, spans, count)
        for i in range(count):
            level = clusters[i][2]
            if level and how == UNDO_ESCAPES:
                level += 1
            layer.found.append(
                (start + spans[i].start, start + spans[i].end, level, clusters[i][3])
            )
    finally:
        free(spans)
    return 0


def _place_of(found):
    return found[:2]


cdef list _clustered(list found):
    # In order, with one range for what overlaps. Quotes are those of what has all of it.
    # Patterns are bits, or what else `|` puts together.
    cdef list clusters = []
    cdef Py_ssize_t start, end, low, high
    cdef int quoted, level
    cdef object which
    found.sort(key=_place_of)
    start = end = -1
    quoted = 0
    which = 0
    for low, high, level, of in found:
        if low >= end:
            if end >= 0:
                clusters.append((start, end, quoted, which))
            start, end, quoted, which = low, high, level, of
            continue
        if high > end:
            end = high
            quoted = 0
        if low == start and high == end:
            quoted = max(quoted, level)
        which = which | of
    if end >= 0:
        clusters.append((start, end, quoted, which))
    return clusters


cdef int _join(Spans spans, list clusters) except -1:
    # Adds what was found to what the scan found; what overlaps has one range.
    cdef list all_ = []
    cdef Py_ssize_t i
    cdef Span* span
    for i in range(spans.count):
        span = &spans.items[i]
        all_.append((span.start, span.end, span.quoted, {(span.kind, span.secret, i)}))
    for start, end, quoted, which in clusters:
        all_.append((
            start, end, quoted,
            {(CUSTOM, FIRST_NAME + i, 0) for i in range(values.MOST_OWN) if which >> <object>i & 1},
        ))
    spans.count = 0
    for start, end, quoted, among in _clustered(all_):
        for kind, name, _ in sorted(among):
            spans.add(start, end, kind, quoted, name)
    return 0


# Texts.


cdef const unsigned char* _bytes_of(_Layer layer, Py_ssize_t* n) noexcept:
    n[0] = PyBytes_GET_SIZE(layer.data)
    return <const unsigned char*>PyBytes_AS_STRING(layer.data)


cdef Py_ssize_t _string_end(
    const unsigned char* p, Py_ssize_t start, Py_ssize_t n
) noexcept nogil:
    """Where the quote is that ends a string of valid JSON."""
    cdef Py_ssize_t at = start
    cdef const unsigned char* found
    while at < n:
        found = <const unsigned char*>memchr(p + at, c'"', n - at)
        if found == NULL:
            return n
        at = found - p
        while at > start and p[at - 1] == c'\\':
            at -= 1
        if (found - p - at) % 2 == 0:
            return found - p
        at = found - p + 1
    return n


# Texts that come in pieces.


@cython.final
cdef class PatternFlow:
    """Counts what patterns find in one text that comes in pieces.

    As a `Flow` of answer.pyx: it keeps as much as decides what begins where it stopped, and with
    `bordered` counts what is not within one piece alone. A text that takes too long is not read
    to its end.
    """

    def __cinit__(self, Patterns patterns, int form, bint bordered=False):
        self._patterns = patterns
        self._how = AS_IT_IS
        if form == AS_JSON:
            self._how = UNDO_ESCAPES
        elif form == AS_FORM:
            self._how = UNDO_FORM
        self._text = bytearray()
        self._borders = bytearray() if bordered else None
        self.counts = {}

    cdef int add(self, const unsigned char* data, Py_ssize_t length) except -1:
        """Takes the next piece."""
        if self._gave_up or length == 0:
            return 0
        self._text += PyBytes_FromStringAndSize(<const char*>data, length)
        if self._borders is not None:
            self._borders += b"\1" + bytes(length - 1)
        if len(self._text) >= FLOW_FULL:
            self._look(False)
        return 0

    cdef int end(self) except -1:
        """Counts what the end of the text decides."""
        if not self._gave_up:
            self._look(True)
        return 0

    cdef int _look(self, bint last) except -1:
        cdef bytes text = bytes(self._text)
        cdef Py_ssize_t limit = PyBytes_GET_SIZE(text)
        cdef Py_ssize_t start, end
        cdef list found
        if not last:
            limit = _before_escape(text, limit - LONGEST_ESCAPED)
        found = self._patterns.in_text(text, self._how, self._first)
        if found is None:
            self._gave_up = True
            return 0
        for start, end, _, which in found:
            if start >= limit:
                break
            limit = max(limit, end)
            if self._borders is None or self._borders.find(b"\1", start + 1, end) >= 0:
                for i in range(values.MOST_OWN):
                    if which >> <object>i & 1:
                        self.counts[FIRST + i] = self.counts.get(FIRST + i, 0) + 1
        start = max(limit - BEFORE, 0)
        del self._text[:start]
        if self._borders is not None:
            del self._borders[:start]
        self._first = limit - start
        return 0


cdef Py_ssize_t _before_escape(bytes text, Py_ssize_t at):
    # The nearest place up to `at` that is in no escape.
    cdef Py_ssize_t found
    while True:
        found = text.rfind(b"\\", max(at - LONGEST_ESCAPE, 0), at)
        if found < 0:
            return at
        at = found


cdef int join_deltas(Patterns patterns, bytes joined, Spans spans) except -1:
    """Adds what is found in the strings of a stream's events, which `joined` are put together."""
    cdef list found = patterns.in_text(joined, UNDO_ESCAPES, 0)
    return 0 if found is None else _join(spans, found)


def count(list pieces not None, int form, Patterns patterns not None, *, bint bordered=False):
    """What is in the text that these pieces make: how many, by their numbers."""
    cdef PatternFlow flow = PatternFlow(patterns, form, bordered)
    cdef bytes piece
    for piece in pieces:
        flow.add(<const unsigned char*>PyBytes_AS_STRING(piece), PyBytes_GET_SIZE(piece))
    flow.end()
    return flow.counts


def find(bytes data not None, int form, Patterns patterns not None):
    """What the scan and these patterns find: (start, end, finding), or why it is not judged."""
    cdef Spans spans = scan(data, form)
    cdef Py_ssize_t i
    cdef str why = patterns.add(data, form, spans)
    if why is not None:
        return why
    return [
        (spans.items[i].kind, spans.items[i].start, spans.items[i].end, spans.items[i].quoted,
         spans.items[i].secret)
        for i in range(spans.count)
    ]
