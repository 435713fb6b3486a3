"""Cluster profiles: what is accepted, what it becomes, and how everything else is refused."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from agent.errors import InvalidProfile
from agent.launch.options import MANAGED, PROFILE_KEY, SHORT
from agent.launch.profile import Profile, Resources, default_profile, load_profile
from agent.launch.profile_checks import CHECKS, gres_gpus, time_in_seconds
from agent.resources import documents
from tests.shared_cases import case

EXAMPLES = sorted((documents() / "examples" / "profiles").glob("*.yaml"))


def _load(tmp_path: Path, text: str) -> Profile:
    path = tmp_path / "cluster.yaml"
    path.write_text(text, encoding="utf-8")
    return load_profile(path)


def _problems(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(InvalidProfile) as caught:
        _load(tmp_path, text)
    assert all(problem.file.endswith("cluster.yaml") for problem in caught.value.problems)
    return [str(problem) for problem in caught.value.problems]


def test_the_default_profile_asks_for_one_core_and_nothing_else() -> None:
    assert default_profile().settings("train").directives == (
        ("nodes", "1"),
        ("ntasks", "1"),
        ("cpus-per-task", "1"),
        ("no-requeue", None),
        ("open-mode", "append"),
        ("signal", "B:USR2@60"),
    )


def test_a_warning_can_be_left_out() -> None:
    """For a trainer that saves nothing it would only cost the last minute."""
    assert "signal" not in dict(Profile(signal_seconds=0).settings("train").directives)


FULL = """
partition: gpu
account: 1234        # a number where text is meant
qos: normal
gpus: 2
cpus: 8
mem: 32G
time: 1-12:00:00
constraint: a100|v100
exclude: node[1-3]
nodelist: node9
max_parallel: 4
setup: [module load cuda, 'source "$HOME/site.sh"']
python: /opt/env/bin/python
build: true
env: {HF_HOME: "/scratch/with space", LEVEL: 3, RATE: 0.50}
extra: {mail-type: END, exclusive: true, nice: 100}
signal_seconds: 120
max_array_size: 1001
eval: {gpus: 0, mem: 4G, time: 30, extra: {nice: 5}}
"""


def test_a_full_profile_becomes_the_settings_of_both_kinds(tmp_path: Path) -> None:
    profile = _load(tmp_path, FULL)
    train, evaluation = dict(profile.settings("train").directives), dict(profile.settings("eval").directives)
    assert (profile.name, profile.python, profile.build) == ("cluster", Path("/opt/env/bin/python"), True)
    assert profile.env == {"HF_HOME": "/scratch/with space", "LEVEL": "3", "RATE": "0.50"}
    assert train == {
        "partition": "gpu",
        "account": "1234",
        "qos": "normal",
        "nodes": "1",
        "ntasks": "1",
        "cpus-per-task": "8",
        "gres": "gpu:2",
        "mem": "32G",
        "time": "1-12:00:00",
        "constraint": "a100|v100",
        "exclude": "node[1-3]",
        "nodelist": "node9",
        "mail-type": "END",
        "exclusive": None,
        "nice": "100",
        "no-requeue": None,
        "open-mode": "append",
        "signal": "B:USR2@120",
    }
    dropped = {"gres", "signal", "mail-type", "exclusive"}
    assert evaluation == {k: v for k, v in train.items() if k not in dropped} | {
        "cpus-per-task": "1",
        "mem": "4G",
        "time": "30",
        "nice": "5",
    }
    tested = dict(profile.settings("eval", inference=True).directives)
    assert tested == evaluation | {"cpus-per-task": "8"}
    assert profile.resources("train").time_seconds == 36 * 3600
    assert profile.resources("eval").time_seconds == 1800
    assert (profile.resources("train").gpu_count, profile.resources("eval").gpu_count) == (2, 0)


def test_folding_asks_for_no_more_than_the_training_and_for_little() -> None:
    def folding(**given: object) -> dict[str, str | None]:
        return dict(Profile(**given).settings("eval").directives)  # type: ignore[arg-type]

    small = folding(mem="500M", time="10")
    assert (small["mem"], small["time"]) == ("500M", "10")
    assert folding(mem="0")["mem"] == "2G", "0 is all of a node"
    assert not {"mem", "time"} & set(folding()), "what the profile leaves to the cluster stays the cluster's"
    per_cpu = folding(
        cpus=16, extra={"mem-per-cpu": "4G", "reservation": "course", "licenses": "matlab", "gpu-bind": 1}
    )
    assert {"cpus-per-task": "1", "mem-per-cpu": "4G", "reservation": "course"}.items() <= per_cpu.items()
    assert not {"licenses", "gpu-bind"} & set(per_cpu)
    assert folding(gres="gpu:a100:1", cpus=4, time="1-00:00:00")["time"] == "01:00:00"


def test_an_evaluation_swaps_gpus_for_gres_and_back() -> None:
    by_count = Profile(gpus=4, eval=Resources(gres="gpu:a100:1"))
    assert dict(by_count.settings("eval").directives)["gres"] == "gpu:a100:1"
    by_name = Profile(gres="gpu:a100:4", eval=Resources(gpus=1))
    assert dict(by_name.settings("eval").directives)["gres"] == "gpu:1"


def test_numbers_of_env_and_extra_are_taken_as_they_are_written(tmp_path: Path) -> None:
    profile = _load(
        tmp_path, "env: {CODE: 0123, VERSION: 1.10, SMALL: 1e-4}\nextra: {wckey: 00042, comment: 2.10, nice: 5}\n"
    )
    assert profile.env == {"CODE": "0123", "VERSION": "1.10", "SMALL": "1e-4"}
    asked = dict(profile.settings("train").directives)
    assert [asked[name] for name in ("wckey", "comment", "nice")] == ["00042", "2.10", "5"]


PER_GPU_PROFILE = "gpus: 1\nextra: {mem-per-gpu: 4G, gpu-bind: closest, gpu-freq: high, mail-type: END}\n"


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        (PER_GPU_PROFILE, "train", {"mem-per-gpu": "4G", "gpu-bind": "closest", "gpu-freq": "high"}),
        (PER_GPU_PROFILE, "eval", {"mem-per-gpu": "4G", "gpu-bind": "closest", "gpu-freq": "high"}),
        (PER_GPU_PROFILE, "prepare", {}),
        (PER_GPU_PROFILE + "eval: {gpus: 0}", "eval", {}),
        (PER_GPU_PROFILE + "eval: {gpus: 0, mem: 2G}", "eval", {"mem": "2G"}),
        (PER_GPU_PROFILE + "eval: {mem: 2G}", "eval", {"mem": "2G", "gpu-bind": "closest", "gpu-freq": "high"}),
        (PER_GPU_PROFILE + "prepare: {mem: 2G}", "prepare", {"mem": "2G"}),
        (PER_GPU_PROFILE + "prepare: {gpus: 1}", "prepare", {"mem-per-gpu": "4G", "gpu-bind": "closest"}),
        ("extra: {mem-per-cpu: 1G}\neval: {mem: 2G}", "eval", {"mem": "2G"}),
        ("mem: 8G\neval: {extra: {mem-per-cpu: 1G}}", "eval", {"mem-per-cpu": "1G"}),
        ("gres: 'gpu:a100:1,shard:1'\nextra: {mem-per-gpu: 4G}\neval: {gres: 'shard:1'}", "eval", {}),
    ],
)
def test_a_job_without_a_gpu_asks_for_nothing_per_gpu_and_a_parts_own_memory_replaces_the_trainings(
    tmp_path: Path, text: str, kind: str, expected: dict[str, str]
) -> None:
    profile = _load(tmp_path, text)
    if kind == "eval":  # what folds results together has no GPU unless `eval` says so
        folding = dict(profile.settings("eval").directives)
        assert not set(folding) & {"mem-per-gpu", "gpu-bind", "gpu-freq"}
        assert folding.get("mem") == expected.get("mem")
    asked = dict(profile.settings(kind, inference=True).directives)  # type: ignore[arg-type]
    about = ("mem", "mem-per-cpu", "mem-per-gpu", "gpu-bind", "gpu-freq")
    found = {name: asked[name] for name in about if name in asked}
    assert found.items() >= expected.items()
    assert {name for name in found if name.startswith("mem")} == {n for n in expected if n.startswith("mem")}
    assert bool(set(found) & {"gpu-bind", "gpu-freq"}) == bool(set(expected) & {"gpu-bind", "gpu-freq"})
    assert asked.get("mail-type") == ("END" if "mail-type" in text else None)


CASES_31 = {
    "account_num": 'must be text; put it in quotes: "0123"',
    "constraint_unq": 'put it in quotes: "[rack1|rack2]"',
    "gpus_per_node": "gres: gpu:a100:1",
    "gpus_typed": "gres: gpu:a100:1",
    "mem_both": "exclude each other",
    "mem_dec": "a whole number with K, M, G or T",
    "part_yaml_list": "write them with commas: main,gpu",
}


def test_profiles_of_other_people() -> None:
    """Each of the variants is read with its meaning, or refused with what to write instead."""
    folder = case("31-profile-variants")
    for name, words in CASES_31.items():
        with pytest.raises(InvalidProfile, match=re.escape(words)):
            load_profile(folder / f"{name}.yaml")
    for name, kind in (("memgpu_eval", "eval"), ("memgpu_eval_mem", "eval"), ("memgpu_prepare", "prepare")):
        asked = dict(load_profile(folder / f"{name}.yaml").settings(kind).directives)  # type: ignore[arg-type]
        assert "mem-per-gpu" not in asked and "gres" not in asked
        assert asked.get("mem") == ("2G" if name.endswith("_mem") else None)
    assert dict(load_profile(folder / "norway.yaml").settings("train").directives)["account"] == "no"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400),
        ("030", 1800),
        ("00:01:01", 61),
        ("12:00:00", 43200),
        ("100:00:00", 360000),
        ("2-23:59:59", 259199),
    ],
)
def test_times_are_read_without_quotes(tmp_path: Path, text: str, seconds: int) -> None:
    # PyYAML alone reads 12:00:00 as the number 43200, which sbatch takes for minutes.
    profile = _load(tmp_path, f"time: {text}\n")
    assert profile.time_seconds == time_in_seconds(text) == seconds
    assert dict(profile.settings("train").directives)["time"] == text


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("gpu", 1),
        ("gpu:3", 3),
        ("gpu:a100", 1),
        ("gpu:a100:2", 2),
        ("gpu:a100:2(S:0-1)", 2),
        ("gpu:2,gpu:v100:1,shard:9", 3),
        ("mps:50", 0),
    ],
)
def test_gpus_are_counted_in_gres(gres: str, gpus: int) -> None:
    assert gres_gpus(gres) == gpus == Profile(gres=gres).resources("train").gpu_count


BAD: list[tuple[str, str, str]] = [
    ("partitoin: gpu", "partitoin", "did you mean partition?"),
    ("colour: red", "colour", ", ".join(CHECKS)),
    ("eval: {setup: [x]}", "eval.setup", "valid keys: partition, account"),
    ("eval: 3", "eval", "must be a mapping"),
    ("partition: -gpu", "partition", "dash"),
    ('partition: "a\\nb"', "partition", "U+000A"),
    ('partition: "a\\x07b"', "partition", "U+0007"),
    ('partition: ""', "partition", "empty"),
    ('qos: " x"', "qos", "space"),
    ("partition: [a]", "partition", "must be text"),
    ("account: true", "account", "must be text"),
    ("account: 0123", "account", 'must be text; put it in quotes: "0123"'),
    ("qos: 1.10", "qos", 'put it in quotes: "1.10"'),
    ("constraint: 1e3", "constraint", 'put it in quotes: "1e3"'),
    ("partition: +5", "partition", 'put it in quotes: "+5"'),
    ("eval: {account: 007}", "eval.account", 'put it in quotes: "007"'),
    ("time: 1.5", "time", "HH:MM:SS"),
    ("partition: [main, gpu]", "partition", "write them with commas: main,gpu"),
    ("exclude: [n1, n2]", "exclude", "write them with commas: n1,n2"),
    ("constraint: [rack1|rack2]", "constraint", 'put it in quotes: "[rack1|rack2]"'),
    ("constraint: [a100, 80gb]", "constraint", '"a100&80gb" for all of them, "a100|80gb" for any'),
    ("gpus: a100:1", "gpus", "a kind of GPU: gres: gpu:a100:1"),
    ("gpus: gpu:v100:2", "gpus", "a kind of GPU: gres: gpu:v100:2"),
    ("gpus: h100", "gpus", "a kind of GPU: gres: gpu:h100:1"),
    ("extra: {gpus-per-node: 'a100:2'}", "extra.gpus-per-node", "a key of its own: gres: gpu:a100:2"),
    ("extra: {gpus-per-task: 1}", "extra.gpus-per-task", "a key of its own: gpus"),
    ("extra: {cpus-per-gpu: 4}", "extra.cpus-per-gpu", "a key of its own: cpus"),
    ("extra: {ntasks-per-gpu: 1}", "extra.ntasks-per-gpu", "one process on one node"),
    ("extra: {tres-per-task: 'gres/gpu:1'}", "extra.tres-per-task", "a key of its own: gpus, gres or cpus"),
    ("gpus: 1\neval: {gpus: 0, extra: {mem-per-gpu: 1G}}", "eval.extra.mem-per-gpu", "asks for no GPU"),
    ("gpus: 1\nprepare: {extra: {gpu-bind: closest}}", "prepare.extra.gpu-bind", "asks for no GPU"),
    ("controller: {extra: {mem-per-gpu: 1G}}", "controller.extra.mem-per-gpu", "a controller has no GPU"),
    ("controller: {mem: 1G, extra: {mem-per-cpu: 1G}}", "controller.mem", "exclude each other"),
    ("eval: {mem: 1G, extra: {mem-per-cpu: 1G}}", "eval.mem", "exclude each other"),
    ("1: x", "file", "the key 1"),
    ("env: {1: x}", "env.1", "variable's name"),
    ("extra: {1: x}", "extra.1", "not an option to add"),
    ("extra: {true: x}", "extra.True", "not an option to add"),
    ("account: 1.5", "account", "must be text"),
    ("partition:", "partition", "has no value"),
    ("gpus: 1\ngres: gpu:1", "gres", "not together with gpus"),
    ("eval: {gpus: 0, gres: gpu:1}", "eval.gres", "not together with gpus"),
    ("gpus: -1", "gpus", "whole number from 0"),
    ("gpus: one", "gpus", "whole number from 0"),
    ("gpus: true", "gpus", "whole number from 0"),
    ("cpus: 0", "cpus", "whole number from 1"),
    ("cpus: 1.5", "cpus", "whole number from 1"),
    ("cpus: 010", "cpus", "whole number from 1"),
    ("max_parallel: 0", "max_parallel", "whole number from 1"),
    ("max_array_size: 0", "max_array_size", "whole number from 1"),
    ("mem: lots", "mem", "16G"),
    ("mem: -1", "mem", "16G"),
    ("mem: 16 G", "mem", "16G"),
    ("time: 0", "time", "more than 0"),
    ('time: "00:00:00"', "time", "more than 0"),
    ("time: 12:30", "time", "HH:MM:SS"),
    ("time: 1-24:00:00", "time", "HH:MM:SS"),
    ("time: 1:60:00", "time", "HH:MM:SS"),
    ("time: unlimited", "time", "HH:MM:SS"),
    ("time: -5", "time", "HH:MM:SS"),
    ("time: 00:01:00", "signal_seconds", "less than the time limit"),
    ("signal_seconds: -1", "signal_seconds", "from 0"),
    ("signal_seconds: 0\nrequeue_on_timeout: true", "requeue_on_timeout", "signal_seconds above 0"),
    ("requeue_on_timout: true", "requeue_on_timout", "did you mean requeue_on_timeout"),
    ("build: yes", "build", "true or false"),
    ("python: env/bin/python", "python", "absolute"),
    ('python: "/a\\nb"', "python", "U+000A"),
    ("setup: module load x", "setup", "list of shell lines"),
    ('setup: ["a\\nb"]', "setup[0]", "U+000A"),
    ('setup: ["a\\0b"]', "setup[0]", "U+0000"),
    ('setup: [ok, "a \\\\"]', "setup[1]", "backslash"),
    ('setup: ["#SBATCH --time=1"]', "setup[0]", "ignores a directive"),
    ("setup: [3]", "setup[0]", "shell line"),
    ("env: [A]", "env", "mapping"),
    ("env: {A-B: x}", "env.A-B", "variable's name"),
    ("env: {'A=$(id)': x}", "env.'A=$(id)'", "variable's name"),
    ("env: {SLURM_JOB_ID: 1}", "env.SLURM_JOB_ID", "set for each task"),
    ("env: {NNUNET_HP_REF: x}", "env.NNUNET_HP_REF", "set for each task"),
    ("env: {UID: 1}", "env.UID", "read-only"),
    ("env: {A: true}", "env.A", "quotes"),
    ("env: {PATH: '/x:$PATH'}", "env.PATH", "export PATH="),
    ('env: {A: "x\\ny"}', "env.A", "U+000A"),
    ("extra: [a]", "extra", "mapping"),
    ("extra: {frobnicate: 1}", "extra.frobnicate", "valid: acctg-freq"),
    ("extra: {mail_type: END}", "extra.mail_type", "write it as mail-type"),
    ("extra: {--mail-type: END}", "extra.--mail-type", "write it as mail-type"),
    ("extra: {exclusive: false}", "extra.exclusive", "true for an option without a value"),
    ("extra: {comment: -x}", "extra.comment", "dash"),
    ('extra: {comment: "a\\nb"}', "extra.comment", "U+000A"),
    ("mem: 1G\nextra: {mem-per-cpu: 1G}", "mem", "exclude each other"),
    ("partition: a\npartition: b", "file", "twice"),
    ("a: &x [1]\nb: *x", "file", "alias"),
    ("- a", "file", "expected"),
    ("a: [", "file", "line"),
    ("a: !!python/object:os.system x", "file", "python/object"),
]


@pytest.mark.parametrize(("text", "where", "message"), BAD, ids=[text[:30] for text, _, _ in BAD])
def test_bad_input_is_named_with_the_remedy(tmp_path: Path, text: str, where: str, message: str) -> None:
    problems = _problems(tmp_path, text)
    assert any(f": {where}" in problem and message in problem for problem in problems), problems
    assert all("\n" not in problem for problem in problems)


@pytest.mark.parametrize("option", [*MANAGED, *PROFILE_KEY, *(s for s, long in SHORT.items() if long in MANAGED)])
def test_extra_refuses_every_option_that_is_managed_or_has_a_key(tmp_path: Path, option: str) -> None:
    for spelling in (option, f"--{option}", option.replace("-", "_")):
        (problem,) = _problems(tmp_path, f"extra: {{'{spelling}': x}}")
        reason = MANAGED.get(SHORT.get(option, option)) or f"has a key of its own: {PROFILE_KEY[option]}"
        assert reason in problem


def test_all_problems_come_in_one_go(tmp_path: Path) -> None:
    text = "cpus: 0\ntime: soon\nextra: {array: 1, foo: 2}\nenv: {A B: 1}\neval: {mem: much}\ncolour: red\n"
    assert len(_problems(tmp_path, text)) == 7


def test_a_missing_file_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(InvalidProfile, match="No such file"):
        load_profile(tmp_path / "absent.yaml")
    (tmp_path / "x.yaml").write_bytes(b"partition: \xff\n")
    with pytest.raises(InvalidProfile, match="UTF-8"):
        load_profile(tmp_path / "x.yaml")


def test_construction_in_code_is_checked_like_a_file() -> None:
    with pytest.raises(InvalidProfile, match="cpus"):
        Profile(cpus=0)
    with pytest.raises(InvalidProfile, match="setup"):
        Profile(setup=("a\nb",))
    with pytest.raises(InvalidProfile, match="gpus"):
        Resources(gpus=-1)


def test_python_from_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/alice")
    assert _load(tmp_path, "python: ~/env/bin/python\n").python == Path("/home/alice/env/bin/python")


def test_the_checks_and_the_fields_have_the_same_names() -> None:
    assert {f.name for f in fields(Profile)} == set(CHECKS)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_shipped_examples_load(path: Path) -> None:
    profile = load_profile(path)
    assert profile.name == path.stem
    assert profile.settings("train").directives and profile.settings("eval").directives


def test_the_guide_names_every_key() -> None:
    text = (documents() / "profiles.md").read_text(encoding="utf-8")
    assert [name for name in CHECKS if f"`{name}`" not in text] == []
    assert len(EXAMPLES) >= 2
