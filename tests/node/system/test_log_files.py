"""Log files: bounded, begun anew whatever has become of the last one, and followed without a gap."""

import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from node.system.log_files import LogFile, find_log_file, follow

ROOT = Path(__file__).parents[3]
WRITE = """
import sys
from pathlib import Path
from node.system.log_files import find_log_file
log = find_log_file(Path(sys.argv[1]), max_bytes=100, kept=2)
for number in range(int(sys.argv[2])):
    if number == 25:
        Path(sys.argv[1]).unlink()
    log.write(f"line {number}\\n")
    log.flush()
print("the end")
"""


def write_lines(log: Path, count: int) -> None:
    with log.open("ab") as file:
        subprocess.run(
            [sys.executable, "-P", "-c", WRITE, log, str(count)],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=file,
            stderr=file,
            check=True,
        )


def test_a_log_is_bounded_and_goes_on_where_somebody_has_removed_it(tmp_path: Path) -> None:
    log = tmp_path / "node.log"
    write_lines(log, 100)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["node.log", "node.log.1", "node.log.2"]
    assert all(file.stat().st_size <= 100 + len("line 99\n") for file in files)
    assert log.read_text().splitlines()[-2:] == ["line 99", "the end"], "its stdout is there, too"


def rotate(log: Path, kept: int = 3) -> None:
    for number in reversed(range(1, kept)):
        if (older := log.with_name(f"node.log.{number}")).exists():
            older.replace(log.with_name(f"node.log.{number + 1}"))
    log.replace(log.with_name("node.log.1"))


@pytest.mark.parametrize("rotations", [0, 1, 2, 3])
def test_it_is_followed_through_however_many_files(tmp_path: Path, rotations: int) -> None:
    log = tmp_path / "node.log"
    log.write_text("before\n")
    added = follow(tmp_path)
    with log.open("a") as file:
        file.write("0\n")
    for number in range(1, rotations + 1):
        rotate(log)
        log.write_text(f"{number}\n")
    wanted = rotations + 1
    assert b"".join(islice(added, wanted)).split() == [str(number).encode() for number in range(wanted)]


def test_where_too_many_were_begun_it_goes_on_with_the_present_one(tmp_path: Path) -> None:
    log = tmp_path / "node.log"
    log.write_text("")
    added = follow(tmp_path)
    for number in range(5):
        rotate(log)
        log.write_text(f"{number}\n")
    assert next(added) == b"4\n"


def test_what_is_no_file_needs_no_care(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading), os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr("sys.stderr", pipe)
        assert find_log_file(tmp_path / "node.log", max_bytes=1, kept=1) is None


def test_a_file_that_cannot_be_opened_anew_is_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "logs"
    place.mkdir()
    with (place / "any.log").open("w") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        found = find_log_file(tmp_path / "node.log", max_bytes=1, kept=1)
        assert isinstance(found, LogFile)
        place.rename(tmp_path / "moved")
        with pytest.raises(FileNotFoundError):
            found.reopen()
        found.write("it goes on\n")
        found.flush()
    assert (tmp_path / "moved" / "any.log").read_text() == "it goes on\n"
