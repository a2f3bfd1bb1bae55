"""The measurements and words of `sim recommend`, on the two questions that take no time."""

import json

from click.testing import CliRunner

from gridmerit.main import cli
from gridmerit.network.parameters import load_params_set
from ledger.params import ChainParams, ConsensusParams
from node.config import ChainConfig
from simulation.experiments.recommendation import QUESTIONS, make_answers, plan_trials, render_markdown, run_job
from simulation.experiments.scenario import load_scenario, parse_settings

ONLY = ("consensus.tau_upt", "consensus.relief_after")


def answer(chains):
    rows = [(job, run_job(job)) for job in plan_trials(is_quick=True, seed=1, only=ONLY)]
    return make_answers(rows, chains, is_quick=True, seed=1)


def test_every_question_names_a_parameter_a_scenario_and_settings_that_exist():
    for question in QUESTIONS:
        chain = ChainParams(name="JY1")
        section = ChainConfig if question.section == "node" else type(getattr(chain, question.section))
        assert question.key in section.model_fields
        scenario = load_scenario(question.scenario)
        assert question.metric in [metric.name for metric in scenario.metrics]
        off, on = (parse_settings(scenario, {**question.shared, **side}) for side in (question.off, question.on))
        assert off != on


def test_the_packaged_parameters_are_those_recommended():
    packaged = load_params_set("recommended")
    for found in answer(packaged):
        assert not found.deviating
        assert found.has_effect


def test_a_chain_with_other_values_is_named():
    odd = ChainParams(name="JY1", consensus=ConsensusParams(relief_after=99))
    tau, relief = answer([odd])
    assert (dict(tau.deviating), dict(relief.deviating)) == ({}, {"JY1": 99})
    assert "JY1: 99" in render_markdown([tau, relief])


def test_the_command_writes_a_table_and_a_document(tmp_path):
    out = tmp_path / "why"
    command = ["sim", "recommend", "--quick", "--only", "consensus.tau_upt", "--jobs", "1", "--out", str(out), "--json"]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    (found,) = json.loads((out / "recommendation.json").read_text())
    assert found["has_effect"]
    assert found["on"]["low"] <= found["on"]["theory"] <= found["on"]["high"]
    assert "`consensus.tau_upt`" in (out / "recommendation.md").read_text()
    refused = CliRunner().invoke(cli, ["sim", "recommend", "--only", "consensus.taste", "--out", str(out)])
    assert refused.exit_code == 2
