"""The stages of a study: what is trained in a folder of its own and closed as one.

    Round          analyse -> propose -> check -> apply -> render -> submit -> collect -> assess
    Rung           choose -> render -> submit -> collect -> assess      between a round's check and apply
    Confirmation   choose -> render -> submit -> collect -> assess      at fresh seeds, after a round; also replicates

Each step leaves its files, then its record, before the next begins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from agent.orchestrator.closing import assess, confirm, nothing_learnt, rungs
from agent.orchestrator.deciding import check, diagnose, propose
from agent.orchestrator.training import collect, render, submit
from agent.orchestrator.work import Stage, Step, Work
from agent.store.paths import RoundPaths


class Round(Stage):
    """A round: the only stage that is decided on, counts towards a target, and may move the study's reference."""

    kind = "round"
    counted = True
    steps: Mapping[str, Step] = {
        "analyse": diagnose.analyse,
        "propose": propose.propose,
        "check": check.check,
        "apply": render.apply,
        "render": render.render,
        "submit": submit.submit,
        "collect": collect.collect,
        "assess": assess.assess,
    }

    def waits_before(self, work: Work, step: str) -> RoundPaths | None:
        return rungs.next_of(work) if step == "apply" else None

    def learnt(self, work: Work) -> bool:
        return nothing_learnt.measured(work.store.round_record(work.paths).candidates)


class Rung(Stage):
    """A short training that thins out a round's candidates (successive halving)."""

    tested = False
    parent = Round()
    steps: Mapping[str, Step] = {
        "choose": rungs.choose,
        "render": render.render,
        "submit": submit.submit,
        "collect": collect.collect,
        "assess": rungs.assess,
    }

    def __init__(self, number: int) -> None:
        self.number = number
        self.kind = f"rung{number}"

    def learnt(self, work: Work) -> bool:
        return nothing_learnt.measured(work.store.rung_record(work.paths).result.candidates)


class Confirmation(Stage):
    """The winner and what it is held against at fresh seeds, or the incumbent alone as replicates."""

    kind = "confirm"
    steps: Mapping[str, Step] = {
        "choose": confirm.choose,
        "render": render.render,
        "submit": submit.submit,
        "collect": collect.collect,
        "assess": confirm.assess,
    }

    def learnt(self, work: Work) -> bool:
        return confirm.learnt(work, work.store.confirmation_record(work.paths))


def stage_of(kind: str) -> Stage:
    """The stage of a folder, by the first part of its name (`RoundFolder.kind`)."""
    if rung := re.fullmatch(r"rung([1-9])", kind):
        return Rung(int(rung[1]))
    return {"round": Round(), "confirm": Confirmation()}[kind]
