"""A node's identity: the member whose key it holds, or an observer with a key of its own for talking to peers only."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ledger.errors import UnreadableFile, UnwritableFile
from ledger.signatures import SEED_SIZE, SigningKey, generate_key
from node.config import NodeConfig
from node.credentials.keystore import load_key, load_passphrase
from node.errors import BadKeyFile

_PEER_KEY_FILE = "peer-key"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """`member_key` seals and votes; `peer_key` signs batches, and is the same where there is a member."""

    member_key: SigningKey | None
    peer_key: SigningKey


def load_identity(config: NodeConfig) -> Identity:
    """Raises the `ConfigError` family. An observer's peer key is made on its first start."""
    if config.key_file is not None and config.passphrase_file is not None:
        key = load_key(config.key_file, load_passphrase(config.passphrase_file))
        return Identity(member_key=key, peer_key=key)
    return Identity(member_key=None, peer_key=_load_peer_key(config.data_dir))


def _load_peer_key(data_dir: Path) -> SigningKey:
    file = data_dir / _PEER_KEY_FILE
    try:
        text = file.read_text()
    except FileNotFoundError:
        return _make_peer_key(file)
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableFile(file=str(file), detail=str(error)) from None
    try:
        seed = bytes.fromhex(text)
    except ValueError:
        seed = b""
    if len(seed) != SEED_SIZE:
        raise BadKeyFile(file=str(file), detail=f"it is not a seed of {SEED_SIZE} bytes in hexadecimal")
    return SigningKey(seed)


def _make_peer_key(file: Path) -> SigningKey:
    key = generate_key()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(key.seed.hex())
    except OSError as error:
        raise UnwritableFile(file=str(file), detail=str(error)) from None
    return key
