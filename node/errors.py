"""Errors of the peer: what its peers, clients, files and configuration do wrong, each with its values."""

from __future__ import annotations

from ledger.errors import (
    ConfigError,
    GridmeritError,
    InvalidBlock,
    InvalidCertificate,
    LaboratoryError,
    Malformed,
    Rejected,
    StoreError,
)

# --- bytes that do not mean anything -------------------------------------------------------------


class NotForUs(Malformed):
    message = "batch is addressed to {receiver}"


class BadContact(Malformed):
    message = "the record of where a member's node is cannot be used: {detail}"


class OutOfStep(Malformed):
    message = "batch {number} does not follow {last} in session {session}, the receiver's of now"
    penalty = 0  # a batch that is overheard can be sent again


# --- votes and certificates ----------------------------------------------------------------------


class ResultNotSigned(InvalidCertificate):
    message = "the results shown are {shown}, what is signed is {signed}"


class ResultNotShown(InvalidCertificate):
    message = "a vote for results comes with them, this one of slot {slot} does not"


# --- transactions that the rules refuse ----------------------------------------------------------


class RulesUnknown(Rejected):
    message = "from block {height} on the chain has rules {rules}, and this release knows none after {newest}"


class Superseded(Rejected):
    message = "transaction {transaction_id} is superseded by {by}, which has the same sender and sequence"


# --- blocks that break a rule --------------------------------------------------------------------


class LeavesCheckpoint(InvalidBlock):
    message = "block at height {height} forks off below the final block at height {final}"
    penalty = 0  # its sender may not have heard of the certificate yet


class OffAnchor(InvalidBlock):
    message = "block {actual} at height {height} is on another branch than the anchor {anchor} of this node"
    penalty = 0  # the anchor that is wrong may be ours


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
    message = "a peer takes more than its share of this chain's time: {limit} ms per second"
    penalty = 2


# --- the store -----------------------------------------------------------------------------------


class RolledBack(StoreError):
    message = "the store's head is at height {actual}, but this key has already sealed or voted at height {expected}"
    exit_code = 6


class StoreBusy(StoreError):
    message = "the store {path} changes faster than it can be copied"


class StoreDamage(StoreError):
    """A fault of one row of a store, or of all of a kind."""

    exit_code = 7


class RowMissing(StoreDamage):
    message = "{kind} {place}: the row is missing"


class RowUnreadable(StoreDamage):
    message = "{kind} {place}: the row cannot be read: {detail}"


class RowWrong(StoreDamage):
    message = "{kind} {place}: {detail}"


class StateDiffers(StoreDamage):
    message = "the stored state has the root {actual}, block {height} says {expected}"


class StrayRows(StoreDamage):
    message = "{count} rows of the kind {kind} belong to nothing on the chain"


class AnchorContradicted(StoreError):
    message = "the store has another block at height {height} than the anchor in node.toml"
    exit_code = 6


class BadHold(GridmeritError):
    message = "nothing is pruned while the hold {path} cannot be read: {detail}"
    exit_code = 3


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


class BlockPruned(NotFound):
    message = "block {height} has been pruned here: bodies are kept from block {bodies_from} on"


class TransactionNotKept(NotFound):
    message = "transaction {transaction_id} is in no block from {bodies_from} on; what is older has been pruned here"


class UnknownAccount(NotFound):
    message = "no member has the address or name {ref!r}"


class NoTrades(NotFound):
    message = "period {period} has no trades: {detail}"


class NoSession(NotFound):
    message = "this market trades each period once, there is no {session} session"


class OneSession(NotFound):
    message = "{name} trades each period once: the positions of period {period} are its trades"


class NoTreasury(NotFound):
    message = "{name} has no treasury: only a trading chain has one, where economy is 1 among its parameters"


class NoEconomy(NotFound):
    message = "{name} has no programmes and no bills: only a trading chain has, where economy is 1 among its parameters"


class NoBill(NotFound):
    message = "{member} has no bill of period {period}: it paid nothing, bills are not split, or they are forgotten"


class NoQuotas(NotFound):
    message = "no quotas of period {period} have come from the scheduling chain"


class NoSchedule(NotFound):
    message = "nothing is planned for period {period}, or it is long over"


class WrongKind(NotFound):
    message = "chain {name} is a {actual} chain, this is for a {wanted} chain"


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
    """A node's own error, as it answered; `code` and `values` are those of that error."""

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


class OtherWireVersion(Refused):
    message = "the peer speaks version {actual!r} of the protocol between peers, this node version {expected}"


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
    """The answer to a node that goes on after its member was revoked or has left."""

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


class BadConfigFile(ConfigError):
    """One line per problem, each naming its key, what stands there and what is allowed."""

    message = "{file}: {problems}"


class NoSuchChain(ConfigError):
    message = "{file} has no chain {name!r}, it has {known}"


class ChainNotNamed(ConfigError):
    message = "{file} holds several chains, {known}: say which one, as in name = ..."


class KeyFilePermissions(ConfigError):
    message = "{file} has mode {mode:04o} and is user {owner}'s, others could touch it: {remedy}"


class KeyFileForbidden(ConfigError):
    message = "{file} has mode {mode:04o} and is user {owner}'s, we are user {user} and may not read it: {remedy}"


class BadKeyFile(ConfigError):
    message = "{file} holds no key of ours: {detail}"


class BadCertificateFile(ConfigError):
    message = "{file} cannot be used: {detail}"


class WrongPassphrase(ConfigError):
    message = "the passphrase does not open {file}"


class EmptyPassphrase(ConfigError):
    message = "the passphrase of {file} is empty"


class TooFewDescriptors(ConfigError):
    message = "this process may have {limit} files open, and this node needs {want} to answer anybody"


# --- the laboratory ------------------------------------------------------------------------------


class NotDisposable(LaboratoryError):
    message = "{chain} is not a chain of a disposable network, and no other is attacked"
