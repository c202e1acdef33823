"""The key that signs the log's seals and heads: Ed25519 (RFC 8032).

Its file is PEM, as `openssl genpkey -algorithm ed25519` makes it, and is made at the first
start. Beside it lies the public key, for those who check the log: `<file>.pub`, PEM as well.

`cryptography` is imported with the first key that is used: who only names keys does not pay for it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import logging
import os
from pathlib import Path

from iatp.adapters.keys import make_key_file, read_key_file
from iatp.values.errors import StartError

_log = logging.getLogger(__name__)

VARIABLE = "IATP_SIGNING_KEY_FILE"
PUBLIC_KEY_BYTES = 32

# The DER of RFC 8410 is the same in every key but for its last 32 bytes. Read here, since
# `cryptography`'s reader of all formats takes 3 MB of every process.
_PRIVATE_DER = bytes.fromhex("302e020100300506032b657004220420")
_PUBLIC_DER = bytes.fromhex("302a300506032b6570032100")
_PRIVATE_LABEL = "PRIVATE KEY"
_PUBLIC_LABEL = "PUBLIC KEY"


class SigningKey:
    """Signs; never shows its secret."""

    def __init__(self, secret: bytes) -> None:
        """Take the 32 bytes of the secret key."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415 - see above
            Ed25519PrivateKey,
        )

        self._key = Ed25519PrivateKey.from_private_bytes(secret)
        self.public_key = self._key.public_key().public_bytes_raw()
        self.key_id = key_id(self.public_key)

    def sign(self, prefix: bytes, data: bytes) -> str:
        """Return the signature over both, base64. The prefix says what `data` is."""
        return base64.b64encode(self._key.sign(prefix + data)).decode("ascii")


def default_signing_key_path(log_dir: str | os.PathLike[str]) -> Path:
    """Return where the key lives if IATP_SIGNING_KEY_FILE is not set: beside the log folder."""
    return Path(os.path.abspath(log_dir) + ".signing.key")  # noqa: PTH100 - must not resolve links


def signing_key(path: str | os.PathLike[str]) -> SigningKey:
    """Return the key of this file, which is made if there is none, its `.pub` beside it.

    Of several processes that start at once one makes the file, and all read that one.

    Raises:
        StartError: a symbolic link, not a file, of another user, readable by others, not an
            Ed25519 key, or it cannot be read or made.
    """
    path = Path(path)
    try:
        text = read_key_file(path, VARIABLE)
    except FileNotFoundError:
        make_key_file(path, _pem(_PRIVATE_LABEL, _PRIVATE_DER + os.urandom(32)), VARIABLE)
        text = read_key_file(path, VARIABLE)
    secret = _unpem(text, _PRIVATE_LABEL, _PRIVATE_DER)
    if secret is None:
        raise StartError(
            f"The key file {path} holds no Ed25519 key in PEM; restore it, make one with "
            "openssl genpkey -algorithm ed25519, or remove it to have a new one made."
        )
    key = SigningKey(secret)
    _make_public(path.with_name(path.name + ".pub"), key)
    return key


def key_id(public_key: bytes) -> str:
    """Return how seals name this key: 16 hex digits."""
    return hashlib.sha256(public_key).hexdigest()[:16]


def public_pem(public_key: bytes) -> bytes:
    """Return the public key as `openssl pkeyutl -verify -pubin` takes it."""
    return _pem(_PUBLIC_LABEL, _PUBLIC_DER + public_key)


def read_public_pem(text: bytes) -> bytes | None:
    """Return the 32 bytes of an Ed25519 public key in PEM, or None where it is none."""
    return _unpem(text, _PUBLIC_LABEL, _PUBLIC_DER)


def verify(public_key: bytes, prefix: bytes, data: bytes, signature: str) -> bool:
    """Return whether `signature` is that of this key over both; False for any other text."""
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - see above
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415
        Ed25519PublicKey,
    )

    try:
        raw = base64.b64decode(signature, validate=True)
        Ed25519PublicKey.from_public_bytes(public_key).verify(raw, prefix + data)
    except (binascii.Error, ValueError, InvalidSignature):
        return False
    return True


def _make_public(path: Path, key: SigningKey) -> None:
    try:
        found = read_public_pem(path.read_bytes())
    except FileNotFoundError:
        # A key that was given may lie where only an administrator can write.
        if os.access(path.parent, os.W_OK):
            make_key_file(path, public_pem(key.public_key), VARIABLE, 0o644)
        return
    except OSError as error:
        _log.warning("The public key %s cannot be read (%s).", path, error.strerror)
        return
    if found != key.public_key:
        _log.warning(
            "%s is not the public key of the signing key beside it, so it cannot check what is "
            "signed now; move it away, and the right one is made at the next start.",
            path,
        )


def _pem(label: str, der: bytes) -> bytes:
    body = base64.b64encode(der).decode("ascii")
    return f"-----BEGIN {label}-----\n{body}\n-----END {label}-----\n".encode("ascii")


def _unpem(text: bytes, label: str, der: bytes) -> bytes | None:
    lines = text.decode("latin-1").split()
    begin, end = f"-----BEGIN {label}-----".split(), f"-----END {label}-----".split()
    if lines[: len(begin)] != begin or lines[-len(end) :] != end:
        return None
    try:
        body = base64.b64decode("".join(lines[len(begin) : -len(end)]), validate=True)
    except (binascii.Error, ValueError):
        return None
    return body[len(der) :] if body[:-32] == der else None
