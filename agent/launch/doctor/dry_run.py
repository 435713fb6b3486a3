"""The profile's own directives, judged by `sbatch --test-only`: no job is made."""

from __future__ import annotations

import re

from agent.errors import LaunchError, SchedulerUnavailable, SubmitLimit
from agent.launch.base import SlurmSettings
from agent.launch.doctor.finding import Area, Asker, Finding
from agent.launch.options import quote_value
from agent.launch.sbatch import refusal

_area = Area("profile")


def header(settings: SlurmSettings, *more: tuple[str, str | None]) -> str:
    """The #SBATCH lines, as a rendered script has them."""
    lines = [
        f"#SBATCH --{name}" + ("" if value is None else f"={quote_value(value)}")
        for name, value in (*more, *settings.directives)
    ]
    return "\n".join(["#!/usr/bin/env bash", *lines]) + "\n"


def check_dry_run(
    asker: Asker, settings: SlurmSettings, *, kind: str, array: str, alive: bool = True
) -> list[Finding]:
    """Whether the controller would take the job now.

    array: the indices, e.g. "0-7%4". alive: whether any of the nodes can take a job now.
    """
    looked = f"sbatch --test-only ({kind})"
    script = header(settings, ("job-name", f"doctor-{kind}"), ("array", array)) + "true\n"
    reply = asker.ask("sbatch", "--test-only", text=script, patience_s=3 * asker.patience_s)
    if reply.code == 0:
        start = re.search(r"to start at (\S+) using (\d+) processors on nodes? (\S+)", reply.err)
        said = f"would start at {start[1]} on {start[3]} (estimate)" if start else f"accepted: {reply.words}"
        return [_area.ok(looked, said)]
    error = refusal(reply, f"the {kind} array {array}")
    if isinstance(error, SubmitLimit):
        ask = "nothing has to change: submissions wait until some have ended"
        return [_area.warning(looked, f"the cluster takes no more jobs of yours now: {reply.words}", ask)]
    if isinstance(error, SchedulerUnavailable) or not _answered(error):
        return [_area.warning(looked, f"no answer: {reply.words}", "try again when the controller answers")]
    if not alive and "node configuration" in reply.words:
        # Measured: with every node drained, --test-only refuses what sbatch would take and let wait.
        said = f"refused, as no node can take a job now: {reply.words}"
        return [_area.warning(looked, said, "call again when nodes are back")]
    ask = _remedy(str(error)) or "change what is named in the profile, then call again"
    return [_area.problem(looked, f"refused: {reply.words}", ask)]


def _answered(error: LaunchError) -> bool:
    """Whether the controller refused, rather than an answer being lost."""
    return type(error) is LaunchError


def _remedy(message: str) -> str:
    """The remedy that a refusal ends with, in brackets."""
    match = re.search(r" \((?P<remedy>[^()]*(?:\([^()]*\)[^()]*)*)\)$", message)
    return match["remedy"] if match else ""
