"""Writing a file so that a reader sees all of it or the one before it.

Standard library only: tasks on a compute node and the orchestrator share this code.
"""

from __future__ import annotations

import codecs
import errno
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PRIVATE = 0o600
"""The mode of what its owner alone reads."""

IRREGULAR = "is no regular file: remove it, and find out who put it there"
_HANDED_OVER = ("/dev/fd/", "/dev/stdin", "/proc/self/fd/")
"""How files begin that are pipes because a person wants it: `--profile <(command)` in a shell."""


def write_atomic(
    path: Path, data: str | bytes, *, mode: int | None = None, private: bool = False, sync: bool = True
) -> None:
    """Replace `path` by `data` in one step: unique temporary name, fsync, rename.

    A temporary name of its own (not `path.tmp`) keeps two writers on a shared filesystem from sharing one
    half-written file, and cannot be a link that somebody else put there. On any failure the temporary file is
    removed and what stood at `path` still stands.

    mode: of the file, whatever the umask is. private: created for its owner alone (`PRIVATE`); where a person has
    opened the file that stands there to their group (and not to everybody, as an umask may have), that stays. sync:
    False for what may be lost with the machine (a progress display), which then costs no wait for the disk.

    Raises OSError as the filesystem gives it (full, read-only, quota), always with `path` as its file name.
    """
    content = data.encode() if isinstance(data, str) else data
    temporary = _temporary(path)
    try:
        if private:
            mode = _mode_of(path)
        with open(temporary, "xb", opener=_private if private else None) as stream:
            stream.write(content)
            stream.flush()
            if sync:
                os.fsync(stream.fileno())
        if mode is not None:
            os.chmod(temporary, mode)
        os.replace(temporary, path)
    except BaseException as error:
        if isinstance(error, OSError):
            error.filename, error.filename2 = str(path), None
        temporary.unlink(missing_ok=True)
        raise


def _temporary(path: Path) -> Path:
    """A name beside `path` that no other writer has."""
    return path.with_name(f".{path.name}.{os.urandom(6).hex()}.tmp")


def create_exclusive(path: Path, data: str) -> bool:
    """Create `path` whole, or return False when it exists. Two callers never both get True.

    Written under a temporary name and then hard-linked, because link() is atomic on NFS where O_EXCL with a
    later write would show other nodes an empty file.

    Raises OSError other than "exists", with `path` as its file name.
    """
    temporary = _temporary(path)
    try:
        with open(temporary, "x", encoding="utf-8") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        return True
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, PRIVATE)


def _mode_of(path: Path) -> int:
    try:
        found = path.lstat().st_mode
    except FileNotFoundError:
        return PRIVATE
    shared = stat.S_ISREG(found) and not found & 0o007
    return stat.S_IMODE(found) | PRIVATE if shared else PRIVATE


def open_in_place(path: str | os.PathLike[str], flags: int, mode: int = 0o666) -> int:
    """A descriptor of a file that is written where it stands (locks, logs, journals). Created where it is missing,
    with what the umask leaves of `mode`; its content is never cut.

    A folder that others may write to can hold a link in its place, which would lead the write to a file that
    they chose, or a pipe, which would wait for ever: neither is followed. Usable as `opener` of `open`.

    Raises OSError: ELOOP for a link, EINVAL for what is no regular file; and as the filesystem gives it.
    """
    flags = (flags & ~(os.O_CREAT | os.O_TRUNC)) | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    while True:
        # Not O_CREAT alone: where fs.protected_regular is set, it refuses a colleague's file in a sticky folder.
        try:
            descriptor = os.open(path, flags)
        except FileNotFoundError:
            try:
                descriptor = os.open(path, flags | os.O_CREAT | os.O_EXCL, mode)
            except FileExistsError:
                if os.path.lexists(path):
                    continue
                raise
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise OSError(errno.ELOOP, "is a symbolic link, which is not followed", os.fspath(path)) from error
            if error.errno == errno.ENXIO:
                raise OSError(errno.EINVAL, IRREGULAR, os.fspath(path)) from error
            raise
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.set_blocking(descriptor, True)
            return descriptor
        os.close(descriptor)
        raise OSError(errno.EINVAL, IRREGULAR, os.fspath(path))


def open_to_read(path: str | os.PathLike[str], flags: int) -> int:
    """A descriptor of a file that is read; usable as `opener` of `open`. Links are followed.

    A pipe that stands where a file of a study belongs would be waited for until somebody writes to it, and a device
    may have no end. Neither is read, unless a shell hands it over (`<(command)`).

    Raises OSError: EINVAL for what is no regular file (a folder is left to `open`); and as the filesystem gives it.
    """
    if os.fspath(path).startswith(_HANDED_OVER):
        return os.open(path, flags)
    try:
        descriptor = os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a device of which there is none
            raise OSError(errno.EINVAL, IRREGULAR, os.fspath(path)) from error
        raise
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind) or stat.S_ISDIR(kind):
        os.set_blocking(descriptor, True)
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, IRREGULAR, os.fspath(path))


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """All of a file. Raises OSError as `open_to_read` does."""
    with open(path, "rb", buffering=0, opener=open_to_read) as stream:
        return stream.readall()


def to_json(value: object) -> str:
    """Pretty JSON with a final newline. Raises ValueError on NaN or infinity: JSON has neither."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: object) -> None:
    """`write_atomic` of `to_json`."""
    write_atomic(path, to_json(value))


class FileProblem(Exception):
    """A file that could not be read as what it should be; the message names the file and the reason."""

    def __init__(self, file: str | Path, what: str, *, where: str = "") -> None:
        self.file, self.what, self.where = str(file), what, where
        self.reason = f"{where}: {what}" if where else what
        super().__init__(f"{file}: {self.reason}")


def read_bounded(path: Path, limit: int) -> str:
    """The text of a file of at most `limit` bytes. Raises FileProblem, which names the file and the reason."""
    try:
        with open(path, "rb", buffering=0, opener=open_to_read) as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > limit:
                raise FileProblem(path, f"{size} bytes, more than the {limit} that are read")
            data = stream.readall()
        return decoded(data, name=str(path))
    except OSError as error:
        raise FileProblem(path, f"{error.strerror or error}") from error


def decoded(data: bytes, *, name: str) -> str:
    """Text of a person's or another program's file: UTF-8, with line ends as Python reads them.

    A byte order mark, with which some editors begin a file, is no part of the text, in whatever file it stands.
    Raises FileProblem.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wide = " (it begins as UTF-16)" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else ""
        raise FileProblem(name, f"not UTF-8 at byte {error.start}{wide}; save it as UTF-8") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json_object(
    path: Path, *, limit: int = 256 * 2**20, nan_is_null: bool = False, infinite_is_null: bool = False
) -> dict[str, object]:
    """Read one JSON object, refusing duplicate keys, NaN and infinity, and files above `limit` bytes.

    nan_is_null: take NaN for null, for files of programs whose NaN says "not there". infinite_is_null: take infinity
    for null as well.

    Raises FileProblem, which names the file, and the line and column where JSON breaks.
    """
    text = read_bounded(path, limit)
    return parse_json_object(text, name=str(path), nan_is_null=nan_is_null, infinite_is_null=infinite_is_null)


def parse_json_object(
    text: str, *, name: str, nan_is_null: bool = False, infinite_is_null: bool = False
) -> dict[str, object]:
    """`read_json_object` for text that is already here; `name` is what messages call it."""
    constant = _as_null if infinite_is_null else _nan_as_null if nan_is_null else _refuse_constant
    try:
        value = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise FileProblem(name, error.msg, where=f"line {error.lineno} column {error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise FileProblem(name, str(error)) from error
    if not isinstance(value, dict):
        raise FileProblem(name, f"expected one JSON object, found {type(value).__name__}")
    return value


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key!r} stands twice in one object")
            seen.add(key)
    return found


def _as_null(text: str) -> None:
    """NaN, Infinity and -Infinity."""


def _nan_as_null(text: str) -> None:
    if text != "NaN":
        _refuse_constant(text)


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON and never a usable value")


def newer_version(raw: Mapping[str, Any], known: int) -> str:
    """Why a file of ours is not read: a later version may mean something else by the same names. Empty where it is.

    raw: the file's object; known: the highest schema_version that this version of Roundtable reads.
    """
    found = raw.get("schema_version", known)
    if type(found) is int and 1 <= found <= known:
        return ""
    return f"schema_version is {found!r}: this Roundtable reads versions up to {known}; a newer one goes on with it"
