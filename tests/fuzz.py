"""Mutated messages for the compiled readers, without end: `python -m tests.fuzz SECONDS [SEED]`.

Meant for a build with the address sanitizer (tools/fuzz.sh), which ends the process at the
first byte that is read or written out of bounds. The little that must hold for any input is
asserted too. It prints how many inputs were executed, and exits with 1 where one failed.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import time
from array import array
from collections.abc import Callable

from iatp._fast import http, patterns, record, scan
from iatp._fast.answer import count, scrub_deltas
from iatp._fast.patterns import Patterns
from tests._fast.grammar import Grammar, exact

CORPUS = 200
"""Messages and texts that are mutated; then new ones are made."""

WIDEST = 2
"""Of the vectors that the scan knows; a machine may have less."""

ROUNDS = 20
"""How often each is, each time a little further."""

TEXTS = [
    b'{"a":[1,-2.5e3,true,null,"\\u00e9\\ud83d\\ude00 \\n"],"card":"4111 1111 1111 1111"}',
    b'["{\\"a\\":\\"378282246310005\\"}", 4.111111111111111e15, "123-45-6789", "a@b.example"]',
    '{"\uff14\uff11": "\u2013\u00a0\u0661\u0662", "b64": "NDExMTExMTExMTExMTExMQ=="}'.encode(),
    b"a=%34111111111111111&b=4111+1111+1111+1111&c=%e9%80%80",
    b"--x\r\nContent-Disposition: form-data; name=a\r\n\r\n5500-0000-0000-0004\r\n--x--",
    b'data: {"a": "DE89 3704 0044 0532 0130 00"}\n\ndata: sk_live_abcdefghijklmnop\n\n',
    b'data: {"delta":{"content":"at 4111 11"}}\n\ndata: {"delta":{"content":"11 1111 1111."}}\n\n',
    b'{"password":"Tr0ub4dor&3","u":"https:\\/\\/bob:s3cret@h","k":"Bearer 9f8a7b6c5d4e3f2a1b0c"}',
    b"-----BEGIN PRIVATE KEY-----\\nMIIEowIBAAKCAQEAx9f8\\n-----END PRIVATE KEY-----",
    b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w ghp_" + b"a1B2" * 9,
]

PATHS = [b"/a/b", b"/a%20b/%41", b"/%2e%2e/x", b"/..;x/y", b"/a%252fb", b"/.%2e", b"/%25", b"/a\\b"]


def read_request(data: bytes) -> None:
    _read_head(data, http.parse_request, answer=False)


def read_answer(data: bytes) -> None:
    _read_head(data, http.parse_answer, answer=True)


def _read_head(data: bytes, parse: Callable[[array[int]], object], *, answer: bool) -> None:
    end = data.find(b"\r\n\r\n") + 4
    head = data[:end] if end > 3 else data
    refused, at = http.refused_early(exact(head), answer, 1 + len(head) // 64)
    assert http.refused_early(exact(head[: at or len(head)]), answer, len(head) or 1)[1] in (0, at)
    try:
        parse(exact(head))
    except ValueError:
        return
    assert refused == "", "accepted whole, refused in pieces"


def read_chunks(data: bytes) -> None:
    _, _, body = data.partition(b"\r\n\r\n")
    whole = http.parse_chunks(exact(body))
    assert http.parse_chunks(exact(body), 1) == whole
    # No byte is read before it has come: the buffer ends inside.
    state, content, used = http.parse_chunks(exact(body[: len(body) // 2]))
    assert whole[1].startswith(content)
    assert state == "more" or (state, content, used) == whole


def read_path(data: bytes) -> None:
    ends = range(max(0, len(data) - 4), len(data) + 1)
    refused = [http.leaves_base(exact(data[:end])) for end in ends]
    # What is a whole segment of dots stays one, whatever follows it.
    assert not data.startswith((b"/../", b"/./")) or refused[-1]


def scan_text(data: bytes) -> None:
    for form in (scan.JSON, scan.TEXT, scan.TARGET, scan.FORM):
        _scan(data, form)
    # Further on in a document, and twice.
    room = b" " * (len(data) % 67)
    _scan(b"[" + room + data + room + b"," + data + b"]", scan.JSON)


def _scan(data: bytes, form: int) -> None:
    found = []
    for level in range(scan.vectors(WIDEST) + 1):
        scan.vectors(level)
        spans = scan.scan(data, form)
        scan.redact(data, spans)
        scan.counts(spans)
        found.append((list(spans), spans.error, spans.error_at))
    assert all(one == found[0] for one in found), "vectors of another width find something else"
    places = [span[1:3] for span in found[0][0]]
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(places)), "overlapping"


def record_text(data: bytes) -> None:
    text = json.loads(record.json_string(data))
    assert text == data.decode("utf-8", "backslashreplace")


def answer_in_pieces(data: bytes) -> None:
    size = 1 + len(data) % 61
    # Further than one window of what passes.
    text = (data + b" ") * (1 + 10_000 // (len(data) + 1))
    for form in (scan.JSON, scan.TEXT, scan.FORM):
        for whole, step in ((data, size), (text, 97 * size)):
            pieces = [whole[at : at + step] for at in range(0, len(whole), step)]
            found = count([whole], form, events=True)
            assert count(pieces, form, events=True) == found, "pieces change what is found"
    found: list[int] = []
    scrubbed = scrub_deltas(data, True, found)
    assert found or scrubbed == data
    scrub_deltas(data, False, found)


OWN = Patterns([r"\b\d{4}\b", r"[a-z]{3,8}@", r"(?i)key|bob", r"^1$"])


def own_patterns(data: bytes) -> None:
    for form in (scan.JSON, scan.TEXT, scan.TARGET, scan.FORM):
        found = patterns.find(data, form, OWN)
        if isinstance(found, str):
            continue
        places = [span[1:3] for span in found]
        assert places == sorted(places), "not in order"
        assert all(0 <= start < end <= len(data) for start, end in places), "out of bounds"
        behind = itertools.pairwise(places)
        assert all(one == other or one[1] <= other[0] for one, other in behind), "overlapping"
    text = (data + b" ") * (1 + 20_000 // (len(data) + 1))
    step = 1 + len(data) % 1000
    pieces = [text[at : at + step] for at in range(0, len(text), step)]
    patterns.count(pieces, scan.JSON, OWN)
    # What takes too long is left, and under the sanitizer on a busy machine anything may.
    assert any(
        patterns.count(pieces, scan.TEXT, OWN) == patterns.count([text], scan.TEXT, OWN)
        for _ in range(3)
    ), "pieces change it"


READERS: dict[str, list[Callable[[bytes], None]]] = {
    "request": [read_request, read_chunks],
    "answer": [read_answer, read_chunks],
    "path": [read_path],
    "text": [scan_text, record_text, answer_in_pieces, own_patterns],
}


def corpus(grammar: Grammar) -> list[tuple[str, bytes]]:
    """As many of each kind."""
    made = []
    for _ in range(CORPUS // len(READERS)):
        made += [("request", grammar.request()), ("answer", grammar.answer())]
        made += [("path", grammar.random.choice(PATHS)), ("text", grammar.random.choice(TEXTS))]
    return made


def fuzz(seconds: float, seed: int) -> int:
    """How many inputs were executed. Raises: AssertionError with the input that failed."""
    source = random.Random(seed)
    grammar = Grammar(source, 0.05)
    until = time.monotonic() + seconds
    executed = 0
    while time.monotonic() < until:
        messages = corpus(grammar)
        for kind, message in messages:
            data = message
            for _ in range(ROUNDS):
                if source.random() < 0.05:
                    # The beginning of one and the end of another.
                    other = source.choice(messages)[1]
                    data = (
                        data[: source.randrange(len(data) + 1)]
                        + other[source.randrange(len(other) + 1) :]
                    )
                for read in READERS[kind]:
                    executed += 1
                    try:
                        read(data)
                    except Exception as error:
                        raise AssertionError(f"{read.__name__}, seed {seed}: {data!r}") from error
                data = grammar.mutated(data)
            if time.monotonic() >= until:
                break
    return executed


def main() -> int:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(1 << 32)
    print(f"fuzz: {seconds:.0f} s with seed {seed}", flush=True)
    began = time.monotonic()
    executed = fuzz(seconds, seed)
    took = time.monotonic() - began
    print(f"fuzz: {executed} inputs in {took:.0f} s, {executed / took:.0f} a second, no finding")
    return 0


if __name__ == "__main__":
    sys.exit(main())
