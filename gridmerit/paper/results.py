"""Table 2, Fig. 3 and Fig. 4 of text 000 in words: ours beside the paper's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from gridmerit.paper.layout import Bullets, Image, Part, Table
from gridmerit.text import format_points, format_scaled, format_yuan
from simulation.paper.credit import Basis, Cell, CreditCurve, ReproducedTest
from simulation.paper.sealing import Race, Racer

FIGURE_3, FIGURE_4 = "figure-3.png", "figure-4.png"

_PPM = 1_000_000
_POINT = 1_000_000

# Why a cell of Table 2 deviates, by test and column; what stands in braces is the test's.
EXPLANATIONS: Mapping[tuple[int, str], str] = {
    (6, "seller's credit"): "Eq. (2): {made} of {agreed} kWh delivered are {ours} points, which is also what the same "
    "row gives the buyer for the same energy. No equation gives {printed}.",
    (7, "buyer pays"): "The paper charges wheeling on all {used} kWh consumed ({all_wheeled} yuan); only {traded} kWh "
    "changed hands, and the rest is retail energy from the grid. Its own row 1 charges the traded energy only.",
    (7, "grid receives"): "The grid company gets what the buyer pays less what the seller receives, so the same "
    "wheeling charge is in here.",
    (
        7,
        "buyer's credit",
    ): "Eq. (1): {used} kWh taken of {agreed} agreed is full delivery. No equation gives {printed}.",
    (
        7,
        "seller's credit",
    ): "Eq. (2): {made} kWh made of {agreed} agreed is full delivery. No equation gives {printed}.",
}


# --- Table 2 -------------------------------------------------------------------------------------


def make_table_2(tests: Sequence[ReproducedTest]) -> Part:
    deviations = [(test, cell) for test in tests for cell in test.deviations]
    count = sum(len(test.cells) for test in tests)
    return Part(
        title="Table 2: seven tests of the contract",
        blocks=(
            f"{count - len(deviations)} of {count} results are the paper's; {len(deviations)} are not, marked with *. "
            "Money in yuan, prices in yuan per kWh, energy in kWh; wheeling is 0.02 yuan per kWh, energy from the grid "
            "costs 0.615 and surplus output earns 0.41.",
            _make_money(tests),
            _make_credits(tests),
            "Every deviating cell:",
            Table(
                heads=("test", "cell", "ours", "paper", "why"),
                rows=tuple(
                    (test.test.number, cell.column, *_show_pair(cell), explain(test, cell)) for test, cell in deviations
                ),
                left=(0, 1, 4),
            ),
            Bullets(_remark_on_table_2(tests)),
        ),
    )


def _remark_on_table_2(tests: Sequence[ReproducedTest]) -> tuple[str, ...]:
    first = tests[0]
    return (
        "The text calls 0.41 yuan per kWh a wheeling cost that is charged to the seller. The cells follow only when it "
        "is what the grid company pays for surplus output: in test 3, 20 kWh at 0.41 complete the 105.4 yuan.",
        "Were wheeling charged on all consumption, test 1 would cost the buyer "
        f"{format_yuan(first.pays_with_all_wheeled_uyuan)} yuan instead of the printed "
        f"{format_yuan(first.test.buyer_pays_uyuan)}: the paper's rows 1 and 7 follow different rules.",
        "Credits are each test's single delivery, as if each had its own account. They cannot be the running means of "
        "Eqs (1) and (2): a mean of 90 after three tests is not 100 after four.",
        "The column “cumulative power volume” ("
        + ", ".join(format_scaled(test.test.cumulative_wh, 3) for test in tests)
        + " kWh) is not reproduced: no rule of the text gives it, and a cumulative volume cannot fall.",
    )


def _make_money(tests: Sequence[ReproducedTest]) -> Table:
    rows = []
    for test in tests:
        given = test.test
        pairs = [item for cell in test.cells[:3] for item in _show_pair(cell)]
        energy = (given.agreed_wh, given.consumption_wh, given.output_wh)
        rows.append((given.number, format_yuan(given.price_uyuan_per_kwh), *map(_show_kwh, energy), *pairs))
    heads = ("test", "price", "agreed", "used", "made")
    return Table(heads=(*heads, "buyer pays", "paper", "seller gets", "paper", "grid gets", "paper"), rows=tuple(rows))


def _make_credits(tests: Sequence[ReproducedTest]) -> Table:
    rows = []
    for test in tests:
        given = test.test
        buyer, seller = test.cells[3:]
        used, made = _show_kwh(given.consumption_wh), _show_kwh(given.output_wh)
        rows.append((given.number, _show_kwh(given.agreed_wh), used, *_show_pair(buyer), made, *_show_pair(seller)))
    heads = ("test", "agreed", "used", "buyer's credit", "paper", "made", "seller's credit", "paper")
    return Table(heads=heads, rows=tuple(rows))


def explain(test: ReproducedTest, cell: Cell) -> str:
    """Explain why the cell is not the paper's."""
    given = test.test
    return EXPLANATIONS[given.number, cell.column].format(
        ours=_show_amount(cell.ours),
        printed=_show_amount(cell.printed),
        agreed=_show_kwh(given.agreed_wh),
        used=_show_kwh(given.consumption_wh),
        made=_show_kwh(given.output_wh),
        traded=_show_kwh(min(given.consumption_wh, given.output_wh)),
        all_wheeled=_show_amount(test.pays_with_all_wheeled_uyuan),
    )


def _show_pair(cell: Cell) -> tuple[str, str]:
    mark = "" if cell.ours == cell.printed else "*"
    return f"{_show_amount(cell.ours)}{mark}", _show_amount(cell.printed)


def _show_amount(amount: int) -> str:
    """Yuan or points: both are millionths, and the table's have one decimal at most."""
    return format_scaled(amount, 6, least=1)


def _show_kwh(energy_wh: int) -> str:
    return format_scaled(energy_wh, 3)


# --- Fig. 3 --------------------------------------------------------------------------------------


def make_figure_3(curves: Sequence[CreditCurve]) -> Part:
    plain = {curve.basis: curve for curve in curves if not curve.natural_factor_ppm}
    return Part(
        title="Fig. 3: the seller's integrated credit under Eq. (12)",
        blocks=(
            "The running mean of the seller's scores over the seven tests. α raises the score of a shortfall by 1 + α, "
            "and a score is capped at 100 points. The figure's values are not in the paper's text, so there is nothing "
            "to compare with but its claim that α reduces what weather costs a seller's credit. It does.",
            Image(alt="Integrated credit of the seller over the seven tests", file=FIGURE_3),
            f"From the outputs of Table 2 ({_list_shortfalls(plain['ours'])}):",
            _make_curves(curves, "ours"),
            f"From the credits that Table 2 prints ({_list_shortfalls(plain['printed'])}):",
            _make_curves(curves, "printed"),
            Bullets(_remark_on_figure_3(curves)),
        ),
    )


def _remark_on_figure_3(curves: Sequence[CreditCurve]) -> tuple[str, ...]:
    ours = [curve for curve in curves if curve.basis == "ours"]
    plain, highest = ours[0], ours[-1]
    forgiving = [f"α = {_show_alpha(curve)}" for curve in curves if min(curve.scores_upt) == max(curve.scores_upt)]
    lowest_upt = min(plain.scores_upt)
    uncapped = Fraction(lowest_upt * (_PPM + highest.natural_factor_ppm), _PPM * _POINT)
    return (
        "α = 0 is Eq. (2), without the allowance; α = 0.3 is the open end of the paper's interval (0, 0.3).",
        "Delivering 1/(1 + α) of what was agreed counts as all of it. So every shortfall of these tests is forgiven "
        f"altogether under {' and '.join(dict.fromkeys(forgiving))}, on both bases.",
        f"As printed, Eq. (12) has no cap: α = {_show_alpha(highest)} would end at {float(highest.uncapped):.3f} "
        f"points, and delivering {format_scaled(lowest_upt, 6)} % would score {float(uncapped):.0f}, more than all of "
        "it.",
    )


def _make_curves(curves: Sequence[CreditCurve], basis: Basis) -> Table:
    chosen = [curve for curve in curves if curve.basis == basis]
    rows = tuple(
        (f"test {number}", *map(format_points, values))
        for number, values in enumerate(zip(*(curve.credits_upt for curve in chosen), strict=True), start=1)
    )
    return Table(heads=("after", *(f"α = {_show_alpha(curve)}" for curve in chosen)), rows=rows)


def _list_shortfalls(curve: CreditCurve) -> str:
    short = [
        f"test {number} scores {format_scaled(score_upt, 6)}"
        for number, score_upt in enumerate(curve.scores_upt, start=1)
        if score_upt < 100 * _POINT
    ]
    return ", ".join([*short, "the others 100"])


def _show_alpha(curve: CreditCurve) -> str:
    return format_scaled(curve.natural_factor_ppm, 6)


# --- Fig. 4 --------------------------------------------------------------------------------------


def make_figure_4(races: Sequence[Race]) -> Part:
    outside = [racer for race in races for racer in race.racers if not racer.is_inside]
    counts = sum(len(race.racers) for race in races)
    blocks = races[0].blocks
    return Part(
        title=f"Fig. 4: who seals {blocks} blocks",
        blocks=(
            "Ten players, equally fast, with credits in equal steps from 90 to 100 points, both included (the paper "
            "says “between 90 and 100”). Each runs a real node: nonces are searched, headers signed, and checked by "
            "all ten. The credits are earned: every player trades 9 kWh in one period and delivers 90 … 100 % of it. "
            f"Counted are the {blocks} blocks after the snapshot that holds these credits.",
            Image(alt="Blocks sealed by credit, with what Eq. (11) expects and 95 % bands", file=FIGURE_4),
            _make_races(races),
            f"Under each τ what is expected: {blocks} times the share of Eq. (11), with e^(C/τ). Band: the central "
            f"95 % of the exact binomial distribution. {counts - len(outside)} of {counts} counts lie inside; * marks "
            "the others, of which chance alone makes about one in twenty or fewer.",
            "What the formula implies; all but the last line is computed from Eq. (11) alone:",
            _make_implications(races),
            Bullets(_remark_on_figure_4(races)),
        ),
    )


def _remark_on_figure_4(races: Sequence[Race]) -> tuple[str, ...]:
    paper, best = races[0], races[0].racers[-1]
    blurred = [f"τ = {_show_tau(race)}" for race in races if race.racers[0].high >= race.racers[-1].low]
    remarks = [
        f"τ = 1 is the paper's formula, e^C. The best player has {_show_share(best.share)} of the blocks"
        + (" and decides alone which branch wins" if count_for_majority(paper) == 1 else "")
        + f"; {paper.blocks} blocks leave {float(paper.expected_without):.1f} of the ten players without any, on "
        "average. So at these credits the formula gives no gradual rise over ten players.",
        "The chance of a block rises with credit at every τ, as the paper says. That players therefore keep their word "
        "does not follow: the paper does not say what a block earns, and this chain pays nothing for one.",
    ]
    if blurred:
        remarks.append(
            f"Under {' and '.join(blurred)} the bands of the first and the last player overlap: {paper.blocks} blocks "
            "are too few to tell even those two apart for certain."
        )
    return tuple(remarks)


def _make_races(races: Sequence[Race]) -> Table:
    heads = ["player", "credit"]
    for race in races:
        heads += [f"τ = {_show_tau(race)}", "sealed", "band"]
    rows = []
    for racers in zip(*(race.racers for race in races), strict=True):
        row: list[object] = [racers[0].name, format_points(racers[0].credit_upt)]
        for race, racer in zip(races, racers, strict=True):
            row += [f"{float(racer.share * race.blocks):.2f}", *_show_count(racer)]
        rows.append(tuple(row))
    return Table(heads=tuple(heads), rows=tuple(rows))


def _show_count(racer: Racer) -> tuple[str, str]:
    return f"{racer.sealed}{'' if racer.is_inside else '*'}", f"{racer.low} … {racer.high}"


def _make_implications(races: Sequence[Race]) -> Table:
    half = len(races[0].racers) // 2
    upper = [race.racers[half:] for race in races]
    shares = [sum((racer.share for racer in racers), Fraction(0)) for racers in upper]
    blocks = races[0].blocks
    rows: tuple[tuple[object, ...], ...] = (
        ("share of the best of ten", *(_show_share(race.racers[-1].share) for race in races)),
        ("share of the last", *(_show_share(race.racers[0].share) for race in races)),
        ("blocks of the best for each of the last", *(_show_ratio(race) for race in races)),
        ("players that together have more than half", *(count_for_majority(race) for race in races)),
        (f"players without any of {blocks}, on average", *(f"{float(race.expected_without):.1f}" for race in races)),
        ("blocks of the upper five, expected", *(f"{float(share * blocks):.1f}" for share in shares)),
        ("blocks of the upper five, sealed", *(sum(racer.sealed for racer in racers) for racers in upper)),
    )
    return Table(heads=("", *(f"τ = {_show_tau(race)}" for race in races)), rows=rows)


def count_for_majority(race: Race) -> int:
    """The number of the fewest players with more than half of all shares."""
    shares = sorted((racer.share for racer in race.racers), reverse=True)
    return next(count for count in range(1, len(shares) + 1) if sum(shares[:count]) > Fraction(1, 2))


def _show_ratio(race: Race) -> str:
    ratio = float(race.racers[-1].share / race.racers[0].share)
    return f"{ratio:,.0f}" if ratio >= 100 else f"{ratio:.1f}"


def _show_share(share: Fraction) -> str:
    return f"{float(share) * 100:.3g} %"


def _show_tau(race: Race) -> str:
    return format_scaled(race.tau_upt, 6)
