"""`iatp log` and `iatp report`: on logs made from the page alone, and beside a running sidecar."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from iatp.adapters.encryption import LogKeys
from iatp.adapters.keeper import Keeper
from iatp.decisions.review import FIELDS, Review
from iatp.values.records import validate
from tests.cli.programs import document, environment, iatp
from tests.e2e.agents import agent
from tests.e2e.sidecars import KEEPS, sidecar, wait_until
from tests.logs import Log

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
LOG_KEY = bytes(range(32))
MIB = 1 << 20


@pytest.fixture
def log(tmp_path: Path) -> Log:
    """Two workers, five days, a segment a day; its public key beside it."""
    made = Log(tmp_path / "logs", key=KEY)
    for day in range(5):
        for worker in (0, 1):
            fill_day(made, worker, day)
        for worker in (0, 1):
            made.close(worker)
        made.tick(86_400)
    fill_day(made, 0, 5)
    made.mark(0)
    made.head()
    (tmp_path / "logs.signing.key.pub").write_bytes(
        KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    return made


def fill_day(made: Log, worker: int, day: int) -> None:
    common = {"peer": "10.0.0.1", "method": "POST", "path": "/proxy", "payload": {"n": day}}
    for number in range(10):
        made.tick(1)
        caller = f"caller-{number % 3}"
        made.append(
            worker,
            type="request",
            caller=caller,
            decision="allow",
            rule="trust_score",
            trust_score=8,
            findings={"email": 2} if number == 0 else {},
            **common,
        )
        made.append(worker, type="response", status_code=200, latency_ms=number + 0.5)
    made.append(
        worker,
        type="blocked",
        caller="caller-0",
        decision="block",
        rule="credit_card_retention",
        trust_score=3,
        findings={"credit_card": 1, "secret.jwt": 2, "secret.npm_token": 1},
        code="privacy",
        reason="=1+1 \u202e may not",
        **common,
    )
    made.append(
        worker,
        type="warning",
        caller="caller-1",
        decision="warn",
        rule="low_trust",
        trust_score=3,
        findings={},
        code="low_trust",
        warning="low",
        **common,
    )
    made.append(worker, type="user_override", warning="low", trust_score=3, session_id="s")
    made.append(
        worker,
        type="error",
        caller="caller-2",
        decision="refuse",
        error="Too many requests",
        code="rate_limited",
        status_code=429,
        count=4,
        **common,
    )


def run(*arguments: str, log: Log, **options: Any) -> subprocess.CompletedProcess[str]:
    return iatp(*arguments, "--log-dir", str(log.folder), **options)


def query(log: Log, *arguments: str) -> list[dict[str, Any]]:
    done = run("log", "query", *arguments, "--json", log=log)
    assert (done.returncode, done.stderr) == (0, "")
    return [json.loads(line) for line in done.stdout.splitlines()]


# Verification


def test_a_sound_log(log: Log) -> None:
    done = run("log", "verify", log=log)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "the log is sound"
    assert "logs.signing.key.pub" in done.stdout
    found = document(run("log", "verify", "--json", log=log))
    assert found["sound"]
    assert [chain["segments"] for chain in found["chains"]] == [6, 5]
    assert found["records"] == sum(len(made.lines) for made in log.made)


def test_the_first_bad_record_of_each_chain_is_named(log: Log) -> None:
    for worker, day, seq in ((0, 1, 7), (0, 3, 2), (1, 2, 4)):
        made = log.of(worker)[day]
        path = log.path(made)
        path.write_bytes(path.read_bytes().replace(made.lines[seq], b""))
    done = run("log", "verify", log=log)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert f"segment {log.of(0)[1].stem}, record 7: it is not the record" in lines[0]
    assert f"segment {log.of(1)[2].stem}, record 4: it is not the record" in lines[1]
    assert lines[2].strip().startswith(f"also  segment {log.of(0)[3].stem}, record 2")
    assert lines[-1] == "the log is not sound"


def test_another_key_is_not_believed(log: Log, tmp_path: Path) -> None:
    other = tmp_path / "other.pub"
    other.write_bytes(
        Ed25519PrivateKey.generate()
        .public_key()
        .public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    done = run("log", "verify", "--public-key", str(other), log=log)
    assert done.returncode == 1
    assert "which is not known" in done.stdout
    both = ("--public-key", str(other), "--public-key", f"{log.folder}.signing.key.pub")
    assert run("log", "verify", *both, log=log).returncode == 0
    other.write_text("nothing")
    done = run("log", "verify", "--public-key", str(other), log=log)
    assert (done.returncode, "holds no Ed25519 public key" in done.stderr) == (1, True)


def test_without_a_key_the_one_of_the_head_is_taken(log: Log) -> None:
    Path(f"{log.folder}.signing.key.pub").unlink()
    found = document(run("log", "verify", "--json", log=log))
    assert (found["sound"], found["key_source"]) == (True, "head.json")


def test_a_head_that_was_kept_shows_what_was_cut_off(log: Log, tmp_path: Path) -> None:
    done = run("log", "head", log=log)
    kept = tmp_path / "head"
    kept.write_text(done.stdout)
    assert json.loads(done.stdout)["head"]["chains"][0]["worker"] == 0
    last = log.of(1)[-1]
    for path in (*log.folder.glob(last.stem + ".*"), log.folder / "head.json"):
        path.unlink()
    found = document(run("log", "verify", "--json", "--head", str(kept), log=log))
    assert not found["sound"]
    assert found["chains"][1]["first_bad"]["segment"] == last.stem
    assert "the log has no head.json yet" in run("log", "head", log=log).stderr
    kept.write_text("{}")
    assert "not the head of a log" in run("log", "verify", "--head", str(kept), log=log).stderr


# Query


def test_filters(log: Log) -> None:
    assert len(query(log)) == sum(len(made.lines) for made in log.made)
    assert len(query(log, "--type", "blocked")) == 11
    assert len(query(log, "--type", "blocked", "--type", "warning")) == 22
    assert {record["caller"] for record in query(log, "--caller", "caller-1")} == {"caller-1"}
    assert len(query(log, "--finding", "email")) == 11
    assert len(query(log, "--finding", "email", "--finding", "credit_card")) == 22
    assert len(query(log, "--finding", "email", "--decision", "block")) == 0
    assert (
        len(query(log, "--finding", "secret")) == len(query(log, "--finding", "secret.jwt")) == 11
    )
    assert query(log, "--finding", "secret.pypi_token") == []
    assert "meant: secret.jwt" in run("log", "query", "--finding", "secret.jwtt", log=log).stderr
    assert len(query(log, "--status", "4xx")) == 11
    assert len(query(log, "--status", "429")) == len(query(log, "--code", "rate_limited")) == 11
    assert len(query(log, "--status", "2xx", "--limit", "3")) == 3
    assert query(log, "--agent", "other") == []
    (one,) = {record["trace_id"] for record in query(log, "--trace", "t-3")}
    assert one == "t-3"


def test_time_and_order(log: Log) -> None:
    found = query(log)
    stamps = [record["timestamp"] for record in found]
    assert stamps == sorted(stamps)
    assert {record["worker"] for record in found[:60]} == {0, 1}
    day = query(log, "--since", "2025-11-25", "--until", "2025-11-26T00:00:00+00:00")
    assert {record["timestamp"][:10] for record in day} == {"2025-11-25"}
    assert len(day) == 48
    assert query(log, "--since", "1h") == []
    done = run("log", "query", "--since", "yesterday", log=log)
    assert (done.returncode, "is not a time such as 2h" in done.stderr) == (2, True)


def test_what_lies_outside_is_not_opened(log: Log) -> None:
    for made in log.of(0)[:2]:
        log.path(made).write_bytes(b"no records\n")
    assert query(log, "--since", "2025-11-27", "--until", "2025-11-28")
    done = run("log", "query", "--since", "2025-11-24", log=log)
    assert (done.returncode, "2 lines are no records" in done.stderr) == (1, True)


def test_csv(log: Log) -> None:
    done = run("log", "query", "--csv", "--type", "blocked", "--limit", "2", log=log)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["findings"] for row in rows] == [
        "credit_card=1 secret.jwt=2 secret.npm_token=1"
    ] * 2
    assert rows[0]["said"] == "'=1+1 \\u202e may not", "no formula, nothing that reorders"
    assert rows[0]["caller"] == "caller-0"


def test_nothing_printed_speaks_to_a_terminal(log: Log) -> None:
    made = log.of(0)[0]
    log.path(made).write_bytes(
        b'{"type":"x","trace_id":"\\u001b[2J","caller":"\xc2\x9b2J\xe2\x80\xae","payload":"\x7f"}\n'
    )
    for form in ([], ["--json"], ["--csv"]):
        done = run("log", "query", "--type", "x", *form, log=log)
        assert "\\u009b2J\\u202e" in done.stdout or form == []
        assert not set(done.stdout) & {"\x1b", "\x9b", "\u202e", "\x7f"}, form


def test_for_people(log: Log) -> None:
    done = run("log", "query", "--type", "blocked", "--limit", "1", log=log)
    first = done.stdout.splitlines()[0]
    assert first.startswith("2025-11-24 16:00:")
    assert "POST /proxy, block (credit_card_retention), score 3/10, found 1 credit_card" in first
    log.append(
        1,
        type="error",
        decision="refuse",
        error="The body is not valid JSON.",
        code="invalid_json",
        status_code=400,
        detail="expected a value at byte 1",
    )
    done = run("log", "query", "--code", "invalid_json", log=log)
    assert "status 400, refuse (invalid_json), The body is not valid JSON, expected a value at" in (
        done.stdout
    )
    assert log.of(0)[0].lines[20].split(b'"trace_id":"')[1].split(b'"')[0].decode() in first


def test_following_over_rotation_and_all_workers(log: Log) -> None:
    asked = "log query -f --json --type followed --limit 40 --log-dir"
    process = subprocess.Popen(
        [sys.executable, "-m", "iatp", *asked.split(), str(log.folder)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        time.sleep(2.5)
        for number in range(20):
            for worker in (0, 1):
                log.append(worker, type="followed", n=number)
                if number % 5 == 4:
                    log.close(worker)
            time.sleep(0.02)
        assert process.stdout is not None
        found = [json.loads(process.stdout.readline()) for _ in range(40)]
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    for worker in (0, 1):
        assert [r["n"] for r in found if r["worker"] == worker] == list(range(20))


FOLLOWER = """
import os, signal, sys
# A shell has what it starts in the background ignore it.
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, "-m", "iatp", "log", "query", "-f", *sys.argv[1:]])
"""


def test_a_follower_ends_at_ctrl_c(log: Log) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", FOLLOWER, "--since", "2025-11-24", "--log-dir", str(log.folder)],
        env=environment(),
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        # It reads: before that the signal would end a Python that starts.
        assert process.stdout.readline()
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(10) == 130


# Report


@pytest.mark.parametrize("given", ["0", "65", "two"])
def test_how_many_read_a_report_has_bounds(log: Log, given: str) -> None:
    done = run("report", "--processes", given, log=log)
    assert done.returncode == 2
    assert f"--processes: '{given}' is not a number from 1 to 64" in done.stderr


@pytest.mark.parametrize("arguments", [("query", "--csv", "--json"), ("export", "-", "--json")])
def test_what_does_not_go_together_is_wrong_usage(log: Log, arguments: tuple[str, ...]) -> None:
    done = run("log", *arguments, log=log)
    assert done.returncode == 2
    assert done.stderr.startswith("iatp-sidecar: ")


def test_a_report(log: Log) -> None:
    done = run("report", "--since", "2025-11-24", "--json", log=log)
    assert (done.returncode, done.stderr) == (0, "")
    found = document(done)
    assert found["requests"] == {
        "all": 11 * (10 + 1 + 1 + 4),
        "forwarded": 110,
        "answered": 110,
        "blocked": 11,
        "warned": 11,
        "refused": 44,
        "failed": 0,
    }
    assert found["records"] == sum(len(made.lines) for made in log.made)
    assert found["trust_scores"] == {"3": 22, "8": 110}
    assert found["findings"]["email"]["2025-11-24"] == 4
    assert sum(found["findings"]["credit_card"].values()) == 11
    assert sum(found["findings"]["secret.jwt"].values()) == 22
    assert found["overrides"] == {"warned": 11, "confirmed": 11, "rate": 1.0}
    assert found["errors"]["by_code"] == [{"code": "rate_limited", "status": 429, "count": 44}]
    assert found["errors"]["rate"] == 0.25
    assert found["blocked"][0]["rule"] == "credit_card_retention"
    latency = found["latency_ms"]
    assert latency["count"] == 110
    for name, value in (("p50", 4.5), ("p90", 8.5), ("max", 9.5)):
        assert latency[name] == pytest.approx(value, rel=latency["error"])
    assert found["callers"][0] == {
        "caller": "caller-2",
        "requests": 77,
        "blocked": 0,
        "warned": 0,
        "errors": 44,
    }
    assert found["bytes"] == sum(len(made.text) for made in log.made)


def test_what_the_agent_never_saw_and_what_it_broke_are_requests_too(log: Log) -> None:
    before = document(run("report", "--since", "2025-11-24", "--json", log=log))
    common = {"caller": "caller-9", "peer": "10.0.0.1", "method": "POST", "path": "/proxy"}
    broken = common | {"type": "error", "decision": "error", "error": "…", "quarantined": False}
    for _ in range(3):
        log.append(0, code="agent_unreachable", status_code=502, **broken)
    log.append(0, type="request", decision="allow", rule="trust_score", trust_score=8, **common)
    log.append(0, code="agent_reset", status_code=502, **broken)
    log.append(0, code="answer_withheld", status_code=403, **broken | {"decision": "block"})
    log.append(0, code="caller_gone", status_code=499, **broken | {"decision": "refuse"})
    found = document(run("report", "--since", "2025-11-24", "--json", log=log))
    more = {"all": 6, "forwarded": 1, "refused": 2, "failed": 4}
    assert found["requests"] == {
        name: count + more.get(name, 0) for name, count in before["requests"].items()
    }
    (caller,) = (each for each in found["callers"] if each["caller"] == "caller-9")
    assert caller["errors"] == 6
    assert caller["requests"] == 4


def test_the_edges_of_its_time_are_exact(log: Log) -> None:
    middle = query(log, "--type", "response")[5]["timestamp"]
    for arguments in (("--since", middle), ("--since", "2025-11-24", "--until", middle)):
        expected = len(query(log, *arguments))
        found = document(run("report", *arguments, "--json", log=log))
        assert found["records"] == expected
        assert 0 < expected < sum(len(made.lines) for made in log.made)


def test_a_report_for_people(log: Log) -> None:
    done = run("report", "--since", "2025-11-24", "--processes", "2", log=log)
    assert done.returncode == 0
    assert "176 requests" in done.stdout
    outcomes = done.stdout.split("176 requests\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[:2] for line in outcomes] == [
        ["answered", "110"],
        ["blocked", "11"],
        ["warned", "11"],
        ["refused", "44"],
        ["failed", "0"],
    ]
    assert "█" in done.stdout
    assert "\u202e" not in done.stdout
    assert done.stdout.split("\nwarned\n")[1].split()[:2] == ["low_trust", "11"]
    # A column for all secrets, and each by its name.
    shown = done.stdout.split("sensitive data in requests")[1].split()
    assert shown[:3] == ["credit_card", "email", "secret"]
    at = shown.index("all")
    assert shown[at : at + 2] + shown[at + 3 : at + 4] == ["all", "11", "33"]
    assert shown[at + 4 : at + 8] == ["secret.jwt", "22", "secret.npm_token", "11"]
    plain = run("report", "--since", "2025-11-24", log=log, env={"PYTHONIOENCODING": "ascii"})
    assert "####" in plain.stdout


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("encrypts", [False, True])
def test_the_figures_are_the_same_however_it_is_read(
    log: Log, tmp_path: Path, compress: bool, encrypts: bool
) -> None:
    span = ("--since", "2025-11-24", "--until", "2025-12-24")
    expected = document(run("report", *span, "--json", "--processes", "1", log=log))
    key_file = tmp_path / "keys"
    key_file.write_text(LOG_KEY.hex())
    key_file.chmod(0o600)
    keys = LogKeys([LOG_KEY]) if encrypts else None
    keeper = Keeper(log.folder, compress=compress, compress_after_s=0, keys=keys)
    assert keeper.work() == 10
    suffix = ".jsonl" + ".zst" * compress + ".enc" * encrypts
    assert len([name for name in log.folder.iterdir() if name.name.endswith(suffix)]) >= 10
    for processes in ("1", "2", "3", "64"):
        options = ("--processes", processes, "--log-key-file", str(key_file))
        done = run("report", *span, "--json", *options, log=log)
        assert (done.returncode, done.stderr) == (0, "")
        assert document(done) == expected


def test_damage_is_said_by_segment_and_all_else_is_counted(log: Log) -> None:
    span = ("--since", "2025-11-24", "--until", "2025-12-24", "--json")
    whole = document(run("report", *span, log=log))
    Keeper(log.folder, compress=True, compress_after_s=0, keys=None).work()
    path = log.folder / f"{log.of(1)[2].stem}.jsonl.zst"
    data = bytearray(path.read_bytes())
    data[20] ^= 0xFF
    path.write_bytes(data)
    for processes in ("1", "2"):
        done = run("report", *span, "--processes", processes, log=log)
        assert done.returncode == 1
        assert (
            done.stderr
            == f"iatp: {path.name} is damaged in frame 0 (byte 0 of the compressed file)\n"
        )
        found = document(done)
        assert found["records"] == whole["records"] - len(log.of(1)[2].lines)


REPORT = """
import signal, sys
# A shell has what it starts in the background ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
from iatp.cli.main import main
print("begins", flush=True)
sys.exit(main(["report", *sys.argv[1:]]))
"""


def test_a_report_ends_at_ctrl_c_with_all_its_processes(log: Log) -> None:
    text = log.path(log.of(0)[0]).read_bytes()
    log.path(log.of(0)[0]).write_bytes(text * (64 * MIB // len(text)))
    for number in range(200):
        # Several seconds of work, and no room.
        made = (
            f"20251124T1600{number // 60:02d}.{number % 60:06d}Z-w7-1a2b3c4d-0-{number:06d}.jsonl"
        )
        (log.folder / made).hardlink_to(log.path(log.of(0)[0]))
    command = [sys.executable, "-c", REPORT, "--processes", "2"]
    with subprocess.Popen(
        [*command, "--since", "2025-11-24", "--log-dir", str(log.folder)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            assert process.stdout.readline() == "begins\n"
            wait_until(lambda: len(children(process.pid)) == 2, 20.0)
            time.sleep(0.2)
            # As a terminal does: to all of them.
            os.killpg(process.pid, signal.SIGINT)
            # Ends once none of them has it open any more.
            assert process.stderr.read() == ""
            assert process.stdout.read() == ""
            assert process.wait(10) == 130
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def children(pid: int) -> list[str]:
    done = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.split()


def test_lines_that_are_no_records_are_counted(log: Log) -> None:
    log.path(log.of(0)[0]).write_bytes(b"{}\nnothing\n")
    done = run("report", "--since", "2025-11-24", "--json", log=log)
    assert (done.returncode, document(done)["lines_lost"]) == (1, 2)


def test_a_report_of_callers_without_end_is_bounded(log: Log) -> None:
    review = Review()
    rest = b"\x1f" * (len(FIELDS) - 10)
    for number in range(100_000):
        review.add({b'"blocked"' + b"\x1f" * 9 + b'"%d"' % number + rest: 2 if number < 9 else 1})
    assert len(review.callers) <= 40_000
    assert review.callers_dropped
    assert review.requests() == 100_009
    assert {str(n) for n in range(9)} <= review.callers.keys()


# Export and import


def test_there_and_back(log: Log, tmp_path: Path) -> None:
    archive, new = tmp_path / "a.tar", tmp_path / "restored" / "logs"
    log.append(0, type="unsealed")
    done = run("log", "export", "--json", str(archive), log=log)
    assert (done.returncode, done.stderr) == (0, "")
    assert document(done)["segments"] == 11
    assert archive.stat().st_mode & 0o777 == 0o600
    done = iatp("log", "import", str(archive), "--log-dir", str(new), "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = document(done)
    assert found["verdict"]["sound"]
    assert found["restored"]["open_segments"] == 1
    for made in log.made:
        if made.closed:
            for suffix in (".jsonl", ".seal", ".index"):
                assert (new / (made.stem + suffix)).read_bytes() == log.path(
                    made, suffix
                ).read_bytes()
    opened = log.of(0)[-1]
    assert (new / f"{opened.stem}.open.jsonl").read_bytes() == b"".join(opened.lines[:-1])
    assert new.stat().st_mode & 0o777 == 0o700
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in new.iterdir())


def test_nothing_is_overwritten(log: Log, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    assert run("log", "export", str(archive), log=log).returncode == 0
    before = archive.read_bytes()
    again = run("log", "export", str(archive), log=log)
    assert (again.returncode, "is there already" in again.stderr) == (1, True)
    assert archive.read_bytes() == before
    done = iatp("log", "import", str(archive), "--log-dir", str(log.folder))
    assert (done.returncode, "it is there already" in done.stderr) == (1, True)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    assert iatp("log", "import", str(archive), "--log-dir", str(link)).returncode == 1
    assert not list(tmp_path.glob("*.importing")) + list(tmp_path.glob("*.part"))


def test_through_a_pipe(log: Log, tmp_path: Path) -> None:
    piped = subprocess.run(
        [sys.executable, "-m", "iatp", "log", "export", "-", "--log-dir", str(log.folder)],
        env=environment(),
        capture_output=True,
        check=True,
    )
    done = iatp("log", "import", "-", "--log-dir", str(tmp_path / "new"), stdin=piped.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    cut = iatp("log", "import", "-", "--log-dir", str(tmp_path / "cut"), stdin=piped.stdout[:9000])
    assert (cut.returncode, "nothing was restored" in cut.stderr) == (1, True)
    assert not (tmp_path / "cut").exists()


def test_an_excerpt(log: Log, tmp_path: Path) -> None:
    archive, new = tmp_path / "a.tar", tmp_path / "new"
    span = ("--since", "2025-11-26T00:00:00Z", "--until", "2025-11-27T23:00:00Z")
    assert run("log", "export", *span, str(archive), log=log).returncode == 0
    done = iatp("log", "import", str(archive), "--log-dir", str(new))
    assert (done.returncode, "an excerpt of a log" in done.stdout) == (0, True), done.stdout
    assert {path.name[:8] for path in new.glob("*.jsonl")} == {"20251126", "20251127"}
    assert iatp("log", "verify", "--log-dir", str(new)).returncode == 1
    assert iatp("log", "verify", "--excerpt", "--log-dir", str(new)).returncode == 0
    made = log.of(0)[2]
    (new / f"{made.stem}.jsonl").write_bytes(made.text.replace(b"caller-1", b"caller-7", 1))
    assert iatp("log", "verify", "--excerpt", "--log-dir", str(new)).returncode == 1


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


MANIFEST = (
    tarfile.TarInfo("iatp-export.json"),
    b'{"format":"iatp-export-1","timestamp":"2025-11-24T16:00:00.000000Z"}',
)


@pytest.mark.parametrize(
    "name",
    [
        "../x.jsonl",
        "/tmp/x",
        "a/head.json",
        "lock",
        "control.sqlite",
        "..",
        "x.jsonl",
        "head.json/",
    ],
)
def test_a_name_that_no_log_holds_is_refused(tmp_path: Path, name: str) -> None:
    archive = tar_of(tmp_path / "a.tar", MANIFEST, (tarfile.TarInfo(name), b"x"))
    done = iatp("log", "import", str(archive), "--log-dir", str(tmp_path / "in" / "new"))
    assert (done.returncode, "nothing was restored" in done.stderr) == (1, True)
    assert list((tmp_path / "in").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "in"]


def test_a_link_in_an_archive_is_refused(tmp_path: Path) -> None:
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE):
        link = tarfile.TarInfo("head.json")
        link.type, link.linkname = kind, "/etc/passwd"
        archive = tar_of(tmp_path / f"a{kind!r}.tar", MANIFEST, (link, b""))
        done = iatp("log", "import", str(archive), "--log-dir", str(tmp_path / "new"))
        assert (done.returncode, "which is no file" in done.stderr) == (1, True)
        assert not (tmp_path / "new").exists()


def test_no_archive_of_ours(tmp_path: Path) -> None:
    archive = tar_of(tmp_path / "a.tar", (tarfile.TarInfo("head.json"), b"{}"))
    done = iatp("log", "import", str(archive), "--log-dir", str(tmp_path / "new"))
    assert "was not made by iatp log export" in done.stderr
    twice = tar_of(
        tmp_path / "b.tar", MANIFEST, *[(tarfile.TarInfo("head.json"), b"{}") for _ in range(2)]
    )
    done = iatp("log", "import", str(twice), "--log-dir", str(tmp_path / "new"))
    assert "holds 'head.json' twice" in done.stderr


# With a real sidecar


@pytest.mark.slow
def test_beside_a_running_sidecar(tmp_path: Path) -> None:
    """Everything at once, over rotation each few records, compression and encryption."""
    keys = tmp_path / "log.keys"
    keys.write_text("ab" * 32 + "\n")
    keys.chmod(0o600)
    settings = {
        **KEEPS,
        "IATP_WORKERS": "2",
        "IATP_LOG_SEGMENT": "64KiB",
        "IATP_LOG_KEY_FILE": str(keys),
        "IATP_LOG_COMPRESS_AFTER": "0s",
    }
    with agent() as behind, sidecar(tmp_path, behind.url, settings) as running:
        folder = ["--log-dir", str(running.logs), "--log-key-file", str(keys)]
        body = json.dumps({"text": "x" * 3000})
        for _ in range(5):
            for _ in range(40):
                assert running.post(body).status == 200
            done = iatp("log", "verify", *folder, "--json", timeout=60)
            assert done.returncode == 0, done.stdout
        archive, new = tmp_path / "a.tar", tmp_path / "new"
        done = iatp("log", "export", str(archive), *folder)
        assert done.returncode == 0, done.stderr
        time.sleep(1.5)
        done = iatp("log", "query", "--type", "request", "--json", *folder)
        assert len(done.stdout.splitlines()) == 200
        for line in done.stdout.splitlines():
            record = validate(line.encode())
            assert record.trace_id
        found = document(iatp("report", "--json", *folder))
        assert found["requests"]["all"] == 200
        assert running.stop() == 0
    restore = ["log", "import", str(archive), "--log-dir", str(new), "--log-key-file", str(keys)]
    done = iatp(*restore)
    assert done.returncode == 0, done.stdout
    done = iatp("log", "verify", *folder, timeout=60)
    assert done.returncode == 0, done.stdout
