"""`gridmerit economy`: a week of the economy of texts 003 and 004, from real energy."""

from __future__ import annotations

from pathlib import Path

import click

from gridmerit.errors import ChecksFailed
from gridmerit.output import emit, format_error, json_option, note


@click.command("economy")
@click.option("--days", type=click.IntRange(1, 7), default=7, show_default=True, help="Days of the week to play.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="economy-out",
    show_default=True,
    metavar="DIR",
    help="Where the page goes.",
)
@click.option("--fast", is_flag=True, help="In virtual time, by the chains' contracts alone: no processes, no waiting.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Draws the prices.")
@json_option
@click.pass_context
def command(ctx: click.Context, days: int, out: Path, fast: bool, seed: int) -> None:
    """Play a week of the economy and check it: claims, vouchers, bills, subsidies, a pool.

    Two plants and eight groups of homes trade 10 to 16 July 2020 by their real forecasts and measurements. Beside the
    market a bank tops accounts up, plants sell a part of what they will make ahead as claims, vouchers reward who uses
    green energy by day and pay bills, a programme subsidises it until its budget is spent, and a pool passes a part of
    the plants' receipts to the holders of its notes. After every block it checks that money, assets and their backing
    add up. DIR then has a page with pictures: energy by source and use, prices, bills before and after, subsidies,
    notes and vouchers. The exit code is 7 when a check fails.

    \b
    Examples:
      gridmerit economy --fast
      gridmerit economy --fast --days 1 --out one-day
    """
    if not fast:
        raise click.UsageError("the week is played in virtual time so far: add --fast")
    from gridmerit.economy.run import run_economy
    from gridmerit.paper.layout import render_text

    result = run_economy(days=days, seed=seed, out=out, on_day=lambda day: note(f"day {day} of {days}"))
    text = render_text(result.report) + "\n\n\nwrote\n" + "\n".join(f"  {file}" for file in result.files)
    emit({**result.document, "files": [str(file) for file in result.files]}, text)
    if result.plot_problem is not None:
        note(format_error(result.plot_problem))
    failed = [check.name for check in result.checks if not check.passed]
    if failed:
        error = ChecksFailed(failed=len(failed), total=len(result.checks), names=", ".join(failed))
        note(format_error(error))
        ctx.exit(error.exit_code)
