"""Chains that run and on which the node's key signs nothing for now: why, and what its owner can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from node.answers import ChainStatus

_SURE = "stop it, then gridmerit start DIR --i-am-sure"


class Silence(NamedTuple):
    """A silence in words: `state` in two or three, `until` what ends it by itself, `remedy` what else does."""

    state: str
    until: str
    remedy: str


def find_silence(chain: ChainStatus) -> Silence | None:
    """The silence of a chain, None where the node signs or never does."""
    match chain.signing:
        case "waits":
            until = "others say which signatures of this key they hold"
            return Silence("waits to sign", until, f"start more members; where they stay away, {_SURE}")
        case "record-behind":
            until = f"{chain.silent_until} is final: the key has signed what this node's record does not know"
            return Silence("signs nothing", until, f"where no other process has the key, {_SURE}")
        case _:
            return None
