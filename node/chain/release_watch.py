"""A word in time: rules have been announced that this release does not know, or the chain stands right before them."""

from __future__ import annotations

from node.chain.events import Publish
from node.chain.instance import Instance

RELEASE_NEEDED, CHAIN_HALTED = "release-needed", "chain-halted"


class ReleaseWatch:
    """Tells each of the two once, of each announcement and since each start."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._told: tuple[object, ...] = ()

    def review(self) -> list[Publish]:
        """The news of rules that are to come. Causes: the start, a new head."""
        head, rules = self._instance.chain.head, self._instance.rules
        schedule = rules.get_schedule(head.state)
        coming = schedule.coming_after(head.height)
        if coming <= rules.newest:
            return []
        event = (CHAIN_HALTED if self._instance.is_halted else RELEASE_NEEDED, coming, schedule.height)
        if event == self._told:
            return []
        self._told = event
        return [Publish(event=event)]
