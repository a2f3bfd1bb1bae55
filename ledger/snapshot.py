"""The credit snapshot that consensus reads: fixed at a period boundary, in the block's own ancestry.

The live credit of an account changes whenever a delivery is scored; difficulty follows the snapshot, which the first
block of each period takes and which counts from the next block on. It is also what the right to seal goes by: it holds
the members that are wanted as sealers when the period begins (`ledger.sealers`), so that one newly admitted may seal
from the period's second block on and not before (`NotASealer`), and one revoked no longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from ledger.accounts import get_account
from ledger.codec import Value
from ledger.hashing import address_of
from ledger.overlay import Overlay
from ledger.sealers import get_wanted_sealers
from ledger.state import State

_SNAPSHOT = b"snapshot"


@dataclass(frozen=True, slots=True, kw_only=True)
class SealerSnapshot:
    """A sealing member's credit (Eq. (10)) and balance (Eq. (9)): all that eligibility may depend on."""

    credit_upt: int
    balance_uyuan: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Standing of every sealing member by public key, the height it was taken at, and the one before it."""

    height: int
    members: dict[bytes, SealerSnapshot]
    previous: dict[bytes, SealerSnapshot]


def take_snapshot(view: Overlay, height: int) -> None:
    """Make the live credits of those who are to seal the active ones."""
    current = cast(tuple[int, Value, Value], view.get(_SNAPSHOT) or (0, (), ()))[1]
    fresh = []
    for key in get_wanted_sealers(view):
        account = get_account(view, address_of(key))
        fresh.append((key, account.credit_upt, max(0, account.balance_uyuan)))
    view.put(_SNAPSHOT, (height, tuple(fresh), current or tuple(fresh)))


def get_snapshot(state: State) -> Snapshot:
    """The active snapshot of a state."""
    value = Overlay(state).get(_SNAPSHOT)
    assert value is not None, "genesis takes the first snapshot"
    height, members, previous = cast(tuple[int, Value, Value], value)
    return Snapshot(height=height, members=_standings(members), previous=_standings(previous))


def _standings(rows: Value) -> dict[bytes, SealerSnapshot]:
    entries = cast(tuple[tuple[bytes, int, int], ...], rows)
    return {key: SealerSnapshot(credit_upt=credit, balance_uyuan=balance) for key, credit, balance in entries}
