"""No member's word stops the others: real processes over mutual TLS, and one liar of each sort in turn.

    python -m tests.processes.hostile [--only NAME …] [--short]

For each: what honest nodes committed of the payments due before, during and after, the longest turn of an honest event
loop meanwhile in CPU time, and the liar's score with them. Exit code 1 where a bound is missed. `liars.py`
says what the liars do, `mishaps.py` what befalls a node by nobody's will.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from gridmerit.network.processes import stop_nodes
from node.queries.answers import NodeStatus
from tests.processes.accomplices import PLAYS
from tests.processes.liars import LIARS, READY, Liar
from tests.processes.mishaps import MISHAPS
from tests.processes.stage import Seen, Stage, Unfit, Window, build_network, open_stage

ROOT = Path(__file__).resolve().parents[2]
KEPT_PPM = 800_000
_GROWS_WITHIN_S = 90.0


@dataclass(frozen=True, kw_only=True)
class Form:
    """The length of each window, in s, and what is asked of it."""

    before_s: float
    during_s: float
    after_s: float
    scored_within_s: float  # after the window during which it lies
    stall_ms: int  # CPU of a loop's longest turn
    is_strict: bool  # a node that does not answer in time has failed; a busy machine may be why


LONG = Form(before_s=15, during_s=20, after_s=15, scored_within_s=40, stall_ms=100, is_strict=True)
SHORT = Form(before_s=3, during_s=5, after_s=3, scored_within_s=90, stall_ms=500, is_strict=False)


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of one liar."""

    name: str
    engine: str
    before: Window
    during: Window
    after: Window
    quiet: Seen
    seen: Seen
    answers: Counter[str]
    faults: tuple[str, ...]

    def __str__(self) -> str:
        committed = " ".join(f"{window.committed_per_s:8.1f}" for window in self.windows)
        blocks = "/".join(str(window.blocks) for window in self.windows)
        final = "/".join(str(window.final) for window in self.windows)
        stalls = f"{self.quiet.stall_ms:>6} {self.seen.stall_ms:>7}"
        score = "banned" if self.seen.is_banned else str(self.seen.score)
        said = ", ".join(f"{kind} x {number}" for kind, number in self.answers.most_common())
        verdict = "; ".join(self.faults) or "ok"
        line = f"{self.name:15} {self.engine:6} {committed} {blocks:>12} {final:>12} {stalls} {score:>7}  {verdict}"
        return f"{line} (answers: {said})" if said else line

    @property
    def windows(self) -> tuple[Window, Window, Window]:
        return self.before, self.during, self.after


HEADER = (
    f"{'':22} {'payments committed a second':^26} {'blocks':>12} {'final':>12} {'longest turn, ms':>14}\n"
    f"{'liar':15} {'engine':6} {'before':>8} {'during':>8} {'after':>8} {'':12} {'':12} {'before':>6} {'during':>7} "
    f"{'score':>7}  verdict"
)
ALONE = {**MISHAPS, **PLAYS}
# Each on its own network; who needs a long chain comes last, so that it grows while others lie.
SHORT_GROUPS = (("wide-posts", "slow-bodies", "headers"), ("false-head",), ("accomplices",))


async def try_liars(names: Sequence[str], home: Path, form: Form) -> AsyncIterator[Result]:
    """One after the other on one network, of one engine and under one load; whose node turns is alone on its own."""
    first = LIARS[names[0]]
    has_liar = first.turns is not None
    assert len({(liar.engine, liar.rate, liar.turns) for liar in map(LIARS.__getitem__, names)}) == 1, names
    network = build_network(
        home,
        engine=first.engine,
        honest=3 if has_liar else 4,
        liar_votes=has_liar,
        liar_seals=first.seals,
    )
    async with open_stage(network, rate=first.rate, has_liar=has_liar) as stage:
        await wait_for_chain(stage, names[0])
        async with stage.watching() as quiet:
            before = await stage.measure(form.before_s)
        for name in names:
            await wait_for_chain(stage, name)
            result = await try_liar(stage, name, before, quiet, form)
            yield result
            before = result.after


async def try_liar(stage: Stage, name: str, before: Window, quiet: Seen, form: Form) -> Result:
    """The outcome of one, and of the network once it has gone; `quiet` is how honest nodes looked before."""
    liar = LIARS[name]
    answers: Counter[str] = Counter()
    async with stage.watching() as seen, lying(stage, name, answers):
        during = await stage.measure(form.during_s)
        faults = await liar.judge(stage) if liar.judge else []
        if liar.is_scored:
            await wait_for_score(seen, form.scored_within_s)
    after = await stage.measure(form.after_s)
    faults += judge(liar, before, during, after, seen, form) + stage.check_processes()
    return Result(
        name=name,
        engine=stage.engine,
        before=before,
        during=during,
        after=after,
        quiet=quiet,
        seen=seen,
        answers=answers,
        faults=tuple(faults),
    )


async def wait_for_score(seen: Seen, within_s: float) -> None:
    """Until honest nodes think ill of the liar, as they are seen to."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            while not seen.score and not seen.is_banned:  # noqa: ASYNC110 - another process's state
                await asyncio.sleep(0.2)


async def wait_for_chain(stage: Stage, name: str) -> None:
    """Until every honest node's chain is as long as a liar needs it."""

    def is_long_enough(answers: Mapping[str, NodeStatus]) -> bool:
        return min(status.chains[0].height for status in answers.values()) >= LIARS[name].min_height

    await stage.wait_for("a chain long enough", is_long_enough, _GROWS_WITHIN_S)


def judge(liar: Liar, before: Window, during: Window, after: Window, seen: Seen, form: Form) -> list[str]:
    """The bounds that were missed."""
    faults = []
    for when, window in (("during", during), ("after", after)):
        if window.committed_per_s * 1_000_000 < KEPT_PPM * before.committed_per_s:
            faults.append(f"kept {100 * window.committed_per_s / max(before.committed_per_s, 0.1):.0f} % {when}")
    if seen.stall_ms > form.stall_ms:
        faults.append(f"stall of {seen.stall_ms} ms")
    if seen.silent and form.is_strict:
        faults.append(f"{', '.join(sorted(seen.silent))} silent")
    if liar.is_scored and not (seen.score or seen.is_banned):
        faults.append("no score")
    return faults


@asynccontextmanager
async def lying(stage: Stage, name: str, answers: Counter[str]) -> AsyncIterator[None]:
    """The liar at work, in a process of its own."""
    liar = LIARS[name]
    if liar.turns is not None:
        await stage.turn(liar.turns)
    process = None
    if liar.act is not None:
        words = [sys.executable, "-m", "tests.processes.liars", name, str(stage.network.directory)]
        process = await asyncio.create_subprocess_exec(
            *words, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        assert process.stdout is not None
        if (await process.stdout.readline()).decode().strip() != READY:
            raise Unfit(f"{name} has failed")
    try:
        yield
    finally:
        if process is not None:
            with suppress(ProcessLookupError):
                process.terminate()
            said, _ = await process.communicate()
        await asyncio.to_thread(stop_nodes, stage.network, [stage.liar], grace_ms=2_000)
    if process is not None:
        if process.returncode:
            raise Unfit(f"{name} has failed")
        answers.update(json.loads(said))


# --- all of them ---------------------------------------------------------------------------------


async def run_group(names: Sequence[str], home: Path, form: Form) -> AsyncIterator[tuple[str, tuple[str, ...]]]:
    """The bounds that were missed, by name, and a line for each."""
    if names[0] in ALONE:
        (name,) = names
        report = await ALONE[name](home, form.during_s)
        print(f"{name}: {report.seen}: {'; '.join(report.faults) or 'ok'}", flush=True)
        yield name, report.faults
        return
    async for result in try_liars(names, home, form):
        print(result, flush=True)
        yield result.name, result.faults


async def drive(home: Path, groups: Sequence[Sequence[str]], form: Form) -> dict[str, tuple[str, ...]]:
    """One network after the other; what was missed, by name, nothing where all is well."""
    missed: dict[str, tuple[str, ...]] = {}
    print(HEADER, flush=True)
    for names in groups:
        try:
            async with aclosing(run_group(names, home / names[0], form)) as found:
                async for name, faults in found:
                    missed[name] = faults
        except Unfit as error:
            print(f"{', '.join(names)}: {error}", flush=True)
            missed[names[0]] = (str(error),)
    return {name: faults for name, faults in missed.items() if faults}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = [*LIARS, *ALONE]
    parser.add_argument("--only", action="append", metavar="NAME", choices=known, help=f"of {', '.join(known)}")
    parser.add_argument("--short", action="store_true", help="seconds instead of minutes, with generous bounds")
    options = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="gridmerit-hostile-"))
    alone = [(name,) for name in options.only or known]
    groups = SHORT_GROUPS if options.short and not options.only else alone
    if asyncio.run(drive(home, groups, SHORT if options.short else LONG)):
        print(f"hostile: FAILED; the nodes' logs are in {home}", file=sys.stderr)
        return 1
    shutil.rmtree(home)
    return 0


if __name__ == "__main__":
    sys.exit(main())
