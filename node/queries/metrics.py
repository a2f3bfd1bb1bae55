"""A node's status as Prometheus reads it: text format 0.0.4, base units, counters since the node started."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from node.queries.answers import ChainStatus, DiskStatus, LoopStatus, NodeStatus

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metric(NamedTuple):
    """A number told of each chain; `kind` is "gauge" or "counter"."""

    name: str
    kind: str
    help: str
    read: Callable[[ChainStatus], int | float]


_OF_A_CHAIN = (
    Metric("chain_height", "gauge", "Height of the head block.", lambda chain: chain.height),
    Metric("chain_final_height", "gauge", "Height of the last final block.", lambda chain: chain.final_height),
    Metric(
        "chain_bodies_from_height",
        "gauge",
        "Height of the first block after the genesis that has not been pruned.",
        lambda chain: chain.bodies_from_height,
    ),
    Metric(
        "chain_head_timestamp_seconds",
        "gauge",
        "When the head block was made.",
        lambda chain: chain.head_time_ms / 1_000,
    ),
    Metric("chain_syncing", "gauge", "1 while the node catches up with others.", lambda chain: int(chain.syncing)),
    Metric("chain_peers_connected", "gauge", "Peers reached on the chain.", lambda chain: chain.peers),
    Metric("mempool_transactions", "gauge", "Transactions that wait for a block.", lambda chain: chain.mempool_count),
    Metric("mempool_bytes", "gauge", "Their size.", lambda chain: chain.mempool_bytes),
    Metric(
        "agreement_missing_members",
        "gauge",
        "Members whose PBFT message has been lacking for half a view's time.",
        lambda chain: len(chain.waiting_for),
    ),
    Metric("chain_signs", "gauge", "1 while the node may seal and vote.", lambda chain: int(chain.signing == "signs")),
    Metric(
        "chain_record_behind",
        "gauge",
        "1 while its key has signed what its record does not know: an old copy, or a second process.",
        lambda chain: int(chain.signing == "record-behind"),
    ),
    Metric(
        "chain_read_only",
        "gauge",
        "1 while its disk takes nothing: the node answers, and neither seals nor votes.",
        lambda chain: int(bool(chain.refusal)),
    ),
    Metric("blocks_refused_total", "counter", "Blocks that broke a rule.", lambda chain: chain.blocks_refused),
    Metric(
        "results_differing_total",
        "counter",
        "Results signed by members who have computed something else of the same block.",
        lambda chain: chain.results_differing,
    ),
    Metric(
        "results_elsewhere_total",
        "counter",
        "Results signed for another block than is certified, as after a fork.",
        lambda chain: chain.results_elsewhere,
    ),
    Metric(
        "acknowledged_not_executed_total",
        "counter",
        "Acknowledged transactions that can no longer be executed.",
        lambda chain: chain.not_executed,
    ),
    Metric("side_blocks_total", "counter", "Blocks beside the chain.", lambda chain: chain.forks.side_blocks),
    Metric("reorgs_total", "counter", "Changes to another branch.", lambda chain: chain.forks.reorgs),
    Metric("reorg_depth_blocks_max", "gauge", "The deepest of them.", lambda chain: chain.forks.deepest_reorg),
)


def render_metrics(status: NodeStatus, now_ms: int) -> str:
    """Everything that is measured of a node and its chains."""
    who = {"version": status.version, "member": status.member or ""}
    lines = _family("node_info", "gauge", "Which program runs for whom.", [(who, 1)])
    lines += _family("uptime_seconds", "gauge", "Since the node started.", [({}, status.uptime_ms / 1_000)])
    if status.certificate is not None:
        text = "Until the certificate shown to peers ends; renew it from 60 days before."
        left_s = (status.certificate["not_after_ms"] - now_ms) / 1_000
        lines += _family("certificate_remaining_seconds", "gauge", text, [({}, left_s)])
    if status.loop is not None:
        lines += _describe_loop(status.loop)
    lines += _describe_disks(status.disks)
    up = [({"chain": chain.chain}, 1) for chain in status.chains]
    up += [({"chain": outage.chain}, 0) for outage in status.outages]
    lines += _family("chain_up", "gauge", "0 where the chain's store has failed it.", up)
    why = [({"chain": outage.chain, "error": outage.error}, 1) for outage in status.outages]
    lines += _family("chain_out_info", "gauge", "Why a chain is out.", why)
    if status.clock is not None:
        text = "By how much the clock is ahead of the median of the peers' clocks."
        lines += _family("clock_offset_seconds", "gauge", text, [({}, status.clock["offset_ms"] / 1_000)])
    stored = [
        ({"chain": chain.chain, "kind": rows.kind}, rows.size_bytes) for chain in status.chains for rows in chain.stored
    ]
    lines += _family("store_bytes", "gauge", "On disk by kind of row, about.", stored)
    for metric in _OF_A_CHAIN:
        samples = [({"chain": chain.chain}, metric.read(chain)) for chain in status.chains]
        lines += _family(metric.name, metric.kind, metric.help, samples)
    lines += _describe_money(status.chains)
    return "\n".join(lines) + "\n"


def _describe_money(chains: Sequence[ChainStatus]) -> list[str]:
    """Accounts whose money does not last, of chains that have a treasury."""
    lines = []
    for name, is_under, text in (
        ("accounts_low", False, "Members whose money does not last until it is topped up, or for 24 periods more."),
        ("accounts_under_credit_line", True, "Members below their credit line, who place no bids."),
    ):
        samples = [
            ({"chain": chain.chain}, sum(account.is_under == is_under for account in chain.low_accounts))
            for chain in chains
            if chain.low_accounts is not None
        ]
        lines += _family(name, "gauge", text, samples) if samples else []
    return lines


def _describe_loop(loop: LoopStatus) -> list[str]:
    """Turns as a histogram, so that `increase(…_count[5m]) - increase(…_bucket{le="0.1"}[5m])` counts the stalls."""
    name = "loop_turn_cpu_seconds"
    bounds: list[tuple[dict[str, str], int | float]] = [
        ({"le": str(item.limit_ms / 1_000)}, item.turns) for item in loop.within
    ]
    text = "CPU of one turn of the event loop, for which everybody waits."
    lines = _family(name, "histogram", text, [*bounds, ({"le": "+Inf"}, loop.turns)], suffix="_bucket")
    lines += [f"gridmerit_{name}_sum {loop.cpu_ms / 1_000}", f"gridmerit_{name}_count {loop.turns}"]
    text = "The longest since the node listens."
    return lines + _family("loop_longest_turn_cpu_seconds", "gauge", text, [({}, loop.longest_ms / 1_000)])


def _describe_disks(disks: Sequence[DiskStatus]) -> list[str]:
    """Writes as a histogram for each chain, and what reading its store through has found."""
    name, buckets, sums, counts = "disk_write_seconds", [], [], []
    for disk in disks:
        chain = {"chain": disk.chain}
        writes = disk.writes
        buckets += [({**chain, "le": str(item.limit_ms / 1_000)}, item.writes) for item in writes.within]
        buckets.append(({**chain, "le": "+Inf"}, writes.writes))
        sums.append(f"gridmerit_{name}_sum{_show_labels(chain)} {writes.write_ms / 1_000}")
        counts.append(f"gridmerit_{name}_count{_show_labels(chain)} {writes.writes}")
    text = "Until one write of a chain is on disk."
    lines = [*_family(name, "histogram", text, buckets, suffix="_bucket"), *sums, *counts]
    longest = [({"chain": disk.chain}, disk.writes.longest_ms / 1_000) for disk in disks]
    lines += _family("disk_longest_write_seconds", "gauge", "The longest since the node started.", longest)
    passes = [({"chain": disk.chain}, disk.passes) for disk in disks]
    lines += _family("store_passes_total", "counter", "Slow ones through all rows, for their checksums.", passes)
    damaged = [({"chain": disk.chain}, int(bool(disk.damage))) for disk in disks]
    return lines + _family("store_damaged", "gauge", "1 where this pass or the last one has found damage.", damaged)


def _family(
    name: str, kind: str, text: str, samples: Iterable[tuple[dict[str, str], int | float]], *, suffix: str = ""
) -> list[str]:
    name = f"gridmerit_{name}"
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    return lines + [f"{name}{suffix}{_show_labels(labels)} {value}" for labels, value in samples]


def _show_labels(labels: dict[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
