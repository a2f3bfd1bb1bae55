"""`gridmerit economy`: its files, its document, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., tuple[int, str, str]]


def test_a_day_in_virtual_time_writes_its_page(gridmerit: Run, tmp_path: Path) -> None:
    code, out, err = gridmerit("economy", "--fast", "--days", "1", "--out", str(tmp_path / "page"), "--json")
    assert (code, err.strip()) == (0, "day 1 of 1")
    document = json.loads(out)
    assert all(check["passed"] for check in document["checks"])
    assert len(document["hours"]) == 24
    files = {Path(file).name for file in document["files"]}
    assert {"economy.html", "economy.md", "economy.json", "bills.png", "tranches.png"} <= files
    assert all(Path(file).stat().st_size for file in document["files"])


def test_what_it_cannot_do_it_says(gridmerit: Run, tmp_path: Path) -> None:
    code, _, err = gridmerit("economy", "--out", str(tmp_path / "page"))
    assert (code, "add --fast" in err) == (2, True)
    code, _, err = gridmerit("economy", "--fast", "--days", "8")
    assert (code, "8 is not in the range 1<=x<=7" in err) == (2, True)
    (tmp_path / "file").write_text("")
    code, _, err = gridmerit("economy", "--fast", "--days", "1", "--out", str(tmp_path / "file" / "page"))
    assert (code, "error[UnwritableFile]" in err) == (3, True)
