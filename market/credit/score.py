"""Merit: the score of one delivery and the running mean of scores, Eqs (1), (2) and (12) of text 000."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ledger.accounts import Account
from ledger.params import MarketParams
from market.errors import EmptyContract
from market.rounding import divide_half_up

FULL_CREDIT_UPT = 100_000_000
MAX_NATURAL_FACTOR_PPM = 300_000
PPM = 1_000_000


def assess_delivery(actual_wh: int, agreed_wh: int, *, natural_factor_ppm: int = 0) -> int:
    """Score one delivery, in micro-points (0 … 100e6): one term of the sum in Eqs (1) and (2) of text 000.

    Over-delivery scores as full delivery. The natural factor α of Eq. (12), 0 … 300 000 ppm, raises a
    shortfall's score by 1 + α, up to full. Rounded half up. Raises `EmptyContract` when nothing was agreed.
    """
    assert actual_wh >= 0, "a meter reading is not negative"
    assert 0 <= natural_factor_ppm <= MAX_NATURAL_FACTOR_PPM, "the natural factor is 0 … 0.3"
    if agreed_wh <= 0:
        raise EmptyContract(agreed_wh=agreed_wh)
    if actual_wh >= agreed_wh:
        return FULL_CREDIT_UPT
    score_upt = divide_half_up(actual_wh * FULL_CREDIT_UPT * (PPM + natural_factor_ppm), agreed_wh * PPM)
    return min(FULL_CREDIT_UPT, score_upt)


def assess_sides(agreed_wh: int, consumption_wh: int, output_wh: int, *, natural_factor_ppm: int) -> tuple[int, int]:
    """The scores of a trade's buyer and seller, in micro-points; Eq. (12) makes allowance for the seller's weather."""
    return (
        assess_delivery(consumption_wh, agreed_wh),
        assess_delivery(output_wh, agreed_wh, natural_factor_ppm=natural_factor_ppm),
    )


def running_credit(scores_upt: Iterable[int]) -> int:
    """C_n of Eqs (1) and (2): the mean of these scores (at least one), in micro-points, rounded half up.

    The equations sum scores, not the means before them (which their C_i would say if read literally).
    """
    record = CreditRecord(initial_upt=0)
    for score_upt in scores_upt:
        record = record.add(score_upt)
    assert record.score_count, "a mean needs a score"
    return record.credit_upt


def weigh_delivery(agreed_wh: int, unit_wh: int) -> int:
    """The weight of a delivery's score: one per whole unit of what was agreed; where the unit is 0: one.

    Eqs (1) and (2) count every delivery once, so that a watt-hour delivered to an accomplice makes up for a
    megawatt-hour that was not. With a unit, a share of the energy has to be made up for with as much.
    """
    return agreed_wh // unit_wh if unit_wh else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditRecord:
    """A member's scores so far, kept as sum and weight so that no rounding accumulates."""

    initial_upt: int  # the credit until the first score …
    initial_weight: int = 0  # … and how many scores it counts for afterwards
    score_sum_upt: int = 0
    score_count: int = 0
    score_weight: int = 0

    def add(self, score_upt: int, weight: int = 1) -> CreditRecord:
        """The record with one more score (0 … 100e6 micro-points)."""
        assert 0 <= score_upt <= FULL_CREDIT_UPT, "a score is 0 … 100 points"
        return replace(
            self,
            score_sum_upt=self.score_sum_upt + score_upt * weight,
            score_count=self.score_count + 1,
            score_weight=self.score_weight + weight,
        )

    @property
    def credit_upt(self) -> int:
        """The weighted mean of initial credit and scores in micro-points, half up; the former where there are none."""
        return _compute_mean(self.initial_upt, self.initial_weight, self.score_sum_upt, self.score_weight)


def add_score(account: Account, score_upt: int, *, agreed_wh: int, params: MarketParams) -> Account:
    """The account after one more delivery (a score of 0 … 100e6 micro-points): Eqs (1), (2) and (12) of text 000.

    Its credit is the mean of its scores less its penalties, and never below 0.
    """
    assert 0 <= score_upt <= FULL_CREDIT_UPT, "a score is 0 … 100 points"
    weight = weigh_delivery(agreed_wh, params.score_unit_wh)
    return _count(account, score_upt * weight, 1, weight, params)


def correct_score(account: Account, change_upt: int, *, agreed_wh: int, params: MarketParams) -> Account:
    """The account once a delivery that has been scored, or is about to be, has its score changed by so much.

    It does not matter which of the two comes first.
    """
    return _count(account, change_upt * weigh_delivery(agreed_wh, params.score_unit_wh), 0, 0, params)


def _count(account: Account, sum_upt: int, count: int, weight: int, params: MarketParams) -> Account:
    """The account with so much more in its record: it is made for every score, so it is made at once."""
    balance_uyuan, _, sequence, reserved_uyuan, score_sum_upt, score_count, penalty_upt, score_weight, *money = account
    score_sum_upt, score_weight = score_sum_upt + sum_upt, score_weight + weight
    mean_upt = _compute_mean(params.initial_credit_upt, params.initial_weight, score_sum_upt, score_weight)
    credit_upt = min(FULL_CREDIT_UPT, max(0, mean_upt - penalty_upt))
    return Account(
        balance_uyuan,
        credit_upt,
        sequence,
        reserved_uyuan,
        score_sum_upt,
        score_count + count,
        penalty_upt,
        score_weight,
        *money,
    )


def _compute_mean(initial_upt: int, initial_weight: int, score_sum_upt: int, score_weight: int) -> int:
    if not score_weight:
        return initial_upt
    return divide_half_up(initial_upt * initial_weight + score_sum_upt, initial_weight + score_weight)


def add_penalty(account: Account, cost_upt: int) -> Account:
    """The account after an offence: its credit falls by the cost in micro-points, not below 0, and stays so reduced."""
    return account._replace(
        credit_upt=max(0, account.credit_upt - cost_upt), penalty_upt=account.penalty_upt + cost_upt
    )
