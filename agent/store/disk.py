"""Writing the orchestrator's files: every refusal of the disk becomes one clear StorageError.

`boundary` is called before and after each change on disk; the crash tests use it to kill the process there.
"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.errors import StorageError, UsageError
from agent.ownership import user_name
from trainers.files import IRREGULAR, FileProblem, decoded, open_in_place, read_regular, to_json, write_atomic

_REMEDIES = {
    errno.ENOSPC: "the disk is full: free some space and call again; nothing was lost",
    errno.EDQUOT: "your disk quota is used up: free some space and call again; nothing was lost",
    errno.EROFS: "the filesystem is read-only: choose another --output-dir or remount it",
    errno.EACCES: "no permission to write here: choose another --output-dir",
    errno.EPERM: "no permission to write here: choose another --output-dir",
    errno.ENOENT: "a folder of the study was removed: restore it, then call again",
    errno.ELOOP: "remove the link, and find out who put it there",
    errno.ENAMETOOLONG: "the path is too long: choose a shorter --output-dir or --study",
}


@contextmanager
def storage(path: Path) -> Iterator[None]:
    """Translate an OSError into a StorageError that names the path and what to do."""
    try:
        yield
    except OSError as error:
        remedy = _shared(path, error) or _REMEDIES.get(error.errno or 0, "see the system's message")
        said = error.strerror or str(error)
        raise StorageError(f"{path}: {said}" + (f": {remedy}" if said != IRREGULAR else "")) from error


def _shared(path: Path, error: OSError) -> str:
    """What helps where a colleague's file in a shared study may not be written (or read); "" elsewhere."""
    if error.errno not in (errno.EACCES, errno.EPERM):
        return ""
    try:
        owner, folder = path.stat().st_uid, path.parent.stat()
    except OSError:
        return ""
    if owner == os.geteuid() or not folder.st_mode & 0o020:
        return ""
    who = user_name(owner)
    change = f"chmod -R g+rwX {shlex.quote(str(path.parent))}"
    return f"it belongs to {who}, who can open it to the group: `{change}`, with umask 002 from then on"


def _nothing(name: str) -> None:
    """The boundary of everyday use."""


@dataclass(frozen=True)
class Disk:
    """All changes that the orchestrator makes on disk go through here."""

    boundary: Callable[[str], None] = _nothing

    def write(self, path: Path, text: str, *, private: bool = False) -> None:
        """Replace a file in one step. private: for its owner alone, like keys (see `write_atomic`)."""
        self.boundary(f"before {path.name}")
        with storage(path):
            write_atomic(path, text, private=private)
        self.boundary(f"after {path.name}")

    def write_json(self, path: Path, value: object, *, private: bool = False) -> None:
        self.write(path, to_json(value), private=private)

    def make_folder(self, path: Path, *, private: bool = False) -> None:
        """private: for its owner alone where it is not there yet; the folders above it follow the umask."""
        self.boundary(f"before {path.name}/")
        with storage(path):
            path.mkdir(0o700 if private else 0o777, parents=True, exist_ok=True)
        self.boundary(f"after {path.name}/")

    def sync_folder(self, path: Path) -> None:
        """Make the names in a folder outlive a power cut: without it, what is written elsewhere and synced later may
        be there and they may not. Nothing where the filesystem syncs no folders."""
        with storage(path):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)
            except OSError as error:
                if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                    raise
            finally:
                os.close(descriptor)

    def append(self, path: Path, line: str) -> None:
        """Append one line whole, or leave the file as it was.

        A torn last line of a killed writer is first ended, so that it can never swallow the new one.
        """
        self.boundary(f"before line in {path.name}")
        with storage(path):
            descriptor = open_in_place(path, os.O_RDWR | os.O_APPEND)
            try:
                size = os.fstat(descriptor).st_size
                torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
                data = (b"\n" if torn else b"") + line.encode() + b"\n"
                try:
                    if os.write(descriptor, data) != len(data):
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                    os.fsync(descriptor)
                except OSError:
                    os.ftruncate(descriptor, size)
                    raise
            finally:
                os.close(descriptor)
        self.boundary(f"after line in {path.name}")


def read_text(path: Path) -> str:
    """A file's text. Raises StorageError, and UsageError where it is no text."""
    with storage(path):
        data = read_regular(path)
    try:
        return decoded(data, name=str(path))
    except FileProblem as error:
        raise UsageError(str(error)) from error
