"""What the agents of one round are given: models behind recorded calls, prompts behind aliases, the situation."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.acceptance import Incumbent
from agent.anonymise import Aliases, Name, NoAliases, gather, own_words, words_of
from agent.anonymise.gather import Machine
from agent.anonymise.table import from_json as read_aliases
from agent.errors import InvalidStudy, UsageError
from agent.llm.base import Usage
from agent.orchestrator.deciding.calls import Calls, exchanges
from agent.orchestrator.work import Models, Work
from agent.records import CandidateResult
from agent.reference import Reference
from agent.roles.ask import Agents, Prompts
from agent.roles.situation import Remedy, Situation
from agent.store.paths import RoundPaths
from agent.summaries import Summary, read_summary
from trainers.contract import Value
from trainers.files import FileProblem, read_json_object
from trainers.layout import candidate_name, trial_name
from trainers.manifest import load_manifest
from trainers.registry import personal_data

VERDICT_WORDS = ("ok", "block", "none", "accept", "keep")
"""Of the schemas of checker and judge (agent.roles.checker.verdict_schema, agent.roles.judge) and their prompts."""
FAILED = 20
"""Candidates whose nodes are looked up: more than a digest shows failures of."""


def agents_of(work: Work, step: str, models: Models, reference: Reference) -> Agents:
    """The agents of one step. Writes aliases.json where new names have turned up."""
    aliases = aliases_of(work, reference)
    calls = Calls(work=work, step=step, models=models, aliases=aliases)
    return Agents(ask=calls, prompts=Prompts(models.prompts, aliases.hide))


def aliases_of(work: Work, reference: Reference) -> Aliases:
    """The study's aliases with whatever this round adds; none of them with --no-anonymize, nor where no language
    model is there that anything could be sent to."""
    if not work.settings.anonymize or work.tools.models is None:
        return NoAliases()
    path = work.store.paths.aliases
    known = _known(work.store.record(path), path)
    config = work.store.config
    # A replay knows the names that the round knew, whichever machine and folder it is done in.
    offline = work.tools.models.offline
    shipped = config.shipped
    vocabulary = _vocabulary(work.tools.models.prompts, reference, shipped=shipped)
    names = gather(
        task=config.task,
        study=config.study,
        trainer=config.trainer,
        data=personal_data(config.trainer, config.data),
        classes=class_names(work),
        hosts=_hosts(work),
        folder=None if offline else work.store.paths.root,
        machine=Machine() if offline else None,
        vocabulary=vocabulary,
    )
    called = [candidate_name(position) for position in range(work.settings.candidates)]
    aliases, own = aliases_for(
        names, reference, config.metric, shipped=shipped, vocabulary=vocabulary, known=known, values=called
    )
    if aliases.to_json() != known:
        work.store.disk.write_json(path, {"schema_version": 1, "aliases": aliases.to_json()}, private=True)
        if own and not offline:
            said = ", ".join(f"{name.kind} {name.text}" for name in own)
            work.say(f"sent to models as they are, because they are words of the parameters or our prompts: {said}")
    return aliases


def aliases_for(
    names: Sequence[Name],
    reference: Reference,
    metric: str,
    *,
    shipped: bool,
    vocabulary: frozenset[str],
    known: Mapping[str, str],
    values: Sequence[str],
) -> tuple[Aliases, list[Name]]:
    """The aliases of a study, and the names that are sent all the same because they are words of ours. Pure.

    shipped: the reference is a shipped trainer's, whose words are ours. vocabulary: see `gather`. known: the table so
    far. values: further values of answers' schemas.
    """
    # The words of our own answers' schemas are no names, even where a class is called OK.
    fixed = (*reference.parameters, metric, *VERDICT_WORDS)
    choices = [c for p in reference.parameters.values() for c in p.choices or () if isinstance(c, str)]
    meant = _meant(choices, names, fixed, shipped=shipped)
    earlier = [Name(kind=alias.rpartition("_")[0], text=text) for alias, text in known.items()]
    own = own_words(dict.fromkeys([*names, *earlier]), (*fixed, *meant), vocabulary)
    keep = (*fixed, *meant, *(name.text for name in own))
    return Aliases.of(names, keep=keep, known=known, values=[*choices, *values]), own


def _meant(choices: Sequence[str], names: Sequence[Name], fixed: Sequence[str], *, shipped: bool) -> list[str]:
    """The choices that are words to be understood (adam), not names in disguise: all of a trainer that ships; of a
    person's own trainer those without a name of data, task, model, class or path in them."""
    if shipped:
        return list(choices)
    secret = Aliases.of([name for name in names if name.kind not in ("user", "host", "study")], keep=fixed)
    return [choice for choice in choices if secret.hide(choice) == choice]


@functools.lru_cache(maxsize=4)
def _prompt_words(folders: tuple[Path, ...]) -> frozenset[str]:
    texts = [path.read_text(encoding="utf-8") for folder in folders for path in sorted(folder.rglob("*.j2"))]
    return words_of(texts)


def _vocabulary(folders: Sequence[Path], reference: Reference, *, shipped: bool) -> frozenset[str]:
    """The words of our prompts, and of the reference where it is ours."""
    texts = [*reference.parameters]
    if shipped:
        texts += [parameter.description for parameter in reference.parameters.values()]
    return _prompt_words(tuple(folders)) | words_of(texts)


def _known(record: Mapping[str, Any] | None, path: Path) -> Mapping[str, str]:
    """The table of aliases.json. Raises InvalidStudy."""
    try:
        return read_aliases(record["aliases"]) if record is not None else {}
    except (KeyError, UsageError) as error:
        what = "has no `aliases`" if isinstance(error, KeyError) else str(error)
        raise InvalidStudy.at(path, f"{what}; restore the file: recorded exchanges are read with it") from error


def class_names(work: Work) -> list[str]:
    """The classes of the newest closed round, in order of first appearance: its validation summaries', then those
    that findings name and no summary has."""
    found: dict[str, None] = {}
    for paths in work.store.closed(below=work.number)[-1:]:
        for summary in summaries(work, paths).values():
            found |= dict.fromkeys(summary.per_class)
    analysis: Any = work.store.record(work.paths.analysis) or {}
    flags = [
        *analysis.get("findings", ()),
        *(flag for trial in analysis.get("trials", ()) for flag in trial["flags"]),
    ]
    return list(found | dict.fromkeys(str(entry["class"]) for flag in flags for entry in _classes(flag)))


def _hosts(work: Work) -> list[str]:
    """Nodes on which the newest candidates that say something of their failure ran: their words may name the node."""
    found: dict[str, None] = {}
    closed = work.store.closed(below=work.number)
    failed = [
        (paths, result) for paths in closed for result in work.store.round_record(paths).candidates if result.message
    ]
    for paths, result in failed[-FAILED:]:
        for trial in result.trials:
            if trial.place is not None:
                files = paths.attempt(result.candidate, *trial.place)
                try:
                    found[str(read_json_object(files.claim)["host"])] = None
                except (FileProblem, KeyError):
                    continue
    return list(found)


def summaries(work: Work, paths: RoundPaths) -> dict[str, Summary]:
    """The validation summary of each candidate of a closed round."""
    return {
        candidate: read_summary(
            paths.candidate_summary(candidate, "val"),
            work.store.config.objective,
            shipped=work.store.config.shipped,
        )
        for candidate in load_manifest(paths.manifest).candidates
    }


def situation_of(work: Work, reference: Reference, history: Sequence[CandidateResult], **rest: Any) -> Situation:
    """What stands before every agent of this round. `rest`: what one step adds (suggestion, taken).

    Deterministic in what was known when the round began, so that a step done again or replayed asks the same.
    """
    analysis: Any = work.store.record(work.paths.analysis) or {}
    base, base_name = base_of(reference, history, current := work.store.incumbent())
    aliases = aliases_of(work, reference)

    def in_text(name: str) -> str:
        """Blank names are not registered: they name nothing."""
        return aliases.in_text(name) if name.strip() else name

    return Situation(
        reference=reference,
        history=history,
        screened=work.store.screened(below=work.number),
        objective=work.store.config.objective,
        findings=[_with_labels(finding, in_text) for finding in analysis.get("findings", ())],
        trials=[
            {**trial, "flags": [_with_labels(flag, in_text) for flag in trial["flags"]]}
            for trial in analysis.get("trials", ())
        ],
        incumbent=current,
        base=base,
        base_name=base_name,
        remaining=analysis.get("remaining") or remaining(work),
        reading=str(analysis.get("reading", "")),
        remedies=[Remedy(text=r["text"], sources=tuple(r["sources"])) for r in analysis.get("remedies", ())],
        test=test_values(work) if work.settings.agents_see_test else None,
        **rest,
    )


def base_of(
    reference: Reference, history: Sequence[CandidateResult], incumbent: Incumbent | None
) -> tuple[dict[str, Value], str]:
    """The settings that changes are made to, and what they are called: the incumbent's where today's ranges hold
    them, else the reference as it stands."""
    now = {name: value for name, value in reference.effective().items() if name in reference.tunable()}
    found = next(
        (o for o in history if incumbent and (o.round, o.candidate) == (incumbent.round, incumbent.candidate)), None
    )
    if found is None or incumbent is None:
        return now, "the reference as it stands"
    values = {name: value for name, value in found.values.items() if name in reference.tunable()}
    if any(reference.parameters[name].refusal(value) for name, value in values.items()):
        return now, "the reference as it stands (the incumbent lies outside today's ranges)"
    effective = reference.effective(values)
    if reference.violations(effective):
        return now, "the reference as it stands (the incumbent violates today's constraints)"
    base = {name: value for name, value in effective.items() if name in reference.tunable()}
    return base, f"the incumbent, round {incumbent.round} {incumbent.candidate}"


def remaining(work: Work) -> dict[str, Any]:
    """What is left at the beginning of this round."""
    left: dict[str, Any] = {
        "rounds, this one included": max(work.settings.target_round - work.number + 1, 1),
        "candidates a round": work.settings.candidates,
    }
    models = work.tools.models
    if models is None or (models.max_cost is None and models.max_tokens is None):
        return left
    spent, cost = Usage(), 0.0
    for paths in work.store.closed(below=work.number):
        for record in exchanges(paths.calls):
            reply = record["reply"] or (record["error"] or {}).get("reply")
            spent += Usage(**reply["usage"]) if reply else Usage()
            cost += record["cost_usd"] or 0.0
    if models.max_tokens is not None:
        left["tokens for language models"] = max(models.max_tokens - spent.tokens, 0)
    if models.max_cost is not None:
        left["dollars for language models"] = round(max(models.max_cost - cost, 0.0), 4)
    return left


def test_values(work: Work) -> dict[str, float]:
    """The objective on the test set by "round N cNN", of every closed round that has test summaries.

    A trainer that calls it val_... while training calls it test_... there.
    """
    metric = work.store.config.metric
    found = {}
    for paths in work.store.closed(below=work.number):
        for candidate in load_manifest(paths.manifest).candidates:
            path = paths.candidate_summary(candidate, "test")
            if path.exists():
                config = work.store.config
                metrics = read_summary(path, config.objective, split="test", shipped=config.shipped).metrics
                value = metrics.get(metric, metrics.get(f"test_{metric.removeprefix('val_')}"))
                if value is not None:
                    found[f"round {paths.number} {candidate}"] = value
    return found


def _with_labels(finding: Mapping[str, Any], in_text: Callable[[str], str]) -> dict[str, Any]:
    """A finding that says of what is a class that it is one: `3` there must not leave, as a number it must."""
    classes = _classes(finding)
    if not classes:
        return dict(finding)
    text = str(finding["text"])
    for entry in classes:
        text = text.replace(f" {entry['class']} (", f" {in_text(str(entry['class']))} (")
    shown = [{**entry, "class": in_text(str(entry["class"]))} for entry in classes]
    return {**finding, "text": text, "evidence": {**finding["evidence"], "classes": shown}}


def _classes(finding: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The entries of a finding about classes, each with its name in "class"."""
    return finding.get("evidence", {}).get("classes") or () if finding.get("name") == "weak_classes" else ()


def newest_analyses(work: Work) -> dict[str, Any]:
    """analysis.json of every trial of the newest closed round, by the trial's name; unreadable ones are left out."""
    found: dict[str, Any] = {}
    closed = work.store.closed(below=work.number)
    if not closed:
        return found
    for result in work.store.round_record(closed[-1]).candidates:
        for trial in result.trials:
            if (place := trial.place) is None:
                continue
            fold, seed, attempt = place
            files = closed[-1].attempt(result.candidate, fold, seed, attempt)
            try:
                found[trial_name(result.candidate, fold, seed)] = read_json_object(files.analysis)
            except FileProblem:
                continue
    return found
