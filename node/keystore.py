"""Key files: a member's Ed25519 key as encrypted PKCS#8, and the file with its passphrase. Both for the owner only.

A key is never overwritten, and a file that others could read is refused.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from ledger.errors import (
    BadKeyFile,
    EmptyPassphrase,
    KeyFilePermissions,
    UnreadableFile,
    UnwritableFile,
    WrongPassphrase,
)
from ledger.signatures import SigningKey
from node.files import read_file

_MAX_BYTES = 16_384
_PEM_HEAD = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"


def save_key(path: str | Path, key: SigningKey, passphrase: bytes) -> None:
    """Write a new key file, mode 0600. Raises `EmptyPassphrase` or `UnwritableFile`, also where one exists."""
    file = Path(path)
    if not passphrase:
        raise EmptyPassphrase(file=str(file))
    private = Ed25519PrivateKey.from_private_bytes(key.seed)
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))
    _write_private(file, pem)


def load_key(path: str | Path, passphrase: bytes) -> SigningKey:
    """Open a key file. Raises `UnreadableFile`, `KeyFilePermissions`, `BadKeyFile` or `WrongPassphrase`."""
    file = Path(path)
    pem = _read_private(file)
    if not pem.lstrip().startswith(_PEM_HEAD):
        raise BadKeyFile(file=str(file), detail=f"it does not begin with {_PEM_HEAD.decode()}")
    if not passphrase:
        raise WrongPassphrase(file=str(file))
    try:
        private = load_pem_private_key(pem, passphrase)
    except UnsupportedAlgorithm as error:
        raise BadKeyFile(file=str(file), detail=str(error)) from None
    except (ValueError, TypeError) as error:
        if "password" in str(error).lower():
            raise WrongPassphrase(file=str(file)) from None
        raise BadKeyFile(file=str(file), detail="its contents are damaged") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise BadKeyFile(file=str(file), detail="its key is not Ed25519")
    return SigningKey(private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))


def save_passphrase(path: str | Path, passphrase: bytes) -> None:
    """Write a new passphrase file, mode 0600. Raises `EmptyPassphrase` or `UnwritableFile`."""
    if not passphrase:
        raise EmptyPassphrase(file=str(path))
    _write_private(Path(path), passphrase + b"\n")


def load_passphrase(path: str | Path) -> bytes:
    """The first line of a passphrase file. Raises `UnreadableFile`, `KeyFilePermissions` or `EmptyPassphrase`."""
    file = Path(path)
    passphrase = _read_private(file).partition(b"\n")[0].removesuffix(b"\r")
    if not passphrase:
        raise EmptyPassphrase(file=str(file))
    return passphrase


def _write_private(file: Path, data: bytes) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(descriptor)
    except FileExistsError:
        raise UnwritableFile(file=str(file), detail="it exists, and a key is never overwritten") from None
    except OSError as error:
        raise UnwritableFile(file=str(file), detail=error.strerror or str(error)) from None


def _read_private(file: Path) -> bytes:
    """The contents of a regular file that nobody but its owner can read."""

    def check(status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableFile(file=str(file), detail="it is not a regular file")
        if status.st_mode & 0o077:
            raise KeyFilePermissions(file=str(file), mode=stat.S_IMODE(status.st_mode))

    return read_file(file, _MAX_BYTES, check=check)
