"""Weights of matches from a chain that clears by merit: in answers, on the command line's table, and in proofs."""

import json
from dataclasses import replace

import pytest

from gridmerit.commands.authority import check_root
from gridmerit.commands.market_tables import render_weights
from gridmerit.players.sample_book import compare_book, convert_book
from ledger.errors import InvalidProof
from market.errors import WrongTradeList
from market.orders import Side
from market.trading.matching_weight import WeightInputs
from market.trading.views import get_trades
from node.api.client import Client
from node.proofs.documents import make_document, prove_trade, verify_document
from node.proofs.light_client import TrustedState
from node.queries.answers import TradesInfo, from_json, to_json
from node.queries.chain import ChainQueries

PERIOD = 4


def test_trades_carry_their_weights(story_by_merit):
    found = ChainQueries(story_by_merit.node).get_trades(PERIOD)
    records = get_trades(story_by_merit.node.chain.head.state, PERIOD)
    assert len(found.trades) == len(records) == 2
    for trade, record in zip(found.trades, records, strict=True):
        parts = [getattr(trade.weights.offer, name) for name in WeightInputs._fields]
        assert sum(parts) == trade.weights.w_ppm == record.match.w_ppm > 0
        assert tuple(parts) == record.match.offer.contributions
        assert trade.weights.bid_ppm == record.match.bid.weight_ppm
    assert from_json(TradesInfo, to_json(found)) == found


def test_the_table_has_two_lines_per_trade(story_by_merit, story):
    lines = render_weights(ChainQueries(story_by_merit.node).get_trades(PERIOD)).splitlines()
    assert lines[0].split() == ["trade", "weight", "of", "total", *(name[:-4] for name in WeightInputs._fields)]
    assert [line.split()[:2] for line in lines[2:]] == [["0", "offer"], ["0", "bid"], ["1", "offer"], ["1", "bid"]]
    assert len(render_weights(ChainQueries(story[0].node).get_trades(PERIOD)).splitlines()) == len(lines)


def test_other_chains_tell_them_too_though_they_decide_nothing(story, story_by_merit):
    alike = [ChainQueries(node).get_trades(PERIOD).trades for node in (story[0].node, story_by_merit.node)]
    assert [trade.weights for trade in alike[0]] == [trade.weights for trade in alike[1]]
    assert [(trade.bid.node_type, trade.offer.node_type) for trade in alike[0]] == [("consumer", "producer")] * 2


def test_a_proof_binds_the_weights(story_by_merit):
    genesis = story_by_merit.genesis
    document = make_document(prove_trade(story_by_merit.node, PERIOD, 0), TrustedState(genesis))
    verdict = verify_document(json.loads(json.dumps(document)), genesis)
    offer = verdict.claims["offer"]
    assert verdict.claims["w_ppm"] == offer["weight_ppm"] == sum(offer["contributions"].values())
    assert "matched with weight " in verdict.statement
    document["offer"]["contributions"]["credit_ppm"] += 1
    with pytest.raises(InvalidProof, match="the document says offer is"):
        verify_document(document, genesis)


def test_a_countersignature_binds_them_too(story_by_merit, story):
    for world in (story_by_merit, story[0]):
        found = ChainQueries(world.node).get_trades(PERIOD)
        assert check_root(found, PERIOD).hex() == found.gate.result_root
    found = ChainQueries(story_by_merit.node).get_trades(PERIOD)
    first, last = found.trades
    bid = replace(last.weights.bid, credit_ppm=last.weights.bid.credit_ppm + 1)
    with pytest.raises(WrongTradeList):
        check_root(replace(found, trades=(first, replace(last, weights=replace(last.weights, bid=bid)))), PERIOD)


async def test_a_nodes_open_book_is_compared_with_its_credits_and_statements(make_world, make_runtime):
    world = make_world()
    world.run_until(PERIOD - 3)
    world.order("pv-101", Side.OFFER, price=500_000, volume=10_000)
    world.order("homes-2", Side.BID, price=525_000, volume=12_000)
    world.make_block()
    runtime = make_runtime(world)
    async with runtime.serve() as url, Client(url, "jy1") as client:
        book = convert_book(await client.book(PERIOD), await client.genesis())
    assert [(book.names[c.order.owner], c.credit_upt, c.capacity_wh, c.position) for c in book.candidates] == [
        ("pv-101", 90_000_000, 50_000, "feeder-1"),
        ("homes-2", 90_000_000, 50_000, "feeder-1"),
    ]
    assert [outcome.volume_wh for outcome in compare_book(book)] == [10_000] * 5
