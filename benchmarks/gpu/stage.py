"""What the stages share: their settings, the time that is left, the machine, and trials outside a study."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from trainers.contract import Control, StopFlag, TrialSpec, Value

Row = dict[str, Any]
Say = Callable[[str], None]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What a stage is told."""

    work: Path
    """Folder for unpacked data and trainings; later stages find there what earlier ones left."""
    minutes: float
    """The stage begins nothing that it does not expect to end by then, and stops what runs over."""
    tiny: bool
    """The same code on next to nothing, for a CPU."""
    gpus: int
    """0: on the CPU."""
    given: tuple[Path, ...] = ()
    """Data: what each stage takes is in its own text."""
    begun: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.begun + 60 * self.minutes - time.monotonic()

    @property
    def cpus(self) -> int:
        """Threads of a training: all, but one where the CPU trains."""
        return len(os.sched_getaffinity(0)) if self.gpus else 1

    @property
    def size(self) -> str:
        return "tiny" if self.tiny else "full"

    @property
    def device(self) -> str:
        return "cuda" if self.gpus else "cpu"


class OutOfTime(Exception):
    """The stage's minutes are over; what was measured by then stands."""


def machine() -> Row:
    """Where the figures come from."""
    import torch

    found: Row = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cpus": len(os.sched_getaffinity(0)),
    }
    if torch.cuda.is_available():
        found |= {"gpu": torch.cuda.get_device_name(), "cuda": torch.version.cuda}
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        try:
            driver = subprocess.run(asked, capture_output=True, text=True, timeout=30).stdout
            found["driver"] = driver.splitlines()[0].strip() if driver else ""
        except (OSError, subprocess.TimeoutExpired):
            found["driver"] = ""
    return found


def control(settings: Settings, report: Callable[[int, Mapping[str, float]], None] | None = None) -> Control:
    """A training's control that stops it when the stage's minutes are over."""
    stop = StopFlag()
    stop.yield_to(lambda: settings.left < 0, every_s=0.5)
    return Control(stop=stop, report=report or (lambda epoch, metrics: None))


def trial(settings: Settings, out: Path, **changed: Any) -> TrialSpec:
    """One training outside a study, in a folder that is made."""
    out.mkdir(parents=True, exist_ok=True)
    fields: dict[str, Any] = {
        "study": "benchmark",
        "round": 1,
        "candidate": "c00",
        "row": 0,
        "fold": 0,
        "folds": 1,
        "seed": 0,
        "attempt": 1,
        "reference": out / "hyperparameter_reference.json",
        "out": out,
        "cpus": settings.cpus,
        "gpus": settings.gpus,
    }
    return TrialSpec(**(fields | changed))


def values_of(config: Any, **changed: Value) -> dict[str, Value]:
    """A trainer's defaults with some of them changed."""
    return {**dataclasses.asdict(config), **changed}


def measured(stage: str, arguments: Sequence[str], settings: Settings) -> Row:
    """What main(arguments) of a stage's module measures, in a process of its own: memory that one measure fragmented
    would count against the next. Tiny ones, which measure nothing, share this process.

    Raises OutOfTime, and RuntimeError with the end of what it said.
    """
    module = f"benchmarks.gpu.{stage}"
    if settings.tiny:
        found: Row = importlib.import_module(module).main(arguments)
        return found
    command = [sys.executable, "-m", module, *arguments]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=max(1.0, settings.left), env=environment()
        )
    except subprocess.TimeoutExpired:
        raise OutOfTime from None
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()[-1500:]}")
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def environment() -> dict[str, str]:
    """This process's environment, with its modules for children, too."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(dict.fromkeys(path for path in sys.path if path))}
