"""The worked examples of the money modules, as `tests/market/money/README.md` has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MONEY = Path(__file__).parents[1] / "market" / "money"


def read_cases(topic: str) -> list[dict[str, Any]]:
    """The cases of one topic, each with its name, inputs and outputs."""
    cases = json.loads((MONEY / "cases.json").read_text())["cases"]
    return [case for case in cases if case["topic"] == topic]
