"""The right to certify a chain's blocks, followed from its founders to its present holders, from proofs alone.

A handover is the message `sealers` of `ledger.sealers` with its proof: a certificate by the set before, over a block
whose state names the set after. The other chains of the network take in the same message by the same rule.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from consensus.contracts import least_quorum
from consensus.errors import BrokenHandover
from consensus.quorum import QuorumCertificate, verify_certificate
from consensus.relays import Relay, check_relay
from ledger.genesis import Genesis
from ledger.inbox import read_part
from ledger.sealers import SEALERS, read_sealers
from ledger.siblings import Sibling

MAX_HANDOVERS = 1_024  # parts of handovers that one proof may lead through


class CertifyingSets:
    """Every set of members that has certified a chain's blocks, from the genesis and the handovers alone."""

    def __init__(self, genesis: Genesis, handovers: Iterable[Relay] = ()) -> None:
        """Raises the `VerificationFailed` family where the handovers prove nothing."""
        params = genesis.params
        founders = Sibling(params.name, params.kind, params.consensus.checkpoint_m, 0, tuple(sorted(genesis.sealers)))
        self.chain_id = genesis.chain_id
        self.all = _follow(founders, genesis.chain_id, tuple(handovers))

    def get_voters(self, slot: int) -> Sibling:
        """The set that certifies a slot."""
        return next(voters for voters in reversed(self.all) if voters.since_slot <= slot)

    def check_certificate(self, certificate: QuorumCertificate) -> None:
        """Raises as `verify_certificate` does."""
        voters = self.get_voters(certificate.statement.slot)
        quorum = quorum_of(voters)
        verify_certificate(certificate, voters.sealers, quorum, since_slot=voters.since_slot, chain_id=self.chain_id)


def quorum_of(voters: Sibling) -> int:
    """The number of a set that must sign."""
    return least_quorum(len(voters.sealers), voters.checkpoint_m)


@lru_cache(maxsize=8)
def _follow(founders: Sibling, chain_id: bytes, handovers: tuple[Relay, ...]) -> tuple[Sibling, ...]:
    """Every proof that a node makes begins with the same handovers, and each of them takes a quorum of signatures."""
    return follow_handovers(founders, chain_id, handovers)


def follow_handovers(founders: Sibling, chain_id: bytes, handovers: Iterable[Relay]) -> tuple[Sibling, ...]:
    """Every set that has held the right, the founders first; each counts from its `since_slot` to that of the next.

    `handovers` are in their order, with all parts of each. Raises `BrokenHandover`, and what `check_relay` raises of
    one that the set before it has not certified, such as `WrongVoters` where one before it is left out.
    """
    sets = [founders]
    waiting: list[Relay] = []  # parts of one handover
    for relay in handovers:
        slot, number = relay.certificate.statement.slot, relay.number
        if relay.source != chain_id or relay.kind != SEALERS:
            raise BrokenHandover(slot=slot, detail="it is no message of this chain's about who certifies")
        parts, _ = read_part(relay.raw)
        begun = {(other.number, other.certificate) for other in waiting} or {(number, relay.certificate)}
        if relay.part != len(waiting) or begun != {(number, relay.certificate)}:
            raise BrokenHandover(slot=slot, detail="its parts are incomplete or out of order")
        check_relay(relay, sets[-1])
        waiting.append(relay)
        if len(waiting) == parts:
            sets.append(_hand_over(sets[-1], waiting))
            waiting = []
    if waiting:
        raise BrokenHandover(slot=waiting[0].certificate.statement.slot, detail="its last parts are missing")
    return tuple(sets)


def _hand_over(before: Sibling, parts: list[Relay]) -> Sibling:
    slot = parts[0].certificate.statement.slot
    since_slot, keys = read_sealers([row for relay in parts for row in read_part(relay.raw)[1]])
    if since_slot <= slot:
        raise BrokenHandover(slot=slot, detail=f"the set that it names holds the right since slot {since_slot}")
    return before._replace(since_slot=since_slot, sealers=keys)
