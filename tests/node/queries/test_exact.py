"""Integers in JSON: none that a reader with doubles would round. By type in the answers, by name elsewhere."""

from __future__ import annotations

import inspect
import json
from dataclasses import fields, is_dataclass
from typing import Any, get_args, get_type_hints

import pytest

from ledger.errors import SequenceGapTooWide, WrongShape
from ledger.genesis import GenesisMember
from ledger.membership import ADMIT, Admission
from ledger.params import LedgerParams
from node.api.server import show_values
from node.config import NetworkDocument, describe_network
from node.queries import answers
from node.queries.answers import Decimal, HexInt, from_json, to_json
from node.queries.chain import EVENT_FIELDS, describe_event, show_text
from node.queries.exact import EXACT_SUFFIXES, show_exact

SAFE = 2**53 - 1

# What bounds each other integer well below 2^53, by how its name ends.
BOUNDED = {
    "_ms": "time since 1970, of which a validity is at most 20 years",
    "_wh": "a parameter, at most 10^11 where somebody states it, and sums of some thousands of those",
    "_ppm": "a ratio, or a weight of seven of them",
    "_upt": "at most 10^8 a score, of which a member would have to collect 90 million",
    "_per_kwh": "at most 10^8, a hundred yuan; a wheeling price is a parameter",
    "height": "blocks so far",
    "period": "periods so far",
    "_bytes": "memory",
    "_count": "of what is in memory",
    "sequence": "transactions of a sender so far",
    "sync_target": "a height",
    "silent_until": "a height",
    "rules": "a version, counted one by one",
    "series": "series so far",
    "pool": "pools so far",
    "amount": "at most 10^12 of one act, 10^15 of a series",
    "vouchers": "as an amount",
    "every_periods": "periods",
    "statement": "a bank's, counted by its days",
}
COUNTED = """
    peers side_blocks reorgs deepest_reorg refused blocks_refused not_executed turns index depth number part order_id
    results_differing results_elsewhere revision slot quorum sealers contracts output coins best_bid best_ask status
    closed entries max_entries bytes writes passes sessions over_delivery under_delivery missing_reading second_target
    listed periods lasts_periods every_periods statement line
"""
# Texts, bytes, lists, and counts that a block's size bounds.
NO_LARGE_INTEGERS = """
    hash producer code transaction sender by signatures block source kind parts member receiver name role reason owner
    result side result_root buyer seller line trades meters lines digest members inputs outputs removed added curtailed
    excess bank class issuer holder payee purpose pot programme funder state originator plant
"""
ANSWERS = [kind for _, kind in inspect.getmembers(answers, is_dataclass) if kind.__module__ == "node.queries.answers"]


def integers_of(kind: type) -> dict[str, Any]:
    """The fields that hold integers, by name."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind) if _holds_int(hints[field.name])}


def _holds_int(hint: Any) -> bool:
    return hint is int or hint in (Decimal, HexInt) or int in get_args(hint)


@pytest.mark.parametrize("kind", ANSWERS, ids=lambda kind: kind.__name__)
def test_every_integer_of_an_answer_is_exact_or_small(kind: type) -> None:
    for name, hint in integers_of(kind).items():
        if hint is HexInt:
            continue
        is_large = name.endswith(EXACT_SUFFIXES)
        assert (hint is Decimal) == is_large, f"{name} is a decimal string, or its name does not end so"
        assert is_large or name in COUNTED.split() or name.endswith(tuple(BOUNDED)), f"{name}: what bounds it?"


def test_an_amount_that_no_double_holds_makes_the_trip() -> None:
    account = answers.AccountInfo(
        height=1, address="0x", name="grid", role="grid-operator", balance_uyuan=2**62 - 1, reserved_uyuan=-(2**62),
        credit_upt=1, sequence=0, next_sequence=0, score_count=0, penalty_upt=0, capacity_wh=0, position="",
    )  # fmt: skip
    raw = to_json(account)
    assert json.loads(raw)["balance_uyuan"] == "4611686018427387903"
    assert from_json(answers.AccountInfo, raw) == account


def test_events_name_their_large_integers() -> None:
    event = describe_event(("transfer", bytes(20), bytes(20), 2**60))
    assert event["amount_uyuan"] == str(2**60)
    assert describe_event(("admitted", bytes(20), "homes-9", 2**62))["serial"] == str(2**62)
    bounded = (*COUNTED.split(), *BOUNDED, *EXACT_SUFFIXES)
    for kind, names in EVENT_FIELDS.items():
        for name in names:
            assert name.endswith(tuple(bounded)) or name in NO_LARGE_INTEGERS.split(), f"{kind}: {name}"


def test_nobody_bounds_the_integers_of_a_payload_or_of_an_error() -> None:
    assert show_text((2**62, "x", (5,), None, b"\1")) == [str(2**62), "x", ["5"], None, "01"]
    error = SequenceGapTooWide(actual=2**62, expected=3, limit=64)
    assert show_values(error.values) == {"actual": str(2**62), "expected": "3", "limit": "64"}


def test_documents_of_commands_follow_the_names() -> None:
    shown = show_exact({"rows": [{"pays_uyuan": 5, "price_uyuan_per_kwh": 6}], "serial": 7, "ok": True})
    assert shown == {"rows": [{"pays_uyuan": "5", "price_uyuan_per_kwh": 6}], "serial": "7", "ok": True}


def test_a_genesis_says_balances_in_text_and_takes_numbers_too(story: Any) -> None:
    document = describe_network(story[0].genesis)
    raw = document.model_dump_json()
    assert all(isinstance(member["balance_uyuan"], str) for member in json.loads(raw)["members"])
    assert NetworkDocument.model_validate_json(raw) == document
    fields = {"name": "a", "role": "consumer", "key": "00" * 32}
    texts = [json.dumps({**fields, "balance_uyuan": amount}) for amount in (5, "5")]
    assert [GenesisMember.model_validate_json(text).balance_uyuan for text in texts] == [5, 5]


def test_what_is_a_number_is_bounded_where_it_is_stated() -> None:
    member: dict[str, Any] = {"name": "a", "role": "consumer", "key": bytes(32)}
    assert GenesisMember(**member, capacity_wh=SAFE).capacity_wh == SAFE
    with pytest.raises(ValueError, match="capacity_wh"):
        GenesisMember(**member, capacity_wh=SAFE + 1)
    with pytest.raises(ValueError, match="period_ms"):
        LedgerParams(period_ms=SAFE + 1)
    act = (ADMIT, 1, "a", "consumer", bytes(32), b"", SAFE + 1, "", b"", (), 0, 1, 0, 0)
    with pytest.raises(WrongShape, match="capacity"):
        Admission.from_value(act)


def test_no_number_of_a_genesis_is_above_what_a_double_holds(story: Any) -> None:
    def walk(value: Any) -> None:
        match value:
            case dict():
                list(map(walk, value.values()))
            case list():
                list(map(walk, value))
            case int():
                assert abs(value) <= SAFE

    walk(json.loads(describe_network(story[0].genesis).model_dump_json()))
