"""A node's status as Prometheus reads it: text format 0.0.4, base units, counters since the node started."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from node.answers import ChainStatus, NodeStatus

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
        "chain_head_timestamp_seconds",
        "gauge",
        "When the head block was made.",
        lambda chain: chain.head_time_ms / 1_000,
    ),
    Metric("chain_syncing", "gauge", "1 while the node catches up with others.", lambda chain: int(chain.syncing)),
    Metric("chain_peers_connected", "gauge", "Peers reached on the chain.", lambda chain: chain.peers),
    Metric("mempool_transactions", "gauge", "Transactions that wait for a block.", lambda chain: chain.mempool_count),
    Metric("mempool_bytes", "gauge", "Their size.", lambda chain: chain.mempool_bytes),
    Metric("agreement_missing_members", "gauge", "Members whom PBFT waits for.", lambda chain: len(chain.waiting_for)),
    Metric("blocks_refused_total", "counter", "Blocks that broke a rule.", lambda chain: chain.blocks_refused),
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
    if status.clock is not None:
        text = "By how much the clock is ahead of the median of the peers' clocks."
        lines += _family("clock_offset_seconds", "gauge", text, [({}, status.clock["offset_ms"] / 1_000)])
    for metric in _OF_A_CHAIN:
        samples = [({"chain": chain.chain}, metric.read(chain)) for chain in status.chains]
        lines += _family(metric.name, metric.kind, metric.help, samples)
    return "\n".join(lines) + "\n"


def _family(name: str, kind: str, text: str, samples: Iterable[tuple[dict[str, str], int | float]]) -> list[str]:
    name = f"gridmerit_{name}"
    lines = [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    return lines + [f"{name}{_show_labels(labels)} {value}" for labels, value in samples]


def _show_labels(labels: dict[str, str]) -> str:
    pairs = ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}" if pairs else ""


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
