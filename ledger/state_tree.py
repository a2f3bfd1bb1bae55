"""The state tree in Python: a compressed sparse Merkle tree, as it is specified.

A key's path is 256 bits of hash. A subtree that holds one key is that key's leaf, an empty one hashes to 32
zero bytes, so equal contents have equal roots. The native form (`ledger/native/tree.c`) does the same and is tested
against this one, which takes its place where it was not built.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from operator import itemgetter
from typing import TypeAlias

from ledger.hashing import tagged_hash

PATH_TAG = "gridmerit/state/path"
VALUE_TAG = "gridmerit/state/value"
EMPTY_HASH = bytes(32)

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


class Tree:
    """One version of the map; `Tree()` is empty."""

    __slots__ = ("_root", "_size")

    def __init__(self) -> None:
        self._root: Node = EMPTY
        self._size = 0

    @property
    def root(self) -> bytes:
        """The hash of all, 32 bytes."""
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
        return _walk([self._root])

    def items_from(self, path: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Those of `items()` whose path is `path` or a later one; what is before it is not visited."""
        _check_path(path)
        pending: list[Node] = []
        node = self._root
        for depth in range(256):
            if len(node) != 3:
                break
            if _TURNS[path[depth >> 3]][depth & 7]:
                node = node[2]
            else:
                pending.append(node[2])
                node = node[1]
        if len(node) == 4 and node[1] >= path:
            pending.append(node)
        return _walk(pending)

    def apply(self, changes: Iterable[tuple[bytes, bytes | None]]) -> Tree:
        """The tree after the pairs, where None deletes; itself where nothing changes. Of a key the last pair counts."""
        update = _Update(dict(changes))
        root = update.apply(self._root, 0, len(update.batch), 0)
        if root is self._root:
            return self
        tree = Tree()
        tree._root, tree._size = root, self._size + update.growth
        return tree

    def prove_path(self, path: bytes) -> tuple[tuple[bytes, ...], tuple[bytes, bytes] | None]:
        """The sibling hashes from the root down, and another path's leaf that stands where this path's would.

        The leaf as (path, value hash); None where there is none or it is this path's own.
        """
        _check_path(path)
        end, siblings = _descend(self._root, path)
        return siblings, (end[1], value_hash_of(end[3])) if len(end) == 4 and end[1] != path else None


def path_of(key: bytes) -> bytes:
    """The path of a key: 256 bits, the most significant bit chosen at the root (0 left, 1 right)."""
    return tagged_hash(PATH_TAG, key)


def value_hash_of(value: bytes) -> bytes:
    return tagged_hash(VALUE_TAG, value)


def _check_path(path: bytes) -> None:
    if not isinstance(path, bytes):
        raise TypeError("a path is bytes")
    if len(path) != 32:
        raise ValueError("a path is 32 bytes")


def _walk(pending: list[Node]) -> Iterator[tuple[bytes, bytes]]:
    """The (key, value) of every leaf below the nodes, the last node first."""
    while pending:
        node = pending.pop()
        if len(node) == 3:
            pending += (node[2], node[1])
        elif len(node) == 4:
            yield node[2], node[3]


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
