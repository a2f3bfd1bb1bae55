"""The state: an immutable key-value map committed by a compressed sparse Merkle tree, and proofs of what it holds.

The tree is native where the extension was built (`ledger/native/`), else the Python form that specifies it
(`ledger/state_tree.py`): the same roots and proofs, several times the memory and the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from ledger import state_tree
from ledger.codec import Value, expect_array, expect_bytes
from ledger.errors import InvalidProof
from ledger.state_tree import EMPTY_HASH, path_of, value_hash_of

try:
    from ledger import _state_tree
except ImportError:
    NATIVE, HASHING = False, "hashlib"
else:
    NATIVE, HASHING = True, _state_tree.HASHING

MAX_SIBLINGS = 256


class Tree(Protocol):
    """The two forms of the tree, in what they have in common; `ledger/state_tree.py` says what each does."""

    @property
    def root(self) -> bytes: ...
    def __len__(self) -> int: ...
    def get(self, key: bytes, /) -> bytes | None: ...
    def items(self) -> Iterator[tuple[bytes, bytes]]: ...
    def items_from(self, path: bytes, /) -> Iterator[tuple[bytes, bytes]]: ...
    def apply(self, changes: Iterable[tuple[bytes, bytes | None]], /) -> Tree: ...
    def prove_path(self, path: bytes, /) -> tuple[tuple[bytes, ...], tuple[bytes, bytes] | None]: ...


class State:
    """One version of the map. `apply` makes the next one and shares every unchanged node with this one."""

    __slots__ = ("_tree",)

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    @classmethod
    def empty(cls) -> State:
        return _EMPTY_STATE

    @classmethod
    def from_items(cls, items: Iterable[tuple[bytes, bytes]]) -> State:
        """The state holding exactly `items`, in any order; of a repeated key the last value counts."""
        return cls(_EMPTY_STATE._tree.apply(items))

    @property
    def root(self) -> bytes:
        """The 32-byte commitment: equal contents have equal roots, whatever their history."""
        return self._tree.root

    def __len__(self) -> int:
        return len(self._tree)

    def get(self, key: bytes) -> bytes | None:
        """The value under `key`, or None."""
        return self._tree.get(key)

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every (key, value), in the order of the keys' paths."""
        return self._tree.items()

    def items_from(self, path: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The (key, value) of every key whose path is `path` or a later one, in the order of the paths.

        Nothing is read before it is asked for. A path is 32 bytes, else `ValueError`.
        """
        return self._tree.items_from(path)

    def apply(self, changes: Mapping[bytes, bytes | None]) -> State:
        """The state after writing every value of `changes`, where None deletes its key (absent or not)."""
        tree = self._tree.apply(changes.items())
        return self if tree is self._tree else State(tree)

    def prove(self, key: bytes) -> StateProof:
        """The proof of what `get(key)` answers, presence and absence alike."""
        return self.prove_path(path_of(key))

    def prove_path(self, path: bytes) -> StateProof:
        """The proof of what stands at a path, or in its place; of a key it is that of `path_of(key)`.

        A path is 32 bytes, else `ValueError`.
        """
        siblings, other = self._tree.prove_path(path)
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


def _leaf_hash(path: bytes, value_hash: bytes) -> bytes:
    return sha256(b"\x00" + path + value_hash).digest()


def _branch_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


_EMPTY_STATE = State(_state_tree.Tree() if NATIVE else state_tree.Tree())
