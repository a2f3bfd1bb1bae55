"""The usage of a member in a day where nobody trades, and where a hundred players do: CPU, traffic, bytes on disk.

Four real nodes with three chains at periods of a quarter of an hour, for a minute each way: sealing as fast as
`core_share_ppm` lets it and an empty block every ten seconds, which is the baseline; sealing within `interval_nonces`,
DU1 resting; and three chains by agreement, resting or not. What trade adds is measured in virtual time, where a
message counts as its own bytes: without batch, HTTP and TLS round it. All is what one node uses, on this machine and
its cores. `make idle` gives the nodes a loopback of their own, so that what others send is not counted.

The watts are supposed, not measured: what the same would take on a Raspberry Pi 4 above its 2.7 W idle, were its cores
five times slower than these (docs/run-a-network.md says where the figures are from). A search that may take a share of
a core takes it on any machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.table import Row, print_table
from gridmerit.network.make import new_network
from gridmerit.network.parameters import load_packaged_profile, load_params_set, scale_params
from gridmerit.network.processes import find_pid, start_network, stop_network
from ledger.params import ChainParams
from node.chain.events import Action, Broadcast, Persist, Send
from simulation.world.market_script import CLOCK, FIRST_PERIOD, GRID, MarketScript
from simulation.world.networks import make_network
from simulation.world.wire import Wire
from simulation.world.world import Peer, World, open_worlds

NODES = 4
PERIOD_MS = 900_000
PERIODS_A_DAY = 86_400_000 // PERIOD_MS
INTERVAL_NONCES = 100_000  # 10 000 a second
PLAYERS = 100
SEARCH_CORES = 0.1  # `core_share_ppm` of a packaged node
_DAY_S = 86_400.0
_START_WITHIN_MS, _WARM_UP_S = 300_000, 10.0
_PI_SLOWER, _PI_W_A_CORE = 5, 0.9
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_BASELINE = "sealing at a tenth of a core, blocks always"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """The usage of a node: CPU seconds, bytes sent, and bytes written or, in virtual time, to be written."""

    cpu_s: float
    sent_bytes: float
    written_bytes: float

    def since(self, before: Usage, *, times: float = 1.0) -> Usage:
        """The difference, so many times."""
        return Usage(
            cpu_s=(self.cpu_s - before.cpu_s) * times,
            sent_bytes=(self.sent_bytes - before.sent_bytes) * times,
            written_bytes=(self.written_bytes - before.written_bytes) * times,
        )

    def plus(self, other: Usage, *, times: float) -> Usage:
        """The sum with so many times another."""
        return Usage(
            cpu_s=self.cpu_s + other.cpu_s * times,
            sent_bytes=self.sent_bytes + other.sent_bytes * times,
            written_bytes=self.written_bytes + other.written_bytes * times,
        )


NOTHING = Usage(cpu_s=0, sent_bytes=0, written_bytes=0)


# --- real processes ------------------------------------------------------------------------------


def choose_params(source: str, *, rests: bool) -> list[ChainParams]:
    """A packaged set at quarters of an hour, whose idle chains rest, or do not at all."""
    changed = []
    for chain in load_params_set(source):
        is_searched = chain.consensus.engine == "poca"
        changes = {
            "empty_blocks": "due" if rests else "always",
            "interval_nonces": INTERVAL_NONCES if rests and is_searched else 0,
        }
        consensus = chain.consensus.model_copy(update=changes)
        changed.append(scale_params(chain.model_copy(update={"consensus": consensus}), PERIOD_MS))
    return changed


def measure_day(params: Sequence[ChainParams], seconds: float) -> Usage:
    """The usage of one of four running nodes in a day, from so many seconds."""
    directory = Path(tempfile.mkdtemp(prefix="idle-"))
    network = new_network(directory / "net", nodes=NODES, params=params, profile=load_packaged_profile())
    try:
        asyncio.run(start_network(network, within_ms=_START_WITHIN_MS))
        pids = [pid for node in network.nodes if (pid := find_pid(network, node)) is not None]
        assert len(pids) == NODES, "all have just started"
        time.sleep(_WARM_UP_S)
        before, begin_s = read_usage(pids), time.monotonic()
        time.sleep(seconds)
        after, span_s = read_usage(pids), time.monotonic() - begin_s
    finally:
        stop_network(network)
        shutil.rmtree(directory)
    return after.since(before, times=_DAY_S / span_s / NODES)


def read_usage(pids: Sequence[int]) -> Usage:
    """Of all these processes, from `/proc`; what was sent is all that went over the loopback."""
    stats = [Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split() for pid in pids]
    io = [Path(f"/proc/{pid}/io").read_text(encoding="ascii").split() for pid in pids]
    lines = Path("/proc/net/dev").read_text(encoding="ascii").splitlines()
    loopback = next(line.partition(":")[2].split() for line in lines if line.strip().startswith("lo:"))
    return Usage(
        cpu_s=sum((int(fields[11]) + int(fields[12])) / _TICKS_PER_S for fields in stats),
        sent_bytes=float(loopback[8]),
        written_bytes=float(sum(int(fields[fields.index("write_bytes:") + 1]) for fields in io)),
    )


# --- virtual time --------------------------------------------------------------------------------


class CountingWorld(World):
    """A world that counts what its peers send and write."""

    def _perform(self, peer: Peer, action: Action) -> None:
        counts = self._counts
        match action:
            case Send(message=message):
                counts[0] += self._sizes.size_of(message)
            case Broadcast(message=message):
                counts[0] += self._sizes.size_of(message) * (len(self.peers) - 1)
            case Persist(changes=changes):
                counts[1] += sum(len(key) + len(value or b"") for key, value in changes)
        super()._perform(peer, action)

    @property
    def _counts(self) -> list[int]:
        """Bytes sent and written; there from the first action on, which comes while the world is made."""
        return self.__dict__.setdefault("counts", [0, 0])  # type: ignore[no-any-return]

    @property
    def _sizes(self) -> Wire:
        return self.__dict__.setdefault("sizes", Wire())  # type: ignore[no-any-return]


def simulate(params: ChainParams, *, periods: int, traded: int) -> Usage:
    """The usage of one of four nodes for three chains by agreement over so many periods, of which some are traded."""
    names = [f"n{index}" for index in range(PLAYERS)]
    network = make_network(
        names, period_ms=PERIOD_MS, consensus=params.consensus, market=CLOCK, scheduling=GRID, sealers=names[:NODES]
    )
    keys = {name: network.keys[name] for name in names[:NODES]}
    worlds = open_worlds(network.genesis, keys, kind=CountingWorld)
    if traded:
        script = MarketScript(worlds, network, hours=traded, traders=PLAYERS // 2, seed=1)
    begin_s = time.process_time()
    worlds["JY1"].run_for(periods * PERIOD_MS)
    cpu_s = time.process_time() - begin_s
    if traded:
        assert script.count_settled("n0") == traded, "every period went through"
    counts = [world._counts for world in worlds.values() if isinstance(world, CountingWorld)]
    sent, written = (sum(column) for column in zip(*counts, strict=True))
    return Usage(cpu_s=cpu_s / NODES, sent_bytes=sent / NODES, written_bytes=written / NODES)


def simulate_days(*, rests: bool, traded: int) -> tuple[Usage, Usage]:
    """(A day on which nobody trades, one on which a hundred players do), by agreement."""
    params = next(chain for chain in choose_params("bft", rests=rests) if chain.kind == "trading")
    periods = FIRST_PERIOD + traded + 4
    idle = simulate(params, periods=periods, traded=0)
    a_period = simulate(params, periods=periods, traded=traded).since(idle, times=1 / traded)
    day = NOTHING.plus(idle, times=PERIODS_A_DAY / periods)
    return day, day.plus(a_period, times=PERIODS_A_DAY)


# --- the table -----------------------------------------------------------------------------------


def compute_pi_w(used: Usage, search_cores: float) -> float:
    """Watts above idle of a Raspberry Pi 4 that does the same, and searches as long as it may."""
    other_cores = max(0.0, used.cpu_s / _DAY_S - search_cores)
    return _PI_W_A_CORE * (search_cores + _PI_SLOWER * other_cores)


def list_rows(
    name: str, used: Usage, baseline: str, base: Usage, *, search_cores: float = 0, base_cores: float = 0
) -> list[Row]:
    columns = (
        ("CPU", "s/day", used.cpu_s, base.cpu_s),
        ("sent", "MB/day", used.sent_bytes / 1e6, base.sent_bytes / 1e6),
        ("written", "MB/day", used.written_bytes / 1e6, base.written_bytes / 1e6),
        ("a Raspberry Pi 4", "W", compute_pi_w(used, search_cores), compute_pi_w(base, base_cores)),
    )
    return [
        Row(name=f"{name}: {what}", value=value, unit=unit, baseline=baseline, ratio=of / max(value, 1e-9))
        for what, unit, value, of in columns
    ]


def run(quick: bool = False, seconds: float = 60.0) -> list[Row]:
    """Measure each way for so many seconds, and simulate a few periods of trade."""
    seconds, traded = (2.0, 1) if quick else (seconds, 3)
    ways = [
        (_BASELINE, choose_params("recommended", rests=False), SEARCH_CORES),
        ("sealing within interval_nonces, DU1 resting", choose_params("recommended", rests=True), 0.0),
        ("three chains by agreement, blocks always", choose_params("bft", rests=False), 0.0),
        ("three chains by agreement, resting, as packaged", choose_params("bft", rests=True), 0.0),
    ]
    rows: list[Row] = []
    base: Usage | None = None
    for name, params, cores in ways:
        print(f"{name} ...", file=sys.stderr)
        used = measure_day(params, seconds)
        base = base or used
        rows += list_rows(f"idle, {name}", used, _BASELINE, base, search_cores=cores, base_cores=SEARCH_CORES)
    print("virtual time ...", file=sys.stderr)
    always, busy_always = simulate_days(rests=False, traded=traded)
    resting, busy = simulate_days(rests=True, traded=traded)
    baseline = "in process, blocks always"
    rows += list_rows("in process, idle, blocks always", always, baseline, always)
    rows += list_rows("in process, idle, resting", resting, baseline, always)
    rows += list_rows(f"in process, {PLAYERS} players, blocks always", busy_always, baseline, busy_always)
    rows += list_rows(f"in process, {PLAYERS} players, resting", busy, baseline, busy_always)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="two seconds each: that it runs")
    parser.add_argument("--seconds", type=float, default=60.0, help="for each way")
    given = parser.parse_args()
    print_table(run(quick=given.quick, seconds=given.seconds))
