"""Each chain's answers about a period in which n0 sold to n2, once it has gone through all three."""

import pytest

from ledger.block import Header
from ledger.checkpoints import compute_slot
from ledger.hashing import show_address
from ledger.params import Area, Line, MarketParams, SchedulingParams
from ledger.transaction import make_transaction
from node.errors import BadRequest, NoQuotas, NoSchedule, UnknownAccount, WrongKind
from node.proofs.documents import make_document, prove_trade, verify_document
from node.proofs.light_client import TrustedState
from node.queries.answers import to_json
from node.queries.chain import ChainQueries
from simulation.world.networks import make_network
from simulation.world.world import open_worlds

PERIOD, PERIOD_MS = 5, 24_000
MARKET = MarketParams(open_ppm=4_000_000, gate_ppm=2_000_000, deadline_ppm=0, settle_ppm=3_000_000)
SCHEDULING = SchedulingParams(
    quota_ppm=4_000_000,
    verdict_ppm=500_000,
    meter_ppm=1_500_000,
    areas=(Area(name="hills", wheeling_uyuan_per_kwh=25_000),),
    lines=(
        Line(name="a", area="hills", capacity_wh=500_000),
        Line(name="b", upstream="a", area="hills", capacity_wh=500_000),
        Line(name="c", upstream="a", area="hills", capacity_wh=100_000),
    ),
)
PLAN = (("a", 0, 400_000), ("c", 300_000, 0))


class Story:
    """Three worlds on four peers, and everything that members have to do with one period."""

    def __init__(self):
        self.network = make_network(scheduling=SCHEDULING, market=MARKET, period_ms=PERIOD_MS)
        self.worlds = open_worlds(self.network.genesis, self.network.keys, seed=1)
        keys, devices = self.network.keys, self.network.devices
        self.run_until(-5_000_000)
        self.send("DU1", self.network.dispatcher, "plan", PERIOD, PLAN)
        self.run_until(-3_000_000)
        for name, side in (("n0", 1), ("n2", 0)):
            self.send("JY1", keys[name], "intention", side, PERIOD, 500_000, 100_000)
        self.send("JY1", keys["n2"], "intention", 0, PERIOD, 490_000, 50_000)
        self.run_until(1_050_000)
        self.send("DU1", devices["n0"], "reading", PERIOD, 0, 90_000)
        self.send("DU1", devices["n2"], "reading", PERIOD, 80_000, 0)
        self.run_until(3_500_000)

    def run_until(self, ppm):
        world = self.worlds["JY1"]
        world.run_for(self.network.genesis.time_ms + (PERIOD * 1_000_000 + ppm) * PERIOD_MS // 10**6 - world.now_ms)

    def send(self, chain, key, kind, *payload):
        world = self.worlds[chain]
        queries = ChainQueries(world.node("n0"))
        address = show_address(key.address)
        sequence = queries.get_account(address).next_sequence
        transaction = make_transaction(
            key, chain_id=world.chain_id, sequence=sequence, expiry_height=9_000, kind=kind, payload=payload
        )
        assert world.submit("n0", transaction) == (None,)

    def ask(self, chain):
        return ChainQueries(self.worlds[chain].node("n3"))

    def header(self, chain, block_hash) -> Header:
        return self.worlds[chain].node("n3").chain.get_header(bytes.fromhex(block_hash))


@pytest.fixture(scope="module")
def story():
    return Story()


def test_the_trading_chain_tells_the_quotas_that_came(story):
    quota = story.ask("JY1").grid.get_quota(PERIOD)
    assert [(line.line, line.demand_wh, line.supply_wh) for line in quota.lines] == [
        ("a", 0, 400_000),
        ("b", 0, 0),
        ("c", 100_000, 0),  # what the line carries, of 300 kWh planned
    ]
    assert {line.wheeling_uyuan_per_kwh for line in quota.lines} == {25_000}
    with pytest.raises(NoQuotas):
        story.ask("JY1").grid.get_quota(PERIOD + 1)


def test_the_scheduling_chain_tells_what_it_holds_of_a_period(story):
    held = story.ask("DU1").grid.get_scheduling(PERIOD)
    assert [(line.line, line.load_wh, line.output_wh) for line in held.plan if line.load_wh or line.output_wh] == [
        ("a", 0, 400_000),
        ("c", 300_000, 0),
    ]
    assert [line.demand_wh for line in held.quotas] == [0, 0, 100_000]
    assert held.curtailments == ()
    (contract,) = held.contracts
    assert (contract.index, contract.seller_name, contract.buyer_name) == (0, "n0", "n2")
    assert (contract.accepted_wh, contract.consumption_wh, contract.output_wh) == (100_000, 80_000, 90_000)
    assert (held.power.contracts, held.power.energy_wh) == (1, 100_000)
    assert held.actual.contracts == 1
    assert held.power.height < held.actual.height
    with pytest.raises(NoSchedule):
        story.ask("DU1").grid.get_scheduling(PERIOD + 9)


def test_the_credit_chain_keeps_a_digest_of_every_step_in_a_certified_block(story):
    digests = story.ask("LH1").index.get_digests(PERIOD).digests
    assert not any(b"session" in to_json(row) for row in digests), "each period is traded once"
    assert sorted((row.source, row.kind) for row in digests) == [
        ("DU1", "actual"),
        ("DU1", "power"),
        ("JY1", "delivered"),
    ]
    for row in digests:
        header = story.header(row.source, row.block)
        assert header.height == row.height
        slot = compute_slot(header.timestamp_ms - story.network.genesis.time_ms, story.network.genesis.params)
        assert story.ask(row.source).get_certificate(slot).block == row.block
    assert story.ask("LH1").index.get_digests(PERIOD + 9).digests == ()


def test_credit_assets_by_name_and_address(story):
    index = story.ask("LH1").index
    assets = index.get_assets("n0")
    assert assets == index.get_assets(assets.address)
    assert (assets.name, assets.coins, len(assets.newest)) == ("n0", len(assets.newest), assets.coins)
    assert assets.coins > 0
    assert assets.credit_upt == sum(coin.credit_upt for coin in assets.newest)
    with pytest.raises(UnknownAccount):
        index.get_assets("nobody")
    with pytest.raises(BadRequest):
        index.get_assets("0x12")


@pytest.mark.parametrize("chain", ["DU1", "JY1", "LH1"])
def test_a_question_for_another_kind_of_chain_is_refused_by_name(story, chain):
    ask = story.ask(chain)
    answers = {
        "DU1": lambda: ask.grid.get_scheduling(PERIOD),
        "JY1": lambda: ask.grid.get_quota(PERIOD),
        "LH1": lambda: ask.index.get_digests(PERIOD),
    }
    assert answers.pop(chain)().period == PERIOD
    for answer in answers.values():
        with pytest.raises(WrongKind):
            answer()


def test_a_gate_s_block_is_covered_by_a_certificate_and_its_trade_proved_from_the_genesis(story):
    node, ask = story.worlds["JY1"].node("n3"), story.ask("JY1")
    gate = ask.get_trades(PERIOD).gate
    header = story.header("JY1", gate.block)
    assert header.height == gate.height <= node.chain.final_height
    slot = compute_slot(header.timestamp_ms - story.network.genesis.time_ms, node.params)
    certificate = ask.get_certificate(slot)
    assert certificate.block == gate.block, "a gate closes with the checkpoint of its slot"
    assert len(certificate.signatures) >= certificate.quorum == 3

    genesis = story.network.genesis
    document = make_document(prove_trade(node, PERIOD, 0), TrustedState(genesis))
    verdict = verify_document(document, genesis)
    assert verdict.is_final
    assert (verdict.claims["seller_name"], verdict.claims["buyer_name"]) == ("n0", "n2")
    assert verdict.claims["status"] == "settled"
