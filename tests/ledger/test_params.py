"""Chain parameters: every one is hashed into the chain id, none is guessed, and bad ones are refused by name."""

import json
from typing import get_args

import pytest
from pydantic import ValidationError

from ledger.codec import encode
from ledger.genesis import Authority, GenesisMember
from ledger.params import (
    Area,
    BillShares,
    ChainParams,
    ConsensusParams,
    Incentive,
    LedgerParams,
    Line,
    MarketParams,
    MatchingWeights,
    NearnessFactors,
    SchedulingParams,
    Section,
    VoucherParams,
)

HILL, TOWN = Area(name="hill", wheeling_uyuan_per_kwh=10_000), Area(name="town", wheeling_uyuan_per_kwh=20_000)
FEEDER = Line(name="feeder", area="town", capacity_wh=9_000)
BRANCH = Line(name="branch", upstream="feeder", area="hill", capacity_wh=4_000)
GRID = {"areas": (HILL, TOWN), "lines": (FEEDER, BRANCH)}

OTHER_VALUES = {
    "ledger": {
        "period_ms": 1_000,
        "max_block_bytes": 2_000_000,
        "max_block_transactions": 1,
        "max_transaction_bytes": 8_192,
        "max_expiry_blocks": 1,
        "max_block_relays": 1,
    },
    "consensus": {
        "eligibility": "work",
        "tau_upt": 1_000_000,
        "n_diff_initial": 2**201,
        "n_diff_min": 2,
        "n_diff_max": 2**239,
        "block_interval_ms": 20_000,
        "retarget_window": 25,
        "relief_after": 13,
        "max_ahead_ms": 4_999,
        "tie_break": "first-seen",
        "checkpoints_per_period": 5,
        "checkpoint_lifetime": 5,
        "checkpoint_depth": 3,
        "checkpoint_m": 1,
        "equivocation_cost_upt": 1,
        "diversity_window": 2,
        "diversity_limit": 2,
        "view_timeout_ms": 2_001,
        "view_timeout_max_ms": 60_001,
        "empty_after_ms": 1,
        "gate_tolerance_ms": 1,
        "empty_blocks": "due",
        "interval_nonces": 1,
    },
    "market": {
        "open_ppm": 4_000_000,
        "gate_ppm": 1_000_000,
        "deadline_ppm": 1,
        "settle_ppm": 3_000_000,
        "retained_periods": 24,
        "wheeling_uyuan_per_kwh": 1,
        "retail_uyuan_per_kwh": 1,
        "feed_in_uyuan_per_kwh": 1,
        "initial_credit_upt": 1,
        "initial_weight": 1,
        "score_unit_wh": 100,
        "natural_factor_ppm": 300_000,
        "max_orders_per_member": 1,
        "max_orders_per_period": 1,
        "clearing_rule": "uniform-price",
        "k_ppm": 1,
        "weights": MatchingWeights(position_ppm=1),
        "audit": "required",
        "intention_ppm": 100_000,
        "ties": "pro-rata",
        "over_delivery_ppm": 250_000,
        "max_price_uyuan_per_kwh": 637_000,
        "plausible_ppm": 1,
        "correction_ppm": 1,
        "merged_coins": 64,
        "work_per_block": 64,
        "passes_per_block": 2,
        "nearness": NearnessFactors(position=1),
        "income_and_cost": "kept",
        "recorded_violations": 1,
        "tolerance_ppm": 1,
        "intraday_open_ppm": 1_500_000,
        "intraday_gate_ppm": 600_000,
        "economy": 1,
        "credit_line_uyuan": 1,
        "claim_penalty_uyuan_per_kwh": 1,
        "vouchers": VoucherParams(price_uyuan=1),
        "bills": BillShares(producer_ppm=1_000_000),
    },
}
INTRADAY = {"intraday_open_ppm": 1_000_000, "intraday_gate_ppm": 500_000}
OTHER_VALUES["scheduling"] = {
    "quota_ppm": 4_000_000,
    "verdict_ppm": 1,
    "meter_ppm": 1_600_000,
    "intraday_quota_ppm": 2_000_000,
    "areas": (HILL, TOWN.model_copy(update={"wheeling_uyuan_per_kwh": 20_001})),
    "lines": (FEEDER, BRANCH.model_copy(update={"capacity_wh": 4_001})),
}
SECTIONS = {
    "ledger": LedgerParams,
    "consensus": ConsensusParams,
    "market": MarketParams,
    "scheduling": SchedulingParams,
}
NEEDS = {"credit_line_uyuan": {"economy": 1}, "bills": {"economy": 1}}  # what a parameter goes with
ONLY_VALUE = {("consensus", "engine")}  # parameters that have one choice so far


def canonical(params):
    return encode(params.to_value())


@pytest.mark.parametrize(
    ("section", "name"), [(section, name) for section, model in SECTIONS.items() for name in model.model_fields]
)
def test_every_parameter_reaches_the_canonical_bytes(section, name):
    if (section, name) in ONLY_VALUE:
        assert getattr(SECTIONS[section](), name) in canonical(ChainParams(name="JY1")).decode("latin-1")
        return
    base = GRID if section == "scheduling" else INTRADAY if name in INTRADAY else NEEDS.get(name, {})
    kind = "scheduling" if section == "scheduling" else "trading"
    usual, changed = (SECTIONS[section](**{**base, **change}) for change in ({}, {name: OTHER_VALUES[section][name]}))
    assert getattr(changed, name) != getattr(usual, name)
    one, other = (ChainParams(name="JY1", kind=kind, **{section: item}) for item in (usual, changed))
    assert canonical(one) != canonical(other)


def test_the_name_reaches_the_canonical_bytes():
    assert canonical(ChainParams(name="JY1")) != canonical(ChainParams(name="LH1"))


def test_the_kind_reaches_the_canonical_bytes():
    assert canonical(ChainParams(name="JY1")) != canonical(ChainParams(name="JY1", kind="credit"))
    assert ChainParams(name="JY1").kind == "trading"
    with pytest.raises(ValidationError):
        ChainParams(name="JY1", kind="sidechain")


def test_the_canonical_form_is_the_fields_in_order_with_wide_numbers_as_32_bytes():
    params = ConsensusParams(n_diff_initial=2**100, n_diff_min=5, n_diff_max=2**200)
    founding = list(ConsensusParams.model_fields)[: ConsensusParams.founding_fields]
    fields = dict(zip(founding, params.to_value(), strict=True))
    assert fields["engine"] == "poca"
    assert fields["n_diff_initial"] == (2**100).to_bytes(32, "big")
    assert fields["n_diff_min"] == 5


class LaterLedger(LedgerParams):
    """As a later release might have it."""

    blocks_per_breath: int = 7
    name_of_breath: str = "deep"


def test_a_parameter_of_a_later_release_counts_where_it_differs_from_what_was_before():
    old, new = LedgerParams(period_ms=1_000), LaterLedger(period_ms=1_000)
    assert canonical(new) == canonical(old) == canonical(LaterLedger(period_ms=1_000, blocks_per_breath=7))
    changed = LaterLedger(period_ms=1_000, name_of_breath="shallow")
    assert changed.to_value() == (*old.to_value(), ("name_of_breath", "shallow"))
    others = [LaterLedger(period_ms=1_000, blocks_per_breath=count) for count in (6, 8)]
    assert len({canonical(one) for one in (old, changed, *others)}) == 4


def test_a_whole_section_of_a_later_release_counts_where_it_differs():
    class LaterChain(ChainParams):
        breath: LaterLedger = LaterLedger()

    assert canonical(LaterChain(name="JY1")) == canonical(ChainParams(name="JY1"))
    assert canonical(LaterChain(name="JY1", breath=LaterLedger(period_ms=1))) != canonical(ChainParams(name="JY1"))


def test_every_section_of_a_genesis_says_how_many_fields_it_was_founded_with():
    """Or a field added to it would change the ids of the networks that there are."""
    seen, left = set(), [ChainParams, GenesisMember, Authority]
    while left:
        section = left.pop()
        seen.add(section)
        assert "founding_fields" in vars(section), section
        assert section.founding_fields <= len(section.model_fields)
        parts = [
            part for field in section.model_fields.values() for part in (field.annotation, *get_args(field.annotation))
        ]
        left += [part for part in parts if isinstance(part, type) and issubclass(part, Section) and part not in seen]
    assert {Area, Line, MatchingWeights, MarketParams} <= seen


def test_the_rules_that_a_chain_begins_with_reach_the_canonical_bytes():
    assert canonical(ChainParams(name="JY1", rules=2)) != canonical(ChainParams(name="JY1"))
    assert canonical(ChainParams(name="JY1", rules=1)) == canonical(ChainParams(name="JY1"))


def test_json_is_read_back_and_shows_wide_numbers_in_hexadecimal():
    params = ChainParams(name="JY1", consensus=ConsensusParams(n_diff_initial=2**199))
    text = params.model_dump_json()
    assert json.loads(text)["consensus"]["n_diff_initial"] == hex(2**199)
    assert ChainParams.model_validate_json(text) == params


def test_parameters_are_frozen():
    with pytest.raises(ValidationError):
        LedgerParams().period_ms = 5


@pytest.mark.parametrize("section", SECTIONS)
def test_unknown_keys_fail(section):
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        SECTIONS[section](perod_ms=5)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        ChainParams.model_validate({"name": "JY1", "netwrok": {}})


@pytest.mark.parametrize("bad", [1.0, "1000", True, None, 0, -1, 2**63])
def test_a_number_is_a_positive_integer_and_nothing_like_one(bad):
    with pytest.raises(ValidationError):
        LedgerParams(period_ms=bad)


@pytest.mark.parametrize(
    ("section", "fields"),
    [
        ("consensus", {"engine": "pow"}),
        ("consensus", {"eligibility": "luck"}),
        ("consensus", {"tie_break": "coin"}),
        ("consensus", {"tau_upt": 0}),
        ("consensus", {"n_diff_min": 0}),
        ("consensus", {"n_diff_max": 2**256}),
        ("consensus", {"n_diff_max": "0xzz"}),
        ("consensus", {"retarget_window": 11}),
        ("consensus", {"max_ahead_ms": 15_001}),
        ("consensus", {"equivocation_cost_upt": 100_000_001}),
        ("consensus", {"checkpoints_per_period": 0}),
        ("consensus", {"checkpoints_per_period": 1_001}),
        ("consensus", {"checkpoint_lifetime": 0}),
        ("consensus", {"checkpoint_lifetime": 65}),
        ("ledger", {"max_transaction_bytes": 1_023}),
        ("scheduling", {"quota_ppm": 0}),
        ("scheduling", {"verdict_ppm": -1}),
        ("scheduling", {"areas": [HILL]}),
        ("market", {"natural_factor_ppm": 300_001}),
        ("market", {"initial_credit_upt": 100_000_001}),
        ("market", {"income_and_cost": "lost"}),
        ("market", {"recorded_violations": 65}),
        ("market", {"tolerance_ppm": 1_000_001}),
    ],
)
def test_out_of_range_is_refused(section, fields):
    with pytest.raises(ValidationError):
        SECTIONS[section](**fields)


@pytest.mark.parametrize("name", ["", "a b", "-a", "a" * 33, "é", "a/b", ".."])
def test_a_chain_name_can_be_a_directory(name):
    with pytest.raises(ValidationError):
        ChainParams(name=name)


@pytest.mark.parametrize(
    ("section", "fields", "message"),
    [
        ("consensus", {"n_diff_initial": 2**20, "n_diff_min": 2**21}, "n_diff_initial must lie between"),
        ("consensus", {"n_diff_initial": 2**20, "n_diff_max": 2**19}, "n_diff_initial must lie between"),
        ("consensus", {"max_ahead_ms": 601, "block_interval_ms": 100}, "max_ahead_ms must be well below"),
        ("ledger", {"max_block_bytes": 16_383}, "max_transaction_bytes must not exceed max_block_bytes"),
        ("market", {"gate_ppm": 3_000_000}, "must open before its gate"),
        ("market", {"deadline_ppm": 2_000_000}, "its gate come before its deadline"),
        ("market", {"gate_ppm": 32_000_001, "open_ppm": 40_000_000}, "may wait for its certificate for 32 periods"),
        ("market", {"settle_ppm": 1_000_000}, "settle_ppm counts from the start of delivery"),
        (
            "market",
            {**INTRADAY, "intraday_open_ppm": 2_000_000},
            "must open after the day-ahead gate, and before its own",
        ),
        (
            "market",
            {**INTRADAY, "intraday_gate_ppm": 1_000_000},
            "must open after the day-ahead gate, and before its own",
        ),
        ("market", {**INTRADAY, "deadline_ppm": 500_000}, "the intraday gate must come before the deadline"),
        ("market", {"intraday_gate_ppm": 1}, "intraday_gate_ppm needs intraday_open_ppm"),
        ("market", {"work_per_block": 63}, "work_per_block is 0 or at least 64"),
        ("market", {"work_per_block": 127, "passes_per_block": 2}, "at least 64 for each pass"),
        ("market", {"retained_periods": 25, "correction_ppm": 24_000_001}, "retained_periods must reach back as far"),
        ("scheduling", {"quota_ppm": 1_000_000}, "quotas must come before verdicts: quota_ppm above verdict_ppm"),
        ("scheduling", {"intraday_quota_ppm": 3_000_000}, "intraday quotas must come after the day-ahead ones"),
        ("scheduling", {"intraday_quota_ppm": 1_000_000}, "and before verdicts"),
        ("scheduling", {"meter_ppm": 1_000_000}, "meter_ppm counts from the start of delivery"),
        ("scheduling", {"areas": (HILL, HILL)}, "two areas share a name"),
        ("scheduling", {**GRID, "lines": (FEEDER, FEEDER)}, "two lines are called feeder"),
        ("scheduling", {**GRID, "lines": (BRANCH, FEEDER)}, "line branch: list its upstream line feeder before it"),
        ("scheduling", {**GRID, "lines": (BRANCH,)}, "line branch: list its upstream line feeder before it"),
        ("scheduling", {"areas": (HILL,), "lines": (FEEDER,)}, "line feeder: there is no area town"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(section, fields, message):
    with pytest.raises(ValidationError, match=message):
        SECTIONS[section](**fields)


EARNS = {"vouchers_per_kwh": 1}


@pytest.mark.parametrize(
    ("section", "fields", "message"),
    [
        (Incentive, {**EARNS, "from_hour": 9, "until_hour": 9}, "must end after the hour at which it begins"),
        (Incentive, {**EARNS, "until_hour": 25}, "less than or equal to 24"),
        (Incentive, {}, "vouchers_per_kwh"),
        (VoucherParams, {"purposes": ("ev", "ev")}, "a purpose is named twice"),
        (VoucherParams, {"purposes": ("any",)}, "any and bill are purposes without being named"),
        (VoucherParams, {"incentives": (Incentive(**EARNS, purpose="ev"),)}, "the purpose ev, which is not among"),
        (VoucherParams, {"renewal_fee_ppm": 1_000_000}, "less than 1000000"),
        (VoucherParams, {"price_uyuan": 0}, "greater than or equal to 1"),
    ],
)
def test_vouchers_that_could_not_be_are_refused(section, fields, message):
    with pytest.raises(ValidationError, match=message):
        section(**fields)


def test_incentives_reach_the_canonical_bytes_and_are_read_back():
    terms = VoucherParams(purposes=("ev",), incentives=(Incentive(**EARNS, purpose="ev"),))
    params = ChainParams(name="JY1", market=MarketParams(economy=1, vouchers=terms))
    other = terms.model_copy(update={"incentives": (Incentive(**EARNS, purpose="any"),)})
    assert canonical(params) != canonical(ChainParams(name="JY1", market=MarketParams(economy=1, vouchers=other)))
    assert ChainParams.model_validate_json(params.model_dump_json()) == params


def test_contradictions_end_where_they_should():
    ConsensusParams(max_ahead_ms=600, block_interval_ms=100)
    LedgerParams(max_block_bytes=16_384)
    MarketParams(settle_ppm=1_000_001)
    SchedulingParams(quota_ppm=1_000_001, meter_ppm=1_000_001)


@pytest.mark.parametrize(
    "fields",
    [
        {"name": "a b"},
        {"name": "branch", "upstream": "u" * 33},
        {"name": "branch", "area": ""},
        {"name": "branch", "capacity_wh": 0},
        {"name": "branch", "capacity_wh": 2**63},
        {"name": "branch", "capcity_wh": 1},
    ],
)
def test_a_line_with_a_bad_field_is_refused(fields):
    with pytest.raises(ValidationError):
        Line(**{"area": "hill", "capacity_wh": 1, **fields})


@pytest.mark.parametrize(("kind", "has_lines"), [("scheduling", False), ("trading", True), ("credit", True)])
def test_a_scheduling_chain_and_no_other_has_lines(kind, has_lines):
    ChainParams(name="DU1", kind="scheduling", scheduling=SchedulingParams(**GRID))
    with pytest.raises(ValidationError, match="a scheduling chain, and only such a chain, has lines"):
        ChainParams(name="DU1", kind=kind, scheduling=SchedulingParams(**GRID if has_lines else {}))
