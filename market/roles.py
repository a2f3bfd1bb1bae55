"""The roles of text 003, §7, and those of text 000, as one table: what each may do on which chain.

A contract asks the table, and refuses a member without the right by the error of its row. An act that is in no row is
every member's, or the authority's by its signatures. Text 003 has two kinds of producers, of traditional and of new
energy: they are one role and what they are registered with (`is_new_energy`).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from ledger.accounts import TRADERS, Member
from ledger.membership import SEALING_ROLES
from ledger.params import Kind
from market.errors import RoleNotAllowed

ROLES_OF_TEXT_003: Mapping[str, str] = {
    "producer of traditional energy": "producer",
    "producer of new energy": "producer",
    "production consumer": "prosumer",
    "ordinary consumer": "consumer",
    "maintainer of public facilities": "grid-operator",
    "financial institution": "bank",
    "securities initiator": "originator",
    "investor": "investor",
}
BUYERS, SELLERS = ("consumer", "prosumer"), ("producer", "prosumer")
GENERATORS = SELLERS
PLANNERS = ("dispatcher", "grid-operator")


class Act(StrEnum):
    """An act that not every member may do, in words that go on after "may not"."""

    BID = "place bids"
    OFFER = "place offers"
    TRADE_BACK = "trade back intraday"
    TARGET = "commit targets"
    PLAN = "plan the grid"
    READ = "report meter readings"
    GENERATE = "have output metered"
    DEPOSIT = "deposit"
    WITHDRAW = "withdraw"
    STANDING_ORDER = "give standing orders"
    CLAIM = "issue claims"
    HOLD_CLAIM = "hold claims"
    VOUCHER = "issue vouchers"
    PROGRAMME = "open programmes"
    POOL = "open pools"
    PLEDGE = "have receipts pooled"
    HOLD_NOTE = "hold notes"
    SEAL = "have the sealing right"


class Right(NamedTuple):
    """One row of the table: the kinds of transactions that ask for it, the chains' kinds, who has it, what refuses."""

    kinds: tuple[str, ...]
    chains: tuple[Kind, ...]
    roles: tuple[str, ...]
    refused_as: str  # the error's name


_ALL: tuple[Kind, ...] = ("trading", "scheduling", "credit")
_METERED: tuple[Kind, ...] = ("trading", "scheduling")
RIGHTS: Mapping[Act, Right] = {
    Act.BID: Right(("intention",), ("trading",), BUYERS, "SideNotAllowed"),
    Act.OFFER: Right(("intention",), ("trading",), SELLERS, "SideNotAllowed"),
    Act.TRADE_BACK: Right(("intention",), ("trading",), TRADERS, "SideNotAllowed"),
    Act.TARGET: Right(("game-target",), ("trading",), PLANNERS, "TargetNotAllowed"),
    Act.PLAN: Right(("plan",), ("scheduling",), PLANNERS, "NotADispatcher"),
    Act.READ: Right(("reading", "register"), _METERED, ("device",), "NotADevice"),
    Act.GENERATE: Right(("reading", "register"), _METERED, GENERATORS, "OutputNotAllowed"),
    Act.DEPOSIT: Right(("deposit",), ("trading",), ("bank",), "RoleNotAllowed"),
    Act.WITHDRAW: Right(("withdraw",), ("trading",), ("bank",), "RoleNotAllowed"),
    Act.STANDING_ORDER: Right(("standing-order",), ("trading",), ("bank",), "RoleNotAllowed"),
    Act.CLAIM: Right(("asset-issue",), ("trading",), GENERATORS, "RoleNotAllowed"),
    Act.HOLD_CLAIM: Right(("asset-issue", "asset-move"), ("trading",), TRADERS, "RoleNotAllowed"),
    Act.VOUCHER: Right(("asset-issue",), ("trading",), ("bank", "grid-operator"), "RoleNotAllowed"),
    Act.PROGRAMME: Right(("programme",), ("trading",), ("authority", "bank", "grid-operator"), "RoleNotAllowed"),
    Act.POOL: Right(("pool", "pool-admit"), ("trading",), ("originator",), "RoleNotAllowed"),
    Act.PLEDGE: Right(("pool-admit",), ("trading",), GENERATORS, "RoleNotAllowed"),
    Act.HOLD_NOTE: Right(("asset-move",), ("trading",), ("bank", "originator", "investor"), "RoleNotAllowed"),
    Act.SEAL: Right(("admit",), _ALL, SEALING_ROLES, "RoleMayNotSeal"),
}


def may(role: str, act: Act) -> bool:
    """Return True if members with this role have the right to an act."""
    return role in RIGHTS[act].roles


def require_right(member: Member, act: Act) -> None:
    """Raise `RoleNotAllowed` unless the member's role has the right."""
    if not may(member.role, act):
        raise RoleNotAllowed(role=member.role, act=act, known=", ".join(RIGHTS[act].roles))


def is_new_energy(member: Member) -> bool:
    """Return True if any of what a member generates is registered as renewable: else its energy is traditional."""
    return member.role in GENERATORS and member.renewable_ppm > 0
