"""The packaged sets of parameters, what `net new` changes in them, and the N_diff that follows from them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from consensus.errors import BadParameters
from gridmerit.network.calibration import calibrate, compute_n_diff
from gridmerit.network.layout import Host
from gridmerit.network.make import new_network
from gridmerit.network.parameters import (
    PACKAGED,
    choose_market,
    get_packaged_params,
    load_chain_params,
    load_packaged_profile,
    load_params_set,
    make_demo_params,
    scale_params,
)
from ledger.genesis import Genesis, GenesisMember
from ledger.params import ChainParams
from market.errors import UnknownRule
from market.trading.clearing_rules import RULES
from node.config import load_genesis

PROFILE = load_packaged_profile()

Run = Callable[..., tuple[int, str, str]]


def with_eligibility(params: ChainParams, name: str) -> ChainParams:
    return params.model_copy(update={"consensus": params.consensus.model_copy(update={"eligibility": name})})


# --- N_diff ----------------------------------------------------------------------------------------


def test_n_diff_of_stakes_follows_from_the_balances_of_those_who_seal(tmp_path: Path) -> None:
    # Eq. (9): each ms is a try that N_diff · balance / 2^256 of them win, so N_diff = 2^256 / (Σ balance · interval).
    params = with_eligibility(scale_params(load_chain_params(get_packaged_params()), 240_000), "stake")
    network = new_network(tmp_path / "net", nodes=4, params=[params], profile=PROFILE)
    genesis = load_genesis(network.genesis_path)
    balances = [member.balance_uyuan for member in genesis.members if member.seals_on("jy1")]
    assert balances == [5_000_000_000] * 4, "the grid company and six players do not seal"
    n_diff = genesis.params.consensus.n_diff_initial
    assert n_diff == 2**256 // (sum(balances) * 10_000)
    assert n_diff.bit_length() == 209


def test_no_search_is_shared_with_a_chain_that_is_not_searched() -> None:
    jy1, lh1 = load_params_set()[1:]
    mixed = with_eligibility(jy1, "stake"), lh1
    _, searched = calibrate(mixed, sealers=4, nonces_per_s=3_000_000, stake_uyuan=10**9)
    alone = compute_n_diff(lh1, sealers=4, nonces_per_s=3_000_000)
    assert searched.consensus.n_diff_initial == alone


def test_where_a_chain_limits_the_search_nobody_is_taken_to_be_faster() -> None:
    lh1 = load_params_set()[2]
    changed = lh1.consensus.model_copy(update={"interval_nonces": 10 * lh1.consensus.block_interval_ms})
    limited = lh1.model_copy(update={"consensus": changed})
    assert compute_n_diff(limited, sealers=4, nonces_per_s=3_000_000) == compute_n_diff(
        lh1, sealers=4, nonces_per_s=10_000
    )
    assert compute_n_diff(limited, sealers=4, nonces_per_s=5_000) == compute_n_diff(lh1, sealers=4, nonces_per_s=5_000)


def test_stakes_are_refused_where_no_member_that_seals_has_any(tmp_path: Path) -> None:
    lh1 = with_eligibility(load_params_set()[2], "stake")
    with pytest.raises(BadParameters, match='"stake" on lh1: no sealing member has a balance there'):
        calibrate([lh1], sealers=4, nonces_per_s=1_000, stake_uyuan=10**9)
    jy1 = with_eligibility(load_params_set()[1], "stake")
    with pytest.raises(BadParameters, match='"stake" on jy1: no sealing member has a balance there'):
        new_network(tmp_path / "net", nodes=[Host(name="grid")], params=[jy1], profile=PROFILE)


@pytest.mark.parametrize("eligibility", ["work", "stake"])
def test_an_n_diff_max_that_is_meant_for_credit_alone_is_told(eligibility: str) -> None:
    params = with_eligibility(load_chain_params(get_packaged_params("paper")), eligibility)
    with pytest.raises(BadParameters, match=rf'"{eligibility}" on jy1: a block per interval takes an N_diff of about'):
        calibrate([params], sealers=4, nonces_per_s=1_000_000, stake_uyuan=10**10)


# --- sets ------------------------------------------------------------------------------------------


def test_the_paper_set_is_the_text() -> None:
    _, jy1, lh1 = load_params_set("paper")
    assert jy1.market.clearing_rule == "credit-weighted", "§4.2, step 4"
    weights = {"c": 600_000, "q": 800_000, "r": 500_000, "l": 400_000, "p": 500_000, "s": 600_000, "n": 600_000}
    assert jy1.market.weights.to_value() == tuple(weights.values()), "Table 1"
    assert jy1.market.intention_ppm == 100_000, "§4.2, step 3: within 0.1 Δt"
    for chain in (jy1, lh1):
        assert chain.ledger.period_ms == 3_600_000, "§3: Δt = 1 h"
        assert chain.market.initial_weight == chain.market.score_unit_wh == 0, "Eqs (1) and (2): unweighted"
        assert chain.market.natural_factor_ppm == 0, "Eq. (2), unless an α is given: Eq. (12)"
        assert chain.consensus.tau_upt == 1_000_000, "Eq. (10): e^C, C in points"


def test_intraday_puts_a_session_before_the_one_there_is_and_the_clocks_fit() -> None:
    for name in PACKAGED:
        before = {chain.kind: chain for chain in load_params_set(name)}
        chains = choose_market(load_params_set(name), rule=None, natural_factor_ppm=None, is_intraday=True)
        assert choose_market(chains, rule=None, natural_factor_ppm=None, is_intraday=True) == chains
        after = {chain.kind: chain for chain in chains}
        was, now = before["trading"].market, after["trading"].market
        assert (now.intraday_open_ppm, now.intraday_gate_ppm) == (was.open_ppm, was.gate_ppm)
        assert now.gate_ppm > after["scheduling"].scheduling.intraday_quota_ppm >= now.intraday_open_ppm
        assert after["credit"] == before["credit"]
        for quick in (chains, make_demo_params(3_000, chains)):
            found_network(quick)


def found_network(chains: Sequence[ChainParams]) -> Genesis:
    """Raises where clocks do not fit together."""
    params = next(chain for chain in chains if chain.kind == "trading")
    siblings = tuple(chain for chain in chains if chain.kind != "trading")
    grid = GenesisMember(name="grid", role="grid-operator", key=bytes(31) + b"1", seals=("*",))
    return Genesis(params=params, siblings=siblings, time_ms=0, members=(grid,))


def test_rule_and_alpha_go_where_they_count() -> None:
    before = load_params_set("paper")
    du1, jy1, lh1 = choose_market(before, rule="uniform-price", natural_factor_ppm=150_000)
    assert du1 == before[0]
    assert (jy1.market.clearing_rule, jy1.market.natural_factor_ppm) == ("uniform-price", 150_000)
    assert (lh1.market.clearing_rule, lh1.market.natural_factor_ppm) == ("price-time", 150_000)
    assert choose_market(before, rule=None, natural_factor_ppm=None) == before
    assert choose_market(before, rule=None, natural_factor_ppm=0)[1].market == before[1].market
    with pytest.raises(UnknownRule, match="no clearing rule is called 'merit', there are price-time, credit-weighted,"):
        choose_market(before, rule="merit", natural_factor_ppm=None)


def test_orders_are_taken_long_enough_for_some_blocks_however_short_a_period_is() -> None:
    _, jy1, _ = load_params_set("paper")
    shares = {
        period_ms: scale_params(jy1, period_ms).market.intention_ppm for period_ms in (3_600_000, 800_000, 60_000)
    }
    assert shares == {3_600_000: 100_000, 800_000: 100_000, 60_000: 333_334}
    assert scale_params(jy1, 800).market.intention_ppm == 1_000_000, "eight blocks are two periods: until the gate"
    assert scale_params(load_params_set()[1], 60_000).market.intention_ppm == 0


# --- gridmerit net new -----------------------------------------------------------------------------


def test_net_new_makes_a_network_of_the_set_the_rule_and_the_alpha(gridmerit: Run, tmp_path: Path) -> None:
    home = tmp_path / "net"
    code, out, _ = gridmerit("net", "new", home, "--set", "paper", "--rule", "pay-as-bid", "--alpha", "0.15")
    assert code == 0
    assert out.splitlines()[1:3] == ["rule     pay-as-bid, by which gates clear", "α        0.15, in Eq. (12)"]
    genesis = load_genesis(home / "genesis.json")
    assert genesis.params.market.clearing_rule == "pay-as-bid"
    assert {chain.kind: chain.market.natural_factor_ppm for chain in genesis.chains} == {
        "scheduling": 0,
        "trading": 150_000,
        "credit": 150_000,
    }
    assert genesis.params.market.intention_ppm == 100_000


def test_net_new_without_them_leaves_the_set_as_it_is(gridmerit: Run, tmp_path: Path) -> None:
    home = tmp_path / "net"
    code, out, _ = gridmerit("net", "new", home, "--set", "bft", "--json")
    assert code == 0
    assert json.loads(out)["market"] == {"clearing_rule": "price-time", "natural_factor_ppm": 0}
    markets = {chain.name: chain.market for chain in load_genesis(home / "genesis.json").chains}
    assert markets == {chain.name: chain.market for chain in load_params_set("bft")}


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--alpha", "0.31"], 2, "'0.31' is no α of Eq. (12): want 0 … 0.3 in at most six decimals, such as 0.15"),
        (["--alpha", "30%"], 2, "'30%' is no α of Eq. (12)"),
        (["--alpha", "-0.1"], 2, "'-0.1' is no α of Eq. (12)"),
        (["--alpha", "0.1234567"], 2, "'0.1234567' is no α of Eq. (12)"),
        (["--rule", "merit"], 3, "no clearing rule is called 'merit', there are price-time, credit-weighted,"),
        (["--set", "papper"], 3, "papper is neither a file nor a directory, nor one of recommended, paper, bft"),
        (["--set", "paper", "--engine", "pbft"], 2, "--engine pbft: the chains of paper have another one"),
        (["--compose", "--rule", "merit"], 3, "no clearing rule is called 'merit'"),
        (["--compose", "--alpha", "0.4"], 2, "'0.4' is no α of Eq. (12)"),
    ],
)
def test_net_new_says_what_is_wrong_and_makes_nothing(
    gridmerit: Run, tmp_path: Path, options: list[str], code: int, message: str
) -> None:
    found, out, err = gridmerit("net", "new", tmp_path / "net", *options)
    assert (found, out) == (code, "")
    assert message in err
    assert not (tmp_path / "net").exists()


def test_the_bounds_of_alpha_are_taken(gridmerit: Run, tmp_path: Path) -> None:
    for place, (text, factor_ppm) in enumerate((("0", 0), ("0.3", 300_000), ("0.000001", 1))):
        assert gridmerit("net", "new", tmp_path / str(place), "--nodes", "1", "--alpha", text)[0] == 0
        assert load_genesis(tmp_path / str(place) / "genesis.json").params.market.natural_factor_ppm == factor_ppm


def test_the_help_names_every_rule(gridmerit: Run) -> None:
    text = " ".join(gridmerit("net", "new", "--help")[1].split())
    assert [name for name in RULES if name not in text] == []


def test_corrections_that_reach_back_over_what_a_scheduling_chain_retains_are_refused(tmp_path: Path) -> None:
    """A register of a period whose records are forgotten would stay for good: no later period drops it."""
    text, file = get_packaged_params(chain="du1").read_text(encoding="utf-8"), tmp_path / "du1.toml"
    for correction_ppm in (62_500_000, 62_500_001):
        file.write_text(text.replace("correction_ppm = 24_000_000", f"correction_ppm = {correction_ppm}"))
        if correction_ppm == 62_500_000:  # with meter_ppm the 64 periods
            assert load_chain_params(file).market.correction_ppm == correction_ppm
        else:
            with pytest.raises(BadParameters, match="over the 64 periods that the chain retains"):
                load_chain_params(file)
