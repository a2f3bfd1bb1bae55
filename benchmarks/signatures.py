"""Ed25519 through our strict wrapper against the `cryptography` package: checks and signatures per second, one core.

The wrapper also refuses what `cryptography` lets pass (small-order keys and R); a key's own check is paid once.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from timeit import Timer

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from nacl import bindings

from benchmarks.table import Row, print_table
from ledger.signatures import SigningKey, check_public_key, signing_digest, verify

KEYS = 50
ROUNDS, QUICK_ROUNDS = 15, 3


def run(quick: bool = False) -> list[Row]:
    """Rows of operations per second; the best of several interleaved rounds counts on both sides."""
    rounds = QUICK_ROUNDS if quick else ROUNDS
    keys = [SigningKey(bytes([number]) * 32) for number in range(KEYS)]
    digests = [signing_digest("benchmark", bytes(32), b"%d" % number) for number in range(KEYS)]
    jobs = [(key.public_key, digest, key.sign(digest)) for key, digest in zip(keys, digests, strict=True)]
    theirs = [Ed25519PrivateKey.from_private_bytes(key.seed) for key in keys]
    loaded = [key.public_key() for key in theirs]

    def verify_known_keys() -> None:
        for key, digest, signature in jobs:
            verify(key, digest, signature, what="benchmark")

    def verify_new_keys() -> None:
        check_public_key.cache_clear()
        verify_known_keys()

    def verify_bare() -> None:
        for key, digest, signature in jobs:
            bindings.crypto_sign_open(signature + digest, key)

    def verify_theirs() -> None:
        for key, (_, digest, signature) in zip(loaded, jobs, strict=True):
            key.verify(signature, digest)

    def verify_theirs_from_bytes() -> None:
        for key, digest, signature in jobs:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, digest)

    def sign() -> None:
        for key, digest in zip(keys, digests, strict=True):
            key.sign(digest)

    def sign_theirs() -> None:
        for key, digest in zip(theirs, digests, strict=True):
            key.sign(digest)

    return [
        _compare("verify, known key", verify_known_keys, "cryptography, key loaded", verify_theirs, rounds),
        _compare("verify, new key", verify_new_keys, "cryptography, key as bytes", verify_theirs_from_bytes, rounds),
        _compare("verify, known key", verify_known_keys, "bare libsodium", verify_bare, rounds),
        _compare("sign", sign, "cryptography, key loaded", sign_theirs, rounds),
    ]


def _compare(name: str, ours: Callable[[], None], baseline: str, theirs: Callable[[], None], rounds: int) -> Row:
    ours()
    theirs()
    best_ours = best_theirs = float("inf")
    for _ in range(rounds):
        best_ours = min(best_ours, Timer(ours).timeit(1))
        best_theirs = min(best_theirs, Timer(theirs).timeit(1))
    return Row(name, KEYS / best_ours, "per second", baseline, best_theirs / best_ours)


if __name__ == "__main__":
    print_table(run(quick="--quick" in sys.argv))
