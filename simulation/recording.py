"""A film of one trial: what happened when, for the viewer in a report. Pure; bytes in, bytes out."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from simulation.errors import BadReplay

Frame: TypeAlias = tuple[int, str, *tuple[int | str, ...]]  # time in ms, what happened, its values

VERSION = 1
MAX_BYTES = 64_000_000
MAX_FRAMES = 500_000
MAX_PEERS = 10_000
_MAX_TEXT = 1_000

# What follows the time and the kind of a frame. Hashes are the first eight hex digits; `target` is N_diff, in text.
SHAPES: Mapping[str, tuple[str, ...]] = {
    "block": ("peer", "hash", "parent", "height"),
    "arrive": ("peer", "hash"),
    "head": ("peer", "hash"),
    "final": ("peer", "hash"),
    "target": ("hash", "target"),
    "cut": ("detail",),
    "heal": ("detail",),
    "crash": ("detail",),
    "start": ("detail",),
    "pause": ("detail",),
    "resume": ("detail",),
    "note": ("detail",),
}
_KEYS = ("version", "scenario", "settings", "seed", "peers", "start_ms", "end_ms", "events")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """Frames by time; `peers` in the order they are drawn in."""

    scenario: str
    settings: Mapping[str, int | float | str | bool]
    seed: int
    peers: tuple[str, ...]
    start_ms: int
    end_ms: int
    frames: tuple[Frame, ...]


def dump_replay(replay: Recording) -> bytes:
    """The film as JSON, a frame per line."""
    head = {
        "version": VERSION,
        "scenario": replay.scenario,
        "settings": dict(replay.settings),
        "seed": replay.seed,
        "peers": replay.peers,
        "start_ms": replay.start_ms,
        "end_ms": replay.end_ms,
    }
    start = json.dumps(head, ensure_ascii=False).removesuffix("}")
    frames = ",\n".join(json.dumps(frame, ensure_ascii=False) for frame in replay.frames)
    return f'{start}, "events": [\n{frames}\n]}}\n'.encode()


def parse_replay(raw: bytes, file: object) -> Recording:
    """A film from its JSON. Raises `BadReplay`, which names `file` and the place that is broken."""
    try:
        return _parse(raw)
    except _Broken as broken:
        raise BadReplay(file=file, detail=str(broken)) from None


class _Broken(Exception):
    """A fault in a recording, and its place."""


def _parse(raw: bytes) -> Recording:
    if len(raw) > MAX_BYTES:
        raise _Broken(f"{len(raw)} bytes, at most {MAX_BYTES} are read")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise _Broken(f"not JSON: {error}") from None
    if not isinstance(document, dict):
        raise _Broken("not a JSON object")
    for key in _KEYS:
        if key not in document:
            raise _Broken(f"no {key!r}")
    for key in document:
        if key not in _KEYS:
            raise _Broken(f"no film has {key!r}")
    if document["version"] != VERSION:
        raise _Broken(f"version is {document['version']!r}, want {VERSION}")
    peers = _parse_peers(document["peers"])
    start_ms, end_ms = _want(document, "start_ms", int), _want(document, "end_ms", int)
    if not 0 <= start_ms <= end_ms:
        raise _Broken(f"it runs from start_ms {start_ms} to end_ms {end_ms}")
    settings = _want(document, "settings", dict)
    for key, value in settings.items():
        if not isinstance(value, int | float | str):
            raise _Broken(f"settings: {key} is no number, text, true or false")
    return Recording(
        scenario=_want(document, "scenario", str),
        settings=settings,
        seed=_want(document, "seed", int),
        peers=peers,
        start_ms=start_ms,
        end_ms=end_ms,
        frames=_parse_frames(document["events"], frozenset(peers), start_ms, end_ms),
    )


def _want(document: Mapping[str, Any], key: str, kind: type[Any]) -> Any:
    value = document[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise _Broken(f"{key} is not {'text' if kind is str else 'a whole number' if kind is int else 'an object'}")
    return value


def _parse_peers(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) and 0 < len(name) <= 100 for name in value):
        raise _Broken("peers is not a list of names")
    if len(value) > MAX_PEERS:
        raise _Broken(f"{len(value)} peers, at most {MAX_PEERS} are drawn")
    if len(set(value)) != len(value):
        raise _Broken("peers names one twice")
    return tuple(value)


def _parse_frames(value: object, peers: frozenset[str], start_ms: int, end_ms: int) -> tuple[Frame, ...]:
    if not isinstance(value, list):
        raise _Broken("events is not a list")
    if len(value) > MAX_FRAMES:
        raise _Broken(f"{len(value)} events, at most {MAX_FRAMES} are read")
    frames: list[Frame] = []
    tree = _Tree()
    last_ms = start_ms
    for index, item in enumerate(value):
        problem = _find_problem(item, peers)
        if problem is None and not last_ms <= item[0] <= end_ms:
            problem = f"its time, {item[0]} ms, is not within {last_ms} … {end_ms}"
        if problem is None and item[1] == "block":
            problem = tree.add(*item[3:])
        if problem is not None:
            raise _Broken(f"event {index}: {problem}")
        last_ms = item[0]
        frames.append(tuple(item))
    return tuple(frames)


class _Tree:
    """The blocks so far: each comes once, after its parent and one above it."""

    def __init__(self) -> None:
        self.heights: dict[str, int] = {}
        self.parents: set[str] = set()

    def add(self, hash_: str, parent: str, height: int) -> str | None:
        """Add a block; returns what is wrong with it, if anything."""
        if hash_ in self.heights or hash_ in self.parents or hash_ == parent:
            return f"block {hash_} is there already, or has children before it is found"
        if self.heights.get(parent, height - 1) != height - 1:
            return f"block {hash_} has height {height}, its parent {self.heights[parent]}"
        self.heights[hash_] = height
        self.parents.add(parent)
        return None


def _find_problem(item: object, peers: frozenset[str]) -> str | None:
    """The problem of a frame, but for its time; None for a good one."""
    if not isinstance(item, list) or len(item) < 2:
        return "not a list of a time, a kind and values"
    time_ms, kind, *values = item
    if not isinstance(time_ms, int) or isinstance(time_ms, bool):
        return f"its time is {time_ms!r}, want milliseconds"
    if not isinstance(kind, str) or kind not in SHAPES:
        return f"no event is called {kind!r}"
    if len(values) != len(SHAPES[kind]):
        return f"{kind} has {len(values)} values, want {', '.join(SHAPES[kind])}"
    for name, value in zip(SHAPES[kind], values, strict=True):
        if name == "height":
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                return f"its height is {value!r}"
        elif not isinstance(value, str) or len(value) > _MAX_TEXT:
            return f"its {name} is not a text of at most {_MAX_TEXT} characters"
        elif name == "peer" and value not in peers:
            return f"no peer is called {value!r}"
        elif name == "target" and not value.isdecimal():
            return f"its target is {value!r}, want a whole number"
    return None
