"""A market of few members over thousands of periods, by its contracts alone, and what of its chains' states grows.

    python -m tests.support.market_years --periods 2000

Every period is planned, traded, checked, metered, settled and scored; some readings are late, some are corrected, some
orders cancelled, coins change hands, and one sealer is caught at signing twice. Fails where a kind of entry passes its
bound, or still grows once all that is retained is there.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from random import Random

from consensus.contracts import DOUBLE_VOTE
from consensus.quorum import DoubleVote, Statement, sign_statement
from ledger.codec import Value
from ledger.genesis import Authority
from ledger.membership import sign_act
from ledger.params import Area, ConsensusParams, Line, MarketParams, SchedulingParams
from market.assets.lots import get_lots
from market.claim_records import CLAIM, get_claim
from market.credit.assets import MIN_TRANSFER_UPT, get_coins, get_holding
from market.credit.colored_coin import Label, make_sequence
from market.pots import PUBLIC_POTS
from market.trading.clearing_rules import is_by_target
from market.trading.sessions import Session, get_gate_number, get_period, get_session, list_gates
from market.vouchers import VOUCHER
from node.chain.state_kinds import UNKNOWN, KindCount, count_kinds
from simulation.world.contract_chains import ContractChain
from simulation.world.networks import GENESIS_TIME_MS, key_of, make_network

PERIOD_MS = 24_000
BLOCKS = 4  # in a period
NAMES = ("n0", "n1", "n2", "n3", "n4", "n5")
SEALERS = ("n0", "n1")
SETTLED_AFTER = 270  # periods until all that is retained is there: an inbox remembers 256 numbers
SCHEDULING = SchedulingParams(
    quota_ppm=4_000_000,
    verdict_ppm=500_000,
    meter_ppm=1_500_000,
    areas=(Area(name="north", wheeling_uyuan_per_kwh=20_000),),
    lines=(
        Line(name="a", area="north", capacity_wh=500_000),
        Line(name="b", upstream="a", area="north", capacity_wh=60_000),
    ),
)
MARKET = MarketParams(
    open_ppm=4_000_000,
    gate_ppm=2_000_000,
    deadline_ppm=0,
    settle_ppm=3_000_000,
    correction_ppm=4_000_000,
    retained_periods=24,
    merged_coins=64,
)
TWICE = {"open_ppm": 6_000_000, "gate_ppm": 5_000_000, "intraday_open_ppm": 4_000_000, "intraday_gate_ppm": 2_000_000}
TWICE_CLOCK = {"quota_ppm": 7_500_000, "intraday_quota_ppm": 4_250_000}
PBFT = ConsensusParams(engine="pbft", block_interval_ms=1_000, max_ahead_ms=2_000)
VALIDITY_MS = GENESIS_TIME_MS, GENESIS_TIME_MS + 10_000_000_000
AUTHORITY, LATE = key_of("authority"), key_of("late")
TRANSFER = make_sequence(Label.TRANSFER, 0)


class MarketYears:
    """Three chains, and all that happens on them."""

    def __init__(
        self,
        *,
        seed: int = 1,
        engine: str = "poca",
        market: MarketParams = MARKET,
        names: Sequence[str] = NAMES,
        make_chain: Callable[..., ContractChain] = ContractChain,
    ) -> None:
        self.names = tuple(names)
        self.network = make_network(
            names,
            period_ms=PERIOD_MS,
            consensus=PBFT if engine == "pbft" else None,
            market=market,
            scheduling=SCHEDULING.model_copy(update=TWICE_CLOCK if market.sessions > 1 else {}),
            sealers=SEALERS,
        )
        authority = Authority(keys=(AUTHORITY.public_key,))
        self.genesis = genesis = self.network.genesis.model_copy(update={"authority": authority})
        voters = [*self.network.keys.values(), LATE]
        producer = self.network.keys[SEALERS[0]]
        self.chains = {
            params.kind: make_chain(genesis.open(params.name), producer, voters) for params in genesis.chains
        }
        self.du1, self.jy1, self.lh1 = (self.chains[kind] for kind in ("scheduling", "trading", "credit"))
        self.random = Random(seed)
        self.period = 0
        self.refused: Counter[str] = Counter()
        self.issued_upt = self.merged = self.settled = 0
        self.samples: list[tuple[int, str, tuple[KindCount, ...]]] = []

    def run(self, periods: int, *, every: int = 7) -> None:
        """So many periods more; the states are counted now and then, in changing parts of a period."""
        for _ in range(periods):
            for part in range(BLOCKS):
                self._act(part)
                self._make_blocks(part)
                if self.period % every == 0 and part == self.period // every % BLOCKS:
                    self.count()
            self.period += 1

    def count(self) -> None:
        for kind, chain in self.chains.items():
            self.samples.append((self.period, kind, count_kinds(chain.genesis, chain.state)))

    def _make_blocks(self, part: int) -> None:
        now_ms = self.network.genesis.time_ms + (self.period * BLOCKS + part) * PERIOD_MS // BLOCKS + 1
        for chain in self.chains.values():
            said = chain.make_block(now_ms)
            self.refused.update(receipt.code for receipt in chain.receipts if receipt.code)
            for other in self.chains.values():
                if other is not chain:
                    other.heard += said
        self.issued_upt += sum(event[3] for event in self.lh1.events if event[0] == "coin-issued")  # type: ignore[misc]
        self.merged += sum(event[0] == "coins-merged" for event in self.lh1.events)
        self.settled += sum(event[0] == "settled" for event in self.jy1.events)

    # --- what members do -----------------------------------------------------------------------------

    def _act(self, part: int) -> None:
        match part:
            case 0:
                assert self.network.dispatcher is not None
                plan = (("a", 100_000, 200_000), ("b", 80_000, 100_000))
                ahead = 4 * (self.jy1.params.market.sessions - 1)
                self.du1.send(self.network.dispatcher, "plan", self.period + 5 + ahead, plan)
                if is_by_target(self.jy1.params.market.clearing_rule):
                    prices = (480_000, 500_000, 520_000, 540_000)
                    for gate in list_gates(self.jy1.params.market, self.period + 6 + ahead):
                        self.jy1.send(self.network.dispatcher, "game-target", gate, prices)
                self._read_meters(self.period - 1, self.names[:-1])
            case 1:
                self._read_meters(self.period - 1, self.names[-1:])
                self._pass_coins_on()
            case 2:
                self._place_orders()
                if self.period == 5:
                    self._sign_twice()
                self._come_and_go()
                if self.jy1.params.market.economy:
                    self._use_assets()
            case 3:
                self._pass_claims_on()
                if self.period % 3 == 0:
                    self._read_meters(self.period - 3, self.random.sample(self.names, 2))

    def _place_orders(self) -> None:
        """Orders for each open gate; intraday each member is on the other side, and trades back what it has traded."""
        market = self.jy1.params.market
        for gate in self._list_open():
            for index, name in enumerate(self.names):
                side = (index + get_session(market, gate)) % 2
                price = 400_000 + self.random.randrange(20) * 10_000
                volume_wh = 1_000 + self.random.randrange(30) * 1_000
                self.jy1.send(self.network.keys[name], "intention", side, gate, price, volume_wh)
            if gate % 5 == 0:
                self.jy1.send(self.network.keys[self.names[0]], "cancel", gate, 0)

    def _pass_claims_on(self) -> None:
        period = get_period(self.jy1.params.market, self._list_open()[0])
        for name, other in zip(self.names, self.names[1:], strict=False):
            claim = get_claim(self.jy1.view, period, self.network.keys[name].address)
            if claim and self.random.randrange(2):
                receiver = self.network.keys[self.random.choice(self.names)]
                self.jy1.send(self.network.keys[other], "asset-move", CLAIM, receiver.address, 400, claim, None)

    def _use_assets(self) -> None:
        """Claims are issued; vouchers are issued, passed on, renewed and paid with; pots are filled."""
        keys, market = self.network.keys, self.jy1.params.market
        period = get_period(market, self._list_open()[0])
        for name, other in zip(self.names, self.names[1:], strict=False):
            self.jy1.send(keys[name], "asset-issue", CLAIM, keys[other].address, 1_000, (period,))
            days = self.random.randrange(1, 3)
            terms = ("any", "bill")[self.period % 2], days
            self.jy1.send(self.network.grid, "asset-issue", VOUCHER, keys[name].address, 100, terms)
            self.jy1.send(keys[name], "asset-move", VOUCHER, keys[other].address, 30, 0, None)
            for _, number, amount in get_lots(self.jy1.view, VOUCHER, keys[name].address, self.period):
                kind, *payload = [
                    ("asset-renew", VOUCHER, number),
                    ("asset-redeem", VOUCHER, amount, number, ("bill", self.network.grid.address)),
                ][self.random.randrange(2)]
                self.jy1.send(keys[name], kind, *payload)
        for pot in PUBLIC_POTS:
            self.jy1.send(keys[self.names[0]], "fund", pot, 50_000)

    def _list_open(self) -> list[int]:
        market = self.jy1.params.market
        ahead = zip((self.period + 6, self.period + 3)[-market.sessions :], Session, strict=False)
        return [get_gate_number(market, period, session) for period, session in ahead]

    def _read_meters(self, period: int, names: Sequence[str]) -> None:
        for name in names if period > 0 else ():
            energy = self.random.randrange(30) * 1_000, self.random.randrange(30) * 1_000
            self.du1.send(self.network.devices[name], "reading", period, *energy)

    def _pass_coins_on(self) -> None:
        """Each member gives some of its newest coin to another."""
        for name in self.names:
            coins = get_coins(self.lh1.state, self.network.keys[name].address, limit=1)
            receiver = self.network.keys[self.random.choice(self.names)]
            for point, coin in coins:
                part_upt = coin.credit_upt // self.random.randrange(2, 5)
                if part_upt >= MIN_TRANSFER_UPT:
                    outputs = ((receiver.address, part_upt), (coin.owner, coin.credit_upt - part_upt))
                    self.lh1.send(self.network.keys[name], "coin-transfer", (tuple(point),), outputs, TRANSFER)

    def _come_and_go(self) -> None:
        """A member that seals and certifies on every chain is admitted, has its credential renewed, and is revoked."""
        seals = tuple(chain.name for chain in self.genesis.chains)
        admission = (1_000, "late", "prosumer", LATE.public_key, b"", 1_000, "a", b"", seals, *VALIDITY_MS, 0, 0)
        acts: dict[int, tuple[Value, ...]] = {
            2: ("admit", *admission),
            6: ("renew", 1_000, 1_001, key_of("late/tls").public_key, *VALIDITY_MS),
            9: ("revoke", 1_001, "enough"),
        }
        if self.period in acts:
            payload = sign_act(self.genesis.network_id, acts[self.period], [AUTHORITY])
            for chain in self.chains.values():
                chain.send(self.network.grid, acts[self.period][0], *payload)

    def _sign_twice(self) -> None:
        """A sealer votes for two blocks of one slot; who hears it puts the evidence into a block."""
        votes = [
            sign_statement(Statement(chain_id=self.jy1.chain_id, slot=1, block_hash=bytes([mark]) * 32), key)
            for key in [self.network.keys[SEALERS[1]]]
            for mark in (1, 2)
        ]
        self.jy1.put_in(DOUBLE_VOTE, DoubleVote(first=votes[0], second=votes[1]).to_value())

    # --- what is left of it --------------------------------------------------------------------------

    def find_breaches(self, *, after: int = SETTLED_AFTER) -> list[str]:
        """Kinds that passed their bound, are in no row of the table, or grew since all that is retained was there."""
        found = dict.fromkeys(
            f"{kind}: {row.key} {describe(row)}"
            for _, kind, rows in self.samples
            for row in rows
            if row.key == UNKNOWN or not row.is_within
        )
        middle = (after + self.period) // 2
        before, since = self._highest(after, middle), self._highest(middle, self.period + 1)
        for name, highs in since.items():
            for what, high, low in zip(("entries", "bytes"), highs, before.get(name, (0, 0)), strict=True):
                if high > low + max(4 if what == "entries" else 1_000, low // 20):
                    found[f"{name[0]}: {name[1]} grows: {low} {what}, later {high}"] = None
        return list(found)

    def _highest(self, first: int, last: int) -> Mapping[tuple[str, str], tuple[int, int]]:
        highest: dict[tuple[str, str], tuple[int, int]] = {}
        for period, kind, rows in self.samples:
            for row in rows if first <= period < last else ():
                entries, size = highest.get((kind, row.key), (0, 0))
                highest[kind, row.key] = max(entries, row.entries), max(size, row.bytes)
        return highest

    def held_upt(self) -> int:
        """The credit in all members' coins."""
        return sum(get_holding(self.lh1.state, key.address).credit_upt for key in self.network.keys.values())


def describe(row: KindCount) -> str:
    return f"{row.entries} of {row.max_entries}, {row.largest_bytes} of {row.max_value_bytes} bytes"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--periods", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    is_sound = True
    for engine, market in product(("poca", "pbft"), (MARKET, MARKET.model_copy(update=TWICE))):
        years = MarketYears(seed=options.seed, engine=engine, market=market)
        name = engine if market.sessions == 1 else f"{engine}, twice"
        for _ in range(0, options.periods, 100):
            years.run(100)
            entries = {kind: sum(row.entries for row in rows) for _, kind, rows in years.samples[-3:]}
            print(f"{name} {years.period}: {years.settled} settled; entries {entries}", file=sys.stderr)
        for kind, chain in years.chains.items():
            for row in count_kinds(chain.genesis, chain.state):
                print(f"{name:11} {kind:10} {row.key:22} {describe(row):50} {row.bound}")
        breaches = years.find_breaches()
        if years.held_upt() != years.issued_upt:
            breaches.append(f"{years.issued_upt} µpoints were issued, {years.held_upt()} are held")
        print("\n".join(breaches) or f"{name}: within every bound, and nothing grows")
        is_sound = is_sound and not breaches
    return 0 if is_sound else 1


if __name__ == "__main__":
    sys.exit(main())
