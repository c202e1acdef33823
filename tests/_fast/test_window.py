"""Places in windows that are read closely: what stands there is found at each place of a block."""

from __future__ import annotations

import json

import pytest

from tests._fast.test_scan import both, compiled
from tests.twins.scan import CARD, IBAN, JSON, SECRET, SSN, TEXT

BLOCK = 64
"""Code points that the masks of a window tell of at once."""

CLOSELY = "ssn 000-12-3456 api_key = x, ids 123456789 "
"""What has a text read closely and is nothing."""

FILLERS = ("x, ", "=(", "is: ", "9", " -u a", "\u00e9 ", "\n")

# What is found, or only looks like it, by each kind of place.
TEXTS: list[tuple[str, list[int]]] = [
    # Words and what stands between them and a value.
    (" password = Tr0ub4dor&3 ", [SECRET]),
    (" password: \u00a0Tr0ub4dor&3 ", [SECRET]),
    (" Password:\r\n        Tr0ub4dor&3 ", [SECRET]),
    (" the password is Tr0ub4dor&3 ", [SECRET]),
    (" name: DB_PASS\n value: Tr0ub4dor&3 ", [SECRET]),
    (" \u5bc6\u7801\uff1aTr0ub4dor&3 ", [SECRET]),
    (" contrase\u00f1a: Tr0ub4dor&3 ", [SECRET]),
    (" api_key=9f8a7b6c5d4e3f2a1b0c ", [SECRET]),
    (" password ====================== Tr0ub4dor&3 ", []),
    (" password (Tr0ub4dor&3) ", []),
    # The user of curl, of a URL.
    (" curl -u bob:s3cretPw1 ", [SECRET]),
    (" curl --proxy-user '" + "b" * 39 + ":s3cretPw1' ", [SECRET]),
    (" curl -x bob:s3cretPw1 ", []),
    (" https://bob:s3cretPw1@host ", [SECRET]),
    (" https://" + "b" * 39 + ":s3cretPw1@host ", [SECRET]),
    (" https://" + "b" * 41 + ":s3cretPw1@host ", []),
    (" https://host/bob:s3cretPw1@host ", []),
    # Keys of Azure, tokens with a prefix or a fixed part inside.
    (" ?sig=" + "aB3d" * 11 + "%3D ", [SECRET]),
    (" AccountKey=" + "aB3d" * 21 + "Aw== ", [SECRET]),
    (" Key=" + "aB3d" * 3 + " ", []),
    (" ghp_" + "a1B2" * 9 + " ", [SECRET]),
    (" 0123456789abcdef0123456789abcdef-us6 ", [SECRET]),
    (" 123456789:AA" + "bc-d" * 8 + "e ", [SECRET]),
    (" 550e8400-e29b-41d4-a716-446655440000 ", []),
    # Numbers.
    (" DE89 3704 0044 0532 0130 00 ", [IBAN]),
    (" XX89 3704 0044 0532 0130 00 ", []),
    (" 4111 1111 1111 1111 ", [CARD]),
    (", 4-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1 ", [CARD]),
    (" \u0664\u0661\u0661\u0661 1111 1111 1111 ", [CARD]),
    (" 4.111111111111111e15 ", [CARD]),
    (" 411.1e13 ", []),
    (" 123-45-6789 ", [SSN]),
    (" 2026-03-14 09:26:53.123 ", []),
]


@pytest.mark.parametrize("filler", FILLERS)
@pytest.mark.parametrize(("text", "kinds"), TEXTS)
def test_found_at_each_place_of_a_block(text: str, kinds: list[int], filler: str) -> None:
    for place in range(BLOCK + 1):
        before = CLOSELY + (filler * place)[:place]
        whole = before + text + CLOSELY
        for data, form in ((whole.encode(), TEXT), (json.dumps([whole]).encode(), JSON)):
            found = compiled(data, form)
            assert [span[0] for span in found.spans] == kinds, (place, data)
    both(data, JSON)


@pytest.mark.parametrize("escaped", ['"\n', "\u00e9", "\U0001f600" * 20, "\x01\\u0034"])
@pytest.mark.parametrize(
    ("text", "kind"), [(" 4111 1111 1111 1111", CARD), (" ssn 123456789", SSN)]
)
def test_found_far_into_a_dense_text(text: str, kind: int, escaped: str) -> None:
    """A dense text is read on without a look at each byte, whatever its escapes stand for."""
    for count in range(0, 300, 13):
        whole = (CLOSELY + escaped) * count + text + escaped * 40 + text
        data = json.dumps([whole]).encode()
        assert [span[0] for span in compiled(data, JSON).spans] == [kind, kind], count


@pytest.mark.parametrize(
    "gap", [": ", " is:\t", " " * 12 + "= ", "\u00a0" * 12 + ":" + "\u00a0" * 3, '": "']
)
@pytest.mark.parametrize("before", ["AKIAIOSFODNN7EXAMPLE", "ghp_" + "a1B2" * 9])
def test_found_at_any_distance_behind_another(before: str, gap: str) -> None:
    """What is read for one place goes far enough for what is marked soon behind it."""
    for count in range(1, 300):
        whole = " " + before + "," * count + "password" + gap + "Tr0ub4dor&3 "
        data = json.dumps([whole]).encode()
        assert [span[0] for span in compiled(data, JSON).spans] == [SECRET, SECRET], count
