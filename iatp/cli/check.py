"""Validate the configuration without opening a socket; show what is in force, and from where.

Secrets are masked. Ports, key files and the log folder are tried by the start alone. Exit status
78 where something is wrong, with every problem at once.
"""

from __future__ import annotations

import argparse

from iatp.adapters.configuration import add_flags, file_limit, given_flags, load, memory_limit
from iatp.cli.scores import score_of, show_score
from iatp.cli.screen import BOLD, DIM, YELLOW, Screen, plain, print_json
from iatp.values.config import limits_warnings, render_settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Every setting."""
    add_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the settings in force."""
    loaded = load(given_flags(arguments))
    warnings = loaded.warnings + limits_warnings(loaded, file_limit(), memory_limit())
    score = score_of(loaded.manifest)
    if arguments.json:
        print_json(
            {
                "valid": True,
                "settings": [
                    {"name": name, "value": value, "source": source}
                    for name, value, source in render_settings(loaded)
                ],
                "warnings": warnings,
                "agent_id": loaded.manifest.agent_id,
                **score,
            }
        )
        return 0
    screen = Screen()
    screen.table(
        [screen.paint(name, DIM if source == "default" else BOLD), plain(value), plain(source)]
        for name, value, source in render_settings(loaded)
    )
    show_score(screen, score)
    for warning in warnings:
        screen.line(f"{screen.paint('warning', BOLD, YELLOW)}  {plain(warning)}")
    screen.line("the configuration is valid")
    return 0
