"""The results of `gridmerit paper` put together: its report, and the same as a JSON document."""

from __future__ import annotations

from typing import Any

from gridmerit.paper.claims import compute_delays, make_choices, make_claims, make_comparison, project_messages
from gridmerit.paper.layout import PaperReport, Part, Table
from gridmerit.paper.packaged_set import make_paper_set
from gridmerit.paper.results import explain, make_figure_3, make_figure_4, make_table_2
from simulation.paper.credit import CreditCurve, ReproducedTest
from simulation.paper.day import MarketDay
from simulation.paper.matching import MatchedDay
from simulation.paper.reproduce import Comparison, Reproduction, ResultCheck
from simulation.paper.sealing import Race

_PPM = 1_000_000


def make_report(result: Reproduction) -> PaperReport:
    """The whole report; the same result always gives the same words."""
    return PaperReport(
        title="The paper's results, computed anew",
        introduction=(
            "Y. Zhang, Distributed Energy Intelligent Transaction Model and Credit Risk Management Based on Energy "
            "Blockchain: its Table 2, its Figs 3 and 4 and the claim of its abstract, by the functions and nodes of "
            f"gridmerit. Seed {result.seed}; the same seed gives the same report."
        ),
        parts=(
            make_table_2(result.table),
            make_figure_3(result.curves),
            make_figure_4(result.races),
            make_claims(result.comparison),
            make_comparison(result.comparison),
            make_paper_set(result.params, result.matched),
            make_choices(result),
            _make_checks(result.checks),
        ),
    )


def _make_checks(checks: tuple[ResultCheck, ...]) -> Part:
    rows = tuple((check.name, "ok" if check.passed else "FAILED", check.detail) for check in checks)
    return Part(title="Checks", blocks=(Table(heads=("check", "", "detail"), rows=rows, left=(0, 1, 2)),))


def make_document(result: Reproduction) -> dict[str, Any]:
    """`report.json`: integers in the smallest units, ratios in parts per million."""
    return {
        "passed": all(check.passed for check in result.checks),
        "checks": [check._asdict() for check in result.checks],
        "seed": result.seed,
        "table_2": [_describe_test(test) for test in result.table],
        "figure_3": [_describe_curve(curve) for curve in result.curves],
        "figure_4": [_describe_race(race) for race in result.races],
        "comparison": _describe_comparison(result.comparison),
        "paper_set": {"market": result.params.market.model_dump(), "matching": _describe_matching(result.matched)},
    }


def _describe_test(test: ReproducedTest) -> dict[str, Any]:
    deviations = test.deviations
    return {
        "test": test.test.number,
        "cells": [
            {**cell._asdict(), "why": explain(test, cell) if cell in deviations else None} for cell in test.cells
        ],
    }


def _describe_curve(curve: CreditCurve) -> dict[str, Any]:
    return {
        "basis": curve.basis,
        "natural_factor_ppm": curve.natural_factor_ppm,
        "scores_upt": list(curve.scores_upt),
        "credits_upt": list(curve.credits_upt),
    }


def _describe_race(race: Race) -> dict[str, Any]:
    return {
        "tau_upt": race.tau_upt,
        "blocks": race.blocks,
        "players": [
            {
                "name": racer.name,
                "credit_upt": racer.credit_upt,
                "share_ppm": round(racer.share * _PPM),
                "sealed": racer.sealed,
                "low": racer.low,
                "high": racer.high,
                "inside": racer.is_inside,
            }
            for racer in race.racers
        ],
    }


def _describe_comparison(comparison: Comparison) -> dict[str, Any]:
    delays, chain = compute_delays(comparison), comparison.chain
    return {
        "central": _describe_day(comparison.central),
        "chain": _describe_day(comparison.on_chain),
        "chain_if_players_respond": _describe_day(comparison.shaded),
        "certified_after_ms": list(delays.chain_certified_ms),
        "settled_after_ms": {"central": list(delays.central_settled_ms), "chain": list(delays.chain_settled_ms)},
        "messages": {
            "central": comparison.central_mode.messages,
            "chain": chain.message_count,
            "chain_by_kind": dict(chain.messages),
            "chain_in_real_hours": project_messages(comparison),
        },
    }


def _describe_matching(matched: MatchedDay) -> dict[str, Any]:
    rules = [rule._asdict() for rule in (matched.by_price, matched.by_weight)]
    return {"rules": rules, "hours": matched.hours, "alike": matched.alike}


def _describe_day(day: MarketDay) -> dict[str, Any]:
    return {
        "trades": len(day.trades),
        "deliveries": day.deliveries,
        "breaches": day.breaches,
        "serious_breaches": day.serious_breaches,
        "agreed_wh": day.agreed_wh,
        "traded_wh": day.traded_wh,
        "short_wh": day.short_wh,
        "credit_upt": dict(day.credits_upt),
    }
