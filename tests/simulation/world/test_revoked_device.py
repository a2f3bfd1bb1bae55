"""A meter that the authority has revoked: what it still says counts for nothing, on the chain that reads meters."""

import pytest

from ledger.contract import BlockContext
from ledger.errors import MemberRevoked
from ledger.execution import apply_transaction, begin_block
from ledger.genesis import Authority, build_state
from ledger.membership import sign_act
from ledger.overlay import Overlay
from ledger.params import Area, Line, MarketParams, SchedulingParams
from ledger.transaction import make_transaction
from market.metering import get_readings
from node.chain.contracts import build_contracts
from simulation.world.networks import key_of, make_network

PERIOD = 5
SCHEDULING = SchedulingParams(
    areas=(Area(name="all", wheeling_uyuan_per_kwh=20_000),), lines=(Line(name="a", area="all", capacity_wh=500_000),)
)


class Meters:
    """DU1 while period 5 is read: whatever is sent is applied at once."""

    def __init__(self):
        self.network = make_network(scheduling=SCHEDULING, market=MarketParams())
        chair = key_of("chair")
        authority = Authority(threshold=1, keys=(chair.public_key,))
        self.chair = chair
        self.genesis = self.network.genesis.model_copy(update={"authority": authority}).open("DU1")
        self.contracts = build_contracts(self.genesis)
        self.view = Overlay(build_state(self.genesis))
        period_ms = self.genesis.params.ledger.period_ms
        self.block = BlockContext(
            params=self.genesis.params,
            chain_id=self.genesis.chain_id,
            genesis_time_ms=self.genesis.time_ms,
            height=1,
            parent=bytes(32),
            producer=bytes(20),
            timestamp_ms=self.genesis.time_ms + (PERIOD + 1) * period_ms + 1,
            period=PERIOD + 1,
            is_first_of_period=False,
            siblings=frozenset({"trading", "credit"}),
        )
        begin_block(self.view, self.block, self.contracts)

    def send(self, key, kind, *payload, sequence=0):
        transaction = make_transaction(
            key, chain_id=self.genesis.chain_id, sequence=sequence, expiry_height=100, kind=kind, payload=payload
        )
        return apply_transaction(self.view, self.block, transaction, self.contracts).code

    def read(self, name):
        return self.send(self.network.devices[name], "reading", PERIOD, 1_000, 0)


def test_a_revoked_meter_is_read_no_more():
    meters = Meters()
    assert meters.read("n0") == ""
    act = sign_act(
        meters.genesis.network_id, ("revoke", meters.genesis.serial_of("n1-meter"), "seal broken"), [meters.chair]
    )
    assert meters.send(meters.network.keys["n2"], "revoke", *act) == ""
    with pytest.raises(MemberRevoked):
        meters.read("n1")
    assert [reading.owner for reading in get_readings(meters.view, PERIOD)] == [meters.network.keys["n0"].address]
