"""What a Forward keeps of the answer and says of it; who makes one, and when it ends."""

from __future__ import annotations

import gzip
import json
import time
import zlib

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iatp._fast.forward import Forward
from iatp._fast.gate import Gate
from tests._fast.gates import (
    CARD,
    CONTENT_TYPES,
    EMAIL,
    PIECES,
    PLAIN,
    SAFE,
    SSN,
    ask,
    parse,
    settle,
)


def test_an_answer_is_recorded_scrubbed() -> None:
    record = settle(SAFE, [b'{"card":', CARD, b"}"])
    assert tuple(record["response"][1]) == ("card", "[CREDIT_CARD_REDACTED]")


ANSWERS = [
    (b"text/event-stream", b"data: hello\n\n" * 200),
    (b"application/json", json.dumps([EMAIL.decode(), "x" * 50] * 40).encode()),
    (b"application/json", b'{"broken'),
    (b"text/html", b"<p>" + SSN + b"</p>"),
    (b"image/png", bytes(range(256)) * 8),
    (b"text/plain; charset=utf-16", "4111111111111111".encode("utf-16")),
    (b"text/plain; charset=latin1", b"caf\xe9 " * 300),
    (b"", b""),
]


@pytest.mark.parametrize(("content_type", "answer"), ANSWERS)
@pytest.mark.parametrize("outcome", ["answered", "truncated"])
@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
def test_answers_of_every_kind_in_pieces(
    content_type: bytes, answer: bytes, outcome: str, size: int
) -> None:
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    record = settle(SAFE, pieces, content_type, outcome=outcome)
    assert record["response_bytes"] == len(answer)
    assert len(str(record["response"])) <= 1336  # Base64 of the 1000 bytes that are kept.


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate", b"br"])
@pytest.mark.parametrize("outcome", ["answered", "truncated"])
def test_coded_answers(encoding: bytes, outcome: str) -> None:
    pack = zlib.compress if encoding == b"deflate" else gzip.compress
    for answer in (PLAIN, b'"' + b"a " * 5000 + b'"', bytes(range(256)) * 20):
        packed = pack(answer)
        record = settle(SAFE, [packed[:9], packed[9:]], b"application/json", encoding, outcome)
        if encoding == b"br":
            assert record["response_omitted"] == "unknown_coding"
        assert CARD.decode() not in repr(record)
    broken = settle(SAFE, [b"\x1f\x8bxxxxxxxxxxx"], b"text/plain", b"gzip")
    assert broken["response_omitted"] == "malformed_coding"


@pytest.mark.parametrize(
    "value", [CARD, b"4111 1111 1111 1111", SSN, EMAIL, b"\\u0034111111111111111"]
)
@pytest.mark.parametrize("content_type", [b"application/json", b"text/plain"])
@pytest.mark.parametrize("filler", [b"a ", b"\\u0020", b"x"])
def test_b18_no_part_of_a_value_at_the_cut(
    value: bytes, content_type: bytes, filler: bytes
) -> None:
    limit = 64
    policy = msgspec.structs.replace(SAFE, record_body_bytes=limit)
    edges = [*range(limit - 30, limit + 4), *range(limit + 480, limit + 520, 4)]
    for edge in edges:
        head = b'["' + filler * (edge // len(filler)) + b' "," '
        answer = head + value + b' ","' + b"tail " * 120 + b'"]'
        for outcome, sent in (("answered", answer), ("truncated", answer[: edge + 12])):
            record = settle(policy, [sent], content_type, outcome=outcome)
            assert "4111" not in record["response"]
            assert "0034" not in record["response"]
            assert "123-4" not in record["response"]
            assert "alice" not in record["response"]


@settings(max_examples=300, deadline=None)
@given(
    answer=PIECES,
    content_type=CONTENT_TYPES,
    limit=st.sampled_from([0, 3, 20, 200]),
    repeat=st.sampled_from([1, 1, 60]),
    outcome=st.sampled_from(["answered", "truncated"]),
    size=st.integers(1, 400),
)
def test_any_answer_like_the_twin(
    answer: bytes, content_type: bytes, limit: int, repeat: int, outcome: str, size: int
) -> None:
    answer *= repeat
    policy = msgspec.structs.replace(SAFE, record_body_bytes=limit)
    pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
    settle(policy, pieces, content_type, outcome=outcome)


def test_what_is_found_behind_what_is_kept_counts() -> None:
    answer = b"word " * 5000 + CARD + b" and " + SSN + b" word" * 5000
    for size in (100, 4096, 100_000):
        pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
        record = settle(SAFE, pieces, b"text/plain")
        assert record["findings"] == {"credit_card": 1, "ssn": 1}
        for encoding, pack in ((b"gzip", gzip.compress), (b"deflate", zlib.compress)):
            # It is read up to `max_body_bytes`, which end before the second.
            packed = pack(answer[15_100:])
            pieces = [packed[at : at + size] for at in range(0, len(packed), size)]
            record = settle(SAFE, pieces, b"text/plain", encoding)
            assert record["findings"] == {"credit_card": 1, "ssn": 1}
    assert "findings" not in settle(SAFE, [b"word " * 5000], b"text/plain")


@pytest.mark.parametrize("size", [1, 30, 1000])
@pytest.mark.parametrize("filler", [b"", b"word " * 1000])
def test_every_member_of_a_packed_answer_is_read(filler: bytes, size: int) -> None:
    packed = gzip.compress(b"clean and " + filler) + gzip.compress(b"") + gzip.compress(CARD)
    for tail in (b"", b"garbage", gzip.compress(b" and more")[:20]):
        answer = packed + tail
        pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
        record = settle(SAFE, pieces, b"text/plain", b"gzip")
        assert record["findings"] == {"credit_card": 1}
        if not filler and not tail:
            assert record["response"] == "clean and [CREDIT_CARD_REDACTED]"


def test_a_packed_answer_buys_no_time() -> None:
    packed = gzip.compress(b"4111 1111 1111 1111 word " * 4_000_000, 1)
    started = time.perf_counter()
    gate = Gate(SAFE)
    forward = gate.admit(ask())
    assert isinstance(forward, Forward)
    forward.settle_head(200, b"text/plain", b"gzip")
    forward.settle_piece(packed)
    record = parse(gate.settle_end(forward, "answered", 1, 1, 1))
    assert record["findings"] == {"credit_card": 400}
    assert time.perf_counter() - started < 1


@settings(max_examples=200, deadline=None)
@given(
    texts=st.lists(
        st.sampled_from(["4111", " 1111", "11111111", "123-45", "-6789", "alice", "@example.com"])
        | st.sampled_from([" word", "word ", "x" * 60, CARD.decode(), "\n", '"', "é"]),
        max_size=40,
    ),
    content_type=st.sampled_from(
        [b"text/event-stream", b"Text/Event-Stream; charset=utf-8", b"application/x-ndjson"]
    ),
    limit=st.sampled_from([0, 60, 400, 1000]),
    outcome=st.sampled_from(["answered", "truncated"]),
    size=st.integers(1, 400),
)
def test_any_stream_like_the_twin(
    texts: list[str], content_type: bytes, limit: int, outcome: str, size: int
) -> None:
    stream = b"".join(
        b"data: " + json.dumps({"delta": {"content": text}}).encode() + b"\n\n" for text in texts
    )
    policy = msgspec.structs.replace(SAFE, record_body_bytes=limit)
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)]
    settle(policy, pieces, content_type, outcome=outcome)


def test_a_forward_ends_once() -> None:
    gate = Gate(SAFE)
    forward = gate.admit(ask())
    assert isinstance(forward, Forward)
    with pytest.raises(RuntimeError, match="no head"):
        gate.settle_end(forward, "answered", 1, 1, 1)
    assert not forward.ended
    forward.settle_head(204, b"", b"")
    with pytest.raises(ValueError, match="outcome"):
        gate.settle_end(forward, "lost", 1, 1, 1)
    assert parse(gate.settle_end(forward, "answered", 1, 1, 1))["response"] is None
    assert forward.ended
    for again in (
        lambda: gate.settle_end(forward, "answered", 1, 1, 1),
        lambda: gate.fail(forward, "agent_reset", 1, 1),
        lambda: forward.settle_head(200, b"", b""),
        lambda: forward.settle_piece(b"x"),
    ):
        with pytest.raises(RuntimeError, match="ended before"):
            again()


def test_a_forward_belongs_to_its_gate() -> None:
    forward = Gate(SAFE).admit(ask())
    assert isinstance(forward, Forward)
    with pytest.raises(RuntimeError, match="another gate"):
        Gate(SAFE).fail(forward, "agent_reset", 1, 1)


def test_only_the_gate_makes_a_forward() -> None:
    with pytest.raises(TypeError):
        Forward()
    with pytest.raises(TypeError):
        Forward.__new__(Forward)
    with pytest.raises(TypeError):
        type("Mine", (Forward,), {})
