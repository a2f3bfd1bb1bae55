"""The votes that gates lacked which are void for want of a certificate: this node's word, for no state tells it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from consensus.checkpoints import Checkpoints
from ledger.accounts import get_member
from ledger.hashing import address_of
from ledger.overlay import Event, Overlay
from ledger.state import State
from market.trading.gates import NO_CERTIFICATE, get_gate

VOTES_MISSING = "votes-missing"
MAX_PERIODS = 64


class MissingVotes:
    """By period, the keys of members with no vote held here when a gate became void; the latest periods."""

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._by_period: dict[int, tuple[bytes, ...]] = {}

    def __len__(self) -> int:
        return len(self._by_period)

    def get(self, period: int) -> tuple[bytes, ...]:
        """The keys of a void gate; none where it is not void, or was before this node saw it."""
        return self._by_period.get(period, ())

    def on_head(self, events: Sequence[Event], state: State) -> list[Event]:
        """Look at what a new head has brought about; what is to be told of it. Cause: the head has moved."""
        told: list[Event] = []
        for name, *values in events:
            if name != "void" or values[1:] != [NO_CERTIFICATE]:
                continue
            period = cast(int, values[0])
            view = Overlay(state)
            gate = get_gate(view, period)
            assert gate is not None, "it has just become void"
            keys = self._checkpoints.find_missing(state, gate.height)
            self._by_period[period] = keys
            members = [get_member(view, address_of(key)) for key in keys]
            told.append((VOTES_MISSING, period, tuple(member.name for member in members if member is not None)))
        while len(self._by_period) > MAX_PERIODS:
            del self._by_period[next(iter(self._by_period))]
        return told
