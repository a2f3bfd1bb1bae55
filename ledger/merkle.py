"""Merkle trees exactly as in RFC 6962, section 2.1: roots, inclusion proofs and consistency proofs.

Leaves are raw data; a proof is a tuple of 32-byte hashes, nearest the leaf first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from ledger.errors import InvalidProof

EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 ‖ data)."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right)."""
    return sha256(b"\x01" + left + right).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The Merkle tree hash MTH of `leaves`; an empty tree hashes to SHA-256 of the empty string."""
    return _root([sha256(b"\x00" + leaf).digest() for leaf in leaves])


def extend_frontier(frontier: Sequence[bytes], count: int, leaves: Iterable[bytes]) -> tuple[bytes, ...]:
    """The frontier of a tree of `count` leaves and then these: what is needed of it to go on.

    It has the roots of the full subtrees from left to right, one for each bit of the count.
    """
    roots = list(frontier)
    for leaf in leaves:
        root, below = leaf_hash(leaf), count
        while below & 1:
            root, below = node_hash(roots.pop(), root), below >> 1
        roots.append(root)
        count += 1
    return tuple(roots)


def compute_frontier_root(frontier: Sequence[bytes]) -> bytes:
    """The root of the tree that has this frontier: what `merkle_root` makes of its leaves."""
    if not frontier:
        return EMPTY_ROOT
    root = frontier[-1]
    for left in reversed(frontier[:-1]):
        root = node_hash(left, root)
    return root


def inclusion_proof(leaves: Sequence[bytes], index: int) -> tuple[bytes, ...]:
    """The audit path PATH(index, leaves). An index outside the tree is our bug."""
    return inclusion_proofs(leaves, [index])[0]


def inclusion_proofs(leaves: Sequence[bytes], indexes: Sequence[int]) -> list[tuple[bytes, ...]]:
    """The audit path of each of some leaves: the tree is hashed once."""
    assert all(0 <= index < len(leaves) for index in indexes), (indexes, len(leaves))
    level = [leaf_hash(leaf) for leaf in leaves]
    paths: list[list[bytes]] = [[] for _ in indexes]
    height = 0
    while len(level) > 1:
        for index, path in zip(indexes, paths, strict=True):
            sibling = (index >> height) ^ 1
            if sibling < len(level):
                path.append(level[sibling])
        level = _parents(level)
        height += 1
    return [tuple(path) for path in paths]


def verify_inclusion(root: bytes, leaf_data: bytes, index: int, size: int, proof: Sequence[bytes]) -> None:
    """Check that `leaf_data` is leaf `index` of `size` in the tree under `root`, or raise `InvalidProof`.

    The algorithm of RFC 9162, section 2.1.3.2, which has RFC 6962's trees and spells the check out.
    """
    if not 0 <= index < size:
        raise InvalidProof(detail=f"leaf {index} is outside a tree of {size}")
    _check_hashes(proof)
    node, last, computed = index, size - 1, leaf_hash(leaf_data)
    for sibling in proof:
        if last == 0:
            raise InvalidProof(detail="the path is longer than the tree is high")
        if node & 1 or node == last:
            computed = node_hash(sibling, computed)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            computed = node_hash(computed, sibling)
        node >>= 1
        last >>= 1
    if last != 0:
        raise InvalidProof(detail="the path ends below the root")
    if computed != root:
        raise InvalidProof(detail="the path leads to another root")


def consistency_proof(leaves: Sequence[bytes], old_size: int) -> tuple[bytes, ...]:
    """PROOF(old_size, leaves): the tree of the first `old_size` leaves is a prefix of the whole one.

    Empty when the sizes are equal. A prefix that is empty or longer than the tree is our bug.
    """
    assert 0 < old_size <= len(leaves), (old_size, len(leaves))
    hashes = [leaf_hash(leaf) for leaf in leaves]
    path: list[bytes] = []
    start, stop, is_old_root = 0, len(leaves), True
    while old_size != stop:  # SUBPROOF over leaves[start:stop], walked from the root down
        middle = start + _split(stop - start)
        if old_size <= middle:
            path.append(_root(hashes[middle:stop]))
            stop = middle
        else:
            path.append(_root(hashes[start:middle]))
            start, is_old_root = middle, False
    if not is_old_root:
        path.append(_root(hashes[start:stop]))
    return tuple(reversed(path))


def verify_consistency(old_root: bytes, old_size: int, new_root: bytes, new_size: int, proof: Sequence[bytes]) -> None:
    """Check that the tree of `new_size` leaves extends the one of `old_size`, or raise `InvalidProof`.

    The algorithm of RFC 9162, section 2.1.4.2. An empty old tree proves nothing and is refused.
    """
    if not 0 < old_size <= new_size:
        raise InvalidProof(detail=f"no tree of {new_size} extends one of {old_size}")
    _check_hashes(proof)
    if old_size == new_size:
        if proof or old_root != new_root:
            raise InvalidProof(detail="trees of one size are consistent only when equal, with an empty proof")
        return
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise InvalidProof(detail="the path is empty")
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old_computed = new_computed = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise InvalidProof(detail="the path is longer than the tree is high")
        if node & 1 or node == last:
            old_computed = node_hash(sibling, old_computed)
            new_computed = node_hash(sibling, new_computed)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            new_computed = node_hash(new_computed, sibling)
        node >>= 1
        last >>= 1
    if last != 0:
        raise InvalidProof(detail="the path ends below the root")
    if old_computed != old_root or new_computed != new_root:
        raise InvalidProof(detail="the path leads to another root")


def _root(level: list[bytes]) -> bytes:
    if not level:
        return EMPTY_ROOT
    while len(level) > 1:
        level = _parents(level)
    return level[0]


def _parents(level: list[bytes]) -> list[bytes]:
    """The level above: seen from below, RFC 6962 pairs neighbours and lifts an odd last node unchanged."""
    pairs = zip(level[::2], level[1::2], strict=False)
    parents = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
    if len(level) & 1:
        parents.append(level[-1])
    return parents


def _split(size: int) -> int:
    """The largest power of two smaller than `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def _check_hashes(proof: Sequence[bytes]) -> None:
    if any(len(node) != 32 for node in proof):
        raise InvalidProof(detail="a node of the path is not 32 bytes")
