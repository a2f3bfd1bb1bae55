"""TradeResults in virtual time: members sign what they have computed, and who has computed something else is shown."""

from dataclasses import replace

import pytest

from consensus.quorum import QuorumCertificate, Statement, sign_statement, verify_certificate
from gridmerit.commands.market_tables import render_trades
from gridmerit.commands.status import _render_chain
from ledger.accounts import get_sealers
from ledger.chain import WINDOW
from ledger.codec import encode
from ledger.errors import InvalidProof, NonCanonical, StoreCorrupt
from ledger.hashing import sha256
from ledger.overlay import Overlay
from ledger.params import ConsensusParams
from ledger.results import Result, compute_digest, encode_results
from ledger.signatures import SigningKey
from ledger.store import MemoryStore
from ledger.transaction import make_transaction
from market.trading import views
from market.trading.gates import CERTIFIED, LAPSED, OPEN, VOID
from market.trading.trades import compute_result_root, decode_trade_leaf
from market.trading.views import get_gate, get_trades
from node.chain import messages as wire
from node.chain.agreement import _PROPOSAL_ROW
from node.chain.events import MessageReceived, PenalisePeer, Send
from node.chain.node import ChainNode
from node.chain.results import _row_key, read_records
from node.proofs.documents import make_document, prove_trade, verify_document
from node.proofs.light_client import TrustedState
from node.queries.chain import ChainQueries
from simulation.world.networks import make_consensus, make_network
from simulation.world.world import World
from tests.processes.wrong_book_node import WrongBook

PERIOD = 3  # its gate is at the start of period 1, its deadline at its own
NAMES = ("n0", "n1", "n2", "n3")
PBFT = ConsensusParams(
    engine="pbft", block_interval_ms=1_000, max_ahead_ms=2_000, empty_after_ms=1_000, view_timeout_ms=1_000
)
ENGINES = {"poca": None, "pbft": PBFT}
UNKNOWN_ROOT = b"\x07" * 32


class Market:
    """Four members, one of which sells to another in `PERIOD`, and some of which are liars.

    `engine` is one of `ENGINES`, or what members agree by.
    """

    def __init__(self, engine, liars=()):
        self.network = make_network(NAMES, consensus=ENGINES[engine] if isinstance(engine, str) else engine)
        self.keys = self.network.keys
        policies = dict.fromkeys(liars, WrongBook)
        self.world = World(self.network.genesis, self.keys, seed=5, policies=policies)
        self.honest = [name for name in NAMES if name not in liars]
        self.world.run_for(2_000)  # those who may sign begin to
        self.order("n0", 1, 500_000)
        self.order("n1", 0, 560_000)

    def order(self, name, side, price):
        payload = (side, PERIOD, price, 200_000)
        intention = make_transaction(
            self.keys[name],
            chain_id=self.world.chain_id,
            sequence=0,
            expiry_height=5_000,
            kind="intention",
            payload=payload,
        )
        assert self.world.submit(name, intention) == (None,)

    def node(self, name="n0"):
        return self.world.node(name)

    def gate(self, name="n0"):
        return get_gate(self.node(name).chain.head.state, PERIOD)

    def status(self, name="n0"):
        gate = self.gate(name)
        return None if gate is None else gate.status

    def run_until(self, status, names=None, *, limit_ms=40_000):
        names = names or self.honest
        self.world.run_until(lambda: {self.status(name) for name in names} == {status}, limit_ms=limit_ms)

    def result(self, name="n0"):
        return ChainQueries(self.node(name)).get_trades(PERIOD).result

    def told(self, name, kind="result-differs"):
        return [event for event in self.world.peers[name].published if event[0] == kind]

    def say(self, victim, sender, message):
        """A peer's actions upon a message, and the codes of the faults that it blames the sender for."""
        actions = self.node(victim).step(MessageReceived(peer=sender.public_key, message=message), self.world.now_ms)
        return actions, [action.error.code for action in actions if isinstance(action, PenalisePeer)]


@pytest.fixture(params=ENGINES)
def engine(request):
    return request.param


@pytest.fixture(scope="module", params=ENGINES)
def certified(request):
    """A period whose trades have been certified, to be read only."""
    market = Market(request.param)
    market.run_until(CERTIFIED)
    market.world.run_for(2_000)
    return market


def test_a_damaged_row_of_a_result_is_the_stores_fault(certified):
    peer, store = certified.world.peers["n0"], MemoryStore()
    store.write([*peer.store.scan(b"")])
    node = ChainNode(certified.network.genesis, store, key=peer.key, signing_record=peer.signing_record)
    assert node.results.find(PERIOD) is not None
    ((key, raw),) = [row for row in store.scan(b"") if row[0] == _row_key(PERIOD)]
    store.write([(key, raw[:-1])])
    with pytest.raises(StoreCorrupt, match="results: "):
        node.results.find(PERIOD)


# --- where all agree -------------------------------------------------------------------------------


def test_more_than_m_identical_results_certify_the_gate_beside_the_block_it_stands_in(certified):
    for name in NAMES:
        node = certified.node(name)
        found = node.results.find(PERIOD)
        trades = get_trades(node.chain.head.state, PERIOD)
        assert found.results == (Result(PERIOD, 1, compute_result_root(trades)),), "from its own book"
        statement = found.certificate.statement
        assert statement.result == compute_digest(found.results)
        assert node.chain.get_header(statement.block_hash).height >= certified.gate(name).height
        assert len(found.certificate.signatures) >= 3
        sealers = get_sealers(Overlay(node.chain.head.state))
        verify_certificate(found.certificate, sealers, 3, chain_id=certified.world.chain_id)
        assert certified.told(name) == []
    assert {name: peer.faults for name, peer in certified.world.peers.items() if peer.faults} == {}


def test_everybody_hears_who_has_signed_what(certified):
    for name in NAMES:
        result = certified.result(name)
        assert {item.name for item in result.signed} == set(NAMES), "those whom the certificate did not need, too"
        assert {item.opinion for item in result.signed} == {"agrees"}
        assert {item.root for item in result.signed} == {certified.gate(name).result_root.hex()}
        assert (result.quorum, result.sealers, result.silent) == (3, 4, ())
    text = render_trades(ChainQueries(certified.node()).get_trades(PERIOD))
    assert "signed by 4 of 4: " in text


def test_a_restart_forgets_no_certificate(engine):
    market = Market(engine)
    market.run_until(CERTIFIED)
    market.world.crash("n2")
    market.world.start("n2")
    market.world.run_for(100)
    found = market.node("n2").results.find(PERIOD)
    assert found is not None
    assert found.results == market.node("n0").results.find(PERIOD).results


def test_the_proof_of_a_trade_carries_its_certificate(certified):
    node, genesis = certified.node(), certified.network.genesis
    proof = prove_trade(node, PERIOD, 0)
    verdict = verify_document(make_document(proof, TrustedState(genesis)), genesis)
    assert len(verdict.claims["result"]["signers"]) >= 3
    assert "its result was signed by " in verdict.statement
    root = proof.result.check(TrustedState(genesis), PERIOD)  # the certificate alone …
    proof.inclusion.check(root, proof.leaf)  # … proves the record
    wrong = replace(proof.result, results=(Result(PERIOD, 1, UNKNOWN_ROOT),))
    for result in (wrong, replace(proof.result, results=(Result(PERIOD + 1, 1, root),))):
        with pytest.raises(InvalidProof, match="not of these results"):
            verify_document(make_document(replace(proof, result=result), TrustedState(genesis)), genesis)


# --- where somebody computes something else ---------------------------------------------------------


def test_a_member_with_another_result_is_outvoted_and_shown(engine):
    market = Market(engine, liars=("n3",))
    market.run_until(CERTIFIED)
    market.world.run_for(3_000)
    liar = market.keys["n3"]
    for name in market.honest:
        found = market.node(name).results.find(PERIOD)
        assert found.results[0].root == market.gate(name).result_root
        assert liar.public_key not in dict(found.certificate.signatures)
        events = market.told(name)
        assert {event[2] for event in events} == {liar.address}
        assert len(events) == len(set(events)) == market.node(name).results.differing
        shown = {item.name: item for item in market.result(name).signed}
        assert (shown["n3"].opinion, shown["n3"].counted) == ("other-result", False)
        assert shown["n3"].root == sha256(market.gate(name).result_root).hex()
        assert {shown[other].opinion for other in market.honest} == {"agrees"}
        assert "not counted: n3 signed result " in render_trades(ChainQueries(market.node(name)).get_trades(PERIOD))
        assert market.node(name).results.elsewhere == 0
        assert market.node(name).results.dissenters() == (), "it is outvoted"
        assert market.told(name, "equivocation") == market.told(name, "result-conflict") == []
    assert {name: peer.faults for name, peer in market.world.peers.items() if peer.faults} == {}


def test_with_too_many_of_them_no_checkpoint_certifies_the_gate_and_the_period_is_void():
    market = Market("poca", liars=("n2", "n3"))
    market.run_until(OPEN)
    height = market.gate().height
    market.run_until(VOID, limit_ms=60_000)
    assert market.node().results.find(PERIOD) is None
    assert {item.name for item in market.result().signed if item.opinion == "other-result"} == {"n2", "n3"}
    assert market.result().slot is None
    market.world.run_until(lambda: market.node().chain.final_height > height, limit_ms=60_000)
    assert market.status() == VOID, "the chain goes on without it"


def test_with_more_than_f_of_them_an_agreement_stands_still():
    market = Market("pbft", liars=("n2", "n3"))
    market.world.run_for(30_000)
    assert market.status() is None, "no block with the gate in it is decided"
    assert {event[2] for event in market.told("n0")} == {market.keys[name].address for name in ("n2", "n3")}
    status = ChainQueries(market.node()).get_status(market.world.now_ms)
    assert set(status.dissenters) == set(status.waiting_for) == {"n2", "n3"}
    assert "signed by n3, n2 of a block that waits for its quorum" in _render_chain(status, is_excluded=False)


def test_a_quorum_that_lies_is_not_followed():
    """More than f of them: everybody can tell by its own book, and says so."""
    market = Market("poca")
    market.run_until(OPEN)
    market.world.partition({"n0"}, {"n1", "n2", "n3"})
    node = market.node("n0")
    market.world.run_until(lambda: any(one.result for one in node._finality.list_due()), limit_ms=60_000)
    statement = next(one for one in node._finality.list_due() if one.result)
    wrong = replace(statement, result=UNKNOWN_ROOT)
    votes = sorted((sign_statement(wrong, market.keys[name]) for name in NAMES[1:]), key=lambda vote: vote.signer)
    signatures = tuple((vote.signer, vote.signature) for vote in votes)
    certificate = QuorumCertificate(statement=wrong, signatures=signatures)
    before = node.chain.final_height
    market.world.inject("n0", market.keys["n1"].public_key, wire.Certificate(raw=certificate.raw))
    conflict = ("result-conflict", statement.slot, statement.block_hash, UNKNOWN_ROOT)
    assert market.told("n0", "result-conflict") == [conflict]
    assert node.chain.final_height == before
    assert node.results.find(PERIOD) is None


# --- records on request ----------------------------------------------------------------------------


def ask(market, *indexes, period=PERIOD, by="n1"):
    question = wire.GetTradeRecords(period=period, indexes=indexes)
    actions, faults = market.say("n0", market.keys[by], question)
    assert all(isinstance(action, Send | PenalisePeer) for action in actions)
    return [action.message for action in actions if isinstance(action, Send)], faults


def test_records_come_with_certificate_and_inclusion_proof(certified):
    [answer], _ = ask(certified, 0)
    certificate, result = read_records(answer, (0,))
    verify_certificate(certificate, get_sealers(Overlay(certified.node().chain.head.state)), 3)
    assert result.root == certified.gate().result_root
    [record] = get_trades(certified.node().chain.head.state, PERIOD)
    assert decode_trade_leaf(answer.records[0][0]) == record
    assert record.match.w_ppm > 0
    forged = encode(record._replace(volume_wh=1).to_value())
    for records in (((forged, answer.records[0][1]),), (), answer.records * 2):
        with pytest.raises(InvalidProof):
            read_records(replace(answer, records=records), (0,))


def test_of_what_is_not_there_nothing_is_told(certified):
    for indexes, period in (((1,), PERIOD), ((0, 2**40), PERIOD), ((), PERIOD + 9), ((0,), 2**60)):
        assert ask(certified, *indexes, period=period) == ([], [])


def test_whoever_asks_for_more_than_its_share_is_refused(engine):
    market = Market(engine)
    market.run_until(CERTIFIED)
    answers = [ask(market, *[0] * wire.MAX_RECORDS, by="n2") for _ in range(5_000)]
    assert answers[0][1] == [], "the first is answered"
    assert answers[-1] == ([], ["ServedTooMuch"])


def test_a_node_that_was_away_at_the_gate_asks_for_its_certificate():
    market = Market("pbft")
    market.world.run_for(5_000)
    market.world.crash("n3")
    market.run_until(CERTIFIED, NAMES[:3])
    market.world.run_for(5_000)
    market.world.start("n3")
    market.run_until(CERTIFIED)
    market.world.run_until(lambda: market.node("n3").results.find(PERIOD) is not None, limit_ms=20_000)
    assert market.node("n3").results.find(PERIOD).results == market.node("n0").results.find(PERIOD).results
    assert market.world.peers["n3"].faults == []


def test_a_member_that_comes_back_signs_a_result_whose_block_has_left_its_memory():
    """Two of four were away: the checkpoint of the gate waits for the third, below more blocks than are kept."""
    consensus = make_consensus(4_000, 90_000_000).model_copy(
        update={"checkpoint_lifetime": 16, "checkpoints_per_period": 1}
    )
    market = Market(consensus)
    world, node = market.world, market.node()
    world.crash("n2")
    world.crash("n3")
    market.run_until(OPEN, ("n0", "n1"))
    world.run_until(lambda: node.chain.head.height > market.gate().height + WINDOW + 20, limit_ms=400_000)
    slot = next(one.slot for one in node._finality.list_due() if one.result)
    world.start("n2")
    world.run_until(lambda: node.chain.final_height > market.gate().height, limit_ms=60_000)
    world.run_for(3_000)
    assert market.keys["n2"].public_key in {claim.vote.signer for claim in node.results.claims(slot)}
    assert [error.code for _, error in world.peers["n2"].faults if error.penalty] == []


def test_a_vote_for_a_result_is_said_again_once_its_lost_block_is_back():
    """The guard has the commit, and a restored store not the block that it is to."""
    market = Market("pbft")
    peer, node = market.world.peers["n0"], market.node()
    market.world.run_until(
        lambda: (
            bool(peer.signing_record.agreement.result) and peer.signing_record.agreement.height > node.chain.head.height
        ),
        limit_ms=60_000,
    )
    market.world.crash("n0")
    peer.store.write([(key, None) for key, _ in peer.store.scan(_PROPOSAL_ROW)])
    market.world.start("n0")
    market.run_until(CERTIFIED)
    assert peer.faults == []


def test_a_node_that_was_away_until_all_was_settled_asks_for_it_too():
    market = Market("pbft")
    market.world.run_for(5_000)
    market.world.crash("n3")
    market.run_until(LAPSED, NAMES[:3], limit_ms=200_000)
    market.world.start("n3")
    market.world.run_until(lambda: market.node("n3").results.find(PERIOD) is not None, limit_ms=60_000)
    assert market.node("n3").results.find(PERIOD).results == market.node("n0").results.find(PERIOD).results


def test_every_peer_is_asked_for_every_certificate_that_is_lacking(certified, monkeypatch):
    """Two of each: whoever has one may lack the other."""
    results = certified.node("n1").results
    monkeypatch.setattr(views, "kept_periods", lambda state: (PERIOD, PERIOD + 1))
    monkeypatch.setattr(views, "get_gate", lambda state, period: certified.gate())
    monkeypatch.setattr(results, "_store", MemoryStore())
    asked = {(one.peer, one.message.period) for _ in range(4) for one in results.ask([b"p", b"q"])}
    assert asked == {(peer, period) for peer in (b"p", b"q") for period in (PERIOD, PERIOD + 1)}


def test_another_result_as_answer_is_the_senders_fault(certified):
    """By a quorum, of another root; or of the right one, by nobody."""
    [answer], _ = ask(certified)
    node, helper = certified.node("n1"), certified.keys["n0"]
    good = QuorumCertificate.from_bytes(answer.certificate)
    results = (Result(PERIOD, 1, UNKNOWN_ROOT),)
    lie = replace(good.statement, result=compute_digest(results))
    votes = sorted((sign_statement(lie, key) for key in certified.keys.values()), key=lambda vote: vote.signer)
    signed = QuorumCertificate(statement=lie, signatures=tuple((vote.signer, vote.signature) for vote in votes))
    unsigned = replace(good, signatures=good.signatures[:2])
    for certificate, raw in ((signed, encode_results(results)), (unsigned, answer.results)):
        node.results._asked[PERIOD] = helper.public_key
        message = replace(answer, certificate=certificate.raw, results=raw)
        assert certified.say("n1", helper, message)[1] in (["InvalidProof"], ["ShortCertificate"])
    assert node.results.find(PERIOD).certificate.statement == good.statement


def test_records_that_nobody_asked_for_change_nothing(certified):
    [answer], _ = ask(certified)
    assert certified.say("n1", certified.keys["n0"], answer) == ([], [])


# --- hostile ---------------------------------------------------------------------------------------


def trade_result(market, key, *, slot, results, signed=None, block_hash=bytes(32)):
    """A TradeResult by whoever has the key, which signs these results or others."""
    digest = compute_digest(results if signed is None else signed)
    statement = Statement(chain_id=market.world.chain_id, slot=slot, block_hash=block_hash, result=digest)
    vote = sign_statement(statement, key)
    return wire.TradeResult(results=encode_results(results), raw=(encode(vote.to_value()),))


def test_what_is_forged_is_the_senders_fault(certified):
    market, liar = certified, certified.keys["n3"]
    held = len(market.node("n1").results)
    slot = market.node("n1").results._newest + 1
    results = (Result(99, 2**40, UNKNOWN_ROOT),)
    good = trade_result(market, liar, slot=slot, results=results)
    unsigned = replace(good, raw=(good.raw[0][:-1] + bytes([good.raw[0][-1] ^ 1]),))
    stranger = trade_result(market, SigningKey(b"\x01" * 32), slot=slot, results=results)
    not_these = trade_result(market, liar, slot=slot, results=results, signed=(Result(98, 0, UNKNOWN_ROOT),))
    for message, code in (
        (unsigned, "InvalidSignature"),
        (stranger, "UnknownSigner"),
        (not_these, "ResultNotSigned"),
        (replace(good, results=b"\x90"), "WrongShape"),
        (replace(good, raw=(b"\xc1",)), NonCanonical.__name__),
    ):
        assert market.say("n1", liar, message)[1] == [code]
    assert len(market.node("n1").results) == held


def test_what_came_before_a_bad_vote_for_a_result_is_done(engine):
    market = Market(engine)
    market.world.run_for(3_000)
    liar, node = market.keys["n3"], market.node("n1")
    good = trade_result(market, liar, slot=node.results._newest + 1, results=(Result(99, 0, UNKNOWN_ROOT),))
    actions, faults = market.say("n1", liar, replace(good, raw=(*good.raw, b"\xc1")))
    assert faults == ["NonCanonical"]
    assert len(node.results) == 1
    assert any(isinstance(getattr(action, "message", None), wire.TradeResult) for action in actions), "passed on"


def test_a_vote_for_results_comes_with_them(certified):
    statement = Statement(chain_id=certified.world.chain_id, slot=90, block_hash=bytes(32), result=UNKNOWN_ROOT)
    vote = sign_statement(statement, certified.keys["n3"])
    alone = wire.Votes(raw=(encode(vote.to_value()),))
    if certified.node().params.consensus.engine == "pbft":
        alone = wire.Agreement(raw=encode((2, vote.to_value())))
    assert certified.say("n1", certified.keys["n3"], alone)[1] == ["ResultNotShown"]


def test_a_flood_by_a_member_is_bounded_and_of_unknown_periods_nobody_is_certain(engine):
    market = Market(engine)
    market.world.run_for(3_000)
    liar, node = market.keys["n3"], market.node("n1")
    for slot in range(node.results._newest + 60):
        for number in range(3):
            results = tuple(Result(number + each, 2**62, UNKNOWN_ROOT) for each in range(64))
            message = trade_result(market, liar, slot=slot, results=results, block_hash=bytes([number]) * 32)
            market.say("n1", liar, message)
    assert 0 < len(node.results) <= 2 * 48
    assert {claim.vote.signer for claim in node.results.claims_of(2)} <= {liar.public_key}
    market.run_until(CERTIFIED, limit_ms=60_000)
