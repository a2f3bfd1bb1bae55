"""`docs/text-000.md` leaves nothing of the text out, and all that it names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import click
import pytest

from gridmerit import main as cli

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "text-000.md").read_text(encoding="utf-8")
ITEMS = [
    *(f"Eq. ({number})" for number in range(1, 13)),
    *(f"Flow, step {number}" for number in range(1, 6)),
    *(f"CMA, step {number}" for number in range(1, 6)),
    *(f"POCA, step {number}" for number in range(1, 4)),
    *(f"Padding, step {number}" for number in range(1, 4)),
    *(f"Table {number}" for number in (1, 2)),
    *(f"Fig. {number}" for number in range(1, 5)),
]
VERDICTS = ("**As written", "**As meant", "**Differs")

ROWS = {
    cells[0]: cells[1:]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| text 000")
    for cells in [[cell.strip() for cell in line.strip("|").split(" | ")]]
}
CODE = re.findall(r"`([^`\n]+)`", PAGE)
FILES = sorted({name for name in CODE if re.fullmatch(r"(?:\w+/)+[\w.-]*(?:::[\w.]+)?", name)})
COMMAND_LINES = sorted({name for name in CODE if name.startswith("gridmerit ")})


def test_every_item_of_the_text_has_its_row() -> None:
    assert list(ROWS) == ITEMS


@pytest.mark.parametrize("item", ITEMS)
def test_every_row_says_where_by_which_command_and_how_near(item: str) -> None:
    _, where, used_by, how = ROWS[item]
    assert re.search(r"`\w+/[\w/]+\.py::\w+`", where), where
    assert "`gridmerit " in used_by or used_by == "every node", used_by
    assert how.startswith(VERDICTS), how


def test_the_page_names_many_places() -> None:
    assert len([name for name in FILES if "::" in name]) > 40
    assert len(COMMAND_LINES) > 15


@pytest.mark.parametrize("place", FILES)
def test_every_place_exists(place: str) -> None:
    path, _, name = place.partition("::")
    assert (ROOT / path).exists(), path
    if name:
        assert name in _list_names(ROOT / path), f"{path} has no {name}"


@cache
def _list_names(path: Path) -> frozenset[str]:
    """Classes, functions and constants of a module."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
                names.add(name)
            case ast.Assign(targets=targets):
                names |= {leaf.id for target in targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)}
    return frozenset(names)


@pytest.mark.parametrize("line", COMMAND_LINES)
def test_every_command_exists(line: str) -> None:
    words = line.split()[1:]
    command: click.Command | None = cli.LazyGroup("gridmerit")
    while words and isinstance(command, click.Group):
        command = command.get_command(click.Context(command), words.pop(0))
        assert command is not None, line
    options = {name for parameter in command.params for name in parameter.opts} if command else set()
    assert {word for word in words if word.startswith("--")} <= options, line


def test_options_that_stand_alone_are_those_of_net_new() -> None:
    from gridmerit.commands.net import new

    options = {name for parameter in new.params for name in parameter.opts}
    assert {word.split()[0] for word in CODE if word.startswith("--")} - {"--weights"} <= options


def test_every_parameter_it_names_is_one_with_that_value_in_the_paper_set() -> None:
    for chain in ("jy1", "lh1"):
        text = (ROOT / "configs" / "paper" / f"{chain}.toml").read_text(encoding="utf-8")
        for name in ("initial_weight", "score_unit_wh", "natural_factor_ppm"):
            assert re.search(rf"^{name} = 0\b", text, re.MULTILINE), (chain, name)
    trading = (ROOT / "configs" / "paper" / "jy1.toml").read_text(encoding="utf-8")
    for line in ("intention_ppm = 100_000", 'clearing_rule = "credit-weighted"', "tau_upt = 1_000_000"):
        assert line in trading, line


def test_the_figures_of_table_2_are_the_report_s() -> None:
    from simulation.paper.credit import reproduce_table_2

    tests = reproduce_table_2()
    same = sum(cell.ours == cell.printed for test in tests for cell in test.cells)
    assert f"{same} of {sum(len(test.cells) for test in tests)} results are the paper's" in PAGE


def test_the_share_of_the_best_of_fig_4_is_that_of_eq_11() -> None:
    from consensus.poca.credit_target import compute_shares
    from simulation.paper.sealing import PLAYERS, spread_credits

    shares = compute_shares(spread_credits(len(PLAYERS)), 1_000_000)
    assert f"the best player has {round(100 * shares[-1])} % of the blocks" in PAGE
    without = sum(float((1 - share) ** 50) for share in shares)
    assert f"{without:.1f} of the ten have none of fifty" in PAGE
