"""`gridmerit game`: the experiment of text 001, solved hour by hour."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from gridmerit.commands.progress import show_progress
from gridmerit.network.parameters import load_packaged_profile, load_profile
from gridmerit.output import emit, format_error, json_option, note
from gridmerit.paper.layout import render_text
from market.profile import Profile
from simulation.errors import MissingExtra

if TYPE_CHECKING:
    from simulation.game.experiment import Experiment, Plan

_LONG = 100  # hours times players that set prices: from there on best response takes seconds


@click.command("game")
@click.option(
    "--profile",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="CSV",
    help="Hours of your own, of the form of configs/profiles/rts_gmlc_day.csv.  [default: the packaged day]",
)
@click.option(
    "--series",
    type=click.Choice(["forecast", "actual"]),
    default="forecast",
    show_default=True,
    help="What players know: the forecasts, or what their meters will say.",
)
@click.option("--companies", type=click.IntRange(1, 50), default=1, show_default=True, help="Microgrid companies.")
@click.option("--bureaus", type=click.IntRange(1, 20), default=1, show_default=True, help="Energy bureaus.")
@click.option("--users", type=click.IntRange(1, 10_000), default=2, show_default=True, help="Ordinary users.")
@click.option(
    "--mu",
    type=click.FloatRange(0.02, 0.2),
    default=0.05,
    show_default=True,
    help="How sharply a choice takes the cheaper kWh, in yuan per kWh; some hours do not settle near 0.02.",
)
@click.option(
    "--solver",
    type=click.Choice(["best-response", "ants"]),
    default="best-response",
    show_default=True,
    help="Both find the same prices.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    default=1,
    show_default=True,
    help="Draws the ants' steps and the players' sizes.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="A directory for the report, Figs 2 to 5 and the tables; files of the same names are replaced.",
)
@json_option
def command(
    file: Path | None,
    series: Literal["forecast", "actual"],
    companies: int,
    bureaus: int,
    users: int,
    mu: float,
    solver: Literal["best-response", "ants"],
    seed: int,
    out: Path | None,
) -> None:
    """Play the market game of text 001 on a day: prices that nobody gains by changing.

    A microgrid company (G) with 800 kW of sun, 800 kW of wind and a load of its own, an energy bureau (C) and two users
    (U), on a day of real forecasts: the paper's experiment with its bid spaces. For every hour it finds the four
    prices, and says how much anybody could still gain by another one (the regret). It holds the paper's prices of 12:00
    against ours and says why they differ. It says what each player earns and pays, in all and per kWh, and where the
    green energy goes, beside three other ways to trade the same hours: the corner (every price at its most), fixed
    tariffs and a double auction.

    Energy is a profile's: the producers are the company's plants, the first quarter of the consumers its own load, the
    others two users. With other --companies, --bureaus and --users the same energy is shared out among them unevenly.

    \b
    Examples:
      gridmerit game
      gridmerit game --out game-out                  Figs 2 to 5, report.html, tables
      gridmerit game --solver ants --seed 7
      gridmerit game --series actual                 with what the meters said
      gridmerit game --companies 10 --bureaus 3 --users 1000
    """
    if find_spec("numpy") is None:
        raise MissingExtra(what="the game", package="numpy", extra="lab")
    from gridmerit.game.document import make_document
    from gridmerit.game.publish import write_report
    from gridmerit.game.report import make_report
    from simulation.game.experiment import Plan

    profile = load_packaged_profile() if file is None else load_profile(file)
    plan = Plan(companies=companies, bureaus=bureaus, users=users, mu=mu, series=series, solver=solver, seed=seed)
    experiment = _run(profile, plan)
    files, problem = ([], None) if out is None else write_report(experiment, out)
    text = render_text(make_report(experiment, ()))
    if files:
        text += "\n\n\nwrote\n" + "\n".join(f"  {file}" for file in files)
    emit({**make_document(experiment), "files": [str(file) for file in files]}, text)
    if problem is not None:
        note(format_error(problem))


def _run(profile: Profile, plan: Plan) -> Experiment:
    from simulation.game.experiment import run_experiment

    hours = len(profile.hours_ms)
    if plan.solver == "best-response" and hours * (plan.companies + plan.bureaus) < _LONG:
        return run_experiment(profile, plan)
    with show_progress(hours, "hour") as progress:
        return run_experiment(profile, plan, progress)
