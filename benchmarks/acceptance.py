"""What acceptance catches and what it misses: simulated studies, judged by the product's own functions.

    python benchmarks/acceptance.py [--studies 2000] [--rounds 20] [--seed 0]

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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy

from agent.acceptance import Incumbent, Measured, Rules, estimate, judge_round
from agent.records import Objective

OBJECTIVE = Objective(metric="score", direction="maximize")
#: Noise of one row and spread of the folds, in the metric's unit; the mean is 1.
NOISE, FOLDS = 0.025, 0.075


@dataclass
class Simulated:
    """A study while it is simulated: what the orchestrator would read from round.json."""

    rng: numpy.random.Generator
    n: int
    rules: Rules
    noise: float = NOISE
    known: dict[Any, Measured] = field(default_factory=dict)
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
        noise = estimate({place: candidate.cells for place, candidate in self.known.items()})
        verdicts = judge_round(self.incumbent, found, self.known, noise, OBJECTIVE, self.rules)
        self.incumbent = verdicts.elect()
        return {place[1] for place, judgement in verdicts.judgements.items() if judgement.verdict == "accepted"}

    def greedy(self) -> bool:
        """Whether the newest round has a better mean than the default: what greedy acceptance takes."""
        newest = [m.mean for place, m in self.known.items() if place[0] == self.rounds and m.mean is not None]
        default = self.known[1, "c00"].mean
        return default is not None and max(newest) > default

    def _train(self, name: str, gain: float) -> Measured:
        values = (self._folds + gain + self.rng.normal(0.0, self.noise, self.n)).tolist()
        return Measured(
            round=self.rounds,
            candidate=name,
            key=f"{self.rounds}{name}",
            mean=statistics.fmean(values),
            std=statistics.stdev(values) if self.n > 1 else None,
            n=self.n,
            rows=self.n,
            cells={(fold, 0): value for fold, value in enumerate(values)},
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


def _studies(count: int, seed: int, n: int, rules: Rules | None) -> Iterator[Simulated]:
    rng = numpy.random.default_rng(seed)
    for _ in range(count):
        yield Simulated(rng, n, rules or Rules())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    print(f"A/A, {asked.studies} studies of {asked.rounds} rounds, seed {asked.seed}: false acceptances, %")
    print(f"{'K':>3} {'n':>3} {'first round':>12} {'a round':>8} {'a study':>8} {'greedy':>7}")
    for k, n in ((1, 4), (4, 4), (1, 7), (4, 7)):
        found = false_acceptances(k=k, n=n, rounds=asked.rounds, studies=asked.studies, seed=asked.seed)
        cells = (found.first, found.a_round, found.a_study, found.greedy)
        print(f"{k:>3} {n:>3} {100 * cells[0]:>12.1f} " + " ".join(f"{100 * cell:>7.1f}" for cell in cells[1:]))
    print(f"\nA true gain of G noise units, {asked.studies} studies: accepted, %, after B earlier rounds")
    print(f"{'K':>3} {'n':>3} {'G':>4} " + " ".join(f"{f'B={before}':>6}" for before in (0, 2, 5, 10)))
    for k, n in ((1, 3), (1, 4), (1, 5), (1, 7), (4, 4), (4, 5), (4, 7)):
        for gain in (1.0, 2.0):
            cells_ = [
                power(k=k, n=n, gain=gain, before=before, studies=asked.studies, seed=asked.seed)
                for before in (0, 2, 5, 10)
            ]
            print(f"{k:>3} {n:>3} {gain:>4.1f} " + " ".join(f"{100 * cell:>6.1f}" for cell in cells_))


if __name__ == "__main__":
    main()
