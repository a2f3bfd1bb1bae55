"""Genesis: parameters, founding members and the block at height 0 that they determine.

The chain id is the tagged hash of the whole genesis document, so a signature for one chain means nothing on another.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ledger.accounts import Account, Member, put_account, put_member, put_sealers
from ledger.block import NO_PARENT, Block, Header, compute_tx_root
from ledger.codec import encode
from ledger.execution import compute_receipt_root
from ledger.hashing import address_of, tagged_hash
from ledger.overlay import Overlay
from ledger.params import ChainParams, HexBytes, Natural, Section
from ledger.snapshot import take_snapshot
from ledger.state import State

_NO_PRODUCER = bytes(32)
_GRID_OPERATOR = b"grid-operator"
_CERTIFICATE_BYTES = 512  # what a certificate takes as a transaction, and per signature
_SIGNER_BYTES = 101


class GenesisMember(Section):
    """A founding member; `owner` names the member whose meter a device is."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,31}$")]
    role: Literal[
        "authority", "dispatcher", "producer", "prosumer", "consumer", "grid-operator", "auditor", "device", "observer"
    ]
    key: HexBytes
    seals: bool = False
    balance_uyuan: Natural = 0
    capacity_wh: Natural = 0
    position: Annotated[str, Field(max_length=32)] = ""
    owner: Annotated[str, Field(max_length=32)] = ""


class Genesis(Section):
    """The document that a chain grows from."""

    params: ChainParams
    time_ms: Natural
    members: Annotated[tuple[GenesisMember, ...], Field(min_length=1, max_length=100_000)]

    @model_validator(mode="after")
    def _check(self) -> Genesis:
        roles = {member.name: member.role for member in self.members}
        if len(roles) < len(self.members) or len({member.key for member in self.members}) < len(self.members):
            raise ValueError("two members share a name or a key")
        if sum(member.role == "grid-operator" for member in self.members) != 1:
            raise ValueError("exactly one member must have the role grid-operator: it takes every remainder")
        if sum(member.balance_uyuan for member in self.members) >= 2**62:
            raise ValueError("the balances sum to 2**62 µ¥ or more, too much for one account to hold")
        self._check_sealers()
        for member in self.members:
            if len(member.key) != 32:
                raise ValueError(f"the key of {member.name} is not 32 bytes")
            if (member.role == "device") != bool(member.owner) or roles.get(member.owner) == "device":
                raise ValueError(f"{member.name}: a device, and only a device, names the member that owns it")
            if member.owner and member.owner not in roles:
                raise ValueError(f"{member.name}: its owner {member.owner} is not a member")
        return self

    def _check_sealers(self) -> None:
        """Enough of them for checkpoints, and no more than a certificate has room for."""
        sealers = sum(member.seals for member in self.members)
        if not sealers:
            raise ValueError("no member has the sealing right")
        if self.params.consensus.checkpoint_m >= sealers:
            raise ValueError(f"more than checkpoint_m members must sign, but only {sealers} have the sealing right")
        room = (self.params.ledger.max_transaction_bytes - _CERTIFICATE_BYTES) // _SIGNER_BYTES
        if sealers > room:
            raise ValueError(f"{sealers} members seal, max_transaction_bytes has room for the signatures of {room}")

    @property
    def chain_id(self) -> bytes:
        return tagged_hash("gridmerit/genesis", encode(self.to_value()))


def build_state(genesis: Genesis) -> State:
    """The state that the first block is built on."""
    view = Overlay(State.empty())
    addresses = {member.name: address_of(member.key) for member in genesis.members}
    initial = genesis.params.market.initial_credit_upt
    for member in genesis.members:
        address = addresses[member.name]
        owner = addresses[member.owner] if member.owner else b""
        record = Member(member.name, member.role, member.key, member.capacity_wh, member.position, owner)
        put_member(view, address, record)
        put_account(view, address, Account(balance_uyuan=member.balance_uyuan, credit_upt=initial))
        if member.role == "grid-operator":
            view.put(_GRID_OPERATOR, address)
    put_sealers(view, tuple(member.key for member in genesis.members if member.seals))
    take_snapshot(view, 0)
    view.commit()
    return view.finish()[0]


def get_grid_operator(view: Overlay) -> bytes:
    """The grid company's address."""
    address = view.get(_GRID_OPERATOR)
    assert isinstance(address, bytes)
    return address


def build_genesis_block(genesis: Genesis, state: State) -> Block:
    """The block at height 0: nobody sealed it, everybody computes it."""
    header = Header(
        chain_id=genesis.chain_id,
        height=0,
        parent=NO_PARENT,
        timestamp_ms=genesis.time_ms,
        producer=_NO_PRODUCER,
        credit_upt=0,
        n_diff=genesis.params.consensus.n_diff_initial,
        period=0,
        tx_root=compute_tx_root(()),
        receipt_root=compute_receipt_root(()),
        state_root=state.root,
    )
    return Block(header=header, transactions=())
