"""Show the version of the sidecar, of the protocol and of what it runs on."""

from __future__ import annotations

import argparse
import platform
import sys

from iatp.cli.screen import print_json
from iatp.values.version import PROTOCOL_VERSION, VERSION


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Nothing beyond --json."""


def run(arguments: argparse.Namespace) -> int:
    """Print the version."""
    facts = {
        "version": VERSION,
        "protocol": PROTOCOL_VERSION,
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
    }
    if arguments.json:
        print_json(facts)
    else:
        print(
            f"iatp-sidecar {facts['version']} (IATP {facts['protocol']}, "
            f"Python {facts['python']}, {facts['platform']})"
        )
    return 0
