"""The seal of a block, F(W, S) = SHA-256(W ‖ S) of Eq. (10) of text 000, and the search for a nonce S.

The search is native where the extension was built (`consensus/native/`), else a hashlib loop that behaves the same,
some fifty times slower. Which way it goes is decided on import by what this machine's processor can do.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

try:
    from consensus import _seal
except ImportError:
    _PATHS: tuple[str, ...] = ()
    _BROKEN_PATHS: tuple[str, ...] = ()
else:
    _PATHS, _BROKEN_PATHS = _seal.PATHS, _seal.BROKEN_PATHS

NATIVE: bool = bool(_PATHS)

_HASHLIB = "hashlib"
_AVAILABLE_PATHS = (*_PATHS, _HASHLIB)
_NONCES = 1 << 64
_HASHES = 1 << 256
_HASHLIB_SLICE = 1 << 10  # nonces between two looks at the flags, some 0.3 ms

Flag = bytearray | memoryview
_Part = Callable[[int, int], int | None]  # first and last nonce -> nonce


def seal_hash(root: bytes, nonce: int) -> bytes:
    """F(root, nonce), 32 bytes: of the root W (32 bytes) and the nonce S as 8 big-endian bytes. Also the block hash."""
    return hashlib.sha256(root + nonce.to_bytes(8, "big")).digest()


def available_paths() -> tuple[str, ...]:
    """The ways to search on this machine, fastest first; "hashlib", the last, is always there."""
    return _AVAILABLE_PATHS


def broken_paths() -> tuple[str, ...]:
    """Native paths that this processor should run but that failed their check on import, so are not used."""
    return _BROKEN_PATHS


def active_path() -> str:
    """The path that a search takes unless it is told otherwise."""
    return _AVAILABLE_PATHS[0]


def search(
    root: bytes,
    target: int,
    *,
    start: int = 0,
    count: int,
    threads: int = 1,
    stop: Flag | None = None,
    path: str | None = None,
) -> int | None:
    """The smallest nonce in [start, start + count) with F(root, nonce) <= target, or None when there is none.

    With more than one thread it is *some* such nonce: each thread takes a share of the range, and the first to find
    one cancels the others. Native paths release the GIL. The caller may cancel from another thread by a non-zero
    byte in `stop`, one writable byte: within a millisecond the search returns None. `path` names one of
    `available_paths()`, by default the fastest.

    Raises `ValueError` for a root that is not 32 bytes, a target outside 0 … 2^256 - 1, a range that is empty or
    passes 2^64, fewer than one thread, another kind of `stop` or a path that is not available.
    """
    path = path or active_path()
    _check_arguments(root, target, start, count, threads, path)
    if stop is not None:
        _check_flag(stop)
    limit, won = target.to_bytes(32, "big"), bytearray(1)
    search_part: _Part
    if path == _HASHLIB:
        search_part = partial(_search_with_hashlib, root, limit, stop if stop is not None else bytearray(1), won)
    else:
        search_part = partial(_search_natively, path, root, limit, stop, won)
    threads = min(threads, count)
    if threads == 1:
        return search_part(start, start + count - 1)
    return _search_shares(search_part, start, count, threads, won)


def _check_arguments(root: bytes, target: int, start: int, count: int, threads: int, path: str) -> None:
    if len(root) != 32:
        raise ValueError(f"a root is 32 bytes, not {len(root)}")
    if not 0 <= target < _HASHES:
        raise ValueError(f"a target is 0 … 2^256 - 1, not {target}")
    if count <= 0:
        raise ValueError(f"a count is positive, not {count}")
    if start < 0 or start + count > _NONCES:
        raise ValueError(f"nonces are 0 … 2^64 - 1, not {start} … {start + count - 1}")
    if threads < 1:
        raise ValueError(f"a search takes one thread or more, not {threads}")
    if path not in _AVAILABLE_PATHS:
        raise ValueError(f"no path {path!r} on this machine, only {', '.join(_AVAILABLE_PATHS)}")


def _check_flag(stop: Flag) -> None:
    with memoryview(stop) as view:
        if view.nbytes != 1 or view.readonly:
            raise ValueError("a stop flag is one writable byte")


def _search_natively(
    path: str, root: bytes, limit: bytes, stop: Flag | None, won: bytearray, first: int, last: int
) -> int | None:
    return _seal.search(path, root, limit, first, last, stop, won)


def _search_with_hashlib(root: bytes, limit: bytes, stop: Flag, won: bytearray, first: int, last: int) -> int | None:
    sha256 = hashlib.sha256
    for begin in range(first, last + 1, _HASHLIB_SLICE):
        if stop[0] or won[0]:
            return None
        for nonce in range(begin, min(begin + _HASHLIB_SLICE, last + 1)):
            if sha256(root + nonce.to_bytes(8, "big")).digest() <= limit:  # big-endian: bytes compare as numbers
                return nonce
    return None


def _search_shares(search_part: _Part, start: int, count: int, threads: int, won: bytearray) -> int | None:
    def search_share(share: tuple[int, int]) -> int | None:
        nonce = search_part(*share)
        if nonce is not None:
            won[0] = 1
        return nonce

    shares = _split_range(start, count, threads)
    with ThreadPoolExecutor(threads - 1) as pool:
        try:
            others = pool.map(search_share, shares[1:])  # under way from here on
            found = [search_share(shares[0]), *others]
        finally:
            won[0] = 1  # also when we are interrupted: nothing waits for the rest
    return next((nonce for nonce in found if nonce is not None), None)


def _split_range(start: int, count: int, parts: int) -> list[tuple[int, int]]:
    """First and last nonce of each part; all parts are equal but for one nonce."""
    ends = [start + count * i // parts for i in range(parts + 1)]
    return [(first, end - 1) for first, end in pairwise(ends)]
