"""The week in virtual time: three chains by their contracts alone, everybody's acts, and every identity at every block.

A period is four blocks. In the first the grid is planned and last period's meters are read, in the second claims are
registered, in the third they are sold and orders placed, in the fourth money moves that follows from settled days.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, cast

from gridmerit.economy.accounts import close_day, compute_receipts
from gridmerit.economy.cast import (
    BANK,
    BANKING,
    BUDGET_UYUAN,
    CLAIM_PRICE_UYUAN_PER_KWH,
    CLAIMED_PPM,
    COLLECTED_PPM,
    DAY,
    FUNDED_UYUAN,
    LETS_EXPIRE,
    MEZZANINE,
    ORIGINATOR,
    POOL,
    RENEWS,
    SEALER,
    SENIOR,
    VOUCHERS,
    Cast,
)
from gridmerit.economy.identities import count_vouchers, find_breaches
from gridmerit.economy.week import Day, Hour, Sale, Vouchers, Week
from gridmerit.network.founders import DISPATCH, GRID
from gridmerit.players.banking import plan_banking, plan_payout
from gridmerit.players.plans import plan_lines, plan_orders
from ledger.accounts import get_account
from ledger.codec import Value
from ledger.overlay import Event
from market.assets.lots import get_lots
from market.assets.purchase import Purchase, sign_purchase
from market.assets.series import get_series
from market.claim_records import CLAIM, get_claim, get_served, walk_claims
from market.credit.score import PPM
from market.orders import Side
from market.settlement import WH_PER_KWH
from market.standing_orders import get_standing_order
from market.trading.views import get_binding_trades, get_quota, get_settlement
from market.treasury import get_book, get_booked
from market.vouchers import VOUCHER
from simulation.world.contract_chains import ContractChain

PERIOD_MS = 24_000
BLOCKS = 4  # in a period
FIRST_PERIOD = DAY  # of delivery, so that an hour of the day is the period's place in its day of periods
PLANNED_AHEAD, ORDERED_AHEAD = 5, 3
SETTLED_AFTER = 3  # periods after its start a period is settled for certain


class FastWeek:
    """The chains and all who act on them; `on_day` hears of each day that is closed."""

    def __init__(self, cast: Cast, *, days: int, seed: int, on_day: Callable[[int], None]) -> None:
        self._cast, self._days, self._seed, self._on_day = cast, days, seed, on_day
        producer = cast.keys[SEALER]
        self._chains = [
            ContractChain(cast.genesis.open(chain.name), producer, [producer]) for chain in cast.genesis.chains
        ]
        self._du1, self._jy1 = (
            next(chain for chain in self._chains if chain.params.kind == kind) for kind in ("scheduling", "trading")
        )
        self._last = FIRST_PERIOD + DAY * days - 1
        self._orders = {
            name: {order.hour: order for order in plan_orders(cast.profile, name, seed, self._market, DAY * days)}
            for name in (*cast.plants, *cast.homes)
        }
        self._period = FIRST_PERIOD - PLANNED_AHEAD - 1
        self._hours: dict[int, Hour] = {}
        self._ended: list[Day] = []
        self._sales: list[Sale] = []
        self._vouchers: list[Vouchers] = []
        self._paid_by_voucher: Counter[str] = Counter()  # since the last day was closed, µ¥
        self._due: list[tuple[str, str, int]] = []  # transfers for the next block: from, to, µ¥
        self._breaches: list[str] = []
        self._refused: Counter[str] = Counter()
        self._events: Counter[str] = Counter()
        self._lowest: dict[str, int] = {}
        self._blocks = 0

    def run(self) -> Week:
        """Every period of the week and those around it."""
        while self._period <= self._last + SETTLED_AFTER + 1:
            for part in range(BLOCKS):
                self._act(part)
                self._make_blocks(part)
            self._period += 1
        cast, booked = self._cast, get_booked(self._jy1.view)
        return Week(
            players=tuple((player.name, player.role) for player in cast.profile.players),
            names=cast.names,
            hours=tuple(self._hours[period] for period in sorted(self._hours)),
            days=tuple(self._ended),
            sales=tuple(self._sales),
            vouchers=tuple(self._vouchers),
            founding_uyuan=cast.founding_uyuan,
            deposited_uyuan=booked.deposited_uyuan,
            withdrawn_uyuan=booked.withdrawn_uyuan,
            lowest_uyuan=self._lowest,
            costs_uyuan={name: self._cost(name) for name in (*cast.plants, *cast.homes)},
            blocks=self._blocks,
            breaches=tuple(self._breaches),
            refused=dict(self._refused),
            events=dict(sorted(self._events.items())),
        )

    # --- what everybody does -----------------------------------------------------------------------

    def _act(self, part: int) -> None:
        match part:
            case 0:
                self._plan(self._period + PLANNED_AHEAD)
                self._read_meters(self._period - 1)
            case 1:
                self._register_claims(self._period + ORDERED_AHEAD)
            case 2:
                self._sell_claims(self._period + ORDERED_AHEAD)
                self._place_orders(self._period + ORDERED_AHEAD)
            case 3:
                self._move_money()

    def _plan(self, period: int) -> None:
        if self._is_played(period):
            lines = plan_lines(self._cast.profile, self._cast.positions, period - FIRST_PERIOD)
            self._du1.send(self._cast.keys[DISPATCH], "plan", period, lines)

    def _read_meters(self, period: int) -> None:
        for player in self._cast.profile.players if self._is_played(period) else ():
            actual_wh = self._cast.profile.readings[player.name, self._hour_ms(period)].actual_wh
            energy = (0, actual_wh) if player.role == "producer" else (actual_wh, 0)
            self._du1.send(self._cast.keys[f"meter-{player.name}"], "reading", period, *energy)

    def _register_claims(self, period: int) -> None:
        """Each plant registers a part of its forecast, for itself until it is sold."""
        if not self._is_played(period) or get_quota(self._jy1.state, period) is None:
            return
        for plant in self._cast.plants:
            claimed_wh = self._claimed_wh(plant, period)
            if claimed_wh:
                self._send(plant, "asset-issue", CLAIM, self._address(plant), claimed_wh, (period,))

    def _sell_claims(self, period: int) -> None:
        """Each plant sells its claim to two homes, in turn over the hours; they sign what they pay."""
        homes = self._cast.homes
        for place, plant in enumerate(self._cast.plants):
            series = get_claim(self._jy1.view, period, self._address(plant))
            if not series:
                continue
            first, second = (homes[(period + 4 * place + step) % len(homes)] for step in (0, 1))
            part_wh = self._claimed_wh(plant, period) // 2
            for home in (first, second):
                price_uyuan = part_wh * CLAIM_PRICE_UYUAN_PER_KWH // WH_PER_KWH
                self._sell(plant, home, series, part_wh, price_uyuan)
                self._sales.append(Sale(period, plant, home, part_wh, price_uyuan))

    def _sell(self, seller: str, buyer: str, series: int, volume_wh: int, price_uyuan: int) -> None:
        terms = CLAIM, series, volume_wh, self._address(buyer), price_uyuan, self._address(seller)
        purchase = Purchase(*terms, sequence=self._jy1.next_sequence(self._cast.keys[seller]))
        signed = sign_purchase(self._cast.keys[buyer], self._jy1.chain_id, purchase)
        self._send(seller, "asset-move", CLAIM, self._address(buyer), volume_wh, series, signed)

    def _place_orders(self, period: int) -> None:
        """Place the order of each player for what its forecast leaves beside the claims."""
        quotas = get_quota(self._jy1.state, period) if self._is_played(period) else None
        for name, planned in self._orders.items() if quotas is not None else ():
            order = planned.get(period - FIRST_PERIOD)
            if order is None:
                continue
            quota = cast(Any, quotas)[self._cast.positions[name]]
            limit_wh = quota.demand_wh if order.side == Side.BID else quota.supply_wh
            claimed_wh = sum(
                sale.volume_wh for sale in self._sales if sale.period == period and name in (sale.seller, sale.buyer)
            )
            volume_wh = min(order.volume_wh, limit_wh) - claimed_wh
            if volume_wh > 0:
                self._send(name, "intention", int(order.side), period, order.price_uyuan_per_kwh, volume_wh)

    def _move_money(self) -> None:
        """The bank's calls, a day's accounts once it is settled, and what follows from them, in that order."""
        due, self._due = self._due, []
        for source, to, amount_uyuan in due:
            self._send(source, "transfer", self._address(to), amount_uyuan)
        self._bank()
        if self._period % DAY == SETTLED_AFTER and self._period > FIRST_PERIOD + SETTLED_AFTER:
            self._close((self._period - FIRST_PERIOD) // DAY - 1)
        elif self._period == FIRST_PERIOD:
            self._place_notes()
        if self._period % DAY == DAY // 2 - 4 and self._is_played(self._period):
            for pot, amount_uyuan in FUNDED_UYUAN.items():
                self._send(GRID, "fund", pot, amount_uyuan)
        if self._period % DAY == DAY - 1:
            self._pay_with_vouchers()

    def _bank(self) -> None:
        view, bank = self._jy1.view, self._address(BANK)
        book = get_book(view, bank)
        customers = (GRID, *self._cast.plants, *self._cast.homes)
        orders = {self._address(name): get_standing_order(view, self._address(name)) for name in customers}
        has_order = {member: order is not None for member, order in orders.items()}
        last = None if book is None else book.last
        for kind, payload in plan_banking(bank, self._balance(BANK), last, has_order, BANKING):
            self._send(BANK, kind, *payload)
        for name in customers:
            for kind, payload in plan_payout(bank, self._balance(name), BANKING):
                self._send(name, kind, *payload)

    def _place_notes(self) -> None:
        """Investors pay for the notes, and the originator passes that on to the plants whose receipts they buy."""
        self._due = [(SENIOR, ORIGINATOR, POOL.senior), (MEZZANINE, ORIGINATOR, POOL.mezz)]
        for investor, to, amount_uyuan in self._due:
            self._send(investor, "transfer", self._address(to), amount_uyuan)
        share_uyuan = (POOL.senior + POOL.mezz) // len(self._cast.plants)
        self._due = [(ORIGINATOR, plant, share_uyuan) for plant in self._cast.plants]

    def _pay_with_vouchers(self) -> None:
        """Homes pay the grid company with what they hold; one renews first, one lets its vouchers expire."""
        view = self._jy1.view
        for home in self._cast.homes:
            for _, number, amount in get_lots(view, VOUCHER, self._address(home), self._period):
                series = get_series(view, number)
                assert series is not None, number
                purpose, is_renewed = series.attributes
                if home == RENEWS and not is_renewed:
                    self._send(home, "asset-renew", VOUCHER, number)
                elif home != LETS_EXPIRE:
                    terms = purpose, self._address(GRID)
                    self._send(home, "asset-redeem", VOUCHER, amount, number, terms)

    def _close(self, number: int) -> None:
        """Account for a day, and have its money move with the next blocks."""
        first = FIRST_PERIOD + DAY * number
        hours = [self._hours[period] for period in range(first, first + DAY) if period in self._hours]
        sales = [sale for sale in self._sales if first <= sale.period < first + DAY]
        before = self._ended[-1] if self._ended else None
        day = close_day(
            number,
            hours,
            sales,
            self._paid_by_voucher,
            self._cast.names,
            self._cast.profile.players,
            retail_uyuan_per_kwh=self._market.retail_uyuan_per_kwh,
            budget_uyuan=before.budget_left_uyuan if before else BUDGET_UYUAN,
            pool=before.pool if before else POOL,
        )
        self._paid_by_voucher.clear()
        self._ended.append(day)
        self._vouchers.append(count_vouchers(self._jy1.state))
        self._due = list_transfers(day, compute_receipts(hours, sales, self._cast.names), self._cast.plants)
        self._on_day(number + 1)

    # --- blocks ------------------------------------------------------------------------------------

    def _make_blocks(self, part: int) -> None:
        now_ms = self._cast.genesis.time_ms + (self._period * BLOCKS + part) * PERIOD_MS // BLOCKS + 1
        for chain in self._chains:
            said = chain.make_block(now_ms)
            self._refused.update(receipt.code for receipt in chain.receipts if receipt.code)
            for event in chain.events:
                self._hear(event)
            for other in self._chains:
                if other is not chain:
                    other.heard += said
        self._look()

    def _hear(self, event: Event) -> None:
        name = cast(str, event[0])
        self._events[name] += 1
        if name == "voucher-paid":
            self._paid_by_voucher[self._cast.names[cast(bytes, event[1])]] += cast(int, event[4])

    def _look(self) -> None:
        """Check every identity, and take down what was settled."""
        self._blocks += 1
        found = find_breaches(
            self._jy1.state,
            self._period,
            founding_uyuan=self._cast.founding_uyuan,
            price_uyuan=VOUCHERS.price_uyuan,
        )
        self._breaches += [f"block {self._jy1.header.height}: {breach}" for breach in found]
        for name in (GRID, *self._cast.plants, *self._cast.homes):
            self._lowest[name] = min(self._lowest.get(name, self._balance(name)), self._balance(name))
        for period in range(max(FIRST_PERIOD, self._period - SETTLED_AFTER), self._period + 1):
            if period not in self._hours and self._is_played(period):
                self._take_down(period)

    def _take_down(self, period: int) -> None:
        state, view = self._jy1.state, self._jy1.view
        settlement = get_settlement(state, period)
        if settlement is None:
            return
        self._hours[period] = Hour(
            period=period,
            hour_ms=self._hour_ms(period),
            claims=tuple(row for number, _ in walk_claims(view, period) for row in get_served(view, number)),
            trades=settlement.trades,
            grid=settlement.grid,
            agreed=tuple(get_binding_trades(state, period)),
        )

    # --- inside ------------------------------------------------------------------------------------

    @property
    def _market(self) -> Any:
        return self._jy1.params.market

    def _is_played(self, period: int) -> bool:
        return FIRST_PERIOD <= period <= self._last

    def _hour_ms(self, period: int) -> int:
        return self._cast.profile.hours_ms[period - FIRST_PERIOD]

    def _claimed_wh(self, plant: str, period: int) -> int:
        """The Wh that a plant sells as claims: whole kWh, twice the same."""
        forecast_wh = self._cast.profile.readings[plant, self._hour_ms(period)].forecast_wh
        return forecast_wh * CLAIMED_PPM // PPM // 2_000 * 2_000

    def _address(self, name: str) -> bytes:
        return self._cast.keys[name].address

    def _balance(self, name: str) -> int:
        return get_account(self._jy1.view, self._address(name)).balance_uyuan

    def _cost(self, name: str) -> int:
        account = get_account(self._jy1.view, self._address(name))
        return account.cost_uyuan - account.income_uyuan

    def _send(self, name: str, kind: str, *payload: Value) -> None:
        self._jy1.send(self._cast.keys[name], kind, *payload)


def list_transfers(day: Day, receipts_uyuan: Counter[str], plants: tuple[str, ...]) -> list[tuple[str, str, int]]:
    """The transfers (from, to, µ¥) by which a day's subsidies and the pool's collections and payments are made."""
    due = [(BANK, plant, amount) for plant, amount in day.subsidies_uyuan.items()]
    left_uyuan = day.collections_uyuan
    for plant in plants:
        part_uyuan = left_uyuan if plant == plants[-1] else receipts_uyuan[plant] * COLLECTED_PPM // PPM
        due.append((plant, ORIGINATOR, part_uyuan))
        left_uyuan -= part_uyuan
    paid = day.payments
    due.append((ORIGINATOR, SENIOR, paid.sen_int + paid.sen_prin))
    due.append((ORIGINATOR, MEZZANINE, paid.mez_int + paid.mez_prin))
    return [row for row in due if row[2]]
