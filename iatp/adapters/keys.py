"""The installation's key, and the keys derived from it.

The key file is made at the first start and read at every other. It is text, 64 hex digits,
so that it can be handed to replicas; 32 raw bytes are read as well. No process ever sees a
half-written key: the file is complete before it gets its name.

Every other key file is read and made in the same way (`read_key_file`, `make_key_file`).
"""

from __future__ import annotations

import binascii
import contextlib
import errno
import hashlib
import os
import stat
from pathlib import Path

from iatp.values.errors import StartError

KEY_BYTES = 32
_READ_LIMIT = 64 << 10


def installation_key(path: str | os.PathLike[str]) -> bytes:
    """Return the 32 bytes of the key file, which is made if there is none.

    Of several processes that start at once one makes the file, and all read that one.

    Raises:
        StartError: a symbolic link, not a file, of another user, readable by others, not a
            key, or it cannot be read or made.
    """
    path = Path(path)
    for _ in range(2):
        try:
            return _parse(path, read_key_file(path, "IATP_KEY_FILE"))
        except FileNotFoundError:
            text = os.urandom(KEY_BYTES).hex().encode() + b"\n"
            make_key_file(path, text, "IATP_KEY_FILE")
    return _parse(path, read_key_file(path, "IATP_KEY_FILE"))


def derive(key: bytes, purpose: str) -> bytes:
    """Return the 32-byte key for one purpose, such as "ticket"; different for each.

    Keyed BLAKE2b as a pseudo-random function (RFC 7693): one block, so no HKDF is needed.
    """
    return hashlib.blake2b(
        purpose.encode(), key=key, digest_size=KEY_BYTES, person=b"iatp-derive-1"
    ).digest()


def read_key_file(path: Path, variable: str) -> bytes:
    """Return what stands in a key file, which `variable` names.

    Raises:
        FileNotFoundError: there is none.
        StartError: a symbolic link, not a file, of another user, readable by others, or it
            cannot be read.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        if error.errno in {errno.ELOOP, errno.EMLINK}:
            raise StartError(
                f"The key file {path} is a symbolic link; set {variable} to the file itself."
            ) from None
        raise StartError(
            f"The key file {path} cannot be read ({error.strerror}); "
            f"make it readable for this user or set {variable}."
        ) from None
    try:
        found = os.fstat(fd)
        _check(path, found, variable)
        return os.read(fd, _READ_LIMIT)
    finally:
        os.close(fd)


def _check(path: Path, found: os.stat_result, variable: str) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise StartError(f"The key file {path} is not a file; set {variable} to another path.")
    if found.st_uid not in {0, os.geteuid()}:
        raise StartError(
            f"The key file {path} belongs to another user (uid {found.st_uid}); "
            "give it to the user that runs the sidecar."
        )
    if found.st_mode & 0o077:
        raise StartError(
            f"The key file {path} can be read by others than its owner "
            f"(mode {stat.S_IMODE(found.st_mode):04o}); run: chmod 600 {path}"
        )


def _parse(path: Path, data: bytes) -> bytes:
    if len(data) == KEY_BYTES:
        return data
    text = data.strip()
    if len(text) == 2 * KEY_BYTES:
        with contextlib.suppress(binascii.Error):
            return binascii.unhexlify(text)
    raise StartError(
        f"The key file {path} holds no key: it must be 64 hex digits or 32 bytes, "
        f"and has {len(data)} bytes; restore it, or remove it to have a new one made."
    )


def make_key_file(path: Path, text: bytes, variable: str, mode: int = 0o600) -> None:
    """Make the file, complete, unless another starter was first: then that one stays.

    Raises:
        StartError: it cannot be made.
    """
    temporary = path.with_name(f"{path.name}.{os.urandom(8).hex()}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(temporary, flags, mode)
        try:
            with os.fdopen(fd, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(fd)
            # A link, not a rename: it fails where another starter was first.
            with contextlib.suppress(FileExistsError):
                os.link(temporary, path)
            _sync_folder(path.parent)
        finally:
            temporary.unlink()
    except OSError as error:
        raise StartError(
            f"The key file {path} cannot be made ({error.strerror}); "
            f"make its folder writable or set {variable}."
        ) from None


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
