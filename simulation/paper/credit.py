"""Table 2 and Fig. 3 of text 000: the seven tests as printed, and what our settlement and credit make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal, NamedTuple, TypeAlias

from market.credit.score import FULL_CREDIT_UPT, PPM, CreditRecord, assess_delivery
from market.rounding import divide_half_up
from market.settlement import WH_PER_KWH, settle_trade

RETAIL_UYUAN_PER_KWH = 615_000
FEED_IN_UYUAN_PER_KWH = (
    410_000  # the text calls it a wheeling cost; the cells follow when it is paid for surplus output
)
NATURAL_FACTORS_PPM = (0, 100_000, 200_000, 300_000)

Column: TypeAlias = Literal["buyer pays", "seller receives", "grid receives", "buyer's credit", "seller's credit"]
Basis: TypeAlias = Literal["ours", "printed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PaperTest:
    """A row of Table 2 as it is printed."""

    number: int
    price_uyuan_per_kwh: int
    agreed_wh: int
    wheeling_uyuan_per_kwh: int
    consumption_wh: int
    output_wh: int
    buyer_pays_uyuan: int
    seller_receives_uyuan: int
    grid_receives_uyuan: int
    cumulative_wh: int  # no rule of the text gives it, and it falls from one test to the next
    buyer_credit_upt: int
    seller_credit_upt: int


def _test(
    number: int, price: int, used: int, made: int, money: tuple[int, ...], total: int, buyer: int, seller: int
) -> PaperTest:
    """A row from its printed figures: price in fen, money in tenths of a yuan, energy in kWh, credit in points."""
    pays, receives, grid = (tenths * 100_000 for tenths in money)
    return PaperTest(
        number=number,
        price_uyuan_per_kwh=price * 10_000,
        agreed_wh=200_000,
        wheeling_uyuan_per_kwh=20_000,
        consumption_wh=used * WH_PER_KWH,
        output_wh=made * WH_PER_KWH,
        buyer_pays_uyuan=pays,
        seller_receives_uyuan=receives,
        grid_receives_uyuan=grid,
        cumulative_wh=total * WH_PER_KWH,
        buyer_credit_upt=buyer * 1_000_000,
        seller_credit_upt=seller * 1_000_000,
    )


TABLE_2 = (
    _test(1, 55, 220, 200, (1263, 1100, 163), 480, 100, 100),
    _test(2, 56, 200, 200, (1160, 1120, 40), 500, 100, 100),
    _test(3, 54, 180, 200, (1008, 1054, -46), 720, 90, 100),
    _test(4, 54, 250, 250, (1400, 1350, 50), 800, 100, 100),
    _test(5, 56, 180, 180, (1044, 1008, 36), 700, 90, 90),
    _test(6, 55, 190, 190, (1083, 1045, 38), 600, 95, 90),
    _test(7, 54, 240, 220, (1359, 1188, 171), 900, 90, 85),
)


# --- Table 2 -------------------------------------------------------------------------------------


class Cell(NamedTuple):
    """One result of a test, in µ¥ or micro-points: what we get and what the paper prints."""

    column: Column
    ours: int
    printed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproducedTest:
    """A test with its five results, and the buyer's payment (µ¥) if wheeling were charged on all it consumed."""

    test: PaperTest
    cells: tuple[Cell, ...]
    pays_with_all_wheeled_uyuan: int

    @property
    def deviations(self) -> list[Cell]:
        return [cell for cell in self.cells if cell.ours != cell.printed]


def reproduce_table_2() -> tuple[ReproducedTest, ...]:
    """Every test settled and scored by the chain's own functions, each as its own account's only delivery."""
    return tuple(_reproduce(test) for test in TABLE_2)


def _reproduce(test: PaperTest) -> ReproducedTest:
    legs = settle_trade(
        price_uyuan_per_kwh=test.price_uyuan_per_kwh,
        wheeling_uyuan_per_kwh=test.wheeling_uyuan_per_kwh,
        consumption_wh=test.consumption_wh,
        output_wh=test.output_wh,
        retail_uyuan_per_kwh=RETAIL_UYUAN_PER_KWH,
        feed_in_uyuan_per_kwh=FEED_IN_UYUAN_PER_KWH,
    )
    beyond_wh = test.consumption_wh - legs.traded_wh
    wheeled_uyuan = divide_half_up(beyond_wh * test.wheeling_uyuan_per_kwh, WH_PER_KWH)
    buyer_upt = assess_delivery(test.consumption_wh, test.agreed_wh)
    seller_upt = assess_delivery(test.output_wh, test.agreed_wh)
    return ReproducedTest(
        test=test,
        cells=(
            Cell("buyer pays", legs.buyer_pays_uyuan, test.buyer_pays_uyuan),
            Cell("seller receives", legs.seller_receives_uyuan, test.seller_receives_uyuan),
            Cell("grid receives", legs.grid_receives_uyuan, test.grid_receives_uyuan),
            Cell("buyer's credit", buyer_upt, test.buyer_credit_upt),
            Cell("seller's credit", seller_upt, test.seller_credit_upt),
        ),
        pays_with_all_wheeled_uyuan=legs.buyer_pays_uyuan + wheeled_uyuan,
    )


# --- Fig. 3 --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditCurve:
    """The seller's integrated credit after each of the seven tests, under one natural factor of Eq. (12).

    On the basis "ours" a test scores what its output against the agreed volume gives; on "printed" the share delivered
    is what the credit printed in Table 2 says. `uncapped` is the last credit in points where no score is cut off at
    100, as Eq. (12) is printed.
    """

    basis: Basis
    natural_factor_ppm: int
    scores_upt: tuple[int, ...]
    credits_upt: tuple[int, ...]
    uncapped: Fraction


def reproduce_figure_3() -> tuple[CreditCurve, ...]:
    """Eq. (12) over the seven tests for every factor, on both bases."""
    ours = [(test.output_wh, test.agreed_wh) for test in TABLE_2]
    printed = [(test.seller_credit_upt, FULL_CREDIT_UPT) for test in TABLE_2]
    curves = [_compute_curve("ours", ours, factor_ppm) for factor_ppm in NATURAL_FACTORS_PPM]
    return (*curves, *(_compute_curve("printed", printed, factor_ppm) for factor_ppm in NATURAL_FACTORS_PPM))


def _compute_curve(basis: Basis, deliveries: Sequence[tuple[int, int]], factor_ppm: int) -> CreditCurve:
    """The curve over (actual, agreed) pairs."""
    record, scores_upt, credits_upt = CreditRecord(initial_upt=0), [], []
    for actual, agreed in deliveries:
        score_upt = assess_delivery(actual, agreed, natural_factor_ppm=factor_ppm)
        record = record.add(score_upt)
        scores_upt.append(score_upt)
        credits_upt.append(record.credit_upt)
    literal = [
        Fraction(100) if actual >= agreed else Fraction(100 * actual * (PPM + factor_ppm), agreed * PPM)
        for actual, agreed in deliveries
    ]
    return CreditCurve(
        basis=basis,
        natural_factor_ppm=factor_ppm,
        scores_upt=tuple(scores_upt),
        credits_upt=tuple(credits_upt),
        uncapped=sum(literal, Fraction(0)) / len(literal),
    )
