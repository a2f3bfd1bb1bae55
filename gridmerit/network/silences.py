"""Reasons for silence, and what owners can do: chains on which the node's key signs nothing, nodes cut off by peers."""

from __future__ import annotations

from typing import NamedTuple

from node.errors import MembershipEnded
from node.queries.answers import ChainStatus, NodeStatus

_SURE = "stop it, then gridmerit start DIR --i-am-sure"
_QUORUM = "start more members; where they cannot finish a block without it: gridmerit member apply, for a new key"


class Silence(NamedTuple):
    """A silence in words: `state` in two or three, `until` what ends it by itself, `remedy` what else does."""

    state: str
    until: str
    remedy: str


class Exclusion(NamedTuple):
    """That peers say that a node's member is gone: `state` in few words, `detail` as one of them puts it."""

    state: str
    detail: str
    remedy: str = (
        "ask the network's authority; whoever is admitted again goes on by itself, or at once after a restart:"
        " gridmerit member --help"
    )


def find_exclusion(status: NodeStatus) -> Exclusion | None:
    """The peers' word on the node's own membership where it has ended, None where none says so.

    It is their word: none of them may give the node the block that proves it.
    """
    told = [peer for peer in status.peers if peer.get("refusal") == MembershipEnded.__name__]
    if not told:
        return None
    names = ", ".join(peer["name"] for peer in told)
    return Exclusion(f"its membership has ended, say {names}", told[0]["refusal_detail"])


def find_silence(chain: ChainStatus) -> Silence | None:
    """The silence of a chain, None where the node signs or never does."""
    match chain.signing:
        case "read-only":
            until = f"there is room again: {chain.refusal}"
            return Silence("reads only", until, "make room on its disk, or mount it writable; it goes on by itself")
        case "waits":
            until = "others say which signatures of this key they hold"
            return Silence("waits to sign", until, f"start more members; where they stay away, {_SURE}")
        case "restored":
            until = "a block made since its start is final: it was restored, and others may hold what its record lacks"
            return Silence("signs nothing", until, _QUORUM)
        case "record-behind":
            until = f"{chain.silent_until} is final: the key has signed what this node's record does not know"
            return Silence("signs nothing", until, f"where no other process has the key, {_SURE}")
        case _:
            return None
