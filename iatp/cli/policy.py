"""Try a policy on recorded traffic before it is switched on.

`iatp policy test FILE < bodies.jsonl` says what the policy in FILE would decide on each line of
standard input: a body, or a record of the flight recorder, which is judged by what was found in
it then. Settings say what the agent is, as for every command. Bodies are read as the request
that --method, --target and --content-type describe. `iatp policy default` prints the default
policy, which is also its documentation.

Exit status 0 where every line would be forwarded, 1 where one would not, 78 where the policy or
another setting is wrong.
"""

from __future__ import annotations

import argparse
import collections
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from iatp._fast.gate import Gate
from iatp.adapters.configuration import add_flags, given_flags, load
from iatp.cli.decide import STYLES, gate_policy
from iatp.cli.screen import BOLD, Screen, plain
from iatp.decisions.policy import Decision, GatePolicy, closed, decide
from iatp.values.errors import UsageError
from iatp.values.exchange import Request
from iatp.values.policy import DEFAULT_FILE, Action, Mode
from iatp.values.records import envelope

PROGRESS_S = 0.2
SECRET = "secret"  # noqa: S105
"""What records of earlier versions call any secret."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, the file, how bodies were sent, and every setting."""
    parser.add_argument("task", choices=("test", "default"), help="what to do")
    parser.add_argument("file", metavar="FILE", nargs="?", help="the policy to test")
    parser.add_argument("--method", default="POST", metavar="NAME", help="default POST")
    parser.add_argument(
        "--target", default="/proxy", metavar="TARGET", help="path and query; default /proxy"
    )
    parser.add_argument(
        "--content-type",
        default="application/json",
        metavar="TYPE",
        help="of the bodies; default application/json",
    )
    parser.add_argument(
        "--summary", action="store_true", help="print the table at the end and no lines"
    )
    add_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Judge every line, then sum up."""
    if arguments.task == "default":
        print(DEFAULT_FILE.read_text(encoding="utf-8"), end="")
        return 0
    flags = given_flags(arguments)
    if arguments.file is None:
        raise UsageError("iatp policy test needs the FILE of a policy")
    if "policy" in flags:
        raise UsageError("the policy to test is FILE; leave --policy out")
    loaded = load(flags | {"policy": arguments.file})
    policy = gate_policy(loaded)
    # What it would decide is the question, also of one that is to observe at first.
    enforced = msgspec.structs.replace(policy.table, mode=Mode.ENFORCE)
    judge = _Judge(msgspec.structs.replace(policy, table=enforced), arguments)
    show = _Json(judge) if arguments.json else _Lines(judge)
    show.begin(arguments.file, policy.table.mode)
    for found in judge.lines():
        if not arguments.summary:
            show.line(found)
    show.end()
    return 0 if judge.would_pass == judge.judged else 1


class _Judge:
    """Goes through standard input and counts."""

    def __init__(self, policy: GatePolicy, arguments: argparse.Namespace) -> None:
        self.policy = policy
        self.gate = Gate(policy)
        self.arguments = arguments
        self.judged = 0
        self.skipped = 0
        """Records that hold no request, such as responses, and empty lines."""
        self.would_pass = 0
        self.sums: collections.Counter[tuple[str, str]] = collections.Counter()

    def lines(self) -> Iterator[dict[str, Any]]:
        """What the policy says of each line."""
        progress = _Progress()
        for number, line in enumerate(sys.stdin.buffer, 1):
            progress.show(number)
            found = self._of(line.rstrip(b"\r\n"))
            if found is None:
                self.skipped += 1
                continue
            self.judged += 1
            self.would_pass += found["decision"] == "allow"
            self.sums[_name(found), found["rule"]] += 1
            yield {"line": number, **found}
        progress.end()

    def _of(self, line: bytes) -> dict[str, Any] | None:
        if not line.strip():
            return None
        common = envelope(line)
        if common is not None and common.request_id and common.boot_id:
            return self._of_record(line)
        arguments = self.arguments
        said = self.gate.explain(
            Request(
                request_id="00000000-0000-7000-8000-000000000000",
                method=arguments.method,
                target=arguments.target.encode("utf-8", "surrogateescape"),
                content_type=arguments.content_type.encode("utf-8", "surrogateescape"),
                body=line,
            )
        )
        return {
            "decision": said["verdict"],
            "rule": said["rule"],
            "findings": said["findings"],
            "redacted": said.get("redacted", False),
        }

    def _of_record(self, line: bytes) -> dict[str, Any] | None:
        """By its findings: what was found has been scrubbed from its payload."""
        try:
            record = _decoder.decode(line)
        except msgspec.DecodeError:
            return None
        table = self.policy.table
        findings = {
            name: count
            for name in (*table.findings, SECRET)
            if (count := record.findings.get(name, 0)) and table.is_on(name)
        }
        path = record.path.encode().removeprefix(b"/proxy").partition(b"?")[0]
        allow = closed(table, record.method, path)
        if allow is not None:
            rule = "method_not_allowed" if allow else "path_not_open"
            return _row("refuse", rule, findings)
        decision: Decision = decide(self.policy, findings, self.gate.trust_score)
        if decision.action == Action.REDACT:
            return _row("allow", decision.rule, findings, redacted=True)
        return _row(str(decision.action), decision.rule, findings)


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    """What of a record a policy looks at."""

    method: str
    path: str
    findings: dict[str, int]


_decoder = msgspec.json.Decoder(_Stored)


def _row(
    decision: str, rule: str, findings: dict[str, int], *, redacted: bool = False
) -> dict[str, Any]:
    return {"decision": decision, "rule": rule, "findings": findings, "redacted": redacted}


def _name(found: dict[str, Any]) -> str:
    return "redact" if found["redacted"] else str(found["decision"])


class _Lines:
    """For people: a line each, and a table."""

    def __init__(self, judge: _Judge) -> None:
        self.judge = judge
        self.screen = Screen()

    def begin(self, file: str, mode: Mode) -> None:
        if mode == Mode.OBSERVE:
            self.screen.line(f"{plain(file)} only observes; this is what it would decide")

    def line(self, found: dict[str, Any]) -> None:
        name = _name(found)
        kinds = ", ".join(f"{count} {kind}" for kind, count in found["findings"].items())
        painted = self.screen.paint(f"{name:<6}", STYLES.get(name, BOLD))
        self.screen.line(f"{found['line']:>6}  {painted}  {found['rule']}  {kinds}".rstrip())

    def end(self) -> None:
        judge, screen = self.judge, self.screen
        screen.line(
            f"{judge.would_pass} of {judge.judged} would be forwarded"
            + (f"; skipped: {judge.skipped}" if judge.skipped else "")
        )
        screen.table(
            [screen.paint(name, BOLD, STYLES.get(name, BOLD)), rule, str(count)]
            for (name, rule), count in judge.sums.most_common()
        )


class _Json:
    """For machines: one document, written as it goes."""

    def __init__(self, judge: _Judge) -> None:
        self.judge = judge
        self.separator = ""

    def begin(self, file: str, mode: Mode) -> None:
        print(f'{{"policy": {json.dumps(file)}, "mode": "{mode}", "lines": [', end="")

    def line(self, found: dict[str, Any]) -> None:
        print(f"{self.separator}\n  {json.dumps(found)}", end="")
        self.separator = ","

    def end(self) -> None:
        judge = self.judge
        sums = [
            {"decision": name, "rule": rule, "count": count}
            for (name, rule), count in judge.sums.most_common()
        ]
        counts = {
            "judged": judge.judged,
            "would_pass": judge.would_pass,
            "skipped": judge.skipped,
        }
        print(f'\n], "summary": {json.dumps(sums)}, "counts": {json.dumps(counts)}}}')


class _Progress:
    """How far it is, on a terminal where nothing else is shown meanwhile."""

    def __init__(self) -> None:
        self.is_shown = sys.stderr.isatty() and not sys.stdout.isatty()
        self.due_s = time.monotonic() + PROGRESS_S

    def show(self, number: int) -> None:
        if self.is_shown and time.monotonic() >= self.due_s:
            self.due_s = time.monotonic() + PROGRESS_S
            print(f"\r{number:,} lines", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self.is_shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
