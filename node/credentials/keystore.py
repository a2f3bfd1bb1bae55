"""Key files: a member's Ed25519 key as encrypted PKCS#8, and the file with its passphrase.

A key is never overwritten, and a file that others could read is refused. It is the owner's alone; or root's, and may
then be read by a group of ours, which is how an operator of containers hands a secret to one that cannot own it.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Container
from contextlib import suppress
from functools import lru_cache
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

from ledger.errors import UnreadableFile, UnwritableFile
from ledger.signatures import SigningKey
from node.credentials.pkcs8 import PERSONS_ROUNDS, encrypt_pkcs8
from node.errors import BadKeyFile, EmptyPassphrase, KeyFileForbidden, KeyFilePermissions, WrongPassphrase
from node.system.files import read_file

_MAX_BYTES = 16_384
_PEM_HEAD = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
_RANDOM_BYTES = 32
_MADE_HERE = re.compile(rb"[0-9a-f]{64}")
_OTHERS = 0o007
_GROUP_MORE_THAN_READS = 0o030
_GROUP_READS = 0o040


def save_key(path: str | Path, key: SigningKey, passphrase: bytes) -> None:
    """Write a new key file, mode 0600. Raises `EmptyPassphrase` or `UnwritableFile`, also where one exists.

    What a person thought of can be guessed, so each guess is made to cost `PERSONS_ROUNDS`. The 256 random bits of
    `generate_passphrase` cannot be, at any cost, and a node that opens many keys need not pay for it.
    """
    file = Path(path)
    if not passphrase:
        raise EmptyPassphrase(file=str(file))
    private = Ed25519PrivateKey.from_private_bytes(key.seed)
    if _MADE_HERE.fullmatch(passphrase):
        pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))
    else:
        der = private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        pem = encrypt_pkcs8(der, passphrase, rounds=PERSONS_ROUNDS)
    _write_private(file, pem)


def load_key(path: str | Path, passphrase: bytes) -> SigningKey:
    """Open a key file.

    Raises `UnreadableFile`, `KeyFileForbidden`, `KeyFilePermissions`, `BadKeyFile` or `WrongPassphrase`.
    """
    file = Path(path)
    pem = _read_private(file)
    if not pem.lstrip().startswith(_PEM_HEAD):
        raise BadKeyFile(file=str(file), detail=f"it does not begin with {_PEM_HEAD.decode()}")
    if not passphrase:
        raise WrongPassphrase(file=str(file))
    try:
        key = _decrypt(pem, passphrase)
    except UnsupportedAlgorithm as error:
        raise BadKeyFile(file=str(file), detail=str(error)) from None
    except (ValueError, TypeError) as error:
        if _is_wrong_passphrase(error) or _refuses_another(pem, passphrase):
            raise WrongPassphrase(file=str(file)) from None
        raise BadKeyFile(file=str(file), detail="its contents are damaged") from None
    if key is None:
        raise BadKeyFile(file=str(file), detail="its key is not Ed25519")
    return key


@lru_cache(maxsize=16)
def _decrypt(pem: bytes, passphrase: bytes) -> SigningKey | None:
    """None for a key of another kind. What a node opens more than once, as TLS does, it pays for once."""
    private = load_pem_private_key(pem, passphrase)
    if not isinstance(private, Ed25519PrivateKey):
        return None
    return SigningKey(private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))


def _is_wrong_passphrase(error: Exception) -> bool:
    return "password" in str(error).lower()


def _refuses_another(pem: bytes, passphrase: bytes) -> bool:
    """Return True if a file that is well formed around its contents refuses other passphrases as wrong.

    A wrong one gives contents that end as they should once in 256 times, and are only then found to be no key.
    """
    for number in range(4):
        try:
            _decrypt(pem, passphrase + bytes([number]))
        except (ValueError, TypeError) as error:
            if _is_wrong_passphrase(error):
                return True
    return False


def generate_passphrase() -> bytes:
    """256 random bits, in letters."""
    return secrets.token_hex(_RANDOM_BYTES).encode()


def encode_plain(key: SigningKey) -> bytes:
    """A key as PKCS#8 that is not encrypted: for memory, never for a file."""
    private = Ed25519PrivateKey.from_private_bytes(key.seed)
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def save_passphrase(path: str | Path, passphrase: bytes) -> None:
    """Write a new passphrase file, mode 0600. Raises `EmptyPassphrase` or `UnwritableFile`."""
    if not passphrase:
        raise EmptyPassphrase(file=str(path))
    _write_private(Path(path), passphrase + b"\n")


def load_passphrase(path: str | Path) -> bytes:
    """The first line of a passphrase file.

    Raises `UnreadableFile`, `KeyFileForbidden`, `KeyFilePermissions` or `EmptyPassphrase`.
    """
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
    """The contents of a regular file that is for us alone."""

    def check(status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableFile(file=str(file), detail="it is not a regular file")
        user, groups = os.geteuid(), {os.getegid(), *os.getgroups()}
        if not is_for_us_alone(status.st_mode, status.st_uid, status.st_gid, user=user, groups=groups):
            mode, remedy = stat.S_IMODE(status.st_mode), _remedy(file, status.st_uid)
            raise KeyFilePermissions(file=str(file), mode=mode, owner=status.st_uid, remedy=remedy)

    try:
        return read_file(file, _MAX_BYTES, check=check)
    except UnreadableFile:
        _explain_refusal(file)
        raise


def _explain_refusal(file: Path) -> None:
    """Raise `KeyFileForbidden` where it is the system that does not let this process read a file."""
    with suppress(OSError):
        status = file.stat()
        if not os.access(file, os.R_OK, effective_ids=True):
            mode, owner = stat.S_IMODE(status.st_mode), status.st_uid
            raise KeyFileForbidden(
                file=str(file), mode=mode, owner=owner, user=os.geteuid(), remedy=_remedy(file, owner)
            )


def is_for_us_alone(mode: int, owner: int, group: int, *, user: int, groups: Container[int]) -> bool:
    """True for a file that is out of others' reach. `user` and `groups` are this process's.

    A group may read where root owns the file, the group is ours and we are not root: it has been mounted for us.
    """
    if mode & (_OTHERS | _GROUP_MORE_THAN_READS):
        return False
    return not mode & _GROUP_READS or (owner == 0 != user and group in groups)


def _remedy(file: Path, owner: int) -> str:
    """Advice to the file's owner, who alone may change it."""
    user = os.geteuid()
    if user in (owner, 0):
        return f"chmod 600 {file}"
    return f"mount it as root's with mode 0440 and group {os.getegid()}, or as user {user}'s with mode 0400"
