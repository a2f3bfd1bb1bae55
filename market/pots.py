"""Pots: accounts at addresses for which no key exists, so that money set aside for a purpose stays in the sum of all.

It comes in and goes out by the rules of the purpose, and by `fund` into those pots that take it from anybody.
"""

from __future__ import annotations

from ledger.accounts import pay_covered
from ledger.codec import encode, expect_array, expect_int, expect_str
from ledger.contract import BlockContext, Handler
from ledger.hashing import ADDRESS_SIZE, Address, tagged_hash
from ledger.overlay import Overlay
from ledger.transaction import Transaction
from market.errors import UnknownPot

FUND = "fund"
POT_TAG = "gridmerit/pot"


def pot_address(purpose: str, owner: bytes = b"") -> Address:
    """The address of a pot: the head of a tagged hash of no key."""
    return tagged_hash(POT_TAG, encode((purpose, owner)))[:ADDRESS_SIZE]


PUBLIC_POTS = {purpose: pot_address(purpose) for purpose in ("block-rewards", "incentives")}


def pot_handlers() -> dict[str, Handler]:
    """The kind of transaction by which anybody fills a pot."""
    return {FUND: _fund}


def _fund(view: Overlay, _block: BlockContext, transaction: Transaction) -> None:
    """`fund [pot, amount_uyuan]`. Raises `WrongShape`, `UnknownPot` or `InsufficientBalance`."""
    name, amount = expect_array(transaction.payload, 2, FUND)
    purpose, amount_uyuan = expect_str(name, "pot"), expect_int(amount, "amount", low=1)
    pot = PUBLIC_POTS.get(purpose)
    if pot is None:
        raise UnknownPot(pot=purpose, known=", ".join(PUBLIC_POTS))
    pay_covered(view, transaction.sender, pot, amount_uyuan)
    view.emit("funded", transaction.sender, purpose, amount_uyuan)
