"""The accountant of a chain's state: entries and bytes by kind, beside what they may be at most."""

from __future__ import annotations

from itertools import islice

from ledger.block import Header
from ledger.genesis import Genesis
from ledger.state import State
from node.chain.state_kinds import Tally, measure
from node.queries.answers import StateInfo, StateKindInfo

_AT_ONCE = 5_000  # entries looked at between two steps of the chain


class StateCount:
    """A count of one state that goes on for as long as it takes: the state never changes, whatever the chain does."""

    def __init__(self, genesis: Genesis, header: Header, state: State) -> None:
        """`header` is of the block that the state is after."""
        self._genesis, self._header, self._state = genesis, header, state
        self._items = state.items()
        self._tally = Tally()

    def go_on(self) -> StateInfo | None:
        """Count some more; the answer once there are no more."""
        chunk = list(islice(self._items, _AT_ONCE))
        self._tally.add(chunk)
        if len(chunk) == _AT_ONCE:
            return None
        rows = self._tally.finish(measure(self._genesis, self._state))
        return StateInfo(
            chain=self._genesis.params.name,
            height=self._header.height,
            state_root=self._header.state_root.hex(),
            entries=sum(row.entries for row in rows),
            bytes=sum(row.bytes for row in rows),
            kinds=tuple(StateKindInfo(**row._asdict(), within=row.is_within) for row in rows),
        )
