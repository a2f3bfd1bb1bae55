"""The number that must sign a checkpoint, against the binomial and the intersection of quorums."""

import pytest
from pydantic import ValidationError

from simulation.scenarios.signers import SIGNERS, Signers, run
from simulation.theory.statistics import clopper_pearson


@pytest.mark.parametrize(
    "given",
    [
        {"split": True, "liars": 3},
        {"split": True, "liars": 2},
        {"split": True, "liars": 4, "m": 5, "down": 0.1},
        {"down": 0.1},
        {"down": 0.1, "m": 5},
        {"members": 4, "down": 0.2, "liars": 1, "split": True},
    ],
)
def test_both_counts_are_those_of_theory(given):
    settings = Signers(slots=150, **given)
    row = run(settings, 3).row
    for metric in SIGNERS.metrics:
        low, high = clopper_pearson(row[metric.column], row["slots"], 0.999)
        assert low <= metric.theory(settings).value <= high


def test_up_to_f_liars_never_certify_two_branches_and_one_more_may():
    for members in range(1, 12):
        faulty = (members - 1) // 3
        chances = [Signers(members=members, liars=liars, split=True) for liars in range(members + 1)]
        doubles = [SIGNERS.metrics[1].theory(settings).value for settings in chances]
        needed = 2 * chances[0].quorum - members
        assert faulty < needed
        assert [chance > 0 for chance in doubles] == [liars >= needed for liars in range(members + 1)]


def test_more_that_must_sign_than_there_are_is_refused():
    with pytest.raises(ValidationError, match="m must be below"):
        Signers(members=4, m=4)


def test_an_m_with_which_two_quorums_share_no_honest_member_is_refused():
    with pytest.raises(ValidationError, match=r"m is too small: with 7 members 2\(m\+1\) > n \+ f takes 4 or more"):
        Signers(members=7, m=3)
    assert Signers(members=7, m=4).quorum == Signers(members=7).quorum == 5
