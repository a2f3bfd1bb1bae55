"""`python -m benchmarks [--quick] [NAME …]`: run the benchmarks, print one table and write bench.json."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from benchmarks.table import Row, print_table

NAMES = (
    "seal",
    "signatures",
    "block_import",
    "state_root",
    "store",
    "matching",
    "credit_matching",
    "game",
    "economy",
    "relays",
    "pbft_cluster",
    "simulation",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="small sizes: that it runs, not how fast")
    parser.add_argument("--json", type=Path, default=Path("bench.json"), help="where the figures go")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(NAMES)
    if unknown:
        parser.error(f"no benchmark named {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    rows: list[Row] = []
    for name in arguments.names or NAMES:
        print(f"{name} ...", file=sys.stderr)
        rows += import_module(f"benchmarks.{name}").run(quick=arguments.quick)
    print_table(rows)
    machine = {"machine": platform.machine(), "python": platform.python_version()}
    document = {**machine, "rows": [asdict(row) for row in rows]}
    arguments.json.write_text(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
