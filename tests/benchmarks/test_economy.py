"""The baseline of the waterfall's benchmark: a plain function on dicts that comes to the same."""

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.economy import PARAMS, STATE, pay_plainly
from market.waterfall import pay_waterfall

FRACTIONS = st.integers(0, 2_000).map(lambda part: part / 1_000)


@st.composite
def states(draw):
    """The pool of the benchmark at another time of its life: each amount by a factor of its own."""
    state = {name: int(amount * draw(FRACTIONS)) for name, amount in STATE.items()}
    extremes = {"reserve": 5 * 10**10, "fee_due": 10**9, "sen_due": 10**9, "mez_due": 10**9, "default": 10**11}
    return (
        state
        | {name: int(most * draw(FRACTIONS)) for name, most in extremes.items()}
        | {"amort": draw(st.integers(0, 1))}
    )


@given(states(), st.integers(0, 10**11))
def test_it_pays_as_the_waterfall_does(state, collections):
    plain = dict(state)
    payments = pay_plainly(plain, PARAMS, collections)
    assert (payments, plain) == pay_waterfall(state, PARAMS, collections)


def test_and_so_over_a_life():
    plain = state = STATE
    plain = dict(plain)
    for period in range(200):
        collections = period * 7_919 % 13 * 10**9
        payments, state = pay_waterfall(state, PARAMS, collections)
        assert (pay_plainly(plain, PARAMS, collections), plain) == (payments, state)
    assert state["senior"] < STATE["senior"]
