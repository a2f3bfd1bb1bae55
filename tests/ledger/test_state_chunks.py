"""Chunks of a state: they cover it exactly, each is checked by itself, and no lie in one passes."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import decode, encode
from ledger.errors import InvalidProof, WrongShape
from ledger.state import State, path_of, value_hash_of
from ledger.state_chunks import (
    ALL_PATHS,
    Prefix,
    StateChunk,
    check_chunk,
    cut_all,
    cut_chunk,
    find_gaps,
    find_rest,
)

CONTENTS = st.dictionaries(st.integers(0, 200).map(lambda n: b"key %d" % n), st.binary(max_size=8), max_size=60)
STATES = CONTENTS.map(lambda contents: State.from_items(contents.items()))
ROOM = st.integers(30, 400)


@st.composite
def prefixes(draw, max_depth=12):
    depth = draw(st.integers(0, max_depth))
    return Prefix(depth, (draw(st.integers(0, (1 << depth) - 1)) << 256 - depth).to_bytes(32, "big"))


def naive_items(state, prefix):
    bits = int.from_bytes(prefix.path, "big") >> 256 - prefix.depth
    return [item for item in state.items() if int.from_bytes(path_of(item[0]), "big") >> 256 - prefix.depth == bits]


def refuse(root, chunk):
    with pytest.raises(InvalidProof):
        check_chunk(root, chunk)


# --- what is true passes -----------------------------------------------------------------------------


@given(STATES, ROOM)
def test_the_chunks_of_a_walk_hold_and_are_the_state(state, max_bytes):
    chunks = [*cut_all(state, max_bytes=max_bytes)]
    for chunk in chunks:
        check_chunk(state.root, chunk)
        assert chunk.size_bytes <= max_bytes or len(chunk.items) == 1
    assert find_gaps(chunk.prefix for chunk in chunks) == ()
    assert State.from_items(item for chunk in chunks for item in chunk.items).root == state.root
    assert sum(len(chunk.items) for chunk in chunks) == len(state)


@given(STATES, prefixes())
def test_a_chunk_holds_what_stands_below_its_prefix_and_survives_the_wire(state, prefix):
    chunk = cut_chunk(state, prefix)
    assert (chunk.prefix, list(chunk.items)) == (prefix, naive_items(state, prefix))
    raw = encode(chunk.to_value())
    assert StateChunk.from_value(decode(raw, max_bytes=len(raw))) == chunk
    check_chunk(state.root, chunk)


# --- what is covered ---------------------------------------------------------------------------------


@given(st.lists(prefixes()))
def test_gaps_and_what_is_covered_hold_every_path_once(asked):
    covered = []
    for prefix in asked:
        if not any(one.contains(prefix) or prefix.contains(one) for one in covered):
            covered.append(prefix)
    both = sorted([*covered, *find_gaps(covered)], key=lambda prefix: prefix.path)
    assert both[0].path == bytes(32)
    assert both[-1].last == b"\xff" * 32
    for left, right in pairwise(both):
        assert int.from_bytes(left.last, "big") + 1 == int.from_bytes(right.path, "big")


@given(prefixes(6), prefixes(20))
def test_the_rest_of_a_prefix_and_a_narrower_one_are_all_of_it(asked, got):
    if asked.contains(got):
        covered = (got, *find_rest(asked, got), *find_rest(ALL_PATHS, asked))
        assert find_gaps(covered) == ()
        assert len(covered) == 1 + got.depth


def test_a_prefix_has_no_bits_beyond_its_depth():
    chunk = cut_chunk(State.empty(), ALL_PATHS)
    depth, _, *rest = chunk.to_value()
    with pytest.raises(WrongShape):
        StateChunk.from_value((depth, b"\x01" + bytes(31), *rest))
    with pytest.raises(WrongShape):
        StateChunk.from_value((257, bytes(32), *rest))


def test_one_leaf_is_never_too_many():
    state = State.from_items((b"key %d" % number, bytes(600)) for number in range(9))
    assert {len(chunk.items) for chunk in cut_all(state, max_bytes=1)} == {0, 1}


# --- lies --------------------------------------------------------------------------------------------


@given(STATES, ROOM, st.data())
def test_every_lie_about_the_leaves_is_found(state, max_bytes, data):
    chunk = data.draw(st.sampled_from([*cut_all(state, max_bytes=max_bytes)]))
    items = list(chunk.items)
    stranger = data.draw(st.sampled_from([b"stranger %d" % number for number in range(40)]))
    refuse(state.root, replace(chunk, items=tuple(sorted([*items, (stranger, b"")], key=lambda one: path_of(one[0])))))
    if not items:
        return
    index = data.draw(st.integers(0, len(items) - 1))
    (key, value), others = items[index], items[:index] + items[index + 1 :]
    refuse(state.root, replace(chunk, items=tuple(others)))
    refuse(state.root, replace(chunk, items=(*items[:index], (key, value + b"x"), *items[index + 1 :])))
    refuse(state.root, replace(chunk, items=(*items, items[-1])))
    if len(items) > 1:
        refuse(state.root, replace(chunk, items=tuple(items[::-1])))


@given(STATES, ROOM, st.data())
def test_every_lie_about_the_place_is_found(state, max_bytes, data):
    """The leaves of one prefix under another's name, and siblings that are not the tree's."""
    chunks = [*cut_all(state, max_bytes=max_bytes)]
    chunk = data.draw(st.sampled_from(chunks))
    for wrong in (data.draw(prefixes()), *(chunk.prefix.halves if chunk.prefix.depth < 256 else ())):
        if wrong != chunk.prefix and naive_items(state, wrong) != list(chunk.items):
            refuse(state.root, replace(chunk, prefix=wrong))
    proof, siblings = chunk.proof, chunk.proof.siblings
    for changed in ((*siblings, bytes(32)), siblings[1:], (*siblings[:-1], b"\x07" * 32)):
        if changed != siblings:
            refuse(state.root, replace(chunk, proof=replace(proof, siblings=changed)))
    lie = (path_of(b"stranger"), bytes(32))
    refuse(state.root, replace(chunk, proof=replace(proof, other_leaf=lie)))


@given(STATES, prefixes(8), st.data())
def test_no_leaf_is_hidden_behind_another(state, prefix, data):
    """An empty chunk in the place of a leaf: whatever stands there as the other leaf."""
    if not naive_items(state, prefix):
        return
    honest = cut_chunk(state, prefix)
    for key, value in state.items():
        proof = state.prove(key)
        depth = data.draw(st.integers(0, len(proof.siblings)))
        other = (path_of(key), value_hash_of(value))
        for one in (other, None):
            hidden = replace(honest.proof, siblings=proof.siblings[:depth], other_leaf=one)
            refuse(state.root, replace(honest, items=(), proof=hidden))
