"""Equivocation: two blocks by one producer on the same parent, and the watch that notices them."""

from __future__ import annotations

from dataclasses import dataclass

from ledger.block import Header, check_producer_signature
from ledger.codec import Value, expect_array
from ledger.errors import NotAnEquivocation, WrongChain


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
        """Raises the `Malformed` family; convicts nobody before `check_equivocation`."""
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
    """Remembers the first header of each (producer, parent), bounded, oldest out first."""

    def __init__(self, limit: int = 4_096) -> None:
        self._limit = limit
        self._seen: dict[tuple[bytes, bytes], Header] = {}

    def observe(self, header: Header) -> Equivocation | None:
        """Note a header whose signature has been checked; evidence where it is the second on its parent."""
        slot = (header.producer, header.parent)
        earlier = self._seen.get(slot)
        if earlier is None:
            self._seen[slot] = header
            if len(self._seen) > self._limit:
                del self._seen[next(iter(self._seen))]
            return None
        if earlier.hash == header.hash:
            return None
        first, second = sorted((earlier, header), key=lambda one: one.hash)
        return Equivocation(first=first, second=second)
