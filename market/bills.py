"""The split of a bill among those who share in it, and the netting of a period's obligations (text 003, 7.4 and 7.5).

Both are functions of amounts alone, in µ¥. On a chain that has shares, what each member paid as a period was settled is
split as it is: a statement of whom the money is for, which stays where settlement has put it (decision 63).

What subscribers hear, with what has been settled of the period up to then, or anew:

    bill               period, member, energy, paid, parts of producer, transmission, distribution and tax
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import TypeVar

from ledger.codec import expect_int
from ledger.contract import BlockContext
from ledger.hashing import Address
from ledger.overlay import Overlay
from market.bill_records import Bill, get_bill, put_bill
from market.claim_records import Served
from market.credit.score import PPM
from market.errors import OwesItself, SharesNotWhole
from market.netting import net, pair
from market.rounding import divide_pro_rata
from market.trading.settlement_record import PeriodSettlement, SettledShare, SettledTrade, SettledWithGrid

_Party = TypeVar("_Party", bytes, str)


def split_bill(amount_uyuan: int, shares_ppm: Mapping[str, int]) -> dict[str, int]:
    """The parts of a bill (µ¥) by name, as plants, transmission, distribution and tax share in it (text 003, 7.4).

    Parts are differences of floors of the cumulative share, in the order of the shares: never negative, and their sum
    is the bill. Raises `WrongShape` for what is no amount, and `SharesNotWhole` unless the shares sum to 1 000 000 ppm.
    """
    expect_int(amount_uyuan, "the bill")
    shares = [expect_int(share, f"the share of {name}", high=PPM) for name, share in shares_ppm.items()]
    if sum(shares) != PPM:
        raise SharesNotWhole(actual=sum(shares), expected=PPM)
    return dict(zip(shares_ppm, divide_pro_rata(amount_uyuan, shares), strict=True))


def net_obligations(
    obligations: Iterable[tuple[_Party, _Party, int]], balances: Mapping[_Party, int] | None = None
) -> tuple[list[tuple[_Party, _Party, int]], list[tuple[_Party, _Party, int]]]:
    """Transfers and arrears (debtor, creditor, µ¥) that come to the same as all the obligations (text 003, 7.5).

    Net debtors pay net creditors, both in the order of their addresses, by at most one transfer less than there are
    parties. Obligations of one pair add up. Where `balances` (µ¥) are given, a debtor pays no more than it has, pro
    rata, and the rest stays an obligation: netting creates no credit. Nothing is held by who has no balance there.
    Raises `WrongShape` for what is no amount, and `OwesItself`.
    """
    owed = [(debtor, creditor, amount) for creditor, debtor, amount in pair(net(_check(obligations)))]
    if balances is None:
        return owed, []
    transfers, arrears = [], []
    for debtor, rows in groupby(owed, key=lambda row: row[0]):
        creditors, amounts = zip(*[(creditor, amount) for _, creditor, amount in rows], strict=True)
        balance = expect_int(balances.get(debtor, 0), f"the balance of {debtor!r}", low=-(2**63))
        able = min(sum(amounts), max(0, balance))
        for creditor, amount, paid in zip(creditors, amounts, divide_pro_rata(able, amounts), strict=True):
            transfers.append((debtor, creditor, paid))
            arrears.append((debtor, creditor, amount - paid))
    return _drop_empty(transfers), _drop_empty(arrears)


def _check(obligations: Iterable[tuple[_Party, _Party, int]]) -> Iterable[tuple[_Party, _Party, int]]:
    """The obligations as (creditor, debtor, µ¥), once each is known to be one."""
    for debtor, creditor, amount in obligations:
        expect_int(amount, f"what {debtor!r} owes {creditor!r}")
        if debtor == creditor:
            raise OwesItself(party=debtor, amount=amount)
        yield creditor, debtor, amount


def _drop_empty(rows: list[tuple[_Party, _Party, int]]) -> list[tuple[_Party, _Party, int]]:
    return [row for row in rows if row[2]]


# --- on a chain ----------------------------------------------------------------------------------


def split_bills(view: Overlay, block: BlockContext, share: SettledShare) -> None:
    """Put down what members paid by these rows, with what they have paid of the period before."""
    if block.params.market.bills.is_split:
        _add(view, block, share.period, _sum_up(share.claims, share.trades, share.grid))


def correct_bills(
    view: Overlay, block: BlockContext, period: int, before: PeriodSettlement, after: PeriodSettlement
) -> None:
    """Have the bills of a period that is settled anew say what was paid in the end."""
    if not block.params.market.bills.is_split:
        return
    old, new = (_sum_up((), settled.trades, settled.grid) for settled in (before, after))
    changes = {}
    for member in {**old, **new}:
        (was_wh, was_uyuan), (now_wh, now_uyuan) = old.get(member, (0, 0)), new.get(member, (0, 0))
        if (was_wh, was_uyuan) != (now_wh, now_uyuan):
            changes[member] = now_wh - was_wh, now_uyuan - was_uyuan
    _add(view, block, period, changes)


def _sum_up(
    claims: Iterable[Served], trades: Iterable[SettledTrade], grid: Iterable[SettledWithGrid]
) -> dict[Address, tuple[int, int]]:
    """The energy (Wh) that each member has paid for, and what it paid (µ¥)."""
    rows = [(row.holder, row.redeemed_wh, row.wheeling_uyuan) for row in claims]
    rows += [(row.buyer, row.consumption_wh, row.buyer_pays_uyuan) for row in trades]
    rows += [(row.member, row.consumption_wh, row.pays_uyuan) for row in grid]
    sums: dict[Address, tuple[int, int]] = {}
    for member, energy_wh, paid_uyuan in rows:
        if energy_wh or paid_uyuan:
            before_wh, before_uyuan = sums.get(member, (0, 0))
            sums[member] = before_wh + energy_wh, before_uyuan + paid_uyuan
    return sums


def _add(view: Overlay, block: BlockContext, period: int, changes: Mapping[Address, tuple[int, int]]) -> None:
    """Change bills by so many Wh and µ¥; each is split as a whole, and so rounded once."""
    shares_ppm = block.params.market.bills.by_name
    for member, (energy_wh, paid_uyuan) in changes.items():
        before = get_bill(view, period, member) or Bill()
        sums = before.energy_wh + energy_wh, before.paid_uyuan + paid_uyuan
        parts = split_bill(sums[1], shares_ppm).values()
        put_bill(view, period, member, Bill._make((*sums, *parts, before.previous)))
        view.emit("bill", period, member, *sums, *parts)
