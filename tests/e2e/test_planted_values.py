"""After every case of detection has run, no planted value is anywhere, in any spelling.

Three sidecars, of which one passes, one blocks and one warns, are sent every value in every
place, and answers that hold them. Then everything that a sidecar leaves is searched: its log
folder, temporary files, output, metrics and the answers that it made itself.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.agents import agent, says, sends
from tests.e2e.sidecars import KEEPS, STRANGER, TRUSTED, Answer, Caller, Sidecar, request, sidecar
from tests.e2e.test_detection import CARDS, PEM, SECRETS, SSNS, C
from tests.e2e.test_scrubbing import send_everywhere, send_what_breaks

NUMBERS = [
    C,
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "5500 0055 5555 5559",
    "378282246310005",
    "3782 822463 10005",
    "30569309025904",
    "4222222222222",
    "6304000000000000000",
]
SOCIAL = ["123-45-6789", "987-65-4321", "900-70-1234"]
IBANS = ["DE89370400440532013000", "GB82 WEST 1234 5698 7654 32", "FR1420041010050500013M02606"]
EMAILS = ["jane.roe@example.com", "o'brien+tag@mail.example.org"]
TOKENS = [value for value in SECRETS.values() if "\n" not in value]
PLANTED = [*NUMBERS, *SOCIAL, *IBANS, *EMAILS, *TOKENS]


def spellings(value: str) -> Iterator[str]:
    """How a value may be written, each long enough not to stand somewhere by chance."""
    plain = {value, value[::-1], *_separated(value)}
    for text in plain:
        yield text
        data = text.encode()
        yield data.hex()
        yield data.hex().upper()
        yield "".join(f"%{byte:02x}" for byte in data)
        yield "".join(f"%{byte:02X}" for byte in data)
        yield "".join(f"\\u{byte:04x}" for byte in data)
        yield "".join(f"\\u{byte:04X}" for byte in data)
        yield "".join(f"\\x{byte:02x}" for byte in data)
        yield "".join(f"&#{byte};" for byte in data)
        yield json.dumps(text)[1:-1]
        for before in range(3):
            # Without the ends, which depend on what stands beside it.
            whole = base64.b64encode(b"." * before + data)
            kept = whole[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
            yield kept.decode()
            yield kept.translate(bytes.maketrans(b"+/", b"-_")).decode()


def _separated(value: str) -> Iterator[str]:
    """The same digits or letters, apart in other ways."""
    if "@" in value or len(re.sub(r"[\W_]", "", value)) > 30:
        return
    groups = re.split(r"[ -]", value)
    for separator in ("", " ", "-", ".", "+", "%20", "\u2013", "\u00a0"):
        yield separator.join(groups)
        if groups == [value] and value.isdigit():
            yield separator.join(re.findall(".{1,4}", value))


def _send_cases(running: Sidecar) -> Iterator[Answer]:
    for body in (*CARDS.values(), *SSNS.values()):
        yield running.post(body.encode())
    for value in PLANTED:
        yield from send_everywhere(running, value)
    for text in (PEM, f"key:\n{PEM}\nend", json.dumps(PEM)):
        yield running.post(json.dumps({"note": text}))
        yield running.ask("PUT", "/proxy/x", text, {"Content-Type": "text/plain"})
    yield from send_what_breaks(running)


def _send_answers(running: Sidecar, behind: object) -> None:
    """Answers that hold each value, whole, streamed and broken."""
    for value in (*PLANTED, PEM):
        data = json.dumps({"back": [value, {"x": value}]}).encode()
        raw = json.dumps(value).encode()
        for reply in (
            says(data, "Content-Type: application/json"),
            says(value.encode(), "Content-Type: text/plain"),
            says(b"data: " + raw + b"\n\n", "Content-Type: text/event-stream"),
            says(base64.b64encode(b"see " + value.encode()), "Content-Type: text/plain"),
            sends(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 9999\r\n\r\n"
                + b"it is "
                + raw
            ),
        ):
            behind.reply = reply  # type: ignore[attr-defined]
            with Caller(running.port) as caller:
                caller.send(request(body="{}"))
                caller.socket.shutdown(1)
                caller.closes(5.0)


def _below(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes().decode("latin-1")


def _decoded(name: str, text: str) -> Iterator[tuple[str, str]]:
    """What stands in records once they are read, and what was kept in base64."""
    if ".jsonl" in name:
        for line in text.encode("latin-1").splitlines():
            record = json.loads(line)
            yield f"{name}, read", json.dumps(record, ensure_ascii=False)
            for field in ("payload", "response"):
                if record.get(f"{field}_encoding") == "base64":
                    yield f"{name}, base64", base64.b64decode(record[field]).decode("latin-1")


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_no_planted_value_is_anywhere(tmp_path: Path) -> None:
    kinds = {"passes": TRUSTED, "blocks": KEEPS, "warns": STRANGER}
    sinks: list[tuple[str, str]] = []
    for kind, settings in kinds.items():
        folder = tmp_path / kind
        temporary = folder / "tmp"
        temporary.mkdir(parents=True)
        variables = settings | {"IATP_LOG_LEVEL": "debug", "TMPDIR": str(temporary)}
        with agent() as behind, sidecar(folder, behind.url, variables) as running:
            answers = list(_send_cases(running))
            assert len(answers) > 500
            if kind == "passes":
                _send_answers(running, behind)
            for number, answer in enumerate(answers):
                if answer.header("X-IATP-Decision") != "allow":
                    whole = json.dumps(answer.headers) + answer.body.decode()
                    sinks.append((f"{kind}: answer {number}", whole))
            sinks.append((f"{kind}: metrics", running.admin("/metrics").body.decode()))
            assert running.stop() == 0
        sinks += [(f"{kind}: {name}", text) for name, text in _below(folder)]
    sinks += [each for name, text in sinks for each in _decoded(name, text)]
    everything = "\n".join(text for _, text in sinks)
    for kind in ("CREDIT_CARD", "SSN", "EMAIL", "SECRET", "IBAN"):
        assert f"[{kind}_REDACTED]" in everything
    found = [
        (name, spelled)
        for value in (*PLANTED, *PEM.splitlines()[1:-1])
        for spelled in {*spellings(value)}
        if spelled in everything
        for name, text in sinks
        if spelled in text
    ]
    assert found == []


def test_the_search_finds_what_it_looks_for() -> None:
    for value in PLANTED:
        for number, spelled in enumerate(spellings(value)):
            assert len(spelled) >= 9, (value, spelled)
            assert number < 400
    card = {*spellings("4111 1111 1111 1111")}
    assert {"4111111111111111", "4111-1111-1111-1111"} <= card
    for before in ("", "a", "ab", "abc"):
        written = base64.b64encode(f"{before}{C} and more".encode()).decode()
        assert any(spelled in written for spelled in spellings(C))
