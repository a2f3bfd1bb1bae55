"""Runs inside a container: transfers of one µ¥, so many a second, to one node after the other.

    python load.py KEY_DIRECTORY RECEIVER RATE_PER_S NODE…

Prints the id of each transaction that a node has acknowledged; ends when its standard input does. One that gets no
answer is offered to the next node with the same bytes.
"""

from __future__ import annotations

import asyncio
import sys
from itertools import cycle
from pathlib import Path

from ledger.errors import GridmeritError
from ledger.transaction import Transaction, make_transaction
from node.api.client import Client
from node.credentials.keystore import load_key, load_passphrase
from node.errors import RemoteFailed, RemoteNotFound, Unreachable

_CHAIN = "jy1"
_LIFETIME_BLOCKS = 5_000


async def main(home: Path, receiver: str, rate_per_s: float, nodes: list[str]) -> None:
    key = load_key(home / "key.pem", load_passphrase(home / "passphrase"))
    loop = asyncio.get_running_loop()
    ended = loop.run_in_executor(None, sys.stdin.read)
    async with Client("http://127.0.0.1:9200", _CHAIN) as own:
        genesis = await own.genesis()
        account = await own.account(key.address)
        destination = bytes.fromhex((await own.account(receiver)).address.removeprefix("0x"))
    sequence, urls = account.next_sequence, cycle(f"http://{node}:9200" for node in nodes)
    while not ended.done():
        transaction = make_transaction(
            key,
            chain_id=genesis.chain_id,
            sequence=sequence,
            expiry_height=account.height + _LIFETIME_BLOCKS,
            kind="transfer",
            payload=(destination, 1),
        )
        await _offer(transaction, urls)
        print(transaction.id.hex(), flush=True)
        sequence += 1
        await asyncio.sleep(1 / rate_per_s)


async def _offer(transaction: Transaction, urls: cycle[str]) -> None:
    """Until a node has it."""
    for url in urls:
        try:
            async with Client(url, _CHAIN, timeout_s=2.0) as client:
                (error,) = await client.submit([transaction])
                if error is None or error.code == "AlreadyKnown" or await _is_known(client, transaction):
                    return
            print(f"{url}: {error}", file=sys.stderr, flush=True)
        except (Unreachable, RemoteFailed):
            pass
        except GridmeritError as error:
            print(f"{url}: {error}", file=sys.stderr, flush=True)
        await asyncio.sleep(0.1)


async def _is_known(client: Client, transaction: Transaction) -> bool:
    """True where a node that was lost before it could answer has passed it on, and a block has it already."""
    try:
        await client.transaction(transaction.id)
    except RemoteNotFound:
        return False
    return True


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4:]))
