"""What Informer's kinds of attention cost by sequence length: seconds per iteration and memory, and their ratios.

    python benchmarks/informer.py [--lengths 96 192 384 768 1536] [--d-model 512] [--batch 4] [--device cpu|cuda] ...

One iteration is forward, backward and an Adam step on one batch: seq_len in, 24 steps ahead, label_len 48, 2 encoder
layers and 1 decoder layer. Each cell runs in a process of its own, so that its peak memory is its own: on a CPU the
growth of the largest resident size over the built model, on a GPU what PyTorch allocated. The median of --repeats.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

from child import machine

KINDS = ("prob", "full", "flash")
VERSUS = ("prob", "flash")
"""Shown as parts of what full attention costs."""


def measure(kind: str, length: int, settings: argparse.Namespace) -> dict[str, float]:
    """Seconds an iteration takes and the MiB it needs, in this process."""
    import torch

    from trainers.informer.calendar import Calendar
    from trainers.informer.config import Config
    from trainers.informer.frequency import Frequency
    from trainers.informer.model import build_model
    from trainers.informer.optim import build_optimizer

    device = torch.device(settings.device)
    torch.set_num_threads(settings.threads)
    config = Config(
        attention=kind,
        seq_len=length,
        d_model=settings.d_model,
        d_ff=4 * settings.d_model,
        n_heads=settings.heads,
        distil=settings.distil,
    )
    calendar = Calendar.of(Frequency(seconds=3600))
    model = build_model(
        config, channels=7, targets=tuple(range(7)), pred_len=24, calendar=calendar, seed=0, device=device
    )
    optimizer = build_optimizer(config, model)
    x = torch.randn(settings.batch, length, 7, device=device)
    marks = torch.zeros(settings.batch, length + 24, len(calendar.fields), dtype=torch.int64, device=device)

    def iteration() -> None:
        optimizer.zero_grad(set_to_none=True)
        model(x, marks).square().mean().backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    iteration()
    seconds = []
    for _ in range(settings.repeats):
        begun = time.perf_counter() if device.type == "cuda" else time.process_time()
        iteration()
        seconds.append((time.perf_counter() if device.type == "cuda" else time.process_time()) - begun)
    if device.type == "cuda":
        mib = torch.cuda.max_memory_allocated() / 2**20
    else:
        mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before
    return {"seconds": statistics.median(seconds), "mib": mib}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[96, 192, 384, 768, 1536])
    parser.add_argument("--d-model", type=int, default=512)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--distil", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--cell", nargs=2, metavar=("KIND", "LENGTH"), help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.cell:
        print(json.dumps(measure(settings.cell[0], int(settings.cell[1]), settings)))
        return 0
    print(machine())
    print(f"{settings.device}, d_model {settings.d_model}, batch {settings.batch}, {settings.threads} threads")
    print("seq_len  prob: s    MiB   full: s    MiB   flash: s    MiB   prob/full s  MiB   flash/full s  MiB")
    for length in settings.lengths:
        cells = {}
        for kind in KINDS:
            argv = [sys.executable, __file__, *sys.argv[1:], "--cell", kind, str(length)]
            done = subprocess.run(argv, capture_output=True, text=True, check=True)
            cells[kind] = json.loads(done.stdout)
        row = "".join(f"   {cells[kind]['seconds']:7.3f} {cells[kind]['mib']:6.0f}" for kind in KINDS)
        full = cells["full"]
        shares = [(cells[kind]["seconds"] / full["seconds"], cells[kind]["mib"] / full["mib"]) for kind in VERSUS]
        ratios = "".join(f"   {seconds:10.2f} {mib:5.2f}" for seconds, mib in shares)
        print(f"{length:7d}{row}{ratios}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
