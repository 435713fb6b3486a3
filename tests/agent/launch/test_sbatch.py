"""The sbatch launcher against programs that answer as troubled clusters do: what is refused, later, or unknown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import (
    AmbiguousSubmission,
    LaunchError,
    SchedulerUnavailable,
    SubmissionRefused,
    SubmitLimit,
    UsageError,
)
from agent.launch.base import Batch, SlurmSettings, Submission
from agent.launch.sbatch import SbatchLauncher
from agent.launch.submitit import SubmititLauncher
from tests.cases.fake_slurm import FakeSlurm

Make = Callable[..., SbatchLauncher | SubmititLauncher]


@pytest.fixture
def slurm(tmp_path: Path) -> FakeSlurm:
    return FakeSlurm(tmp_path / "bin")


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    (tmp_path / "round").mkdir()
    return Batch(
        name="train-x",
        kind="train",
        round_dir=tmp_path / "round",
        script=tmp_path / "round" / "train.sh",
        array_script=tmp_path / "round" / "train.slurm",
        items=(0, 1, 2, 7),
        attempt=2,
        parallel=3,
        settings=SlurmSettings(directives=(("partition", "gpu"), ("exclusive", None))),
    )


@pytest.fixture(params=[SbatchLauncher, SubmititLauncher], ids=["sbatch", "submitit"])
def make(request: pytest.FixtureRequest, slurm: FakeSlurm) -> Make:
    def make(**more: object) -> SbatchLauncher | SubmititLauncher:
        launcher: SbatchLauncher | SubmititLauncher = request.param(environment=slurm.environment(), **more)
        return launcher

    return make


def test_the_command_line(slurm: FakeSlurm, batch: Batch) -> None:
    slurm.answer("sbatch", "123\n", err="sbatch: lua: welcome to the cluster\n")
    before = Submission(launcher="sbatch", name="a", job_id="9", items=(0,), tasks=("9_0",))
    launcher = SbatchLauncher(
        environment=slurm.environment(SBATCH_TIMELIMIT="1", VIRTUAL_ENV="/v"), clock=lambda: 5.0
    )
    submission = launcher.submit(replace(batch, after=(before, replace(before, job_id="10"))))
    assert slurm.calls("sbatch") == [
        [
            "--parsable",
            "--partition=gpu",
            "--exclusive",
            "--no-requeue",
            "--open-mode=append",
            "--job-name=train-x",
            "--array=0-2,7%3",
            "--export=ALL",
            f"--chdir={batch.round_dir}",
            f"--output={batch.round_dir}/logs/%x_%A_%a.log",
            "--dependency=afterany:9:10",
            str(batch.array_script),
            "0",
            "2",
        ]
    ]
    assert not set(slurm.environments("sbatch")[0]) & {"SBATCH_TIMELIMIT", "VIRTUAL_ENV", "LC_ALL"}
    assert (batch.round_dir / "logs").is_dir()
    assert submission.job_id == "123" and submission.cluster is None and submission.submitted_at == 5.0
    assert submission.tasks == ("123_0", "123_1", "123_2", "123_7")


def test_items_beyond_the_limit_get_an_offset(slurm: FakeSlurm, batch: Batch) -> None:
    slurm.answer("sbatch", "123;alpha\n")
    submission = SbatchLauncher(environment=slurm.environment()).submit(replace(batch, items=(1000, 1001, 1500)))
    (call,) = slurm.calls("sbatch")
    assert "--array=0-1,500%3" in call and call[-2:] == ["1000", "2"]
    assert submission.tasks == ("123_0", "123_1", "123_500") and submission.cluster == "alpha"


def test_a_percent_sign_in_the_folder_is_no_placeholder(slurm: FakeSlurm, batch: Batch, tmp_path: Path) -> None:
    slurm.answer("sbatch", "1\n")
    odd = tmp_path / "50%a"
    SbatchLauncher(environment=slurm.environment()).submit(replace(batch, round_dir=odd))
    assert f"--output={tmp_path}/50%%a/logs/%x_%A_%a.log" in slurm.calls("sbatch")[0]
    with pytest.raises(UsageError, match="%"):
        SubmititLauncher(environment=slurm.environment()).submit(replace(batch, round_dir=odd))


# What sbatch prints, and what it means. Texts: Slurm's slurm_errno and sbatch 22.05 as printed.
ANSWERS = [
    ("sbatch: error: Batch job submission failed: Invalid partition name specified", SubmissionRefused, "sinfo"),
    (
        "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified",
        SubmissionRefused,
        "and set `account` in",
    ),
    (
        "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job submit limit, user's "
        "size and/or time limits)",
        SubmissionRefused,
        "ask for less",
    ),
    ("sbatch: error: Batch job submission failed: Invalid qos specification", SubmissionRefused, "qos"),
    (
        "sbatch: error: Batch job submission failed: Requested node configuration is not available",
        SubmissionRefused,
        "sinfo -Nl",
    ),
    ("sbatch: error: Batch job submission failed: Invalid job array specification", SubmissionRefused, "array"),
    (
        "sbatch: error: Batch job submission failed: Requested time limit is invalid (missing or exceeds some limit)",
        SubmissionRefused,
        "lower `time`",
    ),
    (
        "sbatch: error: Batch job submission failed: Invalid generic resource (gres) specification",
        SubmissionRefused,
        "gres",
    ),
    ("sbatch: error: Invalid --mem specification", SubmissionRefused, "Invalid --mem"),
    ("sbatch: unrecognized option '--frobnicate'", SubmissionRefused, "frobnicate"),
    (
        "sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates"
        " accounting/QOS policy (job submit limit, user's size and/or time limits)",
        SubmitLimit,
        "no more jobs",
    ),
    (
        "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: Job violates"
        " accounting/QOS policy",
        SubmitLimit,
        "no more jobs",
    ),
    ("sbatch: error: Batch job submission failed: Resource temporarily unavailable", SubmitLimit, "no more jobs"),
    (
        "sbatch: error: AssocGrpSubmitJobsLimit\nsbatch: error: Batch job submission failed: Job violates"
        " accounting/QOS policy",
        SubmitLimit,
        "no more jobs of yours",
    ),
    (
        # A full queue is asked again by sbatch itself; the answer to its last try was lost.
        "sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n"
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        AmbiguousSubmission,
        "looked up",
    ),
    (
        "sbatch: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host\n"
        "sbatch: fatal: Could not establish a configuration source",
        SchedulerUnavailable,
        "nothing was submitted",
    ),
    (
        "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
        AmbiguousSubmission,
        "looked up",
    ),
    (
        "sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
        AmbiguousSubmission,
        "looked up",
    ),
    (
        "sbatch: error: Batch job submission failed: Zero Bytes were transmitted or received",
        AmbiguousSubmission,
        "looked up",
    ),
    ("Segmentation fault", AmbiguousSubmission, "Segmentation fault"),
    ("", AmbiguousSubmission, "may have submitted"),
]


@pytest.mark.parametrize(("words", "kind", "part"), ANSWERS, ids=[words[-30:] for words, _, _ in ANSWERS])
def test_answers(slurm: FakeSlurm, batch: Batch, words: str, kind: type[LaunchError], part: str) -> None:
    slurm.answer("sbatch", err=words + "\n", code=1)
    with pytest.raises(LaunchError) as caught:
        SbatchLauncher(environment=slurm.environment()).submit(batch)
    assert type(caught.value) is kind
    if words:
        assert part in str(caught.value)
    if isinstance(caught.value, AmbiguousSubmission):
        assert caught.value.name == batch.name


def test_submitit_hands_on_what_sbatch_says(slurm: FakeSlurm, batch: Batch) -> None:
    launcher = SubmititLauncher(environment=slurm.environment())
    for words, kind, _ in (ANSWERS[0], ANSWERS[9], ANSWERS[-2]):
        slurm.answer("sbatch", err=words + "\n", code=1)
        with pytest.raises(LaunchError) as caught:
            launcher.submit(batch)
        assert type(caught.value) is kind


def test_a_timeout_is_ambiguous(make: Make, slurm: FakeSlurm, batch: Batch) -> None:
    slurm.answer("sbatch", "123\n", sleep=60)
    with pytest.raises(AmbiguousSubmission, match="may have been submitted") as caught:
        make(submit_timeout_s=2.5).submit(batch)
    assert caught.value.name == "train-x"
    assert len(slurm.calls("sbatch")) == 1


def test_an_sbatch_that_was_killed_is_ambiguous_whatever_it_had_said(
    make: Make, slurm: FakeSlurm, batch: Batch
) -> None:
    """It asks a full queue again and again, and may have been killed with a try on its way."""
    slurm.answer(
        "sbatch", err="sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying\n", code=137
    )
    with pytest.raises(AmbiguousSubmission, match="may have submitted"):
        make().submit(batch)


def test_success_without_an_id_is_ambiguous(make: Make, slurm: FakeSlurm, batch: Batch) -> None:
    slurm.answer("sbatch", "thank you for your submission\n")
    with pytest.raises(AmbiguousSubmission):
        make().submit(batch)


def test_noise_does_not_hide_success(make: Make, slurm: FakeSlurm, batch: Batch) -> None:
    launcher = make()
    answer = "123\n" if launcher.name == "sbatch" else "Submitted batch job 123\n"
    slurm.answer("sbatch", "Dear user,\n" + answer, err="sbatch: error: lua: you have 3 TB of scratch\n")
    assert launcher.submit(batch).job_id == "123"


def test_a_missing_sbatch_is_told(batch: Batch, tmp_path: Path) -> None:
    nothing = {"PATH": str(tmp_path)}
    with pytest.raises(UsageError, match="--launcher local"):
        SbatchLauncher(environment=nothing).submit(replace(batch, items=(0,)))
    with pytest.raises(LaunchError, match="sbatch is not on PATH"):
        SubmititLauncher(environment=nothing).submit(batch)


@pytest.mark.parametrize("name", ["array", "job-name", "output", "dependency", "export", "wrap"])
def test_a_managed_option_in_the_settings_is_refused(make: Make, slurm: FakeSlurm, batch: Batch, name: str) -> None:
    with pytest.raises(UsageError, match=name):
        make().submit(replace(batch, settings=SlurmSettings(directives=((name, "x"),))))
    assert slurm.calls("sbatch") == []


def test_it_waits_only_for_slurm_jobs(make: Make, slurm: FakeSlurm, batch: Batch) -> None:
    local = Submission(launcher="local", name="x", job_id="/a/folder", items=(0,), tasks=("0",))
    with pytest.raises(UsageError, match="started by local"):
        make().submit(replace(batch, after=(local,)))
    assert slurm.calls("sbatch") == []


def test_find_names_the_same_tasks(slurm: FakeSlurm, batch: Batch) -> None:
    slurm.answer("squeue", "55_1|RUNNING|2031-02-03T04:05:06|0:01|n1|None|train-x\n")
    launcher = SbatchLauncher(environment=slurm.environment())
    found = launcher.find(replace(batch, items=(2000, 2001)))
    assert found is not None and found.tasks == ("55_0", "55_1")
    other = SubmititLauncher(environment=slurm.environment())
    assert [found.tasks for n in (1, 3) if (found := other.find(replace(batch, items=tuple(range(n)))))] == [
        ("55",),
        ("55_0", "55_1", "55_2"),
    ]
