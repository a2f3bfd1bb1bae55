"""A node whose books are wrong: `python -m tests.processes.wrong_book_node DIR`.

Its network must be disposable, as for `gridmerit attack`.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from consensus.quorum import Statement
from gridmerit.commands.start import run_node
from ledger.checkpoints import Checkpoint
from ledger.hashing import sha256
from ledger.results import Result
from node.chain.node import ChainNode
from simulation.attacks.policy import Policy


class WrongBook(Policy):
    """A member that computes another root of every result, and signs that."""

    def __init__(self, node: ChainNode, random: Random):
        super().__init__(node, random)
        results, checkpoints = node.results, node._finality.checkpoints
        compute, state = results._compute, checkpoints._state

        def compute_wrong(block_hash: bytes) -> tuple[Result, ...] | None:
            found = compute(block_hash)
            return found and tuple(result._replace(root=sha256(result.root)) for result in found)

        def state_wrong(checkpoint: Checkpoint, voters: Any) -> Statement:
            statement = state(checkpoint, voters)
            wrong = results.result_of(statement.block_hash) if statement.result else b""
            return replace(statement, result=wrong)

        results._compute = compute_wrong  # type: ignore[method-assign]
        checkpoints._state = state_wrong  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.exit(run_node(Path(sys.argv[1]), lambda node: WrongBook(node, Random(0))))
