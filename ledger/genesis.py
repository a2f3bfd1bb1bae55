"""Genesis: parameters, founding members and the block at height 0 that they determine.

All chains of a network grow from one document. A chain's id is the tagged hash of that document and the chain's name,
so a signature for one chain means nothing on another, and yet each chain knows the others from its first block on.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from ledger.accounts import ECONOMY_ROLES, MAX_SEALERS, Account, Member, put_account, put_member, put_sealers
from ledger.block import NO_PARENT, Block, Header, compute_tx_root
from ledger.codec import Value, encode
from ledger.errors import InvalidKey
from ledger.execution import compute_receipt_root
from ledger.hashing import address_of, tagged_hash
from ledger.inbox import REMEMBERED
from ledger.membership import AuthorityRecord, enrol_founder, put_authority
from ledger.outbox import MAX_PARTS, RETAINED, ROWS_PER_PART
from ledger.overlay import Overlay
from ledger.params import ChainParams, HexBytes, Name, Natural, Place, Positive, Ppm, Section, Uyuan
from ledger.siblings import Sibling, put_sibling
from ledger.signatures import check_public_key
from ledger.snapshot import take_snapshot
from ledger.state import State

_NO_PRODUCER = bytes(32)
_GRID_OPERATOR = b"grid-operator"
_DISPOSABLE = b"disposable"
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

    `seals` names the chains on which it has the sealing right; true stands for all of them. `tls_key` is the Ed25519
    key of its TLS certificate; without one, peers know it by `key` alone.
    """

    founding_fields: ClassVar[int] = 11

    name: Name
    role: Literal[
        "authority",
        "dispatcher",
        "producer",
        "prosumer",
        "consumer",
        "grid-operator",
        "auditor",
        "device",
        "observer",
        "bank",
        "originator",
        "investor",
    ]
    key: HexBytes
    seals: Annotated[tuple[str, ...], BeforeValidator(_parse_seals)] = ()
    balance_uyuan: Uyuan = 0
    capacity_wh: Natural = 0
    position: Place = ""
    owner: Annotated[str, Field(max_length=32)] = ""
    tls_key: HexBytes = b""
    renewable_ppm: Ppm = 0
    stability_ppm: Ppm = 0

    def seals_on(self, chain: str) -> bool:
        return chain in self.seals or ALL_CHAINS in self.seals


class Authority(Section):
    """The weak centre: `threshold` of these Ed25519 keys together admit, revoke and renew members, and audit trades.

    They are no member's keys: with them alone one sends no transaction, seals no block and votes for none. Without
    keys no member is ever admitted.
    """

    founding_fields: ClassVar[int] = 2

    threshold: Positive = 1
    keys: tuple[HexBytes, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Authority:
        if len(set(self.keys)) < len(self.keys):
            raise ValueError("two keys of the authority are the same")
        if self.threshold > max(1, len(self.keys)):
            raise ValueError(f"{self.threshold} keys of the authority must sign, it has {len(self.keys)}")
        for key in self.keys:
            _check_key(key, "a key of the authority")
        return self


class Genesis(Section):
    """The origin of one chain: its parameters, and what it shares with `siblings`, the network's other chains.

    A `disposable` network is there to be attacked. Its chains have ids that no other network's can have.
    """

    params: ChainParams
    time_ms: Natural
    members: Annotated[tuple[GenesisMember, ...], Field(min_length=1, max_length=100_000)]
    siblings: tuple[ChainParams, ...] = ()
    authority: Authority = Authority()
    disposable: bool = False

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
        self._check_keys()
        self._check_chains()
        self._check_economy()
        return self

    def _check_keys(self) -> None:
        """That TLS keys are different ones, and that the authority's are no member's."""
        tls_keys = [member.tls_key for member in self.members if member.tls_key]
        if len(set(tls_keys)) < len(tls_keys):
            raise ValueError("two members share a tls_key")
        for member in self.members:
            if member.tls_key:
                _check_key(member.tls_key, f"the tls_key of {member.name}")
            if {member.key, member.tls_key} & set(self.authority.keys):
                raise ValueError(f"{member.name} has a key of the authority, whose keys are no member's")
        if not self.authority.keys and any(chain.market.audit == "required" for chain in self.chains):
            raise ValueError('audit = "required" needs an authority, and it has no keys')

    def _check_sealers(self, chain: ChainParams) -> None:
        """Enough of them for checkpoints, and no more than a certificate has room for."""
        sealers = sum(member.seals_on(chain.name) for member in self.members)
        if not sealers:
            raise ValueError(f"no member has the sealing right on {chain.name}")
        if chain.consensus.checkpoint_m >= sealers:
            raise ValueError(f"more than checkpoint_m members must sign, but only {sealers} have the sealing right")
        if sealers > self.max_sealers:
            room = self.max_sealers
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
        scheduling, trading, credit = by_kind.get("scheduling"), by_kind.get("trading"), by_kind.get("credit")
        if trading is None:
            raise ValueError("no chain is of the kind trading")
        if credit is not None and credit.market.recorded_violations != trading.market.recorded_violations:
            raise ValueError("the trading and the credit chain differ in recorded_violations")
        if self.siblings and trading.market.max_orders_per_period > ROWS_PER_PART * MAX_PARTS:
            raise ValueError(f"max_orders_per_period is above {ROWS_PER_PART * MAX_PARTS}, too many for one message")
        if scheduling is not None:
            clock, market = scheduling.scheduling, trading.market
            if not clock.quota_ppm > market.gate_ppm > clock.verdict_ppm >= market.deadline_ppm:
                raise ValueError("want quota_ppm above gate_ppm above verdict_ppm, and deadline_ppm not above that")
            intraday = [(item.intraday_open_ppm, item.intraday_gate_ppm) for item in (market, scheduling.market)]
            if intraday[0] != intraday[1]:
                raise ValueError("the trading and the scheduling chain differ in their intraday session")
            if (market.sessions > 1) != bool(clock.intraday_quota_ppm):
                raise ValueError("an intraday session and intraday_quota_ppm go together")
            if market.sessions > 1 and not (
                market.gate_ppm > clock.intraday_quota_ppm >= market.intraday_open_ppm
                and market.intraday_gate_ppm > clock.verdict_ppm
            ):
                raise ValueError(
                    "want gate_ppm above intraday_quota_ppm, intraday_open_ppm not above that, "
                    "and intraday_gate_ppm above verdict_ppm"
                )
            if clock.meter_ppm >= market.settle_ppm:
                raise ValueError("meter_ppm must come before settle_ppm, or metered energy arrives too late")
            if clock.quota_ppm * market.sessions > REMEMBERED * 1_000_000:
                raise ValueError(f"quota_ppm is above {REMEMBERED} periods, so many messages of a kind are remembered")
            terms = [
                (item.over_delivery_ppm, item.plausible_ppm, item.correction_ppm)
                for item in (market, scheduling.market)
            ]
            if terms[0] != terms[1]:
                raise ValueError(
                    "the trading and the scheduling chain differ in over_delivery_ppm, plausible_ppm or correction_ppm"
                )
            if market.settle_ppm - clock.meter_ppm > RETAINED * 1_000_000:
                raise ValueError(f"settle_ppm is over {RETAINED} periods after meter_ppm, the outbox keeps as many")

    def _check_economy(self) -> None:
        """That all chains know the same roles: what the authority signs is good on each of them."""
        if len({chain.market.economy for chain in self.chains}) > 1:
            raise ValueError("the chains differ in economy")
        for member in self.members:
            if member.role in ECONOMY_ROLES and not self.params.market.economy:
                raise ValueError(f"{member.name}: the role {member.role} needs economy = 1 on every chain")

    @property
    def max_sealers(self) -> int:
        """Of how many members a certificate has room for the signatures."""
        taken = _CERTIFICATE_BYTES + (_RELAY_BYTES if self.siblings else 0)
        smallest = min(item.ledger.max_transaction_bytes for item in self.chains)
        return min(MAX_SEALERS, max(0, (smallest - taken) // _SIGNER_BYTES))

    @property
    def chains(self) -> tuple[ChainParams, ...]:
        """Every chain of the network, by name."""
        return tuple(sorted((self.params, *self.siblings), key=lambda chain: chain.name))

    @property
    def areas(self) -> dict[str, str]:
        """The area of each line of the network's grid."""
        return {line.name: line.area for chain in self.chains for line in chain.scheduling.lines}

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
        return _compute_chain_id(self, chain)

    @property
    def network_id(self) -> bytes:
        """One id for all chains of the network: what the authority signs is good on each of them, and nowhere else."""
        return tagged_hash("gridmerit/network", encode(self._network))

    @property
    def _network(self) -> tuple[Value, ...]:
        mark = (_DISPOSABLE,) if self.disposable else ()
        return (self.time_ms, _values(self.chains), _values(self.members), self.authority.to_value(), *mark)

    def serial_of(self, name: str) -> int:
        """The serial of a founder's credential: its place in the document, from 1."""
        return next(place for place, member in enumerate(self.members, start=1) if member.name == name)

    def open(self, chain: str) -> Genesis:
        """The same network's genesis of another chain, by name."""
        params = next(item for item in self.chains if item.name == chain)
        others = tuple(item for item in self.chains if item.name != chain)
        return self.model_copy(update={"params": params, "siblings": others})


@lru_cache(maxsize=64)
def _compute_chain_id(genesis: Genesis, chain: str) -> bytes:
    """Cached by value: all of the document is encoded, and what an object keeps of itself `model_copy` takes along."""
    return tagged_hash("gridmerit/genesis", encode((*genesis._network, chain)))


def _check_key(key: bytes, what: str) -> None:
    try:
        check_public_key(key)
    except InvalidKey as error:
        raise ValueError(f"{what} is none: {error.values['detail']}") from None


def _values(sections: tuple[Section, ...]) -> tuple[Value, ...]:
    return tuple(section.to_value() for section in sections)


def build_state(genesis: Genesis) -> State:
    """The state that the first block is built on."""
    view = Overlay(State.empty())
    addresses = {member.name: address_of(member.key) for member in genesis.members}
    initial = genesis.params.market.initial_credit_upt
    chains = tuple(chain.name for chain in genesis.chains)
    authority = genesis.authority
    put_authority(
        view, AuthorityRecord(genesis.network_id, authority.threshold, authority.keys, chains, genesis.max_sealers)
    )
    for serial, member in enumerate(genesis.members, start=1):
        address = addresses[member.name]
        owner = addresses[member.owner] if member.owner else b""
        record = Member(
            member.name,
            member.role,
            member.key,
            member.capacity_wh,
            member.position,
            owner,
            member.renewable_ppm,
            member.stability_ppm,
        )
        put_member(view, address, record)
        enrol_founder(view, address, record, serial=serial, tls_key=member.tls_key)
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
    """The block at height 0: unsealed, and computed by every node for itself."""
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
