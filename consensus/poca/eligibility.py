"""Rules that make a member eligible to seal a block: one port and three rules, so that simulations can compare.

A rule gives the number a header is measured by (`seal_value`) and the bound it must not exceed (`target`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol, TypeAlias, assert_never

from consensus.poca.credit_target import MAX_TARGET, compute_target
from consensus.seal import seal_hash
from ledger.hashing import ADDRESS_SIZE, HASH_SIZE, tagged_hash

EligibilityName: TypeAlias = Literal["poca", "work", "stake"]

_STAKE_TAG = "gridmerit/stake"


class Eligibility(Protocol):
    """The port. A header is eligible when `seal_value(…) <= target(…)`; both are 0 … 2^256 − 1."""

    name: ClassVar[EligibilityName]
    searches_nonce: ClassVar[bool]
    """Whether a producer tries nonces for one header; otherwise it tries timestamps, with the nonce at 0."""

    def target(self, n_diff: int, credit_upt: int, balance_uyuan: int) -> int:
        """The bound for a producer of this credit and balance."""
        ...

    def seal_value(self, root: bytes, nonce: int, parent_hash: bytes, producer: bytes, timestamp_ms: int) -> int:
        """The number to compare: `root` is the 32-byte W, `producer` the 20-byte address."""
        ...


@dataclass(frozen=True, slots=True)
class Poca:
    """Proof of credit assessment, Eq. (10) of text 000: F(W, S) ≤ N_diff · e^{C/τ}, τ in micro-points."""

    name: ClassVar[EligibilityName] = "poca"
    searches_nonce: ClassVar[bool] = True
    tau_upt: int

    def target(self, n_diff: int, credit_upt: int, balance_uyuan: int) -> int:
        return compute_target(n_diff, credit_upt, self.tau_upt)

    def seal_value(self, root: bytes, nonce: int, parent_hash: bytes, producer: bytes, timestamp_ms: int) -> int:
        return int.from_bytes(seal_hash(root, nonce), "big")


@dataclass(frozen=True, slots=True)
class Work:
    """Proof of work: Eq. (10) with every credit at 0."""

    name: ClassVar[EligibilityName] = "work"
    searches_nonce: ClassVar[bool] = True

    def target(self, n_diff: int, credit_upt: int, balance_uyuan: int) -> int:
        return n_diff

    def seal_value(self, root: bytes, nonce: int, parent_hash: bytes, producer: bytes, timestamp_ms: int) -> int:
        return int.from_bytes(seal_hash(root, nonce), "big")


@dataclass(frozen=True, slots=True)
class Stake:
    """Eq. (9) of text 000: SHA256(SHA256(B_prev), A, t) ≤ N_diff · balance(A); balances are in µ¥.

    The hash is tagged, and `parent_hash` stands for SHA256(B_prev). Neither W nor the nonce enters, so an
    eligible member may seal many blocks at one timestamp on as many parents: the known weakness of the rule,
    kept for study.
    """

    name: ClassVar[EligibilityName] = "stake"
    searches_nonce: ClassVar[bool] = False

    def target(self, n_diff: int, credit_upt: int, balance_uyuan: int) -> int:
        return min(MAX_TARGET, n_diff * max(0, balance_uyuan))

    def seal_value(self, root: bytes, nonce: int, parent_hash: bytes, producer: bytes, timestamp_ms: int) -> int:
        assert len(parent_hash) == HASH_SIZE, len(parent_hash)
        assert len(producer) == ADDRESS_SIZE, len(producer)
        digest = tagged_hash(_STAKE_TAG, parent_hash, producer, timestamp_ms.to_bytes(8, "big"))
        return int.from_bytes(digest, "big")


def eligibility_for(name: EligibilityName, tau_upt: int) -> Eligibility:
    """The rule that a chain's parameters name; τ matters to `poca` alone."""
    match name:
        case "poca":
            return Poca(tau_upt)
        case "work":
            return Work()
        case "stake":
            return Stake()
        case _:
            assert_never(name)
