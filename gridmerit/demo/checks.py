"""Checks that must hold after a market day, or the demonstration has failed. Pure functions of a `DayRecord`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gridmerit.demo.day import (
    GRID_COMPANY,
    KINDS,
    DayRecord,
    HourRecord,
    ProofRecord,
    compute_nets,
    compute_payments,
    compute_peak_flows,
)
from gridmerit.demo.recompute import CreditHistory, Recomputation, compute_credits, read_snapshot, replay
from gridmerit.text import format_count, format_yuan, show_moments
from ledger.params import Kind
from market.messages import ACTUAL, CREDIT, DELIVERED, POWER
from market.settlement import get_price_limit, settle_trade


class DayCheck(NamedTuple):
    """One thing that must hold."""

    name: str
    passed: bool
    detail: str


def run_checks(record: DayRecord) -> list[DayCheck]:
    """Everything that must hold after the day."""
    history = compute_credits(record)
    replays = {kind: replay(record, kind) for kind in KINDS}
    return [
        _check_agreement(record),
        _check_settled(record),
        _check_transactions(record),
        _check_lines(record),
        _check_tariffs(record),
        _check_money(record),
        _check_balances(record),
        _check_credits(record, history),
        _check_snapshots(record, replays["credit"]),
        _check_headers(record, replays),
        _check_digests(record),
        *map(_check_proof, record.proofs),
    ]


# --- chains --------------------------------------------------------------------------------------


def _check_agreement(record: DayRecord) -> DayCheck:
    name, details = "one head per chain", []
    for kind in KINDS:
        statuses = {peer.name: peer.chains[kind] for peer in record.peers}
        if len({(status.height, status.head, status.state_root) for status in statuses.values()}) > 1:
            listed = ", ".join(f"{peer} {status.height} {status.head[:12]}…" for peer, status in statuses.items())
            chain = record.chains[kind].name
            return DayCheck(name, False, f"on {chain} the peers did not agree at any time looked at: {listed}")
        status = next(iter(statuses.values()))
        details.append(f"{status.chain} {status.height} {status.head[:12]}…")
    who = f"all {len(record.peers)} peers have" if len(record.peers) > 1 else "the only peer has"
    return DayCheck(name, True, f"{who} {', '.join(details)}, and the same state roots")


def _check_headers(record: DayRecord, replays: Mapping[Kind, Recomputation]) -> DayCheck:
    name, count = "headers claim their credit", 0
    for kind in KINDS:
        chain = record.chains[kind]
        wrong = [
            str(block.height)
            for block, snapshot in zip(chain.blocks[1:], replays[kind].in_force, strict=True)
            if snapshot.get(block.producer_name or "") != block.credit_upt
        ]
        if wrong:
            heights = ", ".join(wrong[:5])
            return DayCheck(name, False, f"blocks {heights} of {chain.name} claim another credit than LH1 last told of")
        count += len(chain.blocks) - 1
    return DayCheck(name, True, f"{count} headers of three chains, each with the credit of its producer in force there")


# --- hours ---------------------------------------------------------------------------------------


def _check_settled(record: DayRecord) -> DayCheck:
    name = "every hour settled"
    not_settled = [
        f"{entry.period} {entry.trades.gate.status}" for entry in record.hours if entry.trades.gate.status != "settled"
    ]
    missing = len(record.hours_ms) - len(record.hours)
    if not_settled or missing:
        return DayCheck(name, False, f"periods not settled: {', '.join(not_settled) or missing}")
    return DayCheck(
        name,
        True,
        f"{format_count(len(record.hours), 'hour')} certified on JY1, accepted by DU1, metered there, and settled",
    )


def _check_transactions(record: DayRecord) -> DayCheck:
    name = "every transaction took effect"
    wrong = [*record.problems, *record.refused, *(f"lost {identity[:16]}…" for identity in record.lost)]
    if wrong:
        return DayCheck(name, False, "; ".join(map(show_moments, wrong[:3])) + (" …" if len(wrong) > 3 else ""))
    return DayCheck(name, True, f"{record.sent} plans, orders and readings sent, all on their chains")


def _check_lines(record: DayRecord) -> DayCheck:
    """Check that binding trades are DU1's contracts, within quotas on either side, and can be carried by every line."""
    name = "lines hold"
    for entry in record.hours:
        problem = _find_grid_problem(record, entry) if entry.trades.gate.status == "settled" else None
        if problem is not None:
            return DayCheck(name, False, f"period {entry.period}: {problem}")
    peaks = compute_peak_flows(record, as_accepted=True)
    over = [line.name for line in record.grid.lines if peaks.get(line.name, 0) > line.capacity_wh]
    if over:
        return DayCheck(name, False, f"more was accepted than they can carry: {', '.join(over)}")
    cuts = [cut for entry in record.hours for cut in entry.curtailments]
    reasons = ", ".join(sorted({cut.line for cut in cuts}))
    curtailed = f"{format_count(len(cuts), 'trade')} curtailed" + (f" for {reasons}" if cuts else "")
    return DayCheck(name, True, f"{len(record.grid.lines)} lines carry all accepted trades; {curtailed}")


def _find_grid_problem(record: DayRecord, entry: HourRecord) -> str | None:
    if entry.schedule is None:
        return "DU1 has no record of it"
    contracts = {contract.index: contract.accepted_wh for contract in entry.schedule.contracts}
    binding = {index: volume_wh for index, volume_wh in entry.accepted_wh.items() if volume_wh}
    if contracts != binding:
        return "DU1's contracts are not JY1's trades as accepted"
    if {row.index for row in entry.settlement.trades} != set(contracts):
        return "what was settled is not what DU1 accepted"
    for quota in entry.schedule.quotas:
        trades = entry.trades.trades
        bought = sum(trade.volume_wh for trade in trades if record.positions[trade.buyer_name or ""] == quota.line)
        sold = sum(trade.volume_wh for trade in trades if record.positions[trade.seller_name or ""] == quota.line)
        if bought > quota.demand_wh or sold > quota.supply_wh:
            return f"more was traded on {quota.line} than its quota"
    return None


# --- money ---------------------------------------------------------------------------------------


def _check_tariffs(record: DayRecord) -> DayCheck:
    """Every leg follows from the meters, the price agreed, and the wheeling price of the buyer's area."""
    name, count = "settlements follow the tariffs", 0
    market = record.genesis.params.market
    for entry in record.hours:
        quotas = entry.schedule.quotas if entry.schedule is not None else ()
        wheeling = {quota.line: quota.wheeling_uyuan_per_kwh for quota in quotas}
        for trade, row in entry.settled:
            legs = settle_trade(
                price_uyuan_per_kwh=trade.price_uyuan_per_kwh,
                wheeling_uyuan_per_kwh=wheeling.get(record.positions[row.buyer_name or ""], 0),
                consumption_wh=row.consumption_wh,
                output_wh=row.output_wh,
                retail_uyuan_per_kwh=market.retail_uyuan_per_kwh,
                feed_in_uyuan_per_kwh=market.feed_in_uyuan_per_kwh,
                limit_wh=get_price_limit(entry.accepted_wh[row.index], market.over_delivery_ppm),
                is_imputed=row.is_consumption_imputed,
            )
            have = (row.buyer_pays_uyuan, row.seller_receives_uyuan, row.grid_receives_uyuan, row.traded_wh)
            if have != (legs.buyer_pays_uyuan, legs.seller_receives_uyuan, legs.grid_receives_uyuan, legs.traded_wh):
                return DayCheck(name, False, f"trade {row.index} of period {entry.period} was settled otherwise")
            count += 1
    prices = sorted({format_yuan(area.wheeling_uyuan_per_kwh) for area in record.grid.areas})
    return DayCheck(name, True, f"{format_count(count, 'trade')}, wheeling at {' or '.join(prices)} yuan/kWh by area")


def _check_money(record: DayRecord) -> DayCheck:
    legs = sum(
        row.buyer_pays_uyuan - row.seller_receives_uyuan - row.grid_receives_uyuan
        for entry in record.hours
        for row in entry.settlement.trades
    )
    nets = compute_nets(compute_payments(record))
    total = sum(nets.values())
    passed = legs == 0 and total == 0
    return DayCheck("payments sum to zero", passed, f"over {len(nets)} parties: {total} µ¥; over all legs: {legs} µ¥")


def _check_balances(record: DayRecord) -> DayCheck:
    """Every account holds its founding balance and what the settlements say it gained, and nothing is in reserve."""
    nets = compute_nets(compute_payments(record))
    wrong = []
    for member in record.genesis.members:
        account = record.trading.accounts[member.name]
        gained = nets.get(GRID_COMPANY if member.role == "grid-operator" else member.name, 0)
        if account.balance_uyuan != member.balance_uyuan + gained or account.reserved_uyuan:
            wrong.append(member.name)
    if wrong:
        return DayCheck("balances match", False, f"not explained by the settlements: {', '.join(wrong)}")
    total = sum(account.balance_uyuan for account in record.trading.accounts.values())
    count = len(record.trading.accounts)
    return DayCheck("balances match", True, f"{count} accounts; {format_yuan(total)} yuan, as at genesis")


# --- credit --------------------------------------------------------------------------------------


def _check_credits(record: DayRecord, history: CreditHistory) -> DayCheck:
    """LH1's credits follow from the deliveries, and its coins are worth the scores."""
    accounts = record.credit.accounts
    wrong = [name for name in record.players if accounts[name].credit_upt != history.by_player[name][-1]]
    if wrong:
        return DayCheck("credits match", False, f"not explained by the deliveries: {', '.join(wrong)}")
    count = sum(history.deliveries.values())
    return DayCheck(
        "credits match", True, f"{len(record.players)} credits on LH1 follow from {count} scored deliveries"
    )


def _check_snapshots(record: DayRecord, index: Recomputation) -> DayCheck:
    """Check JY1's and DU1's snapshots against LH1's at that period's boundary, and their credits against the last."""
    name, count = "snapshots match", 0
    for kind in ("trading", "scheduling"):
        chain = record.chains[kind]
        told: dict[int, dict[str, int]] = {}
        for message in chain.messages:
            if message.kind == CREDIT:
                told.setdefault(message.number, {}).update(read_snapshot(message, record.names))
        for period, credits_upt in told.items():
            if credits_upt != index.posted.get(period):
                return DayCheck(
                    name, False, f"{chain.name} took in a snapshot of period {period} that LH1 did not take"
                )
        last = told[max(told)] if told else {}
        wrong = [member for member, credit_upt in last.items() if chain.accounts[member].credit_upt != credit_upt]
        if wrong:
            return DayCheck(name, False, f"on {chain.name} other credits than the last snapshot's: {', '.join(wrong)}")
        count += len(told)
    return DayCheck(name, True, f"{count} taken in by JY1 and DU1, each as LH1 had it; the last is what they hold now")


def _check_digests(record: DayRecord) -> DayCheck:
    """LH1 holds the digest of both of DU1's blocks of every hour, and knows of every delivery."""
    name, count = "digests match", 0
    for entry in record.hours:
        held = {digest.kind: digest.digest for digest in entry.digests}
        blocks = () if entry.schedule is None else ((POWER, entry.schedule.power), (ACTUAL, entry.schedule.actual))
        if not blocks:
            return DayCheck(name, False, f"DU1 has no record of period {entry.period}")
        for kind, block in blocks:
            if block is None or held.get(kind) != block.root:
                return DayCheck(name, False, f"LH1 lacks the {kind}-transaction block of period {entry.period}")
            count += 1
        if entry.settlement.trades and DELIVERED not in held:
            return DayCheck(name, False, f"LH1 has not heard of the deliveries of period {entry.period}")
    return DayCheck(name, True, f"LH1 holds {count} digests of DU1's power- and actual-transaction blocks")


def _check_proof(proof: ProofRecord) -> DayCheck:
    return DayCheck(f"{proof.what} proved offline", proof.problem is None, proof.problem or proof.statement)
