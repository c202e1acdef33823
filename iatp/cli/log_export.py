"""Write a log to an archive: whole segments with their seals, indexes and head, as they are.

FILE is a tar file that does not exist yet; - is standard output. The sidecar may go on writing:
what it is writing is taken up to its last mark, a second ago at most. With --since or --until only
the segments that reach into that time are taken. Nothing is decrypted; keys are not in the archive.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import msgspec

from iatp.adapters.archive import Manifest, write_archive
from iatp.adapters.selection import stamp
from iatp.cli.folder import add_folder_arguments, open_log
from iatp.cli.moments import add_span_arguments
from iatp.cli.progress import ByteProgress, in_units
from iatp.cli.screen import Screen, plain, print_json
from iatp.values.errors import StartError, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder, the time, and the archive."""
    add_folder_arguments(parser)
    add_span_arguments(parser)
    parser.add_argument("file", metavar="FILE", help="the archive to make; - for standard output")


def run(arguments: argparse.Namespace) -> int:
    """Write it."""
    log = open_log(arguments)
    is_pipe = arguments.file == "-"
    if is_pipe and (arguments.json or sys.stdout.isatty()):
        raise UsageError("the archive goes to standard output, so nothing else can, nor a terminal")
    manifest = Manifest(
        timestamp=stamp(datetime.now(UTC)),
        since=stamp(arguments.since) if arguments.since else "",
        until=stamp(arguments.until) if arguments.until else "",
    )
    progress = ByteProgress()
    try:
        with contextlib.nullcontext(sys.stdout.buffer) if is_pipe else _new(arguments.file) as file:
            done = write_archive(log.folder, file, manifest, progress.show)
            file.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        name = error.filename or log.folder
        raise StartError(f"the log could not be exported: {name}: {error.strerror}") from None
    finally:
        progress.end()
    if arguments.json:
        print_json({"file": arguments.file} | msgspec.to_builtins(done))
    else:
        Screen(sys.stderr if is_pipe else None).line(
            f"{plain(arguments.file)}: {done.segments:,} segments, {in_units(done.bytes)}"
            + (f", {done.open_segments} of them up to their last mark" * bool(done.open_segments))
        )
    return 0


@contextlib.contextmanager
def _new(name: str) -> Iterator[IO[bytes]]:
    """A file that is there when it is complete, and not before."""
    path = Path(name)
    if path.exists() or path.is_symlink():
        raise StartError(f"{name} is there already")
    part = path.with_name(f"{path.name}.{os.urandom(4).hex()}.part")
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            yield file
            file.flush()
            os.fsync(fd)
        # A link, not a rename: it fails where another file has the name by now.
        os.link(part, path)
    finally:
        part.unlink()
