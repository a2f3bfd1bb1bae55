"""The cluster of docker-compose.yml, for real: it trades, loses containers one after the other, and loses nothing.

    python -m tests.compose.drive [--short] [--keep]

Where no container engine can be had it says so in one line and ends with 0: DOCKER_ENGINE may name a program that
installs and starts one.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.compose.cluster import (
    CHAINS,
    CREDIT,
    LOADER,
    NODES,
    ORGANISATIONS,
    PLAYERS,
    SCHEDULING,
    TRADING,
    Cluster,
    TestFailed,
    find_engine,
    hosts_of,
    wait_for,
)

PERIOD_MS = 10_000
RATE_PER_S = 4.0
GOES_ON_BLOCKS = 3
GATE_AHEAD = 4  # periods: a later one's gate has not closed yet
PATIENCE = 40  # periods until something has failed; on a machine that is busy nothing happens at its hour
_LOAD = (Path(__file__).resolve().parent / "load.py").read_text(encoding="utf-8")


class Load:
    """Transfers from inside a container; `identities` are those that a node has acknowledged."""

    def __init__(self, cluster: Cluster, service: str, receiver: str, nodes: Sequence[str]) -> None:
        words = ["docker", "exec", "--interactive", cluster.id_of(service), "python", "-P", "-c", _LOAD]
        words += [f"/gridmerit/{service}", receiver, str(RATE_PER_S), *nodes]
        self._process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.identities: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.identities.append(line.strip())

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise TestFailed("the load does not end") from None
        if self._process.returncode:
            raise TestFailed(f"the load ended with {self._process.returncode}")
        self._reader.join()


class Drive:
    """The scenario; every line it says is a thing it has seen."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.period_s = cluster.period_ms / 1_000
        self.checks = 0
        self.begin = time.monotonic()
        self.loads: list[Load] = []

    def say(self, text: str) -> None:
        self.checks += 1
        print(f"{time.monotonic() - self.begin:6.1f} s  {text}", flush=True)

    # --- it trades -------------------------------------------------------------------------------

    def see_a_trade(self, after: int = 0) -> int:
        """Wait for a period with trades to settle and for its credit to come to every chain; that period."""
        found: list[tuple[int, list[dict[str, object]]]] = []
        state = {"period": after + 1}

        def is_settled() -> bool:
            paths = [f"/v1/{TRADING}/market/settlement?period={state['period'] + ahead}" for ahead in range(PATIENCE)]
            for ahead, answer in enumerate(self.cluster.ask("homes-1", *paths)):
                if answer and any(trade["traded_wh"] for trade in answer["trades"]):
                    found.append((state["period"] + ahead, answer["trades"]))
                    return True
            return False

        wait_for("a trade settles", is_settled, PATIENCE * self.period_s, every_s=2)
        period, trades = found[0]
        energy_kwh = sum(int(str(trade["traded_wh"])) for trade in trades) // 1_000
        self.say(f"period {period}: {len(trades)} trades settled, {energy_kwh} kWh, as a player's own node has it")
        names = {trade[side] for trade in trades for side in ("buyer_name", "seller_name")}

        def has_credit() -> bool:
            tables = [self.cluster.ask("pv-101", f"/v1/{chain}/credit")[0] for chain in (CREDIT, TRADING, SCHEDULING)]
            credits = [{row["name"]: row["credit_upt"] for row in table} for table in tables]
            assessed = {row["name"] for row in tables[0] if row["score_count"]}
            return names <= assessed and credits[0] == credits[1] == credits[2]

        wait_for(f"the credit of period {period} on every chain", has_credit, PATIENCE * self.period_s, every_s=2)
        self.say(f"its credit has arrived: {len(names)} members assessed on {CREDIT}, the same on all chains")
        return period

    # --- faults ----------------------------------------------------------------------------------

    def lose(self, what: str, victim: str, hurt: Callable[[str], None], mend: Callable[[str], None]) -> None:
        """One container is lost; the rest goes on; it comes back and catches up."""
        rest = [node for node in NODES if node != victim]
        hurt(victim)
        self.say(f"{victim} {what}")
        self.goes_on(rest, CHAINS)
        lag = self.cluster.heights(rest)
        time.sleep(self.period_s)
        mend(victim)
        took_s = wait_for(f"{victim} catches up", self.cluster.agrees, PATIENCE * self.period_s)
        height = max(height for height, _ in lag[TRADING].values())
        self.say(f"{victim} is back, has caught up and agrees with all after {took_s:.0f} s ({TRADING} {height})")

    def goes_on(self, nodes: Sequence[str], final_chains: Sequence[str]) -> None:
        """New blocks on every chain that the nodes host, and final ones on some."""
        before = self.cluster.heights(nodes)

        def is_further() -> bool:
            now = self.cluster.heights(nodes)
            return all(
                now[chain][node][0] >= before[chain][node][0] + GOES_ON_BLOCKS
                and (chain not in final_chains or now[chain][node][1] > before[chain][node][1])
                for chain in CHAINS
                for node in hosts_of(chain, nodes)
            )

        took_s = wait_for(f"{', '.join(nodes)} go on", is_further, PATIENCE * self.period_s)
        finals = ", ".join(chain for chain in final_chains if hosts_of(chain, nodes)) or "none"
        self.say(f"the other {len(nodes)} went on, seen within {took_s:.0f} s (new final blocks: {finals})")

    def part(self) -> None:
        """Four and three: each side goes on; only the four have quorums, on the chains that they alone host."""
        self.cluster.split(PLAYERS)
        self.say(f"a partition: {', '.join(ORGANISATIONS)} | {', '.join(PLAYERS)}")
        load = self.start_load(PLAYERS)
        self.goes_on(ORGANISATIONS, (SCHEDULING, CREDIT))
        self.goes_on(PLAYERS, ())
        load.stop()
        before = self.cluster.heights()
        self.cluster.heal(PLAYERS)
        took_s = wait_for("both sides agree again", self.cluster.agrees, PATIENCE * self.period_s)
        count = len(load.identities)
        self.say(f"healed: all seven agree after {took_s:.0f} s; {count} transactions were acknowledged by the three")
        took_s = wait_for("new final blocks", lambda: self.has_new_final(before, TRADING), PATIENCE * self.period_s)
        self.say(f"and {TRADING} has new final blocks {took_s:.0f} s later")

    def has_new_final(self, before: dict[str, dict[str, tuple[int, int]]], chain: str) -> bool:
        now = self.cluster.heights()
        return all(now[chain][node][1] > before[chain][node][1] for node in hosts_of(chain))

    # --- nothing is lost -------------------------------------------------------------------------

    def start_load(self, nodes: Sequence[str]) -> Load:
        load = Load(self.cluster, LOADER, "homes-1", nodes)
        self.loads.append(load)
        return load

    def find_all(self) -> None:
        """Every transaction that was acknowledged, the load's and the agents', is in a block on every node."""
        wanted: dict[str, list[str]] = {chain: [] for chain in CHAINS}
        wanted[TRADING] += [identity for load in self.loads for identity in load.identities]
        loaded = len(wanted[TRADING])
        for line in self.cluster.logs("agents").splitlines():
            chain, _, rest = line.partition(" ")
            if chain in CHAINS:
                wanted[chain].append(rest.split()[0])
        total = sum(map(len, wanted.values()))
        missing: dict[str, list[str]] = {}

        def are_all_there() -> bool:
            missing.clear()
            for chain, identities in wanted.items():
                for node in hosts_of(chain) if identities else ():
                    if lost := self.cluster.find_missing(node, chain, identities):
                        missing[f"{chain} on {node}"] = lost
            return not missing

        try:
            wait_for("every acknowledged transaction", are_all_there, PATIENCE * self.period_s, every_s=4)
        except TestFailed:
            detail = "; ".join(f"{where}: {len(lost)}, first {lost[0]}" for where, lost in missing.items())
            raise TestFailed(f"of {total} acknowledged transactions some are missing: {detail}") from None
        self.say(
            f"all {total} acknowledged transactions ({loaded} of the load) are in a block on every node of their chain"
        )

    def run(self, *, short: bool) -> None:
        cluster = self.cluster
        cluster.build()
        self.say("the image is built")
        cluster.up()
        self.say(f"{len(NODES)} nodes are healthy, the agents are started")
        self.see_no_secret()
        self.see_a_trade()
        load = self.start_load(NODES)
        docker = cluster.docker
        self.lose("is killed", "pv-101", lambda name: docker("kill", name), lambda name: docker("start", name))
        if not short:
            self.lose("is paused", "homes-2", lambda name: docker("pause", name), lambda name: docker("unpause", name))
            self.lose("is cut off the network", "grid", cluster.cut, cluster.join)
            docker("restart", "agents")
            load.stop()
            self.part()
            load = self.start_load(NODES)
            (status,) = cluster.ask("dispatch", "/v1/status")
            self.see_a_trade(after=max(chain["period"] for chain in status["chains"]) + GATE_AHEAD)
        load.stop()
        self.find_all()
        wait_for("all heads agree", cluster.agrees, PATIENCE * self.period_s)
        self.say("all heads agree")
        print(self.measure(), flush=True)

    def see_no_secret(self) -> None:
        """Check the image, and what a node can see: no key but its own, nothing to write but its volume."""
        found = self.cluster.exec(
            "dispatch", "sh", "-c", "find / -name '*.pem' -path '*gridmerit*' 2>/dev/null; true"
        ).split()
        others = [file for file in found if not file.startswith("/gridmerit/dispatch/")]
        keys = [file for file in others if "/site-packages/" not in file]
        user = self.cluster.exec("dispatch", "id", "-u").strip()
        written = self.cluster.exec("dispatch", "sh", "-c", "touch /gridmerit/x /opt/x 2>&1 || true")
        if keys or user != "1000" or "Read-only" not in written:
            raise TestFailed(f"a node sees {keys}, runs as {user}, writes: {written}")
        self.say("a node runs as uid 1000 on a read-only root, and sees no key but its own")

    def measure(self) -> str:
        return self.cluster.stats()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true", help="one fault instead of four")
    parser.add_argument("--keep", action="store_true", help="leave the cluster running")
    options = parser.parse_args()
    try:
        compose = find_engine()
    except LookupError as reason:
        print(f"compose-test: not run, no container engine: {reason}")
        return 0
    cluster = Cluster(compose=compose, period_ms=int(os.environ.get("GRIDMERIT_PERIOD_MS", PERIOD_MS)))
    cluster.down()
    drive = Drive(cluster)
    try:
        drive.run(short=options.short)
    except TestFailed as failure:
        print(f"compose-test: FAILED: {failure}", file=sys.stderr)
        cluster.save_logs(Path("compose-logs"))
        print(f"{drive.checks} passed, 1 failed")
        return 1
    finally:
        if not options.keep:
            cluster.down()
    print(f"{drive.checks} passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
