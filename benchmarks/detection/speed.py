"""Megabytes a second of the scan, of Python's `re` and hyperscan with patterns for the same
kinds, and of msgspec decoding the same JSON.

The others do less: they look at the raw bytes (no escapes, no Unicode, no numbers by value),
and only `re` is followed by a Luhn check. Of each body the rounds alternate between all of
them, and the median counts.
"""

from __future__ import annotations

import importlib
import json
import re
import time
from collections.abc import Callable, Collection
from random import Random
from statistics import median
from typing import Any

import msgspec

from benchmarks.detection import bodies, credentials, digits, prose
from benchmarks.detection.bodies import Maker
from benchmarks.detection.digits import luhn
from benchmarks.detection.marks import dump, settle
from benchmarks.detection.spellings import Speller
from iatp._fast import scan

SYSTEMS = ("iatp", "re", "hyperscan", "msgspec")
ROUNDS = 7
LEAST_S = 0.02
"""Of one measurement; shorter ones are repeated until they take that long."""


Make = Callable[[], list[bytes]]


class Speed(msgspec.Struct, frozen=True):
    """Megabytes (10^6 bytes) a second of each system on one sort of body."""

    body: str
    megabytes_per_s: dict[str, float]


def _of_template(template: str) -> str:
    """A regular expression of a template of credentials.py."""
    parts = re.split(r"\{(.)(\d+)\}", template)
    found = ""
    for place in range(0, len(parts), 3):
        found += re.escape(parts[place])
        if place + 2 < len(parts):
            found += f"[{re.escape(credentials.ALPHABETS[parts[place + 1]])}]{{{parts[place + 2]}}}"
    return found


PATTERNS = {
    "credit_card": r"[0-9](?:[ ./_\t-]?[0-9]){12,18}",
    "ssn": r"[0-9]{3}[-. ][0-9]{2}[-. ][0-9]{4}",
    "email": r"[A-Za-z0-9._%+'-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+",
    "iban": r"[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?",
    "secret": "|".join(_of_template(each) for each in credentials.PREFIXED.values())
    + "|-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----|eyJ[A-Za-z0-9_-]{10,}[.]eyJ[A-Za-z0-9_-]{10,}",
}
"""What engineers write for these kinds."""

FOR_HYPERSCAN = PATTERNS | {"email": r"[A-Za-z0-9._%+'-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"}
"""The same, but that hyperscan cannot find where an address of bounded parts begins."""


def by_re(kinds: Collection[str]) -> Callable[[bytes, int], object]:
    patterns = {kind: re.compile(PATTERNS[kind].encode()) for kind in PATTERNS if kind in kinds}

    def run(data: bytes, _: int) -> int:
        found = 0
        for kind, pattern in patterns.items():
            for match in pattern.finditer(data):
                if kind == "credit_card":
                    number = re.sub(rb"[^0-9]", b"", match[0]).decode()
                    found += luhn(number[:-1]) == number
                else:
                    found += 1
        return found

    return run


def by_hyperscan(kinds: Collection[str]) -> Callable[[bytes, int], object] | None:
    """None where hyperscan is not installed or cannot be for this machine."""
    try:
        hyperscan: Any = importlib.import_module("hyperscan")
    except ImportError:
        return None
    chosen = [FOR_HYPERSCAN[kind].encode() for kind in PATTERNS if kind in kinds]
    database = hyperscan.Database()
    # Without the beginning of a match nothing could be replaced.
    flags = hyperscan.HS_FLAG_SOM_LEFTMOST | hyperscan.HS_FLAG_DOTALL
    database.compile(
        expressions=chosen,
        ids=list(range(len(chosen))),
        elements=len(chosen),
        flags=[flags] * len(chosen),
    )
    found: list[tuple[int, int, int]] = []

    def note(pattern: int, start: int, end: int, _flags: int, _context: object) -> None:
        found.append((pattern, start, end))

    def run(data: bytes, _: int) -> int:
        found.clear()
        database.scan(data, match_event_handler=note)
        return len(found)

    return run


def _text(size: int, *, english: bool = True) -> list[bytes]:
    """One JSON string of that size, without a value in it: English, or nine languages."""
    sentences = [each for each in prose.SENTENCES if each.isascii() or not english]
    rng = Random("iatp text")
    text = ""
    while len(text.encode()) < size:
        text += rng.choice(sentences) + " "
    cut = text.encode()[: size - 11].decode(errors="ignore")
    return [json.dumps({"text": cut}, ensure_ascii=False).encode()]


def _calls() -> list[bytes]:
    """500 tool calls with look-alikes in them."""
    source, found = prose.PlainProse(), []
    for number in range(500):
        rng = Random(f"iatp call {number}")
        source.seed(rng)
        speller = Speller(rng, [], json_body=True)
        maker = Maker(rng, source, [speller.lookalike() for _ in range(4)])
        found.append(settle(dump(bodies.tool_call(maker)), speller.values).data)
    return found


def _vectors() -> list[bytes]:
    rng = Random("iatp vectors")
    return [
        f'{{"embedding":[{",".join(digits.embedding(rng, 1536))}]}}'.encode() for _ in range(16)
    ]


def _made(size: int, part: Callable[[Maker], object], whole: Callable[[list[Any]], object]) -> Make:
    """One body of about that size, of parts without a value or a look-alike in them."""

    def make() -> list[bytes]:
        rng, source = Random("iatp parts"), prose.PlainProse()
        source.seed(rng)
        parts, made = [], 0
        while made < size:
            parts.append(part(Maker(rng, source, [])))
            made += len(json.dumps(parts[-1], ensure_ascii=False).encode())
        return [json.dumps(whole(parts), ensure_ascii=False).encode()]

    return make


def _tree(maker: Maker) -> Any:
    shape = maker.rng.choice([bodies.order, bodies.event, bodies.tool_result])
    return msgspec.json.decode(settle(dump(shape(maker)), []).data)


def _native_call(maker: Maker) -> object:
    name = maker.rng.choice(["create_order", "search", "send"])
    use = f"toolu_{digits.letters(maker.rng, digits.BASE32, 24)}"
    return {"type": "tool_use", "id": use, "name": name, "input": _tree(maker)}


def _call(maker: Maker) -> object:
    name = maker.rng.choice(["create_order", "search", "send"])
    arguments = json.dumps(_tree(maker))
    call = f"call_{digits.letters(maker.rng, digits.BASE32, 24)}"
    return {"id": call, "type": "function", "function": {"name": name, "arguments": arguments}}


def _row(maker: Maker) -> object:
    rng = maker.rng
    return [rng.randrange(10**6), maker.moment(), round(rng.random() * 100, 3), None, True]


def _message(role: str) -> Callable[[list[Any]], object]:
    return lambda parts: {"messages": [{"role": role, "content": parts}]}


def _chat(parts: list[Any]) -> object:
    return {"messages": [{"role": "user", "content": "\n".join(parts)}]}


def _layered() -> list[bytes]:
    """What is encoded in many ways at once, of which as much is undone as the bound allows."""
    pieces = ["\\\\", "%25", "&amp;", "\\u0034", "&#52;", "%34", "123456789", "4111", "a@b.co", " "]
    text = "".join(Random("iatp layers").choices(pieces, k=213_000))
    return [json.dumps([text]).encode()]


BODIES: dict[str, Make] = {
    "text, 10 KB": lambda: _text(10_000),
    "text, 100 KB": lambda: _text(100_000),
    "text, 1 MB": lambda: _text(1_000_000),
    "text of nine languages, 100 KB": lambda: _text(100_000, english=False),
    "tool calls full of look-alikes, 0.5 KB": _calls,
    "tool calls, 20 KB": _made(20_000, _native_call, _message("assistant")),
    "tool calls with JSON in strings, 20 KB": _made(
        20_000, _call, lambda parts: {"messages": [{"role": "assistant", "tool_calls": parts}]}
    ),
    "JSON in one string, 28 KB": _made(
        20_000, _tree, lambda parts: {"role": "tool", "content": json.dumps(parts)}
    ),
    "objects, 20 KB": _made(20_000, _tree, lambda parts: {"items": parts}),
    "rows, 20 KB": _made(20_000, _row, lambda parts: {"rows": parts}),
    "embeddings, 30 KB": _vectors,
    "source code, 20 KB": _made(20_000, bodies.code, _chat),
    "logs, 20 KB": _made(20_000, bodies.log, _chat),
    "everything in layers, 1 MB": _layered,
}


def measure(kinds: Collection[str], rounds: int = ROUNDS) -> list[Speed]:
    """Of each body, for patterns of these kinds."""
    systems: dict[str, Callable[[bytes, int], object] | None] = {
        "iatp": scan.scan,
        "re": by_re(kinds),
        "hyperscan": by_hyperscan(kinds),
        "msgspec": lambda data, _: msgspec.json.decode(data),
    }
    found = []
    for name, make in BODIES.items():
        chosen = make()
        times: dict[str, list[float]] = {system: [] for system in SYSTEMS}
        for _ in range(rounds):
            for system in SYSTEMS:
                if run := systems[system]:
                    times[system].append(_once(run, chosen))
        size = sum(map(len, chosen)) / 1e6
        rates = {system: size / median(each) for system, each in times.items() if each}
        found.append(Speed(name, rates))
    return found


def _once(run: Callable[[bytes, int], object], chosen: list[bytes]) -> float:
    """Seconds for one pass over the bodies."""
    passes, began = 0, time.perf_counter()
    while True:
        for data in chosen:
            run(data, scan.JSON)
        passes += 1
        took = time.perf_counter() - began
        if took >= LEAST_S:
            return took / passes
