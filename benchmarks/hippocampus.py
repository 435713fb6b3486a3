"""nnU-Net on real hippocampi, from the tar to val_summary.json: a study in small, on CPUs, and what it reached.

    python -m benchmarks.hippocampus TAR OUT [--cases 20] [--rounds 2] [--iterations 20] [--epochs 5]
        [--candidates 2] [--rungs 1]

TAR is Task04_Hippocampus.tar of the Medical Segmentation Decathlon. The first cases (in order of their names) are
converted to nnU-Net's format, planned and preprocessed by the study's own preparation, and trained in rounds of two
candidates on five folds; with --rungs on fold 0 first (doc/rungs.md). A mean-shape atlas reaches a mean foreground
Dice of 0.65 on all 260 cases, the full nnU-Net about 0.89 (1,000 epochs of 250 iterations, 32 to 256 features); here
width and iterations are cut to CPU size.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tarfile
import time
from pathlib import Path
from typing import Any

from agent.api import Study, TuneOptions, tune
from trainers.nnunet.workers import POOLS

ROOT = Path(__file__).parents[1]
NAME = "Dataset004_Hippocampus"
SMALL: dict[str, Any] = {
    "width": 0.25,
    "batch_size": 2,
    "patch_size": "24x32x24",
    "num_val_iterations_per_epoch": 2,
    "optimizer": "AdamW",
    "initial_lr": 0.003,
    "mirroring": "none",
}
"""AdamW, because SGD with momentum 0.99 has hardly begun to move after a hundred steps. Without mirroring, a
prediction takes an eighth of the time."""


def convert(tar: Path, raw: Path, cases: int) -> None:
    """The first labelled cases of the tar as a data set in nnU-Net's format."""
    from nnunetv2.dataset_conversion.convert_MSD_dataset import convert_msd_dataset

    source = raw.parent / "msd"
    with tarfile.open(tar) as archive:
        members = [m for m in archive.getmembers() if m.isfile() and "/._" not in m.name]
        labels = sorted(m.name for m in members if "/labelsTr/" in m.name)[:cases]
        wanted = {Path(name).name for name in labels} | {"dataset.json"}
        archive.extractall(source, [m for m in members if Path(m.name).name in wanted], filter="data")
    folder = source / "Task04_Hippocampus"
    (folder / "imagesTs").mkdir(exist_ok=True)
    description = json.loads((folder / "dataset.json").read_text())
    description["numTraining"] = cases
    (folder / "dataset.json").write_text(json.dumps(description))
    convert_msd_dataset(str(folder), num_processes=1)
    shutil.rmtree(source)


def reference(path: Path, iterations: int, epochs: int) -> Path:
    """The shipped reference with this benchmark's active values."""
    shipped = ROOT / "doc" / "hyperparameter_reference" / "nnunet.json"
    found: dict[str, Any] = json.loads(shipped.read_text())
    found["parameters"]["patch_size"]["choices"].append(SMALL["patch_size"])
    for name, value in (SMALL | {"num_iterations_per_epoch": iterations, "num_epochs": epochs}).items():
        found["parameters"][name]["active_value"] = value
    path.write_text(json.dumps(found, indent=2))
    return path


def print_rung(folder: Path) -> None:
    """What each candidate of a rung reached, and what it took."""
    rung = json.loads((folder / "round.json").read_text())
    print(f"round {rung['round']} rung {rung['rung']}, {rung['epochs']} epochs on folds {rung['folds']}:")
    for candidate in rung["candidates"]:
        value = f"{candidate['value']:.3f}" if candidate["value"] is not None else candidate["outcome"]
        kept = ", goes on" if candidate["name"] in rung["promoted"] else ""
        print(f"  {candidate['name']} {value}, {candidate['costs'].get('cpu_seconds', 0):.0f} CPU-s{kept}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tar", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--candidates", type=int, default=2)
    parser.add_argument("--rungs", type=int, default=1)
    given = parser.parse_args()
    out = given.out.absolute()
    raw = out / "nnUNet_raw"
    raw.mkdir(parents=True, exist_ok=True)
    clock = time.monotonic()
    if not (raw / NAME).exists():
        os.environ |= {"nnUNet_raw": str(raw), "nnUNet_preprocessed": str(out / "pre"), "nnUNet_results": str(out)}
        os.environ[POOLS] = "1"
        convert(given.tar, raw, given.cases)
    profile = out / "profile.yaml"
    profile.write_text("cpus: 1\n")
    outcome = tune(
        TuneOptions(
            task=NAME,
            study="hippocampus",
            trainer="nnunet",
            hp_ref=reference(out / "reference.json", given.iterations, given.epochs),
            output_dir=out / "runs",
            data={"raw": str(raw), "preprocessed": str(out / "nnUNet_preprocessed")},
            auto_train=True,
            launcher="local",
            profile=profile,
            candidates=given.candidates,
            rungs=given.rungs,
            max_rounds=given.rounds,
            confirm="never",
        ),
        say=print,
    )
    best = Study(out / "runs" / "hippocampus").best
    print(f"\n{outcome.closed} rounds, {given.cases} cases, {time.monotonic() - clock:.0f} s\n")
    for folder in sorted((out / "runs" / "hippocampus").glob("rung*/")):
        print_rung(folder)
    print("| round | candidate | Dice | Anterior | Posterior | cases | CPU-s |")
    print("|---|---|---|---|---|---|---|")
    for folder in sorted((out / "runs" / "hippocampus").glob("round_*")):
        for candidate in sorted((folder / "candidates").iterdir()):
            found = json.loads((candidate / "val_summary.json").read_text())
            dice = found["metrics"]["Dice"]["value"] if found["metrics"] else float("nan")
            classes = [found.get("per_class", {}).get(name, {}).get("Dice") for name in ("Anterior", "Posterior")]
            shown = " | ".join("-" if value is None else f"{value:.3f}" for value in classes)
            seconds = found["costs"].get("cpu_seconds", 0.0)
            number = folder.name.split("_")[1]
            cases = len(found.get("per_case", ()))
            print(f"| {number} | {candidate.name} | {dice:.3f} | {shown} | {cases} | {seconds:.0f} |")
    if best is not None:
        print(f"\n{best['verdict']}: round {best['round']} {best['candidate']}, Dice {best['mean']:.3f}")


if __name__ == "__main__":
    main()
