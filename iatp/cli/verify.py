"""Validate a manifest file: its errors, questionable choices, trust score and its parts.

FILE is JSON, in the nested shape of protocol 1.0 or the flat one of 0.x; - is standard
input. Exit status 1 where the file is not a valid manifest.
"""

from __future__ import annotations

import argparse
from typing import Any

from iatp.cli.files import read_file
from iatp.cli.scores import score_of, show_score
from iatp.cli.screen import BOLD, RED, YELLOW, Screen, plain, print_json
from iatp.values.manifest import load_manifest
from iatp.values.manifest_review import review
from iatp.values.manifest_rules import ManifestError

_LIMIT_BYTES = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file."""
    parser.add_argument("file", metavar="FILE", help="a manifest; - for standard input")


def run(arguments: argparse.Namespace) -> int:
    """Judge the file."""
    data = read_file(arguments.file, _LIMIT_BYTES)
    found: dict[str, Any] = {"file": arguments.file, "valid": False, "errors": [], "warnings": []}
    try:
        manifest = load_manifest(data)
    except ManifestError as error:
        found["errors"] = list(error.problems)
    else:
        found |= {
            "valid": True,
            "warnings": review(manifest),
            "agent_id": manifest.agent_id,
            **score_of(manifest),
        }
    if arguments.json:
        print_json(found)
    else:
        _show(found)
    return 0 if found["valid"] else 1


def _show(found: dict[str, Any]) -> None:
    screen = Screen()
    for problem in found["errors"]:
        screen.line(f"{screen.paint('error', BOLD, RED)}    {plain(problem)}")
    for warning in found["warnings"]:
        screen.line(f"{screen.paint('warning', BOLD, YELLOW)}  {plain(warning)}")
    if not found["valid"]:
        screen.line(f"{plain(found['file'])} is not a valid manifest")
        return
    screen.line(f"{plain(found['file'])} is a valid manifest of {plain(found['agent_id'])}")
    show_score(screen, found)
