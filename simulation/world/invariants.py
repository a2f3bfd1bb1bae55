"""Invariants of a world, which hold whatever happens to it, checked after every step of a peer.

After a step only what that step may have changed is looked at; each block is looked at once, however many hold it. Deep
checks, of everything from genesis on, come at an interval and at the end. Exempt are peers that run an attacker's
policy: from `agreement` and `bounded memory`, for what they keep is theirs, and from `one signature per slot`, for that
is what they may break. What they make others hold is not exempt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

from consensus.pbft.messages import Prepare, decode_message
from consensus.quorum import Vote
from ledger.accounts import account_key, decode_account
from ledger.block import Header
from ledger.chain import WINDOW, BlockNode, Chain
from ledger.codec import decode
from ledger.contract import BlockContext
from ledger.errors import GridmeritError
from ledger.execution import EnvelopeCache, execute_block, get_clock
from ledger.genesis import Genesis, build_state
from ledger.hashing import address_of
from ledger.overlay import Overlay
from ledger.state import State
from market.claim_records import get_net_readings
from market.metering import Reading, get_readings
from market.settlement import get_price_limit
from market.trading.settlement_record import SettledTrade
from market.trading.views import get_binding_trades, get_settlement
from node.chain.events import Action, Broadcast, Event, Send
from node.chain.messages import Agreement, NewBlock, TradeResult, Votes
from node.chain.rule_sets import RULE_SETS, RuleBook, RuleSets
from simulation.world.world import Peer, World

AGREEMENT = "agreement"
PURE_STATE = "state is a function of the chain"
MONEY = "money is conserved"
ENERGY = "energy is conserved"
ONE_SIGNATURE = "one signature per slot"
DURABLE_RECORD = "the record of signatures is durable"
BOUNDED_MEMORY = "bounded memory"

MAX_HELD_BLOCKS = 8 * WINDOW  # a few branches as deep as what is kept of one
_ACCOUNT = account_key(b"")
_MAX_BYTES = 1_000_000


class InvariantBroken(AssertionError):
    """An invariant that does not hold: which, where, and the command that shows it again."""

    def __init__(self, invariant: str, *, seed: int, time_ms: int, peer: str, detail: str, command: str) -> None:
        self.invariant = invariant
        self.seed = seed
        self.command = command
        super().__init__(f"{invariant}: {detail}; at {time_ms} ms by {peer}, seed {seed}; again: {command}")


class Invariants:
    """All of them, over one world or over several that share their time. Begins to watch at once.

    `command` is what a violation tells a reader to run; `deep_every_ms` of virtual time lie between deep checks.
    """

    def __init__(self, worlds: Iterable[World], *, command: str, deep_every_ms: int = 3_600_000) -> None:
        self._worlds = list(worlds)
        self._command = command
        self._deep_every_ms = deep_every_ms
        self._readings: dict[tuple[int, bytes], set[tuple[int, int]]] = defaultdict(set)  # of any block so far
        self._watches = [_Watch(world, self._readings, self._fail) for world in self._worlds]
        if deep_every_ms:
            self._schedule()

    def check_deeply(self) -> None:
        """Everything from genesis on, by every chain. Call it at the end of a trial."""
        for watch in self._watches:
            watch.check_deeply()

    def check_money(self) -> None:
        """The sum of all accounts, on every peer's chain."""
        for watch in self._watches:
            watch.check_money()

    def _schedule(self) -> None:
        time = self._worlds[0].time
        time.at(time.now_ms + self._deep_every_ms, self._check_again)

    def _check_again(self) -> None:
        self.check_deeply()
        self._schedule()

    def _fail(self, world: World, invariant: str, peer: str, detail: str) -> None:
        where = f"{peer} on {world.genesis.params.name}"
        raise InvariantBroken(
            invariant, seed=world.seed, time_ms=world.now_ms, peer=where, detail=detail, command=self._command
        )


_Fail = Callable[[World, str, str, str], None]


class _Watch:
    """The invariants of one chain."""

    def __init__(self, world: World, readings: dict[tuple[int, bytes], set[tuple[int, int]]], fail: _Fail) -> None:
        self._world = world
        self._fail_with = fail
        self._readings = readings
        self._heads: dict[str, bytes] = {}
        self._finals: dict[str, tuple[int, int, bytes]] = {}  # peer -> its life, and its final block
        self._agreed: dict[int, bytes] = {}  # height -> final block
        self._agreed_height = 0
        self._judged: dict[bytes, None] = {}  # blocks looked at
        self._signed: dict[tuple[object, ...], bytes] = {}  # (key, purpose, slot) -> what was signed
        self._heard: set[bytes] = set()  # votes and headers looked at
        self._deep: tuple[int, State] | None = None  # height up to which the chain has been executed again
        self._honest = {peer.key.public_key for peer in world.peers.values() if peer.name not in world.policies}
        self._money_uyuan = _sum_money(build_state(world.genesis))
        world.watch(self._after_step)

    def _fail(self, invariant: str, peer: str, detail: str) -> None:
        self._fail_with(self._world, invariant, peer, detail)

    def _after_step(self, now_ms: int, name: str, event: Event, actions: Sequence[Action]) -> None:
        peer = self._world.peers[name]
        if peer.node is None:
            return
        chain = peer.node.chain
        if chain.head.hash != self._heads.get(name):
            self._check_new_blocks(name, chain)
            self._heads[name] = chain.head.hash
        if name not in self._world.policies:
            self._check_final(peer, chain)
            self._check_loads(peer)
            if peer.signing_record != peer.node.signing_record:
                self._fail(DURABLE_RECORD, name, f"the disk has {peer.signing_record}, the node goes by another")
        for action in actions:
            if isinstance(action, Broadcast | Send):
                self._check_signatures(name, action)

    # --- agreement -------------------------------------------------------------------------------

    def _check_final(self, peer: Peer, chain: Chain) -> None:
        """No two honest peers hold different blocks final at one height, and none goes back on one."""
        life, height, final = self._finals.get(peer.name, (0, 0, b""))
        if life == peer.life:
            if chain.final_height < height:
                self._fail(AGREEMENT, peer.name, f"the final height fell from {height} to {chain.final_height}")
            if chain.hash_at(height) not in (final, None):  # None below what the chain was taken up from
                self._fail(AGREEMENT, peer.name, f"the final block of height {height} has left the chain")
            if chain.final_height == height:
                return
        self._finals[peer.name] = (peer.life, chain.final_height, chain.final_hash)
        while height <= chain.final_height:
            block_hash = chain.hash_at(height)
            if block_hash is None:  # it lies below what the chain was taken up from
                height = chain.lowest_height
                continue
            agreed = self._agreed.setdefault(height, block_hash)
            if agreed != block_hash:
                detail = f"block {block_hash.hex()[:16]} is final at height {height}, others hold {agreed.hex()[:16]}"
                self._fail(AGREEMENT, peer.name, detail)
            height += 1

    # --- what a block does -----------------------------------------------------------------------

    def _check_new_blocks(self, name: str, chain: Chain) -> None:
        """The state of a new head, and those blocks of its branch that no peer has had on its chain before."""
        head = chain.head
        if head.state.root != head.header.state_root:
            self._fail(PURE_STATE, name, f"the state of block {head.height} is not the one in its header")
        for entry in chain.ancestors(head):
            if entry.hash in self._judged or entry.height == 0:
                break
            self._judged[entry.hash] = None
            if isinstance(entry, BlockNode) and entry.execution is not None:
                self._check_money_of(name, entry)
                self._check_energy_of(name, chain, entry)

    def _check_money_of(self, name: str, entry: BlockNode) -> None:
        """A block makes no money and loses none: what its accounts gain others pay, what is set aside included."""
        assert entry.execution is not None
        delta = entry.execution.delta
        changed = [key for key in delta.changes if key.startswith(_ACCOUNT)]
        gained = sum(_money_in(delta.changes[key]) - _money_in(delta.undo[key]) for key in changed)
        if gained:
            self._fail(MONEY, name, f"block {entry.height} makes {gained} µ¥ of nothing")

    def _check_energy_of(self, name: str, chain: Chain, entry: BlockNode) -> None:
        """A block settles every Wh that was metered and no other, no period twice; each trade's legs sum to zero."""
        assert entry.execution is not None
        for event, *values in entry.execution.events:
            match event, *values:
                case "reading" | "corrected", int(period), bytes(owner), int(consumed_wh), int(produced_wh), *_:
                    self._readings[period, owner].add((consumed_wh, produced_wh))
                case "settled" | "resettled", int(period):
                    self._check_settlement(name, chain, entry, period, is_first=event == "settled")

    def _check_settlement(self, name: str, chain: Chain, entry: BlockNode, period: int, *, is_first: bool) -> None:
        settlement = get_settlement(entry.state, period)
        if settlement is None:
            return  # long over when it was settled
        parent = chain.get(entry.header.parent)
        assert parent is not None, "the tree holds every ancestor"
        if (get_settlement(parent.state, period) is None) != is_first:
            before = "was" if is_first else "was not"
            self._fail(ENERGY, name, f"block {entry.height} settles period {period}, which {before} settled before")
        agreed_wh = {trade.trade_index: trade.volume_wh for trade in get_binding_trades(entry.state, period)}
        silent: set[bytes] = set()
        settled: dict[bytes, list[int]] = defaultdict(lambda: [0, 0])
        for trade in settlement.trades:
            settled[trade.buyer][0] += trade.consumption_wh
            settled[trade.seller][1] += trade.output_wh
            if trade.buyer_pays_uyuan != trade.seller_receives_uyuan + trade.grid_receives_uyuan:
                self._fail(MONEY, name, f"trade {trade.trade_index} of period {period} does not sum to zero")
            if trade.is_consumption_imputed:
                silent.add(trade.buyer)
            if trade.is_output_imputed:
                silent.add(trade.seller)
            if trade.traded_wh != self._compute_traded(trade, agreed_wh[trade.trade_index]):
                self._fail(ENERGY, name, f"trade {trade.trade_index} of period {period} moves {trade.traded_wh} Wh")
        for rest in settlement.grid:
            settled[rest.member][0] += rest.consumption_wh
            settled[rest.member][1] += rest.output_wh
        for member, (consumed_wh, produced_wh) in settled.items():
            if member in silent:
                continue
            metered = self._list_metered(entry, period, member)
            if (consumed_wh, produced_wh) not in metered:
                detail = f"period {period} settles {consumed_wh} and {produced_wh} Wh of a member metered {metered}"
                self._fail(ENERGY, name, detail)
        heard = get_readings(Overlay(parent.state), period)  # none where a scheduling chain reads the meters
        for reading in get_net_readings(Overlay(entry.state), self._world.genesis.params.market, period, heard):
            if tuple(settled.get(reading.owner, (0, 0))) != (reading.consumed_wh, reading.produced_wh):
                detail = f"period {period} was metered {reading.consumed_wh} and {reading.produced_wh} Wh of a member"
                self._fail(ENERGY, name, f"{detail}, and settles {settled.get(reading.owner)}")

    def _list_metered(self, entry: BlockNode, period: int, member: bytes) -> set[tuple[int, int]]:
        """The readings that were heard of a member's meter, each less what claims account for."""
        heard = [Reading(member, *energy) for energy in self._readings.get((period, member), {(0, 0)})]
        left = get_net_readings(Overlay(entry.state), self._world.genesis.params.market, period, heard)
        return {(consumed_wh, produced_wh) for _, consumed_wh, produced_wh in left}

    def _compute_traded(self, trade: SettledTrade, agreed_wh: int) -> int:
        """The volume that changes hands: what both meters show, as far as the agreed price holds; nothing imputed."""
        both_wh = 0 if trade.is_consumption_imputed else min(trade.consumption_wh, trade.output_wh)
        limit_wh = get_price_limit(agreed_wh, self._world.genesis.params.market.over_delivery_ppm)
        return both_wh if limit_wh is None else min(both_wh, limit_wh)

    # --- signatures ------------------------------------------------------------------------------

    def _check_signatures(self, name: str, action: Broadcast | Send) -> None:
        """An honest key seals one block per parent, and signs one statement per slot and one ballot per view."""
        match action.message:
            case NewBlock(header=raw):
                self._hear(name, raw, self._read_header)
            case Votes(raw=raws) | TradeResult(raw=raws):
                for raw in raws:
                    self._hear(name, raw, self._read_vote)
            case Agreement(raw=raw):
                self._hear(name, raw, self._read_ballot)

    def _hear(self, name: str, raw: bytes, read: Callable[[bytes], tuple[tuple[object, ...], bytes] | None]) -> None:
        if raw in self._heard:
            return
        self._heard.add(raw)
        try:
            signed = read(raw)
        except GridmeritError:
            return  # junk of a liar's
        if signed is None or signed[0][0] not in self._honest:
            return
        if self._signed.setdefault(*signed) != signed[1]:
            key, purpose, *place = signed[0]
            assert isinstance(key, bytes)
            detail = f"0x{address_of(key).hex()} signed two: {purpose} at {place}"
            self._fail(ONE_SIGNATURE, name, detail)

    def _read_header(self, raw: bytes) -> tuple[tuple[object, ...], bytes] | None:
        if self._world.genesis.params.consensus.engine != "poca":
            return None  # a leader may propose anew in each view: there it is ballots that count
        header = Header.from_value(decode(raw, max_bytes=_MAX_BYTES))
        return (header.producer, "block on a parent", header.parent), header.hash

    def _read_vote(self, raw: bytes) -> tuple[tuple[object, ...], bytes]:
        vote = Vote.from_value(decode(raw, max_bytes=_MAX_BYTES))
        return (vote.signer, "statement", vote.statement.slot, vote.statement.view), vote.statement.digest()

    def _read_ballot(self, raw: bytes) -> tuple[tuple[object, ...], bytes] | None:
        message = decode_message(raw)
        if isinstance(message, Vote):
            place = (message.signer, "commit", message.statement.slot, message.statement.view)
            return place, message.statement.digest()
        if isinstance(message, Prepare):
            return (message.signer, "prepare", message.height, message.view), message.block_hash
        return None

    # --- memory ----------------------------------------------------------------------------------

    def _check_loads(self, peer: Peer) -> None:
        """Check that a peer holds no more than its bounds, whatever others send."""
        assert peer.node is not None
        held = peer.node.chain.held_count
        if held > MAX_HELD_BLOCKS:
            self._fail(BOUNDED_MEMORY, peer.name, f"{held} blocks in memory, at most {MAX_HELD_BLOCKS}")
        for what, (load, limit) in peer.node.get_usage().items():
            if load > limit:
                self._fail(BOUNDED_MEMORY, peer.name, f"{load} {what}, at most {limit}")

    # --- deep checks -----------------------------------------------------------------------------

    def check_deeply(self) -> None:
        """Execute the first honest peer's final chain again from where that ended last, and sum all money."""
        peers = [peer for peer in self._world.peers.values() if peer.node is not None and peer.policy is None]
        for peer in peers[:1]:
            assert peer.node is not None
            chain = peer.node.chain
            self._execute_again(peer.name, chain)
        self.check_money()

    def check_money(self) -> None:
        """The sum of all accounts of each peer is what genesis gave."""
        for peer in self._world.peers.values():
            if peer.node is None:
                continue
            total = _sum_money(peer.node.chain.head.state)
            if total != self._money_uyuan:
                self._fail(MONEY, peer.name, f"there are {total} µ¥, at first {self._money_uyuan}")

    def _execute_again(self, name: str, chain: Chain) -> None:
        genesis = self._world.genesis
        height, state = self._deep or (0, build_state(genesis))
        while height < chain.final_height:
            height += 1
            try:
                state = execute_again(genesis, chain, height, state, self._world.rule_sets_of(name))
            except GridmeritError as error:
                self._fail(PURE_STATE, name, f"block {height} does not execute again: {error}")
        self._deep = (height, state)


def execute_again(genesis: Genesis, chain: Chain, height: int, state: State, rule_sets: RuleSets = RULE_SETS) -> State:
    """The state after a canonical block, from that before it. Raises what `execute_block` does."""
    rules = RuleBook(genesis, rule_sets).at(state, height)
    block_hash = chain.hash_at(height)
    block = None if block_hash is None else chain.get_block(block_hash)
    parent = None if block is None else chain.get_header(block.header.parent)
    assert block is not None
    assert parent is not None
    header = block.header
    context = BlockContext(
        params=rules.params,
        chain_id=genesis.chain_id,
        genesis_time_ms=genesis.time_ms,
        height=height,
        parent=parent.hash,
        producer=header.producer_address,
        timestamp_ms=max(header.timestamp_ms, get_clock(Overlay(state))),
        period=header.period,
        is_first_of_period=header.period > parent.period,
        siblings=frozenset(sibling.kind for sibling in genesis.siblings),
        areas=genesis.areas,
    )
    return execute_block(state, block, context, rules.contracts, EnvelopeCache()).state


def _money_in(raw: bytes | None) -> int:
    account = decode_account(None if raw is None else decode(raw, max_bytes=_MAX_BYTES))
    return account.balance_uyuan + account.reserved_uyuan


def _sum_money(state: State) -> int:
    return sum(_money_in(value) for key, value in state.items() if key.startswith(_ACCOUNT))
