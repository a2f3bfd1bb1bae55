"""All nodes compute the same, so no float enters a decision; and the core does not ask which engine runs."""

import ast

import pytest

from .test_imports import ROOT, imports_of, is_decided, read_modules

NAMES_FILES = "ledger/store.py"  # by a slash, which is no division
FLOATS = {"float", "complex"}
FRACTIONAL = {"math", "cmath", "statistics", "numpy"}

WORDS = {"poca", "pbft"}
WAYS = {"node.chain.fork_choice", "node.chain.agreement", "consensus.poca.engine", "consensus.pbft.engine"}
CHOOSES = "node.chain.rules"
OF_BOTH = {"node.chain.instance": {"consensus.poca.engine", "consensus.poca.engine.check_params"}}


def find_floats(tree):
    """Lines in which a number that is no integer is written, made or asked for."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=float() | complex()) | ast.Name(id="float" | "complex"):
                yield node.lineno
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
                yield node.lineno
            case ast.Import(names=names) if {name.name.split(".")[0] for name in names} & FRACTIONAL:
                yield node.lineno
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in FRACTIONAL:
                yield node.lineno


def find_questions(tree, name, imported):
    """The words and modules by which a module of the core could tell one way of progress from the other."""
    if name != CHOOSES:
        yield from (one.value for one in ast.walk(tree) if isinstance(one, ast.Constant) and one.value in WORDS)
        named = {one for one in imported for way in WAYS if one == way or one.startswith(f"{way}.")}
        yield from named - OF_BOTH.get(name, set())


def test_no_float_enters_a_decision():
    paths = [path for path in read_modules(ROOT).values() if is_decided_by(path.relative_to(ROOT))]
    assert len(paths) > 100
    found = {str(path): [*find_floats(ast.parse(path.read_text()))] for path in paths}
    assert {path: lines for path, lines in found.items() if lines} == {}


def is_decided_by(path):
    return str(path) != NAMES_FILES and is_decided(path)


def test_one_module_of_the_core_asks_which_engine_runs():
    core = {name: path for name, path in read_modules(ROOT).items() if name.startswith("node.chain.")}
    found = {
        name: {*find_questions(ast.parse(path.read_text()), name, set(imports_of(path, name)))}
        for name, path in core.items()
    }
    assert {name: questions for name, questions in found.items() if questions} == {}
    assert CHOOSES in core


@pytest.mark.parametrize(
    "text",
    ["HALF = 0.5\n", "mean = total / count\n", "total /= 2\n", "share = float(part)\n", "from math import exp\n"],
)
def test_a_planted_float_is_seen(text):
    assert [*find_floats(ast.parse(text))] == [1]


@pytest.mark.parametrize(
    "text",
    [
        "is_voted = params.consensus.engine == 'pbft'\n",
        "match rules:\n    case 'poca':\n        pass\n",
        "from node.chain.agreement import Agreement as Way\n",
        "from . import fork_choice\n",
        "import consensus.pbft.engine as voting\n",
    ],
)
def test_a_planted_question_is_seen(tmp_path, text):
    planted = tmp_path / "a.py"
    planted.write_text(text)
    imported = set(imports_of(planted, "node.chain.a"))
    assert [*find_questions(ast.parse(text), "node.chain.a", imported)] != []
