"""A sealer that sends its block after the gate: its earnings by it, with and without members that mind."""

from __future__ import annotations

from functools import partial
from math import exp
from random import Random
from typing import Literal, cast

from pydantic import Field

from ledger.accounts import get_account
from ledger.hashing import Address
from ledger.overlay import Overlay
from ledger.signatures import SigningKey
from ledger.transaction import make_transaction
from market.orders import Side
from market.trading.contract import TradeIntention
from market.trading.gates import VOID
from market.trading.times import compute_times
from market.trading.views import get_book, get_gate
from node.chain.node import ChainNode
from simulation.attacks.last_look import LastLook, LastLookSettings, clear, measure_profit
from simulation.experiments.scenario import Metric, Scenario, Settings, Theory, Trial
from simulation.scenarios.networks import INTERVAL_MS, Attacker, deal_shares, end_film, make_attack_network, open_world
from simulation.world.link_files import packaged_links
from simulation.world.links import Constant, Links
from simulation.world.recorder import Recorder
from simulation.world.trader_script import make_clock
from simulation.world.world import World

_FIRST = 3  # the first period that is traded in
_AFTER = 6  # intervals after a deadline, when the period is void if it is
_LATEST_MS, _EARLIEST_MS = 500, 60_000  # before the gate: when the others' orders come
_CAPACITY_WH = 100_000
_LIFETIME_BLOCKS = 1_000


class LastLookWorld(Settings):
    """One that looks last, and honest members who buy and sell at random prices until shortly before the gate."""

    share: float = Field(default=0.25, ge=0, lt=1, description="the sealer's share of the hash power; 0: nobody looks")
    hold_ms: int = Field(default=2_500, ge=0, le=60_000, description="how long after the gate it still sends, ms")
    tolerance_ms: int = Field(
        default=0, ge=0, le=60_000, description="gate_tolerance_ms: how late a block may be; 0: nobody minds"
    )
    honest: int = Field(default=4, ge=4, le=50, description="honest members")
    periods: int = Field(default=10, ge=1, le=1_000, description="periods in a trial")
    links: Literal["near", "city", "internet", "slow"] = Field(
        default="near", description="delays: 50 ms, as in configs/lab, or 500 ms"
    )
    slot_blocks: int = Field(default=3, ge=3, le=30, description="blocks between checkpoints, four to a period")


def run(given: Settings, seed: int, *, record: bool = False) -> Trial:
    """So many periods, one after the other."""
    settings = cast(LastLookWorld, given)
    shares = deal_shares(settings.share, settings.honest)
    network = make_attack_network(
        list(shares),
        slot_blocks=settings.slot_blocks,
        market=make_clock(),
        gate_tolerance_ms=settings.tolerance_ms,
    )
    policy = LastLookSettings(hold_ms=settings.hold_ms)
    attacker = Attacker(partial(LastLook, settings=policy))
    links = _make_links(settings.links, list(shares), seed)
    world = open_world(network, shares, seed=seed, links=links, attackers={"attacker": attacker})
    recorder = Recorder(world) if record else None
    honest = [name for name in shares if name != "attacker"]
    random = Random(f"{seed}/traders")
    rows: list[tuple[int, bool, bool]] = []

    def assess(period: int) -> None:
        rows.append(_assess(world.node("h0"), period, network.keys["attacker"].address, policy.cost))

    end_ms = world.now_ms
    for period in range(_FIRST, _FIRST + settings.periods):
        times = compute_times(period, network.genesis.params, network.genesis.time_ms)
        for name in honest:
            at_ms = times.gate_ms - random.randrange(_LATEST_MS, _EARLIEST_MS)
            world.at(at_ms, partial(_trade, world, name, network.keys[name], period, _draw(random)))
        end_ms = times.deadline_ms + _AFTER * INTERVAL_MS
        world.at(end_ms, partial(assess, period))
    world.run_for(end_ms - world.now_ms)
    gains = [gain for gain, _, _ in rows]
    return Trial(
        replay=end_film(recorder, "last-look", settings, seed),
        row={
            "log": world.trace_hash()[:16],
            "periods": settings.periods,
            "looked": sum(has_looked for _, has_looked, _ in rows),
            "gain_uyuan": sum(gains) / settings.periods,
            "void": sum(is_void for _, _, is_void in rows),
            "late": sum(event[0] == "late-block" for name in honest for event in world.peers[name].published),
            "seen": world.node("h0").chain.head.height * len(honest),
        },
    )


def _make_links(kind: str, names: list[str], seed: int) -> Links | None:
    if kind in ("city", "internet"):
        return packaged_links(kind).links(names, Random(f"{seed}/regions"))
    return Links(latency=Constant(500 if kind == "slow" else 50))


def _draw(random: Random) -> tuple[Side, int, int]:
    """Side, price and volume of an order; four in five cross another order."""
    side = random.choice((Side.BID, Side.OFFER))
    price = random.randrange(450_000, 600_000) if side == Side.BID else random.randrange(420_000, 560_000)
    return side, price, random.randrange(10_000, _CAPACITY_WH)


def _trade(world: World, name: str, key: SigningKey, period: int, order: tuple[Side, int, int]) -> None:
    """Send an order through one's own node, which may find that it comes too late."""
    side, price, volume_wh = order
    node = world.node(name)
    intention = TradeIntention(
        side=side,
        gate=period,
        price_uyuan_per_kwh=price,
        volume_wh=volume_wh,
    )
    transaction = make_transaction(
        key,
        chain_id=world.chain_id,
        sequence=get_account(Overlay(node.chain.head.state), key.address).sequence,
        expiry_height=node.chain.head.height + _LIFETIME_BLOCKS,
        kind="intention",
        payload=intention.to_payload(),
    )
    world.submit(name, transaction)


def _assess(node: ChainNode, period: int, looker: Address, cost: int) -> tuple[int, bool, bool]:
    """(What looking last gained in µ¥, whether it came to it, whether the period is void).

    Gained beside what the same book would have given for the offer at cost that was there before; a void period gives
    nothing.
    """
    chain = node.chain
    gate = get_gate(chain.head.state, period)
    if gate is None:
        return 0, False, False
    last = chain.get(chain.hash_at(gate.height - 1) or b"")
    assert last is not None, "it lies within the window"
    gate_ms = compute_times(period, node.params, node.genesis.time_ms).gate_ms
    is_void = gate.status == VOID
    has_looked = last.header.producer_address == looker and last.header.timestamp_ms == gate_ms - 1
    book = get_book(last.state, period)
    plain = [order._replace(price_uyuan_per_kwh=cost) if order.owner == looker else order for order in book]
    earned = 0 if is_void else measure_profit(clear(node, book, period), looker, cost)
    return earned - measure_profit(clear(node, plain, period), looker, cost), has_looked and not is_void, is_void


def _predict_looked(given: Settings) -> Theory:
    """It has to find the first block after the gate, in the time that it holds on and the others put up with."""
    settings = cast(LastLookWorld, given)
    time_ms = min(settings.hold_ms, settings.tolerance_ms or settings.hold_ms)
    value = settings.share * (1 - exp(-time_ms / INTERVAL_MS))
    return Theory(name="last_look", value=value, source="the first of two Poisson processes, share · (1 − e^(−time/I))")


LAST_LOOK = Scenario(
    name="last-look",
    about="A sealer dates its block before the gate, sends it after, and has its own order on top of the whole book.",
    settings=LastLookWorld,
    run=run,
    film=partial(run, record=True),
    metrics=(
        Metric(name="gain per period", kind="mean", column="gain_uyuan", unit="µ¥"),
        Metric(
            name="periods it looked last in", kind="share", column="looked", out_of="periods", theory=_predict_looked
        ),
        Metric(name="void periods", kind="share", column="void", out_of="periods"),
        Metric(name="blocks late by a member's clock", kind="share", column="late", out_of="seen"),
    ),
)
