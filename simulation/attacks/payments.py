"""Transactions of an attacker that contradict each other."""

from __future__ import annotations

from ledger.signatures import SigningKey
from ledger.transaction import Transaction, make_transaction


def make_conflict(key: SigningKey, payment: Transaction) -> Transaction:
    """A transfer of the same money, under the same sequence, to the payer itself: only one of the two can stand."""
    assert payment.kind == "transfer", payment.kind
    return make_transaction(
        key,
        chain_id=payment.chain_id,
        sequence=payment.sequence,
        expiry_height=payment.expiry_height,
        kind="transfer",
        payload=(key.address, payment.payload[1]),
    )


def is_own_transfer(key: SigningKey, transaction: Transaction) -> bool:
    return transaction.kind == "transfer" and transaction.sender_key == key.public_key
