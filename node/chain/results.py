"""TradeResults: which member has signed which result of what a chain resolved, and the certificates of results.

A vote with a result travels beside what its digest is of, so that every node sees what was signed, and not only whether
enough have signed the same. What a member has signed is kept for some slots, also where others have outvoted it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal, NamedTuple, TypeAlias

from consensus.checkpoints import Checkpoints
from consensus.errors import WrongVoters
from consensus.quorum import QuorumCertificate, Statement, Vote, check_vote, read_vote
from ledger.chain import BlockNode, Chain, Changes
from ledger.codec import encode
from ledger.errors import InvalidProof
from ledger.hashing import address_of
from ledger.merkle import inclusion_proofs, verify_inclusion
from ledger.overlay import Overlay
from ledger.results import Result, compute_digest, decode_results, encode_results, get_results
from ledger.store import KeyValue, as_stored
from market.trading import views
from market.trading.trades import encode_trade_leaf
from node.chain import messages as wire
from node.chain.events import Action, Broadcast, PeerId, Publish, Send
from node.errors import ResultNotShown, ResultNotSigned

_ROW = b"R"
_SLOT_BYTES = 8
_SLOTS_KEPT, _SLOTS_AHEAD = 32, 16
_MAX_PER_SIGNER = 2  # in one slot: the second convicts, and a third says nothing more
_ROWS_PER_RECORD = 6  # what it costs to read, encode and hash one, in rows of `node.serving`

Opinion: TypeAlias = Literal["agrees", "other-result", "other-block", "unknown"]
AGREES: Final = "agrees"
OTHER_RESULT: Final = "other-result"  # of the same block
OTHER_BLOCK: Final = "other-block"  # than is certified
UNKNOWN: Final = "unknown"  # the block is not here


class Claim(NamedTuple):
    """A member's vote, and the results that it signs."""

    vote: Vote
    results: tuple[Result, ...]

    @property
    def slot(self) -> int:
        return self.vote.statement.slot

    @property
    def content(self) -> tuple[bytes, bytes]:
        """Block and result: what two members agree on or not."""
        return self.vote.statement.block_hash, self.vote.statement.result


class CertifiedResults(NamedTuple):
    """A certificate, and the results that its statement names."""

    certificate: QuorumCertificate
    results: tuple[Result, ...]


class Results:
    """The claims of one chain's members, and the certificates of its results.

    `certificate_at` gives the certificate of a slot, as far as this node has it; `slot_of` the slot
    that a chain has come to with a head.
    """

    def __init__(
        self,
        chain: Chain,
        store: KeyValue,
        checkpoints: Checkpoints,
        certificate_at: Callable[[int], QuorumCertificate | None],
        *,
        slot_of: Callable[[BlockNode], int],
    ) -> None:
        self.differing = 0  # claims of another result than this node's, since the start
        self.elsewhere = 0  # … of another block than is certified: a fork can bring an honest member there
        self._chain = chain
        self._store = store
        self._checkpoints = checkpoints
        self._certificate_at = certificate_at
        self._slot_of = slot_of
        self._newest = 0  # slot that the chain has come to
        self._claims: dict[int, dict[bytes, list[Claim]]] = {}  # by slot and signer
        self._told: set[tuple[int, bytes, tuple[bytes, bytes]]] = set()
        self._asked: dict[int, PeerId] = {}  # the peer asked for the certificate of a period's result
        self._turn = 0

    # --- what members say ------------------------------------------------------------------------

    def on_head(self, head: BlockNode) -> None:
        """Move on with the chain: claims of slots long past go. Causes: a new head, a heartbeat."""
        self._newest = self._slot_of(head)
        for slot in [known for known in self._claims if not self._is_kept(known)]:
            del self._claims[slot]
        self._told = {told for told in self._told if told[0] in self._claims}

    def take(self, claim: Claim, source: PeerId) -> list[Action]:
        """Keep a peer's claim and pass it on, where it is news.

        Raises `VoteTooFarAhead`, `WrongVoters`, `WrongChain`, `UnknownSigner`, `InvalidKey` or `InvalidSignature`.
        """
        if not self._is_news(claim):
            return []
        try:
            voters = self._checkpoints.get_voters(claim.slot)
            check_vote(claim.vote, voters.keys, since_slot=voters.since_slot, chain_id=self._chain.chain_id)
        except WrongVoters:
            if claim.slot <= self._newest:
                return []  # the members have changed since
            raise
        self._add(claim)
        passed_on = [Broadcast(message=message, but=source) for message in announce_claims([claim])]
        return [*passed_on, *self.review(claim.slot)]

    def tell(self, vote: Vote) -> list[Action]:
        """Keep this node's own vote for a result, and say what it is for: again, where it has said so before.

        Nothing where its block is not here: a vote on record outlasts a block that is lost.
        """
        results = self._compute(vote.statement.block_hash)
        if results is None:
            return []
        claim = Claim(vote, results)
        assert compute_digest(claim.results) == vote.statement.result, "nothing else is signed here"
        if self._is_news(claim):
            self._add(claim)
        return [Broadcast(message=message) for message in announce_claims([claim])]

    def claims(self, slot: int) -> list[Claim]:
        """Claims known to be signed for a slot, by signer."""
        by_signer = self._claims.get(slot, {})
        return [claim for signer in sorted(by_signer) for claim in by_signer[signer]]

    def claims_of(self, number: int) -> list[Claim]:
        """Every claim that names a result of that number, by slot and signer."""
        everything = (claim for slot in sorted(self._claims) for claim in self.claims(slot))
        return [claim for claim in everything if any(result.number == number for result in claim.results)]

    def dissenters(self) -> tuple[bytes, ...]:
        """The signers of another result than this node computes of a block that nothing certifies yet, by key.

        Where they are more than f, an agreement stands still, and a gate waits for the next checkpoint or is void.
        """
        open_slots = [slot for slot in self._claims if self._certificate_at(slot) is None]
        disputed = (claim for slot in open_slots for claim in self.claims(slot) if self.judge(claim) == OTHER_RESULT)
        return tuple(sorted({claim.vote.signer for claim in disputed}))

    def __len__(self) -> int:
        return sum(len(claims) for by_signer in self._claims.values() for claims in by_signer.values())

    def _add(self, claim: Claim) -> None:
        self._claims.setdefault(claim.slot, {}).setdefault(claim.vote.signer, []).append(claim)

    def _is_news(self, claim: Claim) -> bool:
        held = self._claims.get(claim.slot, {}).get(claim.vote.signer, [])
        is_new = claim.content not in [one.content for one in held]
        return self._is_kept(claim.slot) and is_new and len(held) < _MAX_PER_SIGNER

    def _is_kept(self, slot: int) -> bool:
        return self._newest - _SLOTS_KEPT < slot <= self._newest + _SLOTS_AHEAD

    # --- what this node thinks of it -------------------------------------------------------------

    def result_of(self, block_hash: bytes) -> bytes:
        """The digest that this node computes after a block that it has executed."""
        return compute_digest(self._compute(block_hash) or ())

    def judge(self, claim: Claim) -> Opinion:
        """Compare a claim with this node's own result of that block, and with what is certified in its slot."""
        block_hash, result = claim.content
        own = self._compute(block_hash)
        if own is not None and compute_digest(own) != result:
            return OTHER_RESULT
        certificate = self._certificate_at(claim.slot)
        if certificate is None:
            return UNKNOWN if own is None else AGREES
        if certificate.statement.block_hash != block_hash:
            return OTHER_BLOCK
        return AGREES if certificate.statement.result == result else OTHER_RESULT

    def review(self, slot: int) -> list[Action]:
        """Say, once each, which members have signed another result of a block, or for another than is certified."""
        actions: list[Action] = []
        for claim in self.claims(slot):
            opinion, key = self.judge(claim), (slot, claim.vote.signer, claim.content)
            if opinion in (OTHER_RESULT, OTHER_BLOCK) and key not in self._told:
                self._told.add(key)
                said = (slot, address_of(claim.vote.signer), *claim.content)
                if opinion == OTHER_RESULT:
                    self.differing += 1
                    actions.append(Publish(event=("result-differs", *said)))
                else:
                    self.elsewhere += 1
                    actions.append(Publish(event=("result-elsewhere", *said)))
        return actions

    def on_block(self, block_hash: bytes) -> list[Action]:
        """Judge what has been said of a block. Cause: it has been executed."""
        slots = [
            slot for slot in sorted(self._claims) if any(one.content[0] == block_hash for one in self.claims(slot))
        ]
        return [action for slot in slots for action in self.review(slot)]

    def _compute(self, block_hash: bytes) -> tuple[Result, ...] | None:
        entry = self._chain.get(block_hash) if self._chain.is_recent(block_hash) else None
        return None if entry is None else get_results(Overlay(entry.state))

    # --- what is certified -----------------------------------------------------------------------

    def keep(self, certificate: QuorumCertificate, block: BlockNode) -> Changes:
        """Rows that lead from the results that a certificate names to it."""
        results = get_results(Overlay(block.state))
        return _make_rows(CertifiedResults(certificate, results)) if results else []

    def find(self, number: int) -> CertifiedResults | None:
        """The certificate that names a result."""
        raw = self._store.get(_row_key(number))
        if raw is None:
            return None
        certificate = self._certificate_at(int.from_bytes(raw[:_SLOT_BYTES], "big"))
        if certificate is None:
            return None
        with as_stored("results"):
            return CertifiedResults(certificate, decode_results(raw[_SLOT_BYTES:]))

    def ask(self, peers: Sequence[PeerId]) -> list[Action]:
        """Ask for the certificate of a result that this node has caught up without: each peer in turn for each."""
        state = self._chain.head.state
        decided = [
            number
            for number in views.kept_gates(state, self._chain.genesis.params.market)
            if (gate := views.get_gate(state, number)) is not None and gate.binds
        ]
        lacking = [period for period in decided if self._store.get(_row_key(period)) is None]
        self._asked.clear()
        if not lacking or not peers:
            return []
        round_number, place = divmod(self._turn, len(peers))
        self._turn += 1
        peer, period = peers[place], lacking[round_number % len(lacking)]
        self._asked[period] = peer
        return [Send(peer=peer, message=wire.GetTradeRecords(period=period))]

    def answer(self, question: wire.GetTradeRecords) -> tuple[wire.TradeRecords | None, int]:
        """The certificate of a period's result and records with their audit paths; and how many rows that has cost.

        None where no certificate is known, or a record is asked for that is not there.
        """
        certified = self.find(question.period)
        trades = views.get_trades(self._chain.head.state, question.period) if question.indexes else []
        cost = 1 + len(trades) * _ROWS_PER_RECORD
        if certified is None or any(index >= len(trades) for index in question.indexes):
            return None, cost
        leaves = [encode_trade_leaf(record) for record in trades]
        paths = inclusion_proofs(leaves, question.indexes)
        answer = wire.TradeRecords(
            period=question.period,
            certificate=certified.certificate.raw,
            results=encode_results(certified.results),
            records=tuple((leaves[index], path) for index, path in zip(question.indexes, paths, strict=True)),
        )
        return answer, cost

    def accept(self, peer: PeerId, message: wire.TradeRecords) -> tuple[QuorumCertificate, Changes] | None:
        """Take a peer's answer: the certificate, and rows to keep it. None where that peer was not asked.

        Raises the `Malformed` and `VerificationFailed` families, the certificate's own being checked by the caller.
        """
        if self._asked.get(message.period) != peer:
            return None
        del self._asked[message.period]
        certificate, result = read_records(message, ())
        self._checkpoints.check_certificate(certificate)
        gate = views.get_gate(self._chain.head.state, message.period)
        if gate is None or gate.result_root != result.root:
            raise InvalidProof(detail=f"the result of period {message.period} is another one here")
        return certificate, _make_rows(CertifiedResults(certificate, decode_results(message.results)))


# --- on the wire -----------------------------------------------------------------------------------


def read_claims(message: wire.TradeResult) -> Iterator[Claim]:
    """The claims in a message, one by one, no signature checked. Raises the `Malformed` family or `ResultNotSigned`."""
    results = decode_results(message.results)
    digest = compute_digest(results)
    for raw in message.raw:
        vote = read_vote(raw)
        _check_signed(vote.statement, digest)
        yield Claim(vote, results)


def check_shown(vote: Vote) -> None:
    """Raise `ResultNotShown` where a vote that came alone is for results."""
    if vote.statement.result:
        raise ResultNotShown(slot=vote.statement.slot)


def announce_claims(claims: Sequence[Claim]) -> list[wire.TradeResult]:
    """The messages that say who has signed what: one for all who have signed the same results."""
    groups: dict[tuple[Result, ...], list[bytes]] = {}
    for claim in claims:
        groups.setdefault(claim.results, []).append(encode(claim.vote.to_value()))
    return [
        wire.TradeResult(results=encode_results(results), raw=tuple(votes[at : at + wire.MAX_ITEMS]))
        for results, votes in groups.items()
        for at in range(0, len(votes), wire.MAX_ITEMS)
    ]


def read_records(message: wire.TradeRecords, indexes: Sequence[int]) -> tuple[QuorumCertificate, Result]:
    """The certificate and the period's result, under which the records asked for stand in their places.

    Raises the `Malformed` family, `DuplicateSigner`, `ResultNotSigned` or `InvalidProof`; signatures are not checked.
    """
    certificate = QuorumCertificate.from_bytes(message.certificate)
    results = decode_results(message.results)
    _check_signed(certificate.statement, compute_digest(results))
    result = next((one for one in results if one.number == message.period), None)
    if result is None:
        raise InvalidProof(detail=f"the certificate names no result of period {message.period}")
    if len(message.records) != len(indexes):
        raise InvalidProof(detail=f"{len(indexes)} records were asked for, {len(message.records)} came")
    for index, (leaf, path) in zip(indexes, message.records, strict=True):
        verify_inclusion(result.root, leaf, index, result.record_count, path)
    return certificate, result


def _check_signed(statement: Statement, digest: bytes) -> None:
    if statement.result != digest:
        raise ResultNotSigned(signed=statement.result.hex()[:16] or "none", shown=digest.hex()[:16])


def _make_rows(certified: CertifiedResults) -> Changes:
    value = certified.certificate.statement.slot.to_bytes(_SLOT_BYTES, "big") + encode_results(certified.results)
    return [(_row_key(result.number), value) for result in certified.results]


def _row_key(number: int) -> bytes:
    return _ROW + number.to_bytes(8, "big")
