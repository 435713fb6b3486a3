"""What several commands share: saying things, from parsed options to records, and finding a study."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from agent.cli.options import record_of
from agent.errors import UsageError
from agent.store.paths import check_name

if TYPE_CHECKING:
    from agent.api.options import TuneOptions


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def say_at_once(line: str) -> None:
    """For somebody who watches while it goes on for long."""
    say(line)
    sys.stdout.flush()


def say_stamped(line: str) -> None:
    """For a log that grows over weeks."""
    say_at_once(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}")


def detail_of(parsed: argparse.Namespace) -> Callable[[str], None]:
    """Where details go: to the person with --verbose; orchestrator.log has them anyway."""
    return say if parsed.verbose else lambda line: None


def tune_options(parsed: argparse.Namespace) -> TuneOptions:
    """The options of `tune` and `init` as a record. Raises UsageError."""
    from agent.api.options import TuneOptions

    return record_of(TuneOptions, parsed)


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
