"""Proof documents after members have come and gone: a verifier follows the handovers, from the genesis alone."""

from dataclasses import replace

import pytest

from consensus.errors import BrokenHandover, ShortCertificate, UnknownSigner, WrongVoters
from consensus.quorum import QuorumCertificate, sign_statement
from ledger.codec import decode, encode
from ledger.errors import InvalidProof, VerificationFailed
from ledger.genesis import Authority, Genesis
from ledger.membership import Admission, sign_act
from ledger.params import ConsensusParams
from ledger.transaction import make_transaction
from node.errors import NoCertificate
from node.proofs.documents import describe_proof, prove_account, prove_transaction, verify_document
from node.proofs.light_client import BlockEvidence, Finality, TrustedState
from simulation.world.networks import key_of, make_network
from simulation.world.world import World

PERIOD_MS = 20_000
NAMES = ("n0", "n1", "n2", "n3")
CHAIR, NEWCOMER = key_of("chair-0"), key_of("n4")
KEYS = {**{name: key_of(name) for name in NAMES}, "n4": NEWCOMER}
PBFT = ConsensusParams(engine="pbft", empty_after_ms=1_000, block_interval_ms=1_000)
MAX_BYTES = 4_000_000


class Town:
    """One chain on which n4 is admitted in the first period and n1 revoked in the second, while n3 is asleep."""

    def __init__(self, consensus):
        network = make_network(NAMES, period_ms=PERIOD_MS, consensus=consensus)
        document = network.genesis
        self.genesis = Genesis(
            params=document.params,
            time_ms=document.time_ms,
            members=document.members,
            authority=Authority(keys=(CHAIR.public_key,)),
        )
        self.world = World(self.genesis, KEYS, seed=5)
        self.run_to(0.3)
        self.world.crash("n3")
        self.act(self.admission(), sequence=0)
        self.run_to(1.2)
        self.send("n0", 1, "transfer", NEWCOMER.address, 5)
        self.run_to(1.4)
        self.act(("revoke", self.genesis.serial_of("n1"), "contract ended"), sequence=2)
        self.transfer = self.send("n4", 0, "transfer", KEYS["n0"].address, 1)
        self.run_to(2.5)
        self.world.start("n3")
        self.run_to(2.9)

    def admission(self):
        return Admission(
            serial=1_000,
            name="n4",
            role="prosumer",
            key=NEWCOMER.public_key,
            tls_key=b"",
            capacity_wh=1_000,
            position="",
            owner=b"",
            seals=("JY1",),
            not_before_ms=self.genesis.time_ms,
            not_after_ms=self.genesis.time_ms + 10**9,
        ).to_value()

    def run_to(self, periods):
        self.world.run_for(self.genesis.time_ms + int(periods * PERIOD_MS) - self.world.now_ms)

    def act(self, body, *, sequence):
        self.send("n0", sequence, body[0], *sign_act(self.genesis.network_id, body, [CHAIR]))

    def send(self, sender, sequence, kind, *payload):
        transaction = make_transaction(
            KEYS[sender],
            chain_id=self.world.chain_id,
            sequence=sequence,
            expiry_height=9_000,
            kind=kind,
            payload=payload,
        )
        assert self.world.submit("n0", transaction) == (None,)
        return transaction

    def node(self, name="n0"):
        return self.world.node(name)

    def document(self, name="n0"):
        """Of n4's account after the final block."""
        node = self.node(name)
        return describe_proof(prove_account(node, NEWCOMER.address, at_final=True), node)

    def rewritten(self, handovers=None, roster=0, certificate=None):
        """That document with another background, or another certificate of its block."""
        document = self.document()
        (relays, names), value = decode(bytes.fromhex(document["proof"]), max_bytes=MAX_BYTES)
        if handovers is not None:
            relays = tuple(relay.to_value() for relay in handovers)
        if certificate is not None:
            (header, (descendants, _)), *rest = value
            value = ((header, (descendants, certificate.to_value())), *rest)
        background = (relays, names if roster == 0 else roster)
        return {**document, "proof": encode((background, value)).hex()}

    def refusal(self, document):
        with pytest.raises(VerificationFailed) as refused:
            verify_document(document, self.genesis)
        return refused.type


@pytest.fixture(scope="module", params=[None, PBFT], ids=["poca", "pbft"])
def town(request):
    return Town(request.param)


def forge(statement, *names):
    votes = sorted((KEYS[name].public_key, sign_statement(statement, KEYS[name]).signature) for name in names)
    return QuorumCertificate(statement=statement, signatures=tuple(votes))


def test_a_document_leads_over_two_changes_to_those_who_signed(town):
    verdict = verify_document(town.document(), town.genesis)
    assert verdict.is_final
    assert "of 4 sealers, quorum 3, who follow from the founders by 2 changes of members" in verdict.statement
    assert verdict.claims["name"] == "n4", "its name is proved, too"


def test_the_sets_are_those_that_the_chain_had(town):
    trust = TrustedState(town.genesis, town.node().handovers)
    keys = {name: key.public_key for name, key in KEYS.items()}
    founders = {keys[name] for name in NAMES}
    expected = [founders, founders | {keys["n4"]}, (founders | {keys["n4"]}) - {keys["n1"]}]
    assert [set(one.sealers) for one in trust.sets] == expected
    slots = [one.since_slot for one in trust.sets]
    assert slots == sorted(set(slots))
    assert [set(trust.get_voters(slot).sealers) for slot in slots] == expected
    assert set(trust.get_voters(slots[1] - 1).sealers) == founders


def test_one_that_slept_through_the_changes_can_prove_as_much(town):
    assert [one.name for one in town.node("n3").handovers] == [one.name for one in town.node().handovers]
    assert verify_document(town.document("n3"), town.genesis).is_final


def test_a_transaction_of_a_member_admitted_later_tells_its_name(town):
    node = town.node()
    verdict = verify_document(describe_proof(prove_transaction(node, town.transfer.id), node), town.genesis)
    assert (verdict.claims["sender_name"], verdict.is_final) == ("n4", True)


def test_the_head_is_proved_too(town):
    node = town.node()
    document = describe_proof(prove_account(node, KEYS["n0"].address), node)
    assert verify_document(document, town.genesis).claims["height"] == node.chain.head.height


def test_a_handover_that_is_left_out_is_missed(town):
    first, second = town.node().handovers
    for handovers in ([second], [second, first], [first, first, second]):
        assert town.refusal(town.rewritten(handovers)) is WrongVoters
    assert issubclass(town.refusal(town.rewritten([], roster=None)), VerificationFailed)


def test_votes_that_were_too_few_stay_so_without_the_handover_that_says_it(town):
    """Three of five have signed, where four must: they are no three of the four founders either."""
    node, first, second = town.node(), *town.node().handovers
    founders, five, _ = TrustedState(town.genesis, [first, second]).sets
    certificate = next(
        filter(None, map(node.get_certificate, range(five.since_slot, second.certificate.statement.slot)))
    )
    few = forge(certificate.statement, "n0", "n1", "n2")
    header = node.chain.get_header(few.statement.block_hash)
    block = BlockEvidence(header=header, finality=Finality(descendants=(), certificate=few))
    for handovers, error in [([], WrongVoters), ([first], ShortCertificate), ([first, second], ShortCertificate)]:
        with pytest.raises(error):
            block.check(TrustedState(town.genesis, handovers))
    trimmed = replace(second, certificate=forge(second.certificate.statement, "n0", "n1", "n2"))
    assert town.refusal(town.rewritten([trimmed])) is WrongVoters
    assert town.refusal(town.rewritten([first, trimmed])) is ShortCertificate
    assert founders.since_slot == 0 == first.certificate.statement.since_slot


def test_another_set_cannot_be_put_in_the_place_of_one(town):
    first, second = town.node().handovers
    parts, ((since, _), *_) = decode(second.raw, max_bytes=10_000)
    forged = replace(second, raw=encode((parts, ((since, KEYS["n1"].public_key),))))
    assert town.refusal(town.rewritten([first, forged])) is InvalidProof
    other = replace(second, header=first.header)
    assert issubclass(town.refusal(town.rewritten([first, other])), VerificationFailed)
    statement = replace(second.certificate.statement, slot=10_000)
    later = replace(second, certificate=forge(statement, "n0", "n1", "n2", "n4"))
    assert town.refusal(town.rewritten([first, later])) is BrokenHandover, "by then it has handed over"
    early = replace(second, certificate=forge(replace(statement, since_slot=0), "n0", "n1", "n2", "n4"))
    assert town.refusal(town.rewritten([early])) is UnknownSigner, "n4 was no founder"


def test_former_members_certify_nothing_more(town):
    """The block is the right one, but one of those who sign for it has been revoked; or they are too few by now."""
    statement = town.node().final_certificate.statement
    by_former = forge(statement, "n0", "n1", "n2")
    assert town.refusal(town.rewritten(certificate=by_former)) is UnknownSigner
    first, second = town.node().handovers
    short = replace(second, certificate=forge(second.certificate.statement, "n0", "n1", "n2"))
    assert town.refusal(town.rewritten([first, short])) is ShortCertificate


def test_what_is_no_handover_is_refused(town):
    first, _ = town.node().handovers
    for strange in (replace(first, kind="result"), replace(first, part=1)):
        assert town.refusal(town.rewritten([strange])) is BrokenHandover
    assert town.refusal(town.rewritten([first] * 1_025)) is InvalidProof


def test_a_name_that_the_state_does_not_hold_is_refused(town):
    document = town.document()
    (_, (block, ((address, raw, proof),))), _ = decode(bytes.fromhex(document["proof"]), max_bytes=MAX_BYTES)
    forged = (block, ((address, raw.replace(b"n4", b"n9"), proof),))
    assert town.refusal(town.rewritten(roster=forged)) is InvalidProof
    nameless = {**town.rewritten(roster=None), "name": None}
    assert verify_document(nameless, town.genesis).claims["name"] is None, "a name may be left out"


def test_a_node_that_lacks_the_proof_of_a_change_says_so(town):
    node = town.node()
    kept = node._finality.set_changes._relays
    node._finality.set_changes._relays = dict([max(kept.items())])
    try:
        with pytest.raises(NoCertificate):
            town.document()
        node._finality.set_changes._relays = {}
        with pytest.raises(NoCertificate):
            town.document()
    finally:
        node._finality.set_changes._relays = kept
