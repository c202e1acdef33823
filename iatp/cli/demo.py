"""Show the sidecar at work: a real agent, three sidecars before it, and what they decide.

Everything runs on free ports of 127.0.0.1 and in a temporary folder that is removed at the
end. Exit status 1 where an outcome was not the expected one.
"""

from __future__ import annotations

import argparse
import http.client
import io
import json
import shlex
import shutil
import statistics
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from iatp.cli.records import show_records
from iatp.cli.rig import Sidecar, start_rig
from iatp.cli.screen import BOLD, CYAN, DIM, GREEN, RED, YELLOW, Screen, plain, print_json
from iatp.values.manifest import explain, load_manifest

_ROUNDS = 200
_DECISION_STYLES = {"allow": GREEN, "warn": YELLOW, "block": RED}

_SIDECARS = {
    "keeps-nothing": {
        "IATP_TRUST_LEVEL": "trusted",
        "IATP_REVERSIBILITY": "full",
        "IATP_RETENTION": "ephemeral",
    },
    "keeps-for-good": {
        "IATP_TRUST_LEVEL": "trusted",
        "IATP_REVERSIBILITY": "full",
        "IATP_RETENTION": "permanent",
    },
    "stranger": {
        "IATP_TRUST_LEVEL": "unknown",
        "IATP_REVERSIBILITY": "none",
        "IATP_RETENTION": "permanent",
        "IATP_HUMAN_IN_LOOP": "true",
    },
}
"""The same agent, promising different things: what each sidecar's manifest says."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One request, and what must come of it."""

    title: str
    sidecar: str
    text: str
    decision: str
    status: int
    confirms: bool = False
    """Repeats the step before with that one's trace ID and the user's confirmation."""
    hidden: tuple[str, ...] = ()
    """What must not stand in its trace."""


_MAIL = "ada@example.org"
_CARD = "4111 1111 1111 1111"  # the test number of every payment gateway

_STEPS = (
    Step(
        title="A clean request to a trusted agent passes; the trace keeps no address",
        sidecar="keeps-nothing",
        text=f"Please count this. Reply to {_MAIL}.",
        decision="allow",
        status=200,
        hidden=(_MAIL,),
    ),
    Step(
        title="A card number may go to an agent that stores nothing; the trace keeps none",
        sidecar="keeps-nothing",
        text=f"Book the trip with card {_CARD}.",
        decision="allow",
        status=200,
        hidden=(_CARD,),
    ),
    Step(
        title="The same card number may not go to an agent that stores for good",
        sidecar="keeps-for-good",
        text=f"Book the trip with card {_CARD}.",
        decision="block",
        status=403,
        hidden=(_CARD,),
    ),
    Step(
        title="An agent that promises little: the caller's user is warned",
        sidecar="stranger",
        text="Count these five words, please.",
        decision="warn",
        status=449,
    ),
    Step(
        title="The user confirms: the request passes, and is marked",
        sidecar="stranger",
        text="Count these five words, please.",
        decision="allow",
        status=200,
        confirms=True,
    ),
)


@dataclass
class Outcome:
    """What came of a step."""

    step: Step
    curl: str
    status: int
    decision: str
    trust_score: int
    score_parts: list[tuple[str, int]]
    trace_id: str
    answer: str
    quarantined: bool
    records: list[dict[str, Any]]
    problems: list[str] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Whether it stays."""
    parser.add_argument("--hold", action="store_true", help="leave everything running until Ctrl-C")


def run(arguments: argparse.Namespace) -> int:
    """Start everything, show every step, end everything."""
    screen = Screen(io.StringIO() if arguments.json else sys.stdout)
    began = time.monotonic()
    with start_rig(_SIDECARS) as rig:
        up_s = time.monotonic() - began
        screen.line(
            f"An agent on port {rig.agent_port} and {len(rig.sidecars)} sidecars before it, "
            f"up in {up_s:.1f} s."
        )
        outcomes: list[Outcome] = []
        for number, step in enumerate(_STEPS, 1):
            last_trace_id = outcomes[-1].trace_id if step.confirms else None
            outcomes.append(_take(step, rig.sidecars[step.sidecar], last_trace_id))
            _show_outcome(screen, number, outcomes[-1])
        problems = [problem for outcome in outcomes for problem in outcome.problems]
        problems += _check_arrivals(screen, rig.received())
        overhead = _measure(rig.agent_port, rig.sidecars["keeps-nothing"].port)
        _show_end(screen, overhead, problems)
        if arguments.json:
            print_json(_as_json(up_s, outcomes, overhead, problems))
            sys.stdout.flush()
        if arguments.hold:
            screen.line(f"\nRunning until Ctrl-C; logs and traces are in {rig.folder}")
            rig.hold()
    return 1 if problems else 0


def _take(step: Step, sidecar: Sidecar, last_trace_id: str | None) -> Outcome:
    """Send one step's request and collect all that came of it."""
    headers = {"Content-Type": "application/json"}
    if last_trace_id is not None:
        headers |= {"X-User-Override": "true", "X-Agent-Trace-ID": last_trace_id}
    body = json.dumps({"text": step.text})
    connection = http.client.HTTPConnection("127.0.0.1", sidecar.port, timeout=30)
    try:
        connection.request("POST", "/proxy", body, headers)
        answer = connection.getresponse()
        content = answer.read().decode("utf-8", "replace")
    finally:
        connection.close()
    trace_id = answer.getheader("X-Agent-Trace-ID", "")
    manifest = load_manifest(
        json.dumps(sidecar.get(sidecar.port, "/capabilities")).encode(), ours=False
    )
    outcome = Outcome(
        step=step,
        curl=_curl(sidecar.port, headers, body),
        status=answer.status,
        decision=answer.getheader("X-IATP-Decision", ""),
        trust_score=int(answer.getheader("X-Agent-Trust-Score", "-1")),
        score_parts=explain(manifest),
        trace_id=trace_id,
        answer=content,
        quarantined=answer.getheader("X-Agent-Quarantined") == "true",
        records=sidecar.get(sidecar.admin_port, f"/trace/{trace_id}")["logs"],
    )
    outcome.problems += _judge(outcome)
    return outcome


def _judge(outcome: Outcome) -> list[str]:
    """What was not as expected."""
    step = outcome.step
    problems = []
    if (outcome.status, outcome.decision) != (step.status, step.decision):
        problems.append(
            f"expected {step.status} {step.decision}, got {outcome.status} {outcome.decision}"
        )
    if outcome.quarantined != step.confirms:
        problems.append("the mark of a quarantined request is wrong")
    stored = json.dumps(outcome.records, ensure_ascii=False)
    problems += [f"the trace holds {text}" for text in step.hidden if text in stored]
    if not outcome.records:
        problems.append("no record was found")
    return [f"{step.title}: {problem}" for problem in problems]


def _curl(port: int, headers: dict[str, str], body: str) -> str:
    parts = ["curl", "-sS", "-i", f"http://127.0.0.1:{port}/proxy"]
    for name, value in headers.items():
        parts += ["-H", f"{name}: {value}"]
    return shlex.join([*parts, "-d", body])


def _check_arrivals(screen: Screen, received: int) -> list[str]:
    """Hold what the agent says against what was let through."""
    screen.line(
        f"\n{len(_STEPS)} requests were sent; asked directly, the agent says it got {received}."
    )
    expected = sum(step.decision == "allow" for step in _STEPS)
    return [] if received == expected else [f"the agent got {received} instead of {expected}"]


def _measure(agent_port: int, sidecar_port: int) -> dict[str, float]:
    """Milliseconds that the sidecar adds to a request, measured beside the agent alone."""
    body = json.dumps({"text": "How long does this take?"})
    direct = http.client.HTTPConnection("127.0.0.1", agent_port, timeout=30)
    through = http.client.HTTPConnection("127.0.0.1", sidecar_port, timeout=30)
    taken: dict[str, list[float]] = {"direct": [], "through": []}
    try:
        for _ in range(_ROUNDS):
            # In turns, so that whatever else the machine does falls on both.
            for name, connection, target in (
                ("direct", direct, "/"),
                ("through", through, "/proxy"),
            ):
                began = time.perf_counter()
                connection.request("POST", target, body, {"Content-Type": "application/json"})
                connection.getresponse().read()
                taken[name].append((time.perf_counter() - began) * 1000)
    finally:
        direct.close()
        through.close()
    medians = {name: statistics.median(times) for name, times in taken.items()}
    return {
        "requests": _ROUNDS,
        "agent_alone_ms": round(medians["direct"], 3),
        "through_sidecar_ms": round(medians["through"], 3),
        "added_ms": round(medians["through"] - medians["direct"], 3),
    }


def _show_outcome(screen: Screen, number: int, outcome: Outcome) -> None:
    screen.line(f"\n{screen.paint(f'{number}. {outcome.step.title}', BOLD)}")
    screen.line(f"{screen.paint('$', DIM)} {screen.paint(outcome.curl, CYAN)}")
    parts = " ".join(f"{points:+d} {part}," for part, points in outcome.score_parts).rstrip(",")
    style = _DECISION_STYLES.get(outcome.decision, RED)
    verdict = screen.paint(f"{outcome.status} {outcome.decision}", BOLD, style)
    mark = ", quarantined" if outcome.quarantined else ""
    screen.line(f"  {verdict}{mark}, trust score {outcome.trust_score}/10 ({plain(parts)})")
    screen.line(f"  {_shown_answer(outcome.answer)}")
    screen.line(f"  trace {outcome.trace_id}:")
    show_records(screen, outcome.records, indent=4)
    for problem in outcome.problems:
        screen.line(screen.paint(f"  NOT AS EXPECTED  {plain(problem)}", BOLD, RED))


def _shown_answer(answer: str) -> str:
    """The agent's answer, or the sidecar's sentence."""
    try:
        body = json.loads(answer)
        said = body.get("error") or body.get("message") or answer
    except (ValueError, AttributeError):
        said = answer
    return plain(str(said))


def _show_end(screen: Screen, overhead: dict[str, float], problems: list[str]) -> None:
    screen.line(
        f"The sidecar added {overhead['added_ms']:.2f} ms to a request (median of {_ROUNDS}, "
        f"one after another: {overhead['agent_alone_ms']:.2f} ms to the agent alone, "
        f"{overhead['through_sidecar_ms']:.2f} ms through the sidecar)."
    )
    screen.line("\nBefore your own agent, on port 8001, with its trace in ./iatp-logs:")
    screen.line(
        f"{screen.paint('$', DIM)} "
        + screen.paint(f"IATP_AGENT_URL=http://localhost:8000 {_program()}", CYAN)
    )
    for problem in problems:
        screen.line(screen.paint(f"NOT AS EXPECTED  {plain(problem)}", BOLD, RED))


def _program() -> str:
    """How the reader calls iatp-sidecar from where they are."""
    if shutil.which("iatp-sidecar"):
        return "iatp-sidecar"
    beside = Path(sys.executable).with_name("iatp-sidecar")
    if not beside.exists():
        return f"{shlex.quote(sys.executable)} -m iatp run"
    with suppress(ValueError):
        return shlex.quote(str(beside.relative_to(Path.cwd())))
    return shlex.quote(str(beside))


def _as_json(
    up_s: float, outcomes: list[Outcome], overhead: dict[str, float], problems: list[str]
) -> dict[str, Any]:
    return {
        "ready_s": round(up_s, 3),
        "outcomes": [
            {
                "title": outcome.step.title,
                "curl": outcome.curl,
                "status": outcome.status,
                "decision": outcome.decision,
                "quarantined": outcome.quarantined,
                "trust_score": outcome.trust_score,
                "score_parts": [
                    {"part": part, "points": points} for part, points in outcome.score_parts
                ],
                "trace_id": outcome.trace_id,
                "logs": outcome.records,
            }
            for outcome in outcomes
        ],
        "overhead": overhead,
        "problems": problems,
    }
