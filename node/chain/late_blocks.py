"""Blocks that come too late to be believed: dated before a gate of the market, and first seen long after it.

The sealer of such a block has seen the whole book before it placed its own last order. That is so by this member's
clock alone, and no block is condemned for it: it is not followed before another stands on it, and until the deadline of
the period, which is then void, no checkpoint over it is signed. Under PBFT it is not prepared unless a quorum has.
"""

from __future__ import annotations

from ledger.block import Header
from ledger.genesis import Genesis
from market.trading.sessions import Session
from market.trading.times import compute_times

_KEPT = 64


class GateWatch:
    """The blocks that this node has seen too late, on a trading chain with a `gate_tolerance_ms`."""

    def __init__(self, genesis: Genesis) -> None:
        params = genesis.params
        self._tolerance_ms = params.consensus.gate_tolerance_ms if params.kind == "trading" else 0
        self._period_ms = params.ledger.period_ms
        self._sessions: list[tuple[int, int]] = []  # a gate of each, which has one each period, and how long it waits
        for session in range(params.market.sessions):
            times = compute_times(0, params, genesis.time_ms, Session(session))
            self._sessions.append((times.gate_ms, times.deadline_ms - times.gate_ms))
        self._since_ms = 0
        self._announced: dict[tuple[bytes, bytes], tuple[bytes, int]] = {}  # hash and date, by parent and producer
        self._late: dict[bytes, tuple[int, int]] = {}  # by hash: height, and when its period's deadline is

    def find_next_ms(self, time_ms: int) -> int | None:
        """The first gate after a time; None where none matters."""
        return self._find_next(time_ms)[0] if self._tolerance_ms else None

    def _find_next(self, time_ms: int) -> tuple[int, int]:
        """The first gate after a time, and the deadline of its trades."""
        period_ms = self._period_ms
        found = (
            (time_ms + period_ms - (time_ms - gate_ms) % period_ms, open_ms) for gate_ms, open_ms in self._sessions
        )
        return min((gate_ms, gate_ms + open_ms) for gate_ms, open_ms in found)

    def begin(self, date_ms: int) -> None:
        """This node looks from now on: whatever was shown at a gate before, it was not there to see."""
        self._since_ms = date_ms

    def note(self, header: Header, date_ms: int) -> None:
        """A valid header has been shown, and with it what its block holds: that may come later.

        The first of its producer on its parent alone: of several, shown in time, one could be chosen after the gate.
        """
        if self._tolerance_ms:
            self._announced.setdefault((header.parent, header.producer), (header.hash, date_ms))
            if len(self._announced) > _KEPT:
                del self._announced[next(iter(self._announced))]

    def is_late(self, header: Header, date_ms: int) -> bool:
        """True for a block that comes too late at `date_ms`, as its announcement did; then it is remembered."""
        announced, announced_ms = self._announced.get((header.parent, header.producer), (header.hash, date_ms))
        seen_ms = min(date_ms, announced_ms) if announced == header.hash else date_ms
        gate_ms, until_ms = self._find_next(header.timestamp_ms)
        if not self._tolerance_ms or gate_ms < self._since_ms or seen_ms <= gate_ms + self._tolerance_ms:
            return False
        if date_ms >= until_ms:
            return False
        self._late[header.hash] = header.height, until_ms
        if len(self._late) > _KEPT:
            del self._late[next(iter(self._late))]
        return True

    def list_late(self, date_ms: int) -> list[tuple[bytes, int]]:
        """(Hash, height) of late blocks of a period that may still be void."""
        return [(block_hash, height) for block_hash, (height, until_ms) in self._late.items() if date_ms < until_ms]
