"""A chain's answers when asked, after the story in which pv-101 sold to homes-2."""

import ast
import importlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from consensus.poca.credit_target import compute_shares
from ledger.hashing import show_address
from ledger.params import MarketParams
from market.orders import Side
from node.chain.node import ChainNode
from node.errors import (
    BadRequest,
    NoCertificate,
    NoSettlement,
    NotFound,
    NoTrades,
    UnknownAccount,
    UnknownBlock,
    UnknownTransaction,
)
from node.queries.answers import to_json
from node.queries.chain import EVENT_FIELDS, OF_A_GATE, ChainQueries, describe_event, parse_hash, show_value

PERIOD = 4


@pytest.fixture
def told(story):
    return story[0]


@pytest.fixture
def ask(told):
    return ChainQueries(told.node)


@pytest.fixture
def young(world):
    return ChainQueries(world.node)


# --- the chain ---------------------------------------------------------------------------------------------


def test_status_of_a_chain_at_its_genesis(world, young):
    status = young.get_status(world.now_ms)
    assert status.chain_id == world.genesis.chain_id.hex()
    assert (status.height, status.final_height, status.work, status.mempool_count) == (0, 0, 0, 0)
    assert status.head == status.final_hash
    assert status.genesis_time_ms == status.head_time_ms == status.time_ms == world.now_ms


def test_status_follows_the_chain(told, ask):
    status, head = ask.get_status(told.now_ms + 7), told.node.chain.head
    assert (status.height, status.head) == (head.height, head.hash.hex())
    assert status.state_root == head.state.root.hex()
    assert status.work == head.work
    assert status.final_height == told.node.chain.final_height > 0
    assert status.time_ms == told.now_ms + 7
    assert asdict(status.forks) == {"side_blocks": 0, "reorgs": 0, "deepest_reorg": 0}


def test_a_block_by_height_hash_and_head(told, ask):
    head = ask.get_block("head")
    assert head.depth == 1
    assert not head.final
    assert ask.get_block(str(head.height)) == ask.get_block(head.hash) == ask.get_block("0x" + head.hash) == head


def test_the_genesis_block_has_no_producer_among_the_members(ask):
    block = ask.get_block("0")
    assert block.final
    assert block.producer_name is None
    assert block.transactions == ()


def test_a_block_shows_its_transactions_and_what_became_of_them(story, ask):
    said = story[1]
    place = ask.get_transaction(said["refused"].id.hex())
    block = ask.get_block(place.block)
    (transaction,) = block.transactions
    assert transaction.id == said["refused"].id.hex()
    assert (transaction.sender_name, transaction.kind) == ("pv-101", "transfer")
    assert transaction.code == place.code == "InsufficientBalance"
    assert transaction.payload == (ask.get_account("homes-2").address, "60000000")


@pytest.mark.parametrize("ref", ["9999", "ab" * 32])
def test_a_block_that_is_not_there(ask, ref):
    with pytest.raises(UnknownBlock):
        ask.get_block(ref)


@pytest.mark.parametrize("ref", ["", "-1", "tail", "ab" * 31, "zz" * 32, "٣", "9" * 30, " " + "ab" * 32])
def test_a_block_reference_that_means_nothing(ask, ref):
    with pytest.raises(BadRequest, match="64 hexadecimal digits"):
        ask.get_block(ref)


def test_summaries_agree_with_the_blocks(ask):
    for height in (0, 1, 11, 13):
        summary, block = ask.get_summary(height), ask.get_block(str(height))
        assert (summary.hash, summary.producer, summary.n_diff) == (block.hash, block.producer, block.n_diff)
        assert summary.tx_count == len(block.transactions)
    assert ask.get_summary(9_999) is None


def test_old_blocks_are_answered_from_the_store(told, ask):
    reopened = ChainQueries(ChainNode(told.genesis, told.stores[told.first]))
    for height in (0, 11, 20):
        assert reopened.get_block(str(height)) == ask.get_block(str(height))
        assert reopened.get_summary(height) == ask.get_summary(height)


def test_a_transaction_on_its_way(world, young):
    transaction = world.send("homes-2", "transfer", world.keys["grid"].address, 5)
    identity = transaction.id.hex()
    assert asdict(young.get_transaction(identity)) == {
        "id": identity,
        "status": "pending",
        "height": None,
        "block": None,
        "index": None,
        "code": None,
        "depth": 0,
        "final": False,
        "ending": None,
    }
    world.make_block()
    world.make_block()
    found = young.get_transaction(identity)
    assert (found.status, found.height, found.index, found.code) == ("included", 1, 0, "")
    assert (found.depth, found.final) == (2, False)


def test_a_transaction_nobody_knows(ask):
    with pytest.raises(UnknownTransaction):
        ask.get_transaction("00" * 32)
    with pytest.raises(BadRequest):
        ask.get_transaction("00")


def test_a_certificate_names_its_signers(told, ask):
    statement = told.node.final_certificate.statement
    certificate = ask.get_certificate(statement.slot)
    assert (certificate.quorum, certificate.sealers) == (3, 4)
    assert len(certificate.signatures) >= 3
    assert {signature.name for signature in certificate.signatures} <= set(told.nodes)
    assert certificate.slot == statement.slot
    assert certificate.block == ask.get_block(str(told.node.chain.final_height)).hash
    with pytest.raises(NoCertificate):
        ask.get_certificate(statement.slot + 99)


# --- members -----------------------------------------------------------------------------------------------


def test_an_account_by_name_and_address(ask):
    account = ask.get_account("homes-2")
    assert account == ask.get_account(account.address) == ask.get_account(account.address.upper().replace("X", "x"))
    assert (account.role, account.capacity_wh, account.position) == ("consumer", 50_000, "feeder-1")
    assert account.sequence == account.next_sequence == 1
    assert account.score_count == 2


def test_the_next_sequence_counts_what_is_pending(world, young):
    world.send("homes-2", "transfer", world.keys["grid"].address, 5)
    world.send("homes-2", "transfer", world.keys["grid"].address, 5)
    account = young.get_account("homes-2")
    assert (account.sequence, account.next_sequence) == (0, 2)


@pytest.mark.parametrize("ref", ["nobody", "0x" + "00" * 20, ""])
def test_an_account_nobody_has(ask, ref):
    with pytest.raises(UnknownAccount):
        ask.get_account(ref)


@pytest.mark.parametrize("ref", ["0x12", "0x" + "zz" * 20])
def test_an_address_that_is_none(ask, ref):
    with pytest.raises(BadRequest):
        ask.get_account(ref)


def test_members_are_listed_as_the_genesis_has_them(told, ask):
    members = ask.get_members()
    assert [member.name for member in members] == [member.name for member in told.genesis.members]
    by_name = {member.name: member for member in members}
    assert by_name["meter-pv-101"].owner == "pv-101"
    assert by_name["pv-101"].owner is None
    assert [member.name for member in members if member.seals] == list(told.nodes)


def test_shares_are_eq_11_on_the_active_snapshot(told, ask):
    rows = {row.name: row for row in ask.get_credit()}
    sealers = [rows[name] for name in told.nodes]
    expected = compute_shares([row.active_credit_upt for row in sealers], told.genesis.params.consensus.tau_upt)
    assert [row.share_ppm for row in sealers] == [round(share * 1_000_000) for share in expected]
    assert (rows["homes-2"].active_credit_upt, rows["homes-2"].share_ppm) == (None, None)
    assert rows["pv-101"].credit_upt < rows["homes-2"].credit_upt == 100_000_000
    assert "meter-pv-101" not in rows


# --- the market --------------------------------------------------------------------------------------------


def test_periods_have_their_phase_by_the_clock(world, young):
    start_ms, period_ms = world.now_ms, 2_000
    phases = {
        start_ms + (PERIOD - 3) * period_ms - 1: None,
        start_ms + (PERIOD - 3) * period_ms: "open",
        start_ms + (PERIOD - 2) * period_ms: "gate-closed",
        start_ms + PERIOD * period_ms: "delivering",
        start_ms + (PERIOD + 1) * period_ms: "metering",
        start_ms + (PERIOD + 2) * period_ms: None,
    }
    for now_ms, phase in phases.items():
        found = {period.period: period for period in young.get_periods(now_ms).periods}
        assert (found[PERIOD].phase if PERIOD in found else None) == phase, now_ms
        assert list(found) == sorted(found)


def test_a_live_period_is_listed_whatever_the_clock_says(world, young):
    world.run_until(PERIOD - 3)
    world.order("pv-101", Side.OFFER, price=500_000, volume=1_000)
    world.make_block()
    (period,) = [period for period in young.get_periods(world.now_ms - 100_000).periods if period.live]
    assert (period.period, period.phase, period.gate) == (PERIOD, "coming", None)


def test_the_book_stands_best_first(world, young):
    world.run_until(PERIOD - 3)
    for price in (500_000, 490_000, 510_000):
        world.order("pv-101", Side.OFFER, price=price, volume=1_000)
        world.order("homes-2", Side.BID, price=price - 100_000, volume=1_000)
    world.make_block()
    book = young.get_book(PERIOD)
    assert (book.best_bid, book.best_ask) == (410_000, 490_000)
    assert [bid.price_uyuan_per_kwh for bid in book.bids] == [410_000, 400_000, 390_000]
    assert [offer.price_uyuan_per_kwh for offer in book.offers] == [490_000, 500_000, 510_000]
    assert {offer.owner_name for offer in book.offers} == {"pv-101"}


def test_an_empty_book(ask):
    book = ask.get_book(77)
    assert (book.best_bid, book.best_ask, book.bids, book.offers) == (None, None, (), ())


def test_trades_and_their_gate(ask):
    result = ask.get_trades(PERIOD)
    assert result.gate.status == "settled"
    assert [(trade.seller_name, trade.buyer_name, trade.volume_wh) for trade in result.trades] == [
        ("pv-101", "homes-2", 10_000),
        ("pv-101", "homes-2", 2_000),
    ]
    assert result.trades[0].price_uyuan_per_kwh == 512_500
    with pytest.raises(NoTrades, match="its gate is not closed yet"):
        ask.get_trades(PERIOD + 100)
    with pytest.raises(NoTrades, match="it had no orders"):
        ask.get_trades(0)


def test_a_settlement_adds_up(ask):
    settlement = ask.get_settlement(PERIOD)
    assert not [word for word in (b"session", b"unheard") if word in to_json(settlement)], "it is traded once"
    assert sum(trade.consumption_wh for trade in settlement.trades) == 12_500
    assert sum(trade.output_wh for trade in settlement.trades) == 11_000
    for trade in settlement.trades:
        assert trade.buyer_pays_uyuan == trade.seller_receives_uyuan + trade.grid_receives_uyuan
    with pytest.raises(NoSettlement):
        ask.get_settlement(PERIOD + 1)


def test_a_settlement_with_the_grid_names_the_member(world, young):
    world.run_until(PERIOD + 1)
    world.send("meter-homes-2", "reading", PERIOD, 2_000, 0)
    world.run_until(PERIOD + 2, 300_000)
    settlement = young.get_settlement(PERIOD)
    assert settlement.trades == ()
    (row,) = settlement.grid
    assert (row.member_name, row.consumption_wh, row.pays_uyuan) == ("homes-2", 2_000, 1_230_000)


# --- showing values ------------------------------------------------------------------------------------------


def test_not_found_is_one_family():
    family = {UnknownAccount, UnknownBlock, UnknownTransaction, NoCertificate, NoSettlement, NoTrades}
    assert all(issubclass(leaf, NotFound) and leaf.exit_code == 5 for leaf in family)


def test_values_as_json_has_them():
    address, digest = bytes(range(20)), bytes(range(32))
    assert show_value((1, None, "text", address, (digest,))) == [1, None, "text", show_address(address), [digest.hex()]]
    assert parse_hash(digest.hex(), "hash") == parse_hash("0x" + digest.hex(), "hash") == digest


def test_events_are_described_by_name():
    owner = bytes(20)
    assert describe_event(("head", 3, bytes(32), owner)) == {
        "event": "head",
        "height": 3,
        "hash": "00" * 32,
        "producer": "0x" + "00" * 20,
    }
    assert describe_event(("order", 4, 0, owner, 1, 500_000, 1_000))["side"] == "offer"
    assert describe_event(("cancelled", 4, 0, owner, 0, 500_000, 1_000))["side"] == "bid"
    assert describe_event(("novelty", 1, owner)) == {"event": "novelty", "values": [1, "0x" + "00" * 20]}
    assert describe_event(("head", 3)) == {"event": "head", "values": [3]}
    twice = MarketParams(
        open_ppm=4_000_000, gate_ppm=3_000_000, intraday_open_ppm=2_000_000, intraday_gate_ppm=1_000_000
    )
    assert describe_event(("void", 9, "no-verdict"), twice) == {
        "event": "void",
        "period": 4,
        "session": "intraday",
        "reason": "no-verdict",
    }
    assert describe_event(("settled", 9), twice) == describe_event(("settled", 9)) == {"event": "settled", "period": 9}
    assert set(EVENT_FIELDS) >= OF_A_GATE
    assert {EVENT_FIELDS[name][0] for name in OF_A_GATE} == {"period"}


def test_every_event_of_the_story_is_known_by_its_fields(world):
    events = []
    world.on_publish.append(events.append)
    world.run_until(PERIOD - 3)
    world.order("pv-101", Side.OFFER, price=500_000, volume=1_000)
    world.order("homes-2", Side.BID, price=500_000, volume=1_000)
    world.send("homes-2", "transfer", world.keys["grid"].address, 5)
    world.order("homes-2", Side.BID, price=400_000, volume=1_000)
    world.make_block()
    world.send("homes-2", "cancel", PERIOD, 2)
    world.run_until(PERIOD + 1)
    world.send("meter-pv-101", "reading", PERIOD, 5, 1_000)
    world.send("meter-homes-2", "reading", PERIOD, 1_000, 0)
    world.run_until(PERIOD + 2, 300_000)
    described = {event[0]: describe_event(event) for event in events}
    assert set(described) >= {
        *("head", "transfer", "order", "cancelled", "gate", "trade", "certificate", "certified"),
        *("reading", "settlement", "grid-settlement", "credit", "settled"),
    }
    assert not [event for event in described.values() if "values" in event]
    assert all(to_json(event) for event in described.values())


ROOT = Path(__file__).parents[3]


def list_events() -> Iterator[tuple[str, int | None]]:
    """Name and number of values of every event that a contract or a node tells; None where they are spliced in."""
    for file in (
        file for package in ("ledger", "market", "consensus", "node") for file in (ROOT / package).rglob("*.py")
    ):
        module = importlib.import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))
        for call in ast.walk(ast.parse(file.read_text())):
            match call:
                case ast.Call(func=ast.Attribute(attr="emit"), args=fields):
                    pass
                case ast.Call(func=ast.Name(id="Publish"), keywords=[ast.keyword(value=ast.Tuple(elts=fields))]):
                    pass
                case _:
                    continue
            match fields[0]:
                case ast.Constant(value=str(name)):
                    pass
                case ast.Name(id=constant):
                    name = getattr(module, constant)
                case _:
                    continue
            yield name, None if any(isinstance(field, ast.Starred) for field in fields) else len(fields) - 1


def test_every_event_that_is_told_anywhere_has_names_for_its_fields():
    told = set(list_events())
    assert {name for name, _ in told} >= {"void", "sealers", "revoked", "countersigned", "equivocation", "coin-issued"}
    nameless = [
        (name, count)
        for name, count in told
        if (fields := EVENT_FIELDS.get(name)) is None or count not in (None, len(fields))
    ]
    assert nameless == []


def test_coins_that_moved_are_described_by_name():
    owner = bytes(20)
    event = describe_event(("coins-moved", bytes(32), owner, ((bytes(32), 1),), ((owner, 5_000_000),)))
    assert event["inputs"] == [{"transaction": "00" * 32, "index": 1}]
    assert event["outputs"] == [{"owner": "0x" + "00" * 20, "credit_upt": 5_000_000}]
    event = describe_event(("coins-merged", bytes(32), owner, ((bytes(32), 1),), 5_000_000))
    assert (event["inputs"], event["credit_upt"]) == ([{"transaction": "00" * 32, "index": 1}], 5_000_000)


def test_a_superseded_transaction_says_by_which(make_world):
    world = make_world(2)
    mine, theirs = world.supersede()
    queries = ChainQueries(world.node)
    status, rival = queries.get_transaction(mine.id.hex()), queries.get_transaction(theirs.id.hex())
    assert (status.status, status.ending.code, status.ending.by) == ("not-executed", "Superseded", theirs.id.hex())
    assert (status.ending.height, status.ending.block) == (rival.height, rival.block)
    assert str(status.ending) == f"superseded by {theirs.id.hex()} in block 1 ({rival.block})"
    assert queries.get_status(world.now_ms).not_executed == 1
    event = ("not-executed", mine.id, mine.sender, "Superseded", 1, theirs.id)
    assert describe_event(event)["by"] == theirs.id.hex()


def test_an_expired_transaction_says_so(world, young):
    world.sequences["homes-2"] = 3
    waiting = world.send("homes-2", "transfer", world.keys["grid"].address, 5)
    while world.node.chain.head.height < waiting.expiry_height:
        world.make_block()
    status = young.get_transaction(waiting.id.hex())
    assert (status.status, str(status.ending)) == ("not-executed", "Expired, found at height 100")
