"""Relays on one node: which messages go to which chain, what waits for a block and for how long, who is told of it."""

from dataclasses import replace
from functools import cache

import pytest

from consensus.quorum import QuorumCertificate, Statement, checkpoint_quorum, sign_statement
from consensus.relays import RELAY, Relay, make_relays
from ledger.block import Header
from ledger.chain import BlockNode, Chain
from ledger.codec import decode, encode
from ledger.errors import GridmeritError
from ledger.genesis import build_state
from ledger.outbox import post
from ledger.overlay import Overlay
from ledger.params import Area, Line, SchedulingParams
from ledger.store import MemoryStore
from market.errors import RelayTooLate, UnexpectedRelay
from node.chain import messages as wire
from node.chain import relays
from node.chain.candidate import make_context
from node.chain.contracts import routes_of
from node.chain.events import Broadcast, ForwardRelay, MessageReceived, PenalisePeer, RelayOffered, TimerFired
from node.chain.node import ChainNode
from node.chain.progress import RESEAL
from node.chain.relays import Outgoing, Waiting
from simulation.world.networks import key_of, make_network

LINES = (Line(name="a", area="all", capacity_wh=500_000),)
NETWORK = make_network(
    scheduling=SchedulingParams(areas=(Area(name="all", wheeling_uyuan_per_kwh=20_000),), lines=LINES)
)
JY1 = NETWORK.genesis
DU1, LH1 = JY1.open("DU1"), JY1.open("LH1")
PEER, OTHER = NETWORK.keys["n1"].public_key, NETWORK.keys["n2"].public_key
FIRST = 3  # the first period whose quota JY1 still waits for


def certify(source, *messages):
    """A block of that chain with (kind, number, rows) in its outbox, posted at heights 1, 2, …, and its certificate."""
    view = Overlay(build_state(source))
    for height, (kind, number, rows) in enumerate(messages, start=1):
        post(view, kind, number, rows, height=height)
    view.commit()
    state, _ = view.finish()
    header = Header(
        chain_id=source.chain_id,
        height=len(messages),
        parent=bytes(32),
        timestamp_ms=source.time_ms + 1,
        producer=PEER,
        credit_upt=0,
        n_diff=1,
        period=0,
        tx_root=bytes(32),
        receipt_root=bytes(32),
        state_root=state.root,
    )
    statement = Statement(chain_id=source.chain_id, slot=1, block_hash=header.hash)
    keys = list(NETWORK.keys.values())
    votes = [sign_statement(statement, key) for key in keys[: checkpoint_quorum(len(keys))]]
    signatures = tuple(sorted((vote.signer, vote.signature) for vote in votes))
    entry = BlockNode(header=header, work=1, base_n_diff=1, state=state, undo={}, arrival=0)
    return QuorumCertificate(statement=statement, signatures=signatures), entry


def quota(period):
    return ("quota", period, [("a", 100_000, 200_000, 20_000)])


@cache
def make_relay(period, source=DU1):
    certificate, checkpoint = certify(source, quota(period))
    (relay,) = make_relays(certificate, checkpoint.header, checkpoint.state)
    return relay


@pytest.fixture
def head():
    return Chain(JY1, MemoryStore()).head


@pytest.fixture
def context(head):
    return make_context(JY1, JY1.params, parent=head, producer=bytes(20), timestamp_ms=JY1.time_ms + 1, period=0)


@pytest.fixture
def waiting():
    return Waiting(routes_of("trading"))


def due(waiting, state):
    return [(kind, Relay.from_value(value).number) for _, (kind, value) in waiting.for_the_next_block(state)]


# --- what waits --------------------------------------------------------------------------------------


def test_a_relay_is_news_once_and_waits_for_a_block(waiting, head, context):
    assert due(waiting, head.state) == []
    assert waiting.add(make_relay(FIRST), head, context)
    assert not waiting.add(make_relay(FIRST), head, context)
    assert waiting.add(make_relay(FIRST + 1), head, context)
    assert due(waiting, head.state) == [(RELAY, FIRST), (RELAY, FIRST + 1)]


def test_another_proof_of_the_same_message_is_no_news(waiting, head, context):
    certificate, checkpoint = certify(DU1, quota(FIRST), quota(FIRST + 1))
    again, _ = make_relays(certificate, checkpoint.header, checkpoint.state)
    assert again.name == make_relay(FIRST).name
    assert again != make_relay(FIRST)
    assert waiting.add(make_relay(FIRST), head, context)
    assert not waiting.add(again, head, context)


def test_what_the_chain_has_already_is_no_news(waiting, head, context):
    state = take_in(make_relay(FIRST), head.state, context)
    assert not waiting.add(make_relay(FIRST), replace(head, state=state), context)
    assert due(waiting, state) == []


def test_a_relay_stays_at_hand_when_a_reorg_takes_it_off_again(waiting, head, context):
    waiting.add(make_relay(FIRST), head, context)
    state = take_in(make_relay(FIRST), head.state, context)
    assert due(waiting, state) == []
    assert due(waiting, head.state) == [(RELAY, FIRST)]


def take_in(relay, state, context):
    view = Overlay(state)
    relays.accept_relay(view, context, relay, routes_of("trading"))
    view.commit()
    return view.finish()[0]


def test_messages_that_the_chain_does_not_take_are_left_alone(waiting, head, context):
    certificate, checkpoint = certify(DU1, ("power", FIRST, [(bytes(32), 1, 1)]), ("gossip", FIRST, [(1,)]))
    for relay in make_relays(certificate, checkpoint.header, checkpoint.state):
        assert not waiting.add(relay, head, context)
    certificate, checkpoint = certify(JY1, quota(FIRST))  # its own word
    (own,) = make_relays(certificate, checkpoint.header, checkpoint.state)
    assert not waiting.add(own, head, context)
    assert due(waiting, head.state) == []


def test_what_would_not_take_effect_does_not_wait(waiting, head, context):
    with pytest.raises(RelayTooLate):
        waiting.add(make_relay(0), head, context)
    certificate, checkpoint = certify(DU1, ("metered", FIRST, []))
    (early,) = make_relays(certificate, checkpoint.header, checkpoint.state)
    with pytest.raises(UnexpectedRelay):
        waiting.add(early, head, context)
    assert due(waiting, head.state) == []
    assert waiting.add(make_relay(FIRST), head, context), "nothing is held against what comes next"


def test_what_has_waited_for_long_is_forgotten(waiting, head, context):
    waiting.add(make_relay(FIRST), head, context)
    waiting.on_head(head.height + relays._KEPT_BLOCKS)
    assert due(waiting, head.state) == [(RELAY, FIRST)]
    waiting.on_head(head.height + relays._KEPT_BLOCKS + 1)
    assert due(waiting, head.state) == []
    assert waiting.add(make_relay(FIRST), head, context), "it may come again"


def test_no_more_than_so_many_wait_and_the_oldest_go_first(waiting, head, context):
    last = FIRST + relays._MAX_WAITING + 2
    for period in range(FIRST, last):
        assert waiting.add(make_relay(period), head, context)
    assert due(waiting, head.state) == [(RELAY, period) for period in range(FIRST + 2, last)]


def test_a_message_is_lacked_while_it_is_neither_at_hand_nor_in_the_state(waiting, head, context):
    name = make_relay(FIRST).name
    assert waiting.needs_relay(name, head.state)
    waiting.add(make_relay(FIRST), head, context)
    assert not waiting.needs_relay(name, head.state)
    waiting.drop([name, make_relay(FIRST + 1).name])
    assert waiting.needs_relay(name, head.state)
    assert not waiting.needs_relay(name, take_in(make_relay(FIRST), head.state, context))
    assert not waiting.needs_relay((LH1.chain_id, "quota", FIRST, 0), head.state), "no such message comes from there"


# --- what goes out -----------------------------------------------------------------------------------


def sent(source, *messages, above_height=0):
    actions = Outgoing(source).deliver(*certify(source, *messages), above_height=above_height)
    assert all(isinstance(action, ForwardRelay) for action in actions)
    names = {genesis.chain_id: genesis.params.name for genesis in (JY1, DU1, LH1)}
    assert all(Relay.from_value(decode(action.raw, max_bytes=10**6)).name == action.name for action in actions)
    return [(names[action.chain_id], *action.name[1:]) for action in actions]


def test_every_message_goes_to_the_chains_that_take_it():
    digest = [(bytes(32), 1, 1)]
    assert sent(DU1, quota(4), ("power", 4, digest), ("offence", 0, [])) == [
        ("JY1", "quota", 4, 0),
        ("LH1", "power", 4, 0),
        ("LH1", "offence", 0, 0),
    ]
    assert sent(JY1, ("result", 4, []), ("delivered", 4, [])) == [("DU1", "result", 4, 0), ("LH1", "delivered", 4, 0)]
    assert sorted(sent(LH1, ("credit", 1, []))) == [("DU1", "credit", 1, 0), ("JY1", "credit", 1, 0)]


def test_what_was_posted_before_is_not_sent_again():
    messages = (quota(4), quota(5), quota(6))
    assert [number for _, _, number, _ in sent(DU1, *messages)] == [4, 5, 6]
    assert [number for _, _, number, _ in sent(DU1, *messages, above_height=1)] == [5, 6]
    assert sent(DU1, *messages, above_height=3) == []


def test_a_message_of_many_rows_goes_in_parts():
    rows = [("a", number, 0, 0) for number in range(150)]
    assert [part for _, _, _, part in sent(DU1, ("quota", 4, rows))] == [0, 1, 2]


def test_a_chain_that_is_alone_tells_nobody():
    alone = make_network().genesis
    assert Outgoing(alone).deliver(*certify(alone, ("result", 4, []))) == []


# --- what the node does ------------------------------------------------------------------------------


@pytest.fixture
def node():
    return ChainNode(JY1, MemoryStore())


def tell(node, raw, sender=PEER):
    return node.step(MessageReceived(peer=sender, message=wire.Relay(raw=raw)), JY1.time_ms + 1)


def test_news_is_passed_on_to_all_but_its_sender_once(node):
    raw = make_relay(FIRST).to_bytes()
    assert tell(node, raw) == [Broadcast(message=wire.Relay(raw=raw), but=PEER)]
    assert tell(node, raw) == tell(node, raw, OTHER) == []


def test_what_this_machine_brings_itself_goes_to_all_peers(node):
    raw = make_relay(FIRST).to_bytes()
    offered = RelayOffered(raw=raw)
    assert node.step(offered, JY1.time_ms + 1) == [Broadcast(message=wire.Relay(raw=raw), but=None)]
    assert node.step(offered, JY1.time_ms + 1) == []
    assert node.step(RelayOffered(raw=b"\xc1"), JY1.time_ms + 1) == []


def test_a_node_takes_from_its_other_chains_what_it_lacks(node):
    relay = make_relay(FIRST)
    assert node.needs_relay(relay.name)
    node.step(RelayOffered(raw=relay.to_bytes()), JY1.time_ms + 1)
    assert not node.needs_relay(relay.name)


def reseal(genesis, *raw, at_ms):
    """A sealing node on the genesis block that has taken in these relays, then built a candidate."""
    node = ChainNode(genesis, MemoryStore(), key=NETWORK.keys["n0"], is_sure=True)
    for relay in raw:
        assert tell(node, relay) != []
    node.step(TimerFired(name=RESEAL), genesis.time_ms + at_ms)
    return node


def test_what_no_candidate_can_take_any_more_does_not_wait_for_the_next():
    relay, late_ms = make_relay(FIRST), 10 * JY1.params.ledger.period_ms
    in_time = reseal(JY1, relay.to_bytes(), at_ms=2)
    assert due(in_time._relays.waiting, in_time.chain.head.state) == [(RELAY, FIRST)]
    late = reseal(JY1, relay.to_bytes(), at_ms=late_ms)
    assert due(late._relays.waiting, late.chain.head.state) == []
    assert late.needs_relay(relay.name), "it may be offered again"


def test_what_a_full_candidate_has_no_room_for_waits_for_the_next():
    ledger = JY1.params.ledger.model_copy(update={"max_block_transactions": 1})
    genesis = JY1.model_copy(update={"params": JY1.params.model_copy(update={"ledger": ledger})})
    relays = [make_relay(period, genesis.open("DU1")).to_bytes() for period in (FIRST, FIRST + 1)]
    node = reseal(genesis, *relays, at_ms=2)
    assert due(node._relays.waiting, node.chain.head.state) == [(RELAY, FIRST), (RELAY, FIRST + 1)]


def test_a_relay_that_is_late_is_nobodys_fault_and_goes_no_further(node):
    assert tell(node, make_relay(0).to_bytes()) == []


@pytest.mark.parametrize("place", [0, 1, 2, 3], ids=["certificate", "header", "message", "proof"])
def test_a_relay_with_a_part_of_another_is_its_senders_fault(node, place):
    one, other = make_relay(FIRST).to_value(), make_relay(FIRST + 1).to_value()
    (fault,) = tell(node, encode((*one[:place], other[place], *one[place + 1 :])))
    assert isinstance(fault, PenalisePeer)
    assert fault.peer == PEER
    assert isinstance(fault.error, GridmeritError)
    assert tell(node, make_relay(FIRST).to_bytes(), OTHER) != [], "the true one is still news"


def test_a_certificate_by_strangers_is_its_senders_fault(node):
    relay = make_relay(FIRST)
    statement = relay.certificate.statement
    votes = [sign_statement(statement, key_of(name)) for name in ("x", "y", "z")]
    signatures = tuple(sorted((vote.signer, vote.signature) for vote in votes))
    certificate = QuorumCertificate(statement=statement, signatures=signatures)
    (fault,) = tell(node, encode((certificate.to_value(), *relay.to_value()[1:])))
    assert fault.error.code == "UnknownSigner"


# --- in turns ----------------------------------------------------------------------------------------


def test_what_is_told_again_is_told_in_turns_until_it_is_all():
    rows = [(f"line-{index}", 1, 1, 1) for index in range(relays._TURN_PARTS * 64 + 65)]
    certificate, checkpoint = certify(DU1, ("quota", FIRST, rows), quota(FIRST + 1))
    outgoing = Outgoing(DU1)
    turns = [outgoing.deliver_turn(certificate, checkpoint)]
    assert outgoing.turns_left == 1
    turns.append(outgoing.deliver_turn(certificate, checkpoint))
    assert outgoing.turns_left == 0
    told = [action.name for turn in turns for action in turn]
    assert [len(turn) for turn in turns] == [relays._TURN_PARTS, 3]
    assert told == [action.name for action in outgoing.deliver(certificate, checkpoint)]
    assert outgoing.deliver_turn(certificate, checkpoint) == turns[0]


def test_a_part_that_is_gone_by_its_turn_is_left_out():
    rows = [(f"line-{index}", 1, 1, 1) for index in range(relays._TURN_PARTS * 64 + 64)]
    outgoing = Outgoing(DU1)
    assert len(outgoing.deliver_turn(*certify(DU1, ("quota", FIRST, rows)))) == relays._TURN_PARTS
    assert outgoing.deliver_turn(*certify(DU1, quota(FIRST + 1))) == []
    assert len(outgoing.deliver_turn(*certify(DU1, quota(FIRST + 1)))) == 1
