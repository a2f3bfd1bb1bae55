"""A hundred players at real nodes, period after period: the packaged day's ten, ten times over, each a tenth of it."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress

from gridmerit.network.layout import Network
from gridmerit.players.round_the_clock import DUTIES, Listeners, Rounds, find_posts
from market.profile import Player, Profile, Reading
from node.api.client import Client
from node.config import load_genesis
from node.credentials.keystore import load_key, load_passphrase

_TIMES = 10


def multiply(profile: Profile) -> Profile:
    """The same energy among ten times as many players."""
    players = [Player(name=f"{player.name}-{n}", role=player.role) for player in profile.players for n in range(_TIMES)]
    readings = {
        (f"{name}-{n}", hour_ms): Reading(
            forecast_wh=reading.forecast_wh // _TIMES, actual_wh=reading.actual_wh // _TIMES
        )
        for (name, hour_ms), reading in profile.readings.items()
        for n in range(_TIMES)
    }
    return Profile(players=tuple(players), hours_ms=profile.hours_ms, readings=readings)


class Play:
    """All players of a running network at work, until it is left; what they were told of their periods is kept."""

    def __init__(self, network: Network, profile: Profile) -> None:
        self._network = network
        self._profile = profile
        self.told: list[str] = []
        self.acknowledged = 0

    async def run(self, seconds: float) -> None:
        """Play for so long. Raises what fails that should not."""
        async with AsyncExitStack() as stack:
            rounds = await self._open(stack)
            with suppress(TimeoutError):
                await asyncio.wait_for(rounds.run(), seconds)

    async def _open(self, stack: AsyncExitStack) -> Rounds:
        network = self._network
        genesis = load_genesis(network.genesis_path)
        files = [(player.key_file, player.passphrase_file) for player in network.players]
        files += [(player.meter_key_file, player.meter_passphrase_file) for player in network.players]
        assert network.dispatcher is not None, "there is a scheduling chain"
        files.append((network.dispatcher.key_file, network.dispatcher.passphrase_file))
        keys = [load_key(network.directory / key, load_passphrase(network.directory / word)) for key, word in files]
        prefers = {name: (entry.node,) for entry in network.players for name in (entry.name, entry.meter)}
        clients: dict[str, dict[str, Client]] = {chain.name: {} for chain in genesis.chains}
        for node in network.nodes:
            for chain in clients:
                client = await stack.enter_async_context(Client(node.api_url, chain, timeout_s=5.0))
                clients[chain][node.name] = client
        listeners = Listeners(on_taken=lambda _: self._count(), on_progress=self.told.append, on_alive=lambda: None)
        posts = find_posts(genesis, keys, DUTIES, prefers)
        return Rounds(genesis, self._profile, posts, clients, seed=1, listeners=listeners)

    def _count(self) -> None:
        self.acknowledged += 1
