"""Names and addresses of a chain's members, both ways."""

from __future__ import annotations

from ledger.errors import BadRequest, UnknownAccount, WrongShape
from ledger.genesis import Genesis
from ledger.hashing import Address, address_of, parse_address


class MemberNames:
    """Names and addresses of a chain's members, both ways. All members there are come from the genesis document."""

    def __init__(self, genesis: Genesis) -> None:
        self.addresses = {member.name: address_of(member.key) for member in genesis.members}
        self.names = {address: name for name, address in self.addresses.items()}

    def name_of(self, address: Address) -> str | None:
        return self.names.get(address)

    def find(self, ref: str) -> Address:
        """The member's address by "0x…" or name. Raises `BadRequest` or `UnknownAccount`."""
        if not ref.startswith("0x"):
            address = self.addresses.get(ref)
        else:
            try:
                address = parse_address(ref)
            except WrongShape:
                raise BadRequest(what="address", have=ref[:50], want="0x and 40 hexadecimal digits") from None
        if address is None or address not in self.names:
            raise UnknownAccount(ref=ref[:50])
        return address
