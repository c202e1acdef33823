"""`iatp check`: every setting with its source, every problem at once, no secret shown."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from iatp.values.settings import SETTINGS
from tests.cli.programs import document, environment, iatp, on_terminal

EXAMPLES = Path(__file__).parent.parent.parent / "examples"


def test_defaults() -> None:
    done = iatp("check", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = document(done)
    assert found["valid"] is True
    assert [row["name"] for row in found["settings"]] == [setting.env for setting in SETTINGS]
    assert {row["source"] for row in found["settings"]} == {"default"}
    assert found["trust_score"] == 7
    assert any("IATP_OVERRIDE is header" in warning for warning in found["warnings"])


def test_where_each_value_came_from(tmp_path: Path) -> None:
    file = tmp_path / "iatp.toml"
    file.write_text('port = 8101\nretention = "ephemeral"\nlog_dir = "./records"\n')
    done = iatp(
        *("check", "--json", "--config", str(file), "--port", "8201"),
        env={
            "IATP_PORT": "8301",
            "IATP_LOG_DIR": "./elsewhere",
            "IATP_MANIFEST": str(EXAMPLES / "bank_manifest.json"),
        },
    )
    found = document(done)
    rows = {row["name"]: (row["value"], row["source"]) for row in found["settings"]}
    assert rows["IATP_PORT"] == ("8201", "--port")
    assert rows["IATP_LOG_DIR"] == ("./elsewhere", "IATP_LOG_DIR")
    assert rows["IATP_RETENTION"][0] == "ephemeral"
    assert str(file) in rows["IATP_RETENTION"][1]
    assert rows["IATP_TRUST_LEVEL"][0] == "trusted"
    assert "bank_manifest.json" in rows["IATP_TRUST_LEVEL"][1]
    assert rows["IATP_WORKERS"] == ("1", "default")
    assert found["agent_id"] == "secure-bank-agent"


SECRET = "correct-horse-battery-staple"


@pytest.mark.parametrize("as_json", [True, False])
def test_secrets_are_masked(as_json: bool, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(SECRET + "\n")
    file.chmod(0o600)
    done = iatp(
        "check",
        *(["--json"] if as_json else []),
        env={"IATP_ADMIN_TOKEN": SECRET, "IATP_OVERRIDE_TOKEN_FILE": str(file)},
    )
    assert done.returncode == 0
    assert SECRET not in done.stdout + done.stderr
    assert "***" in done.stdout


def test_all_problems_in_one_run() -> None:
    env = {
        "IATP_TRUST_LEVEL": '"trusted"',
        "IATP_RETENTION": "Permanent",
        "IATP_AGENT_ID": "bank\r",
        "IATP_PORT": "80801",
        "IATP_AGENT_URL": "localhost:8000",
        "IATP_OVERRIDE_TOKEN": "short",
    }
    done = iatp("check", env=env)
    assert (done.returncode, done.stdout) == (78, "")
    lines = done.stderr.splitlines()
    assert len(lines) == len(env)
    for name in env:
        assert any(line.startswith(f"iatp-sidecar: {name} ") for line in lines), name
    assert "\r" not in done.stderr
    assert "short;" not in done.stderr
    same = document(iatp("check", "--json", env=env))["problems"]
    assert [f"iatp-sidecar: {problem}" for problem in same] == lines


def test_an_agent_url_that_is_the_sidecar_itself() -> None:
    done = iatp("check", "--agent-url", "http://127.0.0.1:8001")
    assert done.returncode == 78
    assert "--agent-url is 'http://127.0.0.1:8001', which is the sidecar itself" in done.stderr


def test_plain_http_to_another_host_is_a_warning() -> None:
    done = iatp("check", "--agent-url", "http://agent.example:8000", "--json")
    assert done.returncode == 0
    assert any("plain HTTP to another host" in text for text in document(done)["warnings"])


def test_a_limit_that_does_not_fit_is_a_warning() -> None:
    done = iatp("check", "--max-connections", "1000000", "--json")
    assert done.returncode == 0
    assert any(
        text.startswith("IATP_MAX_CONNECTIONS is 1000000, but") or "open files" in text
        for text in document(done)["warnings"]
    )


def test_no_socket_is_opened_and_no_file_made(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "def hook(event, args):\n"
        "    if event in ('socket.bind', 'socket.connect', 'os.mkdir'):\n"
        "        raise SystemExit(f'{event} {args}')\n"
        "sys.addaudithook(hook)\n"
        "from iatp.cli.main import main\n"
        "sys.exit(main(['check']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert list(tmp_path.iterdir()) == []


def test_every_flag_is_in_the_help_with_its_variable() -> None:
    for name in ("check", "run", "decide"):
        words = " ".join(iatp(name, "--help").stdout.split())
        for setting in SETTINGS:
            assert f" {setting.flag} " in words, (name, setting.flag)
            assert f"({setting.env}; default:" in words, (name, setting.env)


def test_people_see_colours_on_a_terminal_only() -> None:
    assert "\x1b[1mIATP_PORT\x1b[0m" in on_terminal("check", "--port", "8101")
    assert "\x1b" not in on_terminal("check", "--port", "8101", env={"NO_COLOR": "1"})


def test_a_manifest_that_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "manifest.json"
    file.write_text(json.dumps({"identity": {"agent_id": "a"}, "trust_level": "best"}))
    done = iatp("check", "--manifest", str(file))
    assert done.returncode == 78
    assert "trust_level" in done.stderr
