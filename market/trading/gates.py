"""Gate records: what a period's gate closure produced, and what has become of it since.

A gate is certified with the first certified checkpoint at or above its height. On a chain that trades alone its trades
bind from then on; beside a scheduling chain they bind once that chain has given its verdict.
"""

from __future__ import annotations

from typing import NamedTuple, cast

from ledger.codec import decode, expect_array, expect_bytes, expect_int, expect_str
from ledger.errors import WrongShape
from ledger.hashing import HASH_SIZE
from ledger.overlay import Overlay

_GATE = b"g/"
_MAX_GATE_BYTES = 128
OPEN, CERTIFIED, ACCEPTED, VOID, SETTLED = "open", "certified", "accepted", "void", "settled"
LAPSED = "lapsed"  # accepted, but its delivery was never metered
STATUSES = (OPEN, CERTIFIED, ACCEPTED, VOID, SETTLED, LAPSED)
NO_CERTIFICATE, NO_VERDICT, NO_COUNTERSIGNATURE = "no-certificate", "no-verdict", "no-countersignature"
UNMETERED = "unmetered"
REASONS = (NO_CERTIFICATE, NO_VERDICT, NO_COUNTERSIGNATURE, UNMETERED)  # what did not come in time


class Gate(NamedTuple):
    """Gate closure of a period: the height of its block, and the RFC 6962 root over the period's trades.

    `reason` is one of `REASONS` where it is void or lapsed, else empty.
    """

    height: int
    result_root: bytes
    trade_count: int
    status: str = OPEN
    reason: str = ""


def gate_key(period: int) -> bytes:
    """The state key of a gate record, for proofs."""
    return _GATE + period.to_bytes(8, "big")


def decode_gate(raw: bytes) -> Gate:
    """Read a gate record from the bytes of its state value, from any sender. Raises the `Malformed` family."""
    fields = expect_array(decode(raw, max_bytes=_MAX_GATE_BYTES), 5, "gate record")
    height, result_root, trade_count, status, reason = fields
    gate = Gate(
        height=expect_int(height, "gate's height"),
        result_root=expect_bytes(result_root, "result root", size=HASH_SIZE),
        trade_count=expect_int(trade_count, "trade count"),
        status=expect_str(status, "gate's status"),
        reason=expect_str(reason, "gate's reason"),
    )
    if gate.status not in STATUSES:
        raise WrongShape(what="gate record", detail=f"no gate is {gate.status!r}")
    if bool(gate.reason) != (gate.status in (VOID, LAPSED)) or gate.reason not in ("", *REASONS):
        raise WrongShape(what="gate record", detail=f"no gate is {gate.status} because of {gate.reason!r}")
    return gate


def get_gate(view: Overlay, period: int) -> Gate | None:
    value = view.get(gate_key(period))
    return None if value is None else Gate._make(cast(tuple[int, bytes, int, str, str], value))


def put_gate(view: Overlay, period: int, gate: Gate) -> None:
    view.put(gate_key(period), tuple(gate))


def drop_gate(view: Overlay, period: int) -> None:
    view.delete(gate_key(period))
