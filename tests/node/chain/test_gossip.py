"""Transactions go out in messages that keep to the bounds of one, and in their order."""

from ledger.signatures import SigningKey
from ledger.transaction import make_transaction
from node.chain import messages as wire
from node.chain.gossip import push_transactions

KEY = SigningKey(bytes(32))


def make(count, size=1):
    return [
        make_transaction(KEY, chain_id=bytes(32), sequence=number, expiry_height=9, kind="note", payload=(bytes(size),))
        for number in range(count)
    ]


def pushed(transactions):
    messages = [action.message for action in push_transactions(transactions)]
    assert [raw for message in messages for raw in message.raw] == [transaction.raw for transaction in transactions]
    return [len(message.raw) for message in messages]


def test_a_message_holds_so_many():
    assert pushed([]) == []
    assert pushed(make(wire.MAX_ITEMS)) == [wire.MAX_ITEMS]
    assert pushed(make(wire.MAX_ITEMS + 1)) == [wire.MAX_ITEMS, 1]


def test_a_message_holds_so_many_bytes():
    assert pushed(make(3, size=400_000)) == [2, 1]
    assert pushed(make(2, size=1_100_000)) == [1, 1]
