"""Genesis: parameters, founding members and the block at height 0 that they determine.

All chains of a network grow from one document. A chain's id is the tagged hash of that document and the chain's name,
so a signature for one chain means nothing on another, and yet each chain knows the others from its first block on.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from ledger.accounts import MAX_SEALERS, Account, Member, put_account, put_member, put_sealers
from ledger.block import NO_PARENT, Block, Header, compute_tx_root
from ledger.codec import Value, encode
from ledger.execution import compute_receipt_root
from ledger.hashing import address_of, tagged_hash
from ledger.inbox import REMEMBERED
from ledger.outbox import MAX_PARTS, RETAINED, ROWS_PER_PART
from ledger.overlay import Overlay
from ledger.params import ChainParams, HexBytes, Name, Natural, Section
from ledger.siblings import Sibling, put_sibling
from ledger.snapshot import take_snapshot
from ledger.state import State

_NO_PRODUCER = bytes(32)
_GRID_OPERATOR = b"grid-operator"
_CERTIFICATE_BYTES = 512  # what a certificate takes as a transaction, and per signature
_SIGNER_BYTES = 101
_RELAY_BYTES = 12_000  # what a relay takes beside its certificate: 64 rows with weights, a header, a state proof


ALL_CHAINS = "*"


def _parse_seals(value: object) -> object:
    if isinstance(value, bool):
        return (ALL_CHAINS,) if value else ()
    return tuple(value) if isinstance(value, list) else value


class GenesisMember(Section):
    """A founding member; `owner` names the member whose meter a device is.

    `seals` names the chains on which it has the sealing right; true stands for all of them.
    """

    name: Name
    role: Literal[
        "authority", "dispatcher", "producer", "prosumer", "consumer", "grid-operator", "auditor", "device", "observer"
    ]
    key: HexBytes
    seals: Annotated[tuple[str, ...], BeforeValidator(_parse_seals)] = ()
    balance_uyuan: Natural = 0
    capacity_wh: Natural = 0
    position: Annotated[str, Field(max_length=32)] = ""
    owner: Annotated[str, Field(max_length=32)] = ""

    def seals_on(self, chain: str) -> bool:
        return chain in self.seals or ALL_CHAINS in self.seals


class Genesis(Section):
    """What one chain grows from: its parameters, and what it shares with `siblings`, the network's other chains."""

    params: ChainParams
    time_ms: Natural
    members: Annotated[tuple[GenesisMember, ...], Field(min_length=1, max_length=100_000)]
    siblings: tuple[ChainParams, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Genesis:
        roles = {member.name: member.role for member in self.members}
        if len(roles) < len(self.members) or len({member.key for member in self.members}) < len(self.members):
            raise ValueError("two members share a name or a key")
        if sum(member.role == "grid-operator" for member in self.members) != 1:
            raise ValueError("exactly one member must have the role grid-operator: it takes every remainder")
        if sum(member.balance_uyuan for member in self.members) >= 2**62:
            raise ValueError("the balances sum to 2**62 µ¥ or more, too much for one account to hold")
        for chain in self.chains:
            self._check_sealers(chain)
        for member in self.members:
            if len(member.key) != 32:
                raise ValueError(f"the key of {member.name} is not 32 bytes")
            if (member.role == "device") != bool(member.owner) or roles.get(member.owner) == "device":
                raise ValueError(f"{member.name}: a device, and only a device, names the member that owns it")
            if member.owner and member.owner not in roles:
                raise ValueError(f"{member.name}: its owner {member.owner} is not a member")
        self._check_chains()
        return self

    def _check_sealers(self, chain: ChainParams) -> None:
        """Enough of them for checkpoints, and no more than a certificate has room for."""
        sealers = sum(member.seals_on(chain.name) for member in self.members)
        if not sealers:
            raise ValueError(f"no member has the sealing right on {chain.name}")
        if chain.consensus.checkpoint_m >= sealers:
            raise ValueError(f"more than checkpoint_m members must sign, but only {sealers} have the sealing right")
        taken = _CERTIFICATE_BYTES + (_RELAY_BYTES if self.siblings else 0)
        smallest = min(item.ledger.max_transaction_bytes for item in self.chains)
        room = min(MAX_SEALERS, max(0, (smallest - taken) // _SIGNER_BYTES))
        if sealers > room:
            raise ValueError(f"{sealers} members seal, max_transaction_bytes has room for the signatures of {room}")

    def _check_chains(self) -> None:
        """That the chains are of one network, and that their clocks fit together."""
        by_kind = {chain.kind: chain for chain in self.chains}
        if len(by_kind) < len(self.chains) or len({chain.name for chain in self.chains}) < len(self.chains):
            raise ValueError("two chains share a name or a kind")
        known = {ALL_CHAINS, *(chain.name for chain in self.chains)}
        unknown = {name for member in self.members for name in member.seals} - known
        if unknown:
            raise ValueError(f"a member seals on a chain that is not there: {', '.join(sorted(unknown))}")
        if len({(chain.ledger.period_ms, chain.market.initial_credit_upt) for chain in self.chains}) > 1:
            raise ValueError("the chains differ in period_ms or initial_credit_upt")
        scheduling, trading = by_kind.get("scheduling"), by_kind.get("trading")
        if trading is None:
            raise ValueError("no chain is of the kind trading")
        if self.siblings and trading.market.max_orders_per_period > ROWS_PER_PART * MAX_PARTS:
            raise ValueError(f"max_orders_per_period is above {ROWS_PER_PART * MAX_PARTS}, too many for one message")
        if scheduling is not None:
            clock, market = scheduling.scheduling, trading.market
            if not clock.quota_ppm > market.gate_ppm > clock.verdict_ppm >= market.deadline_ppm:
                raise ValueError("want quota_ppm above gate_ppm above verdict_ppm, and deadline_ppm not above that")
            if clock.meter_ppm >= market.settle_ppm:
                raise ValueError("meter_ppm must come before settle_ppm, or metered energy arrives too late")
            if clock.quota_ppm > REMEMBERED * 1_000_000:
                raise ValueError(f"quota_ppm is above {REMEMBERED} periods, so many messages of a kind are remembered")
            if market.settle_ppm - clock.meter_ppm > RETAINED * 1_000_000:
                raise ValueError(f"settle_ppm is over {RETAINED} periods after meter_ppm, the outbox keeps as many")

    @property
    def chains(self) -> tuple[ChainParams, ...]:
        """Every chain of the network, by name."""
        return tuple(sorted((self.params, *self.siblings), key=lambda chain: chain.name))

    @property
    def sealers(self) -> tuple[bytes, ...]:
        """Public keys of the founders with the sealing right on this chain, sorted."""
        return self.sealers_of(self.params.name)

    def sealers_of(self, chain: str) -> tuple[bytes, ...]:
        return tuple(sorted(member.key for member in self.members if member.seals_on(chain)))

    @property
    def chain_id(self) -> bytes:
        return self.chain_id_of(self.params.name)

    def chain_id_of(self, chain: str) -> bytes:
        """The id of this chain or of a sibling."""
        network = (self.time_ms, _values(self.chains), _values(self.members))
        return tagged_hash("gridmerit/genesis", encode((*network, chain)))

    def open(self, chain: str) -> Genesis:
        """The same network's genesis of another chain, by name."""
        params = next(item for item in self.chains if item.name == chain)
        others = tuple(item for item in self.chains if item.name != chain)
        return Genesis(params=params, time_ms=self.time_ms, members=self.members, siblings=others)


def _values(sections: tuple[Section, ...]) -> tuple[Value, ...]:
    return tuple(section.to_value() for section in sections)


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
        balance_uyuan = member.balance_uyuan if genesis.params.kind == "trading" else 0  # money is there alone
        put_account(view, address, Account(balance_uyuan=balance_uyuan, credit_upt=initial))
        if member.role == "grid-operator":
            view.put(_GRID_OPERATOR, address)
    put_sealers(view, genesis.sealers)
    for chain in genesis.siblings:
        sealers = genesis.sealers_of(chain.name)
        sibling = Sibling(chain.name, chain.kind, chain.consensus.checkpoint_m, 0, sealers)
        put_sibling(view, genesis.chain_id_of(chain.name), sibling)
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
