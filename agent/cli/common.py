"""What several commands share: from parsed options to records, and finding a study."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from agent.errors import UsageError
from agent.store.paths import check_name

if TYPE_CHECKING:
    from agent.api.options import TuneOptions


def tune_options(parsed: argparse.Namespace) -> TuneOptions:
    """The options of `tune` and `init` as a record; what a command does not have stays at its default."""
    from agent.api.options import TuneOptions

    given = vars(parsed)
    data = dict(given["data"])
    if len(data) < len(given["data"]):
        raise UsageError("--data: a key stands twice")
    renamed = {"use_test_data": "use_test", "poll": "poll_s", "tune": "tune_names"}
    fields = {renamed.get(name, name): value for name, value in given.items()}
    wanted = {name: fields[name] for name in TuneOptions.__dataclass_fields__ if name in fields}
    return TuneOptions(**(wanted | {"data": data}))


def study_folder(parsed: argparse.Namespace) -> Path:
    """The folder of --study: a path that exists, or a name in --output-dir. Raises UsageError listing the studies."""
    name: str = parsed.study
    if "/" in name or name in (".", ".."):
        folder = Path(name).absolute()
    else:
        folder = parsed.output_dir.absolute() / check_name(name, what="--study")
    if not (folder / "study.yaml").exists():
        there = sorted(path.parent.name for path in parsed.output_dir.glob("*/study.yaml"))
        raise UsageError(f"{folder} is no study; in {parsed.output_dir} there are: {', '.join(there) or 'none'}")
    return folder
