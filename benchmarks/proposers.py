"""How fast proposers find good settings on tabulated tuning tasks: python benchmarks/proposers.py HPO_FOLDER.

HPO_FOLDER holds tasks.py with SPEC (the tasks' names) and load(name) -> task with parameters (name, type, low, high,
log or choices, default), evaluate(config, rng) -> a noisy value to minimise, true(config), regret(value).

Trials come in rounds of four whose results arrive together, and trial 1 is the default in every arm. Printed is
normalised regret: (true value of the observed best - best known) / (median of random - best known); its mean over
seeds, and its standard error over seeds for the mean over tasks.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from agent.errors import ProposalError
from agent.propose.base import Proposer
from agent.propose.baseline import DefaultProposer, RandomProposer
from agent.propose.bayes.proposer import GaussianProcessProposer
from agent.propose.optuna_tpe import TPEProposer
from agent.records import CandidateResult, Objective, Outcome, Proposal
from agent.reference import Reference, config_key, parse_reference

CHECKPOINTS = (10, 25, 50)
ROUND = 4
OBJECTIVE = Objective(metric="loss", direction="minimize")
PROPOSERS: dict[str, Callable[[], Proposer]] = {
    "random": RandomProposer,
    "optuna_tpe": TPEProposer,
    "gp": GaussianProcessProposer,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("hpo", type=Path, help="folder with tasks.py")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--proposers", nargs="+", choices=list(PROPOSERS), default=list(PROPOSERS))
    parser.add_argument(
        "--fail-worst",
        type=float,
        default=0.0,
        help="part of the settings, the worst of 2,000 random ones, that fail instead of giving a value",
    )
    args = parser.parse_args()
    tasks = _load(args.hpo)
    print(f"{args.seeds} seeds, rounds of {ROUND}, default first, worst {args.fail_worst:.0%} fail")
    print(f"{'task':26}{'proposer':12}" + "".join(f"{f'@{n}':>14}" for n in CHECKPOINTS) + f"{'s/round':>10}")
    means: dict[str, list[list[list[float]]]] = {name: [] for name in args.proposers}
    for task_name in tasks.SPEC:
        task = tasks.load(task_name)
        reference = reference_of(task)
        limit = _limit(task, reference, args.fail_worst)
        for name in args.proposers:
            runs = [_run(PROPOSERS[name](), task, reference, seed, limit) for seed in range(args.seeds)]
            regrets = [regret for regret, _ in runs]
            means[name].append(regrets)
            _print(task_name, name, regrets, statistics.mean(seconds for _, seconds in runs))
    for name, per_task in means.items():
        _print("mean of tasks", name, _over_tasks(per_task), None)


def reference_of(task: Any) -> Reference:
    """The task's parameters as a reference; lists of numbers stay choices, as a person would write them."""
    parameters = {}
    for entry in task.parameters:
        kept = {key: entry[key] for key in ("type", "low", "high", "log", "choices", "default") if key in entry}
        parameters[entry["name"]] = {**kept, "description": entry["name"]}
    raw = {
        "schema_version": 1,
        "trainer": task.name,
        "objective": {"metric": OBJECTIVE.metric, "direction": OBJECTIVE.direction},
        "parameters": parameters,
    }
    return parse_reference(raw, file=task.name)


def _load(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("hpo_tasks", folder / "tasks.py")
    if spec is None or spec.loader is None or not (folder / "tasks.py").is_file():
        raise SystemExit(f"{folder}: no tasks.py there")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _limit(task: Any, reference: Reference, part: float) -> float:
    """The true value above which settings fail."""
    if not part:
        return float("inf")
    drawn = RandomProposer().propose(reference, [], 2000, objective=OBJECTIVE, seed=1, taken=frozenset())
    values = sorted(task.true(dict(proposal.values)) for proposal in drawn)
    return float(values[int((1 - part) * len(values)) - 1])


def _run(proposer: Proposer, task: Any, reference: Reference, seed: int, limit: float) -> tuple[list[float], float]:
    """(regret at each checkpoint, seconds a round) of one study."""
    import numpy

    rng = numpy.random.default_rng(seed)
    history: list[CandidateResult] = []
    rounds, seconds = 0, 0.0
    while len(history) < max(CHECKPOINTS):
        begun = time.perf_counter()
        try:
            proposals = _proposals(proposer, reference, history, seed * 1_000_003 + rounds)
        except ProposalError:
            break
        seconds += time.perf_counter() - begun
        rounds += 1
        for proposal in proposals:
            history.append(_observe(task, reference, proposal, rounds, rng, limit))
    return [_regret(task, history[:size]) for size in CHECKPOINTS], seconds / rounds


def _proposals(proposer: Proposer, reference: Reference, history: list[CandidateResult], seed: int) -> list[Proposal]:
    taken = {observation.key for observation in history}
    first: list[Proposal] = []
    if not history:
        first = DefaultProposer().propose(reference, [], 1, objective=OBJECTIVE, seed=0, taken=frozenset())
        taken.add(config_key(reference))
    rest = proposer.propose(
        reference, history, ROUND - len(first), objective=OBJECTIVE, seed=seed, taken=frozenset(taken)
    )
    return first + rest


def _observe(
    task: Any, reference: Reference, proposal: Proposal, number: int, rng: Any, limit: float
) -> CandidateResult:
    values = dict(proposal.values)
    failed = task.true(values) > limit
    return CandidateResult(
        round=number,
        candidate="c",
        values=values,
        key=config_key(reference, values),
        outcome=Outcome.BAD_CONFIG if failed else Outcome.OK,
        value=None if failed else task.evaluate(values, rng),
        n=0 if failed else 1,
        source=proposal.source,
    )


def _regret(task: Any, history: list[CandidateResult]) -> float:
    """That of the observed best; of the median of random (1) where nothing has a value."""
    scored = [observation for observation in history if observation.value is not None]
    if not scored:
        return 1.0
    best = min(scored, key=lambda observation: observation.value or 0.0)
    return float(task.regret(task.true(dict(best.values))))


def _over_tasks(per_task: list[list[list[float]]]) -> list[list[float]]:
    """For each seed and checkpoint the mean over tasks."""
    return [
        [statistics.mean(task[seed][at] for task in per_task) for at in range(len(CHECKPOINTS))]
        for seed in range(len(per_task[0]))
    ]


def _print(task: str, name: str, regrets: list[list[float]], seconds: float | None) -> None:
    cells = []
    for at in range(len(CHECKPOINTS)):
        column = [run[at] for run in regrets]
        error = statistics.stdev(column) / len(column) ** 0.5 if len(column) > 1 else float("nan")
        cells.append(f"{statistics.mean(column):.3f} ± {error:.3f}".rjust(14))
    print(f"{task:26}{name:12}{''.join(cells)}" + ("" if seconds is None else f"{seconds:10.3f}"))


if __name__ == "__main__":
    main()
