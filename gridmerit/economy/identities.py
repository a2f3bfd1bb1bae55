"""The identities of the economy, held against everything that a trading chain's state has, by its rows alone.

- The sum of all accounts, pots among them, is what the genesis gave out, plus deposits, less withdrawals.
- Of each series issued = live + spent + expired, and what is held of it is what is live.
- Each issuer's vouchers that are live, times their price, are covered by its backing.
- Of each claim that was served redeemed + short + cancelled = spent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from gridmerit.economy.week import Vouchers
from ledger.accounts import decode_account, get_account
from ledger.overlay import Overlay
from ledger.state import State
from market.assets.lots import drop_expired
from market.assets.series import Series
from market.claim_records import CLAIM, get_served
from market.treasury import get_booked
from market.vouchers import VOUCHER, get_backing, get_live

_ACCOUNT, _SERIES, _HELD = b"a/", b"asset/series/", b"asset/held/"


def find_breaches(state: State, period: int, *, founding_uyuan: int, price_uyuan: int) -> list[str]:
    """Every identity that does not hold after a block of this period, in words; `price_uyuan` is a voucher's."""
    view = Overlay(state)
    series, held, money_uyuan = _read_rows(state, view, period)
    return [
        *_check_money(view, money_uyuan, founding_uyuan),
        *_check_series(view, series, held),
        *_check_backing(view, series, price_uyuan),
    ]


def count_vouchers(state: State) -> Vouchers:
    """The vouchers of all issuers, of series that are still kept."""
    series = _read_rows(state, Overlay(state), 0)[0].values()
    kept = [(row.issued, row.live, row.spent, row.expired) for row in series if row.asset_class == VOUCHER]
    return Vouchers(*map(sum, zip(*kept, strict=True))) if kept else Vouchers(0, 0, 0, 0)


def _read_rows(state: State, view: Overlay, period: int) -> tuple[dict[int, Series], Counter[int], int]:
    """The series by number, how much is held of each, and the money in all accounts (µ¥)."""
    series: dict[int, Series] = {}
    held: Counter[int] = Counter()
    money_uyuan = 0
    for key, _ in state.items():
        if key.startswith(_ACCOUNT):
            account = decode_account(view.get(key))
            money_uyuan += account.balance_uyuan + account.reserved_uyuan
        elif key.startswith(_SERIES):
            fields: Any = view.get(key)
            series[int.from_bytes(key.removeprefix(_SERIES), "big")] = Series(*fields)
        elif key.startswith(_HELD):
            lots: Any = view.get(key)
            for _, number, amount in drop_expired(lots, period):
                held[number] += amount
    return series, held, money_uyuan


def _check_money(view: Overlay, money_uyuan: int, founding_uyuan: int) -> Iterator[str]:
    booked = get_booked(view)
    expected_uyuan = founding_uyuan + booked.deposited_uyuan - booked.withdrawn_uyuan
    if money_uyuan != expected_uyuan:
        yield f"accounts hold {money_uyuan} µ¥, and genesis and banks gave {expected_uyuan}"


def _check_series(view: Overlay, series: dict[int, Series], held: Counter[int]) -> Iterator[str]:
    for number, row in series.items():
        if row.issued != row.live + row.spent + row.expired or min(row[4:8]) < 0:
            yield f"series {number}: issued {row.issued}, live {row.live}, spent {row.spent}, expired {row.expired}"
        if held[number] != row.live:
            yield f"series {number}: {row.live} are live, {held[number]} are held"
        served = get_served(view, number) if row.asset_class == CLAIM else []
        served_wh = sum(part.held_wh for part in served)
        if served and (row.live or served_wh != row.spent):
            yield f"claim {number}: {row.spent} Wh spent, {served_wh} served"
    for number in held.keys() - series.keys():
        yield f"series {number}: {held[number]} are held of what was never issued"


def _check_backing(view: Overlay, series: dict[int, Series], price_uyuan: int) -> Iterator[str]:
    live: Counter[bytes] = Counter()
    for row in series.values():
        if row.asset_class == VOUCHER:
            live[row.issuer] += row.live
    for issuer, count in live.items():
        backing_uyuan = get_account(view, get_backing(issuer)).balance_uyuan
        if count != get_live(view, issuer) or count * price_uyuan > backing_uyuan:
            yield f"{count} vouchers of {issuer.hex()[:8]} are covered by {backing_uyuan} µ¥"
