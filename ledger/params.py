"""Every number that all peers of a chain must agree on.

`ChainParams` is hashed into the genesis block, so two peers that differ in one of them are on different chains. What a
peer may choose for itself is `NodeConfig` in `node/config.py`. Unknown keys fail.

A network outlives the release that founded it. A parameter of a later release stands at the end of its section, with a
default under which all is as it was before, and counts in the canonical form only where its value is another one: so
an older document keeps its meaning and its hash.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, model_validator

from ledger.codec import Value
from ledger.errors import BadName
from ledger.names import normalise_name


def _parse_hex_int(value: object) -> object:
    return int(value, 16) if isinstance(value, str) and value.startswith("0x") else value


def _parse_hex_bytes(value: object) -> object:
    return bytes.fromhex(value.removeprefix("0x")) if isinstance(value, str) else value


def _parse_decimal(value: object) -> object:
    return int(value) if isinstance(value, str) and value.isascii() and value.isdecimal() else value


def _normalise(text: str) -> str:
    try:
        return normalise_name(text)
    except BadName as error:
        raise ValueError(str(error)) from None


Uint256 = Annotated[
    int,
    BeforeValidator(_parse_hex_int),
    PlainSerializer(hex, return_type=str, when_used="json"),
    Field(ge=1, lt=2**256),
]
HexBytes = Annotated[
    bytes,
    BeforeValidator(_parse_hex_bytes),
    PlainSerializer(lambda raw: "0x" + raw.hex(), return_type=str, when_used="json"),
]
Natural = Annotated[int, Field(ge=0, lt=2**53)]  # what a number of JSON holds exactly in every reader
Positive = Annotated[int, Field(ge=1, lt=2**53)]
Uyuan = Annotated[
    int,
    BeforeValidator(_parse_decimal),
    PlainSerializer(str, return_type=str, when_used="json"),
    Field(ge=0, lt=2**63),
]
Ppm = Annotated[int, Field(ge=0, le=1_000_000)]
CreditUpt = Annotated[int, Field(ge=0, le=100_000_000)]
Days = Annotated[int, Field(ge=1, le=366)]
Factor = Annotated[int, Field(ge=0, le=8)]  # so that a squared distance is below 2^31
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")]
Place = Annotated[str, AfterValidator(_normalise), Field(max_length=32)]
Kind = Literal["trading", "scheduling", "credit"]


class Section(BaseModel):
    """A frozen group of fields with a canonical form.

    The first `founding_fields` of a genesis's are those that it had when it was first released, and never become more;
    None stands for all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    founding_fields: ClassVar[int | None] = None

    def to_value(self) -> Value:
        """One canonical array: the founding fields in declaration order, then `[name, value]` of each later one.

        Of the later ones those are left out that have their default's value.
        """
        fields = type(self).model_fields
        count = len(fields) if self.founding_fields is None else self.founding_fields
        founding, later = list(fields)[:count], list(fields)[count:]
        changed = [name for name in later if getattr(self, name) != fields[name].default]
        return (
            *(_canonical(getattr(self, name)) for name in founding),
            *((name, _canonical(getattr(self, name))) for name in changed),
        )


def _canonical(item: object) -> Value:
    match item:
        case Section():
            return item.to_value()
        case bool():
            return int(item)
        case int() if item >= 2**63:
            return item.to_bytes(32, "big")
        case int() | bytes() | str() | None:
            return item
        case tuple():
            return tuple(_canonical(part) for part in item)
    raise AssertionError(f"no canonical form for {type(item).__name__}")


class LedgerParams(Section):
    """Bounds on blocks and transactions, and the length of a period."""

    founding_fields: ClassVar[int] = 5

    period_ms: Positive = 3_600_000
    max_block_bytes: Annotated[int, Field(ge=1, le=3_900_000)] = 1_000_000  # a peer's answer holds 4 MB
    max_block_transactions: Annotated[int, Field(ge=1, le=8_000)] = 2_000  # an announcement holds 8 192 ids
    max_transaction_bytes: Annotated[int, Field(ge=1_024, lt=2**31)] = 16_384  # evidence takes up to some 900
    max_expiry_blocks: Positive = 10_000
    max_block_relays: Natural = 0  # parts of other chains' messages that a block takes in; 0: as many as fit

    @model_validator(mode="after")
    def _check(self) -> LedgerParams:
        if self.max_transaction_bytes > self.max_block_bytes:
            raise ValueError("max_transaction_bytes must not exceed max_block_bytes, or one could block all others")
        return self


class ConsensusParams(Section):
    """Rules of sealing and its difficulty: design §3, Eqs (9) and (10) of text 000."""

    founding_fields: ClassVar[int] = 22

    engine: Literal["poca", "pbft"] = "poca"
    eligibility: Literal["poca", "work", "stake"] = "poca"
    tau_upt: Positive = 10_000_000
    n_diff_initial: Uint256 = 2**200
    n_diff_min: Uint256 = 1
    n_diff_max: Uint256 = 2**240
    block_interval_ms: Positive = 10_000
    retarget_window: Annotated[int, Field(ge=12, le=10_000)] = 24  # below 12, liars about time can slow the chain
    relief_after: Positive = 12
    max_ahead_ms: Annotated[int, Field(ge=0, le=15_000)] = 5_000
    tie_break: Literal["first-seen", "lower-hash", "higher-credit"] = "lower-hash"
    checkpoints_per_period: Annotated[int, Field(ge=1, le=1_000)] = 4
    checkpoint_lifetime: Annotated[int, Field(ge=1, le=64)] = 4  # slots until an uncertified one is given up
    checkpoint_depth: Natural = 2
    checkpoint_m: Natural = 0  # 0: the least m with 2(m+1) > n + f
    equivocation_cost_upt: CreditUpt = 20_000_000
    diversity_window: Annotated[int, Field(ge=0, le=100)] = 0  # poca: of so many blocks in a row …; 0: as it comes
    diversity_limit: Positive = 1  # … one member seals at most so many, unless no other does
    view_timeout_ms: Positive = 2_000  # pbft: how long the first view may take; twice as long in each further one …
    view_timeout_max_ms: Positive = 60_000  # … up to this
    empty_after_ms: Natural = 0  # pbft: a block without transactions after so long without any; 0: never
    gate_tolerance_ms: Natural = 0  # a block dated before a gate and seen so long after it is late; 0: none is
    empty_blocks: Literal["always", "due"] = "always"  # pbft: every `empty_after_ms`, or only once something is due
    interval_nonces: Natural = 0  # poca: what a member tries in a block_interval_ms, spread over it; 0: all it can

    @property
    def nonces_per_s(self) -> int:
        """The nonces a second that a member's search keeps to, 0 where there is no limit (decision 49)."""
        return max(1, self.interval_nonces * 1_000 // self.block_interval_ms) if self.interval_nonces else 0

    @model_validator(mode="after")
    def _check(self) -> ConsensusParams:
        if not self.n_diff_min <= self.n_diff_initial <= self.n_diff_max:
            raise ValueError("n_diff_initial must lie between n_diff_min and n_diff_max")
        if self.max_ahead_ms * 2 > self.relief_after * self.block_interval_ms:
            raise ValueError("max_ahead_ms must be well below relief_after * block_interval_ms")
        if 0 < self.diversity_window <= self.diversity_limit:
            raise ValueError("diversity_limit must be below diversity_window, or it limits nothing")
        if self.view_timeout_max_ms < self.view_timeout_ms:
            raise ValueError("view_timeout_max_ms must not be below view_timeout_ms")
        return self


class MatchingWeights(Section):
    """The basic weights of text 000, §4.2, Table 1, in ppm and in its order: what counts when an order's merit is."""

    founding_fields: ClassVar[int] = 7

    capacity_ppm: Ppm = 600_000
    credit_ppm: Ppm = 800_000
    renewable_ppm: Ppm = 500_000
    position_ppm: Ppm = 400_000
    price_ppm: Ppm = 500_000
    volume_ppm: Ppm = 600_000
    stability_ppm: Ppm = 600_000


class NearnessFactors(Section):
    """The weight of a step of each feature by which a quote is near a target (text 001, step 8); 0: it does not count.

    A price and a volume lie between the least and the most that is offered, the place is 0 on the bid's own line, half
    in its area and else all of 1 000 steps (`market.trading.nearest`).
    """

    founding_fields: ClassVar[int] = 5

    price: Factor = 1
    volume: Factor = 0
    credit: Factor = 0
    renewable: Factor = 0
    position: Factor = 0


class Incentive(Section):
    """Vouchers for who buys energy of a source in the hours of a day from one to another, which is not among them."""

    founding_fields: ClassVar[int] = 6

    source: Literal["new", "traditional", "any"] = "new"
    from_hour: Annotated[int, Field(ge=0, le=23)] = 0
    until_hour: Annotated[int, Field(ge=1, le=24)] = 24
    vouchers_per_kwh: Annotated[int, Field(ge=1, le=10**6)]
    purpose: Name = "any"
    validity_days: Days = 30

    @model_validator(mode="after")
    def _check(self) -> Incentive:
        if not self.from_hour < self.until_hour:
            raise ValueError("an incentive must end after the hour at which it begins")
        return self


class VoucherParams(Section):
    """The virtual currency of text 004 (`market.vouchers`): its price for good, what it may pay for, and who earns it.

    `purposes` are those besides `any` and `bill`. `validity_days` is how much longer a voucher is good once it is
    renewed, less `renewal_fee_ppm`, and how long one for making a block is. Days are 24 periods, hours are periods.
    """

    founding_fields: ClassVar[int] = 6

    price_uyuan: Annotated[int, Field(ge=1, le=10**6)] = 10_000
    renewal_fee_ppm: Annotated[int, Field(ge=0, lt=10**6)] = 50_000
    validity_days: Days = 30
    purposes: Annotated[tuple[Name, ...], Field(max_length=8)] = ()
    incentives: Annotated[tuple[Incentive, ...], Field(max_length=32)] = ()
    vouchers_per_block: Annotated[int, Field(ge=0, le=10**6)] = 0

    @model_validator(mode="after")
    def _check(self) -> VoucherParams:
        known = ("any", "bill", *self.purposes)
        if len(set(known)) < len(known):
            raise ValueError("a purpose is named twice; any and bill are purposes without being named")
        for incentive in self.incentives:
            if incentive.purpose not in known:
                raise ValueError(f"an incentive has the purpose {incentive.purpose}, which is not among purposes")
        return self


class BillShares(Section):
    """The shares in what a member pays for energy (text 003, 7.4; `market.bills`); all 0: bills are not split."""

    founding_fields: ClassVar[int] = 4

    producer_ppm: Ppm = 0
    transmission_ppm: Ppm = 0
    distribution_ppm: Ppm = 0
    tax_ppm: Ppm = 0

    @property
    def by_name(self) -> dict[str, int]:
        """The shares in ppm, in the order in which a bill is split."""
        return {
            "producer": self.producer_ppm,
            "transmission": self.transmission_ppm,
            "distribution": self.distribution_ppm,
            "tax": self.tax_ppm,
        }

    @property
    def is_split(self) -> bool:
        """True where bills are split."""
        return any(self.by_name.values())

    @model_validator(mode="after")
    def _check(self) -> BillShares:
        if sum(self.by_name.values()) not in (0, 1_000_000):
            raise ValueError("the shares of a bill must sum to 1000000 ppm, or all be 0")
        return self


class MarketParams(Section):
    """The market's clock in parts per million of a period, the rule by which a gate clears, and the tariffs.

    For a delivery period starting at D: orders from D - `open_ppm`, gate closure at D - `gate_ppm`, void without a
    certificate and the scheduling chain's verdict at D - `deadline_ppm`, readings until D + `settle_ppm`, when the
    period is settled. The rules are in `market.trading.clearing_rules`; `k_ppm` counts for "uniform-price" alone,
    `weights` for "credit-weighted" and `nearness` for "knn". Where not all of equal orders can be served, `ties` says
    whether the earlier is, or all in proportion to their volumes (`market.trading.ties`). `wheeling_uyuan_per_kwh`
    counts where no scheduling chain says each area's price. Of the periods that are over, the records of the latest
    `retained_periods` stay in the state. With `audit` "required" a trade list binds only if the authority has
    countersigned it before the deadline. Orders are taken for `intention_ppm` once what they answer to is there, in
    blocks of that time: the period is open and its quotas are complete (text 000, §4.2, step 3); 0: until the gate.

    The agreed price of a trade holds for what was agreed and `over_delivery_ppm` more of it; what is metered beyond
    settles with the grid company. A meter shows at most `plausible_ppm` of its owner's registered capacity in a period.
    Readings may be corrected, and come late, until D + `settle_ppm` + `correction_ppm`; beside a scheduling chain until
    D + `meter_ppm` + `correction_ppm`, on that chain.

    Once a credit snapshot is taken, a member's credit coins of one colour become one (decision 42): a block spends at
    most `merged_coins` of them, and the next goes on. With 0 every coin stays as it was made.

    A period's gate, settlement and corrections take as many blocks as they need, each of which does `work_per_block` of
    it (decision 48); with 0 each is one block's affair. A block does it in up to `passes_per_block` equal shares, and a
    node rests between them, as it does after as large a part of a block's `max_block_relays` (decision 56).

    With `income_and_cost` "kept" each account has what settlements paid its member and what they had it pay, in two
    columns beside the balance (decision 55). A credit chain reports each member's violations of what was agreed, where
    `recorded_violations` is not 0: counts for good and so many of the newest, the same number on the trading chain. A
    delivery is one that is more than the credit chain's `tolerance_ppm` of the agreed volume above or below it.

    With `intraday_open_ppm` a period is traded twice (decision 54): what the day-ahead gate has made must bind by the
    time at which the intraday session opens, D - `intraday_open_ppm`; that session's gate closes at
    D - `intraday_gate_ppm`. Trades are then paid as agreed, and what a meter says beyond its owner's position settles
    with the grid company. 0: there is one session.

    With `economy` 1 a trading chain has the money of texts 003 and 004 besides (decision 59): what the module
    `market.economy` puts together. With 0 it knows none of those kinds of transactions. A producer pays the holders of
    its claims `claim_penalty_uyuan_per_kwh` for what it does not deliver.

    A bid may set aside `credit_line_uyuan` more than its owner has, and an account that far below nothing bids no more
    (decision 60).
    """

    founding_fields: ClassVar[int] = 24

    open_ppm: Positive = 3_000_000
    gate_ppm: Natural = 2_000_000
    deadline_ppm: Natural = 0
    settle_ppm: Positive = 2_000_000
    wheeling_uyuan_per_kwh: Natural = 20_000
    retail_uyuan_per_kwh: Natural = 615_000
    feed_in_uyuan_per_kwh: Natural = 410_000
    initial_credit_upt: CreditUpt = 90_000_000
    initial_weight: Annotated[int, Field(ge=0, le=10**6)] = 0  # scores that the initial credit counts for, for good
    score_unit_wh: Annotated[int, Field(ge=0, le=10**9, multiple_of=100)] = 0  # a score counts per so much; 0: once
    natural_factor_ppm: Annotated[int, Field(ge=0, lt=300_001)] = 0
    max_orders_per_member: Positive = 16
    max_orders_per_period: Positive = 100_000
    retained_periods: Positive = 168
    clearing_rule: Literal["price-time", "credit-weighted", "uniform-price", "pay-as-bid", "knn"] = "price-time"
    k_ppm: Ppm = 500_000
    weights: MatchingWeights = MatchingWeights()
    audit: Literal["required", "none"] = "none"
    intention_ppm: Ppm = 0
    ties: Literal["time", "pro-rata"] = "time"
    over_delivery_ppm: Annotated[int, Field(ge=0, le=10_000_000)] | Literal["unlimited"] = "unlimited"
    max_price_uyuan_per_kwh: Annotated[int, Field(ge=1, le=10**8)] = 10**8
    plausible_ppm: Annotated[int, Field(ge=0, le=10_000_000)] = 1_200_000
    correction_ppm: Natural = 0  # 0: what came in time is final
    merged_coins: Annotated[int, Field(ge=0, le=4_096, multiple_of=64)] = 0
    work_per_block: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    nearness: NearnessFactors = NearnessFactors()
    income_and_cost: Literal["none", "kept"] = "none"
    recorded_violations: Annotated[int, Field(ge=0, le=64)] = 0
    tolerance_ppm: Ppm = 0
    intraday_open_ppm: Natural = 0
    intraday_gate_ppm: Natural = 0
    passes_per_block: Annotated[int, Field(ge=1, le=64)] = 1
    economy: Annotated[int, Field(ge=0, le=1)] = 0
    credit_line_uyuan: Natural = 0
    claim_penalty_uyuan_per_kwh: Annotated[int, Field(ge=0, le=10**8)] = 205_000
    vouchers: VoucherParams = VoucherParams()
    bills: BillShares = BillShares()

    @property
    def work_per_pass(self) -> int:
        """The work that a block does between two rests, in the units of `work_per_block`; 0: there is no limit."""
        return self.work_per_block // self.passes_per_block

    @property
    def sessions(self) -> int:
        """The times that a delivery period is traded: day-ahead, and intraday where there is such a session."""
        return 2 if self.intraday_open_ppm else 1

    @property
    def allowance_ppm(self) -> int:
        """The allowance for more than was agreed, set aside and kept free, in ppm; 0 where that has no limit."""
        return 0 if self.over_delivery_ppm == "unlimited" else self.over_delivery_ppm

    @model_validator(mode="after")
    def _check(self) -> MarketParams:
        if not self.open_ppm > self.gate_ppm > self.deadline_ppm:
            raise ValueError("a period must open before its gate, and its gate come before its deadline")
        if self.sessions > 1 and not self.gate_ppm > self.intraday_open_ppm > self.intraday_gate_ppm:
            raise ValueError("an intraday session must open after the day-ahead gate, and before its own")
        if self.sessions > 1 and self.intraday_gate_ppm <= self.deadline_ppm:
            raise ValueError("the intraday gate must come before the deadline")
        if self.sessions == 1 and self.intraday_gate_ppm:
            raise ValueError("intraday_gate_ppm needs intraday_open_ppm: without it there is no such session")
        if self.gate_ppm - self.deadline_ppm > 32 * 1_000_000:
            raise ValueError("a gate may wait for its certificate for 32 periods: all that wait are signed at once")
        if self.work_per_block and self.work_per_pass < 64:
            raise ValueError("work_per_block is 0 or at least 64 for each pass, or a period would never be done")
        if self.credit_line_uyuan and not self.economy:
            raise ValueError("credit_line_uyuan needs economy = 1")
        if self.bills.is_split and not self.economy:
            raise ValueError("shares of a bill need economy = 1")
        if self.settle_ppm <= 1_000_000:
            raise ValueError("settle_ppm counts from the start of delivery and must leave time to read meters after it")
        if self.retained_periods * 1_000_000 < self.settle_ppm + self.correction_ppm:
            raise ValueError("retained_periods must reach back as far as settle_ppm and correction_ppm together")
        return self


class Area(Section):
    """A part of the grid with one wheeling price."""

    founding_fields: ClassVar[int] = 2

    name: Name
    wheeling_uyuan_per_kwh: Annotated[int, Field(ge=0, le=10**8)]  # 100 yuan, as for prices


class Line(Section):
    """A line of a radial feeder, and with it the bus at its far end, where members are.

    `upstream` names the line it branches off, none where it leaves the substation. The capacity is what it can carry
    in one period, either way.
    """

    founding_fields: ClassVar[int] = 4

    name: Name
    upstream: Annotated[str, Field(max_length=32)] = ""
    area: Name
    capacity_wh: Positive


class SchedulingParams(Section):
    """DU1's grid, and its clock in parts per million of a period.

    For a delivery period starting at D: plans until D - `quota_ppm`, when quotas follow from them; trade lists until
    D - `verdict_ppm`; readings until D + `meter_ppm`. Where the market has an intraday session, the day-ahead list must
    come until D - `intraday_quota_ppm`, when the intraday quotas follow from what it leaves of the lines; else it is 0.
    """

    founding_fields: ClassVar[int] = 5

    quota_ppm: Positive = 3_000_000
    verdict_ppm: Natural = 1_000_000
    meter_ppm: Positive = 1_500_000
    areas: tuple[Area, ...] = ()
    lines: tuple[Line, ...] = ()
    intraday_quota_ppm: Natural = 0

    @model_validator(mode="after")
    def _check(self) -> SchedulingParams:
        if self.intraday_quota_ppm and not self.quota_ppm > self.intraday_quota_ppm > self.verdict_ppm:
            raise ValueError("intraday quotas must come after the day-ahead ones, and before verdicts")
        if self.quota_ppm <= self.verdict_ppm:
            raise ValueError("quotas must come before verdicts: quota_ppm above verdict_ppm")
        if self.meter_ppm <= 1_000_000:
            raise ValueError("meter_ppm counts from the start of delivery and must leave time to read meters after it")
        areas = {area.name for area in self.areas}
        if len(areas) < len(self.areas):
            raise ValueError("two areas share a name")
        known: set[str] = set()
        for line in self.lines:
            if line.name in known:
                raise ValueError(f"two lines are called {line.name}")
            if line.upstream and line.upstream not in known:
                raise ValueError(f"line {line.name}: list its upstream line {line.upstream} before it")
            if line.area not in areas:
                raise ValueError(f"line {line.name}: there is no area {line.area}")
            known.add(line.name)
        return self


class ChainParams(Section):
    """One chain instance's parameters, hashed into its genesis. `kind` says which contracts it runs (text 000, Fig. 1).

    A network needs a trading chain only: what no scheduling or credit chain does, it does itself.
    """

    founding_fields: ClassVar[int] = 6

    name: Name
    kind: Kind = "trading"
    ledger: LedgerParams = LedgerParams()
    consensus: ConsensusParams = ConsensusParams()
    market: MarketParams = MarketParams()
    scheduling: SchedulingParams = SchedulingParams()
    rules: Positive = 1  # the version of the rules that it begins with; others are announced on the chain

    @model_validator(mode="after")
    def _check(self) -> ChainParams:
        if (self.kind == "scheduling") != bool(self.scheduling.lines):
            raise ValueError("a scheduling chain, and only such a chain, has lines")
        return self
