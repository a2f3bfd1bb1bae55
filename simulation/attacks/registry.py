"""Attacks by name: the policy, what it may be told, and what to expect of it against honest nodes.

Both drivers read it: scenarios for the laboratory name the same policies, and `gridmerit attack` runs them for real.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from pydantic import ValidationError

from node.chain.node import ChainNode
from simulation.attacks.double_spend import DoubleSpend, DoubleSpendSettings
from simulation.attacks.eclipse import Eclipse, EclipseSettings
from simulation.attacks.equivocation import EquivocationSettings, Equivocator
from simulation.attacks.false_head import FalseHead, FalseHeadSettings
from simulation.attacks.last_look import LastLook, LastLookSettings
from simulation.attacks.long_range import LongRange, LongRangeSettings
from simulation.attacks.policy import Policy, PolicyFactory
from simulation.attacks.selfish import SelfishMiner, SelfishSettings
from simulation.attacks.spam import Spammer, SpamSettings
from simulation.attacks.timestamps import TimestampAttacker, TimestampSettings
from simulation.errors import BadAttackSetting, UnknownAttack
from simulation.experiments.scenario import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """A policy under its name. `expects` says what theory and laboratory have it do; `scenario` is the latter's."""

    name: str
    about: str
    settings: type[Settings]
    make: Callable[[ChainNode, Random, Any], Policy]
    expects: str
    scenario: str


_ALL = (
    Attack(
        name="double-spend",
        about="pays at its own node, and builds a longer branch without the payment in secret",
        settings=DoubleSpendSettings,
        make=DoubleSpend,
        expects=(
            "A share q of the hash power takes back a payment z blocks deep with probability double_spend_exact(q, z), "
            "and never one that is final. Else it gives up, and the payment stands."
        ),
        scenario="double-spend",
    ),
    Attack(
        name="eclipse",
        about="shows one victim a branch of its own",
        settings=EclipseSettings,
        make=Eclipse,
        expects=(
            "Nothing, as long as the victim has one link that leads elsewhere: it hears of the heavier branch there. "
            "The laboratory cuts those links; here they stay."
        ),
        scenario="eclipse",
    ),
    Attack(
        name="equivocation",
        about="seals every block of its own twice, one for each half of the network",
        settings=EquivocationSettings,
        make=Equivocator,
        expects=(
            "Honest nodes record every offence, and each costs the chain's equivocation_cost_upt of credit, by which "
            "Eq. (11) gives it ever fewer blocks: poca_shares. Reorganisations stay a block or two deep."
        ),
        scenario="equivocation",
    ),
    Attack(
        name="false-head",
        about="says that it is ahead, and feeds headers that it makes up to whoever asks",
        settings=FalseHeadSettings,
        make=FalseHead,
        expects=(
            "Nothing: honest nodes go on sealing and voting, commit what they would have committed, and ban it at the "
            "first header that breaks a rule, or that no certificate proves."
        ),
        scenario="false-head",
    ),
    Attack(
        name="last-look",
        about="dates a block before the gate, sends it after, with an offer of its own on top of the whole book",
        settings=LastLookSettings,
        make=LastLook,
        expects=(
            "With a gate_tolerance_ms honest nodes neither follow such a block nor sign a checkpoint over it once that "
            "time is over: it gains in share · (1 − e^(−tolerance/interval)) of the periods, and without in more."
        ),
        scenario="last-look",
    ),
    Attack(
        name="long-range",
        about="seals a branch from far back, and shows it once it has more work",
        settings=LongRangeSettings,
        make=LongRange,
        expects="Nothing below the last final block: fork choice never leaves it. Without finality, time decides.",
        scenario="long-range",
    ),
    Attack(
        name="selfish",
        about="withholds its blocks, and shows them when that makes honest work worthless",
        settings=SelfishSettings,
        make=SelfishMiner,
        expects=(
            "Fewer blocks than an honest member of its share α up to the threshold (1 − γ)/(3 − 2γ), more above it: "
            "selfish_revenue(alpha, gamma). Honest blocks are lost in reorganisations a few deep."
        ),
        scenario="selfish",
    ),
    Attack(
        name="spam",
        about="floods with failing transactions, announcements of nothing, or headers that nobody sealed",
        settings=SpamSettings,
        make=Spammer,
        expects=(
            "Headers that nobody sealed get it banned for a minute. Announcements of nothing cost a question each, and "
            "transactions are bounded by sender: honest ones go on into blocks."
        ),
        scenario="spam",
    ),
    Attack(
        name="timestamps",
        about="dates its blocks as early or as late as the others let pass",
        settings=TimestampSettings,
        make=TimestampAttacker,
        expects=(
            "The retarget is clamped and the median of the last blocks holds dates back, so intervals shift a little, "
            "and no honest node refuses or reorganises more than otherwise."
        ),
        scenario="timestamps",
    ),
)
POLICIES: Mapping[str, Attack] = {attack.name: attack for attack in _ALL}


def load_attack(name: str) -> Attack:
    """Raises `UnknownAttack`."""
    if name not in POLICIES:
        raise UnknownAttack(name=name, known=", ".join(POLICIES))
    return POLICIES[name]


def make_policy(attack: Attack, given: Mapping[str, str]) -> PolicyFactory:
    """The policy as a driver wants it, told what a user wrote. Raises `BadAttackSetting`."""
    try:
        settings = attack.settings.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(attack.settings.model_fields)
        raise BadAttackSetting(attack=attack.name, key=first["loc"][0], detail=first["msg"], known=known) from None
    return lambda node, random: attack.make(node, random, settings)
