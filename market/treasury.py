"""The treasury: money comes in and goes out by banks, and nowhere else (text 003, §7.5; decision 60).

A bank books what its outside account has received as a `deposit` on a member's account, and what it has paid out as a
`withdraw` from its own: who wants to be paid out transfers the money to the bank first, so that nobody's money leaves
without the owner's signature. An outside payment is named by its place in the bank's account statements, the
statement's number and the line's. Each bank books in their order, so that its last booking tells all that are booked.

At every block the sum of all accounts is what the genesis has given out, plus deposits, less withdrawals.

What subscribers hear: `deposit` (bank, member, amount, statement, line), `withdrawal` (bank, amount, statement, line).
"""

from __future__ import annotations

from typing import NamedTuple, cast

from ledger.accounts import get_account, put_account, require_member
from ledger.codec import Value, expect_array, expect_bytes, expect_int
from ledger.contract import BlockContext, Handler
from ledger.errors import InsufficientBalance
from ledger.hashing import ADDRESS_SIZE, Address
from ledger.overlay import Overlay
from ledger.transaction import Transaction
from market.errors import PaymentBooked, TooMuchMoney
from market.roles import Act, require_right

MAX_BOOKED_UYUAN = 2**62  # deposits of all time; with as much from the genesis one account can still hold it all
MAX_NUMBER = 2**53 - 1  # of a statement or a line

_BOOKED = b"treasury/booked"
_BANK = b"treasury/bank/"


class Payment(NamedTuple):
    """The place of an outside payment in a bank's account statements."""

    statement: int
    line: int


class Booked(NamedTuple):
    """The sums of all deposits and of all withdrawals, in µ¥."""

    deposited_uyuan: int = 0
    withdrawn_uyuan: int = 0

    def add(self, other: Booked) -> Booked:
        return Booked(self.deposited_uyuan + other.deposited_uyuan, self.withdrawn_uyuan + other.withdrawn_uyuan)


class Book(NamedTuple):
    """All that is kept of one bank's bookings: the last payment, and their sums."""

    last: Payment
    booked: Booked


def treasury_handlers() -> dict[str, Handler]:
    """The treasury's transaction kinds."""
    return {"deposit": process_deposit, "withdraw": process_withdraw}


def get_booked(view: Overlay) -> Booked:
    """The sums of all banks together."""
    return Booked._make(cast(tuple[int, int], view.get(_BOOKED) or (0, 0)))


def get_book(view: Overlay, bank: Address) -> Book | None:
    """A bank's bookings, None where it has none."""
    row = cast(tuple[int, int, int, int] | None, view.get(_BANK + bank))
    return None if row is None else Book(Payment(*row[:2]), Booked(*row[2:]))


def process_deposit(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`deposit [to, amount_uyuan, statement, line]`: put down what the bank has received outside, on an account.

    Raises `WrongShape`, `TooLarge`, `RoleNotAllowed`, `UnknownMember`, `PaymentBooked` or `TooMuchMoney`.
    """
    to, amount, *place = expect_array(transaction.payload, 4, "deposit")
    member, amount_uyuan = expect_bytes(to, "address", size=ADDRESS_SIZE), expect_int(amount, "amount", low=1)
    payment, bank = _parse_payment(place), transaction.sender
    require_right(require_member(view, bank), Act.DEPOSIT)
    require_member(view, member)
    booked_uyuan = get_booked(view).deposited_uyuan
    if booked_uyuan + amount_uyuan > MAX_BOOKED_UYUAN:
        raise TooMuchMoney(booked=booked_uyuan, want=amount_uyuan, limit=MAX_BOOKED_UYUAN)
    _book(view, bank, payment, Booked(deposited_uyuan=amount_uyuan))
    put_account(view, member, get_account(view, member).pay(-amount_uyuan))
    view.emit("deposit", bank, member, amount_uyuan, *payment)


def process_withdraw(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`withdraw [amount_uyuan, statement, line]`: take off the bank's own account what it has paid out.

    Raises `WrongShape`, `TooLarge`, `RoleNotAllowed`, `InsufficientBalance` or `PaymentBooked`.
    """
    amount, *place = expect_array(transaction.payload, 3, "withdraw")
    amount_uyuan = expect_int(amount, "amount", low=1)
    payment, bank = _parse_payment(place), transaction.sender
    require_right(require_member(view, bank), Act.WITHDRAW)
    account = get_account(view, bank)
    if account.balance_uyuan < amount_uyuan:
        raise InsufficientBalance(have_uyuan=account.balance_uyuan, want_uyuan=amount_uyuan)
    _book(view, bank, payment, Booked(withdrawn_uyuan=amount_uyuan))
    put_account(view, bank, account.pay(amount_uyuan))
    view.emit("withdrawal", bank, amount_uyuan, *payment)


def _parse_payment(place: list[Value] | tuple[Value, ...]) -> Payment:
    statement, line = place
    return Payment(expect_int(statement, "statement", high=MAX_NUMBER), expect_int(line, "line", high=MAX_NUMBER))


def _book(view: Overlay, bank: Address, payment: Payment, amount: Booked) -> None:
    """Put a payment down as the bank's last. Raises `PaymentBooked` for one that is not after that."""
    book = get_book(view, bank)
    if book is not None and payment <= book.last:
        last = {"last_statement": book.last.statement, "last_line": book.last.line}
        raise PaymentBooked(**payment._asdict(), **last)
    own = amount if book is None else book.booked.add(amount)
    view.put(_BANK + bank, (*payment, *own))
    view.put(_BOOKED, tuple(get_booked(view).add(amount)))
