"""The state tree against a dictionary and a naive definition of its root, and proofs against forgery."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.codec import Value, decode, encode
from ledger.errors import InvalidProof, Malformed
from ledger.state import State, StateProof, path_of, value_hash_of, verify_state_proof

KEYS = st.integers(0, 30).map(lambda number: b"key %d" % number)
CONTENTS = st.dictionaries(KEYS, st.binary(max_size=3), max_size=25)
PATHS = st.binary(min_size=32, max_size=32) | KEYS.map(path_of)
CHANGES = st.dictionaries(KEYS, st.none() | st.binary(max_size=3), max_size=25)


def bit(path: bytes, depth: int) -> int:
    return int.from_bytes(path, "big") >> (255 - depth) & 1


def naive_root(contents: dict[bytes, bytes], depth: int = 0) -> bytes:
    """The definition: nothing is zero, one key is its leaf, more split on the next bit of their paths."""
    if not contents:
        return bytes(32)
    if len(contents) == 1:
        ((key, value),) = contents.items()
        return sha256(b"\x00" + path_of(key) + value_hash_of(value)).digest()
    sides = [{k: v for k, v in contents.items() if bit(path_of(k), depth) == side} for side in (0, 1)]
    return sha256(b"\x01" + naive_root(sides[0], depth + 1) + naive_root(sides[1], depth + 1)).digest()


def updated(contents: dict[bytes, bytes], changes: dict[bytes, bytes | None]) -> dict[bytes, bytes]:
    merged = {**contents, **changes}
    return {key: value for key, value in merged.items() if value is not None}


def shared_bits(one: bytes, other: bytes) -> int:
    distance = int.from_bytes(path_of(one), "big") ^ int.from_bytes(path_of(other), "big")
    return 256 - distance.bit_length()


def find_neighbours(count: int = 3000) -> tuple[bytes, bytes]:
    """Two keys whose paths agree for some twenty bits: the deepest branch that chance gives cheaply."""
    keys = sorted((b"neighbour %d" % number for number in range(count)), key=path_of)
    return max(pairwise(keys), key=lambda pair: shared_bits(*pair))


def naive_proof(contents: dict[bytes, bytes], path: bytes) -> StateProof:
    """The definition: beside the path stands, at each depth, the root of what leaves it there; one key ends the way."""
    siblings, depth, on_the_way = [], 0, contents
    while len(on_the_way) > 1:
        sides = [{k: v for k, v in on_the_way.items() if bit(path_of(k), depth) == side} for side in (0, 1)]
        on_the_way, beside = sides if not bit(path, depth) else reversed(sides)
        depth += 1
        siblings.append(naive_root(beside, depth))
    ends = [(path_of(key), value_hash_of(value)) for key, value in on_the_way.items() if path_of(key) != path]
    return StateProof(siblings=tuple(siblings), other_leaf=ends[0] if ends else None)


# --- the map -------------------------------------------------------------------------------------


def test_known_roots() -> None:
    """Pinned: a change here changes every chain."""
    assert State.empty().root == bytes(32)
    assert (
        State.from_items([(b"a", b"1")]).root.hex()
        == "0b709bbe3938c1025223dbcc456dd837d05fcd55d29bd153f805251418ca0078"
    )
    thousand = State.from_items((b"%d" % n, b"%d" % (n * n)) for n in range(1000))
    assert thousand.root.hex() == "f7d6515c397d4f38a576ca727ca534499e89eb20b3de7662885413459f54ee5f"


@given(CONTENTS)
@settings(deadline=None)
def test_a_state_is_its_contents(contents: dict[bytes, bytes]) -> None:
    state = State.from_items(contents.items())
    assert state.root == naive_root(contents)
    assert len(state) == len(contents)
    assert list(state.items()) == sorted(contents.items(), key=lambda item: path_of(item[0]))
    for number in range(31):
        key = b"key %d" % number
        assert state.get(key) == contents.get(key)


@given(st.lists(CHANGES, max_size=8))
@settings(deadline=None)
def test_batches_act_as_on_a_dictionary(batches: list[dict[bytes, bytes | None]]) -> None:
    state, contents = State.empty(), dict[bytes, bytes]()
    for changes in batches:
        before, before_root = state, state.root
        state, contents = state.apply(changes), updated(contents, changes)
        assert state.root == naive_root(contents)
        assert dict(state.items()) == contents
        assert len(state) == len(contents)
        assert before.root == before_root, "the old version stays"


@given(CONTENTS, CHANGES, st.data())
@settings(deadline=None)
def test_order_and_grouping_of_changes_do_not_matter(
    contents: dict[bytes, bytes], changes: dict[bytes, bytes | None], draws: st.DataObject
) -> None:
    state = State.from_items(contents.items())
    expected = state.apply(changes).root
    items = draws.draw(st.permutations(list(changes.items())))
    assert state.apply(dict(items)).root == expected
    one_by_one = state
    for key, value in items:
        one_by_one = one_by_one.apply({key: value})
    assert one_by_one.root == expected
    assert len(one_by_one) == len(state.apply(changes))


@given(CONTENTS, CHANGES)
@settings(deadline=None)
def test_undoing_a_batch_gives_the_old_root(contents: dict[bytes, bytes], changes: dict[bytes, bytes | None]) -> None:
    state = State.from_items(contents.items())
    inverse = {key: state.get(key) for key in changes}
    undone = state.apply(changes).apply(inverse)
    assert undone.root == state.root
    assert len(undone) == len(state)


@given(CONTENTS)
@settings(deadline=None)
def test_writing_what_is_there_changes_nothing(contents: dict[bytes, bytes]) -> None:
    state = State.from_items(contents.items())
    same: dict[bytes, bytes | None] = {**contents, b"absent": None}
    assert state.apply(same) is state
    assert state.apply({}) is state


@given(CONTENTS, PATHS)
@settings(deadline=None)
def test_from_a_path_on_come_the_keys_at_it_and_after_it(contents: dict[bytes, bytes], path: bytes) -> None:
    walk = State.from_items(contents.items()).items_from(path)
    assert list(walk) == sorted(
        (item for item in contents.items() if path_of(item[0]) >= path), key=lambda item: path_of(item[0])
    )


def test_deleting_collapses_deep_branches_again() -> None:
    one, other = find_neighbours()
    assert shared_bits(one, other) >= 16
    rest = {b"key %d" % number: b"x" for number in range(5)}
    both = State.from_items([*rest.items(), (one, b"1"), (other, b"2")])
    assert len(both.prove(one).siblings) == shared_bits(one, other) + 1
    for gone, kept, value in ((one, other, b"2"), (other, one, b"1")):
        state = both.apply({gone: None})
        assert state.root == naive_root({**rest, kept: value})
        assert state.root == State.from_items([*rest.items(), (kept, value)]).root
        assert len(state.prove(kept).siblings) < 16
        assert state.apply({gone: both.get(gone)}).root == both.root
    assert both.apply({one: None, other: None}).root == naive_root(rest)
    pair = State.from_items([(one, b"1"), (other, b"2")])
    assert pair.apply({one: None}).root == naive_root({other: b"2"})
    assert pair.apply({one: None, other: None}).root == bytes(32)
    assert pair.apply({one: None, b"third": b"3"}).root == naive_root({other: b"2", b"third": b"3"})


def test_a_thousand_versions_stay_readable() -> None:
    versions = [State.from_items((b"%d" % number, b"") for number in range(1000))]
    for number in range(1000):
        versions.append(versions[-1].apply({b"%d" % number: b"new"}))
    assert len({version.root for version in versions}) == 1001
    assert all(versions[at].get(b"500") == (b"new" if at > 500 else b"") for at in range(1001))
    assert {value for _, value in versions[-1].items()} == {b"new"}


def test_empty_keys_and_values_are_ordinary() -> None:
    state = State.from_items([(b"", b""), (b"a", b"")])
    assert state.get(b"") == b""
    assert state.get(b"b") is None
    verify_state_proof(state.root, b"", b"", state.prove(b""))
    with pytest.raises(InvalidProof):
        verify_state_proof(state.root, b"", None, state.prove(b""))


def test_of_a_repeated_key_the_last_value_counts() -> None:
    assert State.from_items([(b"a", b"1"), (b"a", b"2")]).root == State.from_items([(b"a", b"2")]).root


# --- proofs --------------------------------------------------------------------------------------


@given(CONTENTS, PATHS)
@settings(deadline=None)
def test_the_proof_of_a_path_is_what_stands_beside_it_and_at_its_end(contents: dict[bytes, bytes], path: bytes) -> None:
    state = State.from_items(contents.items())
    assert state.prove_path(path) == naive_proof(contents, path)
    for key in contents:
        assert state.prove(key) == naive_proof(contents, path_of(key))


def reread(proof: StateProof) -> StateProof:
    return StateProof.from_value(decode(encode(proof.to_value()), max_bytes=10_000))


@given(CONTENTS, KEYS)
@settings(deadline=None)
def test_presence_and_absence_are_provable(contents: dict[bytes, bytes], key: bytes) -> None:
    state = State.from_items(contents.items())
    proof = state.prove(key)
    assert reread(proof) == proof
    verify_state_proof(state.root, key, contents.get(key), proof)
    for wrong in {None, b"", b"other", contents.get(key, b"") + b"x"} - {contents.get(key)}:
        with pytest.raises(InvalidProof):
            verify_state_proof(state.root, key, wrong, proof)
    with pytest.raises(InvalidProof):
        verify_state_proof(sha256(state.root).digest(), key, contents.get(key), proof)


def tamperings(proof: StateProof) -> Iterator[StateProof]:
    """The proof with every sibling changed, dropped, doubled or swapped, others added, the end exchanged."""
    siblings = proof.siblings
    for at, node in enumerate(siblings):
        before, after = siblings[:at], siblings[at + 1 :]
        yield replace(proof, siblings=(*before, bytes([node[0] ^ 1]) + node[1:], *after))
        yield replace(proof, siblings=before + after)
        yield replace(proof, siblings=(*before, node, node, *after))
        yield replace(proof, siblings=(*before, node[:31], *after))
        yield replace(proof, siblings=(*before, node + b"\x00", *after))
        if after and after[0] != node:
            yield replace(proof, siblings=(*before, after[0], node, *after[1:]))
    yield replace(proof, siblings=(bytes(32), *siblings))
    yield replace(proof, siblings=(*siblings, b"\x01" * 32))
    yield replace(proof, siblings=(*siblings, *[bytes(32)] * (257 - len(siblings))))
    yield replace(proof, other_leaf=(b"\x05" * 32, bytes(32)))
    if proof.other_leaf is not None:
        path, value_hash = proof.other_leaf
        yield replace(proof, other_leaf=None)
        yield replace(proof, other_leaf=(path, sha256(value_hash).digest()))
        yield replace(proof, other_leaf=(path[:31] + bytes([path[31] ^ 1]), value_hash))
        yield replace(proof, other_leaf=(path + value_hash[:1], value_hash[1:]))
        yield replace(proof, other_leaf=(path[:31], path[31:] + value_hash))


@given(CONTENTS.filter(bool), KEYS)
@settings(deadline=None, max_examples=60)
def test_no_tampered_proof_verifies(contents: dict[bytes, bytes], key: bytes) -> None:
    state = State.from_items(contents.items())
    for forged in tamperings(state.prove(key)):
        for value in (contents.get(key), None):
            with pytest.raises(InvalidProof):
                verify_state_proof(state.root, key, value, forged)


@given(CONTENTS, KEYS, KEYS)
@settings(deadline=None)
def test_a_proof_speaks_for_its_own_key_or_truly_for_another(
    contents: dict[bytes, bytes], key: bytes, other: bytes
) -> None:
    """Absent neighbours share a proof; whatever verifies must be so."""
    state = State.from_items(contents.items())
    for value in {None, *contents.values()}:
        try:
            verify_state_proof(state.root, other, value, state.prove(key))
        except InvalidProof:
            continue
        assert contents.get(other) == value


def test_a_present_key_cannot_be_its_own_other_leaf() -> None:
    state = State.from_items([(b"a", b"1"), (b"b", b"2"), (b"c", b"3")])
    claim = replace(state.prove(b"a"), other_leaf=(path_of(b"a"), value_hash_of(b"1")))
    with pytest.raises(InvalidProof, match="does not stand in the key's place"):
        verify_state_proof(state.root, b"a", None, claim)


def test_a_leaf_elsewhere_proves_no_absence() -> None:
    state = State.from_items([(b"%d" % number, b"value") for number in range(50)])
    elsewhere = state.prove(b"7")
    claim = replace(elsewhere, other_leaf=(path_of(b"7"), value_hash_of(b"value")))
    for number in {*range(50)} - {7}:
        with pytest.raises(InvalidProof):
            verify_state_proof(state.root, b"%d" % number, None, claim)


def test_a_branch_cannot_pose_as_a_leaf_nor_a_leaf_as_a_branch() -> None:
    state = State.from_items([(b"a", b"1"), (b"b", b"2"), (b"c", b"3"), (b"d", b"4")])
    proof = state.prove(b"a")
    for depth in range(len(proof.siblings)):
        shorter = replace(proof, siblings=proof.siblings[:depth])
        for value in (b"1", None):
            with pytest.raises(InvalidProof):
                verify_state_proof(state.root, b"a", value, shorter)


HASH = b"\x07" * 32


@pytest.mark.parametrize(
    "value",
    [
        None,
        (),
        ((), None, None),
        (b"", None),
        ((HASH, b"short"), None),
        ((HASH, 5), None),
        ((HASH,) * 257, None),
        ((HASH,), ()),
        ((HASH,), (HASH,)),
        ((HASH,), (HASH, HASH[:31])),
        ((HASH,), (5, HASH)),
        ((HASH,), HASH),
    ],
)
def test_odd_values_are_no_proofs(value: Value) -> None:
    with pytest.raises(Malformed):
        StateProof.from_value(value)


def test_a_proof_as_long_as_a_path_is_still_a_proof() -> None:
    value: Value = ((HASH,) * 256, (HASH, HASH))
    assert StateProof.from_value(value).to_value() == value
