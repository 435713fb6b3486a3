"""Each stage of the measurements on a GPU, tiny and on the CPU: its code runs, the report reads its rows."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu import informer, nnunet, report, stage
from benchmarks.gpu.__main__ import main
from tests.shared_cases import shared_data

pytestmark = pytest.mark.train
ROOT = Path(__file__).parents[2]
READER = "import numpy as np\n\n\ndef load_shard(path):\n    z = np.load(path)\n    return z['x'], z['labels']\n"
PUBLIC = '''
import torch
from torch import nn


class Informer(nn.Module):
    """As the public code's class is called; a linear layer stands for it."""

    def __init__(self, enc_in, dec_in, c_out, seq_len, label_len, out_len, factor, dropout, attn, embed, freq,
                 activation, distil, device, d_model, n_heads, e_layers, d_layers, d_ff):
        super().__init__()
        self.out_len, self.line = out_len, nn.Linear(dec_in, c_out)

    def forward(self, x, marks, start, start_marks):
        assert start.shape[1] == start_marks.shape[1] and x.shape[1] == marks.shape[1]
        return self.line(start[:, -self.out_len:])
'''


def shards(folder: Path, names: tuple[str, ...], count: int = 60) -> Path:
    folder.mkdir()
    (folder / "cifar10_pack.py").write_text(READER)
    generator = np.random.RandomState(0)
    for name in names:
        x = generator.randint(0, 256, (count, 32, 32, 3)).astype(np.uint8)
        np.savez(folder / f"{name}.npz", x=x, labels=(np.arange(count) % 10).astype(np.uint8))
    return folder


def run(work: Path, *words: str) -> list[dict[str, Any]]:
    assert main([*words, "--work", str(work), "--gpus", "0", "--tiny", "--minutes", "60"]) == 0
    found = work / f"{words[0]}.json"
    return json.loads(found.read_text())["rows"] if found.exists() else []


def test_cifar10_comes_in_two_calls_and_is_trained_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.resnet9.plots.draw", lambda folder, history, best_epoch: None)
    work = tmp_path / "work"
    run(work, "data", str(shards(tmp_path / "first", ("train0", "train1"))))
    with pytest.raises(SystemExit, match=r"holds train0\.npz, train1\.npz: bring train\*\.npz and test\.npz"):
        run(work, "resnet9")
    run(work, "data", str(shards(tmp_path / "second", ("test",))))
    rows = run(work, "resnet9")
    accuracy = [row for row in rows if row["kind"] == "accuracy"]
    assert [row["epochs"] for row in accuracy] == [2, 1] and all(0 <= row["test"] <= 1 for row in accuracy)
    [speed] = [row for row in rows if row["kind"] == "speed"]
    assert speed["images_a_second"] > 0 and speed["images"] == "host"
    text = report.text([json.loads((work / "resnet9.json").read_text())])
    assert "| 1 | 1 |" in text and "tiny: says nothing of performance" in text
    assert text.count(report.UNMEASURED) == 3


def test_informer_beside_the_public_code(tmp_path: Path) -> None:
    public = tmp_path / "public" / "models"
    public.mkdir(parents=True)
    (public / "__init__.py").touch()
    (public / "model.py").write_text(PUBLIC)
    rows = run(tmp_path / "work", "informer", str(public.parent))
    assert {(row["code"], row["length"]) for row in rows} == {
        (code, length) for code in ("ours", "public") for length in (24, 48)
    }
    assert all(row["seconds"] > 0 for row in rows)
    alone = run(tmp_path / "work", "informer")
    assert alone[-1] == {"kind": "unmeasured", "what": "the public code, which was not given"}
    with pytest.raises(SystemExit, match=r"has no models/model\.py"):
        run(tmp_path / "work", "informer", str(tmp_path))


def test_memory_that_ends_for_real_or_as_good_as(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.resnet9.plots.draw", lambda folder, history, best_epoch: None)
    rows = run(tmp_path / "work", "oom")
    assert {(row["precision"], row["grad_clip"]) for row in rows} == {
        (precision, clip) for precision in ("float32", "float16") for clip in (0.0, 1.0)
    }
    for row in rows:
        assert (row["asked"], row["trained"], row["adjusted"], row["finite"]) == (64, 32, True, True)
        assert row["val"] == row["val_of_that_batch"], "on a CPU nothing of the failed step is left"


@pytest.mark.skipif(importlib.util.find_spec("nnunetv2") is None, reason="the install without the extra nnunet")
def test_nnunet_stock_and_ours_from_the_tar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tar = shared_data() / "Task04_Hippocampus.tar"
    if not tar.is_file():
        pytest.skip(f"no {tar}")
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_def_n_proc", "nnUNet_n_proc_DA"):
        monkeypatch.setenv(name, "0")  # set by the stage; put back afterwards
    monkeypatch.setenv("NNUNET_HP_REF", "")
    rows = run(tmp_path / "work", "nnunet", str(tar))
    assert [row["code"] for row in rows] == ["stock", "ours"]
    assert all(row["seconds_an_epoch"] > 0 and 0 <= row["dice"] <= 1 and row["epochs"] == 1 for row in rows)
    assert rows[0]["cases"] == rows[1]["cases"] > 0


def test_a_stage_keeps_to_its_minutes(tmp_path: Path) -> None:
    spent = stage.Settings(work=tmp_path, minutes=-1.0, tiny=True, gpus=0)
    said: list[str] = []
    [row, _] = informer.run(spent, said.append)
    assert row == {"kind": "unmeasured", "what": "the stage's minutes were over before the longest windows"}
    (tmp_path / "nnunet" / "raw" / nnunet.NAME).mkdir(parents=True)
    [row] = nnunet.run(spent, said.append)
    assert row["kind"] == "unmeasured" and not said
    assert stage.control(spent).stop.requested


def test_the_report_goes_between_the_marks_of_the_document(tmp_path: Path) -> None:
    machine = {"python": "3.12", "torch": "2.11", "cpus": 16, "gpu": "NVIDIA H200"}
    rows: dict[str, list[dict[str, Any]]] = {
        "resnet9": [
            {"kind": "accuracy", "epochs": 16, "seed": seed, "seconds": 10.0 + seed, "seconds_to_goal": reached,
             "val": 0.94, "test": 0.938, "precision": "bfloat16"}
            for seed, reached in ((0, 9.0), (1, None))
        ],
        "informer": [
            {"kind": "iteration", "code": "public", "attention": "prob", "precision": "float32", "length": 96,
             "seconds": 0.02, "batch": 32, "mib": 900},
            {"kind": "iteration", "code": "public", "attention": "prob", "precision": "float32", "length": 1536,
             "memory": "does not suffice"},
        ],
        "oom": [{"kind": "unmeasured", "what": "the stage's minutes were over before every precision"}],
    }  # fmt: skip
    files = []
    for name, found in rows.items():
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps({"stage": name, "tiny": False, "machine": machine, "rows": found}))
    document = tmp_path / "benchmarks.md"
    document.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    assert main(["report", *map(str, files), "--write", str(document)]) == 0
    text = document.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n") and "old" not in text
    assert "gpu NVIDIA H200" in text and "| 16 | 2 | 10.5 | 9.0 (1 of 2) | 0.9400 | 0.9380 |" in text
    assert "| public | prob | float32 | 20.0 (900) | out of memory |" in text
    assert f"### nnU-Net, stock and ours\n\n{report.UNMEASURED}" in text
    assert "Not measured: the stage's minutes were over before every precision." in text
    document.write_text("no marks")
    with pytest.raises(SystemExit, match="needs the lines"):
        report.write(files, document)


def test_the_document_has_its_marks() -> None:
    text = (ROOT / "doc" / "benchmarks.md").read_text()
    assert text.count(report.BEGIN) == text.count(report.END) == 1


def test_wheels_that_are_not_there_are_said(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="holds no wheel"):
        main(["oom", "--work", str(tmp_path / "work"), "--wheels", str(tmp_path), "--gpus", "0", "--tiny"])
