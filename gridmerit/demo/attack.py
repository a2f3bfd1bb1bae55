"""An attack on a disposable network of real processes: one node turns, and the honest ones are asked what came of it.

What the attacker does is in `simulation/attacks/`, and runs in a process of its own; nothing here knows of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from consensus.contracts import DOUBLE_BALLOT, DOUBLE_VOTE, EQUIVOCATION
from gridmerit.errors import NobodyToAttack, NodeFailed
from gridmerit.network.layout import Network, NodeEntry
from gridmerit.network.processes import find_pid, get_state, read_log_tail, start_network, start_node, stop_nodes
from ledger.errors import GridmeritError
from ledger.signatures import SigningKey
from node.api.client import Client
from node.config import load_genesis
from node.credentials.keystore import load_key, load_passphrase
from node.errors import ChainOut, NotDisposable, RemoteNotFound
from node.queries.answers import BlockSummary, ChainStatus, NodeStatus
from node.system.clock import steady_ms

PAYMENT_UYUAN = 1_000_000
_EVIDENCE = (EQUIVOCATION, DOUBLE_VOTE, DOUBLE_BALLOT)
_PAGE = 1_000
_TICK_S = 0.5
_ANSWERS_WITHIN_MS = 30_000
_AGREE_WITHIN_MS = 15_000
_LIFETIME_BLOCKS = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class HonestView:
    """An honest node's view since the attack began; `score` is the attacker's worst with it, 100 is a ban."""

    node: str
    height: int
    final_height: int
    side_blocks: int
    reorgs: int
    deepest_reorg: int  # since the node started
    blocks_refused: int
    score: int
    has_banned: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentView:
    """The fate of the attacker's own payment of one yuan, by the first honest node."""

    deepest: int  # blocks that have buried it at most, its own included
    is_in_chain: bool
    is_final: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackOutcome:
    """The outcome of an attack; `agree` is whether honest nodes had one chain again once the attacker was gone."""

    attack: str
    attacker: str
    chain: str
    seconds: int
    honest: tuple[HonestView, ...]
    agree: bool
    blocks: int  # of the chain, since the attack began
    attacker_blocks: int
    evidence: int  # offences that the chain has recorded
    credit_before_upt: int
    credit_after_upt: int
    transfers: int  # that honest nodes acknowledged
    transfers_included: int
    payment: PaymentView


@dataclass(slots=True)
class _Watch:
    """Observations gathered while the attack goes on."""

    payment: bytes | None = None
    deepest: int = 0
    transfers: list[bytes] = field(default_factory=list)
    worst_scores: dict[str, int] = field(default_factory=dict)
    banning: set[str] = field(default_factory=set)


class Assault:
    """One attack on a network by one of its nodes; all others are honest. `engine` is that of the chain attacked."""

    def __init__(self, network: Network, attacker: NodeEntry) -> None:
        """Raises `NotDisposable` or `NobodyToAttack`."""
        genesis = load_genesis(network.genesis_path)
        if not genesis.disposable:
            raise NotDisposable(chain=network.chain)
        if len(network.nodes) == 1:
            raise NobodyToAttack(directory=network.directory)
        self.engine = genesis.params.consensus.engine
        self.network = network
        self.attacker = attacker
        self.honest = tuple(node for node in network.nodes if node != attacker)
        self._clients: dict[str, Client] = {}
        self._watch = _Watch()

    async def run(self, name: str, verb: Sequence[str], *, seconds: int) -> AttackOutcome:
        """Let the attacker run `verb` for so long, under a little load, and say what came of it.

        Nodes that ran before run on afterwards, all of them honest; the others are stopped. Raises `NodeFailed` and the
        errors of a client.
        """
        async with self._running(), self._connected():
            before = await self._ask_all()
            account = await self._first.account(self.attacker.name)
            await self._turn(verb)
            await self._press(steady_ms() + 1_000 * seconds)
            stop_nodes(self.network, [self.attacker])
            agree = await self._agree()
            after = await self._ask_all()
            blocks = await self._blocks(self._chain(before[self.honest[0].name]).height + 1)
            return AttackOutcome(
                attack=name,
                attacker=self.attacker.name,
                chain=self.network.chain,
                seconds=seconds,
                honest=tuple(self._compare(node.name, before, after) for node in self.honest),
                agree=agree,
                blocks=len(blocks),
                attacker_blocks=sum(block.producer_name == self.attacker.name for block in blocks),
                evidence=await self._count_evidence(blocks),
                credit_before_upt=account.credit_upt,
                credit_after_upt=(await self._first.account(self.attacker.name)).credit_upt,
                transfers=len(self._watch.transfers),
                transfers_included=await self._count_included(),
                payment=await self._look_at_payment(),
            )

    # --- processes -------------------------------------------------------------------------------

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        ran = [node for node in self.network.nodes if find_pid(self.network, node) is not None]
        try:
            await start_network(self.network)
            yield
        finally:
            stop_nodes(self.network, [node for node in self.network.nodes if node not in ran or node == self.attacker])
            if self.attacker in ran:
                start_node(self.network, self.attacker)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for node in self.network.nodes:
                client = Client(node.api_url, self.network.chain)
                self._clients[node.name] = await stack.enter_async_context(client)
            yield

    async def _turn(self, verb: Sequence[str]) -> None:
        """Restart the attacker as what it is, and wait until it answers; honest peers may have banned it by then."""
        stop_nodes(self.network, [self.attacker])
        start_node(self.network, self.attacker, verb)
        deadline_ms = steady_ms() + _ANSWERS_WITHIN_MS
        while (state := await get_state(self.network, self.attacker)).status is None:
            if state.pid is None or steady_ms() > deadline_ms:
                home = self.network.directory_of(self.attacker)
                log = read_log_tail(home)
                raise NodeFailed(name=self.attacker.name, detail="did not start to attack", directory=home, log=log)
            await asyncio.sleep(_TICK_S / 5)

    # --- while it goes on ------------------------------------------------------------------------

    async def _press(self, until_ms: int) -> None:
        """The attacker pays once; clients of honest nodes pay all the time, and their nodes are looked at."""
        home = self.network.directory_of(self.attacker)
        payee = (await self._first.account(self.honest[0].name)).address
        with suppress(GridmeritError):
            key = _load_key(home / "key.pem", home / "passphrase")
            self._watch.payment = await self._pay(self.attacker.name, key, payee, PAYMENT_UYUAN)
        players = [player for player in self.network.players if player.node != self.attacker.name]
        directory = self.network.directory
        keys = {item.name: _load_key(directory / item.key_file, directory / item.passphrase_file) for item in players}
        for player in cycle(players):
            with suppress(GridmeritError):
                self._watch.transfers.append(await self._pay(player.node, keys[player.name], payee, 1))
            await self._look()
            if steady_ms() >= until_ms:
                return
            await asyncio.sleep(_TICK_S)

    async def _pay(self, node: str, key: SigningKey, payee: str, amount_uyuan: int) -> bytes:
        payload = (bytes.fromhex(payee.removeprefix("0x")), amount_uyuan)
        return await self._clients[node].send(key, "transfer", payload, lifetime_blocks=_LIFETIME_BLOCKS)

    async def _look(self) -> None:
        watch = self._watch
        for name, status in (await self._ask_all()).items():
            attacker = next(peer for peer in status.peers if peer["key"] == self.attacker.key)
            watch.worst_scores[name] = max(watch.worst_scores.get(name, 0), attacker["score"])
            if attacker["banned_until_ms"] is not None:
                watch.banning.add(name)
        if watch.payment is not None:
            with suppress(RemoteNotFound):
                watch.deepest = max(watch.deepest, (await self._first.transaction(watch.payment)).depth)

    # --- afterwards ------------------------------------------------------------------------------

    @property
    def _first(self) -> Client:
        """A client of the honest node that is asked where one is enough."""
        return self._clients[self.honest[0].name]

    async def _ask_all(self) -> dict[str, NodeStatus]:
        return {node.name: await self._clients[node.name].node_status() for node in self.honest}

    def _chain(self, status: NodeStatus) -> ChainStatus:
        """Raises `ChainOut`."""
        for outage in status.outages:
            if outage.chain == self.network.chain:
                raise ChainOut(chain=outage.chain, code=outage.error, detail=outage.message)
        return next(chain for chain in status.chains if chain.chain == self.network.chain)

    async def _agree(self) -> bool:
        """Wait until all honest nodes have one block at the lowest of their heads' heights; False if they never do."""
        deadline_ms = steady_ms() + _AGREE_WITHIN_MS
        while True:
            height = min(self._chain(status).height for status in (await self._ask_all()).values())
            if len({(await self._clients[node.name].block(height)).hash for node in self.honest}) == 1:
                return True
            if steady_ms() > deadline_ms:
                return False
            await asyncio.sleep(_TICK_S)

    def _compare(self, name: str, before: dict[str, NodeStatus], after: dict[str, NodeStatus]) -> HonestView:
        old, new = self._chain(before[name]), self._chain(after[name])
        return HonestView(
            node=name,
            height=new.height,
            final_height=new.final_height,
            side_blocks=new.forks.side_blocks - old.forks.side_blocks,
            reorgs=new.forks.reorgs - old.forks.reorgs,
            deepest_reorg=new.forks.deepest_reorg,
            blocks_refused=new.blocks_refused - old.blocks_refused,
            score=self._watch.worst_scores.get(name, 0),
            has_banned=name in self._watch.banning,
        )

    async def _blocks(self, start: int) -> list[BlockSummary]:
        """The chain from a height on, as the first honest node has it."""
        blocks: list[BlockSummary] = []
        while page := await self._first.blocks(start + len(blocks), start + len(blocks) + _PAGE - 1):
            blocks += page
        return blocks

    async def _count_evidence(self, blocks: Sequence[BlockSummary]) -> int:
        """Offences that blocks record and that took effect."""
        details = [await self._first.block(block.hash) for block in blocks if block.tx_count]
        return sum(tx.kind in _EVIDENCE and not tx.code for block in details for tx in block.transactions)

    async def _count_included(self) -> int:
        found = 0
        for identity in self._watch.transfers:
            with suppress(RemoteNotFound):
                found += (await self._first.transaction(identity)).status == "included"
        return found

    async def _look_at_payment(self) -> PaymentView:
        deepest = self._watch.deepest
        if self._watch.payment is not None:
            with suppress(RemoteNotFound):
                status = await self._first.transaction(self._watch.payment)
                return PaymentView(
                    deepest=max(deepest, status.depth), is_in_chain=status.depth > 0, is_final=status.final
                )
        return PaymentView(deepest=deepest, is_in_chain=False, is_final=False)


def _load_key(file: Path, passphrase_file: Path) -> SigningKey:
    return load_key(file, load_passphrase(passphrase_file))
