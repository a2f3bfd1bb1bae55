"""The asset ledger's contract: issue, move, redeem and renew, and the hook by which timed series expire.

What an asset is, and who may do what with it, its class says: a `Policy`, by the name that stands in a payload. Claims,
vouchers and notes are such classes (`market/economy.py` puts them in).

What subscribers hear, with amounts in what the class counts in:

    asset-issued     class, series, issuer, holder, amount
    asset-moved      class, series, holder before, holder, amount: one for each lot
    asset-sold       class, series or 0, seller, buyer, amount, price in µ¥; after what moved
    asset-spent      class, series, holder, amount: redeemed, cancelled or renewed
    asset-renewed    class, series, new series, holder, amount
    asset-expired    class, series, issuer, amount that was live
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple, cast

from ledger.accounts import check_member
from ledger.codec import Value, expect_array, expect_bytes, expect_int, expect_str
from ledger.contract import BlockContext, Handler, Hook
from ledger.hashing import ADDRESS_SIZE, Address
from ledger.overlay import Overlay
from ledger.transaction import Transaction
from market.assets.lots import Lot, get_lots, give, shift, take
from market.assets.purchase import Purchase, pay_for
from market.assets.series import (
    DAY,
    MAX_AMOUNT,
    Series,
    drop_series,
    due_key,
    end_of_day,
    expire,
    issue_more,
    require_series,
    spend,
    walk_series,
)
from market.errors import UnknownAssetClass

ISSUE, MOVE, REDEEM, RENEW = "asset-issue", "asset-move", "asset-redeem", "asset-renew"

_DAY = b"asset/day"


class AssetAct(NamedTuple):
    """One act with assets: who does it, in which block, and as far as it names them whom it concerns and how much."""

    view: Overlay
    block: BlockContext
    sender: Address
    amount: int = 0
    series: int = 0
    receiver: Address = b""
    terms: Value = None

    @property
    def now(self) -> int:
        return self.block.period


class Policy(NamedTuple):
    """The rules of one class of assets. Each raises what speaks against the act."""

    issue: Callable[[AssetAct], None]
    check_move: Callable[[AssetAct], None]
    redeem: Callable[[AssetAct], None]
    renew: Callable[[AssetAct], None]
    end: Callable[[Overlay, BlockContext, Series, int], None]  # of a timed series, with the amount that has expired
    has_holders: bool  # a series knows who holds it


def asset_handlers(policies: Mapping[str, Policy]) -> dict[str, Handler]:
    """The ledger's kinds of transactions, for these classes."""

    def process(transact: Callable[[Mapping[str, Policy], Overlay, BlockContext, Transaction], None]) -> Handler:
        return lambda view, block, transaction: transact(policies, view, block, transaction)

    return {ISSUE: process(_issue), MOVE: process(_move), REDEEM: process(_redeem), RENEW: process(_renew)}


def asset_hook(policies: Mapping[str, Policy]) -> Hook:
    """The hook by which series of these classes expire, at a period's first block."""
    return lambda view, block: _expire_due(policies, view, block)


# --- acts ----------------------------------------------------------------------------------------


def _issue(policies: Mapping[str, Policy], view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`asset-issue [class, receiver, amount, terms]`: issue to a member; the class reads the terms.

    Raises `WrongShape`, `UnknownAssetClass`, `UnknownMember`, and what the class does.
    """
    name, receiver, amount, terms = expect_array(transaction.payload, 4, ISSUE)
    act = AssetAct(
        view,
        block,
        transaction.sender,
        amount=_read_amount(amount),
        receiver=_read_member(view, receiver),
        terms=terms,
    )
    _find_policy(policies, name)[1].issue(act)


def _move(policies: Mapping[str, Policy], view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`asset-move [class, receiver, amount, series, sale]`: pass on so much of a series, or with 0 of the oldest ones.

    `sale` is nil, or `[price, signature]`: the receiver buys what it is given (`purchase.py`). Raises `WrongShape`,
    `UnknownAssetClass`, `UnknownMember`, `UnknownSeries`, `TooFewLots`, `TooManyLots`, `TooManyHolders`, what the class
    does, and of a sale `InvalidSignature` or `InsufficientBalance`.
    """
    name, receiver, amount, number, sale = expect_array(transaction.payload, 5, MOVE)
    asset_class, policy = _find_policy(policies, name)
    act = AssetAct(
        view,
        block,
        transaction.sender,
        amount=_read_amount(amount),
        series=_read_series(view, asset_class, number),
        receiver=_read_member(view, receiver),
    )
    policy.check_move(act)
    move(act, asset_class, has_holders=policy.has_holders)
    if sale is not None:
        terms = asset_class, act.series, act.amount, act.receiver
        purchase = Purchase(*terms, price_uyuan=0, seller=act.sender, sequence=transaction.sequence)
        price_uyuan = pay_for(view, block.chain_id, sale, purchase)
        view.emit("asset-sold", asset_class, act.series, act.sender, act.receiver, act.amount, price_uyuan)


def _redeem(policies: Mapping[str, Policy], view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`asset-redeem [class, amount, series, terms]`: spend so much of a series, or with 0 of the oldest ones.

    Raises `WrongShape`, `UnknownAssetClass`, `UnknownSeries`, `TooFewLots`, and what the class does.
    """
    name, amount, number, terms = expect_array(transaction.payload, 4, REDEEM)
    asset_class, policy = _find_policy(policies, name)
    series = _read_series(view, asset_class, number)
    policy.redeem(AssetAct(view, block, transaction.sender, amount=_read_amount(amount), series=series, terms=terms))


def _renew(policies: Mapping[str, Policy], view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`asset-renew [class, series]`: have all that the sender holds of a series end later.

    Raises `WrongShape`, `UnknownAssetClass`, `UnknownSeries`, and what the class does.
    """
    name, number = expect_array(transaction.payload, 2, RENEW)
    asset_class, policy = _find_policy(policies, name)
    require_series(view, expect_int(number, "series", low=1), asset_class)
    policy.renew(AssetAct(view, block, transaction.sender, series=cast(int, number)))


def _find_policy(policies: Mapping[str, Policy], name: Value) -> tuple[str, Policy]:
    asset_class = expect_str(name, "class", max_size=16)
    policy = policies.get(asset_class)
    if policy is None:
        raise UnknownAssetClass(asset_class=asset_class, known=", ".join(policies))
    return asset_class, policy


def _read_amount(amount: Value) -> int:
    return expect_int(amount, "amount", low=1, high=MAX_AMOUNT)


def _read_member(view: Overlay, receiver: Value) -> Address:
    address = expect_bytes(receiver, "receiver", size=ADDRESS_SIZE)
    check_member(view, address)
    return address


def _read_series(view: Overlay, asset_class: str, number: Value) -> int:
    """The number of a series there is, or 0."""
    found = expect_int(number, "series")
    if found:
        require_series(view, found, asset_class)
    return found


# --- what classes do with the ledger -------------------------------------------------------------


def issue(act: AssetAct, number: int, *, has_holders: bool) -> None:
    """Issue the act's amount of a series to its receiver. Raises `TooMuchIssued`, `TooManyLots` or `TooManyHolders`."""
    view, receiver, amount = act.view, act.receiver, act.amount
    series = issue_more(view, number, amount)
    give(view, series.asset_class, receiver, [Lot(series.expiry, number, amount)], act.now)
    if has_holders:
        shift(view, number, receiver, amount)
    view.emit("asset-issued", series.asset_class, number, series.issuer, receiver, amount)


def move(act: AssetAct, asset_class: str, *, has_holders: bool) -> None:
    """Pass the act's amount on. Raises `TooFewLots`, `TooManyLots` or `TooManyHolders`."""
    view, sender, receiver = act.view, act.sender, act.receiver
    lots = take(view, asset_class, sender, act.amount, act.now, _only(act.series))
    give(view, asset_class, receiver, lots, act.now)
    for lot in lots:
        if has_holders:
            shift(view, lot.series, sender, -lot.amount)
            shift(view, lot.series, receiver, lot.amount)
        view.emit("asset-moved", asset_class, lot.series, sender, receiver, lot.amount)


def spend_lots(
    act: AssetAct, asset_class: str, *, has_holders: bool, may_spend: Callable[[int], bool] | None = None
) -> list[Lot]:
    """Spend the act's amount, of lots that may be; the lots it was. Raises `TooFewLots`."""
    view, sender = act.view, act.sender
    lots = take(view, asset_class, sender, act.amount, act.now, may_spend or _only(act.series))
    for lot in lots:
        spend(view, lot.series, lot.amount)
        if has_holders:
            shift(view, lot.series, sender, -lot.amount)
        view.emit("asset-spent", asset_class, lot.series, sender, lot.amount)
    return lots


def get_amount(act: AssetAct, asset_class: str) -> int:
    """The amount that the sender holds of the act's series."""
    held = get_lots(act.view, asset_class, act.sender, act.now)
    return sum(amount for _, series, amount in held if series == act.series)


def _only(number: int) -> Callable[[int], bool] | None:
    """The rule by which only this series is spent; any where it is 0."""
    return (lambda series: series == number) if number else None


# --- expiry --------------------------------------------------------------------------------------


def _expire_due(policies: Mapping[str, Policy], view: Overlay, block: BlockContext) -> None:
    """End the timed series whose day has come, and forget those whose end is as long ago as periods are retained.

    Costs a look-up a day of periods that has passed, and what there is to do for each series: none for its holders.
    """
    if not block.is_first_of_period:
        return
    today, seen = block.period // DAY * DAY, cast(int, view.get(_DAY) or 0)
    kept = end_of_day(block.params.market.retained_periods)
    for day in range(seen + DAY, today + DAY, DAY):
        for number, series in list(walk_series(view, due_key(day))):
            amount = expire(view, number)
            policies[series.asset_class].end(view, block, series, amount)
            if amount:
                view.emit("asset-expired", series.asset_class, number, series.issuer, amount)
        if day >= kept:
            _forget(view, day - kept)
    if today > seen:
        view.put(_DAY, today)


def _forget(view: Overlay, day: int) -> None:
    for number, _ in list(walk_series(view, due_key(day))):
        drop_series(view, number)
    view.delete(due_key(day))
