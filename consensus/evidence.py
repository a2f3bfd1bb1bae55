"""Equivocation: two blocks by one producer on the same parent, and the watch that notices them."""

from __future__ import annotations

from dataclasses import dataclass

from consensus.errors import NotAnEquivocation
from ledger.block import Header, check_producer_signature
from ledger.codec import Value, expect_array
from ledger.errors import WrongChain


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivocation:
    """Two different signed headers on one parent; the one with the lower hash comes first."""

    first: Header
    second: Header

    @property
    def producer(self) -> bytes:
        return self.first.producer

    def to_value(self) -> Value:
        return (self.first.to_value(), self.second.to_value())

    @classmethod
    def from_value(cls, value: Value) -> Equivocation:
        """Read evidence; it convicts no member before `check_equivocation`. Raises the `Malformed` family."""
        first, second = expect_array(value, 2, "equivocation")
        return cls(first=Header.from_value(first), second=Header.from_value(second))


def check_equivocation(evidence: Equivocation, chain_id: bytes) -> None:
    """Raise `NotAnEquivocation`, `WrongChain` or `InvalidSignature` unless the evidence convicts its producer."""
    first, second = evidence.first, evidence.second
    for header in (first, second):
        if header.chain_id != chain_id:
            raise WrongChain(expected=chain_id.hex()[:16], actual=header.chain_id.hex()[:16])
    if (first.producer, first.parent) != (second.producer, second.parent):
        raise NotAnEquivocation(detail="the two headers differ in producer or parent")
    if first.hash >= second.hash:
        raise NotAnEquivocation(detail="the same header twice, or the higher hash first")
    check_producer_signature(first)
    check_producer_signature(second)


class EquivocationWatch:
    """Remembers the first header of each producer on each parent; a producer's oldest goes for its own latest alone."""

    def __init__(self, limit: int = 128) -> None:
        """`limit` is in headers of one producer, as many as branches may be deep."""
        self._limit = limit
        self._seen: dict[bytes, dict[bytes, Header]] = {}  # by producer, then by parent

    def observe(self, header: Header) -> Equivocation | None:
        """Note a header that holds on its parent; evidence where it is the producer's second there."""
        seen = self._seen.setdefault(header.producer, {})
        earlier = seen.get(header.parent)
        if earlier is None:
            seen[header.parent] = header
            if len(seen) > self._limit:
                del seen[next(iter(seen))]
            return None
        if earlier.hash == header.hash:
            return None
        first, second = sorted((earlier, header), key=lambda one: one.hash)
        return Equivocation(first=first, second=second)
