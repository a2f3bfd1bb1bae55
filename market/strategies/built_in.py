"""The strategies that are built in, by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from market.strategies.game import Ants, BestResponse
from market.strategies.storage_arbitrage import StorageArbitrage
from market.strategies.strategy import Strategy
from market.strategies.truthful import Truthful
from market.strategies.zero_intelligence import ZeroIntelligence

BUILT_IN: Mapping[str, type[Strategy]] = MappingProxyType(
    {
        "truthful": Truthful,
        "zero-intelligence": ZeroIntelligence,
        "best-response": BestResponse,
        "ants": Ants,
        "storage-arbitrage": StorageArbitrage,
    }
)
