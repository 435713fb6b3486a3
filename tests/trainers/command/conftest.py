"""A described program, frozen as a study freezes it, and one row to train with it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from trainers.command.description import Description, load_description, reference
from trainers.contract import Control, StopFlag, TrialSpec


class Bench:
    """A folder with a description, its frozen form, and the spec of one row."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "trainer"
        self.folder.mkdir()
        self.progress: list[tuple[int, dict[str, float]]] = []
        self.stop = StopFlag()

    @property
    def control(self) -> Control:
        return Control(stop=self.stop, report=lambda epoch, metrics: self.progress.append((epoch, dict(metrics))))

    def write(self, changes: Mapping[str, Any] | None = None, **keys: Any) -> Path:
        """A YAML (JSON is YAML) of a minimal description with `keys` put in; a key that is None is left out."""
        description: dict[str, Any] = {
            "name": "demo",
            "command": ["true"],
            "pass_values": ["environment"],
            "parameters": {"x": {"type": "float", "low": 0, "high": 1, "default": 0.5}},
            "objective": {"metric": "score", "direction": "maximize"},
        }
        description |= {**keys, **(changes or {})}
        path = self.folder / "trainer.yaml"
        text = json.dumps({key: value for key, value in description.items() if value is not None}, ensure_ascii=False)
        path.write_text(text, encoding="utf-8")
        return path

    def spec(self, path: Path, *, values: Mapping[str, Any] | None = None, **fields: Any) -> TrialSpec:
        """One row of a study of the description at `path`, with its defaults overridden by `values`."""
        description = load_description(path)
        frozen = self.root / "trainer.json"
        frozen.write_text(description.to_json(), encoding="utf-8")
        out = fields.pop("out", self.root / "attempt_1")
        out.mkdir(parents=True, exist_ok=True)
        raw = reference(description, "some task")
        reference_path = self.root / "hyperparameter_reference.json"
        reference_path.write_text(json.dumps(raw), encoding="utf-8")
        defaults = {name: parameter["default"] for name, parameter in raw["parameters"].items()}
        spec = TrialSpec(
            study="study",
            task="some task",
            trainer=description.name,
            round=2,
            candidate="c03",
            row=7,
            fold=1,
            folds=5,
            seed=11,
            attempt=1,
            values={**defaults, **(values or {})},
            reference=reference_path,
            out=out,
            trainer_file=frozen,
            objective=description.objective,
            direction=description.metrics[description.objective].direction,
        )
        return dataclasses.replace(spec, **fields)

    def bash(self, script: str, **keys: Any) -> TrialSpec:
        """A row whose program is a bash script (braces are literal)."""
        command = ["bash", "-c", script.replace("{", "{{").replace("}", "}}")]
        values, fields = keys.pop("values", None), keys.pop("fields", {})
        return self.spec(self.write(command=command, **keys), values=values, **fields)

    def python(self, source: str, *arguments: str, **keys: Any) -> TrialSpec:
        """A row whose program is a Python file, called with `arguments` (placeholders allowed)."""
        (self.folder / "program.py").write_text(source, encoding="utf-8")
        values, fields = keys.pop("values", None), keys.pop("fields", {})
        command = ["{python}", "program.py", *arguments]
        return self.spec(self.write(command=command, **keys), values=values, **fields)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def load(bench: Bench) -> Callable[..., Description]:
    """Write a description with the given keys and load it."""
    return lambda changes=None, **keys: load_description(bench.write(changes, **keys))
