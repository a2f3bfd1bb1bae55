"""A node whose wall clock is wrong: `python tests/node/shifted_node.py DIR`, by the ms that `DIR/clock` says now.

`node.clock` is the only reader of clocks in a node, and reads `time.time_ns`; what lasts is measured as ever.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from node.commands.start import run_node

FILE = "clock"


def shift(file: Path) -> None:
    """Have this process's wall clock follow a file from now on."""
    right_ns = time.time_ns

    def shifted_ns() -> int:
        return right_ns() + 1_000_000 * int(file.read_text(encoding="ascii") or 0)

    time.time_ns = shifted_ns


if __name__ == "__main__":
    directory = Path(sys.argv[1])
    shift(directory / FILE)
    sys.exit(run_node(directory))
