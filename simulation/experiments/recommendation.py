"""Recommended parameters and the reasons: each attack with its mitigation off and on, beside theory. Pure.

A driver runs the trials, in whatever processes, and hands their rows back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal, NamedTuple, TypeAlias

from ledger.params import ChainParams
from simulation.experiments.estimates import Estimate, make_estimates
from simulation.experiments.scenario import Value, load_scenario, parse_settings
from simulation.experiments.sweep import Sweep, hash_scenario

Side: TypeAlias = Literal["off", "on"]
Recommended: TypeAlias = int | str

_SIDES: tuple[Side, Side] = ("off", "on")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A parameter, an attack that it is to stop, and what a trial of that measures; less is better.

    `shared` settings hold on both sides. `value` is what is recommended for `section.key` on every POCA chain; what
    a node's owner chooses, in `node.toml`, is of the section "node". `on` is the side with what is recommended.
    """

    section: Literal["consensus", "market", "node"]
    key: str
    value: Recommended
    attack: str
    scenario: str
    metric: str
    shared: Mapping[str, Value]
    off: Mapping[str, Value]
    on: Mapping[str, Value]
    reps: int
    quick_reps: int
    why: str

    @property
    def name(self) -> str:
        return f"{self.section}.{self.key}"


QUESTIONS: tuple[Question, ...] = (
    Question(
        section="consensus", key="tau_upt", value=10_000_000,
        attack="the best of ten members takes back a payment with 6 confirmations",
        scenario="credit-coalition", metric="payment reversed",
        shared={"coalition": 1, "z": 6, "blocks": 1_000, "races": 2_000}, off={"tau": 1.0}, on={"tau": 10.0},
        reps=10, quick_reps=2,
        why="With τ = 1 it has two thirds of the blocks; with τ = 10 a sixth, and merit still counts e-fold.",
    ),
    Question(
        section="consensus", key="checkpoint_m", value=0,
        attack="a member with 60 % of the hash power takes back a payment",
        scenario="double-spend", metric="payment reversed",
        shared={"q": 0.6, "z": 3}, off={"slot_blocks": 0, "accept": "depth"}, on={"slot_blocks": 4, "accept": "final"},
        reps=40, quick_reps=6,
        why="Depth never helps against a majority. A certificate does: the least m with 2(m+1) > n + f.",
    ),
    Question(
        section="consensus", key="checkpoints_per_period", value=4,
        attack="a branch from far back, shown to a node that starts anew",
        scenario="long-range", metric="fresh node fooled",
        shared={}, off={"finality": False}, on={"finality": True},
        reps=20, quick_reps=4,
        why="A certificate anchors whoever hears of it; it costs a vote per member; a quarter hour is soon enough.",
    ),
    Question(
        section="consensus", key="checkpoint_m", value=0,
        attack="two of seven signers, no more than f, sign both sides of a split; the other side: three of them",
        scenario="checkpoint-signers", metric="two branches certified",
        shared={"members": 7, "split": True, "slots": 40}, off={"liars": 3}, on={"liars": 2},
        reps=25, quick_reps=5,
        why="With the least m, 5 of 7, it takes 2(m+1) − n = 3 liars to certify two branches: one more than f.",
    ),
    Question(
        section="consensus", key="checkpoint_m", value=0,
        attack="each of seven signers is silent one time in ten: checkpoints without a certificate",
        scenario="checkpoint-signers", metric="no certificate",
        shared={"members": 7, "down": 0.1, "slots": 40}, off={"m": 5}, on={"m": 0},
        reps=25, quick_reps=5,
        why="Each one more that must sign bears two more liars, and one silent member less: m = 5 takes 6 of 7.",
    ),
    Question(
        section="node", key="anchor", value="HEIGHT:HASH",
        attack="a branch from far back, shown to a node that starts anew and sees the attacker alone",
        scenario="long-range", metric="fresh node fooled",
        shared={"fresh_sees": "attacker"}, off={"anchor": False}, on={"anchor": True},
        reps=20, quick_reps=4,
        why="No certificate comes to whom nobody honest comes. A final block from a node that one trusts does.",
    ),
    Question(
        section="consensus", key="relief_after", value=12,
        attack="with τ = 1 the member with 99.99 % of the blocks goes silent",
        scenario="best-member-lost", metric="wait for the next block",
        shared={"patience": 500}, off={"relief_after": 0}, on={"relief_after": 12},
        reps=40, quick_reps=8,
        why="The wait grows with the logarithm of the share lost; honest gaps of 12 intervals come every e^12 blocks.",
    ),
    Question(
        section="consensus", key="tie_break", value="lower-hash",
        attack="a well-connected selfish pool with 35 % of the hash power",
        scenario="selfish", metric="revenue",
        shared={"alpha": 0.35, "is_fast": True, "honest": 5, "blocks": 300},
        off={"tie_break": "first-seen"}, on={"tie_break": "lower-hash"},
        reps=80, quick_reps=4,
        why="It takes the advantage from whoever is best connected (γ = ½); checkpoints bound the rest.",
    ),
    Question(
        section="consensus", key="tie_break", value="lower-hash",
        attack="a selfish pool with 35 % of the blocks, its credit 5 points above the others'",
        scenario="selfish", metric="revenue",
        shared={"alpha": 0.35, "pool_credit": 5.0, "honest": 3, "blocks": 300},
        off={"tie_break": "higher-credit"}, on={"tie_break": "lower-hash"},
        reps=40, quick_reps=4,
        why="Under higher-credit the best member wins every tie (γ = 1): then withholding pays at any size.",
    ),
    Question(
        section="consensus", key="equivocation_cost_upt", value=20_000_000,
        attack="a member seals every block twice: its share of the blocks afterwards",
        scenario="equivocation", metric="culprit's blocks later",
        shared={}, off={"cost_points": 0}, on={"cost_points": 20},
        reps=10, quick_reps=2,
        why="One offence costs e^2 of its share at τ = 10, five cost all of it.",
    ),
    Question(
        section="consensus", key="diversity_window", value=0,
        attack="one member with 60 % of the hash power forks off 6 blocks back",
        scenario="credit-fork", metric="fork became heavier",
        shared={"q": 0.6, "weight": 1, "z": 6}, off={"diversity_window": 0},
        on={"diversity_window": 12, "diversity_limit": 6},
        reps=40, quick_reps=6,
        why="It holds one key, not two, and a lone survivor seals but every 13th interval; checkpoints hold them all. "
        "12 and 6 where one member's hash power is far above the others': with 80 % it got 48 % of the blocks.",
    ),
    Question(
        section="market", key="score_unit_wh", value=100,
        attack="a member breaks a contract of 400 kWh, then trades 32 single Wh with an accomplice: its credit",
        scenario="wash-trading", metric="credit after it",
        shared={"blocks": 10}, off={"score_unit_wh": 0}, on={"score_unit_wh": 100},
        reps=3, quick_reps=2,
        why="Eqs (1) and (2) count each delivery once, so that a watt-hour makes up for a megawatt-hour.",
    ),
    Question(
        section="market", key="initial_weight", value=1_000,
        attack="whoever has lost its credit comes back under a new key and trades one Wh: its share of the blocks",
        scenario="new-keys", metric="operator's blocks",
        shared={"keys": 1, "wash": True, "score_unit_wh": 100, "blocks": 60}, off={"initial_credit": 90.0},
        on={"initial_credit": 50.0, "initial_weight": 1_000},
        reps=8, quick_reps=2,
        why="Without weight one delivery, however small, replaces the initial credit: a low one alone changes nothing.",
    ),
    Question(
        section="market", key="initial_credit_upt", value=50_000_000,
        attack="six Sybil members without a single delivery, each with a machine of its own: their share of the blocks",
        scenario="new-keys", metric="operator's blocks",
        shared={"keys": 6, "leave": False, "delivered": 1.0, "split": False, "score_unit_wh": 100, "blocks": 60,
                "initial_weight": 1_000},
        off={"initial_credit": 90.0}, on={"initial_credit": 50.0},
        reps=6, quick_reps=2,
        why="What one has before it has delivered is what a new key is worth. Votes are the authority's to give.",
    ),
)  # fmt: skip


NOTES = (
    "`consensus.checkpoint_m` has no value below the least m: what is smaller counts as 0.",
    "The initial credit has no lookback: no parameter forgets all but the last k scores. What stands in its place is "
    "`market.initial_weight`, in scores for good, as measured above.",
)


class Job(NamedTuple):
    """One trial: its question, the side of that, and its own seed."""

    question: int
    side: Side
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Estimates of both sides. `deviating` chains of the packaged set have another value than the recommended one."""

    question: Question
    off: Estimate
    on: Estimate
    deviating: Mapping[str, Recommended]

    @property
    def has_effect(self) -> bool:
        """True if the intervals are apart, with the mitigation on the better side."""
        return self.on.high < self.off.low


def plan_trials(*, is_quick: bool, seed: int, only: Collection[str] = ()) -> Iterator[Job]:
    """All trials of the questions about these parameters, by default of all."""
    for number, question in enumerate(QUESTIONS):
        if only and question.name not in only:
            continue
        for task in _make_sweep(number, is_quick, seed).tasks():
            yield Job(number, _SIDES[task.point], task.seed)


def run_job(job: Job) -> Mapping[str, Value]:
    """The row of a trial."""
    question = QUESTIONS[job.question]
    scenario = load_scenario(question.scenario)
    given = {**question.shared, **(question.off if job.side == "off" else question.on)}
    return scenario.run(parse_settings(scenario, given), job.seed).row


def make_answers(
    rows: Iterable[tuple[Job, Mapping[str, Value]]], chains: Sequence[ChainParams], *, is_quick: bool, seed: int
) -> list[Answer]:
    """Answer question by question from the rows, and note the packaged chains that have another value."""
    by_question: dict[int, list[tuple[Job, Mapping[str, Value]]]] = {}
    for job, row in rows:
        by_question.setdefault(job.question, []).append((job, row))
    answers = []
    for number, found in sorted(by_question.items()):
        question = QUESTIONS[number]
        columns: dict[str, list[Value]] = {name: [row[name] for _, row in found] for name in found[0][1]}
        columns["point"] = [_SIDES.index(job.side) for job, _ in found]
        scenario = load_scenario(question.scenario)
        estimates = make_estimates(scenario, _make_sweep(number, is_quick, seed), columns)
        off, on = (each for each in estimates if each.metric.name == question.metric)
        answers.append(Answer(question=question, off=off, on=on, deviating=_find_deviating(question, chains)))
    return answers


def _make_sweep(number: int, is_quick: bool, seed: int) -> Sweep:
    question = QUESTIONS[number]
    scenario = load_scenario(question.scenario)
    points = tuple(
        parse_settings(scenario, {**question.shared, **side}).model_dump() for side in (question.off, question.on)
    )
    reps = question.quick_reps if is_quick else question.reps
    return Sweep(
        scenario=scenario.name, scenario_hash=hash_scenario(scenario), points=points, reps=reps, seed=seed + number
    )


def _find_deviating(question: Question, chains: Sequence[ChainParams]) -> dict[str, Recommended]:
    """Chains under POCA, and for the market those that trade or keep credit, which have another value."""
    found: dict[str, Recommended] = {}
    for chain in chains if question.section != "node" else ():
        if question.section == "consensus" and chain.consensus.engine != "poca":
            continue
        if question.section == "market" and chain.kind == "scheduling" and question.key != "initial_credit_upt":
            continue
        value = getattr(chain.consensus if question.section == "consensus" else chain.market, question.key)
        if value != question.value:
            found[chain.name] = value
    return found


# --- showing it ----------------------------------------------------------------------------------


def make_document(answers: Sequence[Answer]) -> list[dict[str, object]]:
    """Everything, for machines."""
    return [
        {
            "parameter": answer.question.name,
            "recommended": answer.question.value,
            "deviating": dict(answer.deviating),
            "attack": answer.question.attack,
            "scenario": answer.question.scenario,
            "metric": answer.question.metric,
            "has_effect": answer.has_effect,
            "why": answer.question.why,
            **{
                side: {"settings": dict(settings), **_describe(estimate)}
                for side, settings, estimate in (
                    ("off", answer.question.off, answer.off),
                    ("on", answer.question.on, answer.on),
                )
            },
        }
        for answer in answers
    ]


def render_markdown(answers: Sequence[Answer]) -> str:
    """A table of figures, and below it what is recommended and why."""
    lines = [
        "# Recommended parameters",
        "",
        "Each attack with its mitigation off and on: estimate, its 95 % interval, and theory where there is a formula.",
        "",
        "| parameter | attack | off | on | apart |",
        "|---|---|---|---|---|",
    ]
    for answer in answers:
        question = answer.question
        off, on = (
            f"{_show_settings(settings)}: {_show(estimate)}"
            for settings, estimate in ((question.off, answer.off), (question.on, answer.on))
        )
        lines.append(
            f"| `{question.name}` | {question.attack} | {off} | {on} | {'yes' if answer.has_effect else 'no'} |"
        )
    lines += ["", "| parameter | recommended | packaged | why |", "|---|---|---|---|"]
    for answer in answers:
        question = answer.question
        packaged = ", ".join(f"{chain}: {value}" for chain, value in answer.deviating.items()) or "the same"
        if question.section == "node":
            packaged = "the owner's to name, in node.toml"
        lines.append(f"| `{question.name}` | {question.value} | {packaged} | {question.why} |")
    lines += ["", *(f"- {note}" for note in NOTES)]
    return "\n".join(lines) + "\n"


def _describe(estimate: Estimate) -> dict[str, object]:
    theory = estimate.theory
    return {
        "value": estimate.value,
        "low": estimate.low,
        "high": estimate.high if isfinite(estimate.high) else None,
        "trials": estimate.trials,
        "cut_off": estimate.cut_off,
        "cut_off_at": estimate.cut_off_at,
        "theory": None if theory is None else theory.value,
        "theory_name": None if theory is None else theory.name,
    }


def _show(estimate: Estimate) -> str:
    unit = f" {estimate.metric.unit}" if estimate.metric.unit else ""
    text = f"{estimate.value:.3g} [{estimate.low:.3g}, {show_bound(estimate.high)}]{unit}"
    if estimate.cut_off:
        text = f"≥ {text}, {estimate.cut_off} of {estimate.trials} trials cut off at {estimate.cut_off_at}"
    return text if estimate.theory is None else f"{text}; theory {estimate.theory.value:.3g} ({estimate.theory.name})"


def show_bound(high: float | None) -> str:
    """The upper end of an interval."""
    return "∞" if high is None or not isfinite(high) else f"{high:.3g}"


def _show_settings(settings: Mapping[str, Value]) -> str:
    return ", ".join(f"{key} = {value}" for key, value in settings.items())
