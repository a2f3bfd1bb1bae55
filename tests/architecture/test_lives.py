"""The page of lives shows what the tables of the code say."""

import re
from collections.abc import Iterable

import pytest

from consensus.pbft import phases, replica
from market import pool_life, pool_payments
from market.scheduling import contract as scheduling_contract
from market.scheduling import life as scheduling
from market.trading import life as trading
from market.trading import period as trading_contract

from .test_imports import ROOT

PAGE = ROOT / "docs" / "lives.md"


def show_table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [tuple(titles), ("---",) * len(tuple(titles)), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def show_diagram(edges: Iterable[tuple[str, str, str]]) -> str:
    """One arrow for each pair of states, with all that leads along it."""
    labels: dict[tuple[str, str], list[str]] = {}
    for before, after, label in edges:
        known = labels.setdefault((before, after), [])
        if label not in known:
            known.append(label)
    arrows = [f"    {before} --> {after}: {', '.join(known)}" for (before, after), known in labels.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", *arrows, "```"])


def show_trading() -> str:
    edges = [(row.before, row.after, row.event) for row in trading.LIFE]
    rows = [
        (row.before, row.event, "; ".join(row.guards), f"{row.after} ({row.reason})" if row.reason else row.after,
         f"`{row.action}`")
        for row in trading.LIFE
    ]  # fmt: skip
    table = show_table(("in", "on", "where", "becomes", "and does"), rows)
    return f"{show_diagram([('[*]', 'book', 'quotas, orders or readings'), *edges])}\n\n{table}"


def show_scheduling() -> str:
    edges = [(row.before, row.after, row.event) for row in scheduling.LIFE]
    rows = [(row.before, row.event, row.after, f"`{row.action}`") for row in scheduling.LIFE]
    table = show_table(("in", "on", "becomes", "and does"), rows)
    return f"{show_diagram([('[*]', 'new', 'a period to come'), *edges])}\n\n{table}"


def show_pools() -> str:
    edges = [(row.before, row.after, row.event) for row in pool_life.LIFE]
    rows = [(row.before, row.event, "; ".join(row.guards), row.after, f"`{row.action}`") for row in pool_life.LIFE]
    table = show_table(("in", "on", "where", "becomes", "and does"), rows)
    return f"{show_diagram([('[*]', 'filling', 'opened'), *edges])}\n\n{table}"


def show_pbft() -> str:
    """The diagram without what a start and a silence do, which lead from anywhere."""
    calls = {phases.Cause.START, phases.Cause.ALLOW, phases.Cause.FALL_SILENT}
    edges = [
        (before, row.after, cause)
        for row in phases.LIFE
        for before in row.before
        for cause in row.causes
        if cause not in calls and before != row.after
    ]
    rows = [
        (", ".join(row.before), ", ".join(row.causes), row.guard, row.after, f"`{row.action}`") for row in phases.LIFE
    ]
    table = show_table(("in any of", "on any of", "where", "becomes", "by"), rows)
    return f"{show_diagram([('[*]', 'waiting', 'start'), *edges])}\n\n{table}"


SHOWN = {"trading": show_trading, "scheduling": show_scheduling, "pools": show_pools, "pbft": show_pbft}


@pytest.mark.parametrize("name", SHOWN)
def test_the_page_shows_the_table_of_the_code(name):
    shown = re.search(rf"<!-- {name} -->\n\n(.*?)\n\n<!-- end -->", PAGE.read_text(), re.DOTALL)
    assert shown is not None
    assert shown.group(1) == SHOWN[name]()


@pytest.mark.parametrize("state", trading.State)
def test_every_state_of_a_trading_period_is_reached_from_the_book(state):
    assert state in reach(trading.State.BOOK, [((row.before,), row.after) for row in trading.LIFE])


@pytest.mark.parametrize("state", scheduling.State)
def test_every_state_of_a_scheduling_period_is_reached_from_a_new_one(state):
    assert state in reach(scheduling.State.NEW, [((row.before,), row.after) for row in scheduling.LIFE])


@pytest.mark.parametrize("status", pool_life.Status)
def test_every_state_of_a_pool_is_reached_from_its_filling(status):
    assert status in reach(pool_life.Status.FILLING, [((row.before,), row.after) for row in pool_life.LIFE])


@pytest.mark.parametrize("phase", phases.Phase)
def test_every_phase_is_reached_from_watching(phase):
    assert phase in reach(phases.Phase.WATCHING, [(row.before, row.after) for row in phases.LIFE])


def reach(first, steps):
    found = {first}
    while more := {after for before, after in steps if found & set(before)} - found:
        found |= more
    return found


def test_every_action_is_a_function_of_the_code_by_that_name():
    assert all(callable(getattr(trading_contract, f"_{action}")) for action in trading.Action)
    assert all(callable(getattr(pool_payments, f"_{action}")) for action in pool_life.Action)
    assert all(callable(getattr(scheduling_contract, f"_{action}")) for action in scheduling.Action)
    methods = {name.removeprefix("_") for name in vars(replica.Pbft)}
    assert {row.action for row in phases.LIFE} <= methods


def test_every_word_of_the_tables_is_used():
    assert {row.event for row in trading.LIFE} == set(trading.Event)
    assert {guard for row in trading.LIFE for guard in row.guards} == set(trading.Guard)
    assert {row.action for row in trading.LIFE} == set(trading.Action)
    assert {row.reason for row in trading.LIFE} == set(trading.Lack)
    assert {row.event for row in scheduling.LIFE} == set(scheduling.Event)
    assert {row.action for row in scheduling.LIFE} == set(scheduling.Action)
    assert {cause for row in phases.LIFE for cause in row.causes} == set(phases.Cause)
