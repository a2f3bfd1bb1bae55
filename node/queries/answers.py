"""Answers of the JSON API, once for both ends: `node/queries` fills these in, `node/api/client.py` reads them back.

Units as everywhere (Wh, µ¥, micro-points, ms). In JSON addresses and 256-bit numbers are "0x…", hashes plain
hexadecimal, and integers that may be large decimal strings: see `exact.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, TypeVar, cast

from pydantic import BeforeValidator, Field, PlainSerializer, TypeAdapter, ValidationError

_T = TypeVar("_T")


def _parse_hex(value: object) -> object:
    return int(value, 16) if isinstance(value, str) else value


HexInt = Annotated[int, BeforeValidator(_parse_hex), PlainSerializer(hex, return_type=str, when_used="json")]
Decimal = Annotated[int, PlainSerializer(str, return_type=str, when_used="json")]
WhereTwice = Annotated[str, Field(exclude_if=lambda session: not session)]  # left out where each period is traded once
WhereTreasury = Field(exclude_if=lambda found: found is None)  # left out where the chain has no treasury


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def to_json(value: object, kind: Any = None) -> bytes:
    """Compact JSON of an answer; `kind` is its type where `type(value)` does not say it (lists)."""
    return _adapter(cast(Any, kind or type(value))).dump_json(value)


def from_json(kind: type[_T], raw: bytes) -> _T:
    """Read what `to_json` wrote. Raises `ValueError` with one line on what does not fit."""
    try:
        return cast(_T, _adapter(cast(Any, kind)).validate_json(raw))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(map(str, problem["loc"]))
        raise ValueError(f"{place}: {problem['msg']}" if place else problem["msg"]) from None


# --- a node and its chains -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Forks:
    """Counts of the forks that this node has seen since it started."""

    side_blocks: int
    reorgs: int
    deepest_reorg: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AnchorStatus:
    """The block that this node's owner vouches for; `refused` counts what others sent that is on another branch."""

    height: int
    hash: str
    reached: bool
    refused: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GateInfo:
    """A period's gate, and what has become of it: `reason` to `remedy` tell why it is void or lapsed, else are empty.

    `missing` names the members whose votes the answering node did not hold when the gate became void for want of a
    certificate; none where it was not up then.
    """

    height: int
    block: str
    result_root: str
    trade_count: int
    status: str
    reason: str = ""  # "no-certificate", "no-verdict", "no-countersignature" or "unmetered"
    missing: tuple[str, ...] = ()
    detail: str = ""  # the reason in words
    remedy: str = ""  # what to do about it


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedPeriod:
    """A period whose trades came to nothing, of one session where there are two."""

    period: int
    gate: GateInfo
    session: str = "day-ahead"


@dataclass(frozen=True, slots=True, kw_only=True)
class UpgradeStatus:
    """The version of the rules that holds from `height` on; a release to which it is not known stops before that."""

    rules: int
    height: int
    known: bool
    halted: bool  # the head is the last block before it


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRows:
    """Bytes on disk, about, of one kind of row."""

    kind: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LowAccount:
    """A member whose money does not last until it is topped up, or for another 24 periods (decision 60)."""

    member: str
    member_name: str
    left_uyuan: Decimal
    lasts_periods: int | None  # at the cost of the last 24; None: they have cost nothing
    is_under: bool  # its balance is below its credit line: it places no bids
    due_period: int | None  # of its standing order


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainStatus:
    chain: str
    chain_id: str
    kind: str  # "trading", "scheduling" or "credit"
    height: int
    head: str
    state_root: str
    work: HexInt
    final_height: int
    final_hash: str
    period: int  # of the head block
    head_time_ms: int
    time_ms: int  # the node's clock
    period_ms: int
    block_interval_ms: int
    genesis_time_ms: int
    peers: int
    mempool_count: int
    mempool_bytes: int
    syncing: bool
    sync_target: int  # height, 0 while not syncing
    forks: Forks
    blocks_refused: int
    results_differing: int = 0  # signed by members with another result of the same block, since the start
    results_elsewhere: int = 0  # … for another block than is certified
    dissenters: tuple[str, ...] = ()  # signers of another result of a block that nothing certifies yet
    not_executed: int = 0  # acknowledged transactions that this node told to be so since it started
    waiting_for: tuple[str, ...] = ()  # under PBFT, members with a message lacking for half a view's time
    signing: str = "observer"  # "restored", "waits" for others, "record-behind", "read-only", "signs"
    silent_until: int = 0  # height that must be final before a node with a record that is behind signs again
    refusal: str = ""  # why the disk takes nothing, while it does: the chain is read, and nothing is signed
    anchor: AnchorStatus | None = None
    failed_periods: tuple[FailedPeriod, ...] = ()  # of the last few with trades that should bind by now, newest last
    rules: int = 1  # the version of them that the head block has
    upgrade: UpgradeStatus | None = None  # announced on the chain, and yet to come
    bodies_from_height: int = 1  # what is older has been pruned, but for its headers
    stored: tuple[StoredRows, ...] = ()
    rests_until_ms: int = 0  # while an agreement has nothing to do (`empty_blocks`): when something is due
    low_accounts: Annotated[tuple[LowAccount, ...] | None, WhereTreasury] = None  # whose money does not last


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainOutage:
    """A chain of the node that is out: its store has failed it, and the others run. `error` is the error's name."""

    chain: str
    kind: str
    error: str
    message: str
    path: str
    remedy: str
    since_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WritesWithin:
    limit_ms: int
    writes: int  # that took no longer


@dataclass(frozen=True, slots=True, kw_only=True)
class WritesStatus:
    """The writes of a chain since the node started, each until it was on disk."""

    writes: int
    write_ms: int  # of all
    longest_ms: int
    within: tuple[WritesWithin, ...]  # ascending


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskStatus:
    """The state of a chain's disk, as far as the node has used it since it started."""

    chain: str
    writes: WritesStatus
    passes: int  # slow ones, through all rows of the store
    damage: str  # found in this pass or the last one


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnsWithin:
    limit_ms: int
    turns: int  # that took no longer


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopStatus:
    """The turns of a node's event loop since it listens, in CPU time: during one, all else waits."""

    turns: int
    cpu_ms: int  # of all
    longest_ms: int
    within: tuple[TurnsWithin, ...]  # ascending


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    version: str
    member: str | None
    address: str | None
    uptime_ms: int
    chains: tuple[ChainStatus, ...]
    peers: tuple[dict[str, Any], ...]
    sealing: dict[str, Any]
    outages: tuple[ChainOutage, ...] = ()
    certificate: dict[str, Any] | None = None  # that it shows to its peers: serial, its times, days_left
    loop: LoopStatus | None = None
    disks: tuple[DiskStatus, ...] = ()  # one for each chain that runs
    clock: dict[str, Any] | None = None  # beside the median of its peers': offset_ms (ahead), peers (how many), is_off


# --- blocks and transactions -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSummary:
    height: int
    hash: str
    producer: str
    producer_name: str | None
    timestamp_ms: int
    tx_count: int | None  # None of a block whose body has been pruned
    credit_upt: int
    n_diff: HexInt
    period: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockTransaction:
    id: str
    kind: str
    sender: str
    sender_name: str | None
    sequence: int
    expiry_height: int
    payload: tuple[Any, ...]
    code: str  # empty where it took effect, else the error's name


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockDetail:
    height: int
    hash: str
    parent: str
    timestamp_ms: int
    producer: str
    producer_name: str | None
    producer_key: str
    credit_upt: int
    n_diff: HexInt
    period: int
    tx_root: str
    receipt_root: str
    state_root: str
    nonce: HexInt
    signature: str
    depth: int  # 1 for the head, 0 for a block off the current branch
    final: bool
    transactions: tuple[BlockTransaction, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBlock:
    """A block of the chain in its own bytes, in hex, and the outcomes of its transactions."""

    block: str
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RawCertificate:
    """A certificate in its own bytes, in hex."""

    certificate: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EndingInfo:
    """The end of a transaction that this node acknowledged and that can no longer be executed, as its chain stands.

    `code` is an error's name: "Superseded", "Expired", "MemberLeft" or whatever else refuses it. `by` took its place,
    in a block of that height and hash, or still pending.
    """

    code: str
    since_height: int  # of the head with which it ended
    by: str | None = None
    height: int | None = None
    block: str | None = None

    def __str__(self) -> str:
        if self.code != "Superseded":
            return f"{self.code}, found at height {self.since_height}"
        if self.by is None:
            return f"superseded by another transaction of its sender by height {self.since_height}"
        where = f"in block {self.height} ({self.block})" if self.block else "which is pending"
        return f"superseded by {self.by} {where}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionStatus:
    """The state of a transaction: "pending", "included" with its block, or "not-executed" and why."""

    id: str
    status: str
    height: int | None = None
    block: str | None = None
    index: int | None = None
    code: str | None = None  # empty where it took effect, else the error's name
    depth: int = 0  # blocks that bury it, its own included
    final: bool = False
    ending: EndingInfo | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFault:
    error: str
    message: str
    values: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitOutcome:
    """The outcome of one transaction: taken on, or the error and the HTTP status that it has alone."""

    id: str
    status: int
    error: RemoteFault | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmitAnswer:
    outcomes: tuple[SubmitOutcome, ...]


# --- between chains --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayInfo:
    """A part of a message to another chain, which any node may carry there; `raw` is what to post, in hex."""

    kind: str
    number: int
    part: int
    raw: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaysInfo:
    relays: tuple[RelayInfo, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayAccepted:
    """It waits for the chain's judgement: whether a block takes it in shows in the chain's events."""

    accepted: bool


# --- members -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class StandingOrderInfo:
    """A bank's order to top an account up to a limit at every so many periods, next at `due_period`."""

    member: str
    member_name: str | None
    bank: str
    bank_name: str | None
    limit_uyuan: Decimal
    every_periods: int
    due_period: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunwayInfo:
    """The time that a member's money lasts: what is left by what the last settled periods have cost (decision 60)."""

    left_uyuan: Decimal  # balance, what is set aside, and the credit line
    credit_line_uyuan: Decimal
    spent_uyuan: Decimal  # in so many periods; negative where they have paid more than they cost
    periods: int
    lasts_periods: int | None  # None: they have cost nothing
    is_low: bool
    is_under: bool
    order: StandingOrderInfo | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BankInfo:
    """A bank's own account, and what it has booked: the last payment's place, and the sums."""

    bank: str
    bank_name: str
    balance_uyuan: Decimal
    statement: int | None
    line: int | None
    deposited_uyuan: Decimal
    withdrawn_uyuan: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class TreasuryInfo:
    """All the money of a chain: of the genesis, plus deposits, less withdrawals; and who brings and gets it when."""

    height: int
    period: int
    founding_uyuan: Decimal
    deposited_uyuan: Decimal
    withdrawn_uyuan: Decimal
    money_uyuan: Decimal
    credit_line_uyuan: Decimal
    banks: tuple[BankInfo, ...]
    orders: tuple[StandingOrderInfo, ...]
    low: tuple[LowAccount, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgrammeInfo:
    """A subsidy: what it pays for green energy of which source and periods, and what is left of its budget."""

    name: str
    funder: str
    funder_name: str | None
    state: str
    rates_uyuan_per_kwh: dict[str, int]
    first_period: int
    last_period: int
    budget_uyuan: Decimal
    paid_uyuan: Decimal
    left_uyuan: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgrammesInfo:
    """The programmes that a chain keeps, those that have ended lately among them."""

    height: int
    period: int
    programmes: tuple[ProgrammeInfo, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BillInfo:
    """The payment of a member for energy of a period, and whose part of it is how much."""

    height: int
    period: int
    member: str
    member_name: str | None
    energy_wh: int
    paid_uyuan: Decimal
    parts_uyuan: dict[str, Decimal]


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountInfo:
    """A member's account in the state of the block at `height`."""

    height: int
    address: str
    name: str
    role: str
    balance_uyuan: Decimal
    reserved_uyuan: Decimal
    credit_upt: int
    sequence: int
    next_sequence: int  # with what is pending
    score_count: int
    penalty_upt: int
    capacity_wh: int
    position: str
    income_uyuan: Decimal | None = None  # all that settlements have paid it; None where the chain does not keep that
    cost_uyuan: Decimal | None = None  # all that they have had it pay
    runway: Annotated[RunwayInfo | None, WhereTreasury] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberInfo:
    name: str
    role: str
    address: str
    key: str
    capacity_wh: int
    position: str
    renewable_ppm: int
    stability_ppm: int
    owner: str | None  # of a device: the member whose meter it is
    seals: bool  # its vote certifies what is built now
    status: str  # "active", "pending" until the next period, "revoked" or "left"
    serial: Decimal  # of its credential, and of its certificate where it has one
    tls_key: str  # empty where peers know it by its chain key alone
    not_before_ms: int
    not_after_ms: int | None  # None: its membership ends by an act alone, as a founder's


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditInfo:
    name: str
    address: str
    credit_upt: int
    active_credit_upt: int | None  # in the snapshot that difficulty follows; sealers only
    share_ppm: int | None  # of the blocks at equal hash rates, Eq. (11); sealers only
    score_count: int


# --- the market --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodInfo:
    """A delivery period that is open by the node's clock or not settled yet; one for each session where there are two.

    `phase` is by the clock: "coming", "open", "gate-closed", "delivering", "metering" or "past".
    """

    period: int
    phase: str
    open_ms: int
    gate_ms: int
    orders_until_ms: int  # the gate, or sooner where the chain limits it
    deadline_ms: int
    delivery_start_ms: int
    delivery_end_ms: int
    settle_ms: int
    final_ms: int  # until then readings may be corrected; where another chain reads the meters, by that chain's clock
    live: bool  # orders, trades or readings that are not settled
    gate: GateInfo | None
    session: str = "day-ahead"  # or "intraday"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketPeriods:
    """The periods under way, and the numbers of those that are over and whose records are still kept; ascending."""

    time_ms: int
    periods: tuple[PeriodInfo, ...]
    closed: tuple[int, ...] = ()
    sessions: int = 1  # so often each period is traded


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderInfo:
    """A live order, what its sender is registered with, and the sender's credit now."""

    order_id: int
    owner: str
    owner_name: str | None
    price_uyuan_per_kwh: int
    volume_wh: int
    credit_upt: int
    capacity_wh: int
    renewable_ppm: int
    position: str
    stability_ppm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetInfo:
    """The prices of the game that a period is cleared by under `knn`, µ¥ per kWh; bids look for the first."""

    height: int
    sender: str
    sender_name: str | None
    g_to_u_uyuan_per_kwh: int
    g_to_c_uyuan_per_kwh: int
    c_to_u_uyuan_per_kwh: int
    c_to_g_uyuan_per_kwh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BookInfo:
    """The live orders, best first on both sides; `target` is None where no dispatcher has committed one."""

    period: int
    best_bid: int | None
    best_ask: int | None
    bids: tuple[OrderInfo, ...]
    offers: tuple[OrderInfo, ...]
    target: TargetInfo | None = None
    session: str = "day-ahead"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributionsInfo:
    """The part of each parameter of text 000, Table 1, in an order's weight, in ppm."""

    capacity_ppm: int
    credit_ppm: int
    renewable_ppm: int
    position_ppm: int
    price_ppm: int
    volume_ppm: int
    stability_ppm: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsInfo:
    """The weights of a match, in ppm; w is the offer's.

    Where merit decides, the bid's said when it had its turn, and the offer's that it was chosen; else they decide
    nothing.
    """

    w_ppm: int
    bid_ppm: int
    offer: ContributionsInfo
    bid: ContributionsInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class PartyInfo:
    """One side of a match as it stood at the gate: ID, t, q and l of text 000's TradeResult."""

    order_id: int
    node_type: str
    credit_upt: int
    position: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeInfo:
    index: int
    buyer: str
    buyer_name: str | None
    seller: str
    seller_name: str | None
    price_uyuan_per_kwh: int
    volume_wh: int
    bid: PartyInfo
    offer: PartyInfo
    weights: WeightsInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class CurtailmentInfo:
    """A trade that is cut to `accepted_wh`; `line` is the one that could not carry more."""

    index: int
    accepted_wh: int
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedResultInfo:
    """One member's signature on a period's result; `opinion` is this node's own, from its own book.

    "agrees", "other-result" of the same block, "other-block" than is certified, or "unknown" where the block is not
    here. Count and root are None where the member names no result of the period.
    """

    name: str | None
    key: str
    slot: int
    block: str
    digest: str
    record_count: int | None
    root: str | None
    opinion: str
    counted: bool  # its signature is in the certificate


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultInfo:
    """The TradeResult of a period: `quorum` identical ones of `sealers` certify it.

    Slot and block of the certificate are None while this node has none.
    """

    slot: int | None
    block: str | None
    quorum: int
    sealers: int
    signed: tuple[SignedResultInfo, ...]
    silent: tuple[str, ...]  # sealers of which nothing is known


@dataclass(frozen=True, slots=True, kw_only=True)
class TradesInfo:
    """Trades as the gate made them; `curtailments` are those that the scheduling chain has cut since."""

    period: int
    gate: GateInfo
    result: ResultInfo
    trades: tuple[TradeInfo, ...]
    curtailments: tuple[CurtailmentInfo, ...] = ()
    session: str = "day-ahead"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledTradeInfo:
    index: int
    buyer: str
    buyer_name: str | None
    seller: str
    seller_name: str | None
    consumption_wh: int
    output_wh: int
    buyer_pays_uyuan: Decimal
    seller_receives_uyuan: Decimal
    grid_receives_uyuan: Decimal
    traded_wh: int
    is_consumption_imputed: bool = False  # the meter was not heard: the volume agreed, at retail or more
    is_output_imputed: bool = False  # the meter was not heard: nothing
    session: WhereTwice = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GridSettlementInfo:
    member: str
    member_name: str | None
    consumption_wh: int
    output_wh: int
    pays_uyuan: Decimal
    receives_uyuan: Decimal
    session: WhereTwice = ""  # "real-time"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlementInfo:
    period: int
    trades: tuple[SettledTradeInfo, ...]
    grid: tuple[GridSettlementInfo, ...]
    gate: GateInfo | None = None  # of a period that had orders
    unheard: Annotated[tuple[str, ...], Field(exclude_if=lambda unheard: not unheard)] = ()
    """Addresses of who has traded a period that is traded twice, and whose meter was not heard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionInfo:
    """A member's purchases and sales in a session, wheeling paid; in "real-time" they are beyond what it had traded."""

    member: str
    member_name: str | None
    session: str  # "day-ahead", "intraday" or "real-time"
    bought_wh: int
    sold_wh: int
    pays_uyuan: Decimal
    receives_uyuan: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionsInfo:
    """Positions by member, each in the order of the sessions; those in real time once the period is settled."""

    period: int
    settled: bool
    positions: tuple[PositionInfo, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SignatureInfo:
    key: str
    name: str | None
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateInfo:
    slot: int
    block: str
    quorum: int
    sealers: int
    signatures: tuple[SignatureInfo, ...]


# --- the grid and the credit index -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class LineQuotaInfo:
    line: str
    demand_wh: int
    supply_wh: int
    wheeling_uyuan_per_kwh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaInfo:
    """The trading chain's quotas for each line in a period: since when they are known, and until when to order."""

    period: int
    lines: tuple[LineQuotaInfo, ...]
    complete_ms: int
    orders_until_ms: int
    session: str = "day-ahead"


@dataclass(frozen=True, slots=True, kw_only=True)
class LinePlanInfo:
    line: str
    load_wh: int
    output_wh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractInfo:
    """A bilateral contract: an accepted trade, and as metered once its delivery is."""

    index: int
    buyer: str
    buyer_name: str | None
    seller: str
    seller_name: str | None
    price_uyuan_per_kwh: int
    accepted_wh: int
    consumption_wh: int | None
    output_wh: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestInfo:
    """The digest of a period's power-transaction or actual-transaction block: its height, and the root in it."""

    height: int
    root: str
    contracts: int
    energy_wh: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulingInfo:
    """Everything the scheduling chain holds of a period; `curtailments` is None before its verdict."""

    period: int
    plan: tuple[LinePlanInfo, ...]
    quotas: tuple[LineQuotaInfo, ...]
    curtailments: tuple[CurtailmentInfo, ...] | None
    contracts: tuple[ContractInfo, ...]
    power: DigestInfo | None
    actual: DigestInfo | None
    session: str = "day-ahead"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedDigest:
    """The credit chain's record of another chain's message: the certified block that held it, and its digest."""

    source: str
    kind: str
    period: int
    height: int
    block: str
    digest: str
    session: WhereTwice = ""  # of a power-transaction block


@dataclass(frozen=True, slots=True, kw_only=True)
class DigestsInfo:
    period: int
    digests: tuple[RecordedDigest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CoinInfo:
    """An unspent output that holds credit of one assessment, its colour."""

    transaction: str
    output: int
    value_sat: Decimal
    padding_sat: Decimal
    credit_upt: int
    colour: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StateKindInfo:
    """The entries of one kind in a state: how many, in how many bytes with their keys, and what they may be at most.

    `bound` is `max_entries` in words; that is null where it is not a matter of size.
    """

    key: str
    holds: str
    bound: str
    entries: int
    max_entries: int | None
    bytes: int
    largest_bytes: int
    max_value_bytes: int
    within: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StateInfo:
    """All that a chain keeps, after one block, by kind."""

    chain: str
    height: int
    state_root: str
    entries: int
    bytes: int
    kinds: tuple[StateKindInfo, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetsInfo:
    """A member's credit assets, `coins` in all; the newest of them are listed."""

    address: str
    name: str | None
    coins: int
    credit_upt: int
    newest: tuple[CoinInfo, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ViolationCounts:
    """Violations that stand, of each kind, since the chain began."""

    over_delivery: int
    under_delivery: int
    missing_reading: int
    second_target: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ViolationInfo:
    """One violation; `index`, `side` and the volumes are None of a second target, which is no delivery."""

    period: int
    index: int | None  # of the trade
    side: str | None  # "bid" of a buyer, "offer" of a seller
    kind: str  # as in `ViolationCounts`, with hyphens
    agreed_wh: int | None
    metered_wh: int | None  # its part of the meter; None where that was not heard
    height: int  # of the credit chain's block that has put it down as it is
    time_ms: int
    corrected: bool  # a correction has changed it since it was first told of
    withdrawn: bool  # … and put it within tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditReport:
    """A member's credit after the block at `height`, and its violations: all counted, the newest with what and when."""

    height: int
    address: str
    name: str | None
    credit_upt: int
    score_count: int
    penalty_upt: int
    tolerance_ppm: int  # of the volume agreed, above or below it
    listed: int  # the most that are kept; 0: the chain records none
    counts: ViolationCounts
    newest: tuple[ViolationInfo, ...]
