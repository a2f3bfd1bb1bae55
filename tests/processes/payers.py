"""Members of a network that go on paying and bidding, by whichever node answers, and note what was acknowledged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import count, cycle

from gridmerit.network.layout import Network
from ledger.errors import GridmeritError
from ledger.genesis import Genesis
from ledger.signatures import SigningKey
from ledger.transaction import Transaction, make_transaction
from market.orders import Side
from market.trading.contract import TradeIntention
from node.api.client import Client
from node.credentials.keystore import load_key, load_passphrase
from node.errors import RemoteNotFound

_TRANSFERS_PER_S, _BID_EVERY_S = 4.0, 2.0  # of each member
_OPEN_AHEAD = 3  # periods: what may be ordered
_RETRY_S = 0.1
_LIFETIME_BLOCKS = 5_000


class Payer:
    """One member's transfers, each handed over with the same bytes until a node has it; or its bids.

    `acknowledged` gets when each was signed (`time.monotonic`), by id.
    """

    def __init__(self, name: str, key: SigningKey, genesis: Genesis, acknowledged: dict[str, float]):
        self.name = name
        self._key, self._genesis, self._acknowledged = key, genesis, acknowledged
        self._sequence = count()
        self.refusal = ""  # the last one

    @property
    def address(self) -> bytes:
        return self._key.address

    async def send(self, clients: Sequence[Client], receiver: bytes) -> Transaction:
        """Have one of the nodes take on 1 µ¥; where its answer is lost, a block may tell that it had it."""
        made_s = time.monotonic()
        transaction = make_transaction(
            self._key,
            chain_id=self._genesis.chain_id,
            sequence=next(self._sequence),
            expiry_height=_LIFETIME_BLOCKS,
            kind="transfer",
            payload=(receiver, 1),
        )
        for client in cycle(clients):
            try:
                (error,) = await client.submit([transaction])
                if error is None or await is_included(client, transaction.id.hex()):
                    break
                self.refusal = str(error)
            except GridmeritError as error:
                self.refusal = str(error)
            await asyncio.sleep(_RETRY_S)
        self._acknowledged[transaction.id.hex()] = made_s
        return transaction

    async def pay(self, clients: Sequence[Client], receiver: bytes) -> None:
        """Go on for ever, by the first node that answers."""
        while True:
            await self.send(clients, receiver)
            await asyncio.sleep(1 / _TRANSFERS_PER_S)

    async def bid(self, client: Client) -> None:
        """Go on for ever with bids that nobody meets, where the node takes them."""
        while True:
            made_s = time.monotonic()
            try:
                status = await client.status()
                period = (status.time_ms - status.genesis_time_ms) // status.period_ms + _OPEN_AHEAD
                order = TradeIntention(Side.BID, period, 500_000, 1)
                transaction_id = await client.send(
                    self._key, "intention", order.to_payload(), lifetime_blocks=_LIFETIME_BLOCKS
                )
                self._acknowledged[transaction_id.hex()] = made_s
            except GridmeritError as error:
                self.refusal = str(error)
            await asyncio.sleep(_BID_EVERY_S)


def open_payers(network: Network, genesis: Genesis, acknowledged: dict[str, float]) -> list[Payer]:
    """All players of the network; the last ones are consumers, who may bid."""
    payers = []
    for player in network.players:
        passphrase = load_passphrase(network.directory / player.passphrase_file)
        key = load_key(network.directory / player.key_file, passphrase)
        payers.append(Payer(player.name, key, genesis, acknowledged))
    return payers


async def is_included(client: Client, identity: str) -> bool:
    try:
        return (await client.transaction(identity)).status == "included"
    except RemoteNotFound:
        return False
