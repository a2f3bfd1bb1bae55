"""Gate records: written by the market, read back from a proof's bytes by anybody."""

import pytest

from ledger.codec import encode
from ledger.errors import Malformed
from ledger.overlay import Overlay
from ledger.state import State
from market.trading.gates import (
    ACCEPTED,
    LAPSED,
    NO_VERDICT,
    STATUSES,
    UNMETERED,
    VOID,
    Gate,
    decode_gate,
    gate_key,
    get_gate,
    put_gate,
)
from market.trading.life import Lack

GATE = Gate(height=7, result_root=bytes(32), trade_count=3, status=ACCEPTED)
FIELDS = (7, bytes(32), 3, "accepted", "")


@pytest.mark.parametrize("status", STATUSES)
def test_a_gate_is_read_back_from_the_state_and_from_its_bytes(status):
    gate = GATE._replace(status=status, reason={VOID: NO_VERDICT, LAPSED: UNMETERED}.get(status, Lack.NOTHING))
    view = Overlay(State.empty())
    assert get_gate(view, 5) is None
    put_gate(view, 5, gate)
    view.commit()
    state, _ = view.finish()
    assert get_gate(Overlay(state), 5) == gate
    assert decode_gate(state.get(gate_key(5))) == gate
    assert decode_gate(encode(FIELDS)) == GATE
    assert GATE.to_value() == FIELDS


@pytest.mark.parametrize(
    "value",
    [
        (),
        FIELDS[:4],
        (*FIELDS, 0),
        (-1, *FIELDS[1:]),
        (7, bytes(31), 3, "accepted", ""),
        (7, bytes(32), -3, "accepted", ""),
        (7, bytes(32), 3, b"accepted", ""),
        (7, bytes(32), 3, "accepted", b""),
        (7, bytes(32), 3, "x" * 200, ""),
        (7, bytes(32), 3, "certain", ""),
        (7, bytes(32), 3, "book", ""),
        (7, bytes(32), 3, "accepted", "no-verdict"),
        (7, bytes(32), 3, "void", ""),
        (7, bytes(32), 3, "void", "whim"),
        5,
    ],
)
def test_bytes_that_are_no_gate_are_refused(value):
    with pytest.raises(Malformed):
        decode_gate(encode(value))
    with pytest.raises(Malformed):
        decode_gate(encode(value) + b"\0")
