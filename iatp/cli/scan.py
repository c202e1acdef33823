"""Fetch the manifest of a running agent and judge what it says of itself, out of 10.

URL is where its sidecar listens, such as http://127.0.0.1:8001. The agent's own word is
judged, nothing else. Exit status 1 where the score is below 7, or no manifest was to be had.
"""

from __future__ import annotations

import argparse
from typing import Any

from iatp.cli.fetch import FetchError, fetch, seconds_argument, url_argument
from iatp.cli.scores import score_of, show_score
from iatp.cli.screen import BOLD, RED, Screen, plain, print_json
from iatp.decisions.policy import SCORE_TO_PASS
from iatp.values.manifest import CapabilityManifest, load_manifest
from iatp.values.manifest_rules import ManifestError

PATHS = ("/.well-known/agent-manifest", "/capabilities")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The address, and how to reach it."""
    parser.add_argument(
        "url",
        type=url_argument,
        metavar="URL",
        help="http://host:port, https://host:port or unix:/path/of/socket",
    )
    parser.add_argument(
        "--timeout",
        type=seconds_argument,
        default=10.0,
        metavar="SECONDS",
        help="for each call, default 10",
    )
    parser.add_argument(
        "--ca", metavar="FILE", help="PEM certificates to trust instead of the system's"
    )


def run(arguments: argparse.Namespace) -> int:
    """Judge the agent."""
    found: dict[str, Any] = {"url": arguments.url.geturl()}
    try:
        manifest = _manifest(arguments)
    except FetchError as error:
        found |= {"verdict": "unreadable", "error": str(error)}
    else:
        found |= {"agent_id": manifest.agent_id, **score_of(manifest)}
        found["verdict"] = "pass" if found["trust_score"] >= SCORE_TO_PASS else "warn"
    if arguments.json:
        print_json(found)
    else:
        _show(found)
    return 0 if found["verdict"] == "pass" else 1


def _manifest(arguments: argparse.Namespace) -> CapabilityManifest:
    url = arguments.url
    targets: tuple[str, ...] = PATHS
    if url.path not in ("", "/"):
        targets = (url.path + (f"?{url.query}" if url.query else ""),)
    for target in targets:
        answer = fetch(url, target, timeout_s=arguments.timeout, ca_file=arguments.ca)
        if answer.status == 404:
            continue
        if answer.status != 200:
            raise FetchError(f"{target} answers with status {answer.status}")
        try:
            return load_manifest(answer.body, ours=False)
        except ManifestError as error:
            raise FetchError("its manifest cannot be used: " + "; ".join(error.problems)) from None
    raise FetchError("it serves no manifest at " + " or ".join(targets))


def _show(found: dict[str, Any]) -> None:
    screen = Screen()
    if "error" in found:
        screen.line(f"{plain(found['url'])}: {screen.paint(plain(found['error']), BOLD, RED)}")
        return
    screen.line(f"{plain(found['url'])} is {screen.paint(plain(found['agent_id']), BOLD)}")
    show_score(screen, found)
    if found["verdict"] != "pass":
        screen.line(f"below {SCORE_TO_PASS}: a sidecar warns before it passes a request on")
