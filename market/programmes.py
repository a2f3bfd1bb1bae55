"""Subsidies: programmes that pay for each delivery of green energy, as far as their budgets go (text 003, 7.4).

A programme pays a rate for each green kWh that was fed in and metered, once per (programme, period, producer). Whoever
opens it puts its budget into a pot of its own, from which each meter is paid for as its period is settled, in the order
in which meters are; the last payment may be in part. It is open until it is exhausted, or over: the last of its periods
has been settled. What is left then returns to its funder. What is read later, or corrected, is not paid for.

The chain knows two sources of green energy, plants (producers) and what stands behind a consumer's meter (prosumers),
each with the share of its output that it was registered with as renewable.

What subscribers hear, in µ¥ and Wh:

    programme          name, funder, budget, first period, last period
    subsidy            name, period, producer, green energy, due, paid, left of the budget
    programme-ended    name, "exhausted" or "over", funder, paid in all, returned
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple

from ledger.accounts import Member, account_key, get_account, pay, require_member
from ledger.codec import Value, expect_array, expect_int, expect_list, expect_str
from ledger.contract import BlockContext, Handler
from ledger.errors import WrongShape
from ledger.hashing import Address
from ledger.overlay import Overlay
from ledger.transaction import Transaction
from market.credit.score import PPM
from market.errors import (
    BudgetNotCovered,
    NoSuchSource,
    ProgrammeExists,
    ProgrammeTooLate,
    SubsidisedAlready,
    TooManyProgrammes,
)
from market.metering import Reading
from market.programme_records import (
    EXHAUSTED,
    MAX_PROGRAMMES,
    OPEN,
    OVER,
    Programme,
    Rates,
    add_programme,
    drop_programme,
    get_left_uyuan,
    get_names,
    get_pot,
    get_programme,
    list_paying,
    put_programme,
    walk_programmes,
)
from market.roles import GENERATORS, Act, require_right
from market.rounding import divide_half_up
from market.settlement import WH_PER_KWH
from market.trading.period_index import get_live_periods
from market.trading.settlement_record import SettledShare
from market.trading.times import count_periods

PROGRAMME = "programme"
MAX_NAME_BYTES = 32
MAX_PERIODS = 366 * 24  # that one programme pays for
MAX_RATE_UYUAN_PER_KWH = 10**8  # 100 yuan, as for prices


class SubsidyKey(NamedTuple):
    """The delivery that is paid for once and never again."""

    programme: str
    period: int
    producer: Address


class Subsidy(NamedTuple):
    """The amount that a producer is due for its green energy of a period, and what the budget pays of it (µ¥)."""

    key: SubsidyKey
    due_uyuan: int
    paid_uyuan: int


def get_eligible_wh(output_wh: int, green_wh: int) -> int:
    """The green energy that was fed in (Wh): of a storage that is drawn on, what of it was stored green."""
    return min(output_wh, green_wh)


def compute_due(eligible_wh: int, rate_uyuan_per_kwh: int) -> int:
    """The subsidy for a producer's eligible energy of a period (µ¥), rounded half up, once."""
    return divide_half_up(eligible_wh * rate_uyuan_per_kwh, WH_PER_KWH)


def pay_from_budget(budget_uyuan: int, due_uyuan: Sequence[int]) -> tuple[list[int], int]:
    """The payments of each due by a budget, in their order, and what is left of it (µ¥): the last may be in part.

    Raises `WrongShape` for what is no amount.
    """
    left = expect_int(budget_uyuan, "the budget")
    paid = []
    for due in due_uyuan:
        paid.append(min(left, expect_int(due, "a subsidy")))
        left -= paid[-1]
    return paid, left


def compute_subsidies(
    deliveries: Iterable[tuple[SubsidyKey, int]],
    *,
    budget_uyuan: int,
    rate_uyuan_per_kwh: int,
    paid_before: Container[SubsidyKey] = (),
) -> tuple[list[Subsidy], int]:
    """The subsidies for deliveries (key, eligible Wh), in their order, and what is left of the budget (µ¥).

    Raises `SubsidisedAlready` for a key that comes twice or is among those `paid_before`, and `WrongShape`.
    """
    dues: dict[SubsidyKey, int] = {}
    for key, eligible_wh in deliveries:
        if key in dues or key in paid_before:
            raise SubsidisedAlready(**key._asdict())
        dues[key] = compute_due(expect_int(eligible_wh, "eligible energy"), rate_uyuan_per_kwh)
    paid, left = pay_from_budget(budget_uyuan, [*dues.values()])
    return [Subsidy(key, due, part) for (key, due), part in zip(dues.items(), paid, strict=True)], left


# --- on a chain ----------------------------------------------------------------------------------


def programme_handlers() -> dict[str, Handler]:
    """The transaction kind by which programmes are opened."""
    return {PROGRAMME: process_programme}


def process_programme(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`programme [name, budget_uyuan, rates, first, last]`: pay for deliveries of periods to come out of this budget.

    `rates` are rows (source, µ¥ per green kWh), each source once. Raises `WrongShape`, `TooLarge`, `RoleNotAllowed`,
    `NoSuchSource`, `ProgrammeTooLate`, `ProgrammeExists`, `TooManyProgrammes` or `BudgetNotCovered`.
    """
    text, budget, table, begin, end = expect_array(transaction.payload, 5, PROGRAMME)
    name = _read_name(text)
    budget_uyuan, rates = expect_int(budget, "budget", low=1), _read_rates(table)
    first = expect_int(begin, "first period")
    last = expect_int(end, "last period", low=first, high=first + MAX_PERIODS - 1)
    funder = transaction.sender
    require_right(require_member(view, funder), Act.PROGRAMME)
    if first <= block.period:
        raise ProgrammeTooLate(first=first, next=block.period + 1)
    if get_programme(view, name) is not None:
        raise ProgrammeExists(programme=name)
    if len(get_names(view)) >= MAX_PROGRAMMES:
        raise TooManyProgrammes(limit=MAX_PROGRAMMES)
    have_uyuan = get_account(view, funder).balance_uyuan
    if have_uyuan < budget_uyuan:
        raise BudgetNotCovered(programme=name, budget=budget_uyuan, have=have_uyuan)
    pay(view, funder, get_pot(name), budget_uyuan)
    add_programme(view, name, Programme(funder, budget_uyuan, rates, first, last))
    view.emit(PROGRAMME, name, funder, budget_uyuan, first, last)


def _read_name(value: Value) -> str:
    name = expect_str(value, "name", max_size=MAX_NAME_BYTES)
    if not name or not name.isprintable():
        raise WrongShape(what="name", detail="a programme has a name of printable characters")
    return name


def _read_rates(value: Value) -> Rates:
    rates: dict[str, int] = {}
    for row in expect_list(value, "rates", max_items=len(GENERATORS)):
        text, number = expect_array(row, 2, "rate")
        source = expect_str(text, "source")
        if source not in GENERATORS:
            raise NoSuchSource(source=source, known=", ".join(GENERATORS))
        if source in rates:
            raise WrongShape(what="rates", detail=f"{source} is in them twice")
        rates[source] = expect_int(number, "rate", low=1, high=MAX_RATE_UYUAN_PER_KWH)
    if not rates:
        raise WrongShape(what="rates", detail="a programme pays for one source at least")
    return tuple(sorted(rates.items()))


def pay_subsidies(view: Overlay, block: BlockContext, share: SettledShare) -> None:
    """Pay each programme's subsidies for the meters that this share has settled, programme by programme."""
    made = [reading for reading in share.meters if reading.produced_wh]
    for name, programme in list_paying(view, share.period) if made else ():
        _pay(view, block, share.period, name, programme, made)


def _pay(
    view: Overlay, block: BlockContext, period: int, name: str, programme: Programme, made: Sequence[Reading]
) -> None:
    left_uyuan, paid_uyuan = programme.budget_uyuan - programme.paid_uyuan, 0
    for producer, _, produced_wh in made:
        member = require_member(view, producer)
        green_wh = compute_green_wh(produced_wh, member)
        rate = programme.get_rate(member.role)
        if not (rate and green_wh and left_uyuan):
            continue
        (subsidy,), left_uyuan = compute_subsidies(
            [(SubsidyKey(name, period, producer), get_eligible_wh(produced_wh, green_wh))],
            budget_uyuan=left_uyuan,
            rate_uyuan_per_kwh=rate,
        )
        if subsidy.paid_uyuan:
            pay(view, get_pot(name), producer, subsidy.paid_uyuan)
            paid_uyuan += subsidy.paid_uyuan
        view.emit("subsidy", name, period, producer, green_wh, subsidy.due_uyuan, subsidy.paid_uyuan, left_uyuan)
    if paid_uyuan:
        programme = programme._replace(paid_uyuan=programme.paid_uyuan + paid_uyuan)
        put_programme(view, name, programme)
    if not left_uyuan:
        _end(view, block, name, programme, EXHAUSTED)


def compute_green_wh(produced_wh: int, member: Member) -> int:
    """The Wh of a member's output that its registration says are renewable, rounded down."""
    return produced_wh * member.renewable_ppm // PPM


def end_programmes(view: Overlay, block: BlockContext) -> None:
    """The hook at a period's first block: end what is over, and forget what ended as long ago as periods are kept."""
    if not block.is_first_of_period:
        return
    market = block.params.market
    settled = block.period - count_periods(market.settle_ppm) - 2  # the last period that is over by the clock
    oldest_live = min(get_live_periods(view), default=block.period)
    for name, programme in list(walk_programmes(view)):
        if programme.state == OPEN and programme.last <= settled and programme.last < oldest_live:
            _end(view, block, name, programme, OVER)
        elif programme.state != OPEN and programme.ended + market.retained_periods <= block.period:
            drop_programme(view, name)


def _end(view: Overlay, block: BlockContext, name: str, programme: Programme, state: str) -> None:
    """Have a programme be over: what is left of its budget returns to its funder."""
    left_uyuan = get_left_uyuan(view, name)
    if left_uyuan:
        pay(view, get_pot(name), programme.funder, left_uyuan)
    view.delete(account_key(get_pot(name)))
    put_programme(view, name, programme._replace(state=state, ended=block.period))
    view.emit("programme-ended", name, state, programme.funder, programme.paid_uyuan, left_uyuan)
