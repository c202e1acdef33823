"""Make a log folder of an archive that `iatp log export` wrote, and verify it.

FILE may be - for standard input. --log-dir is the folder to make; one that holds anything is left
alone. An archive with any name that no log folder holds is refused as a whole. Exit status 1 where
the log that was restored is not sound; it is kept all the same.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from iatp.adapters.archive import ArchiveError, read_archive
from iatp.adapters.configuration import log_key_file
from iatp.adapters.encryption import LogKeys
from iatp.cli.files import read_file
from iatp.cli.folder import Log
from iatp.cli.log_verify import LIMIT_BYTES, add_trust_arguments, checked, public_key, show_verdict
from iatp.cli.progress import in_units
from iatp.cli.screen import Screen, plain, print_json
from iatp.values.errors import StartError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The archive, the folder, and what it is held against."""
    parser.add_argument("file", metavar="FILE", help="the archive; - for standard input")
    parser.add_argument("--log-dir", metavar="NEW", required=True, help="the folder to make")
    parser.add_argument(
        "--log-key-file",
        metavar="FILE",
        help="its keys, where it is encrypted; default: IATP_LOG_KEY_FILE",
    )
    add_trust_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Unpack, then verify."""
    key_file = arguments.log_key_file or log_key_file()
    folder = Path(arguments.log_dir)
    log = Log(folder, LogKeys.load(key_file) if key_file else None, folder)
    keys = [public_key(file) for file in arguments.public_key or []]
    heads = [read_file(file, LIMIT_BYTES) for file in arguments.head]
    try:
        if arguments.file == "-":
            done = read_archive(sys.stdin.buffer, folder)
        else:
            with Path(arguments.file).open("rb") as file:
                done = read_archive(file, folder)
    except ArchiveError as error:
        raise StartError(f"{arguments.file} is refused; nothing was restored. {error}") from None
    except OSError as error:
        name = error.filename or arguments.file
        raise StartError(f"nothing was restored: {name}: {error.strerror}") from None
    verdict = checked(log, keys, heads, excerpt=done.excerpt)
    if verdict.key_source == "given":
        source = ", ".join(arguments.public_key)
        verdict = msgspec.structs.replace(verdict, key_source=source)
    if arguments.json:
        print_json(
            {"log_dir": str(folder)}
            | {"restored": msgspec.to_builtins(done), "verdict": msgspec.to_builtins(verdict)}
        )
    else:
        screen = Screen()
        screen.line(
            f"{plain(str(folder))}: {done.segments:,} segments, {in_units(done.bytes)}"
            + ", an excerpt of a log" * done.excerpt
        )
        show_verdict(screen, verdict)
    return 0 if verdict.sound else 1
