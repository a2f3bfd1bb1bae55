"""Proof documents hold from the genesis alone, and not one byte of them can be changed."""

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from consensus.errors import ShortCertificate, UnknownSigner
from consensus.quorum import sign_statement
from ledger.accounts import get_account
from ledger.block import Header
from ledger.codec import decode, encode
from ledger.errors import DuplicateSigner, GridmeritError, InvalidProof, InvalidSignature, VerificationFailed
from ledger.hashing import address_of
from ledger.merkle import inclusion_proof, merkle_root
from ledger.overlay import Overlay
from ledger.params import MarketParams
from ledger.signatures import SigningKey
from market.errors import UnknownTrade
from market.orders import Side
from market.trading.gates import decode_gate
from market.trading.trades import decode_trade_leaf
from node.config import NetworkDocument, describe_network
from node.errors import NoCertificate, StateNotKept, UnknownTransaction
from node.proofs.documents import (
    AccountProof,
    TradeProof,
    make_document,
    prove_account,
    prove_trade,
    prove_transaction,
    verify_document,
)
from node.proofs.light_client import BlockEvidence, Finality, Inclusion, TrustedState
from tests.support.market_nodes import tell_story

PERIOD = 4
KINDS = ("trade", "account", "final account", "absence", "genesis account", "transaction", "refused transaction")


@pytest.fixture(scope="module")
def proofs(story, make_world):
    world, said = story
    node, pv = world.node, address_of(next(m.key for m in world.genesis.members if m.name == "pv-101"))
    return {
        "trade": prove_trade(node, PERIOD, 1),
        "account": prove_account(node, pv),
        "final account": prove_account(node, pv, at_final=True),
        "absence": prove_account(node, bytes(20)),
        "genesis account": prove_account(make_world(4).node, pv),
        "transaction": prove_transaction(node, said["bid"].id),
        "refused transaction": prove_transaction(node, said["refused"].id),
    }


@pytest.fixture(scope="module")
def genesis(story):
    return story[0].genesis


@pytest.fixture(scope="module")
def trust(genesis):
    return TrustedState(genesis)


@pytest.fixture(scope="module")
def documents(proofs, trust):
    return {kind: make_document(proof, trust) for kind, proof in proofs.items()}


class Shelf:
    """Everything above, for tests whose arguments get printed."""

    def __init__(self, proofs, documents, trust):
        self.proofs, self.documents, self.trust = proofs, documents, trust


@pytest.fixture(scope="module")
def shelf(proofs, documents, trust):
    return Shelf(proofs, documents, trust)


def signers_of(certificate):
    return f"{len(certificate.signatures)} of 4 sealers, quorum 3"


# --- what holds ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_document_holds_after_a_trip_through_json(documents, genesis, kind):
    document = json.loads(json.dumps(documents[kind]))
    trusted = NetworkDocument.model_validate_json(describe_network(genesis).model_dump_json()).open("jy1")
    verdict = verify_document(document, trusted)
    assert verdict.kind == document["kind"]
    assert verdict.chain == "jy1"
    assert verdict.claims.items() <= document.items()


def test_the_verdict_says_what_a_trade_was(proofs, documents, genesis):
    verdict, block = verify_document(documents["trade"], genesis), proofs["trade"].block
    assert verdict.statement.startswith(
        "trade 1 of period 4: pv-101 sold 2.000 kWh to homes-2 at 0.5175 yuan/kWh, matched with weight 2.02; "
        f"its result was signed by {signers_of(proofs['trade'].result.certificate)}; "
        f"the period is settled after block {block.header.height}: sealed and signed by "
    )
    assert verdict.statement.endswith(f"final, certified by {signers_of(block.finality.certificate)}")
    assert verdict.is_final


def test_the_verdict_says_whether_an_account_is_final(story, proofs, documents, genesis):
    chain = story[0].node.chain
    verdict = verify_document(documents["account"], genesis)
    assert f"after block {chain.head.height}: sealed and signed by " in verdict.statement
    assert verdict.statement.endswith("not proved final")
    assert not verdict.is_final
    final = verify_document(documents["final account"], genesis)
    assert f"after block {chain.final_height}: " in final.statement
    certificate = proofs["final account"].block.finality.certificate
    assert final.statement.endswith(f"final, certified by {signers_of(certificate)}")
    assert final.is_final


def test_the_claims_of_an_account_are_eq_7(story, documents, genesis):
    claims = verify_document(documents["account"], genesis).claims
    assert claims["name"] == "pv-101"
    assert claims["account"]["credit_upt"] == 91_680_000
    assert set(claims["account"]) >= {"balance_uyuan", "reserved_uyuan", "credit_upt", "sequence"}


def test_the_columns_of_an_account_are_proved_with_it():
    world, _ = tell_story(4, MarketParams(income_and_cost="kept"))
    seller = address_of(next(member.key for member in world.genesis.members if member.name == "pv-101"))
    proof = prove_account(world.node, seller)
    document = make_document(proof, TrustedState(world.genesis))
    verdict = verify_document(document, world.genesis)
    account, held = verdict.claims["account"], get_account(Overlay(world.node.chain.head.state), seller)
    assert (int(account["income_uyuan"]), int(account["cost_uyuan"])) == (held.income_uyuan, held.cost_uyuan)
    assert held.income_uyuan > 0 == held.cost_uyuan
    assert f"by settlements {held.income_uyuan / 10**6:.6g} yuan of income and 0 yuan of cost," in verdict.statement
    lie = {**account, "income_uyuan": str(held.income_uyuan + 1)}
    with pytest.raises(InvalidProof):
        verify_document({**document, "account": lie}, world.genesis)


def test_the_columns_are_no_claim_where_a_chain_does_not_keep_them(documents):
    assert not {"income_uyuan", "cost_uyuan"} & set(documents["account"]["account"])


def test_absence_is_proved(documents, genesis):
    verdict = verify_document(documents["absence"], genesis)
    assert verdict.claims["account"] is None
    assert "has no account after block" in verdict.statement


def test_the_genesis_block_needs_no_signature(documents, genesis):
    verdict = verify_document(documents["genesis account"], genesis)
    assert verdict.statement == (
        "pv-101 has 100 yuan free, 0 yuan reserved and 90 points of credit after block 0: the genesis block"
    )
    assert verdict.is_final


def test_the_verdict_says_what_became_of_a_transaction(story, documents, genesis):
    verdict = verify_document(documents["transaction"], genesis)
    identity = story[1]["bid"].id.hex()
    assert verdict.statement.startswith(f"transaction {identity} (intention by homes-2) stands in block 11")
    assert " and took effect: sealed and signed by " in verdict.statement
    assert verdict.is_final
    refused = verify_document(documents["refused transaction"], genesis)
    assert "was refused there (InsufficientBalance)" in refused.statement


def test_a_block_above_the_final_one_is_not_proved_final(world):
    transfer = world.send("homes-2", "transfer", world.keys["grid"].address, 5)
    world.make_block()
    document = make_document(prove_transaction(world.node, transfer.id), TrustedState(world.genesis))
    verdict = verify_document(document, world.genesis)
    assert not verdict.is_final
    assert verdict.claims["final"] is False


# --- what does not ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["trade", "account", "absence", "genesis account"])
def test_no_byte_can_be_changed(documents, genesis, kind):
    raw = bytes.fromhex(documents[kind]["proof"])
    for place in range(len(raw)):
        forged = raw[:place] + bytes([raw[place] ^ 1 + place % 255]) + raw[place + 1 :]
        with pytest.raises(VerificationFailed):
            verify_document({**documents[kind], "proof": forged.hex()}, genesis)


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(KINDS), place=st.integers(0, 2**16), flip=st.integers(1, 255))
def test_no_byte_can_be_changed_nor_the_claims_with_it(shelf, kind, place, flip):
    """The stronger forger: where the changed bytes still read as a proof, the claims follow them."""
    proof, document = shelf.proofs[kind], shelf.documents[kind]
    raw = bytearray(bytes.fromhex(document["proof"]))
    raw[place % len(raw)] ^= flip
    document = {**document, "proof": raw.hex()}
    with suppress(GridmeritError):
        forgery = type(proof).from_value(decode(bytes(raw), max_bytes=len(raw)))
        # That one absent account is absent may well prove the same of its neighbours, and then it is true.
        assume(kind != "absence" or forgery.address == proof.address)
        document = make_document(forgery, shelf.trust)
    with pytest.raises(VerificationFailed):
        verify_document(document, shelf.trust.genesis)


@pytest.mark.parametrize("kind", KINDS)
def test_no_claim_can_be_changed_added_or_left_out(documents, genesis, kind):
    document = documents[kind]
    for name, value in document.items():
        for lie in (None, 1, "x", [], {}, True, False):
            if json.dumps(lie) != json.dumps(value):
                with pytest.raises(InvalidProof):
                    verify_document({**document, name: lie}, genesis)
        with pytest.raises(InvalidProof):
            verify_document({key: kept for key, kept in document.items() if key != name}, genesis)
    with pytest.raises(InvalidProof):
        verify_document({**document, "note": []}, genesis)
    with pytest.raises(InvalidProof):
        verify_document({**document, "proof": document["proof"].upper()}, genesis)
    with pytest.raises(InvalidProof):
        verify_document({**document, "proof": document["proof"] + "00"}, genesis)


def test_a_claim_may_be_anything_that_json_is_not(documents, genesis):
    endless = []
    endless.append(endless)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for lie in (endless, deep, {1, 2}, b"", object()):
        with pytest.raises(InvalidProof):
            verify_document({**documents["account"], "account": lie}, genesis)


def test_a_document_is_for_one_chain(documents, genesis):
    other = genesis.model_copy(update={"time_ms": genesis.time_ms + 1})
    for document in documents.values():
        with pytest.raises(InvalidProof, match="another chain"):
            verify_document(document, other)
        with pytest.raises(InvalidProof):
            verify_document({**document, "chain_id": other.chain_id.hex()}, other)


@pytest.mark.parametrize("document", [None, [], "proof", 7, {}, {"kind": "trade"}, {"kind": []}, {"kind": "oracle"}])
def test_what_is_no_document_proves_nothing(genesis, document):
    with pytest.raises(InvalidProof):
        verify_document(document, genesis)


def depth_of(value):
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, tuple) else 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
VALUES = st.recursive(
    st.none() | st.integers(0, 2**63 - 1) | st.binary(max_size=40) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=5).map(tuple),
    max_leaves=20,
).filter(lambda value: depth_of(value) <= 8)


@settings(max_examples=200, deadline=None)
@given(kind=st.sampled_from(["trade", "account", "transaction"]), junk=VALUES, claims=JSON)
def test_junk_fails_by_name(shelf, kind, junk, claims):
    chain_id = shelf.trust.chain_id.hex()
    document = {"kind": kind, "chain": "jy1", "chain_id": chain_id, "proof": encode(junk).hex(), "claims": claims}
    with pytest.raises(VerificationFailed):
        verify_document(document, shelf.trust.genesis)


# --- forged by somebody who has keys -----------------------------------------------------------------------------


def forged(proof, trust, genesis):
    """Verify what a forger claims, with the claims that go with it."""
    verify_document(make_document(proof, trust), genesis)


def certified_by(proof, certificate):
    """The same proof with another certificate behind it."""
    return replace(proof, block=replace(proof.block, finality=replace(proof.block.finality, certificate=certificate)))


@pytest.fixture(scope="module")
def certificate(proofs):
    return proofs["trade"].block.finality.certificate


def test_too_few_signers(proofs, certificate, trust, genesis):
    short = replace(certificate, signatures=certificate.signatures[:2])
    with pytest.raises(ShortCertificate):
        forged(certified_by(proofs["trade"], short), trust, genesis)


def test_a_signer_from_outside(proofs, certificate, trust, genesis):
    stranger = SigningKey(b"!" * 32)
    vote = sign_statement(certificate.statement, stranger)
    signatures = tuple(sorted([*certificate.signatures[:2], (stranger.public_key, vote.signature)]))
    with pytest.raises(UnknownSigner):
        forged(certified_by(proofs["trade"], replace(certificate, signatures=signatures)), trust, genesis)


def test_one_signer_twice(proofs, certificate, trust, genesis):
    first = certificate.signatures[0]
    twice = replace(certificate, signatures=(first, first, *certificate.signatures[1:]))
    with pytest.raises((DuplicateSigner, InvalidProof)):
        forged(certified_by(proofs["trade"], twice), trust, genesis)


def test_a_trade_in_a_block_that_nobody_certified(proofs, trust, genesis):
    block = replace(proofs["trade"].block, finality=None)
    with pytest.raises(InvalidProof, match="no certificate"):
        forged(replace(proofs["trade"], block=block), trust, genesis)


def test_a_gate_that_the_state_does_not_hold(proofs, trust, genesis):
    """A trade of the forger's own under a root of its own: the certified state has another gate."""
    proof = proofs["trade"]
    leaf = decode_trade_leaf(proof.leaf)._replace(volume_wh=1_000_000)
    raw = encode(leaf.to_value())
    gate = decode_gate(proof.gate)._replace(result_root=merkle_root([raw]), trade_count=1)
    forgery = replace(proof, leaf=raw, gate=encode(gate.to_value()), inclusion=Inclusion(sides=0, path=()))
    with pytest.raises(InvalidProof, match="another root"):
        forged(forgery, trust, genesis)


def test_a_trade_of_another_period(proofs, trust, genesis):
    """A gate's state proof is for its own period alone."""
    proof = proofs["trade"]
    raw = encode(decode_trade_leaf(proof.leaf)._replace(gate=PERIOD + 1).to_value())
    gate = encode(decode_gate(proof.gate)._replace(result_root=merkle_root([raw]), trade_count=1).to_value())
    for forgery in (replace(proof, leaf=raw, gate=gate), replace(proof, leaf=raw)):
        with pytest.raises(InvalidProof):
            forged(replace(forgery, inclusion=Inclusion(sides=0, path=())), trust, genesis)


def test_a_header_that_a_stranger_sealed(proofs, trust, genesis):
    proof, stranger = proofs["account"], SigningKey(b"!" * 32)
    header = seal(replace(proof.block.header, producer=stranger.public_key), stranger)
    with pytest.raises(InvalidProof, match="NotASealer"):
        forged(replace(proof, block=BlockEvidence(header=header, finality=None)), trust, genesis)


def test_a_header_without_its_seal(story, proofs, trust, genesis):
    """A sealer's signature alone does not do: the search costs work."""
    proof = proofs["account"]
    key = next(key for key in story[0].keys.values() if key.public_key == proof.block.header.producer)
    header = replace(proof.block.header, n_diff=1, credit_upt=0).sealed(0, key)
    with pytest.raises(InvalidProof, match="TargetMissed"):
        forged(replace(proof, block=BlockEvidence(header=header, finality=None)), trust, genesis)


def test_a_header_without_its_signature(proofs, trust, genesis):
    proof = proofs["account"]
    header = replace(proof.block.header, signature=bytes(64))
    with pytest.raises(InvalidSignature):
        forged(replace(proof, block=BlockEvidence(header=header, finality=None)), trust, genesis)


def test_another_genesis_block(proofs, trust, genesis):
    proof = proofs["genesis account"]
    header = replace(proof.block.header, timestamp_ms=proof.block.header.timestamp_ms + 1)
    with pytest.raises(InvalidProof, match="genesis block"):
        forged(replace(proof, block=BlockEvidence(header=header, finality=None)), trust, genesis)


def test_somebody_elses_account(story, proofs, trust, genesis):
    proof = proofs["account"]
    other = prove_account(story[0].node, next(iter(story[0].keys.values())).address)
    for forgery in (replace(proof, address=other.address), replace(proof, account=other.account)):
        with pytest.raises(InvalidProof, match="another root"):
            forged(forgery, trust, genesis)


def test_headers_that_do_not_lead_to_the_certified_block(proofs, trust, genesis):
    proof = proofs["transaction"]
    finality = proof.block.finality
    assert len(finality.descendants) >= 2
    for descendants in (finality.descendants[1:], finality.descendants[:-1], ()):
        block = replace(proof.block, finality=Finality(descendants=descendants, certificate=finality.certificate))
        with pytest.raises(InvalidProof, match=r"does not follow|do not lead"):
            forged(replace(proof, block=block), trust, genesis)


def test_finality_borrowed_from_another_block(proofs, trust, genesis):
    """The head is not final because an earlier block is."""
    proof = proofs["account"]
    borrowed = replace(proof.block, finality=proofs["final account"].block.finality)
    with pytest.raises(InvalidProof, match="do not lead"):
        forged(replace(proof, block=borrowed), trust, genesis)


def test_a_receipt_that_says_otherwise(proofs, trust, genesis):
    with pytest.raises(InvalidProof, match="another root"):
        forged(replace(proofs["refused transaction"], code=""), trust, genesis)


def seal(header: Header, key: SigningKey) -> Header:
    return replace(header, n_diff=2**240).sealed(0, key)


# --- what cannot be proved -----------------------------------------------------------------------------------------


def test_what_there_is_no_proof_for(story, world):
    node = story[0].node
    with pytest.raises(UnknownTrade):
        prove_trade(node, PERIOD, 2)
    with pytest.raises(UnknownTrade):
        prove_trade(node, 99, 0)
    with pytest.raises(UnknownTransaction):
        prove_transaction(node, bytes(32))
    pending = world.send("homes-2", "transfer", world.keys["grid"].address, 5)
    with pytest.raises(UnknownTransaction):
        prove_transaction(world.node, pending.id)


def test_a_trade_without_a_certificate_is_not_proved(make_world):
    # Only one of four nodes sees the gate, so nobody hears of its vote.
    world = make_world(4)
    world.run_until(PERIOD - 3)
    world.order("pv-101", Side.OFFER, price=500_000, volume=1_000)
    world.order("homes-2", Side.BID, price=500_000, volume=1_000)
    world.make_block()
    world.silence(*list(world.nodes)[1:])
    world.run_until(PERIOD - 2, 900_000)
    with pytest.raises(NoCertificate):
        prove_trade(world.node, PERIOD, 0)


def test_the_final_state_is_kept_for_a_while_only(make_world):
    world = make_world(4)
    world.silence(*list(world.nodes)[1:])
    for _ in range(130):
        world.make_block()
    assert world.node.chain.final_height == 0
    with pytest.raises(StateNotKept):
        prove_account(world.node, bytes(20), at_final=True)
    assert prove_account(world.node, bytes(20)).block.header.height == 130


# --- inclusion -----------------------------------------------------------------------------------------------------


@given(size=st.integers(1, 70), data=st.data())
def test_an_inclusion_stands_for_one_leaf_only(size, data):
    leaves = [bytes([number]) for number in range(size)]
    index = data.draw(st.integers(0, size - 1))
    root = merkle_root(leaves)
    inclusion = Inclusion.of(inclusion_proof(leaves, index), index=index, size=size)
    inclusion.check(root, leaves[index])
    with pytest.raises(InvalidProof):
        inclusion.check(root, b"another")
    for sides in range(1 << len(inclusion.path)):
        if sides != inclusion.sides:
            with pytest.raises(InvalidProof):
                replace(inclusion, sides=sides).check(root, leaves[index])


def test_the_three_kinds_are_told_apart(proofs):
    assert isinstance(proofs["trade"], TradeProof)
    assert isinstance(proofs["account"], AccountProof)
    assert {proof.kind for proof in proofs.values()} == {"trade", "account", "transaction"}
