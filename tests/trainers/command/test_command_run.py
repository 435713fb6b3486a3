"""train() and test() on real programs: how values arrive, and what each way to end means."""

from __future__ import annotations

import json
import math
import os
import sys

import pytest

from trainers.command.run import LOG_NAME, ProgramFailed, SummaryBroken, SummaryMissing, test, train
from trainers.contract import BadConfig, OutOfMemory, TrainerError

ECHO = """
import json, os, sys
told = {"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd(), "stdin": sys.stdin.read()}
json.dump(told, open(os.path.join(os.environ["RT_OUT"], "told.json"), "w"))
json.dump({"score": 1}, open(os.environ["RT_SUMMARY"], "w"))
"""
SCORE = 'echo \'{"score": 0.25}\' > "$RT_SUMMARY"'

HOSTILE = [
    "$(touch hacked)",
    "`touch hacked`",
    "; touch hacked #",
    "a\nb\r\nc\t",
    "'\"\\",
    "%s %d %%",
    "{seed} {{x}} {",
    "--flag",
    "",
    " ",
    "é中\U0001f600",
    "*?~!&|<>",
]


def told(spec) -> dict:
    return json.loads((spec.out / "told.json").read_text())


def test_a_program_is_told_its_run_and_its_parameters(bench):
    arguments = ["--x={x}", "{fold}/{folds}", "{seed}", "{epochs}", "{candidate}", "{round}", "{attempt}", "{task}"]
    arguments += ["{out}", "{summary}", "{reference}", "{cpus}", "{gpus}", "{data.path}", "{previous}", "{python}"]
    spec = bench.python(
        ECHO,
        *arguments,
        "{{literal}}",
        pass_values=["arguments", "environment"],
        epochs=9,
        environment={"DATA": "in {data.path}", "PLAIN": "$HOME"},
        values={"x": 1e-05},
        fields={"cpus": 3, "gpus": 0, "data": {"path": "/some data"}},
    )
    result = train(spec, bench.control)
    assert (dict(result.metrics), dict(result.directions)) == ({"score": 1.0}, {"score": "maximize"})
    seen = told(spec)
    out, reference = str(spec.out), str(spec.reference)
    assert seen["argv"] == [
        *("--x=1e-05", "1/5", "11", "9", "c03", "2", "1", "some task"),
        *(out, f"{out}/summary.json", reference, "3", "0", "/some data", "", sys.executable, "{literal}"),
    ]
    env = seen["env"]
    expected = {
        "RT_X": "1e-05",
        "RT_FOLD": "1",
        "RT_FOLDS": "5",
        "RT_SEED": "11",
        "RT_EPOCHS": "9",
        "RT_OUT": out,
        "RT_SUMMARY": f"{out}/summary.json",
        "RT_REFERENCE": reference,
        "ROUNDTABLE_HP_REF": reference,
        "RT_RESUME_FROM": "",
        "DATA": "in /some data",
        "PLAIN": "$HOME",
    }
    assert {name: env[name] for name in expected} == expected
    assert (seen["cwd"], seen["stdin"]) == (str(bench.folder), "")


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_arrive_untouched(bench, value):
    choices = [*HOSTILE, "plain"]
    spec = bench.python(
        ECHO,
        "{x}",
        "--x={x}",
        pass_values=["arguments", "environment"],
        environment={"COPY": "{x}"},
        parameters={"x": {"type": "categorical", "choices": choices, "default": "plain"}},
        values={"x": value},
    )
    train(spec, bench.control)
    seen = told(spec)
    assert seen["argv"] == [value, f"--x={value}"]
    assert (seen["env"]["RT_X"], seen["env"]["COPY"]) == (value, value)
    assert not list(bench.root.rglob("hacked"))


def test_types_as_text(bench):
    parameters = {
        "b": {"type": "bool", "default": True},
        "f": {"type": "float", "low": 0, "high": 1, "default": 0.1},
        "i": {"type": "int", "low": 0, "high": 10**12, "default": 10**12},
        "c": {"type": "categorical", "choices": [1, 2.5, "x"], "default": 2.5},
    }
    spec = bench.python(ECHO, "{b}", "{f}", "{i}", "{c}", parameters=parameters, pass_values=["arguments"])
    train(spec, bench.control)
    assert told(spec)["argv"] == ["true", "0.1", "1000000000000", "2.5"]
    assert "RT_B" not in told(spec)["env"]


def test_a_null_byte_is_a_bad_value(bench):
    parameters = {"x": {"type": "categorical", "choices": ["a", "b"], "default": "a"}}
    with pytest.raises(BadConfig, match="null byte"):
        train(bench.bash(SCORE, parameters=parameters, values={"x": "a\0b"}), bench.control)


def test_variables_of_an_outer_trial_do_not_leak(bench, monkeypatch):
    monkeypatch.setenv("RT_LEFTOVER", "1")
    monkeypatch.setenv("RT_RESUME_FROM", "/elsewhere")
    spec = bench.python(ECHO)
    train(spec, bench.control)
    assert "RT_LEFTOVER" not in told(spec)["env"]
    assert told(spec)["env"]["RT_RESUME_FROM"] == ""


def test_an_earlier_attempt_is_handed_over(bench):
    earlier = bench.root / "attempt 0"
    earlier.mkdir()
    spec = bench.python(ECHO, "{previous}", pass_values=["environment", "arguments"], fields={"previous": earlier})
    train(spec, bench.control)
    assert told(spec)["argv"] == [str(earlier)]
    assert told(spec)["env"]["RT_RESUME_FROM"] == str(earlier)


def test_spaces_and_unicode_in_every_path(bench):
    root = bench.root / "größe 中 'quoted' $HOME"
    root.mkdir()
    bench = type(bench)(root)
    program = bench.folder / "my train.sh"
    program.write_text(f"#!/bin/bash\n{SCORE}\n")
    program.chmod(0o755)
    spec = bench.spec(bench.write(command=["./my train.sh"], summary="ausgabe ü/my score.json"))
    assert train(spec, bench.control).metrics == {"score": 0.25}


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["no-such-program-anywhere"], "no-such-program-anywhere cannot be started in"),
        (["/no/such/program"], "No such file"),
        (["/"], "Permission denied"),
    ],
)
def test_a_missing_program(bench, command, words):
    with pytest.raises(ProgramFailed, match=words):
        train(bench.spec(bench.write(command=command)), bench.control)


def test_a_missing_working_directory(bench):
    with pytest.raises(ProgramFailed, match="working directory /no/such/folder"):
        train(bench.spec(bench.write(working_directory="/no/such/folder")), bench.control)


def test_a_missing_data_key_is_named_with_its_remedy(bench):
    with pytest.raises(TrainerError, match=r"\{data.path\}; give --data path=VALUE"):
        train(bench.spec(bench.write(command=["true", "{data.path}"])), bench.control)


def test_a_parameter_that_the_program_never_sees_is_refused(bench):
    with pytest.raises(TrainerError, match="has the parameter y; describe it"):
        train(bench.bash(SCORE, values={"y": 1}), bench.control)
    train(bench.bash(SCORE, values={"y": 1}, pass_values=["reference"]), bench.control)


def test_exit_codes(bench):
    rules = {"bad_config": {"exit_codes": [3]}, "out_of_memory": {"exit_codes": [77, 137]}}
    with pytest.raises(BadConfig, match="exit code 3"):
        train(bench.bash(f"{SCORE}; exit 3", **rules), bench.control)
    with pytest.raises(OutOfMemory, match="exit code 77"):
        train(bench.bash("exit 77", **rules), bench.control)
    with pytest.raises(OutOfMemory, match="exit code 137"):
        train(bench.bash("kill -9 $$", **rules), bench.control)
    with pytest.raises(ProgramFailed, match=r"exit code 137 \(SIGKILL"):
        train(bench.bash("kill -9 $$"), bench.control)
    with pytest.raises(ProgramFailed, match=r"exit code 127 \(a command was not found"):
        train(bench.bash("no-such-command"), bench.control)
    with pytest.raises(ProgramFailed, match="exit code 1;"):
        train(bench.bash(f"{SCORE}; exit 1"), bench.control)


def test_out_of_memory_by_its_words(bench):
    rules = {"out_of_memory": {"output_contains": ["CUDA out of memory"]}}
    with pytest.raises(OutOfMemory, match="CUDA out of memory"):
        train(bench.bash("echo RuntimeError: CUDA out of memory >&2; exit 1", **rules), bench.control)
    # A program that went on (with a smaller batch) and ended well has not run out of memory.
    train(bench.bash(f"echo CUDA out of memory; {SCORE}", **rules), bench.control)
    # Nor does the log of an earlier run in the same folder count.
    with pytest.raises(ProgramFailed):
        train(bench.bash("exit 1", **rules), bench.control)


def test_the_message_shows_the_end_of_the_log_without_control_characters(bench):
    script = r"""seq 1 500; printf '\033[31mred\033[0m \007bell \033]0;title\007 50%%\r100%%\n' >&2; exit 9"""
    with pytest.raises(ProgramFailed) as caught:
        train(bench.bash(script), bench.control)
    lines = str(caught.value).splitlines()
    assert lines[-3:] == ["500", "red bell 50%", "100%"]
    assert lines[0].startswith("the program ended with exit code 9; the end of ")
    assert len(lines) == 21
    assert all(character.isprintable() or character == "\n" for character in str(caught.value))


def test_a_huge_log(bench):
    script = "head -c 10000000 /dev/zero | tr '\\0' x; echo; echo the end; exit 9"
    with pytest.raises(ProgramFailed, match=r"the end$") as caught:
        train(bench.bash(script), bench.control)
    assert len(str(caught.value)) < 2000
    assert (bench.root / "attempt_1" / LOG_NAME).stat().st_size > 10_000_000


def test_binary_output(bench):
    with pytest.raises(ProgramFailed, match="last words"):
        train(bench.bash("head -c 1000 /dev/urandom; echo; echo last words; exit 9"), bench.control)


@pytest.mark.parametrize("text", ["NaN", "null", "Infinity", "-Infinity", "1e999"])
def test_an_undefined_objective_is_a_bad_configuration(bench, text):
    with pytest.raises(BadConfig, match="the objective score is"):
        train(bench.bash(f'echo \'{{"score": {text}}}\' > "$RT_SUMMARY"'), bench.control)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ('{"score": 0.', "cut off"),
        ('{"score": 0.5', "cut off"),
        ('{"score": nan}', "undefined number is null"),
        ("[0.5]", "expected one JSON object"),
        ("0.5", "expected one JSON object"),
        ('{"loss": 0.5, "n": 3}', "has no score, the objective; its numbers: loss, n"),
        ("{}", "its numbers: none"),
        ('{"score": "0.5"}', "must be a number"),
        ('{"score": true}', "must be a number"),
        ('{"score": [1]}', "must be a number"),
        ('{"score": 1, "score": 2}', "'score' stands twice"),
        ('{"metrics": {"score": {"value": 1, "direction": "minimize"}}}', "direction is 'minimize'"),
        ('{"score": 1, "samples": -1}', "samples is -1"),
        ('{"score": 1, "per_class": [1]}', "per_class must be"),
        ('{"score": 1, "per_class": {"a": {"f1": "x"}}}', "per_class.a.f1"),
        ('{"score": ' + "9" * 5000 + "}", "not usable JSON"),
        ("[" * 100_000, "not usable JSON"),
    ],
)
def test_broken_summaries(bench, text, words):
    (bench.folder / "given.json").write_text(text)
    with pytest.raises(SummaryBroken) as caught:
        train(bench.bash('cp given.json "$RT_SUMMARY"'), bench.control)
    assert words in str(caught.value)
    assert "summary.json" in str(caught.value)


def test_a_summary_that_is_not_utf8_or_not_a_file(bench):
    with pytest.raises(SummaryBroken, match="not usable JSON"):
        train(bench.bash(r"""printf '{"score\xff": 1}' > "$RT_SUMMARY" """), bench.control)
    with pytest.raises(SummaryBroken, match="not a regular file"):
        train(bench.bash('mkfifo "$RT_OUT/pipe.json"', summary="pipe.json"), bench.control)


def test_no_summary_and_a_stale_one(bench):
    with pytest.raises(SummaryMissing, match="did not write"):
        train(bench.bash("true"), bench.control)
    spec = bench.bash("true")
    (spec.out / "summary.json").write_text('{"score": 1}')
    with pytest.raises(SummaryMissing):
        train(spec, bench.control)


@pytest.mark.parametrize(
    ("summary", "path"),
    [
        ({"score": 0.5}, None),
        ({"metrics": {"score": 0.5}}, None),
        ({"metrics": {"score": {"value": 0.5, "direction": "maximize"}}}, None),
        ({"val": {"a.b": [{}, {"dice": 0.5}]}}, ["val", "a.b", "1", "dice"]),
        ({"foreground_mean": {"Dice": 0.5}}, "foreground_mean.Dice"),
    ],
)
def test_where_the_objective_may_stand(bench, summary, path):
    (bench.folder / "given.json").write_text(json.dumps(summary))
    objective = {"metric": "score", "direction": "maximize", "path": path}
    result = train(bench.bash('cp given.json "$RT_SUMMARY"', objective=objective), bench.control)
    assert result.metrics == {"score": 0.5}


def test_a_wrong_path_is_named(bench):
    objective = {"metric": "score", "direction": "maximize", "path": "val.dice"}
    with pytest.raises(SummaryBroken, match=r"has no val.dice \(score\)"):
        train(bench.bash(SCORE, objective=objective), bench.control)


def test_everything_a_summary_may_hold(bench):
    summary = {
        "score": 0.5,
        "loss": 2,
        "auc": math.nan,
        "lines": 7,
        "name": "x",
        "samples": 40,
        "epochs_run": 3,
        "per_class": {"cat": {"f1": 0.5, "support": None}, "dog": {"f1": math.inf}},
    }
    (bench.folder / "given.json").write_text(json.dumps(summary))
    metrics = {name: {"direction": "minimize"} for name in ("loss", "auc", "time")}
    result = train(bench.bash('cp given.json "$RT_SUMMARY"', metrics=metrics), bench.control)
    assert (result.metrics, result.directions) == (
        {"score": 0.5, "loss": 2.0},
        {"score": "maximize", "loss": "minimize"},
    )
    assert (result.samples, result.epochs_run) == (40, 3)
    assert result.per_class == {"cat": {"f1": 0.5, "support": None}, "dog": {"f1": None}}
    assert result.notes == {"undefined_metrics": ["auc", "time"], "summary": {"lines": 7}}


def test_the_study_s_objective_goes_first(bench):
    (bench.folder / "given.json").write_text('{"score": 0.5, "loss": 2}')
    fields = {"objective": "loss", "direction": "minimize"}
    result = train(bench.bash('cp given.json "$RT_SUMMARY"', fields=fields), bench.control)
    assert result.metrics == {"score": 0.5, "loss": 2.0}
    assert result.directions["loss"] == "minimize"


def test_epoch_metrics_are_reported_and_renamed(bench):
    script = """
    echo "step, loss ,note" > "$RT_OUT/log.csv"
    for e in 1 2 3; do echo "$e,0.$e,\\"a,b\\"" >> "$RT_OUT/log.csv"; sleep 0.05; done
    """
    columns = {"epoch": "step", "val_loss": "loss"}
    spec = bench.bash(script + SCORE, metrics_epoch={"file": "log.csv", "columns": columns})
    assert train(spec, bench.control).notes == {}
    assert bench.progress == [(1, {"val_loss": 0.1}), (2, {"val_loss": 0.2}), (3, {"val_loss": 0.3})]
    kept = (spec.out / "metrics_epoch.csv").read_text()
    assert kept == 'epoch,val_loss,note\n1,0.1,"a,b"\n2,0.2,"a,b"\n3,0.3,"a,b"\n'


def test_a_program_that_writes_the_standard_file_itself(bench):
    script = 'printf "epoch,val_loss\\n1,nan\\nrubbish\\n2,0.5\\n" > "$RT_OUT/metrics_epoch.csv";'
    spec = bench.bash(script + SCORE, metrics_epoch={"file": "metrics_epoch.csv"})
    assert train(spec, bench.control).notes == {}
    assert bench.progress == [(1, {}), (2, {"val_loss": 0.5})]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("true;", "No such file"),
        ('echo "a,b" > "$RT_OUT/log.csv";', "no column loss; its columns: a, b"),
        ('echo "loss,b" > "$RT_OUT/log.csv";', "one column epoch"),
        (': > "$RT_OUT/log.csv";', "no column loss; its columns: none"),
        ('head -c 300000 /dev/zero | tr "\\0" "\\"" > "$RT_OUT/log.csv";', "log.csv: "),
    ],
)
def test_a_useless_epoch_file_costs_a_note_not_the_result(bench, script, words):
    spec = bench.bash(script + SCORE, metrics_epoch={"file": "log.csv", "columns": {"val_loss": "loss"}})
    result = train(spec, bench.control)
    assert result.metrics == {"score": 0.25}
    assert words in str(result.notes["metrics_epoch"])


def test_the_test_command(bench):
    script = 'test -s "$RT_OUT/model" && echo \'{{"score": 0.125}}\' > "$RT_SUMMARY"'
    spec = bench.bash(
        f'echo weights > "$RT_OUT/model"; {SCORE}',
        test={"command": ["bash", "-c", script], "summary": "test.json"},
    )
    assert train(spec, bench.control).metrics == {"score": 0.25}
    assert test(spec, bench.control).metrics == {"score": 0.125}
    assert json.loads((spec.out / "summary.json").read_text()) == {"score": 0.25}


def test_a_trainer_without_a_test_command_says_so(bench):
    with pytest.raises(TrainerError, match="demo has no test command"):
        test(bench.bash(SCORE), bench.control)


def test_a_missing_or_broken_description(bench):
    with pytest.raises(TrainerError, match="names none"):
        train(bench.bash(SCORE, fields={"trainer_file": None}), bench.control)
    spec = bench.bash(SCORE)
    spec.trainer_file.write_text("{")
    with pytest.raises(TrainerError, match=r"trainer.json: file: line 1"):
        train(spec, bench.control)
    spec.trainer_file.unlink()
    with pytest.raises(TrainerError, match="cannot be read"):
        train(spec, bench.control)


def test_nothing_is_written_outside_the_attempt(bench):
    spec = bench.bash(SCORE)
    before = {path for path in bench.root.rglob("*") if not path.is_relative_to(spec.out)}
    train(spec, bench.control)
    assert {path for path in bench.root.rglob("*") if not path.is_relative_to(spec.out)} == before
    assert sorted(os.listdir(spec.out)) == [LOG_NAME, "summary.json"]
