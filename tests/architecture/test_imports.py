"""The house rule: imports point down only, siblings never meet, and the pure modules do no I/O."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

MAY_IMPORT = {
    "ledger": set(),
    "consensus": {"ledger"},
    "market": {"ledger"},
    "node": {"ledger", "consensus", "market", "simulation"},
    "simulation": {"ledger", "consensus", "market", "node"},
}
PURE_NODE = {
    "acknowledgements",
    "admission",
    "agreement",
    "anchor",
    "announcements",
    "answers",
    "candidate",
    "contacts",
    "contracts",
    "core",
    "credit_queries",
    "events",
    "evidence",
    "exact",
    "fetcher",
    "gates",
    "gossip",
    "grid_queries",
    "handovers",
    "header_proofs",
    "messages",
    "metrics",
    "missing_votes",
    "names",
    "peer_clocks",
    "peers",
    "period_failures",
    "proofs",
    "queries",
    "rates",
    "relays",
    "result_queries",
    "results",
    "serving",
    "signing",
    "skeleton",
    "sync",
}
SIMULATION_MAY_SEE = {"node.anchor", "node.core", "node.events", "node.messages", "node.contracts"}
IO_MODULES = {
    "asyncio", "aiohttp", "socket", "time", "random", "threading", "subprocess", "multiprocessing", "os",
    "pathlib", "signal", "fcntl", "logging", "secrets", "datetime", "plyvel",
}  # fmt: skip
IO_ALLOWED = {
    "ledger/store.py": {"plyvel", "pathlib", "os", "fcntl"},
    "market/profile.py": {"datetime"},  # to read ISO 8601, not to ask the time
    "consensus/seal.py": {"threading"},
    "simulation/world.py": {"random"},
    "simulation/links.py": {"random"},
    "simulation/peers.py": {"random"},
    "simulation/carriage.py": {"random"},
    "simulation/sealing.py": {"random"},
    "simulation/gossip.py": {"random"},
    "simulation/link_files.py": {"random"},
    "simulation/market_day.py": {"random"},
    "simulation/scenarios/days.py": {"random"},
    "simulation/scenarios/gossip.py": {"random"},
    "simulation/attacks/policy.py": {"random"},
    "simulation/attacks/registry.py": {"random"},
    "simulation/attacks/double_spend.py": {"random"},
    "simulation/attacks/eclipse.py": {"random"},
    "simulation/attacks/equivocation.py": {"random"},
    "simulation/attacks/false_head.py": {"random"},
    "simulation/attacks/last_look.py": {"random"},
    "simulation/attacks/long_range.py": {"random"},
    "simulation/attacks/selfish.py": {"random"},
    "simulation/attacks/spam.py": {"random"},
    "simulation/attacks/timestamps.py": {"random"},
    "simulation/attacks/two_faced.py": {"random"},
    "simulation/scenarios/last_look.py": {"random"},
    "simulation/scenarios/networks.py": {"random"},
    "simulation/scenarios/signers.py": {"random"},
    "simulation/provenance.py": {"pathlib", "subprocess"},  # the drivers of the laboratory, to the end of this table
    "simulation/results.py": {"pathlib", "os", "fcntl"},
    "simulation/batches.py": {"time"},
    "simulation/executors.py": {"multiprocessing", "os", "signal", "threading"},
    "simulation/runner.py": {"pathlib", "time"},
    "simulation/publish.py": {"pathlib"},
}


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """(module, whether it is imported at the top of the file) for every import in a file."""
    tree = ast.parse(path.read_text())
    top = set(map(id, tree.body))
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.append((node.module, id(node) in top))
            found += [(f"{node.module}.{alias.name}", id(node) in top) for alias in node.names]
    return found


def files_of(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_down_only(package):
    for path in files_of(package):
        for module, _ in imports_of(path):
            target = module.split(".")[0]
            if target in MAY_IMPORT and target != package:
                assert target in MAY_IMPORT[package], f"{path} imports {module}"


def test_the_node_imports_the_simulation_lazily_and_from_its_commands_only():
    for path in files_of("node"):
        for module, is_top in imports_of(path):
            if module.split(".")[0] == "simulation":
                assert "commands" in path.parts, f"{path} imports {module}"
                assert not is_top, f"{path} imports {module} at the top"


def test_the_simulation_sees_only_the_pure_core_of_the_node():
    for path in files_of("simulation"):
        for module, _ in imports_of(path):
            if module.startswith("node") and module != "node":
                assert any(module == seen or module.startswith(seen + ".") for seen in SIMULATION_MAY_SEE), (
                    f"{path} imports {module}"
                )


def pure_files() -> list[Path]:
    pure = [path for package in ("ledger", "consensus", "market", "simulation") for path in files_of(package)]
    return pure + [ROOT / "node" / f"{name}.py" for name in sorted(PURE_NODE)]


@pytest.mark.parametrize("path", pure_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_pure_modules_do_no_io(path):
    allowed = IO_ALLOWED.get(str(path.relative_to(ROOT)), set())
    for module, _ in imports_of(path):
        used = module.split(".")[0]
        assert used not in IO_MODULES - allowed, f"{path} imports {module}"


def test_pure_modules_of_the_node_see_no_others_of_it():
    """So a module that is pure by name cannot do I/O through one that is not in the table."""
    modules = {path.stem for path in (ROOT / "node").glob("*.py")}
    for name in sorted(PURE_NODE):
        imported = [module.split(".") for module, _ in imports_of(ROOT / "node" / f"{name}.py")]
        others = modules & {parts[1] for parts in imported if parts[0] == "node" and len(parts) > 1} - PURE_NODE
        assert not others, f"node/{name}.py imports {others}"


def test_every_package_says_what_it_owns():
    for package in MAY_IMPORT:
        docstring = ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text()))
        assert docstring is not None, package
        assert len(docstring.splitlines()) >= 3, package


def test_the_checker_sees_a_planted_import(tmp_path):
    planted = tmp_path / "planted.py"
    planted.write_text("def late():\n    from market.book import anything\n")
    assert ("market.book", False) in imports_of(planted)
