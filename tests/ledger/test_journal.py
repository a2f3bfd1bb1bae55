"""Acknowledged transactions survive in the store until they are forgotten, and damage to them is noticed."""

import pytest

from ledger import journal
from ledger.errors import StoreCorrupt
from ledger.store import LevelStore, MemoryStore


@pytest.fixture
def transfers(lab):
    return [lab.transfer("anna", "bert", 1, sequence=sequence) for sequence in range(5)]


def load(store):
    return set(journal.load(store, max_bytes=16_384))


def test_what_is_kept_is_loaded_until_it_is_forgotten(transfers):
    store = MemoryStore()
    store.write(journal.rows_to_keep(transfers))
    assert load(store) == set(transfers)
    store.write(journal.rows_to_forget(transfer.id for transfer in transfers[:3]))
    assert load(store) == set(transfers[3:])
    store.write(journal.rows_to_keep(transfers[3:4]))
    assert load(store) == set(transfers[3:])
    store.write(journal.rows_to_forget([b"?" * 32]))
    assert load(store) == set(transfers[3:])


def test_nothing_is_kept_or_forgotten_for_nothing():
    assert journal.rows_to_keep([]) == journal.rows_to_forget([]) == []
    assert load(MemoryStore()) == set()


def test_it_outlives_the_process(transfers, tmp_path):
    store = LevelStore(tmp_path / "ledger")
    store.write(journal.rows_to_keep(transfers))
    store.close()
    store = LevelStore(tmp_path / "ledger")
    assert load(store) == set(transfers)
    store.close()


def test_it_shares_the_store_with_a_chain_and_disturbs_nothing(lab, transfers):
    lab.store.write(journal.rows_to_keep(transfers))
    head = lab.extend(transfers[0])
    assert lab.reopen().head.hash == head.hash
    assert load(lab.store) == set(transfers)


@pytest.mark.parametrize("spoil", [lambda raw: raw[:-1], lambda raw: b"\x99" + raw[1:], lambda raw: b""])
def test_damage_is_noticed(transfers, spoil):
    store = MemoryStore()
    ((key, raw),) = journal.rows_to_keep(transfers[:1])
    store.write([(key, spoil(raw))])
    with pytest.raises(StoreCorrupt, match="the store is damaged: acknowledged transaction: "):
        load(store)


def test_one_larger_than_the_chain_allows_is_damage_too(transfers):
    store = MemoryStore()
    store.write(journal.rows_to_keep(transfers))
    with pytest.raises(StoreCorrupt):
        list(journal.load(store, max_bytes=len(transfers[0].raw) - 1))
