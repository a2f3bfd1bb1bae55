"""One period of a market of many members over three chains, by their contracts, and what each block of it takes.

    python -m tests.support.market_size --orders 10000

Half of the orders are bids and half offers, which meet in about as many trades; twice as many meters are read. Every
block comes after an interval. Prints, for each stage, how many blocks it took, the CPU of the longest step and of the
longest block, and what is largest; fails where the chains' money, credit or records do not come out.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from tempfile import TemporaryDirectory
from time import process_time, thread_time
from typing import TypeVar, cast

from consensus.relays import Relay, is_wanted
from gridmerit.network.parameters import load_params_set
from ledger import rows
from ledger.accounts import get_account
from ledger.block import Block
from ledger.codec import Value, encode
from ledger.contract import BlockContext
from ledger.execution import Execution
from ledger.genesis import ALL_CHAINS, Genesis, GenesisMember
from ledger.params import Area, ChainParams, ConsensusParams, LedgerParams, Line, MarketParams, SchedulingParams
from ledger.signatures import SigningKey
from ledger.steps import Run, Steps
from ledger.store import LevelStore
from ledger.transaction import Transaction
from market.scheduling.contract import compute_scheduling_times
from market.trading.gates import ACCEPTED, SETTLED
from market.trading.times import compute_times
from market.trading.views import get_completion, get_gate, get_settlement, get_trades
from node.chain.contracts import routes_of
from node.chain.state_kinds import find_kind
from simulation.world.contract_chains import ContractChain
from simulation.world.networks import key_of

INTERVAL_MS = 10_000
PERIOD_MS = 900_000
PERIOD = 6  # that is traded
START_MS = 1_800_000_000_000
BALANCE_UYUAN = 10**10
CAPACITY_WH = 100_000
LINES = 24
SEALERS = ("n0", "n1", "n2", "n3")
MARKET = MarketParams(
    open_ppm=3_000_000,
    gate_ppm=2_000_000,
    deadline_ppm=1_000_000,
    settle_ppm=2_500_000,
    over_delivery_ppm=250_000,
    correction_ppm=4_000_000,
    retained_periods=24,
    initial_credit_upt=50_000_000,
    initial_weight=1_000,
    score_unit_wh=100,
    ties="pro-rata",
    merged_coins=512,
    income_and_cost="kept",
    recorded_violations=16,
    tolerance_ppm=100_000,
)
LEDGER = LedgerParams(period_ms=PERIOD_MS, max_transaction_bytes=65_536)
PACKAGED = {chain.kind: chain for chain in load_params_set()}  # whose limits are those of new networks
T = TypeVar("T")
BUSY_MS = 5.0  # an idle block takes less


class TimedChain(ContractChain):
    """A chain that knows what its latest block took, and leaves for the next one what is too much for it."""

    repeats = 1  # times that a block is executed, for the same: the least CPU is what it takes
    steps_ms: Sequence[float] = ()  # of its execution, from one rest to the next
    store_ms = said_ms = 0.0  # to write it down, and to tell of what it says
    quickest_s = 1.0  # what `_spin` takes when nothing else runs: times are told as of then
    block_bytes = 0
    _executing_ms = 0.0  # with repeats

    def keep_in(self, store: LevelStore) -> None:
        """Write the blocks to come into a store, as a node does."""
        self._store = store

    def make_block(self, now_ms: int) -> list[Relay]:
        wanted = [relay for relay in self.heard if is_wanted(self.view, relay.name, routes_of(self.params.kind))]
        self.heard = wanted[: self.params.ledger.max_block_relays or len(wanted)]
        begin_s = process_time()
        said = super().make_block(now_ms)
        self.said_ms = (process_time() - begin_s) * 1_000 - self._executing_ms
        slowness = min(_spin() for _ in range(self.repeats)) / TimedChain.quickest_s
        self.said_ms /= slowness
        self.store_ms /= slowness
        self.steps_ms = [step_ms / slowness for step_ms in self.steps_ms]
        self.heard = wanted  # of which the next block takes what this one had no room for
        return said

    def execute(self, now_ms: int) -> tuple[Block, Execution]:
        self.block_bytes = sum(len(transaction.raw) for transaction in self._waiting)
        begin_s = process_time()
        block, execution = super().execute(now_ms)
        self.store_ms = _time_ms(lambda: self._store.write(_list_rows(block, execution), sync=False))
        self._executing_ms = (process_time() - begin_s) * 1_000
        return block, execution

    def _select(self, block: BlockContext) -> tuple[tuple[Transaction, ...], Execution]:
        timed = [_time_steps(self._fill(block)) for _ in range(self.repeats)]
        self.steps_ms = [min(of_step) for of_step in zip(*(steps_ms for _, steps_ms in timed), strict=True)]
        return timed[-1][0]


def _list_rows(block: Block, execution: Execution) -> list[rows.Row]:
    """The rows that a node writes of a block that extends its chain."""
    changes = [(rows.STATE + key, value) for key, value in execution.delta.changes.items()]
    return [*rows.rows_of_block(block, execution, work=1, base_n_diff=1), *changes]


def _time_ms(call: Callable[[], object]) -> float:
    """The CPU of a call in its own thread: what a store tidies up meanwhile keeps no step waiting."""
    begin_s = thread_time()
    call()
    return (thread_time() - begin_s) * 1_000


def _time_steps(steps: Steps[T]) -> tuple[T, list[float]]:
    """The result of work in steps, and the CPU of each in ms."""
    run, steps_ms = Run(steps), list[float]()
    while not run.is_over:
        steps_ms.append(_time_ms(run.go_on))
    return cast(T, run.result), steps_ms


def _spin() -> float:
    """Seconds of CPU for some work that is always the same: more on a busy machine, whose caches are others' too."""
    begin_s = process_time()
    pairs = [(index.to_bytes(8, "big"), index) for index in range(4_000)]
    table = {key: encode((key, value)) for key, value in pairs}
    assert len(sorted(table.values())) == len(pairs)
    took_s = process_time() - begin_s
    TimedChain.quickest_s = min(TimedChain.quickest_s, took_s)
    return took_s


@dataclass(slots=True)
class StageCost:
    """The cost of a stage on one chain: blocks that did something, the longest step and block, the most bytes."""

    blocks: int = 0
    steps: int = 0  # the most of a block, beside writing it down
    step_ms: float = 0
    longest_ms: float = 0
    total_ms: float = 0
    said_ms: float = 0  # the longest that it took to certify a block and make relays of what it says
    block_bytes: int = 0


def _find_longest(chain: TimedChain) -> float:
    """The CPU of a block's longest step, in ms: the last one writes it down, too."""
    *steps_ms, last_ms = chain.steps_ms
    return max([*steps_ms, last_ms + chain.store_ms])


class SizedMarket:
    """Three chains and the members of one period."""

    def __init__(
        self,
        orders: int,
        *,
        engine: str = "pbft",
        work: int | None = None,
        relays: int | None = None,
        passes: int | None = None,
        seed: int = 1,
    ) -> None:
        self.random = Random(seed)
        self.bidders = [f"b{index}" for index in range(orders // 2)]
        self.sellers = [f"s{index}" for index in range(orders - orders // 2)]
        self.others = [f"o{index}" for index in range(orders)]
        names = (*self.bidders, *self.sellers, *self.others)
        self.keys = {name: key_of(name) for name in (*names, *(f"{name}/meter" for name in names))}
        self.genesis = self._make_genesis(make_params(engine, work, relays, passes), names)
        sealers = [key_of(name) for name in SEALERS]
        self.chains = {
            params.kind: TimedChain(self.genesis.open(params.name), sealers[0], sealers)
            for params in self.genesis.chains
        }
        self._directory = TemporaryDirectory()
        for kind, chain in self.chains.items():
            chain.keep_in(LevelStore(f"{self._directory.name}/{kind}"))
        self.du1, self.jy1, self.lh1 = (self.chains[kind] for kind in ("scheduling", "trading", "credit"))
        self.now_ms = START_MS
        self.stages: dict[str, dict[str, StageCost]] = {}
        self.durations: dict[str, int] = {}  # blocks from a stage's beginning to its end
        self.refused: list[str] = []
        self.scored = 0

    def _make_genesis(self, chains: Sequence[ChainParams], names: Sequence[str]) -> Genesis:
        members = [
            GenesisMember(name="grid", role="grid-operator", key=key_of("grid").public_key),
            GenesisMember(name="dispatch", role="dispatcher", key=key_of("dispatch").public_key),
        ]
        members += [
            GenesisMember(name=name, role="observer", key=key_of(name).public_key, seals=(ALL_CHAINS,))
            for name in SEALERS
        ]
        for index, name in enumerate(names):
            members.append(
                GenesisMember(
                    name=name,
                    role="prosumer",
                    key=self.keys[name].public_key,
                    balance_uyuan=BALANCE_UYUAN,
                    capacity_wh=CAPACITY_WH,
                    position=f"line-{index % LINES}",
                )
            )
            meter = self.keys[f"{name}/meter"].public_key
            members.append(GenesisMember(name=f"{name}-meter", role="device", key=meter, owner=name))
        first, *others = chains
        return Genesis(params=first, time_ms=START_MS, members=tuple(members), siblings=tuple(others))

    # --- time ------------------------------------------------------------------------------------

    def step(self, stage: str) -> None:
        """A block of every chain; what it says is heard by the next ones."""
        said: list[tuple[TimedChain, list[Relay]]] = []
        for kind, chain in self.chains.items():
            said.append((chain, chain.make_block(self.now_ms)))
            self.refused += [receipt.code for receipt in chain.receipts if receipt.code]
            cost = self.stages.setdefault(stage, {}).setdefault(kind, StageCost())
            took_ms = sum(chain.steps_ms) + chain.store_ms
            cost.blocks += took_ms > BUSY_MS
            cost.total_ms += took_ms
            cost.steps = max(cost.steps, len(chain.steps_ms))
            cost.step_ms = max(cost.step_ms, _find_longest(chain))
            cost.longest_ms = max(cost.longest_ms, took_ms)
            cost.said_ms = max(cost.said_ms, chain.said_ms)
            cost.block_bytes = max(cost.block_bytes, chain.block_bytes)
        self.scored += sum(event[0] == "credit" for event in self.lh1.events)
        for chain, relays in said:
            for other in self.chains.values():
                if other is not chain:
                    other.heard += relays
        self.now_ms += INTERVAL_MS

    def run_until(self, stage: str, is_done: Callable[[], bool], *, limit: int = 120) -> None:
        """Blocks until something is so, that of it included."""
        count = 0
        while not is_done():
            count += 1
            assert count <= limit, f"{stage} takes more than {limit} blocks"
            self.step(stage)
        self.durations[stage] = count

    def send_all(
        self, stage: str, chain: TimedChain, calls: Sequence[tuple[SigningKey, str, tuple[Value, ...]]]
    ) -> None:
        size = chain.params.ledger.max_block_transactions - 1  # beside a certificate
        for at in range(0, len(calls), size):
            for key, kind, payload in calls[at : at + size]:
                chain.send(key, kind, *payload)
            self.step(stage)

    # --- a period ----------------------------------------------------------------------------------

    def trade(self) -> None:
        """Quotas, orders, the gate, and what the grid says of it."""
        times = compute_times(PERIOD, self.jy1.params, START_MS)
        self.now_ms = compute_scheduling_times(PERIOD, self.du1.params, START_MS).quota_ms - INTERVAL_MS
        plan = tuple((f"line-{index}", 10**9, 10**9) for index in range(LINES))
        self.du1.send(key_of("dispatch"), "plan", PERIOD, plan)
        self.run_until("quotas", lambda: bool(get_completion(self.jy1.state, PERIOD)))
        self.now_ms = max(self.now_ms, times.open_ms)
        calls: list[tuple[SigningKey, str, tuple[Value, ...]]] = []
        for index, name in enumerate(self.bidders):
            calls.append((self.keys[name], "intention", (0, PERIOD, 500_000 + index, self._draw_volume())))
        for index, name in enumerate(self.sellers):
            calls.append((self.keys[name], "intention", (1, PERIOD, 400_000 - index, self._draw_volume())))
        self.random.shuffle(calls)
        self.send_all("orders", self.jy1, calls)
        self.now_ms = times.gate_ms
        self.run_until("gate", lambda: get_gate(self.jy1.state, PERIOD) is not None)
        self.run_until("verdict", lambda: self._status() == ACCEPTED)

    def _draw_volume(self) -> int:
        return 1_000 + self.random.randrange(4_000)

    def _status(self) -> str:
        gate = get_gate(self.jy1.state, PERIOD)
        return "" if gate is None else gate.status

    def deliver(self) -> None:
        """Meters are read, and the period is settled and scored."""
        self.now_ms = compute_times(PERIOD, self.jy1.params, START_MS).delivery_end_ms
        names = [*self.bidders, *self.sellers, *self.others]
        self.random.shuffle(names)
        calls: list[tuple[SigningKey, str, tuple[Value, ...]]] = [
            (self.keys[f"{name}/meter"], "reading", (PERIOD, self._draw_volume(), self._draw_volume()))
            for name in names
        ]
        self.send_all("readings", self.du1, calls)
        self.now_ms = compute_scheduling_times(PERIOD, self.du1.params, START_MS).meter_ms
        self.run_until("metering", lambda: self._status() == SETTLED)
        self.run_until("settlement", lambda: get_settlement(self.jy1.state, PERIOD) is not None)
        self.run_until("scores", lambda: self.scored >= 2 * len(get_trades(self.jy1.state, PERIOD)))

    def tell_credit(self) -> None:
        """The next period's first block, and until every credit has come to the other chains."""
        period = (self.now_ms - START_MS) // PERIOD_MS + 1
        self.now_ms = START_MS + period * PERIOD_MS
        trades = get_trades(self.jy1.state, PERIOD)
        members = {party for trade in trades for party in (trade.buyer, trade.seller)}
        applied = [0]

        def is_done() -> bool:
            applied[0] += sum(event[2] for event in self.jy1.events if event[0] == "credit-applied")  # type: ignore[misc]
            return applied[0] >= len(members)

        self.run_until("credit", is_done)

    def correct(self) -> None:
        """A meter is read again, and its period settled anew."""
        name = self.bidders[0]
        self.du1.send(self.keys[f"{name}/meter"], "reading", PERIOD, 0, 0)
        self.step("correction")
        period = (self.now_ms - START_MS) // PERIOD_MS + 1
        self.now_ms = START_MS + period * PERIOD_MS
        self.run_until("resettlement", lambda: any(event[0] == "resettled" for event in self.jy1.events))

    # --- what has come of it -----------------------------------------------------------------------

    def find_faults(self) -> list[str]:
        """The faults of a run: money made or lost, reserves that stay, trades that are not scored."""
        found = []
        accounts = [get_account(self.jy1.view, key.address) for key in (*self.keys.values(), key_of("grid"))]
        have = sum(account.balance_uyuan + account.reserved_uyuan for account in accounts)
        want = sum(member.balance_uyuan for member in self.genesis.members)
        if have != want:
            found.append(f"{have - want} µ¥ were made")
        reserved = sum(account.reserved_uyuan for account in accounts)
        if reserved:
            found.append(f"{reserved} µ¥ stay in reserve")
        settlement, trades = get_settlement(self.jy1.state, PERIOD), get_trades(self.jy1.state, PERIOD)
        if settlement is None or len(settlement.trades) != len(trades):
            found.append("not all trades are settled")
        if self.scored != 2 * len(trades):
            found.append(f"{self.scored} scores of {len(trades)} trades")
        if self.refused:
            found.append(f"refused: {Counter(self.refused)}")
        return found

    def show(self) -> str:
        costs_of = f"{'busy':>5}{'steps':>6}{'step':>9}{'block':>8}{'relays':>8}{'in all':>8}{'block':>10}"
        lines = [f"{'stage':14}{'blocks':>7}  {'chain':11}{costs_of}"]
        for stage, costs in self.stages.items():
            for kind, cost in costs.items():
                if cost.total_ms > BUSY_MS:
                    lines.append(
                        f"{stage:14}{self.durations.get(stage, 0) or '':>7}  {kind:11}{cost.blocks:5}{cost.steps:6}"
                        f"{cost.step_ms:6.0f} ms{cost.longest_ms:5.0f} ms{cost.said_ms:5.0f} ms{cost.total_ms:5.0f} ms"
                        f"{cost.block_bytes:8} B"
                    )
        for kind, chain in self.chains.items():
            key, value = max(chain.state.items(), key=lambda item: len(item[1]))
            found = find_kind(key)
            lines.append(f"{kind}: the largest value has {len(value)} bytes: {found.key if found else key!r}")
        return "\n".join(lines)


def make_params(engine: str, work: int | None, relays: int | None, passes: int | None) -> tuple[ChainParams, ...]:
    """Three chains with the packaged set's limits on blocks, where no others are given."""
    if engine == "pbft":
        consensus = ConsensusParams(engine="pbft", block_interval_ms=INTERVAL_MS, max_ahead_ms=5_000)
    else:
        consensus = ConsensusParams(block_interval_ms=INTERVAL_MS, checkpoints_per_period=45, checkpoint_depth=1)
    lines = tuple(Line(name=f"line-{index}", area="all", capacity_wh=10**9) for index in range(LINES))
    scheduling = SchedulingParams(
        quota_ppm=3_250_000,
        verdict_ppm=1_500_000,
        meter_ppm=1_500_000,
        areas=(Area(name="all", wheeling_uyuan_per_kwh=20_000),),
        lines=lines,
    )
    sections: dict[str, SchedulingParams] = {"scheduling": scheduling}
    chains = []
    for name, kind in (("jy1", "trading"), ("du1", "scheduling"), ("lh1", "credit")):
        packaged = PACKAGED[kind]
        limits = {
            "max_block_relays": packaged.ledger.max_block_relays if relays is None else relays,
            "max_block_transactions": packaged.ledger.max_block_transactions,
            "max_block_bytes": packaged.ledger.max_block_bytes,
        }
        shares = {
            "work_per_block": packaged.market.work_per_block if work is None else work,
            "passes_per_block": packaged.market.passes_per_block if passes is None else passes,
        }
        market = MARKET.model_copy(update=shares)
        chains.append(
            ChainParams(
                name=name,
                kind=kind,
                ledger=LEDGER.model_copy(update=limits),
                consensus=consensus,
                market=market,
                scheduling=sections.get(kind, SchedulingParams()),
            )
        )
    return tuple(chains)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=10_000)
    parser.add_argument("--engine", choices=("pbft", "poca"), default="pbft")
    parser.add_argument("--repeats", type=int, default=1, help="how often a block is executed; the least CPU counts")
    parser.add_argument("--work", type=int, help="units of work a block; 0: all at once; the packaged set's by default")
    parser.add_argument("--relays", type=int, help="relays a block; 0: as many as fit; the packaged set's by default")
    parser.add_argument("--passes", type=int, help="passes a block; the packaged set's by default")
    options = parser.parse_args(arguments)
    TimedChain.repeats = options.repeats
    limits = {name: getattr(options, name) for name in ("work", "relays", "passes")}
    sized = SizedMarket(options.orders, engine=options.engine, **limits)
    for _ in range(50):
        _spin()
    sized.trade()
    sized.deliver()
    sized.tell_credit()
    faults = sized.find_faults()
    sized.correct()
    print(sized.show())
    print(f"{len(get_trades(sized.jy1.state, PERIOD))} trades; {'; '.join(faults) or 'all comes out'}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
