"""Proof of credit assessment: header rules, proposals and fork choice. Eq. (10) of text 000; design section 3.

`work` and `stake` run through the same rules with another eligibility, so that simulations can compare them.
"""

from __future__ import annotations

from itertools import islice

from consensus.engine import Ancestry, Proposal, Weighed
from consensus.errors import BadParameters, OverDiversityLimit, TargetMissed, WrongDifficulty
from consensus.header_rules import HeaderRules
from consensus.poca.credit_target import compute_n_diff_limit, compute_target, compute_weight
from consensus.poca.eligibility import eligibility_for
from consensus.poca.retarget import MAX_N_DIFF, block_work, compute_next_base, relief_steps, relieved, rescale
from consensus.timestamps import MEDIAN_SPAN, check_timestamp, median_time_past
from ledger.block import Header, check_producer_signature
from ledger.chain import Ancestor, BlockNode
from ledger.genesis import Genesis
from ledger.hashing import address_of, sha256
from ledger.params import ChainParams
from ledger.snapshot import SealerSnapshot, Snapshot, get_snapshot

_MAX_TIMESTAMPS = 10_000  # how far back a producer under Eq. (9) looks for its timestamp


class PocaEngine:
    """The engine of one chain. Holds nothing but its parameters."""

    def __init__(self, genesis: Genesis) -> None:
        self._params = genesis.params.consensus
        self._rules = HeaderRules(genesis)
        self._eligibility = eligibility_for(self._params.eligibility, self._params.tau_upt)

    # --- judging a header ------------------------------------------------------------------------

    def screen_header(self, header: Header, sealers: frozenset[bytes]) -> None:
        """The checks that need no parent: producer, claimed seal, signature. Raises the `InvalidBlock` family and kin.

        `sealers` are the keys that may have the sealing right.
        """
        self._rules.check_origin(header, sealers)
        if self._eligibility.searches_nonce:
            self._check_seal(header, SealerSnapshot(credit_upt=header.credit_upt, balance_uyuan=0))
        check_producer_signature(header)

    def check_header(self, header: Header, parent: BlockNode, chain: Ancestry) -> Weighed:
        """See `Engine.check_header`."""
        self._rules.check_place(header, parent)
        check_timestamp(header.timestamp_ms, _past_timestamps(parent, chain))
        begin_ms = self._begin_ms(header.producer, parent, chain)
        self._check_diversity(header, begin_ms, parent)
        self._rules.check_period(header, parent)
        snapshot = self._snapshot_of(parent)
        standing = self._rules.check_standing(header, snapshot)
        base = self._next_base(parent, chain, snapshot)
        self._check_relief(header, base, begin_ms)
        self._check_seal(header, standing)
        check_producer_signature(header)
        return Weighed(work=parent.work + self.work_of(header), base_n_diff=base)

    def check_base(self, header: Header, base_n_diff: int, parent: Ancestor, chain: Ancestry) -> None:
        """Raise `WrongDifficulty` unless a header's N_diff is this base, relieved by its own delay."""
        self._check_relief(header, base_n_diff, self._begin_ms(header.producer, parent, chain))

    def work_of(self, header: Header) -> int:
        """See `Engine.work_of`."""
        return block_work(header.n_diff)

    def find_work(self, header: Header) -> int | None:
        """See `Engine.find_work`."""
        return None

    def find_base(self, header: Header, parent: Ancestor, chain: Ancestry) -> int | None:
        """See `Engine.find_base`: relief doubles, and what it doubled so often is known, unless it was cut off."""
        elapsed_ms = header.timestamp_ms - self._begin_ms(header.producer, parent, chain)
        base = header.n_diff >> self._count_relief(elapsed_ms)
        return base if base and self._relieved(base, elapsed_ms) == header.n_diff < MAX_N_DIFF else None

    def is_better(self, candidate: BlockNode, head: BlockNode) -> bool:
        """More work wins; work is independent of credit, else credit would cancel out (design section 3).

        A block hash lies below its producer's target, so comparing hashes would favour low credit: "lower-hash"
        hashes them once more.
        """
        if candidate.work != head.work:
            return candidate.work > head.work
        match self._params.tie_break:
            case "first-seen":
                return False
            case "lower-hash":
                return sha256(candidate.hash) < sha256(head.hash)
            case "higher-credit":
                mine = (-candidate.header.credit_upt, sha256(candidate.hash))
                return mine < (-head.header.credit_upt, sha256(head.hash))

    # --- building one ----------------------------------------------------------------------------

    def propose(self, producer: bytes, parent: BlockNode, chain: Ancestry, now_ms: int) -> Proposal | None:
        """See `Engine.propose`."""
        snapshot = self._snapshot_of(parent)
        standing = snapshot.members.get(producer)
        if standing is None:
            return None
        earliest = median_time_past(_past_timestamps(parent, chain)) + 1
        begin_ms = self._begin_ms(producer, parent, chain)
        if begin_ms > parent.header.timestamp_ms:
            earliest = max(earliest, begin_ms)
            if now_ms < earliest:
                return None
        base = self._next_base(parent, chain, snapshot)
        if self._eligibility.searches_nonce:
            return self._proposal(max(now_ms, earliest), begin_ms, base, parent, standing)
        first_ms = max(earliest, parent.header.timestamp_ms + 1)
        return self._find_timestamp(producer, first_ms, now_ms, begin_ms, base, parent)

    def _proposal(
        self, timestamp_ms: int, begin_ms: int, base: int, parent: BlockNode, standing: SealerSnapshot
    ) -> Proposal:
        n_diff = self._relieved(base, timestamp_ms - begin_ms)
        target = None
        if self._eligibility.searches_nonce:
            target = self._eligibility.target(n_diff, standing.credit_upt, standing.balance_uyuan)
        return Proposal(
            timestamp_ms=timestamp_ms,
            period=self._rules.period_at(timestamp_ms, parent),
            credit_upt=standing.credit_upt,
            n_diff=n_diff,
            target=target,
        )

    def _find_timestamp(
        self, producer: bytes, first_ms: int, last_ms: int, begin_ms: int, base: int, parent: BlockNode
    ) -> Proposal | None:
        """Eq. (9): the timestamp is what is searched. Tries at most the last `_MAX_TIMESTAMPS` milliseconds."""
        standing = self._snapshot_of(parent).members[producer]
        address = address_of(producer)
        easiest = self._target_at(last_ms, begin_ms, base, standing)  # for relief grows with time
        for timestamp_ms in range(max(first_ms, last_ms - _MAX_TIMESTAMPS), last_ms + 1):
            value = self._eligibility.seal_value(b"", 0, parent.hash, address, timestamp_ms)
            if value <= easiest and value <= self._target_at(timestamp_ms, begin_ms, base, standing):
                return self._proposal(timestamp_ms, begin_ms, base, parent, standing)
        return None

    def _target_at(self, timestamp_ms: int, begin_ms: int, base: int, standing: SealerSnapshot) -> int:
        n_diff = self._relieved(base, timestamp_ms - begin_ms)
        return self._eligibility.target(n_diff, standing.credit_upt, standing.balance_uyuan)

    # --- inside ----------------------------------------------------------------------------------

    def _snapshot_of(self, parent: BlockNode) -> Snapshot:
        return get_snapshot(parent.state)

    def _check_seal(self, header: Header, standing: SealerSnapshot) -> None:
        target = self._eligibility.target(header.n_diff, standing.credit_upt, standing.balance_uyuan)
        value = self._eligibility.seal_value(
            header.root, header.nonce, header.parent, header.producer_address, header.timestamp_ms
        )
        if value > target:
            raise TargetMissed(actual=value, target=target)

    def _check_relief(self, header: Header, base: int, begin_ms: int) -> None:
        n_diff = self._relieved(base, header.timestamp_ms - begin_ms)
        if header.n_diff != n_diff:
            raise WrongDifficulty(expected=n_diff, actual=header.n_diff)

    def _next_base(self, parent: BlockNode, chain: Ancestry, snapshot: Snapshot) -> int:
        """The base N_diff on top of `parent`, kept to the interval across a change of credits."""
        params = self._params
        if not parent.height:
            return parent.base_n_diff
        _, grandparent = islice(chain.ancestors(parent), 2)
        base = compute_next_base(
            parent.base_n_diff,
            parent.header.timestamp_ms - self._begin_ms(parent.header.producer, grandparent, chain),
            interval_ms=params.block_interval_ms,
            window=params.retarget_window,
            n_diff_min=params.n_diff_min,
            n_diff_max=params.n_diff_max,
        )
        if params.eligibility != "poca" or snapshot.height != parent.height:
            return base
        return rescale(
            base,
            self._total_weight(snapshot.previous),
            self._total_weight(snapshot.members),
            n_diff_min=params.n_diff_min,
            n_diff_max=params.n_diff_max,
        )

    def _total_weight(self, members: dict[bytes, SealerSnapshot]) -> int:
        return sum(compute_weight(standing.credit_upt, self._params.tau_upt) for standing in members.values())

    def _begin_ms(self, producer: bytes, parent: Ancestor, chain: Ancestry) -> int:
        """From when on a producer may seal on `parent`: at once, unless it has its share of the blocks below.

        Then it waits for the others until relief would set in, and its relief and its solve time count from there, so
        that the wait makes nothing easier. A chain with one producer left goes on, at that pace.
        """
        params = self._params
        begin_ms = parent.header.timestamp_ms
        if params.diversity_window:
            below = islice(chain.ancestors(parent), params.diversity_window - 1)
            if sum(entry.header.producer == producer for entry in below) >= params.diversity_limit:
                begin_ms += params.relief_after * params.block_interval_ms
        return begin_ms

    def _check_diversity(self, header: Header, begin_ms: int, parent: BlockNode) -> None:
        if parent.header.timestamp_ms < begin_ms > header.timestamp_ms:
            params = self._params
            raise OverDiversityLimit(
                producer=header.producer.hex()[:16],
                limit=params.diversity_limit,
                window=params.diversity_window,
                not_before=begin_ms,
            )

    def _relieved(self, base: int, elapsed_ms: int) -> int:
        return relieved(base, self._count_relief(elapsed_ms))

    def _count_relief(self, elapsed_ms: int) -> int:
        return relief_steps(
            elapsed_ms,
            interval_ms=self._params.block_interval_ms,
            relief_after=self._params.relief_after,
        )


def check_params(params: ChainParams) -> None:
    """Raise `BadParameters` where N_diff leaves no room for e^{100/τ}, so that credit would stop counting.

    And where the nonces of an interval are too few for a block, or PBFT is to have another quorum than its own.
    """
    consensus = params.consensus
    if consensus.engine == "pbft" and consensus.checkpoint_m:
        raise BadParameters(detail="checkpoint_m must be 0 under pbft, whose quorums follow from the validators alone")
    if consensus.engine != "poca" or consensus.eligibility != "poca":
        return
    limit = compute_n_diff_limit(consensus.tau_upt)
    if consensus.n_diff_max > limit:
        raise BadParameters(
            detail=f"n_diff_max must be at most {limit:#x} for tau_upt {consensus.tau_upt}: "
            f"above it the target of a member with 100 points is cut off at 2^256 - 1"
        )
    easiest = compute_target(consensus.n_diff_max, params.market.initial_credit_upt, consensus.tau_upt)
    least = -(-(2**256) // (easiest + 1))
    if 0 < consensus.interval_nonces < least:
        raise BadParameters(
            detail=f"interval_nonces must be 0 or at least {least}: with fewer, a member alone with the initial credit "
            "would not find a block per interval even at n_diff_max"
        )


def _past_timestamps(parent: BlockNode, chain: Ancestry) -> list[int]:
    newest_first = islice(chain.ancestors(parent), MEDIAN_SPAN)
    return [entry.header.timestamp_ms for entry in newest_first][::-1]
