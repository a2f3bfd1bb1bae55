"""Answers of a scheduling chain about its periods, and of a trading chain about the quotas that came from there."""

from __future__ import annotations

from ledger.hashing import show_address
from market.scheduling import views as scheduling_views
from market.scheduling.records import ActualBlock, BilateralContract, PowerBlock
from market.trading import views
from market.trading.trades import Curtailment
from node.chain.node import ChainNode
from node.errors import NoQuotas, NoSchedule, WrongKind
from node.queries.answers import (
    ContractInfo,
    CurtailmentInfo,
    DigestInfo,
    LinePlanInfo,
    LineQuotaInfo,
    QuotaInfo,
    SchedulingInfo,
)
from node.queries.member_names import MemberNames


def describe_curtailment(cut: Curtailment) -> CurtailmentInfo:
    return CurtailmentInfo(index=cut.trade_index, accepted_wh=cut.accepted_wh, line=cut.line)


def _describe_digest(block: PowerBlock | ActualBlock | None) -> DigestInfo | None:
    if block is None:
        return None
    height, root, contracts, energy_wh = block
    return DigestInfo(height=height, root=root.hex(), contracts=contracts, energy_wh=energy_wh)


class GridQueries:
    """Questions about the grid. Raises the `NotFound` family."""

    def __init__(self, node: ChainNode, members: MemberNames) -> None:
        self._node = node
        self._members = members

    def get_quota(self, period: int) -> QuotaInfo:
        self._require("trading")
        state = self._node.chain.head.state
        quotas = views.get_quota(state, period)
        if quotas is None:
            raise NoQuotas(period=period)
        return QuotaInfo(
            period=period,
            lines=tuple(LineQuotaInfo(line=line, **quota._asdict()) for line, quota in quotas.items()),
            complete_ms=views.get_completion(state, period),
            orders_until_ms=views.get_orders_end(state, period, self._node.genesis),
        )

    def get_scheduling(self, period: int) -> SchedulingInfo:
        self._require("scheduling")
        state = self._node.chain.head.state
        plan, quotas = scheduling_views.get_plan(state, period), scheduling_views.get_quotas(state, period)
        if not plan and not quotas:
            raise NoSchedule(period=period)
        verdict = scheduling_views.get_verdict(state, period)
        return SchedulingInfo(
            period=period,
            plan=tuple(LinePlanInfo(**line._asdict()) for line in plan),
            quotas=tuple(LineQuotaInfo(**quota._asdict()) for quota in quotas),
            curtailments=None if verdict is None else tuple(map(describe_curtailment, verdict)),
            contracts=self._describe_contracts(period),
            power=_describe_digest(scheduling_views.get_power_block(state, period)),
            actual=_describe_digest(scheduling_views.get_actual_block(state, period)),
        )

    def _describe_contracts(self, period: int) -> tuple[ContractInfo, ...]:
        state = self._node.chain.head.state
        metered = {
            row.trade_index: (row.consumption_wh, row.output_wh) for row in scheduling_views.get_actuals(state, period)
        }
        return tuple(
            self._describe_contract(contract, metered.get(contract.trade_index))
            for contract in scheduling_views.get_contracts(state, period)
        )

    def _describe_contract(self, contract: BilateralContract, metered: tuple[int, int] | None) -> ContractInfo:
        return ContractInfo(
            index=contract.trade_index,
            buyer=show_address(contract.buyer),
            buyer_name=self._members.name_of(contract.buyer),
            seller=show_address(contract.seller),
            seller_name=self._members.name_of(contract.seller),
            price_uyuan_per_kwh=contract.price_uyuan_per_kwh,
            accepted_wh=contract.accepted_wh,
            consumption_wh=None if metered is None else metered[0],
            output_wh=None if metered is None else metered[1],
        )

    def _require(self, kind: str) -> None:
        params = self._node.params
        if params.kind != kind:
            raise WrongKind(name=params.name, actual=params.kind, wanted=kind)
