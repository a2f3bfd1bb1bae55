"""Claims and vouchers among nodes that agree: what is promised on one is served on all of them, in shares of work."""

from ledger.accounts import get_account
from ledger.overlay import Overlay
from ledger.params import MarketParams, VoucherParams
from ledger.transaction import make_transaction
from market.assets.lots import get_lots
from market.claim_records import CLAIM, get_claim, get_served
from market.pots import PUBLIC_POTS
from market.trading.views import closed_periods
from market.vouchers import VOUCHER, get_backing
from simulation.world.invariants import Invariants
from simulation.world.networks import make_network
from simulation.world.world import World

NAMES = ("n0", "n1", "n2", "n3")
PERIOD = 4
MARKET = MarketParams(
    economy=1, work_per_block=64, vouchers=VoucherParams(price_uyuan=1_000, vouchers_per_block=1), over_delivery_ppm=0
)


class Assets:
    """A world whose members send what the tests have them send."""

    def __init__(self) -> None:
        self.network = make_network(NAMES, market=MARKET)
        self.world = World(self.network.genesis, self.network.keys)
        self.invariants = Invariants([self.world], command="this test")
        self.sent: dict[bytes, int] = {}

    def send(self, name: str, kind: str, *payload: object, device: bool = False) -> None:
        key = (self.network.devices if device else self.network.keys)[name]
        sequence = self.sent[key.address] = self.sent.get(key.address, -1) + 1
        transaction = make_transaction(
            key, chain_id=self.world.chain_id, sequence=sequence, expiry_height=5_000, kind=kind, payload=payload
        )
        assert self.world.submit(name, transaction) == (None,)

    def address(self, name: str) -> bytes:
        return self.network.keys[name].address

    def views(self) -> list[Overlay]:
        return [Overlay(self.world.node(name).chain.head.state) for name in NAMES]

    def run_to(self, elapsed_ms: int) -> None:
        self.world.run_for(elapsed_ms - (self.world.now_ms - self.network.genesis.time_ms))


def test_what_is_promised_is_served_on_every_node():
    assets = Assets()
    period_ms = assets.network.genesis.params.ledger.period_ms
    assets.run_to((PERIOD - 3) * period_ms + 2_000)
    for producer in NAMES:
        for holder in NAMES:
            assets.send(producer, "asset-issue", CLAIM, assets.address(holder), 600, (PERIOD,))
    assets.send("n0", "fund", "block-rewards", 5_000)
    assets.run_to((PERIOD + 1) * period_ms + 2_000)
    for name in NAMES:
        produced = {"n0": 2_000, "n1": 900, "n2": 0}.get(name)
        if produced is not None:
            assets.send(name, "reading", PERIOD, 1_500, produced, device=True)
    assets.world.run_until(
        lambda: all(PERIOD in closed_periods(assets.world.node(name).chain.head.state) for name in NAMES),
        limit_ms=5 * period_ms,
    )
    assets.invariants.check_deeply()
    for view in assets.views():
        served = {name: get_served(view, get_claim(view, PERIOD, assets.address(name))) for name in NAMES}
        redeemed_wh = [sum(row.redeemed_wh for row in rows) for rows in served.values()]
        assert redeemed_wh == [1_800, 900, 0, 0], "the last one's meter was not heard"
        assert all(sum(row.held_wh for row in rows) == 4 * 600 for rows in served.values())
        assert not [lot for name in NAMES for lot in get_lots(view, CLAIM, assets.address(name), PERIOD)]
        rewarded = sum(lot[2] for name in NAMES for lot in get_lots(view, VOUCHER, assets.address(name), PERIOD))
        pots = [PUBLIC_POTS["block-rewards"], get_backing(PUBLIC_POTS["block-rewards"])]
        assert [get_account(view, pot).balance_uyuan for pot in pots] == [0, 5_000]
        assert rewarded == 5
