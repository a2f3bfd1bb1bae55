"""A bank as an agent: it tops its customers up, books what that takes, and pays out what they send it.

Pure: what it does in a period follows from what the chain says. Its customers' outside accounts are taken to have
whatever it draws from them; so it may fund its orders by a deposit each time they have used up what it holds for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ledger.codec import Value
from ledger.hashing import Address
from market.standing_orders import STANDING_ORDER
from market.treasury import Payment

FIRST_PAYMENT = Payment(1, 1)


class Call(NamedTuple):
    """A transaction to send."""

    kind: str
    payload: tuple[Value, ...]


class Terms(NamedTuple):
    """The limit (µ¥) that each customer is topped up to, and at every how many periods."""

    limit_uyuan: int
    every: int


def plan_banking(
    bank: Address, balance_uyuan: int, last: Payment | None, has_order: Mapping[Address, bool], terms: Terms
) -> list[Call]:
    """The bank's calls of a period: standing orders for customers without one, and one booking at most.

    It holds on its own account what all customers could be short of. What is below that is deposited, drawn from their
    outside accounts; what is above has been sent to it to be paid out, and is.
    """
    calls = [
        Call(STANDING_ORDER, (member, terms.limit_uyuan, terms.every)) for member, has in has_order.items() if not has
    ]
    held_uyuan = terms.limit_uyuan * len(has_order)
    payment = FIRST_PAYMENT if last is None else Payment(last.statement, last.line + 1)
    if balance_uyuan < held_uyuan:
        calls.append(Call("deposit", (bank, held_uyuan - balance_uyuan, *payment)))
    elif balance_uyuan > held_uyuan:
        calls.append(Call("withdraw", (balance_uyuan - held_uyuan, *payment)))
    return calls


def plan_payout(bank: Address, balance_uyuan: int, terms: Terms) -> list[Call]:
    """A customer's call of a period: what it has beyond twice its limit goes to the bank, to be paid out."""
    if balance_uyuan <= 2 * terms.limit_uyuan:
        return []
    return [Call("transfer", (bank, balance_uyuan - terms.limit_uyuan))]
