"""Names and addresses of a chain's members, both ways."""

from __future__ import annotations

from collections.abc import Callable

from ledger.accounts import Member, get_member
from ledger.errors import WrongShape
from ledger.genesis import Genesis
from ledger.hashing import Address, address_of, parse_address
from ledger.membership import PENDING, Listing, find_by_name, get_credential, list_members
from ledger.overlay import Overlay
from ledger.state import State
from node.errors import BadRequest, UnknownAccount


class MemberNames:
    """Names and addresses of a chain's members, both ways: founders, and those that the authority has admitted since.

    `get_state` gives the head's state, of which members admitted later are read. A founder keeps its name for ever.
    """

    def __init__(self, genesis: Genesis, get_state: Callable[[], State]) -> None:
        self._founders = {member.name: address_of(member.key) for member in genesis.members}
        self._names = {address: name for name, address in self._founders.items()}
        self._get_state = get_state

    def name_of(self, address: Address) -> str | None:
        """A member's name, also after it has gone; None for an address that is no member's yet or never was."""
        name = self._names.get(address)
        if name is not None:
            return name
        member = get_member(Overlay(self._get_state()), address)
        return None if member is None else member.name

    def find(self, ref: str) -> Address:
        """The member's address by "0x…" or name. Raises `BadRequest` or `UnknownAccount`."""
        address: Address | None
        if ref.startswith("0x"):
            try:
                address = parse_address(ref)
            except WrongShape:
                raise BadRequest(what="address", have=ref[:50], want="0x and 40 hexadecimal digits") from None
        else:
            address = self._founders.get(ref) or find_by_name(Overlay(self._get_state()), ref)
        if address is None or self.get_member(address) is None:
            raise UnknownAccount(ref=ref[:50])
        return address

    def get_member(self, address: Address) -> Member | None:
        """A member's record, as it is or is to be from the next period on."""
        state = self._get_state()
        view = Overlay(state)
        member, credential = get_member(view, address), get_credential(view, address)
        if member is not None or credential is None or credential.status != PENDING:
            return member
        return next(item.member for item in list_members(state) if item.address == address)

    def list_all(self) -> tuple[Listing, ...]:
        """Every member: the founders as in the genesis, then those admitted later, by name."""
        places = {address: place for place, address in enumerate(self._names)}
        found = list_members(self._get_state())
        return tuple(sorted(found, key=lambda item: places.get(item.address, len(places))))
