"""The horizon of a pruning node, and what it does to a real store."""

from random import Random

import pytest

from ledger import rows
from ledger.chain import Chain
from ledger.store import LevelStore, MemoryStore
from node.chain.events import Compact, Persist, SetTimer
from node.chain.pruning import ALL, PRUNE, Keep, Pruner, compute_least_periods, parse_keep

PADDING = 2_000


@pytest.mark.parametrize(
    ("text", "keep"),
    [
        ("all", ALL),
        ("96 periods", Keep("periods", 96)),
        ("1 bytes", Keep("bytes", 1)),
        ("20 GB", Keep("bytes", 20_000_000_000)),
        ("500 MB", Keep("bytes", 500_000_000)),
    ],
)
def test_a_choice_is_read_as_it_is_written(text, keep):
    assert parse_keep(text) == keep
    assert str(keep) == text


@pytest.mark.parametrize(
    "text", ["", "none", "0 periods", "-3 periods", "3", "3 weeks", "3GB", "1" * 16 + " GB", "٣ GB"]
)
def test_another_text_is_refused(text):
    with pytest.raises(
        ValueError, match='"all", a number of periods such as "96 periods", or of bytes such as "20 GB"'
    ):
        parse_keep(text)


@pytest.fixture
def lab(make_lab):
    """Blocks on a window of 2, five to a period, each with a transaction of some bytes; the last but two is final."""
    lab = make_lab(window=2, ledger={"period_ms": 5_000})
    for number in range(120):
        lab.extend(lab.sign("anna", "write", b"k", Random(number).randbytes(PADDING), sequence=number))
    lab.store.write(lab.chain.finalise(lab.chain.get(lab.chain.hash_at(118))))
    return lab


def make_pruner(lab, keep, store=None):
    return Pruner(lab.chain, store or lab.store, lab.params, keep)


def period_of(lab, height):
    return lab.chain.get_header(lab.chain.hash_at(height)).period


def test_an_archive_sets_no_timer_and_has_no_horizon(lab):
    pruner = make_pruner(lab, ALL)
    assert pruner.begin(0) == []
    assert pruner.find_horizon() == 0


@pytest.mark.parametrize("count", [1, 8, 12, 10_000])
def test_the_newest_periods_are_kept_and_never_fewer_than_are_open(lab, count):
    least = compute_least_periods(lab.params)
    horizon = make_pruner(lab, Keep("periods", count)).find_horizon()
    final, kept = period_of(lab, 118), max(count, least)
    assert all(period_of(lab, height) > final - kept for height in range(horizon, 119))
    assert horizon == 1 or period_of(lab, horizon - 1) == final - kept


def test_the_newest_bytes_are_kept(lab):
    size = sum(len(raw) + 9 for prefix in (rows.BLOCK, rows.RECEIPTS) for _, raw in lab.store.scan(prefix))
    whole = make_pruner(lab, Keep("bytes", size)).find_horizon()
    half = make_pruner(lab, Keep("bytes", size // 2)).find_horizon()
    assert whole == 1
    assert 55 < half < 65
    assert make_pruner(lab, Keep("bytes", 1)).find_horizon() == make_pruner(lab, Keep("periods", 1)).find_horizon()


@pytest.mark.parametrize("held_from", [0, 1, 20, 10_000])
def test_what_a_companion_holds_stays(lab, held_from):
    pruner = make_pruner(lab, Keep("periods", 1))
    free = pruner.find_horizon()
    pruner.held_from = held_from
    while isinstance(pruner.on_timer(0)[0], Persist):
        pass
    assert lab.chain.bodies_from == max(1, min(free, held_from))


def test_steps_are_small(lab, monkeypatch):
    monkeypatch.setattr("node.chain.pruning.STEP_ROWS", 10)
    pruner = make_pruner(lab, Keep("periods", 1))
    assert pruner.begin(7) == [SetTimer(name=PRUNE, at_ms=7)]
    steps = 0
    while isinstance((first := pruner.on_timer(1_000)[0]), Persist):
        assert len(first.changes) <= 10 + 3 + 1
        lab.store.write(first.changes)
        steps += 1
    assert steps > 10
    assert pruner.on_timer(2_000) == [SetTimer(name=PRUNE, at_ms=2_000 + lab.params.ledger.period_ms)]


def test_a_transaction_that_stands_in_a_later_block_too_is_still_found(lab):
    at, later = lab.chain.hash_at(5), lab.chain.hash_at(100)
    (transaction,) = lab.chain.get_block(at).transactions
    lab.store.write([(rows.TRANSACTION + transaction.id, rows.write_place(later, 0))])
    lab.store.write(lab.chain.prune(20, limit=1_000))
    assert lab.chain.find_transaction(transaction.id) == (later, 0)


def files_size(directory):
    return sum(file.stat().st_size for file in directory.iterdir())


def prune(pruner, store):
    """Drop all that may go: the actions of the step behind."""
    while isinstance((actions := pruner.on_timer(0))[0], Persist):
        store.write(actions[0].changes)
    return actions


@pytest.mark.parametrize(("periods", "is_compacted"), [(22, False), (1, True)])
def test_space_is_given_back_once_garbage_is_a_share_of_the_store(lab, tmp_path, monkeypatch, periods, is_compacted):
    monkeypatch.setattr("node.chain.pruning._LEAST_GARBAGE_BYTES", 1)
    store = LevelStore(tmp_path / "ledger")
    store.write(list(lab.store.scan(b"")))
    store.compact(b"", rows.LAST)
    pruner = Pruner(Chain(lab.genesis, store, window=2), store, lab.params, Keep("periods", periods))
    assert any(isinstance(one, Compact) for one in prune(pruner, store)) == is_compacted
    store.close()


def test_little_garbage_is_left_where_it_is(lab, tmp_path):
    store = LevelStore(tmp_path / "ledger")
    store.write(list(lab.store.scan(b"")))
    store.compact(b"", rows.LAST)
    pruner = Pruner(Chain(lab.genesis, store, window=2), store, lab.params, Keep("periods", 1))
    assert [type(one) for one in prune(pruner, store)] == [SetTimer]
    store.close()


def test_a_directory_of_leveldb_shrinks_to_what_is_kept(lab, tmp_path, monkeypatch):
    monkeypatch.setattr("node.chain.pruning._LEAST_GARBAGE_BYTES", 1)
    path = tmp_path / "ledger"
    store = LevelStore(path)
    store.write(list(lab.store.scan(b"")))
    store.compact(b"", rows.LAST)
    before = files_size(path)
    chain = Chain(lab.genesis, store, window=2)
    pruner = Pruner(chain, store, lab.params, Keep("periods", 1))
    stored = pruner.measure()
    assert stored["blocks"] > 100 * PADDING * 9 // 10
    compact, _ = prune(pruner, store)
    for first, last in compact.ranges:
        store.compact(first, last)
    assert [type(one) for one in pruner.on_timer(0)] == [SetTimer], "once"
    kept = (119 - chain.bodies_from) / 119
    assert kept < 0.7
    assert pruner.measure()["blocks"] < (kept + 0.1) * stored["blocks"]
    store.close()
    again = LevelStore(path)
    assert files_size(path) < (kept + 0.3) * before
    assert Chain(lab.genesis, again, window=2).bodies_from == chain.bodies_from
    again.close()


def test_what_is_put_and_dropped_in_one_batch_leaves_nothing(tmp_path):
    for store in (MemoryStore(), LevelStore(tmp_path / "ledger")):
        store.write([(b"a", b"1"), (b"b", b"2"), (b"a", None), (b"b", b"3")])
        assert dict(store.scan(b"")) == {b"b": b"3"}
        store.close()
