"""All that the pages for newcomers name is there: files, links and make targets; and the files that docstrings name."""

import ast
import re

import pytest

from .test_imports import ROOT

FLOORS = ("ledger", "consensus", "market", "node", "simulation", "gridmerit")
NAMED = re.compile(r"`((?:[\w-]+/)*[\w-]+\.py)`")
PAGES = (
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/decisions/README.md",
    *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md"))),
)
MADE = {  # by commands that the pages show, not in a checkout
    "node.toml",
    "network.json",
    "genesis.json",
    "../../genesis.json",
    "home9/application.json",
    "bench.json",
    "why/recommendation.md",
}
PATH = re.compile(r"`((?:[\w.*-]+/)*[\w*.-]+\.(?:py|toml|json|md))`")


def find_missing(text):
    """Paths that lead nowhere. A bare name stands in a folder that the same paragraph or row has named before."""
    missing = []
    for part in re.split(r"\n\n|\n(?=\|)", text):
        folders = [ROOT, ROOT / "docs"]
        for name in PATH.findall(part):
            found = [path for folder in folders for path in folder.glob(name)]
            if not found and name not in MADE:
                missing.append(name)
            folders += [path.parent for path in found if "/" in name]
    return missing


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_is_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert find_missing(text) == []
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / page).parent / link).exists(), link


def test_every_make_target_that_a_page_names_is_there():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        assert set(re.findall(r"`make ([a-z-]+)`", (ROOT / page).read_text())) <= targets, page


def test_every_make_target_is_there_once():
    text = (ROOT / "Makefile").read_text()
    (declared,) = re.findall(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    assert sorted(declared.split()) == sorted(re.findall(r"^([a-z-]+):(?! SHELL)", text, re.MULTILINE))


def test_a_file_that_is_not_there_is_missed():
    assert find_missing("| a | `ledger/rows.py`, `store.py` |") == []
    assert find_missing("| a | `ledger/rows.py`, `shop.py` |\n| b | `store.py` |") == ["shop.py", "store.py"]


def find_names_of_nothing(file, source):
    """Files that docstrings of a module name and that are neither beside it nor below the root."""
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]
    named = [name for text in docstrings for name in NAMED.findall(text)]
    return [name for name in named if not any((folder / name).is_file() for folder in (file.parent, ROOT))]


def test_every_file_that_a_docstring_names_is_there():
    files = [file for floor in FLOORS for file in sorted((ROOT / floor).rglob("*.py"))]
    found = {str(file.relative_to(ROOT)): find_names_of_nothing(file, file.read_text("utf-8")) for file in files}
    assert {file: names for file, names in found.items() if names} == {}
    here = ROOT / "consensus" / "__init__.py"
    assert find_names_of_nothing(here, '"""Start at `engine.py`, then `poca.py`."""') == ["poca.py"]
