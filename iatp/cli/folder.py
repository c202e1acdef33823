"""Which log a command reads: the one of the configuration in force, or any other folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from iatp.adapters.configuration import load, log_key_file
from iatp.adapters.encryption import LogKeys
from iatp.values.errors import StartError

if TYPE_CHECKING:
    import argparse


class Log(NamedTuple):
    """A log folder and what reads it."""

    folder: Path
    keys: LogKeys | None
    signing_key_file: Path
    """Where the sidecar that writes it has its signing key, unless that was set elsewhere."""


def add_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """The folder, and the keys of one that is encrypted."""
    parser.add_argument(
        "--log-dir",
        metavar="DIR",
        help="the flight recorder's folder; default: that of the configuration in force",
    )
    parser.add_argument(
        "--log-key-file",
        metavar="FILE",
        help="its keys, where it is encrypted; default: IATP_LOG_KEY_FILE",
    )


def open_log(arguments: argparse.Namespace) -> Log:
    """The log that the arguments name.

    Raises:
        StartError: there is no such folder, or its keys cannot be read.
        ConfigurationError: none is named, and the configuration is wrong.
    """
    key_file = arguments.log_key_file
    if arguments.log_dir is not None:
        folder = Path(arguments.log_dir)
        signing_key_file = Path(os.path.abspath(folder) + ".signing.key")  # noqa: PTH100
        key_file = key_file or log_key_file()
    else:
        settings = load().settings
        folder = Path(settings.log_dir)
        signing_key_file = Path(settings.signing_key_file)
        key_file = key_file or settings.log_key_file
    if not folder.is_dir():
        raise StartError(f"the log folder {folder} is not there")
    return Log(folder, LogKeys.load(key_file) if key_file else None, signing_key_file)
