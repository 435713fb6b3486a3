"""Submits through submitit: one array a batch.

Only submission goes through submitit. State never does (its poll trusts pickles and backs off to ten minutes): it
comes from scheduler.py.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.errors import AmbiguousSubmission, LaunchError, UsageError
from agent.launch import submitit_call
from agent.launch.base import Batch, LaunchSettings, Submission, TaskStatus
from agent.launch.catalogue import capabilities_of
from agent.launch.commands import CommandTimeout, Reply, run
from agent.launch.environment import scrub
from agent.launch.sbatch import SUBMIT_TIMEOUT_S, SbatchLauncher, checked_directives, dependency, refusal, withdrawn
from agent.launch.scheduler import SlurmReader, reader_of
from agent.launch.states import parse_minutes


def from_settings(settings: LaunchSettings) -> SubmititLauncher:
    """The launcher of a study."""
    return SubmititLauncher(reader_of(settings), environment=settings.environment)


class SubmititLauncher:
    """One submitit array per batch, in round_dir/launch/<batch name>/. Tasks start in the round's folder."""

    name = "submitit"
    capabilities = capabilities_of(name)

    def __init__(
        self,
        reader: SlurmReader | None = None,
        *,
        environment: Mapping[str, str] | None = None,
        submit_timeout_s: float = SUBMIT_TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._reader = reader or SlurmReader(environment=environment)
        self._environment = environment
        self._submit_timeout_s = submit_timeout_s
        self._clock = clock

    def submit(self, batch: Batch) -> Submission:
        request = self._request(batch)
        Path(request["folder"]).mkdir(parents=True, exist_ok=True)
        (batch.round_dir / "logs").mkdir(parents=True, exist_ok=True)
        before = self._clock()
        answer = self._call(batch, request)
        ids = [str(job) for job in answer["ids"]]
        self._reader.note_made(batch.name)
        # submitit keeps the id alone of sbatch's "Submitted batch job 5 on cluster c".
        return _submission(batch, ids, ids[0].partition("_")[0], before, self._reader.cluster)

    def _request(self, batch: Batch) -> dict[str, Any]:
        folder = batch.round_dir.absolute() / "launch" / batch.name
        if "%" in str(folder):
            raise UsageError(
                f"{folder}: submitit takes a % in a path for its own placeholders: use --launcher sbatch, or choose"
                " another --output-dir"
            )
        return {
            "folder": str(folder),
            "log": str(batch.round_dir.absolute() / "logs" / batch.name),
            "script": str(batch.script.absolute()),
            "cwd": str(batch.round_dir.absolute()),
            "items": list(batch.items),
            "attempt": str(batch.attempt),
            "parameters": slurm_parameters(batch),
        }

    def _call(self, batch: Batch, request: dict[str, Any]) -> dict[str, Any]:
        environment = scrub(os.environ if self._environment is None else self._environment)
        # -P and the file's own path: agent/launch/ must not be on sys.path, where this file would hide submitit.
        argv = [sys.executable, "-P", submitit_call.__file__]
        try:
            reply = run(argv, timeout_s=self._submit_timeout_s, environment=environment, text=json.dumps(request))
        except CommandTimeout as error:
            raise AmbiguousSubmission(
                f"submitit did not answer within {self._submit_timeout_s:g} s; {batch.name} may have been submitted:"
                " it is looked up by its name first",
                name=batch.name,
            ) from error
        answer = _answer(reply)
        if answer is None:
            last = reply.err.strip().splitlines()[-1:] or [f"exit code {reply.code}"]
            raise AmbiguousSubmission(
                f"submitit failed and may have submitted {batch.name} all the same: {last[0]}; it is looked up by its"
                " name first",
                name=batch.name,
            )
        if "unsent" in answer:
            raise LaunchError(f"submitit could not submit {batch.name}: {answer['unsent']}; or use --launcher sbatch")
        if "refused" in answer:
            refused = refusal(Reply(code=answer["code"], out="", err=answer["refused"]), batch.name)
            raise withdrawn(refused, batch.name, self._reader)
        return answer

    def find(self, batch: Batch) -> Submission | None:
        found = self._reader.find(batch.name)
        if found is None:
            return None
        job, cluster, at = found
        several = len(batch.items) > 1
        ids = [f"{job}_{position}" if several else job for position in range(len(batch.items))]
        folder = batch.round_dir.absolute() / "launch" / batch.name
        if not all((folder / f"{task}_submitted.pkl").exists() for task in ids):
            self._complete(batch, ids)
        return _submission(batch, ids, job, at, cluster)

    def _complete(self, batch: Batch, ids: Sequence[str]) -> None:
        """After a submission that was cut off: sbatch had been heard, submitit was not told."""
        request = self._request(batch) | {"tasks": list(ids)}
        Path(request["folder"]).mkdir(parents=True, exist_ok=True)
        try:
            self._call(batch, request)
        except LaunchError as error:
            self._reader.say(f"tasks of {batch.name} that have not begun will fail and need a retry: {error}")

    def poll(self, submissions: Sequence[Submission]) -> Mapping[tuple[str, int], TaskStatus]:
        return self._reader.poll(submissions)

    def cancel(self, submissions: Sequence[Submission], *, items: Collection[int] | None = None) -> None:
        self._reader.cancel(submissions, items=items)

    def largest_index(self) -> int | None:
        return self._reader.largest_index()

    def elapsed(self, submissions: Sequence[Submission], *, ask: bool = True) -> Mapping[tuple[str, int], float]:
        return self._reader.elapsed(submissions, ask=ask)

    def held(self, submissions: Sequence[Submission]) -> Mapping[tuple[str, int], Mapping[str, float]]:
        return self._reader.held(submissions)

    def test_only(self, batch: Batch) -> str | None:
        """Asked with the rendered array script, which has the same settings: submitit's own is made on submission."""
        return SbatchLauncher(self._reader, environment=self._environment).test_only(batch)


def _submission(batch: Batch, ids: Sequence[str], job: str, at: float, cluster: str | None = None) -> Submission:
    return Submission(
        launcher="submitit",
        name=batch.name,
        job_id=job,
        items=batch.items,
        tasks=tuple(ids),
        cluster=cluster,
        submitted_at=at,
    )


def _answer(reply: Reply) -> dict[str, Any] | None:
    """The last line of submitit_call's output, if it came that far."""
    try:
        value = json.loads(reply.out.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def slurm_parameters(batch: Batch) -> dict[str, Any]:
    """submitit's parameters for the batch's directives, such that none stands twice in the script it writes.

    submitit writes `additional_parameters` over its own settings of the same name, so a directive under submitit's
    spelling (underscores, but open-mode) replaces submitit's default: its 5 minutes, its wckey, its signal.
    """
    directives = dict(checked_directives(batch))
    # SLURM's warning must reach the step that submitit runs the script in; B: means the batch shell alone.
    if "signal" in directives:
        directives["signal"] = (directives["signal"] or "").removeprefix("B:")
    additional: dict[str, Any] = {
        name if name == "open-mode" else name.replace("-", "_"): True if value is None else value
        for name, value in directives.items()
    }
    additional |= {"export": "ALL", "chdir": str(batch.round_dir.absolute())}
    if batch.after:
        additional["dependency"] = dependency(batch.after)
    # Since SLURM 22.05 srun does not inherit --cpus-per-task: without this a trial is bound to a single core.
    cpus = directives.get("cpus-per-task")
    return {
        "job_name": batch.name,
        "time": parse_minutes(directives.get("time") or ""),
        "wckey": None,
        "array_parallelism": batch.parallel or len(batch.items),
        "stderr_to_stdout": True,
        "setup": ["export SLURM_EXPORT_ENV=ALL"],
        "srun_args": [f"--cpus-per-task={cpus}"] if cpus else [],
        "additional_parameters": additional,
    }
