"""The sbatch and submitit launchers on a real SLURM: the conformance class, and what only a scheduler does."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from agent.errors import AmbiguousSubmission, LaunchError, SchedulerUnavailable, SubmissionRefused
from agent.launch.base import Launcher, SlurmSettings, State, Submission
from agent.launch.sbatch import SbatchLauncher
from agent.launch.scheduler import Pace, SlurmReader
from agent.launch.submitit import SubmititLauncher
from tests.cases.launcher_case import LauncherCase, Round
from tests.cluster.cluster import Cluster

PACE = Pace(interval_s=0.2, lost_after_s=10.0, unaccounted_after_s=2.0, timeout_s=30.0)


def _settings() -> SlurmSettings:
    return SlurmSettings(
        directives=(
            ("partition", "main"),
            ("nodes", "1"),
            ("ntasks", "1"),
            ("cpus-per-task", "1"),
            ("mem", "100M"),
            ("time", "5"),
            ("no-requeue", None),
            ("open-mode", "append"),
            ("signal", "B:USR2@30"),
        )
    )


class SlurmCase(LauncherCase):
    """Beyond the protocol: what both launchers must do on SLURM."""

    @pytest.fixture
    def settings(self) -> SlurmSettings:
        return _settings()

    def test_cpus_and_gpus_reach_the_body(self, launcher: Launcher, round: Round) -> None:
        for item in range(2):
            round.do(item, "sleep 1")  # together, so that two devices are needed
        kept = tuple((k, v) for k, v in _settings().directives if k not in ("cpus-per-task", "partition"))
        wanted = (*kept, ("partition", "gpu"), ("gres", "gpu:1"), ("cpus-per-task", "2"))
        batch = replace(round.batch("devices", range(2)), settings=SlurmSettings(directives=wanted))
        submission = launcher.submit(batch)
        self.wait_gone(launcher, submission)
        inside = [round.environment(item) for item in range(2)]
        assert len({variables["CUDA_VISIBLE_DEVICES"] for variables in inside}) == 2
        assert {variables["SLURM_CPUS_PER_TASK"] for variables in inside} == {"2"}

    def test_the_warning_signal_lets_the_body_save(self, launcher: Launcher, round: Round, slurm: Cluster) -> None:
        round.do(
            0,
            'trap \'sleep 0.5; touch "$notes/saved_$1"; exit 0\' USR2; touch "$notes/ready_$1"\n'
            "for _ in $(seq 600); do sleep 0.1; done",
        )
        submission = launcher.submit(round.batch("warn", [0]))
        self.wait((round.notes / "ready_0").exists, "the body is ready")
        # SLURM's own warning: to the batch shell with B: (sbatch), else to the steps (submitit).
        where = ["--batch"] if launcher.name == "sbatch" else []
        slurm.run(["scancel", *where, "--signal=USR2", submission.job_id], check=True)
        seen = self.wait_gone(launcher, submission)
        assert (round.notes / "saved_0").exists()
        assert seen[submission.name, 0].raw == "COMPLETED"

    def test_cancelled_by_a_person(self, launcher: Launcher, round: Round, slurm: Cluster) -> None:
        round.do(0, "sleep 60")
        submission = launcher.submit(round.batch("person", [0, 1], parallel=1))
        self.wait(lambda: launcher.poll([submission])[submission.name, 0].state is State.RUNNING, "running")
        slurm.run(["scancel", submission.job_id], check=True)
        seen = self.wait_gone(launcher, submission)
        assert {status.raw.split()[0] for status in seen.values()} == {"CANCELLED"}

    def test_what_no_node_offers_is_refused_and_what_it_leaves_behind_is_not_adopted(
        self, launcher: Launcher, round: Round, slurm: Cluster
    ) -> None:
        """sbatch says no with return code 1, and squeue shows a FAILED job under our name."""
        batch = round.batch("impossible", [0, 1])
        much = tuple((k, "900G" if k == "mem" else v) for k, v in _settings().directives)
        with pytest.raises(LaunchError, match=r"node configuration.*ask for less") as caught:
            launcher.submit(replace(batch, settings=SlurmSettings(directives=much)))
        assert not isinstance(caught.value, (AmbiguousSubmission, SchedulerUnavailable))
        left = slurm.run(["squeue", "-h", "-t", "all", "--name", batch.name, "-o", "%T %r"], check=True).stdout
        assert set(left.splitlines()) <= {"FAILED BadConstraints"}
        assert launcher.find(batch) is None
        made = launcher.submit(batch)
        found = launcher.find(batch)
        assert found is not None and found.job_id == made.job_id
        self.wait_gone(launcher, made)

    def test_a_refusal_says_why_and_submits_nothing(self, launcher: Launcher, round: Round) -> None:
        wrong = (("partition", "nosuchpartition"), ("time", "5"))
        batch = replace(round.batch("refused", [0, 1]), settings=SlurmSettings(directives=wrong))
        with pytest.raises(LaunchError, match=r"(?i)invalid partition.*sinfo") as caught:
            launcher.submit(batch)
        assert type(caught.value) is SubmissionRefused
        assert launcher.find(batch) is None

    def test_an_ambiguous_submission_is_adopted_and_runs_once(
        self, impatient: Launcher, launcher: Launcher, round: Round, slurm: Cluster
    ) -> None:
        impatient.largest_index()  # else the frozen controller would be met by that question already
        batch = round.batch("ambiguous", [0, 1])
        slurm.pause("slurmctld")
        try:
            with pytest.raises(AmbiguousSubmission) as caught:
                impatient.submit(batch)
        finally:
            slurm.resume("slurmctld")
        assert caught.value.name == batch.name
        found: list[Submission] = []

        def looked_up() -> bool:
            try:
                submission = launcher.find(batch)
            except SchedulerUnavailable:
                return False
            found.extend([submission] if submission else [])
            return bool(found)

        self.wait(looked_up, "the job that was sent all the same")
        self.wait_gone(launcher, found[0])
        time.sleep(0.5)
        assert round.begun() == [(0, "1"), (1, "1")]


@pytest.mark.cluster
class TestSbatch(SlurmCase):
    @pytest.fixture
    def launcher(self, slurm: Cluster) -> Launcher:
        return SbatchLauncher(SlurmReader(PACE))

    @pytest.fixture
    def another(self, slurm: Cluster) -> Launcher:
        return SbatchLauncher(SlurmReader(PACE))

    @pytest.fixture
    def impatient(self, slurm: Cluster) -> Launcher:
        return SbatchLauncher(SlurmReader(PACE), submit_timeout_s=3)


@pytest.mark.cluster
class TestSubmitit(SlurmCase):
    awkward = "runs with space, ünï©ode"

    @pytest.fixture
    def launcher(self, slurm: Cluster) -> Launcher:
        return SubmititLauncher(SlurmReader(PACE))

    @pytest.fixture
    def another(self, slurm: Cluster) -> Launcher:
        return SubmititLauncher(SlurmReader(PACE))

    @pytest.fixture
    def impatient(self, slurm: Cluster) -> Launcher:
        return SubmititLauncher(SlurmReader(PACE), submit_timeout_s=3)
