"""Changes of a chain's rules: the authority announces a version of them and the height from which it holds.

Versions are counted from that of the genesis and follow each other one by one. What holds for a block follows from the
state of its parent alone, so every branch has its own announcements and no node needs to be told twice. What a version
means is its release's to know: see `node.chain.rule_sets`.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from ledger.codec import Value, expect_array, expect_bytes, expect_int
from ledger.contract import BlockContext, Handler
from ledger.errors import InvalidAct, UpgradeOutOfOrder, UpgradeTooSoon
from ledger.hashing import HASH_SIZE
from ledger.membership import check_act
from ledger.overlay import Overlay
from ledger.params import ChainParams
from ledger.transaction import Transaction

UPGRADE = "upgrade"
NOTICE_BLOCKS = 16  # at least, between an announcement and the first block under the new rules
MAX_HEIGHT = 2**53 - 1
MAX_RULES = 2**31 - 1
_RULES = b"rules"


class RuleSchedule(NamedTuple):
    """The version of a chain's rules, and the one that was announced last, which holds from a height on.

    Where none has been announced, `announced` is 0.
    """

    before: int
    announced: int = 0
    height: int = 0

    def at(self, height: int) -> int:
        """The version that holds for a block at a height."""
        return self.announced if self.announced and height >= self.height else self.before

    def coming_after(self, height: int) -> int:
        """The version that is to follow the one at a height, 0 where none has been announced."""
        return self.announced if height < self.height else 0


class Upgrade(NamedTuple):
    """The body of an `upgrade`, after its first word."""

    chain_id: bytes
    rules: int
    height: int

    def to_value(self) -> Value:
        return (UPGRADE, *self)

    @classmethod
    def from_value(cls, body: Value) -> Upgrade:
        """Raises the `Malformed` family or `InvalidAct`."""
        word, chain_id, rules, height = expect_array(body, 4, UPGRADE)
        if word != UPGRADE:
            raise InvalidAct(what=UPGRADE, detail="the authority has signed another kind of act")
        return cls(
            chain_id=expect_bytes(chain_id, "chain id", size=HASH_SIZE),
            rules=expect_int(rules, "version of the rules", low=1, high=MAX_RULES),
            height=expect_int(height, "height", high=MAX_HEIGHT),
        )


def get_schedule(view: Overlay, params: ChainParams) -> RuleSchedule:
    """The rules of a chain as its state has them; `params` are those of its genesis."""
    value = cast(tuple[int, int, int] | None, view.get(_RULES))
    return RuleSchedule(params.rules) if value is None else RuleSchedule._make(value)


def upgrade_handlers() -> dict[str, Handler]:
    """The handler by its transaction kind; every chain has it."""
    return {UPGRADE: process_upgrade}


def process_upgrade(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
    """`upgrade [["upgrade", chain id, rules, height], signatures]`: the next version holds from that height on.

    One that has been announced and does not hold yet may be put off, by an act for a greater height, and never put
    forward: whoever kept an old act could bring it back. Raises what `check_act` and `Upgrade.from_value` raise,
    `InvalidAct`, `UpgradeOutOfOrder` or `UpgradeTooSoon`.
    """
    body, signatures = expect_array(transaction.payload, 2, UPGRADE)
    check_act(view, body, signatures)
    act = Upgrade.from_value(body)
    if act.chain_id != block.chain_id:
        raise InvalidAct(what="chain", detail="this act is for another chain of the network")
    schedule = get_schedule(view, block.params)
    current, earliest = schedule.at(block.height), block.height + NOTICE_BLOCKS
    if act.rules != current + 1:
        raise UpgradeOutOfOrder(expected=current + 1, actual=act.rules)
    if schedule.coming_after(block.height):
        earliest = max(earliest, schedule.height + 1)
    if act.height < earliest:
        raise UpgradeTooSoon(height=act.height, earliest=earliest)
    view.put(_RULES, tuple(RuleSchedule(current, act.rules, act.height)))
    view.emit(UPGRADE, act.rules, act.height)
