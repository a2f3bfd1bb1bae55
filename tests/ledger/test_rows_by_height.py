"""A chain whose rows stand by block hash is brought to rows by height, once, whatever stops that in between."""

from itertools import count

import pytest

from ledger import rows
from ledger.chain import Chain
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
        prefix = key[:1]
        if prefix in MOVED:
            yield prefix + lab.chain.hash_at(int.from_bytes(key[1:], "big")), value
        elif key not in (rows.KEPT, b"V"):
            yield key, value
    for height in (1, 2):
        yield rows.UNDO + lab.chain.hash_at(height), b"nobody reads it"
    if version == 2:
        yield b"V", b"\x92\x02\x01"


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


@pytest.mark.parametrize("version", [1, 2])
def test_a_chain_by_hash_is_brought_forward_and_nothing_of_the_old_form_stays(lab, tmp_path, version):
    store = LevelStore(tmp_path / "ledger")
    store.write(list(old_rows(lab, version=version)))
    chain = Chain(lab.genesis, store)
    assert (chain.versions, read_chain(chain)) == ((version, 3), read_chain(lab.chain))
    assert list(store.scan(b"")) == list(lab.store.scan(b""))
    store.close()
    again = LevelStore(tmp_path / "ledger")
    assert Chain(lab.genesis, again).versions == (3, 3)
    again.close()


def test_a_crash_before_any_write_leaves_a_store_that_is_brought_forward_the_next_time(lab, monkeypatch):
    monkeypatch.setattr("ledger.rows_by_height._BATCH", 4)
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


def test_a_chain_that_does_not_say_what_is_final_is_damaged(lab):
    store = old_store(lab)
    store.write([(rows.FINAL, None)])
    with pytest.raises(StoreCorrupt, match="final block"):
        Chain(lab.genesis, store)
