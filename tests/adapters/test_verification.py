"""Honest logs verify; any edit of one is found, and where it is."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from iatp.adapters.compression import SeekableWriter
from iatp.adapters.encryption import LogKeys
from iatp.adapters.log_folder import segment_of
from iatp.adapters.segments import SegmentError, open_segment
from iatp.adapters.verification import Problem, Verdict, verify
from tests.logs import Log, Made

KEYS = LogKeys([bytes(range(32))])
KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def checked(log: Log, *heads: bytes) -> Verdict:
    return verify(
        log.folder,
        public_keys=[log.public],
        heads=heads,
        log_keys=KEYS,
        patience_s=0,
    )


def random_log(folder: Path, choose: random.Random) -> Log:
    """An honest log: slots that come and go, crashes, rotation, sorting, retention, heads."""
    log = Log(folder, key=KEY)
    slots = choose.randint(1, 3)
    for _ in range(choose.randint(3, 14)):
        event = choose.random()
        worker = choose.randrange(slots)
        if event < 0.55:
            for _ in range(choose.randint(1, 6)):
                fill = choose.choice(("", "x" * choose.randrange(200), '\n"}\u00e4\u2028'))
                log.append(worker, payload=fill)
                log.tick(choose.random() * 30)
                if choose.random() < 0.4:
                    log.mark(worker)
        elif event < 0.75:
            if worker in log.open and log.open[worker].lines:
                log.close(worker)
        elif event < 0.83:
            for dead in list(log.open):
                if log.open[dead].lines:
                    log.crash(dead, choose.choice((b"", b'{"seq":9,"wor', b"\0\0\0")))
            slots = choose.randint(1, 3)
        elif event < 0.9:
            log.head()
        else:
            chain = [made for made in log.of(worker) if made.closed]
            removed = chain[: choose.randint(0, len(chain))]
            cut_short = choose.randint(0, len(removed)) if choose.random() < 0.3 else None
            log.retain(removed, interrupted_after=cut_short)
        for made in log.made:
            if made.closed and choose.random() < 0.2:
                log.sort_index(made)
    log.append(0)
    for worker in log.open:
        log.mark(worker)
    log.head()
    for worker in log.open:
        if choose.random() < 0.3:
            log.append(worker)
    return log


def check_honest(folder: Path, seed: int) -> None:
    log = random_log(folder / f"honest-{seed}", random.Random(seed))
    old = log.head()
    verdict = checked(log, old)
    assert verdict.sound, (seed, verdict.problems)
    assert verdict.records == sum(len(made.lines) for made in log.made)
    assert verdict.segments == len(log.made)
    for worker in list(log.open):
        log.append(worker)
        log.close(worker)
    verdict = checked(log, old)
    assert verdict.sound, (seed, verdict.problems)
    shutil.rmtree(log.folder)


@dataclass
class Place:
    """Where an edit must be found: in this segment, at this record unless None."""

    stem: str | None
    seq: int | None = None
    exactly: bool = True
    """The index is the one that was sealed, so that the very record is known."""


Edit = Callable[[Log, random.Random], Place | None]


def sealed_records(made: Made) -> int:
    return len(made.lines) if made.closed else made.marks[-1]["records"] if made.marks else 0


def some_made(log: Log, choose: random.Random, *, closed: bool | None = None) -> Made | None:
    """A segment with records that are sealed."""
    found = [m for m in log.made if sealed_records(m) and closed in (None, m.closed)]
    return choose.choice(found) if found else None


def rewrite(log: Log, made: Made, lines: list[bytes]) -> None:
    log.path(made).write_bytes(b"".join(lines))


def flip_in_records(log: Log, choose: random.Random) -> Place | None:
    made = some_made(log, choose)
    if made is None:
        return None
    seq = choose.randrange(sealed_records(made))
    lines = list(made.lines)
    line = bytearray(lines[seq])
    line[choose.randrange(len(line))] ^= choose.randint(1, 255)
    lines[seq] = bytes(line)
    rewrite(log, made, lines)
    return Place(made.stem, seq, made.closed)


def delete_line(log: Log, choose: random.Random) -> Place | None:
    made = some_made(log, choose)
    if made is None:
        return None
    seq = choose.randrange(sealed_records(made))
    rewrite(log, made, made.lines[:seq] + made.lines[seq + 1 :])
    return Place(made.stem, seq, made.closed)


def insert_line(log: Log, choose: random.Random) -> Place | None:
    made = some_made(log, choose)
    if made is None:
        return None
    seq = choose.randint(0, sealed_records(made) - (not made.closed))
    line = choose.choice((b"{}\n", b"\n", choose.choice(choose.choice(log.made).lines)))
    after = made.lines[seq : seq + 1]
    if after == [line]:
        # The first of two that are alike is the one that was there.
        return None
    rewrite(log, made, [*made.lines[:seq], line, *made.lines[seq:]])
    return Place(made.stem, seq, made.closed)


def swap_lines(log: Log, choose: random.Random) -> Place | None:
    made = some_made(log, choose)
    if made is None or sealed_records(made) < 2:
        return None
    first, second = sorted(choose.sample(range(sealed_records(made)), 2))
    lines = list(made.lines)
    lines[first], lines[second] = lines[second], lines[first]
    rewrite(log, made, lines)
    return Place(made.stem, first, made.closed)


def cut_line(log: Log, choose: random.Random) -> Place | None:
    made = some_made(log, choose)
    if made is None:
        return None
    seq = choose.randrange(sealed_records(made))
    line = made.lines[seq]
    start, end = sorted(choose.sample(range(len(line) + 1), 2))
    lines = list(made.lines)
    lines[seq] = line[:start] + line[end:]
    rewrite(log, made, lines)
    return Place(made.stem, seq, made.closed)


def splice_lines(log: Log, choose: random.Random) -> Place | None:
    made = some_made(log, choose)
    others = [other for other in log.made if other is not made and other.lines]
    if made is None or not others:
        return None
    other = choose.choice(others)
    seq = choose.randrange(sealed_records(made))
    rewrite(log, made, made.lines[:seq] + other.lines[:1] + made.lines[seq + 1 :])
    return Place(made.stem, seq, made.closed)


def exchange_records(log: Log, choose: random.Random) -> Place | None:
    found = [made for made in log.made if sealed_records(made)]
    if len(found) < 2:
        return None
    one, other = choose.sample(found, 2)
    rewrite(log, one, other.lines)
    rewrite(log, other, one.lines)
    return Place(one.stem, 0, one.closed)


def put_in_place_of_another(log: Log, choose: random.Random) -> Place | None:
    """A whole segment, with all that belongs to it, under another's name."""
    found = [made for made in log.made if made.closed]
    if len(found) < 2:
        return None
    one, other = choose.sample(found, 2)
    for suffix in (".jsonl", ".seal", ".index"):
        shutil.copy(log.path(one, suffix), log.path(other, suffix))
    return Place(other.stem)


def cut_end(log: Log, choose: random.Random) -> Place | None:
    made = some_made(log, choose)
    if made is None:
        return None
    seq = choose.randrange(sealed_records(made))
    before = sum(map(len, made.lines[:seq]))
    kept = before + choose.randrange(len(made.lines[seq]))
    log.path(made).write_bytes(made.text[:kept])
    return Place(made.stem, seq, made.closed)


def remove_records(log: Log, choose: random.Random) -> Place | None:
    made = some_made(log, choose)
    if made is None or made.stem in log.announced:
        # What retention was about to remove may go.
        return None
    log.path(made).unlink()
    return Place(made.stem, 0)


def remove_segment(log: Log, choose: random.Random) -> Place | None:
    made = some_made(log, choose)
    if made is None or made.stem in log.announced:
        # What retention was about to remove may go.
        return None
    for path in log.folder.glob(made.stem + ".*"):
        path.unlink()
    return Place(made.stem, 0)


def remove_seal(log: Log, choose: random.Random) -> Place | None:
    made = some_made(log, choose)
    if made is None:
        return None
    log.path(made, ".seal").unlink()
    return Place(made.stem)


def cut_seal(log: Log, choose: random.Random) -> Place | None:
    made = some_made(log, choose, closed=True)
    if made is None:
        return None
    path = log.path(made, ".seal")
    path.write_bytes(path.read_bytes()[: choose.randrange(path.stat().st_size)])
    return Place(made.stem)


def flip_in_seal(log: Log, choose: random.Random) -> Place | None:
    """Not in what nothing vouches for: the time of a mark, the name of a segment long removed."""
    made = some_made(log, choose)
    if made is None:
        return None
    path = log.path(made, ".seal")
    lines = path.read_bytes().splitlines(keepends=True)
    at = choose.randrange(len(lines))
    line = bytearray(lines[at])
    if 0 < at <= len(made.marks):
        stamp = line.index(b'"timestamp":"') + len(b'"timestamp":"')
        span = [i for i in range(len(line)) if not stamp <= i < stamp + 27]
        if not made.closed and at == len(lines) - 1:
            # Without its line end the newest mark looks like one that a crash tore.
            span.pop()
    else:
        span = list(range(len(line)))
        before = made.previous["segment"]
        if at == 0 and before and before not in {other.stem for other in log.made}:
            # Only the digest of what retention removed is vouched for as long as it is kept.
            name = line.index(before.encode())
            span = [i for i in span if not name <= i < name + len(before)]
    line[choose.choice(span)] ^= choose.randint(1, 255)
    lines[at] = bytes(line)
    path.write_bytes(b"".join(lines))
    return Place(made.stem)


def remove_index(log: Log, choose: random.Random) -> Place | None:
    made = some_made(log, choose)
    if made is None:
        return None
    log.path(made, ".index").unlink()
    return Place(made.stem)


def flip_in_index(log: Log, choose: random.Random) -> Place | None:
    made = some_made(log, choose)
    if made is None:
        return None
    path = log.path(made, ".index")
    data = bytearray(path.read_bytes())
    data[choose.randrange(len(data))] ^= choose.randint(1, 255)
    path.write_bytes(data)
    return Place(made.stem)


def exchange_indexes(log: Log, choose: random.Random) -> Place | None:
    found = [made for made in log.made if sealed_records(made)]
    if len(found) < 2:
        return None
    one, other = choose.sample(found, 2)
    first, second = (log.path(made, ".index") for made in (one, other))
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)
    return Place(one.stem)


def flip_in_head(log: Log, choose: random.Random) -> Place | None:
    path = log.folder / "head.json"
    data = bytearray(path.read_bytes())
    # Its line end may be any white space.
    data[choose.randrange(len(data) - 1)] ^= choose.randint(1, 255)
    path.write_bytes(data)
    return Place(None)


def open_again(log: Log, choose: random.Random) -> Place | None:
    """The end of a segment cut off, so that it looks like one that is still being written."""
    made = some_made(log, choose, closed=True)
    if made is None or len(made.marks) < 2 or made.marks[-1]["records"] == made.marks[0]["records"]:
        return None
    mark = made.marks[0]
    kept = made.text[: mark["bytes"]]
    log.path(made).unlink()
    log.path(made, ".open.jsonl").write_bytes(kept)
    lines = log.path(made, ".seal").read_bytes().splitlines(keepends=True)
    log.path(made, ".seal").write_bytes(b"".join(lines[:2]))
    index = log.path(made, ".index")
    index.write_bytes(index.read_bytes()[: 64 + 24 * mark["records"]])
    return Place(made.stem)


EDITS: tuple[Edit, ...] = (
    flip_in_records,
    delete_line,
    insert_line,
    swap_lines,
    cut_line,
    splice_lines,
    exchange_records,
    put_in_place_of_another,
    cut_end,
    remove_records,
    remove_segment,
    remove_seal,
    cut_seal,
    flip_in_seal,
    remove_index,
    flip_in_index,
    exchange_indexes,
    flip_in_head,
    open_again,
)


def names(problem: Problem, place: Place) -> bool:
    if place.stem is not None and place.seq is None and place.stem in problem.why:
        # The name of the segment before it was changed, and now another one seems to be gone.
        return True
    if problem.segment != place.stem:
        return False
    if place.seq is None:
        return True
    if problem.seq is None:
        return False
    last = problem.seq if problem.last_seq is None else problem.last_seq
    if place.exactly:
        return problem.seq == place.seq == last
    return problem.seq <= place.seq <= last


def check_edit(folder: Path, edit: Edit, seed: int) -> bool:
    """Edit a log; false where it had nothing to edit."""
    choose = random.Random(seed)
    log = random_log(folder / f"{edit.__name__}-{seed}", choose)
    place = edit(log, choose)
    if place is not None:
        verdict = checked(log)
        assert not verdict.sound, (edit.__name__, seed, place)
        assert any(names(p, place) for p in verdict.problems), (seed, place, verdict.problems)
    shutil.rmtree(log.folder)
    return place is not None


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_an_edit_is_found_and_where(tmp_path: Path, edit: Edit) -> None:
    assert sum(check_edit(tmp_path, edit, seed) for seed in range(25)) >= 5


def test_an_honest_log_is_sound(tmp_path: Path) -> None:
    for seed in range(200):
        check_honest(tmp_path, seed)


@pytest.mark.proof
@pytest.mark.timeout(1800)
def test_many_honest_logs_are_sound(tmp_path: Path) -> None:
    for seed in range(1_000, 11_000):
        check_honest(tmp_path, seed)


@pytest.mark.proof
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.__name__)
def test_many_edits_are_found(tmp_path: Path, edit: Edit) -> None:
    for seed in range(1_000, 2_000):
        check_edit(tmp_path, edit, seed)


FORMS = (".jsonl.zst", ".jsonl.enc", ".jsonl.zst.enc")


def store(log: Log, made: Made, suffix: str) -> Path:
    """Keep a closed segment in another form, in pieces so small that some records span two."""
    data = made.text
    if ".zst" in suffix:
        writer = SeekableWriter()
        data = b"".join(writer.frame(data[at : at + 300]) for at in range(0, len(data), 300))
        data += writer.end()
    if suffix.endswith(".enc"):
        blocks = KEYS.writer(made.stem)
        pieces = [data[at : at + 500] for at in range(0, len(data), 500)]
        data = blocks.header()
        for number, piece in enumerate(pieces, 1):
            data += b"".join(blocks.block([piece], last=number == len(pieces)))
            blocks.written()
    path = log.path(made, suffix)
    path.write_bytes(data)
    log.path(made).unlink()
    return path


def check_stored(folder: Path, seed: int) -> bool:
    """Every form verifies; a byte that is changed in one is found, or changes nothing."""
    choose = random.Random(seed)
    log = random_log(folder / f"stored-{seed}", choose)
    stored = {
        made.stem: (made, store(log, made, choose.choice(FORMS)))
        for made in log.made
        if made.closed and choose.random() < 0.8
    }
    verdict = checked(log)
    assert verdict.sound, (seed, verdict.problems)
    if stored:
        made, path = choose.choice(list(stored.values()))
        data = bytearray(path.read_bytes())
        data[choose.randrange(len(data))] ^= choose.randint(1, 255)
        path.write_bytes(data)
        verdict = checked(log)
        reads, readable = text_before_damage(log.folder, path)
        if reads != made.text or ".zst" not in path.name:
            assert not verdict.sound, (seed, path)
            # With a retention record that cannot be read what it vouched for is missed, too.
            problem = next(found for found in verdict.problems if found.segment == made.stem)
            ends = 0
            seq = 0
            while (ends := ends + len(made.lines[seq])) <= readable:
                seq += 1
            assert problem.seq == seq, (seed, problem)
    shutil.rmtree(log.folder)
    return bool(stored)


def text_before_damage(folder: Path, path: Path) -> tuple[bytes, int]:
    """What can be read byte by byte, and how much that is."""
    segment = segment_of(path.name)
    assert segment is not None
    data = b""
    try:
        text = open_segment(folder, segment, KEYS)
        assert text is not None
        with text:
            while piece := text.read(len(data), 1):
                data += piece
    except SegmentError:
        pass
    return data, len(data)


def test_a_change_to_a_stored_form_is_found(tmp_path: Path) -> None:
    assert sum(check_stored(tmp_path, seed) for seed in range(60)) >= 20


@pytest.mark.proof
@pytest.mark.timeout(1800)
def test_many_changes_to_stored_forms_are_found(tmp_path: Path) -> None:
    for seed in range(1_000, 4_000):
        check_stored(tmp_path, seed)
