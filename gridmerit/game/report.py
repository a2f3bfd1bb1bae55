"""The experiment of text 001 put into words and tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gridmerit.paper.layout import Block, Bullets, Image, PaperReport, Part, Table
from gridmerit.text import format_count, format_hour, format_time
from market.game.hour import DIRECTIONS, as_tuple
from market.game.regret import SETTLED
from simulation.game.accounts import RETAIL, Account, HourAccounts, add_up, sum_hours
from simulation.game.experiment import PAPER_NOON, USER_VALUES, Experiment, Noon, SolvedHour
from simulation.game.figures import LABELS
from simulation.report.figures import Figure

NOTHING = "–"
_DAY_HOURS = 24
_NO_REGRET = 1e-12
_MOST_USERS = 4  # that have a line each
_SOLVERS = {"best-response": "best response", "ants": "ants: 35 for each price, 200 iterations"}
_REASONS = (
    "With volumes fixed, the printed equations only move money: what companies and bureaus gain is what users pay, "
    "whatever the prices. An equally weighted sum of the objectives is constant, and ants on it walk at random.",
    "Each objective rises with its own price below 10 yuan. The only equilibrium of the printed game is the corner: "
    "0.7, 0.7, 0.6 and 0.6 yuan.",
    "A direction without volume is in nobody's payoff, so that its price is arbitrary.",
    "Ours are of a game in which volumes answer to prices: the cheaper kWh is likelier to be taken, and who asks too "
    "much is left with it. We do not tune it to the paper's values.",
)
_MARKETS = (
    "corner: every price at its upper bound, the only equilibrium of the printed equations.",
    f"tariffs: fixed ones. All is bought of the grid company at {RETAIL:g} and sold to it at the feed-in tariff; "
    "bureaus make what the green energy leaves.",
    "auction: a double auction of truthful orders, cleared by the chain's rule price-time, first of users, then of "
    "bureaus for what is left. A bureau's kWh costs less to make than the grid pays a company for one, so that users' "
    "bids meet the bureau first.",
    "Subsidies are paid in the game and at its corner alone.",
)


def make_report(experiment: Experiment, figures: Sequence[Figure]) -> PaperReport:
    """The whole report; the same experiment always gives the same words."""
    plan, hours = experiment.plan, experiment.hours
    players = (
        f"{plan.companies} microgrid {'company' if plan.companies == 1 else 'companies'} (G)",
        f"{format_count(plan.bureaus, 'energy bureau')} (C)",
        f"{format_count(plan.users, 'user')} (U)",
    )
    values = "" if plan.users == 2 else f" Users value a kWh at {USER_VALUES[0]:g} to {USER_VALUES[1]:g} yuan each."
    return PaperReport(
        title="The game of text 001",
        introduction=(
            "Y. Liu and F. Zhou, Electricity market transaction model design combining blockchain and machine "
            f"learning: its experiment on {format_count(len(hours), 'hour')} from {format_time(hours[0].start_ms)} "
            f"UTC, as {'forecast' if plan.series == 'forecast' else 'metered'}, with {', '.join(players)}. Prices are "
            f"yuan per kWh, by {_SOLVERS[plan.solver]}; μ = {plan.mu:g}, seed {plan.seed}.{values}"
        ),
        parts=(
            _make_energy(figures),
            _make_prices(experiment, figures),
            _make_noon(experiment.noon),
            _make_accounts(experiment),
            _make_green(experiment),
        ),
    )


def _list_images(figures: Sequence[Figure], *prefixes: str) -> Iterator[Image]:
    return (Image(alt=caption, file=name) for name, caption, _ in figures if name.startswith(prefixes))


def _make_energy(figures: Sequence[Figure]) -> Part:
    text = (
        "A company sells what its own load leaves of what its plants make, first to users, then to bureaus, and the "
        "grid takes the rest at the feed-in tariff; a bureau can generate all that users want."
    )
    return Part(title="Energy (Figs 2 and 3)", blocks=(text, *_list_images(figures, "figure-2", "figure-3")))


# --- prices ----------------------------------------------------------------------------------------


def _make_prices(experiment: Experiment, figures: Sequence[Figure]) -> Part:
    hours = experiment.hours
    rows = tuple(
        (
            _name_hour(one, len(hours)),
            show_kwh(sum(as_tuple(one.hour.surplus_wh)) / 1_000),
            show_kwh(sum(one.hour.kwh("user_load_wh"))),
            *(show_price(one, direction) for direction in DIRECTIONS),
            show_regret(one.regret),
            *([] if not experiment.unsettled else ["" if one.is_settled else "not settled"]),
        )
        for one in hours
    )
    heads = ("from", "to sell", "users", *(LABELS[name] for name in DIRECTIONS), "regret")
    heads += ("is it solved?",) if experiment.unsettled else ()
    blocks: list[Block] = [Table(heads=heads, rows=rows, left=(0, len(DIRECTIONS) + 4)), _judge_regrets(experiment)]
    if max(experiment.plan.companies, experiment.plan.bureaus) > 1:
        blocks.append(
            "Where several sell, the price is their mean by volume; the regret is the largest of all players'."
        )
    return Part(title="Prices (Figs 4 and 5)", blocks=(*blocks, *_list_images(figures, "figure-4", "figure-5")))


def _name_hour(one: SolvedHour, count: int) -> str:
    return format_hour(one.start_ms) if count <= _DAY_HOURS else format_time(one.start_ms)[5:16]


def show_price(one: SolvedHour, direction: str) -> str:
    """A price to a millionth, as the paper prints them; a dash where nothing goes that way."""
    return f"{one.mean_price(direction):.6f}" if one.sum_volume(direction) > 0 else NOTHING


def show_regret(regret: float) -> str:
    """A part of one; what is less than a float can tell from none, as such."""
    return f"{regret:.0e}" if regret >= _NO_REGRET else f"< {_NO_REGRET:.0e}"


def _judge_regrets(experiment: Experiment) -> str:
    hours, unsettled = experiment.hours, len(experiment.unsettled)
    verdict = (
        f"In {len(hours) - unsettled} of {format_count(len(hours), 'hour')} nobody gains by another price. The regret "
        "is the most that a company or a bureau could gain by another one of its own, as a part of what it has. "
        f"{NOTHING} is where nothing goes that way, and a price would mean nothing."
    )
    if unsettled:
        verdict += (
            f" Where the regret is above {SETTLED:g}, no equilibrium was found, and the game may have none: the prices "
            "are those of least regret. With a larger --mu, where choices are less sharp, more hours settle."
        )
    return verdict


# --- 12:00 -----------------------------------------------------------------------------------------


def _make_noon(noon: Noon | None) -> Part:
    title = "12:00, beside the paper's"
    if noon is None:
        return Part(title=title, blocks=("The profile has no hour from 12:00.",))
    rows = tuple(
        (
            LABELS[name],
            f"{PAPER_NOON.of(name)[0]:.6f}",
            show_price(noon.solved, name),
            show_kwh(noon.solved.sum_volume(name)),
        )
        for name in ("c_to_g", "c_to_u", "g_to_c", "g_to_u")
    )
    regrets = (
        ("regret in our game", show_percent(noon.regret), show_percent(noon.solved.regret), ""),
        ("regret in the printed one", show_percent(noon.printed_regret), show_percent(noon.our_printed_regret), ""),
    )
    return Part(
        title=title,
        blocks=(
            Table(heads=("price", "paper", "ours", "kWh at ours"), rows=(*rows, *regrets)),
            "By so much somebody could have more at another price: the paper's are an equilibrium of neither game. Why "
            "they follow from nothing that is printed:",
            Bullets(_REASONS),
        ),
    )


# --- accounts --------------------------------------------------------------------------------------


def _make_accounts(experiment: Experiment) -> Part:
    rows: list[tuple[object, ...]] = []
    kept: dict[str, float] = {}
    for market, hours in experiment.accounts.items():
        day = sum_hours(hours)
        kept[market] = add_up(day.everybody).payoff
        for index, (name, account) in enumerate(list_players(day)):
            rows.append((market if index == 0 else "", name, *_show_account(account)))
        rows.append(("", "all", *[""] * 7, show_yuan(kept[market])))
    best = max(kept, key=lambda market: kept[market])
    heads = ("market", "who", "sells kWh", "income", "per kWh", "buys kWh", "cost", "per kWh", "subsidy", "keeps")
    return Part(
        title="Income and cost",
        blocks=(
            Table(heads=heads, rows=tuple(rows), left=(0, 1)),
            f"In yuan, over {format_count(len(experiment.hours), 'hour')}. What one keeps is its payoff of the game: "
            "income less cost, with subsidies, less what a bureau's generation costs, plus the worth of what a bureau "
            "buys and of what users and companies could have gone without. Users consume less where a kWh costs more, "
            f"so compare what they pay per kWh and in all. All together keep most by the {best}.",
            Bullets(_MARKETS),
        ),
    )


def list_players(accounts: HourAccounts) -> Iterator[tuple[str, Account]]:
    """Names and accounts: users one by one where they are few, all others of a kind as one."""
    yield "companies" if len(accounts.companies) > 1 else "company", add_up(accounts.companies)
    yield "bureaus" if len(accounts.bureaus) > 1 else "bureau", add_up(accounts.bureaus)
    if len(accounts.users) <= _MOST_USERS:
        yield from ((f"user {number}", account) for number, account in enumerate(accounts.users, 1))
    else:
        yield f"{len(accounts.users):,} users", add_up(accounts.users)
    yield "grid", accounts.grid


def _show_account(account: Account) -> tuple[str, ...]:
    return (
        show_kwh(account.sold_kwh),
        show_yuan(account.income),
        show_ratio(account.income, account.sold_kwh),
        show_kwh(account.bought_kwh),
        show_yuan(account.cost),
        show_ratio(account.cost, account.bought_kwh),
        show_yuan(account.subsidy),
        show_yuan(account.payoff),
    )


def _make_green(experiment: Experiment) -> Part:
    rows = []
    for market, hours in experiment.accounts.items():
        green = sum_hours(hours).green
        home = show_percent((green.own + green.sold) / green.made) if green.made else NOTHING
        rows.append((market, *map(show_kwh, (green.own, green.sold, green.resold, green.fed_in)), home))
    text = (
        "kWh of companies' plants. At home is what companies use themselves and sell to users; what a bureau buys it "
        "sells on in place of its own generation, what is fed in leaves for the grid."
    )
    heads = ("market", "own load", "to users", "to bureaus", "fed in", "at home")
    return Part(title="Green energy", blocks=(Table(heads=heads, rows=tuple(rows)), text))


# --- numbers ---------------------------------------------------------------------------------------


def show_kwh(kwh: float) -> str:
    """Whole ones; a dash for none."""
    return f"{kwh:,.0f}" if abs(kwh) >= 0.5 else NOTHING


def show_yuan(yuan: float) -> str:
    """To a fen; a dash for none."""
    return f"{yuan:,.2f}" if abs(yuan) >= 0.005 else NOTHING


def show_ratio(yuan: float, kwh: float) -> str:
    """Yuan per kWh; a dash where there is no energy."""
    return f"{yuan / kwh:.4f}" if kwh >= 0.5 else NOTHING


def show_percent(part: float) -> str:
    """A part of one in percent."""
    return f"{100 * part:.1f} %"
