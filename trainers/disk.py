"""A disk that takes nothing more: what counts as that, and waiting for room with what cost hours.

Standard library only.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from pathlib import Path

from trainers.contract import StopFlag
from trainers.files import write_json

#: Full, over quota, or a file server that is away: none of it is the fault of the settings that are trained.
REFUSALS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE))
#: How long a finished training waits for room before its result is lost.
PATIENCE_S = 600.0
PAUSE_FIRST_S, PAUSE_LAST_S = 0.5, 15.0


def refuses(error: BaseException) -> bool:
    """Whether it is the disk that refused, and may take the same another time."""
    return isinstance(error, OSError) and error.errno in REFUSALS


def keep(
    path: Path, value: object, *, say: Callable[[str], None], stop: StopFlag, patience_s: float = PATIENCE_S
) -> None:
    """Write what a finished training is worth, waiting for room where there is none.

    Tried once more, and not any longer, when the task is told to stop. Raises OSError when patience is over.
    """
    deadline = time.monotonic() + patience_s
    pause = PAUSE_FIRST_S
    while True:
        # Asked before the try, so that a stop during the pause still leaves one.
        last = stop.requested or time.monotonic() >= deadline
        try:
            write_json(path, value)
        except OSError as error:
            if last or not refuses(error):
                raise
            if pause == PAUSE_FIRST_S:
                say(f"{path}: {error.strerror}: the result is ready; waiting up to {patience_s:g} s for room")
        else:
            return
        time.sleep(pause)
        pause = min(2 * pause, PAUSE_LAST_S)
