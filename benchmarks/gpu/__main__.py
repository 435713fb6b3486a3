"""One stage of the measurements on a GPU: python -m benchmarks.gpu STAGE [DATA ...] [--work DIR] [--wheels DIR] ...

Stages: data, resnet9, informer, nnunet, oom, report. README.md beside this file says what each needs and answers.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path

STAGES = ("data", "resnet9", "informer", "nnunet", "oom", "report")


def main(arguments: list[str] | None = None) -> int:
    """Run one stage; its rows go to --out as JSON, also where the time was over before all was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("given", type=Path, nargs="*", metavar="DATA", help="what the stage reads")
    parser.add_argument("--work", type=Path, default=Path("gpu-work"), help="unpacked data and trainings")
    parser.add_argument("--out", type=Path, help="file of results (WORK/STAGE.json)")
    parser.add_argument(
        "--wheels", type=Path, help="folder of wheels to install into WORK/site first, without a network"
    )
    parser.add_argument("--minutes", type=float, default=4.0, help="after which nothing more is measured (4)")
    parser.add_argument("--gpus", type=int, default=1, choices=(0, 1), help="0: on the CPU")
    parser.add_argument("--tiny", action="store_true", help="the same code on next to nothing")
    parser.add_argument("--write", type=Path, metavar="FILE", help="report: put the tables into this document")
    parsed = parser.parse_args(arguments)
    if parsed.stage == "report":
        from benchmarks.gpu.report import write

        print(write(parsed.given, parsed.write))
        return 0
    for path in parsed.given:
        if not path.exists():
            parser.error(f"{path}: is not there")
    _install(parsed.wheels, parsed.work / "site")
    from benchmarks.gpu.stage import Settings, machine

    if parsed.gpus and parsed.stage != "data":
        import torch

        if not torch.cuda.is_available():
            parser.error("PyTorch sees no GPU here; --gpus 0 --tiny tries the stage on the CPU")
    settings = Settings(
        work=parsed.work.absolute(),
        minutes=parsed.minutes,
        tiny=parsed.tiny,
        gpus=parsed.gpus,
        given=tuple(path.absolute() for path in parsed.given),
    )
    settings.work.mkdir(parents=True, exist_ok=True)
    rows = importlib.import_module(f"benchmarks.gpu.{parsed.stage}").run(
        settings, lambda line: print(line, flush=True)
    )
    if parsed.stage != "data":
        out = parsed.out or settings.work / f"{parsed.stage}.json"
        result = {"stage": parsed.stage, "tiny": settings.tiny, "machine": machine(), "rows": rows}
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        print(f"{len(rows)} rows in {out}, {settings.left:.0f} s left of {parsed.minutes:g} minutes")
    return 0


def _install(wheels: Path | None, site: Path) -> None:
    """The wheels' modules, for this process and its children; what an earlier stage installed is there already."""
    if wheels is not None and not site.exists():
        found = sorted(map(str, wheels.glob("*.whl")))
        if not found:
            raise SystemExit(f"{wheels}: holds no wheel; README.md says how to fill it")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
        if subprocess.run([*pip, "--target", str(site), *found]).returncode:
            raise SystemExit(f"{wheels}: pip could not install these wheels (python -m pip must work)")
    if site.exists():
        sys.path.insert(0, str(site.absolute()))


if __name__ == "__main__":
    sys.exit(main())
