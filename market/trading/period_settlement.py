"""The settlement of a delivery period: readings spread over trades, money moved, credit earned, one record kept.

A member's consumption is spread over all it bought and its output over all it sold; a member that bought or sold
nothing settles that meter with the grid company. So every Wh that was metered is settled exactly once.
Beside a credit chain no member is scored here: that chain hears what was delivered, and scores it.

Of a meter that was not heard the record holds what is imputed: a buyer has taken what it agreed to, from the grid
company, and a seller has made nothing. Neither has delivered, so it scores nothing. Once readings change, the
period is settled anew from all of them, and the difference is paid: what it comes to does not depend on the order in
which they came (decision 32).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

from ledger.accounts import Account, get_account, put_account
from ledger.codec import Value
from ledger.contract import BlockContext
from ledger.genesis import get_grid_operator
from ledger.hashing import Address
from ledger.outbox import post
from ledger.overlay import Overlay
from ledger.params import MarketParams
from market.credit.score import add_score, assess_delivery, correct_score
from market.messages import DELIVERED
from market.metering import Reading
from market.settlement import get_price_limit, settle_trade, settle_with_grid, spread
from market.trading.quotas import get_wheeling
from market.trading.reserves import compute_trade_reserves, set_aside
from market.trading.trades import TradeRecord

_SETTLEMENT = b"market/settlement/"


class SettledTrade(NamedTuple):
    """One trade as metered: the parts of both readings that fall on it (Wh) and its three legs (µ¥).

    Indexes have gaps where the scheduling chain accepted nothing of a trade. An imputed side's meter was not heard.
    """

    trade_index: int
    buyer: Address
    seller: Address
    consumption_wh: int
    output_wh: int
    buyer_pays_uyuan: int
    seller_receives_uyuan: int
    grid_receives_uyuan: int
    traded_wh: int
    is_consumption_imputed: int = 0
    is_output_imputed: int = 0

    @property
    def metered_consumption_wh(self) -> int:
        return 0 if self.is_consumption_imputed else self.consumption_wh


class SettledWithGrid(NamedTuple):
    """One member's consumption at retail and output at feed-in, outside all trades."""

    member: Address
    consumption_wh: int
    output_wh: int
    pays_uyuan: int
    receives_uyuan: int


class PeriodSettlement(NamedTuple):
    """A settled period: its trades by index (none where it was void or lapsed), and the rest by order of reading."""

    trades: tuple[SettledTrade, ...]
    grid: tuple[SettledWithGrid, ...]


NOTHING = PeriodSettlement((), ())


def get_settlement(view: Overlay, period: int) -> PeriodSettlement | None:
    """The record of a period that is over; None before that, and once it is no longer kept."""
    value = view.get(_settlement_key(period))
    if value is None:
        return None
    trades, grid = cast(tuple[tuple[tuple[object, ...], ...], ...], value)
    return PeriodSettlement(
        trades=tuple([SettledTrade._make(row) for row in trades]),
        grid=tuple([SettledWithGrid._make(row) for row in grid]),
    )


def has_settlement(view: Overlay, period: int) -> bool:
    return view.get(_settlement_key(period)) is not None


def compute_settlement(
    trades: Sequence[TradeRecord], readings: Sequence[Reading], wheeling: Mapping[Address, int], params: MarketParams
) -> PeriodSettlement:
    """Settle the trades that bind by the readings; `wheeling` is in µ¥ per kWh by buyer."""
    return PeriodSettlement(
        tuple(_settle_trades(trades, readings, wheeling, params)), tuple(_settle_rest(trades, readings, params))
    )


def settle_period(
    view: Overlay, block: BlockContext, period: int, trades: Sequence[TradeRecord], readings: Sequence[Reading]
) -> None:
    """Settle a period by its readings; `trades` are those that bind.

    The trades' reserves are released first, then money moves, and a balance may end in arrears. Both sides of
    every trade are scored, by Eqs (1), (2) and (12) of text 000, or reported to the chain that does so.
    """
    params = block.params.market
    wheeling = get_wheeling(view, block, period, [record.buyer for record in trades])
    settlement = compute_settlement(trades, readings, wheeling, params)
    is_scored_here = "credit" not in block.siblings
    accounts = _Accounts(view, get_grid_operator(view))
    accounts.release(compute_trade_reserves(trades, wheeling, params))
    for member, consumed_wh, produced_wh in _list_imputed(settlement):
        view.emit("imputed", period, member, consumed_wh, produced_wh)
    for record, row in zip(trades, settlement.trades, strict=True):
        accounts.collect(row.buyer, row.buyer_pays_uyuan)
        accounts.collect(row.seller, -row.seller_receives_uyuan)
        view.emit("settlement", period, row.buyer, row.seller, *_get_legs(row))
        for address, score_upt in _score(record, row, params) if is_scored_here else ():
            credit_upt = accounts.add_score(address, score_upt, record.volume_wh, params)
            view.emit("credit", period, address, score_upt, credit_upt)
    for rest in settlement.grid:
        accounts.collect(rest.member, rest.pays_uyuan - rest.receives_uyuan)
        view.emit("grid-settlement", period, *rest)
    accounts.write()
    put_settlement(view, period, settlement)
    if trades and not is_scored_here:
        post(view, DELIVERED, period, _report_deliveries(trades, settlement.trades), height=block.height)
    view.emit("settled", period)


def resettle_period(
    view: Overlay, block: BlockContext, period: int, trades: Sequence[TradeRecord], readings: Sequence[Reading]
) -> list[Value]:
    """Pay and score the difference to what a settled period was settled at; the rows of `redelivered` about it.

    Those are the trades of which another part was metered, with what was before and what is now; the chain that keeps
    the credit scores them, where there is one.
    """
    params = block.params.market
    before = get_settlement(view, period)
    assert before is not None, period
    wheeling = get_wheeling(view, block, period, [record.buyer for record in trades])
    after = compute_settlement(trades, readings, wheeling, params)
    accounts = _Accounts(view, get_grid_operator(view))
    changed = [
        (record, old, new) for record, old, new in zip(trades, before.trades, after.trades, strict=True) if old != new
    ]
    for record, old, new in changed:
        accounts.collect(new.buyer, new.buyer_pays_uyuan - old.buyer_pays_uyuan)
        accounts.collect(new.seller, old.seller_receives_uyuan - new.seller_receives_uyuan)
        view.emit("resettlement", period, new.buyer, new.seller, *_get_legs(new))
        if "credit" in block.siblings:
            continue
        for (address, new_upt), (_, old_upt) in zip(
            _score(record, new, params), _score(record, old, params), strict=True
        ):
            if new_upt != old_upt:
                credit_upt = accounts.correct_score(address, new_upt - old_upt, record.volume_wh, params)
                view.emit("credit-corrected", period, address, new_upt, credit_upt)
    _resettle_rest(view, accounts, period, before.grid, after.grid)
    accounts.write()
    put_settlement(view, period, after)
    view.emit("resettled", period)
    return [
        (period, *report, old.metered_consumption_wh, old.output_wh)
        for (record, old, new) in changed
        for report in _report_deliveries([record], [new])
    ]


def _resettle_rest(
    view: Overlay,
    accounts: _Accounts,
    period: int,
    before: Sequence[SettledWithGrid],
    after: Sequence[SettledWithGrid],
) -> None:
    old, new = ({row.member: row for row in rows} for rows in (before, after))
    for member in dict.fromkeys((*old, *new)):
        nothing = SettledWithGrid(member, 0, 0, 0, 0)
        was, now = old.get(member, nothing), new.get(member, nothing)
        if was != now:
            accounts.collect(member, (now.pays_uyuan - now.receives_uyuan) - (was.pays_uyuan - was.receives_uyuan))
            view.emit("grid-resettlement", period, *now)


def _get_legs(row: SettledTrade) -> tuple[int, ...]:
    return (row.buyer_pays_uyuan, row.seller_receives_uyuan, row.grid_receives_uyuan, row.traded_wh)


def _list_imputed(settlement: PeriodSettlement) -> list[tuple[Address, int, int]]:
    """Members with imputed readings, in the order of their trades: consumed and produced, Wh."""
    consumed_wh: dict[Address, int] = {}
    for row in settlement.trades:
        if row.is_consumption_imputed:
            consumed_wh[row.buyer] = consumed_wh.get(row.buyer, 0) + row.consumption_wh
        if row.is_output_imputed:
            consumed_wh.setdefault(row.seller, 0)
    return [(member, wh, 0) for member, wh in consumed_wh.items()]


def put_settlement(view: Overlay, period: int, settlement: PeriodSettlement) -> None:
    trades, grid = settlement
    view.put(_settlement_key(period), (tuple(map(tuple, trades)), tuple(map(tuple, grid))))


def drop_settlement(view: Overlay, period: int) -> None:
    view.delete(_settlement_key(period))


def _report_deliveries(trades: Sequence[TradeRecord], settled: Sequence[SettledTrade]) -> list[tuple[Value, ...]]:
    """The rows of `delivered`: what was agreed of each trade, and what was metered of it."""
    return [
        (row.trade_index, row.buyer, row.seller, record.volume_wh, row.metered_consumption_wh, row.output_wh)
        for record, row in zip(trades, settled, strict=True)
    ]


def _settle_trades(
    trades: Sequence[TradeRecord], readings: Sequence[Reading], wheeling: Mapping[Address, int], params: MarketParams
) -> list[SettledTrade]:
    volumes_wh = [record.volume_wh for record in trades]
    consumed_wh = {reading.owner: reading.consumed_wh for reading in readings}
    produced_wh = {reading.owner: reading.produced_wh for reading in readings}
    consumption_wh = spread(consumed_wh, [record.buyer for record in trades], volumes_wh)
    output_wh = spread(produced_wh, [record.seller for record in trades], volumes_wh)
    rows = []
    for record, consumed, produced in zip(trades, consumption_wh, output_wh, strict=True):
        is_imputed = record.buyer not in consumed_wh
        taken_wh = record.volume_wh if is_imputed else consumed
        legs = settle_trade(
            price_uyuan_per_kwh=record.price_uyuan_per_kwh,
            wheeling_uyuan_per_kwh=wheeling[record.buyer],
            consumption_wh=taken_wh,
            output_wh=produced,
            retail_uyuan_per_kwh=params.retail_uyuan_per_kwh,
            feed_in_uyuan_per_kwh=params.feed_in_uyuan_per_kwh,
            limit_wh=get_price_limit(record.volume_wh, params.over_delivery_ppm),
            is_imputed=is_imputed,
        )
        rows.append(
            SettledTrade(
                trade_index=record.trade_index,
                buyer=record.buyer,
                seller=record.seller,
                consumption_wh=taken_wh,
                output_wh=produced,
                buyer_pays_uyuan=legs.buyer_pays_uyuan,
                seller_receives_uyuan=legs.seller_receives_uyuan,
                grid_receives_uyuan=legs.grid_receives_uyuan,
                traded_wh=legs.traded_wh,
                is_consumption_imputed=int(is_imputed),
                is_output_imputed=int(record.seller not in produced_wh),
            )
        )
    return rows


def _settle_rest(
    trades: Sequence[TradeRecord], readings: Sequence[Reading], params: MarketParams
) -> list[SettledWithGrid]:
    """The readings' remainder beside the trades; a member with nothing left has no row."""
    buyers = {record.buyer for record in trades}
    sellers = {record.seller for record in trades}
    rows = []
    for owner, consumed_wh, produced_wh in readings:
        consumption_wh = 0 if owner in buyers else consumed_wh
        output_wh = 0 if owner in sellers else produced_wh
        if not consumption_wh and not output_wh:
            continue
        legs = settle_with_grid(
            consumption_wh=consumption_wh,
            output_wh=output_wh,
            retail_uyuan_per_kwh=params.retail_uyuan_per_kwh,
            feed_in_uyuan_per_kwh=params.feed_in_uyuan_per_kwh,
        )
        row = SettledWithGrid(owner, consumption_wh, output_wh, legs.buyer_pays_uyuan, legs.seller_receives_uyuan)
        rows.append(row)
    return rows


def _score(record: TradeRecord, row: SettledTrade, params: MarketParams) -> tuple[tuple[Address, int], ...]:
    """Scores of buyer and seller in micro-points; Eq. (12) makes allowance for the seller's weather."""
    factor_ppm = params.natural_factor_ppm
    return (
        (record.buyer, assess_delivery(row.metered_consumption_wh, record.volume_wh)),
        (record.seller, assess_delivery(row.output_wh, record.volume_wh, natural_factor_ppm=factor_ppm)),
    )


class _Accounts:
    """The accounts that one settlement touches, each read and written once; the grid company is the payee."""

    def __init__(self, view: Overlay, operator: Address) -> None:
        self._view = view
        self._operator = operator
        self._accounts: dict[Address, Account] = {}
        self._collected_uyuan = 0

    def release(self, reserves_uyuan: Mapping[Address, int]) -> None:
        for address, reserve_uyuan in reserves_uyuan.items():
            self._accounts[address] = set_aside(self._get(address), -reserve_uyuan)

    def collect(self, address: Address, amount_uyuan: int) -> None:
        """Move money from the account to the grid company, or the other way where it is negative."""
        account = self._get(address)
        self._accounts[address] = account._replace(balance_uyuan=account.balance_uyuan - amount_uyuan)
        self._collected_uyuan += amount_uyuan

    def add_score(self, address: Address, score_upt: int, agreed_wh: int, params: MarketParams) -> int:
        """Count one more delivery; the account's new credit."""
        account = add_score(self._get(address), score_upt, agreed_wh=agreed_wh, params=params)
        self._accounts[address] = account
        return account.credit_upt

    def correct_score(self, address: Address, change_upt: int, agreed_wh: int, params: MarketParams) -> int:
        """Change the score of a delivery that has been counted; the account's new credit."""
        account = correct_score(self._get(address), change_upt, agreed_wh=agreed_wh, params=params)
        self._accounts[address] = account
        return account.credit_upt

    def write(self) -> None:
        operator = self._get(self._operator)
        balance_uyuan = operator.balance_uyuan + self._collected_uyuan
        self._accounts[self._operator] = operator._replace(balance_uyuan=balance_uyuan)
        for address, account in self._accounts.items():
            put_account(self._view, address, account)

    def _get(self, address: Address) -> Account:
        account = self._accounts.get(address)
        return get_account(self._view, address) if account is None else account


def _settlement_key(period: int) -> bytes:
    return _SETTLEMENT + period.to_bytes(8, "big")
