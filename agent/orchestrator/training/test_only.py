"""Asking SLURM about every script of a round before the first is submitted: `sbatch --test-only`.

What sbatch would refuse of an evaluation is known before a training is in the queue. Only an answer that no waiting
changes stands in the way; a site whose sbatch does not know the option, or does not answer, is none.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence

from agent.errors import LaunchError, SchedulerUnavailable, SubmissionRefused, SubmitLimit
from agent.launch.base import Batch
from agent.launch.profile import Kind
from agent.orchestrator.training import circuit_breaker
from agent.orchestrator.work import Work
from agent.store.events import Refused, ScriptsTested
from trainers.manifest import Manifest

#: Where a kind's keys stand in the profile, for a message.
_PLACE = {"eval": "; what the evaluation asks for stands under `eval`", "prepare": "; see the profile's `prepare`"}

#: Seconds after which SLURM judges a node by its new state (its scheduler's shortest interval is about one).
SETTLES_S = 1.0


def check(work: Work, manifest: Manifest, asked: Sequence[Batch]) -> None:
    """Have SLURM judge each script once; what it passed is journaled and not asked about again.

    asked: what the round is about to submit, without dependencies. Raises LaunchError naming the script, what sbatch
    said and what to change; nothing of the round was submitted then. StudyPaused when that happened too often.
    """
    launcher = work.tools.launcher()
    scripts = one_each(asked)
    if not launcher.capabilities.test_only or not scripts:
        return
    mark = _mark(scripts)
    journal = work.store.journal
    if any(tested.sha256 == mark for tested in journal.of(ScriptsTested, folder=work.paths.root.name)):
        return
    for batch in scripts:
        try:
            _asked(work, manifest, batch)
        except (SubmitLimit, SchedulerUnavailable) as error:
            work.log(f"sbatch --test-only on {batch.array_script.name} gave no answer that counts: {error}")
        except LaunchError as error:
            if not for_good(work, manifest, batch, error):
                work.log(f"sbatch --test-only on {batch.array_script.name}: {error}; submitting it tells")
                continue
            message = refusal_of(batch, error)
            journal.append(Refused(name=batch.name, folder=work.paths.root.name, message=message[:500]))
            circuit_breaker.trip(work.store)
            raise LaunchError(f"{message}. Nothing of {work.label} was submitted") from error
    journal.append(ScriptsTested(folder=work.paths.root.name, scripts=len(scripts), sha256=mark))


def _asked(work: Work, manifest: Manifest, batch: Batch) -> None:
    """Ask about one script, and once more where SLURM's first refusal may be about a node that is just coming back.

    SLURM may have judged by a node's former state: what it says a second later, when `sinfo` shows no node that is
    out of use, counts. Raises LaunchError and SchedulerUnavailable.
    """
    launcher = work.tools.launcher()
    try:
        launcher.test_only(batch)
    except SubmitLimit:
        raise
    except LaunchError as error:
        if not (isinstance(error, SubmissionRefused) and error.no_node and for_good(work, manifest, batch, error)):
            raise
        time.sleep(SETTLES_S)
        launcher.test_only(batch)


def one_each(batches: Sequence[Batch]) -> list[Batch]:
    """Of several arrays of one script with the same demands the first, which is as long as any."""
    found: dict[object, Batch] = {}
    for batch in batches:
        found.setdefault((batch.array_script, batch.settings), batch)
    return list(found.values())


def refusal_of(batch: Batch, error: LaunchError) -> str:
    """The refusal, and where in the profile its keys stand."""
    return f"{error}{_PLACE.get(batch.kind, '')}"


def for_good(work: Work, manifest: Manifest, batch: Batch, error: LaunchError) -> bool:
    """Whether SLURM would refuse the submission whenever it is made.

    Measured on 22.05: with every node drained, --test-only refuses with "Requested node configuration is not
    available" what sbatch takes and lets wait.
    """
    from agent.launch.ask import Asker
    from agent.launch.nodes import ask_nodes

    if not isinstance(error, SubmissionRefused) or not error.no_node:
        return isinstance(error, SubmissionRefused) and error.for_good
    profile = work.tools.profile
    kind: Kind = "eval" if batch.kind == "eval" else "prepare" if batch.kind == "prepare" else "train"
    wanted = profile.resources(kind, inference=manifest.evaluation == "array")
    nodes = ask_nodes(Asker(cluster=profile.cluster))
    if wanted.partition is not None:
        nodes = [group for group in nodes if group.partition in wanted.partition.split(",")]
    return bool(nodes) and not any(group.fits(wanted) and not group.usable for group in nodes)


def _mark(scripts: Sequence[Batch]) -> str:
    demands = [[batch.array_script.name, batch.settings.directives, batch.items[-1]] for batch in scripts]
    return hashlib.sha256(json.dumps(demands).encode()).hexdigest()
