"""The purchase of an asset: its buyer signs what it will pay for what, and the seller's move carries the signature.

So the asset and the money change hands at once or not at all (text 003, §7.3). The signature names the sequence number
of the seller's transaction: it is good for that one alone.
"""

from __future__ import annotations

from typing import NamedTuple

from ledger.accounts import pay_covered, require_member
from ledger.codec import Value, encode, expect_array, expect_bytes, expect_int
from ledger.hashing import Address
from ledger.overlay import Overlay
from ledger.signatures import SIGNATURE_SIZE, SigningKey, signing_digest, verify


class Purchase(NamedTuple):
    """The terms that a buyer signs; `series` 0 is of whichever the seller has that end first."""

    asset_class: str
    series: int
    amount: int
    buyer: Address
    price_uyuan: int  # of all of it
    seller: Address
    sequence: int

    def digest(self, chain_id: bytes) -> bytes:
        """The 32 bytes that the buyer signs."""
        return signing_digest("purchase", chain_id, encode(self[:]))


def sign_purchase(key: SigningKey, chain_id: bytes, purchase: Purchase) -> tuple[Value, ...]:
    """The last field of the seller's `asset-move`, made with the buyer's key."""
    return purchase.price_uyuan, key.sign(purchase.digest(chain_id))


def pay_for(view: Overlay, chain_id: bytes, sale: Value, purchase: Purchase) -> int:
    """Pay the price that stands in a sale `[price, signature]` of this purchase; the price.

    Raises `WrongShape`, `InvalidSignature` or `InsufficientBalance`.
    """
    price, signed = expect_array(sale, 2, "sale")
    purchase = purchase._replace(price_uyuan=expect_int(price, "price"))
    signature = expect_bytes(signed, "signature", size=SIGNATURE_SIZE)
    verify(require_member(view, purchase.buyer).key, purchase.digest(chain_id), signature, what="purchase")
    pay_covered(view, purchase.buyer, purchase.seller, purchase.price_uyuan)
    return purchase.price_uyuan
