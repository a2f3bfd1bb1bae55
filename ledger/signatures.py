"""Ed25519 behind one strict wrapper: signatures name their purpose and chain; weak keys and R are refused.

Keys, digests and signatures are 32, 32 and 64 bytes. The arithmetic is libsodium's, but what is accepted is
decided here as far as possible: all members must accept the same, and libraries differ in the corner cases.
"""

from __future__ import annotations

from functools import lru_cache

from nacl import bindings
from nacl.exceptions import BadSignatureError

from ledger.errors import InvalidKey, InvalidSignature
from ledger.hashing import Address, address_of, tagged_hash

SEED_SIZE = 32
PUBLIC_KEY_SIZE = 32
SIGNATURE_SIZE = 64
CHAIN_ID_SIZE = 32

FIELD_PRIME = 2**255 - 19
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493

_SIGN_BIT = 1 << 255
# The four points of order 8 have this y or its negative; those of order 1, 2 and 4 have y = 1, -1 and 0.
_ORDER_8_Y = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_SMALL_ORDER = frozenset(
    (y | sign).to_bytes(32, "little")
    for y in (1, FIELD_PRIME - 1, 0, _ORDER_8_Y, FIELD_PRIME - _ORDER_8_Y)
    for sign in (0, _SIGN_BIT)
)


class SigningKey:
    """A secret key made from its 32-byte seed (RFC 8032, section 5.1.5), which its repr never shows."""

    __slots__ = ("_secret", "address", "public_key")

    public_key: bytes
    address: Address

    def __init__(self, seed: bytes) -> None:
        assert len(seed) == SEED_SIZE, len(seed)
        self.public_key, self._secret = bindings.crypto_sign_seed_keypair(seed)
        self.address = address_of(self.public_key)

    @property
    def seed(self) -> bytes:
        """The secret itself, for the writer of the key file."""
        return self._secret[:SEED_SIZE]

    def sign(self, digest: bytes) -> bytes:
        """The 64-byte signature over `digest`, deterministic (RFC 8032, section 5.1.6)."""
        return bindings.crypto_sign(digest, self._secret)[:SIGNATURE_SIZE]

    def __repr__(self) -> str:
        return f"SigningKey(public_key={self.public_key.hex()})"


def generate_key() -> SigningKey:
    """A new key from the operating system's entropy."""
    return SigningKey(bindings.randombytes(SEED_SIZE))


def signing_digest(purpose: str, chain_id: bytes, payload: bytes) -> bytes:
    """The 32 bytes to sign: they differ by purpose and by chain, so that no signature can be used twice."""
    assert len(chain_id) == CHAIN_ID_SIZE, len(chain_id)
    return tagged_hash("gridmerit/sign/" + purpose, chain_id, payload)


@lru_cache(maxsize=65_536)
def check_public_key(key: bytes) -> None:
    """Raise `InvalidKey` unless `key` canonically encodes a point of the prime-order group, zero excepted.

    That refuses small orders and also keys with a small-order component, under which verifiers that multiply
    by the cofactor disagree with those that do not. A key that passed is remembered.
    """
    if len(key) != PUBLIC_KEY_SIZE:
        raise InvalidKey(detail=f"expected {PUBLIC_KEY_SIZE} bytes, got {len(key)}")
    weakness = _find_weakness(key)
    if weakness is not None:
        raise InvalidKey(detail=weakness)
    if not bindings.crypto_core_ed25519_is_valid_point(key):
        raise InvalidKey(detail="not a point of the prime-order group")


def verify(public_key: bytes, digest: bytes, signature: bytes, *, what: str) -> None:
    """Check a signature over `digest`, or raise `InvalidKey` or `InvalidSignature` naming `what` was signed."""
    if _remembers:
        _verify_once(public_key, digest, signature, what)
    else:
        _verify(public_key, digest, signature, what)


def remember_signatures() -> None:
    """From now on check no good signature twice in this process: for simulations, where many peers check the same."""
    global _remembers
    _remembers = True


_remembers = False


def _verify(public_key: bytes, digest: bytes, signature: bytes, what: str) -> None:
    """Check the cofactorless equation R = S·B - k·A of RFC 8032, section 5.1.7.

    Refuses, before that, a small-order or non-canonical key or R, and an S not below the group order.
    """
    check_public_key(public_key)
    if len(signature) != SIGNATURE_SIZE:
        raise InvalidSignature(what=what, detail=f"expected {SIGNATURE_SIZE} bytes, got {len(signature)}")
    weakness = _find_weakness(signature[:32])
    if weakness is not None:
        raise InvalidSignature(what=what, detail=f"R is {weakness}")
    if int.from_bytes(signature[32:], "little") >= GROUP_ORDER:
        raise InvalidSignature(what=what, detail="S is not below the group order")
    try:
        bindings.crypto_sign_open(signature + digest, public_key)
    except BadSignatureError:
        raise InvalidSignature(what=what, detail="not made by this key over these bytes") from None


_verify_once = lru_cache(maxsize=32_768)(_verify)  # what raises is not kept


def _find_weakness(point: bytes) -> str | None:
    """The fault that the 32 bytes of a point have before any arithmetic, or None."""
    if point[31] & 0x7F == 0x7F and (int.from_bytes(point, "little") & ~_SIGN_BIT) >= FIELD_PRIME:
        return "a non-canonical encoding"
    if point in _SMALL_ORDER:
        return "a point of small order"
    return None
