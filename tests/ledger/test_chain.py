"""The block tree: forks, reorgs and restarts against a naive re-execution from genesis, and damage to the store."""

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import rows
from ledger.block import Block
from ledger.chain import WINDOW, Chain, TreeCounters
from ledger.codec import encode
from ledger.errors import StoreCorrupt
from ledger.execution import Receipt, execute_body
from ledger.genesis import build_genesis_block, build_state
from ledger.state import State
from ledger.store import MemoryStore


def heavier(candidate, head):
    return candidate.work > head.work


def copy_of(store):
    copy = MemoryStore()
    copy.write(list(store.scan(b"")))
    return copy


def stored_state(store):
    """The flat copy of the head's state."""
    return {key[1:]: value for key, value in store.scan(rows.STATE)}


# --- opening ---------------------------------------------------------------------------------------


def test_an_empty_store_gets_the_genesis_block(lab):
    state = build_state(lab.genesis)
    block = build_genesis_block(lab.genesis, state)
    assert lab.chain.head.hash == lab.chain.final_hash == block.hash
    assert lab.chain.head.height == lab.chain.final_height == lab.chain.head.work == 0
    assert lab.chain.head.state.root == state.root == State.from_items(stored_state(lab.store).items()).root
    assert lab.chain.get_block(block.hash) == block
    assert lab.chain.get_receipts(block.hash) == ()


def test_a_store_is_opened_where_it_was_left(lab):
    # genesis ── a1 ── a2 ── a3   <- head; a1 final
    transfer = lab.transfer("anna", "bert", 5)
    a1 = lab.extend(transfer)
    a2, a3 = lab.extend(weight=7), lab.extend(weight=9)
    lab.store.write(lab.chain.finalise(a1))
    chain = lab.reopen()
    assert (chain.head.hash, chain.head.work, chain.head.base_n_diff) == (a3.hash, 17, 1)
    assert chain.head.state.root == a3.state.root
    assert (chain.final_height, chain.final_hash) == (1, a1.hash)
    assert chain.find_transaction(transfer.id) == (a1.hash, 0)
    assert chain.get_receipts(a1.hash) == (Receipt(transaction_id=transfer.id, code=""),)
    assert [chain.get(entry.hash).state.root for entry in (a3, a2, a1)] == [entry.state.root for entry in (a3, a2, a1)]
    assert chain.get(chain.hash_at(0)) is None, "no state below the final block is needed"
    assert [entry.header for entry in chain.ancestors(chain.head)][-2:] == [
        a1.header,
        chain.get_header(chain.hash_at(0)),
    ]


def test_a_store_of_another_chain_is_refused(make_lab):
    mine, other = make_lab(), make_lab(ledger={"period_ms": 7_000})
    with pytest.raises(StoreCorrupt, match="belongs to another chain"):
        Chain(mine.genesis, other.store)


# --- moving the head -------------------------------------------------------------------------------


def test_adding_a_block_leaves_the_head_where_it_is(lab):
    # genesis ── a1   <- head
    #         └─ b1
    a1 = lab.extend()
    b1 = lab.add(lab.root, producer="bert")
    assert lab.chain.head is a1
    assert lab.chain.get(b1.hash) is b1
    assert lab.chain.is_canonical(a1.header)
    assert not lab.chain.is_canonical(b1.header)
    assert lab.chain.fork_point(b1).hash == lab.root.hash
    assert lab.chain.counters == TreeCounters(side_blocks=1)
    assert lab.chain.get_receipts(b1.hash) is None


@pytest.mark.parametrize("depth", [1, 2, 5, 12])
def test_a_reorg_there_and_back_changes_nothing(lab, depth):
    # genesis ── a1 ── … ── aN   <- head, then b, then a again
    #         └─ b1 ── … ── bN ── bN+1
    root = lab.root
    for number in range(depth):
        lab.extend(lab.sign("anna", "write", b"k%d" % (number % 3), b"%d" % number, b"gone", None, sequence=number))
    a, before = lab.chain.head, dict(lab.store.scan(b""))
    b = root
    for number in range(depth + 1):
        write = lab.sign("bert", "write", b"k%d" % (number % 3), None, b"gone", b"back", sequence=number)
        b = lab.add(b, write, producer="bert")
    there = lab.move(b)
    assert [entry.height for entry in there.removed] == list(range(depth, 0, -1))
    assert [entry.height for entry in there.added] == list(range(1, depth + 2))
    assert stored_state(lab.store) == dict(b.state.items())
    back = lab.move(a)
    assert back.removed == there.added[::-1]
    assert back.added == there.removed[::-1]
    assert dict(lab.store.scan(b"")) == before
    assert lab.chain.counters == TreeCounters(side_blocks=depth + 1, reorgs=2, deepest_reorg=depth + 1)


def test_a_transaction_on_both_branches_is_found_on_the_canonical_one(lab):
    # genesis ── a1(x)
    #         └─ b1 ── b2(x)
    x = lab.transfer("anna", "bert", 5)
    a1 = lab.extend(x)
    b1 = lab.add(lab.root, producer="bert")
    b2 = lab.add(b1, x, producer="bert")
    assert lab.chain.find_transaction(x.id) == (a1.hash, 0)
    lab.move(b2)
    assert lab.chain.find_transaction(x.id) == (b2.hash, 0)
    lab.move(b1)
    assert lab.chain.find_transaction(x.id) is None
    assert lab.chain.hash_at(2) is None


def test_events_of_a_move_are_those_of_the_blocks_put_on(lab):
    a1 = lab.add(lab.root, lab.sign("anna", "write", b"k", b"1"))
    a2 = lab.add(a1, lab.transfer("bert", "cleo", 3))
    assert lab.move(a2).events == (("written", 1), ("transfer", lab.address("bert"), lab.address("cleo"), 3))


def test_a_reorg_leads_back_to_blocks_that_were_only_in_the_store(lab):
    # genesis ── a1(x) ── a2(y)          <- head before the restart, and again once a3 comes
    #         └─ b1 ── b2 ── b3          <- head in between
    x, y = lab.sign("anna", "write", b"k", b"1", b"m", b"2"), lab.sign("bert", "write", b"k", None)
    a1, a2 = lab.extend(x), lab.extend(y)
    chain = lab.reopen()
    before = dict(lab.store.scan(b""))
    b3 = lab.grow(lab.root, 3, producer="dora")[-1]
    lab.move(b3)
    assert chain.get_block(a2.hash) == a2.block
    assert chain.find_transaction(y.id) is None
    a3 = lab.add(chain.get(a2.hash), producer="cleo")
    move = lab.move(a3)
    assert [entry.hash for entry in move.added] == [a1.hash, a2.hash, a3.hash]
    assert stored_state(lab.store) == dict(a3.state.items())
    assert chain.get_receipts(a2.hash) == (Receipt(transaction_id=y.id, code=""),)
    lab.move(chain.get(a2.hash))
    assert dict(lab.store.scan(b"")) == before


def test_a_restart_in_the_middle_of_a_reorgs_history(lab):
    # genesis ── a1 ── a2 ── a3
    #               └─ b2 ── b3 ── b4   <- head, restart, then down to a1 and up another way
    #               └─ c2 ── … ── c5    <- head
    a1 = lab.extend(lab.sign("anna", "write", b"k", b"1"))
    lab.extend(lab.sign("anna", "write", b"k", b"2", sequence=1))
    lab.extend()
    b = lab.grow(a1, 3, producer="bert")[-1]
    lab.move(b)
    chain = lab.reopen()
    assert [chain.hash_at(height) for height in range(5)] == [entry.hash for entry in chain.ancestors(b)][::-1]
    c5 = lab.grow(chain.get(a1.hash), 4, producer="cleo")[-1]
    move = lab.move(c5)
    assert (len(move.removed), len(move.added)) == (3, 4)
    assert stored_state(lab.store) == dict(c5.state.items())
    assert lab.reopen().head.hash == c5.hash


def test_several_moves_may_wait_for_one_another_to_be_persisted(make_lab):
    # genesis ── a1 ── a2            the store is still at a2 while memory goes on
    #         └─ b1 ── … ── b9
    lab = make_lab(window=2)
    lab.extend()
    a2 = lab.extend()
    branch = lab.grow(lab.root, 9, producer="bert")
    moves = [lab.chain.move_head(entry) for entry in branch[2:]]
    assert [lab.chain.hash_at(height) for height in range(1, 10)] == [entry.hash for entry in branch]
    assert all(lab.chain.get(entry.hash) is entry for entry in branch)
    assert lab.chain.fork_point(a2).hash == lab.chain.hash_at(0)
    for move in moves:
        lab.store.write(move.changes)
    assert stored_state(lab.store) == dict(branch[-1].state.items())
    assert lab.reopen().head.hash == branch[-1].hash


# --- finality --------------------------------------------------------------------------------------


def test_the_final_block_is_of_the_current_branch_and_moves_up_only(lab):
    a1, a2 = lab.extend(), lab.extend()
    b1 = lab.add(lab.root, producer="bert")
    lab.store.write(lab.chain.finalise(a2))
    assert (lab.chain.final_height, lab.chain.final_hash) == (2, a2.hash)
    assert lab.reopen().final_hash == a2.hash
    for wrong in (b1, a1):
        with pytest.raises(AssertionError):
            lab.chain.finalise(wrong)


def test_the_best_descendant_is_looked_for_on_branches_through_the_block_only(lab):
    # genesis ── a1 ── a2            work 2
    #         └─ b1 ── b2 ── b3      work 3
    #               └─ c2(4)         work 5
    #         └─ d1(9)               work 9
    a2 = lab.grow(lab.root, 2, producer="anna")[-1]
    b1, _, b3 = lab.grow(lab.root, 3, producer="bert")
    c2 = lab.add(b1, producer="cleo", weight=4)
    d1 = lab.add(lab.root, producer="dora", weight=9)
    lab.move(a2)
    assert lab.chain.best_descendant(b1, heavier) is c2
    assert lab.chain.best_descendant(b3, heavier) is b3
    assert lab.chain.best_descendant(lab.root, heavier) is d1


# --- the window ------------------------------------------------------------------------------------


def test_memory_keeps_the_window_and_the_store_the_rest(make_lab):
    lab = make_lab(window=4)
    branch = [lab.root, *(lab.extend(lab.sign("anna", "write", b"k", b"%d" % n, sequence=n)) for n in range(12))]
    assert len(lab.chain._entries) <= 4 + 1
    for entry in branch:
        assert lab.chain.hash_at(entry.height) == entry.hash
        assert lab.chain.get_header(entry.hash) == entry.header
        assert lab.chain.is_canonical(entry.header)
    assert lab.chain.get(b"?" * 32) is None
    assert lab.chain.get_header(b"?" * 32) is None
    assert [lab.chain.hash_at(height) for height in (-1, 13)] == [None, None]


def test_the_default_window_is_128_blocks(lab):
    for _ in range(WINDOW + 40):
        lab.extend()
    assert len(lab.chain._entries) == WINDOW
    assert len(lab.reopen()._entries) == WINDOW + 1
    deep = lab.chain.get(lab.chain.hash_at(3))
    assert deep.state.root == deep.header.state_root
    lab.extend()
    assert len(lab.chain._entries) == WINDOW


def test_a_fork_below_the_window_brings_its_states_back(make_lab):
    # genesis ── a1 ── … ── a12                 <- head
    #                └─ b3 ── … ── b13          <- head
    lab = make_lab(window=4)
    branch = [lab.extend(lab.sign("anna", "write", b"k", b"%d" % n, sequence=n)) for n in range(12)]
    fork = lab.chain.get(branch[1].hash)
    assert dict(fork.state.items()) == dict(branch[1].state.items())
    b13 = lab.grow(fork, 11, producer="bert")[-1]
    move = lab.move(b13)
    assert (len(move.removed), len(move.added)) == (10, 11)
    assert stored_state(lab.store) == dict(b13.state.items())
    assert lab.reopen().head.hash == b13.hash


def test_a_long_fork_survives_while_its_tip_is_above_the_window(make_lab):
    # genesis ── a1 ── … ── a8 ── a9 ── … ── a13
    #         └─ b1 ── … ── b8                      <- kept while a grows, for b may still win
    lab = make_lab(window=4)
    root = lab.root
    a = lab.grow(root, 8)
    branch = lab.grow(root, 8, producer="bert")
    lab.move(a[-1])
    for _ in range(3):
        lab.extend()
        assert lab.chain.best_descendant(branch[0], heavier) is branch[-1]
        assert [entry.hash for entry in lab.chain.ancestors(branch[-1])] == [
            entry.hash for entry in (*branch[::-1], root)
        ]
        assert lab.chain.fork_point(branch[-1]).hash == root.hash
    lab.extend()
    lab.extend()
    assert [lab.chain.get(entry.hash) for entry in branch] == [None] * 8  # 13 - 4 > 8: nobody builds on it any more


# --- what peers ask for ----------------------------------------------------------------------------


def test_a_locator_is_dense_at_the_head_and_ends_in_genesis(lab):
    assert lab.chain.locator() == (lab.root.hash,)
    hashes = [lab.root.hash, *(lab.extend().hash for _ in range(60))]
    heights = [hashes.index(block_hash) for block_hash in lab.chain.locator()]
    assert heights[:8] == [60, 59, 58, 57, 56, 55, 54, 53]
    assert heights[8:] == [51, 47, 39, 23, 0]


def test_headers_follow_the_first_hash_that_is_canonical(lab):
    branch = [lab.extend() for _ in range(6)]
    stray = lab.add(lab.root, producer="bert")
    assert lab.chain.heights_after((stray.hash, branch[1].hash, lab.root.hash), 3) == range(3, 6)
    assert lab.chain.heights_after((lab.chain.hash_at(0),), 100) == range(1, 7)
    for locator in ((branch[-1].hash,), (stray.hash, b"?" * 32), ()):
        assert not lab.chain.heights_after(locator, 3)
    assert lab.chain.get_raw_headers(range(1, 7)) == tuple(entry.header.raw for entry in branch)


# --- against a naive model -------------------------------------------------------------------------


@dataclass
class Model:
    """The tree as it ought to be, kept as blocks alone; every state is executed from genesis again."""

    lab: object
    blocks: dict[bytes, Block] = field(default_factory=dict)
    head: bytes = b""
    must_know: set[bytes] = field(default_factory=set)
    final: bytes = b""
    bodies_from: int = 1

    def __post_init__(self):
        genesis = build_genesis_block(self.lab.genesis, build_state(self.lab.genesis))
        self.head = self.final = genesis.hash
        self.blocks[genesis.hash] = genesis
        self.must_know.add(genesis.hash)

    def path(self, block_hash):
        """Blocks from genesis up to this one."""
        path = []
        while block_hash in self.blocks:
            path.append(self.blocks[block_hash])
            block_hash = path[-1].header.parent
        return path[::-1]

    def execute(self, block_hash):
        """Contents of the state and the receipts of every block, from nothing but the blocks."""
        state, receipts = build_state(self.lab.genesis), {}
        path = self.path(block_hash)
        receipts[path[0].hash] = ()
        for block in path[1:]:
            header = block.header
            parent = self.blocks[header.parent].header
            context = self.lab.context(
                SimpleNamespace(header=parent, height=parent.height, hash=parent.hash),
                producer=producer_of(self.lab, block),
                timestamp_ms=header.timestamp_ms,
            )
            done = execute_body(state, context, block.transactions, self.lab.contracts)
            # Flat and back, so that no structure is shared with what is tested.
            state = State.from_items(dict(done.state.items()).items())
            receipts[block.hash] = done.receipts
        return dict(state.items()), receipts

    def after_move(self, window):
        canonical = {block.hash for block in self.path(self.head)}
        floor = len(canonical) - 1 - window
        above = {known for known in self.must_know if self.blocks[known].header.height > floor}
        self.must_know = canonical.union(above, *({block.hash for block in self.path(known)} for known in above))

    def after_restart(self):
        self.must_know = {block.hash for block in self.path(self.head)}


def producer_of(lab, block):
    return next(name for name in ("anna", "bert") if lab.key(name).public_key == block.header.producer)


def check_against(model, chain):
    """Everything that can be asked of the tree, whether or not it has been persisted."""
    path = model.path(model.head)
    contents, _ = model.execute(model.head)
    assert chain.head.hash == model.head
    assert [chain.hash_at(height) for height in range(len(path) + 1)] == [*(block.hash for block in path), None]
    assert dict(chain.head.state.items()) == contents
    for known in model.must_know:
        block, final = model.blocks[known], model.blocks[model.final]
        if block in path and 0 < block.header.height < model.bodies_from:
            assert chain.get_block(known) in (None, block)  # its header stays, a reader of it may still be at hand
        else:
            assert chain.get_block(known) == block
        entry = chain.get(known)
        if entry is None:
            assert block in path
            assert block.header.height < final.header.height
            assert chain.get_header(known) == block.header
            continue
        assert entry.state.root == entry.header.state_root
        fork = chain.fork_point(entry)
        common = [block.hash for block in model.path(known) if block in path]
        assert fork.hash == common[-1]


def check_store(model, lab):
    """The store holds the canonical chain, all of it but what has been dropped, and opens to the same head."""
    path, final = model.path(model.head), model.blocks[model.final].header
    contents, receipts = model.execute(model.head)
    kept = [block for block in path if not 0 < block.header.height < model.bodies_from]
    assert stored_state(lab.store) == contents
    assert {key[1:] for key, _ in lab.store.scan(rows.HEIGHT)} == {block.hash for block in path}
    assert {key: rows.read_block(raw, lab.params.ledger) for key, raw in lab.store.scan(rows.BLOCK)} == {
        rows.block_key(block.header.height): block for block in kept
    }
    assert {key: rows.read_receipts(raw) for key, raw in lab.store.scan(rows.RECEIPTS)} == {
        rows.receipts_key(block.header.height): receipts[block.hash] for block in kept
    }
    assert [key for key, _ in lab.store.scan(rows.UNDO)] == [
        rows.undo_key(height) for height in range(final.height + 1, len(path))
    ], "of blocks that may be left, and none else"
    places = {tx.id: (block.hash, index) for block in kept for index, tx in enumerate(block.transactions)}
    assert {key[1:]: lab.chain.find_transaction(key[1:]) for key, _ in lab.store.scan(rows.TRANSACTION)} == places
    assert len(list(lab.store.scan(b"h"))) == len(path)
    opened = Chain(lab.genesis, copy_of(lab.store), window=lab.window)
    assert (opened.head.hash, opened.head.work) == (model.head, lab.chain.head.work)
    assert opened.head.state.root == lab.chain.head.state.root
    assert opened.final_hash == model.final
    assert opened.bodies_from == model.bodies_from
    assert dict(opened.get(model.final).state.items()) == model.execute(model.final)[0]


keys = st.sampled_from([b"k", b"l", b"m"])
writes = st.lists(st.tuples(keys, st.none() | st.binary(max_size=2)), max_size=3)
operations = st.one_of(
    st.tuples(st.just("add"), st.integers(0, 99), writes),
    st.tuples(st.just("add"), st.just(0), writes),  # on the newest block: branches get long
    st.tuples(st.just("move"), st.lists(st.integers(0, 99), min_size=1, max_size=3), st.none()),
    st.tuples(st.just("finalise"), st.integers(0, 3), st.none()),
    st.tuples(st.just("prune"), st.integers(0, 6), st.none()),
    st.tuples(st.just("restart"), st.none(), st.none()),
)


def run_against_model(lab, script):
    model = Model(lab)
    for number, (operation, choice, payload) in enumerate(script):
        newest_first = [known for known in reversed(model.blocks) if lab.chain.get(known) is not None]
        if operation == "add":
            parent = lab.chain.get(newest_first[choice % len(newest_first)])
            sequence = lab.account("anna", parent).sequence
            items = [item for pair in payload for item in pair]
            transactions = [lab.sign("anna", "write", *items, sequence=sequence)] if payload else []
            producer, delay = (
                ("anna", "bert")[number % 2],
                1_000 + 7_000 * (choice % 3),
            )  # into the next period at times
            at = parent.header.timestamp_ms + delay
            entry = lab.add(parent, *transactions, producer=producer, timestamp_ms=at, nonce=number)
            model.blocks[entry.hash] = entry.block
            model.must_know.add(entry.hash)
        elif operation == "move":
            batches = []
            for pick in choice:
                target = newest_first[pick % len(newest_first)]
                entry = lab.chain.get(target)
                if entry is None or target == model.head or model.blocks[model.final] not in model.path(target):
                    continue
                batches.append(lab.chain.move_head(entry).changes)
                model.head = target
                model.after_move(lab.window)
                check_against(model, lab.chain)
            for batch in batches:
                lab.store.write(batch)
            check_store(model, lab)
        elif operation == "finalise":
            height = max(model.blocks[model.final].header.height, lab.chain.head.height - choice)
            model.final = lab.chain.hash_at(height)
            lab.store.write(lab.chain.finalise(lab.chain.get(model.final)))
            check_store(model, lab)
        elif operation == "prune":
            batch = lab.chain.prune(choice, limit=2)
            lab.store.write(batch)
            assert lab.chain.bodies_from >= model.bodies_from
            assert lab.chain.bodies_from <= max(1, min(choice, model.blocks[model.final].header.height)) or not batch
            model.bodies_from = lab.chain.bodies_from
            check_store(model, lab)
        else:
            lab.reopen()
            model.after_restart()
            model.blocks = {known: block for known, block in model.blocks.items() if known in model.must_know}
        check_against(model, lab.chain)


@settings(max_examples=60)
@given(window=st.integers(1, 4), script=st.lists(operations, max_size=25))
def test_the_tree_is_what_re_execution_from_genesis_makes_of_it(make_lab, window, script):
    run_against_model(make_lab(window=window), script)


# --- damage ----------------------------------------------------------------------------------------


@pytest.fixture
def damaged(make_lab):
    """A store with a few blocks, open to damage: `damaged.rows` by key, `damaged.open()` and reads everything."""
    lab = make_lab(window=3)
    for number in range(6):
        lab.extend(lab.sign("anna", "write", b"k", b"%d" % number, sequence=number))
    lab.store.write(lab.chain.finalise(lab.chain.get(lab.chain.hash_at(4))))
    return lab


def read_everything(lab, store):
    """All that the chain can be asked for, as one comparable value; of states, those from the final block on."""
    chain = Chain(lab.genesis, store, window=lab.window)
    answers = [chain.final_height, chain.final_hash, chain.head.state.root, chain.head.work]
    answers += chain.get_raw_headers(range(1, chain.head.height + 1))
    for height in range(chain.head.height, -1, -1):
        block_hash = chain.hash_at(height)
        block, entry = chain.get_block(block_hash), chain.get(block_hash)
        if block is None or chain.get_receipts(block_hash) is None:
            raise StoreCorrupt(detail="a canonical block is missing")
        assert (entry is None) == (height < chain.final_height)
        answers += [block_hash, encode(block.to_value()), chain.get_receipts(block_hash)]
        answers += [entry.work, entry.base_n_diff, entry.state.root] if entry else []
        answers += [chain.find_transaction(transaction.id) for transaction in block.transactions]
    return answers


def is_spare(key):
    """True where memory has what the row says: parent links lead through the window, its hashes are not looked up."""
    return key.startswith(b"h") and key > rows.height_key(4)


@pytest.mark.parametrize("spoil", [lambda raw: None, lambda raw: raw[:-1], lambda raw: raw + b"\x00", lambda raw: b""])
def test_a_row_that_is_missing_or_of_the_wrong_length_is_noticed(damaged, spoil):
    sound = read_everything(damaged, copy_of(damaged.store))
    for key, raw in damaged.store.scan(b""):
        store = copy_of(damaged.store)
        store.write([(key, spoil(raw))])
        if is_spare(key):
            assert read_everything(damaged, store) == sound
        elif spoil(raw) is not None or not key.startswith(rows.TRANSACTION):  # no place: no such transaction
            with pytest.raises(StoreCorrupt):
                read_everything(damaged, store)


def test_a_byte_that_changes_is_noticed_unless_a_checksum_of_the_store_alone_covers_it(damaged):
    """Nothing but `StoreCorrupt` comes of any damage, and no state or header that counts here is wrong."""
    sound = read_everything(damaged, copy_of(damaged.store))
    for key, raw in damaged.store.scan(b""):
        for index in range(0, len(raw), 7):
            store = copy_of(damaged.store)
            store.write([(key, raw[:index] + bytes([raw[index] ^ 0x15]) + raw[index + 1 :])])
            try:
                answers = read_everything(damaged, store)
            except StoreCorrupt:
                continue
            if answers != sound:
                assert answers[2] == sound[2]
                assert key[:1] in (rows.BLOCK, rows.RECEIPTS, rows.HEIGHT, rows.RECORD, rows.TRANSACTION), key


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (rows.HEAD, "the store is damaged: the head block is missing"),
        (rows.FINAL, "the store is damaged: the final block is not recorded"),
        (rows.GENESIS, "the store is damaged: the store belongs to another chain; check the genesis file"),
        (rows.height_key(3), "the store is damaged: block 3 is missing"),
    ],
)
def test_damage_is_named(damaged, key, message):
    store = copy_of(damaged.store)
    store.write([(key, None)])
    with pytest.raises(StoreCorrupt) as caught:
        read_everything(damaged, store)
    assert str(caught.value) == message


def test_a_lost_value_of_the_state_is_named(damaged):
    key, _ = next(damaged.store.scan(rows.STATE))
    damaged.store.write([(key, None)])
    with pytest.raises(StoreCorrupt, match="the stored state does not match block 6"):
        damaged.reopen()
