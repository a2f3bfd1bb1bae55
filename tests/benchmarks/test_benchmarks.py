"""Every benchmark runs, in its short form, and says what it is measured against. How fast is not asserted."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_all_of_them_give_one_table_and_one_document(tmp_path):
    finished = run("--quick", "--json", str(tmp_path / "bench.json"))
    assert finished.returncode == 0, finished.stderr
    document = json.loads((tmp_path / "bench.json").read_text())
    rows = document["rows"]
    assert {"portable", "hashlib"} <= {word for row in rows for word in row["name"].split()}
    assert all(row["value"] > 0 and row["ratio"] > 0 and row["baseline"] for row in rows)
    assert len(finished.stdout.splitlines()) == len(rows) + 1


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path):
    finished = run("sela", "--json", str(tmp_path / "bench.json"))
    assert finished.returncode == 2
    assert "no benchmark named sela; there are seal, signatures, block_import" in finished.stderr
