"""The accounts of a settlement: money moved by its rows, income and cost beside it, credit where no chain keeps it."""

from __future__ import annotations

from collections.abc import Mapping

from ledger.accounts import Account, get_account, put_account
from ledger.contract import BlockContext
from ledger.genesis import get_grid_operator
from ledger.hashing import Address
from ledger.overlay import Overlay
from ledger.params import MarketParams
from market.claim_records import Served
from market.credit.score import add_score, correct_score
from market.trading.reserves import set_aside
from market.trading.settlement_record import SettledTrade, SettledWithGrid


class Accounts:
    """The accounts that one settlement touches, each read and written once.

    Every leg of a row is income of whom it comes to and cost of whom it comes from, and what a balance changes by is
    the one less the other. A payment between two members is of neither kind, and no affair of a settlement.
    """

    def __init__(self, view: Overlay, block: BlockContext) -> None:
        self._view = view
        self._operator = get_grid_operator(view)
        self._has_columns = block.params.market.income_and_cost == "kept"
        self._accounts: dict[Address, Account] = {}
        self._income_uyuan: dict[Address, int] = {}
        self._cost_uyuan: dict[Address, int] = {}

    def release(self, reserves_uyuan: Mapping[Address, int]) -> None:
        for address, reserve_uyuan in reserves_uyuan.items():
            self._accounts[address] = set_aside(self._get(address), -reserve_uyuan)

    def move_trade(self, row: SettledTrade, *, sign: int = 1) -> None:
        """Move a trade's legs, back again where `sign` is -1; the grid company's is income or cost, as it falls."""
        _add(self._cost_uyuan, row.buyer, sign * row.buyer_pays_uyuan)
        _add(self._income_uyuan, row.seller, sign * row.seller_receives_uyuan)
        rest_uyuan = row.grid_receives_uyuan
        column = self._income_uyuan if rest_uyuan >= 0 else self._cost_uyuan
        _add(column, self._operator, sign * abs(rest_uyuan))

    def move_rest(self, row: SettledWithGrid, *, sign: int = 1) -> None:
        """Move what a member pays the grid company and receives from it, which are not netted."""
        for payer, payee, amount_uyuan in (
            (row.member, self._operator, row.pays_uyuan),
            (self._operator, row.member, row.receives_uyuan),
        ):
            _add(self._cost_uyuan, payer, sign * amount_uyuan)
            _add(self._income_uyuan, payee, sign * amount_uyuan)

    def move_claim(self, row: Served) -> None:
        """Move what a claim still costs: it was paid for before."""
        for payer, payee, amount_uyuan in (
            (row.producer, row.holder, row.penalty_uyuan),
            (row.holder, self._operator, row.wheeling_uyuan),
        ):
            _add(self._cost_uyuan, payer, amount_uyuan)
            _add(self._income_uyuan, payee, amount_uyuan)

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
        for address in {**self._accounts, **self._cost_uyuan, **self._income_uyuan}:
            income_uyuan, cost_uyuan = self._income_uyuan.get(address, 0), self._cost_uyuan.get(address, 0)
            account = self._get(address).pay(cost_uyuan - income_uyuan)
            if self._has_columns:
                account = account.book(income_uyuan, cost_uyuan)
            put_account(self._view, address, account)

    def _get(self, address: Address) -> Account:
        return self._accounts.get(address) or get_account(self._view, address)


def _add(amounts_uyuan: dict[Address, int], address: Address, amount_uyuan: int) -> None:
    amounts_uyuan[address] = amounts_uyuan.get(address, 0) + amount_uyuan
