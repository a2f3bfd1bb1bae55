"""The coin of `tests.support.coin_lab` as a scenario, and other processes that must come to the same."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from tests.support.coin_lab import coin as coin


@pytest.fixture
def run_under_hash_seed() -> Callable[[str, str], str]:
    """The output of a script in a process of its own, under a PYTHONHASHSEED."""

    def run(script: str, seed: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    return run
