"""Pruning: the bodies that a node keeps by its owner's choice, and small steps towards that.

Headers, certificates and the proofs of member-set changes stay, and with them the proofs of all that is kept. A body
goes once its block is final, deep below the head, older than any period that is still open or may be settled anew, and
read by every companion that has asked to hold it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from ledger import rows
from ledger.chain import Chain
from ledger.params import ChainParams
from ledger.store import KeyValue
from market.credit.score import PPM
from node.chain.events import Action, Compact, Persist, SetTimer

PRUNE = "prune"
STEP_ROWS = 512  # dropped in one step, and not much more: some milliseconds
_PAUSE_MS = 100  # between two steps while there is more to drop
_REST_MS = 60_000  # and at most so long between two looks
_UNITS = {"bytes": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_LEAST_GARBAGE_BYTES = 1_000_000  # less is not worth a compaction
_GARBAGE_SHARE = 8  # one part in so many of the store: a compaction writes nearly all of it anew
_MAX_DIGITS = 15
_FILLED, _OF = 7, 8  # of the bytes to keep that older bodies are fetched for: new blocks drop none of them at once


class Keep(NamedTuple):
    """The choice of what to keep: all bodies, those of the newest periods, or the newest that fill so many bytes."""

    what: Literal["all", "periods", "bytes"]
    amount: int = 0

    def __str__(self) -> str:
        if self.what != "bytes":
            return "all" if self.what == "all" else f"{self.amount} {self.what}"
        unit = max((name for name, size in _UNITS.items() if self.amount % size == 0), key=_UNITS.__getitem__)
        return f"{self.amount // _UNITS[unit]} {unit}"


ALL: Final = Keep("all")


def parse_keep(text: str) -> Keep:
    """A choice from "all", "96 periods" or "20 GB". Raises `ValueError`, which says what is wanted."""
    if text == "all":
        return ALL
    amount, _, unit = text.partition(" ")
    if amount.isascii() and amount.isdecimal() and len(amount) <= _MAX_DIGITS and int(amount) > 0:
        if unit == "periods":
            return Keep("periods", int(amount))
        if unit in _UNITS:
            return Keep("bytes", int(amount) * _UNITS[unit])
    raise ValueError('"all", a number of periods such as "96 periods", or of bytes such as "20 GB"')


def compute_least_periods(params: ChainParams) -> int:
    """The newest periods whose bodies no choice gives up: from the first orders to the last correction, and one more.

    Their members may still look up and prove what they have sent, and a peer that was away for so long catches up.
    """
    market = params.market
    return -(-(market.open_ppm + market.settle_ppm + market.correction_ppm) // PPM) + 1


class Pruner:
    """The horizon of one chain, and the steps that bring its store there; it goes on where a crash has left it."""

    def __init__(self, chain: Chain, store: KeyValue, params: ChainParams, keep: Keep) -> None:
        self.held_from: int | None = None  # the lowest height that a companion has still to read
        self._chain = chain
        self._store = store
        self._params = params
        self._keep = keep

    def begin(self, now_ms: int) -> list[Action]:
        """Cause: the node has started."""
        return [] if self._keep == ALL else [SetTimer(name=PRUNE, at_ms=now_ms)]

    def on_timer(self, now_ms: int) -> list[Action]:
        """Drop a step's rows, or have the space of all that was dropped given back. Cause: a timer."""
        changes = self._chain.prune(self.find_horizon(), limit=STEP_ROWS)
        if changes:
            return [Persist(changes=changes), SetTimer(name=PRUNE, at_ms=now_ms + _PAUSE_MS)]
        again = SetTimer(name=PRUNE, at_ms=now_ms + min(_REST_MS, self._params.ledger.period_ms))
        return [Compact(ranges=self._list_ranges()), again] if self._is_worth_compacting() else [again]

    def _is_worth_compacting(self) -> bool:
        """Tell if what was dropped fills enough of the disk.

        A compaction of any range writes nearly the whole store anew, since new tables span it: so the work for each
        byte that is dropped stays the same as a chain grows longer.
        """
        *by_height, _ = self._list_ranges()
        garbage = sum(self._store.approximate_size(first, last) for first, last in by_height)
        return garbage >= max(_LEAST_GARBAGE_BYTES, self._store.approximate_size(b"", rows.LAST) // _GARBAGE_SHARE)

    def find_horizon(self) -> int:
        """The height below which bodies may go, as far as the chain, its members and companions need them no more."""
        if self._keep == ALL:
            return 0
        horizon = self._find_period(compute_least_periods(self._params))
        if self._keep.what == "periods":
            horizon = min(horizon, self._find_period(self._keep.amount))
        else:
            horizon = min(horizon, self._find_bytes(self._keep.amount))
        horizon = min(horizon, self._chain.prunable_below)
        return horizon if self.held_from is None else min(horizon, self.held_from)

    def wants(self, height: int) -> bool:
        """Tell if the body right below the lowest one held is one to keep: pruning will not drop it at once."""
        if self._keep == ALL or height >= self._chain.prunable_below:
            return True
        periods = compute_least_periods(self._params)
        if self._keep.what == "periods":
            periods = max(periods, self._keep.amount)
        elif self._size_from(self._chain.bodies_from) <= self._keep.amount * _FILLED // _OF:
            return True
        final = self._chain.get_header(self._chain.final_hash)
        assert final is not None, "it is on the chain"
        return self._period_at(height) > final.period - periods

    def measure(self) -> dict[str, int]:
        """Bytes on disk by kind of row, about: what was written last is still in the log, what was deleted may stay."""
        found = {kind: self._store.approximate_size(prefix, prefix + rows.LAST) for kind, prefix in rows.KINDS.items()}
        return {**found, "others": max(0, self._store.approximate_size(b"", rows.LAST) - sum(found.values()))}

    def _find_period(self, count: int) -> int:
        """The first height of the newest `count` periods, that of the final block being one."""
        final = self._chain.get_header(self._chain.final_hash)
        assert final is not None, "it is on the chain"
        return self._search(lambda height: self._period_at(height) > final.period - count)

    def _find_bytes(self, limit: int) -> int:
        """The lowest height from which bodies and receipts take no more than `limit` bytes on disk."""
        return self._search(lambda height: self._size_from(height) <= limit)

    def _search(self, is_kept: Callable[[int], bool]) -> int:
        """The lowest height that is kept, of those up to the final one."""
        heights = range(self._chain.bodies_from, self._chain.final_height + 1)
        return self._chain.bodies_from + bisect_left(heights, True, key=is_kept)

    def _period_at(self, height: int) -> int:
        header = self._chain.get_header(self._chain.hash_at(height) or b"")
        assert header is not None, "a height below the head"
        return header.period

    def _size_from(self, height: int) -> int:
        spans = rows.spans_of_bodies(height, self._chain.head.height + 1)
        return sum(self._store.approximate_size(first, last) for first, last in spans)

    def _list_ranges(self) -> tuple[tuple[bytes, bytes], ...]:
        """The ranges of keys that hold what was dropped: those by height have nothing else, then those by id."""
        bodies_from = self._chain.bodies_from
        return (
            (rows.BLOCK, rows.block_key(bodies_from)),
            (rows.RECEIPTS, rows.receipts_key(bodies_from)),
            (rows.UNDO, rows.undo_key(self._chain.final_height)),
            (rows.TRANSACTION, rows.TRANSACTION + rows.LAST),
        )
