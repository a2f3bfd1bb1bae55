"""The table of roles: every kind of transaction is in it or open to all, and contracts refuse by it."""

import importlib
from pathlib import Path
from typing import get_args

import pytest

from ledger.accounts import ECONOMY_ROLES, ROLES, Member
from ledger.genesis import GenesisMember
from ledger.params import MarketParams
from market.errors import RoleNotAllowed
from market.roles import RIGHTS, ROLES_OF_TEXT_003, Act, is_new_energy, may, require_right
from node.chain.contracts import build_contracts
from tests.support.keys import address
from tests.support.treasury_lab import TreasuryLab, make_genesis

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
EVERYBODYS = {"transfer", "cancel", "exit", "coin-transfer", "asset-redeem", "asset-renew", "fund"}
BY_SIGNATURES = {"admit", "revoke", "renew", "countersign", "upgrade"}  # the authority's, whoever sends it
ALL_ROLES = (*ROLES, *ECONOMY_ROLES)


def cells(head: str) -> list[list[str]]:
    """The rows of the page's table that begins with this head."""
    lines = PAGE[PAGE.index(f"| {head} |") :].splitlines()
    rows = []
    for line in lines[2:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line[1:-1].split("|")])
    return rows


def test_the_page_has_the_table():
    assert cells("may") == [
        [act, ", ".join(f"`{kind}`" for kind in right.kinds), ", ".join(right.chains), ", ".join(right.roles),
         f"`{right.refused_as}`"]
        for act, right in RIGHTS.items()
    ]  # fmt: skip
    assert cells("text 003, §7 and §8") == [[name, role] for name, role in ROLES_OF_TEXT_003.items()]


def test_roles_and_errors_of_the_table_exist():
    modules = [importlib.import_module(name) for name in ("ledger.errors", "market.errors")]
    for right in RIGHTS.values():
        assert set(right.roles) <= set(ALL_ROLES)
        assert any(hasattr(module, right.refused_as) for module in modules)
    assert set(ROLES_OF_TEXT_003.values()) <= set(ALL_ROLES)
    assert set(get_args(GenesisMember.model_fields["role"].annotation)) == set(ALL_ROLES)


@pytest.mark.parametrize("kind", ["trading", "scheduling", "credit"])
def test_every_kind_of_transaction_is_in_the_table_or_everybodys(kind):
    ruled = {known for right in RIGHTS.values() if kind in right.chains for known in right.kinds}
    found = {
        handled
        for genesis in (make_genesis(), make_genesis(siblings=True))
        for chain in genesis.chains
        if chain.kind == kind
        for handled in build_contracts(genesis.open(chain.name)).handlers
    }
    assert ruled - {"game-target"} <= found <= ruled | EVERYBODYS | BY_SIGNATURES  # a target is for knn alone


@pytest.mark.parametrize("role", ALL_ROLES)
def test_who_has_no_right_is_refused_by_name(role):
    member = Member("somebody", role, bytes(32), 0, "")
    for act in Act:
        if may(role, act):
            require_right(member, act)
        else:
            with pytest.raises(RoleNotAllowed, match=f"the role {role} may not {act}, only with one of: "):
                require_right(member, act)


@pytest.mark.parametrize("act", [Act.DEPOSIT, Act.WITHDRAW, Act.STANDING_ORDER])
def test_the_contract_asks_the_table(act):
    payload = {
        Act.DEPOSIT: (address("carol"), 5, 1, 2),
        Act.WITHDRAW: (5, 1, 2),
        Act.STANDING_ORDER: (address("carol"), 5, 1),
    }[act]
    (kind,) = RIGHTS[act].kinds
    lab = TreasuryLab()
    assert lab.submit("north", "deposit", address("north"), 5, 1, 1) == ""
    for name, role in lab.roles.items():
        if name != "south":  # of two banks one
            assert lab.submit(name, kind, *payload) == ("" if may(role, act) else RIGHTS[act].refused_as), name


def test_energy_is_new_where_any_of_it_is_registered_as_renewable():
    wind, coal, home = (
        Member("somebody", role, bytes(32), 0, "", b"", renewable_ppm)
        for role, renewable_ppm in (("producer", 1), ("producer", 0), ("consumer", 1_000_000))
    )
    assert [is_new_energy(member) for member in (wind, coal, home)] == [True, False, False]


def test_the_roles_of_the_economy_need_it():
    with pytest.raises(ValueError, match="north: the role bank needs economy = 1 on every chain"):
        make_genesis(market=MarketParams())
    with pytest.raises(ValueError, match="the chains differ in economy"):
        make_genesis(siblings=True, other=MarketParams())
