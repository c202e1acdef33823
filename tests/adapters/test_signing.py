"""The signing key: made once, PEM that openssl reads, signatures that openssl checks."""

from __future__ import annotations

import base64
import stat
import subprocess
from pathlib import Path

import pytest

from iatp.adapters.signing import (
    SigningKey,
    default_signing_key_path,
    key_id,
    read_public_pem,
    signing_key,
    verify,
)
from iatp.values.errors import StartError

# RFC 8032, 7.1, test 2.
SECRET = bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb")
PUBLIC = bytes.fromhex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c")
SIGNATURE = (
    "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
    "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
)


def private(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def test_as_the_rfc_has_it() -> None:
    key = SigningKey(SECRET)
    assert key.public_key == PUBLIC
    assert base64.b64decode(key.sign(b"", b"\x72")).hex() == SIGNATURE
    assert key.sign(b"\x72", b"") == key.sign(b"", b"\x72")


def test_made_once_with_its_public_key_and_then_read(tmp_path: Path) -> None:
    path = tmp_path / "logs.signing.key"
    key = signing_key(path)
    assert signing_key(path).public_key == key.public_key
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert {each.name for each in tmp_path.iterdir()} == {path.name, path.name + ".pub"}
    assert read_public_pem((tmp_path / (path.name + ".pub")).read_bytes()) == key.public_key
    assert key.key_id == key_id(key.public_key)
    assert signing_key(tmp_path / "other").public_key != key.public_key
    assert default_signing_key_path(tmp_path / "logs") == path


def test_only_its_own_signature_over_the_same_verifies() -> None:
    key = SigningKey(SECRET)
    good = key.sign(b"p\n", b"data")
    assert verify(PUBLIC, b"p\n", b"data", good)
    assert not verify(PUBLIC, b"q\n", b"data", good)
    assert not verify(PUBLIC, b"p\n", b"datb", good)
    assert not verify(SigningKey(bytes(32)).public_key, b"p\n", b"data", good)
    for bad in ("", "x", "=", good[:-4], good + "AAAA", "\u00e9", "A" * 88, " " + good):
        assert not verify(PUBLIC, b"p\n", b"data", bad)
    assert not verify(b"short", b"p\n", b"data", good)


@pytest.mark.servers
def test_openssl_makes_keys_for_it_and_checks_what_it_signs(tmp_path: Path) -> None:
    path = private(
        tmp_path / "k",
        subprocess.run(
            ["openssl", "genpkey", "-algorithm", "ed25519"], check=True, capture_output=True
        ).stdout,
    )
    key = signing_key(path)
    (tmp_path / "data").write_bytes(b"iatp-seal-1\n{}")
    (tmp_path / "signature").write_bytes(base64.b64decode(key.sign(b"iatp-seal-1\n", b"{}")))
    checked = subprocess.run(
        [
            *["openssl", "pkeyutl", "-verify", "-pubin", "-rawin", "-inkey", f"{path}.pub"],
            *["-sigfile", str(tmp_path / "signature"), "-in", str(tmp_path / "data")],
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    assert checked.returncode == 0, checked.stderr


RSA = b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VuBCIEIA==\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize("data", [b"", b"0" * 64, RSA, RSA[:-20], b"\xff" * 50, RSA * 50])
def test_what_is_no_key_is_refused_and_stays(tmp_path: Path, data: bytes) -> None:
    path = private(tmp_path / "k", data)
    with pytest.raises(StartError, match=r"holds no Ed25519 key in PEM; .*openssl genpkey"):
        signing_key(path)
    assert path.read_bytes() == data
    assert not (tmp_path / "k.pub").exists()


def test_open_to_others_or_a_link_is_refused(tmp_path: Path) -> None:
    signing_key(tmp_path / "k")
    (tmp_path / "link").symlink_to(tmp_path / "k")
    with pytest.raises(StartError, match="symbolic link; set IATP_SIGNING_KEY_FILE"):
        signing_key(tmp_path / "link")
    (tmp_path / "k").chmod(0o640)
    with pytest.raises(StartError, match="chmod 600"):
        signing_key(tmp_path / "k")


def test_a_public_key_of_another_is_left_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    signing_key(tmp_path / "old")
    (tmp_path / "old.pub").rename(tmp_path / "k.pub")
    before = (tmp_path / "k.pub").read_bytes()
    signing_key(tmp_path / "k")
    assert "not the public key of the signing key" in caplog.text
    assert (tmp_path / "k.pub").read_bytes() == before


def test_a_public_key_that_was_lost_is_made_again(tmp_path: Path) -> None:
    key = signing_key(tmp_path / "k")
    (tmp_path / "k.pub").unlink()
    signing_key(tmp_path / "k")
    assert read_public_pem((tmp_path / "k.pub").read_bytes()) == key.public_key
