"""The first step of a round: what the last one says, by rules; then, where asked, the analyst and the researcher."""

from __future__ import annotations

from typing import Any

from agent import diagnosis
from agent.errors import LLMError
from agent.orchestrator.deciding.agents import agents_of, newest_analyses, remaining, situation_of, summaries
from agent.orchestrator.work import StepResult, Work
from agent.reference import load_reference
from agent.roles import analyst, researcher
from agent.roles.ask import Agents
from agent.store.paths import RoundPaths
from agent.store.steps import Status
from trainers.layout import AttemptFiles, trial_name


def analyse(work: Work) -> StepResult:
    """The diagnosis of the rounds so far; round 1 has none (A-S1)."""
    closed = work.store.closed(below=work.number)
    if not closed:
        return StepResult(status=Status.SKIPPED, details={"why": "round 1 has no history"})
    latest = closed[-1]
    record = work.store.round_record(latest)
    trials = diagnosis.newest_trials(record.ranking, record.candidates, newest_analyses(work))
    newest, before = (_per_class(work, paths) for paths in (latest, closed[-2] if len(closed) > 1 else None))
    findings = diagnosis.analyse_round(
        work.store.history(below=work.number),
        record.analyses,
        work.store.config.objective,
        candidates=record.candidates,
        per_class=newest,
        per_class_before=before,
        per_class_accepted=_accepted(work),
        per_case=_per_case(work, latest),
    )
    # As it was when this round was first looked at: a later call may count its rounds anew, and the question that a
    # model has answered already must stay the same.
    begun: Any = work.store.record(work.paths.analysis) or {"remaining": remaining(work)}
    content: dict[str, Any] = {
        "round": latest.number,
        "findings": findings,
        "trials": trials,
        "remaining": begun["remaining"],
        "notes": [],
        "settings": work.settings.plain(),
    }
    work.store.disk.write_json(work.paths.analysis, content)
    outputs = [work.paths.analysis]
    if work.tools.models is not None:
        outputs += _with_agents(work, content)
        work.store.disk.write_json(work.paths.analysis, content)
    for note in content["notes"]:
        work.say(f"round {work.number}: {note}")
    return StepResult(inputs=[latest.closed], outputs=outputs, details={"findings": len(findings)})


def _per_class(work: Work, paths: RoundPaths | None) -> dict[str, Any]:
    """candidate -> class -> metric -> value, of a closed round's validation summaries."""
    found = summaries(work, paths).items() if paths is not None else ()
    return {name: summary.per_class for name, summary in found if summary.per_class}


def _per_case(work: Work, paths: RoundPaths) -> dict[str, Any]:
    """candidate -> its cases, where its validation summary tells them."""
    found: dict[str, Any] = {}
    for name, summary in summaries(work, paths).items():
        if summary.per_case:
            found[name] = summary.per_case
    return found


def _accepted(work: Work) -> dict[str, Any]:
    """class -> metric -> value of the incumbent, the last accepted candidate; empty where there is none."""
    held = work.store.incumbent()
    if held is None:
        return {}
    paths = next((p for p in work.store.closed(below=work.number) if p.number == held.round), None)
    return dict(_per_class(work, paths).get(held.candidate, {}))


def _with_agents(work: Work, content: dict[str, Any]) -> list[Any]:
    """Add the analyst's reading and the researcher's remedies; whatever fails is a note and costs the round nothing
    else."""
    assert work.tools.models is not None
    reference = load_reference(work.store.paths.reference)
    agents = agents_of(work, "analyse", work.tools.models, reference)
    words: list[str] = []
    outputs = []
    for trial in content["trials"]:
        words += [word for word in trial.get("keywords", ()) if word not in words]
    if work.settings.analyst:
        try:
            reading = analyst.read(agents, situation_of(work, reference, work.store.history(below=work.number)))
        except LLMError as error:
            content["notes"].append(f"the analyst gave no reading: {type(error).__name__}: {error}")
        else:
            if reading.call:
                content["reading"] = reading.overall
                words += [word for word in reading.keywords if word not in words]
                outputs += _write_reading(work, work.store.closed(below=work.number)[-1], reading)
    if work.tools.models.searches:
        outputs += _research(work, agents, words, content)
    return outputs


def _write_reading(work: Work, latest: RoundPaths, reading: analyst.Reading) -> list[Any]:
    """analysis_llm.txt of the round, and beside each trial's analysis.json its own part."""
    work.store.disk.write(work.paths.reading, reading.readable)
    for trial in _trials(work, latest):
        said = reading.by_trial.get(trial[0])
        if said and trial[1].root.is_dir():
            work.store.disk.write(trial[1].reading, said + "\n")
    return [work.paths.reading]


def _trials(work: Work, latest: RoundPaths) -> list[tuple[str, AttemptFiles]]:
    found = []
    for result in work.store.round_record(latest).candidates:
        for trial in result.trials:
            if (place := trial.place) is not None:
                fold, seed, attempt = place
                files = latest.attempt(result.candidate, fold, seed, attempt)
                found.append((trial_name(result.candidate, fold, seed), files))
    return found


def _research(work: Work, agents: Agents, words: list[str], content: dict[str, Any]) -> list[Any]:
    try:
        found = researcher.research(agents, words)
    except LLMError as error:
        content["notes"].append(f"the researcher brought nothing: {type(error).__name__}: {error}")
        return []
    if found.note:
        work.log(f"round {work.number}: the researcher: {found.note}")
    content["remedies"] = [{"text": r.text, "sources": list(r.sources)} for r in found.remedies]
    work.store.disk.write_json(work.paths.research, found.to_json())
    return [work.paths.research]
