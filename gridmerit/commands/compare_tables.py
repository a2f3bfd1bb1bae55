"""The same orders under each clearing rule, as text."""

from __future__ import annotations

from collections.abc import Sequence

from gridmerit.players.sample_book import SampleBook
from gridmerit.tables import table
from gridmerit.text import format_kwh, format_yuan
from market.orders import Side
from market.trading.clearing_rules import RuleOutcome

_PLAYERS_SHOWN = 24
_TIES = {
    "time": "Of equal orders the earlier one is served first (ties: time).",
    "pro-rata": "Equal orders share what there is for them (ties: pro-rata).",
}


def render_comparison(book: SampleBook, outcomes: Sequence[RuleOutcome]) -> str:
    def count(side: Side, noun: str) -> str:
        number = book.count(side)
        return f"{number} {noun}{'' if number == 1 else 's'}, {format_kwh(book.sum_volume_wh(side))} kWh"

    head = f"{book.source}: {count(Side.BID, 'bid')}; {count(Side.OFFER, 'offer')}"
    legend = (
        "Welfare and gains are in yuan, prices in yuan per kWh, their mean by volume.\n"
        f"* is the rule in the chain's parameters, where k = {book.market.k_ppm / 1_000_000:g} (uniform-price).\n"
        + _tell_target(book)
        + _TIES[book.market.ties]
    )
    return "\n\n".join([head, _render_outcomes(book, outcomes), legend, _render_players(book, outcomes)])


def _tell_target(book: SampleBook) -> str:
    if book.target_uyuan_per_kwh is None:
        return "knn has no target, and clears as price-time does.\n"
    return f"knn looks for offers near {format_yuan(book.target_uyuan_per_kwh)} yuan per kWh.\n"


def _render_outcomes(book: SampleBook, outcomes: Sequence[RuleOutcome]) -> str:
    def show(price: int | None) -> str:
        return "–" if price is None else format_yuan(price, aligned=True)

    rows = [
        (
            outcome.rule + (" *" if outcome.rule == book.market.clearing_rule else ""),
            outcome.trade_count,
            format_kwh(outcome.volume_wh),
            format_yuan(outcome.welfare_uyuan, aligned=True),
            format_yuan(outcome.buyer_gain_uyuan, aligned=True),
            format_yuan(outcome.seller_gain_uyuan, aligned=True),
            show(outcome.low_price),
            show(outcome.high_price),
            show(outcome.mean_price),
        )
        for outcome in outcomes
    ]
    return table(
        ["rule", "trades", "kWh", "welfare", "to buyers", "to sellers", "lowest", "highest", "mean"], rows, spare=(6, 7)
    )


def _render_players(book: SampleBook, outcomes: Sequence[RuleOutcome]) -> str:
    """The members that are served, by rule: the largest first, as many as fit."""
    asked_wh: dict[tuple[Side, bytes], int] = {}
    for order, *_ in book.candidates:
        key = (Side(order.side), order.owner)
        asked_wh[key] = asked_wh.get(key, 0) + order.volume_wh
    served = [{Side.BID: dict(outcome.bought_wh), Side.OFFER: dict(outcome.sold_wh)} for outcome in outcomes]
    players = sorted(asked_wh, key=lambda key: (-key[0], -asked_wh[key], key[1]))
    rows = [
        (
            book.names[owner],
            "sells" if side == Side.OFFER else "buys",
            format_kwh(asked_wh[side, owner]),
            *(format_kwh(volumes[side][owner]) if owner in volumes[side] else "–" for volumes in served),
        )
        for side, owner in players[:_PLAYERS_SHOWN]
    ]
    heads = ["who trades, kWh", "", "ordered", *(outcome.rule for outcome in outcomes)]
    rest = len(players) - _PLAYERS_SHOWN
    return table(heads, rows, left=(0, 1)) + (f"\n… and {rest} more, all with --json" if rest > 0 else "")
