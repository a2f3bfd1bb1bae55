"""The profile parser: the shipped day, and the lines it refuses."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from market.errors import BadProfile
from market.profile import HOUR_MS, Player, Reading, parse_profile

PROFILES = Path(__file__).parents[2] / "configs" / "profiles"
SHIPPED = (PROFILES / "rts_gmlc_day.csv").read_text(encoding="ascii")
WEEK = (PROFILES / "rts_gmlc_week.csv").read_text(encoding="ascii")
HEADER = "hour,player,role,forecast_wh,actual_wh"
MIDNIGHT_MS = 1_594_771_200_000  # 2020-07-15T00:00:00Z

SMALL = [
    HEADER,
    "2020-07-15T00:00:00Z,pv-1,producer,500,450",
    "2020-07-15T00:00:00Z,homes-1,consumer,300,310",
    "2020-07-15T01:00:00Z,pv-1,producer,0,0",
    "2020-07-15T01:00:00Z,homes-1,consumer,290,290",
]


def test_a_small_profile():
    profile = parse_profile("\n".join(SMALL))
    assert profile.players == (Player("pv-1", "producer"), Player("homes-1", "consumer"))
    assert profile.hours_ms == (MIDNIGHT_MS, MIDNIGHT_MS + HOUR_MS)
    assert profile.readings["pv-1", MIDNIGHT_MS] == Reading(forecast_wh=500, actual_wh=450)
    assert profile.readings["homes-1", MIDNIGHT_MS + HOUR_MS] == Reading(forecast_wh=290, actual_wh=290)


def test_the_order_of_the_lines_decides_the_order_of_players_only():
    profile = parse_profile("\n".join([HEADER, *reversed(SMALL[1:])]))
    assert profile.players == (Player("homes-1", "consumer"), Player("pv-1", "producer"))
    assert profile.hours_ms == (MIDNIGHT_MS, MIDNIGHT_MS + HOUR_MS)
    assert profile.readings == parse_profile("\n".join(SMALL)).readings


def test_the_shipped_day_has_two_producers_and_eight_groups_of_homes_for_24_hours():
    profile = parse_profile(SHIPPED)
    assert [player.name for player in profile.players] == ["pv-101", "wind-122"] + [
        f"homes-{number}" for number in range(1, 9)
    ]
    assert [player.role for player in profile.players] == ["producer"] * 2 + ["consumer"] * 8
    assert profile.hours_ms == tuple(MIDNIGHT_MS + hour * HOUR_MS for hour in range(24))
    assert len(profile.readings) == 240


def test_the_shipped_day_errs_both_ways_and_balances():
    profile = parse_profile(SHIPPED)
    for producer in ("pv-101", "wind-122"):
        readings = [profile.readings[producer, hour] for hour in profile.hours_ms]
        assert sum(actual < forecast for forecast, actual in readings) >= 6
        assert sum(actual > forecast for forecast, actual in readings) >= 6
        assert max(max(reading) for reading in readings) <= 800_000
    produced = sum(
        profile.readings[name, hour].actual_wh for name in ("pv-101", "wind-122") for hour in profile.hours_ms
    )
    consumed = sum(reading.actual_wh for reading in profile.readings.values()) - produced
    assert abs(produced - consumed) <= 24 * 10  # equal but for the rounding of each reading


def test_the_shipped_week_is_168_hours_of_the_same_players_and_has_the_day_in_it():
    week, day = parse_profile(WEEK), parse_profile(SHIPPED)
    assert week.players == day.players
    assert week.hours_ms == tuple(MIDNIGHT_MS + hour * HOUR_MS for hour in range(-5 * 24, 2 * 24))
    assert len(week.readings) == 1_680
    lines = [line for line in WEEK.splitlines() if line.startswith((HEADER, "2020-07-15"))]
    assert lines == SHIPPED.splitlines()


def test_of_the_shipped_week_each_producers_largest_hour_is_800_kwh():
    week = parse_profile(WEEK)
    for producer in ("pv-101", "wind-122"):
        assert max(max(week.readings[producer, hour]) for hour in week.hours_ms) == 800_000


@pytest.mark.parametrize("text", [SHIPPED, WEEK])
def test_the_readme_names_the_digests_of_what_is_shipped(text):
    digest = hashlib.sha256(text.encode("ascii")).hexdigest()
    assert digest in (PROFILES / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("line", "text", "have"),
    [
        (1, "hour,player,role,forecast,actual", "'hour,player,role,forecast,actual'"),
        (2, "2020-07-15T00:00:00Z,pv-1,producer,500", "4 fields"),
        (2, "", "1 fields"),
        (2, "2020-07-15T00:00:00,pv-1,producer,500,450", "'2020-07-15T00:00:00'"),
        (2, "2020-07-15T00:30:00Z,pv-1,producer,500,450", "'2020-07-15T00:30:00Z'"),
        (2, "2020-02-30T00:00:00Z,pv-1,producer,500,450", "'2020-02-30T00:00:00Z'"),
        (2, "2020-07-15T00:00:00Z,PV 1,producer,500,450", "'PV 1'"),
        (2, "2020-07-15T00:00:00Z,pv-1,prosumer,500,450", "'prosumer'"),
        (2, "2020-07-15T00:00:00Z,pv-1,producer,-500,450", "'-500'"),
        (2, "2020-07-15T00:00:00Z,pv-1,producer,500,45.5", "'45.5'"),
        (2, "2020-07-15T00:00:00Z,pv-1,producer,500,٤٥٠", "'٤٥٠'"),
        (2, f"2020-07-15T00:00:00Z,pv-1,producer,500,{10**15}", "'1000000000000000'"),
        (3, SMALL[1], "a second reading of pv-1 for this hour"),
        (4, "2020-07-15T01:00:00Z,pv-1,consumer,0,0", "pv-1 as consumer"),
        (5, "2020-07-15T03:00:00Z,homes-1,consumer,1,1", "a gap between the hours"),
        (5, "2020-07-15T01:00:00Z,homes-2,consumer,1,1", "no reading of homes-2 for 2020-07-15T00:00Z"),
    ],
)
def test_a_bad_line_is_refused_by_number(line, text, have):
    lines = [*SMALL[: line - 1], text, *SMALL[line:]]
    with pytest.raises(BadProfile) as refusal:
        parse_profile("\n".join(lines))
    assert refusal.value.values["line"] == line
    assert refusal.value.values["have"] == have
    assert refusal.value.exit_code == 3


@pytest.mark.parametrize("text", ["", HEADER, HEADER + "\n"])
def test_a_profile_without_readings_is_refused(text):
    with pytest.raises(BadProfile):
        parse_profile(text)
