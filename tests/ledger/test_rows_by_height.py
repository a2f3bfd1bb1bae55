"""A chain whose rows stand by block hash is brought to rows by height, once, whatever stops that in between.

First blocks, receipts and undo rows (version 3), then the records (version 4).
"""

from itertools import count

import pytest

from ledger import rows
from ledger.chain import Chain
from ledger.codec import encode
from ledger.errors import StoreCorrupt, StoreFailed
from ledger.store import LevelStore, MemoryStore
from tests.support.ledger_lab import Lab

MOVED = (rows.BLOCK, rows.RECEIPTS, rows.UNDO)


@pytest.fixture
def lab():
    """A chain of five blocks, of which the second is final."""
    lab = Lab()
    for sequence in range(5):
        lab.extend(lab.transfer("anna", "bert", 5, sequence=sequence))
    lab.store.write(lab.chain.finalise(lab.chain.get(lab.chain.hash_at(2))))
    return lab


def old_rows(lab, *, version=2):
    """The rows of the lab's chain as releases before had them."""
    for key, value in lab.store.scan(b""):
        prefix, height = key[:1], int.from_bytes(key[1:], "big")
        if prefix == rows.RECORD:
            header, work, base_n_diff = rows.read_record(value)
            weights = work.to_bytes(40, "big"), base_n_diff.to_bytes(32, "big")
            yield b"e" + header.hash, encode((header.to_value(), *weights))
            yield b"n" + key[1:], encode((header.raw,))
        elif version < 3 and prefix in MOVED:
            yield prefix + lab.chain.hash_at(height), value
        elif prefix not in (rows.HEIGHT, b"V") and (version == 3 or key != rows.KEPT):
            yield key, value
    if version < 3:
        for height in (1, 2):
            yield rows.UNDO + lab.chain.hash_at(height), b"nobody reads it"
    if version > 1:
        yield b"V", encode((version, 1))


def old_store(lab, **kwargs):
    store = MemoryStore()
    store.write(list(old_rows(lab, **kwargs)))
    return store


def read_chain(chain):
    heights = range(chain.head.height + 1)
    blocks = [chain.get_block(chain.hash_at(height)) for height in heights]
    receipts = [chain.get_receipts(chain.hash_at(height)) for height in heights]
    states = [chain.get(chain.hash_at(height)).state.root for height in heights[chain.final_height :]]
    return blocks, receipts, states


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_chain_by_hash_is_brought_forward_and_nothing_of_the_old_form_stays(lab, tmp_path, version):
    store = LevelStore(tmp_path / "ledger")
    store.write(list(old_rows(lab, version=version)))
    chain = Chain(lab.genesis, store)
    assert (chain.versions, read_chain(chain)) == ((version, 4), read_chain(lab.chain))
    assert list(store.scan(b"")) == list(lab.store.scan(b""))
    store.close()
    again = LevelStore(tmp_path / "ledger")
    assert Chain(lab.genesis, again).versions == (4, 4)
    again.close()


def test_a_crash_before_any_write_leaves_a_store_that_is_brought_forward_the_next_time(lab, monkeypatch):
    monkeypatch.setattr("ledger.store._BATCH", 4)
    for writes in count():
        store = old_store(lab)
        if not is_cut_short(lab, store, writes):
            break
        assert read_chain(Chain(lab.genesis, store)) == read_chain(lab.chain)
        assert list(store.scan(b"")) == list(lab.store.scan(b""))
    assert writes > 6


def is_cut_short(lab, store, writes):
    """Open the chain on a machine that ends before one of its writes; whether there was such a write."""
    write, left = store.write, iter(range(writes))

    def stop(changes, *, sync=True):
        if next(left, None) is None:
            raise StoreFailed(detail="the machine has ended")
        write(changes, sync=sync)

    store.write = stop
    try:
        Chain(lab.genesis, store)
    except StoreFailed:
        return True
    else:
        return False
    finally:
        store.write = write


@pytest.mark.parametrize("prefix", [rows.BLOCK, rows.RECEIPTS, rows.UNDO])
def test_a_row_that_is_missing_is_damage(lab, prefix):
    store = old_store(lab)
    store.write([(prefix + lab.chain.hash_at(4), None)])
    with pytest.raises(StoreCorrupt, match="block 4"):
        Chain(lab.genesis, store)


def test_a_record_that_cannot_be_read_is_damage(lab):
    store = old_store(lab, version=3)
    store.write([(b"e" + lab.chain.hash_at(4), encode((b"no header", bytes(40), bytes(32))))])
    with pytest.raises(StoreCorrupt, match="a block's record"):
        Chain(lab.genesis, store)


def test_what_an_attempt_left_before_the_old_release_went_on_is_gone(lab):
    store = old_store(lab, version=3)
    store.write([(rows.record_key(9), b"stale"), (rows.HEIGHT + bytes(32), b"stale")])
    assert read_chain(Chain(lab.genesis, store)) == read_chain(lab.chain)
    assert list(store.scan(b"")) == list(lab.store.scan(b""))


def test_a_chain_that_does_not_say_what_is_final_is_damaged(lab):
    store = old_store(lab)
    store.write([(rows.FINAL, None)])
    with pytest.raises(StoreCorrupt, match="final block"):
        Chain(lab.genesis, store)
