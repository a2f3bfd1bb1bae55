"""Vouchers: the virtual currency of text 004, a class of assets with a steady value, a purpose and an end.

A voucher is worth a price that never changes (`price_uyuan` of `[market.vouchers]`), for each is covered: what is live
of an issuer's vouchers, times the price, is in a pot of its own, its backing. The issuer pays that in as it issues, a
redemption pays out of it, and what expires returns. A voucher's purpose says what it may pay for. It is renewed once,
for a fee that stays in the backing.

Besides members two pots issue: `incentives`, to who buys energy of a source at an hour of the day, as a table among the
parameters says, and `block-rewards`, to who makes a block. They issue as far as they have been filled.

What subscribers hear besides the ledger's events:

    voucher-paid       holder, payee, vouchers, amount in µ¥, purpose
    incentive          period, buyer, seller, Wh, vouchers
    block-reward       producer, vouchers
    funded             sender, pot, amount in µ¥
"""

from __future__ import annotations

from typing import cast

from ledger.accounts import get_account, pay, require_member
from ledger.codec import Value, expect_array, expect_bytes, expect_int, expect_str
from ledger.contract import BlockContext
from ledger.genesis import get_grid_operator
from ledger.hashing import ADDRESS_SIZE, Address
from ledger.overlay import Overlay
from ledger.params import MarketParams
from market.assets.contract import AssetAct, Policy, get_amount, issue, spend_lots
from market.assets.lots import has_place
from market.assets.series import (
    DAY,
    MAX_ISSUED,
    Series,
    add_series,
    due_key,
    end_of_day,
    get_series,
    walk_series,
)
from market.credit.score import PPM
from market.errors import AlreadyRenewed, NotBacked, NothingToRenew, NotPayable, UnknownPurpose
from market.pots import PUBLIC_POTS, pot_address
from market.roles import Act, is_new_energy, require_right
from market.settlement import WH_PER_KWH
from market.trading.settlement_record import SettledShare

VOUCHER = "voucher"
ANY, BILL = "any", "bill"  # what a voucher may pay for: anything, the grid company, or what the parameters name
MAX_VALIDITY_DAYS = 366

_LIVE = b"voucher/live/"


# --- backing -------------------------------------------------------------------------------------


def compute_missing_backing(*, backing_uyuan: int, live: int, amount: int, price_uyuan: int) -> int:
    """The µ¥ that a backing lacks for so many vouchers more: Σ live · price ≤ backing."""
    return max(0, (live + amount) * price_uyuan - backing_uyuan)


def get_backing(issuer: Address) -> Address:
    """The address of the pot that covers an issuer's vouchers."""
    return pot_address("voucher-backing", issuer)


def get_live(view: Overlay, issuer: Address) -> int:
    """The vouchers of an issuer that are live."""
    return cast(int, view.get(live_key(issuer)) or 0)


def _add_live(view: Overlay, issuer: Address, change: int) -> int:
    live = get_live(view, issuer) + change
    if live:
        view.put(live_key(issuer), live)
    else:
        view.delete(live_key(issuer))
    return live


def _release(view: Overlay, params: MarketParams, issuer: Address, amount: int, payee: Address) -> None:
    """Pay what covered so many vouchers, which are not live any more; what is left with the last goes to the issuer."""
    backing = get_backing(issuer)
    pay(view, backing, payee, amount * params.vouchers.price_uyuan)
    if not _add_live(view, issuer, -amount):
        pay(view, backing, issuer, get_account(view, backing).balance_uyuan)


# --- issuing -------------------------------------------------------------------------------------


def _issue(act: AssetAct) -> None:
    """Terms `[purpose, days]`: the vouchers are good for so many days of periods.

    Raises `WrongShape`, `RoleNotAllowed`, `UnknownPurpose`, `NotBacked`, and what `issue` does.
    """
    name, number = expect_array(act.terms, 2, "terms of a voucher")
    days = expect_int(number, "days", low=1, high=MAX_VALIDITY_DAYS)
    purpose = _read_purpose(act.block.params.market, name)
    require_right(require_member(act.view, act.sender), Act.VOUCHER)
    _issue_backed(act, act.sender, purpose, end_of_day(act.now + days * DAY))


def _issue_backed(act: AssetAct, issuer: Address, purpose: str, expiry: int, *, is_renewed: int = 0) -> int:
    """Issue vouchers of an issuer, which covers what its backing lacks; the series. Raises `NotBacked`."""
    view, price = act.view, act.block.params.market.vouchers.price_uyuan
    backing = get_backing(issuer)
    missing_uyuan = compute_missing_backing(
        backing_uyuan=get_account(view, backing).balance_uyuan,
        live=get_live(view, issuer),
        amount=act.amount,
        price_uyuan=price,
    )
    have_uyuan = get_account(view, issuer).balance_uyuan
    if missing_uyuan > max(0, have_uyuan):
        raise NotBacked(want=act.amount, price=price, missing=missing_uyuan, have=have_uyuan)
    if missing_uyuan:
        pay(view, issuer, backing, missing_uyuan)
    _add_live(view, issuer, act.amount)
    series = Series(VOUCHER, issuer, (purpose, is_renewed), expiry)
    number = _find_series(view, series) or add_series(view, due_key(expiry), series)
    issue(act, number, has_holders=False)
    return number


def _find_series(view: Overlay, like: Series) -> int:
    """The number of the series of an issuer's vouchers that are alike, 0 where there is none."""
    alike = (number for number, series in walk_series(view, due_key(like.expiry)) if series[:3] == like[:3])
    return next(alike, 0)


def _issue_from_pot(act: AssetAct, pot: Address, purpose: str, days: int) -> int:
    """Issue vouchers of a pot, as many as it can cover, where the receiver has a place for them; how many."""
    view, price = act.view, act.block.params.market.vouchers.price_uyuan
    expiry = end_of_day(act.now + days * DAY)
    number = _find_series(view, Series(VOUCHER, pot, (purpose, 0), expiry))
    series = get_series(view, number)
    free_uyuan = get_account(view, pot).balance_uyuan + get_account(view, get_backing(pot)).balance_uyuan
    left = MAX_ISSUED - (series.issued if series else 0)
    amount = min(act.amount, free_uyuan // price - get_live(view, pot), left)
    if amount <= 0 or not has_place(view, VOUCHER, act.receiver, number, act.now):
        return 0
    _issue_backed(act._replace(amount=amount), pot, purpose, expiry)
    return amount


# --- the policy ----------------------------------------------------------------------------------


def _check_move(_act: AssetAct) -> None:
    """Let a voucher be passed on, with its purpose and its end."""


def _redeem(act: AssetAct) -> None:
    """Terms `[purpose, payee]`: pay for something with vouchers that may, at their price; for `any`, to oneself too.

    Raises `WrongShape`, `UnknownPurpose`, `NotPayable` or `TooFewLots`.
    """
    name, address = expect_array(act.terms, 2, "terms of a payment")
    view, params = act.view, act.block.params.market
    purpose, payee = _read_purpose(params, name), expect_bytes(address, "payee", size=ADDRESS_SIZE)
    require_member(view, payee)
    if purpose != ANY and payee == act.sender:
        raise NotPayable(purpose=purpose, detail="nobody pays itself with it")
    if purpose == BILL and payee != get_grid_operator(view):
        raise NotPayable(purpose=purpose, detail="bills are the grid company's")

    def may_spend(number: int) -> bool:
        return act.series in (0, number) and may_pay(_require(view, number).attributes[0], purpose)

    for lot in spend_lots(act, VOUCHER, has_holders=False, may_spend=may_spend):
        _release(view, params, _require(view, lot.series).issuer, lot.amount, payee)
    amount_uyuan = act.amount * params.vouchers.price_uyuan
    view.emit("voucher-paid", act.sender, payee, act.amount, amount_uyuan, purpose)


def may_pay(purpose: Value, pays_for: str) -> bool:
    """Return True if a voucher with this purpose may pay for that."""
    return purpose in (ANY, pays_for)


def _renew(act: AssetAct) -> None:
    """Have all that the sender holds of a series end later, once, less a fee that is rounded down.

    Raises `AlreadyRenewed`, `NothingToRenew`, and what `issue` does.
    """
    view, params = act.view, act.block.params.market.vouchers
    series, held = _require(view, act.series), get_amount(act, VOUCHER)
    purpose, is_renewed = series.attributes
    if is_renewed:
        raise AlreadyRenewed(series=act.series)
    if not held:
        raise NothingToRenew(series=act.series)
    left, _ = compute_renewal(held, params.renewal_fee_ppm)
    spend_lots(act._replace(amount=held), VOUCHER, has_holders=False)
    _add_live(view, series.issuer, -held)
    expiry = series.expiry + params.validity_days * DAY
    renewal = act._replace(amount=left, receiver=act.sender)
    number = _issue_backed(renewal, series.issuer, cast(str, purpose), expiry, is_renewed=1)
    view.emit("asset-renewed", VOUCHER, act.series, number, act.sender, left)


def compute_renewal(amount: int, fee_ppm: int) -> tuple[int, int]:
    """The vouchers that are left of so many once they are renewed, and the fee."""
    fee = amount * fee_ppm // PPM
    return amount - fee, fee


def _end(view: Overlay, block: BlockContext, series: Series, amount: int) -> None:
    """Return what covered vouchers that have expired to their issuer."""
    if amount:
        _release(view, block.params.market, series.issuer, amount, series.issuer)


def _read_purpose(params: MarketParams, name: Value) -> str:
    purpose, known = expect_str(name, "purpose"), (ANY, BILL, *params.vouchers.purposes)
    if purpose not in known:
        raise UnknownPurpose(purpose=purpose, known=", ".join(known))
    return purpose


def _require(view: Overlay, number: int) -> Series:
    series = get_series(view, number)
    assert series is not None, number
    return series


VOUCHER_POLICY = Policy(issue=_issue, check_move=_check_move, redeem=_redeem, renew=_renew, end=_end, has_holders=False)


# --- incentives and rewards ----------------------------------------------------------------------


def grant_incentives(view: Overlay, block: BlockContext, share: SettledShare) -> None:
    """Issue to buyers what the table has for energy of this source at this hour, row by row, while the pot lasts."""
    bought = [(row.holder, row.producer, row.redeemed_wh) for row in share.claims]
    bought += [(row.buyer, row.seller, row.traded_wh) for row in share.trades]
    hour = share.period % DAY
    rows = [row for row in block.params.market.vouchers.incentives if row.from_hour <= hour < row.until_hour]
    for buyer, seller, energy_wh in bought if rows else ():
        source = "new" if is_new_energy(require_member(view, seller)) else "traditional"
        for row in rows:
            amount = energy_wh * row.vouchers_per_kwh // WH_PER_KWH if row.source in (source, "any") else 0
            act = AssetAct(view, block, seller, amount=amount, receiver=buyer)
            granted = _issue_from_pot(act, PUBLIC_POTS["incentives"], row.purpose, row.validity_days)
            if granted:
                view.emit("incentive", share.period, buyer, seller, energy_wh, granted)


def reward_producer(view: Overlay, block: BlockContext) -> None:
    """The hook that rewards who makes a block, as far as the pot goes."""
    params = block.params.market.vouchers
    if not params.vouchers_per_block:
        return
    act = AssetAct(view, block, block.producer, amount=params.vouchers_per_block, receiver=block.producer)
    granted = _issue_from_pot(act, PUBLIC_POTS["block-rewards"], ANY, params.validity_days)
    if granted:
        view.emit("block-reward", block.producer, granted)


def live_key(issuer: Address) -> bytes:
    """The state key of the number of an issuer's vouchers that are live."""
    return _LIVE + issuer
