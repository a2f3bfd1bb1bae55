"""Gate records: what the closure of a gate produced, and what has become of it since.

A gate is certified with the first certified checkpoint at or above its height. On a chain that trades alone its trades
bind from then on; beside a scheduling chain they bind once that chain has given its verdict.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from ledger.codec import Value, decode, expect_array, expect_bytes, expect_int, expect_str
from ledger.errors import WrongShape
from ledger.hashing import HASH_SIZE
from ledger.overlay import Overlay
from market.trading.life import Lack, State

_GATE = b"g/"
_MAX_GATE_BYTES = 128

# The words of a gate's record: its status, and the reason of one that is void or lapsed.
OPEN, CERTIFIED, ACCEPTED = State.OPEN, State.CERTIFIED, State.ACCEPTED
VOID, SETTLED, LAPSED = State.VOID, State.SETTLED, State.LAPSED
STATUSES = (OPEN, CERTIFIED, ACCEPTED, VOID, SETTLED, LAPSED)
NO_CERTIFICATE, NO_VERDICT = Lack.CERTIFICATE, Lack.VERDICT
NO_COUNTERSIGNATURE, UNMETERED = Lack.COUNTERSIGNATURE, Lack.METERING
REASONS = (NO_CERTIFICATE, NO_VERDICT, NO_COUNTERSIGNATURE, UNMETERED)


_STATES = {state.value: state for state in State}  # a call of the enum is a search
_LACKS = {lack.value: lack for lack in Lack}


class Gate(NamedTuple):
    """The closure of a gate: the height of its block, and the RFC 6962 root over its trades.

    `status` is one of `STATUSES`; `reason` one of `REASONS` where it is void or lapsed, else empty.
    """

    height: int
    result_root: bytes
    trade_count: int
    status: State = OPEN
    reason: Lack = Lack.NOTHING

    @property
    def binds(self) -> bool:
        """True from when its trades bind, also once they are settled or have lapsed."""
        return self.status not in (OPEN, VOID)

    def to_value(self) -> Value:
        return (self.height, self.result_root, self.trade_count, self.status.value, self.reason.value)


def gate_key(gate: int) -> bytes:
    """The state key of a gate record, for proofs."""
    return _GATE + gate.to_bytes(8, "big")


def decode_gate(raw: bytes) -> Gate:
    """Read a gate record from the bytes of its state value, from any sender. Raises the `Malformed` family."""
    fields = expect_array(decode(raw, max_bytes=_MAX_GATE_BYTES), 5, "gate record")
    height, result_root, trade_count, status, reason = fields
    height = expect_int(height, "gate's height")
    result_root = expect_bytes(result_root, "result root", size=HASH_SIZE)
    trade_count = expect_int(trade_count, "trade count")
    status, reason = expect_str(status, "gate's status"), expect_str(reason, "gate's reason")
    if status not in STATUSES:
        raise WrongShape(what="gate record", detail=f"no gate is {status!r}")
    if bool(reason) != (status in (VOID, LAPSED)) or reason not in ("", *REASONS):
        raise WrongShape(what="gate record", detail=f"no gate is {status} because of {reason!r}")
    return Gate(height, result_root, trade_count, _STATES[status], _LACKS[reason])


def get_gate(view: Overlay, gate: int) -> Gate | None:
    value = view.get(gate_key(gate))
    if value is None:
        return None
    height, result_root, trade_count, status, reason = cast(tuple[int, bytes, int, str, str], value)
    return Gate(height, result_root, trade_count, _STATES[status], _LACKS[reason])


def put_gate(view: Overlay, gate: int, record: Gate) -> None:
    view.put(gate_key(gate), record.to_value())


def drop_gate(view: Overlay, gate: int) -> None:
    view.delete(gate_key(gate))
