"""Small mutations of the product, each of which the simulation must notice: a soak that cannot fail proves nothing.

    python -m tests.simulation.mutations [NAME ...]     (the table, as Markdown)

A mutation is one line of the product written differently. It is applied in this process alone: the function is
compiled again from its changed source and its code exchanged, so that everybody who imported it runs the changed one.
"""

from __future__ import annotations
import __future__

import argparse
import contextlib
import importlib
import inspect
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType

from tests.simulation import tasks
from tests.simulation.script import draw
from tests.simulation.shrink import kind_of
from tests.simulation.world import Ended, run

MOST_ROUNDS = 10_000


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """One line of the product, written differently."""

    name: str
    """What it leaves out, in a few words."""
    where: str
    """"module:function" or "module:Class.method"."""
    old: str
    new: str
    also: Mutation | None = None
    """A second line, where two guards stand before the same mistake."""


class Moved(AssertionError):
    """The product's line is not there any more: write the mutation anew."""


def function_of(where: str) -> FunctionType:
    """The function that a mutation changes."""
    module, _, path = where.partition(":")
    found: object = importlib.import_module(module)
    for part in path.split("."):
        found = inspect.getattr_static(found, part)
    found = getattr(found, "__func__", found)
    found = getattr(found, "fget", found)  # a property
    found = inspect.unwrap(found)  # type: ignore[arg-type]
    if not isinstance(found, FunctionType):
        raise Moved(f"{where} is no function")
    return found


@contextlib.contextmanager
def applied(mutation: Mutation) -> Iterator[None]:
    """The product with this mutation. Raises Moved."""
    function = function_of(mutation.where)
    source = textwrap.dedent(inspect.getsource(function))
    if source.count(mutation.old) != 1:
        raise Moved(f"{mutation.name}: {source.count(mutation.old)} times in {mutation.where}: {mutation.old}")
    changed = source.replace(mutation.old, mutation.new)
    # Without decorators: only the code object is taken over.
    changed = changed[changed.index("def ") :]
    names: dict[str, object] = {}
    flags = __future__.annotations.compiler_flag
    exec(compile(changed, f"<{mutation.name}>", "exec", flags=flags), function.__globals__, names)
    made = names[function.__name__]
    assert isinstance(made, FunctionType)
    before = function.__code__
    function.__code__ = made.__code__
    try:
        with applied(mutation.also) if mutation.also is not None else contextlib.nullcontext():
            yield
    finally:
        function.__code__ = before


_SUBMIT = "agent.orchestrator.training.submit"
_RETRY = "agent.orchestrator.training.retry"
_APPEND = "self._disk.append(self._path, json.dumps(entry, ensure_ascii=False, allow_nan=False))"
_ROWS = "agent.orchestrator.training.rows"
_COLLECT = "agent.orchestrator.training.collect"

MUTATIONS: Sequence[Mutation] = (
    Mutation(
        name="no intent before sbatch",
        where=f"{_SUBMIT}:_once",
        old="journal.append(\n            Intent(",
        new="(lambda event: None)(\n            Intent(",
    ),
    Mutation(
        name="a submission in doubt is not looked up",
        where=f"{_SUBMIT}:_once",
        old="if (found := launcher.find(batch)) is not None:",
        new="if (found := None) is not None:",
    ),
    Mutation(
        name="a submission in doubt is made again at once",
        where=f"{_SUBMIT}:_looked_up_until",
        old="timedelta(seconds=work.settings.adopt_after_s)",
        new="timedelta(seconds=-1e6)",
    ),
    Mutation(
        name="a submission is made again although it is recorded",
        where=f"{_SUBMIT}:_once",
        old="if isinstance(last, Submitted):",
        new="if last is None and isinstance(last, Submitted):",
    ),
    Mutation(
        name="a claim that exists is given again",
        where="trainers.files:create_exclusive",
        old="except FileExistsError:\n            return False",
        new="except FileExistsError:\n            return True",
    ),
    Mutation(
        name="a retry forgets its attempt",
        where=f"{_RETRY}:next_attempt",
        old="return 1 + max(",
        new="return max(",
    ),
    Mutation(
        name="an end is journaled at every look",
        where=f"{_ROWS}:RowState.is_to_be_judged",
        old="return self.newest.ended is None and ",
        new="return ",
    ),
    Mutation(
        name="a row without a result is judged at once",
        where=f"{_COLLECT}:_grace_is_over",
        old="if work.tools.launcher().capabilities.results_at_once:",
        new="if True:",
    ),
    Mutation(
        name="results are not read again behind the scheduler's answer",
        where=f"{_COLLECT}:_wait_for_rows",
        old="results.update(_results(work, manifest, unfinished))",
        new="pass",
    ),
    Mutation(
        name="a summary counts although a result came later",
        where=f"{_COLLECT}:_fits",
        old="if trial is None or trial.attempt != (result.attempt if result else None):",
        new="if trial is None:",
    ),
    Mutation(
        name="missing from SLURM is done",
        where="agent.launch.reconcile:_judge",
        old="if missing_s < patience_s:",
        new="if False:",
    ),
    Mutation(
        name="the quorum forgets to cancel",
        where=f"{_RETRY}:close_by_quorum",
        old="if made:\n        work.tools.launcher().cancel(list(made.values()))",
        new="pass",
    ),
    Mutation(
        name="attempts that a late result overtook go on",
        where="agent.orchestrator.training.superseded:stop_superseded",
        old="if not active:",
        new="if True:",
    ),
    Mutation(
        name="a cancelled row is retried",
        where=f"{_ROWS}:RowState.left_alone",
        old="return self.cancelled or ",
        new="return ",
        also=Mutation(
            name="and its end is taken for the machine's",
            where=f"{_RETRY}:_ending",
            old="return Outcome.CANCELLED, ",
            new="return Outcome.LOST, ",
        ),
    ),
    Mutation(
        name="a cancellation of one row cancels its array",
        where="agent.launch.scheduler:SlurmReader._ids",
        old="if items is None:",
        new="if True:",
    ),
    Mutation(
        name="a cancellation is forgotten before it is journaled",
        where="agent.orchestrator.training.cancel:obey",
        old="paths = _open_round(store, request)",
        new="paths = _open_round(store, request)\n        settle(store, request)",
    ),
    Mutation(
        name="a cancelled round goes on",
        where="agent.orchestrator.training.cancel:check_halted",
        old="if halted(work.store, work.paths) is None:",
        new="if True:",
    ),
    Mutation(
        name="a paused study submits",
        where="agent.orchestrator.training.circuit_breaker:check",
        old="if (standing := trip(store)) is not None:",
        new="if (standing := trip(store)) is not None and False:",
    ),
    Mutation(
        name="hours are charged at every look",
        where="agent.orchestrator.training.hours:charge",
        old="return",
        new="pass",
    ),
    Mutation(
        name="hours are refunded at every look",
        where="agent.orchestrator.training.hours:settle",
        old="missing = ledger.unaccounted()",
        new="missing = {name: charge.items for name, charge in ledger.charges.items()}",
    ),
    Mutation(
        name="the cap on hours is not held",
        where="agent.orchestrator.training.hours:admit",
        old="if reason := ledger.refusal(requests, caps_of(work.settings)):",
        new="if reason := '':",
    ),
    Mutation(
        name="the lease is given twice",
        where="agent.store.lease:held",
        old="fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        new="pass",
    ),
    Mutation(
        name="the journal remembers what the disk refused",
        where="agent.store.journal:Journal.append",
        old=_APPEND,
        new=f"try:\n        {_APPEND}\n    except Exception:\n        self._take(entry, made)\n        raise",
    ),
    Mutation(
        name="a clock set back is not noticed",
        where="agent.store.journal:Journal.check_clock",
        old="if now < last - CLOCK_TOLERANCE:",
        new="if False:",
    ),
    Mutation(
        name="a wave that was cut short counts as handed over",
        where=f"{_RETRY}:open_wave",
        old="done is None or done.attempt != wave.attempt",
        new="done is None",
    ),
    Mutation(
        name="the reference is rewritten without being archived",
        where="agent.orchestrator.training.render:_archive",
        old="if work.number == 1:",
        new="if True:",
    ),
)


@dataclass(frozen=True, kw_only=True)
class Caught:
    """What the simulation made of a mutation."""

    mutation: Mutation
    ended: Ended | None
    """The first study that failed; None where none did."""
    seed: int
    rounds: int
    """Until then, the failing study's included."""
    seconds: float


def hunt(mutation: Mutation, home: Path, *, most: int = MOST_ROUNDS, first_seed: int = 1) -> Caught:
    """Run studies of the mutated product until one fails."""
    rounds, seed, began = 0, first_seed, time.process_time()
    with applied(mutation):
        while rounds < most:
            ended = run(draw(seed), home)
            rounds += max(1, ended.rounds)
            if ended.wrong:
                seconds = time.process_time() - began
                return Caught(mutation=mutation, ended=ended, seed=seed, rounds=rounds, seconds=seconds)
            seed += 1
    return Caught(mutation=mutation, ended=None, seed=seed, rounds=rounds, seconds=time.process_time() - began)


def table(found: Sequence[Caught]) -> str:
    """As Markdown, in the order of the mutations."""
    lines = ["| mutation | rounds until caught | what is then wrong |", "|---|---|---|"]
    for one in found:
        wrong = one.ended.wrong[0].strip().splitlines()[-1] if one.ended is not None else ""
        told = " ".join(wrong.split())[:140].replace("|", "/")
        rounds = str(one.rounds) if one.ended is not None else f"not within {one.rounds}"
        lines.append(f"| {one.mutation.name} | {rounds} | {told} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutations", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only mutations with this in their names")
    parser.add_argument("--rounds", type=int, default=MOST_ROUNDS, help="at most so many rounds each")
    chosen = parser.parse_args()
    wanted = [one for one in MUTATIONS if not chosen.names or any(name in one.name for name in chosen.names)]
    home = Path(tempfile.mkdtemp(prefix="rt-mutations-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    silence = tasks.silence()
    found = []
    for mutation in wanted:
        caught = hunt(mutation, home, most=chosen.rounds)
        found.append(caught)
        told = kind_of(caught.ended) if caught.ended is not None else "NOT CAUGHT"
        sys.stderr.write(
            f"{mutation.name}: {caught.rounds} rounds, {caught.seconds:.0f} s, seed {caught.seed}: {told}\n"
        )
    silence()
    print(table(found))
    return 0 if all(one.ended is not None for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
