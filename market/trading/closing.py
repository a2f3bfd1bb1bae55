"""The closing of a gate: its book becomes trades, in stages that may each take several blocks.

Orders are taken off the book with what they are weighed by; the book is matched, in one piece; trades are recorded
under a root that grows with them; bids' reserves make room for those of trades; then the gate is recorded. Between
blocks all of it is in the state, so any block can go on, and a reorg takes back what it takes off.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

from ledger.codec import Value
from ledger.contract import BlockContext
from ledger.hashing import Address
from ledger.merkle import compute_frontier_root, extend_frontier
from ledger.outbox import RETAINED, ROWS_PER_PART, count_parts, post_parts
from ledger.overlay import Overlay
from ledger.results import Result, put_result
from market.messages import RESULT
from market.orders import Order, Side
from market.trading.book import count_placed, drop_book, take_orders
from market.trading.clearing_rules import ClearingContext, get_rule, is_by_merit, is_by_target
from market.trading.gates import Gate, put_gate
from market.trading.matching_weight import Scale, WeightedOrder, compute_weights, measure, weigh_book
from market.trading.nearest import Factors, Neighbourhood, look_around
from market.trading.pages import Row, append_rows, drop_rows, get_rows, get_slice
from market.trading.positions import add_positions
from market.trading.quotas import get_wheeling_on, require_quota, trim_to_quotas
from market.trading.reserves import compute_bid_reserves, compute_trade_reserves, replace_reserves
from market.trading.sessions import is_firm
from market.trading.targets import get_target
from market.trading.ties import make_lottery
from market.trading.times import count_periods
from market.trading.trades import (
    Match,
    Party,
    TradeRecord,
    add_trades,
    encode_trade_leaf,
    get_terms,
    put_trades,
)
from market.trading.work import MATCH, ORDER, RECORD, RESERVE, TELL, TRIM, claim, claim_whole, is_limited

_CLOSING = b"market/closing/"
_new_tuple = tuple.__new__  # makes a record without its constructor: of each order and trade there are several


class _Progress(NamedTuple):
    """The place that a closing has come to."""

    taken: int = 0  # ids of orders that have been looked at
    weighed: int = 0  # orders taken off the book, in its list
    trimmed: int = 0  # the list has what quotas leave of each
    matched: int | None = None  # pairs, in theirs; None before the book is matched
    recorded: int = 0  # of them
    replaced: int = 0  # of the weighed orders, those whose owners' reserves are for their trades now
    frontier: tuple[bytes, ...] = ()  # of the tree over the trades
    scales: tuple[Row, ...] = ()  # by which bids and offers are weighed, empty where a side is


class _Weighed(NamedTuple):
    """An order with what it is weighed by, and its owner's role."""

    order_id: int
    owner: Address
    side: int
    price_uyuan_per_kwh: int
    volume_wh: int
    credit_upt: int
    capacity_wh: int
    renewable_ppm: int
    position: str
    stability_ppm: int
    role: str

    @classmethod
    def make(cls, candidate: WeightedOrder, role: str) -> _Weighed:
        return _new_tuple(cls, (*candidate.order[:5], *candidate[1:], role))

    @property
    def order(self) -> Order:
        return _new_tuple(Order, (*self[:5], self.order_id))

    @property
    def candidate(self) -> WeightedOrder:
        return _new_tuple(WeightedOrder, (self.order, *self[5:10]))


class _Pair(NamedTuple):
    """A bid and an offer that meet, by their places among the weighed orders."""

    bid: int
    offer: int
    price_uyuan_per_kwh: int
    volume_wh: int


def is_closing(view: Overlay, gate: int) -> bool:
    """Return True if a gate is being closed and takes more blocks."""
    return view.get(_key(gate)) is not None


def close_gate(view: Overlay, block: BlockContext, gate: int) -> bool:
    """Clear the book by the chain's rule, keep its trades and record the gate; a scheduling chain hears the result.

    A book that yields no trade has its gate recorded too, over the empty tree: it is certified as any other. False
    where the block's share of work does not suffice: the next block is to go on.
    """
    closing = _Closing(view, block, gate)
    if closing.go_on():
        return True
    view.put(_key(gate), tuple(closing.progress))
    return False


class _Closing:
    """One block's part in a closing. Each stage says whether it is complete."""

    def __init__(self, view: Overlay, block: BlockContext, gate: int) -> None:
        self._view, self._block, self._gate = view, block, gate
        value = cast(Row | None, view.get(_key(gate)))
        self.progress = _Progress() if value is None else _Progress._make(value)
        self._book: list[_Weighed] | None = None

    def go_on(self) -> bool:
        """Go through the stages as far as the block's share of work allows; True once all are complete."""
        stages = (self.take_orders, self.trim, self.match, self.record, self.replace_reserves, self.finish)
        return all(stage() for stage in stages)

    # --- stages ----------------------------------------------------------------------------------

    def take_orders(self) -> bool:
        """Take orders off the book, with what they are weighed by at this moment."""
        taken, placed = self.progress.taken, count_placed(self._view, self._gate)
        ids = range(taken, taken + claim(self._view, self._block, placed - taken, cost=ORDER))
        rows = [_Weighed.make(*found) for found in take_orders(self._view, self._gate, ids)]
        weighed = append_rows(self._view, self._book_name, self.progress.weighed, rows)
        self.progress = self.progress._replace(taken=ids.stop, weighed=weighed)
        return ids.stop == placed

    def trim(self) -> bool:
        """Find what quotas leave of each order; nothing is to be done where no chain sets any."""
        if self.progress.trimmed or "scheduling" not in self._block.siblings:
            return True
        if not claim_whole(self._view, self._block, self.progress.weighed * TRIM):
            return False
        book, view, gate = self._get_book(), self._view, self._gate
        orders = [row.order for row in book]
        lines = {row.owner: row.position for row in book}
        quotas = {line: require_quota(view, self._block, gate, line) for line in dict.fromkeys(lines.values())}
        context = self._make_context()
        kept = trim_to_quotas(orders, lines, quotas, context.merits, context.lottery)
        kept_wh = {order.order_id: order.volume_wh for order in kept}
        for order in orders:
            volume_wh = kept_wh.get(order.order_id, 0)
            if volume_wh < order.volume_wh:
                view.emit("trimmed", gate, order.order_id, order.owner, int(order.side), volume_wh)
        append_rows(view, self._kept_name, 0, [(kept_wh.get(row.order_id, 0),) for row in book])
        self.progress = self.progress._replace(trimmed=1)
        return True

    def match(self) -> bool:
        """Match the book, as far as quotas let it stand."""
        if self.progress.matched is not None:
            return True
        if not claim_whole(self._view, self._block, self.progress.weighed * MATCH):
            return False
        context, book = self._make_context(), self._get_book()
        kept_wh = [volume_wh for (volume_wh,) in get_rows(self._view, self._kept_name, self._count_kept())]
        orders = [row.order for row in book]
        if kept_wh:
            trimmed = [order._replace(volume_wh=wh) for order, wh in zip(orders, kept_wh, strict=True)]
            orders = [order for order in trimmed if order.volume_wh]
        places = {row.order_id: place for place, row in enumerate(book)}
        trades = get_rule(self._block.params.market.clearing_rule)(orders, context)
        pairs = [_Pair(places[trade.bid_id], places[trade.offer_id], *trade[4:]) for trade in trades]
        append_rows(self._view, self._pairs_name, 0, pairs)
        scales = _measure([row.candidate for row in book])
        self.progress = self.progress._replace(matched=len(pairs), scales=scales)
        return True

    def record(self) -> bool:
        """Record trades, with what made them."""
        matched, recorded = self.progress.matched or 0, self.progress.recorded
        count = claim(self._view, self._block, matched - recorded, cost=RECORD)
        records = self._describe(self._get_pairs(range(recorded, recorded + count)), first=recorded) if count else []
        if is_limited(self._block):
            add_trades(self._view, self._gate, records)
        elif count == matched:
            put_trades(self._view, self._gate, records)
        if is_firm(self._block.params.market):
            add_positions(self._view, self._gate, records)
        frontier = extend_frontier(self.progress.frontier, recorded, map(encode_trade_leaf, records))
        if is_limited(self._block):
            self._tell(recorded, recorded + count)
        self.progress = self.progress._replace(recorded=recorded + count, frontier=frontier)
        return recorded + count == matched

    def replace_reserves(self) -> bool:
        """Have buyers' reserves cover their trades instead of their bids; each buyer has its turn at its first bid."""
        replaced, weighed = self.progress.replaced, self.progress.weighed
        count = claim(self._view, self._block, weighed - replaced, cost=RESERVE)
        if count:
            book, params = self._get_book(), self._block.params.market
            earlier = {row.owner for row in book[:replaced] if row.side == Side.BID}
            owners = {row.owner: None for row in book[replaced : replaced + count] if row.side == Side.BID}
            buyers = {owner for owner in owners if owner not in earlier}
            bids = [row.order for row in book if row.side == Side.BID and row.owner in buyers]
            trades = [
                self._make_terms(pair, index)
                for index, pair in enumerate(self._get_pairs(range(self.progress.matched or 0)))
                if book[pair.bid].owner in buyers
            ]
            lines = {owner: row.position for row in book if (owner := row.owner) in buyers}
            wheeling = get_wheeling_on(self._view, self._block, self._gate, lines)
            before = compute_bid_reserves(bids, wheeling, params)
            replace_reserves(self._view, before, compute_trade_reserves(trades, wheeling, params))
        self.progress = self.progress._replace(replaced=replaced + count)
        return replaced + count == weighed

    def finish(self) -> bool:
        """Record the gate, and tell of it."""
        view, block, gate, progress = self._view, self._block, self._gate, self.progress
        if not claim_whole(view, block, (progress.matched or 0) * TELL):
            return False
        drop_book(view, gate)
        drop_rows(view, self._book_name, progress.weighed)
        drop_rows(view, self._pairs_name, progress.matched or 0)
        drop_rows(view, self._kept_name, self._count_kept())
        view.delete(_key(gate))
        closed = Gate(block.height, compute_frontier_root(progress.frontier), progress.recorded)
        put_gate(view, gate, closed)
        put_result(view, Result(gate, closed.trade_count, closed.result_root))
        terms = [record.terms for record in get_terms(view, gate)]
        view.emit("gate", gate, closed.trade_count, sum(cast(int, row[5]) for row in terms), closed.result_root)
        for row in terms:
            view.emit("trade", *row)
        first = count_parts(len(terms)) - 1 if is_limited(block) else 0
        self._post(terms[first * ROWS_PER_PART :], first=first)
        return True

    # --- what they need --------------------------------------------------------------------------

    @property
    def _book_name(self) -> bytes:
        return b"book/" + self._gate.to_bytes(8, "big")

    @property
    def _pairs_name(self) -> bytes:
        return b"pairs/" + self._gate.to_bytes(8, "big")

    @property
    def _kept_name(self) -> bytes:
        return b"kept/" + self._gate.to_bytes(8, "big")

    def _count_kept(self) -> int:
        return self.progress.weighed if self.progress.trimmed else 0

    def _make_context(self) -> ClearingContext:
        """The context of the chain's rule; weights, where merit decides, are those of the whole book."""
        params = self._block.params.market
        merits = {}
        if is_by_merit(params.clearing_rule):
            weights = weigh_book([row.candidate for row in self._get_book()], params.weights)
            merits = {order_id: weight.total_ppm for order_id, weight in weights.items()}
        lottery = make_lottery(self._block.chain_id, self._gate) if params.ties == "pro-rata" else None
        near = self._look_around() if is_by_target(params.clearing_rule) else None
        return ClearingContext(k_ppm=params.k_ppm, merits=merits, lottery=lottery, neighbourhood=near)

    def _look_around(self) -> Neighbourhood | None:
        """The offers around the gate's target; None where it has none."""
        target = get_target(self._view, self._gate)
        if target is None:
            return None
        factors = Factors.of(self._block.params.market.nearness)
        book = [row.candidate for row in self._get_book()]
        return look_around(book, target.target_uyuan_per_kwh, factors, self._block.areas)

    def _get_book(self) -> list[_Weighed]:
        if self._book is None:
            rows = get_rows(self._view, self._book_name, self.progress.weighed)
            self._book = [_new_tuple(_Weighed, row) for row in rows]
        return self._book

    def _get_pairs(self, places: range) -> list[_Pair]:
        return [_new_tuple(_Pair, row) for row in get_slice(self._view, self._pairs_name, places)]

    def _describe(self, pairs: Sequence[_Pair], *, first: int) -> list[TradeRecord]:
        book, weights = self._get_book(), self._block.params.market.weights
        parties: dict[int, Party] = {}
        for side, scale in enumerate(self.progress.scales):
            places = list({pair[side] for pair in pairs})
            found = compute_weights([book[place].candidate for place in places], _read_scale(scale), weights)
            for place, (_, contributions) in zip(places, found, strict=True):
                row = book[place]
                parties[place] = Party(row.order_id, row.role, row.credit_upt, row.position, contributions)
        return [
            TradeRecord(
                *(self._gate, index, book[bid].owner, book[offer].owner, price, volume_wh),
                Match(parties[bid], parties[offer]),
            )
            for index, (bid, offer, price, volume_wh) in enumerate(pairs, start=first)
        ]

    def _tell(self, first: int, end: int) -> None:
        """Tell the scheduling chain of the parts that are full with the trades up to `end`.

        The message's last part is left: it is posted with the gate, so that no list is whole before its root is there.
        """
        first_part = first // ROWS_PER_PART
        last_part = min(end // ROWS_PER_PART, count_parts(self.progress.matched or 0) - 1)
        if first_part < last_part:
            records = get_terms(self._view, self._gate, first_page=first_part)
            rows = [record.terms for record in records[: (last_part - first_part) * ROWS_PER_PART]]
            self._post(rows, first=first_part)

    def _post(self, rows: Sequence[Value], *, first: int) -> None:
        """Post these rows of `result`, which begin a part."""
        block = self._block
        if "scheduling" not in block.siblings:
            return
        market = block.params.market
        waiting = count_periods(market.gate_ppm)  # gates may close long before delivery
        retained = max(RETAINED, waiting) if market.sessions == 1 else market.sessions * (RETAINED + waiting)
        parts = count_parts(self.progress.matched or 0)
        post_parts(
            self._view, RESULT, self._gate, rows, parts=parts, first=first, height=block.height, retained=retained
        )

    def _make_terms(self, pair: _Pair, index: int) -> TradeRecord:
        book = self._get_book()
        return TradeRecord(self._gate, index, book[pair.bid].owner, book[pair.offer].owner, *pair[2:])


def _measure(candidates: Iterable[WeightedOrder]) -> tuple[Row, ...]:
    """The scales of bids and of offers, each side measured against the whole other one."""
    sides: tuple[list[WeightedOrder], list[WeightedOrder]] = ([], [])
    for candidate in candidates:
        sides[candidate.order.side].append(candidate)
    return tuple(_write_scale(measure(own, others)) if own else () for own, others in (sides, sides[::-1]))


def _write_scale(scale: Scale) -> Row:
    return (int(scale.side), *scale[1:-1], tuple(sorted(scale.wanted_at_wh.items())))


def _read_scale(row: Row) -> Scale:
    """The scale of a side that has orders."""
    *fields, wanted_at_wh = row
    return Scale._make((*fields, dict(wanted_at_wh)))


def _key(gate: int) -> bytes:
    return _CLOSING + gate.to_bytes(8, "big")
