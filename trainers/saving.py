"""How often checkpoints are written, and which remain once a training has ended well. Standard library only.

A profile's `save_every` and `keep_checkpoints` reach tasks as variables of their script.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trainers.contract import TrainerError
from trainers.layout import AttemptFiles

EVERY, KEEP = "ROUNDTABLE_SAVE_EVERY", "ROUNDTABLE_KEEP_CHECKPOINTS"
KEPT = ("both", "best", "last")


@dataclass(frozen=True, kw_only=True)
class Saving:
    """What a task's environment says of checkpoints."""

    every: int = 1
    """Epochs between checkpoints to go on from; one is also written when the training is stopped and at its end."""
    keep: str = "both"
    """best: the weights that were measured. last: what a longer training goes on from. both."""

    @classmethod
    def read(cls, environment: Mapping[str, str]) -> Saving:
        """Raises TrainerError for what no profile could have set."""
        every, keep = environment.get(EVERY, "1"), environment.get(KEEP, "both")
        if not every.isdecimal() or int(every) < 1:
            raise TrainerError(f"{EVERY}={every}: must be a whole number from 1")
        if keep not in KEPT:
            raise TrainerError(f"{KEEP}={keep}: must be one of {', '.join(KEPT)}")
        return cls(every=int(every), keep=keep)

    def prune(self, folder: AttemptFiles, spare: Iterable[str]) -> list[str]:
        """Remove what is not kept of a training that ended well; returns the names. Raises OSError.

        spare: patterns of further checkpoints that nothing reads once the training has ended. The last one stays
        where there is no best one: its weights are then those that were measured.
        """
        if self.keep == "both":
            return []
        unkept = [path for pattern in spare for path in folder.root.glob(pattern)]
        if folder.checkpoint_best.exists():
            unkept.append(folder.checkpoint_last if self.keep == "best" else folder.checkpoint_best)
        removed = [path for path in unkept if path.exists()]
        for path in removed:
            path.unlink()
        return [str(path.relative_to(folder.root)) for path in removed]
