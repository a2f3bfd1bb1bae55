"""Block header and block: their bytes, the Merkle root `W` that is sealed, and the block hash `F(W, S)`.

`W = node_hash(leaf_hash(core), tx_root)`: a Merkle root whose left leaf is the header core and whose right subtree is
the transactions, so Eq. (10) of text 000 stays literally `F(W_j, S_j)` and yet binds parent, height and producer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache

from ledger.codec import Value, decode, encode, expect_array, expect_bytes, expect_int, expect_list
from ledger.errors import TooLarge, WrongVersion
from ledger.hashing import address_of, sha256
from ledger.merkle import leaf_hash, merkle_root, node_hash
from ledger.signatures import SigningKey, signing_digest, verify
from ledger.transaction import Transaction

VERSION = 1
NO_PARENT = bytes(32)
NO_SIGNATURE = bytes(64)
MAX_CREDIT_UPT = 100_000_000
MAX_HEADER_BYTES = 1_024


@dataclass(frozen=True, kw_only=True)
class Header:
    """A block header: twelve core fields, the nonce S and the producer's signature over the block hash."""

    chain_id: bytes
    height: int
    parent: bytes
    timestamp_ms: int
    producer: bytes  # public key
    credit_upt: int
    n_diff: int
    period: int
    tx_root: bytes
    receipt_root: bytes
    state_root: bytes
    nonce: int = 0
    signature: bytes = NO_SIGNATURE

    @cached_property
    def core(self) -> bytes:
        """Canonical bytes of the core: everything but nonce and signature."""
        return encode(self._core_value())

    @cached_property
    def raw(self) -> bytes:
        """Canonical bytes."""
        return encode(self.to_value())

    @cached_property
    def root(self) -> bytes:
        """`W_j` of Eq. (10)."""
        return node_hash(leaf_hash(self.core), self.tx_root)

    @cached_property
    def hash(self) -> bytes:
        """`F(W, S)`, which is also the block hash."""
        return sha256(self.root + self.nonce.to_bytes(8, "big"))

    @cached_property
    def producer_address(self) -> bytes:
        return address_of(self.producer)

    def _core_value(self) -> tuple[Value, ...]:
        return (
            VERSION,
            self.chain_id,
            self.height,
            self.parent,
            self.timestamp_ms,
            self.producer,
            self.credit_upt,
            self.n_diff.to_bytes(32, "big"),
            self.period,
            self.tx_root,
            self.receipt_root,
            self.state_root,
        )

    def to_value(self) -> Value:
        return (self._core_value(), self.nonce.to_bytes(8, "big"), self.signature)

    @classmethod
    def from_value(cls, value: Value) -> Header:
        """Raises the `Malformed` family; checks no rule of the chain."""
        core, nonce, signature = expect_array(value, 3, "header")
        fields = expect_array(core, 12, "header core")
        if expect_int(fields[0], "header version") != VERSION:
            raise WrongVersion(what="header", expected=VERSION, actual=fields[0])
        return cls(
            chain_id=expect_bytes(fields[1], "chain id", size=32),
            height=expect_int(fields[2], "height"),
            parent=expect_bytes(fields[3], "parent hash", size=32),
            timestamp_ms=expect_int(fields[4], "timestamp"),
            producer=expect_bytes(fields[5], "producer key", size=32),
            credit_upt=expect_int(fields[6], "credit", high=MAX_CREDIT_UPT),
            n_diff=int.from_bytes(expect_bytes(fields[7], "N_diff", size=32), "big"),
            period=expect_int(fields[8], "period"),
            tx_root=expect_bytes(fields[9], "transaction root", size=32),
            receipt_root=expect_bytes(fields[10], "receipt root", size=32),
            state_root=expect_bytes(fields[11], "state root", size=32),
            nonce=int.from_bytes(expect_bytes(nonce, "nonce", size=8), "big"),
            signature=expect_bytes(signature, "header signature", size=64),
        )

    def sealed(self, nonce: int, key: SigningKey) -> Header:
        """The same header with its nonce, signed by its producer."""
        found = replace(self, nonce=nonce)
        return replace(found, signature=key.sign(_signed_digest(found)))


@lru_cache(maxsize=1_024)
def read_header(raw: bytes) -> Header:
    """The header of these bytes; the latest are remembered, for a header comes from many neighbours.

    Raises the `Malformed` family.
    """
    return Header.from_value(decode(raw, max_bytes=MAX_HEADER_BYTES))


def _signed_digest(header: Header) -> bytes:
    return signing_digest("block", header.chain_id, header.hash)


def check_producer_signature(header: Header) -> None:
    """Raises `InvalidKey` or `InvalidSignature`."""
    verify(header.producer, _signed_digest(header), header.signature, what="block header")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A header and its transactions, in order."""

    header: Header
    transactions: tuple[Transaction, ...]

    @property
    def hash(self) -> bytes:
        return self.header.hash

    @cached_property
    def raw(self) -> bytes:
        return encode(self.to_value())

    def to_value(self) -> Value:
        return (self.header.to_value(), tuple(tx.to_value() for tx in self.transactions))

    @classmethod
    def from_value(cls, value: Value, *, max_transactions: int, max_transaction_bytes: int) -> Block:
        """Raises the `Malformed` family; checks no rule of the chain."""
        header, body = expect_array(value, 2, "block")
        transactions = expect_list(body, "block body", max_items=max_transactions)
        block = cls(
            header=Header.from_value(header),
            transactions=tuple(Transaction.from_value(item) for item in transactions),
        )
        for tx in block.transactions:
            if len(tx.raw) > max_transaction_bytes:
                raise TooLarge(what="transaction", actual=len(tx.raw), limit=max_transaction_bytes)
        return block

    @classmethod
    def from_bytes(cls, raw: bytes, *, max_bytes: int, max_transactions: int, max_transaction_bytes: int) -> Block:
        """Raises the `Malformed` family. No rule of the chain says how many values a block may hold: its bytes do."""
        value = decode(raw, max_bytes=max_bytes, max_items=max_bytes)
        return cls.from_value(value, max_transactions=max_transactions, max_transaction_bytes=max_transaction_bytes)


def compute_tx_root(transactions: Sequence[Transaction]) -> bytes:
    """RFC 6962 root over the transactions' canonical bytes."""
    return merkle_root([tx.raw for tx in transactions])
