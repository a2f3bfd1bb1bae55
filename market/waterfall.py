"""The order in which a pool's collections are paid out: one pure function of a state and a period's cash, in µ¥.

Text 003 (section 8) asks for the waterfall to be ensured by contract. A period's payments, in their order: the fee and
senior interest, which may draw on the reserve; the test of the trigger; mezzanine interest; the reserve up to its
target; what the reserve holds beyond it, as cash again; senior principal, as scheduled; the mezzanine; equity. In early
amortisation, which no later period leaves, the mezzanine and the reserve wait until the senior note is repaid, and
equity until both are (decision 58).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeVar

from ledger.codec import expect_int
from market.credit.score import PPM
from market.errors import NothingHeld, WrongFields
from market.rounding import divide_half_up, divide_pro_rata

YEAR_MS = 365 * 86_400_000  # interest runs by days of a year of 365, whatever year it is
_YEAR_PPM = YEAR_MS * PPM
_MAX_AMOUNT = 2**63 - 1


class State(NamedTuple):
    """A pool between two periods, in µ¥: balances of the pool and its notes, what is due from before, and defaults."""

    pool: int
    senior: int
    mezz: int
    reserve: int
    fee_due: int
    sen_due: int
    mez_due: int
    amort: int  # 1 since early amortisation began
    default: int  # what of the pool has defaulted so far


class Params(NamedTuple):
    """The terms of a pool: rates a year and shares in ppm, a period in ms, amounts in µ¥.

    `reserve_ppm` is of the senior balance; the trigger trips when defaults are more than `default_trigger_ppm` of
    `pool0`. Fee and interest fall due in whole multiples of `unit`: 10 000 µ¥ where notes are counted in cents.
    """

    fee_ppm: int
    sen_ppm: int
    mez_ppm: int
    reserve_ppm: int
    default_trigger_ppm: int
    pool0: int
    period_ms: int
    sched: int  # the senior principal of an ordinary period
    unit: int = 1


class Payments(NamedTuple):
    """The payments of a period (µ¥): collections and `reserve_out` are the sum of all else."""

    fee: int
    sen_int: int
    mez_int: int
    sen_prin: int
    mez_prin: int
    reserve_in: int
    reserve_out: int
    equity: int


class Dues(NamedTuple):
    """The fee and interest that fall due with a period, arrears included (µ¥)."""

    fee: int
    senior: int
    mezz: int


def pay_waterfall(
    state: Mapping[str, int], params: Mapping[str, int], collections_uyuan: int
) -> tuple[dict[str, int], dict[str, int]]:
    """A period's payments and the state after it; the fields are those of `Payments`, `State` and `Params`.

    Raises `WrongFields` where one is missing or unknown, and `WrongShape` where one is no amount within its bounds.
    """
    payments, after = pay(
        _read(State, state, _STATE),
        _read(Params, params, _PARAMS),
        expect_int(collections_uyuan, "collections"),
    )
    return payments._asdict(), after._asdict()


def pay(state: State, params: Params, collections: int) -> tuple[Payments, State]:
    """The order of payments, step by step; what is not paid of fee and interest stays due, without interest."""
    dues = accrue(state, params)
    fee, cash, reserve = draw(dues.fee, collections, state.reserve)
    sen_int, cash, reserve = draw(dues.senior, cash, reserve)
    is_early = is_tripped(state, params, unpaid_interest=dues.senior - sen_int)
    mez_int = 0 if is_early else min(cash, dues.mezz)
    cash -= mez_int
    reserve_in, excess = balance_reserve(state, params, cash, reserve, is_early)
    cash += excess - reserve_in
    sen_prin = min(cash, state.senior if is_early else min(params.sched, state.senior))
    cash -= sen_prin
    late_int, mez_prin = pay_mezzanine(state, cash, dues.mezz - mez_int, state.senior - sen_prin, is_early)
    mez_int += late_int
    payments = Payments(
        fee=fee,
        sen_int=sen_int,
        mez_int=mez_int,
        sen_prin=sen_prin,
        mez_prin=mez_prin,
        reserve_in=reserve_in,
        reserve_out=state.reserve - reserve + excess,
        equity=cash - late_int - mez_prin,
    )
    return payments, State(
        pool=state.pool,
        senior=state.senior - sen_prin,
        mezz=state.mezz - mez_prin,
        reserve=reserve + reserve_in - excess,
        fee_due=dues.fee - fee,
        sen_due=dues.senior - sen_int,
        mez_due=dues.mezz - mez_int,
        amort=int(is_early),
        default=state.default,
    )


def accrue(state: State, params: Params) -> Dues:
    """The fee on the pool and interest on the notes for a period, each rounded once, and what was due before."""
    return Dues(
        fee=state.fee_due + _accrue(state.pool, params.fee_ppm, params),
        senior=state.sen_due + _accrue(state.senior, params.sen_ppm, params),
        mezz=state.mez_due + _accrue(state.mezz, params.mez_ppm, params),
    )


def _accrue(balance: int, rate_ppm: int, params: Params) -> int:
    interest = divide_half_up(balance * rate_ppm * params.period_ms, _YEAR_PPM)
    return interest - interest % params.unit


def draw(due: int, cash: int, reserve: int) -> tuple[int, int, int]:
    """The payment of a due from cash and then from the reserve, and what is left of both."""
    by_cash = min(due, cash)
    by_reserve = min(due - by_cash, reserve)
    return by_cash + by_reserve, cash - by_cash, reserve - by_reserve


def is_tripped(state: State, params: Params, unpaid_interest: int) -> bool:
    """Early amortisation: from before, for defaults above their limit, or for senior interest that is not paid."""
    over = state.default * PPM > params.default_trigger_ppm * params.pool0
    return bool(state.amort) or over or unpaid_interest > 0


def balance_reserve(state: State, params: Params, cash: int, reserve: int, is_early: bool) -> tuple[int, int]:
    """The cash that fills the reserve up to its target, and what it holds beyond that; one of the two is 0."""
    target = divide_half_up(state.senior * params.reserve_ppm, PPM)
    if reserve >= target:
        return 0, reserve - target
    return 0 if is_early else min(cash, target - reserve), 0


def pay_mezzanine(state: State, cash: int, due: int, senior_left: int, is_early: bool) -> tuple[int, int]:
    """Mezzanine interest that is still due, and principal: that, and in early amortisation both, after the senior."""
    interest = 0 if is_early and senior_left else min(cash, due)
    principal = 0 if senior_left else min(cash - interest, state.mezz)
    return interest, principal


def pay_holders(amount_uyuan: int, held: Sequence[int]) -> list[int]:
    """The part of a payment (µ¥) that goes to each holder of a note, pro rata to what it holds, in their order.

    Raises `NothingHeld` where nobody holds any of it.
    """
    if not any(held):
        raise NothingHeld(amount=amount_uyuan)
    return divide_pro_rata(amount_uyuan, held)


# Of each field what it is called, the least and the most it may be.
_STATE = {name: (f"{name} of the state", 0, 1 if name == "amort" else _MAX_AMOUNT) for name in State._fields}
_PARAMS = {
    name: (f"{name} of the params", int(name == "unit"), PPM if name.endswith("_ppm") else _MAX_AMOUNT)
    for name in Params._fields
}
_Fields = TypeVar("_Fields", State, Params)


def _read(kind: type[_Fields], fields: Mapping[str, int], bounds: Mapping[str, tuple[str, int, int]]) -> _Fields:
    """The mapping as a value, its fields known and within bounds."""
    complete = {**kind._field_defaults, **fields}
    if complete.keys() != bounds.keys():
        missing, unknown = bounds.keys() - complete.keys(), complete.keys() - bounds.keys()
        raise WrongFields(what=kind.__name__.lower(), missing=sorted(missing), unknown=sorted(unknown))
    return kind(
        **{name: expect_int(complete[name], what, low=low, high=high) for name, (what, low, high) in bounds.items()}
    )
