"""The part of a submission that needs submitit, in a process of its own: submit an array, or complete an adopted one.

Started as a file (`python -P submitit_call.py`, a request as JSON on standard input, the answer as the last line of
standard output). Own process, because submitit gives sbatch no time-out and reads os.environ, and because a killed
orchestrator must not leave an array whose pickles were never moved to where the tasks look for them.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import Any

#: What a task does: the body's output goes straight to its log. submitit's CommandFunction would hold all of it in
#: memory and (1.5.4) kill the body at the first byte that is no UTF-8, or at a character that two reads split.
TO_LOG = """
task="${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
exec bash "$1" "$2" "$3" < /dev/null >> "$0_$task.log" 2>&1
"""


def submit(request: dict[str, Any]) -> dict[str, Any]:
    """Submit one array.

    Returns {"ids": [...] in the items' order}, {"refused": sbatch's words, "code": its exit code}, or {"unsent": why}
    when it did not come to a submission.
    """
    import submitit

    if shutil.which("sbatch") is None:
        return {"unsent": "sbatch is not on PATH"}
    try:
        executor = submitit.SlurmExecutor(folder=request["folder"])
        executor.update_parameters(**request["parameters"])
    except Exception as error:  # whatever submitit raises about its parameters: nothing has been sent yet
        return {"unsent": f"{type(error).__name__}: {error}"}
    script = _script(request)
    jobs = []
    try:
        with executor.batch():
            for item in request["items"]:
                jobs.append(executor.submit(script, str(item), request["attempt"]))
    except submitit.core.utils.FailedJobError as error:
        return {"refused": str(error), "code": getattr(error.__cause__, "returncode", 1)}
    return {"ids": [job.job_id for job in jobs]}


def complete(request: dict[str, Any]) -> dict[str, Any]:
    """Write the pickles that tasks of an adopted array still miss.

    submitit puts them in place only after sbatch has answered, and a task waits for its own for 60 s.
    Returns {"ids": the tasks}.
    """
    from submitit.core.utils import DelayedSubmission, JobPaths

    for item, task in zip(request["items"], request["tasks"], strict=True):
        path = JobPaths(request["folder"], job_id=task).submitted_pickle
        if not path.exists():
            delayed = DelayedSubmission(_script(request), str(item), request["attempt"])
            delayed.set_timeout(request["parameters"]["time"], 0)
            temporary = path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")
            delayed.dump(temporary)
            temporary.replace(path)
    return {"ids": request["tasks"]}


def _script(request: dict[str, Any]) -> Any:
    command = ["bash", "-c", TO_LOG, request["log"], request["script"]]
    return _script_function()(command, verbose=False, cwd=request["cwd"])


def _script_function() -> Any:
    from submitit.helpers import CommandFunction

    class ScriptFunction(CommandFunction):
        """A CommandFunction that leaves SLURM's warning signal to the script.

        Every process of the step gets it. submitit's own handler would raise, and CommandFunction then SIGKILLs the
        script, which is just saving its checkpoint. A handler rather than SIG_IGN: an ignored signal stays ignored
        in the script. Defined in a function, so that it is pickled whole: tasks load it without Roundtable.
        """

        def __call__(self, *args: Any, **kwargs: Any) -> str:
            import signal

            for number in (signal.SIGUSR1, signal.SIGUSR2):
                signal.signal(number, lambda *_: None)
            return str(super().__call__(*args, **kwargs))

    return ScriptFunction


def main() -> int:
    request = json.loads(sys.stdin.read())
    with os.fdopen(os.dup(1), "w") as answer:
        answer.write("\n" + json.dumps(complete(request) if "tasks" in request else submit(request)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
