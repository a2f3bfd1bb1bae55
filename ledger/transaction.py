"""Signed transactions: their bytes, their id, and the checks that need no state.

Wire form `[version, chain_id, sender_key, sequence, expiry_height, kind, payload, signature]`. The id leaves the
signature out, and the signature signs the id under the chain id.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ledger.codec import (
    MAX_DEPTH,
    Value,
    decode,
    encode,
    expect_array,
    expect_bytes,
    expect_int,
    expect_list,
    expect_str,
)
from ledger.errors import WrongChain, WrongVersion
from ledger.hashing import address_of, tagged_hash
from ledger.signatures import SigningKey, signing_digest, verify

VERSION = 1
_ID_TAG = "gridmerit/transaction"
_FIELDS = 8
_MAX_PAYLOAD_ITEMS = 256
_MAX_DEPTH = MAX_DEPTH - 2  # it must still be encodable inside a block's body
_ARRAY_OF_7 = b"\x97"
_SIGNATURE_BYTES = 2 + 64  # msgpack bin8 head and the signature


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One signed transaction; `raw` is its canonical encoding and `id` its 32-byte tagged hash."""

    chain_id: bytes
    sender_key: bytes
    sequence: int
    expiry_height: int
    kind: str
    payload: tuple[Value, ...]
    signature: bytes
    raw: bytes = field(repr=False, compare=False)
    id: bytes = field(compare=False)
    sender: bytes = field(compare=False)

    def to_value(self) -> Value:
        return (
            VERSION,
            self.chain_id,
            self.sender_key,
            self.sequence,
            self.expiry_height,
            self.kind,
            self.payload,
            self.signature,
        )

    @classmethod
    def from_value(cls, value: Value) -> Transaction:
        """Raises the `Malformed` family where the shape is wrong; checks no signature."""
        return cls._from_value(value, encode(value))

    @classmethod
    def from_bytes(cls, raw: bytes, *, max_bytes: int) -> Transaction:
        """Raises the `Malformed` family."""
        return cls._from_value(decode(raw, max_bytes=max_bytes, max_depth=_MAX_DEPTH), raw)

    @classmethod
    def _from_value(cls, value: Value, raw: bytes) -> Transaction:
        fields = expect_array(value, _FIELDS, "transaction")
        version, chain_id, sender_key, sequence, expiry_height, kind, payload, signature = fields
        if expect_int(version, "transaction version") != VERSION:
            raise WrongVersion(what="transaction", expected=VERSION, actual=version)
        return cls(
            chain_id=expect_bytes(chain_id, "chain id", size=32),
            sender_key=expect_bytes(sender_key, "sender key", size=32),
            sequence=expect_int(sequence, "sequence"),
            expiry_height=expect_int(expiry_height, "expiry height"),
            kind=expect_str(kind, "kind", max_size=32),
            payload=expect_list(payload, "payload", max_items=_MAX_PAYLOAD_ITEMS),
            signature=expect_bytes(signature, "signature", size=64),
            raw=raw,
            id=_compute_id(raw),
            sender=address_of(sender_key),  # type: ignore[arg-type]
        )


def _compute_id(raw: bytes) -> bytes:
    # The first seven fields stand in `raw` between the array head and the signature.
    return tagged_hash(_ID_TAG, _ARRAY_OF_7, raw[1:-_SIGNATURE_BYTES])


def _signed_digest(chain_id: bytes, transaction_id: bytes) -> bytes:
    return signing_digest("transaction", chain_id, transaction_id)


def make_transaction(
    key: SigningKey,
    *,
    chain_id: bytes,
    sequence: int,
    expiry_height: int,
    kind: str,
    payload: tuple[Value, ...],
) -> Transaction:
    """Sign a transaction with the sender's key. Raises the `Malformed` family where it could not be sent."""
    unsigned = (VERSION, chain_id, key.public_key, sequence, expiry_height, kind, payload)
    transaction_id = tagged_hash(_ID_TAG, encode(unsigned))
    raw = encode((*unsigned, key.sign(_signed_digest(chain_id, transaction_id))))
    return Transaction.from_bytes(raw, max_bytes=len(raw))


def check_envelope(transaction: Transaction, chain_id: bytes) -> None:
    """Check chain and signature. Raises `WrongChain`, `InvalidKey` or `InvalidSignature`."""
    if transaction.chain_id != chain_id:
        raise WrongChain(expected=chain_id.hex()[:16], actual=transaction.chain_id.hex()[:16])
    digest = _signed_digest(chain_id, transaction.id)
    verify(transaction.sender_key, digest, transaction.signature, what="transaction")
