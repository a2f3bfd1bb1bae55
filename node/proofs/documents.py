"""Proof documents: what a node says of its chain in a form that any reader can check offline, from the genesis alone.

A document is JSON: what is claimed in plain words, and the canonical bytes that prove it in hexadecimal. Every claim
is rebuilt from the bytes, so a document proves all of what it says or nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, ClassVar, TypeAlias

from ledger.accounts import Account, account_key, describe_account, read_account
from ledger.codec import Value, decode, encode, expect_array, expect_bytes, expect_str
from ledger.errors import InvalidBlock, InvalidProof, Malformed, VerificationFailed
from ledger.genesis import Genesis
from ledger.hashing import Address, show_address
from ledger.overlay import Overlay
from ledger.sealers import get_announced
from ledger.state import StateProof, verify_state_proof
from ledger.transaction import Transaction, check_envelope
from ledger.units import format_kwh
from market.credit.score import PPM
from market.trading import views
from market.trading.gates import decode_gate, gate_key
from market.trading.sessions import get_period, get_session
from market.trading.trades import Match, Party, TradeRecord, decode_trade_leaf
from node.chain.node import ChainNode
from node.errors import NoCertificate
from node.proofs.light_client import (
    BlockEvidence,
    Claims,
    Inclusion,
    ResultEvidence,
    TrustedState,
    background_from_value,
    background_to_value,
    gather_evidence,
    gather_result,
    gather_trust,
    get_final,
    include,
)
from node.queries.chain import refuse_unknown
from node.queries.exact import show_exact

MAX_PROOF_BYTES = 4_000_000
_MAX_PROOF_ITEMS = MAX_PROOF_BYTES // 16  # hashes, signatures and small numbers
_UYUAN_PER_YUAN = _UPT_PER_POINT = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A document that holds: its claims, and the proven statement in words."""

    kind: str
    chain: str
    statement: str
    is_final: bool
    claims: Claims


# --- the three proofs --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeProof:
    """A trade stands under the result root of its period's gate, and the gate in the state of a final block.

    `result` is the certificate of that root, where the node has it: it alone proves the record, and the block what has
    become of the period since.
    """

    kind: ClassVar[str] = "trade"
    block: BlockEvidence
    gate: bytes
    state_proof: StateProof
    leaf: bytes
    inclusion: Inclusion
    result: ResultEvidence | None

    @property
    def is_final(self) -> bool:
        return self.block.is_final

    @property
    def parties(self) -> tuple[Address, ...]:
        """The addresses whose names it tells."""
        trade = decode_trade_leaf(self.leaf)
        return (trade.buyer, trade.seller, self.block.header.producer_address)

    def check(self, trust: TrustedState) -> None:
        trade, gate = decode_trade_leaf(self.leaf), decode_gate(self.gate)
        self.inclusion.check(gate.result_root, self.leaf)
        verify_state_proof(self.block.header.state_root, gate_key(trade.gate), self.gate, self.state_proof)
        if self.block.finality is None:
            raise InvalidProof(detail="no certificate stands behind the block")
        self.block.check(trust)
        if self.result is not None and self.result.check(trust, trade.gate) != gate.result_root:
            raise InvalidProof(detail="the certificate is of another result than the gate's")

    def claims(self, trust: TrustedState) -> Claims:
        trade, gate = decode_trade_leaf(self.leaf), decode_gate(self.gate)
        claims = {
            **_name_period(trade, trust),
            "index": trade.trade_index,
            "buyer": show_address(trade.buyer),
            "buyer_name": trust.name_of(trade.buyer),
            "seller": show_address(trade.seller),
            "seller_name": trust.name_of(trade.seller),
            "price_uyuan_per_kwh": trade.price_uyuan_per_kwh,
            "volume_wh": trade.volume_wh,
            "status": gate.status,
            "result": None if self.result is None else self.result.claims(trust),
            **self.block.claims(),
        }
        return claims if trade.match is None else {**claims, **_describe_match(trade.match)}

    def describe(self, trust: TrustedState) -> str:
        trade, gate = decode_trade_leaf(self.leaf), decode_gate(self.gate)
        signers = "" if self.result is None else f"its result was signed by {self.result.describe(trust)}; "
        period = ", ".join(map(str, _name_period(trade, trust).values()))
        weight = "" if trade.match is None else f", matched with weight {_decimal(trade.match.w_ppm, PPM)}"
        return (
            f"trade {trade.trade_index} of period {period}: {trust.show(trade.seller)} sold "
            f"{format_kwh(trade.volume_wh)} kWh to {trust.show(trade.buyer)} at "
            f"{_decimal(trade.price_uyuan_per_kwh, _UYUAN_PER_YUAN)} yuan/kWh{weight}; "
            f"{signers}the period is {gate.status} after block {self.block.header.height}: {self.block.describe(trust)}"
        )

    def to_value(self) -> Value:
        return (
            self.block.to_value(),
            self.gate,
            self.state_proof.to_value(),
            self.leaf,
            self.inclusion.to_value(),
            None if self.result is None else self.result.to_value(),
        )

    @classmethod
    def from_value(cls, value: Value) -> TradeProof:
        block, gate, state_proof, leaf, inclusion, result = expect_array(value, 6, "trade proof")
        return cls(
            block=BlockEvidence.from_value(block),
            gate=expect_bytes(gate, "gate"),
            state_proof=StateProof.from_value(state_proof),
            leaf=expect_bytes(leaf, "trade leaf"),
            inclusion=Inclusion.from_value(inclusion),
            result=None if result is None else ResultEvidence.from_value(result),
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

    @property
    def parties(self) -> tuple[Address, ...]:
        """The addresses whose names it tells."""
        return (self.address, self.block.header.producer_address)

    def check(self, trust: TrustedState) -> None:
        root = self.block.header.state_root
        verify_state_proof(root, account_key(self.address), self.account, self.state_proof)
        self.block.check(trust)

    def claims(self, trust: TrustedState) -> Claims:
        account = None if self.account is None else _read_account(self.account)
        return {
            "address": show_address(self.address),
            "name": trust.name_of(self.address),
            **self.block.claims(),
            "account": None if account is None else show_exact(describe_account(account)),
        }

    def describe(self, trust: TrustedState) -> str:
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
            if account.income_uyuan or account.cost_uyuan:
                holding += (
                    f", by settlements {_decimal(account.income_uyuan, _UYUAN_PER_YUAN)} yuan of income "
                    f"and {_decimal(account.cost_uyuan, _UYUAN_PER_YUAN)} yuan of cost,"
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

    @property
    def parties(self) -> tuple[Address, ...]:
        """The addresses whose names it tells."""
        return (self.transaction.sender, self.block.header.producer_address)

    def check(self, trust: TrustedState) -> None:
        header = self.block.header
        check_envelope(self.transaction, trust.chain_id)
        self.inclusion.check(header.tx_root, self.transaction.raw)
        self.receipt.check(header.receipt_root, _receipt_leaf(self.transaction.id, self.code))
        self.block.check(trust)

    def claims(self, trust: TrustedState) -> Claims:
        transaction = self.transaction
        return {
            "id": transaction.id.hex(),
            "transaction_kind": transaction.kind,
            "sender": show_address(transaction.sender),
            "sender_name": trust.name_of(transaction.sender),
            "code": self.code,
            **self.block.claims(),
        }

    def describe(self, trust: TrustedState) -> str:
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


def make_document(proof: Proof, trust: TrustedState) -> dict[str, Any]:
    """The JSON document of a proof, for a reader that knows the genesis alone."""
    return {
        "kind": proof.kind,
        "chain": trust.genesis.params.name,
        "chain_id": trust.chain_id.hex(),
        **proof.claims(trust),
        "proof": encode((background_to_value(trust), proof.to_value())).hex(),
    }


def describe_proof(proof: Proof, node: ChainNode) -> dict[str, Any]:
    """The document of a proof that a node has made. Raises `NoCertificate` where it cannot show the certifying set."""
    return make_document(proof, gather_trust(node, proof.parties))


def prove_trade(node: ChainNode, gate: int, index: int) -> TradeProof:
    """Prove a trade of a gate that the final block knows. Raises `UnknownTrade`, `NoCertificate` or `StateNotKept`."""
    market = node.params.market
    leaf, path, size = views.prove_trade(node.chain.head.state, market, gate, index)
    final = get_final(node)
    key = gate_key(gate)
    record = final.state.get(key)
    if record is None or node.final_certificate is None:
        raise NoCertificate(what=f"period {get_period(market, gate)}")
    return TradeProof(
        block=gather_evidence(node, final.header),
        gate=record,
        state_proof=final.state.prove(key),
        leaf=leaf,
        inclusion=Inclusion.of(path, index=index, size=size),
        result=gather_result(node, gate),
    )


def prove_account(node: ChainNode, address: Address, *, at_final: bool = False) -> AccountProof:
    """An account, or its absence, after the head block or after the final one. Raises `StateNotKept`.

    While a change of members waits for its certificate, no reader could tell who may seal the head: it is the final
    one.
    """
    is_changing = get_announced(Overlay(node.chain.head.state)) is not None
    entry = get_final(node) if at_final or is_changing else node.chain.head
    key = account_key(address)
    return AccountProof(
        block=gather_evidence(node, entry.header),
        address=address,
        account=entry.state.get(key),
        state_proof=entry.state.prove(key),
    )


def prove_transaction(node: ChainNode, transaction_id: bytes) -> TransactionProof:
    """A transaction on the chain, and its receipt. Raises `UnknownTransaction`, or `TransactionNotKept`."""
    place = node.chain.find_transaction(transaction_id)
    block = None if place is None else node.chain.get_block(place[0])
    receipts = None if place is None else node.chain.get_receipts(place[0])
    if place is None or block is None or receipts is None:
        raise refuse_unknown(node.chain, transaction_id)
    _, index = place
    return TransactionProof(
        block=gather_evidence(node, block.header),
        transaction=block.transactions[index],
        inclusion=include([transaction.raw for transaction in block.transactions], index),
        code=receipts[index].code,
        receipt=include([_receipt_leaf(receipt.transaction_id, receipt.code) for receipt in receipts], index),
    )


def _receipt_leaf(transaction_id: bytes, code: str) -> bytes:
    """The leaf of `ledger.execution.compute_receipt_root` for one transaction."""
    return encode((transaction_id, code))


# --- checking --------------------------------------------------------------------------------------------


def verify_document(document: Mapping[str, Any], genesis: Genesis) -> Verdict:
    """Check a document offline, trusting nothing but the genesis document.

    Raises the `VerificationFailed` family: `InvalidProof` where bytes, claims or Merkle paths do not fit, else what
    is wrong with a signature or certificate.
    """
    if not isinstance(document, Mapping):
        raise InvalidProof(detail="the document is not a JSON object")
    try:
        proof, trust = _read_document(document, genesis)
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


def _read_document(document: Mapping[str, Any], genesis: Genesis) -> tuple[Proof, TrustedState]:
    """Read the proof in a document, and the trust it leads to; every claim must be what the proof's bytes say."""
    kind, text = document.get("kind"), document.get("proof")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise InvalidProof(detail=f"no proof is of kind {str(kind)[:40]!r}, it is one of {', '.join(_KINDS)}")
    if not isinstance(text, str) or len(text) > 2 * MAX_PROOF_BYTES:
        raise InvalidProof(detail=f"the proof is not up to {2 * MAX_PROOF_BYTES} hexadecimal digits")
    if document.get("chain_id") != genesis.chain_id.hex():
        raise InvalidProof(detail="the document is for another chain than this genesis makes")
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raise InvalidProof(detail="the proof is not hexadecimal") from None
    background, value = expect_array(decode(raw, max_bytes=MAX_PROOF_BYTES, max_items=_MAX_PROOF_ITEMS), 2, "proof")
    trust, proof = background_from_value(background, genesis), _KINDS[kind].from_value(value)
    rebuilt = make_document(proof, trust)
    if document.keys() != rebuilt.keys():
        raise InvalidProof(detail=f"the document makes other claims than {', '.join(rebuilt)}")
    for key, value in rebuilt.items():
        claimed, proved = _canonical_json(document[key]), _canonical_json(value)
        if claimed != proved:
            raise InvalidProof(detail=f"the document says {key} is {claimed[:80]}, its proof says {proved[:80]}")
    return proof, trust


def _canonical_json(value: object) -> str:
    """Unlike `==` on values, this tells 1 from true and from 1.0."""
    try:
        return json.dumps(value, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        raise InvalidProof(detail="a claim is not plain JSON") from None


def _name_period(trade: TradeRecord, trust: TrustedState) -> Claims:
    """A trade's period, and its session where there are two."""
    market = trust.genesis.params.market
    named: Claims = {"period": get_period(market, trade.gate)}
    return named if market.sessions == 1 else {**named, "session": get_session(market, trade.gate).title}


def _describe_match(match: Match) -> Claims:
    def describe(party: Party) -> Claims:
        return {**party._asdict(), "contributions": party.contributions._asdict(), "weight_ppm": party.weight_ppm}

    return {"w_ppm": match.w_ppm, "bid": describe(match.bid), "offer": describe(match.offer)}


def _read_account(raw: bytes) -> Account:
    return read_account(decode(raw, max_bytes=256))


def _decimal(amount: int, unit: int) -> str:
    """An integer amount of small units in the large one, exactly."""
    text = format(Decimal(amount) / unit, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
