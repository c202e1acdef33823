"""No found value is ever on disk, on standard output, in an error or in a metric (section 7)."""

from __future__ import annotations

import base64
import gzip
import json
import socket
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.agents import Agent, Seen, agent, says, sends
from tests.e2e.sidecars import KEEPS, STRANGER, TRUSTED, Answer, Caller, Sidecar, request, sidecar

Pair = tuple[Sidecar, Agent]

CARD = "4111111111111111"
SPACED = "5500 0055 5555 5559"
SSN = "123-45-6789"
EMAIL = "jane.roe@example.com"
VALUES = [CARD, SPACED, SSN, EMAIL]
TRACES = [CARD, SPACED, SPACED.replace(" ", ""), SSN, "jane.roe", "378282246310005"]
"""What may be nowhere, in any spelling that was sent."""
MARK = "the-payload-of-this-test"
"""Stands in every payload; it is no finding, and may be in the flight record alone."""


def modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in [folder, *folder.rglob("*")]
    }


class Sent(list[Answer]):
    """All answers that the sidecar itself made."""


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Sidecar], Sent]]:
    """Three sidecars that have seen every value in every place: passed, blocked and warned."""
    folder = tmp_path_factory.mktemp("scrubbing")
    answers = Sent()
    log = {"IATP_LOG_LEVEL": "debug"}
    echo = says(
        json.dumps({"back": VALUES, "mark": MARK}).encode(), "Content-Type: application/json"
    )
    with (
        agent(echo) as behind,
        sidecar(folder / "passes", behind.url, TRUSTED | log) as passes,
        sidecar(folder / "blocks", behind.url, KEEPS | log) as blocks,
        sidecar(folder / "warns", behind.url, STRANGER | log) as warns,
    ):
        running = [passes, blocks, warns]
        for each in running:
            for value in VALUES:
                answers += send_everywhere(each, value)
            answers += send_what_breaks(each)
        behind.reply = sends(f"{CARD} {SSN}\r\n\r\n".encode())
        answers.append(passes.post(json.dumps([CARD, MARK])))
        behind.reply = sends(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 999\r\n\r\n"
            + f"{MARK} {CARD} {CARD[:12]}".encode()
        )
        with Caller(passes.port) as caller:
            caller.send(request(body="{}", headers={"X-Agent-Trace-ID": "cut"}))
            caller.closes(5.0)
        yield running, answers


def send_everywhere(running: Sidecar, value: str) -> Iterator[Answer]:
    """One request for each place in which it can stand."""
    quoted = value.replace(" ", "%20").replace("@", "%40")
    doubled = base64.b64encode(f"pay with {value} now".encode()).decode()
    pretty = json.dumps({"a": [{"b": value}, MARK]}, indent=4)
    for body in (
        json.dumps({"a": value, "mark": MARK}),
        json.dumps({value: value}),
        pretty,
        pretty.replace("\n", "\r\n"),
        json.dumps({"a": json.dumps({"b": json.dumps([value])})}),
        json.dumps({"a": f"{MARK} " * 2000 + value}),
        json.dumps([value] * 300),
        json.dumps(doubled),
    ):
        yield running.post(body)
    yield running.post(gzip.compress(json.dumps([value]).encode()), {"Content-Encoding": "gzip"})
    for kind, text in (
        ("text/plain", f"{MARK}\n{value}\n"),
        ("application/x-www-form-urlencoded", f"mark={MARK}&a={quoted}"),
        ("application/octet-stream", f"\x00{value}\x00"),
        ("", value),
    ):
        yield running.ask("PUT", "/proxy/x", text, {"Content-Type": kind})
    yield running.ask("GET", f"/proxy/{quoted}/x")
    yield running.ask("GET", f"/proxy/x?a={quoted}&b={quoted}")
    yield running.ask("GET", f"/proxy?a={quoted}")
    yield running.ask("GET", f"/{quoted}?a={quoted}")
    yield running.ask("GET", f"/trace/{quoted}")
    yield running.ask("GET", f"/quarantine/{quoted}?a={quoted}")
    for name in ("X-Agent-Trace-ID", "X-Other", "Authorization", "User-Agent", "Via", "Host"):
        yield running.post("{}", {name: value.replace(" ", "-") if name == "Host" else value})
    for name in ("X-User-Override", "Content-Encoding", "Content-Type", "traceparent"):
        yield running.post("{}", {name: value})


def send_what_breaks(running: Sidecar) -> Iterator[Answer]:
    """Requests that are refused, with values in what is refused."""
    yield running.post(f'{{"{CARD}": {SSN}')
    yield running.post(f"{CARD}{{}}")
    yield running.ask("POST", f"/proxy/../{CARD}", f'"{SSN}"')
    yield running.post(f'"{CARD}"', {"Content-Encoding": "br"})
    yield running.post(f'"{CARD}"', {"Content-Encoding": "gzip"})
    for data in (
        f"POST /proxy/{CARD} HTTP/1.1\r\nHost: a\r\nContent-Length: {CARD}{CARD}\r\n\r\n",
        f"POST /proxy/{CARD} HTTP/1.1\r\nHost: a\r\n{SSN} : x\r\n\r\n",
        f"POST /proxy HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{CARD}zz\r\n",
        f"{'GET'} /{CARD} HTTP/{SSN}\r\nHost: a\r\n\r\n",
        f"POST /proxy?{CARD} HTTP/1.1\r\nHost: a\r\nExpect: {CARD}\r\n\r\n",
    ):
        with Caller(running.port) as caller:
            caller.send(data.encode())
            yield caller.read()


def text_below(folder: Path) -> str:
    return "\n".join(
        path.read_bytes().decode("latin-1") for path in sorted(folder.rglob("*")) if path.is_file()
    )


def findings_in(text: str) -> set[str]:
    return {value for value in TRACES if value in text}


def test_nothing_is_on_disk(sent: tuple[list[Sidecar], Sent]) -> None:
    for running in sent[0]:
        text = text_below(running.logs)
        assert MARK in text
        assert findings_in(text) == set()
        for kind in ("CREDIT_CARD", "SSN", "EMAIL"):
            assert f"[{kind}_REDACTED]" in text


def test_nothing_is_on_standard_output_or_error(sent: tuple[list[Sidecar], Sent]) -> None:
    for running in sent[0]:
        log = running.log()
        assert "data listener on" in log
        assert findings_in(log) == set()
        assert MARK not in log
        assert "Traceback" not in log


def test_nothing_is_in_a_metric(sent: tuple[list[Sidecar], Sent]) -> None:
    for running in sent[0]:
        text = running.admin("/metrics").body.decode()
        assert 'kind="credit_card"' in text
        assert findings_in(text) == set()
        assert MARK not in text


def test_nothing_is_in_an_error(sent: tuple[list[Sidecar], Sent]) -> None:
    ours = [answer for answer in sent[1] if answer.header("X-IATP-Decision") not in ("allow", None)]
    assert {answer.status for answer in ours} >= {400, 403, 404, 415, 417, 449, 502, 505}
    for answer in ours:
        whole = str(answer.headers) + answer.body.decode()
        assert findings_in(whole) == set(), answer.status
        assert MARK not in whole


def test_values_pass_to_the_agent_and_back(sent: tuple[list[Sidecar], Sent]) -> None:
    """Scrubbing is for the record: an agent that may have a value gets it."""
    passed = [answer for answer in sent[1] if answer.header("X-IATP-Decision") == "allow"]
    assert len(passed) > 50
    assert all(answer.json()["back"] == VALUES for answer in passed if answer.body)


def test_every_line_is_one_record(sent: tuple[list[Sidecar], Sent]) -> None:
    for running in sent[0]:
        for path in running.logs.glob("*.jsonl"):
            data = path.read_bytes()
            assert data.endswith(b"\n")
            assert b"\r" not in data
            for line in data.splitlines():
                record = json.loads(line)
                assert record["type"]
                assert "trace_id" in record


def test_files_are_ours_alone(sent: tuple[list[Sidecar], Sent]) -> None:
    for running in sent[0]:
        found = modes(running.logs)
        assert found.pop(".") == 0o700
        assert {"control.sqlite", "lock"} <= set(found)
        assert set(found.values()) == {0o600}
        assert stat.S_IMODE((running.folder / "key").stat().st_mode) == 0o600


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("records")
    with agent() as behind, sidecar(folder, behind.url, TRUSTED) as running:
        yield running, behind


def records_of(running: Sidecar, answer: Answer) -> list[dict[str, Any]]:
    return running.trace(answer.header("X-Agent-Trace-ID") or "")


def test_scrubbed_payload_stays_json(pair: Pair) -> None:
    running, behind = pair
    body = f"""{{
        "card": {CARD},
        "float": 4.111111111111111e15,
        "text": "pay {CARD} to {EMAIL}, \\u0034111111111111111",
        "{SSN}": [true, null, 1.50, "kept \\u00e9 \\n"],
        "vector": [0.4111111111111111, 1732100000000001]
    }}"""
    behind.reply = says(body.encode(), "Content-Type: application/json")
    answer = running.post(body)
    assert answer.body == body.encode()
    assert behind.seen[-1].body == body.encode()
    first, last = records_of(running, answer)
    expected = {
        "card": "[CREDIT_CARD_REDACTED]",
        "float": "[CREDIT_CARD_REDACTED]",
        "text": "pay [CREDIT_CARD_REDACTED] to [EMAIL_REDACTED], [CREDIT_CARD_REDACTED]",
        "[SSN_REDACTED]": [True, None, 1.5, "kept é \n"],
        "vector": [0.4111111111111111, 1732100000000001],
    }
    assert first["payload"] == last["response"] == expected
    assert first["findings"] == {"credit_card": 4, "ssn": 1, "email": 1}
    assert first["payload_bytes"] == last["response_bytes"] == len(body)


def test_path_and_query_are_scrubbed(pair: Pair) -> None:
    running, behind = pair
    behind.reply = says()
    answer = running.ask("GET", f"/proxy/cards/{CARD}/x?ssn={SSN}&plain=7")
    first, last = records_of(running, answer)
    assert first["path"] == "/proxy/cards/[CREDIT_CARD_REDACTED]/x?ssn=[SSN_REDACTED]&plain=7"
    assert first["payload"] is None
    assert last["type"] == "response"


def test_what_is_no_text_is_base64(pair: Pair) -> None:
    running, behind = pair
    behind.reply = says(b"\xfe" + CARD.encode() + b"\xff", "Content-Type: image/png")
    answer = running.ask(
        "PUT", "/proxy/x", b"\xff\x01" + CARD.encode(), {"Content-Type": "image/png"}
    )
    first, last = records_of(running, answer)
    assert first["payload_encoding"] == last["response_encoding"] == "base64"
    assert base64.b64decode(first["payload"]) == b"\xff\x01[CREDIT_CARD_REDACTED]"
    assert base64.b64decode(last["response"]) == b"\xfe[CREDIT_CARD_REDACTED]\xff"


@pytest.mark.parametrize(
    "planted",
    [
        "\r\n",
        "\n{",
        "\x1b[2J",
        "\N{LINE SEPARATOR}\N{PARAGRAPH SEPARATOR}\N{NEXT LINE}",
        '"}\n{"type":"forged"}\n',
        "\x00",
        "\x7f\x9b",
    ],
)
def test_nothing_that_is_sent_makes_a_line(planted: str, pair: Pair) -> None:
    """In payloads of every kind, and in the answer."""
    running, behind = pair
    before = len(running.records())
    behind.reply = says(planted.encode(), "Content-Type: text/plain")
    answers = [
        running.post(json.dumps({planted: planted})),
        running.post(json.dumps(planted, ensure_ascii=False).replace("\x7f", "\\u007f")),
        running.ask("PUT", "/proxy/x", planted, {"Content-Type": "text/plain"}),
    ]
    for answer in answers:
        kinds = [record["type"] for record in records_of(running, answer)]
        assert kinds == ["request", "response"]
    after = running.records()
    # Reading them was recorded too: one access for each.
    assert len(after) == before + 3 * len(answers)
    assert not any(record["type"] == "forged" for record in after)
    for path in running.logs.glob("*.jsonl"):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) == text.count("\n")
        assert "\x1b" not in text
        assert "\x00" not in text


@pytest.mark.parametrize(
    ("coding", "pack", "recorded"),
    [
        ("gzip", gzip.compress, "pay [CREDIT_CARD_REDACTED] now"),
        ("deflate", zlib.compress, "pay [CREDIT_CARD_REDACTED] now"),
        ("br", bytes, None),
        ("gzip", bytes, None),
    ],
    ids=["gzip", "deflate", "br", "not what it says"],
)
def test_coded_answer(
    coding: str, pack: Callable[[bytes], bytes], recorded: str | None, pair: Pair
) -> None:
    """Read for the record and passed as it is; what cannot be read is not kept."""
    running, behind = pair
    packed = pack(f"pay {CARD} now".encode())
    behind.reply = says(packed, f"Content-Encoding: {coding}", "Content-Type: text/plain")
    answer = running.post()
    assert answer.body == packed
    assert answer.header("Content-Encoding") == coding
    last = records_of(running, answer)[-1]
    assert last["response"] == recorded
    assert ("response_omitted" in last) == (recorded is None)
    assert last["response_bytes"] == len(packed)


def test_card_that_is_split_over_pieces_or_cut(pair: Pair) -> None:
    """Pieces of an answer, and the place where a record is cut, never leave half a value."""
    running, behind = pair
    for lead in range(8192 - 20, 8192 + 2, 3):
        text = "x" * (lead - 1) + " " + SPACED + " and more"
        pieces = [text[: lead + 6], text[lead + 6 : lead + 11], text[lead + 11 :]]

        def reply(connection: socket.socket, _: Seen, pieces: list[str] = pieces) -> bool:
            connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for piece in pieces:
                connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece.encode()))
            connection.sendall(b"0\r\n\r\n")
            return True

        behind.reply = reply
        answer = running.ask("PUT", "/proxy/x", text, {"Content-Type": "text/plain"})
        assert answer.body.decode() == text
        first, last = records_of(running, answer)
        for kept in (first["payload"], last["response"]):
            assert len(kept) <= 8192
            assert "5500" not in kept
            assert "0055" not in kept
            assert kept.startswith("x" * 8000)


def test_card_over_the_events_of_a_stream(pair: Pair) -> None:
    """It passes as it comes, is in no single event, and is found, counted and scrubbed."""
    running, behind = pair
    words = ["Your card is 41", "11 11", "11 1111", " 1111", "."]
    events = [
        b"data: %b\n\n" % json.dumps({"choices": [{"delta": {"content": word}}]}).encode()
        for word in words
    ]
    counted = running.metric('iatp_answer_findings_total{kind="credit_card"}')
    taken: list[bytes] = []

    def reply(connection: socket.socket, _: Seen) -> bool:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for event in events:
            for part in (event[:30], event[30:]):
                connection.sendall(b"%x\r\n%b\r\n" % (len(part), part))
            # The next follows once the caller has this one.
            while event[30:] not in b"".join(taken):
                time.sleep(0.002)
        connection.sendall(b"0\r\n\r\n")
        return True

    behind.reply = reply
    with Caller(running.port) as caller:
        caller.send(
            b"POST /proxy HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
            b"X-Agent-Trace-ID: events\r\n\r\n{}"
        )
        while not b"".join(taken).endswith(b"0\r\n\r\n"):
            taken.append(caller.socket.recv(65536))
    last = running.trace("events")[-1]
    assert last["findings"] == {"credit_card": 1}
    told = [json.loads(line[6:]) for line in last["response"].split("\n\n") if line]
    assert [event["choices"][0]["delta"]["content"] for event in told] == [
        "Your card is [CREDIT_CARD_REDACTED]",
        "",
        "",
        "",
        ".",
    ]
    assert running.metric('iatp_answer_findings_total{kind="credit_card"}') == counted + 1


def test_what_an_answer_holds_behind_the_kept_part_counts(pair: Pair) -> None:
    running, behind = pair
    text = "word " * 200_000 + CARD + " word" * 100_000
    behind.reply = says(text.encode(), "Content-Type: text/plain")
    answer = running.post()
    assert answer.body.decode() == text
    assert records_of(running, answer)[-1]["findings"] == {"credit_card": 1}


def test_trace_of_a_restarted_sidecar(tmp_path: Path) -> None:
    mine = {"X-Agent-Trace-ID": "mine"}
    with agent() as behind:
        for _ in range(2):
            with sidecar(tmp_path, behind.url, TRUSTED) as running:
                running.post(f'"{CARD}"', mine)
                assert running.stop() == 0
        with sidecar(tmp_path, behind.url, TRUSTED) as running:
            records = running.trace("mine")
    assert [record["type"] for record in records] == ["request", "response"] * 2
    assert {record["payload"] for record in records[::2]} == {"[CREDIT_CARD_REDACTED]"}
    assert len({record["boot_id"] for record in records}) == 2
