"""Races for blocks that credit decides, without a network: coalitions of the best members, and grinding."""

from __future__ import annotations

from collections.abc import Iterator
from math import fsum
from typing import Literal, cast

from pydantic import Field

from consensus.poca.eligibility import Eligibility, eligibility_for
from ledger.hashing import ADDRESS_SIZE, sha256
from simulation.experiments.scenario import Metric, Scenario, Settings, Theory, Trial
from simulation.scenarios.races import PocaRace, get_montecarlo
from simulation.theory.formulas import double_spend_strict, poca_shares

_DENSITY = 32  # attempts, or timestamps, that a member's block takes on average


class Coalition(PocaRace):
    """The members with the most credit act as one: their share of the blocks, and what they can rewrite with it."""

    coalition: int = Field(default=3, ge=1, le=1_000, description="members of the coalition, by falling credit")
    z: int = Field(default=6, ge=0, le=1_000, description="confirmations of the payment that it wants to take back")
    races: int = Field(default=1_000, ge=1, le=1_000_000, description="attempts at that per trial")

    @property
    def share(self) -> float:
        """Eq. (11), summed."""
        return min(1.0, fsum(poca_shares(self.credits, self.tau)[-self.coalition :]))


def run_coalition(given: Settings, seed: int) -> Trial:
    """Blocks, and attempts to overtake z confirmations with the share that the coalition has."""
    settings = cast(Coalition, given)
    montecarlo = get_montecarlo()
    wins = montecarlo.race_poca(settings.credits, settings.tau, settings.blocks, seed)
    reverted = settings.races
    if settings.share < 0.5:
        reverted = montecarlo.race_double_spend(settings.share, settings.z, settings.races, seed, lead=1).successes
    own = sum(wins[-settings.coalition :])
    return Trial(row={"own": own, "blocks": settings.blocks, "reverted": reverted, "races": settings.races})


def _predict_share(given: Settings) -> Theory:
    return Theory(name=poca_shares.name, value=cast(Coalition, given).share, source=poca_shares.source)


def _predict_reverted(given: Settings) -> Theory:
    settings = cast(Coalition, given)
    return double_spend_strict.predict(min(settings.share, 1 - 1e-12), settings.z)


COALITION = Scenario(
    name="credit-coalition",
    about="The members with the most credit join: their share of the blocks by temperature, and what they can rewrite.",
    settings=Coalition,
    run=run_coalition,
    metrics=(
        Metric(name="coalition's blocks", kind="share", column="own", out_of="blocks", theory=_predict_share),
        Metric(name="payment reversed", kind="share", column="reverted", out_of="races", theory=_predict_reverted),
    ),
)


# --- grinding ------------------------------------------------------------------------------------


class Grinding(Settings):
    """A member that, each time it has a block, makes it in several forms and keeps the one that suits its next best."""

    eligibility: Literal["poca", "work", "stake"] = Field(default="poca", description="what makes a member eligible")
    forms: int = Field(default=8, ge=1, le=64, description="forms of a block: orders of its transactions")
    members: int = Field(default=4, ge=2, le=50, description="members of equal credit, balance and hash power")
    blocks: int = Field(default=400, ge=10, le=100_000, description="blocks per trial")

    @property
    def share(self) -> float:
        """The grinder's. Under `stake` a form costs nothing and decides the next race: of k forms, one that it wins.

        The first race is a fair one; from there on the chain of two states comes to its balance.
        """
        fair = 1 / self.members
        if self.eligibility != "stake":
            return fair
        memory = 1 - (1 - fair) ** self.forms - fair  # how much likelier a block of its own makes the next
        balance = fair / (1 - memory)
        return balance - (balance - fair) * (1 - memory**self.blocks) / (self.blocks * (1 - memory))


def run_grinding(given: Settings, seed: int) -> Trial:
    """A chain of real seal values; the grinder is the first member.

    Where a nonce is searched, every form takes a search of its own, out of the same hash power: the grinder tries its
    nonces on one form after the other.
    """
    settings = cast(Grinding, given)
    rule = eligibility_for(settings.eligibility, 10_000_000)
    members = [sha256(b"member %d" % index)[:ADDRESS_SIZE] for index in range(settings.members)]
    head, own = sha256(b"%d" % seed), 0
    for _ in range(settings.blocks):
        winner = _race(rule, head, members, settings.forms)
        forms = [sha256(head + b"form %d" % form) for form in range(settings.forms if winner == 0 else 1)]
        head = forms[0]
        if winner == 0:
            own += 1
            if not rule.searches_nonce:  # it may look ahead, for nothing but the parent and the time decides
                head = next((form for form in forms if _race(rule, form, members, 1) == 0), forms[0])
    return Trial(row={"own": own, "blocks": settings.blocks, "share": own / settings.blocks})


def _race(rule: Eligibility, head: bytes, members: list[bytes], forms: int) -> int:
    """Race for a seal on `head`: each has one attempt per tick, ties going to the least value."""
    target = rule.target(2**256 // (_DENSITY * len(members)), 0, 1)
    attempts = [_attempts(rule, head, member, forms if index == 0 else 1) for index, member in enumerate(members)]
    while True:
        values = [next(attempt) for attempt in attempts]
        best = min(values)
        if best <= target:
            return values.index(best)


def _attempts(rule: Eligibility, head: bytes, member: bytes, forms: int) -> Iterator[int]:
    """The seal values that a member comes to, tick by tick."""
    roots = [sha256(head + member + b"%d" % form) for form in range(forms)]
    tick = 0
    while True:
        tick += 1
        yield rule.seal_value(roots[tick % forms], tick, head, member, tick)


def _predict_grinder(given: Settings) -> Theory:
    settings = cast(Grinding, given)
    if settings.eligibility == "stake":
        source = "chain of two states: a block of its own is followed by another with 1 − (1 − 1/n)^k"
        return Theory(name="grinding", value=settings.share, source=source)
    return Theory(name="no memory", value=settings.share, source="each attempt succeeds alike, whatever it is made on")


GRINDING = Scenario(
    name="credit-grinding",
    about="A member makes each block in several forms and keeps the best; it pays by Eq. (9) and not by Eq. (10).",
    settings=Grinding,
    run=run_grinding,
    # not a share of blocks: under `stake` one of its own makes the next likelier, so that they are not independent
    metrics=(Metric(name="grinder's blocks", kind="mean", column="share", theory=_predict_grinder),),
)
