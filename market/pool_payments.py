"""The cash of a pool: a share of its plants' receipts as periods are settled, paid out by the waterfall on its dates.

Collections go into a pot, an account without a key, and so does the reserve. On a date `market.waterfall.pay` divides
what has come in since the last one; holders of a note are paid pro rata to what they hold, and principal takes as much
off it, so that a note is what it is owed. The originator services the pool: it has the fee, and the rest as equity. The
last date pays out all there is, the reserve too, in the order of early amortisation.

A plant from which nothing came between two dates, while others brought something in, has defaulted with all it counts
for, for good. Where the whole pool brings in nothing, senior interest is unpaid soon enough.

What subscribers hear:

    pool-collected    pool, period, plant, amount in µ¥
    plant-defaulted   pool, plant, value in µ¥
    pool-paid         pool, collections, and the payments as `market.waterfall.Payments` has them, in µ¥
    note-paid         pool, series, holder, interest, principal
    pool-status       pool, its new state, what was left in its pot and went to its originator
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from ledger.accounts import account_key, get_account, pay
from ledger.contract import BlockContext
from ledger.hashing import Address
from ledger.overlay import Overlay
from market.assets.lots import drop_holders, get_holders, put_holders, strip, take
from market.assets.series import drop_series, expire, spend, walk_series
from market.credit.score import PPM
from market.errors import PaymentsNotWhole
from market.pool_life import COLLECTING, Action, Event, Guard, Row, Status, find_row
from market.pool_records import (
    NOTE,
    SENIOR,
    Pool,
    Terms,
    drop_pool,
    enter,
    get_agenda,
    get_plant,
    get_plants,
    get_pot,
    get_terms,
    notes_key,
    put_plant,
    put_pool,
    release_plants,
    require_pool,
)
from market.rounding import divide_half_up
from market.trading.settlement_record import SettledShare
from market.waterfall import Params, Payments, State, pay_holders
from market.waterfall import pay as pay_by_waterfall

PAYMENTS_PER_BLOCK = 1_024  # to holders; what is due beyond them is left to the next block


# --- collections ---------------------------------------------------------------------------------


def collect_for_pools(view: Overlay, _block: BlockContext, share: SettledShare) -> None:
    """Have pools get their share of what these rows have paid to plants, rounded half up, once a plant."""
    if not get_agenda(view):
        return
    received_uyuan: dict[Address, int] = {}
    rows = [(row.seller, row.seller_receives_uyuan) for row in share.trades]
    for address, amount_uyuan in rows + [(row.member, row.receives_uyuan) for row in share.grid]:
        if amount_uyuan:
            received_uyuan[address] = received_uyuan.get(address, 0) + amount_uyuan
    for address, amount_uyuan in received_uyuan.items():
        plant = get_plant(view, address)
        pool = None if plant is None else require_pool(view, plant.pool)
        if plant is None or pool is None or pool.status not in COLLECTING:
            continue
        part_uyuan = divide_half_up(amount_uyuan * get_terms(view, plant.pool).share_ppm, PPM)
        pay(view, address, get_pot(plant.pool), part_uyuan)
        put_plant(view, address, plant._replace(received_uyuan=plant.received_uyuan + part_uyuan))
        put_pool(view, plant.pool, pool._replace(collected_uyuan=pool.collected_uyuan + part_uyuan))
        view.emit("pool-collected", plant.pool, share.period, address, part_uyuan)


# --- what is due ---------------------------------------------------------------------------------


class _Case(NamedTuple):
    """A pool as a block finds it."""

    view: Overlay
    block: BlockContext
    number: int
    pool: Pool
    terms: Terms

    @property
    def is_last(self) -> bool:
        return self.block.period >= self.terms.end

    @property
    def is_owed(self) -> bool:
        balances = self.pool.balances
        return balances.senior + balances.mezz > 0

    def put(self, pool: Pool) -> _Case:
        put_pool(self.view, self.number, pool)
        return self._replace(pool=pool)


_GUARDS: Mapping[Guard, Callable[[_Case], bool]] = {
    Guard.ISSUED: lambda case: case.is_owed,
    Guard.UNISSUED: lambda case: not case.is_owed,
    Guard.OWED: lambda case: case.is_owed,
    Guard.CLEAR: lambda case: not case.is_owed,
    Guard.MORE: lambda case: not case.is_last,
    Guard.LAST: lambda case: case.is_last,
    Guard.CALM: lambda case: not case.pool.balances.amort,
    Guard.TRIPPED: lambda case: bool(case.pool.balances.amort),
}


def run_pools(view: Overlay, block: BlockContext) -> None:
    """The hook at the start of every block: begin, pay, end and forget what is due, as far as a block's payments go."""
    payments = 0
    while payments < PAYMENTS_PER_BLOCK:
        due, number = next(iter(get_agenda(view)), (block.period + 1, 0))
        if due > block.period:
            return
        payments += 1 + _run(_Case(view, block, number, require_pool(view, number), get_terms(view, number)))


def find_pools_due(view: Overlay, block: BlockContext) -> int | None:
    """At once where a block has left something to the next; a period's first block comes in any case."""
    agenda = get_agenda(view)
    return 0 if agenda and agenda[0][0] <= block.period else None


def _run(case: _Case) -> int:
    """Take the step that a pool is due for; how many holders were paid."""
    match case.pool.status:
        case Status.FILLING:
            paid, event = 0, Event.START
        case Status.RUNNING | Status.AMORTISING:
            (case, paid), event = _pay(case), Event.PAID
        case _:
            paid, event = 0, Event.END_OF_KEEPING
    row = find_row(case.pool.status, event, lambda guard: _GUARDS[guard](case))
    _ACTIONS[row.action](case, row)
    return paid


def _go_on(case: _Case, row: Row) -> None:
    if row.after != row.before:
        case.put(case.pool._replace(status=row.after))
        case.view.emit("pool-status", case.number, str(row.after), 0)
    enter(case.view, case.number, case.terms.next_date(case.block.period))


def _close(case: _Case, row: Row) -> None:
    """End a pool: what is left goes to its originator, plants are free again, and what is owed on notes is lost."""
    view, block, number, pool, _ = case
    for note, series in list(walk_series(view, notes_key(number))):
        for holder, _amount in get_holders(view, note):
            strip(view, NOTE, holder, note, block.period)
        drop_holders(view, note)
        if lost := expire(view, note):
            view.emit("asset-expired", NOTE, note, series.issuer, lost)
    pot = get_pot(number)
    left_uyuan = get_account(view, pot).balance_uyuan
    pay(view, pot, pool.originator, left_uyuan)
    release_plants(view, number)
    balances = pool.balances._replace(reserve=0)
    case.put(pool._replace(status=row.after, paid_uyuan=pool.paid_uyuan + left_uyuan, balances=balances))
    enter(view, number, block.period + block.params.market.retained_periods)
    view.emit("pool-status", number, str(row.after), left_uyuan)


def _forget(case: _Case, _row: Row) -> None:
    for note, _ in list(walk_series(case.view, notes_key(case.number))):
        drop_series(case.view, note)
    drop_pool(case.view, case.number, case.pool.originator)
    case.view.delete(account_key(get_pot(case.number)))
    enter(case.view, case.number, None)


_ACTIONS: Mapping[Action, Callable[[_Case, Row], None]] = {
    Action.GO_ON: _go_on,
    Action.CLOSE: _close,
    Action.FORGET: _forget,
}


# --- payments ------------------------------------------------------------------------------------


def _pay(case: _Case) -> tuple[_Case, int]:
    """Make a date's payments; the pool after them, and how many holders were paid."""
    view, block, number, pool, terms = case
    pot, before = get_pot(number), pool.balances._replace(default=pool.balances.default + _find_defaults(case))
    collections_uyuan = get_account(view, pot).balance_uyuan - before.reserve
    params = _make_params(terms, before, (block.period - pool.since) * block.params.ledger.period_ms)
    if case.is_last:
        payments, after = pay_all(before, params, collections_uyuan)
    else:
        payments, after = pay_by_waterfall(before, params, collections_uyuan)
    check_payments(collections_uyuan, before, payments, after)
    view.emit("pool-paid", number, collections_uyuan, *payments)
    pay(view, pot, pool.originator, payments.fee + payments.equity)
    holders = 0
    for note, series in list(walk_series(view, notes_key(number))):
        is_senior = series.attributes[1] == SENIOR
        due = (payments.sen_int, payments.sen_prin) if is_senior else (payments.mez_int, payments.mez_prin)
        holders += _pay_note(case, note, *due)
    paid_uyuan = collections_uyuan + before.reserve - after.reserve
    pool = pool._replace(since=block.period, paid_uyuan=pool.paid_uyuan + paid_uyuan, balances=after)
    return case.put(pool), holders


def _make_params(terms: Terms, balances: State, elapsed_ms: int) -> Params:
    rates = terms.fee_ppm, terms.sen_ppm, terms.mez_ppm, terms.reserve_ppm, terms.default_trigger_ppm
    return Params(*rates, pool0=balances.pool, period_ms=elapsed_ms, sched=terms.sched_uyuan)


def pay_all(before: State, params: Params, collections_uyuan: int) -> tuple[Payments, State]:
    """The payments of the last date: all there is, the reserve too, in the order of early amortisation."""
    everything = before._replace(reserve=0, amort=1)
    payments, after = pay_by_waterfall(everything, params, collections_uyuan + before.reserve)
    return payments._replace(reserve_out=before.reserve), after


def check_payments(collections_uyuan: int, before: State, payments: Payments, after: State) -> None:
    """Raise `PaymentsNotWhole` unless collections and reserve are what is paid and kept, and principal what notes lose.

    Asked before any money moves, and good for whoever recomputes a date from the events.
    """
    paid_uyuan = sum(payments) - payments.reserve_in - payments.reserve_out
    for what, actual, expected in (
        ("all", paid_uyuan + after.reserve, collections_uyuan + before.reserve),
        ("the reserve", payments.reserve_in - payments.reserve_out, after.reserve - before.reserve),
        ("senior principal", payments.sen_prin, before.senior - after.senior),
        ("mezzanine principal", payments.mez_prin, before.mezz - after.mezz),
    ):
        if actual != expected:
            raise PaymentsNotWhole(what=what, actual=actual, expected=expected)


def _find_defaults(case: _Case) -> int:
    """The value of the plants that have defaulted since the last date (µ¥); a new count of receipts begins."""
    view, number = case.view, case.number
    plants = [(address, plant) for address in get_plants(view, number) if (plant := get_plant(view, address))]
    has_receipts = any(plant.received_uyuan for _, plant in plants)
    defaults_uyuan = 0
    for address, plant in plants:
        is_new = has_receipts and not plant.received_uyuan and not plant.is_defaulted
        if is_new:
            defaults_uyuan += plant.value_uyuan
            view.emit("plant-defaulted", number, address, plant.value_uyuan)
        put_plant(view, address, plant._replace(received_uyuan=0, is_defaulted=int(plant.is_defaulted or is_new)))
    return defaults_uyuan


def _pay_note(case: _Case, note: int, interest_uyuan: int, principal_uyuan: int) -> int:
    """Pay the holders of a note, and take the principal off what they hold; how many there are."""
    if not interest_uyuan + principal_uyuan:
        return 0
    view, now = case.view, case.block.period
    holders = get_holders(view, note)
    held = [amount for _, amount in holders]
    parts = zip(holders, pay_holders(interest_uyuan, held), pay_holders(principal_uyuan, held), strict=True)
    left = []
    for (holder, amount), interest, principal in parts:
        pay(view, get_pot(case.number), holder, interest + principal)
        if principal:
            take(view, NOTE, holder, principal, now, lambda series: series == note)
        left.append((holder, amount - principal))
        view.emit("note-paid", case.number, note, holder, interest, principal)
    put_holders(view, note, left)
    spend(view, note, principal_uyuan)
    return len(holders)
