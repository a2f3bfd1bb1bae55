"""The command line: names, help and how every outcome becomes an exit code (design §7).

Commands live in `gridmerit/commands/`, one module each, imported when they are run and not before.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

import click

from gridmerit.commands import Group
from gridmerit.output import error_document, format_error, to_json
from ledger.errors import GridmeritError

BUG, USAGE, INTERRUPTED = 1, 2, 130

COMMANDS = {
    "demo": ("demo", "Run a whole market day on this machine and check it."),
    "paper": ("paper", "Reproduce the paper's Table 2, Figs 3 and 4 and its claim."),
    "economy": ("economy", "Play a week of the economy and check it: claims, vouchers, bills, subsidies, a pool."),
    "game": ("game", "Play the market game of text 001 on a day: prices that nobody gains by changing."),
    "sim": ("sim", "The laboratory: attacks and forks in virtual time, beside their theory."),
    "attack": ("attack", "Attack a disposable network of real processes, and see what honest nodes make of it."),
    "net": ("net", "Make, start, watch and stop a network of nodes on this machine."),
    "agents": ("agents", "Play the packaged day round the clock: plans, orders, readings."),
    "init": ("init", "Make a node directory that joins a network."),
    "start": ("start", "Run a node in the foreground."),
    "status": ("status", "Show what a node is doing: head, finality, peers, sealing."),
    "node": ("node", "Back up, restore, check, mend and prune a node's directory."),
    "doctor": ("doctor", "Check this machine and a node directory, and say what to mend."),
    "key": ("key", "Make and look at keys."),
    "authority": ("authority", "The network's authority: its keys, and what they sign."),
    "member": ("member", "Apply, admit, revoke, renew, leave; who the members are."),
    "account": ("account", "A member's balance, income and cost, credit and sequence; its bills."),
    "treasury": ("treasury", "Money in and out by banks, and standing orders."),
    "programme": ("programme", "Subsidies for green energy: their budgets, and a new one."),
    "bill": ("bill", "Show what a member paid for energy of a period, and whose part is how much."),
    "credit": ("credit", "Every player's credit and share of the blocks."),
    "market": ("market", "The order book, trades and settlements; place and cancel orders."),
    "grid": ("grid", "Show what the grid allows in a period: plan, quotas, verdict, contracts, metering."),
    "block": ("block", "Look at blocks."),
    "events": ("events", "Follow what happens on a node's chains, a line for each event."),
    "tx": ("tx", "Send transactions and follow them."),
    "state": ("state", "Show what a chain keeps: entries and bytes by kind."),
    "proof": ("proof", "Get a proof from a node and verify it offline."),
    "version": ("version", "Versions of gridmerit and of what it runs on."),
}


class LazyGroup(Group):
    """Knows its commands by name and one line of help; imports a module when its command is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"gridmerit.commands.{COMMANDS[cmd_name][0]}")
        command = module.command
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


def _print_version(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        from gridmerit.commands.version import find_version  # as any command's module: when it is asked for

        click.echo(f"gridmerit {find_version()}")
        context.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of a bug.")
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Print the version; `gridmerit version` has those of what it runs on, too.",
)
def cli() -> None:
    """A permissioned blockchain node for trading distributed energy, sealed by proof of credit assessment.

    \b
    Start here:
      gridmerit demo            a market day of 24 hours, in under two minutes
      gridmerit net new mynet   a network of your own
      gridmerit net up mynet
      gridmerit status --node mynet

    Results go to stdout, progress and logs to stderr. --json after a command prints one document.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The console script: run a command and exit with its code."""
    args = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(run(args))


def run(args: list[str]) -> int:
    """Run one command line; errors are printed, and become the exit code."""
    as_json = "--json" in args
    is_debugging = "--debug" in args  # wherever it stands
    rest = [arg for arg in args if arg != "--debug"]
    try:
        code = cli.main(args=rest, prog_name="gridmerit", standalone_mode=False)
    except GridmeritError as error:
        return _fail(as_json, error.code, str(error), error.values, error.exit_code, format_error(error))
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())  # without a command, list those there are
        return 0
    except click.ClickException as error:
        return _fail(as_json, "Usage", error.format_message(), {}, USAGE, _format_usage(error))
    except (click.Abort, KeyboardInterrupt):
        click.echo("\ninterrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has seen enough; nothing more can be written, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        return _report_bug(as_json, error, debug=is_debugging)
    return code if isinstance(code, int) else 0


def _fail(as_json: bool, code: str, message: str, values: dict[str, object], exit_code: int, text: str) -> int:
    click.echo(text, err=True)
    if as_json:
        click.echo(to_json(error_document(code, message, values, exit_code)))
    return exit_code


def _format_usage(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    path = context.command_path if isinstance(context, click.Context) else "gridmerit"
    return f"error[Usage] {error.format_message()}\n  try: {path} --help"


def _report_bug(as_json: bool, error: Exception, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    what = f"{type(error).__name__}: {error}".splitlines()[0]
    text = f"error[Bug] {what}\n  try: the same with --debug, and report the traceback: this is our mistake, not yours"
    return _fail(as_json, "Bug", what, {}, BUG, text)
