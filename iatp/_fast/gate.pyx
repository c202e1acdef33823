"""Decides what happens to one request, and writes what the flight record says of it.

No I/O, no clock, no environment: whatever time it is comes with the call. The only state is
the policy (what else a gate keeps only saves work), so one gate serves all connections of a
worker, in one thread. A request is read once (`Scanner.read`): the spans that decide are the
spans that scrub. Only `Gate.admit` makes a `Forward`, and a `Forward` ends once: by `settle_end`
or by `fail`.

Protocol sections 2 (trace ID), 6 (decision), 7 (records), 8 (errors).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from iatp._fast.content cimport (
    CHARSET_LATIN, CHARSET_UNREADABLE, CHARSET_UTF8, ContentType, coding_of, decode, from_latin,
    type_of, unreadable,
)
from iatp._fast.forward cimport Forward, make_forward
from iatp._fast.mac cimport Mac
from iatp._fast.patterns cimport Patterns
from iatp._fast.reading cimport Reading, Scanner, is_strict, is_unjudged, may_hold_json
from iatp._fast.record cimport Line, json_string
from iatp._fast.slots cimport slot, slot_of
from iatp._fast.tails cimport Tails, utf8
from iatp._fast.text cimport (
    AS_JSON, AS_TARGET, AS_TEXT, MOST_FINDINGS, SECRET_NAMES, Spans, finding_of,
)

import hmac
import json

from iatp._fast import trust
from iatp._fast.content import CodingError
from iatp.decisions import policy as decisions
from iatp.decisions import tickets
from iatp.decisions.policy import OverrideMode
from iatp.values import errors, exchange
from iatp.values import patterns as own
from iatp.values import policy as policies
from iatp.values.exchange import Claim, Outcome, Request, Respond
from iatp.values.policy import AnswerAction, Mode

cdef enum:
    # How far beyond what is kept of an answer is looked, so that a value that begins in the
    # kept part is seen whole: 19 digits and 18 separators, each a doubly escaped \\\\u0034.
    LOOKAHEAD = 512
    # The same for the policy's own patterns, whose matches may be longer.
    OWN_LOOKAHEAD = 4096
    # Rows of the policy that are kept; each is some 1 KiB.
    MOST_ROWS = 1024

# Where the fields lie that every request is asked for.
cdef object REQUEST = Request
cdef Py_ssize_t REQUEST_ID = slot_of(Request, "request_id")
cdef Py_ssize_t TRACE_ID = slot_of(Request, "trace_id")
cdef Py_ssize_t TIME_NS = slot_of(Request, "time_ns")
cdef Py_ssize_t MONO_NS = slot_of(Request, "mono_ns")

cdef int FINDINGS = len(exchange.FINDINGS)
cdef dict FAILURES = errors.FAILURES
cdef object UNKNOWN = FAILURES["internal_error"]
cdef object ANSWERED = Outcome.ANSWERED
cdef object TRUNCATED = Outcome.TRUNCATED
assert exchange.FINDINGS[SECRET_NAMES].startswith("secret.")
assert exchange.FINDINGS[:SECRET_NAMES] == tuple(
    [kind for kind in exchange.KINDS if kind not in ("secret", "custom")]
)
assert FINDINGS + own.MOST_OWN <= MOST_FINDINGS

# What a row of the policy does.
cdef enum:
    ALLOWS = 0
    REDACTS = 1
    WARNS = 2
    BLOCKS = 3

assert [policies.STRENGTH[each] for each in ("allow", "redact", "warn", "block")] == [
    ALLOWS, REDACTS, WARNS, BLOCKS
]

# What a trace ID is made of (section 2).
cdef unsigned char[256] OF_TRACE_ID
cdef int _byte
for _byte in range(256):
    OF_TRACE_ID[_byte] = _byte < 0x80 and (chr(_byte).isalnum() or chr(_byte) in "._-")


@cython.final
cdef class _Row:
    # What the policy says of one set of findings, ready to be written.
    cdef int action
    cdef object redacts                  # a set, of what to replace for the agent; or None
    cdef str code
    cdef bytes rule
    cdef str decision
    cdef str reason
    cdef bytes reason_json
    cdef str warning
    cdef bytes warning_json
    cdef _Row otherwise                  # where `redacts` cannot be replaced

    def __cinit__(self, tuple names, decision):
        self.action = policies.STRENGTH[decision.action]
        if decision.redacts:
            self.redacts = _set_of(names, decision.redacts)
        self.code = decision.rule
        self.rule = decision.rule.encode()
        self.decision = "allow" if self.action == REDACTS else str(decision.action)
        self.reason = decision.reason
        self.reason_json = json_string(decision.reason.encode())
        self.warning = decision.warning
        self.warning_json = json_string(decision.warning.encode())
        if decision.otherwise is not None:
            self.otherwise = _Row(names, decision.otherwise)


cdef object _set_of(tuple names, object chosen):
    cdef Py_ssize_t i
    return sum([<object>1 << i for i in range(len(names)) if names[i] in chosen])


cdef list _names_in(Gate gate, object found):
    cdef Py_ssize_t i
    return [gate.names[i] for i in range(len(gate.names)) if found >> i & 1]


cdef bint _is_trace_id(bytes given):
    # Whether it has the shape of section 2.
    cdef Py_ssize_t at
    cdef Py_ssize_t length = PyBytes_GET_SIZE(given)
    cdef const unsigned char* data = <const unsigned char*>PyBytes_AS_STRING(given)
    if length > 128 or given == b"." or given == b"..":
        return False
    for at in range(length):
        if not OF_TRACE_ID[data[at]]:
            return False
    return length > 0


cdef str _trace_id(Gate gate, object request, str request_id):
    # Section 2: the caller's where it has the shape and holds no finding, else our own.
    cdef bytes given = slot(request, REQUEST, TRACE_ID)
    cdef Spans spans
    if given and _is_trace_id(given):
        spans = gate._scanner.look(given, AS_TEXT)
        if spans.count == 0 and not is_unjudged(spans):
            return given.decode()
    return request_id


cdef object _refuse(
    Gate gate, object request, str code, str detail, int count, int agent_status,
    int retry_after_s, bytes path
):
    # The answer and the one record of a request that is not forwarded and was not judged.
    cdef Line line
    cdef str trace_id, request_id, sentence
    failure = FAILURES.get(code, UNKNOWN)
    # After a framing error nothing that came with the request is believed.
    request_id = request.request_id
    trace_id = request_id if failure.closes else _trace_id(gate, request, request_id)
    if path is None:
        path = gate._scanner.scrubbed(request.target, AS_TARGET)
    line = gate._tails.begin(
        b'"type":"error","trace_id":', trace_id, request_id, request.time_ns,
        request.mono_ns,
    )
    gate._tails.about(request.method, path, request.caller, request.peer)
    sentence = failure.sentence
    if detail and code == "invalid_json":
        sentence = f"{sentence.removesuffix('.')}: {detail}."
        detail = ""
    gate._tails.failure(failure, sentence, detail, agent_status)
    if count > 1:
        line.literal(b',"count":')
        line.integer(count)
    line.literal(b"}")
    record = line.done()
    return Respond(
        status=failure.status,
        decision=failure.decision,
        code=failure.code,
        body=_error_body(gate, sentence, failure.code, trace_id),
        trace_id=trace_id,
        trust_score=gate.trust_score,
        records=(record,),
        retry_after_s=retry_after_s or failure.retry_after_s,
        closes=failure.closes,
    )


cdef bytes _error_body(Gate gate, str sentence, str code, str trace_id):
    cdef Line line = gate._tails.line
    line.clear()
    line.literal(b'{"error":')
    line.text(sentence)
    line.literal(b',"code":')
    line.text(code)
    line.literal(b',"trace_id":')
    line.text(trace_id)
    line.literal(b"}")
    return line.done()


cdef object _blocked(
    Gate gate, object request, str trace_id, str request_id, Reading reading, _Row row
):
    cdef Line line
    line = gate._tails.begin(
        b'"type":"blocked","trace_id":', trace_id, request_id, request.time_ns,
        request.mono_ns,
    )
    line.literal(b',"reason":')
    line.raw(row.reason_json)
    line.literal(b',"code":"')
    line.raw(row.rule)
    line.literal(b'"')
    gate._tails.describe(reading, b"block", row.rule, False)
    line.literal(b"}")
    record = line.done()
    line.clear()
    line.literal(b'{"error":')
    line.raw(row.reason_json)
    line.literal(b',"code":"')
    line.raw(row.rule)
    line.literal(b'","blocked":true,"trust_score":')
    line.raw(gate._tails.score)
    line.literal(b',"trace_id":')
    line.text(trace_id)
    line.literal(b"}")
    return Respond(
        status=403,
        decision="block",
        code=row.code,
        body=line.done(),
        trace_id=trace_id,
        trust_score=gate.trust_score,
        records=(record,),
        findings=reading.findings,
    )


cdef object _bound(Gate gate, object request, str trace_id):
    return tickets.Bound(
        caller=request.caller,
        method=request.method,
        target=request.target,
        content_type=request.content_type,
        content_encoding=request.content_encoding,
        body=request.body,
        policy_version=gate._policy_version,
        trace_id=trace_id,
    )


cdef object _confirmed(Gate gate, object request, str trace_id):
    # None, or the ticket's ID and expiry; ("", 0) where the override is no ticket.
    cdef bytes given = request.override
    if not given:
        return None
    if gate._mode == OverrideMode.HEADER:
        return ("", 0) if given == b"true" else None
    if gate._mode == OverrideMode.SECRET:
        return ("", 0) if hmac.compare_digest(given, gate._secret) else None
    if gate._mode == OverrideMode.TICKET:
        ticket = tickets.check(
            gate.policy.ticket_key, given, _bound(gate, request, trace_id),
            now_s=request.time_ns // 1000000000,
        )
        return None if ticket is None else (ticket.ticket_id, ticket.expires_s)
    return None


cdef object _warned(
    Gate gate, object request, str trace_id, str request_id, Reading reading, _Row row
):
    cdef Line line
    cdef str token = ""
    cdef bint can_override = gate._mode != OverrideMode.OFF
    line = gate._tails.begin(
        b'"type":"warning","trace_id":', trace_id, request_id, request.time_ns,
        request.mono_ns,
    )
    line.literal(b',"warning":')
    line.raw(row.warning_json)
    line.literal(b',"code":"')
    line.raw(row.rule)
    line.literal(b'"')
    gate._tails.describe(reading, b"warn", row.rule, False)
    line.literal(b"}")
    record = line.done()
    if gate._mode == OverrideMode.TICKET:
        token = tickets.issue(
            gate.policy.ticket_key, _bound(gate, request, trace_id),
            request_id=request_id, now_s=request.time_ns // 1000000000,
        )
    line.clear()
    line.literal(b'{"warning":')
    line.raw(row.warning_json)
    line.literal(b',"code":"')
    line.raw(row.rule)
    line.literal(b'","requires_override":')
    line.literal(b"true" if can_override else b"false")
    line.literal(b',"trust_score":')
    line.raw(gate._tails.score)
    if token:
        line.literal(b',"override_token":')
        line.text(token)
    line.literal(b',"message":')
    line.text(decisions.override_message(gate._mode, token, trace_id))
    line.literal(b',"trace_id":')
    line.text(trace_id)
    line.literal(b"}")
    return Respond(
        status=449,
        decision="warn",
        code=row.code,
        body=line.done(),
        trace_id=trace_id,
        trust_score=gate.trust_score,
        records=(record,),
        findings=reading.findings,
    )


cdef _Row _row_of(Gate gate, Reading reading):
    # What the policy says of what was found; made when it is first found.
    cdef _Row row
    if reading.found is None:
        return gate._clear
    row = gate._rows.get(reading.found)
    if row is None:
        row = _Row(
            gate.names,
            decisions.decide(gate.policy, _names_in(gate, reading.found), gate.trust_score),
        )
        if len(gate._rows) >= MOST_ROWS:
            gate._rows.clear()
        gate._rows[reading.found] = row
    return row


cdef _Row _redacting(Gate gate, object request, Reading reading, _Row row):
    # The row that holds once `sent` is filled, or could not be.
    reading.sent = gate._scanner.without(type_of(request.content_type), reading, row.redacts)
    return row if reading.sent is not None else row.otherwise


cdef bytes _path_of(bytes target):
    # What stands behind /proxy, without the query.
    return target[6:].partition(b"?")[0] if target.startswith(b"/proxy") else target


cdef tuple _closed(Gate gate, str method, bytes target):
    # None, or the code and the methods (as in Allow) where the policy does not open the path.
    if not gate.limits_paths:
        return None
    methods = decisions.closed(gate.policy.table, method, _path_of(target))
    if methods is None:
        return None
    return ("method_not_allowed", methods) if methods else ("path_not_open", "")


cdef Forward _forward(
    Gate gate, object request, str trace_id, str request_id, Reading reading, object grant,
    const char* rule, bytes warning_json, bytes would
):
    # `would`: what the policy would have done, as JSON, where it only observes; else None.
    cdef Forward forward = make_forward(gate._tails)
    cdef Line line
    cdef long long time_ns, mono_ns
    forward.trace_id = trace_id
    forward.request_id = request_id
    forward.trust_score = gate.trust_score
    forward.findings = reading.findings
    forward.quarantined = grant is not None
    if would is None:
        forward.body = reading.sent
    forward._method = reading.method
    forward._path = reading.path
    forward._caller = reading.caller
    forward._peer = reading.peer
    time_ns = slot(request, REQUEST, TIME_NS)
    mono_ns = slot(request, REQUEST, MONO_NS)
    line = gate._tails.begin(
        b'"type":"request","trace_id":', trace_id, request_id, time_ns, mono_ns
    )
    gate._tails.describe(reading, b"allow", rule, forward.quarantined)
    if would is not None:
        line.literal(b',"would":')
        line.raw(would)
    elif reading.sent is not None:
        line.literal(b',"redacted":true')
    line.literal(b"}")
    if not forward.quarantined:
        forward.records = (line.done(),)
        return forward
    record = line.done()
    line = gate._tails.begin(
        b'"type":"user_override","trace_id":', trace_id, request_id, time_ns, mono_ns
    )
    line.literal(b',"warning":')
    line.raw(warning_json)
    line.literal(b',"trust_score":')
    line.raw(gate._tails.score)
    line.literal(b',"session_id":')
    line.text(grant.session_id)
    line.literal(b"}")
    forward.records = (record, line.done())
    return forward


cdef bytes _would(Reading reading, _Row row, tuple closed):
    # What a policy that only observes would have done, for the record.
    if closed is not None:
        return b'{"decision":"refuse","rule":"%b"}' % (<str>closed[0]).encode()
    return b'{"decision":"%b","rule":"%b"%b}' % (
        row.decision.encode(), row.rule,
        b',"redacted":true' if reading.sent is not None and row.action <= REDACTS else b"",
    )


cdef set _spans_of(Gate gate, str part, Spans spans):
    cdef Py_ssize_t i
    cdef set found = set()
    for i in range(spans.count):
        found.add((
            part, spans.items[i].start, spans.items[i].end,
            gate.names[finding_of(&spans.items[i])],
        ))
    return found


def _by_place(row):
    # The target comes before the body.
    return row[0] != "target", row[1:]


cdef int _check_open(Gate gate, Forward forward) except -1:
    if forward._tails is not gate._tails:
        raise RuntimeError("this Forward is another gate's")
    if forward.ended:
        raise RuntimeError("this Forward has ended before")
    return 0


@cython.final
cdef class Gate:
    """Decides on requests and records what came of them; no I/O and no clock.

    What it keeps only saves work; no decision depends on it. For one thread.
    """

    def __init__(self, policy):
        """`policy` is a GatePolicy; its score is computed here, once.

        Raises:
            ValueError: a key or a secret that the mode needs is missing or too short.
        """
        if policy.override == OverrideMode.TICKET and len(policy.ticket_key) < 16:
            raise ValueError("mode ticket needs a ticket_key of 16 bytes or more")
        if policy.override == OverrideMode.SECRET and len(policy.override_token) < 16:
            raise ValueError("mode secret needs an override_token of 16 characters or more")
        self.policy = policy
        self.trust_score = trust.score(
            policy.trust_level, policy.reversibility, policy.retention,
            policy.human_in_loop, policy.training_consent,
        )
        self._mode = OverrideMode(policy.override)
        table = policy.table
        names = self.names = table.findings
        self._clear = _Row(names, decisions.decide(policy, (), self.trust_score))
        self._rows = {0: self._clear}
        self._observes = table.mode == Mode.OBSERVE
        judged = [name for name in names if table.is_on(name) and not self._observes]
        self._answer_redacts = _set_of(
            names, [name for name in judged if table.answer(name) == AnswerAction.REDACT]
        )
        self._answer_blocks = _set_of(
            names, [name for name in judged if table.answer(name) == AnswerAction.BLOCK]
        )
        self.judges_answers = (self._answer_redacts | self._answer_blocks) != 0
        self.limits_paths = len(table.open) > 0
        self._secret = policy.override_token.encode()
        self._policy_version = policy.policy_version
        self._scanner = Scanner()
        self._scanner.off = _set_of(names, [name for name in names if not table.is_on(name)])
        self._scanner.max_body = policy.max_body_bytes
        if table.patterns:
            self._scanner.patterns = Patterns([pattern.regex for pattern in table.patterns])
        self._tails = Tails()
        self._tails.line = Line()
        self._tails.scanner = self._scanner
        self._tails.mac = Mac(policy.mac_key)
        self._tails.agent = b',"agent_id":%b,"mono_ns":' % json_string(utf8(policy.agent_id))
        self._tails.score = str(self.trust_score).encode()
        self._tails.keys = tuple([f'"{name}":'.encode() for name in names])
        self._tails.keep = policy.record_body_bytes
        self._tails.window = policy.record_body_bytes + (
            OWN_LOOKAHEAD if table.patterns else LOOKAHEAD
        )

    cpdef str trace_id(self, object request):
        """The caller's trace ID where it may be kept (section 2), else the request's own ID."""
        return _trace_id(self, request, request.request_id)

    def scrub_target(self, bytes target not None):
        """Return a request target as a record may have it."""
        return self._scanner.scrubbed(target, AS_TARGET)

    cpdef tuple closed(self, str method, bytes target):
        """Return None, or the code of the refusal and what `Allow` holds (405 alone).

        Only where `limits_paths`; a policy that observes closes nothing.
        """
        return None if self._observes else _closed(self, method, target)

    cdef bint reads(self, bytes content_type) except -1:
        # Whether a body of this type can be read, however it is asked for.
        return type_of(content_type).charset == CHARSET_UTF8

    cpdef object admit_head(
        self, object request, object declared_length=None, int rate_retry_after_s=0
    ):
        """Return the refusal that follows from the head alone, or None.

        `rate_retry_after_s` above 0 means that the caller is over a rate limit.
        `declared_length` is the Content-Length, or None where there is none.
        """
        cdef str code
        cdef bytes target
        if rate_retry_after_s > 0:
            return _refuse(self, request, "rate_limited", "", 1, 0, rate_retry_after_s, None)
        if declared_length is not None and declared_length > self._scanner.max_body:
            return _refuse(self, request, "body_too_large", "", 1, 0, 0, None)
        target = request.target
        code = unreadable(
            coding_of(request.content_encoding), type_of(request.content_type),
            is_strict(request.method, target),
        )
        if code is not None:
            return _refuse(self, request, code, "", 1, 0, 0, None)
        return None

    cpdef object admit(self, object request, object grant=None):
        """Return the verdict on a complete request: Forward, Respond or Claim.

        After a Claim the same request comes again with the Grant; one that was not granted
        counts as no override. Costs one pass over the target and one over the body.
        """
        cdef Reading reading
        cdef str request_id, trace_id
        cdef tuple closed = None
        cdef _Row row
        cdef Forward forward
        if self.limits_paths:
            closed = _closed(self, request.method, request.target)
            if closed is not None and not self._observes:
                return _refuse(self, request, closed[0], "", 1, 0, 0, None)
        reading = self._scanner.read(request)
        if reading.code is not None:
            return _refuse(
                self, request, reading.code, reading.detail, 1, 0, 0, reading.path
            )
        request_id = slot(request, REQUEST, REQUEST_ID)
        trace_id = _trace_id(self, request, request_id)
        row = _row_of(self, reading)
        if row.redacts is not None:
            row = _redacting(self, request, reading, row)
        if self._observes:
            forward = _forward(
                self, request, trace_id, request_id, reading, None, b"observe", None,
                _would(reading, row, closed),
            )
            forward.spared = closed is not None or row.action != ALLOWS
            return forward
        if row.action == BLOCKS:
            return _blocked(self, request, trace_id, request_id, reading, row)
        if row.action != WARNS:
            return _forward(
                self, request, trace_id, request_id, reading, None, row.rule, None, None
            )
        confirmed = _confirmed(self, request, trace_id)
        if confirmed is None or (grant is not None and not grant.granted):
            return _warned(self, request, trace_id, request_id, reading, row)
        if grant is None:
            return Claim(
                trace_id=trace_id,
                ticket_id=confirmed[0],
                expires_s=confirmed[1],
                session_id=decisions.session_id(request_id),
                warning=row.warning,
                trust_score=self.trust_score,
                time_ns=request.time_ns,
            )
        return _forward(
            self, request, trace_id, request_id, reading, grant, b"override", row.warning_json,
            None,
        )

    cpdef object refuse(
        self, object request, str code, str detail="", int count=1, int agent_status=0
    ):
        """Return the answer to a request that is refused or broke before it was admitted.

        `code` is one of FAILURES (an unknown one is internal_error). `detail` goes into the
        record alone. `count` above 1: the record sums up so many refusals.
        """
        return _refuse(self, request, code, detail, count, agent_status, 0, None)

    cpdef object fail(
        self, Forward forward, str code, long long time_ns, long long mono_ns, str detail=""
    ):
        """Return the answer to an admitted request that broke; its record ends the Forward.

        Raises:
            RuntimeError: the Forward has ended before (a bug).
        """
        cdef Line line
        _check_open(self, forward)
        failure = FAILURES.get(code, UNKNOWN)
        line = self._tails.begin(
            b'"type":"error","trace_id":', forward.trace_id, forward.request_id, time_ns,
            mono_ns,
        )
        self._tails.about(forward._method, forward._path, forward._caller, forward._peer)
        self._tails.failure(failure, failure.sentence, detail, forward.agent_status)
        if forward.quarantined:
            line.literal(b',"quarantined":true}')
        else:
            line.literal(b',"quarantined":false}')
        record = line.done()
        forward.ended = True
        return Respond(
            status=failure.status,
            decision=failure.decision,
            code=failure.code,
            body=_error_body(self, failure.sentence, failure.code, forward.trace_id),
            trace_id=forward.trace_id,
            trust_score=self.trust_score,
            records=(record,),
            retry_after_s=failure.retry_after_s,
            closes=failure.closes,
        )

    cpdef bint holds(self, bytes content_type, bint has_length) except -1:
        """Return whether an answer is judged before its caller gets it: where it does not stream.

        A stream is one by its content type; also what has no length and is not JSON.
        """
        cdef ContentType found = type_of(content_type)
        return self.judges_answers and not found.events and (has_length or found.json)

    cpdef bytes judge(self, Forward forward, bytes body):
        """Return what the caller gets in place of this body, which is the whole answer.

        The same object where nothing is replaced; None where the caller does not get it, and
        `forward.withheld` says why. What can't be read can't be judged, and is withheld.
        """
        cdef Reading reading
        cdef bytes text = body
        cdef bytes coding = coding_of(forward._content_encoding)
        cdef ContentType content_type = type_of(forward._content_type)
        if coding is None or content_type.charset == CHARSET_UNREADABLE:
            forward.withheld = "it cannot be read"
            return None
        if coding:
            try:
                text = decode(body, coding, self._scanner.max_body)
            except CodingError:
                forward.withheld = "it cannot be decoded"
                return None
        reading = Reading.__new__(Reading)
        reading.decoded = text
        if content_type.charset == CHARSET_LATIN:
            text = from_latin(text)
        self._scanner.read_any(reading, text, content_type, content_type.json)
        if reading.code is not None:
            forward.withheld = reading.detail or "too much is encoded in it"
            return None
        if reading.tally is None:
            return body
        self._scanner.leave_out_off(reading)
        if reading.found & self._answer_blocks:
            forward.withheld = ", ".join(_names_in(self, reading.found & self._answer_blocks))
            return None
        if not reading.found & self._answer_redacts:
            return body
        text = self._scanner.without(content_type, reading, self._answer_redacts)
        if text is None:
            forward.withheld = "what is found cannot be replaced"
            return None
        forward.answer_redacted = True
        return text

    cpdef bytes settle_end(
        self, Forward forward, object outcome, long long latency_us, long long time_ns,
        long long mono_ns
    ):
        """Return the `response` record, which ends the Forward.

        `outcome` is an Outcome or its text. `latency_us` runs to the end of the answer.

        Raises:
            RuntimeError: the Forward has ended before, or no head was settled (bugs).
        """
        cdef Line line
        cdef bint truncated = outcome is TRUNCATED or outcome == TRUNCATED
        if not truncated and outcome is not ANSWERED and outcome != ANSWERED:
            raise ValueError("outcome is 'answered' or 'truncated'")
        if not forward.agent_status:
            raise RuntimeError("no head was settled")
        _check_open(self, forward)
        line = self._tails.begin(
            b'"type":"response","trace_id":', forward.trace_id, forward.request_id,
            time_ns, mono_ns,
        )
        line.literal(b',"status_code":')
        line.integer(forward.agent_status)
        line.literal(b',"latency_ms":')
        line.milliseconds(latency_us)
        forward.tell_answer(not truncated)
        line.literal(b',"response_bytes":')
        line.integer(forward.answer_bytes)
        if forward.answer_findings:
            self._tails.findings(forward.answer_findings)
        if forward.answer_redacted:
            line.literal(b',"redacted":true')
        if truncated:
            line.literal(b',"truncated":true}')
        else:
            line.literal(b',"truncated":false}')
        # Only now: where it cannot be told, `fail` still can.
        forward.ended = True
        return line.done()

    def explain(self, request):
        """Return what `admit` would do with this request and why, without any found value.

        Overrides are not looked at. `spans` are byte offsets: in the target, and in the body
        after its content coding is taken off.
        """
        cdef _Row row
        cdef tuple closed = _closed(self, request.method, request.target)
        cdef Reading reading = self._scanner.read(request)
        cdef set found = _spans_of(self, "target", self._scanner.look(request.target, AS_TARGET))
        if reading.source is not None:
            # The passes of `_read` build on each other; here the offsets have to be those of
            # one text.
            if may_hold_json(reading.source):
                found |= _spans_of(self, "body", self._scanner.look(reading.source, AS_JSON))
            found |= _spans_of(self, "body", self._scanner.look(reading.source, reading.form))
        elif reading.spans is not None:
            found |= _spans_of(self, "body", reading.spans)
        shown = [
            {"part": part, "kind": kind, "start": start, "end": end}
            for part, start, end, kind in sorted(found, key=_by_place)
        ]
        findings = {self.names[finding]: count for finding, count in reading.findings}
        verdict = {
            "trust_score": self.trust_score,
            "findings": findings,
            "spans": shown,
        }
        if closed is not None and not self._observes:
            reading.code, reading.detail = closed[0], ""
        if reading.code is not None:
            failure = FAILURES[reading.code]
            return {
                "verdict": "refuse", "status": failure.status, "rule": failure.code,
                "code": failure.code, "error": failure.sentence, "detail": reading.detail,
            } | verdict
        row = _row_of(self, reading)
        if row.redacts is not None:
            row = _redacting(self, request, reading, row)
        if self._observes:
            return {
                "verdict": "allow", "rule": policies.RULE_OBSERVE,
                "would": json.loads(_would(reading, row, closed)),
            } | verdict
        if row.action == BLOCKS:
            return {
                "verdict": "block", "status": 403, "rule": row.code, "code": row.code,
                "error": row.reason,
            } | verdict
        if row.action == WARNS:
            return {
                "verdict": "warn", "status": 449, "rule": row.code, "code": row.code,
                "warning": row.warning, "requires_override": self._mode != OverrideMode.OFF,
            } | verdict
        if reading.sent is not None:
            verdict["redacted"] = True
        return {"verdict": "allow", "rule": row.code} | verdict
