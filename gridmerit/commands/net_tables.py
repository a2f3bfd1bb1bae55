"""A network of this machine as text and as JSON: as it was made, and as it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

from gridmerit.commands.market_tables import tell_failure
from gridmerit.commands.target import to_plain
from gridmerit.network.layout import Network
from gridmerit.network.processes import NodeState
from gridmerit.network.silences import find_exclusion, find_silence
from gridmerit.tables import facts, table
from gridmerit.text import format_points, format_scaled, format_span, format_yuan, quote_path
from ledger.hashing import address_of, show_address
from ledger.params import ChainParams
from market.trading.sessions import Session
from node.config import load_genesis
from node.queries.answers import ChainStatus, GateInfo, NodeStatus

_PPM = 1_000_000

# --- a new one -----------------------------------------------------------------------------------


def describe_network(network: Network) -> dict[str, Any]:
    """A network for --json."""
    return {
        "directory": str(network.directory),
        "chain": network.chain,
        "chains": list(network.chains),
        "genesis": str(network.genesis_path),
        "nodes": [{"name": node.name, "api": node.api_url, "peer": node.peer_url} for node in network.nodes],
        "players": [{"name": player.name, "role": player.role, "node": player.node} for player in network.players],
        "dispatcher": None if network.dispatcher is None else network.dispatcher.name,
    }


def describe_new(network: Network, params: Sequence[ChainParams], *, is_disposable: bool) -> dict[str, Any]:
    """A network that was just made, for --json."""
    return {
        **describe_network(network),
        "disposable": is_disposable,
        "market": describe_market(params),
        "accounts": list_accounts(network),
    }


def describe_market(params: Sequence[ChainParams]) -> dict[str, Any]:
    """The rule that clears the gates, and the α that scores deliveries: on the credit chain where there is one."""
    by_kind = {chain.kind: chain for chain in params}
    trading = by_kind["trading"]
    return {
        "clearing_rule": trading.market.clearing_rule,
        "natural_factor_ppm": by_kind.get("credit", trading).market.natural_factor_ppm,
    }


def render_new(network: Network, params: Sequence[ChainParams], *, is_disposable: bool) -> str:
    rows = [(node.name, node.api_url, node.peer_url, network.directory_of(node)) for node in network.nodes]
    market = describe_market(params)
    lines = [
        facts(
            [
                ("chains", _name_chains(network)),
                ("rule", f"{market['clearing_rule']}, by which gates clear"),
                ("α", f"{format_scaled(market['natural_factor_ppm'], 6)}, in Eq. (12)"),
                ("genesis", network.genesis_path),
            ]
        ),
        "",
        table(["node", "API", "peers", "directory"], rows, left=(0, 1, 2, 3)),
        "",
    ]
    lines += [_render_players(network), "", _render_accounts(network), ""]
    lines += _tell_next(network, {chain.kind: chain for chain in params})
    if is_disposable:
        lines.append(f"or:   gridmerit attack equivocation {quote_path(network.directory)}")
    return "\n".join(lines)


def _render_players(network: Network) -> str:
    """The players, the line of each where there are any, and its node: its own, or another's."""
    positions = _find_positions(network)
    has_lines = "scheduling" in network.kinds
    rows = [
        (player.name, player.role, *([positions[player.name]] if has_lines else []), player.node)
        for player in network.players
    ]
    return table(["player", "role", *(["line"] if has_lines else []), "by node"], rows, left=(0, 1, 2, 3))


def list_accounts(network: Network) -> list[dict[str, Any]]:
    """Every member of the genesis: what it has, and where its key is."""
    return [
        {
            "name": member.name,
            "role": member.role,
            "address": show_address(address_of(member.key)),
            "balance_uyuan": member.balance_uyuan,
            "key_file": network.key_file_of(member.name),
        }
        for member in load_genesis(network.genesis_path).members
    ]


def _render_accounts(network: Network) -> str:
    accounts = [account for account in list_accounts(network) if account["role"] != "device"]
    rows = [
        (account["name"], account["role"], format_yuan(account["balance_uyuan"]), account["address"])
        for account in accounts
    ]
    keys = facts(
        [
            ("keys", f"{network.directory}/keys/NAME.pem, of who runs a node {network.directory}/nodes/NAME/key.pem"),
            ("meters", "meter-NAME, each with a key of its own and no money"),
        ]
    )
    return f"{table(['account', 'role', 'yuan', 'address'], rows, left=(0, 1, 3))}\n\n{keys}"


def _find_positions(network: Network) -> dict[str, str]:
    return {member.name: member.position for member in load_genesis(network.genesis_path).members}


def _tell_next(network: Network, by_kind: Mapping[str, ChainParams]) -> list[str]:
    """The length of a period, the time of the first gate that there can be orders for, and what to do now."""
    trading, scheduling = by_kind["trading"], by_kind.get("scheduling")
    period_ms, gate_ppm = trading.ledger.period_ms, trading.market.gate_ppm
    first_ppm = gate_ppm if scheduling is None else scheduling.scheduling.quota_ppm
    period = first_ppm // _PPM + 1
    gate_ms = (period * _PPM - gate_ppm) * period_ms // _PPM
    lines = [
        f"a period lasts {format_span(period_ms)} (--period-ms sets it)",
        f"the first gate comes {format_span(gate_ms)} after the genesis, which is now",
    ]
    plan = []
    if scheduling is not None and network.dispatcher is not None:
        due_ms = (period * _PPM - first_ppm) * period_ms // _PPM
        lines.append(
            f"orders need the dispatcher's plan: that for period {period} is due "
            f"{format_span(due_ms)} after the genesis"
        )
        positions = _find_positions(network)
        seller = next(positions[player.name] for player in network.players if player.role == "producer")
        buyer = next(positions[player.name] for player in network.players if player.role == "consumer")
        plan = [
            f"then: gridmerit tx send plan {period + 1} {seller}=0:500 {buyer}=100:0 "
            f"--key {network.dispatcher.name} --node {quote_path(network.directory)}"
        ]
    return [*lines, "", f"next: gridmerit net up {quote_path(network.directory)}", *plan]


def _name_chains(network: Network) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in zip(network.chains, network.kinds, strict=True))


# --- a running one -------------------------------------------------------------------------------


def describe_state(state: NodeState) -> dict[str, Any]:
    return {
        "name": state.entry.name,
        "pid": state.pid,
        "problem": state.problem or None,
        "status": None if state.status is None else to_plain(state.status),
    }


def render_states(states: list[NodeState], credits_upt: dict[tuple[str, str], int]) -> str:
    rows: list[tuple[object, ...]] = []
    for state in states:
        name, pid = state.entry.name, state.pid or "–"
        if state.status is None:
            rows.append((name, pid, state.problem, *["–"] * 8))
            continue
        rows += [(name, pid, f"OUT: {outage.error}", outage.chain, *["–"] * 7) for outage in state.status.outages]
        for chain in state.status.chains:
            credit = credits_upt.get((chain.chain, name))
            rows.append(
                (
                    name,
                    pid,
                    _name_state(state, chain),
                    chain.chain,
                    chain.height,
                    chain.head[:12],
                    chain.final_height,
                    f"{_count_connected(state.status, chain.chain)}/{len(state.status.peers)}",
                    "–" if credit is None else format_points(credit),
                    chain.mempool_count,
                    format_span(state.status.uptime_ms),
                )
            )
    heads = ["node", "pid", "state", "chain", "height", "head", "final", "peers", "credit", "mempool", "up for"]
    return "\n".join([table(heads, rows, left=(0, 2, 3, 5), spare=(9, 5)), *render_failures(states)])


def render_failures(states: Sequence[NodeState]) -> list[str]:
    """The periods that came to nothing of late, as told by the node that knows most of each."""
    told: dict[tuple[str, int, str], GateInfo] = {}
    for chain in (chain for state in states if state.status is not None for chain in state.status.chains):
        for failed in chain.failed_periods:
            place = chain.chain, failed.period, failed.session
            known = told.get(place)
            if known is None or len(failed.gate.missing) > len(known.missing):
                told[place] = failed.gate
    return [
        f"\nperiod {period} of {chain}{', intraday' if session == Session.INTRADAY.title else ''}{tell_failure(gate)}"
        for (chain, period, session), gate in sorted(told.items(), key=itemgetter(0))
    ]


def _name_state(state: NodeState, chain: ChainStatus) -> str:
    assert state.status is not None, "the chain is of it"
    silence, exclusion = find_silence(chain), find_exclusion(state.status)
    found = [state.problem, "syncing" if chain.syncing else "", silence.state if silence else ""]
    found.append(exclusion.state if exclusion else "")
    return ", ".join(filter(None, found)) or "ok"


def _count_connected(status: NodeStatus, chain: str) -> int:
    """Peers that take part in a chain and are connected on all chains they share with the node."""
    return sum(bool(peer["connected"]) and chain in peer["chains"] for peer in status.peers)
