"""Chunks of a state: the leaves of one subtree, and what proves them under the state's root.

A chunk needs no other to be checked: its subtree is built again from its leaves and folded with the siblings on the way
up, as a proof of one key is. Where the tree ends above the subtree, in one leaf or in nothing, the proof says which.
So a chunk can neither lack a leaf nor have one too many. Chunks are complete where their prefixes cover all paths.

A subtree with too many bytes is cut: the chunk is then that of a narrower one at its left edge, and whoever asked goes
on with what is left of the subtree (`find_rest`).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import NamedTuple

from ledger.codec import Value, expect_array, expect_bytes, expect_int, expect_list
from ledger.errors import InvalidProof, WrongShape
from ledger.state import MAX_SIBLINGS, State, StateProof
from ledger.state_tree import EMPTY_HASH, path_of, value_hash_of

CHUNK_BYTES = 256_000  # of leaves; one leaf may have more
MAX_CHUNK_LEAVES = 16_384
_LEAF_BYTES = 16  # around a key and its value
_BITS = MAX_SIBLINGS


class Prefix(NamedTuple):
    """The paths that begin with the first `depth` bits of `path`, whose other bits are 0."""

    depth: int
    path: bytes

    @property
    def last(self) -> bytes:
        """The last of its paths."""
        number = int.from_bytes(self.path, "big") | (1 << _BITS - self.depth) - 1
        return number.to_bytes(32, "big")

    def has(self, path: bytes) -> bool:
        return self.path <= path <= self.last

    def contains(self, other: Prefix) -> bool:
        return other.depth >= self.depth and self.has(other.path)

    @property
    def halves(self) -> tuple[Prefix, Prefix]:
        """Its paths that turn left on the next bit, and those that turn right."""
        right = int.from_bytes(self.path, "big") | 1 << _BITS - self.depth - 1
        return Prefix(self.depth + 1, self.path), Prefix(self.depth + 1, right.to_bytes(32, "big"))


ALL_PATHS = Prefix(0, bytes(32))


def read_prefix(depth: Value, path: Value) -> Prefix:
    """Raises `WrongShape`."""
    prefix = Prefix(expect_int(depth, "depth", high=_BITS), expect_bytes(path, "path", size=32))
    if int.from_bytes(prefix.path, "big") & (1 << _BITS - prefix.depth) - 1:
        raise WrongShape(what="prefix", detail=f"bits of the path are set beyond the first {prefix.depth}")
    return prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChunk:
    """All (key, value) below a prefix, in the order of their paths, and the proof of the subtree.

    It is the proof of the prefix's first path, cut off at the depth of the prefix: `siblings` from the root down, and
    the `other_leaf` that stands alone above the subtree, if it does.
    """

    prefix: Prefix
    items: tuple[tuple[bytes, bytes], ...]
    proof: StateProof

    @property
    def size_bytes(self) -> int:
        return sum(_size_of(item) for item in self.items)

    def to_value(self) -> Value:
        return (*self.prefix, self.items, self.proof.to_value())

    @classmethod
    def from_value(cls, value: Value) -> StateChunk:
        """Raises the `Malformed` family; proves nothing before `check_chunk`."""
        depth, path, items, proof = expect_array(value, 4, "chunk")
        return cls(prefix=read_prefix(depth, path), items=read_items(items), proof=StateProof.from_value(proof))


def read_items(value: Value) -> tuple[tuple[bytes, bytes], ...]:
    """The leaves of a chunk. Raises the `Malformed` family."""
    pairs = [expect_array(item, 2, "leaf") for item in expect_list(value, "leaves", max_items=MAX_CHUNK_LEAVES)]
    return tuple((expect_bytes(key, "key"), expect_bytes(content, "value")) for key, content in pairs)


# --- cutting ---------------------------------------------------------------------------------------


def cut_chunk(state: State, asked: Prefix, *, max_bytes: int = CHUNK_BYTES) -> StateChunk:
    """The chunk of a prefix, or of the widest narrower one at its left edge whose leaves have no more bytes."""
    items, beyond = _collect(state, asked, max_bytes)
    prefix = asked
    while beyond is not None and prefix.has(beyond):
        prefix = prefix.halves[0]
    last = prefix.last
    proof = state.prove_path(prefix.path)
    other = proof.other_leaf
    if len(proof.siblings) >= prefix.depth or (other is not None and prefix.has(other[0])):
        other = None
    return StateChunk(
        prefix=prefix,
        items=tuple((key, value) for path, key, value in items if path <= last),
        proof=StateProof(siblings=proof.siblings[: prefix.depth], other_leaf=other),
    )


def cut_all(state: State, *, max_bytes: int = CHUNK_BYTES) -> Iterator[StateChunk]:
    """All chunks of a state, as they come to one who asks for all paths."""
    wanted = [ALL_PATHS]
    while wanted:
        asked = wanted.pop(0)
        chunk = cut_chunk(state, asked, max_bytes=max_bytes)
        wanted += find_rest(asked, chunk.prefix)
        yield chunk


def _collect(state: State, prefix: Prefix, max_bytes: int) -> tuple[list[tuple[bytes, bytes, bytes]], bytes | None]:
    """(path, key, value) of the first leaves below a prefix, and the path of the first for which there was no room.

    The first of all always has room.
    """
    found: list[tuple[bytes, bytes, bytes]] = []
    room, last = max_bytes, prefix.last
    for key, value in state.items_from(prefix.path):
        path = path_of(key)
        if path > last:
            break
        room -= _size_of((key, value))
        if found and (room < 0 or len(found) == MAX_CHUNK_LEAVES):
            return found, path
        found.append((path, key, value))
    return found, None


def _size_of(item: tuple[bytes, bytes]) -> int:
    return _LEAF_BYTES + len(item[0]) + len(item[1])


# --- checking --------------------------------------------------------------------------------------


def check_chunk(root: bytes, chunk: StateChunk) -> None:
    """Raise `InvalidProof` unless these are all leaves below the prefix, under a state's root."""
    prefix, siblings, other = chunk.prefix, chunk.proof.siblings, chunk.proof.other_leaf
    paths = [path_of(key) for key, _ in chunk.items]
    if not all(map(prefix.has, paths)):
        raise InvalidProof(detail="a leaf of the chunk does not stand below its prefix")
    if any(left >= right for left, right in pairwise(paths)):
        raise InvalidProof(detail="the leaves of the chunk are not in the order of their paths")
    leaves = [_leaf_hash(path, value_hash_of(value)) for path, (_, value) in zip(paths, chunk.items, strict=True)]
    depth = len(siblings)
    if depth > prefix.depth or (depth < prefix.depth and len(leaves) > 1):
        raise InvalidProof(detail=f"{depth} siblings of a chunk at depth {prefix.depth}")
    if other is None:
        computed = _build(leaves, paths, 0, len(leaves), depth)
    elif leaves or depth == prefix.depth or prefix.has(other[0]) or not _agree(other[0], prefix.path, depth):
        raise InvalidProof(detail="the other leaf does not stand in the chunk's place")
    else:
        computed = _leaf_hash(*other)
    bits = int.from_bytes(prefix.path, "big")
    for level in range(depth - 1, -1, -1):
        sibling = siblings[level]
        computed = _branch_hash(sibling, computed) if bits >> _BITS - 1 - level & 1 else _branch_hash(computed, sibling)
    if computed != root:
        raise InvalidProof(detail="the chunk leads to another root")


def _agree(one: bytes, other: bytes, depth: int) -> bool:
    return not (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")) >> _BITS - depth


def _build(leaves: list[bytes], paths: list[bytes], low: int, high: int, depth: int) -> bytes:
    """The hash of the subtree at `depth` that holds leaves[low:high], sorted by path."""
    if high - low <= 1:
        return leaves[low] if low < high else EMPTY_HASH
    first = int.from_bytes(paths[low], "big") >> _BITS - 1 - depth | 1  # of those that turn right here
    middle = bisect_left(paths, (first << _BITS - 1 - depth).to_bytes(32, "big"), low, high)
    left, right = _build(leaves, paths, low, middle, depth + 1), _build(leaves, paths, middle, high, depth + 1)
    return _branch_hash(left, right)


def _leaf_hash(path: bytes, value_hash: bytes) -> bytes:
    return sha256(b"\x00" + path + value_hash).digest()


def _branch_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


# --- covering all paths ------------------------------------------------------------------------------


def find_rest(asked: Prefix, got: Prefix) -> tuple[Prefix, ...]:
    """The prefixes that make up one with a narrower one inside it, without that; widest first."""
    assert asked.contains(got)
    rest = []
    while asked.depth < got.depth:
        halves = asked.halves
        asked, other = halves if halves[0].contains(got) else halves[::-1]
        rest.append(other)
    return tuple(rest)


def find_gaps(covered: Iterable[Prefix]) -> tuple[Prefix, ...]:
    """The widest prefixes that, with those covered, hold every path once; in the order of their paths."""
    done = set(covered)
    above = {parent for prefix in done for parent in _list_parents(prefix)}
    return tuple(_find_gaps(ALL_PATHS, done, above))


def _find_gaps(prefix: Prefix, done: Collection[Prefix], above: Collection[Prefix]) -> Iterator[Prefix]:
    if prefix in done:
        return
    if prefix not in above:
        yield prefix
        return
    for half in prefix.halves:
        yield from _find_gaps(half, done, above)


def _list_parents(prefix: Prefix) -> Iterator[Prefix]:
    bits = int.from_bytes(prefix.path, "big")
    for depth in range(prefix.depth):
        yield Prefix(depth, (bits >> _BITS - depth << _BITS - depth).to_bytes(32, "big"))
