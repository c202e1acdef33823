"""Print the signed head of a log: up to where everything was sealed, a minute ago at most.

Keep it where the sidecar cannot write. `iatp log verify --head FILE` shows later that nothing
which it counts was cut off or changed. Exit status 1 where the log has none yet.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from iatp.adapters.seals import HEAD_NAME, parse_head
from iatp.cli.files import read_file
from iatp.cli.folder import add_folder_arguments, open_log
from iatp.values.errors import StartError

JSON_HELP = "the head is JSON in any case"

_LIMIT_BYTES = 1 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder."""
    add_folder_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print it as it stands, since that is what was signed."""
    path = Path(open_log(arguments).folder, HEAD_NAME)
    if not path.is_file():
        raise StartError(f"the log has no {HEAD_NAME} yet; a sidecar writes one every minute")
    data = read_file(str(path), _LIMIT_BYTES).strip()
    if parse_head(data) is None or not data.isascii():
        raise StartError(f"{path} is not the head of a log")
    sys.stdout.write(data.decode("ascii") + "\n")
    return 0
