"""Errors of consensus: votes, certificates, headers and seals that do not hold, each with its values."""

from __future__ import annotations

from ledger.errors import ConfigError, InvalidBlock, InvalidCertificate, Malformed, Rejected, VerificationFailed

# --- bytes that do not mean anything -------------------------------------------------------------


class UnknownMessage(Malformed):
    message = "no message has the code {kind}"


# --- votes and certificates ----------------------------------------------------------------------


class UnknownSigner(InvalidCertificate):
    message = "key {signer} has no sealing right on this chain"
    penalty = 10  # the member set that is out of date may be ours


class WrongVoters(InvalidCertificate):
    message = "signed as one of the voters since slot {actual}, those of that slot are voters since {expected}"
    penalty = 10  # the member set that is out of date may be ours


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


class VoteTooFarAhead(InvalidCertificate):
    message = "vote is for slot {slot}, none after {last} is being collected"
    penalty = 0  # the node that lags may be ours


# --- transactions that the rules refuse ----------------------------------------------------------


class NothingToTake(Rejected):
    message = "{address} has no credit left to lose"


class StaleCertificate(Rejected):
    message = "certificate for slot {slot}: {detail}"


# --- between chains ------------------------------------------------------------------------------


class WrongRoute(Rejected):
    message = "this chain takes no {kind} from {source}"


class UnknownSource(Malformed):
    message = "chain {chain} is not of this network"


class UnfinalBlock(InvalidCertificate):
    message = "the proof is of block {actual}, block {certified} is certified"


# --- blocks that break a rule --------------------------------------------------------------------


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


class TimestampTooEarly(InvalidBlock):
    message = "timestamp {actual} ms is not above {median} ms, the median of the last 11 ancestors"


class TimestampTooFarAhead(InvalidBlock):
    message = "timestamp is {ahead} ms ahead of this node's clock, at most {limit} ms allowed"
    penalty = 0  # the wrong clock may be ours: no peer is shut out for it
    is_final = False


# --- configuration -------------------------------------------------------------------------------


class BadParameters(ConfigError):
    message = "chain parameters: {detail}"
