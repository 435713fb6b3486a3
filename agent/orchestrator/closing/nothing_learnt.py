"""A round that closed on nothing: not one candidate was measured, and nothing was learnt of any settings either.

Rounds like it have one cause more often than many. Going on would spend every further round on it, so the study is
paused with that cause; what was lost counts as untried.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from agent.errors import NothingLearnt, TrialsCrashed
from agent.launch.states import compact
from agent.orchestrator.training import circuit_breaker
from agent.orchestrator.training.rows import endings
from agent.orchestrator.work import Work
from agent.pasteable import quoted
from agent.records import CandidateResult, Outcome
from agent.store.events import Released
from trainers.manifest import load_manifest
from trainers.results import read_row

#: Different ends that a message tells, the most frequent ones.
MOST_TOLD = 3


def stop_if_nothing_learnt(work: Work) -> None:
    """Called when a round, a rung or a confirmation has closed. Raises NothingLearnt, or TrialsCrashed where every
    trial crashed; the study is paused by then. Nothing is raised for what a person had closed as it was."""
    if work.stage.learnt(work) or closed_by_person(work):
        return
    ended = _ends(work)
    cause = _cause(ended)
    logs = f"logs in {quoted(work.paths.logs)}"
    crashed = bool(ended) and all(outcome is Outcome.CRASHED for outcome, _, _ in ended.values())
    if crashed:
        reason = f"every trial of {work.label} crashed: {cause} ({logs})"
    else:
        counts = Counter(str(outcome) for outcome, _, _ in ended.values())
        shown = ", ".join(f"{count} {name}" for name, count in counts.most_common())
        reason = f"nothing was measured in {work.label} and nothing learnt ({shown}): {cause} ({logs})"
    circuit_breaker.pause(work.store, circuit_breaker.NOTHING, reason)
    kind = TrialsCrashed if crashed else NothingLearnt
    raise kind(f"{reason}. Mend the cause, then call again: what ended so counts as untried")


def measured(results: Iterable[CandidateResult]) -> bool:
    """Whether a round or a rung says anything of one of its candidates."""
    return any(result.outcome.is_measured for result in results)


def settings_failed(work: Work) -> bool:
    """Whether a row ended by its settings, which is knowledge about them."""
    return any(outcome.is_config for outcome, _, _ in _ends(work).values())


def closed_by_person(work: Work) -> bool:
    """Whether a person cancelled it and then had it closed as it was (`roundtable collect`)."""
    return work.store.journal.last(Released, folder=work.paths.root.name) is not None


_End = tuple[Outcome, str, str]


def _ends(work: Work) -> dict[int, _End]:
    """Row -> how it ended in the end, in words, and the remedy where the environment was to blame."""
    manifest = load_manifest(work.paths.manifest)
    ended = endings(work.store, work.paths)
    found: dict[int, _End] = {}
    for row in manifest.rows:
        result = read_row(work.paths, manifest, row)
        last = ended[row.row][-1] if row.row in ended else None
        if last is not None and (result is None or last.attempt >= result.attempt):
            remedy = last.environment.remedy if last.environment is not None else ""
            found[row.row] = last.outcome, last.evidence, remedy
        elif result is not None:
            found[row.row] = Outcome(result.outcome), result.message, ""
        else:
            found[row.row] = Outcome.NO_RESULT, "no result", ""
    return found


def _cause(ended: Mapping[int, _End]) -> str:
    """What the ends have in common, the most frequent first."""
    groups: dict[tuple[str, str], list[int]] = {}
    for row, (outcome, evidence, remedy) in ended.items():
        key = ("environment", remedy) if remedy else (str(outcome), _without_node(evidence))
        groups.setdefault(key, []).append(row)
    ranked: Sequence[tuple[tuple[str, str], list[int]]] = sorted(groups.items(), key=lambda group: -len(group[1]))
    told = [_told(ended, text, rows) for (_, text), rows in ranked[:MOST_TOLD]]
    more = len(ranked) - len(told)
    return "; ".join(told) + (f"; and {more} more kinds of end" if more > 0 else "")


def _told(ended: Mapping[int, _End], text: str, rows: Sequence[int]) -> str:
    return text if len(rows) == len(ended) else f"rows {compact(rows)}: {text}"


def _without_node(evidence: str) -> str:
    return evidence.partition(", on ")[0]
