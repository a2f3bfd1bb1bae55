"""One module per command; each exposes `command`, and `gridmerit.main` imports it only when its command is asked for.

A command declares its options, calls what does the work and renders the answer; its tables stand in a twin, `*_tables`.
"""

from __future__ import annotations

from difflib import get_close_matches

import click

_LONGEST = 200  # characters of a command's first sentence


class Group(click.Group):
    """A group of commands in the order they are defined, that names the nearest one when it does not know a name.

    In its help each has its whole first sentence, over as many lines as that takes.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, self.commands[name].get_short_help_str(_LONGEST)) for name in self.list_commands(ctx)]
            )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        known = self.list_commands(ctx)
        if name in known or name.startswith("-"):
            return super().resolve_command(ctx, args)
        near = get_close_matches(name, known, n=1)
        suggestion = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        raise click.UsageError(f"no command {name!r}: {suggestion}", ctx)
