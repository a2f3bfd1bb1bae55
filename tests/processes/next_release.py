"""A node of the release after this one, which knows rules 2 as well: `python -m tests.processes.next_release DIR`.

Everything else is as in this release, so that beside it `gridmerit start` runs a node that has missed an upgrade.
"""

from __future__ import annotations

import sys
from typing import cast

from gridmerit.main import run
from node.chain.rule_sets import RULE_SETS, RuleSet


def main() -> int:
    cast(dict[int, RuleSet], RULE_SETS)[2] = RuleSet()
    return run(["start", *sys.argv[1:]])


if __name__ == "__main__":
    sys.exit(main())
