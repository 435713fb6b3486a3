"""From a closing round's rows to its verdicts and the incumbent: what is known, the rules, and the judge's word."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent import acceptance
from agent.acceptance import Incumbent, Measured, Noise, Place, RoundVerdicts
from agent.errors import LLMError, ReplayMismatch, UsageError
from agent.objectives import parse_limit, quantities, violation
from agent.orchestrator.deciding.agents import agents_of
from agent.orchestrator.work import Work
from agent.reference import load_reference
from agent.roles import judge
from agent.store.paths import RoundPaths
from agent.store.store import Store, observation
from trainers.files import read_json_object
from trainers.layout import candidate_name

Record = Mapping[str, Any]

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
    judge: Mapping[str, Any] | None
    """status (asked or skipped), why, call; None where there was nothing to ask."""
    trial_s: float | None
    """Seconds that a trial of this round took in the mean, over all folds; None where nothing says so."""

    def to_json(self, rules: acceptance.Rules) -> dict[str, Any]:
        """The round's part of round.json; each candidate's is `of`."""
        against = self.verdicts.against
        return {
            "against": against.to_json() if against is not None else None,
            "noise": noise_json(self.noise),
            "rules": rules.plain(),
            "judge": dict(self.judge) if self.judge is not None else None,
        }

    def of(self, place: Place) -> dict[str, Any]:
        """A candidate's part of round.json."""
        judgement = self.verdicts.judgements[place].to_json()
        return {"verdict": judgement["verdict"], "judgement": judgement}

    def lines(self, number: int) -> list[str]:
        """What a person is told of a round: the winner's verdict first, then the others in their order."""
        own = {place: j for place, j in self.verdicts.judgements.items() if place[0] == number}
        first = self.incumbent.place if self.incumbent is not None else None
        told = sorted(own, key=lambda place: place != first)
        lines = [f"round {number} {place[1]} {own[place].why}" for place in told[:MOST_SAID]]
        more = len(told) - len(lines)
        lines += [f"round {number}: {more} more verdicts in round.json"] if more > 0 else []
        return lines + self._advice(number)

    def _advice(self, number: int) -> list[str]:
        """What would decide, and what it takes, where too little is known of the noise. Nothing is spent unasked."""
        thin = [place[1] for place, j in self.verdicts.judgements.items() if place[0] == number and j.thin]
        if not thin:
            return []
        cost = "" if self.trial_s is None else f" (about {_ADVISED * self.trial_s / 60:.1f} minutes of training)"
        known = "is unknown" if self.noise is None else f"rests on {self.noise.df} degrees of freedom"
        return [
            f"round {number}: the noise {known}, too little to decide about {', '.join(thin)}; --replicates "
            f"{_ADVISED} trains the incumbent {_ADVISED} times more{cost}; --folds or --seeds tell it as they go"
        ]


def noise_json(noise: Noise | None) -> dict[str, Any] | None:
    """The noise floor as round.json has it."""
    if noise is None:
        return None
    left_out = [list(name) if isinstance(name, tuple) else str(name) for name in noise.wild]
    return {"sd": noise.sd, "variance": noise.variance, "df": noise.df, "left_out": left_out}


def accept(work: Work, entries: Sequence[dict[str, Any]], *, replayed: bool = False) -> Accepted:
    """Judge the candidates of a round that is about to close. entries: as round.json will have them.

    replayed: what the judge said must be on record; raises ReplayMismatch where it is not. Raises InvalidRules where
    a person's own rule fails: nothing is written then, and the step is done again.
    """
    store, rules = work.store, work.tools.rules
    metric = store.config.metric
    own = {
        c.place: c for c in (acceptance.measured(observation(work.number, e), e["trials"], metric) for e in entries)
    }
    others = [store.round_record(paths) for paths in store.closed() if paths.number != work.number]
    known = {**measured_in(store, others), **own}
    barred = _barred(work, [*(entry for record in others for entry in record["candidates"]), *entries])
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
        list(own.values()) if current is not None else every,
        known,
        noise,
        store.config.objective,
        rules,
        barred=barred,
    )
    opinion = _ask(work, verdicts, entries, replayed) if rules.judge else None
    if opinion is not None:
        verdicts = verdicts.with_opinions({(work.number, name): said for name, said in opinion.opinions.items()})
    told = opinion.to_json() if opinion is not None else None
    return Accepted(
        verdicts=verdicts,
        noise=noise,
        incumbent=verdicts.elect(),
        judge=told,
        trial_s=_trial_seconds(store, entries),
    )


def _barred(work: Work, entries: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """key -> reason, of measured settings that break a limit of the study as it is now; the newest word counts."""
    limits = [parse_limit(text) for text in work.settings.limits]
    if not limits:
        return {}
    found = {entry["key"]: violation(quantities(entry), limits) for entry in entries if entry["n"]}
    return {key: reason for key, reason in found.items() if reason}


def _trial_seconds(store: Store, entries: Sequence[Mapping[str, Any]]) -> float | None:
    """Mean over the candidates of what one seed took in all folds."""
    spent = [
        entry["costs"]["wall_seconds"] / entry["n"]
        for entry in entries
        if entry["n"] and "wall_seconds" in entry["costs"]
    ]
    return len(store.config.folds) * sum(spent) / len(spent) if spent else None


def measured_in(store: Store, records: Iterable[Record]) -> dict[Place, Measured]:
    """Every candidate of closed rounds, by its place."""
    found = {}
    for record in records:
        for entry in record["candidates"]:
            one = acceptance.measured(observation(record["round"], entry), entry["trials"], store.config.metric)
            found[one.place] = one
    return found


def noise_of(
    store: Store,
    known: Mapping[Place, Measured],
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
        if "gain" in record:
            confirmed.append(record["gain"]["gains"])
        repeated += record.get("replicates", ())
    table: dict[Hashable, Mapping[Hashable, float]] = {place: found.cells for place, found in known.items()}
    return acceptance.estimate(table, gains=confirmed, replicates=repeated)


def closed_confirmations(store: Store, *, but: RoundPaths | None = None) -> list[Record]:
    """round.json of every confirmation and of every set of replicates that is closed, `but` this one. Those that are
    to be trained again, because machines lost all of it, are left out."""
    paths = [store.paths.round(folder) for folder in store.paths.folders("confirm")]
    records = [store.round_record(one) for one in paths if one.closed.exists() and one != but]
    return [record for record in records if not record.get("again")]


def _standing(work: Work, known: Mapping[Place, Measured]) -> Incumbent | None:
    """The incumbent as it was when the round was decided: incumbent.json may be this very step's already, which was
    killed after it. None where its round was run again and it is no more there."""
    raw: Any = read_json_object(work.paths.proposals)["incumbent"]
    if raw is None:
        return None
    found = Incumbent.from_json(raw)
    again = known.get(found.place)
    return found if again is not None and again.key == found.key and again.complete else None


def _ask(
    work: Work, verdicts: RoundVerdicts, entries: Sequence[Mapping[str, Any]], replayed: bool
) -> judge.Opinions | None:
    """What the judge says of this round's borderline candidates; None where there is nothing to ask, or nobody."""
    models, against = work.tools.models, verdicts.against
    open_ = {place[1]: j for place, j in verdicts.for_judge.items() if place[0] == work.number}
    if models is None or against is None or not open_:
        return None
    reference_path: Path = work.paths.reference(candidate_name(0))
    agents = agents_of(work, "assess", models, load_reference(reference_path))
    by_name = {entry["name"]: entry for entry in entries}
    try:
        return judge.ask(
            agents,
            objective=work.store.config.objective,
            incumbent=_entry(work, against.place, by_name),
            candidates=[by_name[name] for name in open_],
            judgements=open_,
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


def _entry(work: Work, place: Place, own: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    """The entry of round.json that a place stands for."""
    if place[0] == work.number:
        return own[place[1]]
    record = next(work.store.round_record(p) for p in work.store.closed() if p.number == place[0])
    return next(entry for entry in record["candidates"] if entry["name"] == place[1])
