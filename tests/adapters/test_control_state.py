"""Tickets are used once over all processes; sessions come back as they were stored."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from iatp.adapters.control_state import ControlState, StateUnavailable
from iatp.values.errors import StartError
from iatp.values.exchange import Claim
from tests.adapters.recording import run_python, start_python
from tests.adapters.test_keys import answer_of, ready

MANIFEST = b'{"agent_id":"bank","trust_level":"unknown"}'
NOW = 1_764_000_000


@pytest.fixture
def state(tmp_path: Path) -> Iterator[ControlState]:
    made = ControlState(tmp_path / "control.sqlite")
    yield made
    made.close()


def claim(number: int = 0, *, ticket_id: str = "", trace_id: str = "t", at: int = NOW) -> Claim:
    return Claim(
        trace_id=trace_id,
        ticket_id=ticket_id,
        expires_s=at + 300,
        session_id=f"s{number}",
        warning="⚠️ WARNING:\n  • Low trust score (2/10)",
        trust_score=2,
        time_ns=at * 1_000_000_000 + 123_456_789,
    )


def test_a_session_has_the_protocols_shape(state: ControlState) -> None:
    grant = state.claim(claim(), MANIFEST)
    assert grant.granted
    assert grant.session_id == "s0"
    assert state.quarantine("t") == {
        "session_id": "s0",
        "trace_id": "t",
        "warning_message": "⚠️ WARNING:\n  • Low trust score (2/10)",
        "user_override": True,
        "timestamp": "2025-11-24T16:00:00.123456Z",
        "manifest": {"agent_id": "bank", "trust_level": "unknown"},
    }
    assert state.quarantine("other") is None


def test_the_latest_session_of_a_trace_is_shown(state: ControlState) -> None:
    for n in range(3):
        state.claim(claim(n), MANIFEST)
    found = state.quarantine("t")
    assert found
    assert found["session_id"] == "s2"


def test_a_ticket_is_used_once(state: ControlState) -> None:
    assert state.claim(claim(0, ticket_id="k"), MANIFEST).granted
    second = state.claim(claim(1, ticket_id="k", trace_id="u"), MANIFEST)
    assert not second.granted
    assert state.quarantine("u") is None
    assert state.claim(claim(2, ticket_id="l"), MANIFEST).granted


def test_all_is_there_after_a_restart(state: ControlState) -> None:
    state.claim(claim(0, ticket_id="k"), MANIFEST)
    state.close()
    again = ControlState(state.path)
    assert not again.claim(claim(1, ticket_id="k"), MANIFEST).granted
    assert again.quarantine("t")
    again.close()


def test_what_was_granted_survives_kill(tmp_path: Path) -> None:
    script = """
import os, sys
from iatp.adapters.control_state import ControlState
from tests.adapters.test_control_state import MANIFEST, claim
state = ControlState(sys.argv[1])
for n in range(50):
    assert state.claim(claim(n, ticket_id=f"k{n}"), MANIFEST).granted
os.kill(os.getpid(), 9)
"""
    assert run_python(script, tmp_path / "c").returncode == -9
    state = ControlState(tmp_path / "c")
    for n in range(50):
        assert not state.claim(claim(n, ticket_id=f"k{n}"), MANIFEST).granted
    state.close()


RACER = """
import sys
from iatp.adapters.control_state import ControlState
from tests.adapters.test_control_state import MANIFEST, claim
state = ControlState(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
won = [n for n in range(40) if state.claim(claim(n, ticket_id=f"k{n}"), MANIFEST).granted]
print(*won)
"""


def test_four_processes_race_for_each_ticket(tmp_path: Path) -> None:
    # They race for making the file as well.
    racers = [start_python(RACER, tmp_path / "c") for _ in range(4)]
    won = [int(n) for racer in ready(racers) for n in answer_of(racer).split()]
    assert sorted(won) == list(range(40))
    assert [racer.returncode for racer in racers] == [0] * 4


def test_threads_share_one_connection(state: ControlState) -> None:
    grants = []
    together = threading.Barrier(8)

    def race() -> None:
        together.wait()
        for n in range(10):
            grant = state.claim(claim(n, ticket_id=f"k{n}"), MANIFEST)
            grants.append(grant.granted)

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert grants.count(True) == 10
    assert len(grants) == 80


def test_a_forked_child_opens_its_own(tmp_path: Path) -> None:
    script = """
import os, sys
from iatp.adapters.control_state import ControlState
from tests.adapters.test_control_state import MANIFEST, claim
state = ControlState(sys.argv[1])
assert state.claim(claim(0, ticket_id="a"), MANIFEST).granted
inherited = state._connection
child = os.fork()
if child == 0:
    ok = not state.claim(claim(1, ticket_id="a"), MANIFEST).granted
    ok = ok and state.claim(claim(2, ticket_id="b"), MANIFEST).granted
    os._exit(0 if ok and state._connection is not inherited else 1)
assert os.waitpid(child, 0)[1] == 0
assert not state.claim(claim(3, ticket_id="b"), MANIFEST).granted
assert state.claim(claim(4, ticket_id="c"), MANIFEST).granted
"""
    done = run_python(script, tmp_path / "c")
    assert done.returncode == 0, done.stderr


def test_modes(state: ControlState) -> None:
    old = os.umask(0)
    try:
        state.claim(claim(), MANIFEST)
    finally:
        os.umask(old)
    files = list(state.path.parent.iterdir())
    assert len(files) == 3
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_prune_forgets_what_is_worthless(state: ControlState) -> None:
    state.claim(claim(0, ticket_id="old"), MANIFEST)
    state.claim(claim(1, ticket_id="new", at=NOW + 1000), MANIFEST)
    assert state.prune(NOW + 299) == 0
    assert state.prune(NOW + 301) == 1
    assert state.claim(claim(2, ticket_id="old"), MANIFEST).granted
    assert not state.claim(claim(3, ticket_id="new"), MANIFEST).granted


def test_prune_forgets_old_sessions_and_their_manifests(state: ControlState) -> None:
    state.claim(claim(0, trace_id="old"), b'{"agent_id":"old"}')
    state.claim(claim(1, trace_id="new", at=NOW + 1000), MANIFEST)
    assert state.prune(NOW + 600, max_age_s=500) == 1
    assert state.quarantine("old") is None
    assert state.quarantine("new")
    with state._connected() as connection:
        assert connection.execute("SELECT count(*) FROM manifests").fetchone() == (1,)


def test_prune_keeps_the_newest_sessions(state: ControlState) -> None:
    for n in range(10):
        state.claim(claim(n, trace_id=f"t{n}"), MANIFEST)
    assert state.prune(NOW, max_sessions=4) == 6
    assert [n for n in range(10) if state.quarantine(f"t{n}")] == [6, 7, 8, 9]
    assert state.prune(NOW, max_sessions=4) == 0


def test_nothing_is_made_before_it_is_needed(tmp_path: Path) -> None:
    script = """
import sys
from iatp.adapters.control_state import ControlState
state = ControlState(sys.argv[1])
state.check()
assert state.prune(0) == 0
assert "sqlite3" not in sys.modules
"""
    done = run_python(script, tmp_path / "c")
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())


# Damage.


@pytest.mark.parametrize("data", [b"garbage", b"x" * 8192, b"SQLite format 2\0" * 9])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "control.sqlite"
    path.write_bytes(data)
    state = ControlState(path)
    with pytest.raises(StartError, match=r"cannot be used \(it is not a database\); move the"):
        state.check()
    with pytest.raises(StateUnavailable, match=r"cannot be used .*; move the file away"):
        state.claim(claim(), MANIFEST)
    assert path.read_bytes() == data


def test_damage_inside_is_one_sentence_and_heals(state: ControlState) -> None:
    state.claim(claim(), MANIFEST)
    state.close()
    whole = state.path.read_bytes()
    state.path.write_bytes(whole[:100] + b"\xff" * (len(whole) - 100))
    state.check()
    for call in (
        lambda: state.claim(claim(), MANIFEST),
        lambda: state.quarantine("t"),
        lambda: state.prune(NOW),
    ):
        with pytest.raises(StateUnavailable, match=r"control state .* cannot be used"):
            call()
    state.path.unlink()
    assert state.claim(claim(), MANIFEST).granted


def test_a_whole_file_passes_the_check(state: ControlState) -> None:
    state.claim(claim(), MANIFEST)
    state.check()
    state.close()
    state.check()


def test_a_file_that_was_removed_is_made_anew(state: ControlState) -> None:
    state.claim(claim(0, ticket_id="k"), MANIFEST)
    for path in list(state.path.parent.iterdir()):
        path.unlink()
    assert state.claim(claim(1, ticket_id="k"), MANIFEST).granted
    assert state.path.exists()


def test_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "real").touch()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    state = ControlState(tmp_path / "link")
    with pytest.raises(StartError, match="not a regular file"):
        state.check()
    with pytest.raises(StateUnavailable, match="a link"):
        state.claim(claim(), MANIFEST)
    assert (tmp_path / "real").read_bytes() == b""


def test_a_newer_schema_is_refused(state: ControlState) -> None:
    state.claim(claim(), MANIFEST)
    with state._connected() as connection:
        connection.execute("PRAGMA user_version = 99")
    state.close()
    with pytest.raises(StateUnavailable, match="version 99"):
        state.claim(claim(), MANIFEST)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    state = ControlState(tmp_path / "none" / "c")
    state.check()
    with pytest.raises(StateUnavailable, match="No such file"):
        state.claim(claim(), MANIFEST)


def test_a_full_disk_grants_nothing_and_heals(tmp_path: Path) -> None:
    script = """
import resource, sys
from iatp.adapters.control_state import ControlState, StateUnavailable
from tests.adapters.test_control_state import MANIFEST, claim
state = ControlState(sys.argv[1])
assert state.claim(claim(0, ticket_id="a"), MANIFEST).granted
soft = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, soft[1]))
try:
    state.claim(claim(1, ticket_id="b"), MANIFEST)
except StateUnavailable as error:
    print(error)
resource.setrlimit(resource.RLIMIT_FSIZE, soft)
assert state.claim(claim(2, ticket_id="b"), MANIFEST).granted
assert not state.claim(claim(3, ticket_id="a"), MANIFEST).granted
"""
    done = run_python(script, tmp_path / "c")
    assert done.returncode == 0, done.stderr
    assert "cannot be used" in done.stdout


def test_the_answer_is_json(state: ControlState) -> None:
    state.claim(claim(), MANIFEST)
    assert msgspec.json.decode(msgspec.json.encode(state.quarantine("t")))["user_override"] is True


def test_the_cache_stays_small_on_every_connection(state: ControlState) -> None:
    for _ in range(2):
        # The second time the file has its tables.
        state.claim(claim(), MANIFEST)
        assert state._connection is not None
        assert state._connection.execute("PRAGMA cache_size").fetchone() == (-256,)
        state.close()
