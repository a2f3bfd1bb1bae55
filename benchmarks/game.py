"""The game of text 001: ants over many hours against a plain loop, and the nearest quote in a tree against scans.

The plain loops are the same ants on the same random numbers, an ant at a time, and find the same prices: one clears the
market by Newton's method as one would write it, the other by the shorter way of `market.game.merit_order`, and counts a
place again only where others' prices have moved, so that its ratio is what arrays gain alone. Time is the processor's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from math import exp, log
from pathlib import Path
from random import Random
from time import process_time

import numpy as np
from scipy.spatial import cKDTree

from benchmarks.table import Row, print_table
from market.game import ants, best_response
from market.game.day import make_hours
from market.game.hour import Hour, Prices
from market.orders import Order, Side
from market.profile import parse_profile
from market.trading.clearing_rules import ClearingContext, clear_knn
from market.trading.matching_weight import WeightedOrder
from market.trading.nearest import Factors, look_around
from market.trading.quote_tree import Point, QuoteTree

PROFILE = Path(__file__).parents[1] / "configs/profiles/rts_gmlc_day.csv"
QUOTES, QUICK_QUOTES, BOOK = 100_000, 2_000, 10_000
AXES = 4
BUYER = bytes(20)


def measure(work: Callable[[], object], repeats: int = 3) -> float:
    """Seconds of the processor that the best of several runs takes."""
    seconds = []
    for _ in range(repeats):
        start = process_time()
        work()
        seconds.append(process_time() - start)
    return min(seconds)


# --- ants ------------------------------------------------------------------------------------------


class PlainAnts:
    """`market.game.ants` for one company, one bureau and users of one value, in plain Python."""

    def __init__(self, hour: Hour, seed: int, count: int) -> None:
        (self.surplus,), (self.shortage,) = hour.kwh("surplus_wh"), hour.kwh("shortage_wh")
        (self.capacity,), self.load = hour.kwh("bureau_capacity_wh"), sum(hour.kwh("user_load_wh"))
        self.hour, self.count = hour, count
        self.value = hour.per_player("value_user")[0]
        has_volume = (self.surplus and self.load, self.surplus, self.capacity and self.load, self.shortage)
        self.bounds = [
            (low, high if has else low) for has, (low, high) in zip(has_volume, hour.bounds.values(), strict=True)
        ]
        self.generator = np.random.Generator(np.random.PCG64(seed))
        self.places = [
            [low + (high - low) * (draw + 1) / 2 for draw in draws]
            for (low, high), draws in zip(self.bounds, self.draw(), strict=True)
        ]
        self.best = [row[0] for row in self.places]
        self.pheromone = [[0.0] * count for _ in self.places]
        self.evaporation = [1.0] * len(self.places)

    def draw(self) -> list[list[float]]:
        drawn: list[list[float]] = self.generator.uniform(-1, 1, (4, 1, self.count))[:, 0].tolist()
        return drawn

    def step(self, elapsed: float) -> None:
        draws, best = self.draw(), list(self.best)
        for price, earn in enumerate(self.make_incomes(best)):
            low, high = self.bounds[price]
            row, tau = self.places[price], self.pheromone[price]
            most = max(tau)
            local, far = ants.LOCAL_STEP * (1 - elapsed) ** 3 * (high - low), 0.5 * (high - low)
            incomes = []
            for ant, place in enumerate(row):
                reach = local if most - tau[ant] < ants.LOCAL_BELOW * most else far
                tried = min(max(place + draws[price][ant] * reach, low), high)
                here, there = earn(place), earn(tried)
                if there > here:
                    row[ant] = tried
                incomes.append(max(here, there))
            self.follow(price, incomes)

    def follow(self, price: int, incomes: list[float]) -> None:
        row, tau = self.places[price], self.pheromone[price]
        top, least = max(incomes), min(incomes)
        keeps = 1 - self.evaporation[price]
        for ant, income in enumerate(incomes):
            tau[ant] = keeps * tau[ant] + ((income - least) / (top - least) if top > least else 1.0)
        found = row[incomes.index(top)]
        if found == self.best[price]:
            fallen = ants.EVAPORATION_FALLS * self.evaporation[price]
            self.evaporation[price] = max(fallen, ants.LEAST_EVAPORATION)
        self.best[price] = found
        row[incomes.index(least)] = found

    def make_incomes(self, best: Sequence[float]) -> Sequence[Callable[[float], float]]:
        """The income that each of the four prices brings, the others at their best."""
        hour = self.hour
        g_to_u, g_to_c, c_to_u, _ = best
        (value_company,), (value_bureau,) = hour.per_player("value_company"), hour.per_player("value_bureau")
        (cost,) = hour.per_player("bureau_cost")
        chance = self.choose(value_bureau - g_to_c)
        rest = hour.feed_in + (g_to_c - hour.feed_in) * chance
        spill = (value_bureau - g_to_c) * chance

        def sell_green(price: float) -> float:
            return (price - rest) * self.surplus * self.choose(self.clear(price, c_to_u) - price)

        def sell_rest(price: float) -> float:
            return hour.feed_in + (price - hour.feed_in) * self.choose(value_bureau - price)

        def sell_country(price: float) -> float:
            level = self.clear(g_to_u, price)
            margin = price - cost - hour.subsidy * price * price
            lost = spill * self.surplus * self.choose(level - g_to_u)
            return margin * self.capacity * self.choose(level - price) - lost

        def fill_shortage(price: float) -> float:
            bought = self.shortage * (1 - hour.phi + hour.phi * self.choose(value_company - price))
            return (price - cost - hour.subsidy * price * price) * bought

        return [sell_green, sell_rest, sell_country, fill_shortage]

    def choose(self, gain: float) -> float:
        return 1 / (1 + exp(-gain / self.hour.mu))

    def clear(self, g_to_u: float, c_to_u: float) -> float:
        """λ by Newton's method from between the prices, its steps clipped to 0.1 yuan."""
        mu, firm, flexible = self.hour.mu, (1 - self.hour.phi) * self.load, self.hour.phi * self.load
        level = (g_to_u + c_to_u) / 2
        while True:
            company, bureau = self.choose(level - g_to_u), self.choose(level - c_to_u)
            user = self.choose(self.value - level)
            lack = firm + flexible * user - self.surplus * company - self.capacity * bureau
            if abs(lack) <= 1e-12 * self.load:
                return level
            slope = self.surplus * company * (1 - company) + self.capacity * bureau * (1 - bureau)
            slope += flexible * user * (1 - user)
            level += min(max(mu * lack / slope, -0.1), 0.1)


class SharperPlainAnts(PlainAnts):
    """The same, which find λ as `market.game.merit_order` does, and count no place twice at others' same prices."""

    counted_at: Sequence[float] = ()
    incomes: Sequence[Callable[[float], float]] = ()

    def make_incomes(self, best: Sequence[float]) -> Sequence[Callable[[float], float]]:
        if best != self.counted_at:
            self.counted_at, self.incomes = best, [cache(earn) for earn in super().make_incomes(best)]
        return self.incomes

    def clear(self, g_to_u: float, c_to_u: float) -> float:
        mu, surplus, capacity = self.hour.mu, self.surplus, self.capacity
        by_company, by_bureau, worth = exp(g_to_u / mu), exp(c_to_u / mu), exp(self.value / mu)
        firm, flexible = (1 - self.hour.phi) * self.load, self.hour.phi * self.load
        x = min(by_company, by_bureau, worth) * self.load / (surplus + capacity - firm)
        while True:
            company, bureau, user = 1 / (by_company + x), 1 / (by_bureau + x), 1 / (worth + x)
            lack = firm + flexible * worth * user - x * (surplus * company + capacity * bureau)
            if lack <= 1e-14 * self.load:
                return mu * log(x)
            slope = surplus * by_company * company * company + capacity * by_bureau * bureau * bureau
            x += lack / (slope + flexible * worth * user * user)


PLAINLY: dict[str, type[PlainAnts]] = {
    "a plain loop": PlainAnts,
    "a plain loop that spares what we do": SharperPlainAnts,
}


def solve_plainly(
    hour: Hour, seed: int, *, count: int = 35, iterations: int = 200, kind: type[PlainAnts] = PlainAnts
) -> Prices:
    """The prices of `ants.solve`, an ant at a time."""
    colonies = kind(hour, seed, count)
    for iteration in range(iterations):
        colonies.step(iteration / iterations)
    g_to_u, g_to_c, c_to_u, c_to_g = colonies.best
    return Prices(g_to_u=g_to_u, g_to_c=g_to_c, c_to_u=c_to_u, c_to_g=c_to_g)


def make_week(day: Sequence[Hour]) -> list[Hour]:
    """Seven days of other weather."""
    return [
        replace(hour, surplus_wh=int(hour.surplus_wh) * (8 + weekday) // 10) for weekday in range(7) for hour in day
    ]


def make_crowd() -> Hour:
    """Ten companies, three bureaus and a thousand users, each with a value of its own."""
    rng = Random(1)
    loads = [rng.randrange(200, 2_000) for _ in range(1000)]
    return Hour(
        surplus_wh=[rng.randrange(20_000, 200_000) for _ in range(10)],
        shortage_wh=[0] * 10,
        user_load_wh=loads,
        bureau_capacity_wh=[sum(loads) // part for part in (2, 3, 4)],
        value_user=[0.4 + 0.2 * rng.random() for _ in loads],
    )


def run_ants(quick: bool) -> list[Row]:
    """Both sides in turn, the best of several times each: a machine that is busy for a while slows both."""
    day = make_hours(parse_profile(PROFILE.read_text()), "forecast")
    iterations = 5 if quick else 200
    sample, lengths = (day[::12] if quick else day[::2]), {"a day": day, "a week": make_week(day)}
    work: dict[str, Callable[[], object]] = {}
    for name, hours in lengths.items():
        work[name] = lambda hours=hours: ants.solve_hours(hours, seed=1, iterations=iterations)
    for name, kind in PLAINLY.items():
        work[name] = lambda kind=kind: [solve_plainly(one, 1, iterations=iterations, kind=kind) for one in sample]
    seconds = dict.fromkeys(work, float("inf"))
    for _ in range(1 if quick else 5):
        seconds = {name: min(seconds[name], measure(each, 1)) for name, each in work.items()}
    rates = {name: len(hours) / seconds[name] for name, hours in lengths.items()}
    rows = [
        Row(f"ants, {name} of hours", rate, "hours/s", baseline, rate * seconds[baseline] / len(sample))
        for baseline in PLAINLY
        for name, rate in rates.items()
    ]
    answers = len(day) / measure(lambda: best_response.solve_hours(day))
    rows.append(Row("best response, a day of hours", answers, "hours/s", "ants", answers / rates["a day"]))
    crowd = make_crowd()
    alone = 1 / measure(lambda: best_response.solve(crowd))
    name = "best response, 10 companies, 3 bureaus, 1,000 users"
    return [
        *rows,
        Row(name, alone, "hours/s", "an hour of 1, 1 and 2", alone * measure(lambda: best_response.solve(day[12]))),
    ]


# --- the nearest quote -----------------------------------------------------------------------------


def make_quotes(count: int) -> tuple[list[Order], list[Point]]:
    """Quotes with four features each."""
    rng = Random(1)
    orders, points = [], []
    for number in range(count):
        points.append(tuple(rng.randrange(1001) for _ in range(AXES)))
        orders.append(Order(number, rng.randbytes(20), Side.OFFER, 400_000 + points[-1][0], 1_000, number))
    return orders, points


def scan(points: Sequence[Point], target: Point) -> int:
    return min(
        (sum((a - b) ** 2 for a, b in zip(point, target, strict=True)), index) for index, point in enumerate(points)
    )[1]


def run_tree(quick: bool) -> list[Row]:
    count = QUICK_QUOTES if quick else QUOTES
    orders, points = make_quotes(count)
    rng = Random(2)
    targets = [tuple(rng.randrange(1001) for _ in range(AXES)) for _ in range(1_000)]
    tree = QuoteTree(dict(enumerate(orders)), dict(enumerate(points)))
    array = np.array(points)

    def match() -> None:
        for target in targets:
            tree.remove(tree.find_nearest(target, 500_000, BUYER).rank)

    def scan_arrays() -> None:
        for target in targets[:50]:
            int(((array - target) ** 2).sum(axis=1).argmin())

    ours = len(targets) / measure(match, 1)
    baselines = {
        "a plain scan": 3 / measure(lambda: [scan(points, target) for target in targets[:3]]),
        "a scan by numpy": 50 / measure(scan_arrays),
        "a tree built anew by scipy": 1 / measure(lambda: cKDTree(array).query(targets[0])),
        "a tree built anew": 1 / measure(lambda: QuoteTree(dict(enumerate(orders)), dict(enumerate(points))), 1),
    }
    name = f"the nearest of {count:,} quotes, found and taken"
    return [Row(name, ours, "matches/s", baseline, ours / rate) for baseline, rate in baselines.items()]


def make_book(count: int) -> tuple[list[WeightedOrder], dict[str, str]]:
    """Orders of five hundred members on twenty lines, and the area of each line."""
    rng = Random(1)
    owners, areas = [rng.randbytes(20) for _ in range(500)], {f"line-{number}": f"{number % 4}" for number in range(20)}
    book = []
    for number in range(count):
        side = Side(number % 2)
        price = rng.randrange(100_000) + (430_000 if side == Side.OFFER else 480_000)
        order = Order(number, rng.choice(owners), side, price, rng.randrange(1_000, 50_000), number)
        book.append(
            WeightedOrder(
                order=order,
                credit_upt=rng.randrange(10**8),
                capacity_wh=10**6,
                renewable_ppm=rng.randrange(10**6),
                position=rng.choice([*areas]),
                stability_ppm=0,
            )
        )
    return book, areas


def run_places(quick: bool) -> list[Row]:
    count = QUICK_QUOTES if quick else BOOK
    book, areas = make_book(count)
    orders = [quote.order for quote in book]

    def clear(factors: Factors) -> None:
        near = look_around(book, 500_000, factors, areas)
        clear_knn(orders, ClearingContext(neighbourhood=near))

    by_place = 1 / measure(lambda: clear(Factors(position=1)), 5)
    by_price = 1 / measure(lambda: clear(Factors()), 5)
    return [Row(f"knn by place, {count:,} orders", by_place, "books/s", "knn by price", by_place / by_price)]


def run(quick: bool = False) -> list[Row]:
    return run_ants(quick) + run_tree(quick) + run_places(quick)


if __name__ == "__main__":
    print_table(run(quick="--quick" in sys.argv[1:]))
