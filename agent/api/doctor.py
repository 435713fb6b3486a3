"""`roundtable doctor`: this machine and its cluster against a study or a profile. Nothing is changed.

One finding for each thing looked at. The checks of SLURM, disk and python are in agent.launch.doctor; those of keys
and of what is installed are here, because only here models and launchers meet.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.api.doctor_agents import check_extras, check_keys
from agent.api.doctor_case import Case, DoctorOptions, case_of
from agent.errors import UsageError
from agent.launch.ask import Asker
from agent.launch.doctor.disk import Mount, check_place, mount_of, parse_mounts, try_folder
from agent.launch.doctor.finding import Area, Finding, Level
from agent.launch.doctor.machine import check_cpu_limit, check_interpreter, check_job, check_variables
from agent.launch.doctor.permissions import check_permissions
from agent.launch.doctor.request import Request, check_dry_run, check_request
from agent.launch.doctor.slurm import ask_config, ask_limits, check_accounting, check_config, check_programs
from agent.launch.doctor.visit import Visit, visit_node
from agent.launch.nodes import ask_nodes, parse_partitions
from agent.launch.profile import Kind
from agent.launch.render import array_range
from agent.launch.states import array_limits
from agent.launch.training import import_root, training_python

Say = Callable[[str], None]
_profile, _training, _node = Area("profile"), Area("training"), Area("node")


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that was found, in the order in which it was looked at."""

    launcher: str
    findings: tuple[Finding, ...]

    def count(self, level: Level) -> int:
        return sum(finding.level is level for finding in self.findings)

    @property
    def ok(self) -> bool:
        """Whether there is no problem; warnings do not count."""
        return self.count(Level.PROBLEM) == 0

    def to_json(self) -> dict[str, Any]:
        return {
            "ok": self.ok,
            "launcher": self.launcher,
            "problems": self.count(Level.PROBLEM),
            "warnings": self.count(Level.WARNING),
            "findings": [dataclasses.asdict(finding) for finding in self.findings],
        }


def examine(options: DoctorOptions, *, asker: Asker | None = None, say: Say | None = None) -> Report:
    """Look at everything. say: told what is being looked at, because some of it takes a while.

    Raises UsageError (no such study, trainer or profile; --submit without SLURM) before anything is looked at.
    """
    asker, tell = asker or Asker(), say or (lambda line: None)
    case = case_of(options, asker)
    if options.submit and not case.slurm:
        raise UsageError(
            f"--submit: the {case.launcher} launcher has no nodes to look at; name --launcher submitit or sbatch"
        )
    asker = asker.on(case.profile.cluster)
    tell("asking SLURM")
    findings, config = _slurm(asker, case, tell)
    tell("trying the folder")
    real = Path(os.path.realpath(case.folder))
    folder = next(path for path in (real, *real.parents) if path.is_dir())
    findings += check_place(folder, mount_of(folder, _mounts()), slurm=case.slurm)
    tried, writable = try_folder(asker, folder)
    tell("running the training python")
    findings += [*tried, *_interpreter(case, nodes=case.slurm and not options.submit)]
    if options.submit and not case.owner:
        findings += _visit(asker, case, folder if writable else None, config, options.wait_s, tell)
    findings += check_variables(asker.environment, slurm=case.slurm, cluster=case.profile.cluster)
    findings += [*check_job(asker.environment), *check_cpu_limit()]
    findings += check_permissions(case.folder, study=options.study is not None, here=Path.cwd())
    findings += check_keys(case.settings, asker.environment, Path.cwd(), judge=case.judge)
    return Report(launcher=case.launcher, findings=(*findings, *check_extras()))


def _slurm(asker: Asker, case: Case, tell: Say) -> tuple[list[Finding], Mapping[str, str]]:
    """Findings, and the controller's settings; empty where it was not asked or does not answer."""
    findings, reachable = check_programs(asker, case.launcher, chosen=case.chosen)
    if not case.slurm:
        return [*findings, *_unused(case)], {}
    if not reachable:
        return findings, {}
    controller, config = ask_config(asker)
    findings.append(controller)
    if not config:
        return findings, {}
    accounting = asker.ask("sacct", "-n", "-P", "-X", "-S", "now", "--format=JobID")
    findings.append(check_accounting(accounting))
    findings += check_config(
        config,
        client=asker.ask("sbatch", "--version").out,
        rows=case.rows,
        cap=case.profile.max_array_size,
        poll_s=case.poll_s,
        accounting=accounting.code == 0,
    )
    if asker.has("sacctmgr") and accounting.code == 0:
        wanted = case.profile.resources("train")
        findings += ask_limits(asker, config, account=wanted.account, qos=wanted.qos, rows=case.rows)
    tell("comparing the profile with the cluster")
    return [*findings, *_requests(asker, case, config)], config


def _unused(case: Case) -> Iterator[Finding]:
    """A profile that asks for what a launcher without SLURM does not have."""
    names = ("partition", "account", "qos", "constraint", "nodelist")
    if asks := ", ".join(name for name in names if getattr(case.profile, name)):
        said = f"asks for {asks}, which --launcher {case.launcher} does not know"
        ask = "run this on a SLURM login node, or leave the profile out"
        yield _profile.warning(f"profile {case.profile.name}", said, ask)


def _requests(asker: Asker, case: Case, config: Mapping[str, str]) -> Iterator[Finding]:
    """Each kind of task: what the cluster offers for it, and what sbatch says."""
    reply = asker.ask("scontrol", "show", "partition", "-o")
    partitions, nodes = parse_partitions(reply.out), ask_nodes(asker)
    if not partitions:
        said = f"`scontrol show partition` cannot be read: {reply.words}"
        ask = "compare the profile with `sinfo` yourself; what sbatch says stands below"
        yield _profile.warning("partitions", said, ask)
    # Models that run on test data are evaluated one by one, with what they were trained with unless `eval` differs.
    inference = case.settings is not None and case.settings.use_test
    kinds: list[tuple[Kind, int]] = [("train", case.rows or 1)]
    if case.profile.resources("eval", inference=inference) != case.profile.resources("train"):
        kinds.append(("eval", case.candidates if inference else 1))
    if case.trainer is not None and case.trainer.preparer is not None:
        kinds.append(("prepare", 1))
    for kind, count in kinds:
        request = Request(
            wanted=case.profile.resources(kind, inference=inference),
            kind=kind,
            partitions=partitions,
            nodes=nodes,
            config=config,
            uses_gpu=case.trainer is not None and case.trainer.uses_gpu,
        )
        if partitions:
            yield from check_request(request)
        alive = not request.mine or any(group.usable for group in request.mine)
        tasks = min(count, case.profile.max_array_size or count, array_limits(config)[0] or 1)
        array = array_range(0, tasks - 1, request.wanted.max_parallel)
        yield check_dry_run(
            asker, case.profile.settings(kind, inference=inference), kind=kind, array=array, alive=alive
        )


def _interpreter(case: Case, *, nodes: bool) -> list[Finding]:
    if case.owner:
        said = f"not run: the study that names it belongs to {case.owner}"
        return [
            _training.warning("training python", said, "read its profile.yaml, and give --profile a copy of your own")
        ]
    if case.description is None:
        return list(check_interpreter(case.profile, case.trainer, nodes=nodes))
    with tempfile.TemporaryDirectory(prefix="roundtable-doctor-") as folder:
        frozen = Path(folder) / "trainer.json"
        frozen.write_text(case.description, encoding="utf-8")
        return list(check_interpreter(case.profile, case.trainer, trainer_file=frozen, nodes=nodes))


def _mounts() -> list[Mount]:
    try:
        return parse_mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError:
        return []


def _visit(
    asker: Asker, case: Case, folder: Path | None, config: Mapping[str, str], wait_s: float, tell: Say
) -> list[Finding]:
    """folder: None where it may not be written."""
    if folder is None or not config:
        why = "the folder may not be written" if config else "SLURM does not answer"
        ask = "mend the problems above, then call again"
        return [_node.warning("a job through the profile", f"not submitted: {why}", ask)]
    visit = Visit(
        folder=folder,
        profile=case.profile,
        python=training_python(case.profile),
        import_root=import_root(),
        trainer=case.trainer,
        wait_s=wait_s,
    )
    return visit_node(asker, visit, say=tell)
