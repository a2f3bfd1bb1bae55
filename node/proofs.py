"""Proof documents: what a node says of its chain in a form that anybody can check offline, from the genesis alone.

A document is JSON: what is claimed in plain words, and the canonical bytes that prove it in hexadecimal. Every claim
is rebuilt from the bytes, so a document proves all of what it says or nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, TypeAlias

from consensus.contracts import compute_quorum
from consensus.pbft_engine import PbftEngine
from consensus.poca import PocaEngine
from consensus.quorum import QuorumCertificate, verify_certificate
from ledger.accounts import Account, account_key
from ledger.block import Header
from ledger.chain import WINDOW, Entry
from ledger.checkpoints import compute_slot
from ledger.codec import Value, decode, encode, expect_array, expect_bytes, expect_int, expect_list, expect_str
from ledger.errors import (
    InvalidBlock,
    InvalidProof,
    Malformed,
    NoCertificate,
    StateNotKept,
    UnknownTransaction,
    VerificationFailed,
)
from ledger.genesis import Genesis, build_genesis_block, build_state
from ledger.hashing import HASH_SIZE, Address, address_of, show_address
from ledger.merkle import inclusion_proof, verify_inclusion
from ledger.state import StateProof, verify_state_proof
from ledger.transaction import Transaction, check_envelope
from market import views
from market.credit import PPM
from market.gates import decode_gate, gate_key
from market.trades import MatchWeights, decode_trade_leaf
from node.core import ChainNode

MAX_PROOF_BYTES = 4_000_000
MAX_DESCENDANTS = 256  # headers from a block to the certified one above it
_MAX_PATH = 64
_SLOTS_TRIED = 64
_UYUAN_PER_YUAN = _UPT_PER_POINT = 1_000_000

Claims: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A document that holds: its claims, and in words what has been proved and by whom."""

    kind: str
    chain: str
    statement: str
    is_final: bool
    claims: Claims


class Trust:
    """What a verifier starts from: the genesis document, and what follows from it."""

    def __init__(self, genesis: Genesis) -> None:
        self.genesis = genesis
        self.chain_id = genesis.chain_id
        self.sealers = frozenset(genesis.sealers)
        self.quorum = compute_quorum(genesis.params.consensus, len(self.sealers))
        self._names = {address_of(member.key): member.name for member in genesis.members}

    def name_of(self, address: Address) -> str | None:
        return self._names.get(address)

    def show(self, address: Address) -> str:
        return self._names.get(address) or show_address(address)

    def check_certificate(self, certificate: QuorumCertificate) -> None:
        """Raises as `verify_certificate` does."""
        verify_certificate(certificate, self.sealers, self.quorum, chain_id=self.chain_id)

    def check_header(self, header: Header) -> None:
        """A founding sealer sealed and signed it, by its own claims; block 0 is the genesis block itself.

        Raises the `InvalidBlock` family, `InvalidSignature`, `WrongChain` or `InvalidProof`.
        """
        if header.height:
            engine = PbftEngine if self.genesis.params.consensus.engine == "pbft" else PocaEngine
            engine(self.genesis).screen_header(header, self.sealers)
        elif header != build_genesis_block(self.genesis, build_state(self.genesis)).header:
            raise InvalidProof(detail="this is not the chain's genesis block")

    def count_signers(self, certificate: QuorumCertificate) -> str:
        return f"{len(certificate.signatures)} of {len(self.sealers)} sealers, quorum {self.quorum}"


# --- evidence --------------------------------------------------------------------------------------------


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
    """Why a block can never be left: the headers from its child up to a checkpoint that a quorum certified."""

    descendants: tuple[Header, ...]
    certificate: QuorumCertificate

    def check(self, header: Header, trust: Trust) -> None:
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

    def check(self, trust: Trust) -> None:
        trust.check_header(self.header)
        if self.finality is not None:
            self.finality.check(self.header, trust)

    def claims(self) -> Claims:
        return {"height": self.header.height, "block": self.header.hash.hex(), "final": self.is_final}

    def describe(self, trust: Trust) -> str:
        if self.header.height == 0:
            return "the genesis block"
        producer = trust.show(self.header.producer_address)
        if self.finality is None:
            return f"sealed and signed by {producer}; not proved final"
        signers = trust.count_signers(self.finality.certificate)
        return f"sealed and signed by {producer}; final, certified by {signers}"

    def to_value(self) -> Value:
        return (self.header.to_value(), None if self.finality is None else self.finality.to_value())

    @classmethod
    def from_value(cls, value: Value) -> BlockEvidence:
        header, finality = expect_array(value, 2, "block evidence")
        return cls(
            header=Header.from_value(header), finality=None if finality is None else Finality.from_value(finality)
        )


# --- the three proofs --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeProof:
    """A trade stands under the result root of its period's gate, and the gate in the state of a final block."""

    kind: ClassVar[str] = "trade"
    block: BlockEvidence
    gate: bytes
    state_proof: StateProof
    leaf: bytes
    inclusion: Inclusion

    @property
    def is_final(self) -> bool:
        return self.block.is_final

    def check(self, trust: Trust) -> None:
        trade, gate = decode_trade_leaf(self.leaf), decode_gate(self.gate)
        self.inclusion.check(gate.result_root, self.leaf)
        verify_state_proof(self.block.header.state_root, gate_key(trade.period), self.gate, self.state_proof)
        if self.block.finality is None:
            raise InvalidProof(detail="no certificate stands behind the block")
        self.block.check(trust)

    def claims(self, trust: Trust) -> Claims:
        trade, gate = decode_trade_leaf(self.leaf), decode_gate(self.gate)
        claims = {
            "period": trade.period,
            "index": trade.trade_index,
            "buyer": show_address(trade.buyer),
            "buyer_name": trust.name_of(trade.buyer),
            "seller": show_address(trade.seller),
            "seller_name": trust.name_of(trade.seller),
            "price_uyuan_per_kwh": trade.price_uyuan_per_kwh,
            "volume_wh": trade.volume_wh,
            "status": gate.status,
            **self.block.claims(),
        }
        return claims if trade.weights is None else {**claims, "weights": _describe_weights(trade.weights)}

    def describe(self, trust: Trust) -> str:
        trade, gate = decode_trade_leaf(self.leaf), decode_gate(self.gate)
        weight = "" if trade.weights is None else f", matched by weight {_decimal(trade.weights.w_ppm, PPM)}"
        return (
            f"trade {trade.trade_index} of period {trade.period}: {trust.show(trade.seller)} sold {trade.volume_wh} Wh "
            f"to {trust.show(trade.buyer)} at {_decimal(trade.price_uyuan_per_kwh, _UYUAN_PER_YUAN)} yuan/kWh{weight}; "
            f"the period is {gate.status} after block {self.block.header.height}: {self.block.describe(trust)}"
        )

    def to_value(self) -> Value:
        return (
            self.block.to_value(),
            self.gate,
            self.state_proof.to_value(),
            self.leaf,
            self.inclusion.to_value(),
        )

    @classmethod
    def from_value(cls, value: Value) -> TradeProof:
        block, gate, state_proof, leaf, inclusion = expect_array(value, 5, "trade proof")
        return cls(
            block=BlockEvidence.from_value(block),
            gate=expect_bytes(gate, "gate"),
            state_proof=StateProof.from_value(state_proof),
            leaf=expect_bytes(leaf, "trade leaf"),
            inclusion=Inclusion.from_value(inclusion),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountProof:
    """`L_h = {address, balance, credit}` of Eq. (7), text 000, in the state that a block commits to; or its absence."""

    kind: ClassVar[str] = "account"
    block: BlockEvidence
    address: Address
    account: bytes | None
    state_proof: StateProof

    @property
    def is_final(self) -> bool:
        return self.block.is_final

    def check(self, trust: Trust) -> None:
        root = self.block.header.state_root
        verify_state_proof(root, account_key(self.address), self.account, self.state_proof)
        self.block.check(trust)

    def claims(self, trust: Trust) -> Claims:
        account = None if self.account is None else _read_account(self.account)
        return {
            "address": show_address(self.address),
            "name": trust.name_of(self.address),
            **self.block.claims(),
            "account": None if account is None else account._asdict(),
        }

    def describe(self, trust: Trust) -> str:
        name, header = trust.show(self.address), self.block.header
        if self.account is None:
            holding = "has no account"
        else:
            account = _read_account(self.account)
            holding = f"has {_decimal(account.credit_upt, _UPT_PER_POINT)} points of credit"
            if trust.genesis.params.kind == "trading":
                holding = (
                    f"has {_decimal(account.balance_uyuan, _UYUAN_PER_YUAN)} yuan free, "
                    f"{_decimal(account.reserved_uyuan, _UYUAN_PER_YUAN)} yuan reserved "
                    f"and {_decimal(account.credit_upt, _UPT_PER_POINT)} points of credit"
                )
        return f"{name} {holding} after block {header.height}: {self.block.describe(trust)}"

    def to_value(self) -> Value:
        return (self.block.to_value(), self.address, self.account, self.state_proof.to_value())

    @classmethod
    def from_value(cls, value: Value) -> AccountProof:
        block, address, account, state_proof = expect_array(value, 4, "account proof")
        return cls(
            block=BlockEvidence.from_value(block),
            address=expect_bytes(address, "address", size=20),
            account=None if account is None else expect_bytes(account, "account"),
            state_proof=StateProof.from_value(state_proof),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionProof:
    """A transaction stands in a block, and its receipt says what became of it there."""

    kind: ClassVar[str] = "transaction"
    block: BlockEvidence
    transaction: Transaction
    inclusion: Inclusion
    code: str
    receipt: Inclusion

    @property
    def is_final(self) -> bool:
        return self.block.is_final

    def check(self, trust: Trust) -> None:
        header = self.block.header
        check_envelope(self.transaction, trust.chain_id)
        self.inclusion.check(header.tx_root, self.transaction.raw)
        self.receipt.check(header.receipt_root, _receipt_leaf(self.transaction.id, self.code))
        self.block.check(trust)

    def claims(self, trust: Trust) -> Claims:
        transaction = self.transaction
        return {
            "id": transaction.id.hex(),
            "transaction_kind": transaction.kind,
            "sender": show_address(transaction.sender),
            "sender_name": trust.name_of(transaction.sender),
            "code": self.code,
            **self.block.claims(),
        }

    def describe(self, trust: Trust) -> str:
        transaction, header = self.transaction, self.block.header
        outcome = f"was refused there ({self.code})" if self.code else "took effect"
        return (
            f"transaction {transaction.id.hex()} ({transaction.kind} by {trust.show(transaction.sender)}) stands in "
            f"block {header.height} and {outcome}: {self.block.describe(trust)}"
        )

    def to_value(self) -> Value:
        return (
            self.block.to_value(),
            self.transaction.to_value(),
            self.inclusion.to_value(),
            self.code,
            self.receipt.to_value(),
        )

    @classmethod
    def from_value(cls, value: Value) -> TransactionProof:
        block, transaction, inclusion, code, receipt = expect_array(value, 5, "transaction proof")
        return cls(
            block=BlockEvidence.from_value(block),
            transaction=Transaction.from_value(transaction),
            inclusion=Inclusion.from_value(inclusion),
            code=expect_str(code, "receipt code"),
            receipt=Inclusion.from_value(receipt),
        )


Proof: TypeAlias = TradeProof | AccountProof | TransactionProof
_KINDS: dict[str, type[Proof]] = {kind.kind: kind for kind in (TradeProof, AccountProof, TransactionProof)}


# --- making ----------------------------------------------------------------------------------------------


def make_document(proof: Proof, trust: Trust) -> dict[str, Any]:
    """The JSON document of a proof."""
    return {
        "kind": proof.kind,
        "chain": trust.genesis.params.name,
        "chain_id": trust.chain_id.hex(),
        **proof.claims(trust),
        "proof": encode(proof.to_value()).hex(),
    }


def prove_trade(node: ChainNode, period: int, index: int) -> TradeProof:
    """A trade whose gate the final block knows. Raises `UnknownTrade`, `NoCertificate` or `StateNotKept`."""
    leaf, path, size = views.prove_trade(node.chain.head.state, period, index)
    final = _get_final(node)
    key = gate_key(period)
    gate = final.state.get(key)
    if gate is None or node.final_certificate is None:
        raise NoCertificate(what=f"period {period}")
    return TradeProof(
        block=_gather_evidence(node, final.header),
        gate=gate,
        state_proof=final.state.prove(key),
        leaf=leaf,
        inclusion=Inclusion.of(path, index=index, size=size),
    )


def prove_account(node: ChainNode, address: Address, *, at_final: bool = False) -> AccountProof:
    """An account, or its absence, after the head block or after the final one. Raises `StateNotKept`."""
    entry = _get_final(node) if at_final else node.chain.head
    key = account_key(address)
    return AccountProof(
        block=_gather_evidence(node, entry.header),
        address=address,
        account=entry.state.get(key),
        state_proof=entry.state.prove(key),
    )


def prove_transaction(node: ChainNode, transaction_id: bytes) -> TransactionProof:
    """A transaction on the chain, and its receipt. Raises `UnknownTransaction`."""
    place = node.chain.find_transaction(transaction_id)
    block = None if place is None else node.chain.get_block(place[0])
    receipts = None if place is None else node.chain.get_receipts(place[0])
    if place is None or block is None or receipts is None:
        raise UnknownTransaction(transaction_id=transaction_id.hex())
    _, index = place
    return TransactionProof(
        block=_gather_evidence(node, block.header),
        transaction=block.transactions[index],
        inclusion=_include([transaction.raw for transaction in block.transactions], index),
        code=receipts[index].code,
        receipt=_include([_receipt_leaf(receipt.transaction_id, receipt.code) for receipt in receipts], index),
    )


def _get_final(node: ChainNode) -> Entry:
    """The final block with its state. Raises `StateNotKept`."""
    chain = node.chain
    if chain.head.height - chain.final_height > WINDOW:
        raise StateNotKept(height=chain.final_height, depth=WINDOW)  # it could be rebuilt, but at any reader's wish?
    final = chain.get(chain.final_hash)
    assert final is not None, "a block within the window is at hand"
    return final


def _include(leaves: list[bytes], index: int) -> Inclusion:
    return Inclusion.of(inclusion_proof(leaves, index), index=index, size=len(leaves))


def _receipt_leaf(transaction_id: bytes, code: str) -> bytes:
    """What `ledger.execution.compute_receipt_root` has for a leaf."""
    return encode((transaction_id, code))


def _gather_evidence(node: ChainNode, header: Header) -> BlockEvidence:
    """The header with the nearest certificate above it, where there is one."""
    is_coverable = 0 < header.height <= node.chain.final_height and node.chain.is_canonical(header)
    return BlockEvidence(header=header, finality=_find_finality(node, header) if is_coverable else None)


def _find_finality(node: ChainNode, header: Header) -> Finality | None:
    """Look through the certificates of the slot that the block was made in and of those after it.

    Under PBFT every height is a slot; whoever caught up has the certificate of some higher one.
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


# --- checking --------------------------------------------------------------------------------------------


def verify_document(document: Mapping[str, Any], genesis: Genesis) -> Verdict:
    """Check a document offline, trusting nothing but the genesis document.

    Raises the `VerificationFailed` family: `InvalidProof` where bytes, claims or Merkle paths do not fit, else what
    is wrong with a signature or certificate.
    """
    if not isinstance(document, Mapping):
        raise InvalidProof(detail="the document is not a JSON object")
    trust = Trust(genesis)
    try:
        proof = _read_document(document, trust)
        proof.check(trust)
    except VerificationFailed:
        raise
    except (Malformed, InvalidBlock) as error:
        raise InvalidProof(detail=f"{error.code}: {error}") from error
    return Verdict(
        kind=proof.kind,
        chain=genesis.params.name,
        statement=proof.describe(trust),
        is_final=proof.is_final,
        claims=proof.claims(trust),
    )


def _read_document(document: Mapping[str, Any], trust: Trust) -> Proof:
    """The proof in a document whose every claim is what the proof's bytes say."""
    kind, text = document.get("kind"), document.get("proof")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise InvalidProof(detail=f"no proof is of kind {str(kind)[:40]!r}, it is one of {', '.join(_KINDS)}")
    if not isinstance(text, str) or len(text) > 2 * MAX_PROOF_BYTES:
        raise InvalidProof(detail=f"the proof is not up to {2 * MAX_PROOF_BYTES} hexadecimal digits")
    if document.get("chain_id") != trust.chain_id.hex():
        raise InvalidProof(detail="the document is for another chain than this genesis makes")
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raise InvalidProof(detail="the proof is not hexadecimal") from None
    proof = _KINDS[kind].from_value(decode(raw, max_bytes=MAX_PROOF_BYTES))
    rebuilt = make_document(proof, trust)
    if document.keys() != rebuilt.keys():
        raise InvalidProof(detail=f"the document makes other claims than {', '.join(rebuilt)}")
    for key, value in rebuilt.items():
        claimed, proved = _canonical_json(document[key]), _canonical_json(value)
        if claimed != proved:
            raise InvalidProof(detail=f"the document says {key} is {claimed[:80]}, its proof says {proved[:80]}")
    return proof


def _canonical_json(value: object) -> str:
    """Unlike `==` on values, this tells 1 from true and from 1.0."""
    try:
        return json.dumps(value, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        raise InvalidProof(detail="a claim is not plain JSON") from None


def _describe_weights(weights: MatchWeights) -> Claims:
    return {
        "w_ppm": weights.w_ppm,
        "bid_ppm": weights.bid_ppm,
        "offer": weights.offer._asdict(),
        "bid": weights.bid._asdict(),
    }


def _read_account(raw: bytes) -> Account:
    fields = expect_array(decode(raw, max_bytes=256), len(Account._fields), "account")
    return Account._make(expect_int(field, "account", low=-(2**63)) for field in fields)


def _decimal(amount: int, unit: int) -> str:
    """An integer amount of small units in the large one, exactly."""
    text = format(Decimal(amount) / unit, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
