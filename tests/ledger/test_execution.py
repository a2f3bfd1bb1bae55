"""The state transition: what a block body does, which receipt or error each fault gets, and how a body is chosen."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.accounts import Account, get_account, put_account
from ledger.block import Block, compute_tx_root
from ledger.checkpoints import Checkpoint, get_checkpoints
from ledger.codec import encode
from ledger.contract import Contracts
from ledger.errors import (
    Expired,
    ExpiryTooFar,
    InvalidBody,
    InvalidSignature,
    OversizedBlock,
    ProducersOnly,
    Rejected,
    SequenceTooLow,
    UnknownMember,
    WrongChain,
    WrongReceiptRoot,
    WrongSequence,
    WrongShape,
    WrongStateRoot,
    WrongTransactionRoot,
)
from ledger.execution import (
    EnvelopeCache,
    Receipt,
    check_expiry,
    compute_period,
    compute_receipt_root,
    execute_block,
    execute_body,
    get_clock,
    ledger_handlers,
    select_transactions,
)
from ledger.inbox import RELAY
from ledger.merkle import merkle_root
from ledger.overlay import Overlay
from ledger.params import ChainParams, LedgerParams
from ledger.snapshot import SealerSnapshot, get_snapshot
from ledger.state import State
from ledger.transaction import Transaction


class Refused(Rejected):
    message = "refused: {why}"


def process_tally(view, block, transaction):
    """`tally [n]`: count up, but refuse after having written and told where n is 13."""
    count = (view.get(b"tally") or 0) + 1
    view.put(b"tally", count)
    view.emit("tally", count)
    if transaction.payload == (13,):
        raise Refused(why="thirteen")


def process_once(view, block, transaction):
    """A producer's kind that takes effect once."""
    if view.get(b"once") is not None:
        raise Refused(why="again")
    view.put(b"once", block.height)


def run(lab, *transactions, state=None, contracts=None, **context):
    parent = lab.chain.head
    return execute_body(state or parent.state, lab.context(parent, **context), transactions, contracts or lab.contracts)


def codes(execution):
    return [receipt.code for receipt in execution.receipts]


@pytest.fixture
def tally(make_lab):
    handlers = {**ledger_handlers(), "tally": process_tally}
    return make_lab(contracts=Contracts(handlers=handlers, producer_handlers={"once": process_once}))


# --- transfers -------------------------------------------------------------------------------------


def test_a_transfer_moves_money_and_spends_a_sequence_number(lab):
    entry = lab.extend(lab.transfer("anna", "bert", 400), lab.transfer("anna", "anna", 600, sequence=1))
    assert lab.account("anna") == Account(balance_uyuan=600, credit_upt=90_000_000, sequence=2)
    assert lab.account("bert") == Account(balance_uyuan=1_400, credit_upt=90_000_000)
    assert entry.execution.events == (
        ("transfer", lab.address("anna"), lab.address("bert"), 400),
        ("transfer", lab.address("anna"), lab.address("anna"), 600),
    )


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ((), "WrongShape"),
        ((b"x" * 19, 5), "WrongShape"),
        (("text", 5), "WrongShape"),
        ((b"x" * 20, 5), "UnknownMember"),
        (("bert", 0), "WrongShape"),
        (("bert", -1), "WrongShape"),
        (("bert", None), "WrongShape"),
        (("bert", 2**63), "WrongShape"),
        (("bert", 1_001), "InsufficientBalance"),
        (("bert", 1_000), ""),
        (("bert", 5, 5), "WrongShape"),
    ],
)
def test_a_transfer_that_the_rules_refuse_leaves_a_receipt_and_spends_its_sequence_number(lab, payload, code):
    if payload[:1] == ("bert",):
        payload = (lab.address("bert"), *payload[1:])
    entry = lab.extend(lab.sign("anna", "transfer", *payload))
    assert codes(entry.execution) == [code]
    assert lab.account("anna").sequence == 1
    if code:
        assert (lab.account("anna").balance_uyuan, lab.account("bert").balance_uyuan) == (1_000, 1_000)
        assert entry.execution.events == ()


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(*[st.sampled_from(["anna", "bert", "cleo"])] * 2, st.integers(-1, 2_500)),
        max_size=12,
    )
)
def test_transfers_neither_make_money_nor_lead_into_arrears(make_lab, moves):
    lab, spent, transactions = make_lab(), {}, []
    for sender, receiver, amount in moves:
        transactions.append(lab.transfer(sender, receiver, amount, sequence=spent.get(sender, 0)))
        spent[sender] = spent.get(sender, 0) + 1
    lab.extend(*transactions)
    balances = [lab.account(name).balance_uyuan for name in ("anna", "bert", "cleo")]
    assert sum(balances) == 3_000
    assert min(balances) >= 0


# --- which transactions may stand in a block -------------------------------------------------------


def test_an_unknown_kind_has_a_receipt(lab):
    assert codes(run(lab, lab.sign("anna", "nonsense"), lab.transfer("anna", "bert", 1, sequence=1))) == [
        "UnknownKind",
        "",
    ]


@pytest.mark.parametrize(
    ("sequence", "error"), [(0, SequenceTooLow), (2, None), (3, WrongSequence), (2**63 - 1, WrongSequence)]
)
def test_a_replayed_or_gapped_sequence_cannot_stand_in_a_block(lab, sequence, error):
    first = [lab.transfer("anna", "bert", 1), lab.transfer("anna", "bert", 1, sequence=1)]
    last = lab.transfer("anna", "bert", 1, sequence=sequence)
    if error is None:
        assert codes(run(lab, *first, last)) == ["", "", ""]
        return
    with pytest.raises(error) as caught:
        run(lab, *first, last)
    assert caught.value.values == {"expected": 2, "actual": sequence}


def test_a_block_cannot_hold_the_transaction_of_an_earlier_one(lab):
    transfer = lab.transfer("anna", "bert", 1)
    lab.extend(transfer)
    with pytest.raises(SequenceTooLow, match="sequence 0 is spent, the next one is 1"):
        run(lab, transfer)


def test_a_stranger_leaves_no_trace_in_the_state(lab):
    with pytest.raises(UnknownMember) as caught:
        run(lab, lab.transfer("eve", "bert", 1))
    assert caught.value.values == {"address": "0x" + lab.address("eve").hex()}


@pytest.mark.parametrize(("expiry", "error"), [(4, Expired), (5, None), (105, None), (106, ExpiryTooFar)])
def test_a_transaction_lives_from_now_until_its_expiry(lab, expiry, error):
    transaction = lab.sign("anna", "transfer", expiry=expiry)
    if error is None:
        check_expiry(transaction, height=5, max_expiry_blocks=100)
        return
    with pytest.raises(error):
        check_expiry(transaction, height=5, max_expiry_blocks=100)


def test_expiry_errors_carry_their_numbers(make_lab):
    lab = make_lab(ledger={"max_expiry_blocks": 10})
    lab.extend()
    with pytest.raises(Expired, match="expired at height 1, the next block is 2"):
        run(lab, lab.sign("anna", "transfer", expiry=1))
    with pytest.raises(ExpiryTooFar, match="expires at height 13, at most 12 is allowed"):
        run(lab, lab.sign("anna", "transfer", expiry=13))


def test_a_handler_that_fails_half_way_leaves_nothing_behind(tally):
    execution = run(
        tally,
        tally.sign("anna", "tally", 1),
        tally.sign("anna", "tally", 13, sequence=1),
        tally.sign("bert", "tally", 2),
    )
    assert codes(execution) == ["", "Refused", ""]
    assert Overlay(execution.state).get(b"tally") == 2
    assert execution.events == (("tally", 1), ("tally", 2))


# --- producer's kinds ------------------------------------------------------------------------------


def test_a_producers_kind_spends_no_sequence_number_and_stands_once(tally):
    once = tally.sign("anna", "once")
    execution = run(tally, once)
    assert codes(execution) == [""]
    assert get_account(Overlay(execution.state), tally.address("anna")).sequence == 0
    for replay in ((once,), (tally.sign("anna", "once", expiry=900),)):
        with pytest.raises(Refused, match="again"):
            run(tally, *replay, state=execution.state)
    with pytest.raises(Refused):
        run(tally, once, once)


@pytest.mark.parametrize(("sender", "sequence"), [("bert", 0), ("anna", 1), ("eve", 0)])
def test_a_producers_kind_is_for_the_producer_alone(tally, sender, sequence):
    with pytest.raises(ProducersOnly) as caught:
        run(tally, tally.sign(sender, "once", sequence=sequence), producer="anna")
    assert str(caught.value) == "transactions of kind 'once' are made by block producers, not submitted"


def test_a_producers_kind_expires_like_any_other(tally):
    with pytest.raises(Expired):
        run(tally, tally.sign("anna", "once", expiry=0))


# --- the start of a block --------------------------------------------------------------------------


def test_the_period_follows_the_timestamp_and_never_falls():
    times = {"genesis_time_ms": 1_000, "period_ms": 100}
    assert [compute_period(ms, parent_period=0, **times) for ms in (900, 1_000, 1_099, 1_100, 1_350)] == [0, 0, 0, 1, 3]
    assert compute_period(1_000, parent_period=4, **times) == 4


def test_the_first_block_of_a_period_takes_the_snapshot_before_its_hooks(make_lab):
    def earn(view, block):
        address = lab.address("anna")
        put_account(view, address, get_account(view, address)._replace(credit_upt=block.height, balance_uyuan=-5))

    lab = make_lab(contracts=Contracts(handlers={}, hooks=(earn,)))
    key = lab.key("anna").public_key

    def standing(entry):
        snapshot = get_snapshot(entry.state)
        return snapshot.height, snapshot.members[key], snapshot.previous[key]

    founding = SealerSnapshot(credit_upt=90_000_000, balance_uyuan=1_000)
    start_ms = lab.genesis.time_ms
    assert standing(lab.root) == (0, founding, founding)
    assert standing(lab.extend(timestamp_ms=start_ms + 19_999)) == (0, founding, founding)
    first = lab.extend(timestamp_ms=start_ms + 20_000)
    assert first.header.period == 1
    assert standing(first) == (2, SealerSnapshot(credit_upt=1, balance_uyuan=0), founding)
    assert standing(lab.extend(timestamp_ms=start_ms + 20_001)) == standing(first)
    assert standing(lab.extend(timestamp_ms=start_ms + 70_000))[1:] == (
        SealerSnapshot(credit_upt=3, balance_uyuan=0),
        SealerSnapshot(credit_upt=1, balance_uyuan=0),
    )


def test_the_state_knows_the_time_of_its_block(lab):
    assert get_clock(Overlay(lab.root.state)) == 0
    for after_ms in (1_000, 4_000, 70_000):
        entry = lab.extend(timestamp_ms=lab.genesis.time_ms + after_ms)
        assert get_clock(Overlay(entry.state)) == lab.genesis.time_ms + after_ms


def test_hooks_run_in_order_before_any_transaction(make_lab):
    def hook(name):
        return lambda view, block: view.emit("hook", name, block.height)

    def process_shout(view, block, transaction):
        view.emit("shout")

    lab = make_lab(contracts=Contracts(handlers={"shout": process_shout}, hooks=(hook("a"), hook("b"))))
    assert run(lab, lab.sign("anna", "shout")).events == (("hook", "a", 1), ("hook", "b", 1), ("shout",))


def test_a_checkpoint_learns_its_blocks_hash_from_the_next_block_before_its_hooks(make_lab):
    # genesis ── a1: opens slot 1 ── a2: its hooks see a1's hash ── a3
    seen = []
    lab = make_lab(contracts=Contracts(handlers={}, hooks=(lambda view, block: seen.append(get_checkpoints(view)),)))
    a1 = lab.extend(timestamp_ms=lab.genesis.time_ms + 5_000)
    lab.extend()
    lab.extend()
    assert seen == [(Checkpoint(1, 1),), *[(Checkpoint(1, 1, a1.hash),)] * 2]


def test_a_block_knows_which_other_chains_there_are(make_lab):
    sibling = ChainParams(name="LH1", kind="credit", ledger=LedgerParams(period_ms=20_000))
    assert make_lab().context(make_lab().root).siblings == frozenset()
    lab = make_lab(siblings=(sibling,))
    assert lab.context(lab.root).siblings == {"credit"}


# --- a whole block ---------------------------------------------------------------------------------


def judge(lab, block, envelopes=None):
    parent = lab.chain.get(block.header.parent)
    return execute_block(parent.state, block, lab.context(parent), lab.contracts, envelopes or EnvelopeCache())


def with_body(block, *transactions):
    """The block over another body, its transaction root right."""
    return Block(header=replace(block.header, tx_root=compute_tx_root(transactions)), transactions=transactions)


def test_a_block_is_accepted_when_every_root_is_right(lab):
    block, execution = lab.build(lab.root, lab.transfer("anna", "bert", 5))
    judged = judge(lab, block)
    assert judged.state.root == execution.state.root == block.header.state_root
    leaf = encode((block.transactions[0].id, ""))
    assert judged.receipt_root == merkle_root([leaf]) == compute_receipt_root(judged.receipts)
    assert judged.receipts == (Receipt(transaction_id=block.transactions[0].id, code=""),)


@pytest.mark.parametrize(
    ("field", "error"),
    [("tx_root", WrongTransactionRoot), ("receipt_root", WrongReceiptRoot), ("state_root", WrongStateRoot)],
)
def test_each_root_has_its_error(lab, field, error):
    block, _ = lab.build(lab.root, lab.transfer("anna", "bert", 5))
    right = getattr(block.header, field).hex()
    with pytest.raises(error) as caught:
        judge(lab, replace(block, header=replace(block.header, **{field: b"\x66" * 32})))
    assert caught.value.values == {"expected": right, "actual": "66" * 32}
    assert caught.value.is_final == (error is not WrongTransactionRoot)


def test_a_swapped_body_does_not_condemn_the_header(lab):
    block, _ = lab.build(lab.root, lab.transfer("anna", "bert", 5))
    with pytest.raises(WrongTransactionRoot) as caught:
        judge(lab, replace(block, transactions=()))
    assert not caught.value.is_final


def test_a_body_that_cannot_stand_names_the_reason(lab):
    block, _ = lab.build(lab.root)
    with pytest.raises(InvalidBody) as caught:
        judge(lab, with_body(block, lab.transfer("anna", "bert", 5, sequence=3)))
    assert caught.value.values["code"] == "WrongSequence"
    assert str(caught.value) == (
        "a transaction cannot stand in this block: WrongSequence: sequence 3 leaves a gap, the next one is 0"
    )


def test_whatever_a_producers_kind_fails_with_makes_the_body_invalid(make_lab):
    def process_shape(view, block, transaction):
        raise WrongShape(what="evidence", detail="none")

    lab = make_lab(contracts=Contracts(handlers={}, producer_handlers={"shape": process_shape}))
    block, _ = lab.build(lab.root)
    with pytest.raises(InvalidBody, match="WrongShape: evidence has the wrong shape: none"):
        judge(lab, with_body(block, lab.sign("anna", "shape")))


def test_a_forged_or_foreign_transaction_makes_the_block_invalid(lab, make_lab):
    block, _ = lab.build(lab.root)
    good = lab.transfer("anna", "bert", 5)
    forged = Transaction.from_value(replace(good, payload=(lab.address("bert"), 6)).to_value())
    with pytest.raises(InvalidSignature):
        judge(lab, with_body(block, forged))
    with pytest.raises(WrongChain):
        judge(lab, with_body(block, make_lab(ledger={"period_ms": 5_000}).transfer("anna", "bert", 5)))


@pytest.mark.parametrize(
    ("limits", "what", "actual"),
    [
        ({"max_block_transactions": 2}, "transactions", 3),
        ({"max_block_bytes": 5_000, "max_transaction_bytes": 5_000}, "bytes of transactions", None),
        ({"max_transaction_bytes": 2_000}, "bytes in one transaction", None),
    ],
)
def test_bounds_hold_for_a_body_put_together_from_the_pool_too(make_lab, limits, what, actual):
    lab = make_lab(ledger=limits)
    transactions = [lab.sign("anna", "write", b"k", bytes(2_000), sequence=sequence) for sequence in range(3)]
    block, _ = lab.build(lab.root, *transactions)
    sizes = [len(transaction.raw) for transaction in transactions]
    with pytest.raises(OversizedBlock) as caught:
        judge(lab, block)
    limit = next(iter(limits.values()))
    expected = actual or {"bytes of transactions": sum(sizes), "bytes in one transaction": max(sizes)}[what]
    assert caught.value.values == {"what": what, "actual": expected, "limit": limit}
    assert str(caught.value) == f"the block has {expected} {what}, at most {limit} allowed"


def make_relaying(make_lab, limit):
    handlers = {RELAY: lambda view, block, transaction: view.put(b"part", transaction.payload[0])}
    return make_lab(ledger={"max_block_relays": limit}, contracts=Contracts(handlers={}, producer_handlers=handlers))


def test_a_block_takes_in_so_many_relays_and_what_is_not_one_besides(make_lab):
    lab = make_relaying(make_lab, 2)
    relays = [lab.sign("anna", RELAY, number) for number in range(4)]
    order = lab.transfer("anna", "bert", 5)
    taken, _ = select(lab, *relays, order)
    assert taken == (*relays[:2], order)
    judge(lab, lab.build(lab.root, *taken)[0])
    block, _ = lab.build(lab.root, *relays[:3])
    with pytest.raises(OversizedBlock, match="the block has 3 relays, at most 2 allowed"):
        judge(lab, block)


def test_without_a_limit_it_takes_in_as_many_as_fit(make_lab):
    lab = make_relaying(make_lab, 0)
    relays = [lab.sign("anna", RELAY, number) for number in range(4)]
    assert select(lab, *relays)[0] == tuple(relays)
    judge(lab, lab.build(lab.root, *relays)[0])


# --- choosing a body -------------------------------------------------------------------------------


def select(lab, *candidates, max_bytes=1_000_000):
    parent = lab.root
    return select_transactions(parent.state, lab.context(parent), candidates, lab.contracts, max_bytes=max_bytes)


def test_what_cannot_stand_is_left_out_and_what_is_refused_stays(tally):
    candidates = [
        tally.transfer("anna", "bert", 5, sequence=1),  # a gap
        tally.sign("bert", "once"),  # not the producer
        tally.sign("anna", "once"),
        tally.sign("anna", "once", expiry=999),  # no effect
        tally.transfer("eve", "bert", 5),
        tally.sign("anna", "tally", 13),  # refused with a receipt
        tally.transfer("anna", "bert", 5, sequence=1),
        tally.sign("bert", "transfer", expiry=0),
    ]
    taken, execution = select(tally, *candidates)
    assert taken == (candidates[2], candidates[5], candidates[6])
    assert codes(execution) == ["", "Refused", ""]
    again = run(tally, *taken)
    assert (execution.state.root, execution.receipt_root) == (again.state.root, again.receipt_root)
    assert (execution.delta, execution.events) == (again.delta, again.events)


def test_a_body_keeps_to_bytes_and_count(make_lab):
    lab = make_lab(ledger={"max_block_transactions": 3})
    transfers = [lab.transfer("anna", "bert", 1, sequence=sequence) for sequence in range(5)]
    assert select(lab, *transfers)[0] == tuple(transfers[:3])
    size = len(transfers[0].raw)
    assert select(lab, *transfers, max_bytes=2 * size)[0] == tuple(transfers[:2])
    assert select(lab, *transfers, max_bytes=2 * size - 1)[0] == tuple(transfers[:1])
    assert select(lab, *transfers, max_bytes=0)[0] == ()


def test_one_too_large_for_any_block_does_not_hold_up_the_others(make_lab):
    lab = make_lab(ledger={"max_transaction_bytes": 1_024})
    large, small = lab.sign("anna", "write", b"k", bytes(2_000)), lab.transfer("bert", "anna", 1)
    assert select(lab, large, small)[0] == (small,)


candidate = st.tuples(
    st.sampled_from(["anna", "bert", "eve"]),
    st.integers(0, 3),  # sequence
    st.sampled_from(["transfer", "write", "nonsense", "once", "tally"]),
    st.sampled_from([0, 1, 900, 20_000]),  # expiry
    st.sampled_from([(), (13,), (b"k", b"v"), (b"k", None)]),
)


@settings(max_examples=80)
@given(st.lists(candidate, max_size=12), st.integers(0, 2_000))
def test_a_chosen_body_is_always_a_valid_block(make_lab, rows, max_bytes):
    handlers = {**make_lab().contracts.handlers, "tally": process_tally}
    lab = make_lab(contracts=Contracts(handlers=handlers, producer_handlers={"once": process_once}))
    candidates = [
        lab.sign(sender, kind, *payload, sequence=sequence, expiry=expiry)
        for sender, sequence, kind, expiry, payload in rows
    ]
    taken, execution = select(lab, *candidates, max_bytes=max_bytes)
    assert sum(len(transaction.raw) for transaction in taken) <= max_bytes
    block, _ = lab.build(lab.root, *taken)
    judged = judge(lab, block)
    assert (judged.state.root, judged.receipts) == (execution.state.root, execution.receipts)


# --- envelopes -------------------------------------------------------------------------------------


def test_a_checked_envelope_does_not_cover_another_signature(lab):
    cache, good = EnvelopeCache(), lab.transfer("anna", "bert", 5)
    forged = Transaction.from_value(replace(good, signature=bytes(64)).to_value())
    assert forged.id == good.id
    cache.check(good, lab.chain_id)
    cache.check(good, lab.chain_id)
    with pytest.raises(InvalidSignature):
        cache.check(forged, lab.chain_id)
    with pytest.raises(InvalidSignature):
        judge(lab, with_body(lab.build(lab.root)[0], forged), cache)


def test_the_memory_of_envelopes_is_bounded_and_drops_the_oldest(lab):
    cache = EnvelopeCache(limit=3)
    transfers = [lab.transfer("anna", "bert", 5, sequence=sequence) for sequence in range(8)]
    for transfer in transfers:
        cache.check(transfer, lab.chain_id)
    assert len(cache) == 3
    assert [transfer in cache for transfer in transfers] == [False] * 5 + [True] * 3


# --- the overlay -----------------------------------------------------------------------------------

keys = st.sampled_from([b"a", b"b", b"c", b"d"])
steps = st.lists(
    st.tuples(keys, st.none() | st.integers(0, 3), st.sampled_from(["write", "commit", "rollback"])), max_size=20
)


@settings(max_examples=150)
@given(st.dictionaries(keys, st.integers(0, 3)), steps)
def test_an_overlay_is_a_dictionary_and_its_delta_leads_there_and_back(contents, script):
    before = State.from_items((key, encode(value)) for key, value in contents.items())
    view, committed, open_ = Overlay(before), dict(contents), dict(contents)
    told, kept = 0, 0
    for key, value, action in script:
        if action == "write":
            if value is None:
                view.delete(key)
                open_.pop(key, None)
            else:
                view.put(key, value)
                open_[key] = value
            view.emit("step", told)
            told += 1
        elif action == "commit":
            view.commit()
            committed, kept = dict(open_), told
        else:
            view.rollback()
            open_, told = dict(committed), kept
        assert {key: view.get(key) for key in (b"a", b"b", b"c", b"d")} == {
            key: open_.get(key) for key in (b"a", b"b", b"c", b"d")
        }
        assert view.events == tuple(("step", number) for number in range(kept))
    view.rollback()
    after, delta = view.finish()
    assert dict(after.items()) == {key: encode(value) for key, value in committed.items()}
    assert before.apply(delta.changes).root == after.root
    assert after.apply(delta.undo).root == before.root
    assert set(delta.changes) == {
        key for key in keys_of(contents, committed) if contents.get(key) != committed.get(key)
    }


@pytest.mark.parametrize("value", [1.5, 2**64, [1.5], (1, {}), True])
def test_what_has_no_canonical_encoding_never_gets_into_a_state(value):
    view = Overlay(State.empty())
    view.put(b"a", value)
    view.rollback()
    assert view.finish()[1].changes == {}
    view.put(b"a", value)
    view.commit()
    with pytest.raises(TypeError):
        view.finish()


def test_an_absent_value_is_not_put():
    with pytest.raises(AssertionError):
        Overlay(State.empty()).put(b"a", None)


def keys_of(*mappings):
    return {key for mapping in mappings for key in mapping}
