"""Answers about signed results of a period, as one node knows them. Read-only, like all queries."""

from __future__ import annotations

from consensus.contracts import compute_quorum
from consensus.quorum import Vote
from ledger.accounts import get_sealers
from ledger.hashing import address_of, show_address
from ledger.overlay import Overlay
from node.chain.node import ChainNode
from node.chain.results import Claim
from node.queries.answers import ResultInfo, SignedResultInfo
from node.queries.member_names import MemberNames


class ResultQueries:
    """Questions about TradeResults."""

    def __init__(self, node: ChainNode, members: MemberNames) -> None:
        self._node = node
        self._members = members

    def get_result(self, period: int) -> ResultInfo:
        """The certificate of a period's result, and what members have signed: all of its slot, else their latest."""
        results = self._node.results
        certified = results.find(period)
        if certified is None:
            counted: dict[bytes, Claim] = {}
            claims = {claim.vote.signer: claim for claim in results.claims_of(period)}
            told = list(claims.values())
        else:
            statement, signatures = certified.certificate.statement, certified.certificate.signatures
            votes = (Vote(statement=statement, signer=key, signature=signature) for key, signature in signatures)
            counted = {vote.signer: Claim(vote, certified.results) for vote in votes}
            alike = {claim.vote.signer: claim.content for claim in counted.values()}
            others = [one for one in results.claims(statement.slot) if alike.get(one.vote.signer) != one.content]
            told = [*counted.values(), *others]
        sealers = get_sealers(Overlay(self._node.chain.head.state))
        heard = {claim.vote.signer for claim in told}
        return ResultInfo(
            slot=None if certified is None else certified.certificate.statement.slot,
            block=None if certified is None else certified.certificate.statement.block_hash.hex(),
            quorum=compute_quorum(self._node.params.consensus, len(sealers)),
            sealers=len(sealers),
            signed=tuple(self._describe(claim, period, claim in counted.values()) for claim in told),
            silent=tuple(self._name(key) for key in sealers if key not in heard),
        )

    def _describe(self, claim: Claim, period: int, is_counted: bool) -> SignedResultInfo:
        statement = claim.vote.statement
        named = next((result for result in claim.results if result.number == period), None)
        return SignedResultInfo(
            name=self._members.name_of(address_of(claim.vote.signer)),
            key=claim.vote.signer.hex(),
            slot=statement.slot,
            block=statement.block_hash.hex(),
            digest=statement.result.hex(),
            record_count=None if named is None else named.record_count,
            root=None if named is None else named.root.hex(),
            opinion=self._node.results.judge(claim),
            counted=is_counted,
        )

    def _name(self, key: bytes) -> str:
        address = address_of(key)
        return self._members.name_of(address) or show_address(address)
