"""One tree of errors, each on the floor that raises it."""

import ast
import importlib

import pytest

from ledger.errors import GridmeritError

from .test_imports import FLOORS, ROOT, read_modules

ERRORS = {floor: importlib.import_module(f"{floor}.errors") for floor in FLOORS}


def own_errors(floor):
    return {
        name: kind
        for name, kind in vars(ERRORS[floor]).items()
        if isinstance(kind, type) and kind.__module__ == f"{floor}.errors" and issubclass(kind, Exception)
    }


def users_of_errors():
    """(floor of the user, floor of the error, its name) for every import of an error outside the error modules."""
    for name, path in read_modules(ROOT).items():
        if name.endswith(".errors"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module in {f"{floor}.errors" for floor in FLOORS}:
                yield from ((name.split(".")[0], node.module.split(".")[0], alias.name) for alias in node.names)


def test_there_is_one_root_and_one_error_a_name():
    names = [name for floor in FLOORS for name in own_errors(floor)]
    assert len(names) == len(set(names)) > 250
    assert all(issubclass(kind, GridmeritError) for floor in FLOORS for kind in own_errors(floor).values())


def test_every_leaf_stands_on_the_lowest_floor_that_uses_it():
    """Those that two floors side by side use, and families, may stand on the ground."""
    users = {}
    for user, floor, name in users_of_errors():
        users.setdefault((floor, name), set()).add(user)
    for floor in FLOORS:
        for name, kind in own_errors(floor).items():
            if kind.__subclasses__():
                continue
            by = users[floor, name]
            beside = len(by & {"consensus", "market"}) == 2 or by & {"simulation"}
            assert floor in by or (floor == "ledger" and beside), f"{floor}.errors.{name} is used by {by}"


TOO_MUCH = {"GridmeritError", "Exception", "BaseException"}


def find_swallowed(tree):
    """The lines of handlers in which a fault of this machine's own disk would be taken for somebody else's."""
    for node in ast.walk(tree):
        match node:
            case ast.Try():
                yield from find_swallowing_handlers(node)
            case ast.Call(args=caught) if ast.unparse(node.func).split(".")[-1] == "suppress":
                if any(names_in(one) & TOO_MUCH for one in caught):
                    yield node.lineno


def find_swallowing_handlers(node):
    raised = False  # a handler above lets faults of the store through
    for handler in node.handlers:
        is_let_through = len(handler.body) == 1 and isinstance(handler.body[0], ast.Raise)
        caught = {"BaseException"} if handler.type is None else names_in(handler.type)
        raised |= "StoreError" in caught and is_let_through
        ends_in_raise = isinstance(handler.body[-1], ast.Raise) and handler.body[-1].exc is None
        if caught & TOO_MUCH and not raised and not ends_in_raise:
            yield handler.lineno


def names_in(expression):
    """The last parts of the names in an expression: of one class, of several in a tuple."""
    return {
        ast.unparse(one).split(".")[-1] for one in ast.walk(expression) if isinstance(one, ast.Name | ast.Attribute)
    }


def test_the_core_blames_nobody_for_a_fault_of_the_disk():
    core = {name: path for name, path in read_modules(ROOT).items() if name.startswith("node.chain.")}
    assert len(core) > 30
    found = {name: [*find_swallowed(ast.parse(path.read_text()))] for name, path in core.items()}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("try:\n    read()\nexcept GridmeritError as error:\n    blame(error)\n", [3]),
        ("try:\n    read()\nexcept errors.GridmeritError:\n    pass\n", [3]),
        ("try:\n    read()\nexcept (KeyError, GridmeritError):\n    pass\n", [3]),
        ("try:\n    read()\nexcept:\n    pass\n", [3]),
        ("with suppress(GridmeritError):\n    read()\n", [1]),
        ("with contextlib.suppress(KeyError, errors.GridmeritError):\n    read()\n", [1]),
        ("try:\n    read()\nexcept GridmeritError:\n    undo()\n    raise\n", []),
        ("try:\n    read()\nexcept StoreError:\n    raise\nexcept GridmeritError as error:\n    blame(error)\n", []),
    ],
)
def test_a_planted_breach_is_found(text, lines):
    assert [*find_swallowed(ast.parse(text))] == lines
