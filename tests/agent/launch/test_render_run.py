"""Rendered scripts, executed: what arrives at the trainer, what is refused, and who gets the signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from render_cases import HOSTILE, a_manifest, rendered_round

from agent.errors import InvalidProfile, InvalidScript
from agent.launch.profile import Profile, default_profile
from agent.launch.profile_checks import unsafe_characters
from agent.launch.render import Rendered


@pytest.fixture
def recorder(tmp_path: Path) -> Path:
    """A python that writes its working folder, two variables and its arguments, each ended by NUL, to $RECORD."""
    path = tmp_path / "py 'thon' $x"
    path.write_text('#!/usr/bin/env bash\nprintf \'%s\\0\' "$PWD" "$HOSTILE" "${PYTHONPATH-}" "$@" > "$RECORD"\n')
    path.chmod(0o755)
    return path


def write(rendered: Rendered) -> None:
    for path, text in rendered.texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def bash(
    script: Path | None, *arguments: str, environ: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("SLURM_")}
    command = ["bash", str(script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=inherited | dict(environ or {}), timeout=60)


def record_of(recorder: Path, script: Path | None, *arguments: str, **environ: str) -> list[str]:
    record = recorder.parent / "record"
    record.unlink(missing_ok=True)
    done = bash(script, *arguments, environ={"RECORD": str(record), **environ})
    assert done.returncode == 0, done.stderr
    return record.read_bytes().decode().split("\0")[:-1]


def test_scripts_that_a_person_starts_hand_on_no_key(tmp_path: Path) -> None:
    """`sbatch` and `bash` by hand inherit the whole shell; set-up lines may give a trainer a key of its own."""
    lister = tmp_path / "python"
    lister.write_text('#!/usr/bin/env bash\ncompgen -e > "$RECORD"\n')
    lister.chmod(0o755)
    profile = Profile(setup=("export GROQ_API_KEY=the-trainers-own",))
    rendered = rendered_round(tmp_path / "round", profile, python=lister, secrets=["MY_LAB_KEY"])
    write(rendered)
    keys = (
        "OPENAI_ADMIN_KEY",
        "GEMINI_API_KEY_GEN_A",
        "OTEL_EXPORTER_OTLP_HEADERS",
        "X_CUSTOM_HEADERS",
        "MY_LAB_KEY",
    )
    others = ("HF_TOKEN", "MY_LAB_KEY_2", "WANDB_API_KEY")
    record = tmp_path / "record"
    for script in (rendered.train.script, rendered.evaluation.script):
        done = bash(script, "0", environ={"RECORD": str(record)} | dict.fromkeys((*keys, *others), "x"))
        assert done.returncode == 0, done.stderr
        names = record.read_text().split()
        assert not {*keys} & {*names} and {*others, "GROQ_API_KEY"} <= {*names}


def test_hostile_values_arrive_untouched(tmp_path: Path, recorder: Path) -> None:
    root = tmp_path / HOSTILE
    source = tmp_path / f"src {HOSTILE}"
    profile = Profile(env={"HOSTILE": HOSTILE}, setup=("row=9; set -- a b; echo $unset_variable",))
    rendered = rendered_round(root, profile, python=recorder, import_root=source)
    write(rendered)
    shared = [str(root), HOSTILE, str(source), "-m", "trainers.job"]
    train = [*shared, "train", "--round-dir", str(root), "--row"]
    assert record_of(recorder, rendered.train.script, "5") == [*train, "5", "--attempt", "next"]
    assert record_of(recorder, rendered.train.script, "0", "3") == [*train, "0", "--attempt", "3"]
    evaluate = [*shared, "eval", "--round-dir", str(root)]
    assert record_of(recorder, rendered.evaluation.script, "0", "1", PYTHONPATH="/other") == evaluate
    tested = rendered_round(
        root, profile, a_manifest(use_test=True, evaluation="array"), python=recorder, import_root=source
    )
    write(tested)
    one = [*evaluate, "--candidate-index", "2"]
    assert record_of(recorder, tested.evaluation.script, "2", "1", PYTHONPATH="/other") == one
    array = rendered.train.array_script
    assert record_of(recorder, array, SLURM_ARRAY_TASK_ID="4") == [*train, "4", "--attempt", "next"]
    assert record_of(recorder, array, "3", "2", SLURM_ARRAY_TASK_ID="1") == [*train, "4", "--attempt", "2"]
    assert not list(tmp_path.rglob("pwned")) and not Path("pwned").exists()


@pytest.mark.parametrize(
    "arguments",
    [(), ("",), ("6",), ("-1",), ("01",), ("1 2",), ("a[$(touch pwned)]",), ("0", "0"), ("0", "x"), ("0", "1", "2")],
)
def test_a_row_that_is_none_is_refused_with_the_usage(arguments: tuple[str, ...], tmp_path: Path) -> None:
    rendered = rendered_round(tmp_path, default_profile())
    write(rendered)
    for script in (rendered.train.script, rendered.evaluation.script):
        done = bash(script, *arguments)
        assert done.returncode == 2 and "usage: bash" in done.stderr
    assert not (tmp_path / "pwned").exists() and not Path("pwned").exists()


@pytest.mark.parametrize(("offset", "index"), [("0", None), ("x", "0"), ("-1", "0"), ("0", "")])
def test_an_array_script_outside_an_array_is_refused(offset: str, index: str | None, tmp_path: Path) -> None:
    rendered = rendered_round(tmp_path, default_profile())
    write(rendered)
    environ = {} if index is None else {"SLURM_ARRAY_TASK_ID": index}
    done = bash(rendered.train.array_script, offset, environ=environ)
    assert done.returncode == 2 and "--array" in done.stderr


def test_a_failing_setup_line_stops_before_training(tmp_path: Path, recorder: Path) -> None:
    rendered = rendered_round(tmp_path / "round", Profile(setup=("false",)), python=recorder)
    write(rendered)
    record = tmp_path / "record"
    assert bash(rendered.train.script, "0", environ={"RECORD": str(record)}).returncode == 1
    assert not record.exists()


def test_a_signal_reaches_python_itself(tmp_path: Path) -> None:
    """From the .slurm on, exec leaves no shell in between: the process that got the signal is the trainer's."""
    python = tmp_path / "python"
    body = "import os,signal,sys,time\nsignal.signal(signal.SIGUSR2, lambda *_: sys.exit(42))\n"
    python.write_text(f"#!{sys.executable}\n{body}open('ready','w').write(str(os.getpid()))\ntime.sleep(60)\n")
    python.chmod(0o755)
    rendered = rendered_round(tmp_path / "round", default_profile(), python=python)
    write(rendered)
    environ = os.environ | {"SLURM_ARRAY_TASK_ID": "0"}
    with subprocess.Popen(["bash", str(rendered.train.array_script)], env=environ) as process:
        ready = tmp_path / "round" / "ready"
        while not (ready.exists() and ready.read_text()) and process.poll() is None:
            time.sleep(0.02)
        assert ready.read_text() == str(process.pid)
        process.send_signal(signal.SIGUSR2)
        assert process.wait(30) == 42


#: (SLURM's variables, the trainer's end after the signal, the signal) -> what scontrol is told, the exit code.
REQUEUES: list[tuple[str, dict[str, str], int, signal.Signals, list[str], int]] = [
    ("an array's task", {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7"}, 140, signal.SIGUSR2, ["requeue 7_0"], 140),
    ("its last task", {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7"}, 140, signal.SIGUSR2, ["requeue 7_0"], 140),
    (
        "fifth run",
        {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_RESTART_COUNT": "4"},
        140,
        signal.SIGUSR2,
        [],
        140,
    ),
    ("finished meanwhile", {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7"}, 0, signal.SIGUSR2, [], 0),
    ("failed meanwhile", {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7"}, 1, signal.SIGUSR2, [], 1),
    ("cancelled", {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7"}, 143, signal.SIGTERM, [], 143),
    ("outside SLURM", {}, 140, signal.SIGUSR2, [], 140),
]


@pytest.mark.parametrize(
    ("slurm", "code", "number", "told", "expected"), [case[1:] for case in REQUEUES], ids=[c[0] for c in REQUEUES]
)
def test_line_15_who_requeues_itself(
    slurm: dict[str, str], code: int, number: signal.Signals, told: list[str], expected: int, tmp_path: Path
) -> None:
    """With the trainer's true exit code, although the signal ends bash's first wait for it."""
    python, scontrol = tmp_path / "python", tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/told\n')
    body = "import os, signal, sys, time\nseen = []\nfor s in (signal.SIGUSR2, signal.SIGTERM):\n"
    body += "    signal.signal(s, lambda n, _: seen.append(n))\n"
    body += "open('ready','w').write('x')\nwhile not seen: time.sleep(.01)\n"
    python.write_text(f"#!{sys.executable}\n{body}assert seen == [{int(number)}]\ntime.sleep(.3)\nsys.exit({code})\n")
    for path in (python, scontrol):
        path.chmod(0o755)
    rendered = rendered_round(tmp_path / "round", Profile(requeue_on_timeout=True), python=python)
    write(rendered)
    (tmp_path / "round" / "logs").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    environ = kept | slurm | {"SLURM_ARRAY_TASK_ID": "0", "PATH": f"{scontrol.parent}:{os.environ['PATH']}"}
    with subprocess.Popen(["bash", str(rendered.train.array_script)], env=environ) as process:
        ready = tmp_path / "round" / "ready"
        while not (ready.exists() and ready.read_text()) and process.poll() is None:
            time.sleep(0.02)
        process.send_signal(number)
        assert process.wait(30) == expected
    (record,) = (tmp_path / "round" / "logs" / "rc_row_0.txt").read_text().splitlines()
    assert record.endswith(f" rc {code}" + (", warned" if number == signal.SIGUSR2 else ""))
    lines = (tmp_path / "told").read_text().splitlines() if (tmp_path / "told").exists() else []
    assert lines == told


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(exclude_characters="/"), min_size=1, max_size=40))
@example(text="'; touch pwned; '")
@example(text="-n\u202e${IFS}'\"'\"'$(touch pwned)")
@example(text="a\nb")
@example(text="a\udcffb")
def test_no_value_breaks_out(text: str, recorder: Path) -> None:
    """Any text as folder, variable and study: it arrives as it is, or it is refused before anything is written."""

    def rendered(folder: Path) -> Rendered:
        profile = Profile(env={"HOSTILE": f"v{text}"})
        manifest = a_manifest(study=text)
        root, source = folder / f"r{text}", folder / f"s{text}"
        return rendered_round(root, profile, manifest, python=recorder, import_root=source)

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if unsafe_characters(text) or set(text) & {"\\", ":"}:
            with pytest.raises((InvalidScript, InvalidProfile)):
                rendered(folder)
            return
        scripts = rendered(folder)
        write(scripts)
        found = record_of(recorder, scripts.train.array_script, SLURM_ARRAY_TASK_ID="1")
        root = str(scripts.train.script.parent)
        job = ["-m", "trainers.job", "train", "--round-dir", root, "--row", "1", "--attempt", "next"]
        assert found == [f"{folder}/r{text}", f"v{text}", f"{folder}/s{text}", *job]
        assert not list(folder.rglob("pwned"))
