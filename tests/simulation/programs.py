"""sbatch, squeue, sacct, scancel and scontrol of the simulated cluster: what they print, and the lies they tell.

`Programs` stands where agent.launch.commands.run stands, so the product's own launcher and reader of states are under
test: their command lines are read here, and what they parse is written here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from agent.launch.commands import CommandTimeout, Reply
from agent.launch.states import expand, format_time
from tests.simulation.cluster import ACTIVE, BEGINNING, FORGETS_AFTER_S, Cluster, Job, Run, Task
from tests.simulation.script import Fault
from tests.simulation.tasks import USER

#: How long a submission in doubt is looked up (Settings.adopt_after_s).
ADOPT_AFTER_S = 300.0

#: What a call takes at least, what some take beyond that, and what one of a busy controller takes.
CALL_S, LONG_CALL_S, SLOW_S = 0.2, 10.0, 55.0
#: Clocks further apart than this end all trust: munge refuses the credential, in both directions.
MUNGE_S = 300.0
UNTRUSTED = "error: Batch job submission failed: Protocol authentication error"
UNREACHABLE = "error: Unable to contact slurm controller (connect failure)"


class Killed(BaseException):
    """SIGKILL of the orchestrator: nothing that it has in memory is left."""


class Programs:
    """SLURM's programs. Every call is counted."""

    def __init__(
        self,
        cluster: Cluster,
        faults: Iterable[Fault],
        *,
        accounting: bool,
        array_size: int | None,
        skew: Callable[[], float] = lambda: 0.0,
    ) -> None:
        """skew: seconds by which the orchestrator's clock is ahead of the cluster's."""
        self.cluster = cluster
        self.skew = skew
        self.accounting = accounting
        self.array_size = array_size or 1001
        self.calls: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.submissions = {one.at[0]: one for one in faults if one.where == "sbatch"}
        self._queries = [one for one in faults if one.where in ("squeue", "sacct")]
        self._known: set[str] = set()
        """Names of which the orchestrator was told the id."""
        self._doubtful: dict[str, float] = {}
        """Names of which nobody can know whether they were submitted, and since when."""
        self._looked = 0.0
        """When squeue answered last."""
        self._certain = not any(one.where == "clock" for one in faults)

    def __call__(
        self, argv: Sequence[str], *, timeout_s: float, environment: Mapping[str, str], text: str = ""
    ) -> Reply:
        program = argv[0]
        # Time passes while a program runs: what ends in it is seen by some of a look's questions and not by others.
        taken = CALL_S + LONG_CALL_S * self.cluster.chance("call", self.calls.total()) ** 3
        self.cluster.advance(self.cluster.now + taken)
        if program == "sbatch" and "--test-only" in argv:
            program = "sbatch --test-only"
        self.calls[program] += 1
        if abs(self.skew()) > MUNGE_S:
            return _failed(UNTRUSTED if program.startswith("sbatch") else f"slurm_load_jobs {UNTRUSTED}")
        if program == "sbatch --test-only":
            return _said("", err="sbatch: Job 1 to start at 2030-03-17T17:46:40 using 1 processors on nodes n1")
        answer: Callable[[Sequence[str]], Reply] = getattr(self, f"_{program}")
        return answer(argv)

    # -- sbatch --------------------------------------------------------------------------------------------------

    def _sbatch(self, argv: Sequence[str]) -> Reply:
        options = dict(part[2:].partition("=")[::2] for part in argv if part.startswith("--"))
        script, offset, attempt = Path(argv[-3]), int(argv[-2]), int(argv[-1])
        name = options["job-name"]
        self._check_not_there(name)
        gpus = re.fullmatch(r"gpu:(\d+)", options.get("gres", ""))
        job: dict[str, object] = {
            "name": name,
            "kind": script.name.partition("_")[0],
            "folder": Path(options["chdir"]),
            "attempt": attempt,
            "offset": offset,
            "after": tuple(int(one) for one in options.get("dependency", "").split(":")[1:]),
            "gpus": int(gpus[1]) if gpus else 0,
        }
        indices = [int(one.partition("_")[2]) for one in expand(f"0_[{options['array'].partition('%')[0]}]")]
        fault = self.submissions.get(self.calls["sbatch"])
        if fault is not None and fault.what not in _ANSWERED and fault.what not in ("noise", "twice"):
            self._doubtful.setdefault(name, self.cluster.now)
        if fault is not None:
            self.cluster.befallen[f"sbatch {fault.what}"] += 1
        return self._taken(name, lambda: self.cluster.submit(job, indices), fault)

    def _taken(self, name: str, arrive: Callable[[], Job], fault: Fault | None) -> Reply:
        """What becomes of a submission."""
        what = fault.what if fault is not None else ""
        if what in _ANSWERED:
            return _failed(_ANSWERED[what])
        if what == "killed_before":
            raise Killed("before sbatch")
        if what == "timeout_before":
            raise CommandTimeout("sbatch did not answer within 180 s")
        if what == "late":
            assert fault is not None
            self.cluster.at(self.cluster.now + fault.seconds, lambda: (arrive(), None)[1])
        if what in ("late", "lost_before"):
            return _failed("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")
        made = arrive()
        if what == "twice":
            arrive()
        if what == "killed_after":
            raise Killed("behind sbatch")
        if what == "timeout_after":
            raise CommandTimeout("sbatch did not answer within 180 s")
        if what == "lost_after":
            return _failed("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation")
        if what == "no_id":
            return _said("welcome to the cluster\n")
        self._known.add(name)
        noise = "lua: job checked\n" if what == "noise" else ""
        return _said(f"{noise}{made.id}\n", err="sbatch: a note of the site\n" if noise else "")

    def _check_not_there(self, name: str) -> None:
        """A name is submitted again only where SLURM shows nothing under it."""
        # What arrived behind the last look at the queue could not be seen in it.
        shown = [job for job in self.cluster.jobs.values() if job.name == name and job.submitted <= self._looked]
        if name in self._known:
            self.wrong.append(f"{name} is submitted again although sbatch had told its id")
        elif any(self._in_queue(task) for job in shown for task in job.tasks):
            self.wrong.append(f"{name} is submitted again although the queue shows it")
        elif self._certain and self.cluster.now < self._doubtful.get(name, 0.0) + ADOPT_AFTER_S - 2 * LONG_CALL_S:
            self.wrong.append(f"{name} is submitted again before it is certain that it was not")

    # -- squeue and sacct ----------------------------------------------------------------------------------------

    def _squeue(self, argv: Sequence[str]) -> Reply:
        what, _ = self._fault("squeue")
        if what == "error":
            return _failed(f"slurm_load_jobs {UNREACHABLE}")
        if what == "timeout":
            raise CommandTimeout("squeue did not answer within 120 s")
        if what == "blind":
            return _said("")  # just restarted, and not aware of what runs
        self._looked = self.cluster.now
        names, everything = _option(argv, "--name").split(","), "all" in argv
        lines = [
            f"{task.id}|{run.raw}|{format_time(run.submitted)}|{self._elapsed(run)}|{run.node}|{_reason(task)}|{job.name}"
            for job in self._jobs(names=names)
            for task in job.tasks
            for run in (task.run,)
            if self._in_queue(task, at_once=bool(what)) and (everything or run.raw in ACTIVE)
        ]
        return _said("".join(f"{line}\n" for line in lines))

    def _in_queue(self, task: Task, *, at_once: bool = False) -> bool:
        if task.vanished:
            return False
        ended = task.run.ended
        return ended is None or (not at_once and self.cluster.now - ended < FORGETS_AFTER_S)

    def _sacct(self, argv: Sequence[str]) -> Reply:
        if not self.accounting:
            return _failed("Slurm accounting storage is disabled")
        what, since = self._fault("sacct")
        if what == "error":
            return _failed("sacct: error: slurm_persist_conn_open_without_init: Connection refused")
        if what == "timeout":
            raise CommandTimeout("sacct did not answer within 120 s")
        if what == "forgets":
            return _said("")
        now = since if what == "late" else self.cluster.now
        ids, names = _option(argv, "-j").split(","), _option(argv, "--name").split(",")
        lines = [
            self._accounted(task, run, now)
            for job in self._jobs(names=names, ids=ids)
            for task in job.tasks
            if not task.vanished
            for run in task.runs
        ]
        return _said("".join(f"{line}\n" for line in lines if line))

    def _accounted(self, task: Task, run: Run, now: float) -> str:
        told = [one for one in run.told if one[0] <= now]
        if not told:
            return ""
        _, raw, ended = told[-1]
        until = ended if ended is not None else now
        seconds = max(0.0, until - run.began) if run.began is not None and raw != "PENDING" else 0.0
        end = format_time(ended) if ended is not None else "Unknown"
        code = run.exit_code if ended is not None else "0:0"
        node = run.node or "None assigned"
        held = f"billing=1,cpu=1,gres/gpu={task.job.gpus},node=1"
        times = f"{_clock(seconds)}|{end}|{format_time(run.submitted)}"
        return f"{task.id}|{raw}|{code}|{times}|{node}|{task.job.name}|{held}"

    def _jobs(self, *, names: Sequence[str] = (), ids: Sequence[str] = ()) -> Iterator[Job]:
        found = self.cluster.jobs
        return (job for job in found.values() if job.name in names or str(job.id) in ids)

    def _elapsed(self, run: Run) -> str:
        return _clock((run.ended or self.cluster.now) - run.began) if run.began is not None else "0:00"

    def _fault(self, program: str) -> tuple[str, float]:
        """What this program suffers from now, and since when."""
        now = self.cluster.now - BEGINNING
        for one in self._queries:
            if one.where == program and one.at[0] <= now < one.at[0] + one.seconds:
                self.cluster.befallen[f"{program} {one.what}"] += 1
                if one.what == "slow":
                    self.cluster.advance(self.cluster.now + SLOW_S)
                    return "", 0.0
                return one.what, BEGINNING + one.at[0]
        return "", 0.0

    def troubled_until(self) -> list[float]:
        """When the programs' troubles end."""
        return [BEGINNING + one.at[0] + one.seconds for one in self._queries]

    # -- the rest ------------------------------------------------------------------------------------------------

    def _scancel(self, argv: Sequence[str]) -> Reply:
        if self._fault("squeue")[0] in ("error", "timeout"):
            return _failed(f"scancel: {UNREACHABLE}")
        name = _option(argv, "-n")
        for task in self.cluster.living():
            if (name and task.job.name == name) or any(_means(word, task) for word in argv[1:]):
                self.cluster.cancel(task, USER)
        return _said("")

    def _scontrol(self, argv: Sequence[str]) -> Reply:
        return _said(f"MaxArraySize            = {self.array_size}\n")


_ANSWERED = {
    "refused": "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy",
    "limit": "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates "
    "accounting/QOS policy (job submit limit, user's size and/or time limits)",
    "full_queue": "sbatch: error: Batch job submission failed: Resource temporarily unavailable",
    "not_sent": "sbatch: error: Munge encode failed: Failed to access munge socket",
}


def _means(word: str, task: Task) -> bool:
    """Whether an argument of scancel names a task."""
    return word == str(task.job.id) or (word.startswith(f"{task.job.id}_") and task.id in expand(word))


def _reason(task: Task) -> str:
    return task.reason if task.run.raw == "PENDING" else "None"


def _option(argv: Sequence[str], name: str) -> str:
    return argv[argv.index(name) + 1] if name in argv else ""


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _said(out: str, err: str = "") -> Reply:
    return Reply(code=0, out=out, err=err)


def _failed(err: str) -> Reply:
    return Reply(code=1, out="", err=err)
