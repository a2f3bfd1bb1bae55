"""Banks and their customers live: the calls of `banking.py` as each period opens, sent to real nodes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from gridmerit.players.agents import Participant, Sender, sleep_until
from gridmerit.players.banking import Call, Terms, plan_banking, plan_payout
from ledger.accounts import TRADERS
from ledger.hashing import address_of, parse_address, show_address
from market.treasury import Payment
from node.api.client import Client
from node.queries.answers import BankInfo
from node.system.clock import now_ms

_T = TypeVar("_T")

TERMS = Terms(limit_uyuan=5_000_000_000, every=24)  # what players begin with in a network that is made, each day
_SERVED = (*TRADERS, "grid-operator")


class AskingSender(Protocol):
    """A sender that asks the node it sends to; None where that has no answer."""

    async def ask(self, question: Callable[[Client], Awaitable[_T]]) -> _T | None: ...


@dataclass(slots=True, kw_only=True)
class _Customer(Participant):
    """Someone with money whose calls follow from the treasury, once a period."""

    sender: Sender
    node: AskingSender
    terms: Terms = TERMS

    async def run(self) -> None:
        """Only for a period that is yet to open: a new start has nothing to make up for."""
        open_ms = self.day.times_of(0).open_ms
        if now_ms() < open_ms:
            await sleep_until(open_ms + self.day.stagger_ms(self.name, 0))
            await self.act()

    async def act(self) -> None:
        raise NotImplementedError

    async def _send_all(self, calls: Sequence[Call]) -> None:
        period, until_ms = self.day.first_period, self.day.times_of(0).gate_ms
        for kind, payload in calls:
            await self._deliver(self.sender, kind, period, payload, until_ms)


class Banker(_Customer):
    """A bank: tops up every founder that trades, and the grid company, out of what it draws from their accounts."""

    async def act(self) -> None:
        """Send what the treasury, as it stands, asks for."""
        found = await self.node.ask(lambda client: client.treasury())
        own = next((bank for bank in found.banks if bank.bank_name == self.name), None) if found else None
        if found is None or own is None:
            return
        ordered = {order.member for order in found.orders}
        customers = [address_of(member.key) for member in self.day.genesis.members if member.role in _SERVED]
        has_order = {customer: show_address(customer) in ordered for customer in customers}
        calls = plan_banking(parse_address(own.bank), own.balance_uyuan, _get_last(own), has_order, self.terms)
        await self._send_all(calls)


class Payee(_Customer):
    """A player with much money: has the first bank pay it out."""

    async def act(self) -> None:
        """Send what the account, as it stands, has too much of to the bank."""
        found = await self.node.ask(lambda client: client.treasury())
        account = await self.node.ask(lambda client: client.account(self.name))
        if found is not None and account is not None and found.banks:
            await self._send_all(plan_payout(parse_address(found.banks[0].bank), account.balance_uyuan, self.terms))


def _get_last(bank: BankInfo) -> Payment | None:
    return None if bank.statement is None or bank.line is None else Payment(bank.statement, bank.line)
