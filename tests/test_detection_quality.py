"""The corpus of benchmarks/detection: it is what it says, and a sample of it is judged.

The whole of it, with the peers, is `make detection`.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from benchmarks.detection import bodies, corpus, credentials, digits, ids, report, results, speed
from benchmarks.detection.__main__ import BEGIN, END, PAGE, scored
from benchmarks.detection.marks import Body, Label, Text, Value, bare, dump, mark, settle
from benchmarks.detection.prose import PlainProse
from benchmarks.detection.results import OURS, Results
from benchmarks.detection.score import Score
from benchmarks.detection.spellings import SPELLINGS, base64_of
from iatp.values.exchange import SCANNED

ROOT = Path(__file__).parent.parent
SAMPLE = 1500


@pytest.fixture(scope="module")
def sample() -> list[Body]:
    return list(corpus.corpus(SAMPLE, PlainProse()))


@pytest.fixture(scope="module")
def judged() -> Results:
    return scored(SAMPLE, with_peers=False)


def test_the_corpus_is_the_same_in_another_process(sample: list[Body]) -> None:
    digest = corpus.Digest()
    for body in sample:
        digest.add(body)
    program = (
        "from benchmarks.detection.__main__ import scored\n"
        f"print(scored({SAMPLE}, with_peers=False).digest)"
    )
    other = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout.strip() == digest.text()


def test_every_sort_of_body_and_every_spelling_is_there(sample: list[Body]) -> None:
    assert {body.sort for body in sample} == {*bodies.SHAPES, "hard case"}
    # What the sample is too small for is in the first bodies of the whole.
    more = [*sample, *corpus.corpus(3000, PlainProse(), first=SAMPLE)]
    values = [label.value for body in more for label in body.sent.labels]
    found = {(value.kind, value.spelling) for value in values if value.kind}
    assert found >= {(kind, spelling) for kind, table in SPELLINGS.items() for spelling in table}
    lookalikes = {value.sort for value in values if value.kind is None}
    assert lookalikes == {*digits.LOOKALIKES}
    assert len({value.sort for value in values if value.kind == "secret"}) > 80
    empty = [body for body in more if all(not label.value.kind for label in body.sent.labels)]
    assert len(empty) > len(more) / 2


def test_labels_stand_where_their_values_do(sample: list[Body]) -> None:
    checked = 0
    for body in sample:
        if body.content_type == bodies.JSON_TYPE:
            json.loads(body.sent.data)
        assert not re.search("[\ue000-\uf8ff]", body.sent.data.decode())
        for text in (body.sent, body.read):
            for label in text.labels:
                shown = b"".join(text.data[low:high] for low, high in label.ranges).decode()
                if label.value.spelling in ("split over array items", "JSON number"):
                    assert shown == label.value.text
                    checked += 1
                elif label.value.spelling == "hex":
                    spelled = bytes.fromhex(shown).decode()
                    assert re.sub("[ -]", "", spelled) == re.sub("[ -]", "", label.value.text)
                    checked += 1
    assert checked > 30


def test_planted_numbers_are_valid() -> None:
    rng = Random(1)
    for _ in range(300):
        _, number = digits.card(rng)
        total = 0
        for place, sign in enumerate(reversed(number)):
            total += sum(map(int, str(int(sign) * (1 + place % 2))))
        assert total % 10 == 0
        _, iban = digits.iban(rng)
        assert int("".join(str(int(sign, 36)) for sign in iban[4:] + iban[:4])) % 97 == 1
    assert digits.iban_of("DE", "370400440532013000") == "DE89370400440532013000"
    assert digits.luhn("37828224631000") == "378282246310005"
    assert digits.mod10_3("978030640615") == "9780306406157"


def test_secrets_have_the_shape_of_their_kind() -> None:
    rng = Random(2)
    assert len(credentials.SORTS) > 90
    made = {sort: credentials.secret(rng, sort) for sort in credentials.SORTS}
    assert all(made[sort].text not in ("", sort) for sort in made)
    token = made["GitHub token"].text
    assert re.fullmatch("ghp_[0-9A-Za-z]{36}", token)
    check = 0
    for sign in token[-6:]:
        check = check * 62 + credentials.ALPHABETS["w"].index(sign)
    assert check == binascii.crc32(token[4:-6].encode())
    assert re.fullmatch("AKIA[A-Z2-7]{16}", made["AWS access key"].text)
    head, claims, _ = made["JWT"].text.split(".")
    for part in (head, claims):
        json.loads(base64.urlsafe_b64decode(part + "=="))
    key = made["PEM"]
    assert re.fullmatch(
        r"-----BEGIN ([A-Z ]+)-----\n[\w+/=\n]+\n-----END \1-----\n",
        key.before + key.text + key.behind,
    )


def test_no_secret_stands_in_the_source() -> None:
    """A secret scanner of a code host would find those of these prefixes."""
    known = re.compile(
        r"AKIA[A-Z0-9]{16}|gh[pousr]_[0-9A-Za-z]{36}|xox[bp]-\d+-\d+|[sr]k_live_[0-9A-Za-z]{24}"
        r"|AIza[\w-]{35}|glpat-[\w-]{20}|BEGIN [A-Z ]*PRIVATE KEY-----\n"
    )
    for path in sorted((ROOT / "benchmarks" / "detection").glob("*.py")):
        assert not known.search(path.read_text()), path.name


def test_marks_survive_every_encoding() -> None:
    values = [Value("credit_card", "Visa", "plain", "4111"), Value(None, "number", "plain", "17")]
    inner = json.dumps({"é": mark(0, "4111")}, ensure_ascii=False)
    tree = {"a": inner, "n": bare(mark(1, "17")), "é": ["x"]}
    for wide in (True, False):
        text = settle(dump(tree, wide=wide), values)
        parsed = json.loads(text.data)
        assert parsed == {"a": '{"é": "4111"}', "n": 17, "é": ["x"]}
        card, number = text.labels
        assert text.data[card.start : card.end] == b"4111"
        assert text.data[number.start : number.end] == b"17"
    before, value, behind = base64_of(("name: ", "4111 1111", " é"))
    assert base64.b64decode(before + value + behind).decode() == "name: 4111 1111 é"
    low = len(before) * 3 // 4
    assert b"4111 1111" in base64.b64decode(before + value + behind)[low : low + 12]


def test_what_is_found_missed_and_wrong() -> None:
    split = Label(Value("credit_card", "Visa", "split", "41111111"), ((5, 9), (12, 16)))
    other = Label(Value(None, "order number", "plain", "4111111111111111"), ((30, 46),))
    text = Text(b"card 4111  1111 or ever and   4111111111111111 end", (split, other))
    body = Body(0, "chat", "text/plain", text, text)

    def tally(*spans: tuple[int, int], covers: bool = True) -> tuple[int, int, int, int]:
        score = Score(covers=covers)
        score.add(body, text, [("credit_card", *span) for span in spans])
        found = score.tallies["credit_card"]
        return found.found, found.missed, found.wrong, found.chance

    assert tally((5, 16)) == (1, 0, 0, 0)
    assert tally((5, 9), (12, 16)) == (1, 0, 0, 0)
    assert tally((5, 9)) == (0, 1, 0, 0)
    assert tally((5, 9), covers=False) == (1, 0, 0, 0)
    assert tally((6, 16)) == (0, 1, 0, 0)
    assert tally((30, 46)) == (0, 1, 1, 1)
    assert tally((30, 45)) == (0, 1, 1, 0)
    assert tally((0, 4), (16, 20)) == (0, 1, 2, 0)


def test_the_sample_is_judged(judged: Results) -> None:
    """Floors, not goals: `make detection ARGS=--check` holds the whole against those."""
    tallies = judged.systems[OURS]
    assert {
        kind: tally.found + tally.missed > 40 for kind, tally in tallies.items()
    } == dict.fromkeys(SCANNED, True)
    for kind in ("credit_card", "ssn"):
        tally = tallies[kind]
        assert (tally.precision_but_chance or 0) > 0.96, report.shown(judged, kind)
        encoded = {"percent", "entities", "base64", "hex", "base64 twice", "split over array items"}
        missed = {
            spelling
            for spelling, (found, planted) in tally.by_spelling.items()
            if found < planted and spelling != "hard case"
        }
        assert missed <= encoded, report.shown(judged, kind)


def skeleton(said: str) -> list[str]:
    """Heads and first columns of the tables."""
    rows = [line for line in said.splitlines() if line.startswith("|")]
    return [line if line.startswith(("| --", "| Kind")) else line.split("|")[1] for line in rows]


def test_the_page_has_the_layout_that_the_command_makes(judged: Results) -> None:
    kept = PAGE.read_text().partition(BEGIN)[2].partition(END)[0]
    assert skeleton(kept) == skeleton(report.markdown(judged))


def test_goals_fail_where_something_does_not_hold(judged: Results) -> None:
    def holds(name: str, tallies: results.Tally) -> bool:
        changed = {OURS: judged.systems[OURS] | {"ssn": tallies}}
        whole = Results(
            **{**{f: getattr(judged, f) for f in Results.__struct_fields__}, "systems": changed}
        )
        return {goal.says: goal.holds for goal in results.goals(whole)}[name]

    assert holds("recall of ssn", results.Tally(found=999, missed=1))
    assert not holds("recall of ssn", results.Tally(found=998, missed=2))
    assert holds("precision of ssn, chance apart", results.Tally(found=995, wrong=9, chance=4))
    assert not holds("precision of ssn, chance apart", results.Tally(found=995, wrong=9, chance=3))


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.detection", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_keeps_reads_shows_and_checks(tmp_path: Path) -> None:
    kept = str(tmp_path / "results.json")
    sized = ("--alone", "--bodies", "300", "--no-ids", "--no-speed")
    made = command(*sized, "--json", kept)
    assert made.returncode == 0, made.stderr
    again = command("--read", kept, "--show", "credit_card")
    assert again.stdout.startswith(made.stdout)
    assert re.search(r"^iatp: (missed|wrong) \d+: ", again.stdout[len(made.stdout) :], re.MULTILINE)
    whole = json.loads(Path(kept).read_text())
    for tally in whole["systems"]["iatp"].values():
        tally |= {"found": 1000, "missed": 0, "wrong": 0, "chance": 0}
    Path(kept).write_text(json.dumps(whole))
    assert command("--read", kept, "--check").returncode == 0
    whole["systems"]["iatp"]["ssn"]["missed"] = 2
    Path(kept).write_text(json.dumps(whole))
    failed = command("--read", kept, "--check")
    assert failed.returncode == 1
    assert "recall of ssn" in failed.stderr


def test_patterns_find_what_they_are_for(sample: list[Body]) -> None:
    """A speed of patterns that find nothing would say nothing."""
    for kind in SCANNED:
        found = speed.by_re([kind])
        values = [
            label.value
            for body in sample
            for label in body.sent.labels
            if label.value.kind == kind and label.value.spelling in ("plain", "dashed")
        ]
        texts = [each.text for each in values if each.sort not in credentials.OTHERS]
        if kind == "ssn":
            texts = [f"{text[:3]}-{text[3:5]}-{text[5:]}" for text in texts]
        hits = sum(bool(found(text.encode(), 0)) for text in texts)
        assert hits > 0.6 * len(texts) > 20, kind


def test_speeds_are_measured() -> None:
    found = speed.measure(["credit_card", "ssn"], rounds=1)
    assert [each.body for each in found] == list(speed.BODIES)
    assert all(rate > 0 for each in found for rate in each.megabytes_per_s.values())
    assert all({"iatp", "re", "msgspec"} <= each.megabytes_per_s.keys() for each in found)


@pytest.mark.parametrize("sort", ids.SORTS, ids=lambda sort: sort.name)
def test_numbers_that_are_no_card(sort: ids.Sort) -> None:
    found = ids.count(sort, share=0.004)
    assert found.megabytes > 0.05
    if sort.must_be_none:
        assert found.cards == 0
    else:
        assert found.cards < found.how_many / 20


@pytest.mark.proof
@pytest.mark.timeout(600)
def test_a_hundred_million_bytes_and_millions_of_numbers_are_no_card() -> None:
    found = [ids.count(sort) for sort in ids.SORTS]
    for each in found:
        print(f"{each.sort}: {each.how_many:,} in {each.megabytes:.1f} MB, {each.cards:,} cards")
    assert [each.sort for each in found if each.must_be_none and each.cards] == []
