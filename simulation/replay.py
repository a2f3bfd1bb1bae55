"""A film of one trial: what happened when, for the viewer in a report. Pure; bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

Frame: TypeAlias = tuple[int, str, *tuple[int | str, ...]]  # time in ms, what happened, its values


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """Frames by time; `peers` in the order they are drawn in."""

    scenario: str
    settings: Mapping[str, int | float | str | bool]
    seed: int
    peers: tuple[str, ...]
    start_ms: int
    end_ms: int
    frames: tuple[Frame, ...]
