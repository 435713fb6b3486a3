"""What the tests of trainers share: trial specifications, stopping at a chosen place, results on disk.

Standard library only at import: some tests run where torch is not installed.
"""

from __future__ import annotations

import ast
import csv
import inspect
import itertools
from pathlib import Path
from types import ModuleType
from typing import Any

from trainers.contract import Control, StopFlag, TrialSpec


def trial_spec(out: Path, **changed: Any) -> TrialSpec:
    """The first row of a round, in a folder that is made."""
    out.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {
        "study": "s",
        "task": "own",
        "round": 1,
        "candidate": "c00",
        "row": 0,
        "fold": 0,
        "folds": 1,
        "seed": 0,
        "attempt": 1,
        "reference": out / "hyperparameter_reference.json",
        "out": out,
        "epochs": 2,
    }
    return TrialSpec(**(settings | changed))


class StopAfter(StopFlag):
    """Is set after it was looked at so many times."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    @property
    def requested(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def quiet(stop: StopFlag | None = None) -> Control:
    return Control(stop=stop or StopFlag(), report=lambda epoch, metrics: None)


def epochs(out: Path) -> list[dict[str, str]]:
    """Rows of metrics_epoch.csv without the seconds, which no two runs share."""
    with open(out / "metrics_epoch.csv", newline="") as stream:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(stream)]


def last_weights(out: Path) -> dict[str, Any]:
    """The weights in checkpoint_last.pt."""
    import torch

    state: dict[str, Any] = torch.load(out / "checkpoint_last.pt", weights_only=True)["model"]
    return state


def same_weights(one: Path, other: Path) -> bool:
    import torch

    left, right = last_weights(one), last_weights(other)
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def documented(module: ModuleType) -> dict[str, str]:
    """Field of the module's Config -> the text under it, on one line."""
    tree = ast.parse(inspect.getsource(module))
    (body,) = (node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Config")
    found = {}
    for field, text in itertools.pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(field.target, ast.Name) and isinstance(text.value, ast.Constant)
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found
