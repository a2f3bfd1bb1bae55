"""A double auction of truthful orders, cleared by the rule price-time: what the players of the game could do instead.

An order says what the game's curves say. A company asks what the grid pays it, a bureau what a kWh costs it to make.
Energy that is needed at any price is bid for at the grid company's price; the flexible part of a demand, and a bureau
for energy to resell, bid at the middles of the tenths of their curves, and never more than that. As the text has it,
bureaus buy what users have left. The grid company takes what is not sold, and serves who needs it at any price.
"""

from __future__ import annotations

from math import log
from typing import NamedTuple

from ledger.hashing import ADDRESS_SIZE, HASH_SIZE
from market.game.hour import WH_PER_KWH, Hour, as_tuple
from market.orders import Order, Side
from market.trading.clearing_rules import ClearingContext, clear_price_time
from simulation.game.accounts import RETAIL, Account, Green, HourAccounts, buy_of_grid, keep_grid_account, sell_to_grid

_STEPS = 10
_UYUAN = 1_000_000


class _Seat(NamedTuple):
    """A player in the auction: what it offers at what price, what it needs, and what a flexible kWh is worth to it."""

    offered_wh: int
    ask: float
    needed_wh: int
    firm_wh: int
    value: float
    is_bureau: bool = False


class _Book:
    """Orders of players, who are numbers."""

    def __init__(self) -> None:
        self._orders: list[Order] = []

    def place(self, owner: int, side: Side, price: float, wh: int) -> None:
        if wh > 0:
            number, address = len(self._orders), owner.to_bytes(ADDRESS_SIZE, "big")
            self._orders.append(Order(number, address, side, round(price * _UYUAN), wh, number))

    def bid_in_steps(self, owner: int, value: float, wh: int, mu: float) -> None:
        for step in range(_STEPS):
            odds = (step + 0.5) / (_STEPS - step - 0.5)
            part_wh = wh * (step + 1) // _STEPS - wh * step // _STEPS
            self.place(owner, Side.BID, min(RETAIL, max(0.0, value - mu * log(odds))), part_wh)

    def clear(self, players: int) -> list[Account]:
        """The trades of all players; equal orders share pro rata."""
        accounts = [Account()] * players
        for made in clear_price_time(self._orders, ClearingContext(lottery=bytes(HASH_SIZE))):
            kwh = made.volume_wh / WH_PER_KWH
            yuan = kwh * made.price_uyuan_per_kwh / _UYUAN
            seller, buyer = (int.from_bytes(address, "big") for address in (made.seller, made.buyer))
            accounts[seller] = accounts[seller].add(Account(sold_kwh=kwh, income=yuan))
            accounts[buyer] = accounts[buyer].add(Account(bought_kwh=kwh, cost=yuan))
        return accounts


def trade_by_auction(hour: Hour, own_use_kwh: float) -> HourAccounts:
    """The accounts of an hour; `own_use_kwh` is what companies' plants make for themselves."""
    companies, bureaus, users = _take_seats(hour)
    seats = [*companies, *bureaus, *users]
    market = _trade_needs(seats, hour.mu)
    left_wh = [_find_left_wh(*pair) for pair in zip(companies, market, strict=False)]
    resale = _trade_rest(hour, left_wh)
    with_rest = [one.add(more) for one, more in zip(market, resale, strict=True)]
    grid = [_deal_with_grid(hour, *pair) for pair in zip(seats, with_rest, strict=True)]
    accounts = [one.add(more) for one, more in zip(with_rest, grid, strict=True)]
    first, last = len(companies), len(companies) + len(bureaus)
    fed_in = sum(one.sold_kwh for one in grid[:first])
    sold = sum(one.sold_kwh for one in market[:first])
    return HourAccounts(
        companies=tuple(accounts[:first]),
        bureaus=tuple(accounts[first:last]),
        users=tuple(accounts[last:]),
        grid=keep_grid_account(hour, bought_kwh=fed_in, sold_kwh=sum(one.bought_kwh for one in grid)),
        green=Green(own=own_use_kwh, sold=sold, resold=sum(one.sold_kwh for one in resale[:first]), fed_in=fed_in),
    )


def _take_seats(hour: Hour) -> tuple[list[_Seat], list[_Seat], list[_Seat]]:
    """Companies, bureaus and users; bureaus serve companies beyond what they have for users, as in the game."""
    assert hour.bureau_capacity_wh is not None, "set when the hour was made"
    shortage_wh = as_tuple(hour.shortage_wh)

    def need(wh: int, value: float, offered_wh: int = 0) -> _Seat:
        return _Seat(offered_wh, hour.feed_in, wh, wh - round(hour.phi * wh), value)

    return (
        [
            need(lack, value, surplus)
            for lack, value, surplus in zip(
                shortage_wh, hour.per_player("value_company"), as_tuple(hour.surplus_wh), strict=True
            )
        ],
        [
            _Seat(most + round(share * sum(shortage_wh)), cost, 0, 0, value, is_bureau=True)
            for most, share, cost, value in zip(
                as_tuple(hour.bureau_capacity_wh),
                hour.shares(),
                hour.per_player("bureau_cost"),
                hour.per_player("value_bureau"),
                strict=True,
            )
        ],
        [need(*pair) for pair in zip(hour.user_load_wh, hour.per_player("value_user"), strict=True)],
    )


def _trade_needs(seats: list[_Seat], mu: float) -> list[Account]:
    book = _Book()
    for owner, seat in enumerate(seats):
        book.place(owner, Side.OFFER, seat.ask, seat.offered_wh)
        book.place(owner, Side.BID, RETAIL, seat.firm_wh)
        book.bid_in_steps(owner, seat.value, seat.needed_wh - seat.firm_wh, mu)
    return book.clear(len(seats))


def _find_left_wh(seat: _Seat, traded: Account) -> int:
    return seat.offered_wh - round(traded.sold_kwh * WH_PER_KWH)


def _trade_rest(hour: Hour, left_wh: list[int]) -> list[Account]:
    """Trade what companies have left with bureaus, which bid for their shares of it."""
    book = _Book()
    for owner, wh in enumerate(left_wh):
        book.place(owner, Side.OFFER, hour.feed_in, wh)
    for number, (share, value) in enumerate(zip(hour.shares(), hour.per_player("value_bureau"), strict=True)):
        book.bid_in_steps(hour.companies + number, value, round(share * sum(left_wh)), hour.mu)
    return book.clear(hour.companies + hour.bureaus + hour.users)


def _deal_with_grid(hour: Hour, seat: _Seat, traded: Account) -> Account:
    """Enter what the grid company takes and sells to who needs it, and the worth of all that was traded."""
    if seat.is_bureau:
        return Account(worth=seat.value * traded.bought_kwh - seat.ask * traded.sold_kwh)
    firm = seat.firm_wh / WH_PER_KWH
    worth = seat.value * max(0.0, traded.bought_kwh - firm)
    left = sell_to_grid(hour, seat.offered_wh / WH_PER_KWH - traded.sold_kwh)
    return left.add(buy_of_grid(max(0.0, firm - traded.bought_kwh), worth))
