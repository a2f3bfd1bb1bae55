"""Every kind of entry that a chain's state has: what it holds, and how many there may be of how many bytes.

What a contract keeps is bounded by the members there have been and by the periods it retains, never by time (decision
42). The bounds are formulas of the names in `measure`, such as "periods × members"; a value's are its bytes at most.
The page `docs/protocol.md` shows the same table, and `count_kinds` counts a state by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from ledger.genesis import Genesis
from ledger.inbox import REMEMBERED
from ledger.membership import get_admitted_before, get_authority, get_newest
from ledger.outbox import MAX_PARTS, RETAINED, ROWS_PER_PART
from ledger.overlay import Overlay
from ledger.params import ChainParams, MarketParams
from ledger.state import State
from market.assets.series import DAY, end_of_day
from market.claims import CLAIMED_AHEAD
from market.credit.score import FULL_CREDIT_UPT
from market.economy import POLICIES
from market.pool_records import MAX_POOLS, MAX_POOLS_EACH, TRANCHES
from market.pots import PUBLIC_POTS
from market.programme_records import MAX_PROGRAMMES
from market.scheduling.contract import PLANNED_AHEAD
from market.scheduling.records import RETAINED as RETAINED_SCHEDULES
from market.trading.clearing_rules import is_by_target
from market.trading.pages import PAGE_ROWS
from market.trading.targets import TARGETED_AHEAD
from market.trading.times import count_periods, count_retained
from market.vouchers import MAX_VALIDITY_DAYS
from node.chain.contracts import routes_of

UNKNOWN = "unknown"  # the kind of a key that is in no row of the table


class StateKind(NamedTuple):
    """One row: `key` is a whole key, or where it ends in a slash goes on with what is named."""

    key: str
    goes_on: str
    holds: str
    owner: str
    entries: str  # at most so many
    size: str  # of at most so many bytes each


_TABLE = """
ledger/accounts.py
    a/ | address | account: Eq. (7) of text 000; income and cost, where something was settled | members + pots | 91
    m/ | address | member | members | 260
    sealers | | keys that seal and certify | 1 | 3 + 34 × sealers
ledger/checkpoints.py
    checkpoints | | the latest checkpoints | 1 | 3 + 90 × slots
    checkpoint/certified | | height of the last certified one | 1 | 9
ledger/execution.py
    clock | | latest time that contracts have seen | 1 | 9
ledger/genesis.py
    grid-operator | | address of the grid company | 1 | 22
ledger/inbox.py
    i/ | source, kind, number | parts that have come | kinds heard × 256 | 520
    inbox/ | source, kind | numbers that are remembered | kinds heard | 3 + 9 × 256
ledger/membership.py
    authority | | the authority's keys and threshold | 1 | 60 + 34 × authority keys + 34 × chains
    c/ | address | credential | members | 92
    mn/ | name | address | members | 22
    mt/ | TLS key | address | acts | 22
    ms/ | serial | address | acts | 22
    members/newest | | address of who came last | 1 | 22
    members/waiting | | who is a member from the next period on | 1 | 3 + 283 × 1 024
ledger/outbox.py
    o/ | kind, number, part | part of a message to other chains | messages × parts | 7 100
    outbox | | what is in the outbox | 1 | 3 + 42 × messages
ledger/results.py
    results | | results that wait for a certificate | 1 | 3 + 53 × periods
ledger/sealers.py
    sealers/wanted | | who is to seal from the next boundary on | 1 | 3 + 34 × sealers
    sealers/announced | | a change that waits for its certificate | 1 | 32 + 34 × sealers
    sealers/previous | | the voters before these | 1 | 32 + 34 × sealers
    sealers/parts/ | chain | what has come of its change | chains | 16 + 44 × sealers
ledger/siblings.py
    n/ | chain id | another chain: its voters | chains | 80 + 34 × sealers
    nn/ | chain | chain id | chains | 34
ledger/snapshot.py
    snapshot | | credits in force, and those before | 1 | 16 + 106 × sealers
ledger/upgrades.py
    rules | | version of the rules, the one announced last, and the height from which that holds | 1 | 20
consensus/contracts.py
    e/ | slot digest | height at which evidence was recorded | members × offences | 9
    offences | | how many were told to LH1 | 1 | 9
market/trading/gates.py
    g/ | period, `/countersigned` | gate: result root, count, status; height of the countersignature | periods × 2 | 80
market/trading/period_index.py
    market/live | | periods to be processed | 1 | 3 + 9 × periods
    market/closed | | periods that are over | 1 | 3 + 9 × periods
market/trading/book.py
    market/book/ | period | orders on the book, counted | open periods | 19
    market/order/ | period, order id | order | open periods × orders | 42
    market/standing/ | period, address | what a member has on the book | open periods × members | 28
market/trading/targets.py
    market/target/ | period | prices that the book is cleared by | periods | 52
    market/second-target/ | period | who would have had another target | periods | 3 + 22 × members
    market/second-targets | | how many were told to LH1 | 1 | 9
market/trading/quotas.py
    market/quotas/ | period | when quotas were complete | periods | 53
    market/quota/ | period, line | quota and wheeling price | periods × lines | 62
market/trading/closing.py
    market/closing/ | period | how far the closing of its gate has come | open periods | 1 200 + 100 × members
market/trading/work.py
    market/work | | the block that did some last, how much of its share, and of which | 1 | 20
market/trading/pages.py
    market/page/ | list, period, page (4 bytes) | rows of a list that grows by shares | lists × pages | 29 500
market/trading/corrections.py
    market/correcting | | period whose corrections are being taken up, and the meter that is next | 1 | 31
market/trading/forgetting.py
    market/forgetting | | periods no longer kept whose readings are being dropped | 1 | 3 + 9 × periods
market/trading/period.py
    market/due/ | period | readings that have all come, until a block begins to settle by them | periods | 5
market/trading/trades.py
    market/trades/ | period | trade records | periods | 5 + 460 × orders
    market/curtailed/ | period | what the verdict cut | periods | 5 + 53 × orders
market/trading/message_parts.py
    market/part/ | kind, number, part | part of a message that is not complete | periods × 2 × parts | 7 100
    market/rows/ | kind, number | the same of one whose parts are kept elsewhere, and its rows so far | periods × 2 | 7
    market/parts/ | kind, number | how many parts it has | periods × 2 | 5
market/trading/positions.py
    market/position/ | gate, address | what a member has bought and sold in a session | periods × members | 21
market/trading/balances.py
    market/balances/ | period | how many members' positions were held against their meters | periods | 5
market/trading/period_settlement.py
    market/settling/ | period | how far its settlement has come | periods | 40
market/trading/settlement_record.py
    market/settlement/ | period | what was paid | periods | 11 + 106 × orders + 59 × members
market/treasury.py
    treasury/booked | | sums of all deposits and withdrawals | 1 | 19
    treasury/bank/ | address | a bank's last payment, and its own sums | members | 37
market/standing_orders.py
    treasury/order/ | address | the standing order in favour of an account | members | 66
    treasury/due/ | period | the first account that is due then | members | 22
    treasury/agenda | | the first period whose standing orders are not done with, and how many there are | 1 | 15
market/assets/series.py
    asset/series/ | number | series: class, issuer, attributes, end, counters | series | 170
    asset/due/ | period | the last series that ends then | days | 9
    asset/last | | the number given last | 1 | 9
market/assets/lots.py
    asset/held/ | class, `/`, address | lots of one owner | members × classes | 3 + 28 × 64
    asset/holders/ | series | who holds how much of it | claims + 2 × pools | 3 + 32 × 256
market/assets/contract.py
    asset/day | | the end of the last day of periods whose series have ended | 1 | 9
market/claim_records.py
    claim/of/ | period, address | series of a producer's claim | claims | 9
    claim/last/ | period | the last series of its claims | periods | 9
    claim/line/ | period, line | what is promised on a line | periods × lines | 9
    claim/rows/ | series | what became of it, by holder | claims | 3 + 99 × 256
    claim/energy/ | period, address | what a member has received and delivered by claims | periods × members | 19
market/trading/claim_settlement.py
    claim/serving/ | period | the claim that is served next | periods | 9
    claim/forgotten | | periods no longer kept whose claims are being dropped | 1 | 3 + 9 × periods
market/vouchers.py
    voucher/live/ | address | vouchers of an issuer that are live | members + 2 | 9
market/bill_records.py
    bill/of/ | period, address | what a member paid for energy, and who shares in it | periods × members | 78
    bill/last/ | period | the last of its bills, from which all are found | periods | 22
    bill/forgotten | | periods no longer kept whose bills are being dropped | 1 | 3 + 9 × periods
market/programme_records.py
    programme/of/ | name | subsidy: who pays for what, its budget, what was paid, how it ended | programmes | 130
    programme/names | | the programmes that are kept | 1 | 3 + 34 × programmes
market/pool_records.py
    pool/terms/ | pool | its terms | pools | 136
    pool/state/ | pool | how it stands | pools | 145
    pool/plant/ | address | a pledged plant: pool, value, receipts | members | 29
    pool/plants/ | pool | its plants | pools | 3 + 22 × 64
    pool/of/ | address | pools of an originator | members | 73
    pool/notes/ | pool | the series of its last note | pools | 9
    pool/agenda | | when each pool is due | 1 | 3 + 19 × 256
    pool/last | | the number given last | 1 | 9
market/metering.py
    market/metered/ | period | the meter heard last, from which all are found | periods | 22
    market/reading/ | period, address | reading | periods × members | 76
    market/corrected | | periods with corrections to settle | 1 | 3 + 9 × periods
market/scheduling/records.py
    scheduling/live | | periods and their stages | 1 | 3 + 11 × periods
    scheduling/closed | | periods whose metering is closed | 1 | 3 + 9 × periods
    scheduling/plan/ | period | planned load and output by line | periods | 3 + 53 × lines
    scheduling/quotas/ | period | quotas | periods | 3 + 62 × lines
    scheduling/verdict/ | period | curtailed trades | periods | 5 + 53 × orders
    scheduling/power/ | period | power-transaction block | periods | 62
    scheduling/contracts/ | period | its contracts | periods | 5 + 72 × orders
    scheduling/actual/ | period | actual-transaction block | periods | 62
    scheduling/actuals/ | period | its transactions | periods | 5 + 81 × orders
market/scheduling/shares.py
    scheduling/checking/ | period | how far the check of its list has come | periods | 600
    scheduling/metering | | periods whose metering is ending, and how far that has come | 1 | 3 + 650 × periods
market/credit/assets.py
    credit/coin/ | transaction id, output (2 bytes) | unspent coin and its neighbours | members × 2 × 2 048 | 150
    credit/issued/ | address | coins issued to it; where coins merge, all in its own colour | members | 92
    credit/moved/ | address | coins transferred to it; where coins merge, all in others' colours | members | 92
market/credit/violations.py
    credit/violations/ | address | counts of violations, and the newest | members | 45 + 67 × violations
market/credit/merging.py
    credit/merging | | whose coins are merged next | 1 | 22
market/credit/contract.py
    credit/last-member | | who was scored for the first time last | 1 | 22
    credit/member/ | address | who was scored for the first time before | members | 22
    credit/offence/ | source, slot digest | height at which it cost credit | chains × members × offences | 9
    credit/digest/ | source, kind, number | digest of a message, and its block | kinds heard × 64 | 80
    credit/digested/ | source, kind | numbers that are kept | kinds heard | 3 + 9 × 64
    credit/telling | | how far the snapshot of a period has come | 1 | 37
    credit/applied | | period of LH1's credits that are in use here | 1 | 9
"""


def _read_table(text: str) -> Iterator[StateKind]:
    """The rows of a table in which each stands, indented, below the file that owns its key."""
    owner = ""
    for line in text.strip().splitlines():
        if line.startswith(" "):
            key, goes_on, holds, entries, size = (cell.strip() for cell in line.split("|"))
            yield StateKind(key, goes_on, holds, owner, entries, size)
        else:
            owner = line


KINDS: tuple[StateKind, ...] = tuple(_read_table(_TABLE))
_BY_KEY = {kind.key.encode(): kind for kind in KINDS}


class KindCount(NamedTuple):
    """The entries of one kind in a state, beside what they may be at most; None where that is not a matter of size."""

    key: str
    holds: str
    bound: str  # of the entries, in words
    entries: int
    max_entries: int | None
    bytes: int  # keys and values
    largest_bytes: int  # of the values
    max_value_bytes: int

    @property
    def is_within(self) -> bool:
        """True where no bound is passed."""
        is_few = self.max_entries is None or self.entries <= self.max_entries
        return is_few and self.largest_bytes <= self.max_value_bytes


class Tally:
    """A count of entries by kind, entry by entry."""

    def __init__(self) -> None:
        self._entries: dict[str, int] = {}
        self._bytes: dict[str, int] = {}
        self._largest: dict[str, int] = {}

    def add(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        entries, sizes, largest = self._entries, self._bytes, self._largest
        for key, value in items:
            kind = find_kind(key)
            name = UNKNOWN if kind is None else kind.key
            entries[name] = entries.get(name, 0) + 1
            sizes[name] = sizes.get(name, 0) + len(key) + len(value)
            largest[name] = max(largest.get(name, 0), len(value))

    def finish(self, numbers: Mapping[str, int]) -> tuple[KindCount, ...]:
        """Those kinds of which there is an entry, in the table's order; `numbers` are those of `measure`."""
        unknown = StateKind(UNKNOWN, "", "what no contract of this release writes", "", "0", "0")
        return tuple(
            KindCount(
                key=kind.key,
                holds=kind.holds,
                bound=kind.entries,
                entries=self._entries[kind.key],
                max_entries=compute_bound(kind.entries, numbers),
                bytes=self._bytes[kind.key],
                largest_bytes=self._largest[kind.key],
                max_value_bytes=compute_bound(kind.size, numbers) or 0,
            )
            for kind in (*KINDS, unknown)
            if kind.key in self._entries
        )


def count_kinds(genesis: Genesis, state: State) -> tuple[KindCount, ...]:
    """All entries of a chain's state by kind: looks at every one."""
    tally = Tally()
    tally.add(state.items())
    return tally.finish(measure(genesis, state))


def find_kind(key: bytes) -> StateKind | None:
    """The kind of a state key; None where it is of none."""
    first = key.find(b"/") + 1
    second = key.find(b"/", first) + 1
    return _BY_KEY.get(key) or _BY_KEY.get(key[:first]) or _BY_KEY.get(key[:second])


# --- what bounds are made of -------------------------------------------------------------------------


def measure(genesis: Genesis, state: State) -> dict[str, int]:
    """The numbers that bounds are made of, of one of a network's chains.

    `acts` is not among them: admissions and renewals are as many as the authority signs. No act is good twice, so each
    leaves its serial and its TLS key.
    """
    params, view = genesis.params, Overlay(state)
    by_kind: dict[str, ChainParams] = {chain.kind: chain for chain in genesis.chains}
    trading = by_kind["trading"].market
    lines = len(by_kind["scheduling"].scheduling.lines) if "scheduling" in by_kind else 0
    members, address = 0, get_newest(view)
    while address:
        members, address = members + 1, get_admitted_before(view, address)
    sessions = params.market.sessions  # what is of a gate is there for each
    periods = _count_periods(params, by_kind) * sessions
    orders = min(trading.max_orders_per_period, members * trading.max_orders_per_member)
    sealers = get_authority(view).max_sealers
    rows = max(periods * max(members, orders), lines, sealers)
    return {
        "members": members,
        "sealers": sealers,
        "authority keys": len(genesis.authority.keys),
        "chains": len(genesis.chains),
        "lines": lines,
        "periods": periods,
        "open periods": (count_periods(trading.open_ppm) + 1) * sessions,
        "orders": orders,
        "slots": params.consensus.checkpoint_lifetime + 1,
        "offences": _count_offences(genesis),
        "kinds heard": len([route for route in routes_of(params.kind) if route[0] in by_kind]),
        "messages": _count_messages(params, by_kind),
        "lists": 1 + 7 * periods,
        "pages": -(-max(members, orders) // PAGE_ROWS),
        "parts": min(MAX_PARTS, -(-rows // ROWS_PER_PART)),
        "violations": params.market.recorded_violations,
        **_measure_assets(params.market, members, periods),
    }


def _measure_assets(market: MarketParams, members: int, periods: int) -> dict[str, int]:
    """The numbers of the asset ledger; as on a chain that has none, where there is no economy."""
    if not market.economy:
        return dict.fromkeys(("claims", "series", "days", "classes", "pots", "programmes", "pools"), 0)
    purposes = len(("any", "bill", *market.vouchers.purposes))
    longest = MAX_VALIDITY_DAYS + market.vouchers.validity_days  # issued for long, then renewed
    days = longest + end_of_day(market.retained_periods) // DAY + 2
    issuers = members + len(PUBLIC_POTS)
    pools = min(MAX_POOLS, MAX_POOLS_EACH * members)
    return {
        "claims": periods * members,
        "series": periods * members + days * issuers * purposes * 2 + len(TRANCHES) * pools,
        "days": days,
        "classes": len(POLICIES),
        "pots": len(PUBLIC_POTS) + issuers + MAX_PROGRAMMES + pools,
        "programmes": MAX_PROGRAMMES,
        "pools": pools,
    }


def compute_bound(formula: str, numbers: Mapping[str, int]) -> int | None:
    """The value of a sum of products, such as "3 + 34 × sealers"; None where it names what is no number."""
    total = 0
    for term in formula.split(" + "):
        product = 1
        for factor in term.split(" × "):
            digits = factor.replace(" ", "")
            number = int(digits) if digits.isdecimal() else numbers.get(factor)
            if number is None:
                return None
            product *= number
        total += product
    return total


def _count_periods(params: ChainParams, by_kind: Mapping[str, ChainParams]) -> int:
    """The periods of which a chain has records at once: those to come, those in progress, and those it retains."""
    ahead = count_periods(by_kind["scheduling"].scheduling.quota_ppm) if "scheduling" in by_kind else 0
    if params.kind == "scheduling":
        return ahead + PLANNED_AHEAD + count_periods(params.scheduling.meter_ppm) + RETAINED_SCHEDULES + 2
    market = params.market
    targeted = TARGETED_AHEAD if is_by_target(market.clearing_rule) else 0
    return (
        max(ahead, count_periods(market.open_ppm) + targeted, CLAIMED_AHEAD if market.economy else 0)
        + count_periods(market.settle_ppm)
        + market.retained_periods
        + 2
    )


def _count_messages(params: ChainParams, by_kind: Mapping[str, ChainParams]) -> int:
    """The numbers of all kinds that stay in the outbox; of those said before delivery, for the periods planned.

    Of offences and second targets as many stay as an inbox remembers, and so do those of `redelivered` that a block has
    its own of.
    """
    ahead = by_kind["trading"].market.gate_ppm
    if "scheduling" in by_kind:
        ahead = max(ahead, by_kind["scheduling"].scheduling.quota_ppm)
    others = [kind for kind in by_kind if kind != params.kind]
    said = {kind for other in others for source, kind in routes_of(by_kind[other].kind) if source == params.kind}
    return len(said) * count_retained(params.market, ahead) + 3 * REMEMBERED


def _count_offences(genesis: Genesis) -> int:
    """The most that a member is punished for before it has no credit to lose, for good.

    Beside a credit chain, again with every snapshot of credits on its way that does not know of it yet.
    """
    cost_upt = max(1, min(chain.consensus.equivocation_cost_upt for chain in genesis.chains))
    return -(-FULL_CREDIT_UPT // cost_upt) * (1 + RETAINED)
