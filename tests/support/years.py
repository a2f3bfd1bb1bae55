"""The cost of years: in virtual time a market on the disk of one node that prunes, and its figures month by month.

    python -m tests.support.years --players 100 --days 730      # some hours
    python -m tests.support.years --players 1000 --days 30

The contracts of three chains run as in `market_years`, in periods of 15 minutes. Each block is final at once and is
kept as a node keeps it: in LevelDB, without undo rows, bodies of two weeks. Members' signatures are made, not checked;
what checking them costs is in `benchmarks`. The store is opened from a copy, in a process of its own; in another, a
fresh node takes the snapshot, chunk by chunk. CPU is that of the cheapest day of a month and of the cheapest of three
openings, since other work on the machine only adds to it.

Fails where a figure still grows once all that is retained is there: where the later half of the months has a median
above that of the earlier by 5 %, by more than months scatter, and by more than what is known to stay for good.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, fields
from functools import partial
from itertools import pairwise
from math import sqrt
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median
from time import process_time
from typing import NamedTuple

from ledger import rows
from ledger.block import Block
from ledger.chain import Chain
from ledger.codec import encode
from ledger.execution import Execution
from ledger.genesis import Genesis
from ledger.params import MarketParams
from ledger.signatures import SigningKey
from ledger.state import State
from ledger.state_chunks import check_chunk, cut_all
from ledger.store import LevelStore
from node.chain.events import Compact, Persist
from node.chain.pruning import Keep, Pruner
from node.chain.snapshot_join import read_chunk, read_leaves
from node.system.store_copy import copied
from simulation.world.contract_chains import ContractChain
from tests.support.market_years import MARKET, MarketYears

PERIODS_A_DAY = 96
KEPT_DAYS = 14
KEEP = Keep("periods", KEPT_DAYS * PERIODS_A_DAY)
MONTH_DAYS = 30
LEAST_ROWS = 4  # of which trends are told: two for each half
GROWTH = 0.05  # of the earlier median: less is no growth that anybody would notice
_SURE = 3  # standard errors: of a hundred runs of noise, one or two show a growth of some figure
_OF_MEAN = 1.2533  # of normal noise: sigma by the mean deviation, and a median's standard error by that of the mean
SKELETON = {"stored_mb": 12.0, "opened_mb": 0.03}
"""What the headers, hashes and heights of all blocks add in a month on disk, and LevelDB's indexes of them in memory:
some 350 bytes a block, by time and not by trade (decision 43)."""
OPENINGS = 3  # of which the cheapest counts
_MB = 1e6


@dataclass(frozen=True, kw_only=True)
class Month:
    """The figures of three chains at the end of a month."""

    day: int
    entries: int  # of the states
    stored_mb: float  # on disk
    import_ms: float  # CPU of a period's blocks: executed and stored
    open_s: float  # CPU of opening all stores
    opened_mb: float  # memory of a process that has opened them
    snapshot_mb: float  # of the states, in chunks, as a fresh node takes them
    join_s: float  # CPU of checking all chunks, writing them, and making the states of them
    settled: int  # periods, since the month before


HEADINGS = (
    "day",
    "entries",
    "disk, MB",
    "import, ms a period",
    "open, s",
    "opened, MB",
    "snapshot, MB",
    "join, s",
    "periods settled",
)


class StoredChain(ContractChain):
    """A chain by its contracts, kept as a node keeps it."""

    def __init__(
        self, genesis: Genesis, producer: SigningKey, voters: Iterable[SigningKey], *, home: Path, keep: Keep
    ) -> None:
        super().__init__(genesis, producer, voters)
        self.directory = home / genesis.params.name
        self.store = LevelStore(self.directory)
        self.chain = Chain(genesis, self.store)
        self.spent_s = 0.0
        self._pruner = Pruner(self.chain, self.store, genesis.params, keep)

    def execute(self, now_ms: int) -> tuple[Block, Execution]:
        begin_s = process_time()
        block, execution = super().execute(now_ms)
        entry = self.chain.add(block, execution, work=block.header.height, base_n_diff=1)
        moved = self.chain.move_head(entry)
        self.store.write([*moved.changes, *self.chain.finalise(entry)], sync=False)
        self.spent_s += process_time() - begin_s
        if block.header.period > (self.chain.get_header(block.header.parent) or block.header).period:
            self._prune()
        return block, execution

    def _prune(self) -> None:
        has_more = True
        while has_more:
            has_more = False
            for action in self._pruner.on_timer(0):
                match action:
                    case Persist(changes=changes):
                        self.store.write(changes, sync=False)
                        has_more = True
                    case Compact(ranges=ranges):
                        for first, last in ranges:
                            self.store.compact(first, last)


class Years:
    """A market of so many players on disk."""

    def __init__(self, home: Path, *, players: int, keep: Keep = KEEP, market: MarketParams = MARKET) -> None:
        self.months: list[Month] = []
        self._market = MarketYears(
            engine="pbft",
            market=market,
            names=[f"n{number}" for number in range(players)],
            make_chain=partial(StoredChain, home=home, keep=keep),
        )
        self._chains = [chain for chain in self._market.chains.values() if isinstance(chain, StoredChain)]
        self._settled = 0

    def run(self, days: int, *, periods_a_day: int = PERIODS_A_DAY, every: int = MONTH_DAYS) -> None:
        """So many days more, with figures after every so many, and a word to standard error each day."""
        days_s: list[float] = []
        for day in range(1, days + 1):
            before_s = self._spent_s()
            self._market.run(periods_a_day, every=1 << 30)
            days_s.append(self._spent_s() - before_s)
            if sys.stderr.isatty():
                print(f"\rday {day} of {days}", end="", file=sys.stderr, flush=True)
            if day % every == 0 or day == days:
                self.months.append(self._measure(day, 1_000 * min(days_s) / periods_a_day))
                print("".join(f"{cell:>20}" for cell in show(self.months[-1])), flush=True)
                days_s = []

    def close(self) -> None:
        for chain in self._chains:
            chain.store.close()

    def _spent_s(self) -> float:
        return sum(chain.spent_s for chain in self._chains)

    def _measure(self, day: int, import_ms: float) -> Month:
        opened = [in_copy(_open, chain.genesis, chain.directory, times=OPENINGS) for chain in self._chains]
        joined = [in_copy(_join, chain.genesis, chain.directory) for chain in self._chains]
        settled, self._settled = self._market.settled - self._settled, self._market.settled
        return Month(
            day=day,
            entries=sum(len(chain.state) for chain in self._chains),
            stored_mb=sum(size_of(chain.directory) for chain in self._chains) / _MB,
            import_ms=import_ms,
            open_s=sum(open_s for open_s, _ in opened),
            opened_mb=sum(mb for _, mb in opened),
            snapshot_mb=sum(mb for _, mb in joined),
            join_s=sum(join_s for join_s, _ in joined),
            settled=settled,
        )


def size_of(directory: Path) -> int:
    return sum(file.stat().st_size for file in directory.iterdir())


def in_copy(
    look: Callable[[Genesis, Path], tuple[float, float]], genesis: Genesis, directory: Path, *, times: int = 1
) -> tuple[float, float]:
    """The least of some looks at a copy of a store, each in a process of its own: CPU seconds, and megabytes.

    What stands in the log of the copy has gone to its tables, so that no look pays for where in it the copy was taken.
    """
    seen = []
    for _ in range(times):
        with copied(directory) as copy, ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            with closing(LevelStore(copy)) as store:
                store.compact(b"", rows.LAST)
            seen.append(pool.submit(look, genesis, copy).result())
    return min(spent_s for spent_s, _ in seen), min(mb for _, mb in seen)


def _open(genesis: Genesis, directory: Path) -> tuple[float, float]:
    """Open a store: the CPU it takes, and the memory that it holds."""
    before_s, before_kb = process_time(), _held_kb()
    with closing(LevelStore(directory)) as store:
        chain = Chain(genesis, store)
        held_kb = _held_kb() - before_kb
        assert chain.head.height > 0
    return process_time() - before_s, held_kb / 1e3


def _join(genesis: Genesis, directory: Path) -> tuple[float, float]:
    """Take the head's state by chunks as a fresh node does: the CPU it takes, and how much comes to it."""
    with closing(LevelStore(directory)) as store:
        state = Chain(genesis, store).head.state
        raws = [encode(chunk.to_value()) for chunk in cut_all(state)]
    with closing(LevelStore(directory / "fresh")) as fresh:
        begin_s = process_time()
        for number, raw in enumerate(raws):
            chunk = read_chunk(raw)
            check_chunk(state.root, chunk)
            fresh.write([(rows.CHUNK + number.to_bytes(4, "big"), encode(chunk.items))], sync=True)
        leaves = (leaf for _, raw in fresh.scan(rows.CHUNK) for leaf in read_leaves(raw))
        assert State.from_items(leaves).root == state.root
        return process_time() - begin_s, sum(map(len, raws)) / _MB


def _held_kb() -> int:
    """Memory of this process, without pages of files."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1])


def show(month: Month) -> tuple[str, ...]:
    values = [getattr(month, item.name) for item in fields(month)]
    return tuple(f"{value:.2f}" if isinstance(value, float) else f"{value:,}" for value in values)


class Trend(NamedTuple):
    """One figure's medians in the earlier and the later half of the months, and how far apart they may be."""

    name: str
    before: float
    after: float
    days: float  # from the middle of one half to that of the other
    lasting: float  # of the difference: by what stays for good
    tolerance: float

    @property
    def grows(self) -> bool:
        return self.after - self.before - self.lasting > self.tolerance

    def __str__(self) -> str:
        a_month = (self.after - self.before) * MONTH_DAYS / self.days
        known = f"{self.lasting:,.2f} by headers that stay, " if self.lasting else ""
        return (
            f"{self.name} {'grows' if self.grows else 'is steady'}: {self.before:,.2f}, later {self.after:,.2f}, "
            f"{a_month:+,.3f} a month; {known}{self.tolerance:,.2f} may be chance"
        )


def find_trends(months: Sequence[Month]) -> list[Trend]:
    """The trend of each figure since all that is retained was there; none of too few months.

    Medians, so that one month in which the machine was busy decides nothing. What is chance follows from the steps
    from month to month, less their median: a growth that is the same in each does not pass for noise.
    """
    kept = [one for one in months[1:] if one.day > KEPT_DAYS]
    if len(kept) < LEAST_ROWS:
        return []
    half = len(kept) // 2
    early, late = kept[:half], kept[half:]
    days = median(one.day for one in late) - median(one.day for one in early)
    trends = []
    for name in ("entries", "stored_mb", "import_ms", "open_s", "opened_mb", "snapshot_mb", "join_s"):
        values = [getattr(one, name) for one in kept]
        before, after = median(values[:half]), median(values[half:])
        steps = [later - earlier for earlier, later in pairwise(values)]
        usual = median(steps)
        scatter = _OF_MEAN * mean(abs(step - usual) for step in steps) / sqrt(2)
        error = _OF_MEAN * scatter * sqrt(1 / len(early) + 1 / len(late))
        lasting = SKELETON.get(name, 0.0) * days / MONTH_DAYS
        trends.append(Trend(name, before, after, days, lasting, max(GROWTH * before, _SURE * error)))
    return trends


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--players", type=int, default=100)
    parser.add_argument("--days", type=int, default=730)
    parser.add_argument("--every", type=int, default=MONTH_DAYS, help="days between two rows of figures")
    options = parser.parse_args(arguments)
    print("".join(f"{heading:>20}" for heading in HEADINGS), flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="gridmerit-years-") as home,
        closing(Years(Path(home), players=options.players)) as years,
    ):
        years.run(options.days, every=options.every)
        trends = find_trends(years.months)
    print("\n".join(map(str, trends)) or f"{LEAST_ROWS} rows of figures since day {KEPT_DAYS} tell a trend, not fewer")
    return int(any(trend.grows for trend in trends))


if __name__ == "__main__":
    sys.exit(main())
