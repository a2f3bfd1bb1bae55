"""Links from a file: delays between regions, bandwidth, and which share of the peers stands in which region."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources
from random import Random
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from simulation.errors import BadLinkFile
from simulation.world.links import PPM, Links, lognormal

PACKAGED = ("city", "internet")

Share = Annotated[int, Field(ge=0, le=PPM)]
Delay = Annotated[int, Field(ge=0, le=60_000)]


class LinkFile(BaseModel):
    """Content of such a file. `delay_ms` are medians by sender's and receiver's region, `spread` as in `lognormal`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    regions: tuple[str, ...] = Field(min_length=1, max_length=1_000)
    shares_ppm: tuple[Share, ...]
    delay_ms: tuple[tuple[Delay, ...], ...]
    spread: float = Field(0.0, ge=0, le=5)
    bandwidth_bytes_per_s: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> LinkFile:
        count = len(self.regions)
        if len(set(self.regions)) < count:
            raise ValueError("two regions share a name")
        if len(self.delay_ms) != count or any(len(row) != count for row in self.delay_ms):
            raise ValueError(f"delay_ms must have a row and a column for each of {count} regions")
        if len(self.shares_ppm) != count or sum(self.shares_ppm) != PPM:
            raise ValueError(f"shares_ppm must have one share for each of {count} regions, {PPM} in all")
        return self

    def deal(self, names: Sequence[str], random: Random) -> dict[str, str]:
        """A region for every peer, by chance and share."""
        return dict(zip(names, random.choices(self.regions, weights=self.shares_ppm, k=len(names)), strict=True))

    def links(self, names: Sequence[str], random: Random, **faults: Any) -> Links:
        """The links of these peers; `faults` are further fields of `Links`."""
        between = {
            (sender, receiver): lognormal(delay_ms, self.spread)
            for sender, row in zip(self.regions, self.delay_ms, strict=True)
            for receiver, delay_ms in zip(self.regions, row, strict=True)
        }
        return Links(
            regions=self.deal(names, random),
            between=between,
            bandwidth_bytes_per_s=self.bandwidth_bytes_per_s,
            **faults,
        )


def parse_link_file(text: str, file: object) -> LinkFile:
    """Raises `BadLinkFile`, which names `file` and what is wrong in it."""
    try:
        document: Mapping[str, Any] = tomllib.loads(text)
        return LinkFile.model_validate(document)
    except tomllib.TOMLDecodeError as error:
        raise BadLinkFile(file=file, detail=str(error)) from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        detail = str(first["msg"]).removeprefix("Value error, ")
        raise BadLinkFile(file=file, detail=f"{place}: {detail}" if place else detail) from None


def packaged_links(name: str) -> LinkFile:
    """One of `configs/lab`, part of the program as its code is."""
    assert name in PACKAGED, name
    file = f"lab/{name}.toml"
    return parse_link_file(resources.files("configs").joinpath(file).read_text(encoding="utf-8"), file)
