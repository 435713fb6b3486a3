"""What several commands share: from parsed options to records, and finding a study."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import names
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
    given = given | _agents(given)
    renamed = {"use_test_data": "use_test", "poll": "poll_s", "tune": "tune_names", "limit": "limits"}
    fields = {renamed.get(name, name): value for name, value in given.items()}
    for name in ("also", "limits"):
        if fields.get(name) is not None:
            fields[name] = () if fields[name] == ["none"] else tuple(fields[name])
    wanted = {name: fields[name] for name in TuneOptions.__dataclass_fields__ if name in fields}
    return TuneOptions(**(wanted | {"data": data}))


def _agents(given: Mapping[str, Any]) -> dict[str, Any]:
    """--provider NAME [FILE] and the models of single roles as the record has them."""
    provider = given.get("provider")
    if provider is None:
        found: dict[str, Any] = {}
    elif len(provider) > 2 or (len(provider) == 2 and provider[0] != "scripted"):
        raise UsageError(f"--provider {' '.join(provider)}: one name, or `scripted FILE`")
    else:
        found = {"provider": provider[0], "script": Path(provider[1]) if len(provider) == 2 else None}
    models = {role: given.get(f"{role}_model") for role in names.ROLES}
    return found | {"role_models": {role: model for role, model in models.items() if model}}


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
