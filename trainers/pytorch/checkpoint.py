"""Checkpoints: written whole or not at all, read without executing anything they contain."""

from __future__ import annotations

import copy
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from trainers.files import write_atomic

FORMAT = 1
State = dict[str, Any]


class CheckpointProblem(Exception):
    """A checkpoint that cannot be used; the message names the file and the reason."""


def to_host(value: Any) -> Any:
    """A deep copy with every tensor on the CPU, so that training on does not change it."""
    if isinstance(value, torch.Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, Mapping):
        return {key: to_host(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_host(item) for item in value]
    return copy.copy(value)


def save(path: Path, state: State) -> None:
    """Write `state`, made of tensors, numbers, texts, lists and dicts. Raises OSError; what stood before stands."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    write_atomic(path, buffer.getvalue())


def load(path: Path, *, identity: Mapping[str, object] | None = None) -> State:
    """Read a checkpoint onto the CPU; with `identity`, only one made for the same settings, data and seed.

    One of fewer epochs fits: a training may be extended. Raises CheckpointProblem: unreadable, truncated, of another
    format, or belonging to another training.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise CheckpointProblem(f"{path}: there is no such checkpoint") from None
    except Exception as error:  # torch gives pickle, zip, runtime, value or end-of-file errors for damaged files
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointProblem(f"{path}: damaged or not a checkpoint ({first[:200]})") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointProblem(f"{path}: not a checkpoint of format {FORMAT}")
    found = state.get("identity")
    if not isinstance(found, dict):
        raise CheckpointProblem(f"{path}: says nothing about the training it belongs to")
    asked, had = (identity or {}).get("epochs"), found.get("epochs")
    if isinstance(asked, int) and isinstance(had, int) and had < asked:
        found = {**found, "epochs": asked}
    if identity is not None and found != identity:
        different = ", ".join(key for key in identity if found.get(key) != identity[key]) or "more than expected"
        raise CheckpointProblem(f"{path}: belongs to another training (different: {different})")
    return state
