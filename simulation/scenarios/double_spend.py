"""Double spend by catch-up, in full nodes: against the exact negative binomial form, and against finality."""

from __future__ import annotations

from functools import partial
from typing import Literal, cast

from pydantic import Field

from ledger.transaction import Transaction
from simulation.attacks.double_spend import DoubleSpend, DoubleSpendSettings
from simulation.experiments.scenario import Metric, Scenario, Settings, Theory, Trial
from simulation.scenarios.networks import (
    INTERVAL_MS,
    Attacker,
    deal_shares,
    end_film,
    find_depth,
    is_final,
    make_attack_network,
    open_world,
    pay,
    run_while,
)
from simulation.theory.formulas import double_spend_give_up, double_spend_strict_give_up
from simulation.world.recorder import Recorder
from simulation.world.world import World

_LIMIT = 10_000  # intervals
_MERCHANT = "h0"


class DoubleSpendWorld(Settings):
    """An attacker, and honest members that share the rest of the hash power; h0 is the merchant."""

    q: float = Field(default=0.3, gt=0, lt=1, description="the attacker's share of the hash power")
    z: int = Field(default=6, ge=1, le=100, description="confirmations that the merchant waits for")
    give_up: int = Field(default=20, ge=1, le=100, description="deficit in blocks at which the attacker stops")
    honest: int = Field(default=3, ge=1, le=50, description="honest members")
    slot_blocks: int = Field(default=0, ge=0, le=10_000, description="blocks between checkpoints; 0: no checkpoints")
    accept: Literal["depth", "final"] = Field(
        default="depth", description="whether the merchant counts blocks or awaits finality"
    )


def run(given: Settings, seed: int, *, record: bool = False) -> Trial:
    """One race, from the payment to its end."""
    settings = cast(DoubleSpendWorld, given)
    shares = deal_shares(settings.q, settings.honest)
    network = make_attack_network(list(shares), slot_blocks=settings.slot_blocks)
    policy = DoubleSpendSettings(confirmations=settings.z, accept=settings.accept, give_up=settings.give_up)
    attacker = Attacker(partial(DoubleSpend, settings=policy))
    world = open_world(network, shares, seed=seed, attackers={"attacker": attacker})
    recorder = Recorder(world) if record else None
    payment = pay(world, network.keys["attacker"], network.keys[_MERCHANT].address)
    for name in shares:  # every peer has it from the start, so that it stands in the first public block
        world.submit(name, payment)
    merchant = Merchant(world, payment, settings)
    run_while(world, lambda: not attacker.policy.outcome, _LIMIT)
    is_undecided = not attacker.policy.outcome
    world.run_for(2 * INTERVAL_MS)
    return Trial(
        replay=end_film(recorder, "double-spend", settings, seed),
        row={
            "log": world.trace_hash()[:16],
            "attempts": 1,
            "delivered": int(merchant.has_delivered),
            "caught_up": int(attacker.policy.has_caught_up),
            "undecided": int(is_undecided),
            "reversed": int(merchant.has_delivered and not find_depth(world.node(_MERCHANT), payment)),
            "deepest_reorg": world.node(_MERCHANT).chain.counters.deepest_reorg,
            "blocks": world.node(_MERCHANT).chain.head.height,
        },
    )


class Merchant:
    """The payee, behind its own node; delivers once and cannot take it back."""

    def __init__(self, world: World, payment: Transaction, settings: DoubleSpendWorld) -> None:
        self._world = world
        self._payment = payment
        self._settings = settings
        self.has_delivered = False
        world.watch(lambda now_ms, peer, event, actions: self._look() if peer == _MERCHANT else None)

    def _look(self) -> None:
        node, settings = self._world.node(_MERCHANT), self._settings
        if settings.accept == "final":
            self.has_delivered |= is_final(node, self._payment)
        else:
            self.has_delivered |= find_depth(node, self._payment) >= settings.z


def _catch_up(given: Settings) -> Theory | None:
    settings = cast(DoubleSpendWorld, given)
    if settings.slot_blocks:
        return None
    return double_spend_give_up.predict(settings.q, settings.z, settings.give_up)


def _overtake(given: Settings) -> Theory | None:
    """Theory of the overtaking: with finality it is 0 by the rules, as long as the merchant waits for it."""
    settings = cast(DoubleSpendWorld, given)
    if settings.accept == "final":
        return Theory(name="finality", value=0.0, source="fork choice never leaves a certified checkpoint")
    if settings.slot_blocks:
        return None
    return double_spend_strict_give_up.predict(settings.q, settings.z, settings.give_up)


DOUBLE_SPEND = Scenario(
    name="double-spend",
    about="Pay, build a longer branch in secret, take the payment back; with checkpoints it fails.",
    settings=DoubleSpendWorld,
    run=run,
    film=partial(run, record=True),
    metrics=(
        Metric(
            name="caught up",
            kind="share",
            column="caught_up",
            out_of="attempts",
            theory=_catch_up,
            cut_off="undecided",
        ),
        Metric(
            name="payment reversed",
            kind="share",
            column="reversed",
            out_of="attempts",
            theory=_overtake,
            cut_off="undecided",
        ),
        Metric(name="deepest reorg", kind="mean", column="deepest_reorg", unit="blocks"),
    ),
)
