"""The node that a command talks to, and the key that it signs with: the options that many commands share."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from gridmerit.network.layout import NODE_FILE, find_node_file, get_home, is_network, is_node, load_network
from gridmerit.text import quote_path
from ledger.errors import UnreadableFile
from ledger.signatures import SigningKey
from node.config import load_config
from node.credentials.keystore import load_key, load_passphrase
from node.queries.answers import to_json

_T = TypeVar("_T")

DEFAULT_API = "http://127.0.0.1:9200"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A node's API, the chain to ask about (None: see `hosted.py`) and the directory it was found in, if any."""

    url: str
    chain: str | None = None
    directory: Path | None = None


def node_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options --node, --api and --chain; the command gets them as one `target`."""

    @click.option(
        "--node",
        "node",
        type=click.Path(path_type=Path),
        envvar="GRIDMERIT_NODE",
        help="Node or network directory.  [default: this one, else the API]",
    )
    @click.option("--api", envvar="GRIDMERIT_API", metavar="URL", help=f"A node's API.  [default: {DEFAULT_API}]")
    @click.option(
        "--chain", metavar="NAME", help="Which of the node's chains.  [default: the one the command is about]"
    )
    @functools.wraps(command)
    def wrapped(*args: Any, node: Path | None, api: str | None, chain: str | None, **kwargs: Any) -> Any:
        return command(*args, target=resolve_target(node, api, chain), **kwargs)

    return wrapped


def key_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options --key and --passphrase-file, passed on by their names."""
    command = click.option(
        "--passphrase-file",
        type=click.Path(path_type=Path),
        help="File with the key's passphrase.  [default: `passphrase` beside the key]",
    )(command)
    return click.option(
        "--key", metavar="FILE|NAME", help="Who signs: a key file, or a name in the network.  [default: the node's own]"
    )(command)


def resolve_target(node: Path | None, api: str | None, chain: str | None) -> Target:
    """Raises `NotANode` or what reading `node.toml` raises."""
    if api is not None:
        return Target(url=api, chain=chain, directory=node)
    if node is None:
        here = Path()
        if not is_node(here) and not is_network(here):
            return Target(url=DEFAULT_API, chain=chain)
        node = here
    directory = get_home(node)
    if is_network(directory):
        network = load_network(directory)
        return Target(url=network.nodes[0].api_url, chain=chain, directory=directory)
    return Target(url=load_config(find_node_file(directory)).api_listen.nearest.url, chain=chain, directory=directory)


def run_async(work: Coroutine[Any, Any, _T]) -> _T:
    return asyncio.run(work)


def to_plain(answer: object) -> Any:
    """An answer of the API as it was in JSON."""
    return json.loads(to_json(answer))


def resolve_key(target: Target, key: str | None, passphrase_file: Path | None) -> SigningKey:
    """The key that --key names. Raises the `ConfigError` family, or a usage error where nothing names one."""
    file, passphrase = _find_key(target.directory, key)
    return load_key(file, load_passphrase(passphrase_file or passphrase))


def load_key_file(file: Path, passphrase_file: Path | None = None) -> SigningKey:
    """A key whose passphrase lies beside it unless it is said where. Raises the `ConfigError` family."""
    return load_key(file, load_passphrase(passphrase_file or file.with_name("passphrase")))


def _find_key(directory: Path | None, key: str | None) -> tuple[Path, Path]:
    """The key file and the passphrase file that belongs to it."""
    if key is not None and Path(key).is_file():
        return Path(key), Path(key).with_name("passphrase")
    if directory is not None and is_network(directory):
        return _find_in_network(directory, key)
    if key is None and directory is not None and is_node(directory):
        config = load_config(directory / NODE_FILE)
        if config.key_file is not None and config.passphrase_file is not None:
            return config.key_file, config.passphrase_file
    if key is None:
        raise click.UsageError("nothing says who signs: --key FILE, or --node DIR of a node with a key")
    raise UnreadableFile(file=key, detail="no such file, and no network (--node DIR) with a key of that name")


def _find_in_network(directory: Path, key: str | None) -> tuple[Path, Path]:
    network = load_network(directory)
    if key is None:
        names = [*(player.name for player in network.players), *(player.meter for player in network.players)]
        if network.dispatcher is not None:
            names.append(network.dispatcher.name)
        raise click.UsageError(f"--key: who signs? one of {', '.join(names)}")
    for player in network.players:
        if key == player.name:
            return directory / player.key_file, directory / player.passphrase_file
    file = directory / "keys" / f"{key}.pem"
    if file.is_file():
        return file, directory / "keys" / "passphrase"
    raise UnreadableFile(
        file=key, detail=f"neither a file nor a key of the network; gridmerit key list {quote_path(directory)} has them"
    )
