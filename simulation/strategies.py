"""Strategies by name: a built-in one, an entry point of an installed package, or a class in a file of one's own.

A driver: it runs the code that it is told to.
"""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

from ledger.errors import UnreadableFile
from market.strategies.built_in import BUILT_IN
from market.strategies.strategy import Strategy, describe_class_fault
from simulation.errors import MissingExtra, NotAStrategy, UnknownStrategy

GROUP = "gridmerit.strategies"


def load_strategy(reference: str) -> Strategy:
    """A new strategy: `truthful`, the name of an entry point, or `FILE.py:CLASS`.

    Raises `UnknownStrategy`, `UnreadableFile`, `NotAStrategy`, and `MissingExtra` without numpy where it takes that.
    """
    kind = _find_class(reference)
    if not isinstance(kind, type) or not issubclass(kind, Strategy):
        raise NotAStrategy(reference=reference, detail=f"{kind!r} is no class derived from gridmerit.players.Strategy")
    fault = describe_class_fault(kind)
    if fault:
        raise NotAStrategy(reference=reference, detail=fault)
    try:
        return kind()
    except ModuleNotFoundError as error:
        raise MissingExtra(what=f"strategy {reference}", package=error.name, extra="lab") from None
    except (Exception, SystemExit) as error:  # it is a stranger's code, here and below
        raise NotAStrategy(reference=reference, detail=f"{type(error).__name__}: {error}") from error


def _find_class(reference: str) -> object:
    if reference in BUILT_IN:
        return BUILT_IN[reference]
    file, colon, name = reference.rpartition(":")
    if colon and file.endswith(".py"):
        return _find_in_file(reference, Path(file), name)
    points = entry_points(group=GROUP)
    if reference not in points.names:
        raise UnknownStrategy(name=reference, known=", ".join([*BUILT_IN, *sorted(points.names)]))
    try:
        return points[reference].load()
    except (Exception, SystemExit) as error:
        raise NotAStrategy(reference=reference, detail=f"{type(error).__name__}: {error}") from error


def _find_in_file(reference: str, file: Path, name: str) -> object:
    if not file.is_file():
        raise UnreadableFile(file=file, detail="no such file")
    spec = spec_from_loader(file.stem, SourceFileLoader(file.stem, str(file)))
    assert spec is not None, "a source file has a loader"
    module = module_from_spec(spec)
    try:
        assert spec.loader is not None
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise NotAStrategy(reference=reference, detail=f"{type(error).__name__}: {error}") from error
    found = getattr(module, name, None)
    if found is None:
        raise NotAStrategy(reference=reference, detail=f"{file} has no {name}")
    return found
