"""The one error tree. Inner classes are families, leaves say what happened and carry the values.

A leaf's `message` is a format string over its values (`MessageFormatter` has the units), so
`raise WrongHeight(expected=3, actual=5)` both reads well in a log and stays machine-readable (`error.code`,
`error.values`). A bug of ours asserts.
"""

from __future__ import annotations

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


# --- bytes that do not mean anything -------------------------------------------------------------


class Malformed(GridmeritError):
    """Bytes that break the encoding rules, whoever sent them."""

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


class UnknownMessage(Malformed):
    message = "no message has the code {kind}"


class NotForUs(Malformed):
    message = "batch is addressed to {receiver}"


class BadContact(Malformed):
    message = "the record of where a member's node is cannot be used: {detail}"


class OutOfStep(Malformed):
    message = "batch {number} does not follow {last} in session {session}, the receiver's of now"
    penalty = 0  # whoever overhears a batch can send it again


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


class UnknownSigner(InvalidCertificate):
    message = "key {signer} has no sealing right on this chain"
    penalty = 10  # the member set that is out of date may be ours


class WrongVoters(InvalidCertificate):
    message = "signed as one of the voters since slot {actual}, those of that slot are voters since {expected}"
    penalty = 10  # the member set that is out of date may be ours


class DuplicateSigner(InvalidCertificate):
    message = "key {signer} signs more than once"


class ShortCertificate(InvalidCertificate):
    message = "{actual} members signed, {quorum} are needed"


class BrokenHandover(InvalidCertificate):
    message = "the handover certified in slot {slot} does not lead from one set of members to the next: {detail}"


class UnexpectedView(InvalidCertificate):
    message = "a vote for a checkpoint has no view, this one has {view}"


class NotADoubleVote(InvalidCertificate):
    message = "these votes do not convict their signer: {detail}"


class NotAnEquivocation(VerificationFailed):
    message = "the two headers convict nobody: {detail}"


class WrongLeader(InvalidCertificate):
    message = "view {view} of height {height} is led by {expected}, not by {actual}"


class UnjustifiedProposal(InvalidCertificate):
    message = "the proposal for view {view} of height {height} is not justified: {detail}"


class UnprovenClaim(InvalidCertificate):
    message = "the view change to view {view} of height {height} claims what cannot be: {detail}"


class ResultNotSigned(InvalidCertificate):
    message = "the results shown are {shown}, what is signed is {signed}"


class ResultNotShown(InvalidCertificate):
    message = "a vote for results comes with them, this one of slot {slot} does not"


class VoteTooFarAhead(InvalidCertificate):
    message = "vote is for slot {slot}, none after {last} is being collected"
    penalty = 0  # the node that lags may be ours


# --- transactions that the rules refuse ----------------------------------------------------------


class Rejected(GridmeritError):
    """A transaction or request that the rules refuse."""

    exit_code = 6


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


class Superseded(Rejected):
    message = "transaction {transaction_id} is superseded by {by}, which has the same sender and sequence"


class SequenceGapTooWide(Rejected):
    message = "sequence {actual} is too far ahead: the next one is {expected}, at most {limit} may wait"


class SenderQuotaFull(Rejected):
    message = "this sender would have more than {limit} {unit} pending"


class AlreadyRecorded(Rejected):
    message = "this {what} is on the chain already"


class NothingToTake(Rejected):
    message = "{address} has no credit left to lose"


class StaleCertificate(Rejected):
    message = "certificate for slot {slot}: {detail}"


class ProducersOnly(Rejected):
    message = "transactions of kind {kind!r} are made by block producers, not submitted"


class EmptyContract(Rejected):
    message = "no delivery to assess: the agreed volume is {agreed_wh!k}, it must be positive"


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


class NoAudit(Rejected):
    message = "on this market trades need no countersignature"


class WrongTradeList(Rejected):
    message = "the trades of period {period} have the root {expected}, countersigned is {actual}"


class NoTradeList(Rejected):
    message = "period {period} has no trade list that could be countersigned: {detail}"


class CountersignedAlready(Rejected):
    message = "the trades of period {period} are countersigned"


class CountersignedTooLate(Rejected):
    message = "the trades of period {period} were to be countersigned before {deadline} ms, the block is of {now} ms"


# --- market rules --------------------------------------------------------------------------------


class SideNotAllowed(Rejected):
    message = "a member with the role {role} may not place {side}s"


class MarketNotOpen(Rejected):
    message = "the market of period {period} opens at {opens} ms, the block is of {now} ms"


class GateClosed(Rejected):
    message = "the gate of period {period} closed at {closed} ms"


class IntentionTooLate(Rejected):
    message = "orders for period {period} were taken until {ended} ms, the block is of {now} ms"


class PriceTooHigh(Rejected):
    message = "an order at {actual!y} per kWh, this market takes none above {limit!y}"


class OverQuota(Rejected):
    message = "{have!k} are on the book and {want!k} more are wanted, the member's quota is {limit!k}"


class TooManyOrders(Rejected):
    message = "this member has {limit} live orders for the period, the most allowed"


class BookFull(Rejected):
    message = "the book of period {period} has {limit} live orders, the most allowed"


class UnknownOrder(Rejected):
    message = "order {order_id} is not on the book of period {period}"


class NotYourOrder(Rejected):
    message = "order {order_id} of period {period} belongs to {owner}"


class NotADevice(Rejected):
    message = "only a device reports meter readings, this member has the role {role}"


class ReadingTooEarly(Rejected):
    message = "delivery of period {period} ends at {ends} ms, the block is of {now} ms"


class ReadingTooLate(Rejected):
    message = "meters of period {period} were heard until {settles} ms, and it was settled without this reading"


class DuplicateReading(Rejected):
    message = "the meter of {owner} has said so of period {period} before"


class TooManyCorrections(Rejected):
    message = "the meter of {owner} has corrected its reading of period {period} {limit} times, the most allowed"


class RegisterTurnedBack(Rejected):
    message = "a register of {actual} Wh comes after one of {before} Wh: it counts up only"


class OutputNotAllowed(Rejected):
    message = "a {role} generates nothing, and its meter says {actual} Wh of output"


class ImplausibleReading(Rejected):
    message = "a reading of {actual!k} is beyond {limit!k}, the most this member's meter can show"


class UnknownTrade(Rejected):
    message = "period {period} has {count} trades, none with index {index}"
    exit_code = 5


# --- between chains ------------------------------------------------------------------------------


class AlreadyRelayed(Rejected):
    message = "part {part} of {kind} {number} has come already"


class RelayTooOld(Rejected):
    message = "{kind} {number} is too old, nothing before {oldest} is remembered"


class RelayTooLate(Rejected):
    message = "{kind} of period {period} had to come before {deadline} ms, the block is of {now} ms"


class UnexpectedRelay(Rejected):
    message = "{kind} of period {period} does not fit: {detail}"


class WrongRoute(Rejected):
    message = "this chain takes no {kind} from {source}"


class UnknownSource(Malformed):
    message = "chain {chain} is not of this network"


class UnfinalBlock(InvalidCertificate):
    message = "the proof is of block {actual}, block {certified} is certified"


class NoQuota(Rejected):
    message = "no quotas of period {period} have come from the scheduling chain; have they been planned?"


class OverLineQuota(Rejected):
    message = "an order of {want!k}, line {line} has a quota of {limit!k} on that side"


class NotADispatcher(Rejected):
    message = "only a dispatcher plans the grid, this member has the role {role}"


class PlanTooLate(Rejected):
    message = "plans of period {period} were due before {deadline} ms, the block is of {now} ms"


class PlanTooEarly(Rejected):
    message = "period {period} is too far ahead to be planned, period {last} is the last one now"


class UnknownLine(Rejected):
    message = "the feeder has no line {line!r}"


# --- credit as coloured coins --------------------------------------------------------------------


class UnknownLabel(Rejected):
    message = "the label of the sequence number is {actual:#04x}, want {expected}"


class OutputBelowPadding(Rejected):
    message = "output {index} is worth {value} sat, it carries coins only above its padding of {padding} sat"


class OutputBelowMinimum(Rejected):
    message = "output {index} is worth {value} sat, the least allowed is {limit} sat; choose a larger padding"


class CreditBelowMinimum(Rejected):
    message = "output {index} carries a credit of {credit!p}, the least that moves is {limit!p}"


class TooManyCoins(Rejected):
    message = (
        "{owner} would have {want} coins from transfers, {limit} are allowed; merging those of one colour frees some"
    )


class UnknownCoin(Rejected):
    message = "output {index} of transaction {transaction_id} is no unspent coin"


class NotYourCoin(Rejected):
    message = "output {index} of transaction {transaction_id} belongs to {owner}"


class CreditNotConserved(Rejected):
    message = "the inputs hold a credit of {have!p}, the outputs carry {want!p}: they must be equal"


class NotEnoughCredit(Rejected):
    message = "the coins hold {have} points of credit, {want} are to be paid: name more coins, or pay less"


class MixedColours(Rejected):
    message = "output {index} would mix the credit of several assessments, and mixed coins lose their colour"


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


class WrongHeight(InvalidBlock):
    message = "height {actual} does not follow the parent's, expected {expected}"


class WrongPeriod(InvalidBlock):
    message = "period is {actual}, the timestamp gives {expected}"


class WrongDifficulty(InvalidBlock):
    message = "N_diff is {actual:#x}, the retarget gives {expected:#x}"


class WrongCredit(InvalidBlock):
    message = "the header claims a credit of {actual!p}, the snapshot has {expected!p}"


class NotASealer(InvalidBlock):
    message = "producer {producer} has no sealing right"


class TargetMissed(InvalidBlock):
    message = "F(W, S) = {actual:#x} is above the target {target:#x}"


class OverDiversityLimit(InvalidBlock):
    message = "{producer} has {limit} of the last {window} blocks; until {not_before} ms the next one is another's"


class LeavesCheckpoint(InvalidBlock):
    message = "block at height {height} forks off below the final block at height {final}"
    penalty = 0  # its sender may not have heard of the certificate yet


class OffAnchor(InvalidBlock):
    message = "block {actual} at height {height} is on another branch than the anchor {anchor} of this node"
    penalty = 0  # the anchor that is wrong may be ours


class TimestampTooEarly(InvalidBlock):
    message = "timestamp {actual} ms is not above {median} ms, the median of the last 11 ancestors"


class TimestampTooFarAhead(InvalidBlock):
    message = "timestamp is {ahead} ms ahead of this node's clock, at most {limit} ms allowed"
    penalty = 0  # the clock that is wrong may be ours, and whose it is nobody is to be shut out for it
    is_final = False


class BrokenHeaders(InvalidBlock):
    message = "headers do not form a chain: {detail}"
    penalty = 20


class UnprovenHeaders(InvalidBlock):
    message = "{count} headers came without the certificate of the last one"
    penalty = 20


class FalseHead(InvalidBlock):
    message = "a head was claimed with work {claimed}, and headers for {actual}"
    penalty = 20  # its branch may have been left for a lighter one that is certified
    is_final = False


class SyncStalled(InvalidBlock):
    message = "headers were sent, but after {imported} blocks of theirs no more came"
    penalty = 25
    is_final = False


class BlocksWithheld(InvalidBlock):
    message = "{count} headers were sent, and none of their blocks"
    is_final = False


class ServedTooMuch(GridmeritError):
    message = "a peer asks for more than its share of this chain's time: {limit} ms per second"
    penalty = 2


# --- the store -----------------------------------------------------------------------------------


class StoreError(GridmeritError):
    """The disk, not a peer: nobody is penalised."""

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


class StoreFailed(StoreError):
    message = "the store could not be read or written: {detail}"


class RolledBack(StoreError):
    message = "the store's head is at height {actual}, but this key has already sealed or voted at height {expected}"
    exit_code = 6


class AnchorContradicted(StoreError):
    message = "the store has another block at height {height} than the anchor in node.toml"
    exit_code = 6


# --- requests to a node's API ----------------------------------------------------------------------


class NotFound(GridmeritError):
    """Something was asked for by a name that nothing has."""

    exit_code = 5


class UnknownPath(NotFound):
    message = "nothing is served under {method} {path}"


class UnknownChainName(NotFound):
    message = "this node has no chain {name!r}, it has {known}"


class UnknownBlock(NotFound):
    message = "no block {ref} on this chain"


class UnknownTransaction(NotFound):
    message = "transaction {transaction_id} is neither on the chain nor pending"


class UnknownAccount(NotFound):
    message = "no member has the address or name {ref!r}"


class NoTrades(NotFound):
    message = "period {period} has no trades: {detail}"


class NoQuotas(NotFound):
    message = "no quotas of period {period} have come from the scheduling chain"


class NoSchedule(NotFound):
    message = "nothing is planned for period {period}, or it is long over"


class WrongKind(NotFound):
    message = "chain {name} is a {actual} chain, this is for a {wanted} chain"


class KindNotHosted(NotFound):
    message = "this node hosts {hosted}, not the {kind} chain {name}: ask one that does, with --node DIR or --api URL"


class KindMissing(NotFound):
    message = "this network has no {kind} chain, only {hosted}: gridmerit net new makes networks of all three kinds"


class NoSuchCoin(NotFound):
    message = "none of {owner}'s {listed} newest coins is named {ref}: gridmerit credit assets {owner} lists them"


class NoSettlement(NotFound):
    message = "period {period} is not settled"


class NoCertificate(NotFound):
    message = "this node has no certificate that covers {what}"


class StateNotKept(NotFound):
    message = "the state of block {height} is not kept: it is more than {depth} blocks below the head"


class WrongMethod(GridmeritError):
    message = "{path} does not answer {method}, only {allowed}"
    exit_code = 2


class BadRequest(GridmeritError):
    message = "{what}: have {have!r}, want {want}"
    exit_code = 2


class TooManySubscribers(GridmeritError):
    message = "{limit} subscribers are listening, the most allowed"
    exit_code = 4


class SlowSubscriber(GridmeritError):
    message = "{missed} events are lost to this reader: it takes them more slowly than they come"
    exit_code = 4


# --- a node asked over the network ----------------------------------------------------------------


class Unreachable(GridmeritError):
    message = "no answer from {url}: {detail}"
    exit_code = 4


class BadAnswer(GridmeritError):
    message = "{url} answers with something this client does not understand: {detail}"
    exit_code = 4


class TimedOut(GridmeritError):
    message = "{what} did not happen within {timeout_s} s"
    exit_code = 8


class RemoteError(GridmeritError):
    """What a node answered; `code` and `values` are those of the node's own error."""

    def __init__(self, *, code: str, detail: str, values: dict[str, object]) -> None:
        super().__init__(detail=detail)
        self.values = values
        self._code = code

    @property
    def code(self) -> str:
        return self._code


class RemoteRejected(RemoteError):
    exit_code = 6


class RemoteNotFound(RemoteError):
    exit_code = 5


class RemoteFailed(RemoteError):
    """The node is overloaded or has a bug: not the asker's fault."""

    exit_code = 4


class GuardCorrupt(StoreError):
    message = (
        "the guard file {path} is damaged: {detail}; restore it from this machine's own newest backup, "
        "or run `gridmerit doctor`; do not delete it: the key could sign twice"
    )
    exit_code = 7


class GuardMissing(StoreError):
    message = (
        "the guard file {path} is missing, yet the ledger is not empty: "
        "without it nobody knows what this key has signed"
    )
    exit_code = 6


# --- peers and clients of a running node ---------------------------------------------------------


class Refused(GridmeritError):
    """A request that this node does not serve, or not now; the sender may try again where that makes sense."""

    exit_code = 4


class NotAPeer(Refused):
    message = "key {key} is not among this node's peers"


class PeerBanned(Refused):
    message = "this peer is banned for another {left_ms} ms"


class OtherChainsPeer(NotAPeer):
    message = "the peer with key {key} is configured for other chains than {chain}"


class CertificateRefused(Refused):
    """A peer's certificate that proves nothing here, or not what its holder says."""


class BadCertificate(CertificateRefused):
    message = "the certificate cannot be used: {detail}"
    exit_code = 3


class CertificateExpired(CertificateRefused):
    message = "the certificate of {member} ended at {not_after_ms} ms"


class CertificateTooEarly(CertificateRefused):
    message = "the certificate of {member} begins at {not_before_ms} ms"


class ForeignCertificate(CertificateRefused):
    message = "the certificate of {member} is of network {actual}, this is {expected}"


class WrongRole(CertificateRefused):
    message = "the certificate says that {member} has the role {actual}, on chain {chain} it has the role {expected}"


class NoPeerRole(CertificateRefused):
    message = "{member} has the role {role}, and that takes no part among peers"


class NotActive(CertificateRefused):
    message = "{member} is no active member of {chain} at height {height}, the last final one"


class MembershipEnded(NotActive):
    """What a node is told that goes on after its member was revoked or has left."""

    message = "{member} {how}: it is no member of {chain} any more at height {height}, the last final one"


class SignerMismatch(CertificateRefused):
    message = "the connection's certificate is of the key {certificate}, the batch of {signer}"


class TooManyConnections(Refused):
    message = "{open} connections are open, the most allowed; close one, or try again later"


class CompressedBody(Refused):
    message = "a body must come as it is, not with the encoding {encoding}"


class ForeignOrigin(Refused):
    message = "a page of {origin} may not send requests to this API"


class ForeignHost(Refused):
    message = "this API does not answer as {host}: ask for its address, or name it in api_hosts of node.toml"


class ChainNotHosted(Refused):
    message = "this node does not host chain {chain}"
    exit_code = 5


class ChainOut(Refused):
    message = "chain {chain} of this node is out: {detail}"


class RateLimited(Refused):
    message = "too many {what} at once: at most {limit} per second"


class InboxFull(Refused):
    message = "{waiting} {what} wait to be handled, the most allowed; send again later"


class LengthUnknown(Refused):
    message = "the request must state its Content-Length"


class TooSlow(Refused):
    message = "{what} took more than {limit_ms} ms"


class NodeStopping(Refused):
    message = "the node is stopping"


class AddressInUse(Refused):
    message = "cannot listen on {address}, which is {setting} in node.toml: {detail}"


# --- configuration -------------------------------------------------------------------------------


class ConfigError(GridmeritError):
    """A configuration, profile or key file that cannot be used."""

    exit_code = 3


class UnreadableFile(ConfigError):
    message = "cannot read {file}: {detail}"


class UnwritableFile(ConfigError):
    message = "cannot write {file}: {detail}"


class UnusableDirectory(ConfigError):
    message = "cannot make the directory {directory}: {detail}"


class BadConfigFile(ConfigError):
    """One line per problem, each naming its key, what stands there and what is allowed."""

    message = "{file}: {problems}"


class NoSuchChain(ConfigError):
    message = "{file} has no chain {name!r}, it has {known}"


class ChainNotNamed(ConfigError):
    message = "{file} holds several chains, {known}: say which one, as in name = ..."


class KeyFilePermissions(ConfigError):
    message = "{file} has mode {mode:04o} and is user {owner}'s, others could touch it: {remedy}"


class BadKeyFile(ConfigError):
    message = "{file} holds no key of ours: {detail}"


class BadCertificateFile(ConfigError):
    message = "{file} cannot be used: {detail}"


class WrongPassphrase(ConfigError):
    message = "the passphrase does not open {file}"


class EmptyPassphrase(ConfigError):
    message = "the passphrase of {file} is empty"


class BadApplication(ConfigError):
    message = "{file} is no application that can be used: {detail}"


class ForeignApplication(ConfigError):
    message = "the application of {name} is for network {actual}, this is {expected}"


class ApplicationUsed(ConfigError):
    message = "the application of {name} has been used once: the act it led to is {act}"


class BadActFile(ConfigError):
    message = "{file} holds no act of an authority: {detail}"


class SignedAlready(ConfigError):
    message = "the key {signer} has signed this act; another key of the authority must sign, too"


class NotThisAuthority(ConfigError):
    message = "{directory} has no key of this network's authority, whose keys are {known}"


class BadName(ConfigError):
    message = "{name!r} cannot be a name: {detail}"


class BadParameters(ConfigError):
    message = "chain parameters: {detail}"


class UnknownRule(ConfigError):
    message = "no clearing rule is called {name!r}, there are {known}"


class BadProfile(ConfigError):
    message = "profile, line {line}: have {have}, want {want}"


class BadOrders(ConfigError):
    message = "{file}, line {line}: {what} cannot be read"


class BusyDirectory(ConfigError):
    message = "{directory} holds files already; nothing there is overwritten"


class NetworkRunning(ConfigError):
    message = "nodes of {directory} are still running"
    exit_code = 9


class NoNetwork(ConfigError):
    message = "{directory} is not a network: it has no network.json"


class NoSuchNode(ConfigError):
    message = "the network in {directory} has no node {name!r}, it has {known}"
    exit_code = 5


class NotANode(ConfigError):
    message = "{directory} is not a node directory: it has no node.toml"


class TooFewDescriptors(ConfigError):
    message = "this process may have {limit} files open, and this node needs {want} to answer anybody"


class MissingExtra(ConfigError):
    message = "{what} needs {package}, which is not installed"


class NodeFailed(GridmeritError):
    """A node process that did not come up or did not stay up."""

    message = "node {name} {detail}; its log ends: {log}"
    exit_code = 4


class ActNotEverywhere(GridmeritError):
    message = "the act stands on {done}, and not on {missing}: {detail}"
    exit_code = 6


class NoPeriod(GridmeritError):
    message = "no period is {what} at this time"
    exit_code = 5


class NoOrders(GridmeritError):
    message = "there is no order to clear: {source}"
    exit_code = 5


class ChecksFailed(GridmeritError):
    message = "{failed} of {total} checks failed: {names}"
    exit_code = 7


# --- the laboratory ------------------------------------------------------------------------------


class LaboratoryError(GridmeritError):
    """A scenario, a sweep or a replay that cannot be run as it was asked for."""

    exit_code = 3


class UnknownScenario(LaboratoryError):
    message = "there is no scenario {name}; there are: {known}"


class UnknownSetting(LaboratoryError):
    message = "scenario {scenario} has no setting {key}; it has: {known}"


class BadSetting(LaboratoryError):
    message = "scenario {scenario}, setting {key}: {detail}; have {value}"


class UnknownTheory(LaboratoryError):
    message = "there is no theory {name}; there are: {known}"


class UnknownParameter(LaboratoryError):
    message = "theory {theory} has no parameter {parameter}; it has: {known}"


class BadParameter(LaboratoryError):
    message = "theory {theory}, parameter {parameter}: {detail}; have {value}"


class UnknownAttack(LaboratoryError):
    message = "there is no attack {name}; there are: {known}"


class BadAttackSetting(LaboratoryError):
    message = "attack {attack}, setting {key}: {detail}; it has: {known}"


class NobodyToAttack(LaboratoryError):
    message = "the network in {directory} has one node; without an honest one there is nobody to attack"


class NotDisposable(LaboratoryError):
    message = "{chain} is not a chain of a disposable network, and no other is attacked"


class RepeatedPoint(LaboratoryError):
    message = "the grid holds this point twice: {settings}"


class SweepTooLarge(LaboratoryError):
    message = "the sweep has {actual} {what}, at most {limit} are allowed"


class SweepExists(LaboratoryError):
    message = "{directory} holds files already; nothing there is overwritten"


class SweepRunning(LaboratoryError):
    message = "another run is writing to {directory}"
    exit_code = 9


class SweepChanged(LaboratoryError):
    message = "the sweep in {directory} differs in its {what}"


class BadSweep(LaboratoryError):
    message = "{file} cannot be used: {detail}"


class NotASweep(LaboratoryError):
    message = "{directory} holds no results: {detail}"


class BadReplay(LaboratoryError):
    message = "{file} is no replay: {detail}"


class NoFilm(LaboratoryError):
    message = "scenario {scenario} films no trial"


class TrialsFailed(LaboratoryError):
    message = "{failed} of {total} trials failed, the first at point {point}, repetition {rep}, seed {seed}: {detail}"
    exit_code = 7


class WorkerLost(LaboratoryError):
    """Nothing of what was finished is lost with it."""

    message = "a worker process died: {detail}"
    exit_code = 4


class ClusterUnusable(LaboratoryError):
    message = "no worker can be had from {address}: {detail}"
    exit_code = 4


class ForeignWorker(LaboratoryError):
    message = "a worker runs other code: {actual}, here it is {expected}"


class BadLinks(LaboratoryError):
    message = "links: {what} must be {want}; have {have}"


class BadLinkFile(LaboratoryError):
    message = "{file} does not describe links: {detail}"
