"""The state: an immutable key-value map committed by a compressed sparse Merkle tree.

A key's path is 256 bits of hash. A subtree that holds one key is that key's leaf, an empty one hashes to 32
zero bytes, so equal contents have equal roots. Presence and absence of a key are both provable.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from operator import itemgetter
from typing import TypeAlias

from ledger.codec import Value, expect_array, expect_bytes
from ledger.errors import InvalidProof
from ledger.hashing import tagged_hash

PATH_TAG = "gridmerit/state/path"
VALUE_TAG = "gridmerit/state/value"
EMPTY_HASH = bytes(32)
MAX_SIBLINGS = 256

# Nodes are plain tuples told apart by their length, each beginning with its hash: there are hundreds of
# thousands, nothing is built faster, and the garbage collector stops tracking tuples made of such tuples.
Empty: TypeAlias = tuple[bytes]
Branch: TypeAlias = tuple[bytes, "Node", "Node"]  # hash, left, right
Leaf: TypeAlias = tuple[bytes, bytes, bytes, bytes]  # hash, path, key, value
Node: TypeAlias = Empty | Branch | Leaf

Change: TypeAlias = tuple[bytes, bytes, bytes | None]  # path, key, new value or None to delete

EMPTY: Empty = (EMPTY_HASH,)

_path_of_leaf = itemgetter(1)
# The eight turns a byte of a path stands for, True to the right: a table reads faster than shifts.
_TURNS = tuple(tuple(bool(byte >> bit & 1) for bit in range(7, -1, -1)) for byte in range(256))


class State:
    """One version of the map. `apply` makes the next one and shares every unchanged node with this one."""

    __slots__ = ("_root", "_size")

    def __init__(self, root: Node, size: int) -> None:
        self._root = root
        self._size = size

    @classmethod
    def empty(cls) -> State:
        return _EMPTY_STATE

    @classmethod
    def from_items(cls, items: Iterable[tuple[bytes, bytes]]) -> State:
        """The state holding exactly `items`; of a repeated key the last value counts."""
        return _EMPTY_STATE.apply(dict(items))

    @property
    def root(self) -> bytes:
        """The 32-byte commitment: equal contents have equal roots, whatever their history."""
        return self._root[0]

    def __len__(self) -> int:
        return self._size

    def get(self, key: bytes) -> bytes | None:
        """The value under `key`, or None."""
        node, path = self._root, path_of(key)
        for byte in path:
            for right in _TURNS[byte]:
                if len(node) != 3:
                    return node[3] if len(node) == 4 and node[1] == path else None
                node = node[2] if right else node[1]
        return node[3] if len(node) == 4 else None

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every (key, value), in the order of the keys' paths."""
        pending: list[Node] = [self._root]
        while pending:
            node = pending.pop()
            if len(node) == 3:
                pending += (node[2], node[1])
            elif len(node) == 4:
                yield node[2], node[3]

    def items_from(self, path: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The (key, value) of every key whose path is `path` or a later one, in the order of the paths."""
        pending: list[Node] = []
        node = self._root
        for byte in path:
            for right in _TURNS[byte]:
                if len(node) != 3:
                    break
                if not right:
                    pending.append(node[2])
                node = node[2] if right else node[1]
        if len(node) == 4 and node[1] >= path:
            yield node[2], node[3]
        while pending:
            node = pending.pop()
            if len(node) == 3:
                pending += (node[2], node[1])
            elif len(node) == 4:
                yield node[2], node[3]

    def apply(self, changes: Mapping[bytes, bytes | None]) -> State:
        """The state after writing every value of `changes`, where None deletes its key (absent or not)."""
        if not changes:
            return self
        update = _Update(changes)
        root = update.apply(self._root, 0, len(changes), 0)
        return self if root is self._root else State(root, self._size + update.growth)

    def prove(self, key: bytes) -> StateProof:
        """The proof of what `get(key)` answers, presence and absence alike."""
        return self.prove_path(path_of(key))

    def prove_path(self, path: bytes) -> StateProof:
        """The proof of what stands at a path, or in its place; of a key it is that of `path_of(key)`."""
        end, siblings = _descend(self._root, path)
        other = (end[1], value_hash_of(end[3])) if len(end) == 4 and end[1] != path else None
        return StateProof(siblings=siblings, other_leaf=other)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateProof:
    """A proof of one key's value under a root: the sibling hashes, from the root down, and what stands in its place.

    `other_leaf` is the (path, value hash) of the only leaf in the subtree where an absent key would be; None
    when that subtree is empty or the key is present.
    """

    siblings: tuple[bytes, ...]
    other_leaf: tuple[bytes, bytes] | None

    def to_value(self) -> Value:
        return (self.siblings, self.other_leaf)

    @classmethod
    def from_value(cls, value: Value) -> StateProof:
        """Raises `WrongShape` or `TooLarge`."""
        siblings, other = expect_array(value, 2, "state proof")
        siblings = expect_array(siblings, None, "state proof siblings", max_length=MAX_SIBLINGS)
        hashes = tuple([expect_bytes(sibling, "state proof sibling", size=32) for sibling in siblings])
        if other is None:
            return cls(siblings=hashes, other_leaf=None)
        path, value_hash = expect_array(other, 2, "state proof leaf")
        leaf = (
            expect_bytes(path, "state proof leaf path", size=32),
            expect_bytes(value_hash, "state proof leaf value", size=32),
        )
        return cls(siblings=hashes, other_leaf=leaf)


def verify_state_proof(root: bytes, key: bytes, value: bytes | None, proof: StateProof) -> None:
    """Check that under `root` the key holds `value`, or is absent where that is None; else `InvalidProof`."""
    path, depth = path_of(key), len(proof.siblings)
    if depth > MAX_SIBLINGS:
        raise InvalidProof(detail=f"{depth} siblings in a tree of height {MAX_SIBLINGS}")
    bits = int.from_bytes(path, "big")
    if value is not None:
        if proof.other_leaf is not None:
            raise InvalidProof(detail="a proof of absence for a key said to be present")
        computed = _leaf_hash(path, value_hash_of(value))
    elif proof.other_leaf is not None:
        other_path, other_value_hash = proof.other_leaf
        shared = 256 - (bits ^ int.from_bytes(other_path, "big")).bit_length()
        if len(other_path) != 32 or not depth <= shared < 256:
            raise InvalidProof(detail="the other leaf does not stand in the key's place")
        computed = _leaf_hash(other_path, other_value_hash)
    else:
        computed = EMPTY_HASH
    for level in range(depth - 1, -1, -1):
        sibling = proof.siblings[level]
        is_right = bits >> (255 - level) & 1
        computed = _branch_hash(sibling, computed) if is_right else _branch_hash(computed, sibling)
    if computed != root:
        raise InvalidProof(detail="the path leads to another root")


def path_of(key: bytes) -> bytes:
    """The path of a key: 256 bits, the most significant bit chosen at the root (0 left, 1 right)."""
    return tagged_hash(PATH_TAG, key)


def value_hash_of(value: bytes) -> bytes:
    return tagged_hash(VALUE_TAG, value)


def _leaf_hash(path: bytes, value_hash: bytes) -> bytes:
    return sha256(b"\x00" + path + value_hash).digest()


def _branch_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def _descend(node: Node, path: bytes) -> tuple[Empty | Leaf, tuple[bytes, ...]]:
    """The end of `path` in the tree below `node`, and the hashes passed by on the way down."""
    siblings: list[bytes] = []
    for byte in path:
        for right in _TURNS[byte]:
            if len(node) != 3:
                return node, tuple(siblings)
            siblings.append(node[1][0] if right else node[2][0])
            node = node[2] if right else node[1]
    assert len(node) != 3, "a path of 256 bits is shared by two keys"
    return node, tuple(siblings)


class _Update:
    """One batch of changes on its way through the tree; counts by how many keys the tree grows."""

    __slots__ = ("batch", "growth", "paths")

    def __init__(self, changes: Mapping[bytes, bytes | None]) -> None:
        self.batch: list[Change] = sorted([(path_of(key), key, value) for key, value in changes.items()])
        self.paths = [change[0] for change in self.batch]
        self.growth = 0

    def apply(self, node: Node, low: int, high: int, depth: int) -> Node:
        """`node`, at `depth` below the root, after batch[low:high], which all pass through it."""
        if len(node) != 3:
            return self._replace(node, low, high, depth)
        if high - low == 1:
            return self._apply_one(node, low, depth)
        middle = _split(self.paths, low, high, depth)
        _, left, right = node
        new_left = self.apply(left, low, middle, depth + 1) if low < middle else left
        new_right = self.apply(right, middle, high, depth + 1) if middle < high else right
        if new_left is left and new_right is right:
            return node
        return _join(new_left, new_right)

    def _apply_one(self, node: Node, index: int, depth: int) -> Node:
        """`apply` of a single change: most of the way down every change is alone, so this is a loop."""
        path = int.from_bytes(self.paths[index], "big")
        branches = []
        while len(node) == 3:
            branches.append(node)
            node = node[2] if path >> (255 - depth) & 1 else node[1]
            depth += 1
        child = self._replace(node, index, index + 1, depth)
        if child is node:
            return branches[0]
        while branches:
            depth -= 1
            _, left, right = branches.pop()
            child = _join(left, child) if path >> (255 - depth) & 1 else _join(child, right)
        return child

    def _replace(self, end: Empty | Leaf, low: int, high: int, depth: int) -> Node:
        """Apply batch[low:high] to a leaf or to nothing; returns `end` itself where they change nothing."""
        leaves = [_leaf(path, key, value) for path, key, value in self.batch[low:high] if value is not None]
        if len(end) == 4:
            if end[1] not in self.paths[low:high]:
                insort(leaves, end, key=_path_of_leaf)
            self.growth -= 1
        self.growth += len(leaves)
        node = _build(leaves, [leaf[1] for leaf in leaves], 0, len(leaves), depth)
        return end if node[0] == end[0] else node


def _leaf(path: bytes, key: bytes, value: bytes) -> Leaf:
    return (sha256(b"\x00" + path + value_hash_of(value)).digest(), path, key, value)


def _split(paths: list[bytes], low: int, high: int, depth: int) -> int:
    """The first of the sorted paths[low:high] that turns right at `depth`; they agree on all bits before."""
    byte, mask = depth >> 3, 128 >> (depth & 7)
    while low < high:
        middle = (low + high) >> 1
        if paths[middle][byte] & mask:
            high = middle
        else:
            low = middle + 1
    return low


def _build(leaves: list[Leaf], paths: list[bytes], low: int, high: int, depth: int) -> Node:
    """The subtree of leaves[low:high], sorted by path, at `depth`."""
    if high - low <= 1:
        return leaves[low] if low < high else EMPTY
    middle = _split(paths, low, high, depth)
    left = _build(leaves, paths, low, middle, depth + 1)
    right = _build(leaves, paths, middle, high, depth + 1)
    return (sha256(b"\x01" + left[0] + right[0]).digest(), left, right)


def _join(left: Node, right: Node) -> Node:
    """The node above two children: a leaf with an empty sibling moves up, and so does emptiness."""
    if len(left) == 1 and len(right) != 3:
        return right
    if len(right) == 1 and len(left) != 3:
        return left
    return (sha256(b"\x01" + left[0] + right[0]).digest(), left, right)


_EMPTY_STATE = State(EMPTY, 0)
