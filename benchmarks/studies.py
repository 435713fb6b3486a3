"""A study of any length: one real round, then copies of what it left, each with settings and scores of its own.

    python benchmarks/studies.py DIR ROUNDS CANDIDATES FOLDS

Round 1 is tuned for real. Of the copies only what a closed round is read from is there: its round.json, its step
records, and its lines in the journal (with every row that was submitted); of the newest two, which the diagnosis
looks into, also manifest, summaries and the trials' analyses. So the shape is the program's own.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from pathlib import Path
from typing import Any

from child import ROOT

sys.path.insert(0, str(ROOT))

TRAINER = ROOT / "benchmarks" / "trainer" / "trainer.yaml"
LOOKED_INTO = 2
"""Newest rounds of which the diagnosis reads more than round.json."""


def make(root: Path, *, rounds: int, candidates: int, folds: int) -> None:
    """A study in `root` with `rounds` closed rounds of candidates x folds trials."""
    from agent.api import TuneOptions, tune

    tune(
        TuneOptions(
            task=root.name,
            trainer=str(TRAINER),
            output_dir=root.parent,
            auto_train=True,
            launcher="local",
            confirm="never",
            max_iterations=1,
            candidates=candidates,
            folds=tuple(range(folds)),
        )
    )
    _lengthen(root, rounds)


def _lengthen(root: Path, rounds: int) -> None:
    """Write rounds 2 to `rounds` after the first."""
    from agent.reference import load_reference
    from trainers.files import to_json

    reference = load_reference(root / "hyperparameter_reference.json")
    journal = root / "journal.jsonl"
    entries = [json.loads(line) for line in journal.read_text(encoding="utf-8").splitlines()]
    first = next(root.glob("round_1_*"))
    template = (first / "round.json").read_text(encoding="utf-8")
    of_round = [entry for entry in entries if entry.get("folder") == first.name]
    rng = random.Random(0)
    with journal.open("a", encoding="utf-8") as stream:
        number_of_entries = len(entries)
        for number in range(2, rounds + 1):
            name = first.name.replace("round_1_", f"round_{number}_")
            shutil.copytree(first / "steps", root / name / "steps")
            if number > rounds - LOOKED_INTO:
                _copy_results(first, root / name)
            record = _copy(json.loads(template), number, reference, rng)
            (root / name / "round.json").write_text(to_json(record), encoding="utf-8")
            for entry in of_round:
                text = json.dumps(entry, ensure_ascii=False).replace(first.name, name)
                number_of_entries += 1
                copied = json.loads(text) | {"seq": number_of_entries}
                if "name" in entry:
                    copied["name"] = entry["name"].replace("-r1-", f"-r{number}-")
                stream.write(json.dumps(copied, ensure_ascii=False) + "\n")


def _copy_results(first: Path, folder: Path) -> None:
    """What the next round's diagnosis reads of a round; the numbers in it stay those of the first."""
    looked_into = ("manifest.json", "candidates/*/*.json", "trials/*/*/analysis.json")
    for path in (path for pattern in looked_into for path in first.glob(pattern)):
        to = folder / path.relative_to(first)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, to)


def _copy(record: dict[str, Any], number: int, reference: Any, rng: random.Random) -> dict[str, Any]:
    """A round's record under another number, with other settings and other scores, none above the first round's."""
    from agent.reference import config_key

    metric = record["objective"]["metric"]
    record["round"] = number
    for candidate in record["candidates"]:
        candidate["values"]["x"] = round(rng.random(), 9)
        candidate["values"]["learning_rate"] = round(10 ** rng.uniform(-4, -1), 9)
        candidate["key"] = config_key(reference, candidate["values"])
        candidate["source"] = "optuna_tpe"
        candidate["value"] = candidate["metrics"][metric] = rng.random() / 2
        for trial in candidate["trials"]:
            trial["metrics"][metric] = candidate["value"] + rng.gauss(0, 0.01)
    return record


if __name__ == "__main__":
    where, *shape = sys.argv[1:]
    how_many, per_round, per_candidate = map(int, shape)
    make(Path(where), rounds=how_many, candidates=per_round, folds=per_candidate)
