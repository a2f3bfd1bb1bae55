"""Every command line that help, pages, errors and remedies teach is one that the program takes."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import click
import pytest

from gridmerit import main as cli
from tests.support.command_lines import list_commands, parse, read_commands

ROOT = Path(__file__).parents[2]
FLOORS = ("ledger", "consensus", "market", "node", "simulation", "gridmerit")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
REMARK = re.compile(r"\s{3,}\S.*")  # beside a command, in a help
IN_PROSE = re.compile(r"\bgridmerit ([a-z][^`'\",;:()\n]*)")


def find_in_strings(source: str) -> Iterator[str]:
    """The commands in the texts of a module, up to where a sentence goes on."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from (found for found in IN_PROSE.findall(node.value) if found.split()[0] in cli.COMMANDS)


def check_words(words: list[str]) -> None:
    """Check that the words which name a command do, and that it has the options among those that follow."""
    command: click.Command = cli.cli
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        try:
            _, found, words = command.resolve_command(click.Context(command), words)
        except click.UsageError:
            break  # the sentence goes on
        assert found is not None
        command = found
    assert command is not cli.cli
    is_of_a_group = isinstance(command, click.Group) and words and re.match(r"[A-Z{\d]", words[0])
    assert not is_of_a_group, (command.name, words)
    options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    assert {word for word in words if word.startswith("--")} <= options, (command.name, words)


HELP_LINES = sorted(
    {
        REMARK.sub("", line.strip())
        for command in list_commands()
        for line in cleandoc(command.help or "").splitlines()
        if line.startswith("  gridmerit ")
    }
)
PAGE_LINES = sorted({line for page in PAGES for line in read_commands(page.read_text(encoding="utf-8"))})
SAID = sorted(
    {
        said
        for floor in FLOORS
        for file in (ROOT / floor).rglob("*.py")
        for said in find_in_strings(file.read_text(encoding="utf-8"))
    }
)


def test_there_is_much_to_read() -> None:
    assert len(HELP_LINES) > 80
    assert len(PAGE_LINES) > 60
    assert len(SAID) > 100


@pytest.mark.parametrize("line", [*HELP_LINES, *PAGE_LINES])
def test_every_line_of_a_help_or_a_page_is_taken(line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mynet").mkdir()
    try:
        parse(line)
    except click.ClickException as error:
        pytest.fail(error.format_message())


@pytest.mark.parametrize("said", SAID)
def test_every_command_that_an_error_or_a_remedy_names_is_there(said: str) -> None:
    check_words(said.split())


@pytest.mark.parametrize(
    "line",
    [
        "gridmerit net upp mynet",
        "gridmerit member admit --node mynet",
        "gridmerit status --nodes mynet",
        "gridmerit authority upgrade 2 90000 --chain JY1",
    ],
)
def test_a_line_that_would_not_run_is_found(line: str) -> None:
    with pytest.raises(click.UsageError):
        parse(line)


def test_a_remedy_that_names_what_is_not_there_is_found() -> None:
    check_words(["net", "up", "DIR"])
    for words in (["net", "up", "DIR", "--fast"], ["block", "{height}", "on", "a", "node"]):
        with pytest.raises(AssertionError):
            check_words(words)
