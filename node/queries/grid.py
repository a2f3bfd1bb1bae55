"""Answers of a scheduling chain about its periods, and of a trading chain about the quotas that came from there."""

from __future__ import annotations

from ledger.hashing import show_address
from market.scheduling import views as scheduling_views
from market.scheduling.records import ActualBlock, BilateralContract, PowerBlock
from market.trading import views
from market.trading.sessions import get_period, get_session, is_firm
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

    def get_quota(self, number: int) -> QuotaInfo:
        """The quotas of a gate, by its number."""
        self._require("trading")
        state, market = self._node.chain.head.state, self._node.params.market
        quotas = views.get_quota(state, number)
        if quotas is None:
            raise NoQuotas(period=get_period(market, number))
        return QuotaInfo(
            period=get_period(market, number),
            session=get_session(market, number).title,
            lines=tuple(LineQuotaInfo(line=line, **quota._asdict()) for line, quota in quotas.items()),
            complete_ms=views.get_completion(state, number),
            orders_until_ms=views.get_orders_end(state, number, self._node.genesis),
        )

    def get_scheduling(self, number: int) -> SchedulingInfo:
        """All that there is of a gate, by its number, and of its period."""
        self._require("scheduling")
        state, market = self._node.chain.head.state, self._node.params.market
        period, session = get_period(market, number), get_session(market, number)
        plan, quotas = scheduling_views.get_plan(state, period), scheduling_views.get_quotas(state, number)
        if not plan and not quotas:
            raise NoSchedule(period=period)
        verdict = scheduling_views.get_verdict(state, number)
        return SchedulingInfo(
            period=period,
            session=session.title,
            plan=tuple(LinePlanInfo(**line._asdict()) for line in plan),
            quotas=tuple(LineQuotaInfo(**quota._asdict()) for quota in quotas),
            curtailments=None if verdict is None else tuple(map(describe_curtailment, verdict)),
            contracts=self._describe_contracts(number),
            power=_describe_digest(scheduling_views.get_power_block(state, number)),
            actual=_describe_digest(scheduling_views.get_actual_block(state, period)),
        )

    def _describe_contracts(self, number: int) -> tuple[ContractInfo, ...]:
        """A gate's contracts, each as metered; not where they are netted, for then none has a meter of its own."""
        state, market = self._node.chain.head.state, self._node.params.market
        actuals = () if is_firm(market) else scheduling_views.get_actuals(state, get_period(market, number))
        metered = {row.trade_index: (row.consumption_wh, row.output_wh) for row in actuals}
        return tuple(
            self._describe_contract(contract, metered.get(contract.trade_index))
            for contract in scheduling_views.get_contracts(state, number)
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
