"""Reads HTTP/1.1 heads and chunked bodies strictly, in place, without Python objects.

Rules (RFC 9112, and where that leaves room, the stricter reading):
- Lines end in CRLF. A bare LF, a bare CR, a fold or a control character is malformed.
- One length: Content-Length once, in plain digits, or Transfer-Encoding exactly `chunked`;
  both, either twice, or chunked on HTTP/1.0 is malformed.
- A field that decides something here may stand once, and Connection may not name it.
- A head is read only when it is complete; nothing is kept that points into it afterwards.
Every pointer below is bounded by `n` of the same call.
"""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.string cimport memchr, memcmp, memset

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    /* 2: one that gateways to CGI and WSGI take for '-' */
    static const unsigned char iatp_tchar[256] = {
        ['!']=1, ['#']=1, ['$']=1, ['%']=1, ['&']=1, ['\\'']=1, ['*']=1, ['+']=1, ['-']=1,
        ['.']=1, ['^']=1, ['_']=2, ['`']=1, ['|']=1, ['~']=1,
        ['0'...'9']=1, ['A'...'Z']=1, ['a'...'z']=1,
    };
    /* field-vchar, SP, HTAB and obs-text */
    static const unsigned char iatp_vchar[256] = {
        ['\\t']=1, [0x20 ... 0x7e]=1, [0x80 ... 0xff]=1,
    };
    static const signed char iatp_hex[256] = {
        ['0']=1,['1']=2,['2']=3,['3']=4,['4']=5,['5']=6,['6']=7,['7']=8,['8']=9,['9']=10,
        ['a']=11,['b']=12,['c']=13,['d']=14,['e']=15,['f']=16,
        ['A']=11,['B']=12,['C']=13,['D']=14,['E']=15,['F']=16,
    };
    /* methods that the IANA registry and llhttp know; CONNECT and TRACE are turned away */
    static const char *const iatp_methods[] = {
        "GET","POST","PUT","PATCH","DELETE","HEAD","OPTIONS","COPY","LOCK","MKCOL","MOVE",
        "PROPFIND","PROPPATCH","SEARCH","UNLOCK","BIND","REBIND","UNBIND","ACL","REPORT",
        "MKACTIVITY","CHECKOUT","MERGE","M-SEARCH","NOTIFY","SUBSCRIBE","UNSUBSCRIBE","PURGE",
        "MKCALENDAR","LINK","UNLINK",
    };
    static inline int iatp_method_known(const unsigned char *p, Py_ssize_t n) {
        for (size_t i = 0; i < sizeof iatp_methods / sizeof *iatp_methods; i++) {
            if ((Py_ssize_t)strlen(iatp_methods[i]) == n && memcmp(iatp_methods[i], p, n) == 0)
                return 1;
        }
        return 0;
    }
    /* How many bytes at p are sure to be VCHAR: in steps of eight, up to the first that is a
       control character. Where a lower byte has the bit, those above may have it wrongly. */
    static inline Py_ssize_t iatp_vchars(const unsigned char *p, Py_ssize_t n) {
        const uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;
        Py_ssize_t at = 0;
        while (at + 8 <= n) {
            uint64_t word, del, odd;
            memcpy(&word, p + at, 8);
            del = word ^ (0x7f * ones);
            odd = ((word - 0x20 * ones) | (del - ones)) & ~word & tops;
            if (odd) {
    #if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
                at += __builtin_ctzll(odd) >> 3;
    #endif
                return at;
            }
            at += 8;
        }
        return at;
    }
    /* Eight bytes with A to Z as small letters: bit 7 of a sum says "not below A", "above Z". */
    static inline uint64_t iatp_lower(uint64_t word) {
        const uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;
        const uint64_t low = word & ~tops;
        return word | (((low + 0x3f * ones) & ~(low + 0x25 * ones) & ~word & tops) >> 2);
    }
    /* The same text, letters of either case. */
    static inline int iatp_same(const unsigned char *p, Py_ssize_t n, const char *s, Py_ssize_t m) {
        uint64_t word = 0, other = 0;
        Py_ssize_t at = 0;
        if (n != m)
            return 0;
        for (; at + 8 <= n; at += 8) {
            memcpy(&word, p + at, 8);
            memcpy(&other, s + at, 8);
            if (iatp_lower(word) != iatp_lower(other))
                return 0;
        }
        if (n >= 8) {
            memcpy(&word, p + n - 8, 8);
            memcpy(&other, s + n - 8, 8);
        } else {
            memcpy(&word, p, n);
            memcpy(&other, s, n);
        }
        return iatp_lower(word) == iatp_lower(other);
    }
    """
    const unsigned char* TCHAR "iatp_tchar"
    const unsigned char* VCHAR "iatp_vchar"
    const signed char* HEX "iatp_hex"
    Py_ssize_t vchars "iatp_vchars"(const unsigned char*, Py_ssize_t) noexcept nogil
    bint method_known "iatp_method_known"(const unsigned char*, Py_ssize_t) noexcept nogil
    bint same "iatp_same"(const unsigned char*, Py_ssize_t, const char*, Py_ssize_t) noexcept nogil


cdef bint same_text(Slice s, const char* lower, Py_ssize_t n) noexcept nogil:
    """Whether the slice is this text, letters of either case."""
    return same(s.p, s.n, lower, n)


cdef Py_ssize_t find_head_end(
    const unsigned char* p, Py_ssize_t n, Py_ssize_t start
) noexcept nogil:
    """Length of the head that begins at `p`, its empty line included; -1 where it is open.

    `start` is where an earlier call left off, so dribbled heads stay linear.
    """
    cdef Py_ssize_t at = start - 3 if start > 3 else 0
    cdef const unsigned char* hit
    while at + 4 <= n:
        hit = <const unsigned char*>memchr(p + at, c'\r', n - at - 3)
        if hit == NULL:
            return -1
        at = hit - p
        if p[at + 1] == c'\n' and p[at + 2] == c'\r' and p[at + 3] == c'\n':
            return at + 4
        at += 1
    return -1


cdef int check_partial(const unsigned char* p, Py_ssize_t n, Py_ssize_t* seen) noexcept nogil:
    """What is already wrong with an incomplete head; `seen` is the start of its open line.

    So a head that can never become valid is answered at once and not at its deadline.
    """
    cdef Py_ssize_t at = seen[0]
    cdef const unsigned char* hit
    cdef Head scratch
    cdef int trouble
    while at < n:
        hit = <const unsigned char*>memchr(p + at, c'\n', n - at)
        if hit == NULL:
            break
        if hit == p or (hit - 1)[0] != c'\r':
            return MALFORMED
        if at == 0:
            # One of HTTP/0.9, say, would wait for a head that never comes.
            trouble = _read_request_line(p, hit - p - 1, &scratch)
            if trouble:
                return trouble
        at = hit - p + 1
    if seen[0] == 0:
        trouble = _check_beginning(p, n)
        if trouble:
            return trouble
    seen[0] = at
    if at == 0 and n > MAX_LINE + 1:
        return URI_TOO_LONG
    if n >= MAX_HEAD:
        return HEAD_TOO_LARGE
    return OK


cdef int _check_beginning(const unsigned char* p, Py_ssize_t n) noexcept nogil:
    """Whether these bytes may begin a request line: a method, and a target that is a path.

    A TLS handshake, say, has no line end at which it would be seen.
    """
    cdef Py_ssize_t at = 0
    while at < n and at < MAX_METHOD and TCHAR[p[at]]:
        at += 1
    if at == n:
        return OK
    if at == MAX_METHOD and TCHAR[p[at]]:
        return NOT_IMPLEMENTED
    if at == 0 or p[at] != c' ' or (at + 1 < n and p[at + 1] != c'/'):
        return MALFORMED
    return OK


cdef int check_partial_answer(
    const unsigned char* p, Py_ssize_t n, Py_ssize_t start
) noexcept nogil:
    """MALFORMED where an incomplete head can never become an answer's; `start` as above."""
    cdef Py_ssize_t at = start
    cdef const unsigned char* hit
    if start < 7 and memcmp(p, b"HTTP/1.", n if n < 7 else 7) != 0:
        return MALFORMED
    while at < n:
        hit = <const unsigned char*>memchr(p + at, c'\n', n - at)
        if hit == NULL:
            return OK
        if (hit - 1)[0] != c'\r':
            return MALFORMED
        at = hit - p + 1
    return OK


cdef int _known(const unsigned char* p, Py_ssize_t n) noexcept nogil:
    """Which field this name is, by length first."""
    cdef unsigned char c = p[0] | 0x20
    if n >= 7 and c == c'x' and p[1] == c'-':
        if n == 16 and same(p, n, b"x-agent-trace-id", 16):
            return TRACE_ID
        if n == 15 and same(p, n, b"x-user-override", 15):
            return OVERRIDE
        if n == 17 and same(p, n, b"x-idempotency-key", 17):
            return IDEMPOTENCY_KEY
        if n >= 8 and same(p, 8, b"x-agent-", 8):
            return OURS
        if same(p, 7, b"x-iatp-", 7):
            return OURS
        if n >= 11 and same(p, 11, b"x-forwarded", 11):
            return FORWARDED
        if n == 9 and same(p, n, b"x-real-ip", 9):
            return FORWARDED
        return OTHER
    if n == 2:
        return HOP if same(p, n, b"te", 2) else OTHER
    elif n == 3:
        return VIA if same(p, n, b"via", 3) else OTHER
    elif n == 4:
        if same(p, n, b"host", 4):
            return HOST
        return DATE if same(p, n, b"date", 4) else OTHER
    elif n == 6:
        if same(p, n, b"expect", 6):
            return EXPECT
        return SERVER if same(p, n, b"server", 6) else OTHER
    elif n == 7:
        return HOP if same(p, n, b"upgrade", 7) or same(p, n, b"trailer", 7) else OTHER
    elif n == 9:
        return FORWARDED if same(p, n, b"forwarded", 9) else OTHER
    elif n == 10:
        if same(p, n, b"connection", 10):
            return CONNECTION
        if same(p, n, b"tracestate", 10):
            return TRACESTATE
        return HOP if same(p, n, b"keep-alive", 10) else OTHER
    elif n == 11:
        return TRACEPARENT if same(p, n, b"traceparent", 11) else OTHER
    elif n == 12:
        return CONTENT_TYPE if same(p, n, b"content-type", 12) else OTHER
    elif n == 13:
        return AUTHORIZATION if same(p, n, b"authorization", 13) else OTHER
    elif n == 14:
        if same(p, n, b"content-length", 14):
            return CONTENT_LENGTH
        return HOP if same(p, n, b"http2-settings", 14) else OTHER
    elif n == 15:
        return ACCEPT_ENCODING if same(p, n, b"accept-encoding", 15) else OTHER
    elif n == 16:
        if same(p, n, b"content-encoding", 16):
            return CONTENT_ENCODING
        return HOP if same(p, n, b"proxy-connection", 16) else OTHER
    elif n == 17:
        return TRANSFER_ENCODING if same(p, n, b"transfer-encoding", 17) else OTHER
    elif n == 18:
        return HOP if same(p, n, b"proxy-authenticate", 18) else OTHER
    elif n == 19:
        return HOP if same(p, n, b"proxy-authorization", 19) else OTHER
    return OTHER


cdef int _known_with_dashes(const unsigned char* p, Py_ssize_t n) noexcept nogil:
    """Which field this name is where `_` is read as `-`, as CGI and WSGI do."""
    cdef unsigned char dashed[32]
    cdef Py_ssize_t i
    # No field is told apart behind its 32nd byte.
    if n > 32:
        n = 32
    for i in range(n):
        dashed[i] = c'-' if p[i] == c'_' else p[i]
    return _known(dashed, n)


cdef bint _single(int known) noexcept nogil:
    """Fields that decide something here: a second one is malformed."""
    return known in (
        HOST, CONTENT_LENGTH, TRANSFER_ENCODING, EXPECT, CONTENT_TYPE, CONTENT_ENCODING,
        AUTHORIZATION, TRACE_ID, OVERRIDE, IDEMPOTENCY_KEY, TRACEPARENT,
    )


cdef int _read_fields(
    const unsigned char* p, Py_ssize_t at, Py_ssize_t n, Head* head, bint request
) noexcept nogil:
    """Field lines from `at` to the empty line that ends the head at `n`."""
    cdef Py_ssize_t begin, end
    cdef Field* field
    cdef int known
    cdef int i
    cdef unsigned char kind, kinds
    head.count = 0
    head.content_length = -1
    head.chunked = head.close = head.keep_alive = head.expect_continue = False
    memset(head.first, 0xff, sizeof(head.first))
    while at + 2 < n:
        if head.count == MAX_FIELDS:
            return HEAD_TOO_LARGE
        begin = at
        kinds = 0
        while at < n:
            kind = TCHAR[p[at]]
            if not kind:
                break
            kinds |= kind
            at += 1
        if at == begin or at >= n or p[at] != c':':
            return MALFORMED
        field = &head.fields[head.count]
        field.name.p = p + begin
        field.name.n = at - begin
        at += 1
        while at < n and (p[at] == c' ' or p[at] == c'\t'):
            at += 1
        begin = at
        at += vchars(p + at, n - at)
        while at < n and VCHAR[p[at]]:
            at += 1
        if at + 1 >= n or p[at] != c'\r' or p[at + 1] != c'\n':
            return MALFORMED
        end = at
        while end > begin and (p[end - 1] == c' ' or p[end - 1] == c'\t'):
            end -= 1
        field.value.p = p + begin
        field.value.n = end - begin
        field.dropped = False
        at += 2
        known = _known(field.name.p, field.name.n)
        if kinds & 2 and request and _known_with_dashes(field.name.p, field.name.n) != OTHER:
            # An agent behind such a gateway could take X_Forwarded_For for ours.
            known = HOP
        field.known = known
        if head.first[known] >= 0:
            # An agent may repeat what does not frame its answer; a caller may not.
            if known == CONTENT_LENGTH or known == TRANSFER_ENCODING:
                return MALFORMED
            if request and _single(known):
                return MALFORMED
        else:
            head.first[known] = head.count
        head.count += 1
    if head.first[CONTENT_LENGTH] >= 0:
        field = &head.fields[head.first[CONTENT_LENGTH]]
        if field.value.n < 1 or field.value.n > 18:
            return MALFORMED
        head.content_length = 0
        for i in range(<int>field.value.n):
            if not c'0' <= field.value.p[i] <= c'9':
                return MALFORMED
            head.content_length = head.content_length * 10 + (field.value.p[i] - c'0')
    if head.first[TRANSFER_ENCODING] >= 0:
        if head.content_length >= 0 or head.minor == 0:
            return MALFORMED
        field = &head.fields[head.first[TRANSFER_ENCODING]]
        if not same_text(field.value, b"chunked", 7):
            return NOT_IMPLEMENTED
        # llhttp, which many agents use, takes `chunked<TAB>` for another coding.
        at = field.value.p + 7 - p
        while p[at] == c' ':
            at += 1
        if p[at] != c'\r':
            return NOT_IMPLEMENTED
        head.chunked = True
    for i in range(head.count):
        if head.fields[i].known == CONNECTION:
            if not _read_connection(head.fields[i].value, head):
                return MALFORMED
    return OK


cdef bint _read_connection(Slice value, Head* head) noexcept nogil:
    """Marks what Connection names; False where it names a field that decides something."""
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t begin, end
    cdef Field* field
    cdef int i
    while at < value.n:
        while at < value.n and value.p[at] in (c' ', c'\t', c','):
            at += 1
        begin = at
        while at < value.n and TCHAR[value.p[at]]:
            at += 1
        end = at
        while at < value.n and value.p[at] in (c' ', c'\t'):
            at += 1
        if at < value.n and value.p[at] != c',':
            return False
        if end == begin:
            continue
        if same(value.p + begin, end - begin, b"close", 5):
            head.close = True
            continue
        if same(value.p + begin, end - begin, b"keep-alive", 10):
            head.keep_alive = True
            continue
        for i in range(head.count):
            field = &head.fields[i]
            if field.name.n == end - begin and same(
                field.name.p, field.name.n, <const char*>(value.p + begin), end - begin
            ):
                if _single(field.known):
                    return False
                field.dropped = True
    return True


cdef int _read_version(const unsigned char* p, Py_ssize_t n, int* minor) noexcept nogil:
    """Reads exactly `HTTP/1.0` or `HTTP/1.1`."""
    if n < 5 or p[0] != c'H' or p[1] != c'T' or p[2] != c'T' or p[3] != c'P' or p[4] != c'/':
        return MALFORMED
    if n == 8 and p[5] == c'1' and p[6] == c'.' and (p[7] == c'0' or p[7] == c'1'):
        minor[0] = p[7] - c'0'
        return OK
    return BAD_VERSION


cdef bint _host_valid(Slice host) noexcept nogil:
    """Whether Host is a name or address with an optional port (RFC 3986 section 3.2)."""
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t colon
    cdef unsigned char c
    if host.n == 0 or host.n > 255:
        return False
    if host.p[0] == c'[':
        at = 1
        while at < host.n and (HEX[host.p[at]] or host.p[at] in (c':', c'.')):
            at += 1
        if at < 4 or at == host.n or host.p[at] != c']':
            return False
        at += 1
    else:
        while at < host.n:
            c = host.p[at]
            if c == c'%' and at + 2 < host.n and HEX[host.p[at + 1]] and HEX[host.p[at + 2]]:
                at += 2
            elif not (
                c'a' <= c <= c'z' or c'A' <= c <= c'Z' or c'0' <= c <= c'9'
                or c in (c'.', c'-', c'_', c'~')
            ):
                break
            at += 1
        if at == 0:
            return False
    if at == host.n:
        return True
    if host.p[at] != c':' or host.n - at > 6:
        return False
    colon = at
    for at in range(colon + 1, host.n):
        if not c'0' <= host.p[at] <= c'9':
            return False
    return True


cdef int _read_request_line(const unsigned char* p, Py_ssize_t n, Head* head) noexcept nogil:
    """Reads a request line of `n` bytes, behind which stands its CRLF."""
    cdef Py_ssize_t at = 0
    cdef int trouble
    if n > MAX_LINE:
        return URI_TOO_LONG
    while at < n and TCHAR[p[at]]:
        at += 1
    if at == 0 or at >= n or p[at] != c' ':
        return MALFORMED
    head.method.p = p
    head.method.n = at
    at += 1
    # Only origin-form: an absolute target could contradict Host, and nothing tunnels here.
    if p[at] != c'/':
        return MALFORMED
    head.target.p = p + at
    while at < n and 0x21 <= p[at] <= 0x7e and p[at] != c'#':
        at += 1
    head.target.n = p + at - head.target.p
    if at >= n or p[at] != c' ':
        return MALFORMED
    at += 1
    trouble = _read_version(p + at, n - at, &head.minor)
    if trouble:
        return trouble
    return OK if method_known(head.method.p, head.method.n) else NOT_IMPLEMENTED


cdef int read_request_head(const unsigned char* p, Py_ssize_t n, Head* head) noexcept nogil:
    """Reads the complete head of `n` bytes at `p`; what is wrong with it, or OK."""
    cdef Py_ssize_t line
    cdef const unsigned char* hit
    cdef int trouble
    cdef Slice expect
    memset(&head.method, 0, sizeof(Slice))
    memset(&head.target, 0, sizeof(Slice))
    hit = <const unsigned char*>memchr(p, c'\n', n)
    if hit == NULL or hit == p or (hit - 1)[0] != c'\r':
        return MALFORMED
    line = hit - p - 1
    trouble = _read_request_line(p, line, head)
    if trouble:
        return trouble
    if n > MAX_HEAD:
        return HEAD_TOO_LARGE
    trouble = _read_fields(p, line + 2, n, head, True)
    if trouble:
        return trouble
    if head.first[HOST] < 0:
        if head.minor == 1:
            return MALFORMED
    elif not _host_valid(head.fields[head.first[HOST]].value):
        return MALFORMED
    if head.first[EXPECT] >= 0:
        expect = head.fields[head.first[EXPECT]].value
        if head.minor == 1:
            if not same_text(expect, b"100-continue", 12):
                return BAD_EXPECTATION
            head.expect_continue = True
    return OK


cdef int read_answer_head(const unsigned char* p, Py_ssize_t n, Head* head) noexcept nogil:
    """Reads the complete head of an answer; what is wrong with it, or OK."""
    cdef Py_ssize_t at
    cdef Py_ssize_t line
    cdef const unsigned char* hit
    cdef int trouble
    hit = <const unsigned char*>memchr(p, c'\n', n)
    if hit == NULL or hit == p or (hit - 1)[0] != c'\r':
        return MALFORMED
    line = hit - p - 1
    if line < 12 or line > MAX_LINE or n > MAX_HEAD:
        return MALFORMED
    trouble = _read_version(p, 8, &head.minor)
    if trouble:
        return trouble
    if p[8] != c' ':
        return MALFORMED
    head.status = 0
    for at in range(9, 12):
        if not c'0' <= p[at] <= c'9':
            return MALFORMED
        head.status = head.status * 10 + (p[at] - c'0')
    if head.status < 100 or head.status > 599:
        return MALFORMED
    if line > 12 and p[12] != c' ':
        return MALFORMED
    head.reason.p = p + 13 if line > 13 else p + 12
    head.reason.n = line - 13 if line > 13 else 0
    for at in range(13, line):
        if not VCHAR[p[at]]:
            return MALFORMED
    trouble = _read_fields(p, line + 2, n, head, False)
    if trouble:
        return trouble
    # RFC 9110 section 15.2: an interim answer has no body, but not every reader knows.
    if head.status < 200 and (head.chunked or head.content_length >= 0):
        return MALFORMED
    return OK


cdef int path_trouble(const unsigned char* p, Py_ssize_t n) noexcept nogil:
    """1 where a path, decoded, could leave its base: dot segments, hidden separators.

    `p` is the path behind `/proxy`, without the query. Doubly encoded dots and separators
    count too, and so does `..;x`, which some servers read as `..`.
    """
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t step
    cdef unsigned char c
    cdef int dots = 0      # dots so far in a segment of nothing but dots; -1: other text
    cdef bint stem = True  # before any ';' of the segment
    while at <= n:
        if at == n or p[at] == c'/':
            if dots == 1 or dots == 2:
                return 1
            dots = 0
            stem = True
            at += 1
            continue
        c = p[at]
        step = 1
        if c == c'%':
            if at + 2 >= n or not HEX[p[at + 1]] or not HEX[p[at + 2]]:
                return 1
            c = (HEX[p[at + 1]] - 1) * 16 + (HEX[p[at + 2]] - 1)
            step = 3
            if c == c'%' and at + 4 < n and HEX[p[at + 3]] and HEX[p[at + 4]]:
                c = (HEX[p[at + 3]] - 1) * 16 + (HEX[p[at + 4]] - 1)
                if c == c'.' or c == c'/' or c == c'\\':
                    return 1
                c = c'%'
            if c == c'/' or c < 0x20 or c == 0x7f:
                return 1
        if c == c'\\':
            return 1
        if c == c';':
            stem = False
        elif stem:
            if c == c'.' and dots >= 0:
                dots += 1
            else:
                dots = -1
        at += step
    return 0


cdef void chunks_begin(Chunks* c) noexcept nogil:
    """Ready for the first chunk."""
    memset(c, 0, sizeof(Chunks))


cdef void _follow_name(Chunks* c, unsigned char b) noexcept nogil:
    """Compares one more byte of a trailer's name with those that frame a message."""
    cdef const char* name
    if c.name_bytes == 0:
        c.name_coding = (b | 0x20) == c't'
    name = b"transfer-encoding" if c.name_coding else b"content-length"
    if c.name_framing:
        # Behind the end stands a NUL, which no byte of a name is.
        c.name_framing = (b | 0x20) == <unsigned char>name[c.name_bytes]
        c.name_bytes += 1


cdef bint _frames(Chunks* c) noexcept nogil:
    """Whether the name that was followed is Content-Length or Transfer-Encoding."""
    return c.name_framing and c.name_bytes == (17 if c.name_coding else 14)


cdef Py_ssize_t chunks_read(
    Chunks* c, const unsigned char* p, Py_ssize_t n, Slice* data
) noexcept nogil:
    """How many bytes were taken; `data` is the stretch of content found, or empty.

    Returns after each stretch, so it is called until it takes nothing or the state is
    DONE, BROKEN or TRAILER_TOO_LARGE. At most 16 digits a size, extensions only as
    `;name` or `;name=token`, all extensions and trailers together at most 8 KiB and
    100 trailer fields (as a head), none of which frames a message.
    """
    cdef Py_ssize_t at = 0
    cdef unsigned char b
    data.p = p
    data.n = 0
    while at < n and c.state < DONE:
        if c.state == DATA:
            data.p = p + at
            data.n = n - at
            if <unsigned long long>data.n >= c.left:
                data.n = <Py_ssize_t>c.left
                c.state = DATA_CR
            c.left -= <unsigned long long>data.n
            return at + data.n
        b = p[at]
        at += 1
        if c.state == SIZE_FIRST or c.state == SIZE_MORE:
            if HEX[b]:
                if c.digits == 16:
                    c.state = BROKEN
                    return at
                c.left = c.left * 16 + <unsigned long long>(HEX[b] - 1)
                c.digits += 1
                c.state = SIZE_MORE
            elif c.state == SIZE_MORE and b == c'\r':
                c.state = SIZE_LF
            elif c.state == SIZE_MORE and b == c';':
                c.state = EXT_NAME_FIRST
            else:
                c.state = BROKEN
            if c.digits == 16 and c.left >> 62:
                c.state = BROKEN
        elif c.state <= EXT_VALUE:
            c.overhead += 1
            if TCHAR[b]:
                if c.state == EXT_NAME_FIRST:
                    c.state = EXT_NAME
                elif c.state == EXT_VALUE_FIRST:
                    c.state = EXT_VALUE
            elif b == c'=' and c.state == EXT_NAME:
                c.state = EXT_VALUE_FIRST
            elif b == c';' and c.state in (EXT_NAME, EXT_VALUE):
                c.state = EXT_NAME_FIRST
            elif b == c'\r' and c.state in (EXT_NAME, EXT_VALUE):
                c.state = SIZE_LF
            else:
                c.state = BROKEN
            if c.overhead > MAX_LINE:
                c.state = BROKEN
        elif c.state == SIZE_LF:
            if b != c'\n':
                c.state = BROKEN
            elif c.left == 0:
                c.state = TRAILER_START
            else:
                c.state = DATA
        elif c.state == DATA_CR:
            c.state = DATA_LF if b == c'\r' else BROKEN
        elif c.state == DATA_LF:
            c.digits = 0
            c.state = SIZE_FIRST if b == c'\n' else BROKEN
        elif c.state == END_LF:
            c.state = DONE if b == c'\n' else BROKEN
        else:
            c.overhead += 1
            if c.state == TRAILER_START:
                if b == c'\r':
                    c.state = END_LF
                elif TCHAR[b]:
                    c.trailers += 1
                    c.name_bytes = 0
                    c.name_framing = True
                    _follow_name(c, b)
                    c.state = TRAILER_NAME
                else:
                    c.state = BROKEN
            elif c.state == TRAILER_NAME:
                if b == c':':
                    c.state = BROKEN if _frames(c) else TRAILER_VALUE
                elif TCHAR[b]:
                    _follow_name(c, b)
                else:
                    c.state = BROKEN
            elif c.state == TRAILER_VALUE:
                if b == c'\r':
                    c.state = TRAILER_LF
                elif not VCHAR[b]:
                    c.state = BROKEN
            elif c.state == TRAILER_LF:
                c.state = TRAILER_START if b == c'\n' else BROKEN
            if c.state != BROKEN and (c.overhead > MAX_LINE or c.trailers > MAX_FIELDS):
                c.state = TRAILER_TOO_LARGE
    return at


# The same for Python: what the door and the upstream read, for tests against other parsers.

cdef tuple _TROUBLES = (
    "", "malformed", "uri_too_long", "head_too_large", "not_implemented", "bad_version",
    "bad_expectation",
)


cdef dict _as_dict(int trouble, Head* head):
    cdef int i
    if trouble:
        raise ValueError(_TROUBLES[trouble])
    return {
        "minor": head.minor,
        "fields": [
            (head.fields[i].name.p[:head.fields[i].name.n],
             head.fields[i].value.p[:head.fields[i].value.n])
            for i in range(head.count)
        ],
        "content_length": head.content_length if head.content_length >= 0 else None,
        "chunked": bool(head.chunked),
        "close": bool(head.close),
    }


def parse_request(head not None):
    """Return what the door reads in a complete head: method, target, minor, fields, framing.

    Raises:
        ValueError: what is wrong with it, by its name in http.pxd.
    """
    cdef Py_buffer view
    cdef Head found
    PyObject_GetBuffer(head, &view, PyBUF_SIMPLE)
    try:
        if find_head_end(<const unsigned char*>view.buf, view.len, 0) != view.len:
            raise ValueError("incomplete")
        seen = _as_dict(
            read_request_head(<const unsigned char*>view.buf, view.len, &found), &found
        )
        seen["method"] = found.method.p[:found.method.n]
        seen["target"] = found.target.p[:found.target.n]
        seen["expect_continue"] = bool(found.expect_continue)
        return seen
    finally:
        PyBuffer_Release(&view)


def parse_answer(head not None):
    """Return what the upstream reads in a complete head: status, reason, minor, fields, framing.

    Raises:
        ValueError: what is wrong with it, by its name in http.pxd.
    """
    cdef Py_buffer view
    cdef Head found
    PyObject_GetBuffer(head, &view, PyBUF_SIMPLE)
    try:
        if find_head_end(<const unsigned char*>view.buf, view.len, 0) != view.len:
            raise ValueError("incomplete")
        seen = _as_dict(
            read_answer_head(<const unsigned char*>view.buf, view.len, &found), &found
        )
        seen["status"] = found.status
        seen["reason"] = found.reason.p[:found.reason.n]
        return seen
    finally:
        PyBuffer_Release(&view)


def refused_early(const unsigned char[::1] head not None, bint answer, Py_ssize_t step=1):
    """Return what a head that comes `step` bytes at a time is refused for before it is complete.

    The name of the trouble and how many bytes had come; or ("", bytes of the head, 0 where
    they are not a whole one).
    """
    cdef const unsigned char* p
    cdef Py_ssize_t n = 0
    cdef Py_ssize_t searched = 0
    cdef Py_ssize_t line_seen = 0
    cdef Py_ssize_t length
    cdef int trouble
    if step < 1:
        raise ValueError("step is at least 1")
    while n < len(head):
        p = &head[0]
        n = min(n + step, len(head))
        length = find_head_end(p, n, searched)
        if length >= 0:
            return "", length
        if answer:
            trouble = check_partial_answer(p, n, searched)
        else:
            trouble = check_partial(p, n, &line_seen)
        if trouble:
            return _TROUBLES[trouble], n
        searched = n
    return "", 0


def leaves_base(const unsigned char[::1] path not None):
    """Return whether the door refuses this path (without `/proxy` and query)."""
    return bool(path_trouble(&path[0], len(path))) if len(path) else False


def parse_chunks(const unsigned char[::1] stream not None, Py_ssize_t step=0):
    """Return ("done", "broken", "too_large" or "more"), the content, and the bytes used.

    `step` bytes come at a time; 0: all at once.
    """
    cdef Chunks chunks
    cdef Slice data
    cdef Py_ssize_t at = 0
    cdef Py_ssize_t n
    cdef list content = []
    chunks_begin(&chunks)
    while at < len(stream) and chunks.state < DONE:
        n = len(stream) - at
        if 0 < step < n:
            n = step
        at += chunks_read(&chunks, &stream[at], n, &data)
        content.append(data.p[:data.n])
    state = {DONE: "done", BROKEN: "broken", TRAILER_TOO_LARGE: "too_large"}.get(
        chunks.state, "more"
    )
    return state, b"".join(content), at
