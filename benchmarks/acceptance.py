"""What acceptance catches and what it misses: simulated studies, judged by the product's own functions.

    python benchmarks/acceptance.py [--studies 1000] [--rounds 20] [--seed 0]

A study has a default and, from round 2 on, K candidates a round over n rows (folds x seeds) each; a row's value is
the candidate's true mean, what its fold does to all alike (sd 3 noise units), and noise (sd 1 unit = 2.5 % of the
mean). A/A: no candidate is truly better, so every acceptance is false. Power: in the round looked at, one of the K is
better by `gain` noise units. "greedy" takes whatever has the best mean.
Targets: false acceptances a round below 5 %; at least 80 % of gains of two noise units accepted at the n that
doc/acceptance.md recommends.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

from agent.acceptance import Incumbent, Rules, confirmation, estimate, judge_round, paired_gains
from agent.records import CandidateResult, Objective, Outcome, TrialRecord

OBJECTIVE = Objective(metric="score", direction="maximize")
#: Noise of one row and spread of the folds, in the metric's unit; the mean is 1.
NOISE, FOLDS = 0.025, 0.075
#: Rounds without a gain before the one whose gain is looked at.
BEFORE = (0, 1, 4)


@dataclass
class Simulated:
    """A study while it is simulated: what the orchestrator would read from round.json."""

    rng: numpy.random.Generator
    n: int
    rules: Rules
    noise: float = NOISE
    known: dict[Any, CandidateResult] = field(default_factory=dict)
    incumbent: Incumbent | None = None
    rounds: int = 0

    def __post_init__(self) -> None:
        self._folds = self.rng.normal(1.0, FOLDS, self.n)
        self.run([0.0])

    def run(self, gains: Sequence[float]) -> set[str]:
        """One round; gains: each candidate's true gain over the default, in the metric's unit. Who was accepted."""
        self.rounds += 1
        found = [self._train(f"c{position:02}", gain) for position, gain in enumerate(gains)]
        self.known |= {candidate.place: candidate for candidate in found}
        noise = estimate({place: candidate.cells(OBJECTIVE.metric) for place, candidate in self.known.items()})
        verdicts = judge_round(self.incumbent, found, self.known, noise, OBJECTIVE, self.rules)
        self.incumbent = verdicts.elect()
        return {place[1] for place, judgement in verdicts.judgements.items() if judgement.verdict == "accepted"}

    def greedy(self) -> bool:
        """Whether the newest round has a better mean than the default: what greedy acceptance takes."""
        newest = [m.value for place, m in self.known.items() if place[0] == self.rounds and m.value is not None]
        default = self.known[1, "c00"].value
        return default is not None and max(newest) > default

    def _train(self, name: str, gain: float) -> CandidateResult:
        row = self._folds + gain + self.rng.normal(0.0, self.noise, self.n)
        trials = [
            {"fold": fold, "seed": 0, "outcome": "ok", "metrics": {OBJECTIVE.metric: value}}
            for fold, value in enumerate(row.tolist())
        ]
        return CandidateResult(
            round=self.rounds,
            candidate=name,
            values={},
            key=f"{self.rounds}{name}",
            outcome=Outcome.OK,
            value=float(row.mean()),
            std=float(row.std(ddof=1)) if self.n > 1 else None,
            n=self.n,
            rows=self.n,
            trials=[TrialRecord(trial) for trial in trials],
        )


@dataclass(frozen=True, kw_only=True)
class FalseRates:
    """Of studies without a true gain."""

    first: float
    """Share of second rounds (the first with candidates beside the default) that accepted."""
    a_round: float
    """Share of all rounds that accepted."""
    a_study: float
    """Share of studies that accepted at least once."""
    greedy: float
    """Share of rounds whose best candidate has a better mean than the default."""


def false_acceptances(
    *, k: int, n: int, rounds: int, studies: int, seed: int, rules: Rules | None = None
) -> FalseRates:
    """A/A studies of `rounds` rounds of K candidates after the default's own."""
    accepted = []
    greedy = []
    for study in _studies(studies, seed, n, rules):
        accepted.append([bool(study.run([0.0] * k)) for _ in range(rounds)])
        greedy.append(study.greedy())
    return FalseRates(
        first=statistics.fmean(found[0] for found in accepted),
        a_round=statistics.fmean(statistics.fmean(found) for found in accepted),
        a_study=statistics.fmean(any(found) for found in accepted),
        greedy=statistics.fmean(greedy),
    )


def power(*, k: int, n: int, gain: float, before: int, studies: int, seed: int, rules: Rules | None = None) -> float:
    """Share of studies that accept the one better candidate (by `gain` noise units) of the round after the default's
    and `before` rounds without a gain."""
    found = []
    for study in _studies(studies, seed, n, rules):
        for _ in range(before):
            study.run([0.0] * k)
        found.append("c00" in study.run([gain * NOISE, *[0.0] * (k - 1)]))
    return statistics.fmean(found)


def confirmed(*, seeds: int, gain: float, studies: int, seed: int) -> float:
    """Share of confirmations at so many fresh seeds that confirm a gain of `gain` noise units, where nothing else is
    known of the noise: a study of one row a candidate."""
    rng = numpy.random.default_rng(seed)
    won = 0
    for _ in range(studies):
        base, best = rng.normal(1.0, NOISE, seeds), rng.normal(1.0 + gain * NOISE, NOISE, seeds)
        pairs: list[dict[Any, float]] = [dict(enumerate(values.tolist())) for values in (base, best)]
        noise = estimate({}, gains=[paired_gains(pairs[0], pairs[1], OBJECTIVE)])
        won += confirmation(pairs[0], pairs[1], OBJECTIVE, Rules(), noise).confirmed
    return won / studies


def _studies(count: int, seed: int, n: int, rules: Rules | None) -> Iterator[Simulated]:
    rng = numpy.random.default_rng(seed)
    for _ in range(count):
        yield Simulated(rng, n, rules or Rules())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    common: dict[str, Any] = {"studies": asked.studies, "seed": asked.seed}
    print(f"A/A, {asked.studies} studies of {asked.rounds} rounds, seed {asked.seed}: false acceptances, %")
    print(f"{'K':>3} {'n':>3} {'first round':>12} {'a round':>8} {'a study':>8} {'greedy, first round':>20}")
    worst = 0.0
    for k, n in ((1, 4), (1, 5), (4, 4), (4, 7)):
        found = false_acceptances(k=k, n=n, rounds=asked.rounds, **common)
        worst = max(worst, found.a_round)
        print(
            f"{k:>3} {n:>3} {100 * found.first:>12.1f} {100 * found.a_round:>8.1f} {100 * found.a_study:>8.1f} "
            f"{100 * found.greedy:>20.1f}",
            flush=True,
        )
    print("\nA true gain of G noise units: accepted, %, after B rounds between the default's and this one")
    print(f"{'K':>3} {'n':>3} {'G':>4} " + " ".join(f"{f'B={before}':>6}" for before in BEFORE))
    weakest = 1.0
    for k, n in ((1, 4), (1, 5), (1, 6), (4, 4), (4, 6), (4, 7)):
        for gain in (1.0, 2.0):
            shares = [power(k=k, n=n, gain=gain, before=before, **common) for before in BEFORE]
            print(f"{k:>3} {n:>3} {gain:>4.1f} " + " ".join(f"{100 * share:>6.1f}" for share in shares), flush=True)
            if (k, n, gain) in ((1, 5, 2.0), (4, 7, 2.0)):
                weakest = min(weakest, *shares[1:])
    print("\nConfirmation of a gain of G noise units at S fresh seeds, nothing else known of the noise: confirmed, %")
    print(f"{'S':>3} " + " ".join(f"{f'G={gain:g}':>6}" for gain in (0, 1, 2, 3)))
    for seeds in (3, 4, 5, 8):
        shares = [confirmed(seeds=seeds, gain=float(gain), **common) for gain in (0, 1, 2, 3)]
        print(f"{seeds:>3} " + " ".join(f"{100 * share:>6.1f}" for share in shares), flush=True)
    if worst >= 0.05 or weakest < 0.8:
        sys.exit(f"missed: {100 * worst:.1f} % a round accepted falsely, {100 * weakest:.1f} % of two units accepted")


if __name__ == "__main__":
    main()
