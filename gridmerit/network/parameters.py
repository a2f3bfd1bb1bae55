"""The chain parameters of a network: read from files, chosen by engine and by market, scaled to another period."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from consensus.errors import BadParameters
from consensus.poca.engine import check_params
from ledger.params import ChainParams, ConsensusParams, MarketParams
from market.profile import Profile, parse_profile
from market.scheduling.records import RETAINED
from market.trading.clearing_rules import get_rule
from node.config import section_at
from node.errors import NoSuchChain
from node.system.files import read_text

PACKAGED = ("recommended", "paper", "bft")  # sets of parameters that come with the package
_PPM = 1_000_000
_SESSION_PPM = 2_000_000  # of a period: so long before the intraday session comes the day-ahead one
_SHORTEST_INTERVAL_MS = 200
_SHORTEST_VIEW_MS = 1_000
_WINDOW_INTERVALS = 8
_BLOCKS_PER_PERIOD = 24  # a message takes a checkpoint and its certificate from one chain to the next
_DEMO_BLOCKS_PER_PERIOD = 8
_MAX_PROFILE_BYTES = 8_000_000  # a year of ten players is half of it


def load_chain_params(path: Path) -> ChainParams:
    """Chain parameters from a TOML file. Raises `BadParameters`, naming the file, the key and the nearest one known."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadParameters(detail=f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadParameters(detail=f"{path}: {error}") from error
    try:
        params = ChainParams.model_validate(_to_tuples(document))
    except ValidationError as error:
        raise BadParameters(detail=f"{path}: {_explain(error)}") from error
    check_params(params)
    reach_ppm = params.scheduling.meter_ppm + params.market.correction_ppm
    if params.kind == "scheduling" and reach_ppm > RETAINED * _PPM:
        detail = f"{path}: meter_ppm and correction_ppm reach back over the {RETAINED} periods that the chain retains"
        raise BadParameters(detail=detail)
    return params


def _to_tuples(value: Any) -> Any:
    """TOML's lists as the tuples that frozen parameters hold."""
    match value:
        case dict():
            return {key: _to_tuples(item) for key, item in value.items()}
        case list():
            return tuple(map(_to_tuples, value))
    return value


def get_packaged_params(name: str = "recommended", chain: str = "jy1") -> Path:
    """The file of one chain in a parameter set that comes with the package: one of `PACKAGED`."""
    return Path(str(resources.files("configs") / name / f"{chain}.toml"))


def load_params_set(source: str | Path = "recommended") -> tuple[ChainParams, ...]:
    """The chains of a network, by name: a set that comes with the package, a directory of TOML files, or one file.

    Raises `BadParameters`.
    """
    path = get_packaged_params(str(source)).parent if str(source) in PACKAGED else Path(source)
    if not path.exists():
        raise BadParameters(detail=f"{source} is neither a file nor a directory, nor one of {', '.join(PACKAGED)}")
    if not path.is_dir():
        return (load_chain_params(path),)
    files = sorted(path.glob("*.toml"))
    if not files:
        raise BadParameters(detail=f"{path} has no TOML file, one per chain is wanted")
    return tuple(sorted((load_chain_params(file) for file in files), key=lambda params: params.name))


def load_engine_params(engine: str | None) -> tuple[ChainParams, ...]:
    """The recommended chains, or such as all agree by one engine: the set `bft`, or DU1 by the same rules as LH1."""
    if engine == "pbft":
        return load_params_set("bft")
    chains = load_params_set()
    if engine is None:
        return chains
    rules = next(chain.consensus for chain in chains if chain.kind == "credit")
    return tuple(
        chain if chain.consensus.engine == engine else chain.model_copy(update={"consensus": rules}) for chain in chains
    )


def choose_chains(params: Sequence[ChainParams], names: Sequence[str], source: str) -> tuple[ChainParams, ...]:
    """Some chains of a set from `source`. Raises `NoSuchChain`."""
    known = [item.name for item in params]
    for name in names:
        if name not in known:
            raise NoSuchChain(file=source, name=name, known=", ".join(known))
    return tuple(item for item in params if item.name in names)


def choose_market(
    params: Sequence[ChainParams], *, rule: str | None, natural_factor_ppm: int | None, is_intraday: bool = False
) -> tuple[ChainParams, ...]:
    """The same chains with another rule on the trading chain, and another α of Eq. (12) wherever deliveries are scored.

    Where it `is_intraday`, each period is traded twice. Raises `UnknownRule`.
    """
    if rule is not None:
        get_rule(rule)
    changed = []
    for chain in params:
        changes: dict[str, object] = {}
        if rule is not None and chain.kind == "trading":
            changes["clearing_rule"] = rule
        if natural_factor_ppm is not None and chain.kind != "scheduling":
            changes["natural_factor_ppm"] = natural_factor_ppm
        changed.append(chain.model_copy(update={"market": chain.market.model_copy(update=changes)}))
    return _add_intraday(changed) if is_intraday else tuple(changed)


def _add_intraday(params: Sequence[ChainParams]) -> tuple[ChainParams, ...]:
    """The session that there is becomes the intraday one, and one before it the day-ahead one."""
    market = next(chain.market for chain in params if chain.kind == "trading")
    if market.sessions > 1:
        return tuple(params)
    clock = {
        "open_ppm": market.open_ppm + _SESSION_PPM,
        "gate_ppm": market.gate_ppm + _SESSION_PPM,
        "intraday_open_ppm": market.open_ppm,
        "intraday_gate_ppm": market.gate_ppm,
    }
    changed = []
    for chain in params:
        update: dict[str, object] = {}
        if chain.kind != "credit":
            update["market"] = chain.market.model_copy(update=clock)
        if chain.kind == "scheduling":
            quota_ppm = chain.scheduling.quota_ppm
            later = {"quota_ppm": quota_ppm + _SESSION_PPM, "intraday_quota_ppm": quota_ppm}
            update["scheduling"] = chain.scheduling.model_copy(update=later)
        changed.append(ChainParams.model_validate(chain.model_copy(update=update).model_dump()))
    return tuple(changed)


def load_packaged_profile() -> Profile:
    """The day of ten players that comes with the package."""
    return _read_packaged("rts_gmlc_day.csv")


def load_packaged_week() -> Profile:
    """The week of the same players, 10 to 16 July 2020, of which that day is one."""
    return _read_packaged("rts_gmlc_week.csv")


def _read_packaged(name: str) -> Profile:
    return parse_profile((resources.files("configs") / "profiles" / name).read_text(encoding="utf-8"))


def load_profile(path: Path) -> Profile:
    """A profile of one's own. Raises `UnreadableFile` or `BadProfile`."""
    return parse_profile(read_text(path, _MAX_PROFILE_BYTES))


def scale_params(params: ChainParams, period_ms: int) -> ChainParams:
    """The same chain with another period: at least two dozen blocks in it where they can be that fast.

    Everything in ppm of a period scales with it by itself, and under PBFT the wait for an empty block and the timeouts
    of views with the interval. Where orders are taken for a share of the period alone, it stays long enough for a few
    blocks. Raises `BadParameters`.
    """
    consensus = params.consensus
    interval_ms = min(consensus.block_interval_ms, max(_SHORTEST_INTERVAL_MS, period_ms // _BLOCKS_PER_PERIOD))
    if period_ms < 4 * interval_ms:
        raise BadParameters(detail=f"a period of {period_ms} ms is too short, at least {4 * interval_ms} ms are needed")
    ahead_ms = min(consensus.max_ahead_ms, consensus.relief_after * interval_ms // 4)
    return params.model_copy(
        update={
            "ledger": params.ledger.model_copy(update={"period_ms": period_ms}),
            "market": params.market.model_copy(update=_scale_window(params.market, period_ms, interval_ms)),
            "consensus": consensus.model_copy(
                update={
                    "block_interval_ms": interval_ms,
                    "max_ahead_ms": ahead_ms,
                    **_scale_views(consensus, interval_ms),
                }
            ),
        }
    )


def _scale_window(market: MarketParams, period_ms: int, interval_ms: int) -> dict[str, int]:
    """The time for which orders are taken, where that is a share of the period.

    Blocks come by chance: of eight intervals one in three thousand brings none, of two and a half one in twelve."""
    if not market.intention_ppm:
        return {}
    least_ppm = -(-_WINDOW_INTERVALS * interval_ms * _PPM // period_ms)
    return {"intention_ppm": min(_PPM, max(market.intention_ppm, least_ppm))}


def _scale_views(consensus: ConsensusParams, interval_ms: int) -> dict[str, int]:
    """A view's timeout never gets so short that one message on a busy machine would end it."""
    if consensus.engine != "pbft":
        return {}
    base_ms = consensus.block_interval_ms
    timeout_ms = max(
        min(consensus.view_timeout_ms, _SHORTEST_VIEW_MS), consensus.view_timeout_ms * interval_ms // base_ms
    )
    return {
        "empty_after_ms": -(-consensus.empty_after_ms * interval_ms // base_ms),
        "view_timeout_ms": timeout_ms,
        "view_timeout_max_ms": max(timeout_ms, consensus.view_timeout_max_ms * interval_ms // base_ms),
    }


def _explain(error: ValidationError) -> str:
    """The first thing wrong, in words."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] != "extra_forbidden":
        return f"{where}: {first['msg']}" if where else first["msg"]
    *section, key = first["loc"]
    near = get_close_matches(str(key), section_at(tuple(section), ChainParams).model_fields, n=1)
    return f"unknown key {where!r}" + (f", did you mean {near[0]!r}?" if near else "")


def make_demo_params(period_ms: int, chains: Sequence[ChainParams]) -> tuple[ChainParams, ...]:
    """Three chains at a period of seconds, and a few changes that this takes.

    From chain to chain a message waits for a checkpoint (up to a quarter of Δt), for the block on it, the votes and the
    block that takes it in: at a Δt of an hour that is a minute, here it is half a Δt, and more on a busy machine. So
    everything that waits for a message gets more time: quotas follow 7.5 Δt before delivery instead of 3.25, orders
    open 6 before instead of 3 and close 3.5 before instead of 2, the trades bind at the start of delivery at the latest
    instead of 1 before, readings are taken until 3.5 Δt after it instead of 1.5, and lapse 6.5 after it instead of 2.5.
    Where each period is traded twice, that is the intraday session's, and the day-ahead one is 6 Δt before it.

    Blocks come eight times per Δt: more would fork the chains more often than it speeds them up. Members sign a
    checkpoint one block deep, and stop trying two slots later. A stall is relieved after 6 intervals, and no block is
    too late for its gate. A hiccup of some seconds on a busy machine then neither changes the trades nor loses a
    reading.
    """
    return tuple(_quicken(scale_params(params, period_ms)) for params in chains)


def _quicken(params: ChainParams) -> ChainParams:
    interval_ms = max(params.consensus.block_interval_ms, params.ledger.period_ms // _DEMO_BLOCKS_PER_PERIOD)
    changes: dict[str, dict[str, int]] = {
        "consensus": {
            "block_interval_ms": interval_ms,
            "max_ahead_ms": 3 * interval_ms,
            "relief_after": 6,
            "checkpoint_depth": 1,
            "checkpoint_lifetime": 2,
            "gate_tolerance_ms": 0,
        }
    }
    sessions = {"open_ppm": 6_000_000, "gate_ppm": 3_500_000}
    quotas = {"quota_ppm": 7_500_000}
    if params.market.sessions > 1:
        sessions = {f"intraday_{name}": ppm for name, ppm in sessions.items()}
        sessions |= {"open_ppm": 12_000_000, "gate_ppm": 9_500_000}
        quotas = {"quota_ppm": 13_500_000, "intraday_quota_ppm": 7_500_000}
        changes["market"] = sessions
    match params.kind:
        case "trading":
            window = _scale_window(params.market, params.ledger.period_ms, interval_ms)
            changes["market"] = {**sessions, "deadline_ppm": 0, "settle_ppm": 6_500_000, **window}
        case "scheduling":
            changes["scheduling"] = {**quotas, "verdict_ppm": 1_000_000, "meter_ppm": 3_500_000}
        case "credit":
            pass
    sections = {name: getattr(params, name).model_copy(update=update) for name, update in changes.items()}
    return ChainParams.model_validate(params.model_copy(update=sections).model_dump())
