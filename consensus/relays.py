"""Relays: what carries a message of one chain to another, and the contract that takes it in.

A relay is its own proof: a certificate of the source's members, the header that they certified, and a Merkle proof that
the message stands in the state of that header. Its bringer is trusted for nothing, and bringing it twice does nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from consensus.contracts import least_quorum
from consensus.errors import UnfinalBlock, UnknownSource, WrongRoute
from consensus.quorum import QuorumCertificate, verify_certificate
from ledger.block import Header
from ledger.codec import Value, encode, expect_array, expect_bytes, expect_int, expect_str
from ledger.contract import BlockContext, Handler
from ledger.errors import WrongChain, WrongShape
from ledger.inbox import RELAY as RELAY
from ledger.inbox import InboundMessage, Routes, is_received, read_part, receive
from ledger.outbox import MAX_PARTS, PartName, list_parts, outbox_key
from ledger.overlay import Overlay
from ledger.siblings import Sibling, get_sibling
from ledger.state import State, StateProof, verify_state_proof
from ledger.transaction import Transaction

_MAX_VALUE_BYTES = 1_000_000

RelayName: TypeAlias = tuple[bytes, str, int, int]  # source chain, kind, number, part


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """One part of a message, `raw` as it stands in the source's state, with everything that proves it."""

    certificate: QuorumCertificate
    header: Header
    kind: str
    number: int
    part: int
    raw: bytes
    proof: StateProof

    @property
    def source(self) -> bytes:
        """The chain it comes from."""
        return self.certificate.statement.chain_id

    @property
    def name(self) -> RelayName:
        """The identity of the message carried, whatever the proof: source, kind, number, part."""
        return self.source, self.kind, self.number, self.part

    def to_value(self) -> Value:
        message = (self.kind, self.number, self.part, self.raw)
        return (self.certificate.to_value(), self.header.to_value(), message, self.proof.to_value())

    def to_bytes(self) -> bytes:
        return encode(self.to_value())

    @classmethod
    def from_value(cls, value: Value) -> Relay:
        """Raises the `Malformed` family or `DuplicateSigner`; proves nothing before `check_relay`."""
        certificate, header, message, proof = expect_array(value, 4, "relay")
        kind, number, part, raw = expect_array(message, 4, "relayed message")
        return cls(
            certificate=QuorumCertificate.from_value(certificate),
            header=Header.from_value(header),
            kind=expect_str(kind, "message kind", max_size=32),
            number=expect_int(number, "message number"),
            part=expect_int(part, "message part", high=MAX_PARTS - 1),
            raw=expect_bytes(raw, "message", max_size=_MAX_VALUE_BYTES),
            proof=StateProof.from_value(proof),
        )


def make_relays(certificate: QuorumCertificate, header: Header, state: State, *, above_height: int = 0) -> list[Relay]:
    """A relay for every part in the outbox of a certified checkpoint that was posted above a height."""
    names = list_parts(state, above_height=above_height)
    return [make_relay(certificate, header, state, name) for name in names]


def make_relay(certificate: QuorumCertificate, header: Header, state: State, name: PartName) -> Relay:
    """A relay for one part in the outbox of a certified checkpoint."""
    assert certificate.statement.block_hash == header.hash, "the certificate is of another block"
    key = outbox_key(*name)
    raw = state.get(key)
    assert raw is not None, name
    kind, number, part = name
    return Relay(
        certificate=certificate, header=header, kind=kind, number=number, part=part, raw=raw, proof=state.prove(key)
    )


def check_relay(relay: Relay, source: Sibling) -> None:
    """Raise unless the message stands in a block that the source's members certified; the cheap checks first.

    Raises `UnfinalBlock`, `WrongChain`, `InvalidProof`, and what `verify_certificate` raises: `WrongVoters` where the
    source's members were others then, or have become others since, as far as is known here.
    """
    statement, header = relay.certificate.statement, relay.header
    if header.hash != statement.block_hash:
        raise UnfinalBlock(actual=header.hash.hex()[:16], certified=statement.block_hash.hex()[:16])
    if header.chain_id != statement.chain_id:
        raise WrongChain(expected=statement.chain_id.hex()[:16], actual=header.chain_id.hex()[:16])
    verify_state_proof(header.state_root, outbox_key(relay.kind, relay.number, relay.part), relay.raw, relay.proof)
    quorum = least_quorum(len(source.sealers), source.checkpoint_m)
    verify_certificate(relay.certificate, source.sealers, quorum, since_slot=source.since_slot, chain_id=relay.source)


def is_wanted(view: Overlay, name: RelayName, routes: Routes) -> bool:
    """Return True if this chain takes such messages and lacks this one; asks nothing about its proof."""
    chain_id, kind, number, part = name
    source = get_sibling(view, chain_id)
    if source is None or (source.kind, kind) not in routes:
        return False
    return not is_received(view, source.name, kind, number, part)


def is_stale(view: Overlay, relay: Relay) -> bool:
    """Return True if the source's members have changed since it was certified, as far as this chain has heard."""
    source = get_sibling(view, relay.source)
    return source is not None and relay.certificate.statement.since_slot < source.since_slot


def relay_handler(routes: Routes) -> Handler:
    """The contract `relay [relay]` of a chain that takes in the messages in `routes`.

    Raises `WrongShape`, `UnknownSource`, `WrongRoute`, `AlreadyRelayed`, `RelayTooOld`, what `check_relay` raises, and
    what the message's receiver does: then nothing has moved, and the relay cannot stand in a block.
    """

    def process_relay(view: Overlay, block: BlockContext, transaction: Transaction) -> None:
        if len(transaction.payload) != 1:
            raise WrongShape(what=RELAY, detail="expected one item")
        accept_relay(view, block, Relay.from_value(transaction.payload[0]), routes)

    return process_relay


def accept_relay(view: Overlay, block: BlockContext, relay: Relay, routes: Routes) -> None:
    """Take in a relay. Raises `UnknownSource`, `WrongRoute`, and what else its handler does."""
    source = get_sibling(view, relay.source)
    if source is None:
        raise UnknownSource(chain=relay.source.hex()[:16])
    receiver = routes.get((source.kind, relay.kind))
    if receiver is None:
        raise WrongRoute(kind=relay.kind, source=source.name)
    parts, rows = read_part(relay.raw)
    is_complete = receive(view, source.name, relay.kind, relay.number, relay.part, parts)
    check_relay(relay, source)
    delivery = InboundMessage(
        source=source.name,
        kind=relay.kind,
        number=relay.number,
        part=relay.part,
        parts=parts,
        rows=rows,
        is_complete=is_complete,
        block_hash=relay.header.hash,
        height=relay.header.height,
    )
    receiver(view, block, delivery)
    view.emit("relayed", source.name, relay.kind, relay.number, relay.part, parts, relay.header.height)
