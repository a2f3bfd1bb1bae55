"""The one error tree. Inner classes are families, leaves say what happened and carry the values.

A leaf's `message` is a format string over its values (`MessageFormatter` has the units), so
`raise WrongHeight(expected=3, actual=5)` both reads well in a log and stays machine-readable (`error.code`,
`error.values`). A bug of ours asserts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Self

from ledger.units import MessageFormatter

_FORMATTER = MessageFormatter()


class GridmeritError(Exception):
    """Root of every error that is somebody's fault or mistake rather than a bug of ours."""

    message: ClassVar[str] = "{detail}"
    exit_code: ClassVar[int] = 1
    penalty: ClassVar[int] = 0  # points against a peer that caused it; 100 is a ban
    is_final: ClassVar[bool] = True  # whether what broke this rule breaks it for ever

    def __init__(self, **values: object) -> None:
        self.values = values
        super().__init__(_FORMATTER.vformat(self.message, (), values))

    @property
    def code(self) -> str:
        """The leaf's name: stable, greppable, shown to users as `error[code]`."""
        return type(self).__name__

    def __reduce__(self) -> tuple[Callable[..., GridmeritError], tuple[object, ...]]:
        """So that it can leave a process: an exception is made anew from positions else."""
        return _make_again, (type(self), self.args, self.__dict__)


def _make_again(kind: type[GridmeritError], words: tuple[str], values: dict[str, object]) -> GridmeritError:
    error = kind.__new__(kind, *words)
    error.__dict__.update(values)
    return error


# --- bytes that do not mean anything -------------------------------------------------------------


class Malformed(GridmeritError):
    """Bytes that break the encoding rules."""

    exit_code = 6
    penalty = 50


class NonCanonical(Malformed):
    message = "bytes are not the canonical encoding of their value: {detail}"


class TooLarge(Malformed):
    message = "{what} is {actual} bytes or items, at most {limit} allowed"


class TooDeep(Malformed):
    message = "nesting deeper than {limit}"


class WrongShape(Malformed):
    message = "{what} has the wrong shape: {detail}"


class WrongVersion(Malformed):
    message = "{what} has version {actual}, this node knows {expected}"


class WrongChain(Malformed):
    message = "for chain {actual}, this is chain {expected}"


# --- proofs and signatures -----------------------------------------------------------------------


class VerificationFailed(GridmeritError):
    exit_code = 7
    penalty = 100


class InvalidSignature(VerificationFailed):
    is_final = False  # a signature is no part of what it signs: the same block or vote may come with a good one
    message = "signature over {what} does not verify: {detail}"


class InvalidKey(VerificationFailed):
    message = "public key refused: {detail}"


class InvalidProof(VerificationFailed):
    message = "proof does not verify: {detail}"


# --- votes and certificates ----------------------------------------------------------------------


class InvalidCertificate(VerificationFailed):
    """A vote, a certificate or an evidence of votes that proves nothing."""


class DuplicateSigner(InvalidCertificate):
    message = "key {signer} signs more than once"


# --- transactions that the rules refuse ----------------------------------------------------------


class Rejected(GridmeritError):
    """A transaction or request that the rules refuse."""

    exit_code = 6


class Recorded(Rejected):
    """A refusal that is put on record: its transaction stands in a block, and what its handler wrote before stays."""


class UnknownMember(Rejected):
    message = "{address} is not a member of this chain"


class UnknownKind(Rejected):
    message = "no contract handles transactions of kind {kind!r}"


class InsufficientBalance(Rejected):
    message = "have {have_uyuan!y}, need {want_uyuan!y}"


class Expired(Rejected):
    message = "expired at height {expiry}, the next block is {height}"


class ExpiryTooFar(Rejected):
    message = "expires at height {expiry}, at most {limit} is allowed"


class SequenceTooLow(Rejected):
    message = "sequence {actual} is spent, the next one is {expected}"


class WrongSequence(Rejected):
    message = "sequence {actual} leaves a gap, the next one is {expected}"


class AlreadyKnown(Rejected):
    message = "transaction {transaction_id} is already pending or in a block"


class SequenceTaken(Rejected):
    message = "another transaction with sequence {sequence} is pending"


class SequenceGapTooWide(Rejected):
    message = "sequence {actual} is too far ahead: the next one is {expected}, at most {limit} may wait"


class SenderQuotaFull(Rejected):
    message = "this sender would have more than {limit} {unit} pending"


class AlreadyRecorded(Rejected):
    message = "this {what} is on the chain already"


class ProducersOnly(Rejected):
    message = "transactions of kind {kind!r} are made by block producers, not submitted"


class PoolFull(Rejected):
    message = "the mempool is full ({count} transactions, {size} bytes); try again later"


# --- membership ----------------------------------------------------------------------------------


class NoAuthority(Rejected):
    message = "this network has no authority: its members are those of its genesis"


class UnknownAuthority(Rejected):
    message = "key {signer} is none of the authority's"


class TooFewSignatures(Rejected):
    message = "{actual} keys of the authority have signed, {threshold} must"


class InvalidAct(Rejected):
    message = "the authority's act says what cannot be: {what}: {detail}"


class SerialTaken(Rejected):
    message = "serial {serial} has been used: each act takes effect once"


class UnknownSerial(Rejected):
    message = "no credential has the serial {serial}"


class SupersededSerial(Rejected):
    message = "serial {serial} has been replaced by serial {current} of the same member"


class NameTaken(Rejected):
    message = "the name {name} belongs to another key"


class NameChanged(Rejected):
    message = "this key was admitted as {expected} before, it cannot come back as {actual}"


class KeyTaken(Rejected):
    message = "chain key {key} is {owner}'s"


class TlsKeyTaken(Rejected):
    message = "TLS key {key} is, or has been, another member's"


class ValidityOver(Rejected):
    message = "the validity ended at {not_after} ms, the block is of {now} ms"


class InvalidValidity(Rejected):
    message = "a validity from {not_before} to {not_after} ms: {detail}"


class RoleNotAdmitted(Rejected):
    message = "nobody is admitted with the role {role!r}, only with one of: {known}"


class RoleMayNotSeal(Rejected):
    message = "a member with the role {role} may not have the sealing right"


class UnknownChainNamed(Rejected):
    message = "the network has no chain {name!r}, it has {known}"


class OwnerNeeded(Rejected):
    message = "a device is admitted with the member that owns it: a member that is active or admitted too, no device"


class OwnerNotAllowed(Rejected):
    message = "only a device has an owner, this is to be a {role}"


class TooFewSealers(Rejected):
    message = "{left} members would be left to seal and certify here, {needed} are needed: admit others first"


class TooManySealers(Rejected):
    message = "{limit} members may seal, no certificate has room for the signatures of more"


class TooManyPending(Rejected):
    message = "{limit} admissions wait for the next period, the most allowed"


class NotYetMember(Rejected):
    message = "{address} has been admitted from the next period on"


class MemberRevoked(Rejected):
    message = "the membership of {address} has been revoked"


class MemberLeft(Rejected):
    message = "{address} has left the network"


class CredentialExpired(Rejected):
    message = "the credential of {address} ended at {not_after} ms, the block is of {now} ms: ask for a renewal"


class CredentialTooEarly(Rejected):
    message = "the credential of {address} begins at {not_before} ms, the block is of {now} ms"


# --- upgrades ------------------------------------------------------------------------------------


class UpgradeOutOfOrder(Rejected):
    message = "the next version of this chain's rules is {expected}, not {actual}"


class UpgradeTooSoon(Rejected):
    message = "rules that begin at height {height} begin too soon: from height {earliest} on they may"


# --- between chains ------------------------------------------------------------------------------


class AlreadyRelayed(Rejected):
    message = "part {part} of {kind} {number} has come already"


class RelayTooOld(Rejected):
    message = "{kind} {number} is too old, nothing before {oldest} is remembered"


# --- blocks that break a rule --------------------------------------------------------------------


class InvalidBlock(GridmeritError):
    """A block or header that breaks a rule of the chain."""

    exit_code = 6
    penalty = 100


class WrongTransactionRoot(InvalidBlock):
    message = "transaction root is {actual}, the body gives {expected}"
    is_final = False  # the body may be forged under a good header


class OversizedBlock(InvalidBlock):
    message = "the block has {actual} {what}, at most {limit} allowed"


class InvalidBody(InvalidBlock):
    message = "a transaction cannot stand in this block: {code}: {detail}"


class WrongReceiptRoot(InvalidBlock):
    message = "receipt root is {actual}, execution gives {expected}"


class WrongStateRoot(InvalidBlock):
    message = "state root is {actual}, execution gives {expected}"


# --- what is not held any more ---------------------------------------------------------------------


class BelowHorizon(GridmeritError):
    message = "block {height} is asked for, and of this chain no more is held here than what begins at height {lowest}"


# --- the store -----------------------------------------------------------------------------------


class StoreError(GridmeritError):
    """The family of disk failures: no peer is to blame, none is penalised."""

    exit_code = 4

    def of(self, *, chain: str, path: object) -> Self:
        """The same, saying whose store it is: in words, and by the values `chain` and `path`."""
        if "chain" not in self.values:
            self.args = (f"chain {chain} in {path}: {self}",)
            self.values = {"path": path, **self.values, "chain": chain}
        return self


class StoreLocked(StoreError):
    message = "the store {path} is in use by another process"
    exit_code = 9


class StoreCorrupt(StoreError):
    message = "the store is damaged: {detail}"
    exit_code = 7


class StoreTooNew(StoreError):
    message = "{what} has version {actual}, and this release knows none above {limit}"
    exit_code = 3


class StoreFailed(StoreError):
    message = "the store could not be read or written: {detail}"


class StoreReadOnly(StoreFailed):
    """The disk takes nothing for now: it is full, over its quota or mounted read-only. What is on it can be read."""

    message = "the disk takes no writes: {detail}"


# --- configuration -------------------------------------------------------------------------------


class ConfigError(GridmeritError):
    """A configuration, profile or key file that cannot be used."""

    exit_code = 3


class UnreadableFile(ConfigError):
    message = "cannot read {file}: {detail}"


class UnwritableFile(ConfigError):
    message = "cannot write {file}: {detail}"


class BadName(ConfigError):
    message = "{name!r} cannot be a name: {detail}"


# --- the laboratory ------------------------------------------------------------------------------


class LaboratoryError(GridmeritError):
    """A scenario, a sweep or a replay that cannot be run as it was asked for."""

    exit_code = 3
