"""`roundtable doctor`: this machine and its cluster against a study or a profile. Nothing is changed.

One finding for each thing looked at. The checks of SLURM, disk and python are in agent.launch.doctor; those of keys
and of what is installed are here, because only here models and launchers meet.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent.api.doctor_case import Case, DoctorOptions, case_of
from agent.errors import UsageError
from agent.launch.doctor.finding import Asker, Finding, Level

if TYPE_CHECKING:
    from agent.launch.profile import Kind, Resources

Say = Callable[[str], None]


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
    from agent.api.doctor_permissions import check_permissions
    from agent.launch.doctor.surroundings import check_cpu_limit, check_job, check_variables

    asker = asker or Asker()
    tell: Say = say or (lambda line: None)
    case = case_of(options, asker)
    if options.submit and not case.slurm:
        raise UsageError(
            f"--submit: the {case.launcher} launcher has no nodes to look at; name --launcher submitit or sbatch"
        )
    asker = asker.on(case.profile.cluster)
    findings: list[Finding] = []
    tell("asking SLURM")
    slurm_findings, config = _slurm(asker, case, tell)
    findings += slurm_findings
    tell("trying the folder")
    disk_findings, place = _disk(asker, case)
    findings += disk_findings
    tell("running the training python")
    findings += _interpreter(case, nodes=case.slurm and not options.submit)
    if options.submit and not case.stranger:
        findings += _visit(asker, case, place, config, options.wait_s, tell)
    findings += check_variables(asker.environment, slurm=case.slurm, cluster=case.profile.cluster)
    findings += check_job(asker.environment)
    findings += check_cpu_limit()
    findings += check_permissions(case.folder, study=options.study is not None, here=Path.cwd())
    findings += _agents(case, asker.environment)
    return Report(launcher=case.launcher, findings=tuple(findings))


# --- SLURM ---


def _slurm(asker: Asker, case: Case, tell: Say) -> tuple[list[Finding], Mapping[str, str]]:
    """Findings, and the controller's settings; empty where it was not asked or does not answer."""
    from agent.launch.doctor.cluster import ask_config, ask_limits, check_accounting, check_config
    from agent.launch.doctor.programs import check_programs

    findings, reachable = check_programs(asker, case.launcher, chosen=case.chosen)
    if not case.slurm:
        return findings + _unused(case), {}
    if not reachable:
        return findings, {}
    asked, config = ask_config(asker)
    findings += asked
    if not config:
        return findings, {}
    accounting = asker.ask("sacct", "-n", "-P", "-X", "-S", "now", "--format=JobID")
    findings += check_accounting(accounting)
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
    return findings + _requests(asker, case, config), config


def _unused(case: Case) -> list[Finding]:
    """A profile that asks for what a launcher without SLURM does not have."""
    wanted = case.profile
    asks = [name for name in ("partition", "account", "qos", "constraint", "nodelist") if getattr(wanted, name)]
    if not asks:
        return []
    finding = Finding(
        level=Level.WARNING,
        area="profile",
        looked_at=f"profile {wanted.name}",
        found=f"asks for {', '.join(asks)}, which --launcher {case.launcher} does not know",
        change="run this on a SLURM login node, or leave the profile out",
    )
    return [finding]


def _requests(asker: Asker, case: Case, config: Mapping[str, str]) -> list[Finding]:
    from agent.launch.doctor.dry_run import check_dry_run
    from agent.launch.doctor.request import SINFO_FORMAT, check_request, parse_nodes, parse_partitions
    from agent.launch.render import array_range

    shown = asker.ask("scontrol", "show", "partition", "-o")
    partitions = parse_partitions(shown.out)
    nodes = parse_nodes(asker.ask("sinfo", "-h", "-e", "-o", SINFO_FORMAT).out) if asker.has("sinfo") else []
    findings: list[Finding] = []
    if not partitions:
        findings.append(
            Finding(
                level=Level.WARNING,
                area="profile",
                looked_at="partitions",
                found=f"`scontrol show partition` cannot be read: {shown.words}",
                change="compare the profile with `sinfo` yourself; what sbatch says stands below",
            )
        )
    # Models that run on test data are evaluated one by one, with what they were trained with unless `eval` differs.
    inference = case.settings is not None and case.settings.use_test
    evaluation = case.profile.resources("eval", inference=inference)
    kinds: list[tuple[Kind, int]] = [("train", case.rows or 1)]
    if evaluation != case.profile.resources("train"):
        kinds.append(("eval", case.candidates if inference else 1))
    if case.trainer is not None and case.trainer.preparer is not None:
        kinds.append(("prepare", 1))
    largest = _largest(config)
    uses_gpu = case.trainer is not None and case.trainer.uses_gpu
    for kind, count in kinds:
        wanted = case.profile.resources(kind, inference=inference)
        if partitions:
            findings += check_request(
                wanted, kind=kind, partitions=partitions, nodes=nodes, config=config, uses_gpu=uses_gpu
            )
        mine = [group for group in nodes if _may_use(wanted, group.partition, partitions)]
        alive = not mine or any(group.usable for group in mine)
        tasks = min(count, case.profile.max_array_size or count, largest)
        array = array_range(0, tasks - 1, wanted.max_parallel)
        findings += check_dry_run(
            asker, case.profile.settings(kind, inference=inference), kind=kind, array=array, alive=alive
        )
    return findings


def _may_use(wanted: Resources, name: str, partitions: Mapping[str, Mapping[str, str]]) -> bool:
    """Whether a task may go to this partition: one of those named, or the default."""
    if wanted.partition is not None:
        return name in wanted.partition.split(",")
    return partitions.get(name, {}).get("Default") == "YES"


def _largest(config: Mapping[str, str]) -> int:
    """Most tasks of one array."""
    size = config.get("MaxArraySize", "")
    return max(int(size), 1) if size.isdigit() else 1


# --- disk, python and node ---


def _interpreter(case: Case, *, nodes: bool) -> list[Finding]:
    from agent.launch.doctor.interpreter import check_interpreter

    if case.stranger:
        finding = Finding(
            level=Level.WARNING,
            area="training",
            looked_at="training python",
            found=f"not run: the study that names it belongs to {case.stranger}",
            change="read its profile.yaml, and give --profile a copy of your own",
        )
        return [finding]
    if case.description is None:
        return check_interpreter(case.profile, case.trainer, nodes=nodes)
    with tempfile.TemporaryDirectory(prefix="roundtable-doctor-") as folder:
        frozen = Path(folder) / "trainer.json"
        frozen.write_text(case.description, encoding="utf-8")
        return check_interpreter(case.profile, case.trainer, trainer_file=frozen, nodes=nodes)


def _disk(asker: Asker, case: Case) -> tuple[list[Finding], Path | None]:
    """Findings on the study's folder, and the folder that was tried; None where it may not be written."""
    from agent.launch.doctor.disk import check_place, mount_of, parse_mounts, try_folder

    folder = Path(os.path.realpath(case.folder))
    while not folder.is_dir():
        folder = folder.parent
    try:
        mounts = parse_mounts(Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError:
        mounts = []
    findings = check_place(folder, mount_of(folder, mounts), slurm=case.slurm)
    tried, writable = try_folder(asker, folder)
    return findings + tried, folder if writable else None


def _visit(
    asker: Asker, case: Case, place: Path | None, config: Mapping[str, str], wait_s: float, tell: Say
) -> list[Finding]:
    from agent.launch.doctor.visit import Visit, visit_node
    from agent.launch.training import import_root, training_python

    if place is None or not config:
        why = "the folder may not be written" if config else "SLURM does not answer"
        finding = Finding(
            level=Level.WARNING,
            area="node",
            looked_at="a job through the profile",
            found=f"not submitted: {why}",
            change="mend the problems above, then call again",
        )
        return [finding]
    visit = Visit(
        folder=place,
        profile=case.profile,
        python=training_python(case.profile),
        import_root=import_root(),
        trainer=case.trainer,
        wait_s=wait_s,
    )
    return visit_node(asker, visit, say=tell)


def _agents(case: Case, environment: Mapping[str, str]) -> list[Finding]:
    from agent.api.doctor_agents import check_extras, check_keys

    return [*check_keys(case.settings, environment, Path.cwd(), judge=case.judge), *check_extras(case.settings)]
