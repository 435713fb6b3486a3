"""What is known of a round that closed, as objects: the codec of round.json, of rounds, rungs and confirmations.

One class each, whoever reads it. `to_json` writes the files byte for byte as every version did; `read_*` takes older
files, in which some fields are not there, and refuses what is missing or of another type by file, field and value.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.acceptance import Confirmation, Incumbent, Judgement, Noise
from agent.errors import InvalidStudy
from agent.planning import Plan
from agent.records import CandidateResult, InsteadOf, Objective, Outcome, TrialAnalysis, TrialRecord
from agent.store.fields import Fields
from trainers.files import newer_version

#: The highest schema_version of round.json that is read.
ROUND_SCHEMA = 1
FINAL, ROUND, REPLICATES = "final", "round", "replicates"
"""What a set of trainings at fresh seeds is for: the best against the default | a round's winner against what it took
the place of | the incumbent alone, for the noise."""

_OUTCOMES = {outcome.value: outcome for outcome in Outcome}


@dataclass(frozen=True, kw_only=True)
class Judge:
    """What became of a round's judge."""

    status: str
    """"asked", or "skipped": neither approval nor refusal."""
    why: str
    call: str

    def to_json(self) -> dict[str, object]:
        return {"status": self.status, "why": self.why, "call": self.call}


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """What a round's verdicts rest on."""

    against: Incumbent | None
    """What the candidates were held against; None where nothing complete was known."""
    noise: Noise | None
    rules: Mapping[str, object]
    """Their numbers, as `Rules.plain` gives them."""
    judge: Judge | None
    """None where there was nothing to ask."""

    def to_json(self) -> dict[str, object]:
        return {
            "against": self.against.to_json() if self.against is not None else None,
            "noise": self.noise.to_json() if self.noise is not None else None,
            "rules": dict(self.rules),
            "judge": self.judge.to_json() if self.judge is not None else None,
        }


@dataclass(frozen=True, kw_only=True)
class RungResult:
    """What one rung of a round measured, and who went on."""

    rung: int
    """From 1."""
    epochs: int
    share: float
    """Epochs as a share of the full training."""
    folds: Sequence[int]
    promoted: Sequence[str]
    """Names of proposals; none of a rung that closed on nothing and is trained again."""
    candidates: Sequence[CandidateResult]

    def to_json(self) -> dict[str, object]:
        """An entry of round.json's `screened`."""
        return {
            "rung": self.rung,
            "epochs": self.epochs,
            "share": self.share,
            "folds": list(self.folds),
            "promoted": list(self.promoted),
            "candidates": [candidate_json(candidate) for candidate in self.candidates],
        }


@dataclass(frozen=True, kw_only=True)
class RungRecord:
    """round.json of a rung."""

    folder: str
    round: int
    closed_at: str
    objective: Objective
    result: RungResult

    def to_json(self) -> dict[str, object]:
        found = self.result
        return {
            "schema_version": ROUND_SCHEMA,
            "kind": f"rung{found.rung}",
            "folder": self.folder,
            "round": self.round,
            "rung": found.rung,
            "epochs": found.epochs,
            "share": found.share,
            "folds": list(found.folds),
            "closed_at": self.closed_at,
            "objective": _objective_json(self.objective),
            "candidates": [candidate_json(candidate) for candidate in found.candidates],
            "promoted": list(found.promoted),
        }


@dataclass(frozen=True, kw_only=True)
class RoundRecord:
    """round.json of a round: all that later rounds, status and reports need of it."""

    round: int
    closed_at: str
    objective: Objective
    ranking: Sequence[str]
    """Names of its candidates, the best first."""
    candidates: Sequence[CandidateResult]
    judgements: Mapping[str, Judgement] = field(default_factory=dict)
    """Candidate -> what it was judged; empty in rounds of earlier versions."""
    analyses: Mapping[str, TrialAnalysis] = field(default_factory=dict)
    """Trial -> what its curves show."""
    incumbent: Incumbent | None
    """After this round."""
    tells_gain: bool = True
    """Whether the incumbent says how it took its place. Rounds of earlier versions do not."""
    acceptance: Acceptance | None = None
    """None in rounds of earlier versions."""
    limits: Sequence[str] = ()
    notes: Sequence[str] = ()
    plan: Plan | None = None
    costs: Mapping[str, float] = field(default_factory=dict)
    screened: Sequence[RungResult] = ()

    @property
    def gained(self) -> bool:
        """Whether the round had a gain: one of its candidates took the incumbent's place, as accepted or, with the
        noise unknown, as leading.

        The one place that says what a gain is. The first candidate with a value at all took nobody's place and has no
        judgement.
        """
        if self.incumbent is None or self.incumbent.round != self.round:
            return False
        return not self.tells_gain or self.incumbent.judgement is not None

    def candidate(self, name: str) -> CandidateResult:
        """Raises KeyError."""
        for found in self.candidates:
            if found.candidate == name:
                return found
        raise KeyError(name)

    def verdict(self, name: str) -> str | None:
        """None in rounds of earlier versions."""
        return self.judgements[name].verdict if name in self.judgements else None

    def to_json(self) -> dict[str, object]:
        found: dict[str, object] = {
            "schema_version": ROUND_SCHEMA,
            "kind": "round",
            "round": self.round,
            "closed_at": self.closed_at,
            "objective": _objective_json(self.objective),
            "ranking": list(self.ranking),
            "candidates": [candidate_json(one, self.judgements.get(one.candidate)) for one in self.candidates],
            "analyses": {trial: analysis.to_json() for trial, analysis in self.analyses.items()},
            "incumbent": self.incumbent.to_json() if self.incumbent is not None else None,
            "acceptance": self.acceptance.to_json() if self.acceptance is not None else None,
            "limits": list(self.limits),
            "notes": list(self.notes),
            "plan": self.plan.to_json() if self.plan is not None else None,
            "costs": dict(self.costs),
        }
        return found | ({"screened": [rung.to_json() for rung in self.screened]} if self.screened else {})


@dataclass(frozen=True, kw_only=True)
class Position:
    """A candidate of a closed round, with the key of its settings."""

    round: int
    candidate: str
    key: str = ""
    """Empty in files of earlier versions."""

    def __str__(self) -> str:
        return f"round {self.round} {self.candidate}"

    def to_json(self) -> dict[str, object]:
        return {"round": self.round, "candidate": self.candidate, "key": self.key}


@dataclass(frozen=True, kw_only=True)
class ConfirmationRecord:
    """round.json of trainings at fresh seeds: a confirmation, or replicates of the incumbent."""

    purpose: str
    round: int
    closed_at: str
    challenger: Position | None
    """None of replicates."""
    base: Position | None = None
    """What the challenger was held against. None in files of earlier versions, where it was the default."""
    seeds: Sequence[int]
    objective: Objective
    values: Mapping[str, Mapping[tuple[int, int], float]] = field(default_factory=dict)
    """Candidate -> (fold, seed) -> value."""
    key: str | None = None
    """The challenger's."""
    gain: Confirmation | None = None
    gain_text: str = ""
    """The gain in words."""
    replicates: Sequence[Sequence[float]] | None = None
    """Values of each fold; None of a confirmation."""
    noise: Noise | None = None
    again: bool = False
    """Whether machines lost all of it, so that it is trained again."""

    @property
    def compared(self) -> bool:
        """Whether it holds a pair of values, or a replicate."""
        return any(self.replicates or ()) or (self.gain is not None and self.gain.n > 0)

    def to_json(self) -> dict[str, object]:
        found: dict[str, object] = {
            "schema_version": ROUND_SCHEMA,
            "kind": "confirm",
            "purpose": self.purpose,
            "round": self.round,
            "closed_at": self.closed_at,
            "challenger": self.challenger.to_json() if self.challenger is not None else None,
            "seeds": list(self.seeds),
            "objective": _objective_json(self.objective),
            "values": {
                name: [{"fold": fold, "seed": seed, "value": value} for (fold, seed), value in cells.items()]
                for name, cells in self.values.items()
            },
        }
        if self.base is not None:
            found["base"] = self.base.to_json()
        if self.replicates is not None:
            found["replicates"] = [list(values) for values in self.replicates]
        if self.gain is not None:
            found |= {"key": self.key, "gain": {**self.gain.to_json(), "text": self.gain_text}}
        found["noise"] = self.noise.to_json() if self.noise is not None else None
        return found | ({"again": True} if self.again else {})


# -- reading ---------------------------------------------------------------------------------------------------


def read_round(raw: Mapping[str, Any], *, file: str) -> RoundRecord:
    """round.json of a round. Raises InvalidStudy."""
    top = _checked(raw, file)
    number = top.whole("round")
    entries = list(top.entries("candidates"))
    held = raw.get("incumbent")
    return RoundRecord(
        round=number,
        closed_at=top.text("closed_at"),
        objective=_objective(top),
        ranking=top.optional_texts("ranking"),
        candidates=tuple(_candidate(entry, number) for entry in entries),
        judgements={entry.text("name"): _judgement(entry) for entry in entries if "judgement" in entry},
        analyses=_Analyses(top.mapping("analyses") if "analyses" in top else {}),
        incumbent=top.optional("incumbent", Incumbent.parse),
        tells_gain=not isinstance(held, Mapping) or "judgement" in held,
        acceptance=_acceptance(found) if (found := top.optional_entry("acceptance")) is not None else None,
        limits=top.optional_texts("limits"),
        notes=top.optional_texts("notes"),
        plan=top.optional("plan", Plan.from_json),
        costs=top.numbers("costs") if "costs" in top else {},
        screened=tuple(_rung(entry, number) for entry in top.entries("screened")) if "screened" in top else (),
    )


def read_rung(raw: Mapping[str, Any], *, file: str) -> RungRecord:
    """round.json of a rung. Raises InvalidStudy."""
    top = _checked(raw, file)
    number = top.whole("round")
    return RungRecord(
        folder=top.text("folder"),
        round=number,
        closed_at=top.text("closed_at"),
        objective=_objective(top),
        result=_rung(top, number),
    )


def read_confirmation(raw: Mapping[str, Any], *, file: str) -> ConfirmationRecord:
    """round.json of trainings at fresh seeds. Raises InvalidStudy."""
    top = _checked(raw, file)
    gain = top.optional_entry("gain")
    return ConfirmationRecord(
        purpose=top.optional_text("purpose") or FINAL,
        round=top.whole("round"),
        closed_at=top.text("closed_at"),
        challenger=read_position(found) if (found := top.optional_entry("challenger")) is not None else None,
        base=read_position(found) if (found := top.optional_entry("base")) is not None else None,
        seeds=top.wholes("seeds"),
        objective=_objective(top),
        values={name: _cells(top, cells) for name, cells in top.mapping("values").items()} if "values" in top else {},
        key=top.optional_text("key"),
        gain=top.optional("gain", Confirmation.from_json),
        gain_text=(gain.optional_text("text") or "") if gain is not None else "",
        replicates=tuple(map(tuple, top.values("replicates"))) if "replicates" in top else None,
        noise=top.optional("noise", Noise.from_json),
        again=top.flag("again") if "again" in top else False,
    )


def read_position(fields: Fields) -> Position:
    """A candidate as decisions and confirmations name it."""
    return Position(
        round=fields.whole("round"), candidate=fields.text("candidate"), key=fields.optional_text("key") or ""
    )


def candidate_json(found: CandidateResult, judgement: Judgement | None = None) -> dict[str, object]:
    """One candidate of round.json; in `screened`, and of a rung, it has no judgement."""
    entry: dict[str, object] = {
        "name": found.candidate,
        "source": found.source,
        "instead_of": found.instead_of.to_json() if found.instead_of is not None else None,
        "key": found.key,
        "sha256": found.sha256,
        "values": dict(found.values),
        "outcome": found.outcome.value,
        "value": found.value,
        "std": found.std,
        "n": found.n,
        "rows": found.rows,
        "outcomes": dict(found.outcomes),
        "metrics": dict(found.metrics),
        "costs": dict(found.costs),
        "message": found.message,
        "trials": [dict(trial.raw) for trial in found.trials],
    }
    if judgement is not None:
        entry |= {"verdict": judgement.verdict, "judgement": judgement.to_json()}
    return entry | ({"violates": found.violates} if found.violates else {})


_TEXT, _WHOLE, _NUMBER_OR_NULL, _OBJECT = (
    ((str,), "a text"),
    ((int,), "a whole number"),
    ((int, float, type(None)), "a number or null"),
    ((dict,), "an object"),
)
_REQUIRED = {
    **dict.fromkeys(("name", "key", "source", "outcome"), _TEXT),
    **dict.fromkeys(("n", "rows"), _WHOLE),
    **dict.fromkeys(("value", "std"), _NUMBER_OR_NULL),
    "values": _OBJECT,
}
_NUMBERS = ("outcomes", "metrics", "costs")


def _candidate(entry: Fields, number: int) -> CandidateResult:
    """One candidate of round.json. Its dictionary is filled at once: there may be a hundred thousand, and a frozen
    class's own constructor takes three times as long."""
    raw = entry.raw
    for name, (kinds, wanted) in _REQUIRED.items():
        if type(raw.get(name, ...)) not in kinds:
            entry.take(name, kinds, wanted)
    outcome, value = _OUTCOMES.get(raw["outcome"]), raw["value"]
    if outcome is None:
        entry.wrong("outcome", f"must be one of {', '.join(_OUTCOMES)}")
    if (value is None) != (raw["n"] == 0) or (value is not None and not math.isfinite(value)):
        entry.wrong("value", "a candidate has a finite value exactly when at least one row ended ok")
    numbers = {name: entry.numbers(name) if raw.get(name) is not None else {} for name in _NUMBERS}
    trials = raw.get("trials") or ()
    if type(trials) not in (list, tuple) or not all(type(trial) is dict for trial in trials):
        entry.wrong("trials", "must be a list of objects")
    found: CandidateResult = object.__new__(CandidateResult)
    found.__dict__.update(
        round=number,
        candidate=raw["name"],
        values=raw["values"],
        key=raw["key"],
        outcome=outcome,
        value=value,
        std=raw["std"],
        n=raw["n"],
        rows=raw["rows"],
        source=raw["source"],
        instead_of=entry.optional("instead_of", InsteadOf.from_json) if raw.get("instead_of") is not None else None,
        sha256=raw.get("sha256") or "",
        message=raw.get("message") or "",
        trials=tuple(map(TrialRecord, trials)),
        fidelity=1.0,
        violates=raw.get("violates") or "",
        **numbers,
    )
    return found


class _Analyses(Mapping[str, TrialAnalysis]):
    """Each made when it is asked for: a diagnosis reads those of one round, and status none."""

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw

    def __getitem__(self, name: str) -> TrialAnalysis:
        return TrialAnalysis.from_json(self._raw[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)


def _judgement(entry: Fields) -> Judgement:
    found = entry.read("judgement", Judgement.from_json)
    if entry.raw.get("verdict") != found.verdict:
        entry.wrong("verdict", f"is not its judgement's, {found.verdict!r}")
    return found


def _rung(fields: Fields, number: int) -> RungResult:
    return RungResult(
        rung=fields.whole("rung"),
        epochs=fields.whole("epochs"),
        share=fields.number("share"),
        folds=fields.wholes("folds"),
        promoted=fields.texts("promoted"),
        candidates=tuple(_candidate(entry, number) for entry in fields.entries("candidates")),
    )


def _acceptance(fields: Fields) -> Acceptance:
    judge = fields.optional_entry("judge")
    return Acceptance(
        against=fields.optional("against", Incumbent.parse),
        noise=fields.optional("noise", Noise.from_json),
        rules=fields.mapping("rules") if "rules" in fields else {},
        judge=Judge(status=judge.text("status"), why=judge.text("why"), call=judge.text("call")) if judge else None,
    )


def _cells(top: Fields, raw: object) -> dict[tuple[int, int], float]:
    try:
        return {(cell["fold"], cell["seed"]): cell["value"] for cell in raw}  # type: ignore[attr-defined]
    except (KeyError, TypeError):
        top.wrong("values", "must be lists of {fold, seed, value}")


def _objective(top: Fields) -> Objective:
    found = top.entry("objective")
    try:
        return Objective(metric=found.text("metric"), direction=found.text("direction"))
    except ValueError as error:
        top.wrong("objective", str(error))


def _objective_json(objective: Objective) -> dict[str, object]:
    return {"metric": objective.metric, "direction": objective.direction}


def _checked(raw: Mapping[str, Any], file: str) -> Fields:
    """Raises InvalidStudy for a file of a later version, which may mean something else by the same names."""
    if newer := newer_version(raw, ROUND_SCHEMA):
        raise InvalidStudy.at(file, newer)
    return Fields(raw, file=file)
