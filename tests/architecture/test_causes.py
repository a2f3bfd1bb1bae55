"""Each `on_…` of the core says what leads to it, as each entry of a state machine should."""

import ast

from .test_imports import ROOT

PORT = {"ForkChoice", "Agreement"}  # their methods are headed in the port that they implement, `Progress`


def uncaused(source):
    """Methods named `on_…` whose docstring names no cause, as class.method."""
    for cls in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef)):
        for method in (node for node in cls.body if isinstance(node, ast.FunctionDef)):
            said = ast.get_docstring(method) or ""
            if method.name.lstrip("_").startswith("on_") and "Cause" not in said and cls.name not in PORT:
                yield f"{cls.name}.{method.name}"


def test_every_entry_of_the_core_is_headed_by_its_causes():
    files = sorted((ROOT / "node" / "chain").glob("*.py"))
    assert [f"{file.name}: {name}" for file in files for name in uncaused(file.read_text())] == []


def test_the_port_names_a_cause_for_each_of_its_entries():
    own = {
        name: {node.name for node in ast.walk(ast.parse((ROOT / "node/chain" / file).read_text())) if is_entry(node)}
        for name, file in (("port", "progress.py"), ("poca", "fork_choice.py"), ("pbft", "agreement.py"))
    }
    assert own["port"] == own["poca"] == own["pbft"]


def is_entry(node):
    return isinstance(node, ast.FunctionDef) and node.name.startswith("on_")


def test_one_without_a_cause_is_seen():
    assert [*uncaused('class A:\n    def on_block(self):\n        """Do it."""\n')] == ["A.on_block"]
