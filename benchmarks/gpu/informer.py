"""Stage `informer`: seconds an iteration and memory of Informer beside the authors' public code, 96 to 1,536 steps.

    python -m benchmarks.gpu informer [PUBLIC] --work WORK

PUBLIC is a checkout of the public code, whose models/model.py is imported (give only a folder you trust); without it
only this project's are measured. One iteration is forward, backward and an Adam step on random values: so many steps
in, 48 known, 24 ahead, 7 columns, the paper's width and layers, batches of 32. Every cell is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.gpu.stage import OutOfTime, Row, Say, Settings, measured

LENGTHS = (96, 192, 384, 768, 1536)
CELLS = (
    ("public", "prob", "float32"),
    ("ours", "prob", "float32"),
    ("ours", "prob", "auto"),
    ("ours", "flash", "auto"),
)
"""Whose code, attention, precision."""
COLUMNS, LABEL, AHEAD = 7, 48, 24


def run(settings: Settings, say: Say) -> list[Row]:
    """Rows of kind "iteration"; where memory does not suffice, `memory` says so in place of figures."""
    public = settings.given[0] if settings.given else None
    if public is not None and not (public / "models" / "model.py").exists():
        raise SystemExit(f"{public}: has no models/model.py; give a checkout of the public Informer code")
    lengths = (24, 48) if settings.tiny else LENGTHS
    rows: list[Row] = []
    try:
        for length in lengths:
            for code, attention, precision in CELLS:
                if code == "public" and public is None:
                    continue
                if settings.left < 0:
                    raise OutOfTime
                arguments = [code, attention, precision, str(length), settings.device, settings.size]
                arguments += [str(public)] if public is not None else []
                cell = {"kind": "iteration", "code": code, "attention": attention, "precision": precision}
                cell |= {"length": length}
                rows.append(cell | measured("informer", arguments, settings))
                say(f"{rows[-1]}")
    except OutOfTime:
        rows.append({"kind": "unmeasured", "what": "the stage's minutes were over before the longest windows"})
    if public is None:
        rows.append({"kind": "unmeasured", "what": "the public code, which was not given"})
    return rows


def measure(code: str, attention: str, precision: str, length: int, device: str, size: str, public: str) -> Row:
    """One cell, in this process."""
    import torch

    batch, repeats = (2, 2) if size == "tiny" else (32, 20)
    torch.set_num_threads(1)
    place = torch.device(device)
    torch.manual_seed(0)
    make = _public if code == "public" else _ours
    try:
        iteration = make(attention, precision, length, place, size, batch, public)
        seconds = []
        for number in range(2 + repeats):
            begun = time.perf_counter()
            iteration()
            if place.type == "cuda":
                torch.cuda.synchronize()
            if number >= 2:  # the first choose kernels
                seconds.append(time.perf_counter() - begun)
    except torch.OutOfMemoryError:
        return {"memory": "does not suffice"}
    found: Row = {"seconds": round(statistics.median(seconds), 6), "batch": batch}
    if place.type == "cuda":
        found["mib"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return found


def _sizes(size: str) -> dict[str, Any]:
    if size == "tiny":
        return {"d_model": 8, "n_heads": 2, "e_layers": 2, "d_layers": 1, "d_ff": 16}
    return {"d_model": 512, "n_heads": 8, "e_layers": 2, "d_layers": 1, "d_ff": 2048}


def _label(length: int) -> int:
    return min(LABEL, length // 2)


def _ours(
    attention: str, precision: str, length: int, place: Any, size: str, batch: int, public: str
) -> Callable[[], None]:
    import torch

    from trainers.informer.calendar import Calendar
    from trainers.informer.config import Config
    from trainers.informer.frequency import Frequency
    from trainers.informer.model import build_model
    from trainers.informer.optim import build_optimizer
    from trainers.pytorch.device import autocast, build_scaler, choose_dtype

    config = Config(
        attention=attention, precision=precision, seq_len=length, label_len=_label(length), **_sizes(size)
    )
    calendar = Calendar.of(Frequency(seconds=3600))
    model = build_model(
        config,
        channels=COLUMNS,
        targets=tuple(range(COLUMNS)),
        pred_len=AHEAD,
        calendar=calendar,
        seed=0,
        device=place,
    ).train()
    optimizer = build_optimizer(config, model)
    dtype = choose_dtype(precision, place)
    scaler = build_scaler(place, dtype)
    x = torch.randn(batch, length, COLUMNS, device=place)
    marks = torch.zeros(batch, length + AHEAD, len(calendar.fields), dtype=torch.int64, device=place)

    def iteration() -> None:
        optimizer.zero_grad(set_to_none=True)
        with autocast(place, dtype):
            forecast = model(x, marks)
        scaler.scale(forecast.float().square().mean()).backward()
        scaler.step(optimizer)
        scaler.update()

    return iteration


def _public(
    attention: str, precision: str, length: int, place: Any, size: str, batch: int, public: str
) -> Callable[[], None]:
    import torch

    sys.path.insert(0, public)
    from models.model import Informer  # type: ignore[import-not-found]

    label = _label(length)
    sizes = _sizes(size)
    model = Informer(
        COLUMNS, COLUMNS, COLUMNS, length, label, AHEAD, factor=5, dropout=0.05, attn=attention, embed="timeF",
        freq="h", activation="gelu", distil=True, device=place, **sizes,
    ).to(place)  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4)
    x = torch.randn(batch, length, COLUMNS, device=place)
    marks = torch.zeros(batch, length, 4, device=place)
    start = torch.cat([x[:, length - label :], torch.zeros(batch, AHEAD, COLUMNS, device=place)], dim=1)
    start_marks = torch.zeros(batch, label + AHEAD, 4, device=place)

    def iteration() -> None:
        optimizer.zero_grad(set_to_none=True)
        model(x, marks, start, start_marks).square().mean().backward()
        optimizer.step()

    return iteration


def main(arguments: Sequence[str] | None = None) -> Row:
    """One cell, in this process; the row is also the last line on stdout."""
    parser = argparse.ArgumentParser()
    for name in ("code", "attention", "precision"):
        parser.add_argument(name)
    parser.add_argument("length", type=int)
    parser.add_argument("device")
    parser.add_argument("size")
    parser.add_argument("public", nargs="?", default="")
    given = parser.parse_args(arguments)
    public = str(Path(given.public).absolute()) if given.public else ""
    found = measure(given.code, given.attention, given.precision, given.length, given.device, given.size, public)
    print(json.dumps(found))
    return found


if __name__ == "__main__":
    main()
