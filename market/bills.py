"""The split of a bill among those who share in it, and the netting of a period's obligations (text 003, 7.4 and 7.5).

Both are functions of amounts alone, in µ¥: whoever calls them moves the money.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import TypeVar

from ledger.codec import expect_int
from market.credit.score import PPM
from market.errors import OwesItself, SharesNotWhole
from market.netting import net, pair
from market.rounding import divide_pro_rata

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
