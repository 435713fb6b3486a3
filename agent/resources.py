"""Where the files that are not code are: templates and documents, in a checkout and in an installed wheel.

A checkout keeps them beside `agent/`; a wheel carries them inside the package, under `agent/_data/`.
"""

from __future__ import annotations

from pathlib import Path

from agent.errors import InvalidTrainer, RoundtableError

_PACKAGE = Path(__file__).resolve().parent


def templates() -> Path:
    """The folder of the Jinja2 templates (slurm/, prompts/, report/). Raises RoundtableError when it is missing."""
    return _folder("templates")


def documents() -> Path:
    """The folder of the documents and shipped references. Raises RoundtableError when it is missing."""
    return _folder("doc")


def shipped_policy() -> Path:
    """The retry policy of studies that were given none. Raises RoundtableError when it is missing."""
    return templates() / "policy.yaml"


def shipped_rules() -> Path:
    """The rules of acceptance of studies that were given none. Raises RoundtableError when they are missing."""
    return templates() / "acceptance.yaml"


def shipped_reference(trainer: str) -> Path:
    """The read-only reference that ships for a trainer: doc/hyperparameter_reference/<trainer>.json.

    Raises InvalidTrainer, listing the trainers that have one. The name is compared with the files that are there,
    never made into a path, so `../x` is one more unknown trainer.
    """
    folder = documents() / "hyperparameter_reference"
    present = {path.stem: path for path in sorted(folder.glob("*.json"))}
    if trainer in present:
        return present[trainer]
    message = f"no reference ships for it; there are: {', '.join(present) or 'none'}"
    raise InvalidTrainer.at(folder, message, where="trainer", value=repr(trainer)[:80])


def _folder(name: str) -> Path:
    # The wheel's place first: beside an installed package, `templates` could belong to anyone.
    for folder in (_PACKAGE / "_data" / name, _PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise RoundtableError(
        f"{name}: not found in {_PACKAGE / '_data'} nor beside {_PACKAGE}: the installation is incomplete; install "
        "Roundtable again, or run it from a whole checkout"
    )
