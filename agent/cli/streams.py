"""The process's own stdout and stderr, as people really have them: closed, full, a pipe that was read only in part, a
terminal that knows no Unicode. None of them may end a round or show a traceback; losing what was to be read is told.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any, TextIO


def open_closed_descriptors() -> None:
    """Give 0, 1 and 2 a place where they are closed (`>&-`): the next file that is opened would take their number,
    and what is printed would land in a study's file."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is taken, which is this one.
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)


class Tolerant:
    """A text stream that goes on when nobody reads it any more, and remembers what it could not write.

    After the first failure nothing is written: a reader that has gone (`| head`) is its right, and a full disk under
    the output is told at the end. Characters that the terminal's encoding lacks become question marks.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream
        self.trouble = "" if stream is not None else "is closed"
        """Why something was not written, for a person; empty where all was, or only the reader has gone."""
        self._dead = stream is None
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")

    def write(self, text: str) -> int:
        if not self._dead:
            self._try("write", text)
        return len(text)

    def flush(self) -> None:
        if not self._dead:
            self._try("flush")

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def _try(self, method: str, *arguments: Any) -> None:
        assert self._stream is not None
        try:
            getattr(self._stream, method)(*arguments)
        except BrokenPipeError:
            self._give_up()
        except OSError as error:
            self.trouble = error.strerror or str(error)
            self._give_up()
        except ValueError:  # closed under us
            self.trouble = "is closed"
            self._dead = True

    def _give_up(self) -> None:
        """Also what is left in the buffer, which is flushed at exit, has nowhere to go."""
        self._dead = True
        with contextlib.suppress(OSError, ValueError, AttributeError):
            assert self._stream is not None
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)

    def isatty(self) -> bool:
        return not self._dead and self._stream is not None and self._stream.isatty()

    def fileno(self) -> int:
        if self._stream is None:
            raise OSError("the stream is closed")
        return self._stream.fileno()

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    @property
    def errors(self) -> str:
        return "replace"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def tolerant() -> Any:
    """stdout and stderr as tolerant streams inside the block; yields stdout's."""
    before = sys.stdout, sys.stderr
    out, err = Tolerant(before[0]), Tolerant(before[1])
    sys.stdout, sys.stderr = out, err
    try:
        yield out
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before
