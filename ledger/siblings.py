"""The other chains of the network, as a chain's state knows them: whose signatures count for them, and since when."""

from __future__ import annotations

from typing import NamedTuple, cast

from ledger.overlay import Overlay

_SIBLING = b"n/"
_BY_NAME = b"nn/"


class Sibling(NamedTuple):
    """Another chain: `sealers`, more than `checkpoint_m` of them, certify its checkpoints from slot `since_slot` on."""

    name: str
    kind: str
    checkpoint_m: int
    since_slot: int
    sealers: tuple[bytes, ...]  # sorted


def get_sibling(view: Overlay, chain_id: bytes) -> Sibling | None:
    value = view.get(_SIBLING + chain_id)
    return None if value is None else Sibling._make(cast(tuple[str, str, int, int, tuple[bytes, ...]], value))


def put_sibling(view: Overlay, chain_id: bytes, sibling: Sibling) -> None:
    view.put(_SIBLING + chain_id, tuple(sibling))
    view.put(_BY_NAME + sibling.name.encode(), chain_id)


def find_sibling(view: Overlay, name: str) -> tuple[bytes, Sibling]:
    """Id and record of a chain that is known to be there, by its name."""
    chain_id = cast(bytes, view.get(_BY_NAME + name.encode()))
    sibling = get_sibling(view, chain_id)
    assert sibling is not None, name
    return chain_id, sibling
