"""The labelled corpus: body number N is the same on every machine and never stored.

Each body has its own generator, seeded with its number. The first are the hand-written cases
of hard.py; half of the others hold no value at all, and all of them hold look-alikes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from random import Random

from benchmarks.detection import bodies, hard
from benchmarks.detection.bodies import FORM_TYPE, JSON_TYPE, Maker
from benchmarks.detection.marks import Body, Value, dump, lines, settle
from benchmarks.detection.prose import Prose
from benchmarks.detection.spellings import Speller

SEED = 20260314
WHOLE = 24_000
"""Bodies of the whole corpus."""
KINDS = {"credit_card": 30, "ssn": 15, "email": 20, "secret": 25, "iban": 10}
"""The share of each kind among what is planted."""
EMPTY = 0.55
"""Share of the bodies in which nothing is planted."""


def make(number: int, prose: Prose) -> Body:
    """Body `number`."""
    if number < len(hard.CASES):
        return hard.body(number)
    # A string is seeded by its SHA-512, a tuple by its hash, which differs between runs.
    rng = Random(f"iatp {SEED} {number}")
    prose.seed(rng)
    shape = rng.choices(list(bodies.SHAPES), list(bodies.SHAPES.values()))[0]
    values: list[Value] = []
    speller = Speller(rng, values, json_body=shape in bodies.JSON_SHAPES)
    fragments = [speller.lookalike() for _ in range(rng.randrange(1, 7))]
    if rng.random() >= EMPTY:
        for _ in range(rng.choice([1, 1, 1, 2, 2, 3])):
            kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
            fragments.insert(rng.randrange(len(fragments) + 1), speller.planted(kind))
    maker = Maker(rng, prose, fragments)
    if shape in bodies.JSON_SHAPES:
        tree = bodies.JSON_SHAPES[shape][0](maker)
        indent = rng.choice([None, None, None, 2])
        sent = dump(tree, indent=indent, wide=rng.random() < 0.7, tight=rng.random() < 0.5)
        return Body(
            number, shape, JSON_TYPE, settle(sent, values), settle("\n".join(lines(tree)), values)
        )
    if shape == "form":
        pairs = bodies.form(maker)
        read = "\n".join(f"{key}={value}" for key, value in pairs)
        sent = bodies.form_encoded(pairs)
        return Body(number, shape, FORM_TYPE, settle(sent, values), settle(read, values))
    if shape == "multipart":
        text, content_type = bodies.multipart(maker), "multipart/form-data"
    else:
        text, content_type = bodies.TEXT_SHAPES[shape][0](maker), "text/plain"
    same = settle(text, values)
    return Body(number, shape, content_type, same, same)


def corpus(count: int, prose: Prose, first: int = 0) -> Iterator[Body]:
    return (make(number, prose) for number in range(first, first + count))


class Digest:
    """SHA-256 of the bodies and labels seen, for comparing corpora of two machines."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, body: Body) -> None:
        self._hash.update(body.sent.data)
        for label in body.sent.labels:
            self._hash.update(f"{label.value.kind} {label.ranges}".encode())

    def text(self) -> str:
        """The first 16 hex digits."""
        return self._hash.hexdigest()[:16]
