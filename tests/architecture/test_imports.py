"""The house rules: imports point down, below a line nothing does I/O, and no modules import each other in a circle."""

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from simulation.experiments.provenance import list_sources

ROOT = Path(__file__).parents[2]

FLOORS = {
    "ledger": set(),
    "consensus": {"ledger"},
    "market": {"ledger"},
    "node": {"ledger", "consensus", "market"},
    "simulation": {"ledger", "consensus", "market", "node"},
    "gridmerit": {"ledger", "consensus", "market", "node", "simulation"},
}
SIMULATION_SEES = "node.chain"
ADVICE = ("market.game", "market.strategies")  # what a player may do, so nothing that decides sees it
DECIDES = ("ledger", "consensus", "market", "node/chain")
PURE = (
    "ledger",
    "consensus",
    "market",
    "node/chain",
    "node/errors.py",
    "node/queries",
    "node/proofs",
    "node/peer/records.py",
    "node/peer/reputation.py",
    "node/peer/peer_clocks.py",
    "simulation",
)
# All that the pure may use from outside: what is not here may read a clock or a file, draw a number, find a module.
COMPUTES = {
    "__future__", "base64", "bisect", "collections", "contextlib", "csv", "dataclasses", "decimal", "enum", "fractions",
    "functools", "hashlib", "heapq", "html", "itertools", "json", "math", "operator", "pydantic", "re", "shlex",
    "statistics", "string", "tomllib", "types", "typing", "unicodedata",
}  # fmt: skip
AMBIENT = {"open", "print", "input", "eval", "exec", "compile", "breakpoint", "hash", "id", "__import__"}  # builtins
ABOVE = {"tests", "benchmarks"}  # which see all floors, and which none sees
ITS_OWN = {
    "ledger/store.py": {"errno", "fcntl", "os", "pathlib", "plyvel", "plyvel_next", "shutil", "sys"},
    "ledger/codec.py": {"msgpack"},
    "ledger/overlay.py": {"msgpack"},
    "ledger/signatures.py": {"nacl"},
    "consensus/seal.py": {"concurrent"},  # the search for a nonce, which the driver starts and ends
    "market/game": {"numpy"},
    "market/strategies": {"random"},  # only to draw from the one that a strategy is given
    "market/profile.py": {"datetime"},  # to read ISO 8601, not to ask the time
    "simulation": {"random"},  # seeded: the linter bans the ambient one
    "simulation/world/link_files.py": {"importlib"},
    "simulation/scenarios/races.py": {"importlib"},
    "simulation/strategies.py": {"importlib", "pathlib"},
    "simulation/seclusion.py": {"multiprocessing", "signal"},
    "simulation/theory/montecarlo.py": {"numpy"},
    "simulation/theory/registry.py": {"inspect"},
    "simulation/experiments/scenario.py": {"importlib"},  # the drivers of the laboratory
    "simulation/experiments/provenance.py": {"importlib", "pathlib", "platform", "subprocess"},
    "simulation/experiments/results.py": {"builtins", "fcntl", "io", "os", "pathlib", "pyarrow"},
    "simulation/experiments/batches.py": {"time", "traceback"},
    "simulation/experiments/executors.py": {
        "concurrent", "distributed", "multiprocessing", "os", "signal", "threading",
    },
    "simulation/experiments/runner.py": {"concurrent", "pathlib", "time"},
    "simulation/report/document.py": {"importlib"},
    "simulation/report/figures.py": {"io", "matplotlib"},
    "simulation/report/publish.py": {"builtins", "pathlib"},
}  # fmt: skip


# --- reading the imports ---------------------------------------------------------------------------


def read_modules(root: Path, packages: Iterable[str] = FLOORS) -> dict[str, Path]:
    """Every module of these packages below the root, by its dotted name."""
    files = [path for package in packages for path in sorted((root / package).rglob("*.py"))]
    return {".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path for path in files}


def imports_of(path: Path, name: str) -> Iterator[str]:
    """Dotted names that a module imports: modules, what may be a module of a package, and builtins that act.

    However it is spelled: a relative import, and one by a name in a string.
    """
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *filter(None, [node.module])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id in AMBIENT:
            yield f"builtins.{node.id}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            yield from (arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant))


def find_breaches(root: Path) -> set[str]:
    """Every breach of a rule below the root, a line each."""
    modules = read_modules(root)
    graph = {name: set(imports_of(path, name)) for name, path in modules.items()}
    pure = {name for name, path in modules.items() if is_pure(path.relative_to(root))}
    breaches = set()
    for name, imported in graph.items():
        floor = name.split(".")[0]
        allowed_io = find_allowed_io(modules[name].relative_to(root))
        for target in imported:
            top = target.split(".")[0]
            if top in ABOVE or (top in FLOORS and top != floor and top not in FLOORS[floor]):
                breaches.add(f"{name} looks up to {target}")
            if floor == "simulation" and top == "node" and target in modules and not is_below(target, SIMULATION_SEES):
                breaches.add(f"{name} sees {target}")
            is_advice = any(f"{target}.".startswith(f"{package}.") for package in ADVICE)
            if is_advice and is_decided(modules[name].relative_to(root)):
                breaches.add(f"{name} decides and sees {target}")
            if name in pure and top not in FLOORS.keys() | COMPUTES | allowed_io:
                breaches.add(f"{name} does I/O by {top}")
            if name in pure and floor == "node" and target in modules and target not in pure and not has_parts(target):
                breaches.add(f"{name} is pure and sees {target}")
    return breaches | {f"circle: {' '.join(circle)}" for circle in find_circles(graph)}


def has_parts(module: str) -> bool:
    """True for a package: its `__init__` only says what it holds."""
    return (ROOT / module.replace(".", "/")).is_dir()


def is_below(module: str, package: str) -> bool:
    return module in (package, package.split(".")[0]) or module.startswith(f"{package}.")


def is_pure(path: Path) -> bool:
    return any(is_below_path(path, pure) for pure in PURE)


def is_decided(path: Path) -> bool:
    is_advice = any(is_below_path(path, package.replace(".", "/")) for package in ADVICE)
    return any(is_below_path(path, place) for place in DECIDES) and not is_advice


def is_below_path(path: Path, place: str) -> bool:
    return Path(place) in (path, *path.parents)


def find_allowed_io(path: Path) -> set[str]:
    return set().union(*(ITS_OWN.get(str(part), set()) for part in (path, *path.parents)))


def find_circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Sets of modules that import each other, by Tarjan's algorithm; imports inside functions count."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    circles = []

    def visit(name: str) -> None:
        order[name] = lowest[name] = len(order)
        path.append(name)
        for target in sorted(graph[name] & graph.keys() - {name}):
            if target not in order:
                visit(target)
            if target in path:
                lowest[name] = min(lowest[name], lowest[target])
        if lowest[name] == order[name]:
            circle = path[path.index(name) :]
            del path[path.index(name) :]
            if len(circle) > 1:
                circles.append(sorted(circle))

    for name in graph:
        if name not in order:
            visit(name)
    return circles


# --- the rules, and that each is seen to be broken ---------------------------------------------------


def test_imports_point_down_the_pure_do_no_io_and_there_are_no_circles():
    assert find_breaches(ROOT) == set()


def test_what_may_do_io_does():
    """A file that no longer does what it is let off for is let off no longer."""
    modules = read_modules(ROOT)
    for place, allowed in ITS_OWN.items():
        own = [(path, name) for name, path in modules.items() if is_below_path(path.relative_to(ROOT), place)]
        used = {target.split(".")[0] for path, name in own for target in imports_of(path, name)}
        assert allowed <= used, place


def test_every_package_says_what_it_owns():
    for name, path in read_modules(ROOT).items():
        if path.name == "__init__.py":
            docstring = ast.get_docstring(ast.parse(path.read_text()))
            assert docstring is not None, name
            assert len(docstring.splitlines()) >= 3, name


PLANTED = {
    "market looks up": ("market/a.py", "def late():\n    import node.runtime\n", "market.a looks up to node.runtime"),
    "a contract takes advice": (
        "market/a.py",
        "from market.game import hour\n",
        "market.a decides and sees market.game",
    ),
    "a contract asks a strategy": (
        "node/chain/a.py",
        "from market.strategies.truthful import Truthful\n",
        "node.chain.a decides and sees market.strategies.truthful",
    ),
    "siblings meet": ("consensus/a.py", "from market import b\n", "consensus.a looks up to market"),
    "node sees simulation": ("node/a.py", "from simulation import b\n", "node.a looks up to simulation"),
    "node sees the program": ("node/a.py", "import gridmerit\n", "node.a looks up to gridmerit"),
    "simulation sees a driver": ("simulation/a.py", "from node import runtime\n", "simulation.a sees node.runtime"),
    "the core asks the time": ("node/chain/a.py", "import time\n", "node.chain.a does I/O by time"),
    "the core sees a driver": (
        "node/chain/a.py",
        "from node.runtime import open_node\n",
        "node.chain.a is pure and sees node.runtime",
    ),
    "the core asks another clock": ("node/chain/a.py", "import timeit\n", "node.chain.a does I/O by timeit"),
    "the core draws a number": (
        "node/chain/a.py",
        "from nacl.utils import random\n",
        "node.chain.a does I/O by nacl",
    ),
    "the core opens a file": ("node/chain/a.py", "rows = map(open, ())\n", "node.chain.a does I/O by builtins"),
    "the core sees a driver beside it": (
        "node/chain/a.py",
        "from .. import runtime\n",
        "node.chain.a is pure and sees node.runtime",
    ),
    "market looks up by a string": (
        "market/a.py",
        "import importlib\nrun = importlib.import_module('node.runtime')\n",
        "market.a looks up to node.runtime",
    ),
    "a floor is told what to import": (
        "market/a.py",
        "from importlib import import_module\n",
        "market.a does I/O by importlib",
    ),
    "the peer sees its tests": ("node/a.py", "from tests.support import keys\n", "node.a looks up to tests.support"),
    "a circle by relative imports": ("ledger/a.py", "from . import b\n", "circle: ledger.a ledger.b"),
    "the laboratory opens files": ("simulation/a.py", "from pathlib import Path\n", "simulation.a does I/O by pathlib"),
    "a circle": ("ledger/a.py", "from ledger import b\n", "circle: ledger.a ledger.b"),
}


@pytest.mark.parametrize(("file", "text", "breach"), PLANTED.values(), ids=PLANTED)
def test_a_planted_breach_is_seen(tmp_path, file, text, breach):
    (tmp_path / "node").mkdir()
    (tmp_path / "node" / "runtime.py").write_text("import asyncio\n")
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "b.py").write_text("def late():\n    from ledger.a import anything\n")
    planted = tmp_path / file
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.write_text(text)
    assert breach in find_breaches(tmp_path)


def test_the_laboratory_hashes_all_code_that_a_trial_may_run():
    """So a result can be held against the code that made it, wherever a module has moved."""
    modules = read_modules(ROOT)
    graph = {name: set(imports_of(path, name)) & modules.keys() for name, path in modules.items()}
    reached, todo = set(), [name for name in modules if name.split(".")[0] == "simulation"]
    while todo:
        name = todo.pop()
        reached.add(name)
        todo += graph[name] - reached
    hashed = set(list_sources())
    assert {modules[name] for name in reached if "." in name and modules[name].name != "__init__.py"} <= hashed


def test_the_image_is_built_from_every_package():
    """A package that `.dockerignore` leaves out is in no image, and the build says nothing of it."""
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert FLOORS.keys() | {"configs"} <= let_in
