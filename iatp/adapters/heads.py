"""Writes `head.json`: up to where the chain of each worker slot is sealed, signed.

It is made from the seals as they are on disk, so it never says more than they do.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import os

import msgspec

from iatp.adapters.log_folder import LogFolder
from iatp.adapters.seals import HEAD_NAME, HEAD_PREFIX, read_seal
from iatp.adapters.signing import SigningKey
from iatp.values.seals import HEAD_FORMAT, Chain, Head, SignedHead


def make_head(folder: LogFolder, key: SigningKey, *, agent_id: str) -> bytes:
    """Return the text of a signed head, with its line end.

    A slot of which nothing is sealed yet is not in it.

    Raises:
        OSError: the folder or a seal can't be read.
    """
    chains: dict[int, Chain] = {}
    for segment in reversed(folder.segments()):
        if segment.worker in chains:
            continue
        seal = read_seal(folder.path, segment.stem)
        if seal is None or seal.header is None:
            continue
        last = seal.final or (seal.marks[-1] if seal.marks else None)
        if last is None:
            continue
        chains[segment.worker] = Chain(
            worker=segment.worker,
            segment=segment.stem,
            records=last.records,
            bytes=last.bytes,
            sha256=last.sha256,
        )
    now = datetime.datetime.now(datetime.UTC)
    head = Head(
        format=HEAD_FORMAT,
        timestamp=now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        agent_id=agent_id,
        key=key.key_id,
        public_key=base64.b64encode(key.public_key).decode("ascii"),
        chains=[chains[worker] for worker in sorted(chains)],
    )
    raw = msgspec.json.encode(head)
    signed = SignedHead(head=msgspec.Raw(raw), signature=key.sign(HEAD_PREFIX, raw))
    return msgspec.json.encode(signed) + b"\n"


def write_head(folder: LogFolder, key: SigningKey, *, agent_id: str) -> None:
    """Put a new head in place of the folder's.

    Raises:
        OSError: it can't be written; the old one stays.
    """
    text = make_head(folder, key, agent_id=agent_id)
    directory = folder.open_directory()
    name = f"{HEAD_NAME}.{os.urandom(4).hex()}.tmp"
    try:
        fd = os.open(
            name,
            os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC,
            0o600,
            dir_fd=directory,
        )
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(fd)
            os.rename(name, HEAD_NAME, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=directory)
            raise
    finally:
        os.close(directory)
