"""The clients of the load benchmark: who pays whom, and what is counted as sent, refused and committed."""

import asyncio
from time import monotonic

from benchmarks.open_loop import Purses, Teller
from ledger.signatures import SigningKey
from node.errors import RemoteRejected, Unreachable

KEYS = [SigningKey(bytes([number]) * 32) for number in range(1, 6)]


def sign(count, accounts):
    return Purses(KEYS, bytes(32)).sign(count, accounts=accounts)


def test_accounts_pay_round_in_a_circle_and_every_transfer_has_a_mark_of_its_own():
    tickets = sign(7, 3)
    assert [ticket.transaction.sender for ticket in tickets] == [KEYS[n % 3].address for n in range(7)]
    assert [ticket.transaction.payload[0] for ticket in tickets] == [KEYS[(n + 1) % 3].address for n in range(7)]
    assert [ticket.transaction.sequence for ticket in tickets] == [0, 0, 0, 1, 1, 1, 2]
    assert len({ticket.mark for ticket in tickets}) == 7


class Node:
    """Answers every submission with the next of `answers`, then accepts."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.taken = []

    async def submit(self, transactions):
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Unreachable):
            raise answer
        if answer is None:
            self.taken += transactions
        return [answer] * len(transactions)


def run(tickets, *nodes):
    for ticket in tickets:
        ticket.due_s = monotonic()
    teller = Teller(nodes)
    asyncio.run(teller.run(tickets))
    return teller


def test_what_is_refused_is_counted_and_sent_again():
    tickets = sign(3, 3)
    full = Node(RemoteRejected(code="PoolFull", detail="", values={}))
    teller = run(tickets, full)
    assert teller.refusals == {"PoolFull": 3}
    assert full.taken == [ticket.transaction for ticket in tickets]
    assert all(ticket.acknowledged_s for ticket in tickets)


def test_a_client_whose_node_has_gone_takes_what_is_not_committed_to_the_next():
    tickets = sign(4, 4)
    gone, other = Node(Unreachable(url="", detail="")), Node()
    run(tickets, gone, other)
    assert gone.taken == []
    assert other.taken == [ticket.transaction for ticket in tickets]
