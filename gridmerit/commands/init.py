"""`gridmerit init`: a node directory that joins a network."""

from __future__ import annotations

import json
from pathlib import Path

import click

from gridmerit.amounts import parse_names
from gridmerit.network.joining import join_network
from gridmerit.network.layout import find_next_port, load_network
from gridmerit.output import emit, json_option
from gridmerit.tables import facts
from gridmerit.text import quote_path
from node.config import load_genesis, load_network_document
from node.system.addresses import parse_listen

_PARTS_OF_A_PEER = 3
_PEER_PORT, _API_PORT = 9_100, 9_200


def _check_address(_context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """As `node.toml` takes it, before anything is written."""
    if value is None:
        return None
    try:
        parse_listen(value)
    except ValueError as error:
        raise click.UsageError(f"{parameter.opts[0]} {value!r}: want {error}") from None
    return value


@click.command("init")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--genesis", "genesis_file", type=click.Path(path_type=Path), required=True, help="The network's genesis file."
)
@click.option("--chains", metavar="NAME,…", help="Which of its chains to take part in.  [default: all of them]")
@click.option("--peer", "peers", multiple=True, metavar="NAME=URL=KEY", help="A node to talk to; repeat for each.")
@click.option("--network", type=click.Path(path_type=Path), help="Take the peers from this network directory.")
@click.option("--observer", is_flag=True, help="No key: follow the chain, seal and sign nothing.")
@click.option(
    "--peer-listen",
    metavar="HOST:PORT",
    callback=_check_address,
    help=f"Where other nodes reach this one.  [default: 127.0.0.1:{_PEER_PORT}, or the first port after --network's]",
)
@click.option(
    "--api-listen",
    metavar="HOST:PORT",
    callback=_check_address,
    help=f"Where this machine's users do.  [default: 127.0.0.1:{_API_PORT}, or the first port after --network's]",
)
@json_option
def command(
    directory: Path,
    genesis_file: Path,
    chains: str | None,
    peers: tuple[str, ...],
    network: Path | None,
    observer: bool,
    peer_listen: str | None,
    api_listen: str | None,
) -> None:
    """Make a node directory that joins a network.

    It takes part in all chains of the network or in some: a household needs only jy1. It gets a `node.toml`, a copy of
    the genesis, and a new key in an encrypted file. Once the key is admitted (`gridmerit member apply`), peers let the
    node in by its certificate and learn where it is: one that is up is enough to begin with. Where peers are insecure
    they answer only to keys that stand in their own `node.toml`: hand the printed entry to whoever runs them.

    \b
    Examples:
      gridmerit init mynode --genesis mynet/genesis.json --network mynet
      gridmerit init mynode --genesis mynet/genesis.json --network mynet --chains jy1
      gridmerit start mynode
    """
    known_chains = load_network_document(genesis_file).names
    chosen = list(known_chains) if chains is None else parse_names(chains)
    for name in chosen:
        load_genesis(genesis_file, name)
    known = [_parse_peer(peer) for peer in peers]
    nodes = () if network is None else load_network(network).nodes
    known += [(node.name, node.peer_url, node.key) for node in nodes]
    peer_listen = peer_listen or f"127.0.0.1:{find_next_port([node.peer_url for node in nodes], _PEER_PORT)}"
    api_listen = api_listen or f"127.0.0.1:{find_next_port([node.api_url for node in nodes], _API_PORT)}"
    key = join_network(
        directory,
        genesis_file,
        chains=chosen,
        peers=known,
        peer_listen=peer_listen,
        api_listen=api_listen,
        is_observer=observer,
    )
    document = {"directory": str(directory), "chains": chosen, "public_key": key.hex(), "peers": len(known)}
    lines = [
        facts([("node", directory), ("chains", ", ".join(chosen)), ("public key", key.hex()), ("peers", len(known))]),
        "",
        "for the node.toml of others:",
        "",
        f'[[peers]]\nname = "{directory.name}"\nurl = "{"http" if observer else "https"}://{peer_listen}"',
        f'key = "{key.hex()}"',
        *([f"chains = {json.dumps(chosen)}"] if set(chosen) < set(known_chains) else []),
        "",
        f"next: gridmerit doctor --node {quote_path(directory)}; then gridmerit start {quote_path(directory)}",
    ]
    emit(document, "\n".join(lines))


def _parse_peer(text: str) -> tuple[str, str, str]:
    parts = text.split("=")
    if len(parts) != _PARTS_OF_A_PEER:
        raise click.UsageError(f"--peer {text!r}: want NAME=URL=KEY, such as wind-122=https://127.0.0.1:9101=d75a98…")
    name, url, key = parts
    return name, url, key
