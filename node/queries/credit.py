"""Answers of a credit chain: digests of the other chains' blocks, and the holders of credit assets."""

from __future__ import annotations

from ledger.hashing import show_address
from market.credit.assets import get_coins, get_holding
from market.credit.contract import get_digest
from market.messages import ACTUAL, DELIVERED, POWER
from market.trading.sessions import list_gates
from node.chain.node import ChainNode
from node.errors import WrongKind
from node.queries.answers import AssetsInfo, CoinInfo, DigestsInfo, RecordedDigest
from node.queries.member_names import MemberNames

_DIGESTED = (POWER, ACTUAL, DELIVERED)
_LISTED_COINS = 100


class CreditQueries:
    """Questions about the credit index. Raises the `NotFound` family."""

    def __init__(self, node: ChainNode, members: MemberNames) -> None:
        self._node = node
        self._members = members

    def get_digests(self, period: int) -> DigestsInfo:
        """Digests recorded of a delivery period; none of one long gone."""
        self._require()
        state, digests = self._node.chain.head.state, list[RecordedDigest]()
        for sibling in self._node.genesis.siblings:
            gates = list_gates(sibling.market, period)
            names = [(kind, number) for kind in _DIGESTED for number in (gates if kind == POWER else (period,))]
            for kind, number in names:
                found = get_digest(state, sibling.name, kind, number)
                if found is not None:
                    row = RecordedDigest(
                        source=sibling.name,
                        kind=kind,
                        period=period,
                        height=found.height,
                        block=found.block_hash.hex(),
                        digest=found.digest.hex(),
                    )
                    digests.append(row)
        return DigestsInfo(period=period, digests=tuple(digests))

    def get_assets(self, ref: str) -> AssetsInfo:
        """A member's credit assets, by "0x…" or name."""
        self._require()
        address, state = self._members.find(ref), self._node.chain.head.state
        holding = get_holding(state, address)
        return AssetsInfo(
            address=show_address(address),
            name=self._members.name_of(address),
            coins=holding.coins,
            credit_upt=holding.credit_upt,
            newest=tuple(
                CoinInfo(
                    transaction=point.transaction_id.hex(),
                    output=point.output_index,
                    value_sat=coin.value_sat,
                    padding_sat=coin.padding_sat,
                    credit_upt=coin.credit_upt,
                    colour=coin.colour.hex(),
                )
                for point, coin in get_coins(state, address, limit=_LISTED_COINS)
            ),
        )

    def _require(self) -> None:
        params = self._node.params
        if params.kind != "credit":
            raise WrongKind(name=params.name, actual=params.kind, wanted="credit")
