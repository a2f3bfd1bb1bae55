"""`gridmerit paper`: the published results, computed anew."""

from __future__ import annotations

from pathlib import Path

import click

from gridmerit.errors import ChecksFailed
from gridmerit.network.parameters import get_packaged_params, load_chain_params, load_packaged_profile
from gridmerit.output import emit, format_error, json_option, note, to_json
from gridmerit.paper.document import make_document, make_report
from gridmerit.paper.layout import render_markdown, render_text
from gridmerit.paper.plots import draw_plots
from gridmerit.players.plans import plan_orders
from gridmerit.players.sample_book import plan_sample_book
from ledger.errors import UnwritableFile
from simulation.errors import MissingExtra
from simulation.paper.day import PlayerOrder
from simulation.paper.reproduce import Reproduction, reproduce


@click.command("paper")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="paper-out",
    show_default=True,
    help="Where the report goes; files of the same names are replaced.",
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=1,
    show_default=True,
    help="Draws the network's delays, and with them who seals, and the orders' prices.",
)
@json_option
@click.pass_context
def command(ctx: click.Context, out: Path, seed: int) -> None:
    """Reproduce the paper's Table 2, Figs 3 and 4 and its claim.

    Settles and scores the seven tests of Table 2, draws the seller's credit under Eq. (12), lets ten nodes with credits
    from 90 to 100 points race for 50 blocks at τ = 1 (the paper's), 5 and 10 points, and trades one day both centrally
    and on a chain of ten nodes. Every cell that is not the paper's is named and explained, and where the chain is not
    better than the operator, the report says so. It also says what a network by the text does (net new --set paper),
    and what the day's orders come to under Table 1.

    Nothing is started and no port is used: the nodes run in this process, in virtual time. It takes about half a
    minute. The same --seed writes the same bytes. The exit code is 7 when a check on our own machinery fails; a result
    that differs from the paper's is not a failure.

    \b
    Examples:
      gridmerit paper
      gridmerit paper --out results --seed 7
      gridmerit paper --json > results.json
    """
    result = _reproduce(seed)
    files, plot_problem = _write(result, out)
    document = {**make_document(result), "files": [str(file) for file in files]}
    emit(document, f"{render_text(make_report(result))}\n\n\nwrote\n" + "\n".join(f"  {file}" for file in files))
    if plot_problem is not None:
        note(format_error(plot_problem))
    failed = [check.name for check in result.checks if not check.passed]
    if failed:
        error = ChecksFailed(failed=len(failed), total=len(result.checks), names=", ".join(failed))
        note(format_error(error))
        ctx.exit(error.exit_code)


def _reproduce(seed: int) -> Reproduction:
    """The day's orders are those of `gridmerit demo` with the same seed."""
    profile = load_packaged_profile()
    day_params = load_chain_params(get_packaged_params("recommended"))
    orders = [
        PlayerOrder(player.name, order.hour, order.side, order.price_uyuan_per_kwh, order.volume_wh)
        for player in profile.players
        for order in plan_orders(profile, player.name, seed, day_params.market, len(profile.hours_ms))
    ]
    paper_params = load_chain_params(get_packaged_params("paper"))
    books = [
        plan_sample_book(profile, hour, seed, paper_params.market).candidates for hour in range(len(profile.hours_ms))
    ]
    return reproduce(paper_params, day_params, profile, orders, books, seed, lambda stage: note(f"{stage} …"))


def _write(result: Reproduction, directory: Path) -> tuple[list[Path], MissingExtra | None]:
    """Write the report's files; without matplotlib, all but the plots. Raises `UnwritableFile`."""
    problem, plots = None, list[Path]()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        try:
            plots = draw_plots(result, directory)
        except MissingExtra as error:
            problem = error
        report, document = directory / "report.md", directory / "report.json"
        report.write_text(render_markdown(make_report(result), has_plots=problem is None), encoding="utf-8")
        document.write_text(to_json(make_document(result)) + "\n", encoding="utf-8")
    except OSError as error:
        raise UnwritableFile(file=error.filename or directory, detail=error.strerror) from error
    return [report, document, *plots], problem
