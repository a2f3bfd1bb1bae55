"""All that a replica does is in the table of phases, and all of the table is done: in seeded worlds, and by hand."""

from __future__ import annotations

import pytest

from consensus.pbft.messages import Prepare, PrePrepare, ViewChange
from consensus.pbft.phases import LIFE, Cause, Phase
from consensus.pbft.replica import Pbft
from consensus.quorum import QuorumCertificate, Vote
from tests.consensus.pbft.pbft_world import World

from .test_replica import FOUR, HEIGHT, Replica, certificate, commit, pre_prepare, prepare, view_change

CALLS = {
    "start": Cause.START,
    "allow": Cause.ALLOW,
    "fall_silent": Cause.FALL_SILENT,
    "propose": Cause.PROPOSE,
    "accept": Cause.ACCEPT,
    "refuse": Cause.REFUSE,
    "on_timer": Cause.TIMEOUT,
}
MESSAGES = {
    PrePrepare: Cause.PRE_PREPARE,
    Prepare: Cause.PREPARE,
    Vote: Cause.COMMIT,
    ViewChange: Cause.VIEW_CHANGE,
    QuorumCertificate: Cause.CERTIFICATE,
}
STEPS = ("_on_pre_prepare", "_prepare", "_try_to_commit", "_decide", "_move_to", "_try_to_lead")
TABLE = {step for row in LIFE for step in row.expand()}


class Watched(Pbft):
    """Keeps every step it takes: from which phase, at what, to which, and by which method."""

    def __init__(self, **options) -> None:
        self.steps: list[tuple] = []
        self.doing: list[tuple[Cause, str]] = []
        super().__init__(**options)
        self.last = (self.height, self.view, self.phase)

    def note(self) -> None:
        before, self.last = self.last, (self.height, self.view, self.phase)
        if self.last != before:
            cause, method = self.doing[-1]
            self.steps.append((before[-1], cause, self.last[-1], method))

    def do(self, name: str, cause: Cause, method, *args, **options):
        self.doing.append((cause, name.removeprefix("_")))
        try:
            return method(self, *args, **options)
        finally:  # it may refuse what it was told
            self.note()
            self.doing.pop()


def watch(name: str) -> None:
    method = getattr(Pbft, name)

    def call(self, *args, **options):
        if name != "_resume":  # before it the record is another height's
            self.note()
        cause = CALLS.get(name) or (MESSAGES[type(args[1])] if name == "_receive" else self.doing[-1][0])
        return self.do(name, cause, method, *args, **options)

    setattr(Watched, name, call)


for _name in (*CALLS, "_receive", "_resume", *STEPS):
    watch(_name)


# --- in seeded worlds ------------------------------------------------------------------------------


def run_world(seed: int) -> set[tuple]:
    """The steps of the honest."""
    replicas: list[Watched] = []

    def make(**options) -> Watched:
        replicas.append(Watched(**options))
        return replicas[-1]

    world = World(seed, 7 if seed % 4 == 3 else 4, engine=make).run()
    honest = {host.key.public_key for host in world.honest}
    return {step for replica in replicas if replica._key.public_key in honest for step in replica.steps}


@pytest.mark.parametrize("first", range(0, 200, 40))
def test_no_replica_takes_a_step_that_is_not_in_the_table(first):
    for seed in range(first, first + 40):
        assert run_world(seed) <= TABLE


# --- by hand: member 1 of four, which leads views 1 and 5 --------------------------------------------


def begin(phase: Phase) -> Replica:
    """A replica that has come to a phase."""
    replica = Replica(1, engine=Watched, is_silent=phase == Phase.WATCHING).start()
    if phase in (Phase.CHANGING, Phase.LEADING):
        replica.busy().wait(1_000)
    if phase == Phase.LEADING:
        replica.hear(view_change(0), view_change(2))
    if phase in (Phase.PROPOSED, Phase.PREPARED, Phase.COMMITTED, Phase.DECIDED):
        replica.hear(pre_prepare())
    if phase in (Phase.PREPARED, Phase.COMMITTED, Phase.DECIDED):
        replica.accept()
    if phase in (Phase.COMMITTED, Phase.DECIDED):
        replica.hear(prepare(2))
    if phase == Phase.DECIDED:
        replica.hear(commit(0), commit(2))
    assert replica.pbft.phase == phase
    return replica


def begin_again(phase: Phase, **options) -> Replica:
    """One that has come to a phase, and was restarted."""
    return Replica(1, engine=Watched, record=begin(phase).record, **options).start()


def begin_alone(**options) -> Replica:
    """The only validator."""
    return Replica(0, validators=FOUR[:1], engine=Watched, **options).start()


def hear_while_silent(replica: Replica) -> Replica:
    """Two others commit in a later view; then it may sign."""
    replica.hear(commit(0, 5), commit(2, 5))
    return allow(replica)


def allow(replica: Replica) -> Replica:
    return replica.perform(replica.pbft.allow(replica.now_ms))


def start_without_it(replica: Replica) -> Replica:
    replica.validators = (*FOUR[:1], *FOUR[2:])
    return replica.start(HEIGHT + 1)


def fall_silent(replica: Replica) -> Replica:
    replica.pbft.fall_silent()
    return replica


EVENTS = {
    "the next height": lambda replica: replica.start(HEIGHT + 1),
    "the next height, no validator any more": start_without_it,
    "silence": fall_silent,
    "the word to sign": allow,
    "a block to propose": lambda replica: replica.propose(replica.pbft.view),
    "a valid block": Replica.accept,
    "a valid block, late": Replica.accept_late,
    "an invalid block": Replica.refuse,
    "a proposal in this view": lambda replica: replica.hear(pre_prepare(replica.pbft.view)),
    "a proposal of a block known to be valid": lambda replica: replica.accept().hear(pre_prepare()),
    "a proposal of a block known to be invalid": lambda replica: replica.refuse().hear(pre_prepare()),
    "a proposal in a later view": lambda replica: replica.hear(pre_prepare(2)),
    "prepares": lambda replica: replica.hear(prepare(0), prepare(2)),
    "prepares in a later view": lambda replica: replica.hear(prepare(0, 5), prepare(2, 5)),
    "commits": lambda replica: replica.hear(commit(0), commit(2), commit(3)),
    "commits in a later view": lambda replica: replica.hear(commit(0, 5), commit(2, 5)),
    "view changes": lambda replica: replica.hear(view_change(0, 5), view_change(2, 5)),
    "a certificate": lambda replica: replica.hear(certificate()),
    "the timer": lambda replica: replica.busy().wait(10_000),
    "the timer, with a quorum in a later view": lambda replica: (
        replica.hear(view_change(0, 2), view_change(2, 2)).busy().wait(10_000)
    ),
}
COMMITS_FIRST = (commit(0), commit(2), prepare(0), prepare(2))


def tell_stories() -> set[tuple]:
    """All the steps of every event in every phase, after a restart, after silence, and where one decides alone."""
    replicas = [event(begin(phase)) for phase in Phase for event in EVENTS.values()]
    for phase in Phase:
        replicas.append(begin_again(phase))
        replicas.append(allow(begin_again(phase, is_silent=True)))
        replicas.append(hear_while_silent(begin_again(phase, is_silent=True)).hear(pre_prepare()))
    replicas.append(allow(begin(Phase.CHANGING).hear(pre_prepare(2))))
    replicas.append(begin_alone().busy().wait(1_000))
    replicas.append(begin_alone().propose())
    replicas.append(begin_alone(record=replicas[-1].record))
    replicas.append(allow(begin_alone(record=replicas[-1].record, is_silent=True)))
    replicas.append(begin(Phase.PROPOSED).hear(*COMMITS_FIRST).accept())
    replicas.append(begin(Phase.WAITING).accept().hear(*COMMITS_FIRST, pre_prepare()))
    replicas.append(begin(Phase.PREPARED).hear(commit(0), commit(2), prepare(2)))
    return {step for replica in replicas for step in replica.pbft.steps}


def test_every_step_that_is_in_the_table_is_taken_and_no_other():
    seen = tell_stories()
    assert seen <= TABLE
    assert seen >= TABLE
