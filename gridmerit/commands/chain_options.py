"""The chains of a network that is to be made: the options that choose their parameters, engine and market."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from gridmerit.amounts import parse_natural_factor
from gridmerit.network.parameters import PACKAGED, choose_market, load_engine_params, load_params_set
from ledger.params import ChainParams

_RECOMMENDED = "recommended"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainChoice:
    """The values of the options as they were typed; None is what the set has."""

    params_set: str = _RECOMMENDED
    rule: str | None = None
    alpha: str | None = None
    engine: str | None = None
    is_intraday: bool = False

    def load(self) -> tuple[ChainParams, ...]:
        """The chains of the set, agreed on, cleared and scored as the options have it.

        Raises `BadParameters`, `UnknownRule` or a usage error.
        """
        factor_ppm = None if self.alpha is None else parse_natural_factor(self.alpha)
        is_recommended = self.params_set == _RECOMMENDED
        params = load_engine_params(self.engine) if is_recommended else load_params_set(self.params_set)
        if self.engine is not None and any(chain.consensus.engine != self.engine for chain in params):
            raise click.UsageError(f"--engine {self.engine}: the chains of {self.params_set} have another one")
        return choose_market(params, rule=self.rule, natural_factor_ppm=factor_ppm, is_intraday=self.is_intraday)

    def to_words(self) -> list[str]:
        """The same options for a command in a container, which has the packaged sets alone. Raises a usage error."""
        if self.params_set not in PACKAGED:
            raise click.UsageError(f"--compose takes a packaged set of parameters, one of {', '.join(PACKAGED)}")
        named = None if self.params_set == _RECOMMENDED else self.params_set
        options = {"--set": named, "--rule": self.rule, "--alpha": self.alpha, "--engine": self.engine}
        words = [word for name, value in options.items() if value is not None for word in (name, value)]
        return [*words, "--intraday"] if self.is_intraday else words


def chain_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options --set, --rule, --alpha, --engine and --intraday; the command gets them as one `choice`."""

    @click.option(
        "--set",
        "params_set",
        metavar="NAME|PATH",
        default=_RECOMMENDED,
        show_default=True,
        help="The chains' parameters: `recommended`, `paper` (text 000 to the letter), `bft`, or a directory with a"
        " TOML file per chain, or one such file.",
    )
    @click.option(
        "--rule",
        metavar="NAME",
        help="How gates clear: price-time, credit-weighted, uniform-price, pay-as-bid or knn."
        "  [default: as --set has it]",
    )
    @click.option(
        "--alpha", metavar="0…0.3", help="α of Eq. (12), by which sellers are spared.  [default: as --set has it]"
    )
    @click.option(
        "--engine",
        type=click.Choice(["poca", "pbft"]),
        help="How blocks are agreed on, on every chain: by proof of credit assessment, or by PBFT, which is --set"
        " bft.  [default: PBFT on du1, poca on the others]",
    )
    @click.option(
        "--intraday",
        "is_intraday",
        is_flag=True,
        help="Trade each period twice, day-ahead and intraday; what a meter says beyond settles with the grid company.",
    )
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        params_set: str,
        rule: str | None,
        alpha: str | None,
        engine: str | None,
        is_intraday: bool,
        **kwargs: Any,
    ) -> Any:
        choice = ChainChoice(params_set=params_set, rule=rule, alpha=alpha, engine=engine, is_intraday=is_intraday)
        return command(*args, choice=choice, **kwargs)

    return wrapped
