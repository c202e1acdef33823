"""Numbers that are no card, by the million, and how often the scan takes one for a card."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Iterator
from random import Random

import msgspec

from benchmarks.detection import digits
from iatp._fast import scan
from iatp.values.exchange import SCANNED

CARD = SCANNED.index("credit_card")
MB = 10**6


class Count(msgspec.Struct, frozen=True):
    """Of one sort."""

    sort: str
    how_many: int
    """Numbers; for base64, hex and dumps bytes."""
    megabytes: float
    """What was scanned."""
    cards: int
    must_be_none: bool


@dataclasses.dataclass(frozen=True)
class Sort:
    name: str
    whole: int
    make: Callable[[Random, int], Iterator[tuple[bytes, int]]]
    """Bodies with that many numbers in all, and each body's form."""
    must_be_none: bool = True


def _numbers(
    one: Callable[[Random], str], *, bare: bool = True
) -> Callable[[Random, int], Iterator[tuple[bytes, int]]]:
    """Bodies of 10,000: as JSON numbers, as strings, as lines of a log, in turn."""

    def make(rng: Random, count: int) -> Iterator[tuple[bytes, int]]:
        for place, start in enumerate(range(0, count, 10_000)):
            found = [one(rng) for _ in range(min(10_000, count - start))]
            way = place % 3
            if way == 2:
                yield "".join(f"id={each} state=ok\n" for each in found).encode(), scan.TEXT
            elif way == 1 or not bare:
                rows = [{"id": each} for each in found]
                yield json.dumps(rows).encode(), scan.JSON
            else:
                yield f"[{','.join(found)}]".encode(), scan.JSON

    return make


def _embeddings(rng: Random, count: int) -> Iterator[tuple[bytes, int]]:
    """Vectors of 1,536 floats: every second as JSON, the others as a list in a text."""
    for place in range(count):
        values = digits.embedding(rng, 1536)
        if place % 2:
            yield f"embedding: [{', '.join(values)}]\n".encode(), scan.TEXT
        else:
            yield f'{{"embedding":[{",".join(values)}]}}'.encode(), scan.JSON


def _encoded(
    encode: Callable[[bytes], bytes],
) -> Callable[[Random, int], Iterator[tuple[bytes, int]]]:
    """Bodies of a megabyte: one JSON string, or lines of 76."""

    def make(rng: Random, count: int) -> Iterator[tuple[bytes, int]]:
        left, place = count, 0
        while left > 0:
            text = encode(rng.randbytes(750_000))[: min(left, MB)]
            left -= len(text)
            place += 1
            if place % 2:
                yield b'{"data":"' + text + b'"}', scan.JSON
            else:
                rows = (text[at : at + 76] for at in range(0, len(text), 76))
                yield b"\n".join(rows), scan.TEXT

    return make


def _dump(rng: Random, count: int) -> Iterator[tuple[bytes, int]]:
    """As xxd prints bytes: hex in groups of four with a space between."""
    for start in range(0, count, 1 << 16):
        data = rng.randbytes(min(1 << 16, count - start))
        rows = (
            f"{at:08x}: {data[at : at + 16].hex(' ', 2)}  ................\n"
            for at in range(0, len(data), 16)
        )
        yield "".join(rows).encode(), scan.TEXT


def _snowflake(epoch_ms: int, first_ms: int, last_ms: int) -> Callable[[Random], str]:
    return lambda rng: str(
        (rng.randrange(first_ms, last_ms) - epoch_ms) << 22 | rng.getrandbits(22)
    )


_X, _DISCORD = 1288834974657, 1420070400000
_2016, _2022, _2023, _2027 = 1451606400000, 1656633600000, 1672531200000, 1798761600000
_2020, _2030 = 1577836800, 1893456000

SORTS = (
    Sort("embeddings of 1,536 floats", 1000, _embeddings),
    Sort("base64", 100 * MB, _encoded(base64.b64encode)),
    Sort("base64url", 100 * MB, _encoded(base64.urlsafe_b64encode)),
    Sort("hex", 100 * MB, _encoded(lambda data: data.hex().encode())),
    Sort("UUIDs", MB, _numbers(digits.uuid, bare=False)),
    Sort("UUIDs without dashes", MB, _numbers(lambda rng: digits.hexes(rng, 32), bare=False)),
    Sort("ULIDs", MB, _numbers(digits.ulid, bare=False)),
    Sort("snowflakes of X, 2023 to 2026", MB, _numbers(_snowflake(_X, _2023, _2027))),
    Sort("snowflakes of Discord, 2023 to 2026", MB, _numbers(_snowflake(_DISCORD, _2023, _2027))),
    Sort(
        "times in ms, 2020 to 2029",
        MB,
        _numbers(lambda rng: str(rng.randrange(_2020 * 10**3, _2030 * 10**3))),
    ),
    Sort(
        "times in us, 2020 to 2029",
        MB,
        _numbers(lambda rng: str(rng.randrange(_2020 * 10**6, _2030 * 10**6))),
    ),
    Sort(
        "times in ns, 2020 to 2029",
        MB,
        _numbers(lambda rng: str(rng.randrange(_2020 * 10**9, _2030 * 10**9))),
    ),
    Sort("IMEIs", MB, _numbers(digits.imei, bare=False)),
    Sort("ICCIDs", MB, _numbers(digits.iccid)),
    Sort(
        "snowflakes of Discord, 2016 to 2022",
        MB,
        _numbers(_snowflake(_DISCORD, _2016, _2022)),
        must_be_none=False,
    ),
    Sort(
        "random numbers of 16 digits",
        MB,
        _numbers(lambda rng: str(rng.randrange(10**15, 10**16))),
        must_be_none=False,
    ),
    Sort("hex dumps (xxd)", 10 * MB, _dump, must_be_none=False),
)
"""Those that need not be none pass for cards by their digits alone (docs/detection.md, Limits)."""


def count(sort: Sort, share: float = 1.0) -> Count:
    """Scan that share of a sort; the same numbers each time."""
    rng = Random(f"iatp {sort.name}")
    wanted = max(1, int(sort.whole * share))
    size = cards = 0
    for data, form in sort.make(rng, wanted):
        size += len(data)
        found = scan.scan(data, form)
        assert found.error is None, found.error
        cards += scan.counts(found)[CARD]
    return Count(sort.name, wanted, size / MB, cards, sort.must_be_none)
