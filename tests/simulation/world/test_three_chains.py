"""DU1, JY1 and LH1 on four machines in virtual time: a period through all its steps, and life without one of them."""

from dataclasses import dataclass, field

import pytest

from consensus.contracts import DOUBLE_VOTE
from consensus.errors import UnknownSource
from consensus.quorum import DoubleVote, Statement, sign_statement
from consensus.relays import Relay, accept_relay
from ledger.accounts import get_account
from ledger.codec import decode, encode
from ledger.errors import AlreadyRelayed, InvalidProof, InvalidSignature
from ledger.overlay import Overlay
from ledger.params import Area, ConsensusParams, Line, MarketParams, SchedulingParams
from ledger.transaction import make_transaction
from market.credit.contract import get_digest
from market.errors import NoQuota
from market.scheduling import views as scheduling_views
from market.scheduling.feeder import Curtailment
from market.trading.gates import ACCEPTED, LAPSED, SETTLED, VOID, get_gate
from market.trading.views import get_trades
from node.chain import messages as wire
from node.chain.contracts import routes_of
from node.chain.events import RelayOffered
from simulation.world.networks import INITIAL_BALANCE_UYUAN, make_network
from simulation.world.world import World, open_worlds

PERIOD_MS = 24_000
NAMES = ("n0", "n1", "n2", "n3")
SCHEDULING = SchedulingParams(
    quota_ppm=4_000_000,
    verdict_ppm=500_000,
    meter_ppm=1_500_000,
    areas=(Area(name="north", wheeling_uyuan_per_kwh=20_000), Area(name="south", wheeling_uyuan_per_kwh=25_000)),
    lines=(
        Line(name="a", area="north", capacity_wh=500_000),
        Line(name="b", upstream="a", area="south", capacity_wh=150_000),
        Line(name="c", upstream="b", area="south", capacity_wh=400_000),
    ),
)
PLAN = (("a", 0, 400_000), ("b", 0, 0), ("c", 300_000, 0))
PBFT = ConsensusParams(
    engine="pbft", block_interval_ms=1_000, max_ahead_ms=2_000, empty_after_ms=2_000, view_timeout_ms=2_000
)
RESTING = PBFT.model_copy(update={"empty_blocks": "due"})
MARKET = MarketParams(open_ppm=4_000_000, gate_ppm=2_000_000, deadline_ppm=0, settle_ppm=3_000_000)


@dataclass
class Market:
    """Three worlds, and players that do what is due each second: plan, bid, offer, read meters."""

    seed: int = 1
    first: int = 5
    last: int = 7
    consensus: ConsensusParams | None = None
    market: MarketParams = MARKET
    sealing: str = "real"
    silent_until_ppm: int = 1_000_000  # how long after a delivery began n2's meter says nothing
    done: set = field(default_factory=set)
    sequences: dict = field(default_factory=dict)
    refused: list = field(default_factory=list)

    def __post_init__(self):
        self.network = make_network(
            scheduling=SCHEDULING, market=self.market, period_ms=PERIOD_MS, consensus=self.consensus
        )
        self.worlds = open_worlds(self.network.genesis, self.network.keys, seed=self.seed, sealing=self.sealing)
        self.jy1, self.du1, self.lh1 = (self.worlds[name] for name in ("JY1", "DU1", "LH1"))

    # --- time ----------------------------------------------------------------------------------------

    def elapsed_ppm(self, period):
        """Time since the start of a delivery, in ppm of Δt."""
        start_ms = self.network.genesis.time_ms + period * PERIOD_MS
        return (self.jy1.now_ms - start_ms) * 1_000_000 // PERIOD_MS

    def run_until(self, period, ppm):
        """Let the players act until that long after a delivery began."""
        while self.elapsed_ppm(period) < ppm:
            for each in range(self.first, self.last + 1):
                self.act(each)
            self.jy1.run_for(1_000)

    def act(self, period):
        now = self.elapsed_ppm(period)
        if -5_500_000 < now < -4_000_000:
            self.once(self.du1, self.network.dispatcher, "plan", period, PLAN)
        if -4_000_000 <= now < -2_000_000:
            self.once(self.jy1, self.network.keys["n0"], "intention", *self.order("n0", 1, period, 500_000, 200_000))
            self.once(self.jy1, self.network.keys["n2"], "intention", *self.order("n2", 0, period, 560_000, 150_000))
        if 1_000_000 <= now < 1_500_000:
            self.once(self.du1, self.network.devices["n0"], "reading", period, 0, 140_000)
        if max(1_000_000, self.silent_until_ppm) <= now < self.silent_until_ppm + 500_000:
            self.once(self.du1, self.network.devices["n2"], "reading", period, 150_000, 0)

    @staticmethod
    def order(name, side, period, price, volume_wh):
        return (side, period, price, volume_wh)

    def once(self, world, key, kind, *payload):
        """Have the first peer that is up take a transaction on, once."""
        period = payload[1] if kind == "intention" else payload[0]
        name = next((name for name, peer in world.peers.items() if peer.node is not None), None)
        if name is None or (key.address, kind, period) in self.done:
            return
        sequence = self.sequences.get((world.chain_id, key.address), 0)
        (error,) = world.submit(name, self.sign(world, key, kind, *payload, sequence=sequence))
        if error is None:
            self.done.add((key.address, kind, period))
            self.sequences[world.chain_id, key.address] = sequence + 1
        else:
            self.refused.append((period, kind, error.code))

    @staticmethod
    def sign(world, key, kind, *payload, sequence=0):
        return make_transaction(
            key, chain_id=world.chain_id, sequence=sequence, expiry_height=9_000, kind=kind, payload=payload
        )

    # --- looking -------------------------------------------------------------------------------------

    @staticmethod
    def state(world, name="n3"):
        return world.node(name).chain.head.state

    def gate(self, period, name="n3"):
        return get_gate(Overlay(self.state(self.jy1, name)), period)

    def status(self, period):
        gate = self.gate(period)
        return None if gate is None else gate.status

    def account(self, world, name):
        key = self.network.grid if name == "grid" else self.network.keys[name]
        return get_account(Overlay(self.state(world)), key.address)

    def check_money(self):
        """Nothing is reserved any more, and nothing was made or lost."""
        accounts = [self.account(self.jy1, name) for name in (*NAMES, "grid")]
        assert [account.reserved_uyuan for account in accounts] == [0] * 5
        assert sum(account.balance_uyuan for account in accounts) == len(NAMES) * INITIAL_BALANCE_UYUAN

    def faults(self):
        return [fault for world in self.worlds.values() for peer in world.peers.values() for fault in peer.faults]

    def relays(self, source, destination):
        return source.node("n0").get_relays(destination.chain_id)


def names_of(world, event):
    return [item for item in world.peers["n3"].published if item[0] == event]


@pytest.mark.parametrize("consensus", [None, PBFT, RESTING], ids=["poca", "pbft", "resting"])
def test_a_period_goes_through_all_five_steps(consensus):
    market = Market(first=5, last=5, consensus=consensus)
    market.run_until(5, -1_900_000)
    assert set(names_of(market.jy1, "quota")) == {("quota", 5, 3, 300_000, 400_000)}, "told again after a reorg"
    market.run_until(5, 0)
    assert market.status(5) == ACCEPTED
    contracts = scheduling_views.get_contracts(market.state(market.du1), 5)
    assert [contract.accepted_wh for contract in contracts] == [150_000]

    market.run_until(5, 3_500_000)
    assert market.status(5) == SETTLED
    assert market.refused == [(5, kind, "NoQuota") for _, kind, _ in market.refused]
    market.check_money()
    # Table 2: 140 kWh change hands at 0.53 + 0.025, the other 10 come from the grid at retail.
    assert INITIAL_BALANCE_UYUAN - market.account(market.jy1, "n2").balance_uyuan == 140 * 555_000 + 10 * 615_000
    assert market.account(market.jy1, "n0").balance_uyuan - INITIAL_BALANCE_UYUAN == 140 * 530_000

    # LH1 scored both, keeps digests of both chains' blocks, and JY1 and DU1 have taken the credit over.
    credits = {name: market.account(market.lh1, name).credit_upt for name in NAMES}
    assert credits == {"n0": 93_333_333, "n1": 90_000_000, "n2": 100_000_000, "n3": 90_000_000}
    lh1 = market.state(market.lh1)
    for source, kind in (("DU1", "power"), ("DU1", "actual"), ("JY1", "delivered")):
        digest = get_digest(lh1, source, kind, 5)
        assert market.worlds[source].node("n3").chain.hash_at(digest.height) == digest.block_hash
    market.run_until(5, 6_000_000)  # the next boundaries have made it count for difficulty
    recent = 2 if consensus is RESTING else 15  # a chain that rests has little more than a block a period by now
    for world in (market.jy1, market.du1):
        assert {name: market.account(world, name).credit_upt for name in NAMES} == credits
        producers = {name: market.network.keys[name].public_key for name in NAMES}
        claimed = {
            name: entry.header.credit_upt
            for entry in world.node("n3").chain.ancestors(world.node("n3").chain.head)
            for name, key in producers.items()
            if entry.header.producer == key and entry.height > world.node("n3").chain.head.height - recent
        }
        assert claimed.items() <= credits.items()
    assert market.faults() == []


@pytest.mark.parametrize("consensus", [None, PBFT, RESTING], ids=["poca", "pbft", "resting"])
def test_a_silent_meter_is_imputed_and_its_late_reading_goes_through_all_three_chains(consensus):
    terms = {"correction_ppm": 6_000_000, "over_delivery_ppm": 250_000}
    market = Market(
        first=5, last=5, consensus=consensus, market=MARKET.model_copy(update=terms), silent_until_ppm=3_200_000
    )
    market.run_until(5, 3_100_000)
    assert market.status(5) == SETTLED
    n2 = market.network.keys["n2"].address
    # No line may be agreed on for more than its capacity less the allowance: 120 of the 150 kWh.
    agreed_kwh = 120
    assert set(names_of(market.jy1, "imputed")) == {("imputed", 5, n2, agreed_kwh * 1_000, 0)}
    assert INITIAL_BALANCE_UYUAN - market.account(market.jy1, "n2").balance_uyuan == agreed_kwh * 615_000
    assert market.account(market.jy1, "n0").balance_uyuan - INITIAL_BALANCE_UYUAN == 140 * 410_000
    market.run_until(5, 8_000_000)
    assert ("corrected", 5, n2, 150_000, 0, 0) in names_of(market.jy1, "corrected")
    # 140 kWh change hands at 0.53 + 0.025: within a quarter more than was agreed; the other 10 come at retail.
    assert INITIAL_BALANCE_UYUAN - market.account(market.jy1, "n2").balance_uyuan == 140 * 555_000 + 10 * 615_000
    assert market.account(market.jy1, "n0").balance_uyuan - INITIAL_BALANCE_UYUAN == 140 * 530_000
    market.check_money()
    credits = {name: market.account(market.lh1, name).credit_upt for name in NAMES}
    assert credits == {"n0": 100_000_000, "n1": 90_000_000, "n2": 100_000_000, "n3": 90_000_000}
    assert market.faults() == []


def test_a_trade_over_line_capacity_is_cut_back_to_it():
    market = Market(first=5, last=5)
    order = market.order("n2", 0, 5, 570_000, 100_000)  # 250 kWh in all through line b, which carries 150
    market.run_until(5, -3_000_000)
    second = market.sign(market.jy1, market.network.keys["n2"], "intention", *order, sequence=1)
    assert market.jy1.submit("n1", second) == (None,)
    market.run_until(5, 0)
    assert [trade.volume_wh for trade in get_trades(market.state(market.jy1), 5)] == [100_000, 100_000]
    assert scheduling_views.get_verdict(market.state(market.du1), 5) == [Curtailment(1, 50_000, "b")]
    assert names_of(market.jy1, "curtailed") == [("curtailed", 5, 1, 50_000, "b")]
    market.run_until(5, 3_500_000)
    assert market.status(5) == SETTLED
    market.check_money()
    assert market.account(market.lh1, "n0").score_count == 2
    assert market.account(market.lh1, "n2").credit_upt == 100_000_000, "it took what it was left with"


@pytest.mark.parametrize("name", ["DU1", "JY1", "LH1"])
def test_a_chain_stops_for_two_periods_and_comes_back(name):
    market = Market(first=5, last=14, seed=2, sealing="drawn")
    stopped = market.worlds[name]
    market.run_until(6, 0)
    heights = {world: world.node("n3").chain.head.height for world in market.worlds.values() if world is not stopped}
    for peer in NAMES:
        stopped.crash(peer)
    market.run_until(8, 0)
    for world, height in heights.items():
        assert world.node("n3").chain.head.height > height + 25, "the other chains go on"
    for peer in NAMES:
        stopped.start(peer)
    market.run_until(14, 3_500_000)

    statuses = {period: market.status(period) for period in range(5, 15)}
    settled = [period for period, status in statuses.items() if status == SETTLED]
    broken = {period: status for period, status in statuses.items() if status != SETTLED}
    if name == "LH1":
        assert broken == {}, "credit comes late, and nothing else does"
    else:
        assert broken, "what the chain could not do in time is void, and says so"
        assert set(broken.values()) <= {None, VOID, LAPSED}
        assert max(broken) <= 12
    assert {13, 14} <= set(settled), "the next periods run"
    market.check_money()
    for world in market.worlds.values():
        world.run_until(lambda world=world: len(world.heads()) == 1, limit_ms=20_000)
    delivered = market.account(market.lh1, "n0").score_count
    assert delivered == len(settled), "each delivery is scored once, however late"
    assert market.account(market.jy1, "n0").credit_upt == market.account(market.lh1, "n0").credit_upt


def test_under_pbft_one_machine_fails_and_no_period_is_missed():
    market = Market(first=5, last=8, seed=3, consensus=PBFT)
    market.run_until(5, 0)
    for world in market.worlds.values():
        world.crash("n1")
    market.run_until(7, 0)
    for world in market.worlds.values():
        world.start("n1")
    market.run_until(8, 3_500_000)
    assert [market.status(period) for period in range(5, 9)] == [SETTLED] * 4
    market.check_money()
    for world in market.worlds.values():
        world.run_until(lambda world=world: len(world.heads()) == 1, limit_ms=20_000)
    assert market.faults() == []


def test_a_peer_that_hosts_the_trading_chain_alone_follows():
    market = Market(first=5, last=5)
    outsider = market.jy1.peers["n1"]
    for world in (market.du1, market.lh1):
        world.crash("n1")
    market.run_until(5, 3_500_000)
    assert outsider.node.chain.head.height > 100
    assert get_gate(Overlay(outsider.node.chain.head.state), 5).status == SETTLED


def test_same_seed_same_trace():
    def trace():
        market = Market(first=5, last=5, seed=9)
        market.run_until(5, -3_500_000)
        return market.jy1.trace_hash()

    assert trace() == trace()


# --- what peers may try ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quoted():
    """A market whose first quota stands on JY1, and the relay that carried it."""
    market = Market(first=5, last=5)
    market.run_until(5, -3_000_000)
    (raw,) = [raw for kind, number, _, raw in market.relays(market.du1, market.jy1) if (kind, number) == ("quota", 5)]
    return market, raw


def offer(world: World, raw: bytes):
    """Tell a peer of a relay: the faults for which it blames the sender."""
    victim = world.peers["n0"]
    before = len(victim.faults)
    world.inject("n0", world.peers["n1"].key.public_key, wire.Relay(raw=raw))
    return [type(error) for _, error in victim.faults[before:]]


def test_a_quota_comes_once_however_often_it_is_relayed(quoted):
    market, raw = quoted
    root, told = market.state(market.jy1, "n0").root, len(names_of(market.jy1, "quota"))
    assert offer(market.jy1, raw) == []
    market.jy1._step(market.jy1.peers["n0"], RelayOffered(raw=raw))
    assert market.state(market.jy1, "n0").root == root
    assert len(names_of(market.jy1, "quota")) == told
    with pytest.raises(AlreadyRelayed):
        accept(market.jy1, raw)


def accept(world, raw):
    node = world.node("n0")
    view = Overlay(node.chain.head.state)
    accept_relay(
        view,
        node._instance.make_next_context(world.now_ms),
        Relay.from_value(decode(raw, max_bytes=10**6)),
        routes_of("trading"),
    )


def test_a_peer_that_relays_a_forgery_is_blamed(quoted):
    market, raw = quoted
    relay = decode(raw, max_bytes=10**6)
    certificate, header, message, proof = relay
    statement, signatures = certificate
    forged = ((signatures[0][0], bytes(64)), *signatures[1:])
    fresh = (message[0], 6, *message[2:])  # a number that is still wanted
    assert offer(market.jy1, encode((certificate, header, fresh, proof))) == [InvalidProof]
    assert offer(market.jy1, encode(((statement, forged), header, fresh, proof))) != []
    stranger = ((bytes(32), *statement[1:]), signatures)
    assert offer(market.jy1, encode((stranger, header, fresh, proof))) == []  # of no chain of ours: not wanted
    with pytest.raises(UnknownSource):
        accept(market.jy1, encode((stranger, header, fresh, proof)))


def test_orders_wait_for_their_quota():
    market = Market(first=5, last=5)
    market.jy1.run_for(PERIOD_MS + 2_000)  # the market of period 5 is open by the clock, nothing is planned
    order = market.sign(market.jy1, market.network.keys["n0"], "intention", *market.order("n0", 1, 5, 500_000, 1_000))
    (error,) = market.jy1.submit("n0", order)
    assert type(error) is NoQuota


def test_a_double_vote_on_jy1_costs_credit_on_lh1():
    market = Market(first=5, last=5)
    market.jy1.run_for(20_000)
    culprit = market.network.keys["n2"]
    votes = sorted(
        (
            sign_statement(Statement(chain_id=market.jy1.chain_id, slot=1, block_hash=bytes([byte]) * 32), culprit)
            for byte in (1, 2)
        ),
        key=lambda vote: vote.statement.block_hash,
    )
    evidence = DoubleVote(first=votes[0], second=votes[1])
    sender = market.jy1.peers["n1"].key.public_key
    market.jy1.inject("n0", sender, wire.Evidence(kind=DOUBLE_VOTE, raw=encode(evidence.to_value())))
    market.jy1.run_until(lambda: market.account(market.jy1, "n2").credit_upt < 90_000_000, limit_ms=150_000)
    assert market.account(market.jy1, "n2").credit_upt == 70_000_000
    market.jy1.run_until(lambda: market.account(market.lh1, "n2").penalty_upt > 0, limit_ms=150_000)
    assert market.account(market.lh1, "n2").credit_upt == 70_000_000
    market.jy1.run_for(3 * PERIOD_MS)
    assert names_of(market.jy1, "credit-applied"), "a snapshot from LH1 has come since"
    assert market.account(market.jy1, "n2").credit_upt == 70_000_000


def test_a_certificate_with_a_bad_signature_is_named(quoted):
    _, raw = quoted
    certificate, header, message, proof = decode(raw, max_bytes=10**6)
    statement, signatures = certificate
    forged = (statement, ((signatures[0][0], bytes(64)), *signatures[1:]))
    lagging = Market(first=9, last=9)  # the same network, which has not had the quota yet
    lagging.jy1.run_for(PERIOD_MS)
    assert offer(lagging.jy1, encode((forged, header, message, proof))) == [InvalidSignature]
