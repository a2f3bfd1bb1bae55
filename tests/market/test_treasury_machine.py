"""Banks and members in any order: each block's money adds up, and each payment is booked once."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from market.standing_orders import get_standing_order
from tests.support.keys import address
from tests.support.treasury_lab import NOT_TAKEN, ROLES, YUAN, TreasuryLab

banks = st.sampled_from([name for name, role in ROLES.items() if role == "bank"])
customers = st.sampled_from(["carol", "rosa", "paul", "fund", "grid"])
members = st.one_of(customers, st.just("north"))
anybody = st.sampled_from(list(ROLES))
bookers = st.sampled_from(["north", "south", "north", "south", "carol"])
amounts = st.integers(1, 200).map(lambda yuan: yuan * YUAN)
payments = st.tuples(st.integers(1, 9), st.integers(1, 3))
LINE_UYUAN = 10 * YUAN


class Treasury(RuleBasedStateMachine):
    """The lab checks the sum of all accounts in each block, and that what is refused moves nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.lab = TreasuryLab(credit_line_uyuan=LINE_UYUAN)
        self.lab.go_to(1)
        self.booked: list[tuple[str, tuple[int, int], int]] = []  # by whom, which payment, how much
        self._book("north", (0, 1), 1_000 * YUAN, "deposit", address("north"), 1_000 * YUAN)

    def _book(self, bank: str, payment: tuple[int, int], amount: int, kind: str, *fields: object) -> None:
        code = self.lab.submit(bank, kind, *fields, *payment)
        is_late = any(payment <= known for name, known, _ in self.booked if name == bank)
        if code == NOT_TAKEN:
            return
        if ROLES[bank] != "bank":
            assert code == "RoleNotAllowed"
        elif code != "InsufficientBalance":
            assert code == ("PaymentBooked" if is_late else "")
        if not code:
            self.booked.append((bank, payment, amount))

    @rule(bank=bookers, member=members, amount=amounts, payment=payments)
    def deposit(self, bank: str, member: str, amount: int, payment: tuple[int, int]) -> None:
        self._book(bank, payment, amount, "deposit", address(member), amount)

    @rule(bank=bookers, amount=st.integers(1, 40).map(lambda yuan: yuan * YUAN), payment=payments)
    def withdraw(self, bank: str, amount: int, payment: tuple[int, int]) -> None:
        self._book(bank, payment, -amount, "withdraw", amount)

    @rule(sender=anybody, receiver=anybody, amount=amounts)
    def transfer(self, sender: str, receiver: str, amount: int) -> None:
        code = self.lab.submit(sender, "transfer", address(receiver), amount)
        assert code in ("", "InsufficientBalance", NOT_TAKEN)

    @rule(
        bank=banks,
        member=st.sampled_from(["carol", "rosa", "paul", "fund", "grid"]),
        limit=st.integers(0, 3),
        every=st.integers(1, 3),
    )
    def order(self, bank: str, member: str, limit: int, every: int) -> None:
        code = self.lab.submit(bank, "standing-order", address(member), limit * 100 * YUAN, every)
        assert code in ("", "NoStandingOrder", "StandingOrderTaken", NOT_TAKEN)

    @rule(member=st.sampled_from(["carol", "rosa"]), kwh=st.integers(1, 250))
    def bid(self, member: str, kwh: int) -> None:
        balance = self.lab.balance(member)
        code = self.lab.submit(member, "intention", 0, self.lab.period + 3, 480_000, kwh * 1_000)
        if code == "UnderCreditLine":
            assert balance < -LINE_UYUAN
        elif not code:
            assert self.lab.balance(member) >= -LINE_UYUAN

    @rule(meters=st.lists(st.fixed_dictionaries(dict.fromkeys(["carol", "rosa"], st.integers(0, 999))), max_size=4))
    def go_on(self, meters: list[dict[str, int]]) -> None:
        """Have members buy of the grid company what they use and have not traded, if need be into debt."""
        for energy in meters:
            self.lab.go_to(self.lab.period + 1)
            for name, kwh in energy.items():
                self.lab.submit(f"meter-{name}", "reading", self.lab.period - 1, kwh * 1_000, 0)

    @precondition(lambda self: self.lab.period > 5)
    @rule(name=st.sampled_from(["south", "fund"]))
    def revoke(self, name: str) -> None:
        assert self.lab.revoke(name) in ("", "MemberRevoked")

    @invariant()
    def each_payment_is_booked_once(self) -> None:
        assert len({(bank, payment) for bank, payment, _ in self.booked}) == len(self.booked)
        booked = self.lab.booked()
        assert booked.deposited_uyuan - booked.withdrawn_uyuan == sum(amount for *_, amount in self.booked)

    @invariant()
    def what_is_kept_is_within_its_bounds(self) -> None:
        rows = {row.key: row for row in self.lab.count()}
        assert all(row.is_within for row in rows.values())
        live = [name for name in ROLES if get_standing_order(self.lab.view, address(name)) is not None]
        assert len(live) <= (rows["treasury/order/"].entries if "treasury/order/" in rows else 0)


Treasury.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestTreasury = Treasury.TestCase
