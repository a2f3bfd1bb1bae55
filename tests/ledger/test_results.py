"""Results that wait for a certificate: in the state, as bytes, and as the digest that members sign."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import encode
from ledger.errors import Malformed
from ledger.overlay import Overlay
from ledger.results import (
    MAX_RESULTS,
    NOTHING,
    Result,
    compute_digest,
    decode_results,
    drop_result,
    encode_results,
    get_results,
    put_result,
)
from ledger.state import State

ONE, TWO = Result(3, 2, b"\x01" * 32), Result(5, 0, b"\x02" * 32)
RESULTS = st.builds(Result, st.integers(0, 2**40), st.integers(0, 2**40), st.binary(min_size=32, max_size=32))


def test_results_wait_by_number_until_they_are_decided():
    view = Overlay(State.empty())
    assert get_results(view) == ()
    put_result(view, TWO)
    put_result(view, ONE)
    assert get_results(view) == (ONE, TWO)
    put_result(view, ONE._replace(record_count=9))
    assert get_results(view) == (ONE._replace(record_count=9), TWO)
    drop_result(view, 3)
    drop_result(view, 3)
    assert get_results(view) == (TWO,)
    drop_result(view, 5)
    assert get_results(view) == ()
    view.commit()
    assert view.finish()[0].root == State.empty().root, "nothing is left behind"


def test_there_is_no_digest_of_nothing():
    assert compute_digest([]) == NOTHING == b""


@given(st.lists(RESULTS, min_size=1, max_size=MAX_RESULTS, unique_by=lambda one: one.number))
def test_results_survive_the_wire_and_any_change_changes_the_digest(results):
    results = sorted(results)
    assert decode_results(encode_results(results)) == tuple(results)
    digest = compute_digest(results)
    assert len(digest) == 32
    for other in (results[1:], [*results[:-1], results[-1]._replace(root=bytes(31) + b"\x07")]):
        assert other == results or compute_digest(other) != digest


@pytest.mark.parametrize(
    "value",
    [
        (),
        ((3, 2),),
        ((3, 2, b"short"),),
        ((-1, 2, bytes(32)),),
        ((3, -1, bytes(32)),),
        ((3, 2, bytes(32), 0),),
        (tuple(TWO), tuple(ONE)),
        (tuple(ONE), tuple(ONE)),
        tuple((number, 0, bytes(32)) for number in range(MAX_RESULTS + 1)),
        (((2**63, 2**63, bytes(32)),) * 99),
    ],
)
def test_results_of_another_shape_are_refused(value):
    with pytest.raises(Malformed):
        decode_results(encode(value))
