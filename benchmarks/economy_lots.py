"""Spending lots of an asset: one sorted row an owner against a key for each lot, linked as a chain.

Each owner holds vouchers of some series and spends a part of the oldest, now and then of two. A figure is spends a
second through a block's overlay and the state root after it; no signatures. Time is the processor's; the best counts.
"""

from __future__ import annotations

import sys
from random import Random

from benchmarks.table import Row, print_table
from benchmarks.turns import take_turns
from ledger.contract import BlockContext
from ledger.overlay import Overlay
from ledger.params import ChainParams
from ledger.state import State
from market.assets.contract import AssetAct, spend_lots
from market.assets.lots import Lot, give
from market.assets.series import Series, get_series, put_series
from market.assets.series import spend as count_spent
from market.vouchers import VOUCHER

OWNERS, QUICK_OWNERS = 10_000, 200
BLOCK = 2_000  # spends
LOTS = (8, 64)
EACH = 1_000  # of a lot


def make_block() -> BlockContext:
    return BlockContext(
        params=ChainParams(name="JY1"),
        chain_id=bytes(32),
        genesis_time_ms=0,
        height=1,
        parent=bytes(32),
        producer=bytes(20),
        timestamp_ms=0,
        period=1,
        is_first_of_period=False,
    )


def put_all_series(view: Overlay, owners: int, lots: int) -> None:
    for number in range(1, lots + 1):
        issued = owners * EACH
        put_series(view, number, Series(VOUCHER, bytes(20), ("any", 0), 24 * number, issued, issued))


def make_rows(owners: list[bytes], lots: int) -> State:
    """A state in which every owner holds so many lots, by the ledger."""
    view = Overlay(State.empty())
    put_all_series(view, len(owners), lots)
    for owner in owners:
        give(view, VOUCHER, owner, [Lot(24 * number, number, EACH) for number in range(1, lots + 1)], 1)
    view.commit()
    return view.finish()[0]


def make_chains(owners: list[bytes], lots: int) -> State:
    """The same in the plainest way: a key for each lot, which names the next; a key for each owner, which names one."""
    view = Overlay(State.empty())
    put_all_series(view, len(owners), lots)
    for owner in owners:
        view.put(b"head/" + owner, 1)
        for number in range(1, lots + 1):
            view.put(b"lot/" + owner + number.to_bytes(8, "big"), (24 * number, EACH, (number + 1) % (lots + 1)))
    view.commit()
    return view.finish()[0]


def spend_rows(state: State, spends: list[tuple[bytes, int]]) -> State:
    """Blocks of spends by the ledger, each through its overlay to a root."""
    block = make_block()
    for first in range(0, len(spends), BLOCK):
        view = Overlay(state)
        for owner, amount in spends[first : first + BLOCK]:
            spend_lots(AssetAct(view, block, owner, amount=amount), VOUCHER, has_holders=False)
            view.commit()
        state = view.finish()[0]
    return state


def spend_chains(state: State, spends: list[tuple[bytes, int]]) -> State:
    """The same of linked lots."""
    for first in range(0, len(spends), BLOCK):
        view = Overlay(state)
        for owner, amount in spends[first : first + BLOCK]:
            _spend_chain(view, owner, amount)
            view.commit()
        state = view.finish()[0]
    return state


def _spend_chain(view: Overlay, owner: bytes, amount: int) -> None:
    head = number = view.get(b"head/" + owner)
    while amount:
        assert isinstance(number, int)
        key = b"lot/" + owner + number.to_bytes(8, "big")
        expiry, have, following = view.get(key)  # type: ignore[misc]
        part = min(have, amount)
        if part == have:
            view.delete(key)
            head = following
        else:
            view.put(key, (expiry, have - part, following))
        count_spent(view, number, part)
        view.emit("asset-spent", VOUCHER, number, owner, part)
        amount, number = amount - part, following
    view.put(b"head/" + owner, head)


def count_live(state: State, lots: int) -> list[int]:
    view = Overlay(state)
    return [series.live for number in range(1, lots + 1) if (series := get_series(view, number))]


def run(quick: bool = False) -> list[Row]:
    """Rows of spends per second; the best of several rounds counts on both sides."""
    rng, rows = Random(1), []
    owners = [rng.randbytes(20) for _ in range(QUICK_OWNERS if quick else OWNERS)]
    for lots in LOTS:
        spends = [(owner, rng.choice([1, EACH // 2, EACH + 1])) for owner in owners]
        rng.shuffle(spends)
        by_rows, by_chains = make_rows(owners, lots), make_chains(owners, lots)
        left = [count_live(end, lots) for end in (spend_rows(by_rows, spends), spend_chains(by_chains, spends))]
        assert left[0] == left[1]
        ours, chained = take_turns(
            lambda state=by_rows, spends=spends: spend_rows(state, spends),
            lambda state=by_chains, spends=spends: spend_chains(state, spends),
            rounds=2 if quick else 5,
        )
        name = f"lot spends, {lots} lots an owner"
        rows.append(Row(name, len(spends) / ours, "spends/s", "a key per lot, linked", chained / ours))
    return rows


if __name__ == "__main__":
    print_table(run(quick="--quick" in sys.argv[1:]))
