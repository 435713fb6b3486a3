"""Stage `oom`: memory that really ends inside a training, in each precision, and what is trained afterwards.

    python -m benchmarks.gpu oom --work WORK

PyTorch is left so little of the GPU that the batch asked for does not fit (on a CPU the optimizer's step fails for
batches above a limit in its place). The training must halve its batch and go on; beside it stands one that began with
that batch. On a GPU the two differ in their last digits; what would show is a step on gradients that were scaled and
never divided: a loss that is not finite, or an accuracy of chance.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu.stage import OutOfTime, Row, Say, Settings, control, measured, trial, values_of

PRECISIONS = ("float32", "bfloat16", "float16")
CLASSES = 4


def run(settings: Settings, say: Say) -> list[Row]:
    """Rows of kind "memory", one for each precision and kind of step."""
    data = _images(settings.work / "oom.npz", *((160, 8) if settings.tiny else (20_000, 32)))
    rows: list[Row] = []
    try:
        for precision in PRECISIONS if settings.gpus else ("float32", "float16"):
            for clip in (0.0, 1.0):
                if settings.left < 0:
                    raise OutOfTime
                arguments = [precision, str(clip), str(data), settings.device, settings.size]
                found = measured("oom", arguments, settings)
                rows.append({"kind": "memory", "precision": precision, "grad_clip": clip} | found)
                say(f"{rows[-1]}")
    except OutOfTime:
        rows.append({"kind": "unmeasured", "what": "the stage's minutes were over before every precision"})
    return rows


def _images(path: Path, count: int, side: int) -> Path:
    """Noise in which a bright quarter tells the class: learnt within an epoch or two."""
    generator = np.random.RandomState(0)
    labels = np.arange(count) % CLASSES
    images = generator.randint(0, 160, (count, side, side, 3)).astype(np.uint8)
    half = side // 2
    for k in range(CLASSES):
        row, column = divmod(k, 2)
        images[labels == k, row * half : (row + 1) * half, column * half : (column + 1) * half] += 60
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, x_train=images, y_train=labels)
    return path


def measure(precision: str, clip: float, data: Path, device: str, size: str) -> Row:
    """A training that runs out of memory, and one that begins with the batch to which it came, in this process."""
    import torch

    tiny = size == "tiny"
    large = 64 if tiny else 8192
    fraction = 1.0
    if device == "cuda":
        # Of 6.57 million weights and 8,192 images the activations take some 20 GB; a quarter of them are left.
        fraction = min(1.0, 5 * 2**30 / torch.cuda.mem_get_info()[1])
        torch.cuda.set_per_process_memory_fraction(fraction)
    with _arithmetic(precision), _step_limited_to(32 if device == "cpu" else None):
        limited = _train(data, large, clip, device, tiny, "limited")
    with _arithmetic(precision):
        begun = _train(data, int(limited["batch"]), clip, device, tiny, "begun")
    return {
        "asked": large,
        "trained": limited["batch"],
        "adjusted": limited["adjusted"],
        "val": limited["val"],
        "val_of_that_batch": begun["val"],
        "finite": bool(np.isfinite(limited["losses"]).all()),
        "memory_fraction": round(fraction, 4),
    }


def _train(data: Path, batch: int, clip: float, device: str, tiny: bool, name: str) -> dict[str, Any]:
    import csv

    from trainers.resnet9.config import Config
    from trainers.resnet9.train import train

    out = data.parent / f"oom_{name}_{batch}_{clip}"
    settings = Settings(work=data.parent, minutes=1e6, tiny=tiny, gpus=int(device == "cuda"))
    for old in out.glob("*"):
        old.unlink()
    spec = trial(
        settings,
        out,
        task="own",
        trainer="resnet9",
        epochs=2 if tiny else 3,
        data={"path": str(data), "mirror": False},
        values=values_of(
            Config(), train_batch_size=batch, grad_clip=clip, width=0.0625 if tiny else 1.0, learning_rate=0.05
        ),
        objective="val_accuracy",
        direction="maximize",
    )
    found = train(spec, control(settings))
    with open(out / "metrics_epoch.csv", newline="") as stream:
        losses = [float(row["train_loss"]) for row in csv.DictReader(stream)]
    return {
        "batch": found.effective.get("train_batch_size", batch),
        "adjusted": found.notes["oom_adjusted"],
        "val": found.metrics["val_accuracy"],
        "losses": losses,
    }


@contextmanager
def _arithmetic(precision: str) -> Iterator[None]:
    """float16, which `auto` takes on older GPUs only, on any device."""
    import torch

    from trainers.resnet9 import loop

    before = loop.choose_dtype
    loop.choose_dtype = lambda asked, device: getattr(torch, precision)
    try:
        yield
    finally:
        loop.choose_dtype = before


@contextmanager
def _step_limited_to(limit: int | None) -> Iterator[None]:
    """On a CPU: the optimizer's step fails for batches above the limit, as if memory ended there."""
    import torch

    from trainers.resnet9 import loop

    if limit is None:
        yield
        return
    seen: list[int] = []
    step, batch_of = torch.optim.SGD.step, loop.batch_of

    def watched(part: Any, chosen: Any, device: Any) -> Any:
        seen.append(len(chosen))
        return batch_of(part, chosen, device)

    def limited(*arguments: Any, **named: Any) -> Any:
        if seen[-1] > limit:
            raise torch.OutOfMemoryError("out of memory, as this benchmark wants it")
        return step(*arguments, **named)

    loop.batch_of, torch.optim.SGD.step = watched, limited  # type: ignore[method-assign]
    try:
        yield
    finally:
        loop.batch_of, torch.optim.SGD.step = batch_of, step  # type: ignore[method-assign]


def main(arguments: Sequence[str] | None = None) -> Row:
    """One precision, in this process; the row is also the last line on stdout."""
    parser = argparse.ArgumentParser()
    parser.add_argument("precision", choices=PRECISIONS)
    parser.add_argument("clip", type=float)
    parser.add_argument("data", type=Path)
    parser.add_argument("device")
    parser.add_argument("size")
    given = parser.parse_args(arguments)
    found = measure(given.precision, given.clip, given.data, given.device, given.size)
    print(json.dumps(found))
    return found


if __name__ == "__main__":
    main()
