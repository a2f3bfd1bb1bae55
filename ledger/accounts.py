"""Members and accounts: the attributes of Eq. (7) of text 000, `L_h = {address, balance, credit}`, and their source."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

from ledger.codec import Value, expect_array, expect_int
from ledger.errors import InsufficientBalance, UnknownMember, WrongShape
from ledger.overlay import Overlay
from ledger.transaction import Transaction

_ACCOUNT = b"a/"
_MEMBER = b"m/"
_SEALERS = b"sealers"
_FIELDS_WITHOUT_COLUMNS = 8
_new_tuple = tuple.__new__  # makes a record of the state without its constructor

TRADERS = ("producer", "prosumer", "consumer")
MAX_SEALERS = 1_024  # as many signatures fit a certificate
ROLES = ("authority", "dispatcher", *TRADERS, "grid-operator", "auditor", "device", "observer")
ECONOMY_ROLES = ("bank", "originator", "investor")  # which a network has where its chains' `economy` is 1


class Account(NamedTuple):
    """One member's money (µ¥), next sequence and credit (micro-points).

    `reserved_uyuan` covers open bids and is not part of `balance_uyuan`. The credit is the running mean
    `score_sum_upt / score_weight` less the penalties; `market.credit.score` says how the initial credit counts in it.

    The last two are the sales and the purchase account of text 001: all that settlements have paid the member, and
    all that they have had it pay (`income_and_cost` among a chain's parameters). Balance and reserve are what was paid
    in or passed on between members, and income less cost.
    """

    balance_uyuan: int = 0
    credit_upt: int = 0
    sequence: int = 0
    reserved_uyuan: int = 0
    score_sum_upt: int = 0
    score_count: int = 0
    penalty_upt: int = 0
    score_weight: int = 0
    income_uyuan: int = 0
    cost_uyuan: int = 0

    def pay(self, amount_uyuan: int) -> Account:
        """The account with so much less money, or more where the amount is negative; it may be in arrears."""
        return _new_tuple(Account, (self[0] - amount_uyuan, *self[1:]))

    def book(self, income_uyuan: int, cost_uyuan: int) -> Account:
        """The account with so much more in its two columns, which its balance knows nothing of."""
        columns = self.income_uyuan + income_uyuan, self.cost_uyuan + cost_uyuan
        return _new_tuple(Account, (*self[:_FIELDS_WITHOUT_COLUMNS], *columns))


_NO_ACCOUNT = Account()


class Member(NamedTuple):
    """An admitted member, as it was audited. `owner` is set for a device only: the address whose meter it is.

    The last two count where merit decides who is served (text 000, Table 1), 0 … 1 000 000 ppm.
    """

    name: str
    role: str
    key: bytes
    capacity_wh: int  # the most it may offer or bid for one period
    position: str  # the feeder or line it hangs on
    owner: bytes = b""
    renewable_ppm: int = 0  # how much of what it generates is renewable
    stability_ppm: int = 0  # how much of its generation comes as expected


def account_key(address: bytes) -> bytes:
    """The state key of an account, for proofs."""
    return _ACCOUNT + address


def member_key(address: bytes) -> bytes:
    """The state key of a member, for proofs."""
    return _MEMBER + address


def get_account(view: Overlay, address: bytes) -> Account:
    """The account, an empty one where there is none."""
    return decode_account(view.get(_ACCOUNT + address))


def decode_account(value: Value) -> Account:
    if value is None:
        return _NO_ACCOUNT
    fields = cast(tuple[int, ...], value)
    return _new_tuple(Account, fields if len(fields) > _FIELDS_WITHOUT_COLUMNS else (*fields, 0, 0))


def put_account(view: Overlay, address: bytes, account: Account) -> None:
    view.put(_ACCOUNT + address, account_to_value(account))


def account_to_value(account: Account) -> tuple[int, ...]:
    """An account as it stands in the state: income and cost only where there is either."""
    is_short = not (account.income_uyuan or account.cost_uyuan)
    return account[:_FIELDS_WITHOUT_COLUMNS] if is_short else account[:]


def describe_account(account: Account) -> dict[str, int]:
    """The fields of an account that stand in the state, by name."""
    return dict(zip(Account._fields, account_to_value(account), strict=False))


def read_account(value: Value) -> Account:
    """An account that somebody else says stands in a state. Raises `WrongShape`."""
    fields = expect_array(value, None, "account")
    if len(fields) not in (_FIELDS_WITHOUT_COLUMNS, len(Account._fields)):
        lengths = f"{_FIELDS_WITHOUT_COLUMNS} or {len(Account._fields)}"
        raise WrongShape(what="account", detail=f"expected an array of {lengths}, got one of {len(fields)}")
    return Account(*[expect_int(field, "account", low=-(2**63)) for field in fields])


def get_member(view: Overlay, address: bytes) -> Member | None:
    value = view.get(_MEMBER + address)
    return None if value is None else _new_tuple(Member, cast(tuple[Any, ...], value))


def put_member(view: Overlay, address: bytes, member: Member) -> None:
    view.put(_MEMBER + address, tuple(member))


def require_member(view: Overlay, address: bytes) -> Member:
    """Raises `UnknownMember`."""
    member = get_member(view, address)
    if member is None:
        raise UnknownMember(address="0x" + address.hex())
    return member


def check_member(view: Overlay, address: bytes) -> None:
    """Raise `UnknownMember` unless it is one: for where nothing is asked of it."""
    if not view.has(_MEMBER + address):
        raise UnknownMember(address="0x" + address.hex())


def get_sealers(view: Overlay) -> tuple[bytes, ...]:
    """Public keys of those whose votes certify what is built now, sorted. How the set changes: `ledger.sealers`."""
    return cast(tuple[bytes, ...], view.get(_SEALERS) or ())


def put_sealers(view: Overlay, keys: tuple[bytes, ...]) -> None:
    view.put(_SEALERS, tuple(sorted(keys)))


def pay(view: Overlay, source: bytes, destination: bytes, amount_uyuan: int) -> None:
    """Move money as settlement does: the source may end in arrears, which only settlement may cause."""
    if source == destination:
        return
    payer, payee = get_account(view, source), get_account(view, destination)
    put_account(view, source, payer.pay(amount_uyuan))
    put_account(view, destination, payee.pay(-amount_uyuan))


def pay_covered(view: Overlay, source: bytes, destination: bytes, amount_uyuan: int) -> None:
    """Move money that the source has. Raises `InsufficientBalance`."""
    have_uyuan = get_account(view, source).balance_uyuan
    if have_uyuan < amount_uyuan:
        raise InsufficientBalance(have_uyuan=have_uyuan, want_uyuan=amount_uyuan)
    pay(view, source, destination, amount_uyuan)


def process_transfer(view: Overlay, transaction: Transaction) -> None:
    """`transfer [to, amount_uyuan]`. Raises `WrongShape`, `UnknownMember` or `InsufficientBalance`."""
    if len(transaction.payload) != 2:
        raise WrongShape(what="transfer", detail="expected [address, amount]")
    destination, amount = transaction.payload
    if type(destination) is not bytes or len(destination) != 20:
        raise WrongShape(what="transfer", detail="the destination must be a 20-byte address")
    amount_uyuan = expect_int(amount, "amount", low=1)
    require_member(view, destination)
    pay_covered(view, transaction.sender, destination, amount_uyuan)
    view.emit("transfer", transaction.sender, destination, amount_uyuan)
