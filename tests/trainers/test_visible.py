"""CUDA_VISIBLE_DEVICES in all its spellings, and what a task says of the GPUs that it was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainers.visible import Device, given_to_task, names_in, read_list, visible

WHOLE = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-11111111-aaaa-bbbb-cccc-000000000000)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-12222222-aaaa-bbbb-cccc-000000000000)
GPU 2: NVIDIA A100-SXM4-40GB (UUID: GPU-33333333-aaaa-bbbb-cccc-000000000000)
"""
DIVIDED = """GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-11111111-aaaa-bbbb-cccc-000000000000)
  MIG 3g.20gb     Device  0: (UUID: MIG-aaaaaaaa-1111-2222-3333-444444444444)
  MIG 3g.20gb     Device  1: (UUID: MIG-bbbbbbbb-1111-2222-3333-444444444444)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-12222222-aaaa-bbbb-cccc-000000000000)
"""
FIRST, SECOND = "GPU-11111111-aaaa-bbbb-cccc-000000000000", "GPU-12222222-aaaa-bbbb-cccc-000000000000"
SLICE = "MIG-bbbbbbbb-1111-2222-3333-444444444444"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ("0", "1", "2")),
        ("", ()),
        ("-1", ()),
        ("NoDevFiles", ()),
        ("none", ()),
        ("1", ("1",)),
        ("2,0", ("2", "0")),
        (" 2 , 0 ", ("2", "0")),
        ("01", ("1",)),
        ("1,-1,2", ("1",)),
        ("1,7,2", ("1",)),
        ("7", ()),
        ("1,,2", ("1",)),
        ("1,1", ()),
        (FIRST, (FIRST,)),
        (f"{SECOND},{FIRST}", (SECOND, FIRST)),
        ("GPU-33", ("GPU-33",)),
        ("GPU-1", ()),
        ("GPU-99999999", ()),
        (f"0,{FIRST}", ()),
        (SLICE, ()),
    ],
)
def test_what_is_left_of_three_gpus(value: str | None, expected: tuple[str, ...]) -> None:
    assert visible(value, read_list(WHOLE)) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, ("MIG-aaaaaaaa-1111-2222-3333-444444444444", SLICE, SECOND)),
        (SLICE, (SLICE,)),
        ("MIG-bbb", ("MIG-bbb",)),
        (f"MIG-{FIRST}/2/0", (f"MIG-{FIRST}/2/0",)),
        ("MIG-GPU-99999999-aaaa-bbbb-cccc-000000000000/2/0", ()),
        ("MIG-cccc", ()),
        ("1", ("1",)),
    ],
)
def test_instances_of_divided_gpus(value: str | None, expected: tuple[str, ...]) -> None:
    assert visible(value, read_list(DIVIDED)) == expected


def test_a_machine_without_gpus_leaves_none() -> None:
    assert read_list("No devices were found\n") == () == visible("0", ()) == visible(None, ())
    assert read_list("GPU 0: Tesla K80\n") == (Device(index=0, uuid=""),)
    assert names_in("0,GPU-ab,MIG-cd,x,1") == ("0", "GPU-ab", "MIG-cd")


SLURM = {"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "3", "SLURM_GPUS_ON_NODE": "1"}


@pytest.mark.parametrize(
    ("asked", "environment", "words", "fits"),
    [
        (1, {**SLURM, "CUDA_VISIBLE_DEVICES": "3"}, ["1 asked for, 1 given by SLURM, 1 visible", "=3"], True),
        (2, {**SLURM, "CUDA_VISIBLE_DEVICES": "3"}, ["2 asked for, 1 given", "fewer than asked for"], False),
        (1, {"SLURM_JOB_ID": "7", "CUDA_VISIBLE_DEVICES": "NoDevFiles"}, ["0 given by SLURM, 0 visible"], False),
        (1, {"SLURM_JOB_ID": "7", "SLURM_JOB_GPUS": "2,3", "CUDA_VISIBLE_DEVICES": "2,3"}, ["2 given"], True),
        (1, {**SLURM, "CUDA_VISIBLE_DEVICES": "0,1,2,3"}, ["1 given by SLURM, 4 visible", "others may"], False),
        (0, SLURM, ["0 asked for, 1 given by SLURM", "does not use: set `gpus`"], False),
        (0, {"SLURM_JOB_ID": "7"}, [], True),
        (0, {"CUDA_VISIBLE_DEVICES": "0,1"}, [], True),
        (1, {"CUDA_VISIBLE_DEVICES": ""}, ["1 asked for, 0 visible", "nvidia-smi -L"], False),
        (1, {}, ["1 asked for, an unknown number visible (CUDA_VISIBLE_DEVICES is not set)"], True),
    ],
)
def test_a_task_says_what_it_was_given(
    asked: int,
    environment: dict[str, str],
    words: list[str],
    fits: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no nvidia-smi
    given = given_to_task(asked, environment)
    assert given.fits is fits and bool(given.words) is bool(words)
    for text in words:
        assert text in given.words


def test_without_the_variable_a_task_counts_what_the_driver_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{WHOLE}END\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    given = given_to_task(1, SLURM)
    assert given.visible == 3 and "shows each job all of a node's GPUs" in given.words
    assert given.plain() == {"asked": 1, "visible": 3, "granted": 1}
