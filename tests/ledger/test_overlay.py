"""The writable view: what is read, written, taken back and told of the difference."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import encode
from ledger.overlay import Overlay
from ledger.state import State

KEYS = [b"a", b"b", b"c"]
BEFORE = {b"a": (1,), b"b": (2,)}

steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["put"]), st.sampled_from(KEYS), st.integers(0, 3)),
        st.tuples(st.sampled_from(["delete", "get", "has"]), st.sampled_from(KEYS), st.just(0)),
        st.tuples(st.sampled_from(["commit", "rollback"]), st.just(b""), st.just(0)),
    ),
    max_size=20,
)


@given(steps)
def test_a_view_is_a_map_whose_open_transaction_can_be_taken_back(taken):
    state = State.from_items((key, encode(value)) for key, value in BEFORE.items())
    view, kept, now = Overlay(state), dict(BEFORE), dict(BEFORE)
    for step, key, number in [*taken, ("rollback", b"", 0)]:
        match step:
            case "put":
                view.put(key, (number,))
                now[key] = (number,)
            case "delete":
                view.delete(key)
                now.pop(key, None)
            case "get":
                assert view.get(key) == now.get(key)
            case "has":
                assert view.has(key) == (key in now)
            case "commit":
                view.commit()
                kept = dict(now)
            case "rollback":
                view.rollback()
                now = dict(kept)
    after, delta = view.finish()
    changed = {key for key in KEYS if BEFORE.get(key) != kept.get(key)}
    assert dict(after.items()) == {key: encode(value) for key, value in kept.items()}
    assert set(delta.changes) == set(delta.undo) == changed
    assert after.apply(delta.undo).root == state.root
