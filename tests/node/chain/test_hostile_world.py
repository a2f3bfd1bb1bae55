"""No step does what none may, whatever one member says, and whatever read of the disk fails.

A few worlds of many: `make hostile-seeds` has a thousand.
"""

import pytest

from consensus.signing_record import SigningRecord
from ledger.errors import GridmeritError
from node.chain.events import PenalisePeer, PersistSigningRecord
from node.chain.node import ChainNode
from node.chain.progress import CatchUp
from node.chain.signing import Signing

from .hostile_world import ENGINES, StepBroken, run


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_liar_and_a_failing_disk_make_no_step_do_what_none_may(engine, seed):
    run(engine, seed, rounds=40)


# --- each check sees what it is there for ----------------------------------------------------------


def test_a_fault_of_the_disk_that_is_passed_over_is_seen(monkeypatch):
    def blame(node, peer, message, now_ms):
        try:
            return node._handle(peer, message, now_ms)
        except GridmeritError as error:
            return [PenalisePeer(peer=peer, error=error)]

    monkeypatch.setattr(ChainNode, "_on_message", blame)
    with pytest.raises(StepBroken, match=r"StoreFailed|was passed over"):
        run_until_broken("poca")


def test_a_signature_that_is_not_on_record_is_seen(monkeypatch):
    monkeypatch.setattr(Signing, "persist", lambda signing: PersistSigningRecord(record=SigningRecord()))
    with pytest.raises(StepBroken, match=r"on record|on disk"):
        run_until_broken("pbft")


def test_a_step_that_does_not_end_is_seen(monkeypatch):
    see_to = ChainNode._see_to

    def see_to_again(node, consequence, now_ms):
        again = [CatchUp()] if isinstance(consequence, CatchUp) else []
        return [*see_to(node, consequence, now_ms), *again]

    monkeypatch.setattr(ChainNode, "_see_to", see_to_again)
    with pytest.raises(StepBroken, match="more than 5000 consequences, the last CatchUp"):
        run_until_broken("poca")


def run_until_broken(engine):
    for seed in range(1, 9):
        run(engine, seed, rounds=40)
