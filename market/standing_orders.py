"""Standing orders: at every so many periods a bank tops an account up to a limit, out of its own (decision 60).

An account has one standing order at most. Those that are due in a period form a chain, each naming the next, and what
is put down beside them is the first period that is not done with. Each block does so much of what is due and leaves the
rest to the next ones. A bank that has too little pays what it has.

What subscribers hear, `due` being the period of the next payment:

    standing-order        bank, member, limit, every so many periods, due
    standing-order-ended  bank, member: the bank has ended it, or one of the two has left
    topped-up             bank, member, amount paid, amount that the bank lacked, due
"""

from __future__ import annotations

from typing import NamedTuple, cast

from ledger.accounts import get_account, pay, require_member
from ledger.codec import expect_array, expect_bytes, expect_int
from ledger.contract import BlockContext, Handler
from ledger.errors import WrongShape
from ledger.hashing import ADDRESS_SIZE, Address, show_address
from ledger.membership import is_gone
from ledger.overlay import Overlay
from ledger.transaction import Transaction
from market.errors import NoStandingOrder, StandingOrderTaken
from market.roles import Act, require_right

STANDING_ORDER = "standing-order"
MAX_EVERY = 10_000  # periods; a month of periods of five minutes has 8 928
STEPS_PER_BLOCK = 256  # a payment, or a period without one

_ORDER = b"treasury/order/"
_DUE = b"treasury/due/"
_AGENDA = b"treasury/agenda"


class StandingOrder(NamedTuple):
    """One account's: what `bank` tops it up to (µ¥, 0 once it has ended), at every so many periods; next at `due`."""

    bank: Address
    limit_uyuan: int
    every: int
    due: int
    following: Address = b""  # who is due with it and comes after it


class _Agenda(NamedTuple):
    """The first period that is not done with, and how many orders there are."""

    period: int
    orders: int


def standing_order_handlers() -> dict[str, Handler]:
    """The transaction kind by which banks give standing orders."""
    return {STANDING_ORDER: process_standing_order}


def get_standing_order(view: Overlay, member: Address) -> StandingOrder | None:
    """The standing order in favour of an account, None where there is none or it has ended."""
    order = _get_order(view, member)
    return order if order is not None and order.limit_uyuan else None


def process_standing_order(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`standing-order [member, limit_uyuan, every]`: top an account up from the next period on; limit 0 ends it.

    An order that there is keeps its next period, and has another limit and interval from then on. Raises `WrongShape`,
    `TooLarge`, `RoleNotAllowed`, `UnknownMember`, `StandingOrderTaken` or `NoStandingOrder`.
    """
    fields = expect_array(transaction.payload, 3, STANDING_ORDER)
    member, limit_uyuan = expect_bytes(fields[0], "address", size=ADDRESS_SIZE), expect_int(fields[1], "limit")
    every, bank = expect_int(fields[2], "interval", low=1, high=MAX_EVERY), transaction.sender
    require_right(require_member(view, bank), Act.STANDING_ORDER)
    require_member(view, member)
    if member == bank:
        raise WrongShape(what=STANDING_ORDER, detail="a bank tops up other accounts than its own")
    before = get_standing_order(view, member)
    if before is not None and before.bank != bank:
        raise StandingOrderTaken(member=show_address(member), bank=show_address(before.bank))
    if not limit_uyuan:
        _end(view, bank, member)
        return
    row = _get_order(view, member)
    if row is None:
        order = _enter(view, member, StandingOrder(bank, limit_uyuan, every, block.period + 1))
        agenda = _get_agenda(view) or _Agenda(order.due, 0)
        view.put(_AGENDA, tuple(agenda._replace(orders=agenda.orders + 1)))
    else:
        order = row._replace(bank=bank, limit_uyuan=limit_uyuan, every=every)
        _put_order(view, member, order)
    view.emit(STANDING_ORDER, bank, member, limit_uyuan, every, order.due)


def _end(view: Overlay, bank: Address, member: Address) -> None:
    """End an order: its row goes when it would have been due, since others name it until then."""
    order = get_standing_order(view, member)
    if order is None:
        raise NoStandingOrder(member=show_address(member))
    _put_order(view, member, order._replace(limit_uyuan=0))
    view.emit("standing-order-ended", bank, member)


# --- what is due -----------------------------------------------------------------------------------


def run_standing_orders(view: Overlay, block: BlockContext) -> None:
    """The hook at the start of every block: `STEPS_PER_BLOCK` of what is due."""
    agenda, steps = _get_agenda(view), 0
    while agenda is not None and agenda.period <= block.period and steps < STEPS_PER_BLOCK:
        first = cast(bytes | None, view.get(_due_key(agenda.period)))
        if first is None:
            agenda = agenda._replace(period=agenda.period + 1)
        elif not _run(view, block, first, agenda.period):
            agenda = agenda._replace(orders=agenda.orders - 1) if agenda.orders > 1 else None
        steps += 1
    if steps and agenda is None:
        view.delete(_AGENDA)
    elif steps and agenda is not None:
        view.put(_AGENDA, tuple(agenda))


def find_standing_orders_due(view: Overlay, block: BlockContext) -> int | None:
    """At once where a block has left something to the next; a period's first block comes in any case."""
    agenda = _get_agenda(view)
    return 0 if agenda is not None and agenda.period <= block.period else None


def _run(view: Overlay, block: BlockContext, member: Address, period: int) -> bool:
    """Carry out the first order that is due in a period, and enter it anew; False where it is no more."""
    order = _get_order(view, member)
    assert order is not None, "who is due has an order"
    if order.following:
        view.put(_due_key(period), order.following)
    else:
        view.delete(_due_key(period))
    if not order.limit_uyuan or is_gone(view, order.bank) or is_gone(view, member):
        view.delete(_ORDER + member)
        if order.limit_uyuan:
            view.emit("standing-order-ended", order.bank, member)
        return False
    account, bank = get_account(view, member), get_account(view, order.bank)
    wanted_uyuan = max(0, order.limit_uyuan - account.balance_uyuan - account.reserved_uyuan)
    amount_uyuan = min(wanted_uyuan, max(0, bank.balance_uyuan))
    if amount_uyuan:
        pay(view, order.bank, member, amount_uyuan)
    missed = (block.period - period) // order.every
    due = _enter(view, member, order._replace(due=period + (missed + 1) * order.every)).due
    if wanted_uyuan:
        view.emit("topped-up", order.bank, member, amount_uyuan, wanted_uyuan - amount_uyuan, due)
    return True


# --- rows --------------------------------------------------------------------------------------------


def _enter(view: Overlay, member: Address, order: StandingOrder) -> StandingOrder:
    """Put an order first among those that are due when it is."""
    key = _due_key(order.due)
    entered = order._replace(following=cast(bytes, view.get(key) or b""))
    _put_order(view, member, entered)
    view.put(key, member)
    return entered


def _get_order(view: Overlay, member: Address) -> StandingOrder | None:
    row = cast(tuple[bytes, int, int, int, bytes] | None, view.get(_ORDER + member))
    return None if row is None else StandingOrder._make(row)


def _put_order(view: Overlay, member: Address, order: StandingOrder) -> None:
    view.put(_ORDER + member, tuple(order))


def _get_agenda(view: Overlay) -> _Agenda | None:
    row = cast(tuple[int, int] | None, view.get(_AGENDA))
    return None if row is None else _Agenda._make(row)


def _due_key(period: int) -> bytes:
    return _DUE + period.to_bytes(8, "big")
