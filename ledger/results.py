"""Results that a chain has resolved and its members are still to agree on: they wait in the state for a certificate.

A contract puts one in when it resolves something (the market: a period's gate), and takes it out when it is certified
or void. A member that signs a block signs the digest of those that wait in the state after it: so a certificate names
what was resolved beside the block that holds it, and one that came too late for a block is made up for by the next.
What stands behind a root is the contract's affair.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, cast

from ledger.codec import Value, decode, encode, expect_array, expect_bytes, expect_int, expect_list
from ledger.errors import WrongShape
from ledger.hashing import HASH_SIZE, tagged_hash
from ledger.overlay import Overlay

MAX_RESULTS = 64  # that may wait at once
NOTHING = b""  # the digest where nothing waits
_WAITING = b"results"
_MAX_BYTES = 64 * MAX_RESULTS


class Result(NamedTuple):
    """One result: its number (the market: the delivery period), and count and RFC 6962 root of its records."""

    number: int
    record_count: int
    root: bytes


def get_results(view: Overlay) -> tuple[Result, ...]:
    """Those that wait for a certificate, by number."""
    rows = cast(tuple[tuple[int, int, bytes], ...], view.get(_WAITING) or ())
    return tuple(Result._make(row) for row in rows)


def put_result(view: Overlay, result: Result) -> None:
    """Have the members agree on a result, in the place of an earlier one of its number."""
    _put(view, [*(item for item in get_results(view) if item.number != result.number), result])


def drop_result(view: Overlay, number: int) -> None:
    """True if it is decided: there is nothing left to agree on."""
    _put(view, [item for item in get_results(view) if item.number != number])


def compute_digest(results: Sequence[Result]) -> bytes:
    """The 32 bytes that members sign for these; `NOTHING` for none."""
    return tagged_hash("gridmerit/results", encode_results(results)) if results else NOTHING


def encode_results(results: Sequence[Result]) -> bytes:
    """Their canonical bytes, which the digest is of."""
    return encode(tuple([tuple(result) for result in results]))


def decode_results(raw: bytes) -> tuple[Result, ...]:
    """Read what `encode_results` wrote, from any sender. Raises the `Malformed` family."""
    return read_results(decode(raw, max_bytes=_MAX_BYTES))


def read_results(value: Value) -> tuple[Result, ...]:
    """One result or more, ascending by number. Raises the `Malformed` family."""
    results = tuple(map(_read, expect_list(value, "results", max_items=MAX_RESULTS)))
    numbers = [result.number for result in results]
    if not numbers or numbers != sorted(set(numbers)):
        raise WrongShape(what="results", detail="expected one or more, ascending by number")
    return results


def _read(value: Value) -> Result:
    number, count, root = expect_array(value, 3, "result")
    return Result(
        number=expect_int(number, "number of a result"),
        record_count=expect_int(count, "count of records"),
        root=expect_bytes(root, "result root", size=HASH_SIZE),
    )


def _put(view: Overlay, results: list[Result]) -> None:
    if results:
        view.put(_WAITING, tuple([tuple(result) for result in sorted(results)]))
    elif view.get(_WAITING) is not None:
        view.delete(_WAITING)
