"""A companion holds what it has still to read: by a file that says from which height on."""

import pytest

from node.driver.holds import MAX_HOLDS, read_holds
from node.errors import BadHold


@pytest.fixture
def holds(tmp_path):
    (tmp_path / "holds").mkdir()
    return tmp_path / "holds"


def test_nothing_is_held_where_no_companion_has_said_so(tmp_path, holds):
    assert read_holds(tmp_path) == {}
    assert read_holds(tmp_path / "elsewhere") == {}


def test_each_companion_holds_what_its_file_says(tmp_path, holds):
    (holds / "archive").write_text("120\n")
    (holds / "export-2").write_text("77")
    (holds / "archive.new").write_text("half a nu")
    assert read_holds(tmp_path) == {"archive": 120, "export-2": 77}, "a draft is none yet"


@pytest.mark.parametrize("text", ["", "-1", "soon", "1 2", "9" * 40, "１２"])
def test_what_cannot_be_read_is_named(tmp_path, holds, text):
    (holds / "archive").write_text(text)
    with pytest.raises(BadHold) as caught:
        read_holds(tmp_path)
    file = holds / "archive"
    said = f"nothing is pruned while the hold {file} cannot be read: it must hold one height in decimal digits"
    assert str(caught.value) == said


def test_companions_are_bounded_in_number(tmp_path, holds):
    for number in range(MAX_HOLDS + 1):
        (holds / f"c-{number}").write_text("1")
    with pytest.raises(BadHold, match="17 companions, at most 16 are heard"):
        read_holds(tmp_path)
    (holds / "c-0").unlink()
    assert len(read_holds(tmp_path)) == MAX_HOLDS


def test_a_directory_in_the_place_of_a_hold_is_named(tmp_path, holds):
    (holds / "archive").mkdir()
    with pytest.raises(BadHold, match="Is a directory"):
        read_holds(tmp_path)
