"""`iatp verify`: a manifest file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.programs import document, iatp, on_terminal

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def test_a_good_manifest() -> None:
    done = iatp("verify", str(EXAMPLES / "bank_manifest.json"), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = document(done)
    assert found["valid"] is True
    assert found["errors"] == []
    assert found["agent_id"] == "secure-bank-agent"
    assert found["trust_score"] == 10
    assert all(set(part) == {"part", "points"} for part in found["score_parts"])


def test_a_valid_manifest_of_an_untrusted_agent_is_valid() -> None:
    done = iatp("verify", str(EXAMPLES / "untrusted_manifest.json"))
    assert done.returncode == 0
    assert "untrusted_manifest.json is a valid manifest of untrusted-agent" in done.stdout
    assert "trust score 0/10" in done.stdout


def test_all_errors_at_once_with_their_paths(tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    file.write_text(
        json.dumps(
            {
                "identity": {"agent_id": "a"},
                "trust_level": "Trusted",
                "capabilities": {"concurrency_limit": 0},
                "privacy": {"retention_policy": "sometimes"},
                "colour": "blue",
            }
        )
    )
    done = iatp("verify", str(file), "--json")
    assert done.returncode == 1
    found = document(done)
    assert found["valid"] is False
    said = "\n".join(found["errors"])
    for path in ("trust_level", "concurrency_limit", "retention_policy", "colour"):
        assert path in said
    assert "trust_score" not in found


def test_standard_input() -> None:
    done = iatp("verify", "-", stdin=(EXAMPLES / "bank_manifest.json").read_bytes())
    assert done.returncode == 0


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff", b"null", b"[" * 100_000])
def test_what_is_not_a_manifest(data: bytes) -> None:
    done = iatp("verify", "-", stdin=data)
    assert (done.returncode, done.stderr) == (1, "")
    assert "- is not a valid manifest" in done.stdout


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for name in (tmp_path / "none.json", tmp_path):
        done = iatp("verify", str(name))
        assert done.returncode == 1
        assert done.stderr.startswith(f"iatp-sidecar: {name} cannot be read: ")


def test_a_file_that_is_too_long(tmp_path: Path) -> None:
    file = tmp_path / "long.json"
    file.write_bytes(b" " * ((1 << 20) + 1))
    assert iatp("verify", str(file)).stderr.endswith("is longer than 1024 KiB\n")


def test_no_argument_is_wrong_usage() -> None:
    assert iatp("verify").returncode == 2


def test_colours_on_a_terminal() -> None:
    file = str(EXAMPLES / "bank_manifest.json")
    assert "\x1b[1;32m10/10\x1b[0m" in on_terminal("verify", file)
    assert "\x1b" not in on_terminal("verify", file, env={"NO_COLOR": "1"})
    assert "\x1b" not in iatp("verify", file).stdout
