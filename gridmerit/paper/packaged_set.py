"""`configs/paper` in words: what a network by the text does, and what its rule of matching makes of a day."""

from __future__ import annotations

from gridmerit.paper.layout import Bullets, Part, Table
from gridmerit.text import format_kwh, format_points, format_scaled, format_yuan
from ledger.params import ChainParams
from simulation.paper.matching import MatchedDay


def make_paper_set(params: ChainParams, matched: MatchedDay) -> Part:
    """The trading chain of the set, and its market beside one that matches by price and time."""
    return Part(
        title="A network by the text",
        blocks=(
            "`gridmerit net new DIR --set paper` makes one, `--alpha` adds Eq. (12), and docs/text-000.md goes through "
            "the text item by item. This report's races have the set's consensus rules, its day the recommended set.",
            Table(heads=("what", "in the paper set", "text"), rows=_list_settings(params), left=(0, 1, 2)),
            "The text has two rules of matching: price and time (§3, step 3), and the weights of Table 1 (§4.2, step "
            "4). The paper set takes the second. All of the day's orders under each, everybody with the initial "
            "credit:",
            Table(
                heads=("", "price and time", "Table 1"),
                rows=(
                    ("trades", matched.by_price.trades, matched.by_weight.trades),
                    ("energy, kWh", format_kwh(matched.by_price.volume_wh), format_kwh(matched.by_weight.volume_wh)),
                    (
                        "gains from trade, yuan",
                        format_yuan(matched.by_price.welfare_uyuan),
                        format_yuan(matched.by_weight.welfare_uyuan),
                    ),
                ),
            ),
            Bullets(
                (
                    f"In {matched.alike} of {matched.hours} hours with trades everybody trades as much under both.",
                    "Gains from trade are what buyers' limits exceed sellers' limits by. Who is served by weight may "
                    "not be who gains most: that is the price of ranking by merit.",
                )
            ),
        ),
    )


def _list_settings(params: ChainParams) -> tuple[tuple[object, ...], ...]:
    market, consensus = params.market, params.consensus
    weights = ", ".join(format_scaled(weight, 6) for weight in market.weights.model_dump().values())
    is_plain = not market.initial_weight and not market.score_unit_wh
    window_ppm = market.intention_ppm
    return (
        ("τ", f"{format_points(consensus.tau_upt)} points", "Eq. (10): e^C"),
        ("gates clear by", market.clearing_rule, "§4.2, step 4"),
        ("weights c, q, r, l, p, s, n", weights, "Table 1"),
        (
            "orders are taken",
            f"for {format_scaled(window_ppm, 6)} Δt" if window_ppm else "until the gate",
            "§4.2, step 3",
        ),
        ("a delivery counts", "once" if is_plain else "by energy", "Eqs (1) and (2)"),
        ("α", format_scaled(market.natural_factor_ppm, 6), "Eq. (12); 0 is Eq. (2)"),
    )
