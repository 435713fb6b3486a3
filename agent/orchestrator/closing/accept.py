"""From a closing round's rows to its verdicts and the incumbent: what is known, the rules, and the judge's word."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent import acceptance
from agent.acceptance import Incumbent, Noise, RoundVerdicts
from agent.errors import LLMError, ReplayMismatch, UsageError
from agent.objectives import parse_limit, quantities, violation
from agent.orchestrator.deciding.agents import agents_of
from agent.orchestrator.work import Work
from agent.records import CandidateResult, Place
from agent.reference import load_reference
from agent.roles import judge
from agent.store.paths import RoundPaths
from agent.store.record import Acceptance, ConfirmationRecord, Judge, RoundRecord
from agent.store.store import Store
from trainers.layout import candidate_name

#: Verdicts that are told on the terminal; round.json has all of them.
MOST_SAID = 8
#: Replicates that are advised: 4 degrees of freedom.
_ADVISED = 5


@dataclass(frozen=True, kw_only=True)
class Accepted:
    """How a round's candidates were judged."""

    verdicts: RoundVerdicts
    noise: Noise | None
    incumbent: Incumbent | None
    judge: Judge | None
    """None where there was nothing to ask."""
    trial_s: float | None
    """Seconds that a trial of this round took in the mean, over all folds; None where nothing says so."""

    def record(self, rules: acceptance.Rules) -> Acceptance:
        """The round's part of round.json; each candidate's is in `judgements`."""
        return Acceptance(against=self.verdicts.against, noise=self.noise, rules=rules.plain(), judge=self.judge)

    def judgements(self, number: int) -> dict[str, acceptance.Judgement]:
        """Candidate -> its judgement, of the candidates of a round."""
        return {place[1]: found for place, found in self.verdicts.judgements.items() if place[0] == number}

    def lines(self, number: int) -> list[str]:
        """What a person is told of a round: the winner's verdict first, then the others in their order."""
        judged = self.judgements(number)
        first = self.incumbent.candidate if self.incumbent is not None and self.incumbent.round == number else None
        names = sorted(judged, key=lambda name: name != first)
        lines = [f"round {number} {name} {judged[name].why}" for name in names[:MOST_SAID]]
        more = len(names) - len(lines)
        lines += [f"round {number}: {more} more verdicts in round.json"] if more > 0 else []
        return lines + self._advice(number)

    def _advice(self, number: int) -> list[str]:
        """What would decide, and what it takes, where too little is known of the noise. Nothing is spent unasked."""
        thin = [name for name, judgement in self.judgements(number).items() if judgement.thin]
        if not thin:
            return []
        cost = "" if self.trial_s is None else f" (about {_ADVISED * self.trial_s / 60:.1f} minutes of training)"
        known = "is unknown" if self.noise is None else f"rests on {self.noise.df} degrees of freedom"
        return [
            f"round {number}: the noise {known}, too little to decide about {', '.join(thin)}; --replicates "
            f"{_ADVISED} trains the incumbent {_ADVISED} times more{cost}; --folds or --seeds tell it as they go"
        ]


def accept(work: Work, results: Sequence[CandidateResult], *, replayed: bool = False) -> Accepted:
    """Judge the candidates of a round that is about to close.

    replayed: what the judge said must be on record; raises ReplayMismatch where it is not. Raises InvalidRules where
    a person's own rule fails: nothing is written then, and the step is done again.
    """
    store, rules = work.store, work.tools.rules
    others = [store.round_record(paths) for paths in store.closed() if paths.number != work.number]
    known = {**results_in(others), **{found.place: found for found in results}}
    barred = _barred(work, known.values())
    current = _standing(work, known)
    if current is not None and current.key in barred:
        # A limit that came later, or a value that crossed it: what is best within the limits is found anew.
        current = None
    noise = noise_of(store, known)
    # Where the incumbent was lost (its round was run again), all that was measured is held against the first anew.
    every = sorted(known.values(), key=lambda found: found.round)
    if current is not None and current.beaten:
        barred[current.beaten] = "the incumbent beat it at fresh seeds"
    verdicts = acceptance.judge_round(
        current,
        results if current is not None else every,
        known,
        noise,
        store.config.objective,
        rules,
        barred=barred,
    )
    asked = _ask(work, verdicts, known, replayed) if rules.judge else None
    if asked is not None:
        verdicts = verdicts.with_opinions({(work.number, name): said for name, said in asked.opinions.items()})
    return Accepted(
        verdicts=verdicts,
        noise=noise,
        incumbent=verdicts.elect(),
        judge=Judge(status=asked.status, why=asked.why, call=asked.call) if asked is not None else None,
        trial_s=_trial_seconds(store, results),
    )


def _barred(work: Work, results: Iterable[CandidateResult]) -> dict[str, str]:
    """key -> reason, of measured settings that break a limit of the study as it is now; the newest word counts."""
    limits = [parse_limit(text) for text in work.settings.limits]
    if not limits:
        return {}
    found = {result.key: violation(quantities(result), limits) for result in results if result.n}
    return {key: reason for key, reason in found.items() if reason}


def _trial_seconds(store: Store, results: Sequence[CandidateResult]) -> float | None:
    """Mean over the candidates of what one seed took in all folds."""
    spent = [found.costs["wall_seconds"] / found.n for found in results if found.n and "wall_seconds" in found.costs]
    return len(store.config.folds) * sum(spent) / len(spent) if spent else None


def results_in(records: Iterable[RoundRecord]) -> dict[Place, CandidateResult]:
    """Every candidate of closed rounds, by its place."""
    return {found.place: found for record in records for found in record.candidates}


def noise_of(
    store: Store,
    known: Mapping[Place, CandidateResult],
    *,
    closing: RoundPaths | None = None,
    gains: Sequence[Sequence[float]] = (),
    replicates: Sequence[Sequence[float]] = (),
) -> Noise | None:
    """The study's noise floor: all that was measured, the confirmations' pairs, and replicates that were asked for.

    gains, replicates: of a confirmation, or a set of replicates, that is about to close; `closing` is its folder. Its
    round.json may be there already after a kill, and must not count twice.
    """
    confirmed, repeated = [*gains], [*replicates]
    for record in closed_confirmations(store, but=closing):
        if record.gain is not None:
            confirmed.append(record.gain.gains)
        repeated += record.replicates or ()
    metric = store.config.metric
    table: dict[Hashable, Mapping[Hashable, float]] = {place: found.cells(metric) for place, found in known.items()}
    return acceptance.estimate(table, gains=confirmed, replicates=repeated)


def closed_confirmations(store: Store, *, but: RoundPaths | None = None) -> list[ConfirmationRecord]:
    """round.json of every confirmation and of every set of replicates that is closed, `but` this one. Those that are
    to be trained again, because machines lost all of it, are left out."""
    paths = [store.paths.round(folder) for folder in store.paths.folders("confirm")]
    records = [store.confirmation_record(one) for one in paths if one.closed.exists() and one != but]
    return [record for record in records if not record.again]


def _standing(work: Work, known: Mapping[Place, CandidateResult]) -> Incumbent | None:
    """The incumbent as it was when the round was decided: incumbent.json may be this very step's already, which was
    killed after it. None where its round was run again and it is no more there."""
    raw = work.store.proposals(work.paths).incumbent
    if raw is None:
        return None
    found = Incumbent.from_json(raw)
    now = known.get(found.place)
    return found if now is not None and now.key == found.key and now.complete else None


def _ask(
    work: Work, verdicts: RoundVerdicts, known: Mapping[Place, CandidateResult], replayed: bool
) -> judge.Opinions | None:
    """What the judge says of this round's borderline candidates; None where there is nothing to ask, or nobody."""
    models, against = work.tools.models, verdicts.against
    borderline = {place[1]: j for place, j in verdicts.for_judge.items() if place[0] == work.number}
    if models is None or against is None or not borderline:
        return None
    reference_path: Path = work.paths.reference(candidate_name(0))
    agents = agents_of(work, "assess", models, load_reference(reference_path))
    try:
        return judge.ask(
            agents,
            objective=work.store.config.objective,
            incumbent=known[against.place],
            candidates=[known[work.number, name] for name in borderline],
            judgements=borderline,
        )
    except (LLMError, UsageError) as error:
        # UsageError: a key or a prompt file that went away since the study was looked at. The round is trained; the
        # rules close it.
        return judge.Opinions(status="skipped", why=f"{type(error).__name__}: {error}")
    except ReplayMismatch:
        if replayed:
            raise
        # A round that runs is collected and closed though its models' keys are gone.
        return judge.Opinions(status="skipped", why="the language models cannot be asked now")
