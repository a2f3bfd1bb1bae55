"""Canonical bytes: the msgpack forms we allow, all that we refuse, and that no bytes hurt the decoder."""

import tracemalloc
from enum import IntEnum
from typing import Any, NamedTuple

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.codec import MAX_ITEMS, Value, decode, encode, expect_array, expect_bytes, expect_int, expect_str, split
from ledger.errors import Malformed, NonCanonical, TooDeep, TooLarge, WrongShape

VALUES: st.SearchStrategy[Value] = st.recursive(
    st.none() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=300) | st.text(max_size=70),
    lambda items: st.lists(items, max_size=18).map(tuple),
    max_leaves=25,
).filter(lambda value: depth_of(value) <= 8)


def depth_of(value: Value) -> int:
    return 1 + max(map(depth_of, value), default=0) if isinstance(value, tuple) else 0


def nested(depth: int) -> Value:
    value: Value = ()
    for _ in range(depth - 1):
        value = (value,)
    return value


# The shortest forms of the MessagePack specification.
VECTORS: list[tuple[Value, str]] = [
    (0, "00"),
    (127, "7f"),
    (128, "cc80"),
    (255, "ccff"),
    (256, "cd0100"),
    (65535, "cdffff"),
    (65536, "ce00010000"),
    (2**32, "cf0000000100000000"),
    (2**64 - 1, "cfffffffffffffffff"),
    (-1, "ff"),
    (-32, "e0"),
    (-33, "d0df"),
    (-129, "d1ff7f"),
    (-32769, "d2ffff7fff"),
    (-(2**63), "d38000000000000000"),
    (None, "c0"),
    ("", "a0"),
    ("å", "a2c3a5"),
    ("x" * 32, "d920" + "78" * 32),
    (b"", "c400"),
    (b"\x00\xff", "c40200ff"),
    (b"a" * 256, "c50100" + "61" * 256),
    ((), "90"),
    ((1, (b"k", "v"), None), "9301" + "92" + "c4016b" + "a176" + "c0"),
    ((0,) * 16, "dc0010" + "00" * 16),
]


@pytest.mark.parametrize(("value", "expected"), VECTORS, ids=lambda item: str(item)[:20])
def test_each_value_has_its_shortest_form(value: Value, expected: str) -> None:
    assert encode(value).hex() == expected
    assert decode(bytes.fromhex(expected), max_bytes=1000) == value


def test_lists_encode_as_arrays() -> None:
    assert encode([1, [2, (3,)]]) == encode((1, (2, (3,))))


class Colour(IntEnum):
    RED = 1


class Pair(NamedTuple):
    left: int
    right: int


@pytest.mark.parametrize(
    "value",
    [
        True,
        1.0,
        {},
        {"a": 1},
        {1},
        bytearray(b"x"),
        memoryview(b"x"),
        object(),
        Colour.RED,
        Pair(1, 2),
        2**64,
        -(2**63) - 1,
        "\ud800",
        msgpack.ExtType(1, b"x"),
        msgpack.Timestamp(1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_encoding_anything_else_is_our_bug(value: Any) -> None:
    wrappings: list[Any] = [value, (value,), (1, [b"x", (value, 2)])]
    for wrapped in wrappings:
        with pytest.raises(TypeError):
            encode(wrapped)
    assert encode((1, b"x")).hex() == "9201c40178", "a refused value leaves nothing behind"


def test_encoding_stops_at_the_depth_a_decoder_accepts() -> None:
    assert decode(encode(nested(8)), max_bytes=100) == nested(8)
    with pytest.raises(TypeError):
        encode(nested(9))


@given(VALUES)
@settings(deadline=None)
def test_decoding_gives_back_what_was_encoded(value: Value) -> None:
    data = encode(value)
    assert decode(data, max_bytes=len(data)) == value


@pytest.mark.parametrize(
    "data",
    [
        "",
        "0000",  # trailing byte
        "92 00",  # an item missing
        "a2 61",  # a byte of text missing
        "c4 05 00",  # bytes missing
        "cc 7f",  # integers in a longer form than needed
        "cd 00ff",
        "ce 0000ffff",
        "cf 00000000ffffffff",
        "d0 ff",
        "d0 05",
        "d1 ff80",
        "d3 0000000000000001",
        "c5 0001 61",  # lengths in a longer form than needed
        "c6 00000001 61",
        "d9 01 61",
        "da 0001 61",
        "db 00000001 61",
        "dc 0001 00",
        "dd 00000001 00",
        "92 01 dc0000",
        "c2",  # booleans
        "c3",
        "91 c3",
        "ca 3f800000",  # floats
        "cb 3ff0000000000000",
        "80",  # maps
        "81 00 00",
        "91 80",
        "de 0000",
        "d4 01 00",  # extensions
        "c7 00 05",
        "c7 01 05 00",
        "d6 ff 00000000",  # timestamp
        "d7 ff 0000000000000000",
        "c7 0c ff 000000000000000000000000",
        "c1",  # never used
        "a1 ff",  # not UTF-8
        "a2 c0af",  # overlong
        "a3 eda080",  # surrogate
        "a4 f4908080",  # beyond U+10FFFF
    ],
)
def test_other_bytes_are_not_canonical(data: str) -> None:
    for wrap in ("", "91"):
        with pytest.raises(NonCanonical):
            decode(bytes.fromhex(wrap + data), max_bytes=100)


def test_size_is_judged_before_content() -> None:
    with pytest.raises(TooLarge) as caught:
        decode(b"\xc1" * 101, max_bytes=100)
    assert caught.value.values == {"what": "encoded value", "actual": 101, "limit": 100}


def count_items(value: Value) -> int:
    return len(value) + sum(map(count_items, value)) if isinstance(value, tuple) else 0


@given(VALUES)
@settings(deadline=None)
def test_so_many_items_and_no_more(value: Value) -> None:
    data, count = encode(value), count_items(value)
    assert decode(data, max_bytes=len(data), max_items=count) == value
    if count:
        with pytest.raises(TooLarge) as caught:
            decode(data, max_bytes=len(data), max_items=count - 1, what="rows")
        assert caught.value.values == {"what": "rows", "actual": f"over {count - 1}", "limit": count - 1}


@pytest.mark.parametrize("item", [b"\x00", b"\x90", b"\xc4\x00", b"\xa0", b"\xcd\x01\x00", b"\x91\x90"], ids=bytes.hex)
def test_too_many_items_are_refused_before_one_of_them_is_made(item: bytes) -> None:
    data = b"\xdd" + (MAX_ITEMS + 1).to_bytes(4) + item * (MAX_ITEMS + 1)
    tracemalloc.start()
    with pytest.raises(TooLarge):
        decode(data, max_bytes=len(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * MAX_ITEMS, "not even the array that would hold them"


@pytest.mark.parametrize("depth", [9, 100, 3000])
def test_nesting_is_bounded(depth: int) -> None:
    with pytest.raises(TooDeep):
        decode(b"\x91" * (depth - 1) + b"\x90", max_bytes=200_000)


def test_a_caller_may_ask_for_less_depth() -> None:
    assert decode(encode(5), max_bytes=10, max_depth=0) == 5
    assert decode(encode((1, 2)), max_bytes=10, max_depth=1) == (1, 2)
    with pytest.raises(TooDeep):
        decode(encode((1, ())), max_bytes=10, max_depth=1)


@given(st.binary(max_size=200))
@settings(deadline=None, max_examples=1000)
def test_any_bytes_decode_to_what_encodes_to_them_or_are_malformed(data: bytes) -> None:
    try:
        value = decode(data, max_bytes=150)
    except Malformed:
        return
    assert encode(value) == data


@given(st.data(), VALUES)
@settings(deadline=None, max_examples=300)
def test_damaged_encodings_are_refused_or_mean_what_they_say(draws: st.DataObject, value: Value) -> None:
    data = bytearray(encode(value) * draws.draw(st.sampled_from([1, 1, 40])))
    position = draws.draw(st.integers(0, len(data) - 1))
    data[position] ^= draws.draw(st.integers(1, 255))
    try:
        decoded = decode(bytes(data), max_bytes=10**6)
    except Malformed:
        return
    assert encode(decoded) == data


@pytest.mark.parametrize("header", [b"\x9f", b"\xdc\xff\xff", b"\xdd\x00\x04\x00\x00"], ids=bytes.hex)
@pytest.mark.parametrize("size", [300, 512, 600, 4_000, 300_000])
def test_lengths_that_lie_cost_no_memory(header: bytes, size: int) -> None:
    data = (header * size)[:size]
    tracemalloc.start()
    with pytest.raises(Malformed):
        decode(data, max_bytes=size)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_500_000 + 10 * size


def test_readers_return_the_value_they_checked() -> None:
    value = decode(encode((7, b"key", "name", (1, 2))), max_bytes=100)
    number, key, name, rest = expect_array(value, 4, "record")
    assert expect_int(number, "number", low=7, high=7) == 7
    assert expect_bytes(key, "key", size=3, max_size=3) == b"key"
    assert expect_str(name, "name", max_size=4) == "name"
    assert expect_array(rest, None, "rest", max_length=2) == (1, 2)


WRONG = [
    lambda: expect_array(b"ab", 2, "field"),
    lambda: expect_array((1, 2), 3, "field"),
    lambda: expect_array(None, None, "field"),
    lambda: expect_int(-1, "field"),
    lambda: expect_int(2**63, "field"),
    lambda: expect_int(b"\x01", "field"),
    lambda: expect_int(True, "field"),
    lambda: expect_int(4, "field", low=5, high=6),
    lambda: expect_bytes("text", "field"),
    lambda: expect_bytes(b"abc", "field", size=4),
    lambda: expect_str(b"bytes", "field"),
    lambda: expect_str(None, "field"),
]
TOO_LARGE = [
    lambda: expect_array((1, 2), None, "field", max_length=1),
    lambda: expect_bytes(b"abc", "field", max_size=2),
    lambda: expect_str("x" * 65, "field"),
    lambda: expect_str("ååå", "field", max_size=5),
]


@pytest.mark.parametrize("read", WRONG)
def test_a_wrong_shape_names_the_field(read: Any) -> None:
    with pytest.raises(WrongShape, match="field has the wrong shape: expected"):
        read()


@pytest.mark.parametrize("read", TOO_LARGE)
def test_too_large_a_field_is_named(read: Any) -> None:
    with pytest.raises(TooLarge, match="field is"):
        read()


def test_a_message_stays_short_whatever_was_sent() -> None:
    for value in (b"x" * 10_000, "y" * 10_000, tuple(range(1000))):
        with pytest.raises(WrongShape) as caught:
            expect_int(value, "field")
        assert len(str(caught.value)) < 120


@given(st.lists(st.binary(max_size=70), max_size=20))
def test_splitting_gives_what_decoding_does(items):
    raw = encode(tuple(items))
    assert split(raw, "items", max_items=20) == decode(raw, max_bytes=10_000)


@pytest.mark.parametrize("size", [0, 255, 256, 65_535, 65_536])
@pytest.mark.parametrize("count", [1, 15, 16])
def test_splitting_knows_every_head(size, count):
    items = (bytes(size),) * count
    assert split(encode(items), "items", max_items=16) == items


@given(st.lists(st.binary(max_size=40), max_size=20), st.data())
def test_nothing_else_can_be_split(items, data):
    raw = encode(tuple(items))
    index = data.draw(st.integers(0, len(raw) - 1))
    changed = raw[:index] + data.draw(st.binary(max_size=3)) + raw[index + 1 :]
    try:
        found = split(changed, "items", max_items=20)
    except Malformed:
        return
    assert encode(found) == changed


def test_splitting_is_bounded_in_items():
    with pytest.raises(TooLarge):
        split(encode((b"",) * 21), "items", max_items=20)
