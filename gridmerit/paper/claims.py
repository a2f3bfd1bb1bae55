"""Claims of the abstract of text 000, and one day traded both ways: verdicts in words that follow the numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gridmerit.paper.layout import Bullets, Image, Part, Table
from gridmerit.text import format_kwh, format_percent, format_points, format_span
from simulation.paper.day import MarketDay
from simulation.paper.reproduce import Comparison, Reproduction

DAY_FIGURE = "day.png"
HOUR_MS = 3_600_000
INTERVAL_MS = 10_000  # between blocks in configs/: delays and projected messages are stated for it

_PPM = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """The durations of the two modes, in ms, with real hours and a block every 10 s."""

    central_settled_ms: tuple[int, ...]
    chain_settled_ms: tuple[int, ...]
    chain_certified_ms: tuple[int, ...]
    chain_final_ms: tuple[int, ...]


def compute_delays(comparison: Comparison) -> Delays:
    """Convert the run to real time: blocks to blocks of 10 s; the wait for meters, which is periods, to hours."""
    chain = comparison.chain
    due_ms = chain.due_after_ppm * HOUR_MS // _PPM

    def scale(delays_ms: Sequence[int]) -> list[int]:
        return [delay_ms * INTERVAL_MS // chain.interval_ms for delay_ms in delays_ms]

    return Delays(
        central_settled_ms=tuple(hours * HOUR_MS for hours in comparison.central_mode.settled_after_hours),
        chain_settled_ms=tuple(due_ms + late_ms for late_ms in scale(chain.settled_late_ms)),
        chain_certified_ms=tuple(scale(chain.certified_after_ms)),
        chain_final_ms=tuple(due_ms + late_ms for late_ms in scale(chain.final_late_ms)),
    )


def project_messages(comparison: Comparison) -> int:
    """The chain's messages if hours were real ones."""
    return comparison.chain.project_messages(HOUR_MS, INTERVAL_MS)


# --- claims --------------------------------------------------------------------------------------


def make_claims(comparison: Comparison) -> Part:
    rows = (*_judge_efficiency(comparison), *_judge_breaches(comparison))
    order = "The paper names no measure of order. Both modes apply the same rule here, price before time."
    return Part(
        title="What the abstract claims",
        blocks=(
            "“Our transaction model achieved higher transaction efficiency, fewer breaches and more orderly "
            "transactions […] than the traditional centralized transaction mode.” The paper gives no figures for it. "
            "Here is one day of ten players, traded both ways; the numbers are in the next table.",
            Table(
                heads=("claim", "found", "how"),
                rows=(*rows, ("more orderly transactions", "not tested", order)),
                left=(0, 1, 2),
            ),
        ),
    )


def _judge_efficiency(comparison: Comparison) -> Iterator[tuple[str, str, str]]:
    delays, central = compute_delays(comparison), comparison.central_mode.messages
    central_ms, chain_ms = _mean(delays.central_settled_ms), _mean(delays.chain_settled_ms)
    yield (
        "efficiency: settlement",
        "better" if chain_ms < central_ms else "not better",
        f"An hour is settled {show_span(chain_ms)} after its delivery on average, instead of {show_span(central_ms)}. "
        "That is hourly against daily settlement, which an operator could do as well; and the day's last hour is "
        f"settled {show_span(delays.central_settled_ms[-1])} by the operator, after "
        f"{show_span(delays.chain_settled_ms[-1])} on the chain.",
    )
    certified_ms = _mean(delays.chain_certified_ms)
    yield (
        "efficiency: agreement",
        "worse" if certified_ms else "not worse",
        f"A trade binds {show_span(certified_ms)} after gate closure on average, when the nodes have certified it; the "
        "operator's trade binds at once.",
    )
    chain = comparison.chain.message_count
    yield (
        "efficiency: messages",
        "worse" if chain > central else "not worse",
        f"Ten nodes that keep one ledger send each other {chain // central:,} times the messages that ten players and "
        f"one operator do; projected to real hours, {project_messages(comparison) // central:,} times.",
    )


def _judge_breaches(comparison: Comparison) -> Iterator[tuple[str, str, str]]:
    central, chain, shaded = comparison.central, comparison.on_chain, comparison.shaded
    yield (
        "fewer breaches",
        _compare(central.breaches, chain.breaches),
        f"{chain.breaches} of {chain.deliveries} deliveries on the chain are short of what was agreed, and "
        f"{central.breaches} of {central.deliveries} under the operator. Recording trades and scoring deliveries "
        "changes neither weather nor forecasts; credit can only change what players promise.",
    )
    yield (
        "fewer breaches, if players respond",
        _compare(central.breaches, shaded.breaches),
        f"Assuming that players promise less when their credit falls: {shaded.breaches} of {shaded.deliveries} "
        f"deliveries are short, with {_change(central.short_wh, shaded.short_wh)} energy missing but also "
        f"{_change(central.agreed_wh, shaded.agreed_wh)} agreed: {format_percent(shaded.short_ppm)} of what is "
        f"promised is missing instead of {format_percent(central.short_ppm)}. The assumption makes the difference, not "
        "the chain: an operator that published the same credit would see the same.",
    )


def _compare(before: int, after: int) -> str:
    return "fewer" if after < before else "more" if after > before else "the same"


def _change(before: int, after: int) -> str:
    """`30 % less`, in whole percents."""
    percent = (200 * abs(after - before) + before) // (2 * before) if before else 0
    return f"{percent} % {'less' if after <= before else 'more'}"


# --- numbers -------------------------------------------------------------------------------------


def make_comparison(comparison: Comparison) -> Part:
    days, chain = (comparison.central, comparison.on_chain, comparison.shaded), comparison.chain
    delays = compute_delays(comparison)
    final = len(delays.chain_final_ms)
    kinds = ", ".join(f"{kind} {count:,}" for kind, count in chain.messages.items())
    return Part(
        title="One day in both modes",
        blocks=(
            Image(alt="Energy short of promises and wait for settlement, by hour of delivery", file=DAY_FIGURE),
            Table(
                heads=("", "central", "chain", "chain, if players respond"),
                rows=(*_rows_of_days(days), *_rows_of_delays(delays), *_rows_of_messages(comparison)),
            ),
            Bullets(
                (
                    f"Messages between the nodes in the run, by kind: {kinds}. Together "
                    f"{chain.message_bytes / 1e6:.1f} MB, without signatures and HTTP.",
                    "A settlement is beyond dispute once its block, or a later one, is certified: "
                    f"{show_span(_mean(delays.chain_final_ms))} after delivery on average, for {final} of "
                    f"{comparison.central.hours} hours.",
                    "By Eqs (1) and (2) delivering more than was agreed is as good as delivering just that. Credit "
                    "therefore rewards promising little, and that is all the responding players do.",
                )
            ),
        ),
    )


def _rows_of_days(days: Sequence[MarketDay]) -> Iterator[tuple[object, ...]]:
    yield "trades", *(len(day.trades) for day in days)
    yield "energy agreed, kWh", *(format_kwh(day.agreed_wh) for day in days)
    yield "energy that changed hands, kWh", *(format_kwh(day.traded_wh) for day in days)
    yield "deliveries, two per trade", *(day.deliveries for day in days)
    yield "breaches: short of agreed by 1 Wh or more", *(_show_part(day.breaches, day.deliveries) for day in days)
    yield "serious ones: a score below 95 points", *(_show_part(day.serious_breaches, day.deliveries) for day in days)
    yield "energy missing, both sides, kWh", *(format_kwh(day.short_wh) for day in days)
    yield "of the energy promised", *(format_percent(day.short_ppm) for day in days)
    yield "mean credit at the end, points", *(format_points(_mean(tuple(day.credits_upt.values()))) for day in days)


def _rows_of_delays(delays: Delays) -> Iterator[tuple[object, ...]]:
    for what, choose in (("mean", _mean), ("longest", _longest)):
        yield f"gate closure to binding trade, {what}", "at once", show_span(choose(delays.chain_certified_ms)), "same"
    for what, choose in (("mean", _mean), ("shortest", _shortest), ("longest", _longest)):
        central, chain = choose(delays.central_settled_ms), choose(delays.chain_settled_ms)
        yield f"delivery to settlement, {what}", show_span(central), show_span(chain), "same"


def _rows_of_messages(comparison: Comparison) -> Iterator[tuple[object, ...]]:
    central, trades = comparison.central_mode.messages, max(1, len(comparison.central.trades))
    for what, chain in (
        ("messages, in the run", comparison.chain.message_count),
        ("messages, projected to real hours", project_messages(comparison)),
    ):
        yield what, f"{central:,}", f"{chain:,}", "not run"
        yield "… per trade", f"{central / trades:.1f}", f"{chain / trades:,.0f}", "not run"


def _mean(values: Sequence[int]) -> int:
    return sum(values) // len(values) if values else 0


def _shortest(values: Sequence[int]) -> int:
    return min(values, default=0)


def _longest(values: Sequence[int]) -> int:
    return max(values, default=0)


def _show_part(count: int, whole: int) -> str:
    return f"{count} ({100 * count / max(1, whole):.0f} %)"


def show_span(span_ms: int) -> str:
    """A wait to the second, `at once` where there is none."""
    if not span_ms:
        return "at once"
    hours, rest_ms = divmod(span_ms, HOUR_MS)
    if not hours or not rest_ms % 60_000:
        return format_span(span_ms)
    minutes, seconds = divmod((rest_ms + 500) // 1_000, 60)
    return f"{hours} h {minutes:02d} min {seconds:02d} s"


# --- how it was done -----------------------------------------------------------------------------


def make_choices(result: Reproduction) -> Part:
    chain, central = result.comparison.chain, result.comparison.central_mode
    due_ms = chain.due_after_ppm * HOUR_MS // _PPM
    return Part(
        title="Choices behind the comparison",
        blocks=(
            Bullets(
                (
                    "The day is configs/profiles/rts_gmlc_day.csv: two plants and eight groups of households, with "
                    "real forecasts and measurements. Everybody orders its forecast, one order per hour, at prices "
                    f"drawn from the seed ({result.seed}); both modes get the same orders.",
                    "Central: one operator clears with the same price-time rule at the same gate, keeps no credit, and "
                    "settles and invoices once, at the end of the day. It takes no time to compute and waits for no "
                    f"late reading, where the chain leaves {show_span(due_ms)} for readings. Its messages: "
                    f"{central.orders} orders, a confirmation for each, {central.readings} meter readings, "
                    f"{central.invoices} invoices.",
                    "Chain: every player runs a node, the code that real peers run, in virtual time, each linked to "
                    "all others, 5 to 50 ms apart, with configs/recommended/jy1.toml and no other chain. Members "
                    f"certify a block {chain.checkpoints_per_period} times an hour, whether or not anybody trades; "
                    "contracts settle and score. Orders and readings are given to the player's own node and not "
                    "counted as messages; everything between nodes is.",
                    f"In the run an hour is {chain.period_ms // chain.interval_ms} blocks of "
                    f"{format_span(chain.interval_ms)}. Delays are stated for blocks of {format_span(INTERVAL_MS)}. In "
                    "the projection to real hours, messages that come with blocks and with time grow, those of orders, "
                    "votes and certificates do not. Real nodes pack several messages into one request.",
                    "If players respond: an assumption about people, which is neither in the paper nor in the chain "
                    "and off by default. From its first score on, each orders its forecast times its credit/100, which "
                    "is the share that it has delivered so far. An hour's orders know the scores of hours at least "
                    f"{result.comparison.lag_hours} before it. Computed by the functions of the central mode, without "
                    "nodes.",
                    "A breach is one side's delivery on one trade, taken or made, of less than was agreed. A member's "
                    "meter is spread over its trades of the hour in proportion.",
                )
            ),
        ),
    )
