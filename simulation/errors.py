"""Errors of the laboratory: scenarios, settings, sweeps and recordings that cannot be used, each with its values."""

from __future__ import annotations

from ledger.errors import ConfigError, LaboratoryError
from market.errors import StrategyFault

# --- configuration -------------------------------------------------------------------------------


class MissingExtra(ConfigError):
    message = "{what} needs {package}, which is not installed"


class UnknownStrategy(ConfigError):
    message = "no strategy is called {name}; there are: {known}"


class NotAStrategy(ConfigError):
    message = "{reference} is no strategy that can play: {detail}"


class StrategyNotLoaded(ConfigError):
    message = "{reference} is no strategy that can play: running its file did not end within {seconds:g} s"


class StrategyOverdue(StrategyFault):
    message = "{player} has no orders in period {period}: its strategy {strategy} did not answer within {seconds:g} s"


# --- the laboratory ------------------------------------------------------------------------------


class UnknownScenario(LaboratoryError):
    message = "there is no scenario {name}; there are: {known}"


class UnknownSetting(LaboratoryError):
    message = "scenario {scenario} has no setting {key}; it has: {known}"


class BadSetting(LaboratoryError):
    message = "scenario {scenario}, setting {key}: {detail}; have {value}"


class UnknownTheory(LaboratoryError):
    message = "there is no theory {name}; there are: {known}"


class UnknownParameter(LaboratoryError):
    message = "theory {theory} has no parameter {parameter}; it has: {known}"


class BadParameter(LaboratoryError):
    message = "theory {theory}, parameter {parameter}: {detail}; have {value}"


class UnknownAttack(LaboratoryError):
    message = "there is no attack {name}; there are: {known}"


class BadAttackSetting(LaboratoryError):
    message = "attack {attack}, setting {key}: {detail}; it has: {known}"


class RepeatedPoint(LaboratoryError):
    message = "the grid holds this point twice: {settings}"


class SweepTooLarge(LaboratoryError):
    message = "the sweep has {actual} {what}, at most {limit} are allowed"


class SweepExists(LaboratoryError):
    message = "{directory} holds files already; nothing there is overwritten"


class SweepRunning(LaboratoryError):
    message = "another run is writing to {directory}"
    exit_code = 9


class SweepChanged(LaboratoryError):
    message = "the sweep in {directory} differs in its {what}"


class BadSweep(LaboratoryError):
    message = "{file} cannot be used: {detail}"


class NotASweep(LaboratoryError):
    message = "{directory} holds no results: {detail}"


class BadReplay(LaboratoryError):
    message = "{file} is no replay: {detail}"


class NoFilm(LaboratoryError):
    message = "scenario {scenario} films no trial"


class WorkerLost(LaboratoryError):
    """Nothing of what was finished is lost with it."""

    message = "a worker process died: {detail}"
    exit_code = 4


class ClusterUnusable(LaboratoryError):
    message = "no worker can be had from {address}: {detail}"
    exit_code = 4


class ForeignWorker(LaboratoryError):
    message = "a worker runs other code: {actual}, here it is {expected}"


class BadLinks(LaboratoryError):
    message = "links: {what} must be {want}; have {have}"


class BadLinkFile(LaboratoryError):
    message = "{file} does not describe links: {detail}"
