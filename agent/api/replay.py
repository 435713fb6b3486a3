"""Replaying a round offline."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import UsageError
from agent.store.events import RulesGiven
from agent.store.paths import RoundFolder
from agent.store.store import Store

if TYPE_CHECKING:
    from agent.orchestrator.replay import Replayed


def replay_round(path: Path, *, run_rules: bool = False) -> Replayed:
    """Do the agents' steps of runs/<study>/round_N_<timestamp> again, in a temporary folder, from its recordings.

    run_rules: also run the study's acceptance.py, where nobody else could have written it. Without, verdicts that
    it gave are not given again: a replay is how one looks at a study that somebody else sent.

    Raises InvalidStudy or InvalidRules for rules that may not be run, UsageError for a path that is no decided round,
    ReplayMismatch where the prompts have changed.
    """
    from agent.acceptance import Rules
    from agent.api.wiring import offline_tools, study_rules
    from agent.orchestrator.replay import replay

    path = path.absolute()
    folder = RoundFolder.parse(path)
    if folder is None or folder.kind not in ("round", "stop") or not path.is_dir():
        what = "is no round's folder" if path.exists() else "there is no such folder"
        raise UsageError(f"{path}: {what} (runs/<study>/round_N_<timestamp>); rounds: {_rounds(path)}")
    store = Store.open(path.parent)
    given = store.journal.last(RulesGiven)
    python = given is not None and given.kind == "python"
    rules = study_rules(store) if run_rules or not python else Rules(name=store.paths.rules_python.name)
    with tempfile.TemporaryDirectory(prefix="roundtable-replay-") as scratch:
        make_tools = functools.partial(offline_tools, rules=rules)
        judges = run_rules or not python
        return replay(store, store.paths.round(folder), make_tools, Path(scratch), judges=judges)


def _rounds(path: Path) -> str:
    """The rounds of the study that was given itself, or that the path says it is in."""
    study = path if (path / "study.yaml").exists() else path.parent
    if not (study / "study.yaml").exists():
        return f"none, {study} is no study"
    return ", ".join(folder.path.name for folder in Store.open(study).paths.folders()) or "none yet"
