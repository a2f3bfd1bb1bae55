"""Ranking intentions by matching weight (step 4 of the credit matching algorithm) against the same in plain numpy.

Both find the same order from exact integers. numpy is given the same intentions once as objects, which is how a chain
has them, and once as columns that are ready, which shows the arithmetic alone.
"""

from __future__ import annotations

import sys
from random import Random
from timeit import Timer
from typing import TYPE_CHECKING, Any

from benchmarks.table import Row, print_table
from ledger.params import MatchingWeights
from market.orders import Order, Side
from market.trading.matching_weight import WeightedOrder, rank

if TYPE_CHECKING:
    from numpy import ndarray

COUNT = 100_000
QUICK_COUNT = 2_000
COUNTERPARTS = 1_000
POSITIONS = tuple(f"feeder-{number}" for number in range(20))
FROM_OBJECTS = "plain numpy, from the same objects"
FROM_COLUMNS = "plain numpy, columns ready"


def make_candidates(count: int, side: Side, seed: int = 1) -> list[WeightedOrder]:
    rng = Random(f"{seed}/{side}")
    return [
        WeightedOrder(
            order=Order(
                number, rng.randbytes(20), side, rng.randrange(410_000, 615_000), rng.randrange(1, 5_000), number
            ),
            credit_upt=rng.randrange(80_000_000, 100_000_001),
            capacity_wh=rng.randrange(5_000, 500_000),
            renewable_ppm=rng.choice((0, 1_000_000)),
            position=rng.choice(POSITIONS),
            stability_ppm=rng.randrange(1_000_001),
        )
        for number in range(count)
    ]


def list_columns(candidates: list[WeightedOrder]) -> list[ndarray[Any, Any]]:
    """Table 1's parameters in its order as they were stated, positions by number; then place and id."""
    import numpy as np

    numbers = {position: number for number, position in enumerate(POSITIONS)}
    rows = [
        (
            candidate.capacity_wh,
            candidate.credit_upt,
            candidate.renewable_ppm,
            numbers[candidate.position],
            candidate.order.price_uyuan_per_kwh,
            candidate.order.volume_wh,
            candidate.stability_ppm,
            candidate.order.placed_at,
            candidate.order.order_id,
        )
        for candidate in candidates
    ]
    return list(np.array(rows, dtype=np.int64).T.copy())


def rank_by_numpy(columns: list[ndarray[Any, Any]], wanted_at_wh: ndarray[Any, Any]) -> ndarray[Any, Any]:
    """Ids of offers in descending weight, by Table 1; the same rules as `market.trading.matching_weight`."""
    import numpy as np

    def divide(part: Any, whole: Any) -> Any:
        return (2 * part + whole) // (2 * whole)

    capacity, credit, renewable, position, price, volume, stability, placed_at, order_id = columns
    million = 1_000_000
    parameters = (
        divide(capacity * million, capacity.max()),
        divide(credit * million, 100_000_000),
        renewable,
        divide(wanted_at_wh[position] * million, wanted_at_wh.sum()),
        divide((price.max() - price) * million, price.max() - price.min()),
        divide(volume * million, volume.max()),
        stability,
    )
    weights = MatchingWeights().model_dump().values()
    total = sum(divide(column * weight, million) for column, weight in zip(parameters, weights, strict=True))
    return order_id[np.lexsort((order_id, placed_at, -total))]


def sum_wanted(counterparts: list[WeightedOrder]) -> ndarray[Any, Any]:
    import numpy as np

    wanted_at_wh = np.zeros(len(POSITIONS), dtype=np.int64)
    for counterpart in counterparts:
        wanted_at_wh[POSITIONS.index(counterpart.position)] += counterpart.order.volume_wh
    return wanted_at_wh


def run(quick: bool = False) -> list[Row]:
    count = QUICK_COUNT if quick else COUNT
    offers, bids = make_candidates(count, Side.OFFER), make_candidates(COUNTERPARTS, Side.BID)
    columns, wanted_at_wh = list_columns(offers), sum_wanted(bids)
    ours = [item.candidate.order.order_id for item in rank(offers, bids)]
    assert ours == rank_by_numpy(columns, wanted_at_wh).tolist(), "the two rankings differ"
    timers = (
        Timer(lambda: rank(offers, bids)),
        Timer(lambda: rank_by_numpy(list_columns(offers), sum_wanted(bids))),
        Timer(lambda: rank_by_numpy(columns, wanted_at_wh)),
    )
    seconds = [[timer.timeit(1) for timer in timers] for _ in range(3 if quick else 5)]
    best, from_objects, from_columns = map(min, zip(*seconds, strict=True))
    name = f"credit matching, {count:,} intentions ranked"
    return [
        Row(name, count / best, "intentions/s", FROM_OBJECTS, from_objects / best),
        Row(name, count / best, "intentions/s", FROM_COLUMNS, from_columns / best),
    ]


if __name__ == "__main__":
    print_table(run(quick="--quick" in sys.argv[1:]))
