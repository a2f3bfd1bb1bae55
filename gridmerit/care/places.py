"""The places of one node: its directory, its settings, and below its data a directory for each chain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from gridmerit.errors import NotANode
from gridmerit.network.layout import NODE_FILE, get_home, is_node
from ledger.errors import StoreError
from ledger.genesis import Genesis
from node.config import NodeConfig, load_chains, load_config
from node.driver.signing_file import SigningFile
from node.errors import UnknownChainName

GUARD, LEDGER = "guard", "ledger"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainPlace:
    """One chain's genesis, and the directory of its store and guard."""

    genesis: Genesis
    directory: Path

    @property
    def name(self) -> str:
        return self.genesis.params.name

    @property
    def ledger(self) -> Path:
        return self.directory / LEDGER

    @property
    def guard(self) -> Path:
        return self.directory / GUARD


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlace:
    """A node's directory, its settings and its chains."""

    home: Path
    config: NodeConfig
    chains: tuple[ChainPlace, ...]

    def choose(self, names: Sequence[str]) -> tuple[ChainPlace, ...]:
        """The chains of these names, all where there is none. Raises `UnknownChainName`."""
        known = {chain.name: chain for chain in self.chains}
        for name in names:
            if name not in known:
                raise UnknownChainName(name=name, known=", ".join(known))
        return tuple(known[name] for name in names) if names else self.chains


def open_place(directory: Path) -> NodePlace:
    """Read a node's settings. Raises `NotANode` or the `ConfigError` family."""
    home = get_home(directory)
    if not is_node(home):
        raise NotANode(directory=home)
    config = load_config(home / NODE_FILE)
    chains = tuple(
        ChainPlace(genesis=genesis, directory=config.data_dir / genesis.params.name) for genesis in load_chains(config)
    )
    return NodePlace(home=home, config=config, chains=chains)


@contextmanager
def locked(chains: Sequence[ChainPlace]) -> Iterator[tuple[SigningFile, ...]]:
    """Hold chains as a node does, so that none runs meanwhile; their guards. Raises `StoreLocked` or `StoreFailed`."""
    with ExitStack() as stack:
        files = []
        for chain in chains:
            try:
                files.append(stack.enter_context(SigningFile(chain.directory, chain.genesis.chain_id)))
            except StoreError as error:
                raise error.of(chain=chain.name, path=chain.directory) from None
        yield tuple(files)
