"""The eligibility port: Eqs (9) and (10) of text 000, each recomputed here with hashlib."""

import hashlib
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.poca.credit_target import MAX_TARGET, compute_target
from consensus.poca.eligibility import Poca, Stake, Work, eligibility_for

POINT = 1_000_000
ROOT = bytes(range(32))
PARENT = bytes(range(100, 132))
ALICE, BOB = b"a" * 20, b"b" * 20

n_diff = st.integers(1, MAX_TARGET)
credit = st.integers(0, 100 * POINT)
balance = st.integers(-(10**12), 10**18)


def test_the_factory_gives_each_rule_by_name():
    assert eligibility_for("poca", 5 * POINT) == Poca(5 * POINT)
    assert eligibility_for("work", 5 * POINT) == Work()
    assert eligibility_for("stake", 5 * POINT) == Stake()
    assert [eligibility_for(name, POINT).name for name in ("poca", "work", "stake")] == [
        "poca",
        "work",
        "stake",
    ]
    assert [eligibility_for(name, POINT).searches_nonce for name in ("poca", "work", "stake")] == [
        True,
        True,
        False,
    ]


@pytest.mark.parametrize("rule", [Poca(POINT), Work()])
@pytest.mark.parametrize("nonce", [0, 1, 2**32, 2**64 - 1])
def test_a_searched_seal_is_one_sha256_over_40_bytes(rule, nonce):
    digest = hashlib.sha256(ROOT + nonce.to_bytes(8, "big")).digest()
    assert rule.seal_value(ROOT, nonce, PARENT, ALICE, 1) == int.from_bytes(digest, "big")


def test_a_stake_seal_is_a_tagged_hash_of_parent_account_and_time():
    tag = hashlib.sha256(b"gridmerit/stake").digest()
    digest = hashlib.sha256(tag + tag + PARENT + ALICE + (1_700_000_000_000).to_bytes(8, "big")).digest()
    assert Stake().seal_value(ROOT, 0, PARENT, ALICE, 1_700_000_000_000) == int.from_bytes(digest, "big")


def test_a_stake_seal_depends_on_parent_account_and_time_alone():
    seal = Stake().seal_value(ROOT, 0, PARENT, ALICE, 1)
    assert seal == Stake().seal_value(bytes(32), 99, PARENT, ALICE, 1)
    others = {
        Stake().seal_value(ROOT, 0, ROOT, ALICE, 1),
        Stake().seal_value(ROOT, 0, PARENT, BOB, 1),
        Stake().seal_value(ROOT, 0, PARENT, ALICE, 2),
    }
    assert len(others | {seal}) == 4


@given(n_diff, credit, balance)
def test_each_target_counts_its_own_merit_only(n_diff, credit, balance):
    assert Poca(10 * POINT).target(n_diff, credit, balance) == compute_target(n_diff, credit, 10 * POINT)
    assert Work().target(n_diff, credit, balance) == n_diff
    assert Stake().target(n_diff, credit, balance) == min(MAX_TARGET, n_diff * max(0, balance))


def test_an_account_in_debt_is_never_eligible():
    assert Stake().target(MAX_TARGET, 100 * POINT, -1) == 0


def test_the_richer_account_finds_its_timestamp_in_proportion():
    # Three times the balance, three times the chance per millisecond: 1000 against 3000 expected hits.
    step = 2**256 // 1_000_000

    def hits(producer: bytes, balance: int) -> int:
        bound = Stake().target(step, 0, balance)
        return sum(Stake().seal_value(b"", 0, PARENT, producer, t) <= bound for t in range(20_000))

    assert hits(ALICE, 50_000) == pytest.approx(1_000, rel=0.12)
    assert hits(BOB, 150_000) == pytest.approx(3_000, rel=0.08)


def test_credit_shortens_the_search_under_poca():
    rule = Poca(10 * POINT)

    def attempts(credit_upt: int) -> int:
        bound = rule.target(2**244, credit_upt, 0)
        searches = (bytes([seed]) * 32 for seed in range(40))
        return sum(
            next(n for n in count() if rule.seal_value(root, n, PARENT, ALICE, 0) <= bound) + 1 for root in searches
        )

    # e^2 ≈ 7.4 times fewer attempts with twenty points more
    assert attempts(20 * POINT) / attempts(40 * POINT) == pytest.approx(7.4, rel=0.5)
