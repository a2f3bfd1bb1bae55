"""Errors of the program: directories, applications and networks that a command cannot use, each with its values."""

from __future__ import annotations

from ledger.errors import ConfigError, GridmeritError, LaboratoryError, Rejected
from node.errors import NotFound

# --- credit as coloured coins --------------------------------------------------------------------


class NotEnoughCredit(Rejected):
    message = "the coins hold {have} points of credit, {want} are to be paid: name more coins, or pay less"


# --- requests to a node's API ----------------------------------------------------------------------


class KindNotHosted(NotFound):
    message = "this node hosts {hosted}, not the {kind} chain {name}: ask one that does, with --node DIR or --api URL"


class KindMissing(NotFound):
    message = "this network has no {kind} chain, only {hosted}: gridmerit net new makes networks of all three kinds"


class AmbiguousChain(NotFound):
    message = "this node hosts {hosted}: which of them is meant?"
    exit_code = 2


class NeverRun(NotFound):
    message = "{directory} holds nothing of {chain}: the node has not run yet"


class NoSuchCoin(NotFound):
    message = "none of {owner}'s {listed} newest coins is named {ref}: gridmerit credit assets {owner} lists them"


# --- configuration -------------------------------------------------------------------------------


class UnusableDirectory(ConfigError):
    message = "cannot make the directory {directory}: {detail}"


class NotAPlayer(ConfigError):
    message = "{player} places no orders here; who does: {known}"


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


class BusyDirectory(ConfigError):
    message = "{directory} holds files already; nothing there is overwritten"


class NetworkRunning(ConfigError):
    message = "nodes of {directory} are still running"
    exit_code = 9


class BackupDamaged(ConfigError):
    message = "{file} is not as it was backed up: {detail}"
    exit_code = 7


class BackupFromLater(ConfigError):
    message = "{file} is of format {actual}, this version reads {expected}"


class NotABackup(ConfigError):
    message = "{directory} is not a backup: {detail}"


class BelowFinality(Rejected):
    message = "height {actual} of {chain} lies below {final}, the final block: what is final is never left"


class AboveHead(Rejected):
    message = "{chain} ends at height {head}, it cannot go back to {actual}"


class NoNetwork(ConfigError):
    message = "{directory} is not a network: {detail}"


class NoSuchNode(ConfigError):
    message = "the network in {directory} has no node {name!r}, it has {known}"
    exit_code = 5


class NotANode(ConfigError):
    message = "{directory} is not a node directory: {detail}"


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


class NobodyToAttack(LaboratoryError):
    message = "the network in {directory} has one node; without an honest one there is nobody to attack"


class TrialsFailed(LaboratoryError):
    message = "{failed} of {total} trials failed, the first at point {point}, repetition {rep}, seed {seed}: {detail}"
    exit_code = 7
