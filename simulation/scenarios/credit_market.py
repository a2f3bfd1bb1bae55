"""Ways to credit, on nodes with the market's own contract: wash trading, whitewashing, Sybil members.

Every credit is earned: orders, a certified gate, meters, settlement, assessment, and the snapshot that sealing follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

from pydantic import Field

from consensus.contracts import compute_quorum
from consensus.poca.credit_target import compute_n_diff_limit
from ledger.accounts import get_sealers
from ledger.genesis import Authority, Genesis
from ledger.membership import Admission, sign_act
from ledger.overlay import Overlay
from ledger.params import ConsensusParams
from market.credit.score import CreditRecord, weigh_delivery
from simulation.experiments.scenario import Metric, Scenario, Settings, Theory, Trial
from simulation.scenarios.networks import INTERVAL_MS, count_canonical, end_film, run_while
from simulation.theory.formulas import poca_shares
from simulation.world.links import Constant, Links
from simulation.world.networks import CAPACITY_WH, SmallNetwork, compute_n_diff, key_of, make_network
from simulation.world.recorder import Recorder
from simulation.world.trader_script import POSITION, Dealer, make_clock
from simulation.world.world import World

_POINT = 1_000_000
_HONEST = ("h0", "h1", "h2")
_CHEAT = "cheat"
_CHAIR = key_of("chair")
_HASHES_PER_S = 1_000  # of each member
_BLOCKS_PER_PERIOD = 14
_BREACH_WH = 400_000  # sold, and not delivered
_FAIR_WH = 50_000  # each fair order
_FAIR_ORDERS = 4
_TINY_WH = 1
_BREACH_PERIOD = 2
_AFTER_BREACH = 3  # the period in which its meters are read


class CreditSettings(Settings):
    """Settings common to all of these: the rule by which scores become credit, and credit becomes blocks."""

    tau: float = Field(default=10.0, ge=1, le=100, description="credit temperature, points")
    initial_credit: float = Field(default=90.0, ge=0, le=100, description="credit before the first score, points")
    initial_weight: int = Field(default=0, ge=0, le=10_000, description="scores that the initial credit counts for")
    score_unit_wh: int = Field(
        default=0, ge=0, le=10**6, multiple_of=100, description="a score counts once per so much agreed, Wh; 0: once"
    )
    blocks: int = Field(default=60, ge=1, le=10_000, description="blocks of which the shares are counted")


@dataclass(slots=True)
class Market:
    """A running world, and the dealer in it."""

    world: World
    dealer: Dealer


def open_market(given: CreditSettings, seed: int, newcomers: dict[str, float] | None = None) -> Market:
    """Three honest members and the cheat, with an authority; newcomers run nodes and wait for their admission."""
    names = (*_HONEST, _CHEAT, *(newcomers or {}))
    rates = {**dict.fromkeys((*_HONEST, _CHEAT), 1.0), **(newcomers or {})}
    network = _found((*_HONEST, _CHEAT), given)
    keys = {name: key_of(name) for name in names}
    world = World(
        network.genesis,
        keys,
        seed=seed,
        sealing="drawn",
        links=Links(latency=Constant(5)),
        hash_rate={name: max(1, round(rate * _HASHES_PER_S)) for name, rate in rates.items()},
    )
    meters = {f"{name}/meter": key_of(f"{name}/meter") for name in names}
    return Market(world, Dealer(world, {**keys, **meters}))


def _found(names: tuple[str, ...], given: CreditSettings) -> SmallNetwork:
    tau_upt, initial_upt = round(given.tau * _POINT), round(given.initial_credit * _POINT)
    hash_rate = _HASHES_PER_S * len(names)
    n_diff = compute_n_diff(tau_upt, initial_upt, hash_rate=hash_rate, interval_ms=INTERVAL_MS)
    consensus = ConsensusParams(
        tau_upt=tau_upt,
        n_diff_initial=n_diff,
        n_diff_max=min(2**240, compute_n_diff_limit(tau_upt)),
        block_interval_ms=INTERVAL_MS,
        checkpoint_depth=1,
    )
    market = make_clock(
        initial_credit_upt=initial_upt,
        initial_weight=given.initial_weight,
        score_unit_wh=given.score_unit_wh,
    )
    period_ms = _BLOCKS_PER_PERIOD * INTERVAL_MS
    network = make_network(names, period_ms=period_ms, consensus=consensus, market=market)
    old = network.genesis
    authority = Authority(threshold=1, keys=(_CHAIR.public_key,))
    return replace(
        network, genesis=Genesis(params=old.params, time_ms=old.time_ms, members=old.members, authority=authority)
    )


def breach(market: Market, *, delivered_wh: int = 0) -> None:
    """h0 and h1 deal fairly, the cheat sells to h2 what it does not, or not all, deliver; until meters are read."""
    dealer, period = market.dealer, _BREACH_PERIOD
    dealer.wait_for(period - 2)
    dealer.deal("h0", "h1", period, _FAIR_WH, orders=_FAIR_ORDERS)
    dealer.deal(_CHEAT, "h2", period, _BREACH_WH, concession_uyuan=50_000)
    dealer.wait_for(period + 1)
    dealer.read("h0", period, produced_wh=_FAIR_ORDERS * _FAIR_WH)
    dealer.read("h1", period, consumed_wh=_FAIR_ORDERS * _FAIR_WH)
    dealer.read("h2", period, consumed_wh=_BREACH_WH)
    dealer.read(_CHEAT, period, produced_wh=delivered_wh)


def count_share(market: Market, names: Iterable[str], blocks: int) -> tuple[int, int]:
    """(Blocks of these, blocks) of about the next so many, as h0 has them."""
    world = market.world
    node = world.node("h0")
    first = node.chain.head.height
    run_while(world, lambda: node.chain.head.height < first + blocks, 10 * blocks)
    counts = count_canonical(node, first)
    own = sum(counts.get(world.peers[name].key.public_key, 0) for name in names)
    return own, sum(counts.values())


def predict_share(
    given: CreditSettings, credits: Mapping[str, float], rates: Mapping[str, float], names: Iterable[str]
) -> Theory:
    """Eq. (11) over the credits that the rule gives."""
    shares = dict(
        zip(
            credits,
            poca_shares(tuple(credits.values()), given.tau, tuple(rates[name] for name in credits)),
            strict=True,
        )
    )
    return Theory(name=poca_shares.name, value=sum(shares[name] for name in names), source=poca_shares.source)


def rule(given: CreditSettings, *deliveries: tuple[int, int, int]) -> float:
    """Credit in points after (how many, of what volume in Wh, score in points) deliveries, by the market's record."""
    record = CreditRecord(initial_upt=round(given.initial_credit * _POINT), initial_weight=given.initial_weight)
    for count, agreed_wh, score in deliveries:
        for _ in range(count):
            record = record.add(score * _POINT, weigh_delivery(agreed_wh, given.score_unit_wh))
    return record.credit_upt / _POINT


# --- wash trading --------------------------------------------------------------------------------


class WashTrading(CreditSettings):
    """A member breaks one contract of 400 kWh, and then trades watt-hours with an accomplice, h2, period by period."""

    periods: int = Field(default=2, ge=0, le=100, description="periods of wash trades")
    orders: int = Field(default=16, ge=1, le=16, description="trades in each of them")

    @property
    def credits(self) -> dict[str, float]:
        fair, washed = (_FAIR_ORDERS, _FAIR_WH, 100), (self.periods * self.orders, _TINY_WH, 100)
        return {
            "h0": rule(self, fair),
            "h1": rule(self, fair),
            "h2": rule(self, (1, _BREACH_WH, 100), washed),
            _CHEAT: rule(self, (1, _BREACH_WH, 0), washed),
        }


def run_wash_trading(given: Settings, seed: int, *, record: bool = False) -> Trial:
    """From genesis until the washed credit has sealed its blocks."""
    settings = cast(WashTrading, given)
    market = open_market(settings, seed)
    recorder = Recorder(market.world) if record else None
    breach(market)
    dealer, volume_wh = market.dealer, settings.orders * _TINY_WH
    washed = range(_AFTER_BREACH + 2, _AFTER_BREACH + 2 + settings.periods)
    for period in range(washed.start - 2, washed.stop + 1):  # deals two periods ahead, meters one after
        dealer.wait_for(period, 0.2)
        if period + 2 in washed:
            dealer.deal(_CHEAT, "h2", period + 2, _TINY_WH, orders=settings.orders)
        if period - 1 in washed:
            dealer.read(_CHEAT, period - 1, produced_wh=volume_wh)
            dealer.read("h2", period - 1, consumed_wh=volume_wh)
    dealer.wait_for(washed.stop + 1, 0.3)
    own, blocks = count_share(market, [_CHEAT], settings.blocks)
    account = dealer.account(_CHEAT)
    return Trial(
        replay=end_film(recorder, "wash-trading", settings, seed),
        row={
            "log": market.world.trace_hash()[:16],
            "own": own,
            "blocks": blocks,
            "credit": account.credit_upt / _POINT,
            "scores": account.score_count,
        },
    )


def _predict_washed(given: Settings) -> Theory:
    settings = cast(WashTrading, given)
    return Theory(name="credit", value=settings.credits[_CHEAT], source="Eqs (1) and (2) of text 000, weighted")


def _predict_washed_share(given: Settings) -> Theory:
    settings = cast(WashTrading, given)
    return predict_share(settings, settings.credits, dict.fromkeys(settings.credits, 1.0), [_CHEAT])


WASH_TRADING = Scenario(
    name="wash-trading",
    about="A member with a broken contract raises its credit by trades of a watt-hour with an accomplice.",
    settings=WashTrading,
    run=run_wash_trading,
    film=partial(run_wash_trading, record=True),
    metrics=(
        Metric(name="credit after it", kind="mean", column="credit", unit="points", theory=_predict_washed),
        Metric(name="blocks after it", kind="share", column="own", out_of="blocks", theory=_predict_washed_share),
    ),
)


# --- new keys: whitewashing and Sybil members ----------------------------------------------------


class NewKeys(CreditSettings):
    """The cheat's operator comes back under new keys, with or without leaving under the old one."""

    keys: int = Field(default=1, ge=0, le=16, description="new keys that the authority lets in")
    leave: bool = Field(default=True, description="whether the old key leaves: whitewashing; else Sybil members")
    delivered: float = Field(default=0.0, ge=0, le=1, description="share of its contract that the old key delivered")
    split: bool = Field(default=True, description="whether all its keys share one member's hash power, or each has it")
    wash: bool = Field(default=False, description="whether each new key first trades a watt-hour with h2")

    @property
    def newcomers(self) -> list[str]:
        return [f"new{index}" for index in range(self.keys)]

    @property
    def own(self) -> list[str]:
        """The operator's keys that seal in the end."""
        return [*([] if self.leave else [_CHEAT]), *self.newcomers]

    @property
    def rates(self) -> dict[str, float]:
        each = 1 / len(self.own) if self.split and self.own else 1.0
        return {**dict.fromkeys(_HONEST, 1.0), **dict.fromkeys(self.own, each)}

    @property
    def credits(self) -> dict[str, float]:
        fair = rule(self, (_FAIR_ORDERS, _FAIR_WH, 100))
        washes = (self.keys if self.wash else 0, _TINY_WH, 100)
        new = rule(self, (int(self.wash), _TINY_WH, 100))
        old = rule(self, (1, _BREACH_WH, round(100 * self.delivered)))
        everybody = {
            "h0": fair,
            "h1": fair,
            "h2": rule(self, (1, _BREACH_WH, 100), washes),
            _CHEAT: old,
            **dict.fromkeys(self.newcomers, new),
        }
        return {name: everybody[name] for name in (*_HONEST, *self.own)}


def run_new_keys(given: Settings, seed: int, *, record: bool = False) -> Trial:
    """From genesis until the new keys have sealed for a while."""
    settings = cast(NewKeys, given)
    newcomers = {name: settings.rates[name] for name in settings.newcomers}
    market = open_market(settings, seed, newcomers)
    recorder = Recorder(market.world) if record else None
    world, dealer = market.world, market.dealer
    breach(market, delivered_wh=round(_BREACH_WH * settings.delivered))
    for place, name in enumerate(newcomers):
        _admit(dealer, name, serial=1_000 + 2 * place)
    dealer.wait_for(_AFTER_BREACH + 1, 0.2)
    if settings.leave:
        dealer.send(_CHEAT, _CHEAT, "exit")
    else:
        world.peers[_CHEAT].hash_rate = round(settings.rates[_CHEAT] * _HASHES_PER_S)
    if settings.wash:
        _wash(dealer, settings.newcomers, _AFTER_BREACH + 3)
    dealer.wait_for(_AFTER_BREACH + 5, 0.3)
    own, blocks = count_share(market, settings.own, settings.blocks)
    sealers = get_sealers(Overlay(world.node("h0").chain.head.state))
    votes = sum(world.peers[name].key.public_key in sealers for name in settings.own)
    quorum = compute_quorum(world.genesis.params.consensus, len(sealers))
    return Trial(
        replay=end_film(recorder, "new-keys", settings, seed),
        row={
            "log": world.trace_hash()[:16],
            "own": own,
            "blocks": blocks,
            "votes": votes,
            "quorum": quorum,
            "trials": 1,
            "rules": int(votes >= quorum),
        },
    )


def _admit(dealer: Dealer, name: str, *, serial: int) -> None:
    """Two acts of the authority, sent by h0: the newcomer, with the right to seal, and its meter."""
    genesis, key = dealer.genesis, key_of(name)
    end_ms = genesis.time_ms + 10**10
    member = Admission(
        serial=serial, name=name, role="prosumer", key=key.public_key, tls_key=b"", capacity_wh=CAPACITY_WH,
        position=POSITION, owner=b"", seals=(genesis.params.name,), not_before_ms=genesis.time_ms, not_after_ms=end_ms,
    )  # fmt: skip
    meter = member._replace(
        serial=serial + 1, name=f"{name}-meter", role="device", key=key_of(f"{name}/meter").public_key, capacity_wh=0,
        position="", owner=key.address, seals=(),
    )  # fmt: skip
    for admission in (member, meter):
        dealer.send("h0", "h0", "admit", *sign_act(genesis.network_id, admission.to_value(), [_CHAIR]))


def _wash(dealer: Dealer, names: list[str], period: int) -> None:
    """Each of these sells a watt-hour to h2, and delivers it."""
    for name in names:
        dealer.deal(name, "h2", period, _TINY_WH)
    dealer.wait_for(period + 1, 0.2)
    for name in names:
        dealer.read(name, period, produced_wh=_TINY_WH)
    dealer.read("h2", period, consumed_wh=len(names) * _TINY_WH)


def _predict_own(given: Settings) -> Theory:
    settings = cast(NewKeys, given)
    return predict_share(settings, settings.credits, settings.rates, settings.own)


NEW_KEYS = Scenario(
    name="new-keys",
    about="Whoever has lost its credit comes back under new keys, or adds members of its own to those it has.",
    settings=NewKeys,
    run=run_new_keys,
    film=partial(run_new_keys, record=True),
    metrics=(
        Metric(name="operator's blocks", kind="share", column="own", out_of="blocks", theory=_predict_own),
        Metric(name="operator's votes", kind="mean", column="votes", unit="votes"),
        Metric(name="operator certifies alone", kind="share", column="rules", out_of="trials"),
    ),
)
