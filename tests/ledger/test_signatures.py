"""Ed25519: the vectors of RFC 8032, and every signature that some verifiers accept and others refuse.

The corner cases are those of "Taming the many EdDSAs" (Chalkias, Garillot, Nikolaenko 2020), built with the
curve arithmetic below; each is first shown to satisfy the equation that would let it pass.
"""

import hashlib
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import InvalidKey, InvalidSignature
from ledger.hashing import address_of
from ledger.signatures import SigningKey, check_public_key, generate_key, signing_digest, verify

LONG_MESSAGE = (
    "08b8b2b733424243760fe426a4b54908632110a66c2f6591eabd3345e3e4eb98fa6e264bf09efe12ee50f8f54e9f77b1"
    "e355f6c50544e23fb1433ddf73be84d879de7c0046dc4996d9e773f4bc9efe5738829adb26c81b37c93a1b270b20329d"
    "658675fc6ea534e0810a4432826bf58c941efb65d57a338bbd2e26640f89ffbc1a858efcb8550ee3a5e1998bd177e93a"
    "7363c344fe6b199ee5d02e82d522c4feba15452f80288a821a579116ec6dad2b3b310da903401aa62100ab5d1a36553e"
    "06203b33890cc9b832f79ef80560ccb9a39ce767967ed628c6ad573cb116dbefefd75499da96bd68a8a97b928a8bbc10"
    "3b6621fcde2beca1231d206be6cd9ec7aff6f6c94fcd7204ed3455c68c83f4a41da4af2b74ef5c53f1d8ac70bdcb7ed1"
    "85ce81bd84359d44254d95629e9855a94a7c1958d1f8ada5d0532ed8a5aa3fb2d17ba70eb6248e594e1a2297acbbb39d"
    "502f1a8c6eb6f1ce22b3de1a1f40cc24554119a831a9aad6079cad88425de6bde1a9187ebb6092cf67bf2b13fd65f270"
    "88d78b7e883c8759d2c4f5c65adb7553878ad575f9fad878e80a0c9ba63bcbcc2732e69485bbc9c90bfbd62481d9089b"
    "eccf80cfe2df16a2cf65bd92dd597b0707e0917af48bbb75fed413d238f5555a7a569d80c3414a8d0859dc65a46128ba"
    "b27af87a71314f318c782b23ebfe808b82b0ce26401d2e22f04d83d1255dc51addd3b75a2b1ae0784504df543af8969b"
    "e3ea7082ff7fc9888c144da2af58429ec96031dbcad3dad9af0dcbaaaf268cb8fcffead94f3c7ca495e056a9b47acdb7"
    "51fb73e666c6c655ade8297297d07ad1ba5e43f1bca32301651339e22904cc8c42f58c30c04aafdb038dda0847dd988d"
    "cda6f3bfd15c4b4c4525004aa06eeff8ca61783aacec57fb3d1f92b0fe2fd1a85f6724517b65e614ad6808d6f6ee34df"
    "f7310fdc82aebfd904b01e1dc54b2927094b2db68d6f903b68401adebf5a7e08d78ff4ef5d63653a65040cf9bfd4aca7"
    "984a74d37145986780fc0b16ac451649de6188a7dbdf191f64b5fc5e2ab47b57f7f7276cd419c17a3ca8e1b939ae49e4"
    "88acba6b965610b5480109c8b17b80e1b7b750dfc7598d5d5011fd2dcc5600a32ef5b52a1ecc820e308aa342721aac09"
    "43bf6686b64b2579376504ccc493d97e6aed3fb0f9cd71a43dd497f01f17c0e2cb3797aa2a2f256656168e6c496afc5f"
    "b93246f6b1116398a346f1a641f3b041e989f7914f90cc2c7fff357876e506b50d334ba77c225bc307ba537152f3f161"
    "0e4eafe595f6d9d90d11faa933a15ef1369546868a7f3a45a96768d40fd9d03412c091c6315cf4fde7cb68606937380d"
    "b2eaaa707b4c4185c32eddcdd306705e4dc1ffc872eeee475a64dfac86aba41c0618983f8741c5ef68d3a101e8a3b8ca"
    "c60c905c15fc910840b94c00a0b9d0"
)
RFC_8032 = {  # section 7.1: secret key, public key, message, signature
    "1": (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
        "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    "2": (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    "3": (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac"
        "18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    "1024": (
        "f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5",
        "278117fc144c72340f67d0f2316e8386ceffbf2b2428c9c51fef7c597f1d426e",
        LONG_MESSAGE,
        "0aab4c900501b3e24d7cdf4663326a3a87df5e4843b2cbdb67cbf6e460fec350"
        "aa5371b1508f9f4528ecea23c436d94b5e8fcd4f681e30a6ac00a9704a188a03",
    ),
    "SHA(abc)": (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        hashlib.sha512(b"abc").hexdigest(),
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b589"
        "09351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
}


# --- the curve, affine and slow: RFC 8032, section 5.1 -------------------------------------------

P = 2**255 - 19
L = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P
Point = tuple[int, int]
ZERO: Point = (0, 1)


def recover_x(y: int, sign: int) -> int | None:
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P:
        return None
    return x if x & 1 == sign else -x % P


def add(a: Point, b: Point) -> Point:
    (ax, ay), (bx, by) = a, b
    k = D * ax * bx * ay * by
    return (ax * by + bx * ay) * pow(1 + k, -1, P) % P, (ay * by + ax * bx) * pow(1 - k, -1, P) % P


def times(scalar: int, point: Point) -> Point:
    result = ZERO
    while scalar:
        if scalar & 1:
            result = add(result, point)
        point = add(point, point)
        scalar >>= 1
    return result


def pack(point: Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def unpack(data: bytes) -> Point:
    """Tolerant: y is taken modulo P, and -0 for 0."""
    number = int.from_bytes(data, "little")
    y = number % 2**255 % P
    x = recover_x(y, number >> 255)
    assert x is not None
    return x, y


BASE: Point = (recover_x(4 * pow(5, -1, P) % P, 0) or 0, 4 * pow(5, -1, P) % P)


def find_torsion() -> Point:
    """A point of order 8."""
    for y in count(2):
        x = recover_x(y, 0)
        if x is not None and times(4, times(L, (x, y))) != ZERO:
            return times(L, (x, y))
    raise AssertionError


TORSION = [times(k, find_torsion()) for k in range(8)]
NEGATIVE_ZERO = [bytes([1]) + bytes(30) + b"\x80", b"\xec" + b"\xff" * 31]  # x = 0 with the sign bit set
BEYOND_P = [(y | sign).to_bytes(32, "little") for y in range(P, 2**255) for sign in (0, 1 << 255)]

SECRET = 0x1234567890ABCDEF1234567890ABCDEF  # the scalar, not a seed
KEY = pack(times(SECRET, BASE))
NONCE = 0xFEDCBA0987654321
MESSAGE = b"message"


def challenge(r: bytes, key: bytes, message: bytes) -> int:
    return int.from_bytes(hashlib.sha512(r + key + message).digest(), "little") % L


def make_signature(r: bytes, key: bytes, message: bytes = MESSAGE, *, nonce: int = NONCE) -> bytes:
    """S = nonce + k·secret: right for R = nonce·B and key = secret·B, even with torsion added to them."""
    return r + ((nonce + challenge(r, key, message) * SECRET) % L).to_bytes(32, "little")


def holds(key: bytes, signature: bytes, *, cofactor: int, message: bytes = MESSAGE) -> bool:
    """The verification equation cofactor·S·B = cofactor·(R + k·A), and nothing else."""
    r, s = signature[:32], int.from_bytes(signature[32:], "little")
    right = add(unpack(r), times(challenge(r, key, message), unpack(key)))
    return times(cofactor * s, BASE) == times(cofactor, right)


# --- signing and verifying -----------------------------------------------------------------------


@pytest.mark.parametrize("name", RFC_8032)
def test_rfc_8032_vectors(name: str) -> None:
    seed, public_key, message, signature = (bytes.fromhex(field) for field in RFC_8032[name])
    key = SigningKey(seed)
    assert key.public_key == public_key
    assert key.sign(message) == signature
    verify(public_key, message, signature, what="vector")


def test_the_curve_of_this_file_is_the_one_we_sign_on() -> None:
    assert times(L, BASE) == ZERO
    assert times(8, TORSION[1]) == ZERO != times(4, TORSION[1])
    signature = make_signature(pack(times(NONCE, BASE)), KEY)
    assert holds(KEY, signature, cofactor=1)
    verify(KEY, MESSAGE, signature, what="message")


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=100), st.data())
@settings(deadline=None, max_examples=60)
def test_any_single_change_breaks_a_signature(seed: bytes, message: bytes, draws: st.DataObject) -> None:
    key = SigningKey(seed)
    signature = key.sign(message)
    verify(key.public_key, message, signature, what="it")
    damaged = bytearray(signature)
    damaged[draws.draw(st.integers(0, 63))] ^= 1 << draws.draw(st.integers(0, 7))
    with pytest.raises(InvalidSignature):
        verify(key.public_key, message, bytes(damaged), what="it")
    with pytest.raises(InvalidSignature):
        verify(key.public_key, message + b"\x00", signature, what="it")
    with pytest.raises(InvalidSignature):
        verify(KEY, message, signature, what="it")


def test_a_signature_has_64_bytes() -> None:
    signature = make_signature(pack(times(NONCE, BASE)), KEY)
    for wrong in (b"", signature[:63], signature + b"\x00", signature + MESSAGE):
        with pytest.raises(InvalidSignature, match=f"expected 64 bytes, got {len(wrong)}"):
            verify(KEY, MESSAGE, wrong, what="vote")


def test_errors_name_what_was_signed() -> None:
    with pytest.raises(InvalidSignature, match="signature over vote does not verify"):
        verify(KEY, MESSAGE, bytes([1] * 64), what="vote")


def test_a_digest_belongs_to_one_purpose_and_one_chain() -> None:
    chains = [bytes([n]) * 32 for n in (1, 2)]
    digests = {
        signing_digest(purpose, chain, payload)
        for purpose in ("block", "vote")
        for chain in chains
        for payload in (b"", b"payload", chains[0] + b"payload")
    }
    assert len(digests) == 12
    with pytest.raises(AssertionError):
        signing_digest("block", b"short", b"payload")


def test_a_key_does_not_show_its_secret() -> None:
    seed = bytes(range(32))
    key = SigningKey(seed)
    for text in (repr(key), str(key), f"{key}"):
        assert seed.hex() not in text
        assert key.public_key.hex() in text
    assert key.seed == seed
    assert key.address == address_of(key.public_key)
    with pytest.raises(AssertionError):
        SigningKey(seed[:31])


def test_generated_keys_differ_and_work() -> None:
    one, other = generate_key(), generate_key()
    assert one.public_key != other.public_key
    verify(one.public_key, MESSAGE, one.sign(MESSAGE), what="message")


# --- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("multiple", range(8))
def test_small_order_keys_are_refused(multiple: int) -> None:
    key = pack(TORSION[multiple])
    forged = pack(ZERO) + bytes(32)  # R = 0, S = 0 passes the cofactored equation over every message
    assert holds(key, forged, cofactor=8)
    with pytest.raises(InvalidKey, match="small order"):
        check_public_key(key)
    with pytest.raises(InvalidKey, match="small order"):
        verify(key, MESSAGE, forged, what="message")


@pytest.mark.parametrize("key", NEGATIVE_ZERO + BEYOND_P, ids=bytes.hex)
def test_non_canonical_keys_are_refused(key: bytes) -> None:
    with pytest.raises(InvalidKey):
        check_public_key(key)


@pytest.mark.parametrize("multiple", range(1, 8))
def test_keys_with_a_small_order_component_are_refused(multiple: int) -> None:
    """Over one message in eight they satisfy every equation, over the others only the cofactored one."""
    key = pack(add(unpack(KEY), TORSION[multiple]))
    r = pack(times(NONCE, BASE))
    message = next(m for m in map(str.encode, map(str, count())) if challenge(r, key, m) % 8 == 0)
    signature = make_signature(r, key, message)
    assert holds(key, signature, cofactor=1, message=message)
    with pytest.raises(InvalidKey, match="prime-order"):
        verify(key, message, signature, what="message")


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_keys_of_another_length_are_refused(size: int) -> None:
    with pytest.raises(InvalidKey, match=f"expected 32 bytes, got {size}"):
        check_public_key(b"\x05" * size)


def test_bytes_that_are_no_point_are_refused() -> None:
    y = next(y for y in count(2) if recover_x(y, 0) is None)
    for _ in range(2):  # a refusal is not remembered as a pass
        with pytest.raises(InvalidKey):
            check_public_key(y.to_bytes(32, "little"))


# --- signatures that depend on who verifies ------------------------------------------------------


@pytest.mark.parametrize("multiple", range(1, 8))
def test_r_with_a_small_order_component_is_refused(multiple: int) -> None:
    """A verifier that multiplies by the cofactor would accept it."""
    signature = make_signature(pack(add(times(NONCE, BASE), TORSION[multiple])), KEY)
    assert holds(KEY, signature, cofactor=8)
    assert not holds(KEY, signature, cofactor=1)
    with pytest.raises(InvalidSignature):
        verify(KEY, MESSAGE, signature, what="message")


@pytest.mark.parametrize("multiple", range(8))
def test_r_of_small_order_is_refused(multiple: int) -> None:
    signature = make_signature(pack(TORSION[multiple]), KEY, nonce=0)
    assert holds(KEY, signature, cofactor=8)
    assert holds(KEY, signature, cofactor=1) == (multiple == 0)
    with pytest.raises(InvalidSignature, match="R is a point of small order"):
        verify(KEY, MESSAGE, signature, what="message")


@pytest.mark.parametrize("r", [*NEGATIVE_ZERO, *BEYOND_P], ids=bytes.hex)
def test_non_canonical_r_is_refused(r: bytes) -> None:
    signature = make_signature(r, KEY, nonce=0)
    with pytest.raises(InvalidSignature, match="R is a"):
        verify(KEY, MESSAGE, signature, what="message")


def test_a_non_canonical_r_would_satisfy_a_tolerant_verifier() -> None:
    negative_zero, one_beyond_p = NEGATIVE_ZERO[0], (P + 1).to_bytes(32, "little")
    for r in (negative_zero, one_beyond_p):
        assert holds(KEY, make_signature(r, KEY, nonce=0), cofactor=1)


def test_s_is_below_the_group_order() -> None:
    signature = make_signature(pack(times(NONCE, BASE)), KEY)
    s = int.from_bytes(signature[32:], "little")
    for multiple in range(1, 16):
        malleable = signature[:32] + (s + multiple * L).to_bytes(32, "little")
        assert multiple > 1 or holds(KEY, malleable, cofactor=1)
        with pytest.raises(InvalidSignature, match="S is not below the group order"):
            verify(KEY, MESSAGE, malleable, what="message")
