"""Merkle trees against the vectors of certificate transparency and the recursive definitions of RFC 6962."""

from collections.abc import Iterator
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import InvalidProof
from ledger.merkle import (
    compute_frontier_root,
    consistency_proof,
    extend_frontier,
    inclusion_proof,
    leaf_hash,
    merkle_root,
    node_hash,
    verify_consistency,
    verify_inclusion,
)

# The eight leaves, their roots and proofs in the tests of the certificate transparency implementation.
LEAVES = [
    bytes.fromhex(leaf)
    for leaf in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = {  # (index, size)
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {  # (old size, new size)
    (1, 1): [],
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
SIZES = range(1, 71)


def numbered(size: int) -> list[bytes]:
    return [b"leaf %d" % index for index in range(size)]


# --- the recursive definitions of RFC 6962, sections 2.1, 2.1.1 and 2.1.2 ------------------------


def split(size: int) -> int:
    return max(1 << power for power in range(size.bit_length()) if 1 << power < size)


def mth(leaves: list[bytes]) -> bytes:
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\x00" + leaves[0]).digest()
    k = split(len(leaves))
    return sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*path(m, leaves[:k]), mth(leaves[k:])]
    return [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: list[bytes], is_complete: bool) -> list[bytes]:
    if m == len(leaves):
        return [] if is_complete else [mth(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], is_complete), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


# --- vectors -------------------------------------------------------------------------------------


def test_the_empty_tree_is_the_hash_of_nothing() -> None:
    assert merkle_root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("size", range(1, 9))
def test_root_vectors(size: int) -> None:
    assert merkle_root(LEAVES[:size]).hex() == ROOTS[size - 1]


@pytest.mark.parametrize(("index", "size"), INCLUSION)
def test_inclusion_vectors(index: int, size: int) -> None:
    proof = inclusion_proof(LEAVES[:size], index)
    assert [node.hex() for node in proof] == INCLUSION[index, size]
    verify_inclusion(bytes.fromhex(ROOTS[size - 1]), LEAVES[index], index, size, proof)


@pytest.mark.parametrize(("old", "new"), CONSISTENCY)
def test_consistency_vectors(old: int, new: int) -> None:
    proof = consistency_proof(LEAVES[:new], old)
    assert [node.hex() for node in proof] == CONSISTENCY[old, new]
    verify_consistency(bytes.fromhex(ROOTS[old - 1]), old, bytes.fromhex(ROOTS[new - 1]), new, proof)


# --- every small tree ----------------------------------------------------------------------------


def test_roots_follow_the_recursive_definition() -> None:
    for size in (0, *SIZES):
        assert merkle_root(numbered(size)) == mth(numbered(size))
    assert merkle_root(tuple(numbered(5))) == mth(numbered(5))


def test_inclusion_proofs_follow_the_definition_and_verify() -> None:
    for size in SIZES:
        leaves = numbered(size)
        root = merkle_root(leaves)
        for index in range(size):
            proof = inclusion_proof(leaves, index)
            assert list(proof) == path(index, leaves)
            verify_inclusion(root, leaves[index], index, size, proof)


def test_consistency_proofs_follow_the_definition_and_verify() -> None:
    for new in SIZES:
        leaves = numbered(new)
        for old in range(1, new + 1):
            proof = consistency_proof(leaves, old)
            assert list(proof) == subproof(old, leaves, True)
            verify_consistency(merkle_root(leaves[:old]), old, merkle_root(leaves), new, proof)


# --- forgeries -----------------------------------------------------------------------------------


def tamperings(proof: tuple[bytes, ...]) -> Iterator[tuple[bytes, ...]]:
    """The proof with one bit flipped, a node left out, added, doubled, cut short or swapped with the next."""
    for at, node in enumerate(proof):
        before, after = proof[:at], proof[at + 1 :]
        yield (*before, bytes([node[0] ^ 1]) + node[1:], *after)
        yield (*before, node[:31] + bytes([node[31] ^ 128]), *after)
        yield before + after
        yield (*before, node, node, *after)
        yield (*before, node[:-1], *after)
        yield (*before, node + b"\x00", *after)
        yield (*before, b"", *after)
        if after and after[0] != node:
            yield (*before, after[0], node, *after[1:])
    yield (*proof, bytes(32))
    yield (bytes(32), *proof)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 16, 21, 32, 33, 47, 70])
def test_no_tampered_inclusion_proof_verifies(size: int) -> None:
    leaves = numbered(size)
    root = merkle_root(leaves)
    for index in range(size):
        proof = inclusion_proof(leaves, index)
        for forged in tamperings(proof):
            with pytest.raises(InvalidProof):
                verify_inclusion(root, leaves[index], index, size, forged)
        for wrong in {*range(-1, size + 2), 2 * index + 1, index + (1 << size.bit_length())} - {index}:
            with pytest.raises(InvalidProof):
                verify_inclusion(root, leaves[index], wrong, size, proof)
        with pytest.raises(InvalidProof):
            verify_inclusion(root, b"leaf", index, size, proof)
        with pytest.raises(InvalidProof):
            verify_inclusion(leaf_hash(root), leaves[index], index, size, proof)


@pytest.mark.parametrize("new", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 21, 33])
def test_no_tampered_consistency_proof_verifies(new: int) -> None:
    leaves = numbered(new)
    root = merkle_root(leaves)
    for old in range(1, new + 1):
        old_root = merkle_root(leaves[:old])
        proof = consistency_proof(leaves, old)
        for forged in tamperings(proof):
            with pytest.raises(InvalidProof):
                verify_consistency(old_root, old, root, new, forged)
        rewritten = merkle_root([*leaves[: old - 1], b"another"])
        with pytest.raises(InvalidProof):
            verify_consistency(rewritten, old, root, new, proof)
        with pytest.raises(InvalidProof):
            verify_consistency(old_root, old, leaf_hash(root), new, proof)
        for wrong in (0, -1, new + 1):
            with pytest.raises(InvalidProof):
                verify_consistency(old_root, wrong, root, new, proof)


def test_an_inner_node_cannot_pose_as_a_leaf() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    root = merkle_root([b"a", b"b"])
    assert node_hash(left, right) == root
    with pytest.raises(InvalidProof):
        verify_inclusion(root, b"\x01" + left + right, 0, 1, ())
    with pytest.raises(InvalidProof):
        verify_inclusion(root, left + right, 0, 1, ())


def test_no_odd_leaf_is_copied() -> None:
    assert merkle_root([b"a", b"b", b"c"]) != merkle_root([b"a", b"b", b"c", b"c"])


def test_asking_for_a_proof_outside_the_tree_is_our_bug() -> None:
    for index in (-1, 3):
        with pytest.raises(AssertionError):
            inclusion_proof(numbered(3), index)
    for old in (0, 4):
        with pytest.raises(AssertionError):
            consistency_proof(numbered(3), old)


@given(st.lists(st.integers(0, 40), max_size=8))
def test_a_tree_that_grows_by_shares_has_the_root_of_all_its_leaves(shares: list[int]) -> None:
    leaves = numbered(sum(shares))
    frontier: tuple[bytes, ...] = ()
    count = 0
    for share in shares:
        frontier = extend_frontier(frontier, count, leaves[count : count + share])
        count += share
        assert len(frontier) == count.bit_count()
        assert compute_frontier_root(frontier) == merkle_root(leaves[:count])
