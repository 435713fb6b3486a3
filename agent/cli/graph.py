"""`roundtable graph`: the workflow of a round as a picture."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from agent.cli.common import study_folder
from agent.errors import UsageError
from agent.proposers import BAYES, proposer_entry
from agent.report.graph import Graph, Workflow, to_mermaid, to_png, to_svg, workflow_graph
from agent.store.disk import storage
from trainers.files import write_atomic

SUFFIXES = (".svg", ".png", ".mmd")


def run(parsed: argparse.Namespace) -> int:
    output: Path | None = parsed.output
    if output is not None:
        _check_output(output)
    graph = workflow_graph(_of_study(parsed) if parsed.study else Workflow(proposer=parsed.proposer or "hybrid"))
    if output is None:
        sys.stdout.write(to_mermaid(graph))
    else:
        _write(graph, output)
        sys.stdout.write(f"{output}\n")
    return 0


def _check_output(output: Path) -> None:
    """Refuse what cannot be written before anything is drawn. Raises UsageError."""
    if output.suffix.lower() not in SUFFIXES:
        raise UsageError(f"--output {output}: the suffix must be one of {', '.join(SUFFIXES)}")
    if not output.parent.is_dir():
        raise UsageError(f"--output {output}: there is no folder {output.parent}; make it first")


def _write(graph: Graph, output: Path) -> None:
    with storage(output):
        if output.suffix.lower() == ".png":
            to_png(graph, output)
        else:
            write_atomic(output, to_svg(graph) if output.suffix.lower() == ".svg" else to_mermaid(graph))


def _of_study(parsed: argparse.Namespace) -> Workflow:
    """The workflow that a study's settings make; a study before its first round has the defaults."""
    from agent.api.models import asks_models, draws_judge
    from agent.store.store import Store
    from agent.store.study import Settings

    store = Store.open(study_folder(parsed))
    settings = store.settings() if store.driven() else Settings()
    asks = asks_models(settings)
    kept = asks or not proposer_entry(settings.proposer).needs_models
    proposer = parsed.proposer or (settings.proposer if kept else BAYES.name)
    return Workflow(
        proposer=proposer,
        models=asks or (parsed.proposer is not None and proposer_entry(parsed.proposer).asks),
        planned=settings.planner,
        candidates=settings.candidates,
        rungs=settings.rungs,
        eta=settings.eta,
        share=settings.llm_share,
        warmup=settings.llm_warmup,
        turns=settings.consult_turns,
        analyst=settings.analyst,
        researcher=settings.llm.get("search_provider", "none") != "none",
        critique=settings.critique,
        judge=draws_judge(store, settings) or not asks,
        auto_train=settings.auto_train,
        confirm=settings.confirm == "final" and settings.auto_train,
        confirm_seeds=settings.confirm_seeds,
        rows=len(store.config.folds) * len(store.config.seeds),
        title=f"A round of {store.config.study}",
    )
