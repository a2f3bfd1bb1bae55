"""Names: one spelling of each, and none that passes for another."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import BadName, InvalidAct
from ledger.genesis import GenesisMember
from ledger.membership import ADMIT, Admission
from ledger.names import get_looks, is_normal, normalise_name

COMPOSED, DECOMPOSED = "M\N{LATIN SMALL LETTER U WITH DIAERESIS}ller", "Mu\N{COMBINING DIAERESIS}ller"
BLANK = "\u034f\u115f\u1160\u17b4\u180b\u2800\ufe0f\U0001d159\U000e0100"
CYRILLIC_A = "\N{CYRILLIC SMALL LETTER A}"


def test_both_spellings_of_a_name_are_one() -> None:
    assert COMPOSED != DECOMPOSED
    assert normalise_name(DECOMPOSED) == normalise_name(COMPOSED) == COMPOSED
    assert (is_normal(COMPOSED), is_normal(DECOMPOSED)) == (True, False)


@given(st.text(max_size=40))
def test_a_name_is_normal_or_refused(text: str) -> None:
    try:
        name = normalise_name(text)
    except BadName:
        return
    assert is_normal(name)
    assert normalise_name(unicodedata.normalize("NFD", name)) == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("ann\N{ZERO WIDTH SPACE}", "nobody sees its character U+200B"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}nna", "nobody sees its character U+202E"),
        ("a\tb", "nobody sees its character U+0009"),
        *((f"an{char}n", f"nobody sees its character U+{ord(char):04X}") for char in BLANK),
        ("\N{FULLWIDTH LATIN SMALL LETTER A}nn", "it has characters that stand for others: write 'ann'"),
        ("\N{LATIN SMALL LIGATURE FI}n", "write 'fin'"),
        (f"{CYRILLIC_A}nn", "it mixes Latin and Cyrillic letters, which look alike"),
        ("\N{GREEK CAPITAL LETTER ALPHA}nn", "it mixes Latin and Greek letters"),
        ("\N{ARMENIAN SMALL LETTER OH}nn", "it mixes Latin and Armenian letters"),
        ("\N{CHEROKEE LETTER GO}nn", "it mixes Latin and Cherokee letters"),
    ],
)
def test_what_cannot_be_told_from_another_is_refused(name: str, why: str) -> None:
    with pytest.raises(BadName) as caught:
        normalise_name(name)
    assert why in str(caught.value)


@pytest.mark.parametrize("name", ["homes-1", "Łódź 2", "Ελλάδα", "село-7", "北村", "김", "O'Neill", ""])
def test_names_of_many_scripts_are_names(name: str) -> None:
    assert normalise_name(name) == unicodedata.normalize("NFC", name)


def test_spaces_that_nobody_counts_make_no_other_name() -> None:
    assert normalise_name(" Ann  Lee ") == "Ann Lee"
    assert not is_normal("Ann  Lee")


def test_hyphens_look_the_same() -> None:
    assert {get_looks(f"homes{hyphen}1") for hyphen in "-\u2010\u2013\u2212"} == {"homes-1"}


def test_letters_of_two_scripts_may_look_the_same() -> None:
    word = "\N{CYRILLIC SMALL LETTER ES}\N{CYRILLIC SMALL LETTER O}\N{CYRILLIC SMALL LETTER ER}"
    assert get_looks(word) == get_looks("cop") == "cop"


def test_a_genesis_has_its_places_in_one_spelling() -> None:
    def member(position: str) -> GenesisMember:
        return GenesisMember(name="a", role="consumer", key=bytes(32), position=position)

    assert member(DECOMPOSED) == member(COMPOSED)
    with pytest.raises(ValueError, match="cannot be a name: nobody sees"):
        member("x\N{ZERO WIDTH SPACE}")


def test_an_act_of_another_spelling_is_refused() -> None:
    def act(position: str) -> tuple[object, ...]:
        return (ADMIT, 1, "a", "consumer", bytes(32), b"", 0, position, b"", (), 0, 1, 0, 0)

    assert Admission.from_value(act(COMPOSED)).position == COMPOSED  # type: ignore[arg-type]
    with pytest.raises(InvalidAct, match="position"):
        Admission.from_value(act(DECOMPOSED))  # type: ignore[arg-type]
