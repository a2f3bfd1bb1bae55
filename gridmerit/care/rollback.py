"""Going back: blocks above the final one are taken off, as by a reorganisation, and fetched again from peers."""

from __future__ import annotations

from contextlib import closing
from typing import NamedTuple

from gridmerit.care.places import ChainPlace, locked
from gridmerit.errors import AboveHead, BelowFinality
from ledger.chain import BlockNode, Chain
from ledger.errors import StoreError
from ledger.store import LevelStore


class Rollback(NamedTuple):
    """The height before and after, and the final one, below which nothing goes back."""

    chain: str
    before: int
    after: int
    final: int


def roll_back(place: ChainPlace, *, height: int | None, count: int | None, is_dry: bool) -> Rollback:
    """Take blocks off down to a height, or so many. Votes and parents stay on record; its height follows the head.

    The record goes first, as for a reorganisation: whatever end comes between leaves a store that opens. Raises
    `BelowFinality`, `AboveHead` and the `StoreError` family.
    """
    with locked([place]) as [guard]:
        try:
            with closing(LevelStore(place.ledger)) as store:
                record = guard.load(ledger_exists=True)
                chain = Chain(place.genesis, store)
                before = chain.head.height
                after = height if height is not None else before - (count or 0)
                if after > before:
                    raise AboveHead(chain=place.name, head=before, actual=after)
                if after < chain.final_height:
                    raise BelowFinality(chain=place.name, actual=after, final=chain.final_height)
                if after < before and not is_dry:
                    changes = chain.move_head(_get_canonical(chain, after)).changes
                    guard.save(record.after_head(after))
                    store.write(changes)
                return Rollback(place.name, before, after, chain.final_height)
        except StoreError as error:
            raise error.of(chain=place.name, path=place.directory) from None


def _get_canonical(chain: Chain, height: int) -> BlockNode:
    """The block at a height, from the final one on."""
    block_hash = chain.hash_at(height)
    entry = None if block_hash is None else chain.get(block_hash)
    assert entry is not None, "the chain holds all blocks from the final one on"
    return entry
