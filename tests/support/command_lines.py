"""Command lines as pages and help teach them, and the program's own reading of them, up to running them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click

from gridmerit import main as cli
from gridmerit.network.parameters import load_params_set

CHAINS = {params.name for params in load_params_set()} | {"NAME"}
_SHELL = (">", "&", "&&", "|")  # what follows is the shell's


def read_session(text: str) -> list[str]:
    """The indented lines of a page, each with what goes on below it."""
    return [line[4:] for line in re.sub(r"\\\n +", "", text).splitlines() if line.startswith("    ")]


def read_commands(text: str) -> list[str]:
    """Command lines of gridmerit, of the session and in the text, without what the shell does with them."""
    found = [part for line in read_session(text) for part in re.split(r" && |; |\(|\)", line)]
    found = [re.sub(r"^(?:until|docker compose exec [\w-]+) ", "", part.strip()) for part in found]
    return [part for part in found if part.startswith("gridmerit ")]


def list_commands() -> Iterator[click.Command]:
    """The program, its groups and all their commands."""
    yield cli.cli
    for name in cli.COMMANDS:
        command = cli.cli.get_command(click.Context(cli.cli), name)
        assert command is not None
        yield command
        if isinstance(command, click.Group):
            yield from command.commands.values()


def parse(line: str) -> None:
    """As the shell and click take it, up to running it; a chain must be a packaged one. Raises a usage error."""
    words = shlex.split(line, comments=True)[1:]
    words = words[: next((place for place, word in enumerate(words) if word in _SHELL), None)]
    command: click.Command = cli.cli
    context = click.Context(command, info_name="gridmerit")
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(context, words)
        assert found is not None
        command, context = found, click.Context(found, info_name=name, parent=context)
        if words[:1] == ["--help"] or (not words and isinstance(command, click.Group)):
            return
    if "--help" in words:
        return
    command.parse_args(context, words)
    if context.params.get("chain") not in CHAINS | {None}:
        raise click.UsageError(f"no packaged chain has the name {context.params['chain']}", context)
