"""Say what the gate would do with a body under this configuration, without a server.

FILE is the body of a request; - is standard input. Overrides are not looked at. What was
found is given as its kind and its place, never as its text. Exit status 1 unless the
request would be forwarded.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from iatp._fast.gate import Gate
from iatp.adapters.configuration import add_flags, given_flags, load
from iatp.cli.files import read_beginning
from iatp.cli.scores import score_of, show_score
from iatp.cli.screen import BOLD, CYAN, GREEN, RED, YELLOW, Screen, plain, print_json
from iatp.decisions.policy import GatePolicy, OverrideMode
from iatp.values.config import Loaded
from iatp.values.exchange import Request

STYLES = {"allow": GREEN, "warn": YELLOW, "block": RED, "refuse": RED, "redact": CYAN}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The request, and every setting."""
    parser.add_argument("file", metavar="FILE", help="the body; - for standard input")
    parser.add_argument("--method", default="POST", metavar="NAME", help="default POST")
    parser.add_argument(
        "--target",
        default="/proxy",
        metavar="TARGET",
        help="path and query, as on the request line; default /proxy",
    )
    parser.add_argument(
        "--content-type",
        default="application/json",
        metavar="TYPE",
        help="default application/json",
    )
    parser.add_argument(
        "--content-encoding", default="", metavar="CODING", help="gzip or deflate; default none"
    )
    add_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Ask the gate."""
    loaded = load(given_flags(arguments))
    # One byte more than the gate takes, so that it is the gate which refuses it.
    body = read_beginning(arguments.file, loaded.settings.max_body_bytes + 1)
    verdict: dict[str, Any] = Gate(gate_policy(loaded)).explain(_request(arguments, body))
    verdict |= score_of(loaded.manifest)
    if arguments.json:
        print_json(verdict)
    else:
        _show(verdict)
    return 0 if verdict["verdict"] == "allow" else 1


def gate_policy(loaded: Loaded) -> GatePolicy:
    """What a gate that records nothing is made of under this configuration."""
    settings = loaded.settings
    return GatePolicy(
        agent_id=settings.agent_id,
        trust_level=settings.trust_level,
        reversibility=settings.reversibility,
        retention=settings.retention,
        human_in_loop=settings.human_in_loop,
        training_consent=settings.training_consent,
        override=OverrideMode(settings.override),
        override_token=settings.override_token or "",
        # Nothing is recorded and no ticket leaves here, so the installation's key is not needed.
        ticket_key=bytes(32),
        mac_key=bytes(32),
        record_body_bytes=settings.record_body_bytes,
        max_body_bytes=settings.max_body_bytes,
        table=loaded.policy,
    )


def _request(arguments: argparse.Namespace, body: bytes) -> Request:
    return Request(
        request_id="00000000-0000-7000-8000-000000000000",
        method=arguments.method,
        target=arguments.target.encode("utf-8", "surrogateescape"),
        content_type=arguments.content_type.encode("utf-8", "surrogateescape"),
        content_encoding=arguments.content_encoding.encode("utf-8", "surrogateescape"),
        body=body,
        time_ns=time.time_ns(),
        mono_ns=time.monotonic_ns(),
    )


def _show(verdict: dict[str, Any]) -> None:
    screen = Screen()
    name = verdict["verdict"]
    status = f" ({verdict['status']})" if "status" in verdict else ""
    screen.line(
        f"{screen.paint(name, BOLD, STYLES.get(name, RED))}{status}, rule {verdict['rule']}"
    )
    if verdict.get("redacted"):
        screen.line("  the agent gets it with the values replaced")
    if would := verdict.get("would"):
        screen.line(
            f"  the policy only observes; it would {would['decision']}, rule {would['rule']}"
        )
    for field in ("error", "detail", "warning"):
        for line in str(verdict.get(field) or "").splitlines():
            screen.line(f"  {plain(line)}")
    show_score(screen, verdict)
    if verdict["spans"]:
        screen.line("found")
        screen.table(
            [span["kind"], f"{span['part']}, bytes {span['start']} to {span['end']}"]
            for span in verdict["spans"]
        )
