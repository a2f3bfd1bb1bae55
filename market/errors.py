"""Errors of the market: orders, readings, plans, trades and coins that a rule refuses, each with its values."""

from __future__ import annotations

from ledger.errors import ConfigError, Recorded, Rejected

# --- transactions that the rules refuse ----------------------------------------------------------


class EmptyContract(Rejected):
    message = "no delivery to assess: the agreed volume is {agreed_wh!k}, it must be positive"


# --- membership ----------------------------------------------------------------------------------


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


# --- roles and the treasury -----------------------------------------------------------------------


class RoleNotAllowed(Rejected):
    message = "a member with the role {role} may not {act}, only with one of: {known}"


class PaymentBooked(Rejected):
    message = (
        "the payment {statement}/{line} is booked: this bank's last one is {last_statement}/{last_line}, and they go up"
    )


class TooMuchMoney(Rejected):
    message = "{booked!y} are booked and {want!y} more are wanted, at most {limit!y} ever may be"


class StandingOrderTaken(Rejected):
    message = "the account of {member} has a standing order of another bank, {bank}"


class NoStandingOrder(Rejected):
    message = "the account of {member} has no standing order that could end"


class UnderCreditLine(Rejected):
    message = "the account has {balance!y}, and its credit line is {line!y}: it bids again once money has come in"


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


class TargetNotAllowed(Rejected):
    message = "only a dispatcher commits a target, this member has the role {role}"


class TargetTooLate(Rejected):
    message = "a target of period {period} had to come before its book opened at {opened} ms, the block is of {now} ms"


class TargetTooEarly(Rejected):
    message = "period {period} is too far ahead for a target, period {last} is the last one now"


class TargetTwice(Recorded):
    message = "period {period} has a target, and no other takes its place; this one is on record as a violation"


class TargetOutOfBounds(Rejected):
    message = (
        "{direction} is {actual!y} per kWh, and the grid company pays {low!y} and asks {high!y}: no target lies beyond"
    )


class OverQuota(Rejected):
    message = "{have!k} are on the book and {want!k} more are wanted, the member's quota is {limit!k}"


class BeyondPosition(Rejected):
    message = (
        "{have!k} are on the book and {want!k} more are wanted, but the {role} has {traded} {limit!k} before, and "
        "trades back no more"
    )


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


# --- bills, subsidies and notes ------------------------------------------------------------------


class WrongFields(Rejected):
    message = "fields of the {what} that are missing: {missing}, that are unknown: {unknown}; give each field once"


class SharesNotWhole(Rejected):
    message = "the shares of a bill sum to {actual} ppm, they must sum to {expected}"


class OwesItself(Rejected):
    message = "{party!r} owes itself {amount!y}; leave out what nobody else is owed"


class SubsidisedAlready(Rejected):
    message = "programme {programme} pays {producer!r} for period {period} once, and this is a second time"


class BudgetNotCovered(Rejected):
    message = "programme {programme} is to pay up to {budget!y}, and its funder has {have!y}"


class ProgrammeExists(Rejected):
    message = "there is a programme {programme}; choose another name, or wait until that one is forgotten"


class ProgrammeTooLate(Rejected):
    message = "a programme pays for periods to come: it may begin with period {next}, not with {first}"


class TooManyProgrammes(Rejected):
    message = "{limit} programmes are kept at most; one that has ended is forgotten once its periods are"


class NoSuchSource(Rejected):
    message = "no energy comes from the source {source!r}, there are {known}"


class NothingHeld(Rejected):
    message = "{amount!y} cannot be paid out, for nobody holds any of the note"


# --- between chains ------------------------------------------------------------------------------


class RelayTooLate(Rejected):
    message = "{kind} of period {period} had to come before {deadline} ms, the block is of {now} ms"


class UnexpectedRelay(Rejected):
    message = "{kind} of period {period} does not fit: {detail}"


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


class MixedColours(Rejected):
    message = "output {index} would mix the credit of several assessments, and mixed coins lose their colour"


# --- assets --------------------------------------------------------------------------------------


class UnknownAssetClass(Rejected):
    message = "no assets of class {asset_class!r} are issued here, there are {known}"


class UnknownSeries(Rejected):
    message = "there is no series {series} of class {asset_class}, or none any more"


class TooFewLots(Rejected):
    message = "{want} are wanted, and {have} are held of what may be spent for it and has not expired"


class TooManyLots(Rejected):
    message = "{owner} would hold of more than {limit} series of one class; spending or moving the oldest frees a place"


class TooManyHolders(Rejected):
    message = "series {series} would have more than {limit} holders"


class TooMuchIssued(Rejected):
    message = "of series {series} {want} would have been issued, at most {limit} may be"


class NotRedeemable(Rejected):
    message = "a {asset_class} is not redeemed by its holder: {detail}"


class NotRenewable(Rejected):
    message = "a {asset_class} ends when it ends, and is not renewed"


class NotBacked(Rejected):
    message = "{want} vouchers at {price!y} lack a backing of {missing!y}, and their issuer has {have!y}"


class UnknownPurpose(Rejected):
    message = "vouchers have no purpose {purpose!r}, there are {known}"


class NotPayable(Rejected):
    message = "vouchers for {purpose!r} do not pay for this: {detail}"


class AlreadyRenewed(Rejected):
    message = "the vouchers of series {series} have been renewed, and are not renewed again"


class NothingToRenew(Rejected):
    message = "no vouchers of series {series} are held, or they have expired"


class UnknownPot(Rejected):
    message = "there is no pot {pot!r} to pay into, there are {known}"


class ClaimTooEarly(Rejected):
    message = "period {period} is too far ahead for claims, period {last} is the last one now"


class ClaimFrozen(Rejected):
    message = "claims on period {period} are as they were at its gate, at {closed} ms; the block is of {now} ms"


class OverCapacity(Rejected):
    message = (
        "{want!k} are to be promised and {headroom!k} can be: {limit!k} of capacity and quota, less {offered!k} on "
        "offer and {promised!k} promised before"
    )


# --- pools ---------------------------------------------------------------------------------------


class UnknownPool(Rejected):
    message = "there is no pool {pool}, or none any more"
    exit_code = 5


class NotYourPool(Rejected):
    message = "pool {pool} is that of {originator}"


class PoolNotFilling(Rejected):
    message = "pool {pool} is {status}: plants are admitted and notes issued while it is filling"


class TooManyPools(Rejected):
    message = (
        "{limit} pools of {whose} are kept, the most that may be; one that has ended makes room once it is forgotten"
    )


class TooManyPlants(Rejected):
    message = "pool {pool} has {limit} plants, the most allowed"


class PlantPledged(Rejected):
    message = "the receipts of {plant} are pledged to pool {pool} until that has ended"


class NotAdmitted(Rejected):
    message = "pool {pool} does not admit {plant} by its rule of {rule}: that is {have}, the rule says {want}"


class UnknownTranche(Rejected):
    message = "a pool has no notes called {tranche!r}, there are {known}"


class NotesIssuedByOthers(Rejected):
    message = "notes of pool {pool} are issued to its originator, who sells them"


class TooManyNotes(Rejected):
    message = "{want!y} of the {tranche} note of pool {pool} would have been issued, at most {limit!y} may be"


class NotCovered(Rejected):
    message = "{want!y} of notes would have been issued, and the plants of pool {pool} count for {have!y}"


class PaymentsNotWhole(Rejected):
    message = "payments of a pool that do not sum: {what} comes to {actual!y}, it must come to {expected!y}"


# --- configuration -------------------------------------------------------------------------------


class UnknownRule(ConfigError):
    message = "no clearing rule is called {name!r}, there are {known}"


class BadProfile(ConfigError):
    message = "profile, line {line}: have {have}, want {want}"


class BadOrders(ConfigError):
    message = "{file}, line {line}: {what} cannot be read"


# --- the game ------------------------------------------------------------------------------------


class BadHour(ConfigError):
    message = "an hour of the game with {field} {have}, want {want}"


class PriceOutOfBounds(ConfigError):
    message = "{direction} has {have} for a price, want yuan/kWh from {low:g} to {high:g}, one for each seller"


class NoSupplyMargin(ConfigError):
    message = "{have!k} are for sale to users who take {want!k} at any price: there must be more"


class NotSettled(ConfigError):
    message = (
        "after {sweeps} sweeps of best response the prices of hour {index} still move by {step:.2g} yuan/kWh; "
        "somebody gains {regret:.2g} of its income at the best that were found"
    )


# --- strategies ----------------------------------------------------------------------------------


class StrategyFault(ConfigError):
    """A strategy without orders that could be placed: its player sits the period out."""


class StrategyFailed(StrategyFault):
    message = "{player} has no orders in period {period}: its strategy {strategy} raised {detail}"


class BadStrategyAnswer(StrategyFault):
    message = "{player} has no orders in period {period}: its strategy {strategy} answered {detail}"
