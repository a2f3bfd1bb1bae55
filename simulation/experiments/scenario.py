"""Scenarios that the laboratory can run: settings, one trial, and what a report estimates from many."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from typing import TYPE_CHECKING, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

from simulation.errors import BadSetting, UnknownScenario, UnknownSetting

if TYPE_CHECKING:
    from simulation.recording import Recording

Value: TypeAlias = int | float | str | bool


class Settings(BaseModel):
    """Settings of a scenario: each field has a default, bounds and a description with its unit."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Theory:
    """A formula's prediction of a metric, with the name of the formula and its source."""

    name: str
    value: float
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """The result of one run: a row of numbers by column, the same columns for every seed, and a film of it, if any."""

    row: Mapping[str, Value]
    replay: Recording | None = None

    @property
    def log(self) -> str:
        """The hash that a repetition is held against: that of the event log, or of the row where no peers have one."""
        if "log" in self.row:
            return str(self.row["log"])
        return sha256(json.dumps(dict(self.row), sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """An estimate that a report makes from the rows of many trials.

    A "share" is sum(column) of sum(out_of) independent attempts, with a Clopper–Pearson interval. A "mean" is that of
    `column` over trials, with Student's interval, cut off at 0. `theory` may know what it should be under the settings.

    Where a trial ends before what is measured has come, it is cut off, and the estimate is a lower bound: `cut_off` is
    the column that says in how many of its attempts that was so, `limit` the setting that says when.
    """

    name: str
    kind: Literal["share", "mean"]
    column: str
    out_of: str = ""
    unit: str = ""
    theory: Callable[[Settings], Theory | None] | None = None
    cut_off: str = ""
    limit: str = ""
    applies: Callable[[Settings], bool] = lambda settings: True  # where it does not, there is no estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A named experiment. `run(settings, seed)` is pure: the same arguments give the same trial, anywhere."""

    name: str
    about: str
    settings: type[Settings]
    run: Callable[[Settings, int], Trial]
    metrics: tuple[Metric, ...]
    film: Callable[[Settings, int], Trial] | None = None  # like `run`, with the replay


# name -> "module:attribute", so that a list of scenarios imports none of them
SCENARIOS: dict[str, str] = {
    "double-spend": "simulation.scenarios.double_spend:DOUBLE_SPEND",
    "eclipse": "simulation.scenarios.eclipse:ECLIPSE",
    "equivocation": "simulation.scenarios.equivocation:EQUIVOCATION",
    "false-head": "simulation.scenarios.false_head:FALSE_HEAD",
    "last-look": "simulation.scenarios.last_look:LAST_LOOK",
    "long-range": "simulation.scenarios.long_range:LONG_RANGE",
    "partition": "simulation.scenarios.partition:PARTITION",
    "selfish": "simulation.scenarios.selfish:SELFISH",
    "spam": "simulation.scenarios.spam:SPAM",
    "timestamps": "simulation.scenarios.timestamps:TIMESTAMPS",
    "best-member-lost": "simulation.scenarios.credit_forks:BEST_MEMBER_LOST",
    "checkpoint-signers": "simulation.scenarios.signers:SIGNERS",
    "credit-coalition": "simulation.scenarios.credit_races:COALITION",
    "credit-fork": "simulation.scenarios.credit_forks:CREDIT_FORK",
    "credit-grinding": "simulation.scenarios.credit_races:GRINDING",
    "sealing-pace": "simulation.scenarios.sealing_pace:SEALING_PACE",
    "new-keys": "simulation.scenarios.credit_market:NEW_KEYS",
    "wash-trading": "simulation.scenarios.credit_market:WASH_TRADING",
    "strategies": "simulation.scenarios.strategies:STRATEGIES",
    "honest-day": "simulation.scenarios.days:HONEST_DAY",
    "faulty-day": "simulation.scenarios.days:FAULTY_DAY",
    "gossip-stale": "simulation.scenarios.gossip:GOSSIP_STALE",
    "double-spend-race": "simulation.scenarios.races:DOUBLE_SPEND_RACE",
    "double-spend-tail": "simulation.scenarios.races:DOUBLE_SPEND_TAIL",
    "naive-work-race": "simulation.scenarios.races:NAIVE_WORK_RACE",
    "poca-race": "simulation.scenarios.races:POCA_RACE",
    "selfish-race": "simulation.scenarios.races:SELFISH_RACE",
    "stale-race": "simulation.scenarios.races:STALE_RACE",
}


def load_scenario(name: str) -> Scenario:
    """Raises `UnknownScenario`."""
    if name not in SCENARIOS:
        raise UnknownScenario(name=name, known=", ".join(sorted(SCENARIOS)))
    module, attribute = SCENARIOS[name].split(":")
    scenario = getattr(import_module(module), attribute)
    assert isinstance(scenario, Scenario)
    return scenario


def parse_settings(scenario: Scenario, given: Mapping[str, str | Value]) -> Settings:
    """The settings from what a user wrote, defaults for the rest. Raises `UnknownSetting` or `BadSetting`."""
    for key in given:
        if key not in scenario.settings.model_fields:
            known = ", ".join(scenario.settings.model_fields)
            raise UnknownSetting(scenario=scenario.name, key=key, known=known)
    try:
        return scenario.settings.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else "settings"
        detail = str(first["msg"]).removeprefix("Value error, ")
        value = given[key] if key in given else " ".join(f"{name}={value}" for name, value in given.items())
        raise BadSetting(scenario=scenario.name, key=key, value=value, detail=detail) from None


def trial_command(scenario: str, settings: Settings, seed: int) -> str:
    """The command line that runs one trial again, for a shell; settings at their defaults are left out."""
    words = ["gridmerit", "sim", "trial", scenario, "--seed", str(seed)]
    for key, value in settings.model_dump().items():
        if value != type(settings).model_fields[key].default:
            words += ["--set", f"{key}={value}"]
    return shlex.join(words)
