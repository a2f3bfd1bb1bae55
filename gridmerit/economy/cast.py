"""The members of the week, and the terms on which they deal: all that is chosen about it, in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gridmerit.network.founders import DISPATCH, GRID, deal_positions, make_members
from gridmerit.network.parameters import load_params_set
from gridmerit.players.banking import Terms
from ledger.genesis import ALL_CHAINS, Genesis, GenesisMember
from ledger.params import ChainParams, Incentive, LedgerParams, MarketParams, VoucherParams
from ledger.signatures import SigningKey
from market.profile import Profile
from market.waterfall import Params, State
from simulation.world.market_script import CLOCK
from simulation.world.market_script import GRID as GRID_CLOCK
from simulation.world.networks import GENESIS_TIME_MS, key_of

YUAN = 10**6
DAY = 24  # periods
DAY_MS = 86_400_000
BANK, ORIGINATOR, SENIOR, MEZZANINE = "bank", "originator", "investor-senior", "investor-mezzanine"
_ROLES: Mapping[str, Literal["bank", "originator", "investor"]] = {
    BANK: "bank",
    ORIGINATOR: "originator",
    SENIOR: "investor",
    MEZZANINE: "investor",
}
SEALER = "wind-122"

BANKING = Terms(limit_uyuan=3_000 * YUAN, every=DAY)
CLAIMED_PPM = 200_000  # of a plant's forecast that it sells as claims
CLAIM_PRICE_UYUAN_PER_KWH = 480_000
VOUCHERS = VoucherParams(
    incentives=(Incentive(from_hour=10, until_hour=16, vouchers_per_kwh=5, purpose="bill", validity_days=2),),
    validity_days=2,
    vouchers_per_block=5,
)
FUNDED_UYUAN = {"incentives": 100 * YUAN, "block-rewards": 5 * YUAN}  # by the grid company, each day
RENEWS, LETS_EXPIRE = "homes-7", "homes-8"  # who does not pay its bill with its vouchers at once

PROGRAMME = "green"
BUDGET_UYUAN, RATE_UYUAN_PER_KWH = 1_200 * YUAN, 30_000
BILL_SHARES_PPM = {"plants": 350_000, "transmission": 250_000, "distribution": 250_000, "tax": 150_000}

COLLECTED_PPM = 300_000  # of the plants' receipts that are the pool's
POOL = State(
    pool=10_000 * YUAN,
    senior=6_000 * YUAN,
    mezz=2_500 * YUAN,
    reserve=0,
    fee_due=0,
    sen_due=0,
    mez_due=0,
    amort=0,
    default=0,
)
POOL_TERMS = Params(
    fee_ppm=10_000,
    sen_ppm=40_000,
    mez_ppm=80_000,
    reserve_ppm=50_000,
    default_trigger_ppm=100_000,
    pool0=POOL.pool,
    period_ms=DAY_MS,
    sched=800 * YUAN,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """The members by name, with key and place, and the genesis that knows them."""

    profile: Profile
    genesis: Genesis
    keys: Mapping[str, SigningKey]
    positions: Mapping[str, str]

    @property
    def plants(self) -> tuple[str, ...]:
        return tuple(player.name for player in self.profile.players if player.role == "producer")

    @property
    def homes(self) -> tuple[str, ...]:
        return tuple(player.name for player in self.profile.players if player.role == "consumer")

    @property
    def names(self) -> dict[bytes, str]:
        """The name of each member, by its address."""
        return {key.address: name for name, key in self.keys.items()}

    @property
    def founding_uyuan(self) -> int:
        return sum(member.balance_uyuan for member in self.genesis.members)


def make_cast(profile: Profile, period_ms: int) -> Cast:
    """The recommended network's members and lines with a bank, an originator and two investors besides."""
    players = [player.name for player in profile.players]
    keys = {name: key_of(name) for name in (GRID, DISPATCH, *_ROLES, *players, *(f"meter-{name}" for name in players))}
    grid = next(chain for chain in load_params_set() if chain.kind == "scheduling")
    positions = deal_positions(grid, players)
    members = [
        member.model_copy(
            update={
                "seals": (ALL_CHAINS,) if member.name == SEALER else (),
                "balance_uyuan": BANKING.limit_uyuan if member.name in (GRID, *players) else 0,
            }
        )
        for member in make_members(profile, keys, {}, positions, {})
    ]
    notes_uyuan = {SENIOR: POOL.senior, MEZZANINE: POOL.mezz}
    members += [
        GenesisMember(name=name, role=role, key=keys[name].public_key, balance_uyuan=notes_uyuan.get(name, 0))
        for name, role in _ROLES.items()
    ]
    return Cast(profile=profile, genesis=_make_genesis(grid, tuple(members), period_ms), keys=keys, positions=positions)


def _make_genesis(grid: ChainParams, members: tuple[GenesisMember, ...], period_ms: int) -> Genesis:
    market: MarketParams = CLOCK.model_copy(update={"economy": 1, "income_and_cost": "kept", "vouchers": VOUCHERS})
    ledger = LedgerParams(period_ms=period_ms, max_transaction_bytes=65_536)
    lines = {"lines": grid.scheduling.lines, "areas": grid.scheduling.areas}
    scheduling = GRID_CLOCK.model_copy(update=lines)
    return Genesis(
        params=ChainParams(name="jy1", ledger=ledger, market=market),
        time_ms=GENESIS_TIME_MS,
        members=members,
        siblings=(
            ChainParams(name="du1", kind="scheduling", ledger=ledger, market=market, scheduling=scheduling),
            ChainParams(name="lh1", kind="credit", ledger=ledger, market=market),
        ),
    )
