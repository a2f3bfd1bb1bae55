"""The prose of docstrings: a first line names the thing or says what to do, and errors that are raised are named."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.errors import GridmeritError

from .test_imports import FLOORS, ROOT, read_modules

QUESTION = re.compile(
    r"(What|Who|Whom|Whose|Which|Where|When|Why|How|Whether|Whoever|Whatever|Wherever|Whichever"
    r"|Nobody|Anybody|Somebody|Everybody|Anyone|Everyone)\b"
)
PACKAGES = (*FLOORS, "benchmarks", "configs", "tests")
COMPLETE = re.compile(r"[.:;)!?…]`?$")
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
ERRORS = {name: kind for floor in FLOORS for name, kind in vars(importlib.import_module(f"{floor}.errors")).items()}


# --- reading the docstrings --------------------------------------------------------------------------


def documented(tree: ast.Module) -> Iterator[tuple[Documented, str]]:
    """Everything with a docstring of its own; a command's is the help that a user reads."""
    for node in ast.walk(tree):
        if isinstance(node, Documented) and (text := ast.get_docstring(node)):
            yield node, text


def find_bad_first_lines(name: str, tree: ast.Module) -> Iterator[str]:
    for node, text in documented(tree):
        first, *rest = text.splitlines()
        where = f"{name}.{getattr(node, 'name', '__doc__')}: {first}"
        if QUESTION.match(first):
            yield f"{where} — is a question"
        if rest and rest[0] and not COMPLETE.search(first):
            yield f"{where} — goes on in the next line"


def find_unnamed_errors(name: str, tree: ast.Module) -> Iterator[str]:
    """Errors that a public function raises and lets go, where its docstring names neither them nor their family."""
    for function in public_functions(tree):
        text = ast.get_docstring(function) or ""
        for error in raised_in(function):
            if not any(re.search(rf"\b{kind.__name__}\b", text) for kind in error.__mro__[:-3]):
                yield f"{name}.{function.name} does not say that it raises {error.__name__}"


def public_functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    for node in [*tree.body, *(inner for outer in classes for inner in outer.body)]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            yield node


def raised_in(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[type[GridmeritError]]:
    caught = {
        one for node in ast.walk(function) if isinstance(node, ast.Try) for part in node.body for one in ast.walk(part)
    }
    for node in ast.walk(function):
        if isinstance(node, ast.Raise) and node not in caught and node.exc is not None:
            called = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            kind = ERRORS.get(called.id) if isinstance(called, ast.Name) else None
            if isinstance(kind, type) and issubclass(kind, GridmeritError):
                yield kind


def find_breaches(root: Path) -> set[str]:
    """Every breach below the root; errors are looked for in the modules that stand at the top of their floor."""
    breaches = set()
    for name, path in read_modules(root, PACKAGES).items():
        tree = ast.parse(path.read_text())
        breaches |= set(find_bad_first_lines(name, tree))
        if path.parent.parent == root and path.parent.name in FLOORS:
            breaches |= set(find_unnamed_errors(name, tree))
    return breaches


# --- the rules, and that each is seen to be broken ---------------------------------------------------


def test_docstrings_begin_with_the_thing_or_the_deed_and_name_their_errors():
    assert find_breaches(ROOT) == set()


PLANTED = {
    "a riddle": ('"""Whose turn it is."""\n', "is a question"),
    "a question of a function": ('def f():\n    """Whether it holds."""\n', "is a question"),
    "a question of a command": ('@cli.command()\ndef f():\n    """Who paid whom."""\n', "is a question"),
    "a first line without an end": (
        'class A:\n    """The height at\n    which it begins."""\n',
        "goes on in the next line",
    ),
    "an error that is not named": (
        'def f():\n    """Do it."""\n    raise UnknownMember(key="")\n',
        "does not say that it raises UnknownMember",
    ),
}
WELL_WRITTEN = '''"""A planted module."""

@cli.command()
def status():
    """Show what a node is doing."""

def find():
    """The member of a key.

    Raises `UnknownMember`.
    """
    raise UnknownMember(key="")

def decode():
    """Raises the `Malformed` family."""
    raise TooLarge(what="", actual=1, limit=0)

def run():
    """Run it, whatever comes."""
    try:
        raise UnknownMember(key="")
    except UnknownMember:
        pass
'''


def test_a_question_is_seen_among_tests_too(tmp_path):
    (tmp_path / "tests" / "node").mkdir(parents=True)
    (tmp_path / "tests" / "node" / "planted.py").write_text('"""What waits for a peer."""\n')
    assert find_breaches(tmp_path) == {"tests.node.planted.__doc__: What waits for a peer. — is a question"}


@pytest.mark.parametrize(("text", "breach"), PLANTED.values(), ids=PLANTED)
def test_a_planted_breach_is_seen(tmp_path, text, breach):
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "planted.py").write_text(text)
    (found,) = find_breaches(tmp_path)
    assert found.startswith("ledger.planted.")
    assert found.endswith(breach)


def test_what_is_written_well_is_let_pass(tmp_path):
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "planted.py").write_text(WELL_WRITTEN)
    assert find_breaches(tmp_path) == set()
