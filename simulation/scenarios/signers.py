"""The number of signers a checkpoint needs: what a coalition can certify, and what silent ones cost. No network."""

from __future__ import annotations

from collections.abc import Callable
from math import comb, fsum
from random import Random
from typing import Self, cast

from pydantic import Field, model_validator

from consensus.contracts import least_quorum
from consensus.quorum import QuorumCertificate, Statement, VoteTally, checkpoint_quorum, sign_statement
from ledger.hashing import sha256
from ledger.sealers import ValidatorSet
from ledger.signatures import SigningKey
from simulation.experiments.scenario import Metric, Scenario, Settings, Theory, Trial
from simulation.world.networks import key_of

_CHAIN_ID, _LEFT, _RIGHT = (sha256(text) for text in (b"signers", b"left", b"right"))


class Signers(Settings):
    """Members that sign a checkpoint. The honest sign what they see; liars sign every branch that there is."""

    members: int = Field(default=7, ge=1, le=100, description="members with a vote")
    m: int = Field(default=0, ge=0, le=99, description="more than so many must sign; 0: the least with 2(m+1) > n + f")
    liars: int = Field(default=0, ge=0, le=100, description="members that sign every branch")
    split: bool = Field(default=False, description="whether half of the honest, on average, see another branch")
    down: float = Field(default=0.0, ge=0, le=1, description="chance that an honest member is silent")
    slots: int = Field(default=40, ge=1, le=10_000, description="checkpoints per trial")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if max(self.m + 1, self.liars) > self.members:
            raise ValueError(f"m must be below, and liars at most, the {self.members} members")
        least = checkpoint_quorum(self.members) - 1
        if 0 < self.m < least:
            raise ValueError(f"m is too small: with {self.members} members 2(m+1) > n + f takes {least} or more")
        return self

    @property
    def quorum(self) -> int:
        return least_quorum(self.members, self.m)

    def sum_chances(self, is_meant: Callable[[bool, bool], bool]) -> float:
        """The chance that `is_meant(left, right)` of which branches get certified: a trinomial sum over the honest."""
        honest, quorum = self.members - self.liars, self.quorum - self.liars
        on_right = (1 - self.down) / 2 if self.split else 0.0
        on_left = 1 - self.down - on_right
        return fsum(
            comb(honest, left) * comb(honest - left, right)
            * on_left**left * on_right**right * self.down ** (honest - left - right)
            for left in range(honest + 1)
            for right in range(honest - left + 1)
            if is_meant(left >= quorum, self.split and right >= quorum)
        )  # fmt: skip


def run(given: Settings, seed: int) -> Trial:
    """Real votes and tallies: one tally on each side of the split."""
    settings = cast(Signers, given)
    random = Random(seed)
    keys = [key_of(f"n{index}") for index in range(settings.members)]
    none = both = 0
    for slot in range(1, settings.slots + 1):
        sides: dict[bytes, list[SigningKey]] = {_LEFT: keys[: settings.liars], _RIGHT: []}
        if settings.split:
            sides[_RIGHT] = keys[: settings.liars]
        for key in keys[settings.liars :]:
            is_up, is_left = random.random() >= settings.down, random.random() < 0.5
            if is_up:
                side = _LEFT if is_left or not settings.split else _RIGHT
                sides[side] = [*sides[side], key]
        certified = sum(_is_certified(settings, keys, slot, side, signers) for side, signers in sides.items())
        none += certified == 0
        both += certified == 2
    return Trial(row={"slots": settings.slots, "uncertified": none, "twice": both})


def _is_certified(
    settings: Signers, keys: list[SigningKey], slot: int, block_hash: bytes, signers: list[SigningKey]
) -> bool:
    voters = ValidatorSet(0, tuple(sorted(key.public_key for key in keys)))
    tally = VoteTally(
        chain_id=_CHAIN_ID,
        voters_at=lambda _: voters,
        quorum_of=lambda count: least_quorum(count, settings.m),
        slots_ahead=settings.slots,
    )
    statement = Statement(chain_id=_CHAIN_ID, slot=slot, block_hash=block_hash)
    return any(isinstance(tally.add(sign_statement(statement, key)), QuorumCertificate) for key in signers)


def _predict_none(given: Settings) -> Theory:
    value = cast(Signers, given).sum_chances(lambda left, right: not left and not right)
    return Theory(name="binomial", value=value, source="chance that fewer than m + 1 sign either branch")


def _predict_both(given: Settings) -> Theory:
    value = cast(Signers, given).sum_chances(lambda left, right: left and right)
    return Theory(name="quorums", value=value, source="two quorums of m + 1 take 2(m+1) − n members that sign both")


SIGNERS = Scenario(
    name="checkpoint-signers",
    about="How many must sign: what a coalition of signers can certify twice, and what silent members cost.",
    settings=Signers,
    run=run,
    metrics=(
        Metric(name="no certificate", kind="share", column="uncertified", out_of="slots", theory=_predict_none),
        Metric(name="two branches certified", kind="share", column="twice", out_of="slots", theory=_predict_both),
    ),
)
