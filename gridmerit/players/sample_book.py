"""The same orders under every clearing rule: where a book to compare comes from, and the comparison as a document."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gridmerit.errors import NoOrders
from gridmerit.network.founders import POSITION, compute_capacity_wh, compute_stability_ppm, get_renewable_ppm
from gridmerit.players.plans import plan_orders
from ledger.genesis import Genesis
from ledger.hashing import ADDRESS_SIZE, HASH_SIZE, Address, parse_address
from ledger.params import MarketParams
from market.orders import Order, Side
from market.profile import Profile
from market.trading.clearing_rules import ClearingContext, RuleOutcome, compare_rules
from market.trading.matching_weight import WeightedOrder, compute_merits
from market.trading.nearest import Factors, Neighbourhood, look_around
from market.trading.order_list import parse_orders
from market.trading.ties import make_lottery
from node.queries.answers import BookInfo, OrderInfo
from node.system.files import read_text

_MAX_FILE_BYTES = 32_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleBook:
    """Orders to clear, their owners, and the market parameters by which it is done."""

    source: str  # in words
    candidates: tuple[WeightedOrder, ...]
    names: Mapping[Address, str]
    market: MarketParams
    lottery: bytes = make_lottery(bytes(HASH_SIZE), 0)  # of which chain and period; a sample is of none
    target_uyuan_per_kwh: int | None = None
    areas: Mapping[str, str] = field(default_factory=dict)  # by line

    def sum_volume_wh(self, side: Side) -> int:
        return sum(order.volume_wh for order, *_ in self.candidates if order.side == side)

    def count(self, side: Side) -> int:
        return sum(order.side == side for order, *_ in self.candidates)


def read_order_file(path: Path, market: MarketParams) -> SampleBook:
    """The orders of a CSV file, see `market.trading.order_list`. Raises `UnreadableFile` or `BadOrders`."""
    text = read_text(path, _MAX_FILE_BYTES)
    orders = parse_orders(text, source=str(path), initial_credit_upt=market.initial_credit_upt)
    return SampleBook(source=str(path), candidates=orders.candidates, names=orders.names, market=market)


def plan_sample_book(profile: Profile, hour: int, seed: int, market: MarketParams) -> SampleBook:
    """Plan the orders of the demo's agents for an hour (0 is the profile's first), all with the initial credit."""
    names: dict[Address, str] = {}
    candidates: list[WeightedOrder] = []
    for number, player in enumerate(profile.players):
        owner = number.to_bytes(ADDRESS_SIZE, "big")
        for planned in plan_orders(profile, player.name, seed, market, hour + 1):
            if planned.hour != hour:
                continue
            place = len(candidates)
            order = Order(place, owner, planned.side, planned.price_uyuan_per_kwh, planned.volume_wh, place)
            names[owner] = player.name
            candidates.append(
                WeightedOrder(
                    order=order,
                    credit_upt=market.initial_credit_upt,
                    capacity_wh=compute_capacity_wh(profile, player.name),
                    renewable_ppm=get_renewable_ppm(player),
                    position=POSITION,
                    stability_ppm=compute_stability_ppm(profile, player),
                )
            )
    source = f"hour {hour} of the packaged day, prices drawn from seed {seed}"
    return SampleBook(source=source, candidates=tuple(candidates), names=names, market=market)


def convert_book(book: BookInfo, genesis: Genesis) -> SampleBook:
    """A node's open book, with the lots that its chain will draw."""
    rows = [(Side.BID, row) for row in book.bids] + [(Side.OFFER, row) for row in book.offers]
    rows.sort(key=lambda entry: entry[1].order_id)
    return SampleBook(
        source=f"the book of period {book.period}",
        candidates=tuple(_convert_order(side, row) for side, row in rows),
        names={parse_address(row.owner): row.owner_name or row.owner for _, row in rows},
        market=genesis.params.market,
        lottery=make_lottery(genesis.chain_id, book.period),
        target_uyuan_per_kwh=None if book.target is None else book.target.g_to_u_uyuan_per_kwh,
        areas=genesis.areas,
    )


def _convert_order(side: Side, row: OrderInfo) -> WeightedOrder:
    owner = parse_address(row.owner)
    return WeightedOrder(
        order=Order(row.order_id, owner, side, row.price_uyuan_per_kwh, row.volume_wh, row.order_id),
        credit_upt=row.credit_upt,
        capacity_wh=row.capacity_wh,
        renewable_ppm=row.renewable_ppm,
        position=row.position,
        stability_ppm=row.stability_ppm,
    )


def compare_book(book: SampleBook) -> list[RuleOutcome]:
    """Clear the book by every rule. Raises `NoOrders`."""
    if not book.candidates:
        raise NoOrders(source=book.source)
    merits = compute_merits(book.candidates, book.market.weights)
    lottery = book.lottery if book.market.ties == "pro-rata" else None
    context = ClearingContext(merits=merits, k_ppm=book.market.k_ppm, lottery=lottery, neighbourhood=_look_around(book))
    return compare_rules([candidate.order for candidate in book.candidates], context)


def _look_around(book: SampleBook) -> Neighbourhood | None:
    if book.target_uyuan_per_kwh is None:
        return None
    factors = Factors.of(book.market.nearness)
    return look_around(book.candidates, book.target_uyuan_per_kwh, factors, book.areas)


def make_document(book: SampleBook, outcomes: list[RuleOutcome]) -> dict[str, Any]:
    """The comparison in integer units, players by name."""

    def by_name(volumes: tuple[tuple[Address, int], ...]) -> dict[str, int]:
        return {book.names[address]: volume_wh for address, volume_wh in volumes}

    return {
        "source": book.source,
        "bids": book.count(Side.BID),
        "offers": book.count(Side.OFFER),
        "wanted_wh": book.sum_volume_wh(Side.BID),
        "offered_wh": book.sum_volume_wh(Side.OFFER),
        "chain_rule": book.market.clearing_rule,
        "k_ppm": book.market.k_ppm,
        "ties": book.market.ties,
        "target_uyuan_per_kwh": book.target_uyuan_per_kwh,
        "nearness": book.market.nearness.model_dump(),
        "weights": book.market.weights.model_dump(),
        "rules": [
            {**asdict(outcome), "bought_wh": by_name(outcome.bought_wh), "sold_wh": by_name(outcome.sold_wh)}
            for outcome in outcomes
        ],
    }
