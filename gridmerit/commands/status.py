"""`gridmerit status`: one node at a glance."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from gridmerit.commands.hosted import fetch_status
from gridmerit.commands.target import Target, node_options, run_async, to_plain
from gridmerit.commands.treasury_tables import describe_low
from gridmerit.network.silences import find_exclusion, find_silence
from gridmerit.output import HINTS, emit, json_option
from gridmerit.tables import facts, table
from gridmerit.text import format_count, format_span, format_time
from node.errors import OtherWireVersion, UnknownChainName
from node.queries.answers import AnchorStatus, ChainOutage, ChainStatus, NodeStatus, UpgradeStatus


@click.command("status")
@node_options
@json_option
def command(target: Target) -> None:
    """Show what a node is doing: head, finality, peers, sealing.

    Of all its chains, or of the one that --chain names.

    \b
    Examples:
      gridmerit status --node mynet/nodes/wind-122
      gridmerit status --chain jy1 --node mynet
    """
    status = run_async(fetch_status(target.url))
    if target.chain is not None:
        status = choose_one(status, target.chain)
    emit(to_plain(status), render(status, target.url))


def choose_one(status: NodeStatus, chain: str) -> NodeStatus:
    """The same of one chain alone, which may be out. Raises `UnknownChainName`."""
    known = [*(one.chain for one in status.chains), *(outage.chain for outage in status.outages)]
    if chain not in known:
        raise UnknownChainName(name=chain, known=", ".join(known))
    return replace(
        status,
        chains=tuple(one for one in status.chains if one.chain == chain),
        outages=tuple(outage for outage in status.outages if outage.chain == chain),
    )


def render(status: NodeStatus, url: str) -> str:
    """The status as text."""
    exclusion = find_exclusion(status)
    parts = [
        facts(
            [
                ("node", f"{status.member or 'observer'} at {url}, version {status.version}"),
                ("running for", format_span(status.uptime_ms)),
                ("sealing", _describe_sealing(status)),
                *([("longest turn", f"{status.loop.longest_ms} ms of CPU")] if status.loop else []),
                *([] if status.clock is None else [("clock", _describe_clock(status.clock))]),
                *([] if exclusion is None else [("excluded", f"{exclusion.state}: {exclusion.detail}")]),
                *([] if exclusion is None else [("try", exclusion.remedy)]),
            ]
        )
    ]
    parts += [_render_outage(outage) for outage in status.outages]
    parts += [_render_chain(chain, is_excluded=exclusion is not None) for chain in status.chains]
    if status.peers:
        rows = [
            (
                peer["name"],
                "yes" if peer["connected"] else "no",
                ", ".join(peer.get("chains", ())),
                "–" if (height := peer.get("height")) is None else height,
                peer.get("score"),
            )
            for peer in status.peers
        ]
        parts.append(table(["peer", "connected", "on", "height", "score"], rows, left=(0, 1, 2)))
    if apart := [peer for peer in status.peers if peer.get("refusal") == OtherWireVersion.__name__]:
        said = [(f"refused by {peer['name']}", peer["refusal_detail"]) for peer in apart]
        parts.append(facts([*said, ("try", HINTS[OtherWireVersion.__name__])]))
    return "\n\n".join(parts)


def _describe_clock(clock: dict[str, Any]) -> str:
    offset_ms = clock["offset_ms"]
    side = "ahead of" if offset_ms > 0 else "behind"
    where = f"{abs(offset_ms) / 1_000:.3f} s {side} the median of {format_count(clock['peers'], 'peer')}"
    return f"{where}: too far, set it (NTP)" if clock["is_off"] else where


def _describe_sealing(status: NodeStatus) -> str:
    """Under PBFT there is never a nonce to search for."""
    if not status.member:
        return "nothing: an observer"
    sealing = status.sealing
    if not sealing["jobs"]:
        return "no nonce to search for"
    how = f"{'native' if sealing['native'] else 'no native module: slow'}, path {sealing['path']}"
    return f"{sealing['rate_per_s']:,} nonces/s ({how})"


def _describe_rest(chain: ChainStatus) -> str:
    """A head that is old for want of anything to do, not of members."""
    since, until = format_time(chain.head_time_ms), format_time(chain.rests_until_ms)
    return f"since {since} UTC, nothing is due before {until} UTC"


def _describe_anchor(anchor: AnchorStatus) -> str:
    where = f"{anchor.height}  {anchor.hash}"
    if anchor.reached:
        return f"{where}, on this chain"
    others = f": peers sent {anchor.refused} blocks of other chains" if anchor.refused else ""
    return f"{where}, not reached yet{others}"


def _describe_upgrade(upgrade: UpgradeStatus) -> str:
    where = f"rules {upgrade.rules} from block {upgrade.height} on"
    if upgrade.known:
        return f"{where}, which this release knows"
    what = "HALTED before it" if upgrade.halted else "this node will stop before it"
    return f"{where}: {what}, it needs a release that knows rules {upgrade.rules} (docs/upgrades.md)"


def _render_outage(outage: ChainOutage) -> str:
    return facts(
        [
            ("chain", f"{outage.chain}, {outage.kind}: OUT since {format_time(outage.since_ms)} UTC"),
            ("why", f"{outage.error}: {outage.message}"),
            ("try", outage.remedy),
        ]
    )


def _render_chain(chain: ChainStatus, *, is_excluded: bool) -> str:
    behind = chain.time_ms - chain.head_time_ms
    forks = chain.forks
    lines: list[tuple[str, object]] = [
        ("chain", f"{chain.chain}, {chain.kind} ({chain.chain_id[:16]}…)"),
        ("head", f"{chain.height}  {chain.head}"),
        ("head's age", f"{format_span(max(0, behind))}, sealed {format_time(chain.head_time_ms)} UTC"),
        *([("rests", _describe_rest(chain))] if chain.rests_until_ms else []),
        ("final", f"{chain.final_height}  {chain.final_hash}"),
        ("state root", chain.state_root),
        ("period", f"{chain.period} (of {format_span(chain.period_ms)})"),
        ("mempool", f"{chain.mempool_count} transactions, {chain.mempool_bytes:,} bytes"),
        ("forks", f"{forks.side_blocks} side blocks, {forks.reorgs} reorgs, deepest {forks.deepest_reorg}"),
    ]
    if chain.anchor is not None:
        lines.append(("anchor", _describe_anchor(chain.anchor)))
    if chain.syncing and chain.sync_target:
        lines.append(("syncing", f"to height {chain.sync_target}"))
    if chain.upgrade is not None:
        lines.append(("upgrade", _describe_upgrade(chain.upgrade)))
    if (silence := find_silence(chain)) is not None:
        lines.append(("signs nothing", f"until {silence.until}; {silence.remedy}"))
    if chain.waiting_for and not is_excluded:
        lines.append(("waiting for", ", ".join(chain.waiting_for)))
    if chain.dissenters:
        lines.append(("other results", f"signed by {', '.join(chain.dissenters)} of a block that waits for its quorum"))
    lines += [(f"{account.member_name}'s money", describe_low(account)) for account in chain.low_accounts or ()]
    if chain.not_executed:
        lines.append(("not executed", f"{chain.not_executed} acknowledged transactions; the log has their ids"))
    if chain.blocks_refused:
        lines.append(("blocks refused", chain.blocks_refused))
    return facts(lines)
