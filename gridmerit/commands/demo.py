"""`gridmerit demo`: a whole market day on this machine."""

from __future__ import annotations

from pathlib import Path

import click

from gridmerit.commands.chain_options import ChainChoice, chain_options
from gridmerit.commands.interruption import end_as_interrupted
from gridmerit.demo.checks import run_checks
from gridmerit.demo.day import KINDS
from gridmerit.demo.report import render_text
from gridmerit.demo.run import DemoPlan, DemoResult, Progress, choose_period_ms, run_demo
from gridmerit.errors import ChecksFailed
from gridmerit.output import emit, format_error, json_option, note, stderr_is_terminal
from gridmerit.text import format_count, format_kwh, quote_path

_BAR = 24


@click.command("demo")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Draws prices and makes keys.")
@click.option("--hours", type=click.IntRange(1, 24), default=24, show_default=True, help="Hours of the day to run.")
@click.option("--peers", type=click.IntRange(1, 10), default=4, show_default=True, help="Node processes.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default="demo-out",
    show_default=True,
    help="Where the report goes.",
)
@click.option(
    "--period-ms", type=click.IntRange(min=1_500), help="How long an hour takes.  [default: 2500, more from 5 peers on]"
)
@click.option("--keep", is_flag=True, help="Leave the nodes running.")
@chain_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    seed: int,
    hours: int,
    peers: int,
    out: Path,
    period_ms: int | None,
    keep: bool,
    choice: ChainChoice,
) -> None:
    """Run a whole market day on this machine and check it.

    Starts --peers nodes as processes of their own, each with three chains: DU1 schedules the grid, JY1 trades, LH1
    keeps the credit. Nothing crosses from one to another without a certificate and a proof. A dispatcher plans every
    hour; ten players (two plants and eight groups of households, from real forecasts and measurements) place orders
    within the quotas that follow; gates close, members certify the results, DU1 accepts what its lines can carry,
    meters report, money moves and credit is earned, which decides who seals the next blocks. At the end the report says
    what happened and when, and checks that all peers agree, that payments sum to zero, and that a trade and a credit
    can be proved from the genesis alone.

    24 hours take under two minutes on four peers. The same --seed clears the same trades where the machine keeps up;
    where it does not, hours are void and checks fail: give it a longer --period-ms. The exit code is 7 when a check
    fails.

    --set, --rule, --alpha and --engine choose the market's rules as `gridmerit net new` does; only what the short
    period asks for is the demo's own, such as its deadlines. DIR/network is a network like any other.

    \b
    Examples:
      gridmerit demo
      gridmerit demo --hours 6 --keep
      gridmerit demo --hours 6 --set paper --out by-the-text
    """
    params = choice.load()
    if any(chain.market.sessions > 1 for chain in params):
        raise click.UsageError("the demo trades each period once: gridmerit net new --intraday, and gridmerit agents")
    if sorted(chain.kind for chain in params) != sorted(KINDS):
        raise click.UsageError(f"--set {choice.params_set}: the day takes one chain of each kind, {', '.join(KINDS)}")
    plan = DemoPlan(
        params=params,
        seed=seed,
        hours=hours,
        peers=peers,
        directory=out,
        keep=keep,
        period_ms=period_ms or choose_period_ms(peers),
    )
    bar = _Bar()
    end_as_interrupted()  # the nodes must not outlive us then either
    try:
        result = run_demo(plan, bar.show)
    finally:
        bar.end()
    text = f"{render_text(result.record)}\n\n\n{_render_next(result, keep=keep)}"
    emit({**result.document, "files": [str(file) for file in result.files]}, text)
    if result.plot_problem is not None:
        note(format_error(result.plot_problem))
    checks = run_checks(result.record)
    failed = [check.name for check in checks if not check.passed]
    if failed:
        error = ChecksFailed(failed=len(failed), total=len(checks), names=", ".join(failed))
        note(format_error(error))
        note(
            "  try: where hours are void or heads differ, the machine was too busy: "
            f"gridmerit demo --period-ms {2 * plan.period_ms}"
        )
        ctx.exit(error.exit_code)


def _render_next(result: DemoResult, *, keep: bool) -> str:
    home = result.network.directory.parent
    lines = ["wrote", *(f"  {file}" for file in result.files)]
    proofs = [file for file in result.files if file.name.endswith("-proof.json")]
    if proofs:
        genesis = quote_path(home / "genesis.json")
        lines += ["", "the proofs need no node:"]
        lines += [f"  gridmerit proof verify {quote_path(file)} --genesis {genesis}" for file in proofs]
    if keep:
        network = quote_path(result.network.directory)
        lines += [
            "",
            "the nodes are still running:",
            f"  gridmerit net status {network}",
            f"  gridmerit credit show --node {network}",
            f"  gridmerit market place bid --price 0.55 --volume 10 --key homes-3 --node {network}",
            "and stop with",
            f"  gridmerit net down {network}",
        ]
    return "\n".join(lines)


class _Bar:
    """Progress on stderr: one line that is redrawn on a terminal, a line per change elsewhere."""

    def __init__(self) -> None:
        self._is_terminal = stderr_is_terminal()
        self._last = ""
        self._key: tuple[str, int, int] | None = None

    def show(self, progress: Progress) -> None:
        if progress.stage == "trading":
            self._draw(progress)
        else:
            self._say(progress.stage)

    def end(self) -> None:
        if self._last:
            click.echo(err=True)
            self._last = ""

    def _say(self, text: str) -> None:
        self.end()
        note(f"{text} …")

    def _draw(self, progress: Progress) -> None:
        full = _BAR * (progress.cleared + progress.settled) // (2 * progress.hours)
        line = (
            f"hour {progress.cleared:2}/{progress.hours} {'█' * full}{'░' * (_BAR - full)} "
            f"{format_count(progress.trades, 'trade')}, {format_kwh(progress.volume_wh)} kWh, "
            f"{format_count(progress.settled, 'hour')} settled, block {progress.height}"
        )
        if self._is_terminal:
            click.echo("\r" + line.ljust(len(self._last)), err=True, nl=False)
            self._last = line
        elif self._key != (key := (progress.stage, progress.cleared, progress.settled)):
            self._key = key
            note(line)
