"""Files that a command is given by name."""

from __future__ import annotations

import sys
from pathlib import Path

from iatp.values.errors import StartError


def read_file(name: str, limit_bytes: int) -> bytes:
    """The bytes of a file, or of standard input for `-`.

    Raises:
        StartError: it cannot be read, or is longer than the limit.
    """
    data = read_beginning(name, limit_bytes + 1)
    if len(data) > limit_bytes:
        raise StartError(f"{name} is longer than {limit_bytes >> 10} KiB")
    return data


def read_beginning(name: str, most_bytes: int) -> bytes:
    """The first bytes of a file, or of standard input for `-`.

    Raises:
        StartError: it cannot be read.
    """
    try:
        if name == "-":
            return sys.stdin.buffer.read(most_bytes)
        with Path(name).open("rb") as file:
            return file.read(most_bytes)
    except OSError as error:
        raise StartError(f"{name} cannot be read: {error.strerror}") from None
