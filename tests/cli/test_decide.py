"""`iatp decide`: what the gate would do, without a server."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.cli.programs import document, iatp

CARD = b'{"card":"4111 1111 1111 1111","note":"x"}'
TRUSTED = {"IATP_TRUST_LEVEL": "trusted"}


@pytest.mark.parametrize(
    ("env", "body", "verdict", "rule"),
    [
        (TRUSTED, b'{"a":1}', "allow", "trust_score"),
        (TRUSTED | {"IATP_RETENTION": "permanent"}, CARD, "block", "credit_card_retention"),
        (TRUSTED | {"IATP_RETENTION": "ephemeral"}, CARD, "allow", "trust_score"),
        (TRUSTED, b'{"ssn":"123-45-6789"}', "block", "ssn_retention"),
        ({"IATP_TRUST_LEVEL": "unknown"}, b'{"a":1}', "warn", "low_trust"),
        (TRUSTED, b"{", "refuse", "invalid_json"),
        (TRUSTED | {"IATP_MAX_BODY": "4B"}, b'{"a":1}', "refuse", "body_too_large"),
    ],
)
def test_verdicts(env: dict[str, str], body: bytes, verdict: str, rule: str) -> None:
    done = iatp("decide", "-", "--json", env=env, stdin=body)
    found = document(done)
    assert (found["verdict"], found["rule"]) == (verdict, rule)
    assert done.returncode == (0 if verdict == "allow" else 1)
    assert found["score_parts"]


def test_the_spans_are_places_in_the_file(tmp_path: Path) -> None:
    file = tmp_path / "body.json"
    file.write_bytes(CARD)
    found = document(iatp("decide", str(file), "--json", env=TRUSTED))
    (span,) = found["spans"]
    assert (span["kind"], span["part"]) == ("credit_card", "body")
    assert CARD[span["start"] : span["end"]] == b"4111 1111 1111 1111"
    assert found["findings"] == {"credit_card": 1}


def test_what_was_found_is_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "body.json"
    file.write_bytes(CARD)
    for more in ((), ("--json",)):
        done = iatp("decide", str(file), *more, env=TRUSTED | {"IATP_RETENTION": "forever"})
        assert "4111" not in done.stdout + done.stderr
        assert "credit_card" in done.stdout


def test_path_and_coding_count_too() -> None:
    found = document(
        iatp(
            *("decide", "-", "--json", "--target", "/proxy/pay?card=4111111111111111"),
            *("--content-encoding", "gzip"),
            env=TRUSTED,
            stdin=gzip.compress(CARD),
        )
    )
    assert {span["part"] for span in found["spans"]} == {"target", "body"}


def test_flags_configure_it() -> None:
    done = iatp("decide", "-", "--trust-level", "untrusted", stdin=b"{}")
    assert done.returncode == 1
    assert done.stdout.startswith("warn (449), rule low_trust\n")
    assert "Low trust score" in done.stdout


def test_a_policy_that_redacts_or_observes(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    rules = (
        '[[rules]]\nname = "masked"\nkinds = ["credit_card"]\naction = "redact"\n'
        '[[rules]]\nname = "rest"\naction = "allow"\n'
    )
    file.write_text(rules)
    done = iatp("decide", "-", "--policy", str(file), env=TRUSTED, stdin=CARD)
    assert done.returncode == 0
    assert done.stdout.splitlines()[:2] == [
        "allow, rule masked",
        "  the agent gets it with the values replaced",
    ]
    file.write_text('mode = "observe"')
    done = iatp("decide", "-", "--policy", str(file), "--retention", "forever", stdin=CARD)
    assert done.returncode == 0
    assert done.stdout.splitlines()[:2] == [
        "allow, rule observe",
        "  the policy only observes; it would block, rule credit_card_retention",
    ]


def test_wrong_configuration() -> None:
    done = iatp("decide", "-", stdin=b"{}", env={"IATP_PORT": "x"})
    assert (done.returncode, done.stdout) == (78, "")


def test_missing_file(tmp_path: Path) -> None:
    done = iatp("decide", str(tmp_path / "none"))
    assert done.returncode == 1
    assert "cannot be read: No such file" in done.stderr
