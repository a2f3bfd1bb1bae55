"""A light client's side of a proof: a verifier's trust, a block with the reason why it is final, and members' names.

A verifier starts from the genesis alone. Where members have changed since, it follows the handovers from the founders
to those that signed, as the other chains of the network do. What it cannot see offline is whether a document holds back
a later handover: a thief with the keys of a quorum of former members can still sign in their name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from consensus.pbft.engine import PbftEngine
from consensus.poca.engine import PocaEngine
from consensus.quorum import QuorumCertificate
from consensus.relays import Relay
from consensus.set_changes import MAX_HANDOVERS, CertifyingSets, quorum_of
from ledger.accounts import Member, get_sealers, member_key
from ledger.block import Header
from ledger.chain import WINDOW, BlockNode
from ledger.checkpoints import compute_slot
from ledger.codec import Value, decode, expect_array, expect_bytes, expect_int, expect_list, expect_str
from ledger.errors import InvalidProof, VerificationFailed
from ledger.genesis import Genesis, build_genesis_block, build_state
from ledger.hashing import ADDRESS_SIZE, HASH_SIZE, Address, address_of, show_address
from ledger.merkle import inclusion_proof, verify_inclusion
from ledger.overlay import Overlay
from ledger.results import Result, compute_digest, read_results
from ledger.siblings import Sibling
from ledger.state import StateProof, verify_state_proof
from node.chain.node import ChainNode
from node.errors import NoCertificate, StateNotKept

MAX_DESCENDANTS = 256  # headers from a block to the certified one above it
_MAX_PATH = 64
_MAX_NAMES = 16
_MAX_ROW_BYTES = 1_024
_MEMBER_FIELDS = len(Member._fields)
_SLOTS_TRIED = 64

Claims: TypeAlias = dict[str, Any]


class TrustedState:
    """A verifier's knowledge: the genesis document, what the handovers lead to, and the names that a roster proves."""

    def __init__(self, genesis: Genesis, handovers: Iterable[Relay] = (), roster: NameProofs | None = None) -> None:
        """Raises the `VerificationFailed` family where handovers or roster prove nothing."""
        self.genesis = genesis
        self.chain_id = genesis.chain_id
        self.handovers = tuple(handovers)
        self.roster = roster
        self._certifiers = CertifyingSets(genesis, self.handovers)
        self.sets = self._certifiers.all
        self._last_change = self.handovers[-1].header.height if self.handovers else 0
        self._names = _name_founders(genesis)
        if roster is not None:
            self._names = {**self._names, **roster.read(self)}

    def name_of(self, address: Address) -> str | None:
        return self._names.get(address)

    def show(self, address: Address) -> str:
        return self._names.get(address) or show_address(address)

    def get_voters(self, slot: int) -> Sibling:
        """The validator set that certifies a slot."""
        return self._certifiers.get_voters(slot)

    def check_certificate(self, certificate: QuorumCertificate) -> None:
        """Raises as `verify_certificate` does."""
        self._certifiers.check_certificate(certificate)

    def check_header(self, header: Header) -> None:
        """A member with the sealing right sealed and signed it, by its own claims; block 0 is the genesis block itself.

        Above the last handover these are the members that it names, below it those of any set. Raises the
        `InvalidBlock` family, `InvalidSignature`, `WrongChain` or `InvalidProof`.
        """
        if header.height:
            sets = self.sets[-1:] if header.height > self._last_change else self.sets
            sealers = frozenset(key for one in sets for key in one.sealers)
            engine = PbftEngine if self.genesis.params.consensus.engine == "pbft" else PocaEngine
            engine(self.genesis).screen_header(header, sealers)
        elif header != build_genesis_block(self.genesis, build_state(self.genesis)).header:
            raise InvalidProof(detail="this is not the chain's genesis block")

    def describe_signers(self, certificate: QuorumCertificate) -> str:
        voters = self.get_voters(certificate.statement.slot)
        text = f"{len(certificate.signatures)} of {len(voters.sealers)} sealers, quorum {quorum_of(voters)}"
        changes = self.sets.index(voters)
        if not changes:
            return text
        return f"{text}, who follow from the founders by {changes} {'change' if changes == 1 else 'changes'} of members"


@lru_cache(maxsize=16)
def _name_founders(genesis: Genesis) -> dict[Address, str]:
    return {address_of(member.key): member.name for member in genesis.members}


@dataclass(frozen=True, slots=True, kw_only=True)
class Inclusion:
    """An RFC 6962 audit path and on which side each of its hashes stands: bit k is 1 where hash k stands left.

    A root commits to the path of a leaf, but not to the number of leaves: in a complete tree of this height the
    leaf with index `sides` has the same path. So neither index nor size is claimed.
    """

    sides: int
    path: tuple[bytes, ...]

    @classmethod
    def of(cls, path: tuple[bytes, ...], *, index: int, size: int) -> Inclusion:
        """The audit path of leaf `index` of `size`."""
        sides, height, last = 0, 0, size - 1
        while last:
            sides |= (index & 1) << height
            height += index & 1 or index < last  # an odd last node has no sibling on its level
            index >>= 1
            last >>= 1
        assert height == len(path)
        return cls(sides=sides, path=path)

    def check(self, root: bytes, leaf: bytes) -> None:
        """Raises `InvalidProof`."""
        verify_inclusion(root, leaf, self.sides, 1 << len(self.path), self.path)

    def to_value(self) -> Value:
        return (self.sides, self.path)

    @classmethod
    def from_value(cls, value: Value) -> Inclusion:
        sides, path = expect_array(value, 2, "inclusion")
        hashes = expect_list(path, "path", max_items=_MAX_PATH)
        return cls(
            sides=expect_int(sides, "sides"),
            path=tuple(expect_bytes(item, "path", size=HASH_SIZE) for item in hashes),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Finality:
    """The reason why a block is never left: the headers from its child up to a checkpoint that a quorum certified."""

    descendants: tuple[Header, ...]
    certificate: QuorumCertificate

    def check(self, header: Header, trust: TrustedState) -> None:
        top = header
        for child in self.descendants:
            if child.parent != top.hash or child.height != top.height + 1:
                raise InvalidProof(detail=f"the header at height {child.height} does not follow its predecessor")
            trust.check_header(child)
            top = child
        if top.hash != self.certificate.statement.block_hash:
            raise InvalidProof(detail="the headers do not lead to the certified block")
        trust.check_certificate(self.certificate)

    def to_value(self) -> Value:
        return (tuple(header.to_value() for header in self.descendants), self.certificate.to_value())

    @classmethod
    def from_value(cls, value: Value) -> Finality:
        headers, certificate = expect_array(value, 2, "finality")
        return cls(
            descendants=tuple(
                Header.from_value(item) for item in expect_list(headers, "descendants", max_items=MAX_DESCENDANTS)
            ),
            certificate=QuorumCertificate.from_value(certificate),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockEvidence:
    """A header, and where it is known why it is final."""

    header: Header
    finality: Finality | None

    @property
    def is_final(self) -> bool:
        return self.finality is not None or self.header.height == 0

    def check(self, trust: TrustedState) -> None:
        trust.check_header(self.header)
        if self.finality is not None:
            self.finality.check(self.header, trust)

    def claims(self) -> Claims:
        return {"height": self.header.height, "block": self.header.hash.hex(), "final": self.is_final}

    def describe(self, trust: TrustedState) -> str:
        if self.header.height == 0:
            return "the genesis block"
        producer = trust.show(self.header.producer_address)
        if self.finality is None:
            return f"sealed and signed by {producer}; not proved final"
        signers = trust.describe_signers(self.finality.certificate)
        return f"sealed and signed by {producer}; final, certified by {signers}"

    def to_value(self) -> Value:
        return (self.header.to_value(), None if self.finality is None else self.finality.to_value())

    @classmethod
    def from_value(cls, value: Value) -> BlockEvidence:
        header, finality = expect_array(value, 2, "block evidence")
        return cls(
            header=Header.from_value(header), finality=None if finality is None else Finality.from_value(finality)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultEvidence:
    """The TradeResult that a quorum has signed: a record under its root needs no other proof."""

    certificate: QuorumCertificate
    results: tuple[Result, ...]

    def check(self, trust: TrustedState, period: int) -> bytes:
        """The root of the period's records. Raises `InvalidProof`, or as `verify_certificate` does."""
        result = next((item for item in self.results if item.number == period), None)
        if result is None or compute_digest(self.results) != self.certificate.statement.result:
            raise InvalidProof(detail=f"the certificate is not of these results, or of none of period {period}")
        trust.check_certificate(self.certificate)
        return result.root

    def claims(self, trust: TrustedState) -> Claims:
        signers = [address_of(key) for key, _signature in self.certificate.signatures]
        return {"slot": self.certificate.statement.slot, "signers": [trust.show(signer) for signer in signers]}

    def describe(self, trust: TrustedState) -> str:
        return trust.describe_signers(self.certificate)

    def to_value(self) -> Value:
        return (self.certificate.to_value(), tuple(tuple(result) for result in self.results))

    @classmethod
    def from_value(cls, value: Value) -> ResultEvidence:
        certificate, results = expect_array(value, 2, "result evidence")
        return cls(certificate=QuorumCertificate.from_value(certificate), results=read_results(results))


@dataclass(frozen=True, slots=True, kw_only=True)
class NameProofs:
    """Names of members that the genesis does not know, as their rows stand in the state of a final block.

    A member's name never changes, and is never given to another: whichever block proves it, it holds for all.
    """

    block: BlockEvidence
    rows: tuple[tuple[Address, bytes, StateProof], ...]

    def read(self, trust: TrustedState) -> dict[Address, str]:
        """Raises the `Malformed` and `VerificationFailed` families."""
        self.block.check(trust)
        if not self.block.is_final:
            raise InvalidProof(detail="the block that names the members is not final")
        root, names = self.block.header.state_root, {}
        for address, raw, proof in self.rows:
            verify_state_proof(root, member_key(address), raw, proof)
            fields = expect_array(decode(raw, max_bytes=_MAX_ROW_BYTES), _MEMBER_FIELDS, "member")
            names[address] = expect_str(fields[0], "name", max_size=32)
        return names

    def to_value(self) -> Value:
        return (self.block.to_value(), tuple((address, raw, proof.to_value()) for address, raw, proof in self.rows))

    @classmethod
    def from_value(cls, value: Value) -> NameProofs:
        block, items = expect_array(value, 2, "roster")
        rows = [expect_array(item, 3, "member") for item in expect_list(items, "members", max_items=_MAX_NAMES)]
        return cls(
            block=BlockEvidence.from_value(block),
            rows=tuple(
                (
                    expect_bytes(address, "address", size=ADDRESS_SIZE),
                    expect_bytes(raw, "member", max_size=_MAX_ROW_BYTES),
                    StateProof.from_value(proof),
                )
                for address, raw, proof in rows
            ),
        )


# --- what a document begins with ---------------------------------------------------------------------------


def background_to_value(trust: TrustedState) -> Value:
    """The way from the genesis to this trust: its handovers and roster."""
    roster = None if trust.roster is None else trust.roster.to_value()
    return (tuple(relay.to_value() for relay in trust.handovers), roster)


def background_from_value(value: Value, genesis: Genesis) -> TrustedState:
    """The trust that this leads to. Raises the `Malformed` and `VerificationFailed` families."""
    handovers, roster = expect_array(value, 2, "background")
    relays = [Relay.from_value(item) for item in expect_list(handovers, "handovers", max_items=MAX_HANDOVERS)]
    return TrustedState(genesis, relays, None if roster is None else NameProofs.from_value(roster))


# --- gathering ---------------------------------------------------------------------------------------------


def gather_trust(node: ChainNode, addresses: Iterable[Address]) -> TrustedState:
    """All that a document about these addresses has to begin with. Raises `NoCertificate` where this node lacks some.

    A node that has caught up under PBFT, from others that lacked it, may never have seen the proof of a change.
    """
    try:
        trust = TrustedState(node.genesis, node.handovers)
    except VerificationFailed as error:
        raise NoCertificate(what=f"a change of this chain's members ({error.code})") from None
    if get_sealers(Overlay(node.chain.head.state)) not in [one.sealers for one in trust.sets]:
        raise NoCertificate(what="the last change of this chain's members")
    strangers = sorted({address for address in addresses if trust.name_of(address) is None})
    roster = _gather_roster(node, strangers)
    return trust if roster is None else TrustedState(node.genesis, node.handovers, roster)


def _gather_roster(node: ChainNode, addresses: list[Address]) -> NameProofs | None:
    """None where the final block knows none of them, or its state is not at hand: then they go by their addresses."""
    if not addresses or node.chain.head.height - node.chain.final_height > WINDOW:
        return None
    final = get_final(node)
    found = [(address, final.state.get(member_key(address))) for address in addresses]
    rows = tuple((address, raw, final.state.prove(member_key(address))) for address, raw in found if raw is not None)
    block = gather_evidence(node, final.header) if rows else None
    return None if block is None or not block.is_final else NameProofs(block=block, rows=rows)


def get_final(node: ChainNode) -> BlockNode:
    """The final block with its state. Raises `StateNotKept`."""
    chain = node.chain
    if chain.head.height - chain.final_height > WINDOW:
        raise StateNotKept(height=chain.final_height, depth=WINDOW)  # it could be rebuilt, but at any reader's wish?
    final = chain.get(chain.final_hash)
    assert final is not None, "a block within the window is at hand"
    return final


def include(leaves: list[bytes], index: int) -> Inclusion:
    return Inclusion.of(inclusion_proof(leaves, index), index=index, size=len(leaves))


def gather_result(node: ChainNode, period: int) -> ResultEvidence | None:
    """The certificate of a period's result, where this node has it; one that caught up later may not."""
    certified = node.results.find(period)
    return None if certified is None else ResultEvidence(certificate=certified.certificate, results=certified.results)


def gather_evidence(node: ChainNode, header: Header) -> BlockEvidence:
    """The header with the nearest certificate above it, where there is one."""
    is_coverable = 0 < header.height <= node.chain.final_height and node.chain.is_canonical(header)
    return BlockEvidence(header=header, finality=_find_finality(node, header) if is_coverable else None)


def _find_finality(node: ChainNode, header: Header) -> Finality | None:
    """Look through the certificates of the slot that the block was made in and of those after it.

    Under PBFT every height is a slot; a node that caught up has the certificate of some higher one.
    """
    chain, params = node.chain, node.params
    is_pbft = params.consensus.engine == "pbft"
    first = header.height if is_pbft else compute_slot(header.timestamp_ms - node.genesis.time_ms, params)
    for slot in range(first, first + (MAX_DESCENDANTS + 1 if is_pbft else _SLOTS_TRIED)):
        certificate = node.get_certificate(slot)
        checkpoint = None if certificate is None else chain.get_header(certificate.statement.block_hash)
        if certificate is None or checkpoint is None or not chain.is_canonical(checkpoint):
            continue
        if not header.height <= checkpoint.height <= min(chain.final_height, header.height + MAX_DESCENDANTS):
            continue
        above = (chain.hash_at(height) or b"" for height in range(header.height + 1, checkpoint.height + 1))
        found = tuple(chain.get_header(block_hash) for block_hash in above)
        return Finality(descendants=tuple(one for one in found if one is not None), certificate=certificate)
    return None
