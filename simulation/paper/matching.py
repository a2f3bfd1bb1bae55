"""Credit matching (text 000, §4.2, step 4) on a day's books, beside step 3 of the flow: price and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ledger.params import MatchingWeights
from market.trading.clearing_rules import ClearingContext, RuleOutcome, compare_rules
from market.trading.matching_weight import WeightedOrder, compute_merits

BY_PRICE, BY_WEIGHT = "price-time", "credit-weighted"


class RuleDay(NamedTuple):
    """One rule's day over all books: the sums of their outcomes."""

    rule: str
    trades: int
    volume_wh: int
    welfare_uyuan: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchedDay:
    """One day under both rules; `alike` counts the hours with trades in which each player trades as much under both."""

    by_price: RuleDay
    by_weight: RuleDay
    hours: int  # in which any player trades
    alike: int


def match_day(books: Sequence[Sequence[WeightedOrder]], weights: MatchingWeights) -> MatchedDay:
    """Clear each hour's book by both rules; weights are measured in the whole book, as the chain does it."""
    pairs = [_clear(book, weights) for book in books if book]
    traded = [(by_price, by_weight) for by_price, by_weight in pairs if by_price.trade_count or by_weight.trade_count]
    return MatchedDay(
        by_price=_add_up(BY_PRICE, [by_price for by_price, _ in traded]),
        by_weight=_add_up(BY_WEIGHT, [by_weight for _, by_weight in traded]),
        hours=len(traded),
        alike=sum(
            (by_price.bought_wh, by_price.sold_wh) == (by_weight.bought_wh, by_weight.sold_wh)
            for by_price, by_weight in traded
        ),
    )


def _clear(book: Sequence[WeightedOrder], weights: MatchingWeights) -> tuple[RuleOutcome, RuleOutcome]:
    context = ClearingContext(merits=compute_merits(book, weights))
    by_price, by_weight = compare_rules([one.order for one in book], context, rules=(BY_PRICE, BY_WEIGHT))
    return by_price, by_weight


def _add_up(rule: str, outcomes: Sequence[RuleOutcome]) -> RuleDay:
    return RuleDay(
        rule,
        sum(outcome.trade_count for outcome in outcomes),
        sum(outcome.volume_wh for outcome in outcomes),
        sum(outcome.welfare_uyuan for outcome in outcomes),
    )
