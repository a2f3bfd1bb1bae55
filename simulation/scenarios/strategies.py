"""Players with given strategies that meet, period after period, under the market's own contracts: who earns what.

Players are prosumers with a sun of their own and a load; odd ones have much sun, even ones much load. Strategies are
dealt to them by the seed, so that over many trials each plays every part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from random import Random
from typing import Literal, NamedTuple, cast

from pydantic import Field, field_validator

from ledger.errors import GridmeritError
from ledger.hashing import Address
from market.errors import NotSettled
from market.game.target import Expected, compute_target
from market.orders import Order, Side
from market.settlement import settle_with_grid
from market.strategies.built_in import BUILT_IN
from market.strategies.storage import Storage
from market.strategies.strategy import Strategy, ask, make_call
from market.strategies.view import Depth, Outcome, OwnOrder, PublicTrade, Tariffs, View, list_own_trades
from market.trading.clearing_rules import is_by_target
from market.trading.contract import GAME_TARGET
from market.trading.trades import TradeRecord
from market.trading.views import get_binding_trades, get_book, get_settlement, get_target, get_trades
from simulation.experiments.scenario import Metric, Scenario, Settings, Trial, Value
from simulation.seclusion import open_strategy
from simulation.world.lone_market import LoneMarket
from simulation.world.networks import CAPACITY_WH, make_network
from simulation.world.trader_script import make_clock

OWN = "own"  # the name under which strategies that are not built in are counted
_NAMES = (*BUILT_IN, OWN)
_FIRST = 2  # the first period whose book can be traded in: it opens with the chain
_DAY, _MORNING = 24, 8  # the hour at which the first period begins
_PPM = 1_000_000
# What a day looks like hour by hour, in thousandths of its peak.
_SUN = (0, 0, 0, 0, 0, 20, 120, 300, 500, 700, 870, 970, 1000, 970, 870, 700, 500, 300, 120, 20, 0, 0, 0, 0)
_LOAD = (
    350, 320, 300, 300, 320, 400, 550, 700, 720, 650, 600, 600, 620, 600, 580, 600, 680, 820, 950, 1000, 950, 800, 600,
    450,
)  # fmt: skip
_SUN_WH, _LOAD_WH = (20_000, 60_000), (60_000, 15_000)  # at the peak, of the even and of the odd


class StrategiesWorld(Settings):
    """Some players, the strategies among them, and the rule by which gates clear."""

    mix: str = Field(
        default="truthful+storage-arbitrage",
        description="strategies dealt in turn: names, or FILE.py:CLASS, joined by +",
    )
    players: int = Field(default=8, ge=2, le=100, description="players")
    periods: int = Field(default=48, ge=1, le=1_000, description="periods in a trial, hours from 8 in the morning on")
    rule: Literal["price-time", "credit-weighted", "uniform-price", "pay-as-bid", "knn"] = Field(
        default="price-time", description="clearing_rule of the chain"
    )
    error_ppm: int = Field(
        default=100_000, ge=0, le=500_000, description="how far a forecast may be off either way, ppm"
    )

    @field_validator("mix")
    @classmethod
    def _check_mix(cls, mix: str) -> str:
        try:
            for reference in mix.split("+"):
                open_strategy(reference)
        except GridmeritError as error:
            raise ValueError(str(error)) from None
        return mix

    @property
    def references(self) -> tuple[str, ...]:
        return tuple(self.mix.split("+"))

    @property
    def first_period(self) -> int:
        """The first that is traded in: by target, the one whose book opens after there can be one."""
        return _FIRST + is_by_target(self.rule)

    @property
    def names(self) -> frozenset[str]:
        """The names that the strategies are counted under."""
        return frozenset(_count_as(reference) for reference in self.references)


class _Energy(NamedTuple):
    """A player's period: what it expects, and what comes, Wh."""

    generation_wh: int
    load_wh: int
    actual_generation_wh: int
    actual_load_wh: int


class _Account(NamedTuple):
    """The money of a player's periods, µ¥, and what it would have been with the grid company alone."""

    income_uyuan: int = 0
    cost_uyuan: int = 0
    alone_uyuan: int = 0
    energy_wh: int = 0

    @property
    def gain_uyuan(self) -> int:
        return self.income_uyuan - self.cost_uyuan - self.alone_uyuan


class _Player:
    """A player, its strategy and its battery, as charged when the last metered period was over."""

    def __init__(self, name: str, place: int, reference: str, seed: int, settings: StrategiesWorld) -> None:
        self.name, self.place = name, place
        self.counted_as = _count_as(reference)
        self.strategy: Strategy = open_strategy(reference)
        self.storage: Storage | None = self.strategy.storage
        self.account = _Account()
        random = Random(f"{seed}/{place}/energy")
        self.energy = [_draw_energy(random, place, hour, settings) for hour in range(settings.periods)]


def run(given: Settings, seed: int) -> Trial:
    """So many periods, each from its orders to its settlement."""
    settings = cast(StrategiesWorld, given)
    trial = _Trial(settings, seed)
    for period in range(settings.first_period + settings.periods + 2):
        trial.play(period)
    return Trial(row=trial.make_row())


class _Trial:
    """A market and its players. At the start of period k gates of k + 1 close, k + 2 opens, k - 1 is metered."""

    def __init__(self, settings: StrategiesWorld, seed: int) -> None:
        names = [f"p{place}" for place in range(settings.players)]
        self._settings, self._seed = settings, seed
        self._network = make_network(names, market=make_clock(clearing_rule=settings.rule), sealers=names[:1])
        self._market = LoneMarket(self._network)
        dealt = [settings.references[place % len(settings.references)] for place in range(settings.players)]
        Random(f"{seed}/deal").shuffle(dealt)
        self._players = [
            _Player(name, place, reference, seed, settings)
            for place, (name, reference) in enumerate(zip(names, dealt, strict=True))
        ]
        self._outcomes: list[Outcome] = []
        self._trades: dict[int, list[TradeRecord]] = {}
        self._tariffs = Tariffs.of(self._network.genesis.params.market)

    def play(self, period: int) -> None:
        """The start of a period, and all that people do then."""
        self._market.go_to(period)
        self._settle(period - 2)
        self._hear(period + 1)
        self._read_meters(period - 1)
        self._order(period + 2)
        self._commit_target(period + 3)

    def _is_played(self, period: int) -> bool:
        return self._settings.first_period <= period < self._settings.first_period + self._settings.periods

    def _energy_of(self, player: _Player, period: int) -> _Energy:
        return player.energy[period - self._settings.first_period]

    # --- before delivery ---------------------------------------------------------------------------

    def _commit_target(self, period: int) -> None:
        """The game's prices by all forecasts, before the book opens; no target where none settle."""
        if not (is_by_target(self._settings.rule) and self._is_played(period)):
            return
        from market.game.best_response import solve  # numpy is an extra, and other rules need none

        energy = [self._energy_of(player, period) for player in self._players]
        nets_wh = [one.generation_wh - one.load_wh for one in energy]
        expected = Expected(sum(max(0, net) for net in nets_wh), tuple(-net for net in nets_wh if net < 0))
        with suppress(NotSettled):
            prices = compute_target(expected, self._network.genesis.params.market, solve)
            self._market.make_block(("grid", GAME_TARGET, (period, tuple(prices))))

    def _hear(self, period: int) -> None:
        """Take in what the gate of a period has made public."""
        if not self._is_played(period):
            return
        trades = self._trades[period] = get_trades(self._market.state, period)
        self._outcomes.append(Outcome.of(period, _publish(trades)))

    def _order(self, period: int) -> None:
        """All are asked, in an order that is drawn anew; who comes later sees more of the book."""
        if not self._is_played(period):
            return
        for look in range(max(player.strategy.looks for player in self._players)):
            turns = [player for player in self._players if look < player.strategy.looks]
            Random(f"{self._seed}/{period}/{look}/turns").shuffle(turns)
            for player in turns:
                random = Random(f"{self._seed}/{player.name}/{period}/{look}")
                acts = ask(player.strategy, self._show(player, period), random)
                calls = [(player.name, *make_call(act, period)) for act in acts]
                if calls:
                    self._market.make_block(*calls)

    def _show(self, player: _Player, period: int) -> View:
        address, account = self._network.keys[player.name].address, self._market.account(player.name)
        book, target = get_book(self._market.state, period), get_target(self._market.state, period)
        strategy, energy = player.strategy, self._energy_of(player, period)
        earlier = tuple(self._outcomes[-strategy.looks_back :]) if strategy.looks_back else ()
        return View(
            player=player.name,
            period=period,
            generation_wh=energy.generation_wh,
            load_wh=energy.load_wh,
            tariffs=self._tariffs,
            bid_limit_wh=CAPACITY_WH,
            offer_limit_wh=CAPACITY_WH,
            place=player.place,
            players=len(self._players),
            balance_uyuan=account.balance_uyuan,
            credit_upt=account.credit_upt,
            storage=self._foresee(player, period),
            target_uyuan_per_kwh=None if target is None else target.target_uyuan_per_kwh,
            bids=_measure(book, Side.BID),
            offers=_measure(book, Side.OFFER),
            earlier=earlier,
            own_orders=tuple(
                OwnOrder(order.order_id, Side(order.side), order.price_uyuan_per_kwh, order.volume_wh)
                for order in book
                if order.owner == address
            ),
            own_trades=tuple(
                trade
                for outcome in earlier
                for trade in list_own_trades(outcome.period, _publish(self._trades[outcome.period]), address)
            ),
        )

    def _foresee(self, player: _Player, period: int) -> Storage | None:
        """The battery as it will be, if the periods under way go as forecast."""
        storage = player.storage
        for before in range(max(0, period - 3), period):
            if storage is not None and before in self._trades:
                energy = self._energy_of(player, before)
                excess_wh = energy.generation_wh - energy.load_wh + self._agree(player, before)
                storage = storage.balance(excess_wh)[0]
        return storage

    def _agree(self, player: _Player, period: int) -> int:
        """The purchases of a player for a period, less its sales, Wh."""
        own = list_own_trades(period, _publish(self._trades[period]), self._network.keys[player.name].address)
        return sum(trade.volume_wh if trade.side == Side.BID else -trade.volume_wh for trade in own)

    # --- delivery ----------------------------------------------------------------------------------

    def _read_meters(self, period: int) -> None:
        """Each meter shows a connection's balance; a battery behind it keeps it at what was agreed, if it can."""
        if not self._is_played(period):
            return
        calls = []
        for player in self._players:
            energy = self._energy_of(player, period)
            balance_wh = energy.actual_generation_wh - energy.actual_load_wh
            self._count_alone(player, balance_wh)
            if player.storage is not None:
                player.storage, flow = player.storage.balance(balance_wh + self._agree(player, period))
                balance_wh += flow.given_wh - flow.drawn_wh
            calls.append((f"{player.name}/meter", "reading", (period, max(0, -balance_wh), max(0, balance_wh))))
        self._market.make_block(*calls)

    def _count_alone(self, player: _Player, balance_wh: int) -> None:
        legs = settle_with_grid(
            consumption_wh=max(0, -balance_wh),
            output_wh=max(0, balance_wh),
            retail_uyuan_per_kwh=self._tariffs.retail_uyuan_per_kwh,
            feed_in_uyuan_per_kwh=self._tariffs.feed_in_uyuan_per_kwh,
        )
        account = player.account
        player.account = account._replace(
            alone_uyuan=account.alone_uyuan + legs.seller_receives_uyuan - legs.buyer_pays_uyuan,
            energy_wh=account.energy_wh + abs(balance_wh),
        )

    def _settle(self, period: int) -> None:
        if not self._is_played(period):
            return
        settlement = get_settlement(self._market.state, period)
        assert settlement is not None, "every gate is certified, and every meter read"
        income, cost = Counter[Address](), Counter[Address]()
        for trade in settlement.trades:
            income[trade.seller] += trade.seller_receives_uyuan
            cost[trade.buyer] += trade.buyer_pays_uyuan
        for row in settlement.grid:
            income[row.member] += row.receives_uyuan
            cost[row.member] += row.pays_uyuan
        for player in self._players:
            address, account = self._network.keys[player.name].address, player.account
            player.account = account._replace(
                income_uyuan=account.income_uyuan + income[address], cost_uyuan=account.cost_uyuan + cost[address]
            )
        assert get_binding_trades(self._market.state, period) == self._trades[period]

    # --- what it came to ---------------------------------------------------------------------------

    def make_row(self) -> dict[str, Value]:
        """Means per period; of strategies per player and period, and what is gained per kWh of its own."""
        periods = self._settings.periods
        traded = [outcome for outcome in self._outcomes if outcome.price_uyuan_per_kwh is not None]
        volume_wh = sum(outcome.volume_wh for outcome in traded)
        value = sum((outcome.price_uyuan_per_kwh or 0) * outcome.volume_wh for outcome in traded)
        row: dict[str, Value] = {
            "periods": periods,
            "traded": volume_wh / (self._count_tradable() or 1),
            "welfare_uyuan": sum(player.account.gain_uyuan for player in self._players) / periods,
            "price": value / volume_wh if volume_wh else 0.0,
        }
        for name in _NAMES:
            accounts = [player.account for player in self._players if player.counted_as == name]
            shares = max(1, len(accounts)) * periods
            energy_wh = sum(account.energy_wh for account in accounts)
            gain_uyuan = sum(account.gain_uyuan for account in accounts)
            row |= {
                f"income/{name}": sum(account.income_uyuan for account in accounts) / shares,
                f"cost/{name}": sum(account.cost_uyuan for account in accounts) / shares,
                f"gain/{name}": gain_uyuan * 1_000 / energy_wh if energy_wh else 0.0,
            }
        return row

    def _count_tradable(self) -> int:
        """The energy that all could have traded by their forecasts: the shorter side of each period."""
        total_wh = 0
        for hour in range(self._settings.periods):
            nets = [player.energy[hour].generation_wh - player.energy[hour].load_wh for player in self._players]
            total_wh += min(sum(max(0, net) for net in nets), sum(max(0, -net) for net in nets))
        return total_wh


def _count_as(reference: str) -> str:
    return reference if reference in BUILT_IN else OWN


def _draw_energy(random: Random, place: int, hour: int, settings: StrategiesWorld) -> _Energy:
    """A cloud and a mood for each player and hour, and how far each forecast is off."""
    kind, error = place % 2, settings.error_ppm
    sun_wh = _SUN_WH[kind] * _SUN[(hour + _MORNING) % _DAY] // 1_000 * random.randrange(600_000, 1_000_001) // _PPM
    load_wh = _LOAD_WH[kind] * _LOAD[(hour + _MORNING) % _DAY] // 1_000 * random.randrange(800_000, 1_200_001) // _PPM
    off = [_PPM + random.randrange(-error, error + 1) for _ in range(2)]
    return _Energy(sun_wh, load_wh, sun_wh * off[0] // _PPM, load_wh * off[1] // _PPM)


def _measure(book: Sequence[Order], side: Side) -> Depth:
    prices = [order.price_uyuan_per_kwh for order in book if order.side == side]
    best = (max if side == Side.BID else min)(prices, default=None)
    return Depth(best, sum(order.volume_wh for order in book if order.side == side))


def _publish(trades: Iterable[TradeRecord]) -> list[PublicTrade]:
    return [PublicTrade(trade.buyer, trade.seller, trade.price_uyuan_per_kwh, trade.volume_wh) for trade in trades]


def _make_metrics(name: str) -> tuple[Metric, ...]:
    def applies(settings: Settings) -> bool:
        return name in cast(StrategiesWorld, settings).names

    return (
        Metric(name=f"{name}: gain", kind="mean", column=f"gain/{name}", unit="µ¥/kWh", applies=applies),
        Metric(name=f"{name}: income", kind="mean", column=f"income/{name}", unit="µ¥", applies=applies),
        Metric(name=f"{name}: cost", kind="mean", column=f"cost/{name}", unit="µ¥", applies=applies),
    )


STRATEGIES = Scenario(
    name="strategies",
    about="Players with given strategies meet under the market's contracts: welfare, prices, and who earns.",
    settings=StrategiesWorld,
    run=run,
    metrics=(
        Metric(name="welfare per period", kind="mean", column="welfare_uyuan", unit="µ¥"),
        Metric(name="mean price", kind="mean", column="price", unit="µ¥/kWh"),
        Metric(name="traded, of what could be", kind="mean", column="traded"),
        *(metric for name in _NAMES for metric in _make_metrics(name)),
    ),
)
