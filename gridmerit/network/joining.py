"""A directory for one more node of a network that is made already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gridmerit.network.layout import GENESIS_FILE, NODE_FILE, claim_directory, make_passphrase, render_node_toml
from ledger.signatures import generate_key
from node.config import load_config, load_genesis, save_genesis
from node.credentials.identity import load_identity
from node.credentials.keystore import save_key


def join_network(
    directory: Path,
    genesis_file: Path,
    *,
    chains: Sequence[str],
    peers: Sequence[tuple[str, str, str]],
    peer_listen: str,
    api_listen: str,
    is_observer: bool = False,
) -> bytes:
    """Make a node directory: `node.toml`, the genesis and, but for an observer, a new key; the node's public key.

    `peers` are those to begin with, as (name, URL, public key in hex). Raises `BusyDirectory`, `UnusableDirectory` or
    `BadConfigFile`.
    """
    claim_directory(directory)
    save_genesis(load_genesis(genesis_file), directory / GENESIS_FILE)
    file = directory / NODE_FILE
    text = render_node_toml(
        genesis=GENESIS_FILE,
        chains=chains,
        peer_listen=peer_listen,
        api_listen=api_listen,
        peers=peers,
        has_key=not is_observer,
        has_tls=not is_observer,
    )
    file.write_text(text, encoding="utf-8")
    if not is_observer:
        save_key(directory / "key.pem", generate_key(), make_passphrase(directory / "passphrase"))
    return load_identity(load_config(file)).peer_key.public_key
